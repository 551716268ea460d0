"""What a person calls a model: a run, one of its checkpoints, a folder, a name, an address. The same everywhere.

Standard library only at import, and cheap: names are resolved and sizes compared, no weights are read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from engine.errors import CheckpointError, EngineError, NotFound, UsageError, WorkspaceError
from engine.runs.directory import RunDirectory
from engine.runs.provenance import ModelSource
from engine.workspace import Workspace

BASE = "base"
LM_STUDIO = "lmstudio:"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_STEP = re.compile(r"checkpoint-([0-9]{1,12})")
_FORMS = (
    "Name a run (voice-1), one of its checkpoints (voice-1@120, voice-1@best), a folder, a model, lmstudio:MODEL or "
    "http://HOST:PORT/v1#MODEL."
)
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json")


class BaseMissing(NotFound):
    """The base that an adapter was trained on is not on this machine."""

    code = "base-missing"


class BaseChanged(CheckpointError):
    """What stands where the base was is not what the adapter was trained on."""

    code = "base-changed"


@dataclass(frozen=True, slots=True)
class Base:
    """The base of whatever stands on the other side."""

    given: str


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A model whose weights are here, or in the Hub's cache: a base, and perhaps an adapter on it."""

    given: str
    label: str
    """Short, for people: "voice-1@best". Foreign: to be shown, never obeyed."""
    base: ModelSource
    """`fingerprint` is empty where nothing proves which base it was: an adapter of another tool, or no adapter."""
    adapter: Path | None = None
    """Folder of the adapter; None: a full model, at `base.source`."""
    run: str | None = None
    """Name of the run it came from."""
    checkpoint: str | None = None
    """Name of its folder: "checkpoint-50", "best", "final"."""
    step: int | None = None
    chat_template: str | None = None
    """Text standing for the model's own template."""
    training_bits: int | None = None
    """4 or 8 where the base was quantised while it was trained; None where it was not, or nothing says."""
    trust_remote_code: bool = False
    """Whether its run was told to run code of the model's repository."""

    @property
    def tokenizer(self) -> Path | None:
        """Folder with the tokenizer saved beside the adapter; None: the base's is the one."""
        folder = self.adapter
        has = folder is not None and any((folder / name).is_file() for name in _TOKENIZER_FILES)
        return folder if has else None

    @property
    def identity(self) -> tuple[str, str, str]:
        """Equal for two that stand on the same base."""
        return self.base.kind, self.base.source, self.base.fingerprint or self.base.revision or ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model behind an address."""

    given: str
    label: str
    kind: Literal["lmstudio", "openai"]
    base_url: str
    """Such as "http://localhost:1234/v1", without a slash at its end; empty where LM Studio has to be found first."""
    model: str
    """As the server calls it."""


Spec: TypeAlias = Base | LocalModel | Endpoint


class _Named(NamedTuple):
    """`NAME@CHECKPOINT`, taken apart."""

    name: str
    checkpoint: str | None


def find_spec(workspace: Workspace, text: str, *, base: str | None = None) -> Spec:
    """Return what `text` names.

    Args:
        workspace: Where runs, folders and models are looked for.
        text: `base`; a run, which is its `best`, else its `final`, else its newest whole checkpoint; `RUN@CHECKPOINT`
            (`@120`, `@checkpoint-120`, `@best`, `@final`); a folder with an adapter, a model or a trainer's
            checkpoints, perhaps with `@checkpoint-N`; a name in `models/`; `tiny`; a Hub name; `lmstudio:MODEL`;
            `http(s)://HOST:PORT/v1#MODEL`. A run wins over a folder of its name; `./x` is always the folder.
        base: Model that an adapter is put on whatever it says itself, where its own name for it means nothing here.

    Raises:
        NotFound: There is no such thing; the remedy has the nearest name.
        UsageError: It is no name at all.
        CheckpointError: What it names is damaged; the message says how.
    """
    if not text.strip() or "\0" in text:
        raise UsageError("That names no model.", remedy=_FORMS)
    if text == BASE:
        return Base(text)
    if (server := find_endpoint(text)) is not None:
        return server
    named = _taken_apart(text)
    found = _in_runs(workspace, named) or _in_folders(workspace, text, named, base)
    if found is None:
        return _model(workspace, text, named)
    return found if base is None or found.run is None else _put_elsewhere(workspace, found, base)


def find_endpoint(text: str) -> Endpoint | None:
    """Return the model behind a server that `text` names; None where it is written as something else.

    Raises:
        UsageError: It is written as one, and is none.
    """
    if text.startswith(LM_STUDIO):
        model = text.removeprefix(LM_STUDIO)
        if not model.strip():
            raise UsageError("lmstudio: names no model.", remedy="Write it as lmstudio:MODEL, as `lms ls` has it.")
        return Endpoint(text, text, "lmstudio", "", model)
    return _endpoint(text) if _ADDRESS.match(text) else None


def local_model(workspace: Workspace, text: str, *, base: str | None = None) -> LocalModel:
    """Return what `text` names, where weights are needed.

    Raises:
        UsageError: It names an endpoint or `base`, which have none here.
        EngineError: As `find_spec`.
    """
    found = find_spec(workspace, text, base=base)
    if isinstance(found, LocalModel):
        return found
    what = "the base of another model" if isinstance(found, Base) else "a model behind an address"
    raise UsageError(
        f"{text[:200]!r} is {what}, and the weights themselves are needed.",
        remedy="Name a run, a checkpoint, a folder or a model.",
    )


def base_of(model: LocalModel) -> LocalModel:
    """Return the same without its adapter. It keeps the template it was trained with, so that both read the same."""
    given = model.base.given
    return replace(model, given=BASE, label=given, adapter=None, run=None, checkpoint=None, step=None)


def pair_of(workspace: Workspace, left: str, right: str) -> tuple[LocalModel | Endpoint, LocalModel | Endpoint]:
    """Return what two texts name, where either may be `base`: the base of the other.

    Raises:
        UsageError: Both are `base`, or the other has no base that is known.
        EngineError: As `find_spec`.
    """
    one, other = find_spec(workspace, left), find_spec(workspace, right)
    return _settled(one, other), _settled(other, one)


def base_folder(model: LocalModel) -> Path | None:
    """Return where the base lies on this machine; None for a Hub model that has yet to be fetched."""
    if model.base.kind != "hub":
        return Path(model.base.source)
    from engine.runs.provenance import cached_commit, hub_cache

    commit = model.base.fingerprint or cached_commit(model.base.source, model.base.revision)
    folder = hub_cache() / f"models--{model.base.source.replace('/', '--')}" / "snapshots" / commit
    return folder if commit and (folder / "config.json").is_file() else None


def prove_base(model: LocalModel) -> ModelSource:
    """Return the base with what proves that it is the one: the commit of a Hub model, the fingerprint of a folder.

    A fingerprint reads two megabytes of each file. For an adapter that names no fingerprint, shapes are compared.

    Raises:
        BaseMissing: The folder is gone.
        BaseChanged: Its files are not what they were, or the adapter does not fit it.
    """
    from engine.runs.provenance import cached_commit, folder_fingerprint

    base = model.base
    if base.kind == "hub":
        commit = base.fingerprint or cached_commit(base.source, base.revision)
        _prove_shapes(model)
        return replace(base, fingerprint=commit)
    folder = Path(base.source)
    if not (folder / "config.json").is_file():
        raise _base_missing(model.label, base.given, base.source)
    now = folder_fingerprint(folder)
    if base.fingerprint and now != base.fingerprint:
        raise BaseChanged(
            f"The files of {base.given} in {base.source} are not those that {model.label} was trained on.",
            remedy="Put the model back as it was, or name the right one with --base (of merge, export and parity).",
        )
    _prove_shapes(model)
    return replace(base, fingerprint=now)


def _prove_shapes(model: LocalModel) -> None:
    from engine.adapters import misfit, read_adapter
    from engine.weights import read_tensors

    folder = base_folder(model)
    if model.adapter is None or folder is None:
        return
    try:
        tensors = read_tensors(folder)
    except NotFound:
        return  # a pickle, or a name of its own: whoever loads it says what is wrong
    why = misfit(read_adapter(model.adapter, allow_pickle=True), tensors)
    if why is not None:
        raise BaseChanged(
            f"The adapter {model.label} is not for {model.base.given}: {why}.",
            remedy="Name the base it was trained on with --base (of merge, export and parity).",
        )


def _endpoint(text: str) -> Endpoint:
    from urllib.parse import urlsplit, urlunsplit

    remedy = "Write it as http://HOST:PORT/v1#MODEL; a key is taken from the environment or the keyring, never written."
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UsageError("That is no address.", remedy=remedy) from None
    if "@" in parts.netloc:  # not shown: it may hold a password
        raise UsageError("An address may not hold a user name or password.", remedy=remedy)
    if parts.scheme.lower() not in ("http", "https") or not host or parts.query:
        raise UsageError(f"{text[:200]!r} is no address of a server.", remedy=remedy)
    if not parts.fragment.strip():
        raise UsageError(f"{text[:200]!r} names no model.", remedy="Add it as #MODEL at the end.")
    address = urlunsplit((parts.scheme.lower(), parts.netloc, parts.path.rstrip("/"), "", ""))
    shown = host if port is None else f"{host}:{port}"
    return Endpoint(text, f"{parts.fragment} at {shown}", "openai", address, parts.fragment)


def _taken_apart(text: str) -> _Named:
    name, at, checkpoint = text.rpartition("@")
    return _Named(name, checkpoint) if at and name else _Named(text, None)


def _in_runs(workspace: Workspace, named: _Named) -> LocalModel | None:
    """Return the model of a run of this workspace; None when none is called so."""
    from engine.runs.directory import check_name

    try:
        run = RunDirectory(workspace.runs / check_name(named.name))
    except UsageError:
        return None
    return _of_run(run, named) if _is_run(run.path) else None


def _is_run(folder: Path) -> bool:
    return os.path.isfile(folder / "events.jsonl") and not folder.is_symlink()


def _of_run(run: RunDirectory, named: _Named, given: str = "") -> LocalModel:
    from engine.runs import checkpoints
    from engine.runs.provenance import read_provenance, standing_base

    own = checkpoints.run_id(run)
    if named.checkpoint is not None:
        chosen = checkpoints.find_checkpoint(run, named.checkpoint)
        why = checkpoints.fault(chosen, own, hashes=False, weights_only=True)
        if why is not None:
            raise CheckpointError(
                f"{chosen.path.name} of run {run.name} cannot be used: {why}.",
                remedy=f"Write {run.name} alone for its best whole checkpoint.",
            )
    else:
        chosen = _best_of(run, own)
    settings = _settings(run)
    text = given or (f"{named.name}@{named.checkpoint}" if named.checkpoint is not None else named.name)
    has_adapter = (chosen.path / "adapter_config.json").is_file()
    source = standing_base(run, read_provenance(run))
    source = _where_base_is(run.path.parent.parent, source, chosen.metadata.get("base_commit"))
    if not has_adapter and (chosen.path / "config.json").is_file():
        source = ModelSource(source.given, "folder", str(chosen.path), "")
    return LocalModel(
        given=text,
        label=f"{run.name}@{chosen.path.name}",
        base=source,
        adapter=chosen.path if has_adapter else None,
        run=run.name,
        checkpoint=chosen.path.name,
        step=chosen.step,
        chat_template=settings.get("chat_template"),
        training_bits=4 if settings.get("load_in_4bit") else 8 if settings.get("load_in_8bit") else None,
        trust_remote_code=settings.get("trust_remote_code") is True,
    )


def _best_of(run: RunDirectory, own: str) -> Any:
    """Return `best`, else `final`, else the newest, of those that are whole."""
    from engine.runs import checkpoints

    newest = sorted(checkpoints.all_checkpoints(run), key=lambda one: one.age_key, reverse=True)
    faults = []
    for candidate in (checkpoints.read_checkpoint(run.best), checkpoints.read_checkpoint(run.final), *newest):
        if candidate is None:
            continue
        why = checkpoints.fault(candidate, own, hashes=False, weights_only=True)
        if why is None:
            return candidate
        faults.append(f"{candidate.path.name}: {why}")
    if faults:
        raise CheckpointError(
            f"No checkpoint of run {run.name} can be used. {faults[0]}.", remedy="Restore one from a backup."
        )
    raise NotFound(f"Run {run.name} has no checkpoint yet.", remedy=f"Save one with `ftconsole save {run.name}`.")


def _settings(run: RunDirectory) -> dict[str, Any]:
    """Return the `model` section of the run's settings, of whichever version wrote them.

    Raises:
        NotFound, ConfigError: They cannot be read: a template they may hold would be passed over in silence.
    """
    from engine.config.yaml_text import read_file, read_mapping

    section = read_mapping(read_file(run.config), "run.yaml").get("model")
    entries = section.value if section is not None and isinstance(section.value, dict) else {}
    return {name: entry.value for name, entry in entries.items()}


def _where_base_is(workspace: Path, source: ModelSource, commit: object) -> ModelSource:
    """Return the base where it stands now: a workspace may have been moved since, or the program installed anew."""
    if source.kind == "hub":
        return replace(source, fingerprint=commit if isinstance(commit, str) and commit else source.fingerprint)
    if (Path(source.source) / "config.json").is_file():
        return source
    for place in (Workspace(workspace), Workspace(Path.cwd())):
        try:
            found = place.model(source.given)
        except EngineError:
            continue
        if found.path is not None:
            return replace(source, source=str(found.path), kind=found.kind)
    return source  # whoever needs it says that it is gone


def _in_folders(workspace: Workspace, text: str, named: _Named, base: str | None) -> LocalModel | None:
    """Return the model of a folder; None when no folder is called so."""
    for form in (_Named(text, None), named):
        for folder in workspace.folders(form.name):
            if (found := _of_folder(workspace, folder, form, text, base)) is not None:
                return found
        if named.checkpoint is None:
            break
    return None


def _of_folder(workspace: Workspace, folder: Path, named: _Named, given: str, base: str | None) -> LocalModel | None:
    if _is_run(folder):
        return _of_run(RunDirectory(folder), named, given)
    deep = _STEP.fullmatch(folder.name) or folder.parent.name == "stages"
    owner = folder.parent.parent if deep else folder.parent
    ours = deep or folder.name in ("best", "final")
    if ours and base is None and _is_run(owner):
        return _of_run(RunDirectory(owner), _Named(owner.name, folder.name), given)
    inner = _inner_checkpoints(folder)
    if named.checkpoint is not None:
        wanted = f"checkpoint-{named.checkpoint}" if named.checkpoint.isdigit() else named.checkpoint
        if wanted not in inner:
            have = f"It has {', '.join(inner)}." if inner else "It has none."
            raise NotFound(f"{folder} has no checkpoint {named.checkpoint[:80]!r}.", remedy=have)
        return _plain_folder(workspace, inner[wanted], folder, given, base)
    if any((folder / name).is_file() for name in ("adapter_config.json", "config.json")):
        return _plain_folder(workspace, folder, folder, given, base)
    if inner:  # a trainer's output folder: its newest checkpoint
        return _plain_folder(workspace, next(iter(inner.values())), folder, given, base)
    return None


def _inner_checkpoints(folder: Path) -> dict[str, Path]:
    """Return the `checkpoint-N` folders with a model in them, the highest step first."""
    found: dict[int, Path] = {}
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return {}
    for entry in entries:
        step = _STEP.fullmatch(entry.name)
        path = Path(entry.path)
        if step and any((path / name).is_file() for name in ("adapter_config.json", "config.json")):
            found[int(step[1])] = path
    return {found[step].name: found[step] for step in sorted(found, reverse=True)}


def _plain_folder(workspace: Workspace, folder: Path, outer: Path, given: str, base: str | None) -> LocalModel:
    """Return the adapter or model in a folder that no run of ours vouches for."""
    step = _STEP.fullmatch(folder.name)
    inside = folder != outer or step is not None
    label = f"{folder.parent.name}@{folder.name}" if inside else given
    checkpoint = folder.name if inside else None
    number = int(step[1]) if step else None
    if not (folder / "adapter_config.json").is_file():
        kind = workspace.kind_of(folder)
        return LocalModel(given, label, ModelSource(given, kind, str(folder), ""), checkpoint=checkpoint, step=number)
    from engine.adapters import read_adapter

    adapter = read_adapter(folder, allow_pickle=True)  # who loads it asks whether a pickle may be read
    source = _promoted(folder) if base is None else None
    name = base or adapter.base or (source.given if source is not None else None)
    if name is None:
        raise BaseMissing(
            f"The adapter {label} does not say which base it is for.",
            remedy="Name it with --base (of merge, export and parity).",
        )
    if source is None:
        source = (
            _source(workspace, name, None)
            if base is not None
            else _named_base(workspace, label, name, adapter.revision)
        )
    else:
        source = _where_base_is(workspace.path, source, None)
    return LocalModel(
        given=given,
        label=label,
        base=source,
        adapter=folder,
        checkpoint=checkpoint,
        step=number,
    )


def _named_base(workspace: Workspace, label: str, name: str, revision: str | None) -> ModelSource:
    try:
        return _source(workspace, name, revision)
    except WorkspaceError:
        raise
    except NotFound as error:
        raise _base_missing(label, name, "") from error


def _source(workspace: Workspace, name: str, revision: str | None) -> ModelSource:
    found = workspace.model(name, revision)
    return ModelSource(name, found.kind, found.source, "", found.revision)


def _promoted(folder: Path) -> ModelSource | None:
    """Return the base of an adapter copied out of a run, as the run knew it; None where nothing says."""
    from engine.weights import read_json

    said = read_json(folder / "promoted.json").get("base")
    try:
        source = ModelSource(**said) if isinstance(said, dict) else None
    except TypeError:
        return None
    commit = read_json(folder / "metadata.json").get("base_commit")
    if source is not None and source.kind == "hub" and isinstance(commit, str) and commit:
        return replace(source, fingerprint=commit)
    return source


def _base_missing(label: str, name: str, place: str) -> BaseMissing:
    where = f" in {place}" if place else ""
    return BaseMissing(
        f"The adapter {label} was trained on {name[:200]}, and that model is not here{where}.",
        remedy="Put it back there, or say where it is now with --base (of merge, export and parity).",
    )


def _put_elsewhere(workspace: Workspace, model: LocalModel, base: str) -> LocalModel:
    """Return the model of a run on the base that stands where `base` says; `prove_base` proves it is the same."""
    found = _source(workspace, base, model.base.revision)
    if (found.kind == "hub") != (model.base.kind == "hub"):
        return replace(model, base=found)  # nothing to prove it by but the shapes
    return replace(model, base=replace(found, fingerprint=model.base.fingerprint))


def _model(workspace: Workspace, text: str, named: _Named) -> LocalModel:
    """Return a model by name, the last thing that a text can be."""
    for form in (_Named(text, None), named):
        try:
            found = workspace.model(form.name, form.checkpoint)
        except NotFound as error:
            missing = error
            continue
        if found.kind == "hub" or form.checkpoint is None:
            source = ModelSource(form.name, found.kind, found.source, "", found.revision)
            return LocalModel(text, text, source)
    near = list(_nearest(workspace, named.name))
    remedy = f"Did you mean {near[0]}?" if near else missing.remedy if "Did you mean" in missing.remedy else _FORMS
    raise NotFound(f"There is no run, folder or model {text[:200]!r}.", remedy=remedy)


def _nearest(workspace: Workspace, name: str) -> Iterator[str]:
    import difflib  # only on this path

    from engine.runs.directory import all_runs

    runs = [run.name for run in all_runs(workspace.runs)]
    yield from difflib.get_close_matches(name, [*runs, BASE], n=1, cutoff=0.6)


def _settled(one: Spec, other: Spec) -> LocalModel | Endpoint:
    if not isinstance(one, Base):
        return one
    if isinstance(other, LocalModel) and other.adapter is not None:
        return base_of(other)
    if isinstance(other, Base):
        raise UsageError("Both sides are base, of nothing.", remedy="Name a run or an adapter on one side.")
    what = "is behind an address" if isinstance(other, Endpoint) else "is a whole model"
    raise UsageError(
        f"{other.label} {what}, so nothing says what its base is.", remedy="Name the base itself: a folder or a model."
    )
