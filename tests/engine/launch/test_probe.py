"""Trying a configuration for two steps, in a real process with the built-in model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.config.load import loads
from engine.errors import NotFound
from engine.hardware.machine import Room
from engine.hardware.memory import Batch
from engine.hardware.model_shape import find_shape
from engine.launch import probe as probing
from engine.launch.forecast import forecast, largest_batch, num_steps, training_seconds
from engine.launch.prepare import Settled, settle
from engine.launch.probe import Probed, Trial, largest_length, predict, probe, remember
from engine.workspace import Workspace

MB = 1 << 20
ROW = {"instruction": "Say hello " * 20, "output": "Hello. " * 20}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "rows.jsonl").write_text((json.dumps(ROW) + "\n") * 40)
    return Workspace(tmp_path)


def settled(workspace: Workspace, **training: object) -> Settled:
    text = f"data: {{train: rows.jsonl}}\nmodel: {{device: cpu}}\ntraining: {json.dumps(training)}"
    return settle(workspace, loads(text, "run.yaml"))


@pytest.mark.usefixtures("real_commands")
def test_two_real_steps_are_within_a_fifth_of_the_prediction_and_correct_the_next(workspace: Workspace) -> None:
    given = settled(workspace, per_device_train_batch_size=16)
    said: list[str] = []
    found = probe(given, search=False, progress=said.append)
    assert found.fits
    assert found.first is not None
    told = forecast(workspace, given)
    assert found.weight_bytes == told.memory.components["weights"]
    assert found.adapter_bytes == told.memory.components["adapter"]
    assert found.optimizer_bytes == told.memory.components["optimizer"]
    batch = Batch(16, found.first.length)
    before = predict(given, told.shape, batch)
    assert before.correction.reason == ""
    assert before.total_bytes == pytest.approx(found.first.peak_bytes, rel=0.2)
    remember(found, given, told.shape, now=1e9)
    after = predict(given, told.shape, batch)
    assert "measured" in after.correction.reason
    assert after.total_bytes == pytest.approx(found.first.peak_bytes, rel=0.02)
    assert said[-1] == "two steps of 16 rows"
    seconds = training_seconds(found, told.num_tokens)
    assert seconds is not None
    assert seconds > 0


@pytest.mark.usefixtures("real_commands")  # what a fork was made of counts as its own
def test_a_batch_that_does_not_fit_is_an_answer_and_a_smaller_one_is_looked_for(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1.2 GB: the process with its libraries takes half of it.
    monkeypatch.setattr(probing, "room", lambda _device: Room("cpu", "a small machine", 1200 * MB, 1200 * MB))
    found = probe(settled(workspace, per_device_train_batch_size=256), budget_seconds=1e6)
    assert not found.fits
    assert found.first == Trial(256, fits=False, wall_seconds=found.trials[0].wall_seconds)
    assert 1 <= found.largest_rows < 256
    assert found.best is not None
    assert found.best.peak_bytes <= 1200 * MB


def test_no_room_even_for_the_model_is_said_so(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "room", lambda _device: Room("cpu", "a tiny machine", 1 * MB, 1 * MB))
    found = probe(settled(workspace, per_device_train_batch_size=4), budget_seconds=1e6)
    assert not found.fits
    assert found.largest_rows == 0
    assert found.best is None


def test_it_can_be_cancelled_at_any_time(workspace: Workspace) -> None:
    asked: list[None] = []

    def after_three_looks() -> bool:
        asked.append(None)
        return len(asked) > 3

    found = probe(settled(workspace), cancelled=after_three_looks)
    assert found.said == "cancelled"
    assert not found.fits


def test_a_model_that_cannot_be_loaded_is_an_error_with_its_own_name(workspace: Workspace) -> None:
    folder = workspace.models / "broken"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    given = settled(workspace)
    broken = Settled(given.resolved, given.data, workspace.model("broken"), given.facts)
    with pytest.raises(NotFound, match="cannot be loaded"):
        probe(broken)


def trials(*tried: tuple[int, int]) -> list[Trial]:
    """Return trials of so many rows with so many MB; 0 MB did not fit."""
    return [Trial(rows, size > 0, 100, size * MB, 50.0, 0.1, 1.0, 1.0) for rows, size in tried]


@pytest.mark.parametrize(
    ("tried", "next_rows"),
    [
        pytest.param([(8, 500)], 16, id="twice as many"),
        pytest.param([(8, 500), (16, 700)], 26, id="what a straight line promises, a twentieth left free"),
        pytest.param([(8, 0)], 4, id="half as many"),
        pytest.param([(1, 0)], None, id="there is nothing below one"),
        pytest.param([(8, 0), (4, 500)], 6, id="between what fits and what does not"),
        pytest.param([(8, 0), (4, 500), (6, 600)], 7, id="nearer"),
        pytest.param([(8, 0), (6, 500), (7, 600)], None, id="found"),
        pytest.param([(8, 500), (16, 500)], None, id="memory does not grow"),
    ],
)
def test_the_search_goes_where_the_answer_is(
    workspace: Workspace, tried: list[tuple[int, int]], next_rows: int | None
) -> None:
    found = Probed(Room("cpu", "a machine", 1000 * MB, 1000 * MB), trials(*tried))
    assert probing._next(found, settled(workspace), 1e6) == next_rows


def test_where_not_one_row_fits_shorter_ones_are_tried(workspace: Workspace) -> None:
    given = settled(workspace)

    def after(*tried: Trial) -> int | None:
        return probing._shorter(Probed(Room("cpu", "a machine", 1000 * MB, 1000 * MB), list(tried)), given)

    one = Trial(1, fits=False)
    assert after(one) == largest_length(given) // 2
    assert after(one, Trial(1, fits=False, max_length=200)) == 100
    assert after(one, Trial(1, fits=False, max_length=60)) is None  # 30 tokens hold no answer
    assert after(Trial(2, fits=False)) is None  # one row was not tried yet
    assert after(one, Trial(1, fits=True, max_length=60)) is None


def test_a_shorter_trial_is_of_shorter_rows(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "_next", lambda *_: None)
    monkeypatch.setattr(probing, "_shorter", lambda found, _: 96 if len(found.trials) == 1 else 9)
    found = probe(settled(workspace, per_device_train_batch_size=1))
    whole, cut = found.trials
    assert (cut.rows, cut.max_length, cut.length) == (1, 96, 96)
    assert whole.length > 96
    assert found.said == "rows that are cut shorter have nothing left to learn"


def test_a_trial_that_would_take_too_long_is_not_made_and_said(workspace: Workspace) -> None:
    found = Probed(Room("cpu", "a machine", 10**12, 10**12), trials((8, 500)))
    assert probing._next(found, settled(workspace), 1.5) is None
    assert "16 rows were not tried" in found.said


def test_steps_tokens_and_the_largest_batch_are_those_of_the_rows(workspace: Workspace) -> None:
    given = settled(workspace, per_device_train_batch_size=4, gradient_accumulation_steps=2, num_train_epochs=2)
    lengths = given.facts.lengths
    assert lengths is not None
    assert num_steps(given) == 10
    assert largest_batch(given) == Batch(4, lengths.longest)
    assert forecast(workspace, given).num_tokens == pytest.approx(80 * lengths.mean)
    assert find_shape(given.model, None).num_parameters == 3_936_512


def test_both_answers_of_a_pair_are_tokens_that_are_seen(workspace: Workspace) -> None:
    (workspace.path / "pairs.jsonl").write_text(
        (json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"}) + "\n") * 9
    )
    text = "data: {train: pairs.jsonl}\nmodel: {device: cpu}\nmethod: {name: dpo}\ntraining: {num_train_epochs: 2}"
    given = settle(workspace, loads(text, "run.yaml"))
    assert given.facts.lengths is not None
    assert forecast(workspace, given).num_tokens == round(2 * 2 * 9 * given.facts.lengths.mean)
