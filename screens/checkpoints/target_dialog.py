"""Where something is written, and in which forms: ticks, a name, and what that takes, told while it is chosen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.errors import EngineError
from tui.display import cell_len, content, plain, truncate
from tui.steady import Steady

_WIDTH = 76


@dataclass(frozen=True, slots=True)
class Tick:
    """One thing to choose."""

    value: str
    name: str
    note: str = ""
    """What is said of it, at the right."""
    ticked: bool = False
    group: str = ""
    """Of those with the same group exactly one is chosen; empty: any number."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was chosen."""

    ticked: frozenset[str]
    target: str


@dataclass(frozen=True, slots=True)
class Needs:
    """What the choice takes."""

    said: Sequence[str] = ()
    """Sentences."""
    problem: str = ""
    """Why it cannot be done, in a sentence."""


class TargetDialog(Steady, ModalScreen["Answer | None"]):
    """Asks where and in which forms; None for not at all.

    Args:
        title: What is done.
        about: Of what, in a sentence.
        ticks: The choices.
        target: What the name begins with; None asks for none.
        label: What the name is.
        needs_of: Returns what a choice takes. Called in a thread.
    """

    HELP = "Space ticks, tab goes to the name and back, Enter begins. Nothing is written before."
    AUTO_FOCUS = "OptionList, Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="target.cancel", priority=True),
        Binding("space", "tick", "Tick", id="target.tick", key_display="space"),
        Binding("enter", "begin", "Begin", id="target.begin", priority=True),
        Binding("tab,shift+tab", "app.focus_next", "Name", show=False, id="target.next"),
        Binding("j", "cursor(1)", "Down", show=False, id="target.down"),
        Binding("k", "cursor(-1)", "Up", show=False, id="target.up"),
    ]
    DEFAULT_CSS = f"""
    TargetDialog {{
        align: center middle;
        background: $background 60%;
        & > #box {{
            width: {_WIDTH};
            max-width: 96%;
            height: auto;
            max-height: 96%;
            padding: 0 1;
            background: $surface;
            border: round $primary;
            border-title-color: $text-primary;
            border-title-style: bold;
            border-subtitle-color: $foreground-muted;
            & Static {{ width: 1fr; height: auto; }}
            & .about {{ color: $foreground-muted; }}
            & .needs {{ color: $foreground-muted; margin-top: 1; }}
            & .problem {{ color: $text-error; display: none; }}
            &.-refused .problem {{ display: block; }}
            & OptionList {{
                height: auto; background: $surface; border: none; padding: 0; margin: 1 0;
                scrollbar-size-vertical: 1;
            }}
        }}
    }}
    """

    def __init__(
        self,
        title: str,
        about: str,
        ticks: Sequence[Tick],
        *,
        target: str | None = None,
        label: str = "Write to",
        needs_of: Callable[[Answer], Needs] = lambda _answer: Needs(),
    ) -> None:
        super().__init__()
        self._title = title
        self._about = about
        self._ticks = list(ticks)
        self._target = target
        self._label = label
        self._needs_of = needs_of
        self._needs: Needs | None = None
        """None while it is being worked out."""

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = plain(self._title)
            box.border_subtitle = "Enter begins, Esc leaves it"
            yield Static(content(self._about), classes="about")
            if self._ticks:
                yield OptionList()
            if self._target is not None:
                yield Static(content(self._label), classes="about")
                yield Input(value=self._target, compact=True, select_on_focus=False)
            yield Static(classes="needs")
            yield Static(classes="problem")

    def on_mount(self) -> None:
        self._fit()
        self._list()
        self._ask()

    def on_resize(self) -> None:
        self._fit()

    def _fit(self) -> None:
        """Leave room for what the choice takes: it is what one decides by."""
        for options in self.query(OptionList):
            options.styles.max_height = max(3, self.app.size.height - 15)

    @property
    def answer(self) -> Answer:
        """What is chosen now."""
        target = self.query_one(Input).value.strip() if self._target is not None else ""
        return Answer(frozenset(one.value for one in self._ticks if one.ticked), target)

    def _list(self) -> None:
        if not self._ticks:
            return
        options = self.query_one(OptionList)
        at = options.highlighted
        room = min(_WIDTH, int(self.app.size.width * 0.96)) - 6
        options.clear_options()
        options.add_options([Option(_drawn(one, room)) for one in self._ticks])
        chosen = next((index for index, one in enumerate(self._ticks) if one.ticked), 0)
        options.highlighted = chosen if at is None else at

    @work(exclusive=True, group="needs", description="Working out what it takes", exit_on_error=False)
    async def _ask(self) -> None:
        self._needs = None
        self._say("Working out what it takes ...", "")
        await asyncio.sleep(0.1)  # somebody types
        answer = self.answer
        try:
            self._needs = await asyncio.to_thread(self._needs_of, answer)
        except EngineError as error:
            self._needs = Needs(problem=str(error))
        self._say("\n".join(self._needs.said), self._needs.problem)

    def _say(self, said: str, problem: str) -> None:
        self.query_one(".needs", Static).update(content(said))
        self.query_one(".problem", Static).update(content(problem))
        self.query_one("#box").set_class(bool(problem), "-refused")

    @on(Input.Changed)
    def _changed(self) -> None:
        self._ask()

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        event.option_list.highlighted = event.option_index
        self.action_tick()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys are what is written into the name, Enter behind it included; without a list there is no cursor."""
        del parameters
        if isinstance(self.focused, Input):
            return action not in ("tick", "cursor", "begin")
        return bool(self._ticks) or action not in ("tick", "cursor")

    def action_cursor(self, rows: int) -> None:
        """Move the cursor."""
        options = self.query_one(OptionList)
        options.action_cursor_down() if rows > 0 else options.action_cursor_up()

    def action_tick(self) -> None:
        """Choose what the cursor is on, or do not."""
        at = self.query_one(OptionList).highlighted if self._ticks else None
        if at is None:
            return
        chosen = self._ticks[at]
        for index, one in enumerate(self._ticks):
            if index == at:
                self._ticks[index] = replace(one, ticked=not one.ticked or bool(one.group))
            elif chosen.group and one.group == chosen.group:
                self._ticks[index] = replace(one, ticked=False)
        self._list()
        self._ask()

    @on(Input.Submitted)
    def action_begin(self) -> None:
        """Close with what was chosen, once it is known that it can be done."""
        if self._needs is not None and not self._needs.problem:
            self.dismiss(self.answer)

    def action_leave(self) -> None:
        """Close without an answer."""
        self.dismiss(None)


def _drawn(tick: Tick, room: int) -> Content:
    name = truncate(plain(tick.name, limit=200), room - 4)
    note = truncate(plain(tick.note, limit=200), max(0, room - cell_len(name) - 6))
    box = ("(x)" if tick.ticked else "( )") if tick.group else ("[x]" if tick.ticked else "[ ]")
    gap = " " * max(2, room - cell_len(name) - cell_len(note) - 4)
    style = "bold" if tick.ticked else ""
    return Content.assemble(
        Content.styled(f"{box} ", "$text-success bold" if tick.ticked else "$foreground-muted"),
        Content.styled(name, style) if style else name,
        gap if note else "", Content.styled(note, "$foreground-muted") if note else "",
    )  # fmt: skip
