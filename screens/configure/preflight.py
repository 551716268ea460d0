"""What would go wrong with a run, looked at before it is made: `python -P -m screens.configure.preflight`.

In a process of its own, since data files are read whole. What to look at comes as JSON on stdin; each answer is a
line on stdout as soon as it is known.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from engine.config.automatic import rows_per_step
from engine.config.catalogue import catalogue
from engine.config.model import settled
from engine.data.findings import where
from engine.errors import EngineError
from engine.hardware.logout import logout
from engine.hardware.memory import Estimate
from engine.hardware.model_shape import NotEstimated
from engine.launch.examined import examine_run
from engine.launch.forecast import disk, forecast, num_steps
from engine.launch.prepare import Settled, settle
from engine.runs.directory import free_name
from engine.runs.provenance import cached_commit
from engine.runs.summary import summarise_all
from engine.weights import read_tensors
from engine.workspace import Workspace
from screens.configure.memory import Memory, sentence
from screens.configure.worker import as_arguments, given, refusal

Grade = Literal["ok", "note", "warning", "grave"]
_GB = 10**9


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was looked at."""

    title: str
    """One word or two: "data", "memory"."""
    grade: Grade
    """"grave": the run would not start, or would be lost."""
    said: str
    remedy: str = ""


def look(workspace: Workspace, text: str, source: str) -> Iterator[Item | str]:
    """Yield what was looked at, the settings first; a text is what is being looked at now.

    The last text is the name that a run would get; there is none when it cannot be made.
    """
    yield "the settings, and every row of the data"
    try:
        found = settle(workspace, given(text, source))
    except EngineError as error:
        said = refusal(error)
        for problem in said["problems"]:
            yield Item("settings", "grave", problem, said["remedy"])
        return
    yield _settings(found)
    yield from _model(workspace, found)
    yield "the rows, as the model will see them"
    for stage, part in found.parts():
        about = f"{stage}: " if stage else ""
        try:
            yield from (replace(item, said=f"{about}{item.said}") for item in _data(part))
        except EngineError as error:
            yield Item("data", "grave", f"{about}{error.message}", error.remedy)
    yield "the machine"
    yield from _machine(workspace, found)
    yield from _company(workspace)
    yield "name:" + free_name(workspace.runs, found.stem)


def _settings(found: Settled) -> Item:
    said = []
    for stage, part in found.parts():
        rows = rows_per_step(part.resolved.config)
        about = f"{stage}: " if stage else ""
        said.append(f"{about}{num_steps(part):,} steps of {rows} rows, {part.facts.num_train_examples:,} rows")
    config = found.resolved.config
    many = settled(config.launch.num_processes)
    where = f"{config.model.device}, in {many} processes" if many > 1 else config.model.device
    return Item("settings", "ok", f"{'; '.join(said)} on {where}")


def _data(found: Settled) -> Iterator[Item]:
    """Yield what the doctor finds in the rows, the gravest first; what was accepted by name is no longer grave."""
    report = examine_run(found)
    accepted = found.resolved.config.data.accept
    kept = f"{report.rows_kept:,} of {report.rows_in:,} rows are learned from or measured with"
    yield Item("data", "note" if report.rows_listed else "ok", kept)
    for finding in report.findings:
        grave = finding.grade == "grave" and finding.code not in accepted
        remedy = f"{finding.remedy} To start all the same: data.accept: [{finding.code}]" if grave else finding.remedy
        grade: Grade = "grave" if grave else "warning" if finding.grade == "grave" else finding.grade
        yield Item("data", grade, f"{finding.message}{where(finding, 5)}", remedy)


def _model(workspace: Workspace, found: Settled) -> Iterator[Item]:
    model, config = found.model, found.resolved.config
    entry = catalogue(workspace).get(model.name) or catalogue(workspace).get(config.model.name)
    fields = entry.fields if entry is not None else {}
    if model.path is not None:
        tokenizer = any((model.path / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json"))
        try:
            size: int | None = sum(tensor.used_bytes for tensor in read_tensors(model.path).values())
        except EngineError as error:  # what loading it would say, some seconds after the start
            yield Item("model", "grave", error.message, error.remedy)
            size = None
        if not tokenizer:
            yield Item("model", "grave", f"{model.name} has no tokenizer in {model.path}.", "Fetch the model again.")
        elif size == 0:
            yield Item("model", "grave", f"The weights of {model.name} hold no tensor.", "Fetch the model again.")
        elif size is not None:
            yield Item("model", "ok", f"{model.name}: {_size(size)} of weights and a tokenizer are here")
    elif cached_commit(model.name, config.model.revision):
        yield Item("model", "ok", f"{model.name} is in the cache of the Hub")
    else:
        count = entry.num_parameters if entry is not None else None
        much = f", some {_size(2 * count)}" if count else ""
        yield Item("model", "warning", f"{model.name} is not on this machine; the run would fetch it first{much}.",
                   "Without a network, copy it to models/ and name the folder.")  # fmt: skip
        if fields.get("gated"):
            yield Item("licence", "warning", f"{model.name} is gated: the Hub wants the token of an account that "
                       "accepted its licence.", "Log in with `hf auth login` beforehand.")  # fmt: skip
    licence = fields.get("licence")
    if licence is not None:
        yield Item("licence", "ok", f"{licence}")
    else:
        yield Item("licence", "note", "the catalogue does not say; see the model's own page")
    if config.model.trust_remote_code:
        yield Item("code", "warning", "trust_remote_code is true: the run executes Python that the model brings.",
                   "Set it only for models whose code you have read.")  # fmt: skip
    else:
        yield Item("code", "ok", "trust_remote_code is false: none of the model's own code is run")


def _machine(workspace: Workspace, found: Settled) -> Iterator[Item]:
    """Yield memory and disk."""
    memory: Estimate | None = None
    try:
        memory = forecast(workspace, found).memory
        needed = Memory(**as_arguments(memory))
    except NotEstimated as error:
        yield Item("memory", "note", error.message, "m in the form tries two steps and measures.")
    else:
        said = f"{sentence(needed)}, {needed.rows} rows of {needed.length:,} tokens"
        if needed.fits is False:
            yield Item("memory", "warning", f"predicted: {said}.",
                       "m in the form measures it. Less takes a smaller per_device_train_batch_size, "
                       "activation_checkpointing, or load_in_4bit on a GPU.")  # fmt: skip
        else:
            yield Item("memory", "ok", said)
    room = disk(workspace, found, memory)
    count = room.num_checkpoints
    size = f", {room.sentence()}" if memory is not None else ""
    said = f"{count} checkpoint{'s' if count > 1 else ''} at once{size}"
    if room.free_bytes is not None and room.free_bytes < max(_GB, 2 * room.to_come_bytes):
        remedy = "Make room, or lower saving.save_total_limit."
        yield Item("disk", "warning", said if room.fits is False else f"{said}: that is little.", remedy)
    else:
        yield Item("disk", "ok", said)


def _company(workspace: Workspace) -> Iterator[Item]:
    try:
        active = [summary.name for summary in summarise_all(workspace.runs) if summary.active]
    except EngineError:
        active = []
    if active:
        names = ", ".join(active[:3]) + (" ..." if len(active) > 3 else "")
        yield Item("company", "note", f"{len(active)} at work already: {names}. They will share this machine.")
    answer = logout()
    if answer.ends_runs:
        yield Item("logout", "warning", f"A logout would end it: {answer.reason}.", answer.remedy)


def _size(count: int) -> str:
    return f"{count / _GB:,.1f} GB" if count >= _GB else f"{max(1, round(count / 1e6))} MB"


def main() -> int:
    """Read what to look at, write what was found."""
    asked: dict[str, Any] = json.load(sys.stdin)
    for found in look(Workspace(Path(asked["workspace"])), asked["text"], asked["source"]):
        print(json.dumps({"now": found} if isinstance(found, str) else asdict(found)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
