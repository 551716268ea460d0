"""The list of checkpoints in use: from a folder to a row, from a key to a question and what becomes of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Static

from engine.runs.checkpoints import PINNED
from engine.runs.directory import RunDirectory
from engine.training.checkpoint_writer import write_checkpoint
from screens.checkpoints import screen as screens
from tests.engine.saved import RUN_ID, make_run, saver
from tests.screens.checkpoints.shelf import a_family, an_entry
from tests.screens.checkpoints.stage import console, console_on, listed, selected, settled, shelf, table
from tests.screens.runs.stage import notes, seen, until, until_seen
from tui.app import ConsoleApp
from tui.widgets.choose import Chooser
from tui.widgets.confirm import Confirm

SIZE = (100, 30)


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.delenv("TMUX", raising=False)
    # Look often: a test waits for what a person would see within a second or two.
    for name in ("ACTIVE_SECONDS", "RESTING_SECONDS", "HIDDEN_SECONDS", "REST_SECONDS"):
        monkeypatch.setattr(screens, name, 0.02)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """A run that is over, with four checkpoints of which the second is the best."""
    made = make_run(tmp_path / "runs", "voice-1")
    for step, loss in ((10, 3.0), (20, 1.0), (30, 2.0), (40, 2.5)):
        folder = made.checkpoints / f"checkpoint-{step}"
        about = {"epoch": step / 40, "metrics": {"loss": loss - 0.5, "eval_loss": loss}}
        write_checkpoint(folder, saver(step), run_id=RUN_ID, step=step, metadata=about)
    return made


def steps(run: RunDirectory) -> list[int]:
    """Return which checkpoints are on disk."""
    return sorted(int(path.name[11:]) for path in run.checkpoints.glob("checkpoint-*"))


def question(app: ConsoleApp) -> str:
    """Return what is asked."""
    assert isinstance(app.screen, Confirm)
    return "\n".join(str(widget.render()) for widget in app.screen.query(Static))


async def at(pilot: Pilot[None], spec: str) -> ConsoleApp:
    """Go to a row."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    await until(pilot, lambda: spec in listed(app), spec)
    table(app).move_to(listed(app).index(spec))
    await settled(pilot)
    return app


async def test_what_is_on_disk_is_listed_and_what_is_written_appears(run: RunDirectory) -> None:
    app = console_on(run.path.parent.parent)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "★ checkpoint-20")
        folder = run.checkpoints / "checkpoint-50"
        write_checkpoint(folder, saver(50), run_id=RUN_ID, step=50, metadata={"metrics": {"eval_loss": 0.5}})
        await until_seen(pilot, "★ checkpoint-50")
    assert not app.failures


async def test_a_checkpoint_is_pinned_and_unpinned_by_a_key(run: RunDirectory) -> None:
    app = console_on(run.path.parent.parent)
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-10")
        await pilot.press("p")
        await until_seen(pilot, "checkpoint-10 ⚑")
        assert (run.checkpoints / "checkpoint-10" / PINNED).exists()
        await pilot.press("p")
        await until(pilot, lambda: "⚑" not in seen(app), "the pin to go")
    assert not app.failures


async def test_the_chat_is_opened_on_the_one_under_the_cursor_or_on_the_two_that_are_marked(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = console_on(run.path.parent.parent)
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(app, "open_screen", lambda name, run=None: asked.append((name, run)))
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-10")
        await pilot.press("t", "space")
        await at(pilot, "voice-1@checkpoint-20")
        await pilot.press("space", "t")
        await until(pilot, lambda: len(asked) == 2, "the chats")
    assert asked == [("chat", "voice-1@checkpoint-10"), ("chat", "voice-1@checkpoint-10\nvoice-1@checkpoint-20")]


async def test_nothing_is_deleted_without_a_yes_that_has_seen_what_is_lost(run: RunDirectory) -> None:
    app = console_on(run.path.parent.parent)
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-20")
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        assert "is gone for good" in question(app)
        assert "the best by" in question(app)
        await pilot.press("n")
        await pilot.pause()
        assert steps(run) == [10, 20, 30, 40]
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("y")
        await until(pilot, lambda: steps(run) == [10, 30, 40], "the deletion")
        await until(pilot, lambda: "voice-1@checkpoint-20" not in listed(app), "the row to go")
        assert selected(app) == "voice-1@checkpoint-10"
    assert not app.failures


async def test_a_prune_keeps_the_newest_and_the_best(run: RunDirectory) -> None:
    app = console_on(run.path.parent.parent)
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1")
        await pilot.press("X")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("y")
        await until(pilot, lambda: steps(run) == [20, 30, 40], "the prune")
    assert not app.failures


async def test_dropping_the_optimizer_leaves_the_weights(run: RunDirectory) -> None:
    app = console_on(run.path.parent.parent)
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-30")
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("y")
        folder = run.checkpoints / "checkpoint-30"
        await until(pilot, lambda: not (folder / "optimizer.pt").exists(), "the optimizer to go")
        await until_seen(pilot, "not exactly")
        assert (folder / "adapter_model.safetensors").exists()
    assert not app.failures


async def test_a_copy_in_models_is_made_under_the_name_that_is_typed(run: RunDirectory) -> None:
    workspace = run.path.parent.parent
    app = console_on(workspace)
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-20")
        await pilot.press("M")
        await until_seen(pilot, "A copy of")
        await pilot.press("end", "ctrl+u", *"latest")
        await until_seen(pilot, "`latest` then names it")
        await pilot.press("enter")
        await until(pilot, (workspace / "models" / "latest" / "adapter_model.safetensors").exists, "the copy")
    assert not app.failures


async def test_a_byte_that_changed_is_found_by_reading_every_byte(run: RunDirectory) -> None:
    weights = run.checkpoints / "checkpoint-30" / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    app = console_on(run.path.parent.parent)
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1")
        await pilot.press("v")
        await until(pilot, lambda: any("differs from its hash" in note for note in notes(app)), "what was found")
        await at(pilot, "voice-1@checkpoint-30")
        await until_seen(pilot, "Damaged: adapter_model.safetensors differs from its hash")
        await at(pilot, "voice-1@checkpoint-40")
        await until_seen(pilot, "every byte read")
    assert not app.failures


async def test_what_makes_no_sense_says_why() -> None:
    app = console(a_family())
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-160")
        await pilot.press("d")
        assert notes(app)[-1] == "It is pinned; p lets it be removed."
        await at(pilot, "voice-2-refusals@checkpoint-60")
        await pilot.press("R")
        assert notes(app)[-1] == "voice-2-refusals is running: stop it first."
    assert not app.failures


async def test_enter_lists_what_can_be_done(run: RunDirectory) -> None:
    app = console_on(run.path.parent.parent)
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-10")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Chooser), "the list")
        await pilot.press(*"delete", "enter")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("escape")
    assert steps(run) == [10, 20, 30, 40]
    assert not app.failures


async def test_runs_fold_with_keys_and_the_cursor_stays_in_its_run() -> None:
    app = console(a_family())
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-120")
        await pilot.press("h", "h")
        assert selected(app) == "voice-1"
        assert "voice-1@checkpoint-120" not in listed(app)
        await pilot.press("l", "l")
        assert selected(app) == "voice-1@best"
        await pilot.press("z")
        assert listed(app) == ["voice-1", "voice-2-refusals", "voice-2-dpo", "llama-1"]
        assert selected(app) == "voice-1"
        await pilot.press("z")
        assert "voice-2-dpo@final" in listed(app)
    assert not app.failures


async def test_a_filter_is_written_kept_and_taken_back() -> None:
    app = console(a_family())
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("slash", *"damaged", "enter")
        assert listed(app) == ["voice-1", "voice-1@checkpoint-80"]
        assert "1 of 12 checkpoints" in seen(app)
        await pilot.press("escape")
        assert len(listed(app)) == 16
        await pilot.press("slash", *"nothing like it")
        await until_seen(pilot, "Nothing matches")
        await pilot.press("escape")
        await pilot.press("j")
        assert selected(app) == "voice-1@best"
    assert not app.failures


async def test_what_is_typed_in_one_go_is_the_filter_and_no_command() -> None:
    app = console(a_family())
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-120")
        for key, character in (("slash", "/"), *((letter, letter) for letter in "pinnedzcoXp")):
            app.post_message(events.Key(key, character))
        await until(pilot, lambda: shelf(app).filter == "pinnedzcoXp", "the filter")
        assert app.screen is shelf(app)
        assert not shelf(app).folded
    assert not app.failures


async def test_orders_list_every_checkpoint_by_a_figure() -> None:
    app = console(a_family())
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("o")
        assert listed(app)[0] == "voice-2-refusals@best"
        assert "voice-1" not in listed(app)
        for _ in range(6):
            await pilot.press("o")
        assert listed(app)[0] == "voice-1"
    assert not app.failures


async def test_opened_for_a_run_it_shows_the_best_of_it() -> None:
    app = console([*a_family(), *(an_entry(f"other-{number}", []) for number in range(40))])
    screen = app.screen_entries[0]
    async with app.run_test(size=SIZE) as pilot:
        app.open_screen(screen.name, "voice-2-dpo")
        await until(pilot, lambda: len(app.screen_stack) == 2, "the screen")
        top = app.screen
        assert isinstance(top, screens.CheckpointsScreen)
        await until(pilot, lambda: top.selected is not None and top.selected.spec == "voice-2-dpo@final", "the best")
    assert not app.failures


async def test_the_view_as_text_has_all_of_it() -> None:
    app = console(a_family())
    async with app.run_test(size=(40, 10)) as pilot:
        await pilot.pause()
        text = shelf(app).plain_text()
    for word in ("12 checkpoints of 4 runs", "voice-2-refusals", "checkpoint-80", "812 of 1247120", "/workspace/runs"):
        assert word in text


async def test_it_stands_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(4)
    app = console(a_family())
    async with app.run_test(size=(80, 24)) as pilot:
        for _ in range(12):
            await pilot.resize_terminal(chance.randint(1, 170), chance.randint(1, 50))
            await pilot.press(chance.choice(["j", "k", "G", "f", "z", "o", "tab", "space"]))
    assert not app.failures


async def test_a_new_run_begins_with_the_weights_of_the_checkpoint_or_the_best_of_the_run() -> None:
    for spec, begins in (("voice-1@checkpoint-160", "voice-1@checkpoint-160"), ("voice-1", "voice-1@best")):
        app = console(a_family())
        async with app.run_test(size=SIZE) as pilot:
            await at(pilot, spec)
            await pilot.press("n")
            await until_seen(pilot, f"opened {begins}")
        assert not app.failures


async def test_two_that_are_marked_are_compared(run: RunDirectory) -> None:
    app = console_on(run.path.parent.parent)
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@checkpoint-40")
        await pilot.press("space")
        await at(pilot, "voice-1@checkpoint-10")
        await pilot.press("space", "c")
        await until_seen(pilot, "they are of one run")
        assert "voice-1@checkpoint-40 with voice-1@checkpoint-10" in seen(app)
        await pilot.press("s")
        await until_seen(pilot, "voice-1@checkpoint-10 with voice-1@checkpoint-40")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is shelf(app), "the list")
    assert not app.failures


async def test_one_alone_is_compared_with_the_best_of_its_run() -> None:
    app = console(a_family())
    async with app.run_test(size=SIZE) as pilot:
        await at(pilot, "voice-1@best")
        await pilot.press("c")
        assert "mark another one" in notes(app)[-1]
        await at(pilot, "voice-1@checkpoint-200")
        await pilot.press("c")
        await until_seen(pilot, "voice-1@best with voice-1@checkpoint-200")
    assert not app.failures
