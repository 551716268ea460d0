"""Two small screens. Keys of the first make each kind of mistake.

The file named by `HEARTBEAT` grows as long as the event loop is free.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from pathlib import Path
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, Static

from engine.errors import NotFound
from tui.console_screen import ConsoleScreen
from tui.display import content
from tui.messages import OpenRun, RunsKnown


class Fragile(Widget):
    """Draws, until it does not."""

    broken = False

    def render(self) -> Content:
        if self.broken:
            secret = "hf_canary"  # noqa: F841
            raise RuntimeError("cannot draw")
        return Content("fragile panel")

    def on_click(self) -> None:
        raise KeyError("click")


class Home(ConsoleScreen):
    """The first screen."""

    HELP = "The runs of a test."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "fail", "Action"),
        Binding("2", "fail_in_worker", "Worker", show=False),
        Binding("3", "fail_in_thread_worker", "Thread worker", show=False),
        Binding("4", "fail_in_thread", "Thread", show=False),
        Binding("5", "fail_in_drawing", "Drawing", show=False),
        Binding("6", "engine_error", "Error", show=False),
        Binding("7", "fail_for_ever", "For ever", show=False),
        Binding("8", "block", "Block", show=False),
        Binding("9", "flood", "Flood", show=False),
        Binding("o", "open", "Open run"),
    ]
    DEFAULT_CSS = """
    Home { & Fragile { height: 1; } & #wide { border: round $primary; height: 4; } & DataTable { height: 1fr; } }
    """

    def compose_body(self) -> ComposeResult:
        yield Static(content(os.environ.get("FOREIGN", "all is well")), id="wide")
        yield Fragile()
        yield Static("", id="count")
        yield DataTable[str]()

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        table.cursor_type = "row"
        table.add_columns("run", "state")
        for number in range(50):
            table.add_row(f"run-{number}", "finished")
        self.post_message(RunsKnown(["run-1", "run-[/s]"], ["run-1"]))
        if heartbeat := os.environ.get("HEARTBEAT"):
            self.run_worker(self.beat(Path(heartbeat)), exit_on_error=False)

    async def beat(self, file: Path) -> None:
        """Append a byte for every 10 ms in which the event loop was free."""
        with file.open("ab", buffering=0) as out:
            while True:
                await asyncio.sleep(0.01)
                out.write(b".")

    def action_fail(self) -> None:
        secret = "hf_canary"  # noqa: F841
        raise ValueError("an action")

    @work(exit_on_error=False)
    async def action_fail_in_worker(self) -> None:
        raise ValueError("a worker")

    @work(thread=True, exit_on_error=False)
    def action_fail_in_thread_worker(self) -> None:
        raise ValueError("a thread worker")

    def action_fail_in_thread(self) -> None:
        threading.Thread(target=lambda: 1 // 0).start()

    def action_fail_in_drawing(self) -> None:
        fragile = self.query_one(Fragile)
        fragile.broken = True
        fragile.refresh()

    def action_engine_error(self) -> None:
        raise NotFound("There is no run called 'x'.", remedy="Look at the list.")

    def action_fail_for_ever(self) -> None:
        self.set_interval(0.01, self.action_fail)

    def action_block(self) -> None:
        time.sleep(600)

    def action_flood(self) -> None:
        self.count = 0
        self.set_interval(0.05, self.more)

    def more(self) -> None:
        self.count += 1
        self.query_one("#count", Static).update(f"frame {self.count}")
        self.query_one(DataTable).refresh()

    def action_open(self) -> None:
        self.post_message(OpenRun("run-[/s]"))


class Live(ConsoleScreen):
    """One run."""

    def __init__(self, workspace: Path, run: str) -> None:
        super().__init__(workspace)
        if run == "missing":
            raise NotFound("There is no run called 'missing'.")
        self.run = run

    def compose_body(self) -> ComposeResult:
        yield Static(content(f"live view of {self.run}"))
        if self.run == "broken":
            secret = "hf_canary"  # noqa: F841
            raise RuntimeError("cannot compose")
