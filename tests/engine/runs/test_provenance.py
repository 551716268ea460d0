"""Where a run comes from: what is written, read back, and named when it changed, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from engine.errors import WorkspaceError
from engine.runs import provenance
from engine.runs.directory import RunDirectory
from engine.runs.provenance import (
    PACKAGES,
    DataFile,
    Provenance,
    cached_commit,
    changes_since,
    collect,
    data_file,
    folder_fingerprint,
    model_source,
    read_provenance,
    versions,
)
from tests.engine.faults import permissions_hold

MEGABYTE = 1 << 20
ONE_COMMIT, OTHER_COMMIT = "1" * 40, "2" * 40


class Made:
    """A run, and the files it was made from."""

    def __init__(self, folder: Path) -> None:
        self.train, self.validation = folder / "train.jsonl", folder / "val.jsonl"
        self.train.write_text('{"question": "q", "answer": "a"}\n')
        self.validation.write_text('{"question": "q2", "answer": "a2"}\n')
        self.model = folder / "model"
        self.model.mkdir()
        (self.model / "config.json").write_text("{}")
        (self.model / "model.safetensors").write_bytes(bytes(1000))
        self.run = RunDirectory(folder / "run-1")
        self.run.path.mkdir()
        self.run.config.write_text("method: sft\n")
        self.was = collect(
            parent="run-0",
            config=self.run.config.read_text(),
            model=model_source("my-model", "folder", str(self.model), None),
            data=[
                data_file("train", "train.jsonl", self.train, 1),
                data_file("validation:retain", "val.jsonl", self.validation, 1),
                data_file("validation:unlearn", "val.jsonl", self.validation, 1),
            ],
            workspace=folder,
        )
        self.write(self.was)

    def write(self, was: Provenance) -> None:
        self.run.provenance.write_text(was.to_json())


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


def test_what_is_written_is_read_back(made: Made) -> None:
    assert read_provenance(made.run) == made.was
    assert made.was.parent == "run-0"
    assert len(made.was.run_id) == 32
    assert made.was.machine["cores"] == os.cpu_count()


def test_every_run_has_an_id_of_its_own(made: Made) -> None:
    other = collect(parent=None, config="", model=made.was.model, data=[], workspace=made.run.path)
    assert other.run_id != made.was.run_id


def test_files_are_known_by_their_role(made: Made) -> None:
    assert [file.given for file in made.was.files("train")] == ["train.jsonl"]
    assert made.was.validation_sets() == ["retain", "unlearn"]
    assert made.was.files("validation:retain")[0].path == str(made.validation)
    assert made.was.files("validation:other") == []


@pytest.mark.parametrize(
    "content",
    [None, "", "[]", "null", '"x"', "{}", '{"model": 5, "data": []}', '{"model": {}, "data": [5]}', "[" * 9999, "\xff"],
    ids=lambda content: ascii(content)[:20],
)
def test_a_damaged_file_is_refused_with_a_remedy(made: Made, content: str | None) -> None:
    made.run.provenance.unlink()
    if content is not None:
        made.run.provenance.write_text(content, encoding="latin-1")
    for ask in (read_provenance, changes_since):
        with pytest.raises(WorkspaceError, match=r"provenance\.json cannot be read") as refused:
            ask(made.run)
        assert "backup" in refused.value.remedy


@pytest.mark.parametrize("part", ["model", "data"])
def test_a_field_that_is_missing_is_a_damaged_file(made: Made, part: str) -> None:
    raw = json.loads(made.was.to_json())
    del (raw["model"] if part == "model" else raw["data"][0])["given"]
    made.run.provenance.write_text(json.dumps(raw))
    with pytest.raises(WorkspaceError):
        read_provenance(made.run)


# -- changes -------------------------------------------------------------------------------------------------


def edit_weights(made: Made) -> None:
    (made.model / "model.safetensors").write_bytes(bytes(999) + b"\1")


def rename_run_yaml(made: Made) -> None:
    made.run.config.rename(made.run.path / "old.yaml")


def remove_model(made: Made) -> None:
    made.model.rename(made.model.with_name("moved"))


FILES_CHANGED = "the files of the model my-model were changed"
CHANGES: list[tuple[str, Callable[[Made], object], str]] = [
    ("settings edited", lambda m: m.run.config.write_text("method: dpo\n"), "run.yaml was edited"),
    ("settings gone", rename_run_yaml, "run.yaml is gone ({run}/run.yaml)"),
    ("data longer", lambda m: m.train.write_text('{"question": "longer", "answer": "a"}\n'), "train.jsonl was changed"),
    ("data of one size", lambda m: m.train.write_text('{"question": "Q", "answer": "a"}\n'), "train.jsonl was changed"),
    ("data emptied", lambda m: m.train.write_text(""), "train.jsonl was changed"),
    ("data gone", lambda m: m.train.unlink(), "train.jsonl is gone ({train})"),
    ("data of two sets", lambda m: m.validation.write_text("x"), "val.jsonl was changed"),
    ("weights", edit_weights, FILES_CHANGED),
    ("model's settings", lambda m: (m.model / "config.json").write_text("[]"), FILES_CHANGED),
    ("model's code", lambda m: (m.model / "modeling.py").touch(), FILES_CHANGED),
    ("model gone", remove_model, "the model folder is gone ({model})"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), [case[1:] for case in CHANGES], ids=[case[0] for case in CHANGES])
def test_exactly_what_changed_is_named(made: Made, change: Callable[[Made], object], said: str) -> None:
    assert changes_since(made.run) == []
    change(made)
    assert changes_since(made.run) == [said.format(run=made.run.path, train=made.train, model=made.model)]


def test_all_that_changed_is_named_in_order(made: Made) -> None:
    made.run.config.write_text("x")
    made.train.write_text("x")
    edit_weights(made)
    assert changes_since(made.run) == [
        "run.yaml was edited",
        "train.jsonl was changed",
        FILES_CHANGED,
    ]


def test_what_says_nothing_about_results_is_no_change(made: Made) -> None:
    (made.model / "README.md").write_text("new words")
    (made.model / ".cache").mkdir()
    for path in (made.train, made.model / "config.json"):
        os.utime(path, (1, 1))
    assert changes_since(made.run) == []


@pytest.mark.parametrize("what", ["data", "model", "settings"])
def test_what_may_not_be_read_is_said_and_not_called_changed(made: Made, what: str) -> None:
    path = {"data": made.train, "model": made.model / "config.json", "settings": made.run.config}[what]
    path.chmod(0o000)
    with permissions_hold():
        (said,) = changes_since(made.run)
    assert "cannot be read: Permission denied" in said


def test_a_folder_in_the_place_of_data_is_said(made: Made) -> None:
    made.train.unlink()
    made.train.mkdir()
    (said,) = changes_since(made.run)
    assert said.startswith("train.jsonl")


# -- models --------------------------------------------------------------------------------------------------


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that makes the local cache hold a commit of org/model under a reference."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    references = tmp_path / "hub" / "models--org--model" / "refs"
    references.mkdir(parents=True)

    def point(reference: str, commit: str) -> None:
        (references / reference).write_text(commit)

    return point


def test_a_hub_model_is_known_by_its_cached_commit(hub: Callable[[str, str], None]) -> None:
    assert cached_commit("org/model", None) == ""
    hub("main", f"{ONE_COMMIT}\n")
    hub("v1", OTHER_COMMIT)
    assert cached_commit("org/model", None) == ONE_COMMIT
    assert cached_commit("org/model", "v1") == OTHER_COMMIT
    assert cached_commit("org/model", "a" * 40) == "a" * 40
    assert cached_commit("org/other", None) == ""
    assert cached_commit("org/model", "\0") == ""


@pytest.mark.parametrize("variable", ["HF_HOME", "HOME"])
def test_the_cache_is_where_the_library_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    home = tmp_path if variable == "HF_HOME" else tmp_path / ".cache" / "huggingface"
    references = home / "hub" / "models--org--model" / "refs"
    references.mkdir(parents=True)
    (references / "main").write_text(ONE_COMMIT)
    assert cached_commit("org/model", None) == ONE_COMMIT


@pytest.mark.parametrize("revision", [None, "v1", ONE_COMMIT], ids=["main", "a tag", "a commit"])
def test_a_hub_model_changed_only_when_its_own_revision_moved(
    made: Made, hub: Callable[[str, str], None], revision: str | None
) -> None:
    hub("main", OTHER_COMMIT if revision else ONE_COMMIT)
    hub("v1", ONE_COMMIT)
    source = model_source("org/model", "hub", "org/model", revision)
    assert source.fingerprint == ONE_COMMIT
    made.write(replace(made.was, model=source))
    assert changes_since(made.run) == []
    hub("main", "3" * 40)
    hub("v1", "3" * 40)
    moved = [f"org/model is at commit {'3' * 10}, it was at {'1' * 10}"]
    assert changes_since(made.run) == ([] if revision == ONE_COMMIT else moved)


def test_a_hub_model_that_was_not_cached_yet_has_not_changed(made: Made, hub: Callable[[str, str], None]) -> None:
    made.write(replace(made.was, model=model_source("org/model", "hub", "org/model", None)))
    hub("main", ONE_COMMIT)
    assert changes_since(made.run) == []


def test_a_hub_model_that_left_the_cache_has_not_changed(made: Made, hub: Callable[[str, str], None]) -> None:
    hub("main", ONE_COMMIT)
    made.write(replace(made.was, model=model_source("org/model", "hub", "org/model", None)))
    hub("main", "")
    assert changes_since(made.run) == []


@pytest.mark.parametrize(
    ("at", "seen"),
    [(0, True), (MEGABYTE - 1, True), (2 * MEGABYTE, False), (4 * MEGABYTE - 1, True), (3 * MEGABYTE, True)],
)
def test_the_ends_of_large_weights_are_read(tmp_path: Path, at: int, seen: bool) -> None:
    weights = tmp_path / "model.safetensors"
    content = bytearray(4 * MEGABYTE)
    weights.write_bytes(content)
    before = folder_fingerprint(tmp_path)
    content[at] = 1
    weights.write_bytes(content)
    assert (folder_fingerprint(tmp_path) != before) is seen


@pytest.mark.parametrize("size", [MEGABYTE, MEGABYTE + 1, 2 * MEGABYTE - 1, 2 * MEGABYTE])
def test_every_byte_of_small_weights_is_read(tmp_path: Path, size: int) -> None:
    weights = tmp_path / "model.safetensors"
    content = bytearray(size)
    weights.write_bytes(content)
    before = folder_fingerprint(tmp_path)
    for at in (0, size // 2, size - 1):
        content[at] ^= 1
        weights.write_bytes(content)
        assert folder_fingerprint(tmp_path) != before
        content[at] ^= 1


def test_a_file_renamed_or_moved_over_the_boundary_of_another_is_seen(tmp_path: Path) -> None:
    for name, content in (("a.json", b"12"), ("b.json", b"3")):
        (tmp_path / name).write_bytes(content)
    before = folder_fingerprint(tmp_path)
    (tmp_path / "a.json").write_bytes(b"1")
    (tmp_path / "b.json").write_bytes(b"23")
    moved = folder_fingerprint(tmp_path)
    (tmp_path / "b.json").rename(tmp_path / "c.json")
    assert len({before, moved, folder_fingerprint(tmp_path)}) == 3


# -- machine -------------------------------------------------------------------------------------------------


def test_versions_are_told_without_importing_anything() -> None:
    script = "import sys; from engine.runs.provenance import versions; found = versions(); "
    script += "print(sorted(found) and [m for m in ('torch', 'transformers', 'trl', 'peft') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
    assert set(versions()) == set(PACKAGES)


def test_a_package_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance, "PACKAGES", ("pytest", "no-such-package"))
    assert versions() == {"pytest": pytest.__version__, "no-such-package": "not installed"}


def test_the_commit_of_a_workspace_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    def commit() -> str | None:
        model = model_source("m", "folder", str(tmp_path), None)
        return collect(parent=None, config="", model=model, data=[], workspace=tmp_path).git_commit

    assert commit() is None
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x"]
    subprocess.run([*git, "init", "-q"], check=True)
    assert commit() is None
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    assert len(commit() or "") == 40
    monkeypatch.setenv("PATH", "")
    assert commit() is None


def test_a_data_file_is_noted_with_its_hash(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    noted = data_file("train", "link", tmp_path / "link", 7)
    assert noted == DataFile("train", "link", str(tmp_path / "abc"), sha256, 3, 7)
