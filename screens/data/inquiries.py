"""What is asked of a whole file, in threads: its lines, a report, its statistics. Each can be stopped."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from engine.errors import EngineError
from screens.data.book import Book
from screens.data.lens import Settled
from screens.data.work_state import Activity

if TYPE_CHECKING:
    from engine.data.findings import Report
    from engine.data.statistics import Statistics

Tell = Callable[[], None]
"""Called, in the thread, when something looks different."""
_TRAIN = re.compile(r"(?i)train(?:ing)?")
_KEY = re.compile(r'"[^"]*"?|(?<!\S)([^\s="]+)=')
"""What stands in quotes, or a key."""
_VALIDATION = ("val", "valid", "validation", "dev", "eval", "test")


class Stopped(Exception):
    """Who asked does not want to know any more."""


def count_lines(book: Book, activity: Activity, tell: Tell) -> None:
    """Count the lines of a file, so that every one of them can be reached.

    Raises:
        Stopped: The user has stopped it; the beginning of the file can be read all the same.
        EngineError: The file cannot be read.
    """
    from engine.data.data_worker import WorkCancelled

    try:
        book.pages.build_index(_progress(activity, tell), activity.stopped.is_set)
        book.find_numbers()
    except WorkCancelled:
        raise Stopped from None


def examine(book: Book, settled: Settled | None, activity: Activity, tell: Tell) -> Report:
    """Return the doctor's report on a file, and on the validation file beside it.

    Args:
        book: The file.
        settled: Model and length; None looks at the rows alone.
        activity: Is told how far it is.
        tell: Told when that looks different.

    Raises:
        Stopped: The user has stopped it.
        EngineError: The file cannot be read.
    """
    from engine.data.doctor import Asked, Cancelled, examine_apart

    beside = validation_beside(book.path)
    asked = Asked(
        train=(str(book.path),),
        validation={"validation": str(beside)} if beside is not None else {},
        model=str(settled.folder) if settled is not None else None,
        max_length=settled.max_length if settled is not None else None,
        mapping=dict(book.mapping) if book.mapping else None,
    )
    total = book.pages.num_lines or 0
    forward = _progress(activity, tell)
    try:
        return examine_apart(
            asked, progress=lambda rows: forward(min(rows, total or rows), total), cancelled=activity.stopped.is_set
        )
    except Cancelled:
        raise Stopped from None


def statistics(book: Book, settled: Settled | None, activity: Activity, tell: Tell) -> Iterator[Statistics]:
    """Yield the statistics of a file as they become known, with what the validation file beside it shares with it.

    Raises:
        Stopped: The user has stopped it.
        EngineError: The file cannot be read.
    """
    from engine.data.data_worker import WorkCancelled
    from engine.data.statistics import Progress, Request, count

    beside = validation_beside(book.path)
    request = Request(
        [book.path],
        [beside] if beside is not None else [],
        settled.folder if settled is not None else None,
        settled.max_length if settled is not None else None,
        book.mapping,
    )

    def told(progress: Progress) -> None:
        activity.said = progress.stage
        if activity.report(progress.done, progress.total):
            tell()

    try:
        yield from count(request, told, activity.stopped.is_set)
    except WorkCancelled:
        raise Stopped from None


def search(book: Book, words: str, activity: Activity, tell: Tell) -> Iterator[list[int]]:
    """Yield rows of the table that hold a text or a value, some at a time, ascending.

    Raises:
        Stopped: The user has stopped it.
        EngineError: Nothing is asked for, or the file cannot be read.
    """
    from engine.data import search as searching
    from engine.data.data_worker import WorkCancelled

    try:
        yield from searching.search(
            book.path, in_metadata(words, book), _progress(activity, tell), activity.stopped.is_set
        )
    except WorkCancelled:
        raise Stopped from None


def in_metadata(words: str, book: Book) -> str:
    """Return a search in which `category=x` means `metadata.category=x` where only the metadata has that."""

    def named(match: re.Match[str]) -> str:
        key = match[1]
        return f"metadata.{key}=" if key and key in book.metadata and key not in book.columns else match[0]

    return _KEY.sub(named, words)


def longest(book: Book) -> list[int]:
    """Return the rows of the table that are longest in the file, ascending; none where it is not copied yet."""
    from screens.data.longest import longest_lines

    path = book.lines_file()
    return longest_lines(path) if path is not None else []


def settled_or_none(settle: Callable[[], Settled]) -> tuple[Settled | None, EngineError | None]:
    """Return a model and a length, or why there are none: the rows can be looked at without them."""
    try:
        return settle(), None
    except EngineError as error:
        return None, error


def validation_beside(path: Path) -> Path | None:
    """Return the validation file that belongs to a training file: its name with val, valid ... in place of train."""
    matches = list(_TRAIN.finditer(path.name))
    if not matches:
        return None
    match = matches[-1]
    for name in _VALIDATION:
        beside = path.with_name(f"{path.name[: match.start()]}{name}{path.name[match.end() :]}")
        if beside.is_file():
            return beside
    return None


def _progress(activity: Activity, tell: Tell) -> Callable[[int, int], None]:
    def forward(done: int, total: int) -> None:
        if activity.report(done, total):
            tell()

    return forward
