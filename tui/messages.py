"""Messages that cross screens: what a screen asks of the application, and what it tells it."""

from __future__ import annotations

from textual.message import Message


class OpenScreen(Message):
    """Show a screen: go back to it if it is open, else open it.

    Args:
        name: Of a screen in `tui.app.SCREENS`.
        run: The run it shows; None for screens that show no single run.
    """

    def __init__(self, name: str, run: str | None = None) -> None:
        super().__init__()
        self.name = name
        self.run = run


class OpenRun(OpenScreen):
    """Show one run live."""

    def __init__(self, run: str) -> None:
        super().__init__("live", run)


class RunsKnown(Message):
    """The runs of the workspace have been read: for the command palette, and for what quitting says."""

    def __init__(self, names: list[str], alive: list[str]) -> None:
        super().__init__()
        self.names = names
        """Newest first."""
        self.alive = alive
        """Those of `names` that some process is working on."""


class CopyText(Message):
    """Put text where the user can paste it from.

    Args:
        text: As it is; it is not shown.
        what: What it is, for the note that says where it went: "the view", "3 rows".
    """

    def __init__(self, text: str, what: str) -> None:
        super().__init__()
        self.text = text
        self.what = what
