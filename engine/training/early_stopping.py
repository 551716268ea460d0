"""When a run may end before its last step: from the observations of one metric, and nothing else.

The criterion `drop` compares what the metric fell over a window with the noise of that window, and both with where the
window began; `docs/configuration.md` has it as a formula. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from engine.config.methods import greater_is_better
from engine.config.model import EarlyStoppingSection

_STANDARD_ERRORS = 2.0
"""A drop of so many standard errors is told from noise."""
_KEPT = 1000
"""Observations remembered at most: the largest window."""


def ends_a_cycle(step: int, following: int, *, total: int, warmup: int, cycles: int) -> bool:
    """Return whether an observation is the last one of a cycle of a schedule with warm restarts.

    Equal to `transformers.get_cosine_with_hard_restarts_schedule_with_warmup`: step s is taken with the rate of s - 1.

    Args:
        step: Steps taken when it was made; the last one, `total`, ends a cycle.
        following: Step of the next observation.
        total: Steps of the whole schedule.
        warmup: Of these, before the first cycle.
        cycles: How many there are.
    """

    def cycle(of: int) -> int:
        return cycles * max(0, of - 1 - warmup) // max(1, total - warmup)

    return following > total or cycle(following) > cycle(step)


class Drop(NamedTuple):
    """What a metric did over a window, along the line fitted to it."""

    drop: float
    """How far it fell; negative when it rose. In its own unit."""
    noise: float
    """Twice the standard error of `drop`."""
    share: float
    """`drop` as a fraction of where the line begins."""


def drop_over(values: Sequence[float]) -> Drop:
    """Fit a line to values at equal distances, lower being better, and return what it fell.

    Args:
        values: At least 3, oldest first, finite.
    """
    count = len(values)
    middle, mean = (count - 1) / 2, math.fsum(values) / count
    spread = math.fsum((place - middle) ** 2 for place in range(count))
    slope = math.fsum((place - middle) * (value - mean) for place, value in enumerate(values)) / spread
    start = mean - slope * middle
    left = math.fsum((value - start - slope * place) ** 2 for place, value in enumerate(values))
    error = math.sqrt(left / (count - 2)) / math.sqrt(spread)
    drop = -slope * (count - 1)
    size = max(abs(start), 1e-12)
    return Drop(drop, _STANDARD_ERRORS * error * (count - 1), drop / size)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found at an observation."""

    stop: bool
    """Whether the criterion is met and every row was seen often enough. Whether it is armed is not looked at."""
    stops_in: int | None
    """Observations after which it would stop if nothing changed; None when no end is in sight."""
    reason: str


@dataclass(slots=True)
class EarlyStopping:
    """Watches one metric. Its state can be written down and read again, so that a resumed run goes on exactly."""

    settings: EarlyStoppingSection
    metric: str
    armed: bool
    higher_is_better: bool = False
    observations: list[float] = field(default_factory=list)
    """Oldest first; the sign turned where high values are good."""
    exposures: list[float] = field(default_factory=list)
    """How often each row had been seen, by observation."""
    best: float = math.inf
    since_best: int = 0
    """Observations since one improved on the best."""

    @classmethod
    def watching(cls, settings: EarlyStoppingSection, *, validation: bool) -> EarlyStopping:
        """Return it at its beginning.

        Args:
            settings: Of the run.
            validation: Whether there is a validation set; decides where the metric is not settled, as in a run made
                before there was early stopping.
        """
        metric = settings.metric
        if metric == "auto":
            metric = "eval_loss" if validation else "loss"
        return cls(settings, metric, settings.armed, greater_is_better(metric))

    @property
    def at(self) -> str:
        """What an observation is."""
        return "evaluation" if self.metric.startswith("eval_") else "epoch"

    def observe(self, value: float, exposure: float) -> Judgement:
        """Take a new value of the metric. One that is not finite is no observation.

        Args:
            value: As it was measured.
            exposure: How often each training row has been seen.
        """
        if not math.isfinite(value):
            return Judgement(False, None, f"{self.metric} is not finite")
        turned = -value if self.higher_is_better else value
        self.observations = [*self.observations, turned][-_KEPT:]
        self.exposures = [*self.exposures, exposure][-_KEPT:]
        if self.best - turned > self.settings.min_drop * abs(self.best) or math.isinf(self.best):
            self.best, self.since_best = turned, 0
        else:
            self.since_best += 1
        return self.judge()

    def judge(self) -> Judgement:
        """Return what the observations so far say."""
        waiting, reason = {"drop": self._drop, "patience": self._patience, "threshold": self._threshold}[
            self.settings.criterion
        ]()
        if waiting is None:
            return Judgement(False, None, reason)
        exposed = self._until_exposed()
        if exposed is None:
            return Judgement(False, None, reason)
        stops_in = max(waiting, exposed)
        return Judgement(stops_in == 0, stops_in, reason)

    @property
    def exposure(self) -> float:
        return self.exposures[-1] if self.exposures else 0.0

    def _drop(self) -> tuple[int | None, str]:
        window = self.settings.window
        if len(self.observations) < 3:
            return window - len(self.observations), f"{len(self.observations)} of {window} observations"
        found = drop_over(self.observations[-window:])
        told = f"fell {found.share:.2%} of its value (below {self.settings.min_drop:.2%} is too little)"
        if found.share >= self.settings.min_drop:
            return None, told
        if found.drop > found.noise:
            return None, f"{told}, but steadily: {found.drop:.3g} against a noise of {found.noise:.3g}"
        missing = max(0, window - len(self.observations))
        return missing, f"{told}, no more than its noise" if found.drop > 0 else f"{self.metric} no longer improves"

    def _patience(self) -> tuple[int | None, str]:
        left = max(0, self.settings.patience - self.since_best)
        if not self.observations or not self.since_best:
            return None, "it has just improved" if self.observations else "nothing was observed yet"
        return left, f"no improvement in {self.since_best} of {self.settings.patience} observations"

    def _threshold(self) -> tuple[int | None, str]:
        threshold = self.settings.threshold
        assert threshold is not None  # refused by the check of the settings
        wanted = -threshold if self.higher_is_better else threshold
        reached = bool(self.observations) and self.observations[-1] <= wanted
        return (0 if reached else None), f"{'at' if reached else 'not yet at'} {threshold:g}"

    def _until_exposed(self) -> int | None:
        """Return the observations until every row was seen often enough; None when that cannot be told."""
        missing = self.settings.minimum_exposure - self.exposure
        if missing <= 1e-9:
            return 0
        if not self.exposures or self.exposure <= 0:
            return None
        each = self.exposure / len(self.exposures)
        if len(self.exposures) > 1:
            each = (self.exposures[-1] - self.exposures[0]) / (len(self.exposures) - 1)
        return math.ceil(missing / each - 1e-9) if each > 0 else None

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        kept = asdict(self)
        del kept["settings"]
        return {**kept, "best": self.best if math.isfinite(self.best) else None}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over what a checkpoint kept; of another metric nothing, for its values cannot be compared."""
        if state.get("metric") != self.metric:
            return
        try:
            observations = [float(value) for value in state["observations"]]
            exposures = [float(value) for value in state["exposures"]]
            best, since = state["best"], int(state["since_best"])
            armed = bool(state["armed"])
        except (KeyError, TypeError, ValueError):  # a checkpoint is a file that anyone may have edited
            return
        if len(observations) == len(exposures):
            self.observations, self.exposures, self.since_best, self.armed = observations, exposures, since, armed
            self.best = math.inf if best is None else float(best)
