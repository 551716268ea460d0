"""The screens there are. A new one is a line here; nothing is imported before it is opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tui.console_screen import ConsoleScreen


@dataclass(frozen=True, slots=True)
class ScreenEntry:
    """A screen the console can open."""

    name: str
    title: str
    target: str | Callable[..., ConsoleScreen]
    """ "module:Class", or the class. Called as `target(workspace)`, or `target(workspace, run)`."""
    explanation: str
    shows_run: bool = False
    """Whether it shows one run, whose name it is then given."""


SCREENS = (
    ScreenEntry("runs", "Runs", "screens.runs.screen:RunsScreen", "Every run of the workspace"),
    ScreenEntry("live", "Live", "screens.live.screen:LiveScreen", "One run, as it happens", shows_run=True),
    ScreenEntry("data", "Data", "screens.data.screen:DataScreen", "The rows of a data file, as the model sees them"),
    ScreenEntry(
        "checkpoints",
        "Checkpoints",
        "screens.checkpoints.screen:CheckpointsScreen",
        "Every checkpoint, and what can be made of it",
    ),
    ScreenEntry("configure", "Configure", "screens.configure.screen:ConfigureScreen", "The settings of a run to be"),
    ScreenEntry("chat", "Chat", "screens.chat.screen:ChatScreen", "Two models beside each other, one prompt"),
)
"""The first is home: leaving it leaves the console."""


def chat_of(**begin: Any) -> ScreenEntry:
    """Return the chat with another beginning than the usual.

    Args:
        begin: Of `screens.chat.screen.Beginning`.
    """

    def target(workspace: Path) -> ConsoleScreen:
        from screens.chat.screen import Beginning, ChatScreen

        return ChatScreen(workspace, Beginning(**begin))

    return replace(next(entry for entry in SCREENS if entry.name == "chat"), target=target)
