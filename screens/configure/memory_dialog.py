"""What a run takes of memory, part by part; and, when asked for, two real steps that measure it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.errors import EngineError
from screens.configure.draft import UNSAVED, Draft
from screens.configure.memory import Memory, gigabytes, sentence
from tui.display import content, plain
from tui.steady import Steady
from tui.widgets.text_rows import StyledText, as_content, wrapped

MEASURING = "screens.configure.measuring"
"""Module of the process that tries."""
_BAR = 28
_END_SECONDS = 3.0
"""How long a cancelled trial may take to end by itself."""
_NAME = 13


class MemoryDialog(Steady, ModalScreen["Mapping[str, int] | None"]):
    """Shows the parts; tries when asked. Closes with settings to take, by key, or None.

    Args:
        workspace: Where files are looked for.
        draft: What would run.
        memory: What is predicted; None where it cannot be.
        said: Why not.
        ascii_only: Nothing else can be drawn.
    """

    HELP = (
        "Predicted memory by component. m tries two real steps on the longest rows in a process of its own, and looks "
        "for the largest batch that fits; what it measures corrects the next prediction."
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Close", id="memory.leave", tooltip="Close; a trial that is under way ends"),
        Binding("m", "measure", "Measure", id="memory.measure", tooltip="Try two steps, and what still fits"),
        Binding("b", "take", "Take the batch", id="memory.take",
                tooltip="Write the largest batch that fits into the settings"),
        Binding("down,j", "scroll(1)", "Down", show=False, id="memory.down"),
        Binding("up,k", "scroll(-1)", "Up", show=False, id="memory.up"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    MemoryDialog {
        align: center middle;
        background: $background 60%;
        & > #box {
            width: 76;
            max-width: 98%;
            height: auto;
            max-height: 96%;
            padding: 0 2;
            background: $surface;
            border: round $primary;
            border-title-color: $text-primary;
            border-subtitle-color: $foreground-muted;
            & VerticalScroll { height: auto; max-height: 40; scrollbar-size-vertical: 1; }
            & Static { width: 1fr; height: auto; }
        }
    }
    """

    class Told(Message):
        """The trial has said something."""

        def __init__(self, said: Mapping[str, Any]) -> None:
            self.said = said
            super().__init__()

    def __init__(
        self, workspace: Path, draft: Draft, memory: Memory | None, said: str, *, ascii_only: bool = False
    ) -> None:
        super().__init__()
        self.measuring = False
        self.found: Mapping[str, Any] | None = None
        """What was measured, as from `screens.configure.measuring`."""
        self._workspace = workspace
        self._draft = draft
        self._memory = memory
        self._said = said
        self._ascii = ascii_only
        self._now = ""
        self._problem = ""
        self._process: asyncio.subprocess.Process | None = None

    @work(exclusive=True, group="measure", description="Trying two steps", exit_on_error=False)
    async def measure(self) -> None:
        """Try, and say how it goes; cancelling this ends the trial."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", MEASURING,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        source = self._draft.path.name if self._draft.path else UNSAVED
        asked = {"workspace": str(self._workspace), "text": self._draft.text, "source": source}
        last: dict[str, Any] = {}
        try:
            with suppress(OSError):
                process.stdin.write(json.dumps(asked).encode() + b"\n")
            async for line in process.stdout:
                last = json.loads(line)
                self.post_message(self.Told(last))
            if "now" in last or not last:
                raise EngineError("The trial ended without a word.", remedy="`ftconsole estimate --probe` says more.")
        finally:
            await _ended(process)
            self.post_message(self.Told({"ended": True}))

    def on_mount(self) -> None:
        self._show()

    async def on_unmount(self) -> None:
        """See that the trial ends also where the whole console is left while it is under way."""
        if self._process is not None:
            await _ended(self._process)

    def on_memory_dialog_told(self, message: Told) -> None:
        """Show how it goes, and what was found."""
        said = message.said
        if "now" in said:
            self._now = str(said["now"])
        elif "error" in said:
            self._problem = f"{said['error']['message']} {said['error']['remedy']}".strip()
        elif "found" in said:
            self.found = said["found"]
            self._memory = Memory(**said["found"]["memory"])
        elif "ended" in said:
            self.measuring = False
        if self.is_mounted:
            self._show()

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = "Memory"
            with VerticalScroll(can_focus=False):
                yield Static(id="said")

    @property
    def largest(self) -> Mapping[str, int]:
        """Settings of the largest batch that fits; empty when nothing says so, or they are as it is already."""
        if self.found is None or not self.found["largest_rows"]:
            return {}
        settings: dict[str, int] = {}
        if self._memory is None or self.found["largest_rows"] != self._memory.rows:
            settings["training.per_device_train_batch_size"] = int(self.found["largest_rows"])
        if self.found["max_length"]:  # not one row fitted whole
            settings["data.max_length"] = int(self.found["max_length"])
        return settings

    def _show(self) -> None:
        self.query_one("#said", Static).update(
            as_content(self.rows(max(20, min(76, int(self.app.size.width * 0.98)) - 7)))
        )
        keys = "Esc ends the trial" if self.measuring else "m measures, Esc closes"
        if self.largest and not self.measuring:
            keys = f"b takes that batch, {keys}"
        self.query_one("#box").border_subtitle = content(keys)
        self.refresh_bindings()

    def rows(self, width: int) -> list[list[StyledText]]:
        """Return what is shown, in rows of at most `width` cells."""
        rows: list[list[StyledText]] = []
        if self._memory is None:
            rows += wrapped([(plain(self._said), "")], width)
        else:
            rows += self._predicted(self._memory, width)
        if self.measuring:
            rows += [[], [(f"Trying: {plain(self._now or 'starting', limit=60)} ...", "$text-primary")]]
        if self._problem:
            rows += [[], *wrapped([(plain(self._problem, limit=1_000), "$text-error")], width)]
        if self.found is not None:
            rows += [[], *self._measured(self.found, width)]
        elif not self.measuring and not self._problem:
            rows += [[], *wrapped([("m tries two real steps on the longest rows and finds the largest batch that fits.",
                                    "$foreground-muted")], width)]  # fmt: skip
        return rows

    def _predicted(self, memory: Memory, width: int) -> list[list[StyledText]]:
        room = max(0, min(_BAR, width - _NAME - 12))
        largest = max(memory.components.values(), default=0) or 1
        glyph = "#" if self._ascii else "█"
        rows: list[list[StyledText]] = [
            [
                (f"{name:<{_NAME}}", "$foreground-muted"), (f"{gigabytes(size):>8}  ", ""),
                (glyph * round(room * size / largest), "$primary"),
            ]
            for name, size in memory.components.items()
        ]  # fmt: skip
        style = "bold" if memory.fits is None else "bold $text-success" if memory.fits else "bold $text-error"
        rows.append([(f"{'predicted':<{_NAME}}", "$foreground-muted"), (sentence(memory), style)])
        batch = f"for {memory.rows} rows of {memory.length:,} tokens"
        rows += [[(" " * _NAME, ""), *row] for row in wrapped([(batch, "$foreground-muted")], max(8, width - _NAME))]
        if memory.reason:
            rows += wrapped([(plain(memory.reason), "$foreground-muted")], width)
        return rows

    def _measured(self, found: Mapping[str, Any], width: int) -> list[list[StyledText]]:
        rows: list[list[StyledText]] = []
        for trial in found["trials"]:
            head = f"{trial['rows']:>4} x {trial['length']:,} tokens" if trial["length"] else f"{trial['rows']:>4} rows"
            if trial["fits"]:
                speed = f", {trial['tokens_per_second']:,.0f} tokens/s" if trial["tokens_per_second"] else ""
                rows.append(
                    [(f"{head:<{_NAME + 10}}", ""), (f"{gigabytes(trial['peak_bytes'])} at the peak{speed}", "")]
                )
            else:
                rows.append([(f"{head:<{_NAME + 10}}", ""), ("does not fit", "$text-error")])
        if found["largest_rows"]:
            how = "fits" if found["proven"] else "should fit"
            size = f"batch {found['largest_rows']}, length {found['length']:,}"
            rows.append([(f"Measured: {how} at {size}.", "bold $text-success")])
        elif found["trials"]:
            rows.append([("Measured: does not fit, not even with one row in a batch.", "bold $text-error")])
        if found["seconds"] is not None:
            rows += wrapped([(f"Training takes some {duration(found['seconds'])}; evaluations and checkpoints are not "
                              "counted.", "")], width)  # fmt: skip
        if found["said"]:
            rows += wrapped([(plain(str(found["said"]), limit=400), "$foreground-muted")], width)
        return rows

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to take once it was found."""
        del parameters
        return action != "take" or (bool(self.largest) and not self.measuring)

    def action_measure(self) -> None:
        """Begin a trial."""
        if not self.measuring:
            self.measuring, self._now, self._problem, self.found = True, "", "", None
            self.measure()
            self._show()

    def action_take(self) -> None:
        """Close with the largest batch that fits."""
        if self.largest:
            self.dismiss(self.largest)

    def action_scroll(self, rows: int) -> None:
        """Scroll."""
        self.query_one(VerticalScroll).scroll_relative(y=rows, animate=False)

    def action_leave(self) -> None:
        """End the trial that is under way, else close."""
        if self.measuring:
            self.workers.cancel_group(self, "measure")
        else:
            self.dismiss(None)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Tell a trial that nobody waits for it, and see that it ends."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), _END_SECONDS)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def duration(seconds: float) -> str:
    """Return a time as people say it: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
