"""The fixed prompts through time: what the model said at one step, and which words are new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from engine.events import BehaviourMeasured
from tui.display import plain
from tui.run_samples import Round, Sample
from tui.widgets.new_words import new_words
from tui.widgets.text_rows import StyledText, as_content, as_text, cut_row, wrapped

_LABEL = 7
"""Cells for the step before an answer."""
_MUTED = "$foreground 60%"
_NEW = "bold $text-success"
_GONE = "$foreground 60% strike"


def behaviour_rows(behaviour: Mapping[str, BehaviourMeasured]) -> list[list[StyledText]]:
    """Return the scores of held-out questions before and after training as a table; none without scores."""
    before, after = behaviour.get("before"), behaviour.get("after")
    names = dict.fromkeys([*(before.scores if before else ()), *(after.scores if after else ())])
    if not names:
        return []
    width = max(len("held-out questions"), *(len(plain(name, limit=40)) for name in names))
    rows: list[list[StyledText]] = [[(f"{'held-out questions':<{width}}{'before':>10}{'after':>10}{'of':>8}", _MUTED)]]
    for name in names:
        old = before.scores.get(name) if before else None
        new = after.scores.get(name) if after else None
        counts = (after or before).counts if after or before else {}  # type: ignore[union-attr]
        over = counts.get(name.partition("_")[0])
        rows.append([
            (f"{plain(name, limit=40).replace('_', ' '):<{width}}", ""),
            (f"{_percent(old):>10}", _MUTED),
            (f"{_percent(new):>10}", _judged(name, old, new)),
            (f"{over if over is not None else '':>8}", _MUTED),
        ])  # fmt: skip
    return rows


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _judged(name: str, old: float | None, new: float | None) -> str:
    """Return the style of a score: what should be high and is, or should be low and is, is good."""
    if new is None:
        return ""
    wanted_low = name.endswith(("leaked", "retain_refused"))
    reached = new <= 0.1 if wanted_low else new >= 0.9
    if reached:
        return "bold $text-success"
    worse = old is not None and (new > old + 0.05 if wanted_low else new < old - 0.05)
    return "bold $text-error" if worse else "bold $text-warning"


def round_rows(now: Round, before: Round | None, width: int, height: int | None = None) -> list[list[StyledText]]:
    """Return the answers of one round, with those of another above them where they differ.

    Args:
        now: The round.
        before: What it is compared with; None shows it alone.
        width: Of a row, in cells.
        height: Rows there are; what does not fit is told in fewer words. None: everything.
    """
    found: list[list[StyledText]] = []
    for form in (_whole, _three_rows, _two_rows, _one_row) if height is not None else (_whole,):
        found = []
        for index, sample in sorted(now.samples.items()):
            old = before.samples.get(index) if before is not None else None
            if before is None or old is None or old.prompt != sample.prompt:
                found += form(_Pair(sample, now.step), width)
            else:
                found += form(_Pair(sample, now.step, old, before.step), width)
        if height is None or len(found) - (not found[-1:] or not found[-1]) <= height:
            break
    return found


@dataclass(frozen=True, slots=True)
class _Pair:
    """One prompt, its answer, and an earlier one."""

    sample: Sample
    step: int
    old: Sample | None = None
    old_step: int = 0

    @property
    def prompt(self) -> list[StyledText]:
        dataset = self.sample.dataset
        tag = [(f"{plain(dataset, limit=20)} ", "$text-primary")] if dataset else []
        return [*tag, (plain(self.sample.prompt), _MUTED)]

    @property
    def now(self) -> list[StyledText]:
        answer = plain(self.sample.answer) or "(empty)"
        if self.old is None:
            return [(answer, "")]
        earlier = plain(self.old.answer) or "(empty)"
        return [(word, _NEW if fresh else "") for word, fresh in new_words(earlier, answer)]

    @property
    def was(self) -> list[StyledText]:
        """Empty where nothing has changed."""
        if self.old is None or self.old.answer == self.sample.answer:
            return []
        answer, earlier = plain(self.sample.answer) or "(empty)", plain(self.old.answer) or "(empty)"
        return [(word, _GONE if gone else _MUTED) for word, gone in new_words(answer, earlier)]

    def labelled(self) -> list[list[StyledText]]:
        """Return the earlier answer, if it differs, and this one, each with its step before it."""
        then: StyledText = (f"{self.old_step:>{_LABEL - 2},}  ", _MUTED)
        rows = [[then, *self.was]] if self.was else []
        return [*rows, [(f"{self.step:>{_LABEL - 2},}  ", "bold"), *self.now]]


def _whole(pair: _Pair, width: int) -> list[list[StyledText]]:
    rows = wrapped(pair.prompt, width, 2)
    for row in pair.labelled():
        rows += wrapped(row, width, _LABEL)
    return [*rows, []]


def _three_rows(pair: _Pair, width: int) -> list[list[StyledText]]:
    return [cut_row(row, width) for row in (pair.prompt, *pair.labelled())]


def _two_rows(pair: _Pair, width: int) -> list[list[StyledText]]:
    return [cut_row(row, width) for row in (pair.prompt, pair.labelled()[-1])]


def _one_row(pair: _Pair, width: int) -> list[list[StyledText]]:
    question = cut_row(pair.prompt, max(8, width * 2 // 5))
    return [cut_row([*question, ("  ", ""), *pair.now], width)]


class SamplesPane(VerticalScroll):
    """The answers at one step. It follows the newest until somebody goes back."""

    HELP = "Answers to the fixed prompts. Green words are new, struck ones are gone, compared with the step named."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h", "step(-1)", "Earlier", key_display="←", id="samples.earlier",
                tooltip="The answers at the evaluation before"),
        Binding("right,l", "step(1)", "Later", key_display="→", id="samples.later",
                tooltip="The answers at the next evaluation; at the newest it follows the run"),
        Binding("b", "compare", "Compare", id="samples.compare",
                tooltip="Compare with the first answers, or with those just before"),
        Binding("j,down", "scroll_down", "Down", show=False, id="samples.down"),
        Binding("k,up", "scroll_up", "Up", show=False, id="samples.up"),
        Binding("ctrl+d", "page_down", "Page down", show=False, id="samples.page-down"),
        Binding("ctrl+u", "page_up", "Page up", show=False, id="samples.page-up"),
        Binding("g", "scroll_home", "Top", show=False, id="samples.top"),
        Binding("G", "scroll_end", "End", show=False, id="samples.end"),
    ]  # fmt: skip
    can_focus = True

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Samples"
        self.rounds: Sequence[Round] = ()
        self.behaviour: Mapping[str, BehaviourMeasured] = {}
        self.brief = False
        """Beside the plots: as much as fits, and no scores."""
        self.chosen: int | None = None
        """Step of the round shown; None follows the newest."""
        self.with_first = True
        """Compared with the first round, else with the one before."""
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        yield Static()

    def show(self, rounds: Sequence[Round], behaviour: Mapping[str, BehaviourMeasured], *, brief: bool) -> None:
        """Draw what is new."""
        self.rounds, self.behaviour, self.brief = rounds, behaviour, brief
        self.redraw()

    @property
    def index(self) -> int:
        """Of the round shown; -1 when there is none."""
        steps = [entry.step for entry in self.rounds]
        return steps.index(self.chosen) if self.chosen in steps else len(steps) - 1

    @property
    def compared(self) -> Round | None:
        """What the round shown is compared with; None for the first."""
        index = self.index
        return None if index <= 0 else self.rounds[0 if self.with_first else index - 1]

    @property
    def caption(self) -> str:
        """Which round this is, in words without anything foreign."""
        index = self.index
        if index < 0:
            return ""
        compared = self.compared
        against = "" if compared is None else f", compared with step {compared.step:,}"
        return f"step {self.rounds[index].step:,}, {index + 1} of {len(self.rounds)}{against}"

    def rows(self, width: int) -> list[list[StyledText]]:
        """Return what is shown, in rows of `width` cells."""
        table = [] if self.brief else behaviour_rows(self.behaviour)
        if self.index < 0:
            return table or [[("The fixed prompts have not been answered yet.", _MUTED)]]
        height = self.scrollable_content_region.height if self.brief else None
        answers = round_rows(self.rounds[self.index], self.compared, width, height)
        # Until there is something to compare, the scores are not what one comes here for.
        return [*table, [], *answers] if table and "after" in self.behaviour else [*answers, *table]

    def redraw(self) -> None:
        """Draw unless this is what is drawn."""
        width, height, *_ = self.scrollable_content_region.size
        index = self.index
        answers = len(self.rounds[index].samples) if index >= 0 else 0
        now = (width, height, self.brief, self.caption, answers, tuple(self.behaviour), self.is_mounted)
        if now == self._drawn or not width:
            return
        self._drawn = now
        self.border_title = f"Samples  {self.caption}" if self.caption else "Samples"
        text = self.query_one(Static)
        text.update(as_content(self.rows(width)))

    def text(self, width: int) -> str:
        """What is shown as plain text."""
        return as_text(self.rows(width))

    def on_resize(self) -> None:
        self.redraw()

    def action_step(self, direction: int) -> None:
        """Show another round."""
        index = self.index + direction
        if 0 <= index < len(self.rounds):
            self.chosen = self.rounds[index].step if index < len(self.rounds) - 1 else None
            self.redraw()

    def action_compare(self) -> None:
        """Compare with the first round, or with the one before."""
        self.with_first = not self.with_first
        self.redraw()
