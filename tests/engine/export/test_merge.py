"""What a merge will do and need, and what becomes of it when the disk is full or the process is killed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.adapters import AdapterUnusable
from engine.errors import CheckpointError, DiskFull, TargetExists, UsageError
from engine.export import merge as module
from engine.export.merge import MergePlan, NothingToMerge, merge, plan_merge
from engine.runs.directory import RunDirectory
from engine.spec import BaseChanged, local_model
from engine.weights import WeightsDamaged
from engine.workspace import Workspace, shipped_folder
from tests.engine.adapter_files import LORA, make_run, save, write_adapter, write_model, write_tiny_adapter
from tests.engine.faults import python, small_disk

TINY = shipped_folder() / "models" / "tiny"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with a base of one layer in `models/`."""
    write_model(tmp_path / "work" / "models" / "small")
    return Workspace(tmp_path / "work")


@pytest.fixture
def run(workspace: Workspace) -> RunDirectory:
    made = make_run(workspace.runs, "voice-1", workspace.models / "small", "model:\n  load_in_4bit: true\n")
    save(made, 10, "best")
    return made


def plan(workspace: Workspace, spec: str, target: Path, **options: object) -> MergePlan:
    return plan_merge(local_model(workspace, spec), target, **options)  # type: ignore[arg-type]


def test_what_it_needs_is_known_before_it_starts(workspace: Workspace, run: RunDirectory, tmp_path: Path) -> None:
    found = plan(workspace, "voice-1", tmp_path / "out", dtype="float32")
    assert found.num_parameters == 16 * 8 + 8 * 8
    assert found.needed_bytes is not None
    assert found.needed_bytes > 4 * found.num_parameters
    assert found.memory_bytes is not None
    assert found.memory_bytes > 400e6
    assert found.seconds is not None
    assert (found.num_files, found.replaces) == (1, False)
    json.dumps(found.as_dict())
    verified = plan(workspace, "voice-1", tmp_path / "out", verify=True)
    assert verified.memory_bytes is not None
    assert verified.memory_bytes >= found.memory_bytes
    assert not (tmp_path / "out").exists()


def test_what_a_person_should_know_is_said(workspace: Workspace, run: RunDirectory, tmp_path: Path) -> None:
    (said,) = plan(workspace, "voice-1", tmp_path / "out").warnings
    assert "base of 4 bits" in said
    write_adapter(workspace.path / "lora", "small", init_lora_weights="pissa")
    unproven, changed = plan(workspace, "lora", tmp_path / "out").warnings
    assert unproven.startswith("Nothing proves that small is the base lora was trained on")
    assert "pissa" in changed


def test_a_base_that_is_stored_quantised_has_nothing_to_merge_into(workspace: Workspace, tmp_path: Path) -> None:
    write_adapter(workspace.path / "lora", "small")
    config = workspace.models / "small" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "quantization_config": {"load_in_4bit": True}}))
    with pytest.raises(CheckpointError, match="stored quantised"):
        plan(workspace, "lora", tmp_path / "out")


def test_too_little_memory_is_said(
    workspace: Workspace, run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_free_memory", lambda: 1_000_000)
    assert "it may be killed" in plan(workspace, "voice-1", tmp_path / "out").warnings[0]


def test_too_little_room_is_an_error(
    workspace: Workspace, run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(DiskFull, match=r"has 1\.0 MB"):
        plan(workspace, "voice-1", tmp_path / "out")


def test_a_whole_model_has_nothing_to_merge(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NothingToMerge, match="whole model"):
        plan(workspace, "small", tmp_path / "out")


@pytest.mark.parametrize(
    ("there", "kind"),
    [
        pytest.param(["config.json"], None, id="a model"),
        pytest.param([], None, id="an empty folder"),
        pytest.param(["thesis.tex"], TargetExists, id="something else"),
        pytest.param(["config.json", "events.jsonl"], TargetExists, id="a run"),
    ],
)
def test_only_a_model_is_ever_replaced(
    workspace: Workspace, run: RunDirectory, tmp_path: Path, there: list[str], kind: type[Exception] | None
) -> None:
    target = tmp_path / "out"
    target.mkdir()
    for name in there:
        (target / name).write_text("{}")
    if kind is not None:
        with pytest.raises(kind, match="no model"):
            plan(workspace, "voice-1", target)
        return
    found = plan(workspace, "voice-1", target)
    assert found.replaces is bool(there)
    if there:
        with pytest.raises(TargetExists, match="there already"):
            merge(found)


def test_what_is_wrong_with_the_parts_is_said_before_anything_is_loaded(
    workspace: Workspace, run: RunDirectory, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="no dtype 'int4'"):
        plan(workspace, "voice-1", tmp_path / "out", dtype="int4")
    wide = {name: tuple(99 if side == 8 else side for side in shape) for name, shape in LORA.items()}
    write_adapter(workspace.path / "wide", "small", wide)
    with pytest.raises(BaseChanged, match="is for 99 of them"):
        plan(workspace, "wide", tmp_path / "out")
    pickled = write_adapter(workspace.path / "pickled", "small")
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    with pytest.raises(AdapterUnusable, match="pickle"):
        plan(workspace, "pickled", tmp_path / "out")
    assert plan(workspace, "pickled", tmp_path / "out", allow_pickle=True).adapter.pickle
    weights = workspace.models / "small" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    with pytest.raises(BaseChanged, match="not those that"):
        plan(workspace, "voice-1", tmp_path / "out")
    (run.best / "adapter_model.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError):
        plan(workspace, "voice-1", tmp_path / "out")
    with pytest.raises(WeightsDamaged):
        plan(workspace, str(write_adapter(tmp_path / "lora", str(workspace.models / "small"))), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_becomes_full_while_writing_leaves_nothing(tmp_path: Path) -> None:
    adapter = write_tiny_adapter(tmp_path / "lora", str(TINY))
    reply = python(
        """
        import os, sys
        from pathlib import Path
        from engine.errors import DiskFull
        from engine.export import merge as module
        from engine.export.merge import merge, plan_merge
        from engine.spec import local_model
        from engine.workspace import Workspace
        place = Path(sys.argv[1])
        module._SMALL_FILES = -(1 << 30)  # as if there was room when it was looked
        plan = plan_merge(local_model(Workspace(place), sys.argv[2]), place / "out")
        try:
            merge(plan)
        except DiskFull as error:
            print(error.message, os.listdir(place))
        """,
        tmp_path / "small",
        adapter,
        before=small_disk(tmp_path / "small", "size=4m"),
    )
    assert "full" in reply.stdout or "no room" in reply.stdout, reply.stderr
    assert reply.stdout.strip().endswith("[]")
    assert os.listdir(tmp_path / "small") == []
