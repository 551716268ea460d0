"""The first line: where one is. The workspace, the screen and what it shows. No clock: it would redraw for ever."""

from __future__ import annotations

from typing import ClassVar

from textual.content import Content
from textual.widget import Widget

from tui.display import cell_len, plain, truncate


class TitleLine(Widget):
    """Draws the title and sub-title of its screen, and `place` at the right.

    Args:
        place: Path of the workspace; its end is shown where it does not fit.
    """

    ALLOW_SELECT = False
    COMPONENT_CLASSES: ClassVar[set[str]] = {"title-line--title", "title-line--about", "title-line--place"}
    DEFAULT_CSS = """
    TitleLine {
        dock: top;
        height: 1;
        background: $panel;
        & > .title-line--title { color: $text-primary; text-style: bold; }
        & > .title-line--about { color: $foreground; }
        & > .title-line--place { color: $foreground-muted; }
    }
    """

    def __init__(self, place: str = "") -> None:
        super().__init__()
        self._place = plain(place)

    def render(self) -> Content:
        title, about, place = (
            self.get_visual_style(f"title-line--{part}", partial=True) for part in ("title", "about", "place")
        )
        width = self.size.width - 2
        name = truncate(plain(self.screen.title or ""), width)
        what = truncate(plain(self.screen.sub_title or ""), width - cell_len(name) - 2)
        gap = width - cell_len(name) - (cell_len(what) + 2 if what else 0)
        where = truncate(self._place, gap - 2, keep="end")
        return Content.assemble(
            " ",
            Content.styled(name, title),
            "  " if what else "",
            Content.styled(what, about),
            " " * max(0, gap - cell_len(where)),
            Content.styled(where, place),
        )
