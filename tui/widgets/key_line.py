"""The last line: which keys do what here, right now.

One widget that draws one line. Textual's Footer is a widget for each key, mounted anew at each change of focus: 8 ms
of the first paint, and absent from the first frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual import events
from textual.binding import ActiveBinding, Binding
from textual.content import Content
from textual.screen import Screen
from textual.widget import Widget

from tui.display import cell_len, plain


@dataclass(frozen=True, slots=True)
class KeyHint:
    """One entry of the line."""

    key: str
    """What a click presses."""
    shown: str
    """The key as a person reads it."""
    label: str
    enabled: bool


_CHARACTERS = {"slash": "/", "plus": "+", "minus": "-"}
"""Keys that Textual cannot turn back into the character they type: it lists them where a field takes them as text."""


def active_bindings(screen: Screen[object]) -> list[ActiveBinding]:
    """Return what keys do now, nearest to the focus first, without those that the field in focus takes as text."""
    focused = screen.focused
    return [
        active
        for key, active in screen.active_bindings.items()
        if focused is None
        or active.node is focused
        or key not in _CHARACTERS
        or not focused.check_consume_key(key, _CHARACTERS[key])
    ]


def key_hints(screen: Screen[object]) -> list[KeyHint]:
    """Return the shown bindings of `screen`, nearest to the focus first; the keys of a group are one entry."""
    hints: list[KeyHint] = []
    seen: set[tuple[int, str]] = set()
    groups: dict[Binding.Group, int] = {}
    for active in active_bindings(screen):
        binding = active.binding
        if not binding.show or (id(active.node), binding.action) in seen:
            continue
        seen.add((id(active.node), binding.action))
        shown = plain(screen.app.get_key_display(binding), limit=20)
        if binding.group is not None:
            at = groups.setdefault(binding.group, len(hints))
            if at < len(hints):
                hints[at] = KeyHint(hints[at].key, hints[at].shown + shown, hints[at].label, hints[at].enabled)
                continue
        label = binding.group.description if binding.group is not None else binding.description
        hints.append(KeyHint(binding.key, shown, plain(label, limit=40), active.enabled))
    return hints


def fitting(hints: Iterable[KeyHint], width: int) -> list[KeyHint]:
    """Return the hints that fit into `width` cells. The last one, which leads to all others, always stays."""
    *first, last = list(hints) or [KeyHint("", "", "", False)]
    room = width - _cells(last)
    kept: list[KeyHint] = []
    for hint in first:
        room -= _cells(hint)
        if room < 0:
            break
        kept.append(hint)
    return [*kept, last]


def _cells(hint: KeyHint) -> int:
    return cell_len(hint.shown) + cell_len(hint.label) + 3


class KeyLine(Widget):
    """The hints of the active bindings. A click presses the key."""

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"key-line--key", "key-line--label", "key-line--off"}
    DEFAULT_CSS = """
    KeyLine {
        dock: bottom;
        height: 1;
        background: $panel;
        & > .key-line--key { color: $footer-key-foreground; text-style: bold; }
        & > .key-line--label { color: $foreground-muted; }
        & > .key-line--off { color: $foreground-muted; }
    }
    """

    def __init__(self) -> None:
        super().__init__()
        self._hints: list[KeyHint] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._bindings_changed)

    def _bindings_changed(self, screen: Screen[object]) -> None:
        if screen is self.screen and fitting(key_hints(screen), self.size.width) != self._hints:
            self.refresh()

    def render(self) -> Content:
        self._hints = fitting(key_hints(self.screen), self.size.width)
        key, label, off = (self.get_visual_style(f"key-line--{part}", partial=True) for part in ("key", "label", "off"))
        return Content.assemble(
            *(
                Content.assemble(
                    " ", Content.styled(hint.shown, key if hint.enabled else off), " ",
                    Content.styled(hint.label, label if hint.enabled else off), " ",
                )
                for hint in self._hints
            )
        )  # fmt: skip

    def on_click(self, event: events.Click) -> None:
        x = 0
        for hint in self._hints:
            x += _cells(hint)
            if event.x < x:
                if hint.enabled and hint.key:
                    self.app.simulate_key(hint.key)
                return
