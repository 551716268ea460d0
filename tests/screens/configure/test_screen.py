"""The form in use: from a key to a line of text and back, from a draft to a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from textual import events

from engine.config.load import preset
from engine.launch import prepare
from engine.launch.prepare import new_run
from engine.runs.directory import RunDirectory
from engine.workspace import Workspace
from screens.configure import deciding
from screens.configure.picker import Picker
from screens.configure.screen import ConfigureScreen
from screens.configure.starting import Preflight
from screens.configure.table import FieldTable
from screens.configure.value_input import ValueInput
from screens.configure.yaml_pane import YamlPane
from tests.screens.configure.stage import RUN, StillWorker, console, decided, form, go_to, row, write
from tests.screens.runs.stage import notes, seen, until, until_seen
from tui.app import ConsoleApp
from tui.console_screen import ConsoleScreen
from tui.messages import OpenScreen

SIZE = (80, 24)
WIDE = (160, 45)


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.setattr(deciding, "REST_SECONDS", 0.01)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with a configuration and its data."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    (workspace / "run.yaml").write_text(RUN)
    rows = [{"instruction": f"What is {n}?", "output": f"It is {n + 1}."} for n in range(40)]
    (workspace / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return workspace


async def open_run(pilot: object, app: ConsoleApp, place: Path) -> None:
    from screens.configure import files

    form(app).open(files.open_file(place, "run.yaml"))
    await decided(pilot)  # type: ignore[arg-type]


# Writing


async def test_what_is_typed_is_checked_letter_by_letter_and_lands_in_the_text(place: Path) -> None:
    app = console(place, StillWorker())
    async with app.run_test(size=WIDE) as pilot:
        await open_run(pilot, app, place)
        await go_to(pilot, "training.learning_rate")
        await pilot.press("enter")
        await write(pilot, "2")
        await until_seen(pilot, "must be a number above 0 up to 1, not 2 (run.yaml:7)")
        assert "1 problem" in str(form(app).sub_title)
        await write(pilot, "2e-4")
        await until(pilot, lambda: not form(app).reading.problems, "a right value")
        await pilot.press("enter")
        assert form(app).draft.text == RUN.replace("1e-3", "0.0002")
        assert form(app).query_one(YamlPane).text == form(app).draft.text
        assert "not saved" in str(form(app).sub_title)
        await pilot.press("u")
        assert form(app).draft.text == RUN
    assert app.failures == []


async def test_escape_leaves_the_value_as_it_was_and_a_wrong_one_that_is_kept_stays(place: Path) -> None:
    app = console(place, StillWorker())
    async with app.run_test(size=SIZE) as pilot:
        await open_run(pilot, app, place)
        await go_to(pilot, "training.learning_rate")
        await pilot.press("enter")
        await write(pilot, "[oops")
        await pilot.press("escape")
        assert form(app).draft.text == RUN
        await pilot.press("enter")
        await write(pilot, "[oops")
        await pilot.press("down")
        assert 'learning_rate: "[oops"' in form(app).draft.text
        assert "! learning_rate" in row(app, "training.learning_rate")
        assert form(app).query_one(FieldTable).selected is not None
        await go_to(pilot, "training.learning_rate")
        await pilot.press("enter")
        assert form(app).query_one(ValueInput).value == "[oops"
    assert app.failures == []


async def test_a_choice_is_stepped_through_and_chosen_from_a_list(place: Path) -> None:
    app = console(place, StillWorker())
    async with app.run_test(size=SIZE) as pilot:
        await open_run(pilot, app, place)
        await go_to(pilot, "data.packing")
        await pilot.press("space")
        assert form(app).draft.reading.config.data.packing is True
        await go_to(pilot, "training.lr_scheduler_type")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Picker), "the list")
        await write(pilot, "inverse")
        await pilot.press("enter")
        await until(pilot, lambda: form(app).draft.reading.config.training.lr_scheduler_type == "inverse_sqrt", "it")
        await pilot.press("backspace")
        assert form(app).draft.reading.config.training.lr_scheduler_type == "cosine"
        await pilot.press("backspace")
        assert any("not written here" in note for note in notes(app))
    assert app.failures == []


async def test_an_option_of_the_trainer_is_found_by_its_documentation_and_checked(place: Path) -> None:
    app = console(place, StillWorker())
    async with app.run_test(size=SIZE) as pilot:
        await open_run(pilot, app, place)
        assert "trainer.adam_beta2" not in [getattr(line, "key", "") for line in form(app)._rows]
        for key, letter in (("slash", "/"), *zip("beta2", "beta2", strict=True), ("enter", "\r")):
            app.post_message(events.Key(key, letter))  # as a slow line delivers them: at once
        await until(pilot, lambda: form(app).query_text == "beta2" and isinstance(app.focused, FieldTable), "the end")
        await until_seen(pilot, "trainer.adam_beta2")
        await go_to(pilot, "trainer.adam_beta2")
        await pilot.press("enter")
        await write(pilot, "high")
        await until_seen(pilot, 'must be a number, not "high"')
        await write(pilot, "0.95")
        await pilot.press("enter")
        assert form(app).draft.reading.config.trainer == {"adam_beta2": 0.95}
    assert app.failures == []


# The text


async def test_the_text_is_edited_both_ways_and_what_breaks_it_is_kept(place: Path) -> None:
    app = console(place, StillWorker())
    async with app.run_test(size=WIDE) as pilot:
        await open_run(pilot, app, place)
        pane = form(app).query_one(YamlPane)
        await pilot.press("v")
        assert pane.has_focus
        pane.text = RUN.replace("1e-3", "5e-5")
        await until(pilot, lambda: form(app).draft.reading.config.training.learning_rate == 5e-5, "the new value")
        pane.text = "model: [\n" + RUN
        await until(pilot, lambda: form(app).draft.reading.broken, "a broken text")
        await pilot.press("escape")
        await go_to(pilot, "lora.r")
        await pilot.press("enter")
        assert any("Correct the text first" in note for note in notes(app))
        assert form(app).draft.text == pane.text == "model: [\n" + RUN
        await pilot.press("u")
        assert form(app).draft.text == RUN
        assert pane.text == RUN
    assert app.failures == []


async def test_text_and_form_show_the_same_setting(place: Path) -> None:
    app = console(place, StillWorker())
    async with app.run_test(size=WIDE) as pilot:
        await open_run(pilot, app, place)
        await go_to(pilot, "training.learning_rate")
        pane = form(app).query_one(YamlPane)
        assert pane.cursor_location[0] + 1 == 7
        await pilot.press("v", "up", "up")
        field = form(app).query_one(FieldTable).selected
        assert field is not None
        assert field.key == "data.train"


async def test_on_a_small_terminal_the_text_takes_the_place_of_the_form(place: Path) -> None:
    app = console(place, StillWorker())
    async with app.run_test(size=SIZE) as pilot:
        await open_run(pilot, app, place)
        await pilot.press("v")
        await until_seen(pilot, "# Which answers the model learns")
        await pilot.press("end", "x", "escape")
        assert "learnsx" in form(app).draft.text
        assert isinstance(app.focused, FieldTable)
        await until_seen(pilot, "The base model and how its weights are held.")
    assert app.failures == []


async def test_foreign_text_is_only_shown(place: Path) -> None:
    nasty = "\u202e[@click=app.quit]x[/]\u200b"
    (place / "run.yaml").write_text(f"model:\n  name: '{nasty}'\n")
    app = console(place, StillWorker())
    async with app.run_test(size=WIDE) as pilot:
        await open_run(pilot, app, place)
        await go_to(pilot, "model.name")
        shown = seen(app)
        assert "\u202e" not in shown
        assert "\u200b" not in shown
        assert "\\u202e[@click=app.quit]x[/]" in shown
        assert "\u202e" not in form(app).plain_text()
    assert app.failures == []


# Deciding


async def test_automatic_values_say_what_they_became_and_why(place: Path) -> None:
    worker = StillWorker()
    app = console(place, worker)
    async with app.run_test(size=SIZE) as pilot:
        await open_run(pilot, app, place)
        assert row(app, "model.dtype").split() == ["dtype", "float32", "automatic"]
        await go_to(pilot, "lora.lora_alpha")
        assert "automatic: twice the rank 8" in seen(app)
        assert "40 rows, 10 steps" in str(form(app).sub_title)
    assert worker.asked == [RUN]


async def test_the_worker_decides_as_a_run_would_and_names_the_file_that_is_missing(place: Path) -> None:
    app = console(place)
    async with app.run_test(size=SIZE) as pilot:
        await open_run(pilot, app, place)
        assert row(app, "model.dtype").split() == ["dtype", "float32", "automatic"]
        assert "40 rows, 10 steps" in str(form(app).sub_title)
        form(app).change(form(app).draft.put("data.train", "answer.jsonl"))
        await decided(pilot)
        await go_to(pilot, "data.train")  # the row may be below the last one on screen
        assert "! train" in row(app, "train")
        assert "There is no data file 'answer.jsonl'" in form(app).reading.problems[0]
        assert "known once nothing is wrong" in seen(app)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Picker), "the problems")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is form(app), "the way back")
        field = form(app).query_one(FieldTable).selected
        assert field is not None
        assert field.key == "data.train"
    assert app.failures == []


# Opening, saving, comparing


async def test_a_draft_outlives_the_console_and_opening_another_can_be_taken_back(place: Path) -> None:
    app = console(place, StillWorker())
    async with app.run_test(size=SIZE) as pilot:
        await open_run(pilot, app, place)
        form(app).change(form(app).draft.put("lora.r", "wrong"))
        await pilot.pause()
    app = console(place, StillWorker())
    async with app.run_test(size=SIZE) as pilot:
        await pilot.pause()
        assert "r: wrong" in form(app).draft.text
        assert form(app).draft.path == place / "run.yaml"
        await pilot.press("N")
        assert form(app).draft.text == ""
        await pilot.press("u")
        assert "r: wrong" in form(app).draft.text
    assert app.failures == []


async def test_settings_are_saved_under_a_name_and_another_s_file_is_asked_for(place: Path) -> None:
    app = console(place, StillWorker())
    async with app.run_test(size=SIZE) as pilot:
        form(app).change(form(app).draft.put("data.train", "answers.jsonl"))
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, Picker), "the question for a name")
        await until_seen(pilot, "run-2.yaml")
        await pilot.press("enter")
        await until(pilot, lambda: (place / "run-2.yaml").exists(), "the file")
        await until(pilot, lambda: not form(app).draft.changed, "a saved draft")
        (place / "run-2.yaml").write_text("# by somebody else\n")
        form(app).change(form(app).draft.put("lora.r", 4))
        await pilot.press("w")
        await until_seen(pilot, "Replace run-2.yaml?")
        await pilot.press("n")
        assert (place / "run-2.yaml").read_text() == "# by somebody else\n"
    assert app.failures == []


async def test_a_run_is_duplicated_compared_with_and_a_value_of_it_taken(place: Path) -> None:
    new_run(Workspace(place), preset("demo"), name="first")
    app = console(place, StillWorker())
    async with app.run_test(size=SIZE) as pilot:
        app.post_message(OpenScreen("configure", "first"))
        await until(pilot, lambda: len(app.screen_stack) > 1, "the form")
        screen = app.screen
        assert isinstance(screen, ConfigureScreen)
        await until(pilot, lambda: screen.draft.about == "from run first", "the duplicate")
        assert screen.draft.reading.config.lora.r == 16
        screen.change(screen.draft.put("training.learning_rate", 0.5))
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, Picker), "what there is to compare with")
        await write(pilot, "first")
        await pilot.press("enter")
        await until(pilot, lambda: screen.others is not None, "the comparison")
        await until_seen(pilot, "differ from first")
        screen.query_one(FieldTable).show(
            screen._rows, screen.reading, screen._values, screen.others, select="training.learning_rate"
        )
        words = row(app, "learning_rate").split()  # the last may be a piece of the scrollbar
        assert words[words.index("0.5") :][:2] == ["0.5", "0.005"]
        await pilot.press("equals_sign")
        assert screen.draft.reading.config.training.learning_rate == 0.005
        await pilot.press("escape")
        assert screen.others is None
    assert app.failures == []


async def test_a_run_that_cannot_be_duplicated_leaves_an_empty_form(place: Path) -> None:
    app = console(place, StillWorker())
    async with app.run_test(size=SIZE) as pilot:
        app.post_message(OpenScreen("configure", "nobody"))
        await until_seen(pilot, "Run nobody has no settings to read.")
        await pilot.press("escape", "j")
        await until_seen(pilot, "The base model and how its weights are held.")


# Starting


async def test_a_run_is_looked_over_named_and_started(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[RunDirectory] = []
    monkeypatch.setattr(prepare, "start_run", started.append)
    app = console(place, StillWorker())
    async with app.run_test(size=WIDE) as pilot:
        await open_run(pilot, app, place)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, Preflight), "the last look")
        await until_seen(pilot, "Nothing stands in the way")
        assert "10 steps of 8 rows, 40 rows on cpu" in seen(app)
        assert "trust_remote_code is false" in seen(app)
        await pilot.press("minus", "x", "enter")
        await until_seen(pilot, "cannot be the name of a run")
        await write(pilot, "mine")
        await pilot.press("enter")
        await until_seen(pilot, "opened mine")
        assert [run.name for run in started] == ["mine"]
        opened = [screen.opened_as for screen in app.screen_stack if isinstance(screen, ConsoleScreen)]
        assert opened == [("configure", None), ("live", "mine")]
    assert app.failures == []


async def test_what_would_be_lost_is_not_started(place: Path) -> None:
    (place / "answers.jsonl").write_text('{"instruction": "a", "output": "b"}\n{"torn')
    app = console(place, StillWorker())
    async with app.run_test(size=WIDE) as pilot:
        await open_run(pilot, app, place)
        await pilot.press("s")
        await until_seen(pilot, "One thing stands in the way of this run.")
        await pilot.press("enter")
        assert isinstance(app.screen, Preflight)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is form(app), "the form")
    assert not (place / "runs").exists()
    assert app.failures == []


@pytest.mark.parametrize("size", [(1, 1), (20, 5), (40, 10), (60, 15), (120, 40), (400, 120)])
async def test_every_size_can_be_drawn_and_written_in(place: Path, size: tuple[int, int]) -> None:
    app = console(place, StillWorker())
    async with app.run_test(size=SIZE) as pilot:
        await open_run(pilot, app, place)
        await go_to(pilot, "training.learning_rate")
        await pilot.press("enter")
        await pilot.resize_terminal(*size)
        await write(pilot, "0.5")
        await pilot.press("enter")
        assert form(app).draft.reading.config.training.learning_rate == 0.5
        assert "learning_rate: 0.5" in form(app).plain_text()
    assert app.failures == []
