"""The line in which the search of the form is written."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Static


class SearchInput(Input):
    """Takes letters; says how to leave it in the line of keys."""

    HELP = (
        "Words that a setting must have in its name or description; other tools' names work too (lr, lora_rank). "
        "given, preset, automatic and wrong list what is; !word leaves out."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,down", "submit", "Keep", key_display="⏎", id="configure.search-keep",
                tooltip="Back to the form, which stays shortened"),
        Binding("escape", "screen.step_out", "Show all", id="configure.search-clear",
                tooltip="List every setting again"),
    ]  # fmt: skip


class SearchField(Horizontal):
    """A stroke, and the search behind it."""

    DEFAULT_CSS = """
    SearchField {
        height: 1;
        background: $panel;
        & > Static { width: 3; color: $footer-key-foreground; text-style: bold; }
        & > SearchInput { width: 1fr; background: $panel; }
    }
    """

    def compose(self) -> ComposeResult:
        yield Static(" / ")
        yield SearchInput(placeholder="a setting, what it does, given, wrong", compact=True, select_on_focus=False)

    @property
    def input(self) -> SearchInput:
        """What is written into."""
        return self.query_one(SearchInput)
