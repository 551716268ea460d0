"""A question with a list of answers that typing shortens: a choice, a preset, a run, a file, a problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from tui.display import cell_len, content, plain
from tui.steady import Steady
from tui.widgets.narrowing import narrowed
from tui.widgets.text_rows import as_content, wrapped

_LISTED = 300
"""More than these are found by typing."""
_LONGEST_LABEL = 44


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. Foreign text."""

    id: str
    label: str
    about: str = ""


class Picker(Steady, ModalScreen["str | None"]):
    """Asks; the answer's id, or None for none.

    Args:
        question: One sentence.
        answers: What there is to choose.
        current: Id of the one that holds now.
        free: What one may type instead of an answer, such as "or a path"; empty: nothing.
        written: What the field holds at first, where typing is allowed; it then counts before the answers.
        nothing: What is said where there are no answers.
    """

    HELP = "Typing shortens the list. Nothing happens until you choose; Esc leaves everything as it is."
    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "Choose", id="picker.choose"),
        Binding("escape", "leave", "Cancel", id="picker.cancel"),
        Binding("down,ctrl+n", "cursor(1)", "Down", show=False, id="picker.down"),
        Binding("up", "cursor(-1)", "Up", show=False, id="picker.up"),
        Binding("pagedown", "page(1)", "Page down", show=False, id="picker.page-down"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="picker.page-up"),
    ]
    DEFAULT_CSS = """
    Picker {
        align: center middle;
        background: $background 60%;
        & > #box {
            width: 76;
            max-width: 96%;
            height: auto;
            max-height: 96%;
            padding: 0 2;
            background: $surface;
            border: round $primary;
            border-title-color: $text-primary;
            border-subtitle-color: $foreground-muted;
            & Static { width: 1fr; height: auto; color: $text-muted; }
            & OptionList {
                height: auto; max-height: 16; background: $surface; border: none; padding: 0;
                scrollbar-size-vertical: 1;
            }
            & Input { margin: 0 0 1 0; background: $panel; }
        }
    }
    """

    def __init__(
        self,
        question: str,
        answers: Sequence[Answer],
        current: str | None = None,
        *,
        free: str = "",
        written: str = "",
        nothing: str = "There is nothing to choose from.",
    ) -> None:
        super().__init__()
        self._question = question
        self._answers = answers
        self._current = current
        self._free = free
        self._written = written
        self._nothing = nothing
        self._shown: Sequence[Answer] = ()

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = content(plain(self._question, limit=60))
            box.border_subtitle = content("⏎ chooses, Esc leaves")
            yield Input(self._written, placeholder=f"search, {self._free}" if self._free else "search", compact=True)
            yield OptionList()
            yield Static()

    def on_mount(self) -> None:
        self._list("", self._current)

    @on(Input.Changed)
    def _search(self, event: Input.Changed) -> None:
        # What stands there at first is a proposal, not a search.
        self._list("" if event.value == self._written else event.value, None)

    def _list(self, query: str, select: str | None) -> None:
        found = narrowed(self._answers, query, lambda answer: answer.label, lambda answer: answer.about)
        self._shown = found[:_LISTED]
        width = min(_LONGEST_LABEL, max((cell_len(plain(answer.label)) for answer in self._shown), default=0))
        options = self.query_one(OptionList)
        options.clear_options()
        room = max(16, min(76, int(self.app.size.width * 0.96)) - 7)
        options.add_options([Option(_drawn(answer, width, room, answer.id == self._current)) for answer in self._shown])
        ids = [answer.id for answer in self._shown]
        free = bool(self._free and self.query_one(Input).value.strip()) and (not found or bool(self._written))
        options.highlighted = ids.index(select) if select in ids else 0 if ids and not free else None
        options.display = bool(ids)
        left = len(found) - len(self._shown)
        said = f"{left:,} more; typing finds them" if left else ""
        if not ids:
            said = (
                f"⏎ takes what is written: {self._free}" if free else self._nothing if not query else "Nothing matches."
            )
        note = self.query_one(Static)
        note.update(content(said))
        note.display = bool(said)

    @on(Input.Submitted)
    def action_choose(self) -> None:
        """Close with the answer, or with what was typed."""
        at = self.query_one(OptionList).highlighted
        text = self.query_one(Input).value.strip()
        if at is not None and at < len(self._shown):
            self.dismiss(self._shown[at].id)
        elif self._free and text:
            self.dismiss(text)

    @on(OptionList.OptionSelected)
    def _select(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._shown[event.option_index].id)

    def action_cursor(self, rows: int) -> None:
        """Move the cursor."""
        options = self.query_one(OptionList)
        options.action_cursor_down() if rows > 0 else options.action_cursor_up()

    def action_page(self, pages: int) -> None:
        """Move the cursor by a page."""
        options = self.query_one(OptionList)
        if options.size:  # one that is not laid out yet knows no lines
            options.action_page_down() if pages > 0 else options.action_page_up()  # type: ignore[no-untyped-call]

    def action_leave(self) -> None:
        """Close without an answer."""
        self.dismiss(None)


def _drawn(answer: Answer, width: int, room: int, current: bool) -> Content:
    label = plain(answer.label, limit=300)
    mark = "• " if current else "  "
    if not answer.about:
        return as_content(wrapped([(mark + label, "")], room, indent=2))
    gap = " " * max(2, width - cell_len(label) + 2)
    about = (plain(answer.about, limit=300), "$foreground-muted")
    # A long name leaves no column beside it.
    indent = width + 4 if width + 20 < room else 4
    return as_content(wrapped([(mark + label + gap, ""), about], room, indent=indent))
