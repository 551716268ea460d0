"""The sentences of this screen: how a file is read, where one is in it, what to do where there is nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from screens.data.book import Book
from screens.data.lens import Settled, View
from screens.data.row_table import RowTable
from screens.data.work_state import Found
from tui.display import plain
from tui.widgets.cells import Piece
from tui.widgets.words import size_text

if TYPE_CHECKING:
    from engine.data.shapes import Recognised

NO_FILE: Final = (
    ("", "No data file is open."),
    ("o", "Choose one of this workspace or of the shipped samples, or type the path of any other."),
    (" ", "JSON lines, JSON, CSV, TSV, Parquet and Arrow are read as they are, packed with gzip or zstd as well."),
    ("?", "Every key and what it does."),
)
"""What stands there before a file is open; see `screens.runs.emptiness`."""
FORMATS: Final = {
    ".jsonl": "JSON lines", ".ndjson": "JSON lines", ".json": "JSON", ".csv": "CSV", ".tsv": "TSV",
    ".parquet": "Parquet", ".arrow": "Arrow",
}  # fmt: skip


def reading_pieces(book: Book) -> tuple[list[list[Piece]], list[Piece]]:
    """Return how a file is read, in groups with the most important first, and how large it is."""
    recognised = book.recognised
    groups: list[list[Piece]] = []
    try:
        used_bytes = book.path.stat().st_size
        size = size_text(used_bytes)
    except OSError:
        used_bytes, size = -1, "gone"
    if not used_bytes:
        groups.append([("! the file is empty", "w")])
    elif recognised is None or recognised.shape == "unknown":
        groups.append([("! no shape is recognised", "w"), ("  c", "k"), (" names the columns", "m")])
    else:
        groups += _shape_pieces(recognised)
    suffixes = [suffix.lower() for suffix in book.path.suffixes]
    packed = [suffix[1:] for suffix in suffixes if suffix in (".gz", ".zst")]
    form = " ".join([FORMATS.get(next((s for s in reversed(suffixes) if s in FORMATS), ""), ""), *packed]).strip()
    return groups, [(f"{form}, {size}" if form else size, "m")]


def _shape_pieces(recognised: Recognised) -> list[list[Piece]]:
    given = "  as you said" if recognised.given else ""
    groups: list[list[Piece]] = [[(recognised.shape, "a"), (given, "m")]]
    for field, column in recognised.columns.items():
        shown = plain(column, limit=60)
        groups.append([(f"{field}=", "m"), (shown, "v")] if shown != field else [(field, "v")])
    if not recognised.given and recognised.share < 1:
        also = f", others {', '.join(recognised.others[:3])}" if recognised.others else ""
        groups.insert(1, [(f"fits {recognised.share:.1%} of a sample{also}", "w")])
    return groups


def status_pieces(book: Book, table: RowTable, found: Found | None) -> list[list[Piece]]:
    """Return where the cursor is, and what is marked."""
    if not table.num_rows:
        return [[("no rows", "w")]]
    groups: list[list[Piece]] = []
    if table.only is not None:
        groups.append([("only ", "w")])
    if found is not None:
        pieces = found.pieces(table.line)
        groups = [[*groups[0], *pieces]] if groups else [pieces]
    # Rows of a table are not its lines; what names lines elsewhere means those of the file.
    in_file = f", line {book.line_of(table.line):,} of the file" if book.line_of(table.line) != table.line else ""
    unit = "row" if book.pages.copied else "line"
    return [*groups, [(f"{unit} {table.line:,} ", " "), (f"of {table.num_lines:,}{in_file}", "m")]]


def through_pieces(through: View, settled: Settled | None) -> list[Piece]:
    """Return the model and the length that rows are looked at through."""
    model = plain(through.model, limit=60)
    if settled is None:
        return [("m ", "k"), (f"{model} ", "m")]
    return [("m ", "k"), (model, " "), (f", {settled.max_length:,} tokens ", "m")]
