"""What the eye needs first: is it alive, how far is it, when will it be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tui.display import plain
from tui.state import RunState, stage_name
from tui.widgets.bar import bar
from tui.widgets.cells import Cells, Piece, cut, fitted, length, spread
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.sparkline import sparkline
from tui.widgets.text_rows import StyledText, wrapped
from tui.widgets.words import SIGNS, count, number_of, pace, time_left, time_spent, value


@dataclass(slots=True)
class Figures:
    """The figures of a run, each as a label and a value."""

    state: RunState
    now: float
    glyphs: GlyphSet
    opening: str = ""
    """What is being read; empty once everything is known."""

    @property
    def state_piece(self) -> list[Piece]:
        if self.opening:
            return [(self.opening, "a")]
        sign, ascii_sign, style = SIGNS[self.state.state]
        return [(f"{ascii_sign if self.glyphs == 'ascii' else sign} {self.state.state}", style)]

    @property
    def stage(self) -> list[Piece]:
        """What it does besides training."""
        state = self.state
        if self.opening or not state.active or state.stage in ("", "training", state.state):
            return []
        detail = plain(state.stage_detail, limit=200)
        return [(f"{plain(state.stage, limit=40)} {detail}".rstrip(), " ")]

    @property
    def silence(self) -> list[Piece]:
        if self.opening or not self.state.stuck(self.now):
            return []
        return [(f"no step for {time_spent(self.state.silent_seconds(self.now))}", "w")]

    @property
    def what(self) -> list[Piece]:
        state = self.state
        if not state.method:
            return []
        if not state.stages:
            return [(plain(state.method, limit=40), " "), (" on ", "m"), (plain(state.model, limit=200), " ")]
        here = state.stages[-1]
        return [(plain(stage_name(here), limit=60), " "), (f", stage {here.number} of {here.count}, on ", "m"),
                (plain(state.model, limit=200), " ")]  # fmt: skip

    @property
    def device(self) -> list[Piece]:
        state = self.state
        if not state.device:
            return []
        return [(plain(state.device, limit=80), " "), (" · ", "m"), (plain(state.dtype, limit=40), " ")]

    @property
    def parameters(self) -> list[Piece]:
        state = self.state
        if not state.num_parameters:
            return []
        share = state.num_trainable_parameters / state.num_parameters
        return [(f"{count(state.num_trainable_parameters)} of {count(state.num_parameters)}", " "),
                (f" trained ({share:.2g})" if share < 0.001 else f" trained ({share:.1%})", "m")]  # fmt: skip

    @property
    def parent(self) -> list[Piece]:
        return [("from ", "m"), (plain(self.state.parent, limit=80), " ")] if self.state.parent else []

    @property
    def percent(self) -> list[Piece]:
        return [(f"{self.state.progress:4.0%}", "v")] if self.state.total_steps else []

    @property
    def step(self) -> list[Piece]:
        state = self.state
        if not state.total_steps:
            return []
        return [("step ", "m"), (f"{state.step:,}", "v"), (f" / {state.total_steps:,}", "m")]

    @property
    def epoch(self) -> list[Piece]:
        state = self.state
        if not state.total_steps:
            return []
        return [("epoch ", "m"), (f"{state.epoch:.2f}", "v"), (f" / {state.num_train_epochs:g}", "m")]

    @property
    def elapsed(self) -> list[Piece]:
        seconds = seconds_at_work(self.state, self.now)
        return [("elapsed ", "m"), (time_spent(seconds), "v")] if seconds is not None else []

    @property
    def left(self) -> list[Piece]:
        seconds = self.state.eta_seconds
        if seconds is None or self.state.step >= self.state.total_steps:
            return []
        return [("left ", "m"), (time_left(seconds), "v")]

    @property
    def early_stop(self) -> list[Piece]:
        """When early stopping would end the run, while it is armed."""
        found = self.state.early_stopping
        if found is None or not found.armed or not self.state.active:
            return []
        at = plain(found.at, limit=20)
        exposure: list[Piece] = [(" · exposure ", "m"), (f"{found.exposure:.0%}", "v")]
        if found.stops_in is None:
            return [("no early stop in sight", "m"), *exposure]
        if not found.stops_in:
            return [("stops early", "w"), *exposure]
        return [("would stop in ", "m"), (number_of(found.stops_in, at), "v"), *exposure]

    @property
    def forgetting(self) -> list[Piece]:
        """How far the model is from its base on the probe, where that is measured."""
        found = self.state.forgetting
        if found is None:
            return []
        if not found.alarmed:
            return [("forgetting ", "m"), (f"{found.change:+z.3f}", "v")]
        return [(f"forgetting {found.change:+z.3f}, alarm {found.alarm:g}", "w")]

    @property
    def steps_per_second(self) -> list[Piece]:
        seconds = self.state.seconds_per_step
        if not seconds:
            return []
        if seconds > 2:
            return [(pace(seconds), "v"), (" s/step", "m")]
        return [(pace(1 / seconds), "v"), (" steps/s", "m")]

    @property
    def tokens_per_second(self) -> list[Piece]:
        state, seconds = self.state, self.state.seconds_per_step
        if not seconds or not state.step or not state.num_tokens:
            return []
        return [(pace(state.num_tokens / state.step / seconds), "v"), (" tokens/s", "m")]

    @property
    def tokens(self) -> list[Piece]:
        return [(count(self.state.num_tokens), "v"), (" tokens", "m")] if self.state.num_tokens else []

    @property
    def loss(self) -> list[Piece]:
        loss = self.state.newest.get("loss")
        return [("loss ", "m"), (value(loss), "v")] if loss is not None else []

    def progress_bar(self, width: int) -> list[Piece]:
        return bar(self.state.progress, width, self.glyphs, SIGNS[self.state.state][2])


def seconds_at_work(state: RunState, now: float) -> float | None:
    """Return for how long the run has worked, all attempts together; None before it was started.

    While it works, the time since its last figure counts too.
    """
    if not state.lifecycle.attempt:
        return None
    clock = state.history.clock
    since = max(clock.last or 0.0, state.attempt_began)
    end = now if state.active else state.last_said
    return clock.seconds + max(0.0, end - since)


def headline(figures: Figures, width: int) -> list[list[Piece]]:
    """Return the three rows above the plots."""
    shown = figures
    state = [shown.state_piece, shown.silence, shown.stage]
    about = [shown.what, shown.parameters, shown.parent]
    left = fitted([group for group in (*state, *about) if group], width)
    first = spread(left, shown.device, width)
    counts = fitted([group for group in (shown.percent, shown.step, shown.epoch) if group], width, gap=2)
    room = width - length(counts) - 2
    second = [*shown.progress_bar(room), ("  ", " "), *counts] if room >= 8 and shown.state.total_steps else counts
    if not shown.state.total_steps:
        second = shown.progress_bar(width)
    # No loss: the chart below has it, smoothed.
    paces = (
        shown.left, shown.early_stop, shown.forgetting, shown.elapsed, shown.steps_per_second,
        shown.tokens_per_second, shown.tokens,
    )  # fmt: skip
    return [first, second, fitted([group for group in paces if group], width)]


def summary(
    figures: Figures,
    name: str,
    width: int,
    height: int,
    losses: Sequence[float | None] = (),
    said: Sequence[Piece] = (),
    rest: Sequence[Piece] = (),
) -> list[list[Piece]]:
    """Return the whole view in a few rows, for a terminal of 40x10 and less: one row says the most.

    Args:
        figures: Of the run.
        name: Of the run, cleaned.
        width: Of a row, in cells.
        height: Rows at most.
        losses: Over the whole run, for a sparkline.
        said: What there is to say besides: an answer, a warning, how it ended. Goes before figures.
        rest: What may be said where room is left: the newest line of the log.
    """
    shown = figures
    title: list[Piece] = [(name, "v")]
    if height < 3:
        groups = [shown.state_piece, shown.percent, shown.left, title, shown.loss, shown.silence, shown.step]
        rows = [fitted([group for group in groups if group], width, gap=2)]
        return [*rows, shown.progress_bar(width)][:height]
    rows = [spread(cut([*shown.state_piece, ("  ", " "), *title], width), shown.device, width)]
    percent = shown.percent
    if percent and width >= 12:
        rows.append([*shown.progress_bar(width - length(percent) - 1), (" ", " "), *percent])
    loss = shown.loss
    room = width - length(loss) - 2
    if loss and losses and room >= 4:
        loss = [*loss, ("  ", " "), (sparkline(losses, room, shown.glyphs), "b")]
    counts = [fitted([group for group in groups if group], width) for groups in (
        (shown.silence or shown.stage,), (shown.step, shown.epoch), (shown.left, shown.elapsed),
        (shown.steps_per_second, shown.tokens_per_second),
    )]  # fmt: skip
    rows += [row for row in (*counts, loss) if row]
    if said:
        words = [_recoded(row) for row in wrapped(said, width)][: max(1, height - 3)]
        rows = [*rows[: height - len(words)], *words]
    elif rest and height > len(rows) + 1:
        rows += [[], *(_recoded(row) for row in wrapped(rest, width))]
    return rows[:height]


def _recoded(row: list[StyledText]) -> list[Piece]:
    return [(text, style or " ") for text, style in row]


class Headline(Cells):
    """The rows above the plots; on a small terminal the whole view."""

    DEFAULT_CSS = "Headline { height: 3; padding: 0 1; }"
    figures: Figures | None = None
    name_shown = ""
    """Cleaned."""
    losses: Sequence[float | None] = ()
    """For the sparkline of the summary."""
    said: Sequence[Piece] = ()
    """For the last rows of the summary."""
    rest: Sequence[Piece] = ()
    """For rows of the summary that are left."""
    summarised = False
    """Whether this is all there is on the screen."""

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        if self.figures is None:
            return []
        if self.summarised:
            return summary(self.figures, self.name_shown, width, height, self.losses, self.said, self.rest)
        return headline(self.figures, width)
