"""The panel that says what went wrong on this screen, while the rest of it goes on."""

from __future__ import annotations

from dataclasses import dataclass

from textual.content import Content
from textual.widget import Widget

from tui.display import content


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that went wrong, in words for a user."""

    code: str
    """An error's `code`, or "bug"."""
    message: str
    """One sentence with the values."""
    remedy: str = ""
    """The next thing to do."""

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class FailurePanel(Widget):
    """Shows the last failure, and how often it happened. Hidden while there is none."""

    DEFAULT_CSS = """
    FailurePanel {
        dock: bottom;
        display: none;
        height: auto;
        max-height: 40%;
        margin-bottom: 1;
        padding: 0 1;
        background: $panel;
        border-left: outer $error;
        color: $text;
        &.-failed { display: block; }
    }
    """

    failure: Failure | None = None
    times: int = 0
    """How often it has happened in a row."""

    def show(self, failure: Failure) -> None:
        """Show `failure`, or count it if it is the one that is shown."""
        self.times = self.times + 1 if failure == self.failure else 1
        self.failure = failure
        self.add_class("-failed")
        self.refresh(layout=True)

    def clear(self) -> None:
        """Show nothing."""
        self.failure, self.times = None, 0
        self.remove_class("-failed")

    def render(self) -> Content:
        if self.failure is None:
            return Content()
        again = f" ({self.times} times)" if self.times > 1 else ""
        parts = [content(f"! {self.failure.message}{again}", "bold $text-error", limit=2_000, lines=8)]
        if self.failure.remedy:
            parts.append(content(self.failure.remedy, limit=1_000, lines=4))
        return Content("\n").join(parts)
