"""Several processes for one run: what accelerate's file says of them, and what is refused before they are started."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from engine.config.model import RunConfig, settled
from engine.config.resolved import ResolvedConfig
from engine.config.yaml_text import read_file, read_mapping
from engine.errors import ConfigError, MissingPackage, NotFound, UsageError, WorkerFailed
from engine.hardware.devices import num_visible_gpus
from engine.runs.directory import RunDirectory
from engine.workspace import Workspace

WORKER = "engine.training"
LAUNCHER = "engine.training.launcher"
"""What the keeper runs for a run of several processes: it starts them and sees them to their end."""
FILE = "accelerate.yaml"
"""Name of the user's own file in the run's folder."""
_STRATEGIES: Mapping[str, str] = MappingProxyType(
    {"NO": "ddp", "MULTI_GPU": "ddp", "MULTI_CPU": "ddp", "FSDP": "fsdp", "DEEPSPEED": "deepspeed"}
)
"""By `distributed_type` of accelerate's file; the others are of devices and libraries that no run of ours knows."""
_NOT_COUNTED = ("parallelism_config", "megatron_lm_config", "tpu_config", "tp_config")
"""With these a process is not one of those that share the rows of a step."""


def worker_of(resolved: ResolvedConfig) -> str:
    """Return the module that the keeper is to run."""
    return LAUNCHER if settled(resolved.config.launch.num_processes) > 1 else WORKER


def processes_here(config: RunConfig) -> int:
    """Return how many processes this machine will have, without "auto"."""
    return max(1, settled(config.launch.num_processes) // settled(config.launch.num_machines))


def accelerate_text(workspace: Workspace, config: RunConfig) -> str | None:
    """Return what stands in `launch.config_file`; None where none is named.

    Raises:
        NotFound: There is no such file.
        ConfigError: It is no text.
    """
    given = config.launch.config_file
    if given is None:
        return None
    try:
        return read_file(workspace.data_file(given))
    except NotFound:
        raise NotFound(
            f"There is no file {given[:200]!r}, which launch.config_file names.",
            remedy="`accelerate config --config_file PATH` writes one; or set launch.num_processes here.",
        ) from None


def accelerate_settings(text: str | None, source: str = "launch.config_file") -> dict[str, Any]:
    """Return what accelerate's file says, by the names of the section `launch`, and `gpu_ids` where it names some.

    Raises:
        ConfigError: It is no such file, or asks for what no run can be.
    """
    if text is None:
        return {}
    written = {key: entry.value for key, entry in read_mapping(text, source).items()}
    kind = str(written.get("distributed_type", "NO")).upper()
    problems = []
    if kind not in _STRATEGIES:
        problems.append(f"{source}: distributed_type is {kind}; a run can be {', '.join(_STRATEGIES)}")
    problems += [
        f"{source}: {name} is not for these trainers; take it out" for name in _NOT_COUNTED if written.get(name)
    ]
    found: dict[str, Any] = {"strategy": _STRATEGIES.get(kind, "ddp")}
    for name in ("num_processes", "num_machines"):
        if (number := written.get(name)) is None:
            continue
        if type(number) is int and number > 0:
            found[name] = number
        else:
            problems.append(f"{source}: {name} must be a whole number from 1, not {number!r}")
    if problems:
        raise ConfigError(problems)
    for name in ("main_process_ip", "main_process_port", "gpu_ids"):
        if written.get(name) not in (None, "", "all"):
            found[name] = written[name]
    return found


def refuse_unlaunchable(config: RunConfig, said: Mapping[str, Any], *, stages: int = 1) -> None:
    """Refuse what several processes cannot do, or cannot do here.

    Args:
        config: Without "auto".
        said: From `accelerate_settings`.
        stages: How many the run has.

    Raises:
        ConfigError: All of it.
        MissingPackage: The strategy's package is not installed.
    """
    if problems := list(_problems(config, said, stages)):
        raise ConfigError(problems)
    if settled(config.launch.strategy) == "deepspeed" and importlib.util.find_spec("deepspeed") is None:
        raise MissingPackage(
            "launch.strategy is deepspeed, which is not installed.",
            remedy="Install it with `pip install deepspeed`, or set launch.strategy: fsdp.",
        )


def _problems(config: RunConfig, said: Mapping[str, Any], stages: int) -> Iterator[str]:
    launch, kind = config.launch, config.model.device.partition(":")[0]
    processes, machines = settled(launch.num_processes), settled(launch.num_machines)
    strategy = settled(launch.strategy)
    if processes == 1:
        if machines > 1:
            yield f"launch.num_machines is {machines}, but launch.num_processes, which counts those of all, is 1"
        if strategy != "ddp":
            yield (
                f"launch.strategy is {strategy}, which cuts a model up between processes, and there is one; set "
                "launch.num_processes, or launch.strategy: ddp"
            )
        return
    if processes % machines:
        yield (
            f"launch.num_processes is {processes}, which {machines} machines cannot share evenly; set a multiple of "
            "launch.num_machines"
        )
        return
    if machines > 1 and stages > 1:
        yield f"launch.num_machines is {machines}, and a run in several stages is for one; start a run for each stage"
    if machines > 1 and (launch.main_process_ip or said.get("main_process_ip")) is None:
        yield f"launch.num_machines is {machines}, but launch.main_process_ip does not say where the first is"
    if sys.platform != "linux":
        yield f"launch.num_processes is {processes}, and several processes are kept together on Linux only; set 1"
    yield from _too_few_devices(config, processes // machines, said)
    if strategy != "ddp":
        yield from _not_sharded(config, strategy, kind)


def _too_few_devices(config: RunConfig, here: int, said: Mapping[str, Any]) -> Iterator[str]:
    """Yield why so many processes of this machine would not have a device each."""
    device = config.model.device
    kind, _, index = device.partition(":")
    if kind == "cpu" or here == 1:
        return
    if kind == "mps":
        yield f"launch.num_processes puts {here} processes on one device, mps; set 1, or model.device: cpu"
        return
    if index:
        yield (
            f"launch.num_processes puts {here} processes on one device, {device}; set model.device: cuda, and "
            "CUDA_VISIBLE_DEVICES to choose among the GPUs"
        )
        return
    named = [name for name in str(said.get("gpu_ids", "")).split(",") if name.strip()]
    there = len(named) or num_visible_gpus()
    if there is not None and here > there:
        yield (
            f"launch.num_processes puts {here} processes on {there} GPU{'s' if there != 1 else ''}; each needs one of "
            f"its own: set {there * settled(config.launch.num_machines)}"
        )


def _not_sharded(config: RunConfig, strategy: str, kind: str) -> Iterator[str]:
    """Yield what needs the whole model in one place."""
    if kind != "cuda":
        yield f"launch.strategy is {strategy}, which is for GPUs, and model.device is {kind}; set launch.strategy: ddp"
    if config.method.name not in ("sft", "refusal"):
        yield f"launch.strategy is {strategy}, which is for sft and refusal, and method.name is {config.method.name}"
    lora = config.lora
    for key, wanted, means in (
        ("model.load_in_4bit", config.model.load_in_4bit, "a base of 4 bits"),
        ("model.load_in_8bit", config.model.load_in_8bit, "a base of 8 bits"),
        ("model.adapter_mode", config.model.adapter is not None and config.model.adapter_mode == "stack",
         "an adapter beside another"),
        ("lora.init_lora_weights", lora.init_lora_weights not in (True, "gaussian", "orthogonal"),
         "first weights taken from the base"),
        ("lora.modules_to_save", bool(lora.modules_to_save), "whole modules trained"),
        ("evaluation.prompts", bool(config.evaluation.prompts), "prompts answered; set []"),
        ("evaluation.behaviour", config.evaluation.behaviour is True, "questions asked; set false"),
        ("evaluation.suite", config.evaluation.suite is not None, "a suite asked; set null"),
        ("forgetting.gauge", config.forgetting.gauge, "a gauge read; set false"),
    ):  # fmt: skip
        if wanted:
            yield f"{key}: {means}, and with launch.strategy: {strategy} no process has the whole model for that"


def refuse_to_join(run: RunDirectory, machine: int) -> None:
    """Refuse a machine that is none of a run's.

    Raises:
        UsageError: The run has no such machine.
    """
    machines = settled(ResolvedConfig.from_yaml(read_file(run.config)).config.launch.num_machines)
    if machines == 1:
        raise UsageError(
            f"Run {run.name} is for one machine.", remedy="Set launch.num_machines and launch.main_process_ip before."
        )
    if not 0 < machine < machines:
        raise UsageError(
            f"Run {run.name} is for {machines} machines, and {machine} is none that joins.",
            remedy=f"Give a number from 1 to {machines - 1}; the one it was started on is 0.",
        )


def join(run: RunDirectory, machine: int) -> None:
    """Have this machine take its share of a run that another has started or will.

    Returns when the processes here have ended. What they print is in `worker-<machine>.log` of the run.

    Args:
        run: Its folder, which both machines see.
        machine: Which one this is, from 1; the one it was started on is 0.

    Raises:
        UsageError: The run has no such machine.
        WorkerFailed: The processes here failed.
    """
    refuse_to_join(run, machine)
    log = os.open(run.path / f"worker-{machine}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", LAUNCHER, str(run.path), "--machine", str(machine)],
        stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
    )  # fmt: skip
    os.close(log)
    try:
        code = process.wait()
    finally:
        process.kill()  # after ctrl+c: its processes end with it
        process.wait()
    if code:
        raise WorkerFailed(
            f"The processes of machine {machine} of run {run.name} failed.",
            remedy=f"`ftconsole watch {run.name}` says why, and worker-{machine}.log of the run what was printed here.",
        )


def gpus_of(processes: int, said: Mapping[str, Any], environment: Mapping[str, str] = os.environ) -> str:
    """Return `CUDA_VISIBLE_DEVICES` for so many processes of a machine: the first ones that are visible."""
    named = str(said.get("gpu_ids", "")) or environment.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in named.split(",") if name.strip()] or [str(n) for n in range(processes)]
    return ",".join(names[:processes])
