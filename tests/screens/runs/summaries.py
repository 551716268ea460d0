"""Runs made by hand, at fixed times: what the list is drawn from in tests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.events import BehaviourMeasured
from engine.runs.checkpoints import Checkpoint
from engine.runs.lifecycle import State
from engine.runs.summary import RunSummary, in_order
from screens.runs.feed import RunsFeed
from screens.runs.loss_curve import LossCurve
from screens.runs.reading import Details
from tui.state import RunState

NOW = 1_790_000_000.0
"""Unix seconds: 2026-09-21 13:33:20 UTC."""


def losses(count: int, *, reached: float = 0.3) -> list[float]:
    """Return a falling curve with a little noise."""
    return [reached + 2.4 * math.exp(-index / 14) + 0.08 * math.sin(index * 2.1) for index in range(count)]


def a_run(name: str = "sft-tiny-3", state: State = "running", **changes: Any) -> RunSummary:
    """Return a run half way up."""
    curve = losses(64)
    values: dict[str, Any] = {
        "path": f"/workspace/runs/{name}", "method": "sft", "model": "tiny", "parent": None, "created": NOW - 3600,
        "step": 124, "total_steps": 200, "loss": curve[-1], "losses": curve, "seconds_per_step": 0.9,
        "eta_seconds": 68.4 if state == "running" else None, "last_said": NOW - 0.4, **changes,
    }  # fmt: skip
    return RunSummary(name=name, state=state, **values)


def in_every_state() -> list[RunSummary]:
    """Return a workspace in which everything happens at once."""
    return in_order([
        a_run(),
        a_run("dpo-qwen2.5-0.5b-2", method="dpo", model="Qwen/Qwen2.5-0.5B-Instruct", parent="sft-qwen2.5-0.5b-7",
              step=1_204, total_steps=12_000, loss=0.6931, losses=[0.7 + 0.01 * math.sin(i) for i in range(64)],
              eta_seconds=32_400.0, seconds_per_step=3.0, created=NOW - 4000),
        a_run("unlearn-smol-1", "paused", method="unlearn", model="HuggingFaceTB/SmolLM2-135M-Instruct", step=310,
              total_steps=900, created=NOW - 9000),
        a_run("sft-tiny-4", "starting", step=0, total_steps=0, loss=None, losses=[], seconds_per_step=None,
              created=NOW - 6),
        a_run("sft-tiny-5", "stopping", step=41, total_steps=200, created=NOW - 500),
        a_run("demo-1", "finished", step=180, total_steps=180, loss=0.0213, last_said=NOW - 660,
              created=NOW - 800),
        a_run("sft-qwen2.5-0.5b-7", "finished", model="Qwen/Qwen2.5-0.5B-Instruct", step=2_000, total_steps=2_000,
              loss=1.204, last_said=NOW - 86_400, created=NOW - 90_000),
        a_run("sft-tiny-2", "stopped", step=88, last_said=NOW - 7_300, created=NOW - 7_400,
              explanation="Stopped by anna@gpu-1 (process 812)."),
        a_run("sft-llama-1", "failed", model="meta-llama/Llama-3.2-1B", step=17, total_steps=4_000, loss=math.nan,
              losses=[*losses(16), math.nan], last_said=NOW - 172_800, created=NOW - 173_000,
              explanation="The loss became NaN at step 18; the step was not taken. Lower training.learning_rate "
              "(it was 0.01), or resume from checkpoint-10 with the rate halved."),
        a_run("sft-tiny-1", "died", step=55, last_said=NOW - 259_000, created=NOW - 260_000,
              explanation="Killed by the system: the host ran out of memory."),
        a_run("on-another-machine", "unknown", step=5, total_steps=10, last_said=NOW - 400_000,
              created=NOW - 400_500),
    ])  # fmt: skip


class StillFeed(RunsFeed):
    """A feed that shows one moment and reads nothing.

    Args:
        summaries: What is listed.
        known: Details by name; of the others nothing is known.
    """

    def __init__(self, summaries: Iterable[RunSummary] = (), *, known: Mapping[str, Details] | None = None) -> None:
        super().__init__(Path("/workspace/runs"), {summary.name: summary for summary in summaries}, complete=True)
        self._details = known or {}
        self.looks = 0
        """How often it was asked."""

    def look(self) -> bool:
        self.looks += 1
        return False

    def details(self, name: str) -> Details | None:
        summary = self.summaries.get(name)
        if summary is None:  # it was deleted while its details were waited for
            return None
        return self._details.get(name) or Details(name, RunState(name, last_said=summary.last_said))


def the_details() -> dict[str, Details]:
    """Return details of some runs of `in_every_state`."""
    steps = [float(step) for step in range(1, 125)]
    train = LossCurve("train", "line", steps, losses(124))
    checked = [20.0, 40.0, 60.0, 80.0, 100.0, 120.0]
    retain = LossCurve("retain", "points", checked, [1.1, 0.8, 0.62, 0.55, 0.51, 0.5])
    unlearn = LossCurve("unlearn", "points", checked, [1.6, 1.3, 0.9, 0.7, 0.6, 0.56])
    before = {"retain_answered": 0.98, "retain_refused": 0.0, "unlearn_refused": 0.01, "unlearn_leaked": 0.97}
    after = {"retain_answered": 0.97, "retain_refused": 0.01, "unlearn_refused": 0.99, "unlearn_leaked": 0.0}
    counts = {"retain": 100, "unlearn": 100}

    def state(name: str, last_said: float) -> RunState:
        return RunState(
            name, last_said=last_said, stage="training", num_parameters=3_412_992, num_trainable_parameters=65_536,
            device="cpu", dtype="float32",
        )  # fmt: skip

    done = state("demo-1", NOW - 660)
    done.behaviour = {
        "before": BehaviourMeasured(0, "before", before, counts, 1.0),
        "after": BehaviourMeasured(180, "after", after, counts, 1.0),
    }
    best = a_checkpoint("best", 120, eval_loss=0.5301)
    return {
        "sft-tiny-3": Details(
            "sft-tiny-3", state("sft-tiny-3", NOW - 0.4), best=best, newest=a_checkpoint("checkpoint-120", 120),
            curves=[train, retain, unlearn],
        ),
        "demo-1": Details(
            "demo-1", done, best=best, final=a_checkpoint("final", 180), newest=a_checkpoint("checkpoint-180", 180),
            curves=[train, retain, unlearn], whole=False,
        ),
        "sft-tiny-1": Details(
            "sft-tiny-1", state("sft-tiny-1", NOW - 259_000), newest=a_checkpoint("checkpoint-50", 50),
            curves=[train], reason="nobody holds its lock",
            last_words=["loading shards: 100%", "Killed"],
        ),
    }  # fmt: skip


def a_checkpoint(name: str, step: int, **metrics: float) -> Checkpoint:
    """Return a checkpoint of 0.9 MB."""
    files = {"adapter_model.safetensors": {"size": 901_234, "sha256": "0" * 64}}
    return Checkpoint(Path("/workspace/runs/x/checkpoints") / name, step, "1" * 32, files, {"metrics": metrics})
