"""What is looked at before a run starts, and what stands in its way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.workspace import Workspace, shipped_folder
from screens.configure.preflight import Item, look


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    rows = [{"prompt": f"What is {number}?", "completion": f"It is {number}."} for number in range(20)]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Workspace(tmp_path)


def looked_at(workspace: Workspace, **model: object) -> tuple[dict[str, list[Item]], list[str]]:
    """Return what was found of a run with this model, by title, and what was told besides."""
    text = json.dumps({"model": {"name": "tiny", "device": "cpu", **model}, "data": {"train": "answers.jsonl"}})
    found, told = dict[str, list[Item]](), list[str]()
    for one in look(workspace, text, "answers.yaml"):
        if isinstance(one, Item):
            found.setdefault(one.title, []).append(one)
        else:
            told.append(one)
    return found, told


def test_a_run_that_can_start_is_looked_over_whole_and_has_a_name(workspace: Workspace) -> None:
    found, told = looked_at(workspace)
    assert {"settings", "model", "licence", "code", "data", "memory", "disk"} <= set(found)
    assert [one.said for items in found.values() for one in items if one.grade == "grave"] == []
    assert found["data"][0].said.startswith("20 of 20 rows")
    assert told[-1] == "name:sft-tiny-1"


def _cut(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])


def _pickled(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def _without_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def _empty(model: Path) -> None:
    (model / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (_cut, "is damaged"),
        (_pickled, "a pickle"),
        (_without_weights, "has no weights"),
        (_empty, "hold no tensor"),
    ],
    ids=["cut off", "pickled", "without weights", "empty"],
)
def test_weights_that_could_not_be_loaded_stand_in_the_way(
    workspace: Workspace, harm: Callable[[Path], None], said: str
) -> None:
    model = workspace.models / "mine"
    shutil.copytree(shipped_folder() / "models" / "tiny", model)
    harm(model)
    (item,) = looked_at(workspace, name="mine")[0]["model"]
    assert (item.grade, said in item.said, bool(item.remedy)) == ("grave", True, True)


def test_code_of_a_model_is_never_allowed_silently(workspace: Workspace) -> None:
    (item,) = looked_at(workspace, trust_remote_code=True)[0]["code"]
    assert item.grade == "warning"


def test_settings_that_are_wrong_are_all_that_is_told(workspace: Workspace) -> None:
    found, told = looked_at(workspace, dtype="float99")
    assert (list(found), found["settings"][0].grade) == (["settings"], "grave")
    assert not any(one.startswith("name:") for one in told)
