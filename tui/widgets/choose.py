"""A question with a list to choose from, and a line that narrows it or names what is not in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.display import cell_len, content, plain, truncate
from tui.steady import Steady
from tui.widgets.narrowing import narrowed

_WIDTH = 84


class Choice(NamedTuple):
    """One thing to choose."""

    value: str
    """What is answered."""
    name: str
    """What it is called. Foreign."""
    note: str = ""
    """What is said of it, at the right."""
    keep: str = "end"
    """What stays of a name that is too long: the "end" of a path, the "start" of a sentence."""


class Chooser(Steady, ModalScreen["str | None"]):
    """A list, and a line above it that narrows it or names something that is not in it. None for no answer.

    Args:
        title: What is asked.
        choices: What there is.
        placeholder: What may be typed.
        current: Value of the choice the cursor is on first.
        problem_of: Returns why what was typed cannot be taken, in a sentence; None when it can. Without it only
            what is listed can be chosen.
        about: A sentence below the title.
        typed: What the line begins with; it then narrows nothing.
    """

    HELP = "Type to narrow the list, or name something that is not in it. Enter takes what the cursor is on."
    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="chooser.cancel", priority=True),
        Binding("down", "cursor(1)", "Down", show=False, id="chooser.down", priority=True),
        Binding("up", "cursor(-1)", "Up", show=False, id="chooser.up", priority=True),
        Binding("pagedown", "cursor(10)", "Ten down", show=False, id="chooser.page-down", priority=True),
        Binding("pageup", "cursor(-10)", "Ten up", show=False, id="chooser.page-up", priority=True),
    ]
    DEFAULT_CSS = f"""
    Chooser {{
        align: center middle;
        background: $background 60%;
        & > #box {{
            width: {_WIDTH};
            max-width: 96%;
            height: auto;
            max-height: 90%;
            padding: 0 1;
            background: $surface;
            border: round $primary;
            border-title-color: $text-primary;
            border-title-style: bold;
            border-subtitle-color: $foreground-muted;
            & Static {{ width: 1fr; height: auto; }}
            & .note {{ color: $foreground-muted; margin-bottom: 1; }}
            & .problem {{ color: $text-error; display: none; }}
            &.-refused .problem {{ display: block; }}
            & OptionList {{
                height: auto; max-height: 20; background: $surface; border: none; padding: 0; margin-top: 1;
                scrollbar-size-vertical: 1;
            }}
        }}
    }}
    """

    def __init__(
        self,
        title: str,
        choices: Sequence[Choice],
        *,
        placeholder: str = "",
        current: str | None = None,
        problem_of: Callable[[str], str | None] | None = None,
        about: str = "",
        typed: str = "",
    ) -> None:
        super().__init__()
        self._title = title
        self._choices = choices
        self._placeholder = placeholder
        self._current = current
        self._problem_of = problem_of
        self._about = about
        self._typed = typed
        self._listed: list[Choice] = []
        self._moved = False

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = plain(self._title)
            box.border_subtitle = "Enter takes it, Esc leaves it"
            if self._about:
                yield Static(content(self._about), classes="note")
            yield Input(value=self._typed, placeholder=self._placeholder, compact=True, select_on_focus=False)
            yield Static(classes="problem")
            yield OptionList()

    def on_mount(self) -> None:
        self.query_one(OptionList).can_focus = False
        self._list("")

    def _list(self, query: str) -> None:
        self._listed = narrowed(self._choices, query, lambda one: one.name, lambda one: one.note)
        options = self.query_one(OptionList)
        options.clear_options()
        room = min(_WIDTH, int(self.app.size.width * 0.96)) - 6
        options.add_options([Option(_drawn(one, room)) for one in self._listed])
        options.display = bool(self._listed)
        if self._listed:
            values = [one.value for one in self._listed]
            options.highlighted = values.index(self._current) if self._current in values else 0

    @on(Input.Changed)
    def _narrow(self, event: Input.Changed) -> None:
        self.query_one("#box").remove_class("-refused")
        if event.value != self._typed or not self._typed:
            self._moved = False
            self._list(event.value if not self._typed else "")

    @on(Input.Submitted)
    def _submit(self) -> None:
        text = self.query_one(Input).value.strip()
        at = self.query_one(OptionList).highlighted
        # Where there is nothing to choose from, what stands in the line was proposed, and Enter takes it as it is.
        changed = text and (text != self._typed.strip() or not self._listed)
        listed = self._listed[at].value if at is not None and at < len(self._listed) else None
        # What was typed in full counts more than what it happens to narrow the list to.
        if changed and not self._moved and self._problem_of is not None and self._problem_of(text) is None:
            self.dismiss(text)
        elif listed is not None and (not changed or not self._typed or self._moved):
            self.dismiss(listed)
        else:
            problem = self._problem_of(text) if self._problem_of is not None and text else None
            if problem is None:
                problem = "There is nothing like that in the list." if self._choices else "Nothing is written yet."
            self.query_one(".problem", Static).update(content(problem))
            self.query_one("#box").add_class("-refused")

    @on(OptionList.OptionSelected)
    def _select(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._listed[event.option_index].value)

    def action_cursor(self, rows: int) -> None:
        """Move the cursor."""
        options = self.query_one(OptionList)
        if self._listed:
            self._moved = True
            options.highlighted = max(0, min(len(self._listed) - 1, (options.highlighted or 0) + rows))

    def action_leave(self) -> None:
        """Close without an answer."""
        self.dismiss(None)


def _drawn(choice: Choice, room: int) -> Content:
    note, name = plain(choice.note, limit=80), plain(choice.name, limit=400)
    beside = room - cell_len(note) - 2
    # A sentence that leaves the name less than half a row goes on below it.
    name = truncate(name, beside if beside >= min(room // 2, cell_len(name)) else room, keep=choice.keep)
    gap = " " * max(2, room - cell_len(name) - cell_len(note))
    return Content.assemble(name, gap if note else "", Content.styled(note, "$foreground-muted") if note else "")
