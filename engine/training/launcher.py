"""The launcher of a run of several processes: `python -P -m engine.training.launcher RUN`. Started by the keeper.

It starts them with accelerate's own launcher (torchrun below it), sees them to their end, and says how the run failed
when one of them did: it alone knows of all. To the keeper and everybody who watches it is the run's worker. It loads no
model; torch in it takes some 250 MB of memory.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import traceback
import types
from typing import TYPE_CHECKING, Any

import yaml

from engine.config.model import RunConfig, settled
from engine.config.resolved import ResolvedConfig
from engine.config.yaml_text import read_file
from engine.errors import EngineError, OutOfMemory, WorkerFailed
from engine.launch.several import FILE, LAUNCHER, WORKER, accelerate_settings, gpus_of
from engine.runs.directory import RunDirectory
from engine.training import handover
from engine.training.control import CommandReader, Control
from engine.training.environment import prepare_environment
from engine.training.options import arguments, parser
from engine.training.reporter import Quiet, Reporter, redacted

if TYPE_CHECKING:
    from argparse import Namespace

    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

_PORT = 29_500
_FSDP = {
    "fsdp_version": 2, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "fsdp_reshard_after_forward": True,
    "fsdp_offload_params": False, "fsdp_cpu_ram_efficient_loading": False, "fsdp_activation_checkpointing": False,
}  # fmt: skip
_DEEPSPEED = {"zero_stage": 2, "offload_optimizer_device": "none", "offload_param_device": "none"}


def main(given: list[str] | None = None) -> int:
    """Start the processes and wait for them. Returns 0 when the end was wanted, 1 when it was a failure."""
    options = parser(LAUNCHER)
    options.add_argument("--machine", type=int, default=0, help="which of several machines this is")
    asked = options.parse_args(given)
    run = RunDirectory(asked.run.resolve())
    os.umask(0o077)
    faulthandler.register(signal.SIGUSR1)
    reporter = Quiet(run.events) if asked.machine else Reporter(run.events)
    if asked.began is not None:
        reporter.began = asked.began
    control = Control(CommandReader(run.commands, asked.commands_from), reporter)
    terminated = _watch_signals()
    config: RunConfig | None = None
    failure: EngineError | None = None
    try:
        resolved = ResolvedConfig.from_yaml(read_file(run.config))
        config = resolved.config
        count = settled(config.launch.num_processes)
        reporter.enter("loading", f"the training libraries, in {count} processes")
        handover.begin(run, anew=not asked.machine)
        _set_environment(run, resolved)
        died = _launch(run, config, asked)
    except Exception as error:  # noqa: BLE001 - the boundary of the process: whatever it is, the run must say so
        failure = _explained(error)
        died = None
    else:
        failure = _why(run, died, count) if died is not None else None
    if handover.ended(run) or (asked.machine and failure is None):
        return 0
    following = handover.following(run)
    if failure is None and following is not None:
        from engine.training.stages import go_on_with

        control.reader.offset = following.commands_from
        go_on_with(run, following.stage, reporter, control, LAUNCHER)
    if terminated:
        return _end(reporter, control, "stopped", run, detail="the system asked before anything could be saved")
    failure = failure or WorkerFailed("The processes ended without a word.", remedy="The end of worker.log says why.")
    first = next(iter(handover.failures(run)), None)
    if isinstance(failure, OutOfMemory) and first is not None and first.part == "training" and _alone(config):
        with contextlib.suppress(EngineError, OSError):  # what cannot be retried ends as it was
            from engine.training.smaller_batch import go_on_smaller

            control.reader.offset = first.commands_from
            go_on_smaller(run, failure, reporter, control, first.stage, LAUNCHER)
    return _end(reporter, control, "failed", run, error=failure)


def _alone(config: RunConfig | None) -> bool:
    """Whether one machine has all processes: others would have to be started anew there."""
    return config is not None and settled(config.launch.num_machines) == 1


def _end(
    reporter: Reporter,
    control: Control,
    outcome: str,
    run: RunDirectory,
    *,
    detail: str = "",
    error: EngineError | None = None,
) -> int:
    step = max((failure.step for failure in handover.failures(run)), default=0)
    reporter.patience_seconds = 0.0
    if error is not None:
        print(f"{error.code}: {error}", file=sys.stderr, flush=True)
    with contextlib.suppress(EngineError):
        control.refuse_the_rest()
        reporter.end(outcome, step, detail=detail, error=error)
    return int(outcome == "failed")


def _explained(error: Exception) -> EngineError:
    if isinstance(error, EngineError):
        return error
    from engine.training.failures import explained

    print(redacted("".join(traceback.format_exception(error))), file=sys.stderr, flush=True)
    return explained(error, "starting the processes")


def _why(run: RunDirectory, died: dict[int, ProcessFailure], count: int) -> EngineError:
    """Return why the processes failed: the first one that did so of itself, or was killed."""
    told = handover.failures(run)
    own = next((failure for failure in told if not failure.consequence), None)
    killed = {rank: one for rank, one in died.items() if one.exitcode < 0 and -one.exitcode != signal.SIGTERM}
    if killed and own is None:
        rank, one = min(killed.items())
        return WorkerFailed(
            f"Process {rank + 1} of {count} was killed by signal {-one.exitcode} ({one.signal_name()}), and the others "
            "cannot go on without it.",
            remedy="Out of memory kills so: `dmesg` or the cluster's log says. Then go on with `ftconsole resume`.",
        )
    if own is None and not told:
        rank, one = min(died.items())
        return WorkerFailed(
            f"Process {rank + 1} of {count} ended with exit code {one.exitcode} and said nothing.",
            remedy="The end of worker.log says why.",
        )
    failure = own or told[0]
    error = failure.error()
    error.message = f"Process {failure.rank + 1} of {count}: {error.message}"
    return error


def _watch_signals() -> list[int]:
    """Pass SIGTERM on to the processes, which save and stop; return where it is noted. A lost terminal is no matter."""
    noted: list[int] = []

    def terminate(number: int, _frame: types.FrameType | None) -> None:
        import psutil

        noted.append(number)
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.NoSuchProcess):
                child.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, terminate)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})  # one stage's launcher leaves it blocked
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return noted


def _set_environment(run: RunDirectory, resolved: ResolvedConfig) -> None:
    """Set what the processes inherit."""
    launch = resolved.config.launch
    here = settled(launch.num_processes) // settled(launch.num_machines)
    cuda = resolved.config.model.device.partition(":")[0] == "cuda"
    visible = gpus_of(here, _said(run)) if cuda else ""
    prepare_environment(run, resolved)
    os.environ["CUDA_VISIBLE_DEVICES"] = visible
    os.environ["PYTHONSAFEPATH"] = "1"  # the current folder is /
    if not cuda:
        os.environ["ACCELERATE_USE_CPU"] = "true"
        # A process with as many threads as there are cores waits for the other one's at every step.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // here)))
    if settled(launch.num_machines) == 1:
        # Gloo asks for the address of the machine's own name, which in many a container leads nowhere.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")


def _said(run: RunDirectory) -> dict[str, Any]:
    file = run.path / FILE
    return accelerate_settings(read_file(file)) if file.is_file() else {}


def _launch(run: RunDirectory, config: RunConfig, asked: Namespace) -> dict[int, ProcessFailure] | None:
    """Start the processes and return those that failed; None when none did."""
    from accelerate.commands.launch import (
        _validate_launch_command,
        deepspeed_launcher,
        launch_command_parser,
        multi_gpu_launcher,
    )
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    file = run.path / handover.FOLDER / f"accelerate-{asked.machine}.yaml"
    file.write_text(yaml.safe_dump(accelerate_file(run, config, asked.machine)), encoding="utf-8")
    own = arguments(
        run.path, commands_from=asked.commands_from, began=asked.began, resume=asked.resume, stage=asked.stage
    )
    command = ["--config_file", str(file), "-m", WORKER, *own, "--several"]
    launched, defaults, _ = _validate_launch_command(launch_command_parser().parse_args(command))
    launched.signals_to_handle = "SIGQUIT"  # it would end the processes within 30 s; ours let them save
    try:
        if settled(config.launch.strategy) == "deepspeed":
            launched.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
            deepspeed_launcher(launched)
        else:
            multi_gpu_launcher(launched)
    except ChildFailedError as error:
        return dict(error.failures)
    return None


def accelerate_file(run: RunDirectory, config: RunConfig, machine: int) -> dict[str, Any]:
    """Return accelerate's configuration for a machine: the user's own file, with what the run's settings say in it.

    Always given: without one accelerate takes the user's default.
    """
    launch, file = config.launch, run.path / FILE
    written = yaml.safe_load(read_file(file)) if file.is_file() else {}
    machines, said = settled(launch.num_machines), _said(run)
    strategy, on_cpu = settled(launch.strategy), config.model.device == "cpu"
    port = launch.main_process_port or said.get("main_process_port") or (_PORT if machines > 1 else 0)
    found = {
        **written,
        "compute_environment": "LOCAL_MACHINE",
        "distributed_type": {"fsdp": "FSDP", "deepspeed": "DEEPSPEED"}.get(
            strategy, "MULTI_CPU" if on_cpu else "MULTI_GPU"
        ),
        "num_processes": settled(launch.num_processes),
        "num_machines": machines,
        "machine_rank": machine,
        "main_process_ip": launch.main_process_ip or said.get("main_process_ip"),
        "main_process_port": port,  # 0: any that is free
        "gpu_ids": "all",  # of those that the environment shows
        "mixed_precision": "no",  # the trainers' own arguments say it
        "use_cpu": on_cpu,
        "debug": False,
    }
    if strategy == "fsdp":
        # Whole state dicts: a checkpoint is an adapter that loads anywhere.
        found["fsdp_config"] = {**(written.get("fsdp_config") or _FSDP), "fsdp_state_dict_type": "FULL_STATE_DICT"}
    if strategy == "deepspeed":
        found["deepspeed_config"] = written.get("deepspeed_config") or dict(_DEEPSPEED)
    return found


if __name__ == "__main__":
    sys.exit(main())
