"""The question before something that is hard to undo."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Static

from tui.display import content
from tui.steady import Steady


class Confirm(Steady, ModalScreen[bool]):
    """Asks, and answers True only for a plain yes.

    Push it with a callback, or `await app.push_screen_wait(Confirm(...))` in a worker.

    Args:
        question: One sentence that names what it is about: "Stop run-7 and save?"
        consequence: What will be gone, and what stays.
        yes: The word on the button that does it.
        typed: For what cannot be undone: a name that must be typed first. None asks for a key only.
    """

    HELP = "A question. Nothing happens until you answer; Esc is no."
    AUTO_FOCUS = "Input, #no"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes", id="confirm.yes", tooltip="Do it"),
        Binding("n,escape,q", "answer(False)", "No", id="confirm.no", tooltip="Leave everything as it is"),
        Binding("left,h,up,k", "app.focus_previous", "Other button", show=False, id="confirm.previous"),
        Binding("right,l,down,j", "app.focus_next", "Other button", show=False, id="confirm.next"),
    ]
    DEFAULT_CSS = """
    Confirm {
        align: center middle;
        background: $background 60%;
        & > #question {
            width: 64;
            max-width: 96%;
            height: auto;
            max-height: 90%;
            padding: 1 2;
            background: $surface;
            border: round $warning;
            & Static { width: 1fr; height: auto; }
            & #consequence { color: $foreground-muted; margin-bottom: 1; }
            & Input { margin-bottom: 1; }
            & Horizontal { height: auto; align-horizontal: right; }
            & Button { margin-left: 2; min-width: 12; }
        }
    }
    """

    def __init__(self, question: str, consequence: str = "", *, yes: str = "Yes", typed: str | None = None) -> None:
        super().__init__()
        self._question = question
        self._consequence = consequence
        self._yes = yes
        self._typed = typed

    def compose(self) -> ComposeResult:
        with Vertical(id="question"):
            yield Static(content(self._question, "bold"))
            yield Static(content(self._consequence), id="consequence")
            if self._typed is not None:
                yield Static(content(f"Type {self._typed} to go on:"))
                yield Input(compact=True)
            with Horizontal():
                yield Button("No", id="no", compact=True)
                yield Button(
                    content(self._yes), id="yes", variant="warning", compact=True, disabled=self._typed is not None
                )

    @on(Input.Changed)
    def _compare(self, event: Input.Changed) -> None:
        self.query_one("#yes", Button).disabled = event.value != self._typed
        self.refresh_bindings()

    @on(Input.Submitted)
    def _submit(self) -> None:
        self.action_answer(True)

    @on(Button.Pressed)
    def _press(self, event: Button.Pressed) -> None:
        self.action_answer(event.button.id == "yes")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "answer" and parameters == (True,) and self._typed is not None:
            return None if self.query_one("#yes", Button).disabled else True
        return True

    def action_answer(self, yes: bool) -> None:
        """Close with the answer; a yes that still needs its name typed is none."""
        if not yes or not self.query_one("#yes", Button).disabled:
            self.dismiss(yes)
