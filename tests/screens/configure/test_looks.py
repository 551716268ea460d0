"""How the form looks. Look at the picture before accepting it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from screens.configure import choosing, deciding, files, starting
from screens.configure.draft import Draft
from screens.configure.picker import Answer
from screens.configure.preflight import Item
from tests.screens.configure.stage import ANSWER, RUN, StillWorker, console, decided, form
from tests.screens.runs.stage import until
from tui.app import ConsoleApp
from tui.terminal.contract import Terminal

Snapshot = Any
WORKSPACE = Path("/workspace")
MEMORY: Mapping[str, Any] = {
    "components": {"weights": 3_090_000_000, "adapter": 37_000_000, "gradients": 37_000_000, "optimizer": 74_000_000,
                   "activations": 2_480_000_000, "logits": 620_000_000, "context": 700_000_000},
    "free_bytes": 11_400_000_000, "kind": "cuda", "rows": 4, "length": 512, "reason": "",
}  # fmt: skip
DECIDED: Mapping[str, Any] = {**ANSWER, "memory": MEMORY}
ITEMS = (
    Item("settings", "ok", "510 steps of 8 rows, 1,350 rows on cuda"),
    Item("model", "warning", "org/name is not on this machine; the run would fetch it first, some 3.1 GB.",
         "Without a network, copy it to models/ and name the folder."),
    Item("licence", "ok", "Apache-2.0"),
    Item("code", "ok", "trust_remote_code is false: none of the model's own code is run"),
    Item("data", "grave", "1,347 of 1,350 rows are learned from or measured with"),
    Item("data", "grave", "3 answers of 1,350 are cut off, answers.jsonl lines 3, 17, 99",
         "Raise data.max_length. To start all the same: data.accept: [answer-cut]"),
    Item("memory", "ok", "fits: 7.0 GB of 11 GB free device memory, 4 rows of 512 tokens"),
    Item("disk", "ok", "4 checkpoints at once, 444 MB at most; 72.0 GB free"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(deciding, "REST_SECONDS", 0.01)
    runs = [Answer("sft-tiny-3", "sft-tiny-3", "finished, loss 0.021, tiny, 2h ago"), Answer("x", "x", "failed, tiny")]
    monkeypatch.setattr(choosing, "_runs", lambda workspace: runs)
    monkeypatch.setattr(files, "configurations", lambda workspace: ["run.yaml", "configs/qwen.yaml"])
    monkeypatch.setattr(files, "values_of_run", lambda workspace, name: {"lora.r": 32, "data.train": ["other.jsonl"]})


def after(text: str, *keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Open settings, press keys once everything is decided, and wait for what they lead to."""

    async def act(pilot: Pilot[None]) -> None:
        assert isinstance(pilot.app, ConsoleApp)
        form(pilot.app).open(Draft(text, WORKSPACE / "run.yaml", saved=text))
        await decided(pilot)
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        await decided(pilot)
        await pilot.wait_for_scheduled_animations()

    return act


def the_form(answer: Mapping[str, Any] = DECIDED, **how: Any) -> ConsoleApp:
    return console(WORKSPACE, StillWorker(answer), **how)


SIZES = pytest.mark.parametrize(
    "size", [(80, 24), (160, 45), (60, 15), (40, 10)], ids=["small", "large", "monitor", "summary"]
)


@SIZES
@pytest.mark.parametrize(
    ("text", "keys"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param(RUN, ["j", "j", "j", "j"], id="a run"),
        pytest.param("preset: demo\nlora:\n  r: 0\n", ["slash", *"rank", "enter"], id="a search"),
        pytest.param(RUN, ["slash", *"lr", "enter", "enter", "ctrl+u", *"fast"], id="writing"),
    ],
)
def test_how_it_looks(snap_compare: Snapshot, text: str, keys: list[str], size: tuple[int, int]) -> None:
    assert snap_compare(the_form(), terminal_size=size, run_before=after(text, *keys))


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(["v", "down", "down"], id="the text"),
        pytest.param(["p"], id="presets"),
        pytest.param(["o"], id="files"),
        pytest.param(["c", *"sft", "enter", "j", "j"], id="a comparison"),
        pytest.param(["G", "enter", "j", "j", "j"], id="options of the trainer"),
        pytest.param(["m"], id="memory"),
        pytest.param(["question_mark"], id="help"),
    ],
)
@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["small", "common"])
def test_how_it_looks_on_common_terminals(snap_compare: Snapshot, keys: list[str], size: tuple[int, int]) -> None:
    assert snap_compare(the_form(), terminal_size=size, run_before=after(RUN, *keys))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["small", "common"])
def test_how_the_last_look_looks(
    snap_compare: Snapshot, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    async def looked_at(workspace: Path, draft: Draft) -> AsyncIterator[Item | str]:
        for item in ITEMS:
            yield item
        yield "name:sft-name-1"

    monkeypatch.setattr(starting, "looked_at", looked_at)

    async def act(pilot: Pilot[None]) -> None:
        await after(RUN, "s")(pilot)
        await until(pilot, lambda: not getattr(pilot.app.screen, "now", "yes"), "the end of the look")
        await pilot.pause()

    assert snap_compare(the_form(), terminal_size=size, run_before=act)


def test_how_a_run_looks_that_does_not_fit(snap_compare: Snapshot) -> None:
    answer = {**DECIDED, "memory": {**MEMORY, "free_bytes": 5_000_000_000}}
    assert snap_compare(the_form(answer), terminal_size=(120, 40), run_before=after(RUN))


@pytest.mark.parametrize("glyphs", ["block", "ascii"])
def test_how_it_looks_on_lesser_terminals(snap_compare: Snapshot, glyphs: str) -> None:
    app = the_form(terminal=Terminal(glyphs=glyphs, theme="ansi-dark"))
    assert snap_compare(app, terminal_size=(80, 24), run_before=after(RUN, "j", "j"))


def test_how_it_looks_without_colours(snap_compare: Snapshot) -> None:
    app = the_form(terminal=Terminal(theme="ftconsole-plain", colour="none"))
    assert snap_compare(app, terminal_size=(80, 24), run_before=after(RUN.replace("1e-3", "3"), "j", "j"))


def test_how_it_looks_in_the_light_theme(snap_compare: Snapshot) -> None:
    app = the_form(terminal=Terminal(theme="ftconsole-light"))
    assert snap_compare(app, terminal_size=(120, 40), run_before=after(RUN, "j", "j"))
