"""The live view in use: from a line of the log to a label, from a key to a command and its answer."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from typing import Any

import pytest
from textual.widgets import Input, OptionList

from engine import events
from engine.events import StepFinished
from engine.journal import Journal
from engine.launch.prepare import Resumed
from engine.runs.checkpoints import Checkpoint
from engine.runs.directory import RunDirectory
from engine.runs.liveness import Life, liveness
from screens.live import resuming
from screens.live.dialogs import LearningRateDialog, MetricPicker, StopDialog
from screens.live.headline import Headline
from screens.live.log_pane import LogPane
from screens.live.plots import MetricChart, Plots
from screens.live.samples import SamplesPane
from screens.live.screen import LiveScreen
from tests.conftest import Runs
from tests.screens.live import states
from tests.screens.live.stage import console, console_on, live_screen, seen, until, until_seen
from tests.screens.live.states import StillFeed, Story
from tui.widgets.confirm import Confirm
from tui.widgets.failure_panel import FailurePanel

OBEDIENT = """
    say(events.TrainingStarted(100, 1.0, 0, 1000, 10, "cpu", "float32"))
    say(events.StageChanged("training"))
    for step in range(1, 6):
        metrics = {"loss": 3.0 / step, "grad_norm": 1.0, "learning_rate": 1e-3, "tokens_per_second": 900.0}
        say(events.StepFinished(step, step / 100, 50 * step, 0.1, metrics))
    heard = 0
    while True:
        lines = (run / "commands.jsonl").read_bytes().splitlines() if (run / "commands.jsonl").exists() else []
        for told in map(json.loads, lines[heard:]):
            heard += 1
            name = told["command"]
            detail = f"heard {name} {told.get('learning_rate', told.get('save', ''))} after step 5".replace("  ", " ")
            say(events.CommandConfirmed(told["id"], name, True, detail, "worker"))
            if name == "Pause":
                say(events.RunPaused(5))
            if name == "Unpause":
                say(events.RunUnpaused(5, 1.0))
            if name == "SaveCheckpoint":
                say(events.CheckpointSaved(5, "checkpoints/checkpoint-5", 1000, "requested", {}))
            if name == "Stop":
                say(events.RunEnded("stopped", 5, 1.0, "as asked"))
                sys.exit(0)
        time.sleep(0.02)
"""
SIZE = (100, 30)


def told(run: RunDirectory) -> list[dict[str, Any]]:
    """Return the commands the run was sent."""
    if not run.commands.exists():
        return []
    return [json.loads(line) for line in run.commands.read_bytes().splitlines()]


async def test_a_line_of_the_log_becomes_a_label_and_a_curve(runs: Runs) -> None:
    run = runs.create("run-1")
    runs.start(run, OBEDIENT)
    app = console_on(runs.folder.parent, "run-1")
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "step 5 / 100")
        assert "running" in seen(app)
        journal = Journal(run.events)
        journal.append(events.to_json(StepFinished(7, 0.07, 350, 0.1, {"loss": 0.25})))
        journal.close()
        await until_seen(pilot, "step 7 / 100")
        chart = live_screen(app).query_one(Plots).charts["loss"]
        assert chart.curves[0].x_range("step") == (1, 7)
    assert app.failures == []
    assert liveness(run.path).life is Life.ALIVE, "leaving the console must not end the run"


@pytest.mark.parametrize(
    ("keys", "sent", "answer"),
    [
        pytest.param(["p"], {"command": "Pause"}, "Pause: heard Pause after step 5", id="pause"),
        pytest.param(["w"], {"command": "SaveCheckpoint"}, "Save now: heard SaveCheckpoint after", id="save"),
        pytest.param(["S", "enter"], {"command": "Stop", "save": True}, "Stop and save: heard Stop True", id="stop"),
        pytest.param(["S", "n"], {"command": "Stop", "save": False}, "Stop now: heard Stop False", id="stop now"),
        pytest.param(
            ["L", *"5e", "minus", "4", "enter"],
            {"command": "SetLearningRate", "learning_rate": 5e-4},
            "learning_rate 0.0005: heard SetLearningRate 0.0005",
            id="learning rate",
        ),
    ],
)
async def test_a_control_sends_its_command_and_shows_the_answer(
    runs: Runs, keys: list[str], sent: dict[str, Any], answer: str
) -> None:
    run = runs.create("run-1")
    runs.start(run, OBEDIENT)
    app = console_on(runs.folder.parent, "run-1")
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "step 5 / 100")
        for key in keys:
            await pilot.press(key)
            await pilot.pause()
        await until(pilot, lambda: told(run), "a command")
        await until_seen(pilot, answer)
    [command] = told(run)
    assert command.items() >= sent.items()
    assert app.failures == []


async def test_pausing_twice_goes_on(runs: Runs) -> None:
    run = runs.create("run-1")
    runs.start(run, OBEDIENT)
    app = console_on(runs.folder.parent, "run-1")
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "step 5 / 100")
        await pilot.press("p")
        await until_seen(pilot, "p Go on")
        await pilot.press("p")
        await until_seen(pilot, "p Pause")
    assert [command["command"] for command in told(run)] == ["Pause", "Unpause"]


async def test_a_second_console_sees_the_whole_run_and_can_stop_it(runs: Runs) -> None:
    run = runs.create("run-1")
    runs.start(run, OBEDIENT)
    first = console_on(runs.folder.parent, "run-1")
    async with first.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "step 5 / 100")
        await pilot.press("w")
        await until_seen(pilot, "✓ Save now")
    second = console_on(runs.folder.parent, "run-1")
    async with second.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "step 5 / 100")
        assert len(live_screen(second).state.history.train) == 5
        await pilot.press("right_square_bracket", "right_square_bracket")
        await until_seen(pilot, "Saved checkpoints/checkpoint-5 at step 5")
        await pilot.press("S", "s")
        await until_seen(pilot, "Stopped at step 5 of 100")
        assert "R resumes from it" in seen(second)


@pytest.mark.parametrize("key", ["escape", "c", "q"])
async def test_a_stop_that_is_cancelled_sends_nothing(runs: Runs, key: str) -> None:
    run = runs.create("run-1")
    runs.start(run, OBEDIENT)
    app = console_on(runs.folder.parent, "run-1")
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "step 5 / 100")
        await pilot.press("S")
        await until(pilot, lambda: isinstance(app.screen, StopDialog), "the dialog")
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.screen, LiveScreen), "the view")
    assert told(run) == []


async def test_the_stop_dialog_says_what_would_be_lost() -> None:
    app = console(states.training())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("S")
        await until_seen(pilot, "30 steps since checkpoint-200 would be lost")
        assert app.screen.query_one(OptionList).highlighted == 0, "saving is what enter does"


async def test_a_learning_rate_that_is_none_is_refused_with_the_reason() -> None:
    app = console(states.training())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("L")
        await until(pilot, lambda: isinstance(app.screen, LearningRateDialog), "the dialog")
        for text, reason in (("", "A number is needed"), ("fast", "'fast' is not a number"), ("-1", "above 0"),
                             ("7", "above 1"), ("nan", "above 0")):  # fmt: skip
            app.screen.query_one(Input).value = text
            await pilot.press("enter")
            await until_seen(pilot, reason)
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen), "the view")
        assert live_screen(app).asked == []


@pytest.mark.parametrize(
    ("run", "key", "reason"),
    [
        pytest.param(states.starting, "p", "It has not begun to train yet.", id="too early"),
        pytest.param(states.died, "S", "It has died: nobody is there to be told.", id="dead"),
        pytest.param(states.finished, "R", "It has finished: there is nothing to go on with.", id="finished"),
        pytest.param(states.training, "R", "It is running: there is nothing to resume.", id="running"),
        pytest.param(states.unknown, "S", "Nobody can say whether it still runs, so it is left alone", id="unknown"),
        pytest.param(states.indexing, "S", "The run is still being read.", id="unread"),
    ],
)
async def test_a_control_that_makes_no_sense_gives_the_reason(
    run: Callable[[], StillFeed], key: str, reason: str
) -> None:
    app = console(run())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press(key)
        await until(pilot, lambda: app._notifications, "a note")
        assert [note.message.startswith(reason) for note in app._notifications] == [True]
        assert isinstance(app.screen, LiveScreen)


async def test_a_control_that_was_asked_for_is_not_asked_twice(runs: Runs) -> None:
    run = runs.create("run-1")
    runs.start(run, OBEDIENT.replace("heard += 1", "heard += 1; continue"))  # never answers
    app = console_on(runs.folder.parent, "run-1")
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "step 5 / 100")
        await pilot.press("w")
        await until_seen(pilot, "Save now asked")
        await pilot.press("w")
        await until(pilot, lambda: app._notifications, "a note")
    assert len(told(run)) == 1


async def test_resuming_asks_first_and_tells_what_was_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    feed = states.failed()
    path = feed.run.checkpoints / "checkpoint-200"
    resumed = Resumed(
        Checkpoint(path, 200, "1", {}, {}),
        [(Checkpoint(path.with_name("checkpoint-212"), 212, "1", {}, {}), "optimizer.pt is missing")],
    )
    asked_for: list[bool] = []

    def resume(run: RunDirectory, accept_changes: bool) -> Resumed:
        asked_for.append(accept_changes)
        return resumed

    prospect = resuming.Prospect("checkpoint-212", 3, ["run.yaml was edited"])
    monkeypatch.setattr(resuming, "prospect", lambda run, step: prospect)
    monkeypatch.setattr(resuming, "resume", resume)
    app = console(feed)
    async with app.run_test(size=SIZE) as pilot:
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await until_seen(pilot, "Resume sft-tiny-3 although something has changed?")
        await pilot.press("n")
        await until(pilot, lambda: isinstance(app.screen, LiveScreen), "the view")
        assert asked_for == []
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("y")
        await until(pilot, lambda: len(app._notifications) == 2, "the result")
        assert asked_for == [True]
        said = [note.message for note in app._notifications][-1]
        assert "goes on from checkpoint-200" in said
        assert "checkpoint-212 was passed over: optimizer.pt is missing" in said


async def test_a_resume_that_is_refused_is_shown_and_the_view_goes_on(runs: Runs) -> None:
    run = runs.create("run-1")
    runs.start(run, 'say(events.RunEnded("failed", 0, 1.0, "torn", "x", "Mend it."))')
    app = console_on(runs.folder.parent, "run-1")
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "Torn")
        await pilot.press("R")
        await until(pilot, lambda: isinstance(app.screen, Confirm), "the question")
        await pilot.press("y")
        panel = live_screen(app).query_one(FailurePanel)
        await until(pilot, lambda: panel.failure is not None, "the refusal")  # run.yaml of this run has no settings
        assert panel.failure is not None
        assert panel.failure.code != "bug"
        await pilot.press("escape")
        assert panel.failure is None


async def test_a_folder_that_was_taken_away_is_said_to_be_gone_and_nothing_is_resumed(runs: Runs) -> None:
    run = runs.create("run-1")
    runs.start(run, 'say(events.RunEnded("failed", 0, 1.0, "torn", "x", "Mend it."))')
    app = console_on(runs.folder.parent, "run-1")
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "Torn")
        shutil.rmtree(run.path)
        await until_seen(pilot, "The folder of this run is gone.")
        assert "Torn" in seen(app)
        await pilot.press("R")
        await until(pilot, lambda: app._notifications, "a note")
        assert [note.message for note in app._notifications] == ["The folder of this run is gone."]
        assert isinstance(app.screen, LiveScreen)


async def test_a_run_that_is_not_there_is_said_in_a_sentence(runs: Runs) -> None:
    app = console_on(runs.folder.parent, "../elsewhere")
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "cannot be the name of a run")
        await until_seen(pilot, "There is nothing to show")


async def test_freezing_holds_the_view_and_not_the_run() -> None:
    story = Story().begin().train(230)
    app = console(story.feed())
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "step 230")
        await pilot.press("space")
        await until_seen(pilot, "frozen")
        story.train(260)
        live_screen(app).post_message(LiveScreen.RunChanged())
        await pilot.pause()
        assert "step 230" in seen(app)
        assert live_screen(app).state.step == 260
        await pilot.press("space")
        await until_seen(pilot, "step 260")


async def test_every_chart_follows_when_one_is_zoomed() -> None:
    app = console(states.training())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("plus", "x")
        await pilot.pause()
        charts = live_screen(app).query(MetricChart)
        assert len({chart.x for chart in charts}) == 1
        assert charts.first().x.window is not None
        assert charts.first().x.crosshair is not None
        await pilot.press("full_stop")
        await pilot.pause()
        assert len({chart.x for chart in live_screen(app).query(MetricChart)}) == 1, "charts shown later join in"


async def test_smoothing_is_for_all_charts_but_a_schedule() -> None:
    app = console(states.training())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("s")
        await pilot.pause()
        weights = {key: chart.smoothing for key, chart in live_screen(app).query_one(Plots).charts.items()}
        assert weights == {"loss": 0.97, "learning_rate": 0.0, "grad_norm": 0.97, "tokens_per_second": 0.97}


async def test_a_chart_can_have_the_whole_area_and_any_metric_is_reachable() -> None:
    app = console(states.training())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        plots = live_screen(app).query_one(Plots)
        await pilot.press("tab", "f")
        assert [spec.key for spec in plots.on_screen] == ["learning_rate"]
        await pilot.press("escape")
        assert [spec.key for spec in plots.on_screen] == ["loss", "learning_rate", "grad_norm", "tokens_per_second"]
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, MetricPicker), "the list")
        await pilot.press("down", "down", "down", "enter")
        await until(pilot, lambda: [spec.key for spec in plots.on_screen] == ["entropy"], "the chart")
        await until(pilot, lambda: plots.charts["entropy"].has_focus, "the focus")
        await until_seen(pilot, "chart 5 of 8")


async def test_escape_steps_out_one_layer_at_a_time_and_never_quits() -> None:
    app = console(states.training())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        screen = live_screen(app)
        await pilot.press("x", "f", "right_square_bracket")
        assert screen.view == "samples"
        await pilot.press("escape")
        assert screen.view == "plots"
        assert screen.query_one(Plots).enlarged
        await pilot.press("escape")
        assert screen.query_one(Plots).charts["loss"].x.crosshair is None
        await pilot.press("escape")
        assert not screen.query_one(Plots).enlarged
        await pilot.press("escape", "escape")
        assert app.screen is screen


async def test_samples_can_be_stepped_through_and_return_to_the_newest() -> None:
    app = console(states.training())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("right_square_bracket")
        await until_seen(pilot, "step 200, 5 of 5, compared with step 0")
        await pilot.press("left")
        await until_seen(pilot, "step 150, 4 of 5, compared with step 0")
        await pilot.press("b")
        await until_seen(pilot, "step 150, 4 of 5, compared with step 100")
        await pilot.press("right", "right")
        await until_seen(pilot, "step 200, 5 of 5")
        assert live_screen(app).query_one(SamplesPane).chosen is None, "at the newest it follows the run"


async def test_the_log_stays_at_the_end_unless_somebody_reads_back() -> None:
    story = Story().begin().train(230)
    app = console(story.feed())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        await pilot.press("right_square_bracket", "right_square_bracket")
        await until_seen(pilot, "Removed checkpoints/checkpoint-50")
        log = live_screen(app).query_one(LogPane)
        story.say(events.Warned("w", "The newest word."))
        live_screen(app).post_message(LiveScreen.RunChanged())
        await until_seen(pilot, "The newest word.")
        await pilot.press("g")
        await until_seen(pilot, "Created: sft on tiny")
        story.say(events.Warned("w", "A word nobody sees."))
        live_screen(app).post_message(LiveScreen.RunChanged())
        await pilot.pause()
        assert "Created: sft on tiny" in seen(app)
        assert log.scroll_offset.y == 0
        await pilot.press("G")
        await until_seen(pilot, "A word nobody sees.")


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=str)
async def test_the_last_word_is_on_screen_when_the_run_has_ended(size: tuple[int, int]) -> None:
    story = Story().begin().train(230)
    app = console(story.feed())
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        story.say(events.RunEnded("failed", 230, 1.0, "The first cause. " * 9, "x", "The last word."))
        live_screen(app).post_message(LiveScreen.RunChanged())
        await until_seen(pilot, "Failed at step 230")
        log = live_screen(app).query_one(LogPane)
        if size[0] < 120:
            await pilot.press("right_square_bracket", "right_square_bracket")
        await until(pilot, lambda: log.scroll_offset.y == log.max_scroll_y > 0, "the end of the log")
        assert log.vertical_scrollbar.position == log.scroll_y


async def test_a_click_does_what_the_key_does() -> None:
    app = console(states.training())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        row = next(y for y, text in enumerate(seen(app).splitlines()) if "Details" in text)
        text = seen(app).splitlines()[row]
        await pilot.click(offset=(text.index("Log") + 1, row))
        assert live_screen(app).view == "log"
        await pilot.click(offset=(text.index("Stop") + 1, row))
        await until(pilot, lambda: isinstance(app.screen, StopDialog), "the dialog")


async def test_the_view_as_text_has_everything() -> None:
    app = console(states.failed())
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        text = live_screen(app).plain_text()
    for expected in (
        "Run sft-tiny-3", "✗ failed", "step 212 / 400", "Step 213 was not taken", "Lower training.learning_rate",
        "checkpoint-200", "R resumes from it", "loss", "Chinua Achebe wrote",
        f"{'train':<14}{'1,488':>9}{'1,487':>9}{1:>9}",
        "checkpoints/checkpoint-150", "no assistant message", "engine.errors.NonFinite", "/workspace/runs/sft-tiny-3",
    ):  # fmt: skip
        assert expected in text


def hostile() -> StillFeed:
    """A run in which every foreign text tries something."""
    bad = "\x1b]52;c;cm0=\x07\x1b[2J\x9b31m[bold red]x[/] [@click=app.quit]q[/] \u202e⏎"
    story = Story(model=f"tiny{bad}").begin()
    story.say(events.StageChanged("evaluating", bad))
    story.train(210)
    story.say(events.StepFinished(211, 1.6, 70_000, 0.5, {"loss": 0.4, f"met{bad}": 1.0}))
    story.say(events.Warned("w", f"warned {bad}", f"remedy {bad}"))
    dropped = [{"path": f"rows{bad}", "line": bad, "reason": f"why {bad}"}]
    story.say(events.DataPrepared(f"split{bad}", 2, 1, 1, dropped, 10, 10))
    story.say(events.CheckpointSaved(211, f"checkpoints/{bad}", 10, bad, {}))
    story.say(events.BehaviourMeasured(211, "after", {f"score{bad}": 0.5}, {}, 1.0))
    story.say(events.RunEnded("failed", 211, 1.0, f"ended {bad}", bad, f"mend {bad}"))
    feed = story.feed(reason=bad)
    feed.samples.take([json.dumps({"step": 900, "index": 0, "set": bad, "prompt": bad, "answer": bad}).encode()])
    feed.worker_log = [f"printed {bad}"]
    return feed


@pytest.mark.parametrize("keys", [[], ["]"], ["]", "]"], ["["], ["m"]], ids=str)
async def test_foreign_text_is_shown_and_never_obeyed(keys: list[str]) -> None:
    app = console(hostile())
    async with app.run_test(size=(160, 45)) as pilot:
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()
        strips = app.screen._compositor.render_strips()
        for strip in strips:
            for segment in strip:
                assert not set("\x1b\x07\x9b\u202e\r\n") & set(segment.text), segment.text
                action = (segment.style.meta if segment.style else {}).get("@click", "")
                assert "app.quit" not in str(action)
        assert "[bold red]" in seen(app) or keys == ["m"]
        assert not set("\x1b\x07\x9b\u202e") & set(live_screen(app).plain_text())
    assert app.failures == []


@pytest.mark.parametrize(
    "run", [states.empty, states.training, states.failed, hostile],
    ids=lambda make: make.__name__,
)  # fmt: skip
async def test_no_size_is_too_small_or_too_large(run: Callable[[], StillFeed]) -> None:
    chance = random.Random(7)
    sizes = [(1, 1), (2, 1), (1, 30), (200, 1), (6, 3), (40, 10), (60, 15), (80, 24), (220, 70)]
    sizes += [(chance.randint(1, 170), chance.randint(1, 50)) for _ in range(8)]
    app = console(run())
    async with app.run_test(size=(80, 24)) as pilot:
        for width, height in sizes:
            await pilot.resize_terminal(width, height)
            await pilot.press(chance.choice(["]", "[", "f", "full_stop", "tab", "space", "plus", "x"]))
            await pilot.pause()
            live_screen(app).plain_text()
    assert app.failures == []


async def test_a_tick_without_news_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    app = console(states.training())
    async with app.run_test(size=(120, 40)) as pilot:
        screen = live_screen(app)
        for _ in range(4):
            screen.post_message(LiveScreen.RunChanged())
            await pilot.pause()
        drawn: list[object] = []
        monkeypatch.setattr(screen, "_compositor_refresh", lambda: drawn.append(1))
        screen.post_message(LiveScreen.RunChanged())
        await pilot.pause()
        assert drawn == []


async def test_a_step_repaints_a_few_cells_and_not_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(total_steps=4_000).begin().train(230)
    app = console(story.feed())
    async with app.run_test(size=(120, 40)) as pilot:
        screen = live_screen(app)
        for _ in range(4):
            screen.post_message(LiveScreen.RunChanged())
            await pilot.pause()
        cells: list[int] = []

        def count(*regions: Any, **_: Any) -> None:
            cells.extend(region.area for region in regions)

        for widget in (*screen.query(MetricChart), screen.query_one(Headline)):
            monkeypatch.setattr(widget, "refresh", count)
        story.train(235)
        screen.post_message(LiveScreen.RunChanged())
        await pilot.pause()
        assert 0 < sum(cells) < 120, "of 4,800"
