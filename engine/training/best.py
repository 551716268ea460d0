"""Which weights are the best so far: by one metric, low or high. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine import events


@dataclass(slots=True)
class Best:
    """Remembers the best value of one metric."""

    metric: str | None = "eval_loss"
    """None keeps no `best/`."""
    greater_is_better: bool = False
    value: float | None = None
    """None before the first."""

    @property
    def of_training(self) -> bool:
        """Whether the metric is one of training, which counts as its mean over an epoch."""
        return self.metric is not None and not self.metric.startswith("eval_")

    def improves(self, metrics: Mapping[str, float]) -> bool:
        """Return whether the metric is there and better than ever, and remember it."""
        found = metrics.get(self.metric, math.nan) if self.metric is not None else math.nan
        if not math.isfinite(found):
            return False
        if self.value is not None and not (found > self.value if self.greater_is_better else found < self.value):
            return False
        self.value = found
        return True

    def state(self) -> dict[str, Any]:
        """Return what `metadata.json` says of it."""
        value = events.json_number(self.value) if self.value is not None else None
        return {"best_metric": self.metric, "best_value": value}

    def restore(self, metadata: Mapping[str, Any]) -> None:
        """Take over the value of a checkpoint; of another metric nothing. One without a name is `eval_loss`'s."""
        if metadata.get("best_metric", self.metric) != self.metric:
            return
        value = metadata.get("best_value")
        found = events.number_from_json(value) if value is not None else math.nan
        self.value = found if math.isfinite(found) else None
