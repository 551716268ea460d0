"""What a chat would take of a device where something trains."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.chat import needs
from engine.chat.needs import Needs
from engine.chat.placing import LoadOptions, Local, place
from engine.hardware.machine import Room
from engine.hardware.memory import CONTEXT
from engine.spec import Endpoint, pair_of
from engine.workspace import Workspace
from tests.conftest import Runs

OPTIONS = LoadOptions(device="cpu", dtype="float32")
GB = 10**9


@pytest.fixture(autouse=True)
def a_host_with_8_gb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "room", lambda _: Room("cpu", "a processor", 8 * GB, 16 * GB))


def test_weights_are_counted_and_shared(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    pair = place(*pair_of(workspace, "tiny", "tiny"), OPTIONS)
    found = needs.needs_of(workspace, pair, OPTIONS)
    remembered = 2 * 2 * 4 * 2 * 64 * 4 * 4096  # two sides, keys and values, layers, heads, width, bytes, tokens
    assert found.needed_bytes is not None
    weights = found.needed_bytes - remembered - CONTEXT["cpu"]
    assert weights % 4 == 0
    assert 3_000_000 < weights // 4 < 5_000_000
    assert found.runs == ()
    assert not found.ask_first
    assert "would be left" in found.sentence()


def test_what_is_loaded_is_not_needed_again(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    pair = place(*pair_of(workspace, "tiny", "tiny"), OPTIONS)
    assert isinstance(pair.left, Local)
    found = needs.needs_of(workspace, pair, OPTIONS, [pair.left.base])
    assert found.needed_bytes == 0
    assert found.sentence() == "Nothing more has to be loaded here."


def test_a_run_at_work_is_named_and_asked_about(tmp_path: Path, runs: Runs) -> None:
    run = runs.create("voice-2")
    runs.start(run, "say(events.StageChanged('training'))\ntime.sleep(600)")
    workspace = Workspace(runs.folder.parent)
    pair = place(*pair_of(workspace, "tiny", "tiny"), OPTIONS)
    found = needs.needs_of(workspace, pair, OPTIONS)
    assert found.runs == ("voice-2",)
    assert found.ask_first
    assert "voice-2 is training there" in found.sentence()


def test_servers_need_nothing_here(tmp_path: Path) -> None:
    server = Endpoint("lmstudio:a", "lmstudio:a", "lmstudio", "", "a")
    found = needs.needs_of(Workspace(tmp_path), place(server, server, OPTIONS), OPTIONS)
    assert not found.ask_first


@pytest.mark.parametrize(
    ("found", "ask", "said"),
    [
        pytest.param(Needs("cuda", 6 * GB, 8 * GB, 16 * GB, ()), False, "2.0 GB would be left", id="fits"),
        pytest.param(Needs("cuda", 9 * GB, 8 * GB, 16 * GB, ()), True, "1.0 GB too little", id="does not fit"),
        pytest.param(Needs("cuda", None, 8 * GB, 16 * GB, ()), False, "nobody can tell", id="unknown"),
        pytest.param(Needs("cuda", GB, None, None, ("a", "b")), True, "a and b are training there", id="two runs"),
    ],
)
def test_it_is_said_in_a_sentence(found: Needs, ask: bool, said: str) -> None:
    assert found.ask_first is ask
    assert said in found.sentence()
