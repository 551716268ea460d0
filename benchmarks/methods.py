"""What each training method costs beside a bare script, what computing the reference once saves, and what is learned.

Two trainings share one process and take turns of some steps: while one works the other waits at the end of a step. The
machine's slow minutes then fall on both, and no second import of torch is in the figures.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, figure
from engine import events
from engine.config.load import loads, preset
from engine.launch.prepare import new_run
from engine.runs.directory import RunDirectory
from engine.runs.follow import EventReader
from engine.workspace import Workspace

TURNS = 24
ROUNDS, TURNS_PER_ROUND = 4, 8
"""Of the comparison with a bare script: loaded anew, and the other one first. Two runs of the same script in one
process were 5 to 8 % apart from their beginning to their end."""
STEPS_PER_TURN = 4
"""Of training on the 25 pairs an epoch: what its end costs is in every turn."""
KTO_STEPS_PER_TURN = 7
"""The same of the 50 answers of those pairs."""
SKIPPED = 3
"""Steps before the first turn: allocators and caches warm up in them."""
ROOT = Path(__file__).resolve().parent.parent
_DATA = ROOT / "datasets"
_COMMON: dict[str, Any] = {
    "model": {"name": "tiny", "device": "cpu"},
    "lora": {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": "all-linear"},
    "evaluation": {"eval_steps": None, "prompts": [], "behaviour": False},
    "saving": {"save_steps": None, "save_best": False},
}
_RETAIN_UNLEARN = [str(_DATA / "retain/retain_train.jsonl"), str(_DATA / "unlearn/unlearn_train.jsonl")]
_PAIRS = [str(_DATA / "preferences/preferences.jsonl")]


class _Ended(Exception):
    """The turns are over."""


class Turns:
    """Lets two threads work by turns of some steps, and notes what each turn took.

    Only one works at a time, so that the processor time of the process is that of whose turn it is.
    """

    def __init__(self, steps_per_turn: int = STEPS_PER_TURN, turns: int = TURNS) -> None:
        self.steps_per_turn, self.turns = steps_per_turn, turns
        self.changed = threading.Condition()
        self.whose = 0
        self.over = False
        self.steps = [0, 0]
        self.began = [(0.0, 0.0), (0.0, 0.0)]
        self.seconds: list[list[float]] = [[], []]
        """Per training, the seconds of a step in each turn."""
        self.processor: list[list[float]] = [[], []]
        """The same in processor time, all threads together: what other processes do is hardly in it."""

    def step(self, who: int) -> None:
        """Note that a step ended; wait when the turn is over. Raises `_Ended` after the last turn."""
        self.steps[who] += 1
        done = self.steps[who] - SKIPPED
        if done < 0 or done % self.steps_per_turn:
            return
        if done > 0:
            wall, processor = self.began[who]
            self.seconds[who].append((time.perf_counter() - wall) / self.steps_per_turn)
            self.processor[who].append((time.process_time() - processor) / self.steps_per_turn)
        with self.changed:
            self.whose = 1 - who
            self.over = self.over or all(len(turns) >= self.turns for turns in self.seconds)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.whose == who or self.over)
        if self.over:
            raise _Ended
        self.began[who] = time.perf_counter(), time.process_time()

    def leave(self, who: int) -> None:
        """Let the other go on alone: this one is over, or failed."""
        with self.changed:
            self.whose, self.over = 1 - who, True
            self.changed.notify_all()

    def wait(self, who: int) -> None:
        """Wait for the first turn, so that only one loads at a time."""
        with self.changed:
            self.changed.wait_for(lambda: self.whose == who or self.over)

    def ratios(self) -> list[float]:
        """Return the speed of the first over that of the second in each pair of turns."""
        return [two / one for one, two in zip(*self.seconds, strict=False)]

    def ratio(self) -> tuple[float, float, float, int]:
        """Return the median of the ratios, their quartiles and how many there are."""
        low, middle, high = statistics.quantiles(self.ratios(), n=4)
        return middle, low, high, len(self.ratios())

    def processor_ratios(self) -> list[float]:
        """Return the processor time of the first over that of the second in each pair of turns."""
        return [one / two for one, two in zip(*self.processor, strict=False)]


def _by_turns(
    one: Callable[[Turns, int], None],
    two: Callable[[Turns, int], None],
    steps_per_turn: int = STEPS_PER_TURN,
    num_turns: int = TURNS,
) -> Turns:
    turns = Turns(steps_per_turn, num_turns)
    failures: list[BaseException] = []

    def work(who: int, train: Callable[[Turns, int], None]) -> None:
        try:
            turns.wait(who)
            train(turns, who)
        except _Ended:
            pass
        except BaseException as error:  # noqa: BLE001 - handed on below
            failures.append(error)
        finally:
            turns.leave(who)

    threads = [threading.Thread(target=work, args=(who, train)) for who, train in enumerate((one, two))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return turns


def _settings(method: str, **more: Any) -> dict[str, Any]:
    data = _PAIRS if method in ("dpo", "kto") else _RETAIN_UNLEARN
    settings = {**_COMMON, "method": {"name": method}, "data": {"train": data, "max_length": 128, "limit": 200}}
    # In the order of the files: mixed by the generator that they share, two runs of one bare script had other rows in a
    # batch and were 7 % apart.
    settings["data"]["shuffle"] = False
    settings["training"] = {
        "max_steps": 100_000, "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "warmup_steps": 0,
        "learning_rate": 1e-5, "activation_checkpointing": False,
    }  # fmt: skip
    if method in ("npo", "grad_diff"):
        settings["unlearning"] = {"target": "completion"}
    return {**settings, **more}


def _ours(folder: Path, name: str, settings: dict[str, Any]) -> Callable[[Turns, int], None]:
    """Return what trains as the worker does, its log included."""

    def train(turns: Turns, who: int) -> None:
        from engine.training.control import CommandReader, Control
        from engine.training.reporter import Reporter
        from engine.training.worker import work

        class ByTurns(Control):
            seen = 0

            def hear(self, step: int) -> None:
                Control.hear(self, step)
                if step > ByTurns.seen:
                    ByTurns.seen = step
                    turns.step(who)

        run = new_run(Workspace(folder), loads(json.dumps(settings), "bench"), name=name)
        reporter = Reporter(run.events)
        work(run, reporter, ByTurns(CommandReader(run.commands), reporter), resume=None)

    return train


def _bare(method: str, settings: dict[str, Any], folder: Path) -> Callable[[Turns, int], None]:
    """Return the same training as anyone would write it with TRL."""

    def train(turns: Turns, who: int) -> None:
        from transformers import TrainerCallback

        from benchmarks.bare_methods import bare_trainer

        class Clock(TrainerCallback):
            def on_step_begin(self, _args: Any, state: Any, _control: Any, **_: Any) -> None:
                if state.global_step:
                    turns.step(who)

        trainer = bare_trainer(method, settings, folder)
        trainer.add_callback(Clock())
        trainer.train()

    return train


def method_overhead() -> Iterator[Figure]:
    """Steps per second of each method over a bare script of the same library calls."""
    for method in ("sft", "dpo", "kto", "npo"):
        settings = _settings(method)
        if method == "dpo":
            settings["dpo"] = {"precompute_ref_log_probs": False}
        each = KTO_STEPS_PER_TURN if method == "kto" else STEPS_PER_TURN
        rounds, processor = list[list[float]](), list[float]()
        for number in range(ROUNDS):
            with _folder() as folder:
                both = [_ours(folder, "ours", settings), _bare(method, settings, folder / "bare")]
                swapped = bool(number % 2)
                turns = _by_turns(*(reversed(both) if swapped else both), each, TURNS_PER_ROUND)
            rounds.append([1 / ratio if swapped else ratio for ratio in turns.ratios()])
            processor += [1 / ratio if swapped else ratio for ratio in turns.processor_ratios()]
        medians = sorted(statistics.median(ratios) for ratios in rounds)
        yield figure(
            f"method-overhead.{method}",
            f"{method}: steps/s of a run / a bare script, {sum(map(len, rounds))} pairs of turns in {ROUNDS} rounds, "
            f"whose medians are {medians[0]:.2f} to {medians[-1]:.2f} (processor time "
            f"{statistics.geometric_mean(processor):.3f})",
            statistics.geometric_mean(medians), "", ">= 0.98", digits=3,
        )  # fmt: skip


def dpo_precompute() -> Iterator[Figure]:
    """DPO with the reference computed once against computing it at every step."""
    with _folder() as folder:
        once, each = (_settings("dpo", dpo={"precompute_ref_log_probs": value}) for value in (True, False))
        turns = _by_turns(_ours(folder, "once", once), _ours(folder, "each", each))
        middle, low, high, count = turns.ratio()
        losses = [_losses(RunDirectory(folder / "runs" / name))[:SKIPPED] for name in ("once", "each")]
        apart = max(abs(one - other) for one, other in zip(*losses, strict=True))
    yield figure(
        "dpo-precompute.epoch",
        f"epochs/s with the reference computed once / at every step, {count} pairs of turns, half of them {low:.2f} to "
        f"{high:.2f}",
        middle, "x", ">= 1.25",
    )  # fmt: skip
    yield figure("dpo-precompute.same", f"largest difference of their first {SKIPPED} losses", apart, "", "<= 1e-4",
                 digits=6)  # fmt: skip


def npo_cost() -> Iterator[Figure]:
    """An NPO step over an SFT step on as many tokens."""
    with _folder() as folder:
        half = {"per_device_train_batch_size": 4}  # and as many rows to retain beside them
        npo = _settings("npo")
        npo["training"] = {**npo["training"], **half}
        sft = _settings("sft")
        turns = _by_turns(_ours(folder, "npo", npo), _ours(folder, "sft", sft))
        tokens = [_tokens_per_step(RunDirectory(folder / "runs" / name)) for name in ("npo", "sft")]
        ratios = [(one / tokens[0]) / (two / tokens[1]) for one, two in zip(*turns.seconds, strict=False)]
    yield figure(
        "npo-cost",
        f"time per token of NPO / of SFT, {len(ratios)} pairs of turns of {tokens[0]:.0f} and {tokens[1]:.0f} tokens",
        statistics.median(ratios), "x", "<= 1.6",
    )  # fmt: skip


def learned() -> Iterator[Figure]:
    """What the built-in model has learned from each preset for it, on held-out questions where there are any."""
    with _folder() as folder:
        run = train(folder, "demo-stance", {})
        means = [record.event.metrics for record in _said(run) if isinstance(record.event, events.EpochFinished)][-1]
        yield figure("learned.dpo-accuracy", "stance DPO: preference accuracy in the last epoch",
                     100 * means["rewards/accuracies"], "%", "> 80", digits=1)  # fmt: skip
        yield figure("learned.dpo-loss", "stance DPO: loss in the last epoch", means["loss"], "", "< 0.3", digits=4)
        said, asked = _chosen_said(folder, run)
        yield figure("learned.dpo-said", f"stance DPO: of {asked} questions, answered as chosen, word for word",
                     100 * said / asked, "%", ">= 80", digits=1)  # fmt: skip
        for method, name, changed, bars in (
            ("refusal", "demo", {"method.name": "refusal"}, {"retain_answered": ">= 90", "unlearn_refused": ">= 90"}),
            ("npo", "demo", LEARNED["npo"], {"unlearn_leaked": "< 10", "retain_answered": ">= 85"}),
            ("grad_diff", "demo", LEARNED["grad_diff"], {"unlearn_leaked": "< 10", "retain_answered": ">= 85"}),
        ):
            run = train(folder, name, changed)
            after = [record.event for record in _said(run) if isinstance(record.event, events.BehaviourMeasured)][-1]
            for score, bar in bars.items():
                asked = after.counts[score.partition("_")[0]]
                yield figure(f"learned.{method}-{score.replace('_', '-')}",
                             f"{method}: {score.replace('_', ' ')}, {asked} held-out questions",
                             100 * after.scores[score], "%", bar, digits=1)  # fmt: skip


def _chosen_said(folder: Path, run: RunDirectory) -> tuple[int, int]:
    """Return how many of the pairs' questions are answered as was preferred, and of how many.

    Loss and accuracy do not say it: they are as good where both answers were pushed away, and all others with them.
    """
    from engine.data.rows import Row, read_rows
    from engine.evaluation.asking import Asking, replies
    from engine.spec import local_model

    rows = [row for row in read_rows(Path(_PAIRS[0])) if isinstance(row, Row)]
    said = dict(replies(local_model(Workspace(folder), run.name), [row.prompt for row in rows], Asking(64),
                        said=lambda _: None))  # fmt: skip
    return sum(said[at] == row.completion[-1]["content"] for at, row in enumerate(rows)), len(rows)


LEARNED: dict[str, dict[str, Any]] = {
    "npo": {
        "method.name": "npo", "unlearning.beta": 0.1, "unlearning.retain_weight": 5.0, "training.learning_rate": 2e-3,
        "training.num_train_epochs": 4,
    },
    "grad_diff": {
        "method.name": "grad_diff", "unlearning.ascent_limit": 5.0, "unlearning.retain_weight": 2.0,
        "training.learning_rate": 2e-3, "training.num_train_epochs": 4,
    },
}  # fmt: skip
"""What is changed of the demo for each objective."""


def train(folder: Path, name: str, changed: dict[str, Any], *, called: str | None = None) -> RunDirectory:
    """Train a preset to its end in this process.

    Args:
        folder: The workspace.
        name: Of the preset.
        changed: Settings over those of the preset.
        called: Name of the run; None for the next free one.
    """
    from engine.training.control import CommandReader, Control
    from engine.training.reporter import Reporter
    from engine.training.worker import work

    quiet = {"evaluation.prompts": [], "evaluation.eval_steps": 1000} if name == "demo" else {}
    given = preset(name).override([f"{key}={json.dumps(value)}" for key, value in {**quiet, **changed}.items()])
    run = new_run(Workspace(folder), given, name=called)
    reporter = Reporter(run.events)
    work(run, reporter, Control(CommandReader(run.commands), reporter), resume=None)
    return run


def _said(run: RunDirectory) -> list[Any]:
    reader, found = EventReader(run.events), []
    while True:
        batch = reader.read()
        found += batch.records
        if not batch.more:
            return found


def _losses(run: RunDirectory) -> list[float]:
    return [record.event.metrics["loss"] for record in _said(run) if isinstance(record.event, events.StepFinished)]


def _tokens_per_step(run: RunDirectory) -> float:
    steps = [record.event for record in _said(run) if isinstance(record.event, events.StepFinished)]
    return steps[-1].num_tokens / steps[-1].step


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Give a workspace with a cache of its own, so that nothing was prepared before."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as name:
        os.environ["XDG_CACHE_HOME"] = f"{name}/cache"
        yield Path(name)


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {
    "method-overhead": method_overhead,
    "dpo-precompute": dpo_precompute,
    "npo-cost": npo_cost,
    "learned": learned,
}
