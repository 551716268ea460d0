"""What an observed trainer needs besides its library's arguments, and what it counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from engine.runs.directory import RunDirectory
from engine.training.best import Best
from engine.training.control import Control
from engine.training.early_stopping import EarlyStopping
from engine.training.ranks import Ranks
from engine.training.reporter import Reporter
from engine.training.stages import Before

if TYPE_CHECKING:
    from engine.training.forgetting import Gauge

EARLY_STOPPING: Final = "early stopping: "
"""How `ended_early` begins where that is the reason."""


@dataclass(slots=True)
class Observation:
    """Of one run, or of one stage of it."""

    run: RunDirectory
    run_id: str
    reporter: Reporter
    control: Control
    ranks: Ranks = field(default_factory=Ranks)
    save_steps: int | None = None
    """Optimizer steps between checkpoints. None: as `save_epochs` says."""
    save_epochs: int | None = None
    """Epochs between checkpoints. None, and no `save_steps`: never."""
    save_total_limit: int | None = None
    best: Best = field(default_factory=Best)
    early_stopping: EarlyStopping | None = None
    forgetting: Gauge | None = None
    """None: not measured."""
    before: Before = field(default_factory=Before)
    """What the stages before this one have counted: what is reported goes on from there."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What else `metadata.json` says: the stage, and what a preference is compared with."""
    base_commit: str | None = None
    """Of the base model on the Hub; None for a folder."""
    score: Callable[[Path, str], None] | None = None
    """Asks a suite of the weights that were just written to a folder; the text is a value of `evaluation.suite_at`."""
    answer: Callable[[int], None] | None = None
    """Answers the fixed prompts at a step; called after each evaluation."""
    newest: dict[str, float] = field(default_factory=dict)
    """The newest figures, for `metadata.json`."""
    evaluated_step: int | None = None
    """When the figures of the validation sets among them were measured."""
    largest_grad_norm: float = 0.0
    """0 at the end means that no step changed anything."""
    ended_early: str = ""
    """Why it ends before its last step without having been told to; empty when it does not."""

    @property
    def ends_run(self) -> bool:
        """Whether that ends the run, not only a stage of it: early stopping alone goes on with the next."""
        return bool(self.ended_early) and not self.ended_early.startswith(EARLY_STOPPING)
