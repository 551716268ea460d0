"""What is said and refused of several processes before any is started."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engine.config.automatic import Facts, decide, num_optimizer_steps, rows_per_step
from engine.config.load import loads
from engine.config.model import RunConfig
from engine.config.resolved import ResolvedConfig, Source
from engine.errors import ConfigError, MissingPackage, NotFound, UsageError
from engine.launch import several
from engine.launch.prepare import new_run, settle
from engine.launch.several import accelerate_settings, gpus_of, refuse_to_join, refuse_unlaunchable, worker_of
from engine.workspace import Workspace

ACCELERATE = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
num_processes: 8
num_machines: 2
machine_rank: 0
main_process_ip: 10.0.0.1
main_process_port: 29501
gpu_ids: all
mixed_precision: bf16
fsdp_config: {fsdp_version: 2}
"""


def config(**sections: dict[str, Any]) -> RunConfig:
    """Return a configuration without "auto" where launching looks at it."""
    values: dict[str, dict[str, Any]] = {
        "model": {"device": "cpu"},
        "evaluation": {"prompts": [], "behaviour": False},
        "launch": {"num_processes": 2, "num_machines": 1, "strategy": "ddp"},
    }
    for name, settings in sections.items():
        values[name] = {**values.get(name, {}), **settings}
    return RunConfig.model_validate(values)


def refused(made: RunConfig, said: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        refuse_unlaunchable(made, said or {})
    return " / ".join(caught.value.problems)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[[int | None], None]:
    def there_are(count: int | None) -> None:
        monkeypatch.setattr(several, "num_visible_gpus", lambda: count)

    return there_are


def test_two_processes_on_the_processor_may_share_it() -> None:
    refuse_unlaunchable(config(), {})


def test_each_process_has_a_gpu_of_its_own(gpus: Callable[[int | None], None]) -> None:
    gpus(2)
    refuse_unlaunchable(config(model={"device": "cuda"}), {})
    gpus(1)
    said = refused(config(model={"device": "cuda"}))
    assert "puts 2 processes on 1 GPU; each needs one of its own: set 1" in said
    gpus(None)  # nobody tells without torch: the processes will
    refuse_unlaunchable(config(model={"device": "cuda"}), {})


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        pytest.param({"model": {"device": "mps"}}, "2 processes on one device, mps", id="mps"),
        pytest.param({"model": {"device": "cuda:1"}}, "2 processes on one device, cuda:1; set", id="one of them"),
        pytest.param({"launch": {"num_processes": 3, "num_machines": 2}}, "cannot share evenly", id="uneven"),
        pytest.param({"launch": {"num_machines": 2}}, "main_process_ip does not say", id="no address"),
        pytest.param({"launch": {"num_processes": 1, "num_machines": 2}}, "which counts those of all, is 1", id="few"),
        pytest.param({"launch": {"num_processes": 1, "strategy": "fsdp"}}, "and there is one", id="nothing to share"),
        pytest.param({"launch": {"strategy": "fsdp"}}, "is for GPUs, and model.device is cpu", id="fsdp on cpu"),
        pytest.param(
            {"launch": {"strategy": "fsdp"}, "method": {"name": "dpo"}}, "method.name is dpo", id="fsdp of pairs"
        ),
        pytest.param(
            {"launch": {"strategy": "fsdp"}, "model": {"load_in_4bit": True}}, "a base of 4 bits", id="fsdp of 4 bits"
        ),
        pytest.param(
            {"launch": {"strategy": "fsdp"}, "forgetting": {"gauge": True}}, "a gauge read", id="fsdp with a gauge"
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(sections: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(config(**sections))


def test_deepspeed_that_is_not_installed_is_refused(
    monkeypatch: pytest.MonkeyPatch, gpus: Callable[[int | None], None]
) -> None:
    gpus(2)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingPackage, match="deepspeed, which is not installed"):
        refuse_unlaunchable(config(model={"device": "cuda"}, launch={"strategy": "deepspeed"}), {})


def test_accelerates_own_file_is_read() -> None:
    found = accelerate_settings(ACCELERATE)
    assert found == {
        "strategy": "fsdp", "num_processes": 8, "num_machines": 2, "main_process_ip": "10.0.0.1",
        "main_process_port": 29501,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        pytest.param("distributed_type: XLA", "distributed_type is XLA", id="a device nobody has here"),
        pytest.param("num_processes: many", "must be a whole number from 1", id="no number"),
        pytest.param("parallelism_config: {tp_size: 2}", "parallelism_config is not for these", id="tensor parallel"),
        pytest.param("- a\n- b", "a list, not settings", id="a list"),
        pytest.param("a: [", "launch.config_file", id="no YAML"),
    ],
)
def test_a_file_that_no_run_can_be_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        accelerate_settings(text)


@pytest.mark.parametrize(
    ("machines", "machine", "sentence"),
    [
        pytest.param(1, 1, "is for one machine", id="of one machine"),
        pytest.param(2, 0, "0 is none that joins", id="the first"),
        pytest.param(2, 2, "2 is none that joins", id="one too many"),
    ],
)
def test_a_machine_that_is_none_of_the_runs_is_refused(
    machines: int, machine: int, sentence: str, workspace: Workspace
) -> None:
    launch = f"{{num_processes: 2, num_machines: {machines}, main_process_ip: 10.0.0.1}}"
    text = f"model: {{device: cpu}}\ndata: {{train: train.jsonl}}\nlaunch: {launch}\n"
    run = new_run(workspace, loads(text, "test.yaml"))
    with pytest.raises(UsageError, match=sentence):
        refuse_to_join(run, machine)


def test_stages_are_for_one_machine(workspace: Workspace) -> None:
    launch = "{num_processes: 2, num_machines: 2, main_process_ip: 10.0.0.1}"
    text = f"model: {{device: cpu}}\nlaunch: {launch}\nstages:\n" + "  - data: {train: train.jsonl}\n" * 2
    text = text.replace("  - data", "  - name: a\n    data", 1).replace("  - data", "  - name: b\n    data", 1)
    with pytest.raises(ConfigError, match="a run in several stages is for one"):
        settle(workspace, loads(text, "test.yaml"))


def test_the_first_visible_gpus_are_shown() -> None:
    assert gpus_of(2, {}, {}) == "0,1"
    assert gpus_of(2, {}, {"CUDA_VISIBLE_DEVICES": "3, 5,6"}) == "3,5"
    assert gpus_of(2, {"gpu_ids": "4,7"}, {"CUDA_VISIBLE_DEVICES": "0,1"}) == "4,7"


def test_the_effective_batch_counts_all_processes() -> None:
    two = {"num_processes": 2}
    found, _ = decide(RunConfig.model_validate({"launch": two}), Facts(106))
    assert found["training.gradient_accumulation_steps"].value == 2
    assert found["training.gradient_accumulation_steps"].reason == "2 x 2 x 2 processes = 8 rows per step"
    training = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    assert rows_per_step(RunConfig.model_validate({"launch": two, "training": training})) == 8
    # As accelerate deals them: 53 batches of 2 are 27 for each of two, the last one filled up from the beginning.
    assert num_optimizer_steps(106, 2, 2, 1.0, 2) == 14
    assert num_optimizer_steps(106, 2, 4, 1.0) == 14


def test_what_needs_the_whole_model_is_off_by_itself_where_it_is_cut_up() -> None:
    launch = {"num_processes": 2, "strategy": "fsdp"}
    sections = {"launch": launch, "data": {"train": "t.jsonl", "validation": "v.jsonl"}}
    facts = Facts(106, device="cuda", validation_prompts=("Who?",), dataset_types=frozenset({"retain"}))
    found, _ = decide(RunConfig.model_validate(sections), facts)
    assert (found["evaluation.prompts"].value, found["evaluation.behaviour"].value) == ([], False)


def test_of_several_gpus_the_emptiest_is_chosen_and_named() -> None:
    found, _ = decide(RunConfig(), Facts(106, device="cuda", chosen_device="cuda:2"))
    assert found["model.device"] == ("cuda:2", "of the GPUs here the one with the most free memory")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    (tmp_path / "train.jsonl").write_text('{"prompt": "Who wrote Carmen?", "completion": "Bizet."}\n' * 40)
    (tmp_path / "accelerate.yaml").write_text("distributed_type: MULTI_CPU\nnum_processes: 2\nuse_cpu: true\n")
    return Workspace(tmp_path)


def test_what_the_file_says_is_decided_and_what_is_set_goes_before_it(workspace: Workspace) -> None:
    text = "model: {device: cpu}\ndata: {train: train.jsonl}\nlaunch: {config_file: accelerate.yaml}\n"
    found = settle(workspace, loads(text, "test.yaml"))
    assert found.resolved.config.launch.num_processes == 2
    assert found.resolved.sources["launch.num_processes"] == Source(
        "automatic", "accelerate's configuration file says so"
    )
    assert found.accelerate is not None
    assert worker_of(found.resolved) == "engine.training.launcher"
    alone = settle(workspace, loads(text.replace(".yaml}", ".yaml, num_processes: 1}"), "test.yaml"))
    assert worker_of(alone.resolved) == "engine.training"


def test_a_file_that_is_not_there_is_named(workspace: Workspace) -> None:
    text = "model: {device: cpu}\ndata: {train: train.jsonl}\nlaunch: {config_file: gone.yaml}\n"
    with pytest.raises(NotFound, match="config_file names"):
        settle(workspace, loads(text, "test.yaml"))


def test_a_run_made_before_there_were_several_processes_has_one(workspace: Workspace) -> None:
    text = "model: {device: cpu}\ndata: {train: train.jsonl}\n"
    written = settle(workspace, loads(text, "test.yaml")).resolved
    gone = ("  num_processes:", "  num_machines:", "  strategy:", "  config_file:", "  main_process")
    lines = [line for line in written.to_yaml().splitlines() if not line.startswith(gone)]
    read = ResolvedConfig.from_yaml("\n".join(lines))
    assert read.config == replace(written, sources={}).config
