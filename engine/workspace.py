"""A workspace: a folder with `datasets/`, `models/` and `runs/`, and the shipped samples behind it.

Standard library only, and without `dataclasses` (a third of this module's import time): `ftconsole runs` starts here.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from engine.errors import NotFound, WorkspaceError

BUILT_IN = "tiny"
"""The model that needs no network: `models/tiny`."""

# huggingface_hub.utils.validate_repo_id: 96 characters of these, no "--" or "..", no hyphen or dot at either end.
_HUB_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*")
_DATA_ENDINGS = (".jsonl", ".json", ".txt")
_LISTED_FILES = 2_000
"""How many files are looked at for the nearest name."""


class ModelReference(NamedTuple):
    """A base model, found or named."""

    kind: str
    """"builtin", "folder" or "hub"."""
    name: str
    """As the user named it; the Hub name where that was a name of the catalogue."""
    path: Path | None
    """The folder; None for a Hub model, which is in the Hub's cache or has to be fetched."""
    revision: str | None
    """Branch, tag or commit of a Hub model; None for the newest, and for folders."""

    @property
    def source(self) -> str:
        """What `from_pretrained` takes."""
        return self.name if self.path is None else str(self.path)


class Workspace:
    """Where data, models and runs are looked for.

    Args:
        path: The folder. Made absolute; need not be writable, nor hold any of the three folders yet.
    """

    __slots__ = ("path",)

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.abspath(path))

    def __repr__(self) -> str:
        return f"Workspace({str(self.path)!r})"

    @classmethod
    def find(cls, path: str | Path | None = None) -> Workspace:
        """Return the workspace at `path`; None is the current folder.

        Raises:
            NotFound: There is no such folder.
            WorkspaceError: It is not a folder, or may not be read.
        """
        shown = os.curdir if path is None else str(path)
        try:
            folder = Path(path).expanduser() if path is not None else Path.cwd()
            if folder.is_dir():
                os.scandir(folder).close()
                return cls(folder)
            exists = folder.exists()
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: ~nobody
            raise WorkspaceError(
                f"The workspace {shown!r} cannot be used: {_reason(error)}.",
                remedy="Choose another folder with -w.",
            ) from error
        if exists:
            raise WorkspaceError(f"{shown!r} is not a folder.", remedy="Choose a folder with -w.")
        raise NotFound(f"There is no folder {shown!r}.", remedy="Make it with mkdir, or choose another with -w.")

    @property
    def datasets(self) -> Path:
        return self.path / "datasets"

    @property
    def models(self) -> Path:
        return self.path / "models"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    def make_runs_folder(self) -> Path:
        """Return `runs/`, made with mode 0700 when it is missing, and proven writable.

        Raises:
            WorkspaceError: It cannot be made or written; nothing new is left behind.
        """
        made = False
        try:
            if not self.runs.is_dir():
                self.runs.mkdir(mode=0o700)
                made = True
            # Asking the permission bits is not enough: root, read-only mounts, full disks and quotas.
            probe = self.runs / f".probe-{os.getpid()}-{os.urandom(4).hex()}"
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            probe.unlink()
        except OSError as error:
            from engine.journal import write_error  # only on this path

            if made:
                self.runs.rmdir()
            raise write_error(self.runs, error) from error
        return self.runs

    def data_file(self, text: str) -> Path:
        """Return the file a configuration calls `text`.

        Relative paths are looked for in the workspace, then in the current folder, then among the shipped samples.

        Raises:
            NotFound: It is in none of them; the message names them, the remedy the nearest name there is.
            WorkspaceError: It is a folder, or may not be looked at.
        """
        place = self._data_place(text)
        if place.is_dir():
            raise WorkspaceError(f"{str(place)!r} is a folder, not a file of rows.", remedy="Name a file in it.")
        return place

    def data_files(self, text: str, split: str) -> tuple[Path, ...]:
        """Return the files a configuration calls `text`: one, or those of one split of a folder or data set.

        Args:
            text: As in `data_file`, or a folder whose files are called train, valid, val, eval or test, or a data set
                of the Hub that is in the Hub's cache on this machine.
            split: "train", "validation" or "test".

        Raises:
            NotFound: There is none such, or it has no files of this split.
            WorkspaceError: It may not be looked at.
        """
        from engine.data.places import split_files

        place = self._data_place(text)
        if not place.is_dir():
            return (place,)
        splits = split_files(place)
        if split not in splits:
            has = f" It has {', '.join(splits)}." if splits else ""
            raise NotFound(
                f"{text[:200]!r} has no data files for {split}.{has}", remedy="Name a file, or rename the files in it."
            )
        return splits[split]

    def _data_place(self, text: str) -> Path:
        """Return a file, else a folder; a data set of the Hub is the folder of its cache."""
        folder: Path | None = None
        for candidate in self._candidates(text):
            if candidate.is_file():
                return candidate
            if candidate.is_dir():
                folder = folder or candidate
        on_the_hub = _HUB_NAME.fullmatch(text) is not None
        if folder is None and on_the_hub:
            from engine.data.places import dataset_folder

            folder = dataset_folder(text)
        if folder is not None:
            return folder
        near = self._nearest(text)
        remedy = f"Did you mean {near}?" if near else "Check the path; one row per line, as JSON."
        if not near and on_the_hub and not text.lower().endswith(_DATA_ENDINGS):
            remedy = f"Check the path. A data set of the Hub is fetched first: hf download {text} --repo-type dataset"
        raise NotFound(f"There is no data file {text[:200]!r}{self._looked_in(text)}.", remedy=remedy)

    def lasting_path(self, text: str) -> str:
        """Return `text` so that it means the same file, folder or data set from any current folder.

        What is in the workspace or among the samples stays relative, so that a workspace can be moved.

        Raises:
            NotFound, WorkspaceError: As `data_files`.
        """
        place = self._data_place(text)
        cached = _HUB_NAME.fullmatch(text) and place not in self._candidates(text)
        return text if cached else self._lasting(text, place)

    def model(self, text: str, revision: str | None = None) -> ModelReference:
        """Return the base model a configuration calls `text`. Never touches the network or the Hub's cache.

        Args:
            text: "tiny", a folder (absolute, or relative as in `data_file`), a name in `models/`, a name of the
                catalogue, or `org/name`.
            revision: Of a Hub model.

        Raises:
            NotFound: It is none of these, or a folder without `config.json`.
        """
        if "://" in text:  # not shown: it may hold a password
            raise NotFound("A model is not named by an address.", remedy="Write a Hub model as org/name.")
        folders = self.folders(text)
        for folder in folders:
            if (folder / "config.json").is_file():
                return ModelReference(self.kind_of(folder), text, folder, None)
        if folders:
            folder = folders[0]
            adapter = (folder / "adapter_config.json").is_file()
            raise NotFound(
                f"The folder {str(folder)!r} holds no model: it has no config.json.",
                remedy="It is an adapter; name the base model it was trained on."
                if adapter
                else "Name a folder written by save_pretrained.",
            )
        if _HUB_NAME.fullmatch(text) and _valid_on_hub(text):
            return ModelReference("hub", text, None, revision)
        names = self._catalogue_names()
        if text in names:
            return ModelReference("hub", names[text], None, revision)
        near = self._nearest_model(text, names)
        raise NotFound(
            f"There is no model {text[:200]!r}{self._looked_in(text)}, and it is no Hub name.",
            remedy=f"Did you mean {near}?" if near else "Name a folder, tiny, or a Hub model as org/name.",
        )

    def folders(self, text: str) -> list[Path]:
        """Return the folders that `text` may name: those in `models/`, then of that path, each in the order of
        `data_file`. What begins with "./" or "../" is a path and no name.

        Raises:
            NotFound: No folder can have that name.
        """
        names = [] if text.startswith(("./", "../")) else [*self._candidates(f"models/{text}")]
        return [path for path in (*names, *self._candidates(text)) if path.is_dir()]

    def kind_of(self, folder: Path) -> str:
        """Return "builtin" for the model that comes with the program, else "folder"."""
        return "builtin" if folder == shipped_folder() / "models" / BUILT_IN else "folder"

    def lasting_model(self, text: str) -> str:
        """Return `text` so that it means the same model from any current folder.

        Raises:
            NotFound: As `model`.
        """
        found = self.model(text)
        return found.name if found.path is None else self._lasting(text, found.path)

    def catalogue_files(self) -> list[Path]:
        """Return the model catalogues there are: the workspace's own first, then the shipped one."""
        files = (place / "models" / "catalogue.yaml" for place in dict.fromkeys((self.path, shipped_folder())))
        return [file for file in files if file.is_file()]

    def _places(self) -> list[Path]:
        places = [self.path]
        with contextlib.suppress(OSError):  # the current folder was deleted
            places.append(Path.cwd())
        return list(dict.fromkeys([*places, shipped_folder()]))

    def _candidates(self, text: str) -> Iterator[Path]:
        """Yield where `text` may be: one place when it is absolute.

        Raises:
            NotFound: No file can have that name.
        """
        try:
            path = Path(text).expanduser()
            if not text.strip() or "\0" in text:
                raise ValueError("empty, or with a NUL in it")
            for candidate in [path] if path.is_absolute() else [place / path for place in self._places()]:
                candidate.exists()  # an unusable name fails here, on every path the same
                yield candidate
        except PermissionError as error:
            raise WorkspaceError(
                f"{text[:200]!r} may not be looked at: {_reason(error)}.", remedy="Check the permissions of its folder."
            ) from error
        except (OSError, ValueError, RuntimeError) as error:
            raise NotFound(f"{text[:200]!r} is no path: {_reason(error)}.", remedy="Check the path.") from error

    def _lasting(self, text: str, found: Path) -> str:
        kept = (self.path, shipped_folder())
        if any(found in (place / text, place / "models" / text) for place in kept):
            return text
        return os.path.abspath(found)

    def _looked_in(self, text: str) -> str:
        if os.path.isabs(os.path.expanduser(text)):
            return ""
        return " in " + ", ".join(str(place) for place in self._places())

    def _nearest(self, text: str) -> str | None:
        import difflib  # only on this path

        names: dict[str, None] = {}
        for place in self._places():
            names.update(dict.fromkeys(_files(place / "datasets", "datasets")))
        parent = os.path.dirname(text)
        for place in self._places():
            names.update(dict.fromkeys(_files(place / os.path.expanduser(parent), parent, deep=False)))
        if near := difflib.get_close_matches(text, list(names), n=1, cutoff=0.7):
            return near[0]
        last = {name.rpartition("/")[2]: name for name in names}
        near = difflib.get_close_matches(text.rpartition("/")[2], list(last), n=1, cutoff=0.7)
        return last[near[0]] if near else None

    def _catalogue_names(self) -> dict[str, str]:
        from engine.config.catalogue import catalogue  # YAML costs 20 ms, and a folder or Hub name needs none

        return {entry.name: entry.hub for entry in catalogue(self).values() if entry.hub is not None}

    def _nearest_model(self, text: str, catalogue_names: dict[str, str]) -> str | None:
        import difflib

        folders = {path.parent.name for place in self._places() for path in place.glob("models/*/config.json")}
        names = {BUILT_IN, *folders, *catalogue_names, *catalogue_names.values()} - {text}
        near = difflib.get_close_matches(text, sorted(names), n=1, cutoff=0.6)
        return near[0] if near else None


def named_path(text: str | Path) -> Path:
    """Return a path with `~` for the home folder; one of a user there is none of is a name, as it is to a shell."""
    return Path(os.path.expanduser(text))


def shipped_folder() -> Path:
    """Return the folder whose `datasets/` and `models/` came with the program: inside the wheel, or the checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "shipped"
    return inside if inside.is_dir() else here.parent


def check_run_name(name: str) -> str:
    """Return `name` if a run may be called so: 1 to 64 letters, digits, dots, hyphens and underscores.

    Raises:
        InvalidName: It could leave the `runs` folder, be taken for an option, or not be shown safely.
    """
    from engine.runs.directory import check_name  # the rule is there; it brings the journal with it

    return check_name(name)


def _valid_on_hub(name: str) -> bool:
    return (
        len(name) <= 96
        and "--" not in name
        and ".." not in name
        and not name.endswith((".git", ".ipynb"))
        and not any(part[-1] in "-." for part in name.split("/"))
    )


def _files(folder: Path, shown: str, *, deep: bool = True) -> Iterator[str]:
    """Yield the data files of a folder and of the folders in it as `shown/...`, at most `_LISTED_FILES`."""
    listed = 0
    folders = [(folder, shown, deep)]
    while folders:
        current, prefix, further = folders.pop()
        try:
            entries = sorted(os.scandir(current), key=lambda entry: entry.name)
        except (OSError, ValueError):
            continue
        for entry in entries:
            listed += 1
            if listed > _LISTED_FILES or entry.name.startswith("."):
                continue
            name = f"{prefix}/{entry.name}" if prefix else entry.name
            if entry.name.endswith(_DATA_ENDINGS) and entry.is_file():
                yield name
            elif further and entry.is_dir():
                folders.append((Path(entry.path), name, False))


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error).rstrip(".")
