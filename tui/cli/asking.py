"""Ask before something is done; where nobody can be asked, say which option means yes."""

from __future__ import annotations

import sys

from engine.errors import EngineError
from tui.cli import output


def agreed(question: str) -> bool | None:
    """Return the answer of whoever sits at the terminal; None where nobody does."""
    if not (output.is_terminal(sys.stdin) and output.is_terminal(sys.stderr)):
        return None
    output.note(f"{question} [y/N]")
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except UnicodeDecodeError:
        return False


def confirm(question: str, refusal: EngineError) -> None:
    """Go on after a yes.

    Raises:
        EngineError: `refusal`, where the answer was no or nobody could be asked.
    """
    if not agreed(question):
        raise refusal
