"""What a chart asks of the data it draws: columns of a history, never its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol


class Column(Protocol):
    """All rows of one curve that fall into one column of dots. NaN fields: a value that was not finite."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def mean(self) -> float: ...
    @property
    def last(self) -> float: ...
    @property
    def count(self) -> int:
        """Rows in the column, at least 1."""
        ...

    @property
    def non_finite(self) -> int:
        """Rows in the column whose value was NaN or infinite; with finite ones beside them it is marked as well."""
        ...


class Curve(Protocol):
    @property
    def label(self) -> str:
        """Short and foreign: cleaned before it is drawn."""
        ...

    @property
    def style(self) -> Literal["line", "points"]:
        """A `line` is logged at every step or nearly; `points` are rare (evaluations) and get a marker each."""
        ...

    def x_range(self, axis: str) -> tuple[float, float] | None:
        """Smallest and largest x that has a value, None when there is none.

        Args:
            axis: One of `step`, `epoch`, `num_tokens`, `seconds`.
        """
        ...

    def columns(self, axis: str, x0: float, x1: float, width: int) -> Sequence[Column | None]:
        """Cut [x0, x1) into `width` equal columns. None: no row falls into that column."""
        ...


_LARGEST = 1e300
"""Twice as much is still a number."""


def is_gap(column: Column) -> bool:
    """A NaN or infinity was logged here: no line may pass through."""
    # One comparison that no NaN survives, instead of three calls.
    return not abs(column.low) + abs(column.high) < _LARGEST
