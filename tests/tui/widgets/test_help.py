"""Help as text."""

from __future__ import annotations

from textual.app import App
from textual.widgets import Static

from tui.widgets.help import Help, HelpGroup, KeyHelp, help_text


def test_help_is_readable_without_a_terminal() -> None:
    groups = [
        HelpGroup(
            "Runs",
            "Every run.\nEnter opens one.",
            (KeyHelp(("enter",), "Open", "Show it live", True), KeyHelp(("j", "↓"), "Down", "", True)),
        ),
        HelpGroup("Everywhere", "", (KeyHelp(("?",), "Help", "", True),)),
    ]
    assert help_text(groups) == (
        "Runs\nEvery run.\nEnter opens one.\n  enter  Open: Show it live\n  j, ↓   Down\n\nEverywhere\n  ?  Help"
    )


async def test_a_long_explanation_stays_under_its_label() -> None:
    explanation = "Take no further step, everything stays in memory; again: go on, at any width there is"
    groups = [HelpGroup("Live", "", (KeyHelp(("p",), "Pause", explanation, True),))]
    app: App[None] = App()
    async with app.run_test(size=(80, 24)) as pilot:
        await app.push_screen(Help(groups))
        for width in (80, 40):
            await pilot.resize_terminal(width, 24)
            await pilot.pause()
            rows = str(app.screen.query_one(Static).render()).splitlines()
            assert [len(row) - len(row.lstrip()) for row in rows[1:]] == [2] + [5] * (len(rows) - 2)
            assert max(map(len, rows)) <= width - 7
