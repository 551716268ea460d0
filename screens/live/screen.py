"""The live view of one run: work follows and tells it, handlers change what is known, the view draws that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal
from textual.geometry import Size
from textual.message import Message
from textual.widget import Widget

from engine.commands import Command, Pause, SaveCheckpoint, SetEarlyStopping, Unpause
from engine.errors import EngineError
from engine.runs.directory import RunDirectory, find_run
from engine.workspace import Workspace
from screens.live.controls import (
    Asked,
    control_for,
    controls,
    early_stopping_armed,
    still_of_interest,
    what_stopping_now_loses,
)
from screens.live.details import DetailsPane
from screens.live.ending import Ending, ending_pieces
from screens.live.gauges import Gauges
from screens.live.headline import Figures, Headline
from screens.live.log_pane import LogPane
from screens.live.notice import LOG_STYLES, Notice, news, standing
from screens.live.plots import Plots
from screens.live.samples import SamplesPane
from screens.live.twin import WIDTH, twin
from screens.live.view_bar import VIEWS, ViewBar
from tui.console_screen import ConsoleScreen
from tui.display import plain
from tui.messages import OpenScreen
from tui.run_feed import RunFeed
from tui.state import RunState
from tui.widgets.cells import Piece
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.words import value

LARGE = (120, 36)
"""Width and height from which plots, samples and log are on screen together."""
ENDING_ROWS = {"-large": 8, "-full": 6, "-monitor": 5}
"""Rows that how it ended may take, by class of size."""
_PAGES = Binding.Group("Charts", compact=True)
_VIEWS = Binding.Group("View", compact=True)


class LiveScreen(ConsoleScreen):
    """One run, as it happens.

    Args:
        workspace: Folder with `runs/`.
        run: The run's name.
        feed: What follows it. None: made here.
        clock: Unix seconds. For tests that show a moment.
    """

    TITLE = "Live"
    HELP = (
        "One run, as it happens. Leaving this view never stops the run. Capital letters, p and w tell the run "
        "something; all other keys only change what you see."
    )
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "MetricChart"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause or go on", show=False, id="live.pause",
                tooltip="Take no further step, everything stays in memory; again: go on"),
        Binding("w", "save_now", "Save now", show=False, id="live.save",
                tooltip="Write a checkpoint after this step and go on"),
        Binding("S", "stop", "Stop", show=False, id="live.stop", tooltip="End the run. Asks how"),
        Binding("L", "learning_rate", "Learning rate", show=False, id="live.learning-rate",
                tooltip="Set the peak of the schedule, from the next step on"),
        Binding("E", "early_stop", "Early stopping", show=False, id="live.early-stop",
                tooltip="Let early stopping end the run, or no longer"),
        Binding("R", "resume", "Resume", show=False, id="live.resume",
                tooltip="Go on with a run that is over, from its newest whole checkpoint"),
        Binding("c", "checkpoints", "Checkpoints", show=False, id="live.checkpoints",
                tooltip="The checkpoints of this run, and what can be made of them"),
        Binding("t", "talk", "Talk", show=False, id="live.talk", tooltip="Talk to this run, and to its base beside it"),
        Binding("left_square_bracket", "view(-1)", "View before", key_display="[", id="live.view-before",
                group=_VIEWS, tooltip="Plots, samples, log, details"),
        Binding("right_square_bracket", "view(1)", "Next view", key_display="]", id="live.view-next",
                group=_VIEWS, tooltip="Plots, samples, log, details"),
        Binding("f", "enlarge", "Enlarge", id="live.enlarge",
                tooltip="Give the whole area to the chart in focus, and take it back"),
        Binding("enter", "enlarge", "Enlarge", show=False, id="live.enlarge-enter",
                tooltip="Give the whole area to the chart in focus, and take it back"),
        Binding("comma", "page(-1)", "Charts before", key_display=",", id="live.page-before", group=_PAGES,
                tooltip="The metrics before"),
        Binding("full_stop", "page(1)", "More charts", key_display=".", id="live.page-next", group=_PAGES,
                tooltip="The next metrics"),
        Binding("m", "metrics", "Metrics", id="live.metrics", tooltip="Choose a metric from a list"),
        Binding("space", "freeze", "Freeze", id="live.freeze", tooltip="Hold the view still, not the run; and go on"),
        Binding("down,j", "app.focus_next", "Next chart", show=False, id="live.next"),
        Binding("up,k", "app.focus_previous", "Chart before", show=False, id="live.previous"),
    ]  # fmt: skip

    def __init__(
        self,
        workspace: Path,
        run: str,
        *,
        feed: RunFeed | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(workspace)
        self.run = run
        self.sub_title = run
        self.feed = feed or RunFeed(RunDirectory(Workspace(workspace).runs / run))
        self._exists = feed is not None
        self.clock = clock
        self.asked: list[Asked] = []
        """Commands that were sent from here and still concern somebody."""
        self.view = VIEWS[0]
        self.frozen = False
        self._drawn_changes: object = None

    class RunChanged(Message):
        """Something of the run may look different now. Neighbours in the queue are one."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, LiveScreen.RunChanged)

    # Work

    @work(exclusive=True, group="follow-run", description="Reading the run's events", exit_on_error=False)
    async def follow(self) -> None:
        """Follow the run until the screen is left."""
        if not self._exists:
            try:
                await asyncio.to_thread(find_run, self.feed.run.path.parent, self.run)
            except EngineError:
                self.feed.opening = "There is nothing to show"
                self.post_message(self.RunChanged())
                raise
        async for _ in self.feed.changes():
            self.post_message(self.RunChanged())

    @work(group="tell-run", description="Telling the run", exit_on_error=False)
    async def tell(self, command: Command) -> None:
        """Send a command, and remember it until it is answered."""
        from engine.launch.start import send  # starting processes is 8 ms that the first paint does not need

        command_id = await asyncio.to_thread(send, self.feed.run, command)
        self.asked.append(Asked(command_id, command, self.clock()))
        self.feed.look_again()
        self.post_message(self.RunChanged())

    @work(exclusive=True, group="ask", description="Asking how to stop", exit_on_error=False)
    async def ask_how_to_stop(self) -> None:
        """Stop as the user chooses, if he does."""
        from screens.live.dialogs import StopDialog

        state = self.state
        loss = what_stopping_now_loses(state)
        choice = await self.app.push_screen_wait(
            StopDialog(plain(self.run), loss, stopping=state.state == "stopping")
        )  # fmt: skip
        if choice is not None:
            self.tell(choice)

    @work(exclusive=True, group="ask", description="Asking for a learning rate", exit_on_error=False)
    async def ask_for_learning_rate(self) -> None:
        """Set the learning rate to what the user types, if he does."""
        from screens.live.dialogs import LearningRateDialog

        command = await self.app.push_screen_wait(
            LearningRateDialog(plain(self.run), self.state.newest.get("learning_rate"))
        )  # fmt: skip
        if command is not None:
            self.tell(command)

    @work(exclusive=True, group="ask", description="Asking which metric to show", exit_on_error=False)
    async def ask_for_metric(self) -> None:
        """Show one metric large."""
        from screens.live.dialogs import MetricPicker

        plots = self.query_one(Plots)
        figures = {**self.state.evaluation, **self.state.newest}
        metrics = [
            (spec.key, spec.title, value(figures[spec.key]) if spec.key in figures else "") for spec in plots.specs
        ]
        key = await self.app.push_screen_wait(MetricPicker(metrics, plots.focused))
        if key is not None:
            plots.enlarge(key)
            plots.charts[key].focus()

    @work(exclusive=True, group="ask", description="Resuming the run", exit_on_error=False)
    async def ask_and_resume(self) -> None:
        """Go on with the run once the user has seen from where, and what has changed."""
        from screens.live.resuming import consequence, prospect, resume, said
        from tui.widgets.confirm import Confirm

        run = self.feed.run
        found = await asyncio.to_thread(prospect, run, self.state.step)
        question = f"Resume {plain(self.run)}{' although something has changed' if found.changes else ''}?"
        if await self.app.push_screen_wait(Confirm(question, consequence(found), yes="Resume")):
            self.notify("Starting; the libraries take some seconds to load.", title=f"Resuming {self.run}")
            resumed = await asyncio.to_thread(resume, run, bool(found.changes))
            self.notify(said(resumed), title=f"Resumed {self.run}", timeout=10)
            self.feed.look_again()

    # Handlers

    @property
    def state(self) -> RunState:
        """What is known of the run."""
        return self.feed.state

    def on_mount(self) -> None:
        self._arrange()
        self.show_run()
        self.follow()

    @on(events.ScreenSuspend)
    def _rest(self) -> None:
        self.feed.watched = False

    @on(events.ScreenResume)
    def _look_again(self) -> None:
        self.feed.watched = True
        self.feed.look_again()
        self.post_message(self.RunChanged())

    @on(RunChanged)
    def _redraw(self) -> None:
        # Below a dialog every change would draw the dialog, too.
        if self.is_current:
            self.asked = still_of_interest(self.asked, self.state, self.clock())
            self.show_run()

    def _take_size(self, size: Size) -> None:
        super()._take_size(size)
        self.set_class(size.width >= LARGE[0] and size.height >= LARGE[1], "-large")

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.query_one(Plots).fit(one_by_one=not self.has_class("-full"))
        self._drawn_changes = None
        self._arrange()
        self.call_after_refresh(self.show_run)

    @on(ViewBar.Chosen)
    def _choose_view(self, message: ViewBar.Chosen) -> None:
        self.show_view(message.view)

    @on(ViewBar.Pressed)
    async def _press(self, message: ViewBar.Pressed) -> None:
        await self.run_action(message.pressed.action)

    @on(Plots.PageChanged)
    def _page_changed(self) -> None:
        self._drawn_changes = None
        self.post_message(self.RunChanged())

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys for charts are there while charts are."""
        if action in ("enlarge", "page", "metrics"):
            return self.view == "plots" and (action != "enlarge" or self.has_class("-full"))
        if action == "view":
            return self.has_class("-full")
        return super().check_action(action, parameters)

    # Keys: what the run is told

    def _refused(self, action: str) -> bool:
        refusal = control_for(action, self.state, self.feed.reason).refusal
        if self.feed.opening:
            refusal = "The run is still being read."
        if self.feed.gone:
            refusal = "The folder of this run is gone."
        if refusal:
            self.notify(refusal, severity="warning")
        return bool(refusal)

    def _tell_once(self, command: Command) -> None:
        if any(one.command == command and one.answer is None for one in self.asked):
            self.notify("That has been asked already. The run hears it at its next step.")
        else:
            self.tell(command)

    def action_pause(self) -> None:
        """Pause, or go on after a pause."""
        if not self._refused("pause"):
            self._tell_once(Unpause() if self.state.state == "paused" else Pause())

    def action_save_now(self) -> None:
        """Save a checkpoint."""
        if not self._refused("save_now"):
            self._tell_once(SaveCheckpoint())

    def action_stop(self) -> None:
        """Ask how to stop."""
        if not self._refused("stop"):
            self.ask_how_to_stop()

    def action_learning_rate(self) -> None:
        """Ask for a learning rate."""
        if not self._refused("learning_rate"):
            self.ask_for_learning_rate()

    def action_early_stop(self) -> None:
        """Arm early stopping, or disarm it."""
        if not self._refused("early_stop"):
            self._tell_once(SetEarlyStopping(not early_stopping_armed(self.state)))

    def action_resume(self) -> None:
        """Ask, and go on with a run that is over."""
        if not self._refused("resume"):
            self.ask_and_resume()

    # Keys: what is seen

    def action_checkpoints(self) -> None:
        """Open the checkpoints of the run."""
        self.post_message(OpenScreen("checkpoints", self.run))

    def action_talk(self) -> None:
        """Open the chat on the run and its base."""
        self.post_message(OpenScreen("chat", self.run))

    def action_view(self, direction: int) -> None:
        """Show the next view, or the one before."""
        self.show_view(VIEWS[(VIEWS.index(self.view) + direction) % len(VIEWS)])

    def show_view(self, view: str) -> None:
        """Show one of `VIEWS`."""
        self.view = view
        self._arrange()
        panes: dict[str, type[Widget]] = {"samples": SamplesPane, "log": LogPane, "details": DetailsPane}
        plots = self.query_one(Plots)
        focused = plots.charts[plots.focused] if plots.focused is not None else plots
        (focused if view == "plots" else self.query_one(panes[view])).focus()
        self._drawn_changes = None
        self.refresh_bindings()
        self.call_after_refresh(self.show_run)

    def _arrange(self) -> None:
        """Put on screen what the view is made of.

        Not by a class of the screen: styling its 40 widgets anew takes 60 ms.
        """
        full = self.has_class("-full")
        view = self.view if full else "plots"
        together = self._together
        samples = view == "samples" or (together and bool(self.feed.samples.rounds))
        log = view == "log" or together
        for kind, shown in (
            (Plots, view == "plots"), (SamplesPane, samples), (LogPane, log), (DetailsPane, view == "details"),
        ):  # fmt: skip
            self.query_one(kind).display = shown
        self.query_one("#panes").display = samples or log

    @property
    def _together(self) -> bool:
        """Whether plots, samples and log are on screen at once."""
        return self.view == "plots" and self.has_class("-large")

    def action_enlarge(self) -> None:
        """Give the area to one chart, and take it back."""
        plots = self.query_one(Plots)
        plots.enlarge(None if plots.enlarged else plots.focused)

    def action_page(self, direction: int) -> None:
        """Show other metrics."""
        self.query_one(Plots).turn(direction)

    def action_metrics(self) -> None:
        """Choose a metric."""
        self.ask_for_metric()

    def action_freeze(self) -> None:
        """Hold the view still, or go on."""
        self.frozen = not self.frozen
        self._drawn_changes = None
        self.show_run()

    def step_out(self) -> bool:
        plots = self.query_one(Plots)
        if self.view != "plots":
            self.show_view("plots")
        elif plots.enlarged:
            plots.enlarge(None)
        elif self.frozen:
            self.action_freeze()
        else:
            return False
        return True

    # View

    def compose_body(self) -> ComposeResult:
        glyphs: GlyphSet = self.terminal.glyphs  # type: ignore[assignment]
        yield Headline()
        yield ViewBar()
        yield Ending(ascii_only=glyphs == "ascii")
        with Container(id="body"):
            yield Plots(glyphs)
            with Horizontal(id="panes"):
                yield SamplesPane()
                yield LogPane(ascii_only=glyphs == "ascii")
            yield DetailsPane()
        yield Gauges()
        yield Notice()

    def figures(self) -> Figures:
        """Return the figures at this moment."""
        glyphs: GlyphSet = self.terminal.glyphs  # type: ignore[assignment]
        return Figures(self.state, self.clock(), glyphs, self.feed.opening)

    def show_run(self) -> None:
        """Put the state on screen: what changed, where it is seen."""
        self._show_controls()
        if self.frozen:
            return
        state, figures = self.state, self.figures()
        self._show_headline(figures)
        changes = (id(state), state.changes, state.state, self.feed.reason, self.feed.opening, figures.opening)
        rounds = len(self.feed.samples.rounds)
        if (changes, rounds) == self._drawn_changes and not self.query_one(Plots).owing:
            return
        self._drawn_changes = (changes, rounds)
        known = not self.feed.opening
        height = next((rows for name, rows in ENDING_ROWS.items() if self.has_class(name)), 1)
        self.query_one(Ending).show(state, self.feed.reason, height, known=known)
        together = self._together
        if together and bool(rounds) != self.query_one(SamplesPane).display:
            self._arrange()
        if self.view == "plots":
            self.query_one(Plots).show(state, self._empty_text())
        if self.view == "samples" or together:
            self.query_one(SamplesPane).show(self.feed.samples.rounds, state.behaviour, brief=together)
        if self.view == "details":
            self.query_one(DetailsPane).show(state, str(self.feed.run.path))
        self.query_one(LogPane).show(state.log, self.feed.worker_log)
        gauge = self.query_one(Gauges)
        gauge.measured, gauge.glyphs, gauge.over = state.measured, figures.glyphs, not state.active
        gauge.redraw()

    def _show_headline(self, figures: Figures) -> None:
        line = self.query_one(Headline)
        line.summarised = self.has_class("-line")
        line.figures, line.name_shown = figures, plain(self.run, limit=80)
        if line.summarised:
            line.losses = _losses(self.state)
            line.said = self._news() or ending_pieces(self.state, self.feed.reason)
            line.rest = self._last_said()
        line.redraw()

    def _show_controls(self) -> None:
        bar, line = self.query_one(ViewBar), self.query_one(Notice)
        bar.view, bar.with_views = self.view, self.has_class("-full")
        bar.controls = controls(self.state, self.feed.reason) if not self.feed.opening else []
        page = self.query_one(Plots).page_note if self.view == "plots" and bar.with_views else ""
        bar.notes = [("frozen", "w")] if self.frozen else [(page, "m")] if page else []
        bar.redraw()
        line.line = self._news() or self._last_said() or standing(self.state)
        line.redraw()

    def _news(self) -> list[Piece]:
        if self.feed.gone:
            return [("! The folder of this run is gone.", "w"), (" What is shown was read before.", " ")]
        return news(self.state, self.asked, self.clock(), ascii_only=self.terminal.glyphs == "ascii")

    def _last_said(self) -> list[Piece]:
        """The newest line of the log, unless the log is on screen."""
        if self.view == "log" or self._together:
            return []
        return [(text, LOG_STYLES.get(part, " ")) for text, part in self.query_one(LogPane).last_row()]

    def _empty_text(self) -> str:
        """What stands in a chart without values: why there are none yet."""
        if self.feed.opening:
            return self.feed.opening
        state = self.state
        if state.active and state.stage not in ("", "training"):
            return f"{state.stage} {state.stage_detail}".strip()
        return "no values yet" if state.active else "no values"

    def plain_text(self) -> str:
        """Return the whole view as text."""
        samples = self.query_one(SamplesPane)
        samples.rounds, samples.behaviour = self.feed.samples.rounds, {}
        return twin(
            self.figures(),
            self.feed.reason,
            str(self.feed.run.path),
            samples.text(WIDTH) if samples.rounds else "",
            self.query_one(LogPane).text(WIDTH),
            self.query_one(Plots).text(WIDTH, 14),
        )


def _losses(state: RunState) -> list[float | None]:
    """Return the loss over the whole run in as many parts as a summary draws."""
    train = state.history.train
    reach = train.x_range("step")
    if reach is None:
        return []
    columns = train.columns("loss", "step", reach[0], reach[1] + 1, 64)
    return [None if column is None else column.mean for column in columns]
