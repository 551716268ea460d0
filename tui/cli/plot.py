"""`ftconsole plot`: the curves of a run, drawn in the terminal by plotext, or written as a picture."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from typing import Any

from engine.events import json_number
from engine.runs.directory import find_run
from engine.workspace import Workspace
from tui.cli import output
from tui.cli.curves import X_LABELS, Asked, Curve, Panel, Part, Plot, fold
from tui.cli.ticks import x_ticks, y_ticks
from tui.settings import Settings, load_settings

__all__ = ["Asked", "plot"]

PICTURE_COLUMNS = 600
_LEAST_HEIGHT, _MOST_HEIGHT = 14, 24
"""Lines of one panel. Several need not fit on one screen: what is printed can be scrolled."""
_NO_TERMINAL = (80, 24)
_COLOURS = (12, 9, 10, 13, 14, 11)
"""Of the terminal's 16, one per curve."""
_GREY = 8
"""Of the curve under its average."""
_PLAIN_MARKERS = "+xo@%&"
"""Of the second curve and those after it where there are no colours."""


def plot(
    workspace: str | None,
    name: str,
    asked: Asked,
    *,
    picture: str | None,
    settings: Mapping[str, str | int | None],
    as_json: bool,
) -> int:
    """Draw, or write the picture.

    Args:
        workspace: As given before the command.
        name: Of the run.
        asked: Metrics, x axis, smoothing.
        picture: Path of a picture to write instead; its ending says which kind.
        settings: Of the console, as given before the command: `glyphs`.
        as_json: Print the columns instead, as many as the terminal has.

    Raises:
        NotFound, UsageError: See `fold`.
        MissingPackage, WorkspaceError: See `write_picture`.
    """
    run = find_run(Workspace.find(workspace).runs, name)
    chosen = load_settings(settings)
    if picture is not None:
        from tui.cli.picture import check_kind, write_picture

        check_kind(picture)
        drawn = fold(run, asked, PICTURE_COLUMNS)
        path = write_picture(picture, drawn)
        if as_json:
            output.emit({"run": run.name, "picture": str(path)})
        else:
            output.out(str(path))
        _say_what_is_missing(drawn)
        return 0
    width, height = shutil.get_terminal_size(_NO_TERMINAL)
    drawn = fold(run, asked, max(20, width))
    if as_json:
        output.emit(_as_dict(drawn))
        return 0
    coloured = output.shows_colours(sys.stdout)
    each = max(_LEAST_HEIGHT, min(_MOST_HEIGHT, (height - 2) // len(drawn.panels)))
    for number, panel in enumerate(drawn.panels):
        if number:
            output.out()
        text = draw(drawn, panel, max(20, width), each, marker=_marker(chosen), coloured=coloured)
        if coloured:
            output.write_encodable(sys.stdout, text + "\n")
        else:
            output.out(text)
    _say_what_is_missing(drawn)
    return 0


def draw(plot: Plot, panel: Panel, width: int, height: int, *, marker: str, coloured: bool) -> str:
    """Return one panel as lines of text: a line that names the curves, and the plot.

    Args:
        plot: For the x axis.
        panel: Its names can be shown as they are.
        width: Cells.
        height: Lines.
        marker: "braille", "hd" (half blocks) or a character.
        coloured: Whether the text holds SGR sequences. Without, curves differ by their marker.
    """
    import plotext  # 160 ms

    plotext.terminal.limit(False, False)
    figure = plotext.figure
    figure.clear()
    figure.theme("simple" if coloured else "colorless")
    figure.plot_size(width, height - 1)
    figure.label(X_LABELS[plot.axis])
    # plotext 6.1 leaves a logarithmic axis empty when it is given limits: logarithms are drawn instead.
    scaled: Callable[[float], float] = math.log10 if panel.log else float
    low, high = panel.y_range()
    values, labels = y_ticks(low, high, height // 3, log=panel.log)
    figure.ruler(1, 0).lim(scaled(low), scaled(high))
    figure.ruler(1, 0).ticks([scaled(value) for value in values], labels)
    figure.ruler(0, 0).lim(plot.x0, plot.x1)
    figure.ruler(0, 0).ticks(*x_ticks(plot.axis, plot.x0, plot.x1, width // 14))
    names = []
    for number, curve in enumerate(panel.curves):
        glyph = marker if coloured or number == 0 else _PLAIN_MARKERS[(number - 1) % len(_PLAIN_MARKERS)]
        colour = _COLOURS[number % len(_COLOURS)] if coloured else None
        _draw_curve(figure, curve, scaled, glyph, colour)
        names.append(_key(curve, glyph, colour))
    scale = ", logarithmic" if panel.log else ""
    lines = str(figure.build().string(colorless=not coloured)).rstrip("\n").split("\n")
    return "\n".join([f"{plot.run}{scale}:  {'   '.join(names)}", *(line.rstrip() for line in lines)])


def _draw_curve(figure: Any, curve: Curve, scaled: Callable[[float], float], glyph: str, colour: int | None) -> None:
    import plotext

    def line(xs: list[float], ys: list[float], colour: int | None) -> None:
        pixel = plotext.pixel() if colour is None else plotext.pixel(foreground=colour)
        signal = figure.signal(xs, [scaled(y) for y in ys], marker=plotext.marker(glyph, pixel))
        figure.draw(signal.lines())

    if not curve.averaged:
        for piece in curve.pieces:
            line(*_zigzag(piece), colour)
        return
    if colour is not None:  # without colours an average could not be told from what it averages
        for piece in curve.pieces:
            line(*_zigzag(piece), _GREY)
    for piece in curve.pieces:
        line([part.x for part in piece], [p.smoothed for p in piece if p.smoothed is not None], colour)


def _key(curve: Curve, glyph: str, colour: int | None) -> str:
    name = f"{curve.name}, smoothed" if curve.averaged else curve.name
    if colour is not None:
        return f"\x1b[38;5;{colour}m━━\x1b[0m {name}"
    return f"{ {'braille': '⠒⠒', 'hd': '▀▀'}.get(glyph, glyph) } {name}"


def _zigzag(piece: list[Part]) -> tuple[list[float], list[float]]:
    """Return at most two points per column, so that every spike is drawn and the line between columns is short."""
    xs: list[float] = []
    ys: list[float] = []
    for part in piece:
        ends = [part.low] if part.low == part.high else [part.low, part.high]
        if ys and abs(ys[-1] - ends[-1]) < abs(ys[-1] - ends[0]):
            ends.reverse()
        xs += [part.x] * len(ends)
        ys += ends
    return xs, ys


def _marker(settings: Settings) -> str:
    glyphs = settings.glyphs
    if glyphs == "auto":
        utf8 = output.encoding_of(sys.stdout) == "utf-8"
        glyphs = "ascii" if not utf8 else "block" if os.environ.get("TERM") == "linux" else "braille"
    return {"braille": "braille", "block": "hd"}.get(glyphs, "*")


def _say_what_is_missing(plot: Plot) -> None:
    if plot.empty:
        output.note(f"Nothing to draw of {', '.join(plot.empty)}: no value could be shown.", style="warning")


def _as_dict(plot: Plot) -> dict[str, Any]:
    curves = [curve for panel in plot.panels for curve in panel.curves]
    fields = ("x", "low", "high", "mean", "smoothed")
    return {
        "run": plot.run,
        "x": X_LABELS[plot.axis],
        "metrics": {
            curve.name: {
                name: [None if (v := getattr(part, name)) is None else json_number(v) for part in curve.parts()]
                for name in fields
            }
            for curve in curves
        },
    }
