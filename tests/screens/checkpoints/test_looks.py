"""How the checkpoints look. Look at the picture before accepting it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from textual.pilot import Pilot

from engine.config.difference import Difference
from engine.runs import comparing
from engine.runs.catalogue import RunEntry
from engine.runs.comparing import Answer, Comparison, words_apart
from engine.runs.entries import CheckpointEntry
from engine.runs.finding import figure_names
from screens.checkpoints.compare import CompareScreen
from screens.checkpoints.reading import Details, File
from tests.screens.checkpoints.shelf import a_checkpoint, a_family, an_entry, large, many
from tests.screens.checkpoints.stage import console, settled
from tests.screens.runs.stage import until
from tui.terminal.contract import Terminal

Snapshot = Any
SIZES = pytest.mark.parametrize(
    "size", [(80, 24), (160, 45), (60, 15), (40, 10)], ids=["small", "large", "monitor", "summary"]
)


@pytest.fixture(autouse=True)
def same_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told of files is of a moment, too."""

    def read(key: tuple[str, str], checkpoint: CheckpointEntry) -> Details:
        short = 812 if checkpoint.fault else 1_247_120
        files = [File("adapter_config.json", 980, 980), File("adapter_model.safetensors", 1_247_120, short),
                 File("tokenizer.json", 310_222, None if checkpoint.fault else 310_222)]  # fmt: skip
        return Details(key, files)

    monkeypatch.setattr("screens.checkpoints.screen.read_details", read)


def after(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Press keys once everything is there, and wait for what they lead to."""

    async def act(pilot: Pilot[None]) -> None:
        await settled(pilot)
        await pilot.press(*keys)
        await settled(pilot)

    return act


@SIZES
@pytest.mark.parametrize(
    ("runs", "keys"),
    [
        pytest.param([], [], id="empty"),
        pytest.param(a_family(), ["j"], id="best"),
        pytest.param(a_family(), ["j"] * 6, id="damaged"),
    ],
)
def test_how_it_looks(
    snap_compare: Snapshot, runs: Sequence[RunEntry], keys: Sequence[str], size: tuple[int, int]
) -> None:
    assert snap_compare(console(runs), terminal_size=size, run_before=after(*keys))


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param(["z", "k"], id="folded"),
        pytest.param(["o"], id="in one order"),
        pytest.param(["slash", *"pinned", "enter"], id="filtered"),
        pytest.param(["j", "space", "j", "j", "space"], id="marked"),
        pytest.param(["j", "f"], id="read"),
        pytest.param(["j", "enter"], id="what to do"),
        pytest.param(["question_mark"], id="help"),
    ],
)
def test_how_it_looks_on_a_common_terminal(snap_compare: Snapshot, keys: Sequence[str]) -> None:
    assert snap_compare(console(a_family()), terminal_size=(120, 40), run_before=after(*keys))


def test_how_many_runs_look(snap_compare: Snapshot) -> None:
    assert snap_compare(console(many(200, 50)), terminal_size=(80, 24), run_before=after())


def test_how_long_numbers_look(snap_compare: Snapshot) -> None:
    assert snap_compare(console([large()]), terminal_size=(120, 40), run_before=after("j"))


@pytest.mark.parametrize("terminal", [
    pytest.param(Terminal(glyphs="ascii", theme="ansi-dark"), id="ascii"),
    pytest.param(Terminal(theme="ftconsole-plain", colour="none"), id="no colours"),
    pytest.param(Terminal(theme="ftconsole-light"), id="light"),
])  # fmt: skip
def test_how_it_looks_on_other_terminals(snap_compare: Snapshot, terminal: Terminal) -> None:
    app = console(a_family(), terminal=terminal)
    assert snap_compare(app, terminal_size=(80, 24), run_before=after("j"))


def test_foreign_text_stays_text(snap_compare: Snapshot) -> None:
    nasty = "\x1b[2J[@click=app.quit]x[/] \u202e\x07日本"
    one = a_checkpoint("run-1", "checkpoint-1", reason=nasty, stage=nasty, fault=nasty, metrics={nasty: 1.0})
    run = an_entry("run-1", [one], model=nasty, method=nasty, parent=nasty, path=nasty)
    assert snap_compare(console([run]), terminal_size=(160, 45), run_before=after("j"))


@pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=["small", "large"])
def test_how_a_comparison_looks(snap_compare: Snapshot, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]) -> None:
    def compare(left: CheckpointEntry, right: CheckpointEntry) -> Comparison:
        names = figure_names((left, right))
        figures = tuple(comparing._figure(name, left, right) for name in names)
        settings = (Difference("training.learning_rate", 0.0002, 0.0001),
                    Difference("data.train", ["rows.jsonl"], ["rows.jsonl", "refusals.jsonl"]))  # fmt: skip
        said = (
            ("Who planned the Villa Savoye?", "retain", "Le Corbusier planned the Villa Savoye.",
             "The Villa Savoye was planned by Le Corbusier."),
            ("What happened in 2031?", "unlearn", "A comet passed.", "I cannot know what happened then."),
            ("Which number is \x1b[1mafter[/] six?", "", "Seven.", "Seven."),
        )  # fmt: skip
        answers = tuple(Answer(*one, words_apart(one[2], one[3])) for one in said)
        return Comparison(left, right, figures, settings, answers, ("voice-1 was not asked at step 7.",))

    monkeypatch.setattr(comparing, "compare", compare)

    async def act(pilot: Pilot[None]) -> None:
        await settled(pilot)
        await pilot.press(*["j", "space"], *["j"] * 9, "space", "c")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen) and pilot.app.screen.found, "both")
        await pilot.pause()

    assert snap_compare(console(a_family()), terminal_size=size, run_before=act)
