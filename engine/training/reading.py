"""The rows a run learns from and is measured with, read from its files. Imported by the worker process only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from engine.config.model import RunConfig
from engine.config.resolved import ResolvedConfig
from engine.data.doctor import examine_files
from engine.data.rows import Row, read_rows
from engine.data.templates import local_folder
from engine.launch.examined import asked_about, in_stage
from engine.runs.provenance import Provenance, changed_file
from engine.training import behaviour
from engine.training.reporter import Reporter
from engine.training.splits import Split
from engine.workspace import ModelReference


def warn_of_changed_files(provenance: Provenance, reporter: Reporter) -> None:
    """Say which files are not what they were when the run was checked, seconds or a queue's days ago."""
    for file in provenance.data:
        if sentence := changed_file(file):
            reporter.warn(
                "data-changed",
                f"{sentence} since this run was made; what is there now is learned.",
                "Stop the run and start a new one if that is not meant.",
            )


def refuse_wasted(whole: ResolvedConfig, provenance: Provenance) -> None:
    """Examine the rows with the template of a Hub model, which may not have been on this machine before.

    Those of every stage: a fault in the last one's is told now, not after hours.

    Raises:
        DataRefused: Something grave was found that `data.accept` does not name.
    """
    model = provenance.model
    if model.kind != "hub":
        return
    folder = local_folder(ModelReference("hub", model.source, None, model.revision))
    for name, part in whole.parts():
        with in_stage(name):
            files = provenance.of_stage(name or None).data
            examine_files(asked_about(part.config, files, folder)).refuse(part.config.data.accept)


def read_split(name: str, provenance: Provenance, config: RunConfig, limit: int | None = None) -> Split:
    """Return the rows of "train" or of a validation set; at most `limit` of each file."""
    role = "train" if name == "train" else f"validation:{name}"
    return read_role(role, name, provenance, limit, config.data.mapping)


def read_role(
    role: str, name: str, provenance: Provenance, limit: int | None = None, mapping: Mapping[str, str] | None = None
) -> Split:
    """Return the rows of the files in a role, under a name."""
    split = Split(name, [], [])
    for file in provenance.files(role):
        for item in read_rows(Path(file.path), limit=limit, mapping=mapping):
            if isinstance(item, Row):
                split.rows.append(item)
            else:
                split.problems.append(item)
    return split


def held_out(whole: ResolvedConfig, provenance: Provenance) -> list[Row]:
    """Return the questions whose answers are measured before and after; empty when that is off.

    They are those of all stages, so that before the first and after the last the same is asked.
    """
    found: list[Row] = []
    files: set[str] = set()
    for name, part in whole.parts():
        if part.config.evaluation.behaviour is False:
            continue
        own = provenance.of_stage(name or None)
        new = [file for file in own.data if file.role.startswith("validation:") and file.path not in files]
        files.update(file.path for file in new)
        splits = [read_split(split, replace(own, data=new), part.config) for split in own.validation_sets()]
        rows = [row for split in splits for row in split.rows if row.prompt]  # plain text asks nothing
        limit = part.config.evaluation.behaviour_limit
        for kind in ("retain", "unlearn"):
            found += behaviour.spread([row for row in rows if row.dataset_type == kind], limit)
    return found
