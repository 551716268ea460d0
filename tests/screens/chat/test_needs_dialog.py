"""What the chat asks before it loads a model beside a run that trains."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from engine.chat.needs import Needs
from engine.chat.session import Session
from tests.screens.chat.stage import console_on
from tests.screens.chat.test_screen import SIZE, answered, ask, opened, says, two
from tests.screens.runs.stage import seen, until
from tui.widgets.confirm import Confirm


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.delenv("TMUX", raising=False)


async def test_where_a_run_trains_on_the_device_nothing_is_loaded_before_a_yes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = Needs("cuda", needed_bytes=2 << 30, free_bytes=1 << 30, total_bytes=4 << 30, runs=("busy-run",))
    monkeypatch.setattr(Session, "needs", lambda self: needs)
    async with AsyncExitStack() as stack:
        one, other, subject = await two(stack, [says("Left says.")], [says("Right says.")])
        app = console_on(tmp_path, subject)
        async with app.run_test(size=SIZE) as pilot:
            screen = await opened(pilot)
            await ask(pilot, "Who are you?")
            await until(pilot, lambda: isinstance(app.screen, Confirm), "the dialog")
            assert "busy-run" in seen(app)
            await pilot.press("n")
            await until(pilot, lambda: not screen.talk.answering and app.screen is screen, "the chat")
            assert not one.requests
            assert not other.requests
            assert "Who are you?" in seen(app)  # the question is kept, and r asks it again
            await pilot.press("escape", "r")
            await until(pilot, lambda: isinstance(app.screen, Confirm), "the dialog")
            await pilot.press("y")
            await answered(pilot, 1)
            assert "Right says." in seen(app)
        assert not app.failures
