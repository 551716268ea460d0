"""What every screen of the console is: one that outlives its own mistakes and waits for a slow terminal.

A mixin, because the command palette and the dialogs are Textual's own kinds of screen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from textual.await_complete import AwaitComplete
from textual.events import DescendantFocus
from textual.message import Message
from textual.reactive import Reactive

from tui.terminal.updates import ThriftyCompositor

if TYPE_CHECKING:
    from textual.message_pump import MessagePump
    from textual.screen import Screen


@runtime_checkable
class SteadyHost(Protocol):
    """What an application must offer. In any other one, mistakes end it and frames are drawn at once."""

    def contain(self, error: BaseException, where: MessagePump | None = None) -> bool:
        """Show `error` and go on. False: it cannot be contained."""

    def hold_frame(self) -> bool:
        """Whether the terminal has not taken the last frame yet. It says so later, by a refresh."""


if TYPE_CHECKING:
    _Base = Screen[Any]
else:
    # Not a Screen: style sheets are inherited from the first base that is one, which is to be the other.
    _Base = object


class Steady(_Base):
    """A screen whose exceptions end in the application's `contain`, not in its end, and that sends little."""

    # Textual repaints the whole screen when the focus moves: 17 kB for a tab that changes two borders.
    focused = Reactive(None, repaint=False)

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._compositor = ThriftyCompositor()

    def dismiss(self, result: Any = None) -> AwaitComplete:
        """Close with a result, once: Textual closes what is on top, for a second Enter the screen below."""
        return super().dismiss(result) if self.app.screen is self else AwaitComplete()

    async def _dispatch_message(self, message: Message) -> None:
        try:
            await super()._dispatch_message(message)
        except Exception as error:
            # The boundary: whatever a handler or a drawing raises is shown.
            host = self.app
            if not isinstance(host, SteadyHost) or not host.contain(error, self):
                raise

    def _compositor_refresh(self) -> None:
        host = self.app
        if isinstance(host, SteadyHost) and self is self.app.screen and host.hold_frame():
            # The compositor keeps the regions; only the widgets' marks would wake the timer again and again.
            self._dirty_widgets.clear()
            return
        super()._compositor_refresh()

    def on_descendant_focus(self, event: DescendantFocus) -> None:
        """Stop cursors from blinking: 0.4 % of a core and 500 B/s for as long as somebody thinks."""
        if hasattr(event.widget, "cursor_blink"):
            event.widget.cursor_blink = False
