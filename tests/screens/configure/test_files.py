"""Opening, saving, duplicating and keeping settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine.config.load import preset
from engine.errors import ConfigError, EngineError, NotFound, UsageError, WorkspaceError
from engine.launch.prepare import new_run
from engine.workspace import Workspace
from screens.configure import files
from screens.configure.draft import Draft


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_what_is_saved_is_opened_again_letter_by_letter(tmp_path: Path) -> None:
    draft = Draft("# ä thought\nmodel:\n    name: tiny # here\n")
    saved = files.save(draft, tmp_path, "configs/run.yaml")
    assert not saved.changed
    opened = files.open_file(tmp_path, "configs/run.yaml")
    assert (opened.text, opened.path) == (draft.text, tmp_path / "configs/run.yaml")
    assert files.configurations(tmp_path) == ["configs/run.yaml"]
    assert files.free_path(tmp_path) == "run.yaml"


def test_a_file_that_somebody_else_changed_is_not_replaced_without_a_yes(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model:\n  name: tiny\n")
    draft = files.open_file(tmp_path, "run.yaml").put("model.name", "other")
    path.write_text("model:\n  name: theirs\n")
    with pytest.raises(files.FileChanged, match="since it was opened"):
        files.save(draft, tmp_path)
    assert "theirs" in path.read_text()
    assert not files.save(draft, tmp_path, overwrite=True).changed
    assert path.read_text() == "model:\n  name: other\n"
    with pytest.raises(files.FileChanged, match="there already"):
        files.save(Draft("a: 1\n"), tmp_path, "run.yaml")


def test_a_link_goes_on_leading_to_what_is_saved(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    place = tmp_path / "elsewhere" / "shared.yaml"
    place.write_text("data: {train: a.jsonl}\n")
    (tmp_path / "run.yaml").symlink_to(place)
    draft = files.open_file(tmp_path, "run.yaml")
    files.save(replace(draft, text="data: {train: b.jsonl}\n"), tmp_path)
    assert (tmp_path / "run.yaml").is_symlink()
    assert place.read_text() == "data: {train: b.jsonl}\n"
    assert sorted(path.name for path in place.parent.iterdir()) == ["shared.yaml"]


@pytest.mark.parametrize("name", ["", "a\0b", "folder", "file/run.yaml"])
def test_a_name_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((UsageError, WorkspaceError)):
        files.save(Draft("a: 1\n"), tmp_path, name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("content", "error"), [(b"\xff\xfe", ConfigError), (None, NotFound), (b"x" * 1_000_001, ConfigError)]
)
def test_what_is_no_text_is_not_opened(tmp_path: Path, content: bytes | None, error: type[EngineError]) -> None:
    if content is not None:
        (tmp_path / "run.yaml").write_bytes(content)
    with pytest.raises(error):
        files.open_file(tmp_path, "run.yaml")


def test_a_duplicate_has_what_was_decided_by_hand_and_settles_to_the_same(tmp_path: Path) -> None:
    given = preset("demo").override(["training.seed=7", "training.warmup_steps=auto"])
    run = new_run(Workspace(tmp_path), given, name="first")
    draft = files.from_run(tmp_path, "first")
    assert draft.reading.problems == ()
    assert draft.reading.config.training.seed == 7
    assert draft.reading.config.training.warmup_steps == "auto"
    assert draft.reading.config.lora.r == 16
    again = new_run(Workspace(tmp_path), draft.reading.given, name="second")
    values = [files.values_of_run(tmp_path, name) for name in (run.name, again.name)]
    assert values[0] == values[1]
    with pytest.raises(NotFound):
        files.from_run(tmp_path, "third")


def test_a_draft_that_was_not_saved_is_there_again(tmp_path: Path) -> None:
    assert files.kept_draft(tmp_path) is None
    draft = replace(Draft("lora:\n  r: 7 # wrong [\n"), about="from run x")
    files.keep_draft(tmp_path, draft)
    assert files.kept_draft(tmp_path) == draft
    assert files.kept_draft(tmp_path / "other") is None
    files.keep_draft(tmp_path, files.save(draft, tmp_path, "run.yaml"))
    assert files.kept_draft(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", '{"text": 1}', "\x00"])
def test_a_damaged_memory_of_a_draft_is_no_draft(tmp_path: Path, content: str) -> None:
    files.keep_draft(tmp_path, Draft("a: 1"))
    (kept,) = (tmp_path / "state").rglob("*.json")
    kept.write_text(content)
    assert files.kept_draft(tmp_path) is None


def test_what_is_compared_with_is_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("data:\n  train: x.jsonl\ntraining:\n  seed: 3\n")
    assert files.values_of_file(tmp_path, "a.yaml") == {"data.train": ["x.jsonl"], "training.seed": 3}
    assert files.values_of_preset("demo")["lora.r"] == 16
