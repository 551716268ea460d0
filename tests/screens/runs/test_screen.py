"""The list of runs in use: from a folder to a row, from a key to a command and its answer."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from textual.geometry import Region
from textual.pilot import Pilot

from engine import events
from engine.errors import NotFound
from engine.events import StepFinished
from engine.hardware.devices import DeviceReading
from engine.journal import Journal
from engine.launch.prepare import Resumed
from engine.runs.directory import RunDirectory
from engine.runs.lifecycle import State
from engine.runs.summary import RunSummary
from screens.live import resuming
from screens.live.dialogs import StopDialog
from screens.runs import details, starting
from screens.runs import screen as screens
from screens.runs.details import DetailsPane
from screens.runs.table import RunTable
from tests.conftest import Runs
from tests.screens.runs.stage import (
    StillMachine,
    console,
    console_on,
    listed,
    notes,
    runs_screen,
    seen,
    settled,
    until,
    until_seen,
)
from tests.screens.runs.summaries import NOW, StillFeed, a_run, in_every_state, the_details
from tui.app import ConsoleApp
from tui.console_screen import ConsoleScreen
from tui.terminal.contract import Terminal
from tui.widgets.confirm import Confirm
from tui.widgets.failure_panel import FailurePanel

SIZE = (100, 30)
OBEDIENT = """
    say(events.TrainingStarted(100, 1.0, 0, 1000, 10, "cpu", "float32"))
    for step in range(1, 6):
        say(events.StepFinished(step, step / 100, 50 * step, 0.1, {"loss": 3.0 / step}))
    heard = 0
    while True:
        lines = (run / "commands.jsonl").read_bytes().splitlines() if (run / "commands.jsonl").exists() else []
        for told in map(json.loads, lines[heard:]):
            heard += 1
            name = told["command"]
            say(events.CommandConfirmed(told["id"], name, True, f"heard {name}", "worker"))
            if name == "Pause":
                say(events.RunPaused(5))
            if name == "Unpause":
                say(events.RunUnpaused(5, 1.0))
            if name == "Stop":
                say(events.RunEnded("stopped", 5, 1.0, "as asked"))
                sys.exit(0)
        time.sleep(0.02)
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("TMUX", raising=False)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: a test waits for what a person would see within a second or two."""
    for name in ("ACTIVE_SECONDS", "RESTING_SECONDS", "HIDDEN_SECONDS", "REST_SECONDS"):
        monkeypatch.setattr(screens, name, 0.02)
    monkeypatch.setattr(details, "AGAIN_SECONDS", 0.02)


def table(app: ConsoleApp) -> RunTable:
    return runs_screen(app).query_one(RunTable)


def selected(app: ConsoleApp) -> str:
    run = table(app).selected
    return run.name if run is not None else ""


async def looked(pilot: Pilot[None], times: int) -> None:
    """Wait until the runs were looked at so many times more."""
    assert isinstance(pilot.app, ConsoleApp)
    feed = runs_screen(pilot.app).feed
    assert isinstance(feed, StillFeed)
    enough = feed.looks + times
    await until(pilot, lambda: feed.looks >= enough, "more looks")


def told(run: RunDirectory) -> list[dict[str, Any]]:
    """Return the commands the run was sent."""
    if not run.commands.exists():
        return []
    return [json.loads(line) for line in run.commands.read_bytes().splitlines()]


def opened(app: ConsoleApp) -> list[tuple[str, str | None]]:
    return [screen.opened_as for screen in app.screen_stack if isinstance(screen, ConsoleScreen)]


# Following


async def test_a_run_becomes_a_row_and_its_next_step_a_number(runs: Runs, impatient: None) -> None:
    run = runs.create("run-1")
    runs.start(run, OBEDIENT)
    app = console_on(runs.folder.parent)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "● running   run-1")
        await until_seen(pilot, "5/100")
        journal = Journal(run.events)
        journal.append(events.to_json(StepFinished(42, 0.42, 350, 0.1, {"loss": 0.25})))
        journal.close()
        await until_seen(pilot, "42/100")
        assert "0.2500" in seen(app)
        assert app.alive_runs == ["run-1"]
    assert app.failures == []


async def test_a_run_that_is_made_elsewhere_appears_by_itself(runs: Runs, impatient: None) -> None:
    app = console_on(runs.folder.parent)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "No runs yet.")
        assert str(runs.folder) in "".join(seen(app).split())  # a long path is broken over lines
        runs.create("made-elsewhere")
        await until_seen(pilot, "made-elsewhere")
        assert "No runs yet." not in seen(app)
        await pilot.press("enter")
        await until_seen(pilot, "opened made-elsewhere")
    assert app.failures == []


async def test_the_first_paint_shows_the_runs(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screens, "FIRST_LOOK_SECONDS", 60.0)
    runs.create("run-1")
    app = console_on(runs.folder.parent)
    async with app.run_test(size=SIZE):
        assert "run-1" in seen(app)


async def test_devices_are_measured_only_while_a_run_is_at_work(impatient: None) -> None:
    resting, busy = StillMachine(), StillMachine(DeviceReading("G", "cuda", 0, 10**9, 10**10, 0.5, None, None))
    app = console([a_run(state="finished")], machine=resting)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "NVIDIA H200   CPU, 16 cores, 137.4 GB")
    assert resting.measured == 0
    app = console([a_run()], machine=busy)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "1.0/10 GB")
    assert busy.measured >= 1


async def test_devices_are_not_measured_below_another_screen(impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screens, "MEASURE_SECONDS", 0.0)
    machine = StillMachine(DeviceReading("G", "cuda", 0, 10**9, 10**10, 0.5, None, None))
    app = console([a_run()], machine=machine)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "1.0/10 GB")
        await pilot.press("enter")
        await until_seen(pilot, "opened sft-tiny-3")
        await looked(pilot, 2)  # a reading that had begun may still end
        before = machine.measured
        await looked(pilot, 5)
        assert machine.measured == before
        await pilot.press("q")
        await until(pilot, lambda: machine.measured > before, "a reading on the way back")


async def test_the_details_follow_what_the_run_says_last(
    runs: Runs, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(details, "AGAIN_SECONDS", 0.5)
    run = runs.create("run-1")
    runs.start(run, OBEDIENT)
    app = console_on(runs.folder.parent)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "5/100")
        await until(pilot, lambda: "run-1" in runs_screen(app).query_one(DetailsPane).known, "the details")
        journal = Journal(run.events)
        for when, score in (("before", 0.25), ("after", 0.75)):
            scores = {"retain_answered": score}
            journal.append(events.to_json(events.BehaviourMeasured(5, when, scores, {"retain": 4}, 1.0)))
            await until_seen(pilot, "25%   before training" if when == "before" else "25% → 75%")
        journal.close()
    assert app.failures == []


# Moving


async def test_keys_move_the_cursor_and_the_details_follow(impatient: None) -> None:
    app = console(in_every_state(), details=the_details())
    names = [run.name for run in in_every_state()]
    async with app.run_test(size=SIZE) as pilot:
        for keys, row in ((["j"], 1), (["down"], 2), (["k"], 1), (["up"], 0), (["up"], 0), (["G"], -1), (["end"], -1),
                          (["g"], 0), (["j", "j"], 2)):  # fmt: skip
            await pilot.press(*keys)
            assert selected(app) == names[row]
        await until_seen(pilot, "best step 120, eval_loss 0.5301")


async def test_pages_scroll_and_the_cursor_stays_on_screen() -> None:
    app = console([a_run(f"run-{number:03}", created=NOW - number) for number in range(200)])
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("ctrl+d")
        half = table(app).cursor
        assert 3 < half < 15
        await pilot.press("ctrl+u")
        assert table(app).cursor == 0
        await pilot.press("pagedown", "pagedown", "pagedown")
        assert table(app).cursor > 4 * half
        await pilot.pause()
        assert f"run-{table(app).cursor:03}" in seen(app)
        await pilot.press("G")
        await pilot.pause()
        assert "run-199" in seen(app)
        assert "run-000" not in seen(app)
        await pilot.press("g")
        await pilot.pause()
        assert "run-000" in seen(app)


async def test_the_cursor_stays_on_its_run_when_others_come() -> None:
    app = console([a_run("b", created=NOW - 9), a_run("c", created=NOW - 10)])
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("j")
        screen = runs_screen(app)
        screen.feed.summaries = {run.name: run for run in (a_run("a"), a_run("b"), a_run("d"), a_run("c"))}
        screen.show_runs()
        assert selected(app) == "c"
        screen.feed.summaries = {run.name: run for run in (a_run("a"), a_run("b"))}
        screen.show_runs()
        assert selected(app) == "b"


async def test_a_move_repaints_the_two_rows_and_no_others() -> None:
    app = console([a_run(f"run-{number}", created=NOW - number) for number in range(10)])
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        repainted: list[Region] = []
        refresh = table(app).refresh

        def noted(*regions: Region, **how: bool) -> RunTable:
            repainted.extend(regions or [table(app).region])
            return refresh(*regions, **how)

        table(app).refresh = noted  # type: ignore[method-assign]
        await pilot.press("j")
        assert {region.y for region in repainted} == {1, 2}
        assert {region.height for region in repainted} == {1}


async def test_enter_and_a_double_click_open_the_run() -> None:
    app = console(in_every_state())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("j", "enter")
        await until_seen(pilot, "opened sft-tiny-5")
        assert opened(app) == [("runs", None), ("live", "sft-tiny-5")]
        await pilot.press("q")
        await pilot.click(RunTable, offset=(12, 3))
        assert selected(app) == "sft-tiny-3"
        assert opened(app) == [("runs", None)]
        await pilot.double_click(RunTable, offset=(12, 4))
        await until_seen(pilot, "opened dpo-qwen2.5-0.5b-2")
    assert app.failures == []


async def test_a_click_beside_the_rows_does_nothing() -> None:
    app = console([a_run(), a_run("b", created=0.0)])
    async with app.run_test(size=SIZE) as pilot:
        await pilot.click(RunTable, offset=(12, 0))
        await pilot.click(RunTable, offset=(12, 9))
        assert selected(app) == "sft-tiny-3"


# Filter and order


async def test_a_filter_lists_what_matches_and_escape_takes_one_layer_away() -> None:
    app = console(in_every_state())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("slash", *"qwen")
        assert listed(app) == ["dpo-qwen2.5-0.5b-2", "sft-qwen2.5-0.5b-7"]
        assert "2 of 11 runs" in seen(app)
        await pilot.press("space", *"finished")
        assert listed(app) == ["sft-qwen2.5-0.5b-7"]
        await pilot.press("enter")
        assert app.focused is table(app)
        await pilot.press("slash", *"x")
        await until_seen(pilot, "No run matches 'qwen finishedx'.")
        await pilot.press("escape")
        assert len(listed(app)) == 11
        assert app.focused is table(app)
        await pilot.press("escape")
        assert opened(app) == [("runs", None)]
    assert app.failures == []


async def test_letters_in_the_filter_are_letters() -> None:
    app = console(in_every_state())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("slash", *"pSrdoqy")
        assert runs_screen(app).filter == "pSrdoqy"
        assert notes(app) == []
        await pilot.press("down")
        assert runs_screen(app).filter == "pSrdoqy"


async def test_the_order_goes_round_and_keeps_the_cursor_on_its_run() -> None:
    app = console(in_every_state())
    async with app.run_test(size=SIZE) as pilot:
        first = listed(app)
        await pilot.press("j", "j")
        run = selected(app)
        orders = []
        for _ in range(5):
            await pilot.press("o")
            orders.append(runs_screen(app).order)
            assert selected(app) == run
        assert orders == ["activity", "name", "loss", "state", "newest"]
        assert listed(app) == first
        assert "Order: by name." in notes(app)


# Telling runs


@pytest.mark.parametrize(
    ("keys", "sent", "answer"),
    [
        pytest.param(["p"], {"command": "Pause"}, "heard Pause", id="pause"),
        pytest.param(["w"], {"command": "SaveCheckpoint"}, "heard SaveCheckpoint", id="save"),
        pytest.param(["s"], {"command": "SaveCheckpoint"}, "heard SaveCheckpoint", id="save, the other key"),
        pytest.param(["S", "enter"], {"command": "Stop", "save": True}, "heard Stop", id="stop and save"),
        pytest.param(["S", "n"], {"command": "Stop", "save": False}, "heard Stop", id="stop now"),
    ],
)
async def test_a_key_sends_a_command_and_its_answer_is_shown(
    runs: Runs, impatient: None, keys: list[str], sent: dict[str, Any], answer: str
) -> None:
    run = runs.create("run-1")
    runs.start(run, OBEDIENT)
    app = console_on(runs.folder.parent)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "5/100")
        for key in keys:
            await pilot.press(key)
            if key == "S":
                await until(pilot, lambda: isinstance(app.screen, StopDialog), "the question")
        await until(pilot, lambda: answer in notes(app), "the answer")
    [command] = told(run)
    assert command.items() >= sent.items()
    assert app.failures == []


async def test_pausing_a_paused_run_makes_it_go_on(runs: Runs, impatient: None) -> None:
    run = runs.create("run-1")
    runs.start(run, OBEDIENT)
    app = console_on(runs.folder.parent)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "5/100")
        await pilot.press("p")
        await until_seen(pilot, "p Go on")
        await pilot.press("p")
        await until_seen(pilot, "p Pause")
    assert [command["command"] for command in told(run)] == ["Pause", "Unpause"]


@pytest.mark.parametrize(
    ("key", "state", "reason"),
    [
        ("p", "finished", "sft-1 has finished: nobody is there to be told."),
        ("w", "starting", "sft-1 has not begun to train yet."),
        ("S", "died", "sft-1 has died: nobody is there to be told."),
        ("R", "running", "sft-1 is running: there is nothing to resume."),
        ("r", "finished", "sft-1 has finished: there is nothing to go on with."),
        ("S", "unknown", "Nobody can say whether sft-1 still runs, so it is left alone."),
    ],
)
async def test_a_key_that_makes_no_sense_says_why(key: str, state: State, reason: str) -> None:
    app = console([a_run("sft-1", state)])
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press(key)
        assert notes(app) == [reason]
    assert app.failures == []


async def test_a_click_on_a_control_does_what_its_key_does() -> None:
    app = console([a_run("sft-1", "finished")])
    async with app.run_test(size=SIZE) as pilot:
        row = next(y for y, line in enumerate(seen(app).splitlines()) if "R Resume" in line)
        column = seen(app).splitlines()[row].index("R Resume")
        await pilot.click(offset=(column, row))
        await pilot.pause()
        assert notes(app) == ["sft-1 has finished: there is nothing to go on with."]


async def test_stopping_can_be_thought_better_of(runs: Runs, impatient: None) -> None:
    run = runs.create("run-1")
    runs.start(run, OBEDIENT)
    app = console_on(runs.folder.parent)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "5/100")
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.screen, StopDialog), "the question")
        assert "all 5 steps" in seen(app)
        await pilot.press("escape")
        await until(pilot, lambda: opened(app) == [("runs", None)] and app.screen is runs_screen(app), "the list")
    assert told(run) == []


async def test_resuming_asks_and_then_resumes(runs: Runs, impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    run = runs.create("run-1")
    resumed: list[tuple[RunDirectory, bool]] = []

    def resume(run: RunDirectory, accept_changes: bool) -> Resumed:
        resumed.append((run, accept_changes))
        return Resumed(None, [])

    monkeypatch.setattr(resuming, "resume", resume)
    app = console_on(runs.folder.parent)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "died")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        assert "Resume run-1" in seen(app)
        assert "It has no checkpoint and begins again." in seen(app)
        await pilot.press("y")
        await until(pilot, lambda: "It begins again." in notes(app), "the answer")
    assert [found for found, _ in resumed] == [run]
    assert app.failures == []


# The demo


async def test_the_demo_is_started_and_opened(runs: Runs, impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def start_demo(workspace: Path) -> tuple[str, str]:
        assert workspace == runs.folder.parent
        runs.create("demo-1")
        return "demo-1", "A logout would end it: this is a test."

    monkeypatch.setattr(starting, "start_demo", start_demo)
    app = console_on(runs.folder.parent)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "No runs yet.")
        await pilot.press("d")
        await until_seen(pilot, "opened demo-1")
        assert notes(app) == ["A logout would end it: this is a test."]
        await pilot.press("q")
        await until(pilot, lambda: selected(app) == "demo-1", "the cursor on the demo")
    assert app.failures == []


async def test_a_demo_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def start_demo(workspace: Path) -> tuple[str, str]:
        raise NotFound("There is no model 'tiny'.", remedy="Install ftconsole again.")

    monkeypatch.setattr(starting, "start_demo", start_demo)
    app = console([])
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("d")
        await until_seen(pilot, "There is no model 'tiny'.")
        await pilot.press("escape")
        assert runs_screen(app).query_one(FailurePanel).failure is None
        assert "Starting" not in seen(app)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        pytest.param(a_run(), "1 running, 1 run: it will share this machine", id="at work"),
        pytest.param(a_run("a", "finished"), "A run of its own trains the built-in model", id="at rest"),
    ],
)
async def test_a_demo_beside_other_runs_is_asked_for(
    run: RunSummary, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "start_demo", lambda workspace: pytest.fail("started without a yes"))
    app = console([run])
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("d")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        assert said in " ".join(seen(app).split())
        await pilot.press("n")
        await until(pilot, lambda: app.screen is runs_screen(app), "the list")
    assert app.failures == []


# Text


async def test_the_view_is_copied_as_text(tmp_path: Path) -> None:
    app = console(in_every_state(), details=the_details())
    async with app.run_test(size=(60, 15)) as pilot:
        await pilot.press("j", "j")
        await settled(pilot)
        await pilot.press("y")
        await until(pilot, lambda: any("clip.txt" in note for note in notes(app)), "the note")
    copied = (tmp_path / "state" / "ftconsole" / "clip.txt").read_text()
    assert copied.startswith("Runs: 1 starting, 2 running, 1 paused, 1 stopping, 11 runs\n\nstate       run")
    assert all(run.name in copied for run in in_every_state())
    assert "Qwen/Qwen2.5-0.5B-Instruct" in copied
    assert "best step 120" in copied


async def test_an_empty_list_copies_what_to_do() -> None:
    app = console([])
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        text = runs_screen(app).plain_text()
    assert text.startswith("No runs yet.\nd: Start the demo.")
    assert text.endswith("NVIDIA H200   CPU, 16 cores, 137.4 GB\n")


async def test_foreign_text_is_shown_and_not_obeyed(impatient: None) -> None:
    nasty = "\x1b[2J[@click=app.quit]x[/] \u202e\x07日本"
    run = a_run("run-1", "failed", model=nasty, method=nasty, parent=nasty, explanation=nasty, path=nasty)
    app = console([run])
    async with app.run_test(size=(160, 45)) as pilot:
        await settled(pilot)
        assert r"\x1b[2J[@click=app.quit]x[/] \u202e\x07日本" in seen(app)
        assert not set("\x1b\u202e\x07") & set(seen(app) + runs_screen(app).plain_text())
        await pilot.press("slash", *"zz")
        await pilot.pause()
    assert app.failures == []


@pytest.mark.parametrize("theme", ["ftconsole-light", "ftconsole-plain", "ansi-dark", "nord"])
async def test_every_theme_shows_the_cursor(theme: str) -> None:
    colour = "none" if theme == "ftconsole-plain" else "truecolor"
    app = console(in_every_state(), terminal=Terminal(theme=theme, colour=colour))
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("j")
        widget = table(app)
        styles = [[segment.style for segment in widget.render_line(y)] for y in (1, 2, 3)]
        looks = [{(style.bgcolor, style.reverse) for style in row if style} for row in styles]
        assert looks[0] == looks[2] != looks[1]
    assert app.failures == []


async def test_no_size_makes_it_fail() -> None:
    chance = random.Random(3)
    app = console(in_every_state(), details=the_details())
    async with app.run_test(size=SIZE) as pilot:
        sizes = [(1, 1), (2, 1), (1, 9), (9, 2), (40, 10), (39, 9), (60, 15), (80, 24), (400, 120), (3, 60)]
        sizes += [(chance.randrange(1, 200), chance.randrange(1, 70)) for _ in range(25)]
        for number, (width, height) in enumerate(sizes):
            await pilot.resize_terminal(width, height)
            await pilot.press(*(["j"] if number % 3 else ["G", "slash", "s", "escape", "g", "o"]))
            assert len(seen(app).split("\n")) <= max(1, height)
        await pilot.resize_terminal(*SIZE)
        await until_seen(pilot, "sft-tiny-3")
    assert app.failures == []


async def test_an_empty_list_fits_everywhere() -> None:
    app = console([])
    async with app.run_test(size=SIZE) as pilot:
        for size in [(1, 1), (4, 3), (12, 5), (40, 10), (60, 15), (80, 24), (200, 60)]:
            await pilot.resize_terminal(*size)
            await pilot.pause()
        assert "No runs yet." in seen(app)
    assert app.failures == []


async def test_what_is_known_reaches_palette_and_goodbye() -> None:
    app = console([a_run("new", created=NOW), a_run("old", "finished", created=NOW - 9)])
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: app.known_runs, "the runs to be known")
        assert (app.known_runs, app.alive_runs) == (["new", "old"], ["new"])
