"""The command `ftconsole`: where it begins, and where every error ends.

typer only parses. Each command returns what is to be done, and that is done here, inside one boundary, so that
exit codes, closed pipes, ctrl+c and our own mistakes are treated alike everywhere.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

from engine.errors import EngineError
from tui.cli import output

COMPLETION = "_FTCONSOLE_COMPLETE"
"""The variable with which a shell's completion script calls the program."""
Work: TypeAlias = Callable[[], int]
"""What a command does. Returns the exit code."""


def main() -> int:
    """Run the command line and return its exit code. Never raises."""
    arguments = sys.argv[1:]
    as_json = "--json" in arguments
    try:
        code = run(arguments)
        output.flush()
    except KeyboardInterrupt:
        output.note("Interrupted. Runs go on.")
        code = output.EXIT_INTERRUPTED
    except BrokenPipeError:  # `ftconsole runs | head -1`: who closed the pipe had enough
        output.abandon(sys.stdout)
        code = 0
    except EngineError as error:
        code = output.report(error, as_json=as_json)
    except Exception as error:  # noqa: BLE001 - the boundary: a bug ends with a line and a file, never a traceback
        code = _mistake(error, as_json=as_json)
    return code


def run(arguments: Sequence[str]) -> int:
    """Parse and do. Returns the exit code.

    Raises:
        EngineError: Anything a user can act on, wrong options included.
    """
    # Nothing becomes garbage while modules are imported: looking for it takes 5 of 100 ms.
    gc.disable()
    try:
        work = plain(arguments)
        if work is None:
            from tui.cli import app

            work = app.parse(arguments)
    finally:
        gc.enable()
    return work()


def plain(arguments: Sequence[str]) -> Work | None:
    """Recognise `[-w PATH] runs [--json]` and `[-w PATH] [--run RUN]` without typer.

    With pydantic it takes 90 ms: half of `runs`, a third of the console's start. Everything else, wrong options
    included, is left to typer (None). Tests compare the two.
    """
    if COMPLETION in os.environ:  # a shell asks what could follow
        return None
    workspace: str | None = None
    match list(arguments):
        case ["-w" | "--workspace", workspace, *rest]:
            pass
        case rest:
            pass
    match rest:
        case ["runs"] | ["runs", "--json"]:
            from tui.cli import runs

            return partial(runs.show, workspace, as_json=len(rest) == 2)
        case [] | ["--run", _]:
            run = rest[1] if rest else None
            if run is not None and run.startswith("-"):
                return None
            from tui.cli import console

            return partial(console.open_console, workspace, run, {})
    return None


def _mistake(error: Exception, *, as_json: bool) -> int:
    from tui.crash import where_it_failed, write_crash

    path = write_crash(error)
    where = f"The traceback, without values, is in {path}." if path else "Its traceback could not be written down."
    mistake = EngineError(
        f"ftconsole stopped because of a mistake in it ({where_it_failed(error)}). Runs go on.", remedy=where
    )
    output.report(mistake, as_json=as_json)
    return output.EXIT_MISTAKE


if __name__ == "__main__":
    sys.exit(main())
