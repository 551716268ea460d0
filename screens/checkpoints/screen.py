"""Every checkpoint of the workspace: work follows and acts on them, handlers change what is known, the view draws."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.geometry import Size
from textual.message import Message

from engine.runs.entries import CheckpointEntry
from engine.workspace import Workspace
from screens.checkpoints.facts import facts
from screens.checkpoints.feed import CatalogueFeed
from screens.checkpoints.reading import Details, read_details
from screens.checkpoints.rows import ORDERS, Row, best_of, orders_for, rows, stands_for
from screens.checkpoints.table import CheckpointTable
from screens.checkpoints.verbs import refusal
from screens.checkpoints.words import nothing_found, nothing_yet, tally
from screens.runs.emptiness import Emptiness
from screens.runs.filter_field import FilterField, FilterInput
from tui.console_screen import ConsoleScreen
from tui.display import plain
from tui.jobs import Job, Jobs
from tui.messages import CopyText, OpenRun, OpenScreen
from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.job_line import JobLine
from tui.widgets.rows_pane import RowsPane, scroll_bindings

ACTIVE_SECONDS = 1.0
"""Between two looks while a run is at work."""
RESTING_SECONDS = 2.0
"""Between two looks while none is."""
HIDDEN_SECONDS = 5.0
"""Between two looks while another screen is in front."""
FIRST_LOOK_SECONDS = 0.1
"""How long the first paint waits for the checkpoints."""
REST_SECONDS = 0.12
"""The cursor must rest so long on a checkpoint before its files are looked at."""
TALL = 34
"""Height from which the details have more rows."""
BROAD = 150
"""Width from which they stand beside the list."""
KEPT = 32
"""Checkpoints whose details stay in memory, so that moving back and forth reads nothing."""


class FactsPane(RowsPane):
    """What is told of the row under the cursor."""

    HELP = "Everything about the row under the cursor. Esc goes back to the list."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "screen.read", "List", show=False, id="checkpoints.list", tooltip="Back to the list"),
        *scroll_bindings("checkpoints.facts"),
    ]


class CheckpointsScreen(ConsoleScreen):
    """Every run of the workspace with its checkpoints.

    Args:
        workspace: Folder with `runs/`.
        feed: What follows them. None: made here.
        clock: Unix seconds. For tests that show a moment.
    """

    TITLE = "Checkpoints"
    HELP = (
        "Every checkpoint of every run. A star is the best of its run, a cross one that is damaged. What removes or "
        "changes something says first what is lost."
    )
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "CheckpointTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/", id="checkpoints.filter",
                tooltip="List what has these words, also best, pinned, damaged, whole, resumable; !word: has not"),
        Binding("o", "order", "Order", id="checkpoints.order",
                tooltip="The tree, or every checkpoint by validation loss, training loss, age, size"),
        Binding("space", "mark", "Mark", key_display="space", id="checkpoints.mark",
                tooltip="Mark a checkpoint for the comparison; two can be marked"),
        Binding("c", "compare", "Compare", id="checkpoints.compare",
                tooltip="The two that are marked; the marked one and this one; this one and the best of its run"),
        Binding("e", "export", "Export", id="checkpoints.export",
                tooltip="Write GGUF files for llama.cpp and LM Studio. Asks which"),
        Binding("m", "merge", "Merge", id="checkpoints.merge",
                tooltip="Write one model of adapter and base. Asks where to"),
        Binding("p", "pin", "Pin", id="checkpoints.pin", tooltip="Keep it whatever is pruned; again: let it go"),
        Binding("d", "delete", "Delete", id="checkpoints.delete", tooltip="Remove it from the disk. Asks first"),
        Binding("D", "drop_optimizer", "Drop optimizer state", show=False, id="checkpoints.drop-optimizer",
                tooltip="Remove what only exact resume needs. Asks first"),
        Binding("X", "prune", "Prune the run", show=False, id="checkpoints.prune",
                tooltip="Remove its checkpoints that are neither newest, best nor pinned. Asks first"),
        Binding("M", "promote", "Promote", show=False, id="checkpoints.promote", tooltip="Copy it to models/"),
        Binding("R", "resume", "Resume exactly", show=False, id="checkpoints.resume",
                tooltip="The same run goes on from here, as if it had not ended"),
        Binding("n", "continue", "Continue on new data", show=False, id="checkpoints.continue",
                tooltip="Set up a new run that begins with its weights"),
        Binding("B", "rollback", "Roll back", show=False, id="checkpoints.rollback",
                tooltip="models/latest becomes what it was before it was promoted last. Asks first"),
        Binding("v", "verify", "Verify hashes", show=False, id="checkpoints.verify",
                tooltip="Read every byte of it, of a run all of its checkpoints, and compare with the manifest"),
        Binding("z", "fold_all", "Fold all", show=False, id="checkpoints.fold-all",
                tooltip="Fold every run, or unfold every one"),
        Binding("f", "read", "Read", show=False, id="checkpoints.read",
                tooltip="Give the whole area to what is told of the row, and take it back"),
        Binding("L", "live", "Live", show=False, id="checkpoints.live", tooltip="Show the run of this row live"),
        Binding("V", "parity", "Prove parity", show=False, id="checkpoints.parity",
                tooltip="Ask adapter, merged model and GGUF files the same, and say where they differ"),
        Binding("t", "chat", "Chat", show=False, id="checkpoints.chat",
                tooltip="Talk with the two that are marked, or with this one beside its base"),
        Binding("K", "stop_job", "Stop work", show=False, id="checkpoints.stop-job",
                tooltip="End the merge, export or proof that is under way"),
        Binding("y", "copy_view", "Copy", show=False, id="checkpoints.copy", tooltip="Copy the list as plain text"),
        Binding("Y", "copy_path", "Copy path", show=False, id="checkpoints.copy-path",
                tooltip="Copy the path of the row under the cursor"),
    ]  # fmt: skip

    def __init__(
        self,
        workspace: Path,
        *,
        feed: CatalogueFeed | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(workspace)
        self.feed = feed or CatalogueFeed(Workspace(workspace).runs)
        self.clock = clock
        self.filter = ""
        """The filter."""
        self.order = "lineage"
        """A name of `ORDERS`."""
        self.folded: dict[str, bool] = {}
        """Runs that somebody has folded or unfolded."""
        self.marked: list[tuple[str, str]] = []
        """Keys of the rows that are marked, at most two."""
        self._opened_for: str | None = None
        """A run whose best checkpoint the cursor goes to once it is known."""
        self.known: dict[tuple[str, str], tuple[CheckpointEntry, Details]] = {}
        """Checkpoints that were looked at, as they were listed then, and what was found."""
        self.verified: dict[str, CheckpointEntry] = {}
        """Checkpoints of which every byte was read, as that showed them, by folder."""
        self._again = asyncio.Event()
        self._due = asyncio.Event()
        self._rows: tuple[object, list[Row]] = (None, [])
        self._drawn: object = None
        self._table = CheckpointTable()
        self._pane = FactsPane(name="what is told")
        self._line = JobLine()
        self._line.key = "K"
        self._emptiness: Emptiness | None = None
        self._field: FilterField | None = None
        self._first_look = threading.Thread(target=self.feed.look, daemon=True)
        """Reads while the terminal is set up, so that the first paint shows checkpoints."""
        self._first_look.start()

    class Changed(Message):
        """Something may look different now. Neighbours in the queue are one."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, CheckpointsScreen.Changed)

    # Work

    @work(exclusive=True, group="follow-checkpoints", description="Reading the checkpoints", exit_on_error=False)
    async def follow(self) -> None:
        """Follow the runs for as long as the screen is there."""
        await asyncio.to_thread(self._first_look.join)
        self._show_if_stale()
        while True:
            more = await asyncio.to_thread(self.feed.look)
            self._show_if_stale()
            if more:
                await asyncio.sleep(0.005)
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), self._pause_seconds)
            self._again.clear()

    def _show_if_stale(self) -> None:
        """Draw again if what is on screen is not what is known, or how long ago things were."""
        if self._drawn != (self.feed.version, self.feed.complete, int(self.clock() // 60)):
            self.post_message(self.Changed())

    @property
    def in_front(self) -> bool:
        """Whether this is what one sees."""
        return self.app.screen is self

    @property
    def _pause_seconds(self) -> float:
        if not self.in_front:
            return HIDDEN_SECONDS
        return ACTIVE_SECONDS if self.feed.active else RESTING_SECONDS

    @work(exclusive=True, group="ask", description="Asking what to do with a checkpoint", exit_on_error=False)
    async def act(self, action: str, row: Row) -> None:
        """Ask, and do it if the user says so. What takes long is a job, which outlives this screen."""
        from screens.checkpoints import asking

        if action == "open":
            chosen = await asking.what_to_do(self, row)
            if chosen is not None:
                await self.run_action(chosen)
            return
        await {
            "pin": asking.pin, "delete": asking.delete, "drop_optimizer": asking.drop_optimizer,
            "prune": asking.prune, "promote": asking.promote, "rollback": asking.rollback, "resume": asking.resume,
            "verify": asking.verify_hashes,
        }[action](self, row)  # fmt: skip

    @work(exclusive=True, group="ask", description="Asking what to make of a checkpoint", exit_on_error=False)
    async def make(self, what: str, spec: str) -> None:
        """Ask how, and begin: the work is a job, which outlives this screen."""
        if what == "merge":
            from screens.checkpoints.merging import ask_and_merge

            await ask_and_merge(self, spec)
        elif what == "parity":
            from screens.checkpoints.proving import ask_and_prove

            await ask_and_prove(self, spec)
        else:
            from screens.checkpoints.exporting import ask_and_export

            await ask_and_export(self, spec)

    @work(exclusive=True, group="stop", description="Asking whether to stop", exit_on_error=False)
    async def ask_to_stop(self, job: Job) -> None:
        """End a job, if the user says so."""
        from tui.widgets.confirm import Confirm

        if await self.app.push_screen_wait(Confirm(f"Stop this? {job.title}", "Nothing is left of it.", yes="Stop")):
            job.stopped.set()

    def look_at(self, run: str) -> None:
        """Read a run again, now."""
        self.feed.look_at(run)
        self._again.set()

    def forget(self, spec: str) -> None:
        """Read again what is told of a checkpoint."""
        for key, (checkpoint, _) in list(self.known.items()):
            if checkpoint.spec == spec:
                del self.known[key]
        self.show_again()

    def show_again(self) -> None:
        """Draw what is known."""
        self.post_message(self.Changed())

    @work(exclusive=True, group="details", description="Looking at a checkpoint", exit_on_error=False)
    async def look_at_details(self) -> None:
        """Read what is told of the checkpoint under the cursor once it rests there."""
        while True:
            await self._due.wait()
            self._due.clear()
            await asyncio.sleep(REST_SECONDS)
            row = self._table.selected
            if self._due.is_set() or row is None or row.checkpoint is None:
                continue
            found = await asyncio.to_thread(read_details, row.key, row.checkpoint)
            self.known.pop(row.key, None)
            self.known[row.key] = (row.checkpoint, found)
            while len(self.known) > KEPT:
                del self.known[next(iter(self.known))]
            self.show_facts()

    # Handlers

    @property
    def jobs(self) -> Jobs:
        """What is under way; it outlives this screen."""
        jobs: Jobs = self.app.jobs  # type: ignore[attr-defined]  # the application's module lies above this one
        return jobs

    def on_mount(self) -> None:
        self.jobs.listeners.add(self.show_again)
        self.show_all()
        self.follow()
        self.look_at_details()

    def on_unmount(self) -> None:
        self.jobs.listeners.discard(self.show_again)

    @on(CheckpointTable.Opened)
    def _opened(self) -> None:
        if row := self._table.selected:
            self.act("open", row)

    @on(events.ScreenResume)
    def _look_again(self) -> None:
        self._again.set()
        self._due.set()  # an evaluation elsewhere changes no checkpoint's folder
        self.post_message(self.Changed())

    @on(Changed)
    def _redraw(self) -> None:
        # Below a dialog every change would draw the dialog, too.
        if self.in_front:
            self.show_all()

    @on(CheckpointTable.Moved)
    def _moved(self) -> None:
        self.show_facts()

    @on(CheckpointTable.Folded)
    def _fold(self, message: CheckpointTable.Folded) -> None:
        self.folded[message.run] = message.folded
        self.show_all()

    @on(FilterInput.Changed)
    def _filter_changed(self, event: FilterInput.Changed) -> None:
        self.filter = event.value
        self.show_all()

    @on(FilterInput.Submitted)
    def _filter_done(self) -> None:
        self._close_filter(keep=True)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self.show_all)

    def _take_size(self, size: Size) -> None:
        super()._take_size(size)
        self.set_class(size.height >= TALL, "-tall")
        self.set_class(size.width >= BROAD, "-broad")

    # Keys: what is seen

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is being written need not be begun."""
        if action == "filter" and isinstance(self.focused, FilterInput):
            return False
        return super().check_action(action, parameters)

    async def action_filter(self) -> None:
        """Write a filter."""
        if self._field is None:
            self._field = FilterField("run, step, best, pinned, damaged; !word leaves out")
            await self.mount(self._field, after=self.query_one("#body"))
        self.add_class("-filtering")
        self.set_focus(self._field.input)  # at once: the next letters are meant for it

    def _close_filter(self, *, keep: bool) -> None:
        if self._field is not None:
            if not keep:
                self._field.input.value = ""
            self.set_class(bool(self._field.input.value.strip()), "-filtering")
        self._table.focus()

    def step_out(self) -> bool:
        if self.has_class("-reading"):
            self.action_read()
        elif isinstance(self.focused, FactsPane):
            self._table.focus()
        elif self.has_class("-filtering"):
            self._close_filter(keep=False)
        elif self.marked:
            self.marked.clear()
            self.show_all()
        else:
            return False
        return True

    def action_order(self) -> None:
        """List in the next order."""
        orders = orders_for(self.feed.catalogue.runs)
        at = orders.index(self.order) if self.order in orders else -1
        self.order = orders[(at + 1) % len(orders)]
        self._table.sorted_by = ORDERS[self.order].column
        self.notify(f"Order: {ORDERS[self.order].explanation}.", timeout=3)
        self.show_all()

    def action_fold_all(self) -> None:
        """Fold every run, or unfold all where all are folded."""
        listed = [row for row in self.rows if row.checkpoint is None and row.run.checkpoints]
        fold = any(not row.folded for row in listed)
        self.folded.update({row.run.name: fold for row in listed})
        self.show_all()

    def action_read(self) -> None:
        """Give the area to what is told of the row, and take it back."""
        reading = not self.has_class("-reading")
        self.set_class(reading, "-reading")
        (self._pane if reading else self._table).focus()
        self.call_after_refresh(self.show_facts)

    def action_mark(self) -> None:
        """Mark the checkpoint under the cursor, or take the mark back."""
        row = self._table.selected
        if row is None or row.checkpoint is None:
            self.notify("Put the cursor on a checkpoint: two of them can be marked, and c compares them.")
            return
        if row.key in self.marked:
            self.marked.remove(row.key)
        else:
            self.marked = [*self.marked[-1:], row.key]
        self.show_all()

    def action_compare(self) -> None:
        """Show what differs between two checkpoints."""
        pair = self._pair()
        if isinstance(pair, str):
            self.notify(pair, severity="warning")
        else:
            from screens.checkpoints.compare import CompareScreen

            self.app.push_screen(CompareScreen(self.workspace, *pair))

    def _pair(self) -> tuple[CheckpointEntry, CheckpointEntry] | str:
        """Return the two that are to be compared, or why there are none."""
        marked = [one for key in self.marked if (one := self.feed.catalogue.find(*key)) is not None]
        row = self._table.selected
        if len(marked) == 2:
            return marked[0], marked[1]
        if row is None or row.checkpoint is None:
            return "Put the cursor on a checkpoint, or mark two with space."
        other = marked[0] if marked else best_of(row.run)
        if other is None:
            return "Mark another one with space, to compare this one with."
        if (other.run, other.step) == (row.checkpoint.run, row.checkpoint.step):
            return "This is the one it would be compared with: mark another one with space."
        return other, row.checkpoint

    def action_live(self) -> None:
        """Show the run live."""
        if row := self._table.selected:
            self.post_message(OpenRun(row.run.name))

    # Keys: what is done

    def _refused(self, action: str) -> Row | None:
        """Return the row under the cursor if `action` makes sense for it; else say why not."""
        row = self._table.selected
        if why_not := refusal(action, row):
            self.notify(why_not, severity="warning")
            return None
        return row

    def _do(self, action: str) -> None:
        if row := self._refused(action):
            self.act(action, row)

    def action_pin(self) -> None:
        """Keep the checkpoint, or let it be removed again."""
        self._do("pin")

    def action_delete(self) -> None:
        """Delete the checkpoint."""
        self._do("delete")

    def action_drop_optimizer(self) -> None:
        """Drop what only exact resume needs."""
        self._do("drop_optimizer")

    def action_prune(self) -> None:
        """Remove what is neither newest, best nor pinned."""
        self._do("prune")

    def action_promote(self) -> None:
        """Copy it to models/."""
        self._do("promote")

    def action_rollback(self) -> None:
        """Exchange the promoted model with the one before it."""
        self._do("rollback")

    def action_resume(self) -> None:
        """Go on with the run from here."""
        self._do("resume")

    def action_continue(self) -> None:
        """Open the form of a run that begins with these weights; of one like any other while there are none."""
        if self._table.selected is None:
            self.post_message(OpenScreen("configure"))
        elif entry := self._weights("continue"):
            self.post_message(OpenScreen("configure", entry.spec))

    def action_merge(self) -> None:
        """Make one model of it and its base."""
        if entry := self._weights("merge"):
            self.make("merge", entry.spec)

    def action_export(self) -> None:
        """Write GGUF files of it."""
        if entry := self._weights("export"):
            self.make("export", entry.spec)

    def action_parity(self) -> None:
        """Prove that every form of it is the same model."""
        if entry := self._weights("parity"):
            self.make("parity", entry.spec)

    def action_chat(self) -> None:
        """Talk with two checkpoints, or with one and its base."""
        marked = [one for key in self.marked if (one := self.feed.catalogue.find(*key)) is not None]
        if len(marked) == 2 and all(one.fault is None for one in marked):
            self.post_message(OpenScreen("chat", "\n".join(one.spec for one in marked)))
            return
        if entry := self._weights("chat"):
            self.post_message(OpenScreen("chat", entry.spec))

    def _weights(self, action: str) -> CheckpointEntry | None:
        """Return the checkpoint of the row, of a run the one it stands for; else say why there is none."""
        row = self._refused(action)
        if row is None:
            return None
        entry = row.checkpoint or stands_for(row.run)
        if entry is None:
            self.notify(f"{row.run.name} has no whole checkpoint.", severity="warning")
        return entry

    def action_verify(self) -> None:
        """Read every byte."""
        self._do("verify")

    def action_stop_job(self) -> None:
        """End what is under way."""
        running = [job for job in self.jobs.running if job.can_stop]
        if running:
            self.ask_to_stop(running[-1])
        else:
            self.notify("Nothing is under way that could be stopped.")

    def action_copy_path(self) -> None:
        """Copy the path of the row."""
        if row := self._refused("copy_path"):
            path = str(row.checkpoint.path) if row.checkpoint is not None else row.run.summary.path
            self.post_message(CopyText(path, "the path"))

    # View

    def compose_body(self) -> ComposeResult:
        self._opened_for = self.opened_as[1]
        # A workspace on a network that does not answer must not keep the screen from being drawn.
        self._first_look.join(FIRST_LOOK_SECONDS)
        self.set_class(not self.feed.catalogue.runs, "-empty", update=False)
        self._table.glyphs = self.glyphs
        self._line.glyphs = self.glyphs
        with Container(id="body"):
            yield self._table
            yield self._pane
        yield self._line

    @property
    def glyphs(self) -> GlyphSet:
        """What can be drawn."""
        return self.terminal.glyphs  # type: ignore[return-value]

    @property
    def rows(self) -> list[Row]:
        """What is listed."""
        of = (self.feed.version, self.filter, self.order, tuple(self.folded.items()))
        if self._rows[0] != of:
            self._rows = (of, rows(self.feed.catalogue.runs, self.filter, self.order, self.folded))
        return self._rows[1]

    @property
    def selected(self) -> Row | None:
        """The row under the cursor; None in an empty list."""
        return self._table.selected

    @property
    def marks(self) -> dict[tuple[str, str], str]:
        """Letters of the rows that are marked."""
        return dict(zip(self.marked, "AB", strict=False))

    def details_of(self, row: Row) -> Details | None:
        """Return what was read of a row; None where nothing was."""
        known = self.known.get(row.key)
        return known[1] if known is not None else None

    def verified_of(self, row: Row) -> CheckpointEntry | None:
        """Return the checkpoint as reading every byte has shown it; None where nobody did since it was written."""
        found = self.verified.get(row.checkpoint.folder) if row.checkpoint is not None else None
        same = found is not None and row.checkpoint is not None and found.created == row.checkpoint.created
        return found if same else None

    def show_all(self) -> None:
        """Put what is known on screen: what changed, where it is seen."""
        now, runs = self.clock(), self.feed.catalogue.runs
        self._drawn = (self.feed.version, self.feed.complete, int(now // 60))
        query = self.filter.strip()
        select = self._wanted()
        listed = self.rows
        self._line.jobs = tuple(self.jobs.running)
        self.set_class(bool(self._line.jobs), "-working")
        self._line.redraw()
        self.sub_title = tally(runs, listed if query else None)
        self.set_class(not listed, "-empty")
        self._table.titled = not self.has_class("-line")
        self._table.marks = self.marks
        self._table.show(listed, now, select)
        if listed and self.focused is None and self.in_front:
            self._table.focus()  # it was hidden while nothing was listed
        if not listed:
            self._show_emptiness(query)
        self.show_facts()

    def _wanted(self) -> tuple[str, str] | None:
        """Return the row the screen was opened for, once it is known."""
        run = next((run for run in self.feed.catalogue.runs if run.name == self._opened_for and not run.pending), None)
        if run is None:
            return None
        self._opened_for = None
        self.folded = {run.name: False}
        best = best_of(run)
        return run.name, best.name if best is not None else ""

    def _show_emptiness(self, query: str) -> None:
        if self._emptiness is None:
            self._emptiness = Emptiness()
            self.mount(self._emptiness, before=self.query_one("#body"))
        folder, reading = str(self.feed.folder), not self.feed.complete
        said = nothing_found(query) if self.feed.catalogue.runs else nothing_yet(folder, reading=reading)
        self._emptiness.show(said)

    def show_facts(self) -> None:
        """Put what is told of the row under the cursor on screen."""
        row = self._table.selected
        if row is None or (self.has_class("-line") and not self.has_class("-reading")):
            return
        self.feed.near = row.run.name
        known = self.known.get(row.key)
        if row.checkpoint is not None and (known is None or known[0] is not row.checkpoint):
            self._due.set()
        details = self.details_of(row)
        now, glyphs, verified = self.clock(), self.glyphs, self.verified_of(row)
        self._pane.title = self._title(row)
        self._pane.show(lambda width: facts(row, details, now, width, glyphs, verified), row.key)

    def _title(self, row: Row) -> list[Piece]:
        return [(plain(row.spec, limit=200), "a")]

    def plain_text(self) -> str:
        """Return the whole view as text."""
        from screens.checkpoints.twin import twin

        return twin(self)
