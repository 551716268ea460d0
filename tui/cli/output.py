"""What every command prints with: facts to stdout, everything else to stderr, errors as a sentence and a remedy.

Nothing is printed past `tui.display.for_terminal`, and no JSON with a character outside of ASCII, so neither a row
nor a run's name can act on the terminal. Standard library only, and imported by `ftconsole runs`: every
millisecond counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any, TextIO

from engine.errors import ConfigError, DiskFull, EngineError, WorkspaceError
from tui.display import for_terminal

EXIT_INTERRUPTED = 130
"""After ctrl+c, as shells count: 128 + SIGINT."""
EXIT_MISTAKE = 1
"""After a bug of ours."""

_SGR = {"good": "32", "warning": "33", "error": "31", "dim": "2", "bold": "1"}


def out(text: str = "", *, end: str = "\n", style: str = "") -> None:
    """Print a fact to stdout. `style` is one of `_SGR`, left out where the stream shows no colours."""
    write(sys.stdout, text + end, style)


def note(text: str, *, style: str = "") -> None:
    """Print to stderr what a script that reads stdout need not know. Never fails: nothing depends on it."""
    with contextlib.suppress(OSError, WorkspaceError):
        write(sys.stderr, text + "\n", style)


def write(stream: TextIO | None, text: str, style: str = "") -> None:
    """Write text, made harmless, to a stream that may be closed (None).

    Raises:
        BrokenPipeError: Nobody reads the stream any more.
        WorkspaceError: It cannot be written for another reason; `DiskFull` where that is the reason.
    """
    if stream is None:
        return
    shown = printable(text, stream)
    if style and shows_colours(stream):
        body = shown.rstrip("\n")
        shown = f"\x1b[{_SGR[style]}m{body}\x1b[0m{shown[len(body) :]}"
    _put(stream, shown)


def write_raw(stream: TextIO | None, text: str) -> None:
    """Write text that holds escape sequences of our own. See `write` for what it raises."""
    if stream is not None:
        _put(stream, text)


def write_encodable(stream: TextIO | None, text: str) -> None:
    """Write text with escape sequences of our own and drawing characters that the stream may lack."""
    encoding = encoding_of(stream)
    if encoding != "utf-8":
        from tui.terminal.glyphs import TO_ASCII  # only on this path

        text = text.translate(TO_ASCII).encode(encoding, "replace").decode(encoding)
    write_raw(stream, text)


def flush() -> None:
    """Write out what is buffered. See `write` for what it raises."""
    if sys.stdout is not None:
        _put(sys.stdout, "")


def emit(value: object) -> None:
    """Print a JSON value to stdout, indented."""
    out(json_text(value))


def json_text(value: object, *, lines: bool = False) -> str:
    """Return strict JSON in ASCII. NaN and infinity must have become text before."""
    if lines:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    return json.dumps(value, allow_nan=False, indent=2)


def report(error: EngineError, *, as_json: bool) -> int:
    """Print an error to stderr, as text or as one JSON object, and return the exit code."""
    problems = error.problems if isinstance(error, ConfigError) else []
    if as_json:
        record: dict[str, Any] = dict(error.as_dict())
        if problems:
            record["problems"] = problems
        note(json_text({"error": record}))
        return error.exit_code
    if len(problems) > 1:
        note(f"error: The configuration has {len(problems)} problems:", style="error")
        for problem in problems:
            note(f"  - {problem}")
    elif problems:
        note(f"error: {problems[0].rstrip('.')}.", style="error")
    else:
        note(f"error: {error.message}", style="error")
    if error.remedy:
        note(f"  {error.remedy}")
    return error.exit_code


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; a closed one (None) is none."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # closed since
        return False


def shows_lines_anew(stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether a line of the stream can be drawn over."""
    return is_terminal(stream) and environ.get("TERM", "") not in ("", "dumb", "unknown")


def shows_colours(stream: TextIO | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether colours are wanted: on a terminal that has them, unless NO_COLOR is set and not empty."""
    return shows_lines_anew(stream, environ) and not environ.get("NO_COLOR") and not environ.get("FTCONSOLE_NO_COLOR")


def encoding_of(stream: TextIO | None) -> str:
    """Return what a stream encodes with, as Python names it: "utf-8", "iso8859-1"."""
    name = getattr(stream, "encoding", None) or "utf-8"
    return "utf-8" if name.lower().replace("-", "") in ("utf8", "utf8sig") else name


def printable(text: str, stream: TextIO | None) -> str:
    """Return `text` so that it can only be read on the stream. Our own drawing characters become ASCII where needed."""
    if text.isascii() and text.replace("\n", "").isprintable():  # 40 times faster than to look for what acts
        return text
    encoding = encoding_of(stream)
    if encoding != "utf-8":
        from tui.terminal.glyphs import TO_ASCII  # only on this path

        text = text.translate(TO_ASCII)
    return for_terminal(text, encoding=encoding)


def columns(default: int = 80) -> int:
    """Return how many columns the terminal has; `default` where there is none."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if is_terminal(stream):
                return os.get_terminal_size(stream.fileno()).columns or default
        except (OSError, ValueError):
            continue
    return default


def duration(seconds: float) -> str:
    """Return a length of time by its two largest units: "45 s", "3 min 20 s", "2 h 5 min", "4 d 1 h"."""
    whole = max(0, round(seconds))
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        amount, whole = divmod(whole, size)
        if amount:
            parts.append(f"{amount} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def abandon(stream: TextIO | None) -> None:
    """Point a stream at nothing, so that the interpreter's own flush at its end has nothing to complain of."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())  # type: ignore[union-attr]  # None has no fileno: suppressed
        os.close(nothing)


def _put(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError as error:
        abandon(stream)
        if isinstance(error, BrokenPipeError):
            raise
        import errno

        name = "standard output" if stream is sys.stdout else "standard error"
        kind = DiskFull if error.errno in (errno.ENOSPC, errno.EDQUOT) else WorkspaceError
        raise kind(
            f"Cannot write to {name}: {error.strerror}.", remedy="Check where the output is directed to."
        ) from error
