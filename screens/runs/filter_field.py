"""The line in which the filter of the list is written."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.widgets import Input, Static


class FilterInput(Input):
    """Takes letters; says how to leave it in the line of keys."""

    HELP = "Words that what is listed must have; !word must not be there."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,down", "submit", "Keep", key_display="⏎", id="runs.filter-keep",
                tooltip="Back to the list, which stays filtered"),
        Binding("escape", "screen.step_out", "Show all", id="runs.filter-clear", tooltip="List every run again"),
    ]  # fmt: skip


class FilterField(Horizontal):
    """A stroke, and the filter behind it.

    Args:
        placeholder: What may be written.
    """

    DEFAULT_CSS = """
    FilterField {
        height: 1;
        background: $panel;
        & > Static { width: 3; color: $footer-key-foreground; text-style: bold; }
        & > FilterInput { width: 1fr; background: $panel; }
    }
    """

    def __init__(self, placeholder: str = "name, model, state; !word leaves out") -> None:
        super().__init__()
        self._placeholder = placeholder

    def compose(self) -> ComposeResult:
        yield Static(" / ")
        yield FilterInput(placeholder=self._placeholder, compact=True, select_on_focus=False)

    @property
    def input(self) -> FilterInput:
        """What is written into."""
        return self.query_one(FilterInput)
