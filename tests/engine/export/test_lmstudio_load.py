"""Loading in LM Studio what was put into its folder, through a stand-in for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.chat.lmstudio import find_lmstudio
from engine.errors import EngineError, KeyNeeded, NotFound
from engine.export import lmstudio_load
from engine.export.lmstudio_install import Installed
from engine.export.lmstudio_load import load_installed
from tests.servers.lmstudio import StandIn, lmstudio

SIZE = 7_978_368
"""Of the stand-in's only model."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmstudio_load, "_LOOK_SECONDS", 0.0)


def put(tmp_path: Path, name: str = "tiny", size: int = SIZE) -> Installed:
    path = tmp_path / f"{name}.gguf"
    path.touch()
    path.open("r+b").truncate(size)
    return Installed(path, name, "copy")


def use(monkeypatch: pytest.MonkeyPatch, there: StandIn) -> None:
    monkeypatch.setenv("FTCONSOLE_LMSTUDIO", there.origin)


def test_what_was_installed_is_loaded_as_soon_as_lm_studio_lists_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lmstudio("", unseen=3) as there:
        use(monkeypatch, there)
        assert load_installed(put(tmp_path)) == "ftconsole/tiny"
        assert there.asked == [("POST", "/api/v1/models/load", {"model": "ftconsole/tiny"})]
        assert load_installed(put(tmp_path)) == "ftconsole/tiny"
    assert len(there.asked) == 1  # what is loaded is left as it is


def test_an_older_lm_studio_that_gives_no_sizes_is_asked_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lmstudio("", api="v0", loaded={"ftconsole/tiny": 2048}) as there:
        use(monkeypatch, there)
        assert load_installed(put(tmp_path, size=5)) == "ftconsole/tiny"


@pytest.mark.parametrize(("name", "size"), [("other", SIZE), ("tiny", SIZE - 1)], ids=["another name", "another size"])
def test_a_model_that_may_be_another_is_never_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, size: int
) -> None:
    monkeypatch.setattr(lmstudio_load, "_PATIENCE_SECONDS", 0.0)
    with lmstudio("") as there:
        use(monkeypatch, there)
        with pytest.raises(NotFound, match=f"does not show {name}.gguf yet") as refused:
            load_installed(put(tmp_path, name, size))
    assert f"lms load {name}" in refused.value.remedy
    assert not there.asked


def test_where_lm_studio_does_not_run_nothing_is_loaded_and_nothing_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTCONSOLE_LMSTUDIO", "http://127.0.0.1:9")
    assert load_installed(put(tmp_path)) is None


def test_one_that_wants_a_key_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lmstudio("", token="sk-lm-canary01:0123456789") as there:
        use(monkeypatch, there)
        with pytest.raises(KeyNeeded):
            load_installed(put(tmp_path))


def test_a_model_that_does_not_fit_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with lmstudio("", fails_to_load=True) as there:
        use(monkeypatch, there)
        with pytest.raises(EngineError, match="memory"):
            load_installed(put(tmp_path), find_lmstudio())
