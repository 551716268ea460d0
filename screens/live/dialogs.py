"""The questions of the live view: how to stop, which learning rate, which metric."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.commands import SetLearningRate, Stop
from tui.display import content
from tui.steady import Steady

_BOX = """
        align: center middle;
        background: $background 60%;
        & > #box {
            width: 64;
            max-width: 96%;
            height: auto;
            max-height: 96%;
            padding: 1 2;
            background: $surface;
            border: round $primary;
            & Static { width: 1fr; height: auto; }
            & .question { margin-bottom: 1; }
            & .note { color: $text-muted; margin-bottom: 1; }
            & .problem { color: $text-error; }
            & OptionList { height: auto; max-height: 16; background: $surface; border: none; padding: 0; }
            & Input { margin-bottom: 1; }
            & Horizontal { height: auto; align-horizontal: right; }
            & Button { margin-left: 2; min-width: 12; }
        }
"""


class StopDialog(Steady, ModalScreen["Stop | None"]):
    """Asks how a run shall end; None leaves it running.

    Args:
        run: Its name.
        loss: What ending without saving would lose, as a sentence.
        stopping: It is stopping already; what is left is to end it now.
    """

    HELP = "How the run shall end. Nothing happens until you choose; Esc leaves it running."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "choose('save')", "Stop and save", id="stop.save",
                tooltip="Finish the step, write a checkpoint, end. Resume goes on exactly from there"),
        Binding("n", "choose('now')", "Stop now", id="stop.now", tooltip="End at once, without saving"),
        Binding("c,escape,q", "choose('cancel')", "Cancel", id="stop.cancel", tooltip="Leave it running"),
        Binding("j", "cursor(1)", "Down", show=False, id="stop.down"),
        Binding("k", "cursor(-1)", "Up", show=False, id="stop.up"),
    ]  # fmt: skip
    DEFAULT_CSS = f"StopDialog {{{_BOX}}}"

    def __init__(self, run: str, loss: str, *, stopping: bool = False) -> None:
        super().__init__()
        self._run = run
        self._loss = loss
        self._stopping = stopping

    def compose(self) -> ComposeResult:
        options = [
            Option(content("s  Stop and save: write a checkpoint, then end"), "save", disabled=self._stopping),
            Option(content(f"n  Stop now. {self._loss}"), "now"),
            Option(content("c  Cancel: let it run"), "cancel"),
        ]
        question = f"{self._run} is stopping. End it at once?" if self._stopping else f"Stop {self._run}?"
        with Vertical(id="box"):
            yield Static(content(question, "bold"), classes="question")
            yield OptionList(*options)

    def on_mount(self) -> None:
        choices = self.query_one(OptionList)
        choices.highlighted = 2 if self._stopping else 0
        choices.focus()

    def action_cursor(self, rows: int) -> None:
        """Move the cursor."""
        choices = self.query_one(OptionList)
        choices.action_cursor_down() if rows > 0 else choices.action_cursor_up()

    @on(OptionList.OptionSelected)
    def _select(self, event: OptionList.OptionSelected) -> None:
        self.action_choose(event.option_id or "cancel")

    def action_choose(self, what: str) -> None:
        """Close with the answer."""
        if what == "save" and self._stopping:
            return
        self.dismiss({"save": Stop(save=True), "now": Stop(save=False)}.get(what))


def learning_rate_problem(text: str) -> str | None:
    """Return why `text` is no learning rate, in a sentence; None when it is one."""
    try:
        rate = float(text)
    except ValueError:
        return f"{text[:40]!r} is not a number; write it as 2e-4 or 0.0002." if text.strip() else "A number is needed."
    if not math.isfinite(rate) or rate <= 0:
        return f"A learning rate is above 0, and {text.strip()[:40]} is not."
    if rate > 1:
        return f"{rate:g} is above 1; no optimizer here survives that. Typical are 1e-5 to 1e-3."
    return None


class LearningRateDialog(Steady, ModalScreen["SetLearningRate | None"]):
    """Asks for a learning rate; None leaves it as it is.

    Args:
        run: Its name.
        now: The newest learning rate of the log, None when there is none.
    """

    HELP = "The new peak of the learning-rate schedule, from the next step on. Enter sets it, Esc leaves it."
    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="learning-rate.cancel", tooltip="Leave the learning rate as it is"),
    ]
    DEFAULT_CSS = f"LearningRateDialog {{{_BOX}}}"

    def __init__(self, run: str, now: float | None) -> None:
        super().__init__()
        self._run = run
        self._now = now

    def compose(self) -> ComposeResult:
        at = f"It is {self._now:.6g} at the newest step. " if self._now is not None else ""
        about = f"{at}The number becomes the peak of the schedule, which keeps its shape, from the next step on."
        with Vertical(id="box"):
            yield Static(content(f"Learning rate of {self._run}", "bold"))
            yield Static(content(about), classes="note")
            yield Input(compact=True, placeholder="2e-4")
            yield Static(classes="problem")
            with Horizontal():
                yield Button("Cancel", id="cancel", compact=True)
                yield Button("Set", id="set", variant="primary", compact=True)

    @on(Input.Changed)
    def _forget_problem(self) -> None:
        self.query_one(".problem", Static).update(content(""))

    @on(Input.Submitted)
    def _submit(self) -> None:
        text = self.query_one(Input).value
        problem = learning_rate_problem(text)
        if problem is None:
            self.dismiss(SetLearningRate(float(text)))
        else:
            self.query_one(".problem", Static).update(content(problem))
            self.query_one(Input).focus()

    @on(Button.Pressed)
    def _press(self, event: Button.Pressed) -> None:
        if event.button.id == "set":
            self._submit()
        else:
            self.dismiss(None)

    def action_leave(self) -> None:
        """Close without a change."""
        self.dismiss(None)


class MetricPicker(Steady, ModalScreen["str | None"]):
    """Asks which chart to show large; None for none.

    Args:
        metrics: Key, title and newest value of each, in the order of the pages. Foreign.
        current: Key of the one in focus.
    """

    HELP = "Every metric of the run. Enter shows its chart over the whole area."
    AUTO_FOCUS = "OptionList"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,m", "leave", "Cancel", id="metrics.cancel"),
        Binding("j", "cursor(1)", "Down", show=False, id="metrics.down"),
        Binding("k", "cursor(-1)", "Up", show=False, id="metrics.up"),
    ]
    DEFAULT_CSS = f"MetricPicker {{{_BOX}}}"

    def __init__(self, metrics: Sequence[tuple[str, str, str]], current: str | None) -> None:
        super().__init__()
        self._metrics = metrics
        self._current = current

    def compose(self) -> ComposeResult:
        with Vertical(id="box"):
            yield Static(content("Show a metric large", "bold"), classes="question")
            yield OptionList(*(Option(content(f"{title}  {now}", lines=1)) for _, title, now in self._metrics))

    def on_mount(self) -> None:
        keys = [key for key, _, _ in self._metrics]
        self.query_one(OptionList).highlighted = keys.index(self._current) if self._current in keys else 0

    @on(OptionList.OptionSelected)
    def _select(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(self._metrics[event.option_index][0])

    def action_cursor(self, rows: int) -> None:
        """Move the cursor."""
        choices = self.query_one(OptionList)
        choices.action_cursor_down() if rows > 0 else choices.action_cursor_up()

    def action_leave(self) -> None:
        """Close without a choice."""
        self.dismiss(None)
