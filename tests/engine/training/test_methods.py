"""Every method through the worker: it begins where its formula says, goes on exactly, logs what settings may name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.commands import SetEarlyStopping
from engine.config.load import loads
from engine.config.methods import logged_metrics
from engine.config.resolved import ResolvedConfig
from engine.config.yaml_text import read_file
from engine.data.findings import DataRefused
from engine.errors import ConfigError, DataError, NothingToLearn
from engine.launch.prepare import new_run
from engine.runs import checkpoints
from engine.runs.directory import RunDirectory
from engine.workspace import Workspace
from tests.conftest import read_records
from tests.engine.training.conftest import rows, write_rows
from tests.engine.training.test_exact_resume import reported, train

Make = Callable[..., RunDirectory]
METHODS: dict[str, dict[str, Any]] = {
    "dpo": {"dpo": {"beta": 0.5}},
    "kto": {},
    "gradient_ascent": {"unlearning": {"target": "completion"}},
    "grad_diff": {"unlearning": {"target": "completion", "retain_loss": "kl", "retain_per_unlearn": 2}},
    "npo": {"unlearning": {"target": "completion", "beta": 0.1}},
    "simnpo": {"unlearning": {"target": "completion", "gamma": 0.5}},
}
UNLEARNING = ("gradient_ascent", "grad_diff", "npo", "simnpo")


def pairs(count: int = 12) -> list[dict[str, Any]]:
    return [
        {"prompt": row["instruction"], "chosen": row["output"], "rejected": f"I cannot say {number}."}
        for number, row in enumerate(rows(count=count))
    ]


@pytest.fixture
def make(config_text: Callable[..., str], tmp_path: Path) -> Make:
    """Return a function that makes a run of a method: 12 rows (of each kind), 4 in a step."""
    config_text()
    folder = tmp_path / "workspace" / "data"
    write_rows(folder / "pairs.jsonl", pairs())
    write_rows(folder / "pairs_val.jsonl", pairs(4))
    write_rows(folder / "both.jsonl", rows("retain", 14) + rows("unlearn", 12))
    write_rows(folder / "retain_val.jsonl", rows("retain", 4))
    write_rows(folder / "unlearn_val.jsonl", rows("unlearn", 4))

    def run(method: str, name: str, **more: Any) -> RunDirectory:
        data: dict[str, Any] = {"train": "data/pairs.jsonl", "validation": "data/pairs_val.jsonl", "max_length": 96}
        if method in (*UNLEARNING, "refusal"):
            data |= {"train": "data/both.jsonl", "validation": ["data/retain_val.jsonl", "data/unlearn_val.jsonl"]}
        settings = {
            "method": {"name": method},
            **METHODS.get(method, {}),
            "saving": {"save_steps": None},
            "evaluation": {"eval_steps": 3, "prompts": [], "behaviour": False, "max_new_tokens": 4},
            **more,
        }
        settings["data"] = {**data, **more.get("data", {})}
        settings["training"] = {
            "max_steps": 6, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "learning_rate": 1e-3,
            "warmup_steps": 0, **more.get("training", {}),
        }  # fmt: skip
        return new_run(Workspace(tmp_path / "workspace"), loads(config_text(**settings), "test.yaml"), name=name)

    return run


def said(run: RunDirectory, kind: type[events.Event]) -> list[Any]:
    return [record.event for record in read_records(run) if isinstance(record.event, kind)]


@pytest.mark.parametrize("method", METHODS)
def test_a_method_begins_at_its_formula_goes_on_exactly_and_logs_what_may_be_named(method: str, make: Make) -> None:
    armed = {"early_stopping": {"armed": True, "window": 3}}
    whole, broken = make(method, "whole", **armed), make(method, "broken", **armed)
    train(whole)
    train(broken, stop_at=2)
    chosen, _ = checkpoints.newest_valid(broken)
    assert chosen is not None
    train(broken, resume=f"checkpoints/{chosen.path.name}")
    for folder in ("final", *(["best"] if whole.best.exists() else [])):
        name = f"{folder}/adapter_model.safetensors"
        assert (broken.path / name).read_bytes() == (whole.path / name).read_bytes()
    figures = reported(whole)
    assert reported(broken) == figures
    assert broken.training_log.read_text().count("\n") == (1 if method == "kto" else 2)  # a pair is two answers

    config = ResolvedConfig.from_yaml(read_file(whole.config)).config
    step, evaluation = figures["StepFinished", 1], figures["EvaluationFinished", 6]
    named = {*logged_metrics(config)} - {"eval_validation_loss"}  # the library calls it eval_loss
    # A step of KTO may have answers of one kind only.
    assert named <= {*step, *figures["StepFinished", 2], *figures["StepFinished", 3], *evaluation}
    begins = {
        "dpo": ("loss", math.log(2)),
        "kto": ("loss", 0.5),
        "npo": ("unlearn_objective", 2 / 0.1 * math.log(2)),
        "gradient_ascent": ("unlearn_objective", -step.get("unlearn_loss", 0.0)),
        "grad_diff": ("retain_divergence", 0.0),
        "simnpo": ("loss", step.get("unlearn_objective", 0.0) + step.get("retain_loss", 0.0)),
    }
    name, value = begins[method]
    assert step[name] == pytest.approx(value, abs=1e-5)


def test_the_reference_is_computed_once_and_is_the_same(make: Make, cache: Path) -> None:
    once = make("dpo", "once", dpo={"precompute_ref_log_probs": True})
    each = make("dpo", "each", dpo={"precompute_ref_log_probs": False})
    train(once)
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")}
    assert len(kept) == 4  # rows and references, of training and validation
    train(each)
    losses = [[event.metrics["loss"] for event in said(run, events.StepFinished)] for run in (once, each)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    # Neither another rank nor another seed changes the base.
    train(make("dpo", "again", dpo={"precompute_ref_log_probs": True}, lora={"r": 8}, training={"seed": 7}))
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.arrow")} == kept


def test_preferences_on_top_of_a_run_begin_at_its_adapter_and_go_on_exactly(make: Make, small_model: Path) -> None:
    first = make("sft", "first", data={"train": "data/train.jsonl", "validation": "data/val.jsonl"})
    train(first)
    model = {"name": str(small_model), "device": "cpu", "adapter": "first"}
    whole, broken = (make("dpo", name, model=model) for name in ("whole", "broken"))
    train(whole)
    begins = reported(whole)["StepFinished", 1]
    assert begins["loss"] == pytest.approx(math.log(2), abs=1e-5)  # the reference is where it begins
    train(broken, stop_at=2)
    chosen, _ = checkpoints.newest_valid(broken)
    assert chosen is not None
    train(broken, resume=f"checkpoints/{chosen.path.name}")
    assert reported(broken) == reported(whole)
    name = "adapter_model.safetensors"
    assert (broken.final / name).read_bytes() == (whole.final / name).read_bytes()
    assert not [path for path in whole.final.iterdir() if path.is_dir()]


def test_a_preference_run_without_validation_keeps_the_best_epoch_and_saves_every_so_many(make: Make) -> None:
    run = make(
        "dpo", "run", data={"validation": {}}, evaluation={"eval_steps": None, "prompts": []},
        training={"max_steps": None, "num_train_epochs": 4}, saving={"save_epochs": 2, "save_steps": "auto"},
    )  # fmt: skip
    train(run)
    saved = [(event.step, event.path) for event in said(run, events.CheckpointSaved)]
    assert [step for step, path in saved if path.startswith("checkpoints/")] == [6, 12]
    epochs = [event.metrics["loss"] for event in said(run, events.EpochFinished)]
    assert len(epochs) == 4
    assert [step for step, path in saved if path == "best"][-1] == 3 * (1 + epochs.index(min(epochs)))
    metadata = checkpoints.find_checkpoint(run, "12").metadata
    assert {"loss", "rewards/accuracies", "rewards/margins"} <= metadata["metrics"].keys()
    assert metadata["epoch_metrics"]["loss"] == epochs[-1]
    lines = [json.loads(line) for line in run.training_log.read_text().splitlines()]
    assert [line["avg_loss"] for line in lines] == epochs
    assert all(0 <= line["avg_accuracy"] <= 1 for line in lines)


def test_early_stopping_ends_a_run_that_has_reached_its_value(make: Make) -> None:
    run = make("dpo", "run", evaluation={"eval_steps": 1, "prompts": []}, early_stopping={
        "armed": True, "criterion": "threshold", "threshold": 10.0, "minimum_exposure": 1.0})  # fmt: skip
    train(run)
    ended = said(run, events.RunEnded)[-1]
    assert (ended.outcome, ended.step) == ("finished", 3)  # a loss below 10 at once, and each pair once
    assert ended.detail == "early stopping: at 10"
    assert run.final.exists()
    assert [event.stops_in for event in said(run, events.EarlyStoppingJudged)] == [2, 1, 0]


def test_with_warm_restarts_early_stopping_looks_at_the_ends_of_cycles(make: Make) -> None:
    run = make(
        "dpo", "run", evaluation={"eval_steps": 1, "prompts": []},
        training={"lr_scheduler_type": "cosine_with_restarts"}, trainer={"lr_scheduler_kwargs": {"num_cycles": 3}},
        early_stopping={"armed": True, "criterion": "patience", "patience": 2},
    )  # fmt: skip
    train(run)
    assert [(event.step, event.at) for event in said(run, events.EarlyStoppingJudged)] == [
        (2, "cycle"), (4, "cycle"), (6, "cycle")
    ]  # fmt: skip


def test_early_stopping_is_armed_while_a_run_is_at_work(make: Make) -> None:
    from engine.training.control import CommandReader, Control
    from engine.training.reporter import Reporter
    from engine.training.worker import work

    stopping = {"criterion": "threshold", "threshold": 10.0, "minimum_exposure": 0.0}
    run = make("dpo", "run", evaluation={"eval_steps": 2, "prompts": []}, early_stopping=stopping)
    for armed in (True, False, True):
        run.tell(SetEarlyStopping(armed))
    reporter = Reporter(run.events)
    work(run, reporter, Control(CommandReader(run.commands), reporter), resume=None)
    answers = said(run, events.CommandConfirmed)
    assert [answer.detail for answer in answers] == [
        "early stopping armed: watches eval_loss at each evaluation", "early stopping disarmed",
        "early stopping armed: watches eval_loss at each evaluation",
    ]  # fmt: skip
    assert said(run, events.RunEnded)[-1].step == 2


def test_the_retain_floor_stops_a_run_with_the_weights_of_before(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.training import unlearning

    accuracies = iter([0.9, 0.8, 0.2])
    look = unlearning.ObservedUnlearningTrainer.look_at_evaluation

    def fall(self: Any, metrics: dict[str, float]) -> None:
        look(self, {**metrics, unlearning.RETAINED: next(accuracies)})

    monkeypatch.setattr(unlearning.ObservedUnlearningTrainer, "look_at_evaluation", fall)
    monkeypatch.setattr(unlearning.ObservedUnlearningTrainer, "before_first_step", lambda self: fall(self, {}))
    run = make("grad_diff", "run", unlearning={"target": "completion", "retain_floor": 0.5}, saving={"save_steps": 2},
               evaluation={"eval_steps": 2, "prompts": [], "behaviour": False})  # fmt: skip
    train(run)
    ended = said(run, events.RunEnded)[-1]
    assert (ended.outcome, ended.step) == ("finished", 4)
    assert "below the retain floor 0.5" in ended.detail
    assert "retain-floor" in [event.code for event in said(run, events.Warned)]
    name = "adapter_model.safetensors"
    assert (run.final / name).read_bytes() == (run.checkpoints / "checkpoint-2" / name).read_bytes()


def test_a_retain_floor_above_the_beginning_is_refused_before_the_first_step(make: Make) -> None:
    run = make("npo", "run", unlearning={"target": "completion", "retain_floor": 0.99})
    with pytest.raises(ConfigError, match=r"retain_floor is 0.99, but eval_retain_mean_token_accuracy begins at"):
        train(run)
    assert not said(run, events.StepFinished)


def test_a_model_that_says_nothing_has_nothing_to_unlearn(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def say_nothing(_model: Any, _tokenizer: Any, asked: Any, **_: Any) -> list[str]:
        return [""] * len(asked)

    monkeypatch.setattr("engine.training.unlearning_rows.answer", say_nothing)
    run = make("npo", "run", unlearning={})
    assert "target: reply  # automatic: the completions of the rows to unlearn are refusals" in run.config.read_text()
    with pytest.raises(NothingToLearn, match="no row to unlearn is left"):
        train(run)


@pytest.mark.parametrize(
    ("method", "made", "refused", "sentence"),
    [
        ("dpo", rows(count=4), DataError, "this method learns from preference pairs"),
        ("dpo", [{**pair, "rejected": pair["chosen"]} for pair in pairs(4)], DataRefused, "chosen answer is"),
        ("npo", rows("retain", 4), DataError, "no row to unlearn"),
        ("grad_diff", rows("unlearn", 4), DataError, "no row to retain"),
        ("refusal", rows("retain", 4), DataError, "no row to unlearn"),
        ("kto", rows(count=4), DataError, "this method learns from answers marked"),
    ],
)
def test_data_that_a_method_cannot_learn_from_is_refused_before_the_start(
    method: str, made: list[dict[str, Any]], refused: type[Exception], sentence: str, make: Make, tmp_path: Path
) -> None:
    write_rows(tmp_path / "workspace" / "data" / "other.jsonl", made)
    with pytest.raises(refused, match=sentence):
        make(method, "run", data={"train": "data/other.jsonl"})
    assert not (tmp_path / "workspace" / "runs" / "run").exists()
