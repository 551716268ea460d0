"""Starting the demo from the list. For a thread, and imported in it: settings and launching are 0.3 s."""

from __future__ import annotations

from pathlib import Path

from engine.config.load import preset
from engine.hardware.logout import logout
from engine.launch.prepare import new_run, start_run
from engine.runs.directory import free_name
from engine.workspace import Workspace

PRESET = "demo"


def start_demo(workspace: Path) -> tuple[str, str]:
    """Start the demo run.

    Returns:
        Its name, and a warning where a logout would end it; empty where it would not.

    Raises:
        EngineError: It could not be made or started; no run is left behind.
    """
    place = Workspace(workspace)
    run = new_run(place, preset(PRESET), name=free_name(place.runs, PRESET))
    start_run(run)
    answer = logout()
    return run.name, f"A logout would end it: {answer.reason}. {answer.remedy}" if answer.ends_runs else ""
