"""Memory part by part, and the trial: what it says is shown, what it finds can be taken, leaving ends it."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine.config.load import preset
from engine.hardware.machine import Room
from engine.launch.prepare import Settled, settle
from engine.launch.probe import Probed, Trial
from engine.workspace import Workspace
from screens.configure import measuring, memory_dialog
from screens.configure.draft import Draft
from screens.configure.memory import Memory, gigabytes, sentence
from screens.configure.memory_bar import bar
from screens.configure.memory_dialog import MemoryDialog
from tests.screens.configure.stage import StillWorker, console
from tests.screens.runs.stage import seen, until, until_seen

PARTS = {"weights": 3_000_000_000, "adapter": 40_000_000, "gradients": 40_000_000, "optimizer": 80_000_000,
         "activations": 2_500_000_000, "logits": 600_000_000, "context": 700_000_000}  # fmt: skip
MEMORY = Memory(PARTS, 12_000_000_000, "cuda", 4, 512)
FOUND = {
    "trials": [
        {"rows": 4, "fits": True, "length": 498, "peak_bytes": 6_800_000_000, "tokens_per_second": 4100.0},
        {"rows": 16, "fits": False, "length": 0, "peak_bytes": 0, "tokens_per_second": None},
    ],
    "largest_rows": 8,
    "length": 498,
    "max_length": 0, "proven": True, "said": "", "free_bytes": 12_000_000_000, "device": "GPU", "seconds": 700.0,
    "memory": {"components": PARTS, "free_bytes": 12_000_000_000, "kind": "cuda", "rows": 4, "length": 512,
               "reason": "measured here"},
}  # fmt: skip


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let a script of a few lines be the process that tries."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def write(body: str) -> None:
        (tmp_path / "trial_of_a_test.py").write_text("import json, sys\n" + textwrap.dedent(body))
        monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        monkeypatch.setattr(memory_dialog, "MEASURING", "trial_of_a_test")

    return write


async def test_a_trial_says_how_it_goes_and_its_batch_can_be_taken(
    trial: Callable[[str], None], tmp_path: Path
) -> None:
    trial(f"""
        asked = json.loads(sys.stdin.readline())
        print(json.dumps({{"now": "loading " + asked["text"]}}), flush=True)
        print(json.dumps({{"found": json.loads({json.dumps(FOUND)!r})}}), flush=True)
    """)
    app = console(tmp_path, StillWorker())
    taken: list[Mapping[str, int] | None] = []
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(MemoryDialog(tmp_path, Draft("the settings"), MEMORY, ""), taken.append)
        await until_seen(pilot, "fits: 7.0 GB of 12 GB free device memory")
        await pilot.press("b", "m")
        await until_seen(pilot, "Measured: fits at batch 8, length 498.")
        assert "4 x 498 tokens" in seen(app)
        assert "does not fit" in seen(app)
        assert "Training takes some 12 min" in seen(app)
        await until_seen(pilot, "b takes that batch")
        await pilot.press("b")
        await until(pilot, lambda: taken, "the answer")
    assert taken == [{"training.per_device_train_batch_size": 8}]
    assert app.failures == []


async def test_escape_ends_the_trial_first_and_then_closes(trial: Callable[[str], None], tmp_path: Path) -> None:
    trial(f"""
        sys.stdin.readline()
        print(json.dumps({{"now": "two steps of 4 rows"}}), flush=True)
        sys.stdin.read()
        open({str(tmp_path / "ended")!r}, "w").close()
    """)
    app = console(tmp_path, StillWorker())
    taken: list[Mapping[str, int] | None] = []
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(MemoryDialog(tmp_path, Draft(), MEMORY, ""), taken.append)
        await pilot.pause()
        await pilot.press("m")
        await until_seen(pilot, "Trying: two steps of 4 rows ...")
        await pilot.press("escape")
        await until(pilot, (tmp_path / "ended").exists, "the end of the process")
        await until_seen(pilot, "m measures, Esc closes")
        assert taken == []
        await pilot.press("escape")
        await until(pilot, lambda: taken, "the answer")
    assert taken == [None]
    assert app.failures == []


async def test_a_trial_that_cannot_be_made_says_why(trial: Callable[[str], None], tmp_path: Path) -> None:
    trial("""
        print(json.dumps({"error": {"code": "x", "message": "The \\x1b[2J model is not here.", "remedy": "Fetch it."}}))
        sys.exit(1)
    """)
    app = console(tmp_path, StillWorker())
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(MemoryDialog(tmp_path, Draft(), None, "Nobody knows how large the model is."))
        await until_seen(pilot, "Nobody knows how large the model is.")
        await pilot.press("m")
        await until_seen(pilot, "The \\x1b[2J model is not here. Fetch it.")
    assert app.failures == []


def test_what_is_measured_is_remembered_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    room = Room("cpu", "CPU", 10**10, 2 * 10**10)
    found = Probed(room, [Trial(16, True, 40, 900_000_000, 2_000.0, 0.3)], 600_000_000, largest_rows=16, proven=True)
    asked: list[Settled] = []

    def probe(given: Settled, *, progress: Any, cancelled: Any) -> Probed:
        asked.append(given)
        progress("two steps of 16 rows")
        assert not cancelled()
        return found

    monkeypatch.setattr(measuring, "probe", probe)
    said: list[dict[str, Any]] = []
    question = {"workspace": str(tmp_path), "text": "preset: demo\n", "source": "form"}
    answer = json.loads(json.dumps(measuring.measure(question, said.append, lambda: False)))
    assert said == [{"now": "reading the data"}, {"now": "two steps of 16 rows"}]
    expected = settle(Workspace(tmp_path), preset("demo")).resolved.config
    assert asked[0].resolved.config == expected
    assert (answer["largest_rows"], answer["length"], answer["max_length"]) == (16, 40, 0)
    assert answer["trials"][0]["tokens_per_second"] == 2_000.0
    assert answer["seconds"] > 0
    assert Memory(**answer["memory"]).rows == 16
    assert list((tmp_path / "state").rglob("memory.jsonl"))


def test_sizes_are_told_as_people_read_them() -> None:
    assert [gigabytes(size) for size in (1, 310_000_000, 7_240_000_000, 24_300_000_000)] == [
        "1 MB", "310 MB", "7.2 GB", "24 GB",
    ]  # fmt: skip
    assert sentence(Memory(PARTS, 5 * 10**9, "cpu", 1, 1)) == "does not fit: 7.0 GB of 5.0 GB free memory"
    assert sentence(Memory(PARTS, None, "mps", 1, 1)) == "7.0 GB of memory"


@pytest.mark.parametrize(("free", "marked"), [(12_000_000_000, False), (5_000_000_000, True), (None, False)])
@pytest.mark.parametrize("glyphs", ["braille", "ascii"])
def test_the_bar_is_as_long_as_it_may_be_and_marks_where_free_memory_ends(
    free: int | None, marked: bool, glyphs: Any
) -> None:
    for width in (1, 16, 80):
        drawn = "".join(text for text, _ in bar(Memory(PARTS, free, "cuda", 1, 1), width, glyphs))
        assert len(drawn) == width
        assert (("|" if glyphs == "ascii" else "┃") in drawn) is marked
        assert glyphs != "ascii" or drawn.isascii()
