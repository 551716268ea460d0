"""A plot as a picture: SVG written here, PNG through whatever converter the machine has."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias
from xml.sax.saxutils import escape

from engine.errors import MissingPackage, UsageError
from engine.journal import write_error
from tui.cli.curves import X_LABELS, Curve, Panel, Part, Plot
from tui.cli.ticks import x_ticks, y_ticks

CONVERTERS: Mapping[str, Sequence[str]] = {
    "rsvg-convert": ("-o", "{png}", "{svg}"),
    "resvg": ("{svg}", "{png}"),
    "inkscape": ("{svg}", "-o", "{png}"),
    "magick": ("{svg}", "{png}"),
    "convert": ("{svg}", "{png}"),
}
"""Programs that make a PNG of an SVG, the most faithful first, and their arguments."""
CONVERT_SECONDS = 60.0
KINDS = (".svg", ".png")

_WIDTH, _HEIGHT, _HEAD = 900, 360, 34
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 40, 44
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Okabe and Ito's, darkest first, on white."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_X: TypeAlias = Callable[[Part], float]
_Y: TypeAlias = Callable[[float], float]
_PNG = b"\x89PNG\r\n\x1a\n"


def check_kind(path: str) -> None:
    """Refuse a picture of a kind that cannot be written, before anything is computed.

    Raises:
        UsageError: The ending is neither .svg nor .png.
        MissingPackage: There is no converter for PNG.
    """
    kind = Path(path).suffix.lower()
    if kind not in KINDS:
        raise UsageError(f"{path!r} is neither an .svg nor a .png.", remedy="Give the picture one of these endings.")
    if kind == ".png" and _converter() is None:
        raise MissingPackage(
            f"A PNG needs a converter, and none of {', '.join(CONVERTERS)} is installed.",
            remedy="Write an .svg, or install librsvg (Debian and Ubuntu: apt install librsvg2-bin).",
        )


def write_picture(given: str, plot: Plot) -> Path:
    """Write the picture, whole or not at all, and return its path.

    Raises:
        UsageError, MissingPackage: As `check_kind`, or the converter failed.
        WorkspaceError: The file cannot be written; `DiskFull` where that is the reason.
    """
    check_kind(given)
    path = Path(given)
    drawing = svg(plot).encode("utf-8")
    beside = path.with_name(f".{path.name}.{os.getpid()}{path.suffix.lower()}")
    try:
        if path.suffix.lower() == ".png":
            _convert(drawing, beside)
        else:
            beside.write_bytes(drawing)
        beside.replace(path)
    except OSError as error:
        cannot = write_error(path, error)
        raise type(cannot)(cannot.message, remedy="Choose another file with -o.") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    return path


def svg(plot: Plot) -> str:
    """Return the plot as an SVG document."""
    height = _HEAD + _HEIGHT * len(plot.panels)
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="12">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="24" font-size="16" font-weight="bold">{_text(plot.run)}</text>',
    ]
    for number, panel in enumerate(plot.panels):
        lines.append(f'<g transform="translate(0 {_HEAD + number * _HEIGHT})">')
        lines += _panel(plot, panel)
        lines.append("</g>")
    return "\n".join([*lines, "</svg>"]) + "\n"


def _panel(plot: Plot, panel: Panel) -> Iterator[str]:
    low, high = panel.y_range()
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x_of(x: float) -> float:
        return _LEFT + (x - plot.x0) / (plot.x1 - plot.x0) * (right - _LEFT)

    def y_of(y: float) -> float:
        if panel.log:
            share = (math.log10(y) - math.log10(low)) / (math.log10(high) - math.log10(low))
        else:
            share = (y - low) / (high - low)
        return bottom - share * (bottom - _TOP)

    for y, label in zip(*y_ticks(low, high, 6, log=panel.log), strict=True):
        at = y_of(y)
        yield f'<line x1="{_LEFT}" y1="{at:.1f}" x2="{right}" y2="{at:.1f}" stroke="#e5e5e5"/>'
        yield f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end" fill="#555555">{_text(label)}</text>'
    for x, label in zip(*x_ticks(plot.axis, plot.x0, plot.x1, 8), strict=True):
        at = x_of(x)
        yield f'<line x1="{at:.1f}" y1="{bottom}" x2="{at:.1f}" y2="{bottom + 5}" stroke="#555555"/>'
        yield f'<text x="{at:.1f}" y="{bottom + 19}" text-anchor="middle" fill="#555555">{_text(label)}</text>'
    yield f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="#555555"/>'
    middle = (_LEFT + right) / 2
    yield f'<text x="{middle:.0f}" y="{_HEIGHT - 6}" text-anchor="middle">{_text(X_LABELS[plot.axis])}</text>'
    legend = _LEFT
    for curve, colour in zip(panel.curves, _colours(len(panel.curves)), strict=True):
        yield from _curve(curve, colour, lambda part: x_of(part.x), y_of)
        yield f'<rect x="{legend}" y="{_TOP - 22}" width="14" height="4" fill="{colour}"/>'
        yield f'<text x="{legend + 20}" y="{_TOP - 16}">{_text(curve.name)}</text>'
        legend += 44 + 7 * len(curve.name)


def _curve(curve: Curve, colour: str, x_of: _X, y_of: _Y) -> Iterator[str]:
    for piece in curve.pieces:
        top = [f"{x_of(part):.1f},{y_of(part.high):.1f}" for part in piece]
        bottom = [f"{x_of(part):.1f},{y_of(part.low):.1f}" for part in reversed(piece)]
        middle = [f"{x_of(part):.1f},{y_of(part.mean):.1f}" for part in piece]
        smoothed = [f"{x_of(p):.1f},{y_of(p.smoothed):.1f}" for p in piece if p.smoothed is not None]
        if any(part.low < part.high for part in piece):
            yield f'<polygon points="{" ".join(top + bottom)}" fill="{colour}" fill-opacity="0.18"/>'
        if len(piece) == 1:
            x, y = middle[0].split(",")
            yield f'<circle cx="{x}" cy="{y}" r="2.5" fill="{colour}"/>'
            continue
        faint = ' stroke-opacity="0.35"' if smoothed else ""
        yield f'<polyline points="{" ".join(middle)}" fill="none" stroke="{colour}" stroke-width="1.3"{faint}/>'
        if smoothed:
            yield f'<polyline points="{" ".join(smoothed)}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _colours(count: int) -> list[str]:
    return [_COLOURS[number % len(_COLOURS)] for number in range(count)]


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))


def _converter() -> str | None:
    return next((name for name in CONVERTERS if shutil.which(name)), None)


def _convert(drawing: bytes, png: Path) -> None:
    """Make a PNG. Raises `UsageError` when the converter fails."""
    name = _converter()
    assert name is not None
    with tempfile.TemporaryDirectory(prefix="ftconsole-") as folder:
        source = Path(folder) / "plot.svg"
        made = Path(folder) / "plot.png"
        source.write_bytes(drawing)
        arguments = [part.format(svg=source, png=made) for part in CONVERTERS[name]]
        try:
            reply = subprocess.run(
                [name, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=CONVERT_SECONDS,
                check=False,
            )
            said = reply.stdout.decode("utf-8", "replace").strip().rpartition("\n")[2]
        except subprocess.TimeoutExpired:
            said = f"no answer within {CONVERT_SECONDS:g} s"
        content = made.read_bytes() if made.is_file() else b""
        if not content.startswith(_PNG):
            raise UsageError(f"{name} made no PNG: {said or 'it gave no reason'}.", remedy="Write an .svg instead.")
        png.write_bytes(content)
