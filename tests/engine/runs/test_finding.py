"""From a text to the checkpoint meant, lists sorted and filtered, and two checkpoints side by side."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.errors import NotFound, UsageError
from engine.runs.catalogue import read_run
from engine.runs.comparing import Piece, compare, words_apart
from engine.runs.directory import RunDirectory
from engine.runs.entries import CheckpointEntry
from engine.runs.finding import figure_names, find_entry, in_order, matching
from engine.runs.foreign import read_folder
from engine.training.checkpoint_writer import write_checkpoint
from engine.workspace import Workspace
from tests.engine.adapter_files import RUN_ID, make_run, write_adapter, write_model, write_weights

LOSSES = {10: 3.0, 20: float("nan"), 30: 1.0}


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    write_model(tmp_path / "models" / "base")
    for name in ("voice-1", "voice-2"):
        run = make_run(tmp_path / "runs", name, tmp_path / "models" / "base")
        for step, loss in LOSSES.items():
            metrics = {"eval_loss": loss if loss == loss else "NaN", "learning_rate": 0.1}
            folder = run.checkpoints / f"checkpoint-{step}"
            write_checkpoint(folder, fill, run_id=RUN_ID, step=step, metadata={"metrics": metrics})
    return Workspace(tmp_path)


def fill(folder: Path) -> None:
    write_adapter(folder, "base")


def entries(workspace: Workspace) -> list[CheckpointEntry]:
    return list(read_run(RunDirectory(workspace.runs / "voice-1")).checkpoints)


def steps(found: list[CheckpointEntry]) -> list[int]:
    return [entry.step for entry in found]


@pytest.mark.parametrize("text", ["voice-1@20", "voice-1@checkpoint-20", "runs/voice-1/checkpoints/checkpoint-20"])
def test_a_checkpoint_is_found_by_what_it_is_called(workspace: Workspace, text: str) -> None:
    found = find_entry(workspace, text)
    assert (found.run, found.name) == ("voice-1", "checkpoint-20")


def test_a_run_alone_is_its_newest_and_a_folder_is_of_another_tool(workspace: Workspace) -> None:
    assert find_entry(workspace, "voice-1").name == "checkpoint-30"
    write_adapter(workspace.path / "peft", str(workspace.models / "base"))
    assert find_entry(workspace, str(workspace.path / "peft")).run == ""


@pytest.mark.parametrize("text", ["voice-9@20", "voice-1@77", "voice-1@../../x", "nobody", "voice-1@"])
def test_what_is_not_there_is_not_found(workspace: Workspace, text: str) -> None:
    with pytest.raises(NotFound):
        find_entry(workspace, text)


def test_a_list_is_sorted_the_best_first_and_what_has_no_figure_last(workspace: Workspace) -> None:
    found = entries(workspace)
    assert steps(in_order(found, "eval_loss")) == [30, 10, 20]
    assert steps(in_order(found, "eval_loss", reverse=True)) == [10, 30, 20]
    assert steps(in_order(found, "step")) == [30, 20, 10]
    assert steps(in_order(found, "name")) == [10, 20, 30]
    assert figure_names(found) == ["eval_loss", "learning_rate"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("", [30, 20, 10]), ("best", [30]), ("!best", [20, 10]), ("eval_loss<2", [30]), ("step>=20 !best", [20]),
     ("checkpoint-1", [10]), ("VOICE", [30, 20, 10]), ("damaged", []), ("nothing<1", [])],
)  # fmt: skip
def test_a_filter_takes_what_fits_every_word(workspace: Workspace, text: str, wanted: list[int]) -> None:
    assert steps(matching(entries(workspace), text)) == wanted


def test_a_comparison_with_no_number_is_refused(workspace: Workspace) -> None:
    with pytest.raises(UsageError):
        matching(entries(workspace), "eval_loss<1e--3")


def test_answers_are_compared_word_by_word(workspace: Workspace) -> None:
    left, right = find_entry(workspace, "voice-1@10"), find_entry(workspace, "voice-1@30")
    told = [
        {"step": 10, "set": "", "prompt": "Who?", "answer": "It is Ada."},
        {"step": 30, "set": "", "prompt": "Who?", "answer": "superseded"},
        {"step": 30, "set": "", "prompt": "Who?", "answer": "It was Ada."},
    ]
    lines = "".join(json.dumps(line) + "\n" for line in told)
    (workspace.runs / "voice-1" / "samples.jsonl").write_text(lines + "torn {\n[]\n")
    found = compare(left, right)
    (answer,) = found.answers
    assert answer.pieces == (
        Piece("both", "It "), Piece("left", "is "), Piece("right", "was "), Piece("both", "Ada."),
    )  # fmt: skip
    assert {one.name: one.better for one in found.figures} == {"eval_loss": "right", "learning_rate": ""}
    assert json.dumps(found.as_dict(), allow_nan=False)


def test_what_cannot_be_compared_is_a_note(workspace: Workspace) -> None:
    write_adapter(workspace.path / "peft", "base")
    found = compare(find_entry(workspace, "voice-1@10"), read_folder(workspace.path / "peft")[0])
    assert found.settings == ()
    assert any("of no run here" in note for note in found.notes)
    assert any("was not asked" in note for note in found.notes)


def test_the_same_words_are_one_piece() -> None:
    assert words_apart("a b", "a b") == (Piece("both", "a b"),)
    assert words_apart("", "new") == (Piece("right", "new"),)


# -- other tools ---------------------------------------------------------------------------------------------


def test_a_model_folder_is_one_checkpoint(workspace: Workspace) -> None:
    (entry,) = read_folder(workspace.models / "base")
    assert (entry.kind, entry.fault, entry.ours, entry.resumable) == ("model", None, False, False)


def test_the_output_folder_of_a_trainer_is_itself_and_its_checkpoints(tmp_path: Path) -> None:
    out = write_adapter(tmp_path / "out", "org/base")
    for step in (5, 10):
        write_adapter(out / f"checkpoint-{step}", "org/base")
    write_weights(out / "checkpoint-5" / "optimizer.pt", {"a": (100,)})
    found = read_folder(out)
    assert [(entry.name, entry.step, entry.base) for entry in found] == [
        ("out", 0, "org/base"), ("checkpoint-10", 10, "org/base"), ("checkpoint-5", 5, "org/base"),
    ]  # fmt: skip
    assert found[2].optimizer_bytes > 200
    assert found[0].optimizer_bytes == 0


@pytest.mark.parametrize("damage", ["half", "empty", "missing", "no json", "a list"])
def test_damage_is_seen_without_reading_the_weights(tmp_path: Path, damage: str) -> None:
    folder = write_adapter(tmp_path / "peft", "org/base")
    weights = folder / "adapter_model.safetensors"
    if damage == "missing":
        weights.unlink()
    elif damage in ("half", "empty"):
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2 if damage == "half" else 0])
    else:
        (folder / "trainer_state.json").write_text("{" if damage == "no json" else "[[]]")
    (entry,) = read_folder(folder)
    assert (entry.fault is None) is (damage in ("no json", "a list"))


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="holds no checkpoint"):
        read_folder(tmp_path)
    with pytest.raises(NotFound, match="cannot be read"):
        read_folder(tmp_path / "nowhere")
