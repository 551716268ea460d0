"""One session after another: earlier learning goes into the base, `latest` moves on, nothing earlier is normal."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.config.load import loads
from engine.launch.continuing import nothing_earlier, replayed_rows
from engine.launch.prepare import new_run, start_run
from engine.runs.directory import RunDirectory
from engine.runs.liveness import Life, liveness
from engine.runs.provenance import read_provenance
from engine.spec import LocalModel, local_model, prove_base
from engine.workspace import Workspace
from tests.conftest import read_records, wait_for
from tests.engine.training.conftest import rows, write_rows

Sessions = tuple[Workspace, RunDirectory, RunDirectory]


def said(run: RunDirectory, kind: type[events.Event]) -> list[Any]:
    return [record.event for record in read_records(run) if isinstance(record.event, kind)]


def session(workspace: Workspace, name: str, **data: Any) -> RunDirectory:
    """Train for two steps on what was learned before, and make the result the latest."""
    settings = {
        "model": {"name": "small", "adapter": "latest", "adapter_mode": "merge", "device": "cpu"},
        "data": {"max_length": 128, **data},
        "lora": {"r": 4},
        "training": {"max_steps": 2, "learning_rate": 1e-2, "warmup_steps": 0},
        "evaluation": {"behaviour": False},
        "saving": {"promote": "latest"},
    }
    run = new_run(workspace, loads(json.dumps(settings), "test.yaml"), name=name)
    start_run(run)
    wait_for(lambda: bool(said(run, events.WorkerExited)) and liveness(run.path).life is Life.DEAD, name)
    assert said(run, events.RunEnded)[-1].outcome == "finished", run.log.read_text()[-2000:]
    return run


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory, small_model: Path) -> Sessions:
    """Return a workspace after two sessions."""
    workspace = Workspace(tmp_path_factory.mktemp("sessions"))
    shutil.copytree(small_model, workspace.models / "small")
    write_rows(workspace.path / "first.jsonl", rows(count=8))
    write_rows(workspace.path / "second.jsonl", rows()[20:28])
    first = session(workspace, "first", train="first.jsonl")
    return workspace, first, session(workspace, "second", train="second.jsonl", replay=0.5)


def test_the_first_session_finds_nothing_earlier_which_is_normal(sessions: Sessions) -> None:
    _, first, _ = sessions
    (told,) = said(first, events.EarlierLearning)
    assert (told.mode, told.parent) == ("none", None)
    assert "normal" in told.detail
    assert not first.base.exists()


def test_what_was_learned_before_is_in_the_base_of_the_next(sessions: Sessions) -> None:
    workspace, _, second = sessions
    (told,) = said(second, events.EarlierLearning)
    assert (told.mode, told.parent) == ("merge", "first")
    assert "Previous knowledge merged: first@final" in told.detail
    assert read_provenance(second).parent == "first"
    model = local_model(workspace, "second")
    assert model.base.source == str(second.base)
    assert prove_base(model).fingerprint == json.loads((second.path / "base.json").read_text())["fingerprint"]


def test_latest_moves_on_and_stands_on_its_own_base(sessions: Sessions) -> None:
    workspace, first, second = sessions
    for name, run in (("latest", second), ("previous", first)):
        model = local_model(workspace, name)
        assert json.loads((workspace.models / name / "promoted.json").read_text())["run"] == run.name
        assert prove_base(model).source == str(second.base if run is second else workspace.models / "small")
    (promoted,) = said(second, events.CheckpointPromoted)
    assert (promoted.path, promoted.name) == ("final", "latest")
    assert "models/previous" in promoted.detail


def test_rows_of_the_earlier_session_are_mixed_in(sessions: Sessions) -> None:
    _, _, second = sessions
    (prepared,) = said(second, events.DataPrepared)
    assert prepared.rows_in == 12
    assert [file.path.rpartition("/")[2] for file in read_provenance(second).files("replay")] == ["first.jsonl"]


def test_the_merged_base_answers_as_base_and_adapter_did(sessions: Sessions) -> None:
    workspace, _, second = sessions
    import torch

    from engine.training.loading import load_for_inference

    def logits(model: LocalModel) -> torch.Tensor:
        asked = {
            "base": {"source": model.base.source, "kind": "folder", "fingerprint": "", "revision": None},
            "adapter": None if model.adapter is None else str(model.adapter), "tokenizer": None, "label": "x",
            "chat_template": None, "device": "cpu", "trust_remote_code": False,
        }  # fmt: skip
        loaded, tokenizer = load_for_inference(asked)
        ids = tokenizer("What is the capital of Arden?", return_tensors="pt").input_ids
        with torch.no_grad():
            found: torch.Tensor = loaded(ids).logits
        return found

    before = logits(local_model(workspace, "previous"))
    merged = logits(local_model(workspace, str(second.base)))
    assert torch.allclose(before, merged, atol=1e-4)  # stored in float32, as its base is
    assert not torch.allclose(logits(local_model(workspace, "small")), merged, atol=1e-3)


def test_only_latest_may_be_missing(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert nothing_earlier(workspace, "latest")
    assert not nothing_earlier(workspace, "voice-1")
    assert not nothing_earlier(workspace, None)


@pytest.mark.parametrize(
    ("share", "new", "there", "mixed_in"), [(0.0, 100, 50, 0), (0.25, 100, 50, 25), (1.0, 100, 50, 50), (0.1, 4, 9, 0)]
)
def test_no_more_is_mixed_in_than_there_is(share: float, new: int, there: int, mixed_in: int) -> None:
    assert replayed_rows(share, new, there) == mixed_in
