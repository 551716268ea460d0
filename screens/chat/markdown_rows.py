"""Markdown as rows of cells, laid out by Rich. Loaded with the first finished answer: it brings the parser with it."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from typing import Any, ClassVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown
from rich.segment import Segment
from rich.style import Style
from rich.theme import Theme

from tui.widgets.cells import Piece

_CODES: Mapping[str, str] = {
    "h1": "a", "h2": "a", "h3": "a", "h4": "v", "h5": "v", "h6": "v", "h7": "v",
    "strong": "v", "em": "k", "emph": "k", "code": "b", "code_block": "b", "link": "b", "link_url": "b",
    "block_quote": "m", "item.bullet": "a", "item.number": "a", "hr": "o", "s": "d",
    "table.header": "v", "table.border": "o",
}  # fmt: skip
"""Name of Rich's style -> style code of `tui.widgets.cells`."""
_PART = "part"


class _Code(CodeBlock):
    """A block of code as it is: no colours, and lines that are too long go on below."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = max(4, options.max_width - 2)
        style = console.get_style("markdown.code_block")
        for line in str(self.text).rstrip("\n").split("\n"):
            for start in range(0, max(1, len(line)), width):
                yield Segment(f"  {line[start : start + width]}", style)
                yield Segment.line()


class _Heading(Heading):
    """A heading where the text begins, whatever its level."""

    LEVEL_ALIGN: ClassVar[dict[str, Any]] = {}


class _Markdown(Markdown):
    elements: ClassVar[dict[str, Any]] = {
        **Markdown.elements, "fence": _Code, "code_block": _Code, "heading_open": _Heading,
    }  # fmt: skip


def markdown_rows(text: str, width: int) -> list[list[Piece]]:
    """Return `text` laid out in `width` cells.

    Args:
        text: Cleaned, with its newlines. Addresses of links are written out, so that they can be read and copied.
        width: At least 8.
    """
    styles = {f"markdown.{name}": Style.from_meta({_PART: code}) for name, code in _CODES.items()}
    console = Console(
        file=StringIO(), width=width, color_system=None, theme=Theme(styles), markup=False, emoji=False,
        highlight=False, legacy_windows=False, force_terminal=False,
    )  # fmt: skip
    lines = console.render_lines(_Markdown(text, hyperlinks=False), pad=False)
    rows: list[list[Piece]] = []
    for line in lines:
        row = [(piece.text, _code(piece.style)) for piece in line if piece.text]
        blank = not "".join(text for text, _ in row).strip()
        if not blank or (rows and rows[-1]):  # one empty row is enough to part two things
            rows.append([] if blank else row)
    return rows[:-1] if rows and not rows[-1] else rows


def _code(style: Style | None) -> str:
    meta = style.meta if style is not None else {}
    return str(meta.get(_PART, " "))
