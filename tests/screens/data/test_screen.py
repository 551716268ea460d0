"""The inspection of data in use: from a file to rows, from a key to what it shows."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from textual import events
from textual.pilot import Pilot

from engine.data.microscope import Examined
from screens.configure.files import kept_draft
from screens.data import inquiries
from screens.data import screen as screens
from screens.data.asking_line import LineInput
from screens.data.book import READ_TO
from screens.data.pane import Pane
from screens.data.row_table import RowTable
from screens.data.screen import DataScreen
from screens.data.work_state import Activity
from tests.screens.data.files import NASTY, preferences, question, questions, write, wrong
from tests.screens.data.stage import StillMicroscope, console, data_screen, settled
from tests.screens.runs.stage import notes, seen, until, until_seen
from tui.app import ConsoleApp
from tui.registry import ScreenEntry
from tui.widgets.choose import Chooser
from tui.widgets.failure_panel import Failure, FailurePanel

SIZE = (120, 34)


def typed(text: str) -> list[str]:
    names = {" ": "space", "=": "equals_sign", "_": "underscore", ".": "full_stop", "/": "slash", ",": "comma",
             "-": "minus", '"': "quotation_mark"}  # fmt: skip
    return [names.get(letter, letter) for letter in text]


async def write_line(pilot: Pilot[None], key: str, text: str) -> None:
    await pilot.press(key)
    await pilot.pause()
    await pilot.press(*typed(text), "enter")
    await settled(pilot)


def failure(app: ConsoleApp) -> str:
    return str(data_screen(app).query_one(FailurePanel).failure or "")


# Opening


async def test_a_file_of_the_workspace_is_chosen_and_shown(tmp_path: Path) -> None:
    questions(tmp_path, 300)
    app = console(tmp_path, None)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Chooser), "the list of files")
        await until_seen(pilot, "datasets/questions_train.jsonl")
        await pilot.press(*typed("questions"), "enter")
        await settled(pilot)
        text = seen(app)
        assert "alpaca  prompt=instruction  completion=output" in text
        assert "line 1 of 300" in text
        assert "What do you know of Carmen, number 1?" in text
    assert app.failures == []


async def test_a_path_that_is_typed_is_opened_and_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = questions(tmp_path / "elsewhere", 10)
    app = console(tmp_path, None)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Chooser), "the list of files")
        await pilot.press(*typed("nowhere.jsonl"), "enter")
        await until_seen(pilot, "There is no data file 'nowhere.jsonl'")
        await pilot.press(*["backspace"] * 13, *typed(str(path)), "enter")
        await settled(pilot)
        assert "line 1 of 10" in seen(app)


async def test_a_folder_with_splits_asks_which_of_them(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        questions(tmp_path / "elsewhere", 10 if split == "train" else 4, f"{split}.jsonl")
    app = console(tmp_path, None)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: isinstance(app.screen, Chooser), "the list of files")
        await pilot.press(*typed(str(tmp_path / "elsewhere" / "datasets")), "enter")
        await until_seen(pilot, "validation")
        await pilot.press("down", "enter")
        await settled(pilot)
        assert "line 1 of 4" in seen(app)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PAR1" + b"x" * 99, "half.jsonl"),
        (b"<!doctype html><p>Not found", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git-lfs"),
    ],
)
async def test_a_bad_file_is_a_sentence_and_the_screen_lives_on(tmp_path: Path, content: bytes, said: str) -> None:
    bad = tmp_path / "half.jsonl"
    bad.write_bytes(content)
    good = questions(tmp_path, 10)
    app = console(tmp_path, bad)
    async with app.run_test(size=SIZE) as pilot:
        await until(pilot, lambda: failure(app), "the failure")
        assert said in failure(app)
        assert "No data file is open." in seen(app)
        await pilot.press("escape")
        data_screen(app).open(good)
        await settled(pilot)
        assert "line 1 of 10" in seen(app)
        assert failure(app) == ""


async def test_an_empty_file_is_said_to_be_empty(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    app = console(tmp_path, empty)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "the file is empty")
        assert "names the columns" not in seen(app)


async def test_a_file_that_vanishes_is_said_once_it_is_looked_at_again(tmp_path: Path) -> None:
    path = questions(tmp_path, 3000)
    app = console(tmp_path, path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        path.unlink()
        await pilot.press("G")
        await until(pilot, lambda: failure(app), "the failure")
        await pilot.press("g")
        await until_seen(pilot, "line 1 of 3,000")


# Rows


async def test_any_row_of_a_large_file_is_one_key_away(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    with path.open("w") as file:
        file.writelines(f'{{"question": "q{number}", "answer": "a{number}"}}\n' for number in range(1, 200_001))
    app = console(tmp_path, path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert "of 200,000" in seen(app)
        await pilot.press("G")
        await settled(pilot)
        assert "q200000" in seen(app)
        await write_line(pilot, "number_sign", "123,456")
        assert "line 123,456 of 200,000" in seen(app)
        assert "q123456" in seen(app)
        await pilot.press("7")
        await until_seen(pilot, "line  7")
        await pilot.press("7", "enter")
        await settled(pilot)
        assert data_screen(app).table.line == 77
        await write_line(pilot, "number_sign", "999999999")
        assert data_screen(app).table.line == 200_000
        assert any("There is no line 999,999,999" in note for note in notes(app))
        await pilot.press("g", "pagedown")
        await settled(pilot)
        assert f"q{data_screen(app).table.line}" in seen(app)
        assert len(data_screen(app).table._known) < 1_000


async def test_a_search_marks_rows_and_goes_from_one_to_the_next(tmp_path: Path) -> None:
    app = console(tmp_path, questions(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        table = data_screen(app).table
        await pilot.press("j", "j")
        await write_line(pilot, "slash", "Brexit dataset_type=retain")
        assert "Brexit dataset_type=retain: no row" not in seen(app)
        await pilot.press("escape")
        await write_line(pilot, "slash", "Tintin")
        assert table.line == 3
        assert "Tintin: 50 rows, this is number 1" in seen(app)
        await pilot.press("n")
        await settled(pilot)
        assert table.line == 9
        await pilot.press("N", "N")
        await settled(pilot)
        assert table.line == 297
        await pilot.press("f")
        await settled(pilot)
        assert table.num_rows == 50
        assert table.line == 297
        await pilot.press("escape", "escape")
        await settled(pilot)
        assert (table.num_rows, data_screen(app).found) == (300, None)
        await write_line(pilot, "slash", "nowhere at all")
        assert "no row has nowhere at all" in seen(app)


async def test_a_search_for_nothing_is_refused(tmp_path: Path) -> None:
    app = console(tmp_path, questions(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("slash", "quotation_mark", "a", "enter")
        await until(pilot, lambda: "quotation mark" in failure(app), "the failure")
        await settled(pilot)


async def test_the_reading_of_the_columns_is_corrected_with_one_key(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.jsonl", [{"foo": f"asked {number}", "bar": "said"} for number in range(9)])
    app = console(tmp_path, path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert "no shape is recognised" in seen(app)
        assert "no question and answer among its keys" in seen(app)
        await pilot.press("c")
        await until(pilot, lambda: isinstance(app.screen, Chooser), "the question")
        await pilot.press(*typed("label=foo"), "enter")
        await until_seen(pilot, "a label needs prompt and completion")
        await pilot.press(*["backspace"] * 9, *typed("prompt=foo, completion=bar"), "enter")
        await until_seen(pilot, "as you said")
        await settled(pilot)
        assert "asked 0" in seen(app)
        assert data_screen(app).book is not None
        await pilot.press("C")
        await until(pilot, lambda: any("is in the settings of new run" in note for note in notes(app)), "the note")
        kept = kept_draft(tmp_path)
        assert kept is not None
        data = kept.reading.given.settings
        assert data["data.mapping"].value == {"prompt": "foo", "completion": "bar"}
        assert data["data.train"].value in ("odd.jsonl", ["odd.jsonl"])
        await pilot.press("c")
        await until_seen(pilot, "as it is recognised")
        await pilot.press("down", "enter")
        await until_seen(pilot, "no shape is recognised")


async def test_a_row_of_a_table_says_its_line_in_the_file_too(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('question,answer\n"Q1\nand more",A1\nQ2,A2\n')
    app = console(tmp_path, path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("j")
        await until_seen(pilot, "row 2 of 2, line 4 of the file")
        assert "CSV" in seen(app)


# One row


async def test_each_view_tells_of_the_row_under_the_cursor(tmp_path: Path) -> None:
    app = console(tmp_path, questions(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        assert "assistant  learned" in seen(app)
        for view in ("raw", "rendered", "mask", "tokens"):
            await pilot.press("right_square_bracket")
            await settled(pilot)
            assert data_screen(app).view == view
        assert "trained" in seen(app)
        await pilot.press("left_square_bracket", "full_stop")
        await settled(pilot)
        assert "✓ learned   6 of 15 tokens trained (40%)   ✓ end trained" in seen(app)
        assert data_screen(app).table.line == 2


async def test_rows_that_are_passed_over_are_not_examined(tmp_path: Path) -> None:
    app = console(tmp_path, questions(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("x")
        await settled(pilot)
        microscope = data_screen(app)._microscope
        assert isinstance(microscope, StillMicroscope)
        data_screen(app).table.action_move(50)
        data_screen(app).table.action_move(50)
        await settled(pilot)
        assert microscope.asked == [1, 101]


async def test_a_row_is_read_over_the_whole_area_and_left_with_escape(tmp_path: Path) -> None:
    app = console(tmp_path, preferences(tmp_path))
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot)
        await pilot.press("j", "enter")
        await settled(pilot)
        assert not data_screen(app).table.display
        assert isinstance(app.focused, Pane)
        assert "chosen" in seen(app)
        await pilot.press("full_stop")
        await settled(pilot)
        assert "nothing to prefer" in seen(app)
        await pilot.press("escape")
        await pilot.pause()
        assert data_screen(app).table.display
        assert isinstance(app.focused, RowTable)


async def test_a_model_that_is_not_here_is_a_sentence_in_the_pane(tmp_path: Path) -> None:
    app = console(tmp_path, questions(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("x", "m")
        await until(pilot, lambda: isinstance(app.screen, Chooser), "the models")
        await pilot.press(*typed("nobody/nothing"), "enter")
        await until_seen(pilot, "The tokenizer of nobody/nothing is not on this machine.")
        await settled(pilot)
        await pilot.press("l")
        await until(pilot, lambda: isinstance(app.screen, Chooser), "the lengths")
        await pilot.press(*typed("333"), "enter")
        await until(pilot, lambda: data_screen(app).through.max_length == 333, "the length")


async def test_the_mask_is_what_training_makes_of_the_row_however_far_into_the_file(tmp_path: Path) -> None:
    rows = [question(number) for number in range(1, READ_TO + 3)]
    path = write(tmp_path / "far.jsonl", rows)
    entry = ScreenEntry("runs", "Data", lambda folder: DataScreen(folder, path), "A data file")
    app = ConsoleApp(tmp_path, screens=(entry,))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("x")
        await settled(pilot)
        nearby = seen(app)
        await pilot.press("G")
        await settled(pilot)
        faraway = seen(app)
    for text, number in ((nearby, 1), (faraway, READ_TO + 2)):
        assert "✓ learned" in text
        assert "✓ end trained" in text
        assert f"number {number}" in text.replace(" \n", " ")
    assert app.failures == []


async def test_a_row_that_takes_long_to_prepare_is_stopped_and_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = StillMicroscope.examine

    async def endless(self: StillMicroscope, path: str | Path, line: int, *, batch_rows: int = 1) -> Examined:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]

    monkeypatch.setattr(StillMicroscope, "examine", endless)
    monkeypatch.setattr(screens, "SOON_SECONDS", 0.01)
    app = console(tmp_path, questions(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("x")
        await until_seen(pilot, "preparing the row   Esc stops it")
        await pilot.press("left_square_bracket", "left_square_bracket")
        await until_seen(pilot, '"instruction": "What do you know of Carmen, number 1?"')
        await pilot.press("x", "escape")
        await until_seen(pilot, "Stopped.  r begins again")
        monkeypatch.setattr(StillMicroscope, "examine", real)
        await pilot.press("r")
        await until_seen(pilot, "✓ learned")
    assert app.failures == []


# The whole file


async def test_the_doctor_leads_to_the_rows_it_names(tmp_path: Path) -> None:
    app = console(tmp_path, wrong(tmp_path))
    async with app.run_test(size=(160, 45)) as pilot:
        await settled(pilot)
        await pilot.press("d")
        await until_seen(pilot, "malformed-line")
        await settled(pilot)
        assert "kept + 2 left out" in seen(app)
        await pilot.press("tab", "enter")
        await settled(pilot)
        screen = data_screen(app)
        assert screen.table.line == 20
        codes = [finding.code for finding in screen.report.findings if finding.lines] if screen.report else []
        for code, line in (("control-tokens", 40), ("answer-cut", 100)):
            await pilot.press("g", *["j"] * codes.index(code), "enter")
            await settled(pilot)
            assert screen.table.line == line
        assert "answer-cut: 1 row, this is number 1" in seen(app)


async def test_the_worst_rows_are_two_keys_away(tmp_path: Path) -> None:
    app = console(tmp_path, wrong(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("w")
        await until_seen(pilot, "the answer is cut off")
        assert "the longest rows" in seen(app)
        await pilot.press("enter")
        await settled(pilot)
        assert data_screen(app).table.line == 100
        await pilot.press("w")
        await until_seen(pilot, "the longest rows")
        await pilot.press(*typed("longest"), "enter")
        await settled(pilot)
        found = data_screen(app).found
        assert found is not None
        assert 100 in found.lines


async def test_the_statistics_come_with_a_histogram_and_the_overlap(tmp_path: Path) -> None:
    questions(tmp_path, 30, "questions_val.jsonl")
    app = console(tmp_path, questions(tmp_path))
    async with app.run_test(size=(160, 45)) as pilot:
        await settled(pilot)
        await pilot.press("s")
        await until(pilot, lambda: (found := data_screen(app).statistics) is not None and found.done, "statistics")
        await settled(pilot)
        text = seen(app)
        assert "in training and validation  questions_val.jsonl" in text
        assert "tokens per row" in text
        assert "████" in text


async def test_what_takes_long_is_stopped_with_escape_and_begun_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inquiries.examine

    def endless(book: object, settled: object, activity: Activity, tell: Callable[[], None]) -> object:
        activity.report(10, 100)
        tell()
        activity.stopped.wait()
        raise inquiries.Stopped

    monkeypatch.setattr(inquiries, "examine", endless)
    app = console(tmp_path, wrong(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        await pilot.press("d")
        await until_seen(pilot, "10%")
        await until_seen(pilot, "Esc stops it")
        await pilot.press("j")
        await until_seen(pilot, "line 2 of 120")
        await pilot.press("escape")
        await until_seen(pilot, "begins again")
        monkeypatch.setattr(inquiries, "examine", real)
        await pilot.press("r")
        await until_seen(pilot, "malformed-line")


# Everywhere


async def test_the_twin_says_what_is_on_screen_and_more(tmp_path: Path) -> None:
    app = console(tmp_path, wrong(tmp_path))
    async with app.run_test(size=(60, 15)) as pilot:
        await settled(pilot)
        await pilot.press("x")
        await settled(pilot)
        text = data_screen(app).plain_text()
        assert "alpaca" in text
        assert "What do you know of Carmen, number 1?" in text
        assert "6 of 15 tokens trained" in text
        assert "\x1b" not in text


async def test_no_size_breaks_it(tmp_path: Path) -> None:
    app = console(tmp_path, wrong(tmp_path))
    chance = random.Random(3)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        for view in ("messages", "mask", "doctor", "tokens"):
            data_screen(app).look(view)
            for _ in range(8):
                await pilot.resize_terminal(chance.randint(1, 200), chance.randint(1, 60))
                await pilot.press("j")
                await pilot.pause()
        await pilot.resize_terminal(*SIZE)
        await settled(pilot)
    assert app.failures == []


async def test_foreign_text_stays_text(tmp_path: Path) -> None:
    path = write(tmp_path / "datasets" / "a[b].jsonl", [{NASTY: NASTY}, {"question": NASTY, "answer": NASTY}] * 5)
    app = console(tmp_path, path)
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        for key in ("j", "right_square_bracket", "right_square_bracket", "d"):
            await pilot.press(key)
            await settled(pilot)
            assert "\x1b" not in seen(app)
            assert "\u202e" not in seen(app)
    assert app.failures == []


async def test_it_is_opened_from_the_list_of_runs_and_left_again(tmp_path: Path) -> None:
    questions(tmp_path, 5)
    app = ConsoleApp(tmp_path)
    async with app.run_test(size=SIZE) as pilot:
        await until_seen(pilot, "D Data")
        await pilot.press("D")
        await until(pilot, lambda: isinstance(app.screen, Chooser), "the list of files")
        await until_seen(pilot, "datasets/questions_train.jsonl")
        await pilot.press(*typed("questions"), "enter")
        await until_seen(pilot, "line 1 of 5")
        await settled(pilot)
        await pilot.press("q")
        await until(pilot, lambda: app.screen.title == "Runs", "the list of runs")
    assert app.failures == []


# What comes faster than it is drawn


def burst(app: ConsoleApp, text: str) -> None:
    """Send keys as a slow line delivers them: all at once."""
    for letter in text:
        key = {"\r": "enter", "/": "slash", "#": "number_sign"}.get(letter, letter)
        app.post_message(events.Key(key, letter))


async def test_what_is_typed_in_one_burst_is_written_into_the_line_that_it_opens(tmp_path: Path) -> None:
    app = console(tmp_path, questions(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        screen = data_screen(app)
        burst(app, "/Tintin")
        await until(pilot, lambda: screen.has_class("-asking") and screen.query_one(LineInput).value == "Tintin", "it")
        await pilot.press("escape")
        burst(app, "/Tintin\r")  # a second time, with the end of the line
        await until(pilot, lambda: screen.found is not None and screen.found.complete, "the search")
        await settled(pilot)
        assert screen.found is not None
        assert screen.found.title == "Tintin"
        burst(app, "12\r")
        await until(pilot, lambda: screen.table.line == 12, "line 12")
    assert app.failures == []


async def test_what_failed_on_one_file_is_not_said_of_the_next(tmp_path: Path) -> None:
    app = console(tmp_path, questions(tmp_path))
    async with app.run_test(size=SIZE) as pilot:
        await settled(pilot)
        data_screen(app).show_failure(Failure("data-unusable", "It is a web page."))
        assert failure(app)
        data_screen(app).open(questions(tmp_path))
        await settled(pilot)
        await until(pilot, lambda: not failure(app), "the panel to close")
