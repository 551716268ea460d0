"""Keys that were typed before the key in front of them had its effect."""

from __future__ import annotations

import sys
from typing import TypeGuard
from weakref import WeakKeyDictionary

from textual import events
from textual.app import App
from textual.dom import DOMNode
from textual.widget import Widget
from textual.widgets import Input


class TypedAhead(App[None]):
    """Gives keys to the line that the key before them opened.

    Of `/abc` in one burst, pasted or over a slow line, all four are handed to the widget that has the focus; only then
    they come back, one by one, to be looked up as bindings. The line that `/` opens has the focus by then, and `abc`,
    which it was never given, would act as keys.
    """

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self._given_to: WeakKeyDictionary[events.Event, DOMNode] = WeakKeyDictionary()

    async def on_event(self, event: events.Event) -> None:
        if isinstance(event, events.Key):
            focused = self.focused
            if not event.is_forwarded:
                self._given_to[event] = focused or self.screen
            elif _takes_text(focused) and self._given_to.get(event, focused) is not focused:
                again = events.Key(event.key, event.character)
                self._given_to[again] = focused
                focused._forward_event(again)
                return
        await super().on_event(event)


def _takes_text(focused: Widget | None) -> TypeGuard[Widget]:
    """Whether a widget is written in. The module of text areas takes 15 ms to load: where it is not, there is none."""
    module = sys.modules.get("textual.widgets._text_area")
    return isinstance(focused, Input) or (module is not None and isinstance(focused, module.TextArea))
