"""The reports on a whole file in rows: what the doctor found, and the statistics with the histogram of lengths."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from screens.data.pane import Told
from tui.display import cell_len, plain, truncate
from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.text_rows import wrapped
from tui.widgets.words import count, size_text

if TYPE_CHECKING:
    from engine.data.findings import Finding, Report
    from engine.data.statistics import FileStatistics, Lengths, Overlap, Repeats, Statistics

GRADES: Final[Mapping[str, tuple[str, str, str]]] = {
    "grave": ("✗", "X", "e"),
    "warning": ("!", "!", "w"),
    "note": ("·", ".", "m"),
}
"""Of each grade: its sign, its sign in ASCII, and the style code of `cells`."""
_INDENT: Final = 2
_LINES: Final = 12
"""Line numbers that are written out below a finding."""
_CATEGORIES: Final = 12
_LABEL: Final = 14
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"


def report_rows(report: Report, width: int, glyphs: GlyphSet) -> list[Told]:
    """Return the doctor's report. Each finding that has lines leads somewhere: its place in `report.findings`."""
    counts = {grade: sum(one.grade == grade for one in report.findings) for grade in GRADES}
    told = [
        f"{number} {grade}{'s' if number > 1 and grade != 'grave' else ''}"
        for grade, number in counts.items()
        if number
    ]
    head: list[Piece] = [("✓ " if glyphs != "ascii" else "v ", "g"), ("nothing to complain of", "g")]
    if told:
        head = [(", ".join(told), "e" if counts["grave"] else "w")]
    rows = [Told(row) for row in wrapped(head, width)]
    rows_said = f"{report.rows_in:,} rows = {report.rows_kept:,} kept + {report.rows_listed:,} left out, listed below"
    if not report.rows_listed:
        rows_said = f"{report.rows_in:,} rows, all of them kept"
    rows += [Told(row) for row in wrapped([(rows_said, "m")], width)]
    if not report.with_template:
        rows += [
            Told(row) for row in wrapped([("Looked at without a chat template: masks and lengths are not known.", "m")],
                                         width)
        ]  # fmt: skip
    for place, finding in enumerate(report.findings):
        rows.append(Told([]))
        rows += _finding_rows(finding, place, width, glyphs)
    return rows


def _finding_rows(finding: Finding, place: int, width: int, glyphs: GlyphSet) -> list[Told]:
    sign, ascii_sign, style = GRADES[finding.grade]
    shown = ascii_sign if glyphs == "ascii" else sign
    head: list[Piece] = [(f"{shown} ", style), (finding.code, style)]
    number = f"{finding.count:,} row{'s' if finding.count != 1 else ''}" if finding.lines else ""
    if finding.left_out:
        number += ", left out"
    gap = width - sum(cell_len(text) for text, _ in head) - len(number)
    if number and gap >= 2:
        head += [(" " * gap, " "), (number, "m")]
    rows = [Told(head, place if finding.lines else None)]
    rows += [Told([(" " * _INDENT, " "), *row]) for row in wrapped([(plain(finding.message), " ")], width - _INDENT)]
    if finding.remedy:
        rows += [Told([(" " * _INDENT, " "), *row]) for row in wrapped([(plain(finding.remedy), "m")], width - _INDENT)]
    if finding.lines:
        rows.append(Told([(" " * _INDENT, " "), *_where(finding, width - _INDENT)]))
    return rows


def _where(finding: Finding, width: int) -> list[Piece]:
    paths = list(dict.fromkeys(path for path, _ in finding.lines))
    parts = []
    for path in paths:
        lines = [line for other, line in finding.lines if other == path][:_LINES]
        name = f"{plain(os.path.basename(path), limit=60)} " if len(paths) > 1 else ""
        parts.append(f"{name}line{'s' if len(lines) > 1 else ''} {', '.join(f'{line:,}' for line in lines)}")
    more = " ..." if finding.count > min(len(finding.lines), _LINES) else ""
    return [(truncate("; ".join(parts) + more, width), "k")]


def statistics_rows(found: Statistics, width: int, glyphs: GlyphSet, max_length: int | None) -> list[Told]:
    """Return the statistics of the files, the first one first."""
    rows: list[list[Piece]] = []
    for index, file in enumerate(found.files):
        if index:
            rows.append([])
        rows += _file_rows(file, width, named=len(found.files) > 1)
        for overlap in found.overlaps if not index else ():
            rows += [[], *_overlap_rows(overlap, width)]
        rows += _length_rows(file, width, glyphs, max_length)
    return [Told(row) for row in rows]


def _pair(name: str, text: str, width: int, style: str = " ") -> list[list[Piece]]:
    first, *rest = wrapped([(text, style)], max(8, width - _LABEL))
    label = truncate(plain(name, limit=60), _LABEL - 1)
    return [
        [(f"{label}{' ' * (_LABEL - cell_len(label))}", "m"), *first],
        *([(" " * _LABEL, " "), *row] for row in rest),
    ]


def _file_rows(file: FileStatistics, width: int, *, named: bool) -> list[list[Piece]]:
    rows: list[list[Piece]] = [[(plain(os.path.basename(file.path), limit=120), "a")]] if named else []
    listed = file.rows - file.usable
    usable = f"{file.usable:,} of them usable" if listed else "all usable"
    rows += _pair("rows", f"{file.rows:,} in {size_text(file.bytes)}, {usable}", width, "v")
    for reason, number in list(file.unusable.items())[:4]:
        rows += _pair("", f"! {number:,}: {plain(reason, limit=200)}", width, "w")
    rows += _pair("equal rows", _repeated(file.duplicates), width, "w" if file.duplicates.rows else " ")
    near = "looking for them ..." if file.near is None else _repeated(file.near)
    rows += _pair("nearly equal", near, width, "w" if file.near is not None and file.near.rows else " ")
    for name, counts in (("roles", file.roles), ("dataset_type", file.dataset_types), ("label", file.labels)):
        if counts:
            rows += _pair(
                name, ", ".join(f"{plain(key, limit=40)} {number:,}" for key, number in counts.items()), width
            )
    return rows


def _length_rows(file: FileStatistics, width: int, glyphs: GlyphSet, max_length: int | None) -> list[list[Piece]]:
    """Return how long the rows are, and what they are about."""
    rows: list[list[Piece]] = []
    if file.tokens is not None:
        tokens = file.tokens
        of = f"of {tokens.lengths.rows:,} rows drawn at random" if tokens.sampled else "of all rows"
        rows += [[], [("tokens per row", "a"), (f"  {of}, by the model's chat template", "m")]]
        limit = tokens.max_length if tokens.max_length is not None else max_length
        rows += _lengths(tokens.lengths, width, glyphs, limit)
        share, at = tokens.truncated_share, tokens.max_length
        if share is not None and at is not None:
            rows += wrapped([(_cut(share, at), "w" if share else "m")], width)
        if tokens.refused:
            rows += wrapped([(f"{tokens.refused:,} rows are not taken by the chat template", "w")], width)
    for title, lengths in (("characters per row", file.characters), ("characters per answer", file.answers)):
        if lengths is not None:
            rows += [[], [(title, "a")], *_lengths(lengths, width, glyphs, None)]
    if file.categories:
        rows += [[], [("categories", "a")]]
        shown = list(file.categories.items())[:_CATEGORIES]
        rows += _bars([(plain(name, limit=40), number) for name, number in shown], width, glyphs)
        rest = sum(file.categories.values()) - sum(number for _, number in shown) + file.other_categories
        if rest:
            rows.append([(f"{rest:,} rows of other categories", "m")])
    return rows


def _repeated(repeats: Repeats) -> str:
    if not repeats.rows:
        return "none"
    places = ", ".join(f"{later:,} as {earlier:,}" for later, earlier in repeats.first[:4])
    return f"{repeats.rows:,}: line {places}{' ...' if repeats.rows > 4 else ''}" if places else f"{repeats.rows:,}"


def _overlap_rows(overlap: Overlap, width: int) -> list[list[Piece]]:
    rows: list[list[Piece]] = [
        [("in training and validation", "a"), (f"  {plain(os.path.basename(overlap.validation), limit=120)}", "m")]
    ]
    rows += _pair("equal rows", _repeated(overlap.exact), width, "e" if overlap.exact.rows else " ")
    near = "looking for them ..." if overlap.near is None else _repeated(overlap.near)
    return [*rows, *_pair("nearly equal", near, width, "w" if overlap.near and overlap.near.rows else " ")]


def _cut(share: float, limit: int) -> str:
    if not share:
        return f"No row is longer than {limit:,} tokens."
    return f"{_share(share)} of the rows are longer than {limit:,} tokens and are cut."


def _share(share: float) -> str:
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"


def _lengths(lengths: Lengths, width: int, glyphs: GlyphSet, limit: int | None) -> list[list[Piece]]:
    """Return quantiles, and a bar for each class of lengths; a mark where `limit` lies."""
    quantiles = lengths.quantiles
    said = [f"median {quantiles.get('p50', 0):,}", f"95 % up to {quantiles.get('p95', 0):,}",
            f"longest {lengths.maximum:,}", f"{count(lengths.total)} in all"]  # fmt: skip
    rows = wrapped([("   ".join(said), " ")], width)
    classes = list(zip(lengths.edges, lengths.edges[1:], lengths.counts, strict=False))
    while classes and not classes[0][2]:
        del classes[0]
    while classes and not classes[-1][2]:
        del classes[-1]
    bars = [(f"{low:,}-{high - 1:,}" if high - low > 1 else f"{low:,}", number) for low, high, number in classes]
    over = [limit is not None and low >= limit for low, _, _ in classes]
    return [*rows, *_bars(bars, width, glyphs, over)]


def _bars(
    entries: Sequence[tuple[str, int]], width: int, glyphs: GlyphSet, bad: Sequence[bool] = ()
) -> list[list[Piece]]:
    """Return a bar for each entry, its name before it and its number behind."""
    if not entries:
        return []
    names = min(max(cell_len(name) for name, _ in entries), max(8, width // 3))
    most = max(number for _, number in entries) or 1
    room = max(4, width - names - len(f"{most:,}") - 3)
    rows: list[list[Piece]] = []
    for index, (name, number) in enumerate(entries):
        cut = index < len(bad) and bad[index]
        label = truncate(name, names, keep="ends")
        drawn = bar(number / most, room, glyphs, least=bool(number))
        rows.append([
            (" " * (names - cell_len(label)), " "), (label, "m"), (" ", " "),
            (drawn, "e" if cut else "b"), (f" {number:,}", "e" if cut else " "),
            (" cut" if cut and number else "", "e"),
        ])  # fmt: skip
    return rows


def bar(share: float, width: int, glyphs: GlyphSet, *, least: bool = False) -> str:
    """Return a bar of at most `width` cells.

    Args:
        share: Of the width, 0 to 1.
        width: Cells of the whole.
        glyphs: What can be drawn.
        least: Whether something is drawn however small the share is.
    """
    if glyphs == "ascii":
        return "#" * max(round(share * width), int(least))
    eighths = max(round(share * width * 8), int(least))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")
