"""What was learned before goes into a run: an adapter to train further, or one merged into the run's own base.

Merging at every session is how the continual-learning workflow keeps what was learned: the next adapter cannot
overwrite what is no longer in an adapter. The merged base is written once, into the run, so that each of its
checkpoints stands on a model that is there, whatever becomes of the run before.
"""

from __future__ import annotations

import json
from pathlib import Path

from engine import events
from engine.config.model import RunConfig
from engine.data.row import Row
from engine.data.rows import read_rows
from engine.export.beside import beside, put, writing
from engine.export.carried import carry
from engine.export.merge_worker import merge_weights
from engine.export.parts import Parts
from engine.export.progress import Progress
from engine.launch.continuing import replayed_rows
from engine.renaming import replace_file
from engine.runs import promotion, shelf
from engine.runs.checkpoints import run_id
from engine.runs.directory import RunDirectory
from engine.runs.entries import read_entry
from engine.runs.provenance import MERGE_RECORD, Provenance, folder_fingerprint
from engine.spec import LocalModel, base_folder
from engine.training.control import Control
from engine.training.reporter import Reporter
from engine.weights import read_json
from engine.workspace import Workspace

_SHARD = "4GB"


def merges(config: RunConfig, provenance: Provenance) -> bool:
    """Return whether the run trains a new adapter on a base that an earlier one was merged into."""
    return provenance.adapter is not None and config.model.adapter_mode == "merge"


def tell_of_it(run: RunDirectory, config: RunConfig, provenance: Provenance, reporter: Reporter) -> None:
    """Say what of earlier learning is in this run."""
    named, adapter = config.model.adapter, provenance.adapter
    if named is None:
        return
    if adapter is None:
        detail = (
            f"Nothing was learned before: there is no models/{named} yet, which is normal for a first session. "
            f"It begins from {config.model.name}."
        )
        reporter.say(events.EarlierLearning("none", None, named, detail))
        return
    label = f"{adapter.run}@{adapter.checkpoint}" if adapter.run and adapter.checkpoint else named
    if config.model.adapter_mode == "merge":
        detail = f"Previous knowledge merged: {label} is part of the base now ({run.base})."
    elif config.model.adapter_mode == "stack":
        detail = f"Standing on what was learned before: the adapter of {label} stays as it is, a new one is beside it."
    else:
        detail = f"Going on with what was learned before: the adapter of {label} is trained further."
    reporter.say(events.EarlierLearning(config.model.adapter_mode, adapter.run, named, detail), durable=True)


def merged_base(
    run: RunDirectory,
    config: RunConfig,
    provenance: Provenance,
    commit: str | None,
    reporter: Reporter,
    control: Control,
) -> Path:
    """Return the run's own base, made when it is not there yet: written beside, whole or not at all.

    Raises:
        DiskFull, WorkspaceError: It cannot be written.
        EngineError: Base or adapter cannot be loaded.
    """
    target = run.base
    if (target / "config.json").is_file():
        _record(run, provenance)
        return target
    where = f"what was learned before, into {config.model.name}"
    reporter.enter("merging", where)

    def tell(progress: Progress) -> None:
        del progress
        control.hear_before_training(0)

    assert provenance.adapter is not None
    model = LocalModel(config.model.name, config.model.name, provenance.model, run.start)
    parts = Parts(provenance.model.source, commit, str(run.start), config.model.trust_remote_code)
    with beside(target) as folder:
        made = folder / "model"
        made.mkdir(mode=0o700)
        with writing(target):
            there = base_folder(model)
            stored = read_json(there / "config.json") if there is not None else {}
            # As the base is stored: what rounds, rounds once more at each session, so float32 stays float32.
            dtype = str(stored.get("dtype") or stored.get("torch_dtype") or "bfloat16")
            dtype = dtype if dtype in ("float32", "float16") else "bfloat16"
            merge_weights(parts, made, dtype, tell, max_shard_size=_SHARD)
            carry(base_folder(model) or made, None, made, chat_template=config.model.chat_template)
            for path in (made, *made.rglob("*")):
                path.chmod(0o700 if path.is_dir() else 0o600)
        put(made, target)
    _record(run, provenance)
    return target


def _record(run: RunDirectory, provenance: Provenance) -> None:
    """Write what the merged base is of, unless it is written: the worker may have been killed in between."""
    file = run.path / MERGE_RECORD
    if file.is_file() or provenance.adapter is None:
        return
    adapter = provenance.adapter
    record = {
        "base": provenance.model.given, "adapter": adapter.given, "run": adapter.run, "sha256": adapter.sha256,
        "fingerprint": folder_fingerprint(run.base),
    }  # fmt: skip
    with writing(file):
        replace_file(file, json.dumps(record, indent=2) + "\n")


def replay(config: RunConfig, provenance: Provenance, num_new: int) -> list[Row]:
    """Return rows of earlier training files, at even distances over all of them."""
    files = provenance.files("replay")
    if not files:
        return []
    rows = [item for file in files for item in read_rows(Path(file.path)) if isinstance(item, Row)]
    count = replayed_rows(config.data.replay, num_new, len(rows))
    return [rows[position * len(rows) // count] for position in range(count)]


def promote(run: RunDirectory, name: str, reporter: Reporter) -> None:
    """Copy the result to `models/`. A run has finished whether or not that can be done.

    Raises:
        EngineError: It cannot be copied.
    """
    folder = run.best if run.best.is_dir() else run.final
    entry = read_entry(run.name, run_id(run), folder)
    assert entry is not None
    workspace = Workspace(run.path.parent.parent)
    plan = promotion.plan_promote(workspace, entry, name)
    shelf.carry_out(plan)
    detail = f"{run.name}@{folder.name} is models/{name} now."
    if name == promotion.LATEST and (workspace.models / promotion.PREVIOUS).is_dir():
        detail += " What that was is models/previous; `ftconsole rollback` exchanges them."
    reporter.say(events.CheckpointPromoted(folder.name, name, detail), durable=True)
