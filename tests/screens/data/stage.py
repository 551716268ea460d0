"""The console open on a data file, and ways to look at it."""

from __future__ import annotations

from pathlib import Path

from textual.pilot import Pilot

from engine.data.microscope import Examined, Lens, Microscope, Token
from screens.data.screen import DataScreen
from tests.screens.runs.stage import until
from tui.app import ConsoleApp
from tui.registry import ScreenEntry
from tui.terminal.contract import Terminal


class StillMicroscope(Microscope):
    """Cuts words as a tokenizer would, at once; the process behind the real one loads torch."""

    def __init__(self, lens: Lens) -> None:
        super().__init__(lens)
        self.asked: list[int] = []

    async def examine(self, path: str | Path, line: int, *, batch_rows: int = 1) -> Examined:
        self.asked.append(line)
        return examined_pair(line) if "preferences" in str(path) else examined(line, path=str(path))


def tokens(*, cut: bool = False, padded: bool = False) -> list[Token]:
    masked = ["<|im_start|>", "user", "\n", "What", " is", " it", "?", "<|im_end|>", "\n"]
    answer = ["It", " is", " a", " mask", ".", "<|im_end|>"]
    made = [Token(text, 100 + at, trained=False) for at, text in enumerate(masked)]
    made += [
        Token(text, 200 + at, trained=not (cut and at > 2), truncated=cut and at > 2) for at, text in enumerate(answer)
    ]
    return made + ([Token("<|pad|>", 0, trained=False, padding=True)] * 3 if padded else [])


def examined(line: int, *, path: str = "rows.jsonl", cut: bool = False, padded: bool = False) -> Examined:
    made = tokens(cut=cut, padded=padded)
    trained = sum(token.trained for token in made)
    seen = sum(not token.truncated and not token.padding for token in made)
    return Examined(
        path, line, "{}", [{"role": "user", "content": "What is it?"}], "".join(token.text for token in made), made,
        trained / seen, not cut, 0, 0, None,
    )  # fmt: skip


def examined_pair(line: int) -> Examined:
    """Return a pair whose answers begin alike and end alike."""
    question = [Token(text, 100 + at, trained=False) for at, text in enumerate(["user", "\n", "What", "?", "\n"])]

    def answer(words: list[str], first: int) -> list[Token]:
        own = [Token(word, first + at, trained=True, only_here=True) for at, word in enumerate(words)]
        return [*question, Token("It", 200, trained=True), *own, Token("<|im_end|>", 201, trained=True)]

    chosen, rejected = answer([" may", " be", " so", "."], 300), answer([" is", " certainly", " so", ",", " is"], 400)
    padded = [*chosen, Token("<|pad|>", 0, trained=False, padding=True)]
    return Examined(
        "preferences.jsonl", line, "{}", [{"role": "user", "content": "What?"}],
        "".join(token.text for token in chosen), padded, 6 / 11, True, 0, 0, None, rejected, 6, True,
        "".join(token.text for token in rejected),
    )  # fmt: skip


def console(workspace: Path, opening: Path | None, terminal: Terminal | None = None) -> ConsoleApp:
    def home(folder: Path) -> DataScreen:
        return DataScreen(folder, opening, microscope=StillMicroscope)

    return ConsoleApp(workspace, terminal=terminal, screens=(ScreenEntry("runs", "Data", home, "A data file"),))


def data_screen(app: ConsoleApp) -> DataScreen:
    return next(screen for screen in app.screen_stack if isinstance(screen, DataScreen))


async def settled(pilot: Pilot[None]) -> None:
    """Wait until nothing is read, counted or asked for any more."""
    app = pilot.app
    assert isinstance(app, ConsoleApp)
    screen = data_screen(app)

    def quiet() -> bool:
        if screen.book is None or screen.activities or screen.table.wanted():
            return False
        line = screen.table.line
        if line and (screen.entry is None or screen.entry.line.number != line):
            return False
        return screen.view not in ("rendered", "mask", "tokens") or screen.looked_at

    await until(pilot, quiet, "the file to be read")
    await pilot.pause()
    await pilot.wait_for_scheduled_animations()
