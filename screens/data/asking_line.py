"""The line in which a search or a line number is written."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Static

from tui.display import content


class LineInput(Input):
    """Takes letters; says how to leave it in the line of keys."""

    HELP = "Enter does it, Esc leaves everything as it was."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "submit", "Go", key_display="⏎", id="data.line-go", tooltip="Do it"),
        Binding("escape", "screen.step_out", "Cancel", id="data.line-cancel", tooltip="Leave it"),
    ]


class AskingLine(Horizontal):
    """A sign, and what is written behind it."""

    DEFAULT_CSS = """
    AskingLine {
        height: 1;
        background: $panel;
        & > Static { width: 7; color: $footer-key-foreground; text-style: bold; }
        & > LineInput { width: 1fr; background: $panel; }
    }
    """
    purpose = "search"
    """ "search" or "line"."""

    def compose(self) -> ComposeResult:
        yield Static()
        yield LineInput(compact=True, select_on_focus=False)

    @property
    def input(self) -> LineInput:
        """What is written into."""
        return self.query_one(LineInput)

    def ask(self, purpose: str, value: str, placeholder: str) -> None:
        """Begin to ask for something."""
        self.purpose = purpose
        self.query_one(Static).update(content({"search": "   / ", "line": " line "}[purpose]))
        self.input.placeholder = placeholder
        self.input.value = value
        self.input.cursor_position = len(value)
        self.screen.set_focus(self.input)  # now: `focus` does it later, when the next key has come
