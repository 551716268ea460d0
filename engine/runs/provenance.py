"""Where a run comes from: hashes of data and model, versions, machine; and what has changed since.

`provenance.json` also says where the files are that `run.yaml` names, so that a resume finds what the start found.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import secrets
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from engine.errors import WorkspaceError
from engine.runs.checkpoints import sha256
from engine.runs.directory import RunDirectory

PACKAGES = ("ftconsole", "torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes", "tokenizers")
_DECIDING = ("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes")
ADAPTER_WEIGHTS = "adapter_model.safetensors"
MERGE_RECORD = "base.json"
"""Beside a run's `base/`: which adapter was merged into which model, and the fingerprint of what came out."""
_SAMPLED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class DataFile:
    """One data file of a run."""

    role: str
    """"train", or the name of a validation set after "validation:"."""
    given: str
    """As the configuration names it."""
    path: str
    """Absolute."""
    sha256: str
    used_bytes: int
    rows: int
    stage: str | None = None
    """Of a run in several stages, the one that reads it."""


@dataclass(frozen=True, slots=True)
class ModelSource:
    """The base model of a run."""

    given: str
    kind: str
    """"builtin", "folder" or "hub"."""
    source: str
    """What `from_pretrained` is given: an absolute folder or a Hub name."""
    fingerprint: str
    """Of a folder's contents; for a Hub model the commit in the local cache, empty before the first download."""
    revision: str | None = None
    """Branch, tag or commit of a Hub model; None is "main"."""


@dataclass(frozen=True, slots=True)
class AdapterSource:
    """The adapter that a run goes on training instead of a new one."""

    given: str
    """As the configuration names it."""
    path: str
    """Where it was copied from."""
    sha256: str
    """Of its weights."""
    run: str | None = None
    """Name of the run it was trained in."""
    run_id: str | None = None
    checkpoint: str | None = None
    """Name of its folder there."""
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """What `provenance.json` holds."""

    run_id: str
    created: str
    parent: str | None
    config_sha256: str
    model: ModelSource
    data: list[DataFile]
    versions: Mapping[str, str]
    git_commit: str | None
    machine: Mapping[str, Any]
    adapter: AdapterSource | None = None
    """None: it began with a new adapter."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def files(self, role: str) -> list[DataFile]:
        """Return the data files of one role, in order."""
        return [file for file in self.data if file.role == role]

    def of_stage(self, name: str | None) -> Provenance:
        """Return it with the data files of one stage alone."""
        return replace(self, data=[file for file in self.data if file.stage == name])

    def validation_sets(self) -> list[str]:
        """Return the names of the validation sets, in order."""
        return list(dict.fromkeys(f.role.partition(":")[2] for f in self.data if f.role.startswith("validation:")))


def collect(
    *,
    parent: str | None,
    config: str,
    model: ModelSource,
    data: list[DataFile],
    workspace: Path,
    adapter: AdapterSource | None = None,
) -> Provenance:
    """Return the provenance of a run about to be made.

    Args:
        parent: Name of the run whose weights it starts from.
        config: Text of `run.yaml`.
        model: From `model_source`.
        data: From `data_file`.
        workspace: Its git commit is noted when it is in a repository.
        adapter: What it starts from; None for a new adapter.
    """
    return Provenance(
        run_id=secrets.token_hex(16),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        parent=parent,
        config_sha256=hashlib.sha256(config.encode()).hexdigest(),
        model=model,
        data=data,
        versions=versions(),
        git_commit=_git_commit(workspace),
        machine={
            "host": socket.gethostname(),
            "system": platform.platform(),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
        },
        adapter=adapter,
    )


def read_provenance(run: RunDirectory) -> Provenance:
    """Return what the run's `provenance.json` says.

    Raises:
        WorkspaceError: It is missing or damaged.
    """
    try:
        raw = json.loads(run.provenance.read_bytes())
        raw["model"] = ModelSource(**raw["model"])
        raw["data"] = [DataFile(**entry) for entry in raw["data"]]
        raw["adapter"] = AdapterSource(**raw["adapter"]) if raw.get("adapter") is not None else None
        return Provenance(**raw)
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise WorkspaceError(
            f"{run.provenance} cannot be read: {error}.",
            remedy="Restore it from a backup, or start a new run from the same run.yaml.",
        ) from error


def standing_base(run: RunDirectory, where: Provenance) -> ModelSource:
    """Return what the checkpoints of a run stand on: its base model, or its own copy with earlier learning in it."""
    if not (run.base / "config.json").is_file():
        return where.model
    try:
        fingerprint = json.loads((run.path / MERGE_RECORD).read_bytes()).get("fingerprint", "")
    except (OSError, ValueError, AttributeError):
        fingerprint = ""
    return ModelSource(f"runs/{run.name}/base", "folder", str(run.base), str(fingerprint))


def data_file(role: str, given: str, path: Path, rows: int) -> DataFile:
    """Hash a data file: some 1 GB/s."""
    return DataFile(role, given, str(path.resolve()), sha256(path), path.stat().st_size, rows)


def model_source(given: str, kind: str, source: str, revision: str | None) -> ModelSource:
    """Return where the base model is and what identifies its weights."""
    if kind == "hub":
        return ModelSource(given, kind, source, cached_commit(source, revision), revision)
    return ModelSource(given, kind, source, folder_fingerprint(Path(source)))


def folder_fingerprint(folder: Path) -> str:
    """Return a hash over names, sizes, and the first and last megabyte of the model's files.

    The whole of a 16 GB model would take 16 s at every start; a safetensors file begins with its header and
    any retraining changes the tensors at its end as well.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if (
            path.suffix not in (".safetensors", ".bin", ".json", ".jinja", ".model", ".txt", ".py")
            or not path.is_file()
        ):
            continue
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLED_BYTES))
            if size > _SAMPLED_BYTES:
                file.seek(max(_SAMPLED_BYTES, size - _SAMPLED_BYTES))
                digest.update(file.read())
    return digest.hexdigest()


def cached_commit(name: str, revision: str | None) -> str:
    """Return the commit of a Hub model in the local cache; empty when it is not there. Touches no network."""
    if revision and re.fullmatch(r"[0-9a-f]{40}", revision):
        return revision
    reference = hub_cache() / f"models--{name.replace('/', '--')}" / "refs" / (revision or "main")
    try:
        return reference.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def hub_cache() -> Path:
    """Return the folder in which huggingface_hub keeps what it has fetched."""
    home = os.environ.get("HF_HOME") or os.path.expanduser("~/.cache/huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or os.path.join(home, "hub"))


def changes_since(run: RunDirectory) -> list[str]:
    """Return in sentences what is no longer as it was when the run was made: settings, data, base model."""
    then = read_provenance(run)
    found = [
        _changed_config(run, then),
        *map(changed_file, then.data),
        _changed_model(then.model),
        _changed_start(run, then),
    ]
    return list(dict.fromkeys(change for change in found if change))


def inexact_since(run: RunDirectory, device: str) -> list[str]:
    """Return in sentences why a resume may differ in the last digits, though data and states are as they were."""
    then, now = read_provenance(run).versions, versions()
    said = [
        f"{name} is {now[name]}, it was {then[name]}"
        for name in _DECIDING
        if name in then and then[name] != now.get(name)
    ]
    if device != "cpu":
        said.append(f"kernels on {device} do not add in a fixed order")
    return said


def _changed_config(run: RunDirectory, then: Provenance) -> str:
    try:
        changed = hashlib.sha256(run.config.read_bytes()).hexdigest() != then.config_sha256
    except OSError as error:
        return f"run.yaml {_gone_or_unreadable(error)} ({run.config})"
    return "run.yaml was edited" if changed else ""


def changed_file(file: DataFile) -> str:
    """Return in words how a data file is no longer what it was; empty when it is."""
    path = Path(file.path)
    try:
        changed = path.stat().st_size != file.used_bytes or sha256(path) != file.sha256
    except OSError as error:
        return f"{file.given} {_gone_or_unreadable(error)} ({file.path})"
    return f"{file.given} was changed" if changed else ""


def _changed_model(model: ModelSource) -> str:
    if model.kind == "hub":
        commit = cached_commit(model.source, model.revision)
        if model.fingerprint and commit and commit != model.fingerprint:
            return f"{model.given} is at commit {commit[:10]}, it was at {model.fingerprint[:10]}"
        return ""
    try:
        changed = folder_fingerprint(Path(model.source)) != model.fingerprint
    except OSError as error:
        return f"the model folder {_gone_or_unreadable(error)} ({model.source})"
    return f"the files of the model {model.given} were changed" if changed else ""


def _changed_start(run: RunDirectory, then: Provenance) -> str:
    if then.adapter is None:
        return ""
    try:
        changed = sha256(run.start / ADAPTER_WEIGHTS) != then.adapter.sha256
    except OSError as error:
        return f"the adapter it began with {_gone_or_unreadable(error)} ({run.start})"
    return "the adapter it began with was changed" if changed else ""


def _gone_or_unreadable(error: OSError) -> str:
    gone = isinstance(error, FileNotFoundError | NotADirectoryError)
    return "is gone" if gone else f"cannot be read: {error.strerror}"


def versions() -> dict[str, str]:
    """Return the installed versions of what decides a result, without importing any of it."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _git_commit(folder: Path) -> str | None:
    try:
        reply = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    commit = reply.stdout.strip()
    return commit if re.fullmatch(r"[0-9a-f]{40,64}", commit) else None
