"""The last look before a run starts: everything that would go wrong as one list, then its name, then the start."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from textual import on, work
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from engine.errors import EngineError, InvalidName
from engine.runs.directory import check_name
from screens.configure.draft import UNSAVED, Draft
from screens.configure.preflight import Item
from tui.display import content, plain
from tui.steady import Steady
from tui.widgets.text_rows import StyledText, as_content, wrapped

SIGNS = {"ok": ("✓", "+", "$text-success"), "note": ("·", ".", "$foreground-muted"),
         "warning": ("!", "!", "$text-warning"), "grave": ("✗", "x", "$text-error")}  # fmt: skip
"""Sign, the same in ASCII, and its style, by grade."""
_TITLE = 10


class Preflight(Steady, ModalScreen["str | None"]):
    """Looks a draft over and asks for a name; None when the run shall not start.

    Args:
        workspace: Where it would run.
        draft: What it would do.
        ascii_only: Nothing else can be drawn.
    """

    HELP = "What would go wrong with this run. Enter starts it under the name below; Esc goes back to the form."
    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", id="preflight.leave", tooltip="Back to the form; nothing is started"),
        Binding("enter", "start", "Start", id="preflight.start", tooltip="Start the run"),
        Binding("down", "scroll(1)", "Down", show=False, id="preflight.down"),
        Binding("up", "scroll(-1)", "Up", show=False, id="preflight.up"),
        Binding("pagedown", "scroll(8)", "Page down", show=False, id="preflight.page-down"),
        Binding("pageup", "scroll(-8)", "Page up", show=False, id="preflight.page-up"),
    ]
    DEFAULT_CSS = """
    Preflight {
        align: center middle;
        background: $background 60%;
        & > #box {
            width: 92;
            max-width: 98%;
            height: auto;
            max-height: 96%;
            padding: 0 2;
            background: $surface;
            border: round $primary;
            border-title-color: $text-primary;
            border-subtitle-color: $foreground-muted;
            & VerticalScroll { height: auto; max-height: 30; scrollbar-size-vertical: 1; }
            & Static { width: 1fr; height: auto; }
            & Input { background: $panel; margin: 1 0 0 0; }
            & #verdict { margin: 0; }
        }
    }
    """

    class Found(Message):
        """Something was looked at."""

        def __init__(self, item: Item | str) -> None:
            self.item = item
            super().__init__()

    def __init__(self, workspace: Path, draft: Draft, *, ascii_only: bool = False) -> None:
        super().__init__()
        self.items: list[Item] = []
        self.now = "the settings"
        """What is being looked at; empty once all is known."""
        self._workspace = workspace
        self._draft = draft
        self._ascii = ascii_only
        self._free_name = ""
        self._problem = ""

    @work(exclusive=True, group="preflight", description="Looking the run over", exit_on_error=False)
    async def look(self) -> None:
        """Look at everything, and show it as it is known."""
        async for item in looked_at(self._workspace, self._draft):
            self.post_message(self.Found(item))
        self.post_message(self.Found(""))

    def on_mount(self) -> None:
        self._show()
        self.look()

    @on(Found)
    def _found(self, message: Found) -> None:
        if isinstance(message.item, Item):
            self.items.append(message.item)
        elif message.item.startswith("name:"):
            self._free_name = message.item.removeprefix("name:")
            self.query_one(Input).placeholder = plain(f"name, {self._free_name} if left empty", limit=100)
        else:
            self.now = message.item
        self._show()

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = "Before it starts"
            box.border_subtitle = content("Esc back to the form")
            with VerticalScroll(can_focus=False):
                yield Static(id="items")
            yield Input(placeholder="name of the run", compact=True, max_length=64)
            yield Static(id="verdict")

    @property
    def grave(self) -> int:
        """How many things stand in the way."""
        return sum(item.grade == "grave" for item in self.items)

    @property
    def ready(self) -> bool:
        """Whether the run can be started."""
        return not self.now and not self.grave and bool(self._free_name)

    def _show(self) -> None:
        width = max(20, min(92, int(self.app.size.width * 0.98)) - 7)
        self.query_one("#items", Static).update(as_content(self._rows(width)))
        self.query_one("#verdict", Static).update(self._verdict())
        self.query_one("#box").border_subtitle = content(
            "⏎ starts it, Esc back to the form" if self.ready else "Esc back to the form"
        )

    def _rows(self, width: int) -> list[list[StyledText]]:
        rows: list[list[StyledText]] = []
        before = ""
        for item in self.items:
            sign, ascii_sign, style = SIGNS[item.grade]
            title = item.title if item.title != before else ""
            before = item.title
            head: list[StyledText] = [
                (f"{ascii_sign if self._ascii else sign} ", f"bold {style}"),
                (f"{plain(title, limit=_TITLE):<{_TITLE}}", "bold"),
            ]
            said = wrapped(
                [(plain(item.said, limit=600), "" if item.grade != "note" else "$foreground-muted")], width - 12
            )
            if item.remedy:
                said += wrapped([(plain(item.remedy, limit=400), "$foreground-muted")], width - 12)
            rows += [[*head, *row] if index == 0 else [(" " * 12, ""), *row] for index, row in enumerate(said)]
        if self.now:
            rows.append([("  ", ""), (f"looking at {plain(self.now, limit=80)} ...", "$foreground-muted")])
        return rows

    def _verdict(self) -> Content:
        if self._problem:
            return content(self._problem, "$text-error")
        if self.now:
            return content("The name may be written meanwhile.", "$foreground-muted")
        if self.grave:
            count = "One thing stands" if self.grave == 1 else f"{self.grave} things stand"
            return content(f"{count} in the way of this run.", "bold $text-error")
        warnings = sum(item.grade == "warning" for item in self.items)
        if warnings:
            return content(f"Nothing stands in the way; {warnings} to know before.", "$text-warning")
        return content("Nothing stands in the way.", "$text-success")

    @on(Input.Changed)
    def _forget_problem(self) -> None:
        self._problem = ""
        self.query_one("#verdict", Static).update(self._verdict())

    @on(Input.Submitted)
    def action_start(self) -> None:
        """Close with the name."""
        if not self.ready:
            return
        name = self.query_one(Input).value.strip()
        try:
            self.dismiss(check_name(name) if name else self._free_name)
        except InvalidName as error:
            self._problem = str(error)
            self._show()

    def action_scroll(self, rows: int) -> None:
        """Scroll the list."""
        self.query_one(VerticalScroll).scroll_relative(y=rows, animate=False)

    def action_leave(self) -> None:
        """Close without a start."""
        self.dismiss(None)


async def looked_at(workspace: Path, draft: Draft) -> AsyncIterator[Item | str]:
    """Yield what the process finds; cancelling this ends it.

    Raises:
        EngineError: It ended before it had looked at everything.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "screens.configure.preflight",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    asked = {"workspace": str(workspace), "text": draft.text, "source": draft.path.name if draft.path else UNSAVED}
    try:
        with suppress(OSError):
            process.stdin.write(json.dumps(asked).encode())
            process.stdin.write_eof()
        async for line in process.stdout:
            said: dict[str, Any] = json.loads(line)
            yield str(said["now"]) if "now" in said else Item(**said)
        if await process.wait():
            raise EngineError("The look at this run ended unexpectedly.", remedy="Try again; nothing was started.")
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def ask_and_start(app: App[Any], workspace: Path, draft: Draft, *, ascii_only: bool) -> str | None:
    """Return the name of the run that was started; None when the user does not want it.

    Raises:
        EngineError: It could not be made or started; no run is left behind.
    """
    name = await app.push_screen_wait(Preflight(workspace, draft, ascii_only=ascii_only))
    if name is None:
        return None
    app.notify("Starting; the libraries take some seconds to load.", title=name)
    return await asyncio.to_thread(_start, workspace, draft, name)


def _start(workspace: Path, draft: Draft, name: str) -> str:
    from engine.launch.prepare import new_run, start_run
    from engine.workspace import Workspace
    from screens.configure.worker import given

    run = new_run(Workspace(workspace), given(draft.text, draft.path.name if draft.path else UNSAVED), name=name)
    start_run(run)
    return run.name
