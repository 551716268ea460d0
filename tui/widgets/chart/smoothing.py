"""Exponential moving average over the columns of a curve."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from tui.widgets.chart.curve import Column, is_gap

SMOOTHINGS = (0.0, 0.6, 0.9, 0.97, 0.99)
"""What one key cycles through. Each is the weight of the past per row: 0 draws the raw curve."""

TAIL = 5.0
"""Rows, in units of 1 / (1 - weight), after which the past counts less than e^-5 = 0.7 %."""


@dataclass(slots=True)
class Average:
    """A debiased exponential moving average that eats whole columns.

    Equal, row by row, to the debiased average of Adam (Kingma & Ba, 2015, section 3): `weight` per row and a
    division by `1 - weight**rows`, so that the first values are not drawn towards 0. A column of n rows counts
    as n rows of its mean; one screen over a million rows and one over a hundred then agree.
    """

    weight: float
    """0..0.99."""
    total: float = 0.0
    share: float = 0.0
    """Weight that the rows seen so far have together, 0..1."""

    def take(self, column: Column) -> float:
        """Eat a column of finite values and return the average at its end."""
        keep: float = self.weight**column.count
        self.total = keep * self.total + (1.0 - keep) * column.mean
        self.share = keep * self.share + (1.0 - keep)
        return self.total / self.share

    def take_all(self, columns: Iterable[Column | None], restarts: Collection[int] = frozenset()) -> list[float | None]:
        """The average per column, None where there is no finite value. It begins anew before each of `restarts`."""
        found: list[float | None] = []
        for index, column in enumerate(columns):
            if index in restarts:
                self.total = self.share = 0.0
            found.append(None if column is None or is_gap(column) else self.take(column))
        return found


def rows_that_matter(weight: float) -> float:
    """How many rows back the average still sees."""
    return TAIL / (1.0 - weight)
