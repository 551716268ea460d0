"""The home screen, every run of the workspace: work follows them, handlers change what is known, the view draws."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.geometry import Size
from textual.message import Message

from engine.commands import Command, Pause, SaveCheckpoint, Unpause
from engine.runs.directory import RunDirectory
from engine.runs.summary import RunSummary
from engine.workspace import Workspace
from screens.runs.choosing import ORDERS, chosen
from screens.runs.controls import refusal
from screens.runs.details import ControlLine, DetailsPane
from screens.runs.devices import MEASURE_SECONDS, DeviceStrip, Machine, Named
from screens.runs.emptiness import Emptiness
from screens.runs.feed import RunsFeed
from screens.runs.filter_field import FilterField, FilterInput
from screens.runs.table import RunTable
from screens.runs.words import SummaryLine, nothing_found, nothing_yet, tally
from tui.console_screen import ConsoleScreen
from tui.messages import OpenRun, OpenScreen, RunsKnown
from tui.widgets.chart.glyphs import GlyphSet

if TYPE_CHECKING:
    from engine.hardware.devices import DeviceReading

ACTIVE_SECONDS = 1.0
"""Between two looks while a run is at work."""
RESTING_SECONDS = 2.0
"""Between two looks while none is. One `stat` for each of at most a hundred runs."""
HIDDEN_SECONDS = 5.0
"""Between two looks while another screen is in front."""
FIRST_LOOK_SECONDS = 0.1
"""How long the first paint waits for the runs. One run is read in 6 ms, imports included."""
LOADING_SECONDS = 0.5
"""Between two drawings while there is more to read."""
REST_SECONDS = 0.12
"""The cursor must rest so long on a run before its details are read."""
LOW = 5
"""Height below which an empty list is a row."""
TALL = 34
"""Height from which the details have room for a chart."""
BROAD = 100
"""Width from which they have."""


class RunsScreen(ConsoleScreen):
    """Every run of the workspace.

    Args:
        workspace: Folder with `runs/`.
        feed: What follows the runs. None: made here.
        machine: What measures the devices. None: made here.
        clock: Unix seconds. For tests that show a moment.
    """

    TITLE = "Runs"
    HELP = (
        "Every run of the workspace. Enter opens one; leaving the console stops none. "
        "p, w, S and R tell the run under the cursor something; all other keys only change what you see."
    )
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "RunTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/", id="runs.filter",
                tooltip="List the runs whose name, model, state or method has these words; !word: has not"),
        Binding("o", "order", "Order", id="runs.order",
                tooltip="Newest first, last activity, name, loss, state"),
        Binding("p", "pause", "Pause or go on", show=False, id="runs.pause",
                tooltip="Take no further step, everything stays in memory; again: go on"),
        Binding("w,s", "save_now", "Save now", show=False, id="runs.save",
                tooltip="Write a checkpoint after this step and go on"),
        Binding("S", "stop", "Stop", show=False, id="runs.stop", tooltip="End the run. Asks how"),
        Binding("R,r", "resume", "Resume", show=False, id="runs.resume",
                tooltip="Go on with a run that is over, from its newest whole checkpoint"),
        Binding("n", "new_run", "New run", id="runs.new", tooltip="Set a run up in a form, check it and start it"),
        Binding("D", "data", "Data", id="runs.data", tooltip="Look at a data file as the model will see it"),
        Binding("c", "checkpoints", "Checkpoints", id="runs.checkpoints",
                tooltip="The checkpoints of the run under the cursor, and of all others"),
        Binding("t", "talk", "Talk", show=False, id="runs.talk",
                tooltip="Talk to the run under the cursor, and to its base beside it"),
        Binding("e", "duplicate", "Duplicate", show=False, id="runs.duplicate",
                tooltip="Set a run up with the settings of the one under the cursor"),
        Binding("d", "demo", "Demo", id="runs.demo",
                tooltip="Fine-tune the built-in model here: two minutes, no network"),
        Binding("y", "copy_view", "Copy", id="runs.copy", tooltip="Copy the list as plain text"),
    ]  # fmt: skip

    def __init__(
        self,
        workspace: Path,
        *,
        feed: RunsFeed | None = None,
        machine: Machine | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(workspace)
        self.feed = feed or RunsFeed(Workspace(workspace).runs)
        self.machine = machine or Machine()
        self.clock = clock
        self.filter = ""
        """The filter."""
        self.order = "newest"
        """A name of `ORDERS`."""
        self.devices: Sequence[DeviceReading] | Sequence[Named] = ()
        self.starting = False
        """A demo is being started."""
        self._select: str | None = None
        self._again = asyncio.Event()
        self._known: tuple[list[str], list[str]] | None = None
        self._measured_at = 0.0
        self._live_devices = False
        self._drawn_runs: object = None
        self._drawn_moment: tuple[bool, int] = (False, 0)
        """Whether all runs were known when they were drawn, and the minute at which it was."""
        self._drawn_at = 0.0
        self._table = RunTable()
        self._details = DetailsPane(self.feed.details)
        self._strip = DeviceStrip()
        self._emptiness: Emptiness | None = None
        self._line: SummaryLine | None = None
        self._field: FilterField | None = None
        self._first_look = threading.Thread(target=self.feed.look, daemon=True)
        """Reads while the terminal is set up, so that the first paint shows runs."""
        self._first_look.start()

    class RunsChanged(Message):
        """Something may look different now. Neighbours in the queue are one."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, RunsScreen.RunsChanged)

    # Work

    @work(exclusive=True, group="follow-runs", description="Reading the runs", exit_on_error=False)
    async def follow(self) -> None:
        """Follow the runs for as long as the screen is there."""
        await asyncio.to_thread(self._first_look.join)
        while True:
            more = await asyncio.to_thread(self.feed.look)
            # A thousand runs arrive in fifty pieces: drawing each would be 2 MB.
            if self._stale and (not more or time.monotonic() - self._drawn_at > LOADING_SECONDS):
                self.post_message(self.RunsChanged())
            if more:
                await asyncio.sleep(0.005)
                continue
            await self._measure()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), self._pause_seconds)
            self._again.clear()

    @property
    def _stale(self) -> bool:
        """Whether what is on screen is not what is known, or how long ago things were."""
        if self.feed.summaries is not self._drawn_runs:
            return True
        return (self.feed.complete, int(self.clock() // 60)) != self._drawn_moment

    async def _measure(self) -> None:
        """Read the devices: figures while a run is at work and somebody looks, else their names, once."""
        live = self.feed.active
        if live and self.in_front and time.monotonic() - self._measured_at >= MEASURE_SECONDS:
            self.devices = await asyncio.to_thread(self.machine.measure)
            self._measured_at = time.monotonic()
        elif live == self._live_devices and self.devices:
            return
        elif not live:
            self.devices = await asyncio.to_thread(self.machine.names)
        self._live_devices = live
        self.post_message(self.RunsChanged())

    @property
    def in_front(self) -> bool:
        """Whether this is what one sees. Textual's `is_current` is also true right below another screen."""
        return self.app.screen is self

    @property
    def _pause_seconds(self) -> float:
        if not self.in_front:
            return HIDDEN_SECONDS
        return ACTIVE_SECONDS if self.feed.active else RESTING_SECONDS

    @work(group="tell-run", description="Telling a run", exit_on_error=False)
    async def tell(self, run: RunDirectory, command: Command) -> None:
        """Send a command and say what became of it."""
        from screens.runs import asking

        try:
            await asking.tell(self.app, run, command)
        finally:
            self._look_at(run.name)

    @work(exclusive=True, group="ask", description="Asking how to stop", exit_on_error=False)
    async def ask_how_to_stop(self, summary: RunSummary) -> None:
        """Stop as the user chooses, if he does."""
        from screens.runs import asking

        run = self._directory(summary)
        choice = await asking.ask_how_to_stop(self.app, run, summary)
        if choice is not None:
            self.tell(run, choice)

    @work(exclusive=True, group="ask", description="Resuming a run", exit_on_error=False)
    async def ask_and_resume(self, summary: RunSummary) -> None:
        """Go on with a run, if the user says so."""
        from screens.runs import asking

        if await asking.ask_and_resume(self.app, self._directory(summary), summary):
            self._look_at(summary.name)

    @work(exclusive=True, group="demo", description="Starting the demo", exit_on_error=False)
    async def start_demo(self) -> None:
        """Start the demo run and show it."""
        # An empty list offers it in words; anywhere else `d` may have been meant to delete.
        if self.feed.summaries:
            from screens.runs import asking

            counted = tally(self.feed.summaries.values()) if self.feed.active else ""
            if not await asking.ask_for_demo(self.app, counted):
                return
        self.starting = True
        self.show_runs()
        try:
            name, warning = await asyncio.to_thread(_start_demo, self.workspace)
        finally:
            self.starting = False
            self.show_runs()
        if warning:
            self.notify(warning, severity="warning", timeout=15)
        self._select = name
        self._look_at(name)
        self.post_message(OpenRun(name))

    def _directory(self, summary: RunSummary) -> RunDirectory:
        return RunDirectory(self.feed.folder / summary.name)

    def _look_at(self, name: str) -> None:
        self.feed.look_at(name)
        self._again.set()

    # Handlers

    def on_mount(self) -> None:
        self.show_runs()
        self.follow()

    @on(events.ScreenResume)
    def _look_again(self) -> None:
        self._again.set()
        self.post_message(self.RunsChanged())

    @on(RunsChanged)
    def _redraw(self) -> None:
        self._tell_app()
        # Below a dialog every change would draw the dialog, too.
        if self.in_front:
            self.show_runs()

    def _tell_app(self) -> None:
        runs = self.feed.summaries
        by_age = sorted(runs.values(), key=lambda summary: -summary.created)
        known = ([run.name for run in by_age], [run.name for run in runs.values() if run.active])
        if known != self._known:
            self._known = known
            self.post_message(RunsKnown(*known))

    @on(RunTable.Moved)
    def _moved(self) -> None:
        self.show_details(REST_SECONDS)

    @on(RunTable.Opened)
    def _opened(self, message: RunTable.Opened) -> None:
        self.post_message(OpenRun(message.run))

    @on(ControlLine.Pressed)
    async def _pressed(self, message: ControlLine.Pressed) -> None:
        await self.run_action(message.pressed.action)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self.show_runs)

    def _take_size(self, size: Size) -> None:
        super()._take_size(size)
        self.set_class(size.height < LOW, "-low")
        self.set_class(size.height >= TALL, "-tall")
        self.set_class(size.width >= BROAD, "-broad")

    @on(FilterInput.Changed)
    def _filter_changed(self, event: FilterInput.Changed) -> None:
        self.filter = event.value
        self.show_runs()

    @on(FilterInput.Submitted)
    def _filter_done(self) -> None:
        self._close_filter(keep=True)

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is being written need not be begun."""
        if action == "filter" and isinstance(self.focused, FilterInput):
            return False
        return super().check_action(action, parameters)

    async def action_filter(self) -> None:
        """Write a filter."""
        if self._field is None:
            self._field = FilterField()
            await self.mount(self._field, before=self._details)
        self.add_class("-filtering")
        self.set_focus(self._field.input)  # at once: the next letters are meant for it

    def _close_filter(self, *, keep: bool) -> None:
        if self._field is not None:
            if not keep:
                self._field.input.value = ""
            self.set_class(bool(self._field.input.value.strip()), "-filtering")
        self._table.focus()

    def step_out(self) -> bool:
        if not self.has_class("-filtering"):
            return False
        self._close_filter(keep=False)
        return True

    def action_order(self) -> None:
        """List in the next order."""
        orders = list(ORDERS)
        self.order = orders[(orders.index(self.order) + 1) % len(orders)]
        self._table.sorted_by = ORDERS[self.order].column
        self.notify(f"Order: {ORDERS[self.order].explanation}.", timeout=3)
        self.show_runs()

    def _refused(self, action: str) -> RunSummary | None:
        """Return the run under the cursor if `action` makes sense for it; else say why not."""
        summary = self._table.selected
        if why_not := refusal(action, summary):
            self.notify(why_not, severity="warning")
            return None
        return summary

    def action_pause(self) -> None:
        """Pause, or go on after a pause."""
        if summary := self._refused("pause"):
            self.tell(self._directory(summary), Unpause() if summary.state == "paused" else Pause())

    def action_save_now(self) -> None:
        """Save a checkpoint."""
        if summary := self._refused("save_now"):
            self.tell(self._directory(summary), SaveCheckpoint())

    def action_stop(self) -> None:
        """Ask how to stop."""
        if summary := self._refused("stop"):
            self.ask_how_to_stop(summary)

    def action_resume(self) -> None:
        """Ask, and go on with a run that is over."""
        if summary := self._refused("resume"):
            self.ask_and_resume(summary)

    def action_new_run(self) -> None:
        """Open the form of a new run."""
        self.post_message(OpenScreen("configure"))

    def action_data(self) -> None:
        """Open the inspection of data."""
        self.post_message(OpenScreen("data"))

    def action_checkpoints(self) -> None:
        """Open the checkpoints, on those of the run under the cursor."""
        summary = self._table.selected
        self.post_message(OpenScreen("checkpoints", summary.name if summary is not None else None))

    def action_talk(self) -> None:
        """Open the chat, on the run under the cursor and its base."""
        summary = self._table.selected
        self.post_message(OpenScreen("chat", summary.name if summary is not None else None))

    def action_duplicate(self) -> None:
        """Open the form with the settings of the run under the cursor."""
        summary = self._table.selected
        if summary is None:
            self.notify("There is no run to duplicate.", severity="warning")
        else:
            self.post_message(OpenScreen("configure", summary.name))

    def action_demo(self) -> None:
        """Start the demo."""
        if self.starting:
            self.notify("The demo is being started.")
        else:
            self.start_demo()

    # View

    def compose_body(self) -> ComposeResult:
        # A workspace on a network that does not answer must not keep the screen from being drawn.
        self._first_look.join(FIRST_LOOK_SECONDS)
        self.set_class(not self.feed.summaries, "-empty", update=False)
        glyphs: GlyphSet = self.terminal.glyphs  # type: ignore[assignment]
        self._table.glyphs = self._details.glyphs = self._strip.glyphs = glyphs
        yield self._table
        yield self._details
        yield self._strip

    @property
    def rows(self) -> list[RunSummary]:
        """The runs that are listed, in their order."""
        return chosen(self.feed.summaries.values(), self.filter, self.order)

    def show_runs(self) -> None:
        """Put what is known on screen: what changed, where it is seen."""
        now = self.clock()
        everything, rows = self.feed.summaries, self.rows
        self._drawn_runs, self._drawn_moment = everything, (self.feed.complete, int(now // 60))
        self._drawn_at = time.monotonic()
        query = self.filter.strip()
        counted = tally(everything.values(), len(rows) if query else None)
        self.sub_title = "Starting the demo ..." if self.starting else counted
        self.set_class(not rows, "-empty")
        self._table.titled = not self.has_class("-line")
        self._table.show(rows, now, self._select)
        if self._select in everything:
            self._select = None
        if rows and self.focused is None and self.in_front:
            self._table.focus()  # it was hidden while nothing was listed
        if not rows:
            self._show_emptiness(query)
        if self.has_class("-line"):
            self._show_line(now)
        self._strip.show(self.devices)
        self.show_details()

    def _show_emptiness(self, query: str) -> None:
        if self._emptiness is None:
            self._emptiness = Emptiness()
            self.mount(self._emptiness, before=self._details)
        folder, reading = str(self.feed.folder), not self.feed.complete
        said = nothing_found(query) if self.feed.summaries else nothing_yet(folder, reading=reading)
        self._emptiness.show(said)

    def _show_line(self, now: float) -> None:
        if self._line is None:
            self._line = SummaryLine(self._table.glyphs)
            self.mount(self._line, before=self._table)
        self._line.show(list(self.feed.summaries.values()), now)

    def show_details(self, rest_seconds: float = 0.0) -> None:
        """Put the run under the cursor on screen."""
        self._details.with_chart = self.has_class("-broad")
        self._details.show(self._table.selected, self.clock(), rest_seconds=rest_seconds)

    def plain_text(self) -> str:
        """Return the whole view as text."""
        from screens.runs.twin import WIDTH, twin

        return twin(
            list(self.feed.summaries.values()),
            self.rows,
            self._details.shown,
            self._strip.rows(WIDTH),
            self.clock(),
            query=self.filter.strip(),
            folder=str(self.feed.folder),
        )


def _start_demo(workspace: Path) -> tuple[str, str]:
    from screens.runs.starting import start_demo

    return start_demo(workspace)
