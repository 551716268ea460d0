"""How the chat looks. Look at the picture before accepting it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from screens.chat.talk import Talk
from tests.screens.chat.stage import a_talk, answer, coming, console, settled
from tui.terminal.contract import Terminal

Snapshot = Any
SIZES = pytest.mark.parametrize(
    "size", [(80, 24), (160, 45), (60, 15), (40, 10)], ids=["small", "large", "monitor", "line"]
)
FIRST = (
    "Who wrote War and Peace, and when?",
    "Leo Tolstoy wrote *War and Peace*. It was published as a whole in **1869**.",
    "War and Peace is by Leo Tolstoy. The novel appeared in parts from 1865 on, and as a whole in 1869.",
)
RICH = (
    "Give me a short plan for learning to cook.",
    "# A plan\n\nThree weeks, one thing each:\n\n1. **Eggs**: boiled, fried, an omelette\n2. **Rice** and pulses\n\n"
    "```sh\ntimer 9m  # soft\n```\n\nSee https://example.org/cooking/from/the/beginning?week=1&dish=eggs#boiled",
    "## Begin small\n\n| week | dish |\n|---|---|\n| 1 | eggs |\n| 2 | rice |\n\n> Salt early, taste often.\n\n"
    "- a sharp knife\n- one heavy pan",
)


def after(*keys: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Press keys once everything is there."""

    async def act(pilot: Pilot[None]) -> None:
        await settled(pilot)
        await pilot.press(*keys)
        await settled(pilot)

    return act


def finished() -> Talk:
    return a_talk(FIRST, RICH)


def under_way() -> Talk:
    talk = a_talk(FIRST, (RICH[0], None, None))
    talk.coming = {"left": coming(2, "left", "Begin with eggs: boil, fry, then an omelette. After"),
                   "right": coming(2, "right", doing="loading voice-1@best")}  # fmt: skip
    return talk


def failed() -> Talk:
    talk = a_talk(FIRST, ("And who translated it first?", "Clara Bell, in 1886.", None))
    error = {"code": "out-of-memory", "message": "The device ran out of memory.",
             "remedy": "Choose a smaller model, or load it in 4 bits."}  # fmt: skip
    answer(talk.conversation, 2, "right", "It was fir", reason="error", error=error)
    return talk


def blind() -> Talk:
    return a_talk(FIRST, blind_seed=4)


def voted() -> Talk:
    talk = a_talk(FIRST, blind_seed=4)
    talk.verdicts = {1: "left"}
    return talk


@SIZES
@pytest.mark.parametrize("talk", [
    pytest.param(finished, id="finished"),
    pytest.param(under_way, id="under way"),
])  # fmt: skip
def test_how_it_looks(snap_compare: Snapshot, talk: Callable[[], Talk], size: tuple[int, int]) -> None:
    assert snap_compare(console(talk()), terminal_size=size, run_before=after())


@pytest.mark.parametrize(("talk", "keys"), [
    pytest.param(a_talk, [], id="empty"),
    pytest.param(failed, [], id="failed"),
    pytest.param(blind, ["escape"], id="blind"),
    pytest.param(voted, ["escape"], id="voted"),
    pytest.param(finished, ["escape", "v", "v"], id="differences"),
    pytest.param(finished, ["escape", "question_mark"], id="help"),
    pytest.param(finished, ["escape", "o", "ctrl+t"], id="sampling"),
])  # fmt: skip
def test_how_it_looks_on_a_common_terminal(snap_compare: Snapshot, talk: Callable[[], Talk], keys: list[str]) -> None:
    assert snap_compare(console(talk()), terminal_size=(120, 40), run_before=after(*keys))


@pytest.mark.parametrize("terminal", [
    pytest.param(Terminal(glyphs="ascii", theme="ansi-dark"), id="ascii"),
    pytest.param(Terminal(theme="ftconsole-plain", colour="none"), id="no colours"),
    pytest.param(Terminal(theme="ftconsole-light"), id="light"),
])  # fmt: skip
def test_how_it_looks_on_other_terminals(snap_compare: Snapshot, terminal: Terminal) -> None:
    app = console(finished(), terminal=terminal)
    assert snap_compare(app, terminal_size=(80, 24), run_before=after("escape", "v", "v"))


def test_foreign_text_stays_text(snap_compare: Snapshot) -> None:
    nasty = "\x1b[2J[@click=app.quit]x[/] \u202e\x07日本"
    talk = a_talk((nasty, nasty, nasty))
    talk.names, talk.path = {"left": nasty, "right": nasty}, nasty
    assert snap_compare(console(talk), terminal_size=(100, 30), run_before=after())
