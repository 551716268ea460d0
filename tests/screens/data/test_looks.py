"""How the inspection of data looks. Look at the picture before accepting it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.data.findings import Finding, Report
from screens.data import inquiries
from screens.data.book import Book
from screens.data.lens import Settled
from screens.data.work_state import Activity
from tests.screens.data.files import preferences, questions, wrong
from tests.screens.data.stage import console, data_screen, settled
from tests.screens.runs.stage import until
from tui.app import ConsoleApp
from tui.terminal.contract import Terminal

Snapshot = Any
SIZES = pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=["small", "large"])


FOUND = Report(
    (
        Finding("malformed-line", "grave", 1, (("wrong_train.jsonl", 20),), "1 row cannot be read: trailing comma at "
                "column 40", "Correct or delete those lines.", left_out=True),
        Finding("control-tokens", "warning", 1, (("wrong_train.jsonl", 40),), "1 row has control tokens in its text, "
                "such as <|im_end|>", "Give plain messages: the template adds its marks itself."),
        Finding("answer-cut", "warning", 31, tuple(("wrong_train.jsonl", line) for line in range(100, 120)), "31 rows "
                "are longer than max_length 640, so the ends of their answers are cut off (4,024 tokens)",
                "Set data.max_length higher, or shorten them; a model taught without ends does not stop."),
        Finding("length-bias", "note", 1, (), "Chosen answers are longer than rejected ones", ""),
    ),
    120, 119, 1, with_template=True,
)  # fmt: skip


@pytest.fixture(autouse=True)
def same_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the doctor says is its own business: here only how it looks is."""

    def examine(book: Book, settled: Settled | None, activity: Activity, tell: Callable[[], None]) -> Report:
        if book.path.name != "wrong_train.jsonl":
            return Report((), 300, 300, 0, with_template=True)
        there = {"wrong_train.jsonl": str(book.path)}
        findings = [
            replace(one, lines=tuple((there[path], line) for path, line in one.lines)) for one in FOUND.findings
        ]
        return replace(FOUND, findings=tuple(findings))

    monkeypatch.setattr(inquiries, "examine", examine)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace whose path, which is on screen, is the same in every test."""
    monkeypatch.chdir(tmp_path)
    return Path("workspace")


def after(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Press keys, each once everything that the one before led to is there."""

    async def act(pilot: Pilot[None]) -> None:
        app = pilot.app
        assert isinstance(app, ConsoleApp)
        await settled(pilot)
        for key in keys:
            await pilot.press(key)
            await settled(pilot)
        screen = data_screen(app)
        if screen.view == "statistics":
            await until(pilot, lambda: screen.statistics is not None and screen.statistics.done, "statistics")
        await settled(pilot)

    return act


@SIZES
@pytest.mark.parametrize(
    ("make", "keys"),
    [
        pytest.param(questions, ["j"], id="messages"),
        pytest.param(questions, ["j", "x"], id="mask"),
        pytest.param(preferences, ["j"], id="preferences"),
        pytest.param(preferences, ["x"], id="mask of a pair"),
        pytest.param(wrong, ["d", "tab", "j", "enter"], id="doctor"),
        pytest.param(questions, ["d"], id="doctor without findings"),
        pytest.param(questions, ["s"], id="statistics"),
    ],
)
def test_how_it_looks(
    snap_compare: Snapshot, workspace: Path, make: Callable[[Path], Path], keys: Sequence[str], size: tuple[int, int]
) -> None:
    assert snap_compare(console(workspace, make(workspace)), terminal_size=size, run_before=after(*keys))


@pytest.mark.parametrize("size", [(60, 15), (40, 10)], ids=["monitor", "summary"])
@pytest.mark.parametrize("keys", [["j"], ["x"]], ids=["rows", "mask"])
def test_how_it_looks_where_there_is_little_room(
    snap_compare: Snapshot, workspace: Path, keys: Sequence[str], size: tuple[int, int]
) -> None:
    app = console(workspace, questions(workspace))
    assert snap_compare(app, terminal_size=size, run_before=after(*keys))


def test_how_a_mask_looks_without_colours(snap_compare: Snapshot, workspace: Path) -> None:
    app = console(workspace, questions(workspace), Terminal(theme="ftconsole-plain", colour="none"))
    assert snap_compare(app, terminal_size=(80, 24), run_before=after("x"))


def test_how_a_mask_looks_in_ascii(snap_compare: Snapshot, workspace: Path) -> None:
    app = console(workspace, questions(workspace), Terminal(glyphs="ascii", theme="ansi-dark"))
    assert snap_compare(app, terminal_size=(80, 24), run_before=after("x"))


def test_how_the_choice_of_a_file_looks(snap_compare: Snapshot, workspace: Path) -> None:
    questions(workspace)
    preferences(workspace)

    async def act(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(pilot.app.screen_stack) > 1, "the list of files")
        await pilot.pause()

    assert snap_compare(console(workspace, None), terminal_size=(80, 24), run_before=act)


def test_how_the_rows_of_a_search_look(snap_compare: Snapshot, workspace: Path) -> None:
    app = console(workspace, questions(workspace))
    run_before = after("slash", *"Tintin", "enter", "n", "f")
    assert snap_compare(app, terminal_size=(80, 24), run_before=run_before)
