"""The worker process: `python -P -m engine.training RUN [--resume CHECKPOINT]`. Started by the keeper."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path

from engine.errors import EngineError, OutOfMemory
from engine.runs.directory import RunDirectory
from engine.training.control import CommandReader, Control, StopBeforeTraining, StopNow
from engine.training.reporter import Reporter, redacted

_LAUNCHED = (
    "RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "ROLE_RANK", "MASTER_ADDR", "MASTER_PORT",
)  # fmt: skip
_LAUNCHERS = ("TORCHELASTIC_", "ACCELERATE_", "FSDP_", "PMI_", "OMPI_COMM_WORLD_", "MV2_COMM_WORLD_")
"""Names, and beginnings of names, of what torchrun, accelerate and MPI tell their processes."""


def main(arguments: list[str] | None = None) -> int:
    """Train, and say how it ended. Returns 0 when the end was wanted, 1 when it was a failure."""
    parser = argparse.ArgumentParser(prog="python -m engine.training")
    parser.add_argument("run", type=Path)
    parser.add_argument("--resume", metavar="CHECKPOINT", help="checkpoint folder relative to the run")
    parser.add_argument("--stage", default="", help="of a run in several, where no checkpoint says it")
    parser.add_argument("--began", type=float, help="monotonic time at which an earlier image of this process began")
    parser.add_argument("--commands-from", type=int, default=0, help="byte of commands.jsonl to listen from")
    options = parser.parse_args(arguments)
    run = RunDirectory(options.run.resolve())
    os.umask(0o077)
    faulthandler.register(signal.SIGUSR1)  # `kill -USR1` writes every thread's stack to worker.log
    reporter = Reporter(run.events)
    if options.began is not None:
        reporter.began = options.began
    control = Control(CommandReader(run.commands, options.commands_from), reporter)
    control.install()
    try:
        _prepare_environment(run)
        # Deferred: torch, transformers and TRL take five seconds, and "loading" should be on the screen by then.
        reporter.enter("loading", "the training libraries")
        from engine.training.worker import work

        following = work(run, reporter, control, resume=options.resume, stage=options.stage)
        if following is not None:
            from engine.training.stages import go_on_with

            go_on_with(run, following, reporter, control)
    except StopNow:
        _say_end(reporter, control, "stopped", detail="stopped at once; what was not saved is lost")
    except StopBeforeTraining:
        _say_end(reporter, control, "stopped", detail="as asked, before training; `resume` goes on")
    except BaseException as error:  # noqa: BLE001 - the boundary of the process: whatever it is, the run must say so
        from engine.training.failures import explained

        if not isinstance(error, EngineError):
            print(redacted("".join(traceback.format_exception(error))), file=sys.stderr, flush=True)
        failure = explained(error, reporter.stage)
        print(f"{failure.code}: {failure}", file=sys.stderr, flush=True)
        if isinstance(failure, OutOfMemory) and reporter.stage == "training":
            with contextlib.suppress(EngineError, OSError):  # what cannot be retried ends as it was
                from engine.training.smaller_batch import go_on_smaller

                go_on_smaller(run, failure, reporter, control, _current_stage())
        _say_end(reporter, control, "failed", error=failure)
        return 1
    return 0


def _say_end(
    reporter: Reporter, control: Control, outcome: str, *, detail: str = "", error: EngineError | None = None
) -> None:
    """Confirm what is left and say the end. On a full disk the log cannot say it; the keeper tells it by exit code."""
    reporter.patience_seconds = 0.0
    with contextlib.suppress(EngineError):
        control.refuse_the_rest()
        reporter.end(outcome, _current_step(), detail=detail, error=error)


def _current_step() -> int:
    """Return the optimizer steps taken; 0 when the worker's module could not even be imported."""
    worker = sys.modules.get("engine.training.worker")
    ask = getattr(worker, "current_step", None)  # missing as well in one whose import failed half way
    return int(ask()) if ask is not None else 0


def _current_stage() -> str:
    """Return the stage being worked at; empty for a run in one."""
    ask = getattr(sys.modules.get("engine.training.worker"), "current_stage", None)
    return str(ask()) if ask is not None else ""


def forget_other_processes(environment: MutableMapping[str, str]) -> None:
    """Take out what a launcher of several processes leaves in a terminal opened below it: a run is one process.

    With a WORLD_SIZE of 2 in it the first collective operation waits for another process that never comes.
    """
    for name in [name for name in environment if name in _LAUNCHED or name.startswith(_LAUNCHERS)]:
        del environment[name]


def _prepare_environment(run: RunDirectory) -> None:
    """Set what torch and the tokenizers read when they are imported.

    Raises:
        ConfigError: run.yaml is damaged, or names a device that is hidden from this process.
    """
    from engine.config.arguments import device_environment
    from engine.config.resolved import ResolvedConfig
    from engine.config.yaml_text import read_file
    from engine.runs.checkpoints import run_id

    forget_other_processes(os.environ)
    # torch's threads spin while they wait for each other: 300,000 times unless told. Beside another training on
    # 2 cores a step of the built-in model took 5.4 s with that and 0.6 s with 1,000; alone 1,000 cost 14 % of the
    # speed and 20,000 none that could be measured.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # W&B writes into the current folder, which is /; where that cannot be written, into /tmp.
    os.environ.setdefault("WANDB_DIR", str(run.path))
    os.environ.setdefault("WANDB_RUN_ID", run_id(run))
    os.environ.setdefault("WANDB_RESUME", "allow")  # a resumed run goes on in the same W&B run
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.update(device_environment(ResolvedConfig.from_yaml(read_file(run.config))))


if __name__ == "__main__":
    sys.exit(main())
