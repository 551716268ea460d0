"""Runs with checkpoints made by hand, at fixed times: what the list is drawn from in tests."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.runs.catalogue import Catalogue, RunEntry, in_lineage
from engine.runs.entries import CheckpointEntry, with_best
from engine.runs.lifecycle import State
from screens.checkpoints.feed import CatalogueFeed
from tests.screens.runs.summaries import NOW, a_run

NOT_EXACT = "optimizer.pt is not in its manifest, so going on would not be exact"
ADAPTER, OPTIMIZER = 1_247_120, 2_502_733


def a_checkpoint(run: str, name: str, step: int | None = None, **changes: Any) -> CheckpointEntry:
    """Return a checkpoint of the built-in model's size."""
    step = int(name.rpartition("-")[2]) if step is None else step
    alone = name in ("best", "final")
    below = "" if alone else "checkpoints/"
    values: dict[str, Any] = {
        "step": step, "epoch": step / 40, "created": NOW - 7_200 - 60 * (200 - step), "reason": "scheduled",
        "metrics": {"loss": 0.3 + 2 / (1 + step / 10), "eval_loss": 0.5 + abs(step - 120) / 100, "grad_norm": 1.0,
                    "mean_token_accuracy": 0.9},
        "evaluated_step": step, "adapter_bytes": ADAPTER, "optimizer_bytes": 0 if alone else OPTIMIZER,
        "other_bytes": 310_222, "sequence": step,
        "not_exact": NOT_EXACT if alone else None, **changes,
    }  # fmt: skip
    return CheckpointEntry(run=run, name=name, folder=f"/workspace/runs/{run}/{below}{name}", **values)


def an_entry(
    name: str, checkpoints: Iterable[CheckpointEntry] = (), state: State = "finished", **changes: Any
) -> RunEntry:
    """Return a run with checkpoints."""
    values = {"step": 200, "total_steps": 200, "last_said": NOW - 7_000, "created": NOW - 20_000, **changes}
    summary = a_run(name, state, **values)
    return RunEntry(summary, None, summary.model, 0, with_best(checkpoints))


def behaviour(step: int, **more: float) -> dict[str, float]:
    """Return the figures of a run that retains and unlearns."""
    return {
        "loss": 0.31 + 2 / (1 + step / 8), "eval_retain_loss": 0.24 + 0.001 * step,
        "eval_unlearn_loss": 0.36 + 1.1 / (1 + step / 20), "eval_loss": 0.3 + abs(step - 60) / 150, **more,
    }  # fmt: skip


def a_family() -> list[RunEntry]:
    """Return a base run, two that go on from it, and one that failed."""
    base = an_entry(
        "voice-1",
        [
            a_checkpoint("voice-1", "best", 120, reason="best"),
            a_checkpoint("voice-1", "final", 200, reason="final"),
            a_checkpoint("voice-1", "checkpoint-200"),
            a_checkpoint("voice-1", "checkpoint-160", pinned=True),
            a_checkpoint("voice-1", "checkpoint-120"),
            a_checkpoint("voice-1", "checkpoint-80",
                         fault="adapter_model.safetensors has 812 of 1247120 bytes"),
        ],
        created=NOW - 90_000,
    )  # fmt: skip
    going = an_entry(
        "voice-2-refusals",
        [
            a_checkpoint("voice-2-refusals", "best", 60, reason="best", metrics=behaviour(60)),
            a_checkpoint("voice-2-refusals", "checkpoint-80", metrics=behaviour(80), created=NOW - 40),
            a_checkpoint("voice-2-refusals", "checkpoint-60", metrics=behaviour(60), created=NOW - 150),
            a_checkpoint("voice-2-refusals", "checkpoint-40", metrics=behaviour(40), optimizer_bytes=0,
                         not_exact="optimizer.pt was dropped to save room, so going on would not be exact"),
        ],
        "running", parent="voice-1", step=84, created=NOW - 400, last_said=NOW - 1,
    )  # fmt: skip
    dpo = an_entry(
        "voice-2-dpo",
        [
            a_checkpoint("voice-2-dpo", "final", 100, reason="final", metrics={
                "loss": 0.41, "eval_loss": 0.5512, "eval_rewards/accuracies": 0.8125, "eval_rewards/margins": 1.384}),
            a_checkpoint("voice-2-dpo", "checkpoint-50", metrics={
                "loss": math.nan, "eval_loss": 0.6023, "eval_rewards/accuracies": 0.71, "eval_rewards/margins": 0.622}),
        ],
        method="dpo", parent="voice-1", created=NOW - 9_000,
    )  # fmt: skip
    failed = an_entry("llama-1", state="failed", model="meta-llama/Llama-3.2-1B", step=17, created=NOW - 173_000)
    return tree(going, dpo, base, failed)


def large(name: str = "llama-3b") -> RunEntry:
    """Return a run whose numbers are long."""
    return an_entry(
        name,
        [
            a_checkpoint(name, f"checkpoint-{step}", epoch=step / 3, adapter_bytes=97_307_544,
                         optimizer_bytes=194_700_000, metrics={"loss": 1234.5 / step, "eval_loss": 10 + step / 7_000})
            for step in (12_000, 11_500, 900)
        ],
        model="meta-llama/Llama-3.2-3B-Instruct", created=NOW - 300,
    )  # fmt: skip


def tree(*runs: RunEntry) -> list[RunEntry]:
    """Return runs in the order of the catalogue."""
    return list(in_lineage(runs))


def many(num_runs: int, num_checkpoints: int) -> list[RunEntry]:
    """Return a workspace that has grown."""
    return [
        an_entry(
            f"run-{number}",
            [a_checkpoint(f"run-{number}", f"checkpoint-{10 * at}") for at in range(num_checkpoints, 0, -1)],
            created=NOW - 1000 * number,
        )
        for number in range(num_runs)
    ]


class StillFeed(CatalogueFeed):
    """A feed that shows one moment and reads nothing."""

    def __init__(self, runs: Iterable[RunEntry] = ()) -> None:
        super().__init__(Path("/workspace/runs"), Catalogue(tuple(runs)), complete=True)
        self.looks = 0
        """How often it was asked."""

    def look(self) -> bool:
        self.looks += 1
        return False

    def put(self, name: str, checkpoint: str, **changes: Any) -> None:
        """Change a checkpoint."""
        self.catalogue = Catalogue(
            tuple(
                replace(run, checkpoints=with_best(
                    replace(one, **changes) if one.name == checkpoint else one for one in run.checkpoints
                )) if run.name == name else run
                for run in self.catalogue.runs
            )
        )  # fmt: skip
