"""An evaluation from the test file to a result that stays: what is asked, of which model, and where it is kept."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from engine import child
from engine.data.row import Row
from engine.data.rows import read_rows
from engine.errors import DataError, EngineError, UsageError
from engine.evaluation.asking import Asking, replies
from engine.evaluation.kept import KeptReplies, fingerprint
from engine.evaluation.refusal import RULES, Rules
from engine.evaluation.temporal import KINDS, Report, Share, report
from engine.events import BehaviourMeasured, json_number
from engine.journal import write_error
from engine.renaming import replace_file
from engine.runs.checkpoints import SCORES, Checkpoint, read_checkpoint, sha256
from engine.runs.directory import RunDirectory
from engine.runs.follow import tail
from engine.runs.provenance import read_provenance
from engine.spec import Endpoint, LocalModel
from engine.workspace import Workspace

SUITES = ("temporal",)
_DAMAGED = "Correct the line, or leave it out."


@dataclass(frozen=True, slots=True)
class Test:
    """The questions of an evaluation."""

    __test__ = False  # not one of pytest's

    files: tuple[Path, ...]
    rows: tuple[Row, ...]
    """Those to be answered first, then those to be refused; each in the order of the file."""
    passed_over: int
    """Rows of the files that say neither "retain" nor "unlearn", or ask nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an evaluation is to do."""

    suite: str
    asking: Asking
    rules: Rules = RULES
    fresh: bool = False
    """Ask everything again, whatever replies are kept."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What came out."""

    model: str
    """Label of the model. Foreign."""
    report: Report
    seconds: float
    asked_now: int
    """Questions asked this time; the replies to the others were kept from before."""
    path: Path
    """The result, as JSON."""

    @property
    def shares(self) -> dict[str, Share]:
        """What a checkpoint is judged by: the share that is right, and what it consists of."""
        return {"accuracy": self.report.temporal_accuracy, **self.report.shares}

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form, examples and all."""
        return {"model": self.model, "seconds": round(self.seconds, 3), "path": str(self.path), **self.report.as_dict()}


Progress = Callable[[int, int, str], None]
"""Called with replies there are, how many there will be, and what is being done in words."""


def read_test(workspace: Workspace, files: Sequence[str], model: LocalModel | Endpoint, limit: int | None) -> Test:
    """Read the questions.

    Args:
        workspace: Where files are looked for.
        files: As given; none takes the validation sets of the model's run.
        model: The one to be asked.
        limit: Questions of each kind at most, spread evenly over the files; None for all.

    Raises:
        UsageError: No file is given, and the model is of no run with validation sets.
        NotFound: A file is not there.
        DataError: A file cannot be read, or nothing in it says what is to be answered and what refused.
    """
    paths = [path for text in files for path in workspace.data_files(text, "test")] or _of_its_run(workspace, model)
    if not paths:
        raise UsageError(
            f"Nothing says what {model.label[:80]} is to be asked.",
            remedy="Name a file with --test: rows with metadata.dataset_type retain or unlearn.",
        )
    return questions(paths, limit)


def questions(paths: Sequence[Path], limit: int | None) -> Test:
    """Read the questions of some files, as `read_test`.

    Raises:
        DataError: A file cannot be read, or nothing in it says what is to be answered and what refused.
    """
    of: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    passed_over = 0
    for path in paths:
        for row in read_rows(path):
            if isinstance(row, Row):
                if row.dataset_type in of and row.prompt and row.completion:
                    of[row.dataset_type].append(row)
                else:
                    passed_over += 1
            elif row.malformed:
                raise DataError(f"{path.name}:{row.line}: {row.reason}.", remedy=_DAMAGED)
            else:
                passed_over += 1
    if not any(of.values()):
        names = ", ".join(path.name for path in paths)
        raise DataError(
            f"No row of {names} says in metadata.dataset_type whether it is to be kept or forgotten.",
            remedy="Write retain or unlearn there, or name another file with --test.",
        )
    rows = [row for kind in KINDS for row in spread(of[kind], limit)]
    return Test(tuple(paths), tuple(rows), passed_over)


def spread(rows: Sequence[Row], count: int | None) -> list[Row]:
    """Return `count` rows at even distances, so that one topic at the start does not stand for all."""
    if count is None or count >= len(rows):
        return list(rows)
    return [rows[position * len(rows) // count] for position in range(count)]


def evaluate(
    workspace: Workspace,
    model: LocalModel | Endpoint,
    test: Test,
    asked: Asked,
    *,
    progress: Progress,
    cancelled: child.Cancelled = child.never,
) -> Evaluated:
    """Ask every question, judge the replies, and keep both.

    What is cut short, by ctrl+c or a server that goes away, goes on at the next call with the questions that have no
    reply yet.

    Args:
        workspace: Where results are kept when the model is of no run.
        model: From `engine.spec`.
        test: From `read_test`.
        asked: What and how.
        progress: See `Progress`.
        cancelled: See `engine.child.Cancelled`.

    Raises:
        WorkCancelled: `cancelled` returned True.
        EngineError: The model cannot be asked, or the result not be written.
    """
    began = time.monotonic()
    about = _about(model, test, asked)
    result = result_path(workspace, model, asked.suite, fingerprint(about))
    kept = KeptReplies(result.with_suffix(".replies.jsonl"), about)
    if asked.fresh:
        kept.replies.clear()
    missing = [at for at in range(len(test.rows)) if at not in kept.replies]
    total = len(test.rows)
    doing = "asking"

    def said(what: str) -> None:
        progress(len(kept.replies), total, what)

    progress(len(kept.replies), total, "starting" if missing else "every reply is kept")
    if missing:
        questions = [test.rows[at].prompt for at in missing]
        for position, reply in replies(model, questions, asked.asking, said=said, cancelled=cancelled):
            kept.keep([(missing[position], reply)])
            progress(len(kept.replies), total, doing)
    found = report([(row, kept.replies[at]) for at, row in enumerate(test.rows)], asked.rules)
    evaluated = Evaluated(model.label, found, time.monotonic() - began, len(missing), result)
    _keep(evaluated, model, test, asked.suite)
    return evaluated


def keep_result(
    workspace: Workspace, model: LocalModel, test: Test, asked: Asked, replies: Sequence[str], *, seconds: float
) -> Evaluated:
    """Judge the replies that a run had of its weights in memory, and keep the result as `evaluate` does.

    It is no result of `evaluate`: a base held in 4 bits while it is trained answers a little otherwise.

    Args:
        workspace: Of the run.
        model: The checkpoint with these weights.
        test: What was asked.
        asked: How.
        replies: One for each row of the test.
        seconds: How long it took.

    Raises:
        DiskFull, WorkspaceError: The result cannot be written.
    """
    about = {**_about(model, test, asked), "by": "the run"}
    result = result_path(workspace, model, asked.suite, fingerprint(about))
    found = report(list(zip(test.rows, replies, strict=True)), asked.rules)
    evaluated = Evaluated(model.label, found, seconds, len(replies), result)
    _keep(evaluated, model, test, asked.suite)
    return evaluated


def _keep(evaluated: Evaluated, model: LocalModel | Endpoint, test: Test, suite: str) -> None:
    _write(evaluated.path, {"suite": suite, **_when(model, test), **evaluated.as_dict()})
    if isinstance(model, LocalModel) and model.run is not None and model.adapter is not None:
        scores = {f"{suite}/{name}": json_number(share.value) for name, share in evaluated.shares.items()}
        with contextlib.suppress(EngineError):  # a folder that is read only; the result itself is kept
            _write(model.adapter / SCORES, scores)


def result_path(workspace: Workspace, model: LocalModel | Endpoint, suite: str, mark: str) -> Path:
    """Return where a result is kept: beside its run, else in the workspace's `evaluations/`."""
    if isinstance(model, LocalModel) and model.run is not None:
        folder = workspace.runs / model.run / "evaluations"
        return folder / f"{suite}-{model.checkpoint}-{mark[:8]}.json"
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.label).strip("-.")[:60] or "model"
    return workspace.path / "evaluations" / f"{suite}-{name}-{mark[:8]}.json"


@dataclass(frozen=True, slots=True)
class Result:
    """A result that was kept, in a line."""

    path: Path
    suite: str
    created: str
    """ISO 8601, UTC."""
    scores: Mapping[str, float]
    grade: str
    step: int | None = None
    """Optimizer steps that the weights had seen; None where it does not say."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each file of the adapter that was asked; empty in results of earlier versions."""

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form; numbers that JSON cannot hold are texts."""
        scores = {name: json_number(value) for name, value in self.scores.items()}
        return {"suite": self.suite, "created": self.created, "step": self.step, "grade": self.grade, "scores": scores,
                "path": str(self.path)}  # fmt: skip

    def is_of(self, checkpoint: Checkpoint | None) -> bool:
        """Return whether it is of the weights that are there now: `best/` is replaced, a step can be taken anew.

        Args:
            checkpoint: As it is; None where nothing there says what it is, and then nothing contradicts.
        """
        if checkpoint is None or checkpoint.run_id is None:
            return True
        if self.weights:
            return all(checkpoint.files.get(name, {}).get("sha256") == mark for name, mark in self.weights.items())
        return self.step is None or self.step == checkpoint.step


def results_of(run: RunDirectory, folder: Path) -> list[Result]:
    """Return the results kept of the weights in a checkpoint's folder, newest first.

    What cannot be read is passed over, and so is what was found of weights that were there before.
    """
    found = []
    for suite in SUITES:
        for path in sorted(run.evaluations.glob(f"{suite}-{folder.name}-*.json")):
            try:
                found.append(_read_result(path, suite))
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue
    checkpoint = read_checkpoint(folder) if found else None
    return sorted((one for one in found if one.is_of(checkpoint)), key=lambda one: one.created, reverse=True)


def _read_result(path: Path, suite: str) -> Result:
    value = json.loads(path.read_bytes())
    step = value.get("step")
    return Result(
        path, suite, str(value["created"]),
        scores={name: float(one["value"]) for name, one in value["scores"].items()},
        grade=str(value["grade"]),
        step=step if type(step) is int else None,
        weights={str(name): str(mark) for name, mark in value.get("weights", {}).items()},
    )  # fmt: skip


def measured_after(run: RunDirectory) -> BehaviourMeasured | None:
    """Return what was measured of a run's `final` when training had ended; None where nothing was.

    It is the last thing a run says but for its end, so the end of the log is enough. Replies are kept beside
    (`after.jsonl`): where there are none the log is not opened.
    """
    if not (run.evaluations / "after.jsonl").is_file():
        return None
    try:
        said = [record.event for record in tail(run.events)]
    except EngineError:
        return None
    return next((one for one in reversed(said) if isinstance(one, BehaviourMeasured) and one.when == "after"), None)


def _of_its_run(workspace: Workspace, model: LocalModel | Endpoint) -> list[Path]:
    if not isinstance(model, LocalModel) or model.run is None:
        return []
    files = read_provenance(RunDirectory(workspace.runs / model.run)).data
    return [Path(file.path) for file in files if file.role.startswith("validation:")]


def _about(model: LocalModel | Endpoint, test: Test, asked: Asked) -> dict[str, Any]:
    """Return all that decides a reply. How replies are judged does not: that is done anew each time."""
    how = asdict(asked.asking)
    for speed_only in ("batch_size", "device"):
        del how[speed_only]
    weights = "" if isinstance(model, Endpoint) else _weights(model)
    return {
        "suite": asked.suite,
        "model": [model.given, model.label, weights],
        "asking": how,
        "questions": [row.prompt for row in test.rows],
    }


def _weights(model: LocalModel) -> list[str]:
    """Return what tells these weights from others under the same name: a checkpoint may be replaced."""
    found = list(model.identity)
    if model.adapter is not None:
        found += _marks(model.adapter).values()
    elif Path(model.base.source).is_dir():
        found += [f"{path.name} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in _weight_files(model)]
    return found


def _marks(adapter: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(adapter.glob("adapter_model.*"))}


def _weight_files(model: LocalModel) -> Iterator[Path]:
    return iter(sorted(Path(model.base.source).glob("*.safetensors")))


def _when(model: LocalModel | Endpoint, test: Test) -> dict[str, Any]:
    step = model.step if isinstance(model, LocalModel) else None
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "step": step,
        "weights": _marks(model.adapter) if isinstance(model, LocalModel) and model.adapter is not None else {},
        "test": [{"path": str(path), "sha256": sha256(path)} for path in test.files],
        "questions": len(test.rows),
        "passed_over": test.passed_over,
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(path, json.dumps(value, indent=1))
    except OSError as error:
        raise write_error(path, error) from error
