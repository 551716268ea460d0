"""A question that is answered with a few lines of text."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from tui.display import content, plain
from tui.steady import Steady

_CHARACTERS = 200_000


class TextDialog(Steady, ModalScreen["str | None"]):
    """Lines to write or to change. None leaves everything as it is.

    Args:
        title: What is asked.
        text: What it begins with. Foreign: what would act on the terminal is spelled out, and kept so if it is taken.
        about: A sentence below the title.
    """

    HELP = "Write. Ctrl+S takes it, Esc leaves everything as it is."
    AUTO_FOCUS = "TextArea"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "take", "Take it", id="text.take"),
        Binding("escape", "leave", "Cancel", id="text.cancel", priority=True),
    ]
    DEFAULT_CSS = """
    TextDialog {
        align: center middle;
        background: $background 60%;
        & > #box {
            width: 96;
            max-width: 96%;
            height: auto;
            max-height: 90%;
            padding: 0 1;
            background: $surface;
            border: round $primary;
            border-title-color: $text-primary;
            border-title-style: bold;
            border-subtitle-color: $foreground-muted;
            & Static { width: 1fr; height: auto; color: $foreground-muted; }
            & TextArea { height: auto; min-height: 4; max-height: 16; border: none; margin-top: 1; }
        }
    }
    """

    def __init__(self, title: str, text: str = "", *, about: str = "") -> None:
        super().__init__()
        self._title, self._text, self._about = title, text, about

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = plain(self._title, limit=200)
            box.border_subtitle = "Ctrl+S takes it, Esc leaves it"
            if self._about:
                yield Static(content(self._about))
            text = plain(self._text, limit=_CHARACTERS, lines=4_000)
            yield TextArea(text, compact=True, soft_wrap=True, highlight_cursor_line=False)

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.move_cursor(area.document.end)

    def action_take(self) -> None:
        """Close with the text."""
        self.dismiss(self.query_one(TextArea).text)

    def action_leave(self) -> None:
        """Close without one."""
        self.dismiss(None)
