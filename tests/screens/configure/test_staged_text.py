"""A configuration of several stages in the form: what is outside of them changes in place, they stay as they are."""

from __future__ import annotations

from pathlib import Path

from engine.config.load import loads
from engine.launch.prepare import new_run
from engine.workspace import Workspace
from screens.configure.draft import Draft
from screens.configure.files import from_run

TEXT = """\
model:
  name: tiny
stages:
  # answers first
  - data: {train: answers.jsonl}
  - name: prefer
    method:
      name: dpo
    data:
      train: pairs.jsonl
"""


def test_a_setting_outside_of_the_stages_is_changed_in_place() -> None:
    draft = Draft(TEXT).put("training.seed", 7).put("model.device", "cpu")
    assert "# answers first" in draft.text
    assert not draft.reading.problems
    assert [part.settings["training.seed"].value for _, part in draft.reading.given.parts()] == [7, 7]
    assert draft.drop("training.seed").drop("model.device").text == TEXT


def test_what_is_wrong_in_a_stage_is_said() -> None:
    (problem,) = Draft(TEXT.replace("pairs.jsonl", "[]")).reading.problems
    assert problem == "stage prefer: data.train names no file to learn from"


def test_a_run_of_several_stages_is_tweaked_with_its_stages(tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text('{"prompt": "What is it?", "completion": "A tool."}\n' * 3)
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "Is it?", "chosen": "It is.", "rejected": "No."}\n' * 3)
    new_run(Workspace(tmp_path), loads(TEXT, "run.yaml"), name="both-1")
    reading = from_run(tmp_path, "both-1").reading
    assert not reading.problems
    assert [name for name, _ in reading.given.parts()] == ["sft", "prefer"]
    assert [part.settings["data.train"].value for _, part in reading.given.parts()] == [
        ["answers.jsonl"], ["pairs.jsonl"],
    ]  # fmt: skip
