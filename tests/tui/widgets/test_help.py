"""Help as text."""

from __future__ import annotations

from tui.widgets.help import HelpGroup, KeyHelp, help_text


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
