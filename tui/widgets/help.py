"""The help overlay: what this is, and every key that does something now, read from the bindings themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen, Screen
from textual.widgets import Static

from tui.display import cell_len, content, plain
from tui.steady import Steady
from tui.widgets.key_line import active_bindings
from tui.widgets.text_rows import as_content, wrapped

_WIDTH = 76
"""Cells, where the screen has them."""


@dataclass(frozen=True, slots=True)
class KeyHelp:
    """One thing that can be done, and its keys."""

    keys: tuple[str, ...]
    """As a person reads them."""
    label: str
    explanation: str
    """Empty when the label says it all."""
    enabled: bool


@dataclass(frozen=True, slots=True)
class HelpGroup:
    """Where a group of keys works."""

    title: str
    about: str
    """The `HELP` of the screen or widget."""
    entries: tuple[KeyHelp, ...]


def help_groups(screen: Screen[object]) -> list[HelpGroup]:
    """Return the keys that work on `screen` now: its own, those of the focused widget, those of everywhere."""
    by_owner: dict[str, dict[tuple[int, str], KeyHelp]] = {"screen": {}, "focused": {}, "everywhere": {}}
    for active in active_bindings(screen):
        binding = active.binding
        label = (binding.tooltip and binding.description) or binding.description or binding.tooltip
        if not label or binding.system:
            continue
        if isinstance(active.node, App) or (binding.id or "").startswith("app."):
            owner = "everywhere"
        else:
            owner = "screen" if active.node is screen else "focused"
        entries, identity = by_owner[owner], (id(active.node), binding.action)
        key = plain(screen.app.get_key_display(binding), limit=20)
        known = entries.get(identity)
        keys = (*known.keys, key) if known else (key,)
        explanation = active.tooltip if active.tooltip != label else ""
        entries[identity] = KeyHelp(keys, plain(label), plain(explanation), active.enabled)
    focused = screen.focused
    groups = [HelpGroup(screen.title or "This screen", _about(screen), tuple(by_owner["screen"].values()))]
    if focused is not None and (by_owner["focused"] or _about(focused)):
        title = focused.name or str(focused.border_title or "") or type(focused).__name__
        groups.append(HelpGroup(f"In focus: {plain(title)}", _about(focused), tuple(by_owner["focused"].values())))
    groups.append(HelpGroup("Everywhere", "", tuple(by_owner["everywhere"].values())))
    return [group for group in groups if group.entries or group.about]


def _about(node: object) -> str:
    return inspect.cleandoc(getattr(node, "HELP", "") or "")


def help_text(groups: Iterable[HelpGroup]) -> str:
    """Return the help as plain text."""
    lines: list[str] = []
    for group in groups:
        lines += [group.title, *group.about.splitlines()]
        width = max((len(", ".join(entry.keys)) for entry in group.entries), default=0)
        lines += [
            f"  {', '.join(entry.keys):<{width}}  {entry.label}"
            + (f": {entry.explanation}" if entry.explanation else "")
            for entry in group.entries
        ]
        lines.append("")
    return "\n".join(lines).rstrip()


class Help(Steady, ModalScreen[None]):
    """Shows `groups` over the screen they are about."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,f1", "dismiss", "Close", id="help.close"),
        Binding("j", "scroll('down')", "Down", show=False, id="help.down"),
        Binding("k", "scroll('up')", "Up", show=False, id="help.up"),
        Binding("ctrl+d,space", "scroll('page_down')", "Page down", show=False, id="help.page-down"),
        Binding("ctrl+u", "scroll('page_up')", "Page up", show=False, id="help.page-up"),
        Binding("g", "scroll('home')", "Top", show=False, id="help.top"),
        Binding("G", "scroll('end')", "End", show=False, id="help.end"),
    ]
    DEFAULT_CSS = """
    Help {
        align: center middle;
        background: $background 60%;
        & > VerticalScroll {
            width: 76;
            max-width: 100%;
            height: auto;
            max-height: 100%;
            padding: 0 2;
            background: $surface;
            border: round $primary;
            border-title-color: $text-primary;
            border-subtitle-color: $foreground-muted;
            scrollbar-size-vertical: 1;
        }
    }
    """

    def __init__(self, groups: list[HelpGroup]) -> None:
        super().__init__()
        self.groups = groups

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = "Help"
            box.border_subtitle = "Esc closes"
            yield Static()

    def on_resize(self) -> None:
        self.query_one(Static).update(self._drawn())

    def _drawn(self) -> Content:
        lines: list[Content] = []
        # Border, padding and the scroll bar take seven cells.
        room = max(16, min(_WIDTH, self.app.size.width) - 7)
        for group in self.groups:
            lines.append(content(group.title, "bold $text-primary"))
            if group.about:
                lines.append(content(group.about, "$foreground-muted"))
            keys = [" ".join(entry.keys) for entry in group.entries]
            width = min(max((cell_len(key) for key in keys), default=0), 18)
            for key, entry in zip(keys, group.entries, strict=True):
                style = "" if entry.enabled else "$foreground-muted"
                pad = " " * max(0, width - cell_len(key))
                lines.append(
                    Content.assemble(
                        "  ", content(key, "bold $footer-key-foreground"), f"{pad}  ", content(entry.label, style)
                    )
                )
                if entry.explanation:
                    indent = width + 4
                    told = [(" " * indent, ""), (entry.explanation, "$foreground-muted")]
                    lines.append(as_content(wrapped(told, room, indent)))
            lines.append(Content())
        return Content("\n").join(lines[:-1])

    def action_scroll(self, where: str) -> None:
        """Scroll: "down", "up", "page_down", "page_up", "home" or "end"."""
        box = self.query_one(VerticalScroll)
        getattr(box, f"scroll_{where}")(animate=False)
