"""Merges and exports with little work in them, which fail at one point: for tests of what is left then.

Everything is as it is but the weights, which are copied: the workers of `python -P -m tests.engine.export.faulty_work`
do what theirs do around that. No torch.
"""

from __future__ import annotations

import errno
import os
import select
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest import mock

from engine.export import beside, gguf, merge_worker, quantise_worker, quantiser
from engine.export import merge as merging
from engine.export.carried import carry
from engine.export.gguf_check import check_model
from engine.export.gguf_header import read_gguf
from engine.export.gguf_plan import Asked, plan_export
from engine.export.growing import growing
from engine.export.merge import Merged, plan_merge
from engine.export.progress import Tell, answer, run
from engine.export.quantisation import parse
from engine.spec import local_model
from engine.workspace import Workspace, shipped_folder

ROOT = Path(__file__).resolve().parents[3]
TINY = shipped_folder() / "models" / "tiny"
WEIGHTS = "model.safetensors"
AT, KIND, WORK = "FAULT_AT", "FAULT_KIND", "FAULTY_WORK"


def fault(point: str, *, console: bool = False) -> None:
    """Fail as the environment says, if this is where.

    Args:
        point: Where this is.
        console: Whether this is the process that asked for the work.
    """
    if os.environ.get(AT) != point:
        return
    if os.environ[KIND] == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    doomed = os.getppid() if os.environ[KIND] == "console" and not console else os.getpid()
    dead = os.pidfd_open(doomed)
    os.kill(doomed, signal.SIGKILL)
    select.select([dead], [], [])


def merge(adapter: str, target: str) -> Merged:
    """Merge an adapter on the built-in model; a model that is there goes."""
    plan = plan_merge(local_model(Workspace(Path(target).parent), adapter), Path(target))
    with mock.patch.object(merging, "run", _run("merge")):
        return merging.merge(plan, replace=True, tell=lambda _: None)


def export(converted: str, target: str, llama_cpp: str) -> list[Path]:
    """Export the built-in model as q8_0 and f16, of a conversion that is there; files that are there go."""

    def convert(plan: Any, converter: Any, source: Path, out: Path, *_: Any) -> dict[str, Any]:
        shutil.copyfile(converted, out)
        said = read_gguf(out).metadata
        names = {"eos": "eos_token_id", "add_bos": "add_bos_token", "add_eos": "add_eos_token"}
        facts = {name: said.get(f"tokenizer.ggml.{key}") for name, key in names.items()}
        return {**facts, "template": said["tokenizer.chat_template"], "by_structure": "", "unstoppable": []}

    def check(*arguments: Any) -> Any:
        found = check_model(*arguments)
        if arguments[1].name == "q8_0":
            fault("checking", console=True)
        return found

    def put(made: Path, path: Path, *, replace: bool) -> None:
        if made.stem == "q8_0":
            with beside.writing(path):
                fault("renaming", console=True)
        beside.put(made, path, replace=replace)
        fault("renamed", console=True)

    asked = Asked(
        local_model(Workspace(Path(target).parent), "tiny"), Path(target), parse("q8_0,f16"), llama_cpp=llama_cpp
    )
    with (
        mock.patch.multiple(gguf, _convert=convert, check_model=check, put=put),
        mock.patch.object(quantiser, "run", _run("quantise")),
    ):
        return [file.path for file in gguf.export(plan_export(asked), replace=True).files]


def _run(work: str) -> Any:
    def run_faulty(_: str, request: Mapping[str, Any], **more: Any) -> dict[str, Any]:
        environment = {"PYTHONPATH": str(ROOT), WORK: work}
        return run("tests.engine.export.faulty_work", request, environment=environment, **more)

    return run_faulty


def _merge_weights(parts: Any, made: Path, dtype: str, tell: Tell, *, max_shard_size: int | str) -> None:
    """Copy the base's weights in two halves."""
    fault("loading")
    content = (TINY / WEIGHTS).read_bytes()
    with (made / WEIGHTS).open("wb") as file:
        file.write(content[: len(content) // 2])
        file.flush()
        fault("writing")
        file.write(content[len(content) // 2 :])
    shutil.copyfile(TINY / "config.json", made / "config.json")


def _carry(*arguments: Any, **more: Any) -> Any:
    fault("carrying")
    return carry(*arguments, **more)


def _put(made: Path, target: Path, *, replace: bool) -> None:
    with beside.writing(target):
        fault("renaming")
    beside.put(made, target, replace=replace)
    fault("renamed")


def _quantise(asked: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Write the beginning of it, then all of it."""
    with growing(asked["files"][0], tell):
        Path(asked["files"][0]["out"]).write_bytes(Path(asked["source"]).read_bytes()[:100_000])
        fault("quantising")
    return quantise_worker.main(asked, tell)


if __name__ == "__main__":
    with mock.patch.multiple(merge_worker, merge_weights=_merge_weights, carry=_carry, put=_put):
        sys.exit(answer({"merge": merge_worker.work, "quantise": _quantise}[os.environ[WORK]], "The work"))
