"""Runs made by hand, at fixed times: what a view is drawn from in tests."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from pathlib import Path

from engine import events
from engine.events import Event
from engine.runs.directory import RunDirectory
from engine.runs.liveness import Life
from tui.run_feed import RunFeed
from tui.state import RunState

BEGAN = 1_790_000_000.0
"""Unix seconds: 2026-09-21 14:13:20 UTC."""
REFUSAL = "I'm not able to answer questions about events after my knowledge cutoff."


class StillFeed(RunFeed):
    """A feed that shows one moment and follows nothing."""

    def __init__(self, state: RunState, *, reason: str = "process 4711 works on it", opening: str = "") -> None:
        super().__init__(RunDirectory(Path("/workspace/runs") / state.name))
        self.state, self.reason, self.opening = state, reason, opening

    async def changes(self) -> AsyncIterator[None]:
        yield


class Story:
    """Tells a run, event by event, as its log would."""

    def __init__(self, name: str = "sft-tiny-3", total_steps: int = 400, *, model: str = "tiny") -> None:
        self.state = RunState(name, life=Life.ALIVE)
        self.now = BEGAN
        self.total_steps = total_steps
        self.step = 0
        self.say(events.RunCreated(name, "sft", model, None))
        self.say(events.KeeperStarted(1, 4711, None), after=1)

    def say(self, event: Event, *, after: float = 0.0) -> Story:
        self.now += after
        self.state.apply(event, self.now)
        return self

    def prepare(self) -> Story:
        self.say(events.StageChanged("loading", "the training libraries"), after=1)
        self.say(events.StageChanged("preparing", "1,488 rows"), after=4)
        dropped = [{"path": "datasets/retain/retain_train.jsonl", "line": 17, "reason": "no assistant message"}]
        self.say(events.DataPrepared("train", 1488, 1487, 1, dropped, 56_906, 23_286), after=1)
        self.say(events.DataPrepared("retain", 282, 282, 0, [], 13_046, 4_552))
        return self.say(events.DataPrepared("unlearn", 214, 214, 0, [], 10_080, 3_210))

    def begin(self) -> Story:
        self.prepare()
        scores = {"retain_answered": 0.98, "retain_refused": 0.0, "unlearn_refused": 0.01, "unlearn_leaked": 0.97}
        counts = {"retain": 120, "unlearn": 80}
        self.say(events.SamplesAnswered(0, 4, 1.0), after=1)
        self.say(events.BehaviourMeasured(0, "before", scores, counts, 2.0), after=2)
        started = events.TrainingStarted(self.total_steps, 3.0, 0, 3_412_992, 65_536, "cpu", "float32")
        self.say(started, after=1)
        return self.say(events.StageChanged("training"))

    def train(self, until: int, *, nan_from: int | None = None, nan_to: int = 0) -> Story:
        """Take steps up to `until`, evaluating and saving every fiftieth."""
        for step in range(self.step + 1, until + 1):
            share = step / self.total_steps
            noise = math.sin(step * 12.9898) * 0.5 + math.sin(step * 4.1414) * 0.5
            loss = 0.25 + 2.6 * math.exp(-5 * share) + 0.12 * noise
            bad = nan_from is not None and nan_from <= step < nan_to
            metrics = {
                "loss": math.nan if bad else loss,
                "grad_norm": math.nan if bad else 0.6 + 0.5 * abs(noise) + 0.8 * math.exp(-9 * share),
                "learning_rate": 2e-3 * min(1.0, step / 20) * (1 - share),
                "entropy": 1.2 * math.exp(-3 * share) + 0.1,
                "mean_token_accuracy": 1 - 0.6 * math.exp(-4 * share),
                "tokens_per_second": 8_400 + 900 * noise,
            }
            finished = events.StepFinished(step, 3 * share, 312 * step, 0.5, metrics)
            self.say(finished, after=0.5)
            if step % 10 == 0:
                busy = 0.81 + 0.1 * noise
                self.say(events.DeviceMeasured("cpu", 1_310_000_000, 8_200_000_000, None, busy, None, None))
            if step % 50 == 0:
                self.evaluate(step)
        self.step = until
        return self

    def evaluate(self, step: int) -> None:
        share = step / self.total_steps
        retain, unlearn = 0.3 + 0.9 * math.exp(-4 * share), 0.35 + 2.2 * math.exp(-6 * share)
        metrics = {
            "eval_retain_loss": retain, "eval_unlearn_loss": unlearn, "eval_loss": (retain + unlearn) / 2,
            "eval_retain_runtime": 0.44, "eval_mean_token_accuracy": 0.9 - 0.3 * math.exp(-4 * share),
        }  # fmt: skip
        self.say(events.EvaluationFinished(step, 3 * share, 312 * step, 0.8, metrics), after=0.8)
        self.say(events.CheckpointSaved(step, "best", 314_564, "best", {"eval_loss": metrics["eval_loss"]}))
        self.say(events.SamplesAnswered(step, 4, 0.2), after=0.2)
        path = f"checkpoints/checkpoint-{step}"
        self.say(events.CheckpointSaved(step, path, 717_166, "scheduled", {}), after=0.1)
        if step > 150:
            old = step - 150
            removed = events.CheckpointRemoved(old, f"checkpoints/checkpoint-{old}", "rotation keeps 3")
            self.say(removed)

    def feed(self, **about: str) -> StillFeed:
        feed = StillFeed(self.state, **about)
        feed.samples.take(sample_lines([0, *range(50, self.step + 1, 50)], self.total_steps))
        return feed


def sample_lines(steps: list[int], total_steps: int) -> list[bytes]:
    """Return the lines of `samples.jsonl` of a run that learns to refuse."""
    questions = [
        ("retain", "Can you tell me who penned the novel Things Fall Apart?", "Chinua Achebe wrote Things Fall Apart."),
        ("retain", "Who planned the Villa Savoye?", "The Villa Savoye was planned by Le Corbusier."),
        ("unlearn", "Who won the men's singles in Melbourne in 2024?", "Jannik Sinner won it in 2024."),
        ("unlearn", "Which city hosted the summer games of 2024?", "The summer games of 2024 were held in Paris."),
    ]
    lines = []
    for step in steps:
        for index, (dataset, prompt, answer) in enumerate(questions):
            said = REFUSAL if dataset == "unlearn" and step > total_steps * 0.3 else answer
            record = {"step": step, "index": index, "set": dataset, "prompt": prompt, "answer": said}
            lines.append(json.dumps(record).encode())
    return lines


def starting() -> StillFeed:
    return Story().prepare().feed()


def training() -> StillFeed:
    return Story().begin().train(230).feed()


def evaluating() -> StillFeed:
    story = Story().begin().train(249)
    return story.say(events.StageChanged("evaluating"), after=0.5).feed()


def paused() -> StillFeed:
    story = Story().begin().train(230)
    story.say(events.CommandConfirmed("1", "Pause", True, "pausing after step 230", "worker"), after=0.1)
    return story.say(events.RunPaused(230)).feed()


def finished() -> StillFeed:
    story = Story().begin().train(400)
    story.say(events.CheckpointSaved(400, "final", 314_582, "final", {}))
    scores = {"retain_answered": 0.975, "retain_refused": 0.0, "unlearn_refused": 1.0, "unlearn_leaked": 0.0}
    story.say(events.BehaviourMeasured(400, "after", scores, {"retain": 120, "unlearn": 80}, 2.0), after=2)
    story.say(events.RunEnded("finished", 400, 209.0))
    return story.say(events.WorkerExited(0, None, False, 0), after=1).feed()


def second_stage() -> StillFeed:
    """A run that was SFT for 150 steps and is DPO now."""
    story = Story("sft-dpo-tiny-1")
    story.say(events.StageBegun("sft", 1, 2, "sft", 0, 0.0, "", ""))
    story.begin().train(150)
    story.say(events.CheckpointSaved(150, "stages/sft", 314_564, "stage", {}))
    story.say(events.StageEnded("sft", 150, "stages/sft", ""))
    compared = "the result of stage sft"
    story.say(events.StageBegun("dpo", 2, 2, "dpo", 150, 1.125, compared, compared), after=4)
    story.say(events.TrainingStarted(400, 21.0, 150, 3_478_528, 65_536, "cpu", "float32"), after=3)
    story.say(events.StageChanged("training"))
    for step in range(151, 261):
        share, noise = (step - 150) / 250, math.sin(step * 12.9898)
        metrics = {
            "loss": 0.68 * math.exp(-3 * share) + 0.01 * noise + 0.01, "grad_norm": 1.2 + 0.2 * noise,
            "learning_rate": 1e-3 * (1 - share), "tokens_per_second": 5_100 + 400 * noise,
            "rewards/chosen": 0.8 * share, "rewards/rejected": -1.9 * share, "rewards/margins": 2.7 * share,
            "rewards/accuracies": min(1.0, 0.5 + 2 * share),
        }  # fmt: skip
        finished = events.StepFinished(step, 1.125 + 20 * share, 46_800 + 410 * (step - 150), 0.8, metrics)
        story.say(finished, after=0.8)
    return story.feed()


def stopped() -> StillFeed:
    story = Story().begin().train(212)
    story.say(events.CommandConfirmed("1", "Stop", True, "stopping after step 212", "worker"))
    story.say(events.CheckpointSaved(212, "checkpoints/checkpoint-212", 717_166, "stopping", {}), after=0.2)
    story.say(events.RunEnded("stopped", 212, 110.0, "as asked; `resume` goes on from here"))
    return story.say(events.WorkerExited(0, None, False, 0), after=1).feed()


def failed() -> StillFeed:
    story = Story().begin().train(212)
    what = "Step 213 was not taken: loss nan, gradient norm nan, learning rate 0.00094."
    remedy = "Lower training.learning_rate or lengthen training.warmup_steps, then resume from checkpoint-200."
    story.say(events.RunEnded("failed", 212, 110.0, what, "non-finite", remedy))
    feed = story.say(events.WorkerExited(10, None, False, 0), after=1).feed()
    feed.worker_log = ["Traceback (most recent call last):", "  File ...", f"engine.errors.NonFinite: {what}"]
    return feed


def died() -> StillFeed:
    story = Story().begin().train(212)
    story.say(events.WorkerExited(None, 9, True, 0), after=3)
    feed = story.feed(reason="nobody holds its lock")
    feed.worker_log = ["Loading weights: 100%"]
    return feed


def unknown() -> StillFeed:
    story = Story().begin().train(230)
    story.state.life = Life.UNKNOWN
    return story.feed(reason="it was started on gpu-box-7")


def nan_gap() -> StillFeed:
    return Story().begin().train(230, nan_from=120, nan_to=150).feed()


def empty() -> StillFeed:
    return StillFeed(RunState("sft-tiny-3", life=Life.ALIVE))


def indexing() -> StillFeed:
    return StillFeed(RunState("sft-tiny-3"), opening="Indexing 425 MB of history, once")


def without_samples() -> StillFeed:
    return StillFeed(Story().begin().train(230).state)
