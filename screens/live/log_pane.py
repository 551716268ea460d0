"""The run's log in plain words. It stays at the end unless somebody reads back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from tui.display import plain
from tui.messages import CopyText
from tui.state import Level, LogLine
from tui.widgets.text_rows import StyledText, as_text, wrapped
from tui.widgets.words import LEVELS, clock, day

_INDENT = 11
"""Cells before the words: time and sign."""


class LogPane(ScrollView, can_focus=True):
    """Draws the visible rows only."""

    HELP = "What the run said. It stays at the end unless you scroll back; G returns to the end."
    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {f"log-pane--{part}" for part in ("time", *LEVELS, "worker", "head")}
    DEFAULT_CSS = """
    LogPane {
        & > .log-pane--time { color: $text-muted; }
        & > .log-pane--info { color: $text; }
        & > .log-pane--good { color: $text-success; text-style: bold; }
        & > .log-pane--warning { color: $text-warning; }
        & > .log-pane--error { color: $text-error; text-style: bold; }
        & > .log-pane--worker { color: $text-muted; }
        & > .log-pane--head { color: $text-primary; text-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll_down", "Down", show=False, id="log.down"),
        Binding("k,up", "scroll_up", "Up", show=False, id="log.up"),
        Binding("ctrl+d", "page_down", "Page down", show=False, id="log.page-down"),
        Binding("ctrl+u", "page_up", "Page up", show=False, id="log.page-up"),
        Binding("g", "scroll_home", "Beginning", id="log.top", tooltip="To the first line"),
        Binding("G", "scroll_end", "End", id="log.end", tooltip="To the last line, and stay there"),
        Binding("y", "copy", "Copy log", id="log.copy", tooltip="Copy the whole log as text"),
    ]

    def __init__(self, *, ascii_only: bool = False, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Log"
        self._ascii_only = ascii_only
        self._lines: Sequence[LogLine] = ()
        self._worker_log: Sequence[str] = ()
        self._rows: list[list[StyledText]] = []
        self._drawn: object = None
        self._styles: dict[str, Style] = {}
        self._at_end = True
        """Nobody has scrolled back."""

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        self._at_end = round(new_value) >= self.max_scroll_y

    def show(self, lines: Iterable[LogLine], worker_log: Sequence[str]) -> None:
        """Draw what is new."""
        self._lines, self._worker_log = tuple(lines), tuple(worker_log)
        self.redraw()

    def redraw(self) -> None:
        """Draw unless this is what is drawn."""
        width = self.scrollable_content_region.width
        last = self._lines[-1] if self._lines else None
        now = (width, len(self._lines), last, self._worker_log)
        if now == self._drawn or not width:
            return
        at_end = self._at_end
        self._drawn = now
        self._rows = self.rows(width)
        self.virtual_size = Size(width, len(self._rows))
        if at_end:
            self._to_the_end()
        self.refresh()

    def _to_the_end(self) -> None:
        # Forced: there is no scroll bar yet when the first lines come.
        self.scroll_end(animate=False, immediate=True, force=True)
        self._at_end = True
        self.call_after_refresh(self._place_scroll_bar)

    def _place_scroll_bar(self) -> None:
        self.vertical_scrollbar.position = self.scroll_y

    def rows(self, width: int) -> list[list[StyledText]]:
        """Return the log in rows of `width` cells, each piece with the name of its part."""
        found: list[list[StyledText]] = []
        date = ""
        for line in self._lines:
            if (today := day(line.time)) != date:
                found += [[(today, "time")]] if date else []
                date = today
            found += _line_rows(line, width, self._ascii_only)
        if self._worker_log:
            found.append([("worker.log, its last lines", "head")])
            for said in self._worker_log:
                found += wrapped([(plain(said, limit=2_000), "worker")], width, 2)
        return found

    def text(self, width: int) -> str:
        """The log as plain text."""
        return as_text(self.rows(width))

    def last_row(self) -> list[StyledText]:
        """Return the newest line in one row, cut by whoever draws; empty without one."""
        return _line_rows(self._lines[-1], 4_000, self._ascii_only)[0] if self._lines else []

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        at = self.scroll_offset.y + y
        if at >= len(self._rows):
            return Strip.blank(width, self.rich_style)
        segments = [Segment(text, self._style(part)) for text, part in self._rows[at]]
        return Strip(segments).adjust_cell_length(width, self.rich_style)

    def _style(self, part: str) -> Style:
        if part not in self._styles:
            name = f"log-pane--{part}"
            known = name in self.COMPONENT_CLASSES
            self._styles[part] = self.get_component_rich_style(name) if known else self.rich_style
        return self._styles[part]

    def notify_style_update(self) -> None:
        self._styles.clear()
        super().notify_style_update()

    def on_resize(self) -> None:
        at_end = self._at_end
        self.redraw()
        if at_end:
            # Also when only the height has changed: how the run ended took some of it.
            self._to_the_end()

    def action_copy(self) -> None:
        """Copy the whole log."""
        self.post_message(CopyText(self.text(400), "the log"))


@lru_cache(4096)
def _line_rows(line: LogLine, width: int, ascii_only: bool) -> list[list[StyledText]]:
    sign, ascii_sign, _ = LEVELS[line.level]
    part: Level = line.level
    head: list[StyledText] = [
        (f"{clock(line.time)} ", "time"),
        (f"{ascii_sign if ascii_only else sign} ", part),
    ]
    # The time is never broken, whatever the width.
    rows = wrapped([(plain(line.text, limit=4_000), part)], max(8, width - _INDENT))
    first, *rest = rows
    return [[*head, *first], *([(" " * _INDENT, ""), *row] for row in rest)]
