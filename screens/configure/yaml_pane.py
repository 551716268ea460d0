"""The configuration as text, to be edited beside the form."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.widgets import TextArea

from tui.display import plain

_KEY = re.compile(r"\s*(?:- )?[A-Za-z_][A-Za-z0-9_]*(?=:(?:\s|$))")
_COMMENT = re.compile(r"(?:^|\s)#.*$")


class YamlPane(TextArea):
    """Takes letters; says how to leave it in the line of keys."""

    HELP = "The same settings as text. What is typed here is in the form at once, and the other way round."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "screen.step_out", "To the form", id="configure.leave-text", tooltip="Back to the form"),
    ]
    COMPONENT_CLASSES: ClassVar[set[str]] = {"yaml-pane--key", "yaml-pane--comment"}
    DEFAULT_CSS = """
    YamlPane {
        border: none;
        padding: 0;
        background: $background;
        scrollbar-size-vertical: 1;
        scrollbar-size-horizontal: 0;
        & .text-area--cursor-line { background: $surface; }
        & .text-area--gutter, & .text-area--cursor-gutter { color: $text-disabled; background: $background; }
        & .yaml-pane--key { color: $text-primary; }
        & .yaml-pane--comment { color: $foreground-muted; }
        &:focus { border: none; }
    }
    """

    def __init__(self) -> None:
        super().__init__(
            name="the text",
            soft_wrap=False,
            show_line_numbers=True,
            tab_behavior="focus",
            compact=True,
            highlight_cursor_line=True,
        )
        self.cursor_blink = False
        self.match_cursor_bracket = False

    def get_line(self, line_index: int) -> Text:
        """Return a line for drawing. What acts on a terminal is replaced, character by character."""
        line = _harmless(self.document.get_line(line_index))
        drawn = Text(line, end="", no_wrap=True)
        if key := _KEY.match(line):
            drawn.stylize(self.get_component_rich_style("yaml-pane--key", partial=True), *key.span())
        if comment := _COMMENT.search(line):
            drawn.stylize(self.get_component_rich_style("yaml-pane--comment", partial=True), *comment.span())
        return drawn

    def replace_text(self, text: str, line: int | None = None) -> None:
        """Show another text; the cursor stays on its line, or goes to `line`, which is 1 for the first."""
        row, column = self.cursor_location
        if text != self.text:
            self.load_text(text)
        self.go_to_line(row + 1 if line is None else line, column if line is None else 0)

    def go_to_line(self, line: int, column: int = 0) -> None:
        """Put the cursor on a line; 1 is the first."""
        row = max(0, min(line - 1, self.document.line_count - 1))
        at = (row, min(column, len(self.document.get_line(row))))
        if self.cursor_location != at:
            self.move_cursor(at)


@lru_cache(1024)
def _harmless(line: str) -> str:
    if line.isascii() and line.isprintable():
        return line
    return "".join(c if c == "\t" or plain(c) == c else "\N{REPLACEMENT CHARACTER}" for c in line)
