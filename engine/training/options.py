"""The command line of what the keeper starts, and of what takes its place: of the worker and of the launcher."""

from __future__ import annotations

import argparse
from pathlib import Path


def parser(module: str) -> argparse.ArgumentParser:
    """Return the options that both have.

    Args:
        module: As it is started, `python -m MODULE`.
    """
    options = argparse.ArgumentParser(prog=f"python -m {module}")
    options.add_argument("run", type=Path)
    options.add_argument("--resume", metavar="CHECKPOINT", help="checkpoint folder relative to the run")
    options.add_argument("--stage", default="", help="of a run in several, where no checkpoint says it")
    options.add_argument("--began", type=float, help="monotonic time at which an earlier image of this process began")
    options.add_argument("--commands-from", type=int, default=0, help="byte of commands.jsonl to listen from")
    return options


def arguments(
    run: Path, *, commands_from: int, began: float | None, resume: str | None = None, stage: str = ""
) -> list[str]:
    """Return what `parser` reads as this."""
    written = [str(run), "--commands-from", str(commands_from)]
    if began is not None:
        written += ["--began", repr(began)]
    if resume is not None:
        written += ["--resume", resume]
    return [*written, "--stage", stage] if stage else written
