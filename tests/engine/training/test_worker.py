"""Training with real processes: finish, stop, pause, save, fail, die and go on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import commands, events
from engine.config.load import loads
from engine.errors import CheckpointError, RunBusy
from engine.launch import prepare
from engine.launch.start import send
from engine.runs import checkpoints
from engine.runs.directory import RunDirectory
from engine.runs.identity import read_identity
from engine.runs.liveness import Life, liveness
from engine.runs.summary import summarise
from engine.workspace import Workspace
from tests.conftest import read_records, wait_for
from tests.engine.faults import python, small_disk
from tests.engine.training.conftest import rows, write_rows

ConfigText = Callable[..., str]


@dataclass
class Trained:
    """Makes runs in a workspace and ends what is left of them."""

    workspace: Workspace
    config_text: ConfigText

    def create(self, **more: Any) -> RunDirectory:
        return prepare.new_run(self.workspace, loads(self.config_text(**more), "test.yaml"))

    def start(self, **more: Any) -> RunDirectory:
        run = self.create(**more)
        prepare.start_run(run)
        return run


@pytest.fixture
def training(tmp_path: Path, config_text: ConfigText) -> Any:
    (tmp_path / "workspace").mkdir()
    config_text()
    made = Trained(Workspace(tmp_path / "workspace"), config_text)
    yield made
    for run in (RunDirectory(path) for path in made.workspace.runs.glob("*")):
        for identity in (read_identity(run.path / "worker.json"), read_identity(run.path / "keeper.json")):
            if identity is not None:
                identity.send(signal.SIGKILL)


def said(run: RunDirectory, kind: type[events.Event]) -> list[Any]:
    return [record.event for record in read_records(run) if isinstance(record.event, kind)]


def wait_for_end(run: RunDirectory) -> events.RunEnded | None:
    wait_for(lambda: said(run, events.WorkerExited) and liveness(run.path).life is Life.DEAD, f"the end of {run.name}")
    ended = said(run, events.RunEnded)
    return ended[-1] if ended else None


def wait_for_step(run: RunDirectory, step: int) -> None:
    def reached() -> bool:
        if said(run, events.RunEnded):
            raise AssertionError(run.log.read_text()[-2000:])
        return any(event.step >= step for event in said(run, events.StepFinished))

    wait_for(reached, f"step {step}")


def adapter(folder: Path) -> bytes:
    return (folder / "adapter_model.safetensors").read_bytes()


def test_a_run_trains_to_its_end_and_leaves_what_it_promises(training: Trained, small_model: Path) -> None:
    folder = training.workspace.path / "data"
    write_rows(folder / "retain_val.jsonl", rows("retain", 6))
    write_rows(folder / "unlearn_val.jsonl", rows("unlearn", 6))
    validation = ["data/retain_val.jsonl", "data/unlearn_val.jsonl"]
    run = training.start(data={"validation": validation, "train": "data/train.jsonl", "max_length": 128})
    ended = wait_for_end(run)
    assert ended is not None, run.log.read_text()
    assert (ended.outcome, ended.step) == ("finished", 12), ended
    assert summarise(run).state == "finished"
    steps = said(run, events.StepFinished)
    assert [event.step for event in steps] == list(range(1, 13))
    assert {"loss", "grad_norm", "learning_rate", "tokens_per_second"} <= set(steps[-1].metrics)
    evaluation = said(run, events.EvaluationFinished)[-1].metrics
    both = (evaluation["eval_retain_loss"], evaluation["eval_unlearn_loss"])
    assert evaluation["eval_loss"] == pytest.approx(sum(both) / 2)
    assert [event.when for event in said(run, events.BehaviourMeasured)] == ["before", "after"]
    assert [event.step for event in said(run, events.SamplesAnswered)] == [0, 6, 12]
    samples = [json.loads(line) for line in run.samples.read_text().splitlines()]
    assert {sample["prompt"] for sample in samples} == {"What is the capital of Arden?"}
    prepared = {event.split: event for event in said(run, events.DataPrepared)}
    assert set(prepared) == {"train", "retain", "unlearn"}
    assert 0 < prepared["train"].num_trained_tokens < prepared["train"].num_tokens
    assert json.loads((run.path / "train_results.json").read_text())["train_loss"] > 0
    assert "eval_retain_loss" in json.loads((run.path / "eval_results.json").read_text())
    kept = checkpoints.all_checkpoints(run)
    assert [checkpoint.step for checkpoint in kept] == [12, 9, 6]
    own = checkpoints.run_id(run)
    assert all(checkpoints.fault(checkpoint, own, to_resume=True) is None for checkpoint in kept)
    for name in ("best", "final"):
        found = checkpoints.find_checkpoint(run, name)
        assert checkpoints.fault(found, own) is None
        assert found.metadata["metrics"]["loss"] > 0
    assert not list(run.path.rglob("training_args.bin"))
    assert {oct(path.stat().st_mode & 0o777) for path in run.path.rglob("*")} <= {"0o700", "0o600"}

    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(small_model), run.final)
    assert any(bool(p.abs().sum() > 0) for name, p in model.named_parameters() if "lora_B" in name)


def test_a_killed_run_goes_on_exactly_and_says_what_it_passed_over(training: Trained) -> None:
    whole = training.start()
    broken = training.start()
    wait_for_step(broken, 10)
    worker = read_identity(broken.path / "worker.json")
    assert worker is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert wait_for_end(broken) is None
    assert summarise(broken).state == "died"
    newest = checkpoints.all_checkpoints(broken)[0]
    (newest.path / "optimizer.pt").write_bytes(b"half")
    resumed = prepare.resume_run(broken)
    assert resumed.checkpoint is not None
    assert [(c.step, "optimizer.pt" in reason) for c, reason in resumed.skipped] == [(newest.step, True)]
    ended = wait_for_end(broken)
    assert ended is not None, broken.log.read_text()
    assert ended.outcome == "finished", ended
    assert [event.path for event in said(broken, events.CheckpointSkipped)] == [f"checkpoints/{newest.path.name}"]
    first_end = wait_for_end(whole)
    assert first_end is not None
    assert adapter(broken.final) == adapter(whole.final)  # bit for bit
    losses = {event.step: event.metrics["loss"] for event in said(whole, events.StepFinished)}
    again = {event.step: event.metrics["loss"] for event in said(broken, events.StepFinished)}
    assert again == losses
    tokens = [said(run, events.StepFinished)[-1].num_tokens for run in (whole, broken)]
    assert tokens[0] == tokens[1]
    with pytest.raises(CheckpointError, match="has finished"):
        prepare.resume_run(broken)


def test_live_commands_are_obeyed_confirmed_and_do_not_change_the_result(training: Trained) -> None:
    undisturbed = training.start()
    run = training.start(training={"max_steps": 12, "per_device_train_batch_size": 4, "learning_rate": 1e-3,
                                   "gradient_accumulation_steps": 1, "warmup_steps": 2})  # fmt: skip
    wait_for_step(run, 1)
    send(run, commands.Pause())
    paused = wait_for(lambda: said(run, events.RunPaused))[-1]
    assert summarise(run).state == "paused"
    send(run, commands.SaveCheckpoint())
    wait_for(lambda: [e for e in said(run, events.CommandConfirmed) if e.command == "SaveCheckpoint"])
    assert checkpoints.find_checkpoint(run, str(paused.step)).run_id == checkpoints.run_id(run)
    with pytest.raises(RunBusy):
        prepare.resume_run(run)
    send(run, commands.Unpause())
    assert wait_for(lambda: said(run, events.RunUnpaused))[-1].step == paused.step
    assert wait_for_end(run) is not None
    assert wait_for_end(undisturbed) is not None
    assert adapter(run.final) == adapter(undisturbed.final)
    assert all(event.accepted for event in said(run, events.CommandConfirmed))


def test_a_learning_rate_set_live_is_kept_through_stop_and_resume(training: Trained) -> None:
    constant = {"max_steps": 40, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 0,
                "gradient_accumulation_steps": 1, "lr_scheduler_type": "constant"}  # fmt: skip
    run = training.start(training=constant)
    wait_for_step(run, 1)
    send(run, commands.SetLearningRate(5e-5))
    confirmed = wait_for(lambda: said(run, events.CommandConfirmed))[0]
    assert confirmed.accepted
    send(run, commands.Stop(save=True))
    ended = wait_for_end(run)
    assert ended is not None
    if ended.outcome == "stopped":  # else it reached its end first, on a fast machine
        assert summarise(run).state == "stopped"
        assert checkpoints.all_checkpoints(run)[0].step == ended.step
        prepare.resume_run(run)
        ended = wait_for(lambda: [e for e in said(run, events.RunEnded) if e.outcome == "finished"])[-1]
    rates = {event.step: event.metrics["learning_rate"] for event in said(run, events.StepFinished)}
    assert rates[1] == pytest.approx(1e-3)
    assert rates[40] == pytest.approx(5e-5)


def test_stop_now_ends_without_saving(training: Trained) -> None:
    run = training.start(
        training={"max_steps": 100_000, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
        saving={"save_steps": None},
    )
    wait_for_step(run, 2)
    send(run, commands.Stop(save=False))
    ended = wait_for_end(run)
    assert ended is not None
    assert ended.outcome == "stopped"
    assert "lost" in ended.detail
    assert not checkpoints.all_checkpoints(run)
    assert said(run, events.WorkerExited)[-1].exit_code == 0


def test_stop_and_save_does_not_wait_for_the_rest_of_an_evaluation(training: Trained) -> None:
    write_rows(training.workspace.path / "data" / "many.jsonl", rows(count=36) * 100)
    run = training.start(
        data={"train": "data/train.jsonl", "validation": "data/many.jsonl"},
        evaluation={"eval_steps": 2, "prompts": [], "per_device_eval_batch_size": 1},
        saving={"save_steps": None},
    )
    wait_for(lambda: "evaluating" in [event.stage for event in said(run, events.StageChanged)], "an evaluation")
    send(run, commands.Stop(save=True))
    ended = wait_for_end(run)
    assert ended is not None
    assert (ended.outcome, ended.step) == ("stopped", 2)
    assert checkpoints.all_checkpoints(run)[0].step == 2
    assert not said(run, events.EvaluationFinished)


def test_an_edited_learning_rate_counts_after_a_resume_that_accepts_it(training: Trained) -> None:
    constant = {"max_steps": 100_000, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "warmup_steps": 0,
                "gradient_accumulation_steps": 1, "lr_scheduler_type": "constant"}  # fmt: skip
    run = training.start(training=constant, evaluation={"eval_steps": None, "prompts": []}, saving={"save_steps": None})
    wait_for_step(run, 2)
    send(run, commands.Stop(save=True))
    stopped = wait_for_end(run)
    assert stopped is not None
    edited = run.config.read_text().replace("learning_rate: 0.001", "learning_rate: 0.0002")
    assert edited != run.config.read_text()
    run.config.write_text(edited)
    with pytest.raises(CheckpointError, match=r"run\.yaml was edited"):
        prepare.resume_run(run)
    prepare.resume_run(run, accept_changes=True)
    wait_for(lambda: said(run, events.StepFinished)[-1].step > stopped.step, "a step after the resume")
    assert said(run, events.StepFinished)[-1].metrics["learning_rate"] == pytest.approx(2e-4)
    assert "learning-rate-changed" in [event.code for event in said(run, events.Warned)]


def test_a_full_disk_is_waited_for_and_nothing_is_lost(tmp_path: Path, training: Trained) -> None:
    # The worker alone, on a disk of its own: its third checkpoint finds no room until the ballast is gone.
    run = training.create(saving={"save_steps": 3, "save_total_limit": None})
    reply = python(
        """
        import os, shutil, subprocess, sys, time
        from pathlib import Path
        from engine import events
        from engine.runs.directory import RunDirectory
        from engine.runs.follow import EventReader
        made, disk = Path(sys.argv[1]), Path(sys.argv[2])
        run = RunDirectory(Path(shutil.copytree(made, disk / "run")))
        ballast = disk / "ballast"
        def said(kind):
            return [r.event for r in EventReader(run.events).read().records if isinstance(r.event, kind)]
        worker = subprocess.Popen([sys.executable, "-P", "-m", "engine.training", str(run.path)], stderr=sys.stderr)
        def until(condition):
            while not condition():
                assert worker.poll() is None, said(events.RunEnded)
                time.sleep(0.02)
        until(lambda: said(events.CheckpointSaved))
        ballast.write_bytes(bytes(shutil.disk_usage(disk).free - 65_536))
        until(lambda: "disk-full" in [e.code for e in said(events.Warned)])
        ballast.unlink()
        assert worker.wait() == 0
        print(said(events.RunEnded)[-1].outcome, [e.step for e in said(events.StepFinished)])
        """,
        run.path,
        tmp_path / "disk",
        before=small_disk(tmp_path / "disk", "size=4m"),
    )
    assert reply.stdout == f"finished {list(range(1, 13))}\n", reply.stderr[-3000:]


def test_a_file_changed_after_the_check_is_told(training: Trained) -> None:
    run = training.create()
    write_rows(training.workspace.path / "data" / "train.jsonl", rows(count=35))
    prepare.start_run(run)
    wait_for_end(run)
    (warned,) = said(run, events.Warned)
    assert warned.code == "data-changed"
    assert warned.message.startswith("data/train.jsonl was changed since this run was made")


@pytest.mark.usefixtures("real_commands")
def test_sigterm_saves_and_stops(training: Trained) -> None:
    run = training.start(
        training={"max_steps": 100_000, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1},
        saving={"save_steps": None},
    )
    wait_for_step(run, 2)
    worker = read_identity(run.path / "worker.json")
    assert worker is not None
    os.kill(worker.pid, signal.SIGTERM)
    ended = wait_for_end(run)
    assert ended is not None
    assert ended.outcome == "stopped"
    assert checkpoints.all_checkpoints(run)[0].step == ended.step


def test_masked_labels_are_refused_before_the_first_step(training: Trained) -> None:
    longer = [{**row, "instruction": row["instruction"] * 20} for row in rows(count=8)]
    write_rows(training.workspace.path / "data" / "train.jsonl", longer)
    run = training.start(
        data={"train": "data/train.jsonl", "validation": {}, "max_length": 64, "accept": ["trains-on-nothing"]},
        evaluation={"eval_steps": None, "prompts": []},
    )
    ended = wait_for_end(run)
    assert ended is not None
    assert (ended.outcome, ended.code, ended.step) == ("failed", "nothing-to-learn", 0)
    assert "All 8 training rows are masked" in ended.detail
    assert "data.max_length" in ended.remedy
    prepared = said(run, events.DataPrepared)[0]
    assert (prepared.rows_in, prepared.rows_kept, prepared.rows_dropped) == (8, 0, 8)
    assert not said(run, events.StepFinished)


def test_a_diverging_run_stops_before_the_step_and_keeps_its_finite_checkpoint(training: Trained) -> None:
    run = training.start(
        training={"max_steps": 200, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1,
                  "learning_rate": 1.0, "max_grad_norm": 0, "warmup_steps": 20, "optim": "sgd",
                  "lr_scheduler_type": "constant_with_warmup"},
        lora={"r": 4, "lora_alpha": 100_000_000},
        saving={"save_steps": 1},
    )  # fmt: skip
    ended = wait_for_end(run)
    assert ended is not None, run.log.read_text()
    assert (ended.outcome, ended.code) == ("failed", "non-finite"), ended
    assert "was not" in ended.detail
    own = checkpoints.run_id(run)
    from safetensors import safe_open

    for checkpoint in checkpoints.all_checkpoints(run):
        assert checkpoints.fault(checkpoint, own, to_resume=True) is None
        with safe_open(checkpoint.path / "adapter_model.safetensors", "pt") as weights:
            assert all(bool(weights.get_tensor(name).isfinite().all()) for name in weights.keys())  # noqa: SIM118


def test_changed_data_is_named_and_going_on_needs_consent(training: Trained) -> None:
    run = training.start(training={"max_steps": 100_000, "per_device_train_batch_size": 4})
    wait_for_step(run, 3)
    send(run, commands.Stop(save=True))
    wait_for_end(run)
    write_rows(training.workspace.path / "data" / "train.jsonl", rows(count=35))
    with pytest.raises(CheckpointError, match=r"data/train.jsonl was changed"):
        prepare.resume_run(run)
    assert liveness(run.path).life is Life.DEAD
