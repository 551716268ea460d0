"""The console open on the form, and ways to look at it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textual.pilot import Pilot

from screens.configure.asking import Worker
from screens.configure.screen import ConfigureScreen
from screens.configure.table import FieldTable
from tests.screens.runs.stage import Opened, seen, until
from tui.app import ConsoleApp
from tui.registry import ScreenEntry
from tui.terminal.contract import Terminal

RUN = """\
# Which answers the model learns
model:
  name: tiny  # built in
data:
  train: answers.jsonl
training:
  learning_rate: 1e-3
  num_train_epochs: 2
"""
ANSWER: Mapping[str, Any] = {
    "values": {
        "model.dtype": ["float32", "automatic", "on CPU bfloat16 is slower, and float32 is exact"],
        "model.device": ["cpu", "automatic", "the best device here is cpu"],
        "data.max_length": [512, "automatic", "40 examples: below 100 -> 512"],
        "lora.r": [8, "automatic", "40 examples: below 100 -> 8"],
        "lora.lora_alpha": [16, "automatic", "twice the rank 8"],
        "training.warmup_steps": [3, "automatic", "a third of 10 steps"],
    },
    "rows": 40,
    "steps": 10,
}


class StillWorker(Worker):
    """Says the same to every question, and remembers them."""

    def __init__(self, answer: Mapping[str, Any] = ANSWER) -> None:
        super().__init__(Path("/workspace"))
        self.answer = answer
        self.asked: list[str] = []

    async def ask(self, text: str, source: str) -> dict[str, Any]:
        self.asked.append(text)
        await asyncio.sleep(0)
        return dict(self.answer)


def console(workspace: Path, worker: Worker | None = None, terminal: Terminal | None = None) -> ConsoleApp:
    """Return the console open on the form of a workspace."""
    entries = (
        ScreenEntry("configure", "Configure", lambda folder: ConfigureScreen(folder, worker=worker), "The form"),
        ScreenEntry("live", "Live", Opened, "One run", shows_run=True),
    )
    return ConsoleApp(workspace, opening="configure", terminal=terminal, screens=entries)


def form(app: ConsoleApp) -> ConfigureScreen:
    """Return the form, whatever is above it."""
    return next(screen for screen in app.screen_stack if isinstance(screen, ConfigureScreen))


def row(app: ConsoleApp, key: str) -> str:
    """Return the row of a setting as it is on the terminal."""
    name = key.rpartition(".")[2]
    return next(line for line in seen(app).splitlines() if line.strip(" •!*").startswith(name))


async def go_to(pilot: Pilot[None], key: str) -> None:
    """Put the cursor on a setting."""
    assert isinstance(pilot.app, ConsoleApp)
    form(pilot.app)._go_to(key)
    await pilot.pause()
    field = form(pilot.app).query_one(FieldTable).selected
    assert field is not None
    assert field.key == key


async def write(pilot: Pilot[None], text: str) -> None:
    """Type over what is in the field that is written in."""
    names = {" ": "space", ".": "full_stop", "/": "slash", "-": "minus", "_": "underscore", "[": "left_square_bracket",
             "]": "right_square_bracket", ",": "comma", ":": "colon", "{": "left_curly_bracket"}  # fmt: skip
    await pilot.press("ctrl+u", *(names.get(character, character) for character in text))


async def decided(pilot: Pilot[None]) -> None:
    """Wait until everything is decided and drawn."""
    assert isinstance(pilot.app, ConsoleApp)
    screen = form(pilot.app)
    await until(pilot, lambda: screen._deciding.current, "a decision")
    await pilot.pause()
