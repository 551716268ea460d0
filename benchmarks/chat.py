"""Two models of one base in one batch: what it saves, that each speaks as if alone, and how fast a side changes."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure, figure
from engine.chat.placing import LoadOptions
from engine.chat.session import make_session
from engine.spec import local_model, pair_of
from engine.workspace import Workspace, shipped_folder

ROOT = Path(__file__).resolve().parent.parent
_BARS = {"tiny": "<= 0.85", "medium": "<= 0.75"}
_NAMES = {"tiny": "the built-in model", "medium": "one of 150 million weights"}


def pair_cost() -> Iterator[Figure]:
    """CPU time of base and adapter together over the sum of the two alone; one thread, float32."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as folder:
        for found in _measured(Path(folder), "pair-cost"):
            name = found["pair_cost"]
            yield figure(
                f"pair-cost.{name}",
                f"base and adapter in one batch / the sum of the two alone, {_NAMES[name]}, CPU time, "
                f"{found['low']:.2f} to {found['high']:.2f}",
                found["ratio"],
                "",
                _BARS[name],
            )


def base_is_base() -> Iterator[Figure]:
    """Whether the base row is the base and the adapter row the adapter, to the token."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as folder:
        (found,) = _measured(Path(folder), "base-is-base")
    for name, whose in (("base", "the base alone"), ("adapter", "the adapter alone")):
        yield figure(
            f"base-is-base.{name}",
            f"answers of the {name} row that are not those of {whose}, of {found['of']} with histories of unlike "
            f"length, float32 ({found['same']} pairs say the same)",
            float(found[f"{name}_differ"]),
            "answers",
            "<= 0",
        )


def hooks() -> Iterator[Figure]:
    """What fifty cancelled answers leave in the model."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as folder:
        (found,) = _measured(Path(folder), "hooks")
    yield figure(
        "hooks",
        "hooks left in the model after 50 pairs of answers, each broken off by an exception, half after a stop",
        float(found["hooks"]),
        "hooks",
        "<= 0",
    )


def switch() -> Iterator[Figure]:
    """How long another checkpoint of the same base takes to be there."""
    with tempfile.TemporaryDirectory(prefix="ftconsole-bench-") as name:
        folder = Path(name)
        list(_measured(folder, "models"))
        for model, base in (("tiny", shipped_folder() / "models" / "tiny"), ("medium", folder / "medium")):
            seconds = asyncio.run(_switches(Workspace(folder), model, base))
            yield figure(
                f"switch.{model}",
                f"another adapter of rank 16 on the right side, {_NAMES[model]}, the worst of {len(seconds)}, "
                f"median {statistics.median(seconds):.2f} s",
                max(seconds),
                "s",
                "<= 0.5",
            )


async def _switches(workspace: Workspace, model: str, base: Path) -> list[float]:
    """Return the seconds of switching to each adapter for the first time, and back to one that was there."""
    left, right = pair_of(workspace, str(base), str(workspace.path / f"{model}-1"))
    session = make_session(workspace, left, right, load=LoadOptions(device="cpu", dtype="float32"))
    seconds = []
    try:
        async for _ in session.open():
            pass
        for seed in (2, 3, 4, 5, 1):
            began = time.monotonic()
            chosen = local_model(workspace, str(workspace.path / f"{model}-{seed}"))
            async for _ in session.switch("right", chosen):
                pass
            seconds.append(time.monotonic() - began)
    finally:
        await session.close()
    return seconds


def _measured(folder: Path, what: str) -> Iterator[dict[str, Any]]:
    reply = subprocess.run(
        [sys.executable, "-m", "benchmarks.chat_rows", str(folder), what],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, cwd=ROOT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    yield from map(json.loads, reply.stdout.splitlines())


BENCHMARKS: dict[str, Callable[[], Iterator[Figure]]] = {
    "pair-cost": pair_cost,
    "base-is-base": base_is_base,
    "hooks": hooks,
    "switch": switch,
}
