"""The settings of a run to be: work decides and opens, handlers change the draft, the view draws it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.geometry import Size
from textual.message import Message
from textual.widgets import TextArea

from engine.config.declaration import TRAINER
from engine.config.load import PRESET
from engine.errors import EngineError
from screens.configure import files
from screens.configure.asking import Worker
from screens.configure.deciding import Deciding, with_problems
from screens.configure.details import Details
from screens.configure.draft import Draft, Reading, key_of, meant, typed
from screens.configure.fields import Field, Heading, Line, differing, fields, listed, value_of
from screens.configure.memory_bar import MemoryBar
from screens.configure.search_field import SearchField, SearchInput
from screens.configure.table import FieldTable
from screens.configure.value_input import ValueInput
from screens.configure.yaml_pane import YamlPane
from tui.console_screen import ConsoleScreen
from tui.display import plain
from tui.messages import OpenRun
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.failure_panel import Failure

TALL = 34
"""Height from which details and memory have more rows."""
BROAD = 120
"""Width from which the text stands beside the form."""
KEEP_SECONDS = 1.0
"""How long nothing must be typed before the draft is put on disk."""
UNDONE = 200
"""Steps that can be taken back."""


class ConfigureScreen(ConsoleScreen):
    """The settings of a run to be.

    Args:
        workspace: Folder with `datasets/`, `models/` and `runs/`.
        worker: Decides automatic values. None: made here.
    """

    TITLE = "Configure"
    HELP = (
        "Everything that decides what a run does. What you write is checked as you type and kept when you leave; "
        "u takes it back. Nothing starts before you have seen the list of what would go wrong."
    )
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "FieldTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("exclamation_mark", "problems", "Problems", key_display="!", id="configure.problems",
                tooltip="Everything that is wrong; Enter goes there"),
        Binding("slash", "search", "Search", key_display="/", id="configure.search",
                tooltip="List the settings that have these words in name, description or source"),
        Binding("s", "start", "Start", id="configure.start", tooltip="See what would go wrong, then start the run"),
        Binding("v", "text", "YAML", id="configure.text", tooltip="Write the same settings as text; Esc comes back"),
        Binding("V", "hide_text", "Form alone", show=False, id="configure.hide-text",
                tooltip="Show the form alone, or the text beside it again"),
        Binding("w,ctrl+s", "save", "Save", id="configure.save", tooltip="Write the file"),
        Binding("W", "save_as", "Save as", show=False, id="configure.save-as", tooltip="Write another file"),
        Binding("o", "open", "Open", id="configure.open", tooltip="Open a file of the workspace"),
        Binding("p", "preset", "Preset", show=False, id="configure.preset", tooltip="Begin anew from a preset"),
        Binding("e", "duplicate", "Duplicate", show=False, id="configure.duplicate",
                tooltip="Begin with the settings of an earlier run"),
        Binding("c", "compare", "Compare", id="configure.compare",
                tooltip="List what differs from a run, a preset or a file; again: list everything"),
        Binding("m", "memory", "Memory", show=False, id="configure.memory",
                tooltip="What it takes of memory, part by part; two real steps measure it"),
        Binding("equals_sign", "take", "Take theirs", key_display="=", id="configure.take",
                tooltip="Take the value it is compared with"),
        Binding("z", "fold", "Fold", show=False, id="configure.fold", tooltip="Fold or unfold the section"),
        Binding("u", "undo", "Undo", id="configure.undo", tooltip="Take the last change back, also opening a file"),
        Binding("U,ctrl+r", "redo", "Redo", show=False, id="configure.redo"),
        Binding("N", "anew", "Begin anew", show=False, id="configure.anew", tooltip="Begin with nothing written"),
        Binding("y", "copy_view", "Copy", show=False, id="configure.copy", tooltip="Copy the settings as plain text"),
    ]  # fmt: skip

    def __init__(self, workspace: Path, *, worker: Worker | None = None) -> None:
        super().__init__(workspace)
        self.draft = Draft()
        self.query_text = ""
        """The search."""
        self.folded: frozenset[str] = frozenset({TRAINER})
        self.others: Mapping[str, Any] | None = None
        """Values by key that these are compared with."""
        self.other_name = ""
        self.starting = False
        self._undo: list[Draft] = []
        self._redo: list[Draft] = []
        self._editing: tuple[Field, Draft] | None = None
        """What is being written, and the draft as it was before."""
        self._typing = False
        """Whether the text was changed since it was last entered: one step of undo."""
        self._wants_text: bool | None = None
        """None: where there is room."""
        self._kept: Draft | None = None
        self._not_begun: Failure | None = None
        """Why the run the screen was opened for cannot be duplicated."""
        self._greeting = ""
        self._worker = worker or Worker(workspace)
        self._deciding = Deciding(self._worker, lambda: self.post_message(self.Decided()))
        self._table = FieldTable()
        self._input = ValueInput()
        self._search = SearchField()
        self._details = Details()
        self._memory = MemoryBar()
        self._pane: YamlPane | None = None

    class Decided(Message):
        """Automatic values may be others now. Neighbours in the queue are one."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, ConfigureScreen.Decided)

    # Work

    @work(exclusive=True, group="decide", description="Deciding automatic values", exit_on_error=False)
    async def decide(self) -> None:
        """Keep automatic values up to date for as long as the screen is there."""
        await self._deciding.run()

    @work(exclusive=True, group="keep", description="Keeping the draft", exit_on_error=False)
    async def keep(self) -> None:
        """Put the draft on disk once nothing is typed for a while."""
        await asyncio.sleep(KEEP_SECONDS)
        await asyncio.to_thread(self._keep_now)

    def _keep_now(self) -> None:
        draft = self.draft
        if draft is not self._kept:
            files.keep_draft(self.workspace, draft)
            self._kept = draft

    @work(exclusive=True, group="ask", description="Choosing a value", exit_on_error=False)
    async def choose(self, field: Field, current: Any) -> None:
        """Let the user choose one of a field's values."""
        from screens.configure import choosing

        found = await choosing.ask_for_value(self.app, field, current)
        if found is not None:
            self._put(field, field.choices[found])

    @work(exclusive=True, group="ask", description="Opening settings", exit_on_error=False)
    async def ask_and_open(self, what: str) -> None:
        """Open a file, a run or a preset: `what` is "file", "run" or "preset"."""
        from screens.configure import choosing

        draft = await choosing.ask_and_open(self.app, self.workspace, what)
        if draft is not None:
            self.open(draft)

    @work(exclusive=True, group="ask", description="Saving the settings", exit_on_error=False)
    async def ask_and_save(self, *, elsewhere: bool) -> None:
        """Write the file, under another name if there is none."""
        from screens.configure import choosing

        before = self.draft
        saved = await choosing.ask_and_save(self.app, self.workspace, before, elsewhere=elsewhere)
        if saved is not None:
            # Whoever types on while it is written has changed it again.
            self.draft = replace(saved, text=self.draft.text)
            self.notify(f"Saved {saved.path}.", timeout=4)
            self._changed()

    @work(exclusive=True, group="ask", description="Comparing settings", exit_on_error=False)
    async def ask_and_compare(self) -> None:
        """Choose what to compare with."""
        from screens.configure import choosing

        found = await choosing.ask_for_others(self.app, self.workspace)
        if found is not None:
            self.other_name, self.others = found
            self.show_form(top=True)

    @work(exclusive=True, group="ask", description="Listing problems", exit_on_error=False)
    async def ask_for_problem(self) -> None:
        """List the problems, and go to the one that is chosen."""
        from screens.configure import choosing

        problem = await choosing.ask_for_problem(self.app, self.reading.problems)
        if problem is not None:
            self._go_to(key_of(problem))

    @work(exclusive=True, group="ask", description="Looking at memory", exit_on_error=False)
    async def ask_about_memory(self) -> None:
        """Show memory part by part, measure it if that is wanted, and take the batch that is chosen."""
        from screens.configure.memory_dialog import MemoryDialog

        decided = self._deciding.decided
        dialog = MemoryDialog(
            self.workspace, self.draft, decided.memory, decided.without_memory,
            ascii_only=self.terminal.glyphs == "ascii",
        )  # fmt: skip
        batch = await self.app.push_screen_wait(dialog)
        if batch is not None:
            draft = self.draft
            for key, value in batch.items():
                draft = draft.put(key, value)
            self.change(draft)
        elif dialog.found is not None:
            self._deciding.about(self.draft)  # what was measured corrects what is predicted

    @work(exclusive=True, group="start", description="Starting the run", exit_on_error=False)
    async def ask_and_start(self) -> None:
        """Look everything over, ask, start the run and show it."""
        from screens.configure import starting

        self.starting = True
        try:
            plain_glyphs = self.terminal.glyphs == "ascii"
            name = await starting.ask_and_start(self.app, self.workspace, self.draft, ascii_only=plain_glyphs)
        finally:
            self.starting = False
        if name is not None:
            self.post_message(OpenRun(name))

    # Handlers

    def on_mount(self) -> None:
        if self._not_begun is not None:
            self.show_failure(self._not_begun)
        if self._greeting:
            self.notify(self._greeting, timeout=6)
        self.decide()
        self._deciding.about(self.draft)

    async def on_unmount(self) -> None:
        self._keep_now()
        await self._worker.ended()

    def _begin(self) -> None:
        """Take up the draft that was not saved, or the run or checkpoint the screen was opened for."""
        kept = files.kept_draft(self.workspace)
        run = self.opened_as[1]
        if run is not None:
            try:
                begin = files.continuing if "@" in run else files.from_run
                self.draft = begin(self.workspace, run)
            except EngineError as error:
                self._not_begun = Failure(error.code, error.message, error.remedy)
            if kept is not None:
                self._undo.append(kept)
                self._greeting = "u brings back the settings you had not saved."
        elif kept is not None:
            self.draft = self._kept = kept
            self._greeting = "These are the settings you had not saved. N begins anew."

    @on(Decided)
    def _decided(self) -> None:
        self.show_form()

    @on(FieldTable.Moved)
    def _moved(self) -> None:
        self._show_details()
        self._follow_in_text()

    @on(FieldTable.Asked)
    def _asked(self, message: FieldTable.Asked) -> None:
        row = self._table.row
        if isinstance(row, Heading):
            if message.what != "unset":
                self.action_fold()
            return
        if row is None or self._refused_by_text():
            return
        if message.what == "unset":
            self._unset(row)
        elif not row.choices:
            self._write(row)
        elif message.what == "edit":
            self.choose(row, self._chosen(row))
        else:
            choices = list(row.choices)
            chosen = self._chosen(row)
            at = _index(choices, chosen)
            step = 1 if message.what == "next" else -1
            self._put(row, choices[(at + step) % len(choices)] if at is not None else choices[0])

    def _chosen(self, field: Field) -> Any:
        """Return the choice that holds: what is automatic is "auto", whatever it became."""
        shown = value_of(field, self.reading, {})
        return shown.value

    def _unset(self, field: Field) -> None:
        setting = self.draft.reading.given.settings.get(field.key)
        here = bool(self.draft.reading.preset) if field.key == PRESET else setting is not None and not setting.preset
        if here:
            self.change(self.draft.drop(field.key))
        else:
            self.notify(f"{field.name} is not written here; it is {value_of(field, self.reading, {}).kind}.", timeout=3)

    def _put(self, field: Field, value: Any) -> None:
        if field.key == PRESET and value is None:
            self.change(self.draft.drop(PRESET))
        else:
            self.change(self.draft.put(field.key, value))

    def _write(self, field: Field) -> None:
        """Open the field for writing."""
        setting = self.draft.reading.given.settings.get(field.key)
        shown = value_of(field, self.reading, self._deciding.decided.values)
        text = "" if shown.kind == "default" and setting is None else typed(shown.value)
        if setting is not None and setting.value == "auto":
            text = "auto"
        elif setting is None and shown.kind == "automatic":
            text = ""
        self._editing = (field, self.draft)
        default = "auto" if shown.kind == "automatic" else typed(field.default)
        self._input.write(text, self._input_region, placeholder=plain(default, limit=80))

    @property
    def _input_region(self) -> Any:
        region = self._table.value_region
        return region.translate((self._table.content_region.x - self._table.region.x, 0))

    @on(ValueInput.Typed)
    def _typed(self, message: ValueInput.Typed) -> None:
        if self._editing is not None:
            field, before = self._editing
            self.draft = _written(before, field, message.text)
            self._changed(rows=False)

    @on(ValueInput.Left)
    def _left(self, message: ValueInput.Left) -> None:
        if self._editing is None:
            return
        _, before = self._editing
        self._editing = None
        self._input.close()
        self._table.focus()
        after = self.draft
        self.draft = before
        if message.keep and after.text != before.text:
            self.change(after)
        else:
            self._changed()
        if message.rows:
            self._table.action_move(message.rows)

    @on(TextArea.Changed)
    def _text_changed(self, event: TextArea.Changed) -> None:
        text = event.text_area.text
        if text == self.draft.text:
            return
        if not self._typing:
            self._remember()
            self._typing = True
        self.draft = replace(self.draft, text=text)
        self._changed(text=False)

    @on(TextArea.SelectionChanged)
    def _text_cursor_moved(self, event: TextArea.SelectionChanged) -> None:
        if event.text_area.has_focus:
            key = self.draft.reading.key_at(event.selection.end[0] + 1)
            if key is not None and key in fields():
                self._table.show(self._rows, self.reading, self._values, self.others, select=key)

    @on(events.DescendantFocus)
    def _focus_moved(self, event: events.DescendantFocus) -> None:
        if not isinstance(event.widget, YamlPane):
            self._typing = False

    @on(events.DescendantBlur)
    def _focus_lost(self, event: events.DescendantBlur) -> None:
        # A click elsewhere keeps what is written.
        if isinstance(event.widget, ValueInput) and self._editing is not None and self.app.focused is not None:
            self.post_message(ValueInput.Left(keep=True))

    @on(SearchInput.Changed)
    def _search_changed(self, event: SearchInput.Changed) -> None:
        if isinstance(event.input, SearchInput):
            self.query_text = event.value
            self.show_form(top=True)

    @on(SearchInput.Submitted)
    def _search_done(self, event: SearchInput.Submitted) -> None:
        if isinstance(event.input, SearchInput):
            self._close_search(keep=True)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self._resized)

    def _resized(self) -> None:
        self.show_form()
        if self._input.open:
            self._input.place(self._input_region)

    def _take_size(self, size: Size) -> None:
        super()._take_size(size)
        self.set_class(size.height >= TALL, "-tall")
        self.set_class(size.width >= BROAD, "-broad")
        self._show_text()

    # The draft

    def open(self, draft: Draft) -> None:
        """Go on with another draft; the one before can be brought back."""
        self._remember()
        self.draft = draft
        self._changed(top=True)

    def change(self, draft: Draft) -> None:
        """Go on with a changed draft."""
        self._remember()
        self.draft = draft
        self._changed()

    def _remember(self) -> None:
        self._undo = [*self._undo[-UNDONE:], self.draft]
        self._redo.clear()

    def _changed(self, *, text: bool = True, rows: bool = True, top: bool = False) -> None:
        """Draw what follows from another draft.

        Args:
            text: Whether the text beside the form has to follow.
            rows: Whether the list of rows may change; not while one of them is written in.
            top: Whether the cursor goes to the first row.
        """
        self._deciding.about(self.draft)
        self.show_form(rows=rows, top=top)
        if text and self._pane is not None:
            self._pane.replace_text(self.draft.text)
            self._follow_in_text()
        self.keep()

    def _refused_by_text(self) -> bool:
        """Whether the form cannot be used because the text cannot be read; says so."""
        if not self.draft.reading.broken:
            return False
        problem = self.draft.reading.problems[0]
        self.notify(f"{problem}. Correct the text first: v shows it, u takes it back.", severity="warning")
        return True

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is being written need not be begun; there is something to take only from another configuration."""
        if action == "take":
            return self.others is not None
        if action == "problems":
            return bool(self.is_mounted and self.reading.problems)
        if action == "search" and isinstance(self.focused, SearchInput):
            return False
        return super().check_action(action, parameters)

    def action_search(self) -> None:
        """Write a search."""
        self.add_class("-searching")
        self.set_focus(self._search.input)  # now: `focus` does it later, when the next key has come

    def _close_search(self, *, keep: bool) -> None:
        if not keep:
            with self.prevent(SearchInput.Changed):
                self._search.input.value = ""
            self.query_text = ""
            self.show_form()
        self.set_class(bool(self._search.input.value.strip()), "-searching")
        self._table.focus()

    def step_out(self) -> bool:
        if self._editing is not None:
            self._left(ValueInput.Left(keep=False))
        elif self._pane is not None and self._pane.has_focus:
            self._leave_text()
        elif self.has_class("-searching"):
            self._close_search(keep=False)
        elif self.others is not None:
            self.others = None
            self.show_form()
        else:
            return False
        return True

    def action_text(self) -> None:
        """Go to the text; where both have no room, instead of the form."""
        self._wants_text = True
        self._show_text()
        if self._pane is not None:
            self._pane.focus()

    def action_hide_text(self) -> None:
        """Show the form alone, or the text beside it again."""
        if self.has_class("-broad"):
            self._wants_text = not self._text_shown
            self._show_text()
        else:
            self.notify("Here the text has no room beside the form; v shows it instead.", timeout=4)

    def _leave_text(self) -> None:
        if not self.has_class("-broad"):
            self._wants_text = None
            self._show_text()
        self._table.focus()

    @property
    def _text_shown(self) -> bool:
        return self._wants_text if self._wants_text is not None else self.has_class("-broad")

    def _show_text(self) -> None:
        shown = self._text_shown
        if shown and self._pane is None and self.is_mounted:
            self._pane = YamlPane()
            self._pane.load_text(self.draft.text)
            self.query_one("#main").mount(self._pane)
            self.call_after_refresh(self._follow_in_text)
        self.set_class(shown, "-text")
        if not shown and self.is_mounted and self.focused is None:
            self._table.focus()

    def action_save(self) -> None:
        """Write the file."""
        self.ask_and_save(elsewhere=False)

    def action_save_as(self) -> None:
        """Write another file."""
        self.ask_and_save(elsewhere=True)

    def action_open(self) -> None:
        """Open a file."""
        self.ask_and_open("file")

    def action_preset(self) -> None:
        """Begin with a preset."""
        self.ask_and_open("preset")

    def action_duplicate(self) -> None:
        """Begin with the settings of a run."""
        self.ask_and_open("run")

    def action_anew(self) -> None:
        """Begin with nothing."""
        self.open(Draft())

    def action_compare(self) -> None:
        """Compare with something, or no more."""
        if self.others is None:
            self.ask_and_compare()
        else:
            self.others = None
            self.show_form()

    def action_take(self) -> None:
        """Take the value of the other configuration."""
        field = self._table.selected
        if field is not None and self.others is not None and not self._refused_by_text():
            self._put(field, self.others.get(field.key, field.default))

    def action_problems(self) -> None:
        """List what is wrong."""
        self.ask_for_problem()

    def action_fold(self) -> None:
        """Fold the section under the cursor, or unfold it."""
        row = self._table.row
        if row is not None and row.section:
            self.folded ^= {row.section}
            self.show_form(select=row.section)

    def action_undo(self) -> None:
        """Take the last change back."""
        self._back_and_forth(self._undo, self._redo, "There is nothing to take back.")

    def action_redo(self) -> None:
        """Take back what was taken back."""
        self._back_and_forth(self._redo, self._undo, "There is nothing to bring back.")

    def _back_and_forth(self, source: list[Draft], other: list[Draft], nothing: str) -> None:
        while source and source[-1].text == self.draft.text and source[-1].path == self.draft.path:
            source.pop()
        if not source:
            self.notify(nothing, timeout=3)
            return
        other.append(self.draft)
        before, self.draft = self.draft, source.pop()
        if self.draft.path == before.path:
            self.draft = replace(self.draft, saved=before.saved)
        self._changed()

    def action_memory(self) -> None:
        """Show what it takes of memory."""
        if self.reading.problems:
            self.notify("What it takes is known once nothing is wrong.", severity="warning", timeout=4)
        elif not self._deciding.current or self._deciding.busy:
            self.notify("The data is still being read.", timeout=3)
        else:
            self.ask_about_memory()

    def action_start(self) -> None:
        """See what would go wrong, and start."""
        if self.reading.problems:
            self.notify("A run with these problems would not start.", severity="warning", timeout=4)
            self.ask_for_problem()
        elif not self.starting:
            self.ask_and_start()

    def _go_to(self, key: str) -> None:
        if key in fields():
            if self.has_class("-searching"):
                self._close_search(keep=False)
            self.others = None
            self.folded -= {key.partition(".")[0]}
            self.show_form(select=key)
            self._table.focus()
        elif self.draft.reading.broken or key:
            self.action_text()

    # View

    def compose_body(self) -> ComposeResult:
        glyphs: GlyphSet = self.terminal.glyphs  # type: ignore[assignment]
        self._table.glyphs = self._memory.glyphs = glyphs
        # All of it before the first paint: filled in later, the screen would be drawn twice.
        self._begin()
        self._fill()
        with Container(id="main"):
            with Container(id="form"):
                yield self._table
                yield self._input
            if self._text_shown:
                self._pane = YamlPane()
                self._pane.load_text(self.draft.text)
                yield self._pane
        yield self._search
        yield self._details
        yield self._memory

    @property
    def reading(self) -> Reading:
        """What the draft says, and what is wrong with it here."""
        if self._deciding.current:
            return with_problems(self.draft.reading, self._deciding.decided)
        return self.draft.reading

    @property
    def _values(self) -> Mapping[str, Any]:
        return self._deciding.decided.values

    _rows: Sequence[Line] = ()

    def show_form(self, *, rows: bool = True, top: bool = False, select: str | None = None) -> None:
        """Put the draft on screen: what changed, where it is seen."""
        if self.is_mounted:
            self._fill(rows=rows, top=top, select=select)
            self.refresh_bindings()

    def _fill(self, *, rows: bool = True, top: bool = False, select: str | None = None) -> None:
        reading, decided = self.reading, self._deciding.decided
        if rows and self._editing is None:
            only = differing(reading, decided.values, self.others) if self.others is not None else None
            self._rows = listed(reading, decided.values, query=self.query_text, folded=self.folded, only=only)
            if top:
                select = next((row.key for row in self._rows if isinstance(row, Field)), None)
        self._table.show(self._rows, reading, decided.values, self.others, select)
        self._show_details()
        # While something is decided anew the bar stays: a letter more must not make it flicker.
        self._memory.show(None if reading.problems else decided.memory, self._said_of_memory())
        self.sub_title = self._headline(reading)
        self._show_text()

    def _show_details(self) -> None:
        self._details.show(self._table.row, self.reading, self._values, self.others, plain(self.other_name, limit=40))

    def _said_of_memory(self) -> str:
        decided = self._deciding.decided
        if self.reading.problems:
            return "known once nothing is wrong"
        if self._deciding.busy:
            return "reading the data and deciding automatic values ..."
        return decided.without_memory

    def _headline(self, reading: Reading) -> str:
        parts = [plain(self.draft.name, limit=60) + (", not saved" if self.draft.changed else "")]
        if reading.given.stages:
            names = ", ".join(name for name, _ in reading.given.parts())
            parts.append(f"stages {plain(names, limit=80)}: see the text")
        if self.others is not None:
            parts.append(
                f"{sum(isinstance(row, Field) for row in self._rows)} differ from {plain(self.other_name, limit=40)}"
            )
        count = len(reading.problems)
        if count:
            parts.append("1 problem" if count == 1 else f"{count} problems")
        decided = self._deciding.decided
        if not count and decided.num_steps and not self._deciding.busy:
            parts.append(f"{decided.num_rows:,} rows, {decided.num_steps:,} steps")
        return "   ".join(parts)

    def _follow_in_text(self) -> None:
        """Show the line of the setting under the cursor."""
        field = self._table.selected
        if self._pane is None or self._pane.has_focus or field is None:
            return
        line = self.draft.reading.line(field.key)
        if line is not None:
            self._pane.go_to_line(line)

    def plain_text(self) -> str:
        """Return the whole view as text."""
        from screens.configure.twin import twin

        return twin(self.draft, self.reading, self._rows, self._deciding.decided, self.others, self.other_name)


def _written(before: Draft, field: Field, text: str) -> Draft:
    """Return the draft with what is typed for a field; nothing typed takes it out."""
    try:
        return before.put(field.key, meant(text)) if text.strip() else before.drop(field.key)
    except EngineError:
        return before


def _index(choices: Sequence[Any], value: Any) -> int | None:
    """Return where a value stands; True is not 1."""
    return next((at for at, other in enumerate(choices) if other == value and type(other) is type(value)), None)
