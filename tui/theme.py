"""The console's own two themes: quiet surfaces, so that what is bright on the screen is a curve or a warning.

The curve colours are Okabe and Ito's, told apart by most colour-blind eyes, in the order in which neighbours differ
most; the light theme has them darkened to a contrast of 3:1 on its background. Colour never stands alone: curves
also differ by name and order, states by a sign.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import BUILTIN_THEMES, Theme

CURVES = 6
"""Curve colours: `$curve-1` to `$curve-6`."""


def _curves(*colours: str) -> dict[str, str]:
    return {f"curve-{number}": colour for number, colour in enumerate(colours, 1)}


DARK = Theme(
    name="ftconsole-dark",
    primary="#56b4e9",
    secondary="#7f8ea3",
    accent="#e69f00",
    warning="#e6b800",
    error="#e8645a",
    success="#3dbb8f",
    foreground="#d8dde6",
    background="#14171c",
    surface="#1b1f26",
    panel="#232831",
    dark=True,
    variables={
        **_curves("#56b4e9", "#e69f00", "#3dbb8f", "#cc79a7", "#f0e442", "#d55e00"),
        "block-cursor-background": "#2c4a63",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "none",
        "border": "#56b4e9",
        "border-blurred": "#39414d",
        "scrollbar": "#39414d",
        "scrollbar-background": "#14171c",
        "footer-key-foreground": "#e69f00",
    },
)
LIGHT = Theme(
    name="ftconsole-light",
    primary="#0072b2",
    secondary="#5b6675",
    accent="#a35f00",
    warning="#8a6d00",
    error="#b3261e",
    success="#00785a",
    foreground="#1d232b",
    background="#fafbfc",
    surface="#f0f2f5",
    panel="#e4e8ed",
    dark=False,
    variables={
        **_curves("#0072b2", "#b56a00", "#00785a", "#a84f80", "#857a00", "#b84700"),
        "block-cursor-background": "#cfe3f2",
        "block-cursor-foreground": "#0b1a26",
        "block-cursor-text-style": "none",
        "border": "#0072b2",
        "border-blurred": "#c4cbd4",
        "scrollbar": "#c4cbd4",
        "scrollbar-background": "#fafbfc",
        "footer-key-foreground": "#a35f00",
    },
)
PLAIN = replace(
    BUILTIN_THEMES["ansi-dark"],
    name="ftconsole-plain",
    variables={
        **BUILTIN_THEMES["ansi-dark"].variables,
        # What other themes say by colour alone.
        "block-cursor-text-style": "reverse",
        "block-cursor-blurred-text-style": "underline",
        "input-cursor-text-style": "reverse",
        "link-style": "underline",
    },
)
"""For NO_COLOR: the terminal's own two colours. What is selected is reversed."""
THEMES = (DARK, LIGHT, PLAIN)


def curve_defaults(theme: Theme) -> dict[str, str]:
    """Return curve colours for a theme that has none of its own, so that every sheet can name them."""
    if theme.ansi:
        return _curves("ansi_cyan", "ansi_yellow", "ansi_green", "ansi_magenta", "ansi_blue", "ansi_red")
    own = (theme.primary, theme.accent, theme.success, theme.warning, theme.secondary, theme.error)
    return _curves(*(colour or theme.primary for colour in own))


@lru_cache(1024)
def _without_colour(style: Style) -> Style:
    return style.without_color


class Colourless(LineFilter):
    """Takes every colour out of what is drawn, and leaves bold, reverse and the like.

    Textual's own filter for NO_COLOR leaves greys, or a `39;49` before every piece of text.
    """

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:  # noqa: ARG002
        return [
            Segment(text, None if style is None else _without_colour(style), control)
            for text, style, control in segments
        ]
