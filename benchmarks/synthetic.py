"""Run folders with long event logs, for benchmarks and tests: what a run of N steps would have written.

Every line is in the words of `engine.events` and the form of `engine.journal`. A million steps of 8 metrics are
some 430 MB and take 4 s.

    python -m benchmarks.synthetic RUN_DIR --steps 1000000
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO

import numpy as np

from engine.events import (
    CheckpointSaved,
    DataPrepared,
    DeviceMeasured,
    EvaluationFinished,
    Event,
    KeeperStarted,
    RunCreated,
    RunEnded,
    StageChanged,
    TrainingStarted,
    WorkerExited,
    json_number,
    to_json,
)

METRICS = (
    "loss", "grad_norm", "learning_rate", "entropy", "mean_token_accuracy", "tokens_per_second",
    "retain_loss", "unlearn_loss",
)  # fmt: skip
STEP_SECONDS = 0.05
TOKENS_PER_STEP = 4096
START_TIME = 1_760_000_000.0
_CHUNK = 20_000
_TAILS = 4096


class LogWriter:
    """Writes events as `engine.journal` does, without its lock and its system call per line."""

    def __init__(self, file: IO[bytes], seq: int = 0, time: float = START_TIME) -> None:
        self.file = file
        self.seq = seq
        self.time = time

    def write(self, event: Event, *, after_seconds: float = 0.0) -> None:
        self.seq += 1
        self.time += after_seconds
        body = json.dumps(to_json(event), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        self.file.write(f'{{"seq":{self.seq},"time":{self.time:.3f},{body[1:]}\n'.encode())


def write_run(
    folder: Path,
    steps: int,
    *,
    total_steps: int | None = None,
    resumed_at: Mapping[int, int] | None = None,
    spikes: Mapping[int, float] | None = None,
    evaluate_every: int = 1000,
    measure_every: int = 200,
    finished: bool = True,
    seed: int = 0,
    parent: str | None = None,
) -> Path:
    """Write `folder/events.jsonl` and return its path.

    Args:
        folder: Made when it is missing.
        steps: Steps logged, those that a resume supersedes not counted.
        total_steps: What the run means to do. None: `steps`.
        resumed_at: After which step the run died, and from which checkpoint's step it was resumed.
        spikes: Loss at these steps, whatever the curve says. NaN and infinity too.
        evaluate_every: Steps between evaluations, each followed by a checkpoint. 0: none.
        measure_every: Steps between device measurements. 0: none.
        finished: Whether the run has ended. Otherwise the log looks like that of a run at work.
        seed: Of the noise.
        parent: The run it starts from.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / "events.jsonl"
    total = total_steps or steps
    with path.open("wb") as file:
        path.chmod(0o600)
        log = LogWriter(file)
        log.write(RunCreated(folder.name, "sft", "tiny", parent))
        attempts = [*sorted((resumed_at or {}).items()), (steps, steps)]
        start = 0
        for attempt, (last, resume_from) in enumerate(attempts, 1):
            _write_start(log, attempt, start, total)
            for number, line in enumerate(_step_lines(log, start, last, total, spikes or {}, seed), start + 1):
                file.write(line)
                if measure_every and number % measure_every == 0:
                    log.write(DeviceMeasured("cpu", 1_234_567_890 + number, 2 << 34, None, 0.93, None, None))
                if evaluate_every and number % evaluate_every == 0:
                    _write_evaluation(log, number, total)
            start = resume_from
        if finished:
            log.write(RunEnded("finished", steps, steps * STEP_SECONDS), after_seconds=1.0)
            log.write(WorkerExited(0, None, False, 0), after_seconds=1.0)
    return path


def _write_start(log: LogWriter, attempt: int, step: int, total: int) -> None:
    checkpoint = f"checkpoints/checkpoint-{step}" if attempt > 1 else None
    log.write(KeeperStarted(attempt, 1000 + attempt, checkpoint), after_seconds=60.0)
    log.write(StageChanged("loading", "models/tiny"), after_seconds=0.1)
    log.write(DataPrepared("train", 1000, 1000, 0, [], 64_000, 8_000), after_seconds=1.0)
    started = TrainingStarted(total, 3.0, step, 3_400_000, 65_536, "cpu", "float32")
    log.write(started, after_seconds=1.0)


def _write_evaluation(log: LogWriter, step: int, total: int) -> None:
    scores = {"eval_loss": 1.0 + 1.5 * float(np.exp(-4 * step / total)), "eval_mean_token_accuracy": 0.75}
    tokens = step * TOKENS_PER_STEP
    log.write(EvaluationFinished(step, 3 * step / total, tokens, 2.5, scores), after_seconds=2.5)
    saved = CheckpointSaved(step, f"checkpoints/checkpoint-{step}", 12_345_678, "scheduled", scores)
    log.write(saved, after_seconds=0.2)


def _step_lines(
    log: LogWriter, start: int, stop: int, total: int, spikes: Mapping[int, float], seed: int
) -> Iterator[bytes]:
    """Yield the lines of the steps after `start` up to `stop`; `log` counts them.

    Numbers have seven digits, as the worker writes them. The last metrics repeat after 4,096 steps:
    printing a float is most of the work.
    """
    noise = np.random.default_rng([seed, start])
    names = METRICS[3:]
    shown = noise.random((_TAILS, len(names)), np.float32).astype(np.float64) * [3.0, 1.0, 80_000.0, 2.0, 2.0]
    shown = shown.astype(np.float32).astype(np.float64)
    tails = [
        ",".join(f'"{name}":{_seven(value)}' for name, value in zip(names, row, strict=True)) for row in shown.tolist()
    ]
    for first in range(start, stop, _CHUNK):
        # A whole chunk of noise, so that a log that is longer begins with the shorter one.
        step = np.arange(first + 1, first + _CHUNK + 1)
        curve = 0.3 + 2.4 * np.exp(-4 * step / total) + noise.normal(0, 0.05, len(step))
        loss = curve.astype(np.float32).tolist()
        for spike, height in spikes.items():
            if first < spike <= first + _CHUNK:
                loss[spike - first - 1] = height
        grad_norm = noise.gamma(2.0, 0.5, len(step)).astype(np.float32).tolist()
        seconds = (STEP_SECONDS * noise.uniform(0.9, 1.1, len(step))).tolist()
        rows = zip(step.tolist(), loss, grad_norm, seconds, strict=True)
        for number, one_loss, one_norm, one_seconds in islice(rows, stop - first):
            log.seq += 1
            log.time += one_seconds
            shown_loss = _seven(one_loss) if math.isfinite(one_loss) else json.dumps(json_number(one_loss))
            epoch, one_seconds = round(3 * number / total, 6), round(one_seconds, 6)
            yield (
                f'{{"seq":{log.seq},"time":{log.time:.3f},"event":"StepFinished","step":{number},'
                f'"epoch":{epoch!r},"num_tokens":{number * TOKENS_PER_STEP},"seconds":{one_seconds!r},'
                f'"metrics":{{"loss":{shown_loss},"grad_norm":{_seven(one_norm)},'
                f'"learning_rate":{_seven(2e-4 * (1 - number / (total + 1)))},{tails[number % _TAILS]}}}}}\n'
            ).encode()


def _seven(value: float) -> str:
    """Return a number as the worker writes it: what float32 holds."""
    return repr(float(f"{value:.7g}"))


def main() -> None:
    """Write one run as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--live", action="store_true", help="a run that has not ended")
    arguments = parser.parse_args()
    path = write_run(arguments.folder, arguments.steps, finished=not arguments.live)
    print(f"{path}: {arguments.steps:,} steps, {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
