"""What is said when a run starts and this machine may end or endanger it."""

from __future__ import annotations

from pathlib import Path

from tui.cli import output


def warn_of_endings(run: Path) -> None:
    """Say on stderr if a logout would end the run, or if it lies where locks cannot be trusted."""
    from engine.hardware.logout import logout
    from engine.runs.lock import network_file_system

    answer = logout()
    if answer.ends_runs:
        output.note(f"warning: a logout would end this run: {answer.reason}. {answer.remedy}", style="warning")
    network = network_file_system(run)
    if network is not None:
        output.note(
            f"warning: the run is on a network file system ({network}). Work on it from this machine only.",
            style="warning",
        )
