"""Merges: what they cost against a bare script. Forms: whether a fine-tuned model stays what it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks.console import FTCONSOLE
from benchmarks.figures import Figure, figure
from benchmarks.finetuned import ROOT, TINY

_TURNS = 5
_TYPES = {"f16": "<= 1e-05", "q8_0": "<= 0.001", "q4_k_m": "<= 0.1"}
_PROMPTS = 50


def merge_cost() -> Iterator[Figure]:
    """Merge of the built-in model: `ftconsole merge` against a bare `merge_and_unload`, in turns."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as name:
        place = Path(name)
        _run([sys.executable, "-m", "benchmarks.finetuned", str(place / "adapter")])
        ours, bare = list[tuple[float, float, int]](), list[tuple[float, float, int]]()
        for _ in range(_TURNS):
            out = place / "out"
            bare.append(
                _cost([sys.executable, "-m", "benchmarks.bare_merge", str(place / "adapter"), str(TINY), str(out)])
            )
            shutil.rmtree(out)
            ours.append(
                _cost([*FTCONSOLE, "merge", str(place / "adapter"), "--base", str(TINY), "-o", str(out), "--json"])
            )
            shutil.rmtree(out)
        seconds, processor, peak = zip(*ours, strict=True)
        their_seconds, their_processor, their_peak = zip(*bare, strict=True)
        ratio = min(processor) / min(their_processor)
        yield figure(
            "merge-cost.time",
            f"merge of the built-in model, time over a bare script's, best of {_TURNS} in turns ({min(seconds):.1f} s; "
            f"processor time {ratio:.2f})",
            min(seconds) / min(their_seconds), "", "<= 1.3",
        )  # fmt: skip
        yield figure(
            "merge-cost.memory",
            f"its peak memory over the script's ({max(peak) / 1e6:.0f} MB)",
            max(peak) / max(their_peak), "", "<= 1.3",
        )  # fmt: skip


def parity() -> Iterator[Figure]:
    """The built-in model, fine-tuned, merged and exported; 50 questions it was not trained on asked of every form."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as name:
        place = Path(name)
        adapter = place / "adapter"
        _run([sys.executable, "-m", "benchmarks.finetuned", str(adapter)])
        asked = [
            json.loads(line)["instruction"]
            for kind in ("retain", "unlearn")
            for line in (ROOT / "datasets" / kind / f"{kind}_val.jsonl")
            .read_text("utf-8")
            .splitlines()[: _PROMPTS // 2]
        ]
        (place / "prompts.txt").write_text("\n".join(asked), "utf-8")
        _run([*FTCONSOLE, "export", str(adapter), "-o", str(place / "x.gguf"), "--quant", ",".join(_TYPES), "--yes"])
        files = {kind: place / f"x-{kind}.gguf" for kind in _TYPES}
        against = [part for file in files.values() for part in ("--against", str(file))]
        said = subprocess.run(
            [*FTCONSOLE, "parity", str(adapter), *against, "--prompts", str(place / "prompts.txt"), "--json"],
            stdout=subprocess.PIPE, check=False, env=_environment(),
        )  # fmt: skip
        forms = dict(zip(_TYPES, json.loads(said.stdout)["forms"], strict=True))
        yield figure(
            "parity.answers",
            f"greedy answers of the f16 file equal to those of the adapter on its base, of {_PROMPTS}",
            forms["f16"]["equal_answers"], "", f">= {_PROMPTS}", digits=0,
        )  # fmt: skip
        tokens = [
            next(check["passed"] for check in form["checks"] if check["name"] == "prompt tokens")
            for form in forms.values()
        ]
        yield figure(
            "parity.tokens",
            f"files for which the token ids of all {_PROMPTS} prompts are those of training, of {len(tokens)}",
            sum(tokens), "", f">= {len(tokens)}", digits=0,
        )  # fmt: skip
        for kind, bar in _TYPES.items():
            yield figure(
                f"parity.{kind}",
                f"mean KL of the {kind} file from adapter and base; answers equal: {forms[kind]['equal_answers']}",
                forms[kind]["mean_kl"], "nats", bar, digits=9,
            )  # fmt: skip


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def _run(command: Sequence[str]) -> None:
    said = subprocess.run(
        list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=_environment()
    )
    if said.returncode:
        raise RuntimeError(f"{' '.join(command)}: {said.stderr[-2000:]}")


def _cost(command: Sequence[str]) -> tuple[float, float, int]:
    """Return seconds, processor seconds, and bytes at the peak of the largest of its processes."""
    began = time.perf_counter()
    process = subprocess.Popen(
        list(command), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=_environment(),
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {"merge-cost": merge_cost, "parity": parity}
