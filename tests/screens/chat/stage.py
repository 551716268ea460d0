"""The chat screen over a conversation that was written by hand: no model, no process, no clock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from engine.chat.asking import Sampling, Side
from engine.chat.conversation import Conversation
from screens.chat.screen import ChatScreen
from screens.chat.talk import Coming, Talk
from tests.screens.runs.stage import until
from tui.app import ConsoleApp
from tui.registry import ScreenEntry
from tui.terminal.contract import Terminal

NOW = 1_000.0
PATH = "One model in memory (tiny): tiny and voice-1@best are two rows of one batch."
NAMES: dict[Side, str] = {"left": "tiny", "right": "voice-1@best"}


def a_talk(*turns: tuple[str, str | None, str | None], blind_seed: int | None = None, **shown: Any) -> Talk:
    """Return a conversation of (question, left answer, right answer); None: not answered yet."""
    conversation = Conversation(Path("/workspace/chats/by-hand.jsonl"), "base", "voice-1", blind_seed=blind_seed)
    for number, (prompt, left, right) in enumerate(turns, 1):
        after = number - 1 or None
        conversation.read({"kind": "turn", "seq": number, "after": after, "prompt": prompt})
        answer(conversation, number, "left", left)
        answer(conversation, number, "right", right)
    return Talk(conversation, names=dict(NAMES), path=PATH, open=True, **shown)


def answer(conversation: Conversation, turn: int, side: Side, text: str | None, **said: Any) -> None:
    """Put an answer into a conversation, without a file."""
    if text is None:
        return
    values = {"text": text, "model": NAMES[side], "reason": "stop", "num_tokens": len(text) // 4 + 1,
              "first_token_seconds": 0.081, "tokens_per_second": 48.2 if side == "left" else 39.7, **said}  # fmt: skip
    conversation.read({"kind": "answer", "turn": turn, "side": side, "answer": values})


def coming(turn: int, side: Side, text: str = "", *, pieces: int = 40, doing: str = "") -> Coming:
    """Return an answer that is under way, begun two seconds ago."""
    made = Coming(turn, side, Sampling(), NAMES[side], NOW - 2, doing=doing)
    size = max(1, len(text) // pieces)
    for at in range(0, len(text), size):
        made.take(text[at : at + size], NOW - 1.9)
    return made


def console(talk: Talk, *, terminal: Terminal | None = None) -> ConsoleApp:
    """Return the console open on a chat."""
    entry = ScreenEntry(
        "runs", "Chat", lambda workspace: ChatScreen(workspace, talk=talk, clock=lambda: NOW), "Two models"
    )
    return ConsoleApp(Path("/workspace"), terminal=terminal, screens=(entry,))


def console_on(workspace: Path, subject: str | None = None) -> ConsoleApp:
    """Return the console open on a real chat in a workspace."""
    return ConsoleApp(workspace, ("chat", subject))


def chat(app: ConsoleApp) -> ChatScreen:
    """Return the screen, whatever is above it."""
    return next(screen for screen in app.screen_stack if isinstance(screen, ChatScreen))


async def settled(pilot: Pilot[None]) -> None:
    """Wait until it is drawn."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    await until(pilot, lambda: bool(chat(app).query("#columns")), "the columns")
    await pilot.pause()
    chat(app).show_talk()
    await pilot.pause()
    await pilot.wait_for_scheduled_animations()
