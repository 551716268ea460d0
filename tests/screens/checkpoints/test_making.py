"""Merging and exporting from the list: what is asked, what it takes, what becomes of it, how it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.errors import DiskFull, EngineError
from engine.export.converter import Converter
from engine.export.gguf import Exported, ExportedFile
from engine.export.gguf_plan import Asked, Plan, PlannedFile
from engine.export.merge import Merged
from engine.export.progress import Progress, WorkCancelled
from engine.export.quantisation import ALL
from screens.checkpoints import exporting, merging
from tests.conftest import PATIENCE_SECONDS
from tests.screens.checkpoints.shelf import a_family
from tests.screens.checkpoints.stage import console, listed, settled, shelf, table
from tests.screens.runs.stage import notes, seen, until, until_seen
from tui.app import ConsoleApp
from tui.widgets.confirm import Confirm

SIZE = (100, 32)


class Maker:
    """In the place of the engine: what it was asked, and work that goes on until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.planned: list[dict[str, Any]] = []
        self.asked: list[Asked] = []
        self.go = threading.Event()
        self.problem: EngineError | None = None
        self.cancelled = False
        for module in (merging, exporting):
            monkeypatch.setattr(module, "local_model", lambda workspace, spec: spec)
        monkeypatch.setattr(merging, "plan_merge", self.plan_merge)
        monkeypatch.setattr(merging, "merge", self.merge)
        monkeypatch.setattr(exporting, "plan_export", self.plan_export)
        monkeypatch.setattr(exporting, "export", self.export)

    def plan_merge(self, model: str, target: Path, *, dtype: str, verify: bool) -> Any:
        if self.problem is not None:
            raise self.problem
        self.planned.append({"model": model, "target": target, "dtype": dtype, "verify": verify})

        class Planned:
            replaces = target.name == "taken"
            needed_bytes, free_bytes, memory_bytes, free_memory_bytes = 42_000_000, 10**10, 10**9, 2 * 10**9
            seconds, warnings = 25.0, ("It is a \x1b[1mtest.",)

        Planned.target = target  # type: ignore[attr-defined]
        return Planned()

    def _work(self, tell: Callable[[Progress], None], cancelled: Callable[[], bool]) -> None:
        tell(Progress("writing", 1, 2))
        for _ in range(int(PATIENCE_SECONDS / 0.02)):
            if cancelled():
                self.cancelled = True
                raise WorkCancelled
            if self.go.wait(0.02):
                return

    def merge(self, plan: Any, *, tell: Callable[[Progress], None], cancelled: Callable[[], bool]) -> Merged:
        self._work(tell, cancelled)
        return Merged(plan.target, {}, 1_000_000, 1.0, verified={"max_abs": 1e-6})

    def plan_export(self, asked: Asked) -> Plan:
        self.asked.append(asked)
        converter = Converter(Path("/llama.cpp"), "a checkout")
        files = tuple(PlannedFile(one, asked.target, 5_000_000) for one in asked.quantisations)
        return Plan(
            asked=asked, files=files, conversion=ALL["f16"], conversion_bytes=8_000_000, merges=True,
            merge_dtype="float32",
            source=Path("/base"), converter=converter, quantiser=None, num_weights=4_000_000, num_tensors=30,
            num_uneven=0, disk_bytes=18_000_000, free_bytes=10**10, memory_bytes=5 * 10**8, available_bytes=10**10,
            seconds=15.0, existing=(), notes=("2 of 9 matrices are odd.",),
        )  # fmt: skip

    def export(self, plan: Plan, *, tell: Callable[[Progress], None], cancelled: Callable[[], bool]) -> Exported:
        self._work(tell, cancelled)
        return Exported([ExportedFile(one.path, one.quantisation.name, 5_000_000, 5.1, 2, 30) for one in plan.files])


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> Maker:
    return Maker(monkeypatch)


async def at(pilot: Pilot[None], spec: str) -> ConsoleApp:
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    await settled(pilot)
    table(app).move_to(listed(app).index(spec))
    await settled(pilot)
    return app


async def test_a_merge_says_what_it_takes_goes_on_behind_other_screens_and_says_what_was_made(maker: Maker) -> None:
    app = console(a_family())
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-120")
        await pilot.press("m")
        await until_seen(pilot, "Takes 42.0 MB of 10.0 GB free on the disk")
        assert "It is a \\x1b[1mtest." in seen(app)
        await pilot.press("j", "j", "space")  # float32
        await until(pilot, lambda: maker.planned[-1]["dtype"] == "float32", "the other plan")
        await until_seen(pilot, "Takes 42.0 MB")
        await pilot.press("enter")
        await until_seen(pilot, "Merging voice-1@checkpoint-120")
        await until_seen(pilot, "50%")
        maker.go.set()
        await until(pilot, lambda: notes(app), "the end")
    assert maker.planned[-1]["verify"]
    assert maker.planned[-1]["target"] == Path("/workspace/models/voice-1-checkpoint-120-merged")
    assert "It says what base and adapter say, largest difference of a logit 1.0e-06." in notes(app)[0]
    assert not app.failures


async def test_what_is_in_the_way_is_said_before_and_nothing_begins(maker: Maker) -> None:
    app = console(a_family())
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-120")
        await pilot.press("m", "tab", "end", "ctrl+u", *"taken")
        await until_seen(pilot, "There is a model in /workspace/taken already")
        await pilot.press("enter")
        assert app.screen is not shelf(app)
        maker.problem = DiskFull("There is no room.", remedy="Make some.")
        await pilot.press("x")
        await until_seen(pilot, "There is no room. Make some.")
        await pilot.press("enter", "escape")
    assert not app.jobs.running
    assert not app.failures


async def test_an_export_is_of_the_types_that_are_ticked(maker: Maker) -> None:
    app = console(a_family())
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1")  # its best
        await pilot.press("e")
        await until_seen(pilot, "Becomes q4_k_m 5.0 MB.")
        await pilot.press("k", "k", "k", "space")
        await until_seen(pilot, "Becomes q8_0 5.0 MB, q4_k_m 5.0 MB.")
        assert "2 of 9 matrices are odd." in seen(app)
        await pilot.press("enter")
        maker.go.set()
        await until(pilot, lambda: notes(app), "the end")
    assert maker.asked[-1].model == "voice-1@best"  # type: ignore[comparison-overlap]
    assert maker.asked[-1].target == Path("/workspace/models/voice-1-best.gguf")
    assert "5.10 bits a weight, 2 of 30 tensors in a larger type" in notes(app)[0]
    assert not app.failures


async def test_work_is_stopped_by_a_key_that_asks(maker: Maker) -> None:
    app = console(a_family())
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1")
        await pilot.press("e")
        await until_seen(pilot, "Becomes q4_k_m")
        await pilot.press("enter")
        await until(pilot, lambda: app.jobs.running, "the work")
        await pilot.press("K")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("y")
        await until(pilot, lambda: not app.jobs.running, "the end")
        assert maker.cancelled
        assert notes(app)[-1] == "It was stopped; nothing is left of it."
        await pilot.press("K")
        assert notes(app)[-1] == "Nothing is under way that could be stopped."
    assert not app.failures


async def test_what_is_damaged_is_not_exported(maker: Maker) -> None:
    app = console(a_family())
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-80")
        await pilot.press("e")
        assert notes(app)[-1].startswith("It is damaged: adapter_model.safetensors")
    assert not maker.asked


def test_a_file_that_is_there_is_not_written_over(maker: Maker) -> None:
    plan = maker.plan_export(Asked("m", Path("/there.gguf"), (ALL["f16"],)))  # type: ignore[arg-type]
    assert "is there already" in exporting.in_sentences(replace(plan, existing=(Path("/there.gguf"),)), ()).problem
    assert "are free there" in exporting.in_sentences(replace(plan, free_bytes=1), ()).problem
    assert "also fetches" in " ".join(exporting.in_sentences(replace(plan, converter=None), ()).said)
