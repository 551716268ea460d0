"""The inspection of a data file: work reads and asks, handlers change what is known, the view draws that."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, ClassVar, TypeVar

from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.geometry import Size
from textual.message import Message
from textual.worker import Worker, WorkerError

from engine.data.row import Row
from engine.errors import EngineError
from engine.workspace import Workspace, shipped_folder
from screens.data import inquiries
from screens.data.asking_line import AskingLine, LineInput
from screens.data.bars import OF_THE_FILE, VIEWS, FileBar, Tabs
from screens.data.book import Book, Entry
from screens.data.columns import Shown
from screens.data.lens import Settled, View, settle
from screens.data.pane import Pane, Told
from screens.data.row_table import RowTable
from screens.data.told_of import told_of
from screens.data.words import NO_FILE, reading_pieces, status_pieces, through_pieces
from screens.data.work_state import Activity, Found
from screens.runs.emptiness import Emptiness
from tui.console_screen import ConsoleScreen
from tui.display import plain
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.failure_panel import Failure

if TYPE_CHECKING:
    from engine.data.findings import Finding, Report
    from engine.data.microscope import Examined, Lens, Microscope
    from engine.data.statistics import Statistics

T = TypeVar("T")
R = TypeVar("R")
BROAD = 120
"""Width from which table and pane stand beside each other."""
SOON_SECONDS = 0.3
"""What a row may take to be prepared before that is shown as work that can be stopped. The first takes 5 s or more."""
UNDER_THE_LENS = ("rendered", "mask", "tokens")
"""Views that need the microscope."""
_TABS = Binding.Group("View", compact=True)
_ROWS = Binding.Group("Row", compact=True)
_FOUND = Binding.Group("Found", compact=True)


class DataScreen(ConsoleScreen):
    """The rows of a data file, and what a model would learn of them.

    Args:
        workspace: Folder with `datasets/`.
        opening: A data file to begin with. None: asks which.
        microscope: Makes what prepares rows as training does. None: a process of its own.
    """

    TITLE = "Data"
    HELP = (
        "A data file as it is, and as the model will see it. Nothing here changes the file. "
        "What takes long says how far it is, and Esc stops it."
    )
    CSS_PATH = "screen.tcss"
    AUTO_FOCUS = "RowTable"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("o", "ask('file')", "Open", id="data.open", tooltip="Choose a data file, or type the path of one"),
        Binding("left_square_bracket", "view(-1)", "View before", key_display="[", id="data.view-before",
                group=_TABS, tooltip="Messages, raw, rendered, mask, tokens, statistics, doctor"),
        Binding("right_square_bracket", "view(1)", "Next view", key_display="]", id="data.view-next",
                group=_TABS, tooltip="Messages, raw, rendered, mask, tokens, statistics, doctor"),
        Binding("slash", "search", "Search", key_display="/", id="data.search",
                tooltip="Mark the rows with a text, or with key=value; n and N go from one to the next"),
        Binding("n", "found(1)", "Next found", id="data.next", group=_FOUND, tooltip="The next row that is marked"),
        Binding("N", "found(-1)", "Found before", id="data.previous", group=_FOUND,
                tooltip="The row before that is marked"),
        Binding("f", "filter", "Filter", id="data.filter", tooltip="List the marked rows only, and all again"),
        Binding("number_sign", "ask_line", "Line", key_display="#", id="data.line",
                tooltip="Go to a line by its number; typing the number does it too"),
        Binding("w", "ask('worst')", "Worst", id="data.worst",
                tooltip="Go to the rows that teach nothing, are cut off, or have control tokens in their text"),
        Binding("c", "ask('mapping')", "Correct", id="data.correct", tooltip="Read the columns of this file otherwise"),
        Binding("C", "ask('form')", "Into the form", show=False, id="data.form",
                tooltip="Write this reading of the columns into the settings of the next run (data.mapping)"),
        Binding("m", "ask('model')", "Model", id="data.model", tooltip="Look at the rows through another model"),
        Binding("l", "ask('length')", "Length", show=False, id="data.length", tooltip="The maximum length in tokens"),
        Binding("x", "look('mask')", "Mask", show=False, id="data.mask", tooltip="Which tokens are trained"),
        Binding("s", "look('statistics')", "Statistics", show=False, id="data.statistics",
                tooltip="Count lengths, roles, kinds and repetitions of the whole file"),
        Binding("d", "look('doctor')", "Doctor", show=False, id="data.doctor",
                tooltip="Examine the whole file for what would be wasted on the model"),
        Binding("r", "again", "Again", show=False, id="data.again", tooltip="Read the file, or make the report, anew"),
        Binding("comma", "row(-1)", "Row before", key_display=",", id="data.row-before", show=False, group=_ROWS,
                tooltip="The row before, from wherever the focus is"),
        Binding("full_stop", "row(1)", "Next row", key_display=".", id="data.row-next", show=False, group=_ROWS,
                tooltip="The next row, from wherever the focus is"),
        *(Binding(str(digit), f"ask_line('{digit}')", show=False, system=True) for digit in range(1, 10)),
    ]  # fmt: skip

    def __init__(
        self, workspace: Path, opening: Path | None = None, *, microscope: Callable[[Lens], Microscope] | None = None
    ) -> None:
        super().__init__(workspace)
        self.opening = opening
        self._make_microscope = microscope
        self._folder = TemporaryDirectory(prefix="ftconsole-row-")
        self._examining: Worker[None] | None = None
        self.book: Book | None = None
        self.view = VIEWS[0]
        self.through = View()
        """Model and length rows are looked at through."""
        self.settled: Settled | None = None
        """The same, found on this machine."""
        self.entry: Entry | None = None
        """The line under the cursor, read."""
        self.examined: tuple[int, Examined] | None = None
        """Row of the table, and what the microscope says of it."""
        self.not_examined: tuple[int, EngineError] | None = None
        """Line the microscope could not show, and why."""
        self.report: Report | None = None
        self.statistics: Statistics | None = None
        self.found: Found | None = None
        self.activities: dict[str, Activity] = {}
        """By name: "index", "search", "statistics", "doctor". The newest is last."""
        self.stopped: set[str] = set()
        """Reports that were begun and stopped; they are made again only when asked for."""
        self._microscope: Microscope | None = None
        self._examination: asyncio.Task[Examined] | None = None
        self._wanted = asyncio.Event()
        self._look = asyncio.Event()
        self._due = asyncio.Event()
        self._table = RowTable()
        self._pane = Pane()
        self._tabs = Tabs()
        self._bar = FileBar()
        self._emptiness = Emptiness()
        self._line: AskingLine | None = None

    class Changed(Message):
        """Something may look different now. Neighbours in the queue are one."""

        def can_replace(self, message: Message) -> bool:
            return isinstance(message, DataScreen.Changed)

    class FirstRows(Message):
        """A file was opened."""

        def __init__(self, book: Book, rows: list[Shown]) -> None:
            self.book, self.rows = book, rows
            super().__init__()

    class RowsFound(Message):
        """A search has found rows."""

        def __init__(self, found: Found, lines: list[int], start: int, *, complete: bool = False) -> None:
            self.found, self.lines, self.start, self.complete = found, lines, start, complete
            super().__init__()

    # Work

    @work(exclusive=True, group="open", description="Opening the file", exit_on_error=False)
    async def open(self, path: Path, mapping: dict[str, str] | None = None, line: int = 0) -> None:
        """Show a file: its first rows at once, then how it is read by a sample of the whole, then all of its lines."""
        book, rows = await asyncio.to_thread(_opened, path, Workspace(self.workspace), mapping)
        await self._take_book(book, rows)
        activity = self._begin("index", "counting lines")
        try:
            await asyncio.to_thread(inquiries.count_lines, book, activity, self._tell)
            if await asyncio.to_thread(book.sample):
                self._table.shape = book.kind
                self._table.forget()
                self.entry = None
        except inquiries.Stopped:
            self.notify("Not all lines were counted: only the beginning of the file is listed. r counts again.")
        finally:
            self._end("index", activity)
        self._list()
        if line:
            self._table.move_to_line(line)
        self._look.set()
        self._begin_report()

    async def _take_book(self, book: Book, rows: list[Shown]) -> None:
        self._stop_all()
        self.forget_failure()
        await self._drop_microscope()
        self.book, self.entry, self.report, self.statistics, self.found = book, None, None, None, None
        self.stopped.clear()
        table = self._table
        table.shape, table.cursor = book.kind, 0
        table.only, table.marked = None, ()
        table.scroll_to(y=0, animate=False, immediate=True, force=True)
        table.forget()
        table.take(rows)
        table.show(len(rows))
        self._look.set()
        self.show_all()
        if self.focused is None and self.app.screen is self:
            table.focus()

    @work(exclusive=True, group="rows", description="Reading rows", exit_on_error=False)
    async def read_rows(self) -> None:
        """Read the rows that are seen, always those that are asked for now."""
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            book, lines = self.book, self._table.wanted()
            if book is None or not lines:
                continue
            rows = await self._reading(book.read, lines)
            if book is self.book and rows:
                self._table.take(rows)
                self._wanted.set()  # what is next to what is seen

    @work(exclusive=True, group="row", description="Looking at a row", exit_on_error=False)
    async def look_at_rows(self) -> None:
        """Read the row under the cursor, always the one it is on now."""
        while True:
            await self._look.wait()
            self._look.clear()
            book, line = self.book, self._table.line
            if book is None or not line:
                continue
            if self.entry is None or self.entry.line.number != line:
                entry = await self._reading(book.entry, line)
                if book is not self.book:
                    continue
                self.entry = entry
                self.stopped.discard("microscope")
                self.post_message(self.Changed())
            self._due.set()

    @work(exclusive=True, group="microscope", description="Preparing a row", exit_on_error=False)
    async def examine_rows(self) -> None:
        """Look at rows through the microscope while that is shown: one at a time, always the one that is read now."""
        while True:
            await self._due.wait()
            self._due.clear()
            book, entry = self.book, self.entry
            if book is None or entry is None or self.looked_at or "microscope" in self.stopped:
                continue
            if self.view in UNDER_THE_LENS:
                await self._examine(book, entry.line.number)
                self._due.set()
                self.post_message(self.Changed())

    async def _reading(self, read: Callable[[T], R], what: T) -> R | None:
        """Read in a thread. What cannot be read is said once; reading goes on with what is asked for next."""
        try:
            return await asyncio.to_thread(read, what)
        except EngineError as error:
            self.show_failure(Failure(error.code, error.message, error.remedy))
            return None

    async def _examine(self, book: Book, line: int) -> None:
        microscope: Microscope | None = None
        task: asyncio.Task[Examined] | None = None
        activity: Activity | None = None
        try:
            microscope = self._microscope or await self._focused(book)
            path, at = await asyncio.to_thread(book.row_file, line, Path(self._folder.name))
            task = self._examination = asyncio.ensure_future(microscope.examine(path, at))
            if not (await asyncio.wait({task}, timeout=SOON_SECONDS))[0]:
                activity = self._begin("microscope", "preparing the row")
            await asyncio.wait({task})
            if not task.cancelled() and microscope is self._microscope:
                self.examined, self.not_examined = (line, task.result()), None
        except EngineError as error:
            # One that was dropped, for another model or by Esc, has nothing to say any more.
            if book is self.book and microscope is self._microscope:
                self.examined, self.not_examined = None, (line, error)
        finally:
            if task is not None and not task.cancel() and not task.cancelled():
                task.exception()  # taken note of, also where nobody wants to know any more
            if activity is not None:
                self._end("microscope", activity)

    async def _focused(self, book: Book) -> Microscope:
        """Return a microscope on the model that is chosen.

        Raises:
            NotFound: It is not on this machine.
        """
        if self._make_microscope is None:
            from engine.data.microscope import Microscope

            self._make_microscope = Microscope
        settled = await asyncio.to_thread(self._settle, book)
        self.post_message(self.Changed())
        lens = settled.lens(dict(book.mapping) if book.mapping else None)
        microscope = self._microscope = self._make_microscope(lens)
        return microscope

    def _settle(self, book: Book) -> Settled:
        self.settled = settle(Workspace(self.workspace), self.through, book.pages.num_lines)
        return self.settled

    async def _drop_microscope(self) -> None:
        microscope, self._microscope = self._microscope, None
        self.examined = self.not_examined = None
        if self._examination is not None:
            self._examination.cancel()
        if microscope is not None:
            await microscope.close()

    @work(exclusive=True, group="search", description="Searching the file", exit_on_error=False)
    async def find(self, words: str) -> None:
        """Mark the rows that hold a text or a value, as they are found, and go to the first behind the cursor."""
        book = self.book
        if book is None:
            return
        activity = self._begin("search", f"searching {plain(words, limit=40)}")
        found = self.found = Found(plain(words, limit=40))
        self._list(filtered=False)
        start = self._table.line

        def search() -> None:
            for lines in inquiries.search(book, words, activity, self._tell):
                self.post_message(self.RowsFound(found, lines, start))

        try:
            await asyncio.to_thread(search)
            self.post_message(self.RowsFound(found, [], start, complete=True))
        except inquiries.Stopped:
            pass
        except EngineError:
            self.found = None
            raise
        finally:
            self._end("search", activity)

    @work(exclusive=True, group="statistics", description="Counting the file", exit_on_error=False)
    async def count_file(self, book: Book) -> None:
        """Count the statistics, and show them as they become known."""
        activity = self._begin("statistics", "reading rows")

        def count() -> None:
            settled, _ = inquiries.settled_or_none(lambda: self._settle(book))
            for found in inquiries.statistics(book, settled, activity, self._tell):
                if book is self.book and not activity.stopped.is_set():
                    self.statistics = found
                    self._tell()

        try:
            await asyncio.to_thread(count)
        except inquiries.Stopped:
            pass
        except EngineError:
            self.stopped.add("statistics")
            raise
        finally:
            self._end("statistics", activity)

    @work(exclusive=True, group="doctor", description="Examining the file", exit_on_error=False)
    async def examine_file(self, book: Book) -> None:
        """Make the doctor's report."""
        activity = self._begin("doctor", "examining rows")

        def examine() -> tuple[Report, EngineError | None]:
            settled, why_not = inquiries.settled_or_none(lambda: self._settle(book))
            return inquiries.examine(book, settled, activity, self._tell), why_not

        try:
            report, why_not = await asyncio.to_thread(examine)
            if book is self.book and not activity.stopped.is_set():
                self.report = report
                if why_not is not None:
                    self.notify(str(why_not), title="Examined without a model", severity="warning")
        except inquiries.Stopped:
            pass
        except EngineError:
            self.stopped.add("doctor")
            raise
        finally:
            self._end("doctor", activity)

    @work(exclusive=True, group="ask", description="Asking", exit_on_error=False)
    async def ask(self, what: str) -> None:
        """Ask for a file, a model, a length, a reading of the columns or a kind of rows, and do what was answered.

        "form" asks nothing: it hands the reading of the columns over.
        """
        from screens.data import asking

        await {
            "file": asking.file, "model": asking.model, "length": asking.length,
            "mapping": asking.mapping, "form": asking.form, "worst": asking.worst,
        }[what](self)  # fmt: skip

    # What is going on

    def _begin(self, name: str, said: str) -> Activity:
        before = self.activities.pop(name, None)
        if before is not None:
            before.stopped.set()
        activity = self.activities[name] = Activity(said)
        self.stopped.discard(name)
        self.post_message(self.Changed())
        return activity

    def _end(self, name: str, activity: Activity) -> None:
        activity.stopped.set()  # whoever waited may be gone, and the thread go on
        if self.activities.get(name) is activity:
            del self.activities[name]
        self.post_message(self.Changed())

    def _tell(self) -> None:
        """Say, from any thread, that something looks different."""
        self.post_message(self.Changed())

    def _stop_all(self, *names: str) -> None:
        """Stop what goes on; only what is named, where something is."""
        for name in names or tuple(self.activities):
            if (activity := self.activities.pop(name, None)) is not None:
                activity.stopped.set()

    def _begin_report(self) -> None:
        """Make the report that is shown, unless it is there, under way or was stopped."""
        book = self.book
        if book is None or "index" in self.activities or self.view in self.activities or self.view in self.stopped:
            return
        if self.view == "doctor" and self.report is None:
            self._examining = self.examine_file(book)
        elif self.view == "statistics" and self.statistics is None:
            self.count_file(book)

    # Handlers

    def on_mount(self) -> None:
        self.show_all()
        self.read_rows()
        self.look_at_rows()
        self.examine_rows()
        if self.opening is not None:
            self.open(self.opening)
        else:
            self.ask("file")

    async def on_unmount(self) -> None:
        self._stop_all()
        await self._drop_microscope()
        await asyncio.to_thread(self._folder.cleanup)

    @on(Changed)
    def _redraw(self) -> None:
        # Below a dialog every change would draw the dialog, too.
        if self.app.screen is self:
            self.show_all()

    @on(events.ScreenResume)
    def _look_again(self) -> None:
        self.post_message(self.Changed())

    @on(RowTable.Wanted)
    def _want(self) -> None:
        self._wanted.set()

    @on(RowTable.Moved)
    def _moved(self) -> None:
        self._look.set()
        self.show_status()

    @on(RowTable.Opened)
    def _read_one(self) -> None:
        self.set_class(True, "-reading")
        if self.view in OF_THE_FILE:
            self.look("messages")
        self._pane.focus()

    @on(Pane.Followed)
    def _follow(self, message: Pane.Followed) -> None:
        if self.report is not None and self.book is not None:
            self.follow(self.report.findings[message.target])

    @on(RowsFound)
    def _mark_found(self, message: RowsFound) -> None:
        found = message.found
        if found is not self.found:
            return
        reached = bool(found.lines) and found.lines[-1] >= message.start
        found.lines.extend(message.lines)
        found.complete = message.complete
        self._list()
        # To the first one behind the cursor; when there is none, to the first of all.
        ready = bool(found.lines) and (found.lines[-1] >= message.start or found.complete)
        if ready and not reached and self._table.line == message.start:
            self._table.move_to_line(found.after(message.start - 1))
        self.show_all()

    @on(Tabs.Chosen)
    def _choose_view(self, message: Tabs.Chosen) -> None:
        self.look(message.view)

    @on(LineInput.Submitted)
    def _line_written(self, event: LineInput.Submitted) -> None:
        text, purpose = event.value.strip(), self._line.purpose if self._line is not None else ""
        self._close_line()
        if purpose == "line":
            self._go_to(text)
        elif text:
            self.find(text)

    def on_resize(self, event: events.Resize) -> None:
        super().on_resize(event)
        self.call_after_refresh(self.show_all)

    def _take_size(self, size: Size) -> None:
        super()._take_size(size)
        self.set_class(size.width >= BROAD, "-broad")

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """What is about a file needs one; letters that are written are no keys."""
        if action in ("found", "filter"):
            return self.found is not None and bool(self.found.lines)
        if action in ("search", "ask_line", "again", "row", "look", "view") or parameters in (
            ("worst",),
            ("mapping",),
            ("form",),
        ):
            return self.book is not None
        return super().check_action(action, parameters)

    def action_ask(self, what: str) -> None:
        """Ask for something."""
        self.ask(what)

    def action_again(self) -> None:
        """Make the report that is shown anew, or read the file anew."""
        book = self.book
        if book is None:
            return
        if self.view == "doctor":
            self.report = None
            self._examining = self.examine_file(book)
        elif self.view == "statistics":
            self.statistics = None
            self.count_file(book)
        elif self.view in UNDER_THE_LENS:
            self.stopped.discard("microscope")
            self.examined = self.not_examined = None
            self._due.set()
        else:
            self.open(book.path, dict(book.mapping) if book.mapping else None, self._table.line)

    def action_view(self, by: int) -> None:
        """Show the next view."""
        self.look(VIEWS[(VIEWS.index(self.view) + by) % len(VIEWS)])

    def action_look(self, view: str) -> None:
        """Show a view."""
        self.look(view)

    def look(self, view: str) -> None:
        """Show a view, and begin what it needs."""
        self.view = view
        self._look.set()
        self._begin_report()
        if not self.has_class("-full"):
            self.add_class("-reading")
            self._pane.focus()
        self.show_all()

    def action_row(self, by: int) -> None:
        """Go to the next row."""
        self._table.action_move(by)

    def action_found(self, by: int) -> None:
        """Go to the next row that is marked."""
        if self.found is not None and self.found.lines:
            line = self._table.line
            self._table.move_to_line(self.found.after(line) if by > 0 else self.found.before(line))

    def action_filter(self) -> None:
        """List the marked rows only, or all again."""
        self._list(filtered=self._table.only is None)

    async def action_search(self) -> None:
        """Write a search."""
        await self._ask_for("search", "", "a text, or key=value such as category=creation")

    async def action_ask_line(self, digit: str = "") -> None:
        """Write the number of a line."""
        lines = self.book.pages.num_lines if self.book is not None else None
        await self._ask_for("line", digit, f"1 to {lines:,}" if lines else "the number of a line")

    async def _ask_for(self, purpose: str, value: str, placeholder: str) -> None:
        if self._line is None:
            self._line = AskingLine()
            await self.mount(self._line, before=self.query_one("#body"))
        self.add_class("-asking")
        self._line.ask(purpose, value, placeholder)

    def _close_line(self) -> None:
        self.remove_class("-asking")
        (self._pane if self.has_class("-reading") else self._table).focus()

    def _go_to(self, text: str) -> None:
        digits = text.replace(",", "").replace("_", "")
        if not digits.isdecimal() or not int(digits):
            self.notify(f"{text[:40]!r} is no number of a line; the first is 1.", severity="warning")
            return
        line, table = int(digits), self._table
        if line > table.num_lines:
            known = "are counted so far" if "index" in self.activities else "are in the file"
            self.notify(f"There is no line {line:,}: {table.num_lines:,} {known}.", severity="warning")
        if table.only is not None:
            self._list(filtered=False)
        table.move_to_line(min(line, table.num_lines))

    def step_out(self) -> bool:
        """Close what is open, or stop what is going on: the line that is written, work, the row, the marks."""
        if self.has_class("-asking"):
            self._close_line()
        elif self.activities:
            name, activity = list(self.activities.items())[-1]
            self.stopped.add(name)
            self._end(name, activity)
            if name == "microscope":
                self.run_worker(self._drop_microscope(), group="drop", description="Ending the preparation of rows")
        elif self.has_class("-reading"):
            self.remove_class("-reading")
            self._table.focus()
        elif self._table.only is not None:
            self._list(filtered=False)
        elif self.found is not None:
            self.found = None
            self._list(filtered=False)
        else:
            return False
        self.show_all()
        return True

    # Marks

    def mark(self, title: str, lines: list[int], *, complete: bool = True) -> None:
        """Mark lines, and go to the first."""
        if self.activities.get("search"):
            self.activities["search"].stopped.set()
        self.found = Found(title, array("Q", sorted(lines)), complete)
        self._list(filtered=False)
        if lines:
            self._table.move_to_line(self.found.lines[0])
        self.show_all()

    def follow(self, finding: Finding) -> None:
        """Mark the rows of a finding that are in this file, and go to the first."""
        book = self.book
        if book is None:
            return
        lines = [book.number_of(line) for path, line in finding.lines if Path(path) == book.path]
        if not lines:
            self.notify(f"They are in {finding.lines[0][0]}: open it with o.", severity="warning")
            return
        self.mark(finding.code, lines, complete=finding.count <= len(finding.lines))

    async def made_report(self) -> Report | None:
        """Return the doctor's report; make it first. None where it was stopped, or could not be made."""
        book = self.book
        if book is not None and self.report is None:
            if "index" in self.activities:
                self.notify("The lines are still being counted.")
                return None
            running = self._examining if "doctor" in self.activities else None
            with suppress(WorkerError):  # the panel says what it was
                if running is None:
                    running = self._examining = self.examine_file(book)
                await running.wait()
        return self.report

    async def look_through(self, through: View) -> None:
        """Look at the rows through another model, or with another length."""
        self.through, self.settled = through, None
        self._stop_all("doctor", "statistics")
        await self._drop_microscope()
        self.report = self.statistics = None
        self.stopped.clear()
        self._look.set()
        self._begin_report()
        self.show_all()

    def _list(self, *, filtered: bool | None = None) -> None:
        """List the lines there are; only the marked ones where that is wanted. None leaves that as it is."""
        book, table = self.book, self._table
        if book is None:
            return
        if filtered is None:
            filtered = table.only is not None
        lines = self.found.lines if self.found is not None else ()
        table.marked = lines
        total = book.pages.num_lines
        table.show(table.num_lines if total is None else total, lines if filtered and lines else None)
        self.refresh_bindings()

    # View

    def compose_body(self) -> ComposeResult:
        self._table.glyphs = self.glyphs
        yield self._bar
        with Container(id="body"):
            yield self._table
            with Vertical(id="told"):
                yield self._tabs
                yield self._pane
        yield self._emptiness

    @property
    def glyphs(self) -> GlyphSet:
        """What can be drawn."""
        return self.terminal.glyphs  # type: ignore[return-value]

    def show_all(self) -> None:
        """Put what is known on screen."""
        book = self.book
        self.set_class(book is None, "-empty")
        if book is None:
            self._emptiness.show(NO_FILE)
            self._bar.show((), [], ())
            return
        self.sub_title = plain(book.name, limit=200)
        self.show_status()
        self._tabs.show(self.view, through_pieces(self.through, self.settled))
        width = self._pane.width
        if width:
            self._pane.show(self.told(width), (book.path, self.view, self._shown_line))
        self.refresh_bindings()

    def show_status(self) -> None:
        """Put on screen how the file is read, where one is, and what is going on."""
        if self.book is not None:
            groups, facts = reading_pieces(self.book)
            running = [activity.pieces(self.glyphs) for activity in reversed(self.activities.values())]
            self._bar.show(groups, facts, [*running[:1], *status_pieces(self.book, self._table, self.found)])

    @property
    def table(self) -> RowTable:
        """The rows."""
        return self._table

    @property
    def looked_at(self) -> bool:
        """Whether the microscope has said all it can of the row under the cursor."""
        if self.book is None or self.entry is None or not isinstance(self.entry.row, Row):
            return True
        line = self.entry.line.number
        refused = self.not_examined is not None and self.not_examined[0] == line
        return refused or (self.examined is not None and self.examined[0] == line)

    @property
    def _shown_line(self) -> int:
        """The line that is told of; 0 where it is the whole file."""
        return 0 if self.view in OF_THE_FILE or self.entry is None else self.entry.line.number

    def told(self, width: int) -> list[Told]:
        """Return what the view tells."""
        return told_of(self, width)

    def plain_text(self) -> str:
        """Return the whole view as text."""
        from screens.data.twin import twin

        return twin(self)


def _opened(path: Path, workspace: Workspace, mapping: dict[str, str] | None) -> tuple[Book, list[Shown]]:
    book = Book(path, _named(path, workspace), mapping)
    return book, book.first()


def _named(path: Path, workspace: Workspace) -> str:
    """Return what a file is called: short where it is in the workspace."""
    for place in (workspace.path, shipped_folder()):
        if path.absolute().is_relative_to(place):
            return str(path.absolute().relative_to(place))
    return str(path)
