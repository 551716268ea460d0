"""The settings of a chart: what is drawn, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from tui.widgets.chart.curve import Curve
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.chart.view import XView

STYLES = {
    "T": "chart--title",
    "i": "chart--note",
    "L": "chart--label",
    "V": "chart--value",
    "A": "chart--axis",
    "g": "chart--grid",
    "M": "chart--mark",
    "G": "chart--gap",
    "C": "chart--clipped",
    "X": "chart--crosshair",
    "1": "chart--train",
    "2": "chart--line-2",
    "3": "chart--line-3",
    "4": "chart--line-4",
    "5": "chart--band",
    "6": "chart--band-2",
    "7": "chart--band-3",
    "8": "chart--band-4",
    "a": "chart--eval",
    "b": "chart--points-2",
    "c": "chart--points-3",
    "d": "chart--points-4",
}
"""Style code in a `Frame` -> component class. The space is the widget's own style."""

AXIS_NAMES = {"step": "step", "epoch": "epoch", "num_tokens": "tokens", "seconds": "time", "time": "time"}


def _unplanned(axis: str) -> float | None:
    del axis
    return None


@dataclass
class Plot:
    """What is drawn and how."""

    title: str = ""
    curves: Sequence[Curve] = ()
    """First comes first: in the legend, and on top where lines cross."""
    marks: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Per axis, where checkpoints were saved."""
    bounds: Mapping[str, Sequence[tuple[float, str]]] = field(default_factory=dict)
    """Per axis, where another stage of the run begins, and its name, which is foreign."""
    x_planned: Callable[[str], float | None] = _unplanned
    """Per axis, where the run is expected to end; None when unknown."""
    x: XView = field(default_factory=XView)
    smoothing: float = 0.9
    """Weight of the past per row, 0..0.99. 0 draws the raw curve alone."""
    log_y: bool = False
    robust: bool = False
    """Fit the y axis to what is left after cutting 1 % off both ends; what is cut is marked at the edge."""
    glyphs: GlyphSet = "braille"
    empty: str = "no values yet"
