"""The field in which a value is written, over the row it belongs to."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.geometry import Region
from textual.message import Message
from textual.widgets import Input


class ValueInput(Input):
    """Takes letters; says how to leave it in the line of keys."""

    HELP = (
        "The value, checked while it is typed. Lists are written [a, b], mappings {a: b}. Nothing is lost: what is "
        "wrong stays as it is typed, and the form says what it should be."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "keep(0)", "Keep", key_display="⏎", id="configure.keep", tooltip="Keep what is written"),
        Binding("down,tab", "keep(1)", "Keep, go down", show=False, id="configure.keep-down"),
        Binding("up,shift+tab", "keep(-1)", "Keep, go up", show=False, id="configure.keep-up"),
        Binding("escape", "give_up", "As before", id="configure.as-before", tooltip="Leave the value as it was"),
    ]
    DEFAULT_CSS = """
    ValueInput {
        layer: over;
        display: none;
        width: 20;
        background: $panel;
        &.-open { display: block; }
    }
    """

    class Typed(Message):
        """Something else is written now."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    class Left(Message):
        """Writing is over.

        Args:
            keep: Whether what is written counts.
            rows: How far the cursor goes on.
        """

        def __init__(self, keep: bool, rows: int = 0) -> None:
            self.keep = keep
            self.rows = rows
            super().__init__()

    def __init__(self) -> None:
        super().__init__(compact=True, select_on_focus=False, name="the value")

    @property
    def open(self) -> bool:
        """Whether something is being written."""
        return self.has_class("-open")

    def write(self, text: str, at: Region, placeholder: str) -> None:
        """Open at a place of the form, with `text` in it."""
        with self.prevent(Input.Changed):
            self.value = text
        self.placeholder = placeholder
        self.cursor_position = len(text)
        self.place(at)
        self.add_class("-open")
        self.focus()

    def place(self, at: Region) -> None:
        """Move to another place."""
        self.styles.offset = (at.x, at.y)
        self.styles.width = max(4, at.width)

    def close(self) -> None:
        """Be gone."""
        self.remove_class("-open")

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.open:
            self.post_message(self.Typed(event.value))

    def action_keep(self, rows: int) -> None:
        """Keep what is written, and go on by rows."""
        self.post_message(self.Left(keep=True, rows=rows))

    def action_give_up(self) -> None:
        """Leave the value as it was."""
        self.post_message(self.Left(keep=False))
