"""A question with several small answers: one line for each, with what it means beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, NamedTuple

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tui.display import content, plain
from tui.steady import Steady


class Field(NamedTuple):
    """One line of a form."""

    name: str
    values: tuple[str, ...]
    """What stands in it first, by column."""
    meaning: str


class Preset(NamedTuple):
    """Values that are put into the form together."""

    name: str
    values: Mapping[str, str]


class Form(Steady, ModalScreen["list[dict[str, str]] | None"]):
    """Lines to fill in; answers with what stands in each, by column. None leaves everything as it is.

    Args:
        title: What is asked.
        fields: The lines.
        columns: What stands above the values, where there are several columns of them.
        problem_of: Returns why what stands in a line cannot be taken, in a sentence; None when it can.
        presets: Values to be put in by a key, one after the other.
    """

    HELP = "Up and down go from line to line. Enter takes all of them, Esc leaves everything as it is."
    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", id="form.cancel", priority=True),
        Binding("enter,ctrl+s", "take", "Take them", id="form.take"),
        Binding("down", "app.focus_next", "Down", show=False, id="form.down", priority=True),
        Binding("up", "app.focus_previous", "Up", show=False, id="form.up", priority=True),
        Binding("ctrl+t", "preset", "Next preset", id="form.preset", priority=True),
    ]
    DEFAULT_CSS = """
    Form {
        align: center middle;
        background: $background 60%;
        & > #box {
            width: 96;
            max-width: 96%;
            height: auto;
            max-height: 90%;
            padding: 0 1;
            background: $surface;
            border: round $primary;
            border-title-color: $text-primary;
            border-title-style: bold;
            border-subtitle-color: $foreground-muted;
            & VerticalScroll { height: auto; max-height: 1fr; }
            & .line { height: auto; }
            & .name { width: 20; color: $text; }
            & .head { width: 14; color: $foreground-muted; }
            & Input { width: 13; margin-right: 1; background: $boost; }
            & .meaning { width: 1fr; height: auto; color: $foreground-muted; }
            & .presets { color: $foreground-muted; margin-top: 1; height: auto; }
            & .problem { color: $text-error; display: none; height: auto; }
            &.-refused .problem { display: block; }
        }
    }
    """

    def __init__(
        self,
        title: str,
        fields: Sequence[Field],
        problem_of: Callable[[str, str], str | None],
        *,
        columns: Sequence[str] = ("",),
        presets: Sequence[Preset] = (),
    ) -> None:
        super().__init__()
        self._title = title
        self._fields = fields
        self._problem_of = problem_of
        self._columns = columns
        self._presets = presets
        self._preset = -1

    def compose(self) -> ComposeResult:
        with Vertical(id="box") as box:
            box.border_title = plain(self._title)
            box.border_subtitle = "Enter takes them, Esc leaves it"
            with VerticalScroll(can_focus=False):
                if len(self._columns) > 1:
                    with Horizontal(classes="line"):
                        yield Static(classes="name")
                        for column in self._columns:
                            yield Static(content(column), classes="head")
                for field in self._fields:
                    with Horizontal(classes="line"):
                        yield Static(content(field.name), classes="name")
                        for number, value in enumerate(field.values):
                            shown = plain(value, limit=1_000)
                            yield Input(shown, compact=True, id=f"{field.name}-{number}", select_on_focus=False)
                        yield Static(content(field.meaning), classes="meaning")
            if self._presets:
                yield Static(self._about_presets(), classes="presets")
            yield Static(classes="problem")

    def _about_presets(self) -> str:
        names = ", ".join(preset.name for preset in self._presets)
        return f"ctrl+t puts in: {names}."

    @property
    def values(self) -> list[dict[str, str]]:
        """What stands in the form, by column."""
        return [
            {field.name: self.query_one(f"#{field.name}-{number}", Input).value.strip() for field in self._fields}
            for number in range(len(self._columns))
        ]

    @on(Input.Changed)
    def _changed(self) -> None:
        self.query_one("#box").remove_class("-refused")

    def action_preset(self) -> None:
        """Put the values of the next preset in."""
        if self._presets:
            self._preset = (self._preset + 1) % len(self._presets)
            preset = self._presets[self._preset]
            for name, value in preset.values.items():
                for number in range(len(self._columns)):
                    self.query_one(f"#{name}-{number}", Input).value = value
            self.query_one(".presets", Static).update(content(f"{preset.name}. {self._about_presets()}"))

    @on(Input.Submitted)
    def action_take(self) -> None:
        """Close with what stands in the form, unless something of it cannot be taken."""
        for number, column in enumerate(self.values):
            for name, value in column.items():
                problem = self._problem_of(name, value)
                if problem is not None:
                    self.query_one(".problem", Static).update(content(problem))
                    self.query_one("#box").add_class("-refused")
                    self.query_one(f"#{name}-{number}", Input).focus()
                    return
        self.dismiss(self.values)

    def action_leave(self) -> None:
        """Close without an answer."""
        self.dismiss(None)
