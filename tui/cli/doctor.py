"""`ftconsole doctor`: what this machine and this terminal can do, and what would get in a run's way."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from typing import Any

from engine.errors import ConfigError, TerminalError
from engine.hardware.doctor import Examination, examine
from engine.workspace import Workspace
from tui.cli import output
from tui.settings import Settings, config_path, load_settings
from tui.terminal import contract

_SIGNS = {"ok": "ok      ", "warning": "warning ", "problem": "PROBLEM "}
_STYLES = {"ok": "", "warning": "warning", "problem": "error"}


def doctor(workspace: str | None, given: Mapping[str, str | int | None], *, as_json: bool) -> int:
    """Print what was found. Returns 0, or 1 when a run could not work."""
    found = examine(Workspace.find(workspace))
    check_terminal(found, given)
    if as_json:
        output.emit(found.as_dict())
        return 0 if found.works else 1
    topic = ""
    for finding in found.findings:
        if finding.topic != topic:
            topic = finding.topic
            output.out(topic.capitalize(), style="bold")
        output.out(f"  {_SIGNS[finding.status]}{finding.message}.", style=_STYLES[finding.status])
        if finding.remedy:
            output.out(f"  {' ' * len(_SIGNS['ok'])}{finding.remedy}")
    problems = sum(finding.status == "problem" for finding in found.findings)
    warnings = sum(finding.status == "warning" for finding in found.findings)
    output.out()
    if problems:
        output.out(
            f"No run could work here: {_count(problems, 'problem')}, {_count(warnings, 'warning')}.", style="error"
        )
        return 1
    output.out("Runs can work here." + (f" {_count(warnings, 'warning')}." if warnings else ""), style="good")
    return 0


def check_terminal(found: Examination, given: Mapping[str, str | int | None]) -> None:
    """Find what the console would be drawn with here."""
    interactive = output.is_terminal(sys.stdin) and output.is_terminal(sys.stdout)
    size = shutil.get_terminal_size()
    facts: dict[str, Any] = {
        "interactive": interactive,
        "term": os.environ.get("TERM", ""),
        "columns": size.columns if interactive else None,
        "lines": size.lines if interactive else None,
        "tmux": bool(os.environ.get("TMUX")),
        "ssh": bool(os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY")),
        "no_color": bool(os.environ.get("NO_COLOR")),
        "settings": str(config_path()),
        "console": False,
    }
    found.facts["terminal"] = facts
    try:
        settings = load_settings(given)
    except ConfigError as error:
        found.find("terminal", "warning", error.message.rstrip("."), error.remedy)
        settings = Settings()
    try:
        terminal = contract.examine(settings, os.environ, interactive=interactive)
    except TerminalError as error:
        found.find("terminal", "ok", error.message.rstrip("."), error.remedy)
        return
    facts.update(
        console=True,
        charset=terminal.charset,
        glyphs=terminal.glyphs,
        colour=terminal.colour,
        mouse=terminal.mouse,
        fps=terminal.fps,
    )
    drawn = f"{terminal.glyphs} glyphs, {terminal.colour} colours, mouse {terminal.mouse}, {terminal.charset}"
    found.find("terminal", "ok", f"{facts['term']}, {size.columns}x{size.lines}: {drawn}")
    if size.columns < 80 or size.lines < 24:
        said = f"Below 80x24 the console shows less: this terminal has {size.columns}x{size.lines}"
        found.find("terminal", "warning", said, "Make the window larger.")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")
