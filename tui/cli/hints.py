"""The commands that are suggested to a reader: right for the folder they are read in."""

from __future__ import annotations

import os
import shlex

from engine.runs.directory import RunDirectory


def command(verb: str, run: RunDirectory) -> str:
    """Return the command that does `verb` with the run, as it can be typed in the current folder."""
    return f"ftconsole {_workspace(run)}{verb} {run.name}"


def console(run: RunDirectory) -> str:
    """Return the command that opens the console on the run."""
    return f"ftconsole {_workspace(run)}--run {run.name}"


def chat(left: str, right: str) -> str:
    """Return the command that asks two models the same. Foreign."""
    return shlex.join(["ftconsole", "chat", "--left", left, "--right", right])


def _workspace(run: RunDirectory) -> str:
    workspace = run.path.parent.parent
    try:
        here = os.path.samefile(workspace, os.curdir)
    except OSError:
        here = False
    return "" if here else f"-w {shlex.quote(str(workspace))} "
