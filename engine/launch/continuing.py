"""A new run from the weights of another: which adapter, on which base, proven to be the one it was trained on."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.adapters import Adapter, AdapterUnusable, read_adapter
from engine.config.check import Setting
from engine.config.load import GivenConfig, load
from engine.config.resolved import ResolvedConfig, Source, read_sources
from engine.config.yaml_text import read_file
from engine.errors import CheckpointError, ConfigError, NotFound, UsageError, WorkspaceError
from engine.runs import checkpoints, provenance
from engine.runs.directory import RunDirectory
from engine.runs.promotion import LATEST, promoted
from engine.runs.provenance import ADAPTER_WEIGHTS, AdapterSource, DataFile, ModelSource
from engine.spec import BaseChanged, BaseMissing, LocalModel, local_model, prove_base
from engine.weights import read_json
from engine.workspace import Workspace

ADAPTER = "model.adapter"
_COPIED = ("adapter_config.json", ADAPTER_WEIGHTS)
_INITIALISATIONS = ("gaussian", "orthogonal")


@dataclass(frozen=True, slots=True)
class Start:
    """The adapter that a run is to begin with."""

    model: LocalModel
    """What was named; `base` is proven."""
    source: AdapterSource
    lora: Mapping[str, Any]
    """The settings of `lora` that it has, by key; empty where the new adapter is another one, because it is
    merged or stacked."""

    @property
    def parent(self) -> str | None:
        """The run it was trained in, where that is one of this workspace."""
        return self.source.run

    @property
    def num_parameters(self) -> int:
        """How many numbers its matrices have."""
        return read_adapter(Path(self.source.path)).num_parameters

    @property
    def copies(self) -> dict[str, Path]:
        """What is copied into the run's folder."""
        folder = Path(self.source.path)
        return {f"start/{name}": folder / name for name in _COPIED}


def continued(workspace: Workspace, text: str, given: GivenConfig) -> GivenConfig:
    """Return the settings of a new run that begins with the weights of `text`.

    What is not given is as in the run that `text` is of, in its last stage: what was written for that one, and its
    presets. What was
    decided then is decided anew, since other data wants other values.

    Args:
        workspace: Where it is looked for.
        text: A run, one of its checkpoints, a folder, a name in `models/`.
        given: What the user wrote for the new run.

    Raises:
        UsageError: It names no weights.
        EngineError: As `engine.spec.find_spec`.
    """
    other = given.settings.get(ADAPTER)
    if other is not None and other.value not in (None, text):
        raise UsageError(
            f"{ADAPTER} is {str(other.value)[:200]!r}, and what is to be continued is {text[:200]!r} ({other.place}).",
            remedy=f"Leave {ADAPTER} out: it is what is named first.",
        )
    base = given.settings.get("model.name")
    model = _named(workspace, text, base.value if base is not None and isinstance(base.value, str) else None)
    below = GivenConfig({})
    if model.run is not None:
        run = RunDirectory(workspace.runs / model.run)
        below = GivenConfig(
            {
                key: setting._replace(place=f"{model.run}/{setting.place}", preset=True)
                for key, setting in load(run.config).parts()[-1][1].settings.items()
                if key in _written(run) and not key.startswith(("lora.", ADAPTER))
            }
        )
    place = f"continued from {model.label}"
    own: dict[str, Setting] = {}
    if model.adapter is not None:
        own[ADAPTER] = Setting(text, place)
    else:
        own["model.name"] = Setting(model.base.source, place)
    return GivenConfig(own).over(given.over(below))


def starting_adapter(workspace: Workspace, given: GivenConfig) -> tuple[GivenConfig, Start | None]:
    """Return the settings with those of the adapter that `model.adapter` names, and that adapter.

    Raises:
        ConfigError: A setting of `lora` was written that contradicts it.
        BaseChanged: `model.name` is not the base it was trained on.
        AdapterUnusable: It cannot be trained on.
        EngineError: As `engine.spec.find_spec`.
    """
    named = given.settings.get(ADAPTER)
    if named is None or named.value is None or not isinstance(named.value, str):
        return given, None
    if nothing_earlier(workspace, named.value):
        return given, None
    base = given.settings.get("model.name")
    written = base.value if base is not None and not base.preset and isinstance(base.value, str) else None
    model = _named(workspace, named.value, written)
    if model.adapter is None:
        raise UsageError(
            f"{model.label} is a whole model, no adapter.", remedy="Set model.name to it, and model.adapter to null."
        )
    source = prove_base(model)
    revision = given.settings.get("model.revision")
    own = _model_settings(workspace, source, model, base, revision)
    adapter = read_adapter(model.adapter)
    mode = given.settings.get("model.adapter_mode")
    trained_on = mode is None or mode.value not in ("merge", "stack")
    lora = _lora_settings(adapter) if trained_on else {}
    if mode is not None and mode.value == "stack":
        _refuse_to_stack(adapter)
    problems = [
        f"{key} is {setting.value!r}, but the adapter {model.label} has {lora[key]!r} ({setting.place})"
        for key, setting in given.settings.items()
        if key in lora and not setting.preset and not _same(setting.value, lora[key])
    ]
    if problems:
        raise ConfigError(
            problems, remedy="Leave them out: they come with the adapter. For others, begin with a new adapter."
        )
    start = Start(replace(model, base=source), _source(workspace, named.value, model), lora)
    place = f"as the adapter {model.label} has it"
    settings = {**given.settings, **{key: Setting(value, place) for key, value in {**lora, **own}.items()}}
    return replace(given, settings=settings), start


def _same(written: object, own: object) -> bool:
    if isinstance(written, list) and isinstance(own, list):
        return sorted(map(str, written)) == sorted(map(str, own))  # of modules, in any order
    return written in ("auto", own)


def nothing_earlier(workspace: Workspace, adapter: str | None) -> bool:
    """Return whether `adapter` is the newest of a chain that has not begun: then a run begins from the base."""
    return adapter == LATEST and not os.path.lexists(workspace.models / LATEST)


def earlier_data(workspace: Workspace, start: Start | None) -> list[DataFile]:
    """Return the training files of the run that an adapter is from, and of those before it, as role "replay".

    A run that is gone, or of another workspace, ends the chain.
    """
    found: dict[str, DataFile] = {}
    parent = start.parent if start is not None else None
    seen: set[str] = set()
    while parent is not None and parent not in seen:
        seen.add(parent)
        try:
            where = provenance.read_provenance(RunDirectory(workspace.runs / parent))
        except WorkspaceError:
            break
        for file in where.files("train"):
            found.setdefault(file.path, replace(file, role="replay"))
        parent = where.parent
    return list(found.values())


def replayed_rows(share: float, num_new: int, num_earlier: int) -> int:
    """Return how many earlier rows are mixed in: a share of the new ones, and no more than there are."""
    return min(num_earlier, round(share * num_new))


def told(resolved: ResolvedConfig, start: Start | None) -> ResolvedConfig:
    """Return the configuration saying of each setting that came with the adapter where it came from."""
    if start is None:
        return resolved
    reason = f"as the adapter {start.model.label} has it"
    return replace(resolved, sources={**resolved.sources, **{key: Source("automatic", reason) for key in start.lora}})


def _named(workspace: Workspace, text: str, base: str | None) -> LocalModel:
    """Return the model; the base that was written stands in where an adapter's own name for it means nothing here."""
    try:
        return local_model(workspace, text)
    except BaseMissing:
        if base is None:
            raise
        return local_model(workspace, text, base=base)


def _model_settings(
    workspace: Workspace, source: ModelSource, model: LocalModel, name: Setting | None, revision: Setting | None
) -> dict[str, Any]:
    """Return what the base is called in the settings.

    Raises:
        BaseChanged: Another one is written there.
    """
    if name is None or name.preset:
        named_so = source.kind == "hub" or _means(workspace, source.given, source.source)
        own: dict[str, Any] = {"model.name": source.given if named_so else source.source}
    else:
        own = {}
        written = workspace.model(str(name.value), str(revision.value) if revision and revision.value else None)
        there = provenance.model_source(str(name.value), written.kind, written.source, written.revision)
        equal = there.fingerprint == source.fingerprint if source.kind != "hub" else there.source == source.source
        if not equal:
            raise BaseChanged(
                f"The adapter {model.label} was trained on {source.given}, and model.name is {str(name.value)[:200]}, "
                f"whose files are not the same ({name.place}).",
                remedy="Leave model.name out: an adapter belongs to the base it was trained on.",
            )
    if source.kind == "hub" and source.fingerprint:
        if revision is not None and revision.value and not revision.preset:
            commit = provenance.cached_commit(source.source, str(revision.value))
            if commit and commit != source.fingerprint:
                raise BaseChanged(
                    f"The adapter {model.label} was trained on commit {source.fingerprint[:10]} of {source.given}, and "
                    f"model.revision is {str(revision.value)[:40]}, commit {commit[:10]}.",
                    remedy=f"Leave model.revision out, or set it to {source.fingerprint}.",
                )
        own["model.revision"] = source.fingerprint
    return own


def _means(workspace: Workspace, name: str, source: str) -> bool:
    """Whether a name that a run was given leads to the same folder here."""
    try:
        return workspace.model(name).source == source
    except NotFound:
        return False


def _lora_settings(adapter: Adapter) -> dict[str, Any]:
    """Return an adapter's own settings under our names.

    Raises:
        AdapterUnusable: Training on would not train what it holds, or change the base.
    """
    if adapter.bias != "none":
        raise AdapterUnusable(
            f"The adapter in {adapter.path} holds biases of its base (bias: {adapter.bias[:40]}); that is not offered.",
            remedy="Merge it first, and begin with a new adapter on the merged model.",
        )
    if adapter.changes_base:
        raise AdapterUnusable(
            f"The adapter in {adapter.path} was begun with {adapter.init_lora_weights[:40]}, which rewrites its base.",
            remedy="Convert it with PEFT (path_initial_model_for_weight_conversion), or merge it first.",
        )
    raw = read_json(adapter.path / "adapter_config.json")
    dropout = raw.get("lora_dropout")
    first = adapter.init_lora_weights
    return {
        "lora.r": int(adapter.r),
        "lora.lora_alpha": int(adapter.lora_alpha),
        "lora.lora_dropout": float(dropout) if isinstance(dropout, int | float) else 0.0,
        "lora.target_modules": list(adapter.target_modules) or _adapted(adapter),
        "lora.use_rslora": adapter.use_rslora,
        "lora.use_dora": adapter.use_dora,
        "lora.init_lora_weights": first if first in _INITIALISATIONS else True,
        "lora.modules_to_save": list(adapter.modules_to_save) or None,
    }


def _refuse_to_stack(adapter: Adapter) -> None:
    """Raise where an adapter and a new one beside it could not be saved as one ordinary adapter."""
    reasons = {
        f"it rewrites its base ({adapter.init_lora_weights[:40]})": adapter.changes_base,
        f"it holds biases of its base (bias: {adapter.bias[:40]})": adapter.bias != "none",
        "it learned magnitude and direction apart (DoRA)": adapter.use_dora,
        "it holds whole modules": bool(adapter.modules_to_save),
    }
    for reason, is_so in reasons.items():
        if is_so:
            raise AdapterUnusable(
                f"The adapter in {adapter.path} cannot be put beside a new one: {reason}.",
                remedy="Set model.adapter_mode: merge.",
            )


def _adapted(adapter: Adapter) -> list[str]:
    """Return the last names of the modules it holds matrices for, where its configuration has a pattern."""
    names = {match[1] for name in adapter.tensors if (match := re.search(r"([^.]+)\.lora_[AB]", name))}
    return sorted(names) or ["all-linear"]


def _source(workspace: Workspace, given: str, model: LocalModel) -> AdapterSource:
    """Return what identifies the adapter. One that a run made is proven by its manifest, byte by byte.

    Raises:
        CheckpointError: Its weights are not what the manifest says.
    """
    assert model.adapter is not None
    weights = model.adapter / ADAPTER_WEIGHTS
    about_file = weights.stat()
    digest = _sha256(weights, about_file.st_mtime_ns, about_file.st_size)
    listed = checkpoints.read_checkpoint(model.adapter)
    about = listed.files.get(ADAPTER_WEIGHTS) if listed is not None else None
    if about is not None and about.get("sha256") != digest:
        raise CheckpointError(
            f"{model.label} cannot be continued: {ADAPTER_WEIGHTS} differs from its hash.",
            remedy="Choose another checkpoint.",
        )
    run, run_id, checkpoint, step = model.run, None, model.checkpoint, model.step
    origin = promoted(model.adapter)
    if run is None and isinstance(origin.get("run"), str):  # a copy in models/: of which run, if that is still here
        made_by = RunDirectory(workspace.runs / origin["run"])
        own = checkpoints.read_json(made_by.provenance).get("run_id")
        if own is not None and own == origin.get("run_id"):
            run, checkpoint, step = origin["run"], origin.get("checkpoint"), origin.get("step")
    if run is not None:
        run_id = checkpoints.run_id(RunDirectory(workspace.runs / run))
    return AdapterSource(given, str(model.adapter), digest, run, run_id, checkpoint, step)


@functools.lru_cache(maxsize=8)
def _sha256(path: Path, _mtime_ns: int, _size: int) -> str:
    """Remembered: a form settles at every key."""
    return checkpoints.sha256(path)


def _written(run: RunDirectory) -> set[str]:
    """Return the keys that somebody wrote for a run, or a preset did: what was neither decided nor at its default."""
    sources = read_sources(read_file(run.config))
    return {key for key, source in sources.items() if source.kind in ("given", "preset")}
