"""Whether preferences are learned by unlearning to speak, which DPO's loss and accuracy do not tell.

The loss asks for a difference (Rafailov et al., 2023, equation 7), and both answers may become less likely while it
grows. What the chosen ones are worth to the model tells: `logps/chosen`, in nats over a whole answer (Pal et al., 2024,
"Smaug", arXiv:2402.13228, who name the failure). Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

FIGURE: Final = "logps/chosen"
_COMPARED: Final = 10
"""Reported steps whose mean is compared: the first and the newest ones."""
_LEAST: Final = 10.0
"""Nats. An answer of a few words begins near -4; one that is lost ends at -70."""


@dataclass(slots=True)
class Collapse:
    """Watches the figure, and tells once when it has fallen by as much as it began with, and by 10 nats."""

    began: list[float] = field(default_factory=list)
    newest: list[float] = field(default_factory=list)
    told: bool = False

    def seen(self, metrics: Mapping[str, float]) -> tuple[float, float] | None:
        """Take the figures of a step. Return once what the figure began with, and what it is now."""
        value = metrics.get(FIGURE, math.nan)
        if self.told or not math.isfinite(value):
            return None
        if len(self.began) < _COMPARED:
            self.began.append(value)
            return None
        self.newest = [*self.newest, value][-_COMPARED:]
        then, now = math.fsum(self.began) / len(self.began), math.fsum(self.newest) / len(self.newest)
        if len(self.newest) < _COMPARED or then - now <= max(_LEAST, abs(then)):
            return None
        self.told = True
        return then, now

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"began": self.began, "told": self.told}

    def restore(self, state: object) -> None:
        """Take over what a checkpoint kept; what is none is nothing."""
        if isinstance(state, dict) and isinstance(began := state.get("began"), list):
            self.began = [float(value) for value in began if isinstance(value, int | float)]
            self.told = state.get("told") is True
