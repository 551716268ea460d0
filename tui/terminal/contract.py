"""What this terminal can show, found out before Textual is imported, and what Textual is told about it.

Textual reads its environment when it is imported and gets three things wrong on its own: NO_COLOR still gives
colours, TERM=dumb gives truecolor, and without a terminal it hangs.
"""

from __future__ import annotations

import locale
import os
from collections.abc import Mapping
from dataclasses import dataclass

from engine.errors import TerminalError
from tui.settings import Settings

SSH_FPS = 15
"""Frames a second over SSH: 60 are more than a line of 64 kbit/s or the eye over 80 ms of delay can use."""
TMUX_SECONDS = 1.0
"""How long tmux may take to say whether its client shows UTF-8. It takes 5 ms; a hung server never answers."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """One terminal, as far as drawing is concerned."""

    charset: str = "utf-8"
    """Encoding of what we write, as Python names it."""
    glyphs: str = "braille"
    """"braille", "block" or "ascii"."""
    colour: str = "truecolor"
    """"truecolor", "256", "16" or "none"."""
    mouse: str = "click"
    """"off", "click" or "full"."""
    fps: int = 60
    theme: str = "ftconsole-dark"


def examine(settings: Settings, environ: Mapping[str, str], *, interactive: bool) -> Terminal:
    """Return what to draw with.

    Args:
        settings: What the user chose; their choices win over what is found out.
        environ: Of the process.
        interactive: Whether stdin and stdout are a terminal.

    Raises:
        TerminalError: This is no terminal a console could be drawn on.
    """
    remedy = "`ftconsole runs` lists the runs and `ftconsole watch RUN` follows one, both as plain text."
    if not interactive:
        raise TerminalError("The console needs a terminal for its input and its output.", remedy=remedy)
    term = environ.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        raise TerminalError(f"The console cannot be drawn on a terminal of type {term!r} (TERM).", remedy=remedy)
    charset = terminal_charset(environ)
    glyphs = settings.glyphs
    if charset != "utf-8" or glyphs == "ascii":
        glyphs = "ascii"
    elif glyphs == "auto":
        # The font of the Linux console has half blocks and no braille.
        glyphs = "block" if term == "linux" else "braille"
    colour = settings.colour if settings.colour != "auto" else colour_depth(environ)
    theme = settings.theme
    if colour == "none":
        theme = "ftconsole-plain"
    elif theme == "auto":
        theme = "ansi-dark" if colour == "16" else "ftconsole-dark"
    over_ssh = any(environ.get(name) for name in ("SSH_CONNECTION", "SSH_TTY"))
    return Terminal(
        charset=charset,
        glyphs=glyphs,
        colour=colour,
        mouse=settings.mouse,
        fps=settings.fps or (SSH_FPS if over_ssh else 60),
        theme=theme,
    )


def colour_depth(environ: Mapping[str, str]) -> str:
    """Return how many colours the terminal says it has: "truecolor", "256" or "16"."""
    if environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return "truecolor"
    term = environ.get("TERM", "").lower()
    if term.endswith("-direct"):
        return "truecolor"
    return "256" if "256color" in term or term == "xterm-kitty" else "16"


def terminal_charset(environ: Mapping[str, str]) -> str:
    """Return the encoding the terminal shows, "utf-8" where nothing says otherwise.

    The locale's name is what a terminal sets; Python's own UTF-8 mode hides it. "C" and nothing at all are what a
    container has whose terminal is as good as any, so they count as UTF-8, as they do for Python itself. Only tmux
    knows better: it draws `_` for every character its client is not told to show.
    """
    name = environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or ""
    _, _, charset = name.partition("@")[0].partition(".")
    if not charset and name not in ("", "C", "POSIX"):
        try:
            charset = locale.getlocale(locale.LC_CTYPE)[1] or "utf-8"
        except ValueError:
            charset = "utf-8"
    charset = _python_name(charset or "utf-8")
    if charset == "utf-8" and environ.get("TMUX") and "utf" not in name.lower() and _tmux_shows_ascii():
        return "ascii"
    return charset


def _python_name(charset: str) -> str:
    """Return the codec's one name; an unknown charset is only safe as ASCII."""
    import codecs

    try:
        name = codecs.lookup(charset).name
    except LookupError:
        return "ascii"
    return "utf-8" if name in ("utf-8", "utf-8-sig") else name


def _tmux_shows_ascii() -> bool:
    import subprocess

    try:
        said = subprocess.run(
            ["tmux", "display-message", "-p", "#{client_utf8}"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=TMUX_SECONDS,
            check=False,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    return said.strip() == b"0"


def textual_environment(terminal: Terminal) -> dict[str, str | None]:
    """Return the variables to set (None: to remove) before Textual is imported."""
    depths = {"truecolor": "truecolor", "256": "256", "16": "standard", "none": "standard"}
    return {
        "NO_COLOR": "1" if terminal.colour == "none" else None,
        "TEXTUAL_COLOR_SYSTEM": depths[terminal.colour],
        "TEXTUAL_THEME": None,
        "TEXTUAL_FPS": str(terminal.fps),
        "TEXTUAL_ANIMATIONS": "none",
        "TEXTUAL_SMOOTH_SCROLL": "0",
        "ESCDELAY": os.environ.get("ESCDELAY") or "25",
        # An exported size would win over the real one, for good.
        "COLUMNS": None,
        "LINES": None,
    }
