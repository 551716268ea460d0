"""The worker process: `python -P -m engine.training RUN [--resume CHECKPOINT]`. Started by the keeper.

Of a run of several processes each is one, with `--several`: `engine.training.launcher` starts them. The first is the
run's voice, and none says that the run failed: each tells the launcher, which knows of all.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import traceback
from pathlib import Path

from engine.errors import EngineError, OutOfMemory
from engine.runs.directory import RunDirectory
from engine.training import handover
from engine.training.control import CommandReader, Control
from engine.training.libraries import importing
from engine.training.options import parser
from engine.training.orders import StopBeforeTraining, StopNow
from engine.training.reporter import Quiet, Reporter, redacted


def main(arguments: list[str] | None = None) -> int:
    """Train, and say how it ended. Returns 0 when the end was wanted, 1 when it was a failure."""
    options = parser("engine.training")
    options.add_argument("--several", action="store_true", help="one of several processes")
    asked = options.parse_args(arguments)
    run = RunDirectory(asked.run.resolve())
    os.umask(0o077)
    faulthandler.register(signal.SIGUSR1)  # `kill -USR1` writes every thread's stack to worker.log
    rank = int(os.environ["RANK"]) if asked.several else 0
    if asked.several:
        handover.end_with_launcher()
    reporter = Reporter(run.events) if not rank else Quiet(run.events)
    if asked.began is not None:
        reporter.began = asked.began
    heard = run.commands if not rank else Path(os.devnull)
    control = Control(CommandReader(heard, asked.commands_from), reporter)
    control.install()
    try:
        _prepare(run, several=asked.several)
        # Deferred: torch, transformers and TRL take five seconds, and "loading" should be on the screen by then.
        reporter.enter("loading", "the training libraries")
        with importing():
            from engine.training.worker import work

        following = work(run, reporter, control, resume=asked.resume, stage=asked.stage, several=asked.several)
        if following is not None and asked.several:
            handover.tell_next(run, rank, following, control.reader.offset)
        elif following is not None:
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
        if asked.several:
            handover.tell_failure(
                run,
                handover.Failure.of(failure, error, rank, reporter.stage, _current_step(), _current_stage(), control),
            )
            return 1
        if isinstance(failure, OutOfMemory) and reporter.stage == "training":
            with contextlib.suppress(EngineError, OSError):  # what cannot be retried ends as it was
                from engine.training.smaller_batch import go_on_smaller

                go_on_smaller(run, failure, reporter, control, _current_stage())
        _say_end(reporter, control, "failed", error=failure)
        return 1
    finally:
        if asked.several and not rank and reporter.ended:
            handover.tell_ended(run)
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


def _prepare(run: RunDirectory, *, several: bool) -> None:
    """Set what the libraries find when they are imported. Of several processes the launcher has set the environment."""
    from engine.config.resolved import ResolvedConfig
    from engine.config.yaml_text import read_file
    from engine.runs.provenance import read_provenance
    from engine.training.environment import prepare_environment
    from engine.training.libraries import trains_without_bitsandbytes, without_bitsandbytes

    resolved, base = ResolvedConfig.from_yaml(read_file(run.config)), read_provenance(run).model
    if not several:
        prepare_environment(run, resolved)
    if trains_without_bitsandbytes(resolved, base.source, base.revision):
        without_bitsandbytes()


if __name__ == "__main__":
    sys.exit(main())
