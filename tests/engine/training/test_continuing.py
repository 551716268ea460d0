"""A new run from the weights of another, with real processes: its own adapter is trained on, nothing is put on top."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import events
from engine.config.load import GivenConfig
from engine.errors import CheckpointError
from engine.launch import prepare
from engine.launch.continuing import continued
from engine.runs.catalogue import read_run
from engine.runs.directory import RunDirectory
from engine.runs.identity import read_identity
from engine.runs.liveness import Life, liveness
from engine.runs.provenance import read_provenance
from engine.training.checkpoint_writer import write_checkpoint
from engine.workspace import Workspace
from tests.conftest import read_records, wait_for
from tests.engine.adapter_files import RUN_ID, make_run


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    (tmp_path / "workspace").mkdir()
    made = Workspace(tmp_path / "workspace")
    yield made
    for path in made.runs.glob("*"):
        for identity in (read_identity(path / "worker.json"), read_identity(path / "keeper.json")):
            if identity is not None:
                identity.send(signal.SIGKILL)


def said(run: RunDirectory, kind: type[events.Event]) -> list[Any]:
    return [record.event for record in read_records(run) if isinstance(record.event, kind)]


def finish(run: RunDirectory, ends: int = 1) -> None:
    wait_for(lambda: len(said(run, events.WorkerExited)) >= ends and liveness(run.path).life is Life.DEAD, run.name)
    assert said(run, events.RunEnded)[-1].outcome == "finished", run.log.read_text()[-2000:]


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(folder / "adapter_model.safetensors")


def trained_adapter(small_model: Path) -> Callable[[Path], None]:
    """Return what saves an adapter that changes the model, as training leaves one."""

    def save(folder: Path) -> None:
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM

        lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
        get_peft_model(AutoModelForCausalLM.from_pretrained(small_model), lora).save_pretrained(folder)

    return save


def test_a_continued_run_trains_the_same_adapter_on_and_can_be_resumed_exactly(
    workspace: Workspace, config_text: Callable[..., str], small_model: Path
) -> None:
    data = {"train": "data/train.jsonl", "validation": {}, "max_length": 128}
    text = config_text(data=data, evaluation={"eval_steps": None, "prompts": []}, saving={"save_best": False})
    first = make_run(workspace.runs, "voice-1", small_model, text)
    write_checkpoint(first.final, trained_adapter(small_model), run_id=RUN_ID, step=12, metadata={})
    asked = GivenConfig({}).override(["training.max_steps=4", "saving.save_steps=2", "training.learning_rate=1e-6"])
    second = prepare.new_run(workspace, continued(workspace, "voice-1@final", asked), name="voice-2")
    began = weights(first.final)
    shutil.rmtree(first.path)  # what it began with is its own
    prepare.start_run(second)
    finish(second)

    assert said(second, events.RunCreated)[0].parent == "voice-1"
    source = read_provenance(second).adapter
    assert source is not None
    assert (source.run, source.checkpoint, source.step) == ("voice-1", "final", 12)
    ended = weights(second.final)
    assert ended.keys() == began.keys()  # not wrapped in another adapter
    moved = [float(abs(ended[name] - began[name]).max()) for name in began]
    assert 0 < max(moved) < 1e-5  # four steps of 1e-6 from where it began, not from a new adapter
    losses = {event.step: event.metrics["loss"] for event in said(second, events.StepFinished)}
    assert [entry.name for entry in read_run(second).checkpoints] == ["final", "checkpoint-4", "checkpoint-2"]

    prepare.resume_run(second, checkpoint="checkpoint-2")
    finish(second, ends=2)
    again = weights(second.final)
    assert all((again[name] == ended[name]).all() for name in ended)  # bit for bit
    assert {event.step: event.metrics["loss"] for event in said(second, events.StepFinished)} == losses

    (second.start / "adapter_model.safetensors").write_bytes(b"another")
    with pytest.raises(CheckpointError, match="the adapter it began with was changed"):
        prepare.resume_run(second, checkpoint="checkpoint-2")
