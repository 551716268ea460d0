"""Where the question is written: Enter sends, ctrl+j begins another line."""

from __future__ import annotations

from typing import ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import TextArea

from tui.display import plain


class Composer(TextArea):
    """A few lines of text."""

    HELP = "Enter asks both sides; ctrl+j begins another line; Esc goes to the answers, where letters are keys."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "send", "Ask both", id="chat.send", tooltip="Ask both sides what is written"),
        Binding("escape", "screen.step_out", "Keys", id="chat.keys", tooltip="To the answers, where letters are keys"),
        Binding("ctrl+j", "newline", "New line", id="chat.newline", tooltip="Begin another line"),
        Binding("ctrl+up", "recall(-1)", "Question before", show=False, id="chat.recall-before",
                tooltip="Write what was asked before once more"),
        Binding("ctrl+down", "recall(1)", "Question after", show=False, id="chat.recall-after",
                tooltip="Forward among what was asked before"),
    ]  # fmt: skip

    class Sent(Message):
        """A question is to be asked."""

        def __init__(self, text: str) -> None:
            self.text = text
            super().__init__()

    def __init__(self) -> None:
        super().__init__(id="composer", compact=True, soft_wrap=True, highlight_cursor_line=False)
        self.placeholder = "Ask both. Enter sends."
        self.asked: list[str] = []
        """What was asked, oldest first."""
        self._recalled = 0

    async def _on_key(self, event: events.Key) -> None:
        if event.key == "enter":
            event.stop()
            event.prevent_default()
            self.action_send()
            return
        if event.key == "escape":  # a TextArea would keep it
            event.stop()
            event.prevent_default()
            await self.screen.run_action("step_out")
            return
        await super()._on_key(event)

    def action_send(self) -> None:
        """Ask both sides."""
        if self.text.strip():
            self.post_message(self.Sent(self.text))
            self.clear()
            self._recalled = 0

    def action_newline(self) -> None:
        """Begin another line."""
        self.insert("\n")

    def action_recall(self, step: int) -> None:
        """Write what was asked before once more."""
        if self.asked:
            self._recalled = max(-len(self.asked), min(0, self._recalled + step))
            self.text = plain(self.asked[self._recalled], lines=400) if self._recalled else ""
            self.move_cursor(self.document.end)
