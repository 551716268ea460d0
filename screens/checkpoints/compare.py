"""Two checkpoints side by side: their figures, the settings in which they differ, their answers word by word."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from engine.runs.entries import CheckpointEntry
from screens.checkpoints.columns import FIGURES, number
from screens.checkpoints.facts import title
from tui.console_screen import ConsoleScreen
from tui.display import plain, truncate
from tui.widgets.cells import Piece, length
from tui.widgets.chart.axis import format_value
from tui.widgets.rows_pane import RowsPane, scroll_bindings
from tui.widgets.text_rows import wrapped

if TYPE_CHECKING:
    from engine.runs.comparing import Answer, Comparison, Figure

Rows = list[list[Piece]]
_VALUE = 14
"""Cells of a figure."""
_LABEL = 20
"""Cells of what a figure is called: `tokens_per_second` stays whole."""
_MANY = 120
"""Width from which two answers stand beside each other."""


class ComparePane(RowsPane):
    """The comparison."""

    HELP = "Figures in green are the better ones. Of the answers, the words that only one has are marked."
    BINDINGS: ClassVar[list[BindingType]] = scroll_bindings("compare")  # type: ignore[assignment]


class CompareScreen(ConsoleScreen):
    """What differs between two checkpoints.

    Args:
        workspace: Folder with `runs/`.
        before: One of them; it stands at the left.
        after: The other.
    """

    TITLE = "Compare"
    HELP = "Two checkpoints side by side. What is the same in both is left out of the settings."
    AUTO_FOCUS = "ComparePane"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("s", "swap", "Swap sides", id="compare.swap", tooltip="What was at the left is at the right"),
        Binding("y", "copy_view", "Copy", id="compare.copy", tooltip="Copy the comparison as plain text"),
    ]

    def __init__(self, workspace: Path, before: CheckpointEntry, after: CheckpointEntry) -> None:
        super().__init__(workspace)
        self.sides = (before, after)
        self.found: Comparison | None = None
        self._pane = ComparePane(name="the comparison")

    @work(exclusive=True, group="compare", description="Comparing two checkpoints", exit_on_error=False)
    async def compare(self) -> None:
        """Read what there is to compare."""
        from engine.runs.comparing import compare  # settings are 0.2 s that only this needs

        self.found = await asyncio.to_thread(compare, *self.sides)
        self.show_all()

    def on_mount(self) -> None:
        self.show_all()
        self.compare()

    def action_swap(self) -> None:
        """Exchange the sides."""
        self.sides = (self.sides[1], self.sides[0])
        self.found = None
        self.compare()

    def step_out(self) -> bool:
        self.app.pop_screen()
        return True

    def compose_body(self) -> ComposeResult:
        yield self._pane

    def show_all(self) -> None:
        """Put what is known on screen."""
        before, after = (plain(one.spec, limit=100) for one in self.sides)
        self.sub_title = f"{before} with {after}"
        self._pane.show(lambda width: comparison_rows(self.sides, self.found, width), self.sides)

    def plain_text(self) -> str:
        """Return the comparison as text."""
        rows = comparison_rows(self.sides, self.found, 120)
        return "\n".join("".join(text for text, _ in row).rstrip() for row in rows) + "\n"


def comparison_rows(sides: Sequence[CheckpointEntry], found: Comparison | None, width: int) -> Rows:
    """Return the comparison in rows.

    Args:
        sides: The two, the left one first.
        found: None while it is being read.
        width: Of a row.
    """
    if found is None:
        return [[("Reading ...", "m")]]
    rows = _figures(sides, found, width)
    rows += [[], *_settings(sides, found, width), *_notes(sides, found, width), []]
    return rows + _answers(sides, found, width)


def _figures(sides: Sequence[CheckpointEntry], found: Comparison, width: int) -> Rows:
    value = max(8, min(_VALUE * 2, (width - _LABEL - 12) // 2))
    one_run = sides[0].run == sides[1].run
    called = [plain(one.name if one_run else one.spec, limit=120) for one in sides]
    names = [truncate(name, value - 2, keep="ends") for name in called]
    rows: Rows = [[(f"{'figures':<{_LABEL}}", "a"), *((f"{name:>{value}}", "v") for name in names)]]
    rows.append(_row("step", [f"{one.step:,}" for one in sides], value))
    if all(one.epoch is not None for one in sides):
        rows.append(_row("epoch", [f"{one.epoch:.2f}" for one in sides], value))
    order = [name for kind in FIGURES.values() for name in kind.names]
    known = sorted((one for one in found.figures if one.name in order), key=lambda one: order.index(one.name))
    others = [one for one in found.figures if one.name not in order]
    return [*rows, *(_figure_row(one, value) for one in known), *(_other_row(one, value) for one in others)]


def _row(label: str, values: Sequence[str], value: int) -> list[Piece]:
    return [(f"{label:<{_LABEL}}", "m"), *((f"{text:>{value}}", " ") for text in values)]


def _figure_row(one: Figure, value: int) -> list[Piece]:
    row: list[Piece] = [(f"{truncate(title(one.name), _LABEL - 2):<{_LABEL}}", "m")]
    for side, amount in (("left", one.left), ("right", one.right)):
        text = number(amount, 4, value) if amount is not None else "-"
        row.append((f"{text:>{value}}", "g" if one.better == side else " " if amount is not None else "m"))
    if one.left is not None and one.right is not None and one.left != one.right:
        difference = one.right - one.left
        row.append((f"{number(difference, 4, 9) if difference < 0 else '+' + number(difference, 4, 9):>11}", "m"))
    return row


def _other_row(one: Figure, value: int) -> list[Piece]:
    """Return a figure that has no column: in as many digits as it needs."""
    row: list[Piece] = [(f"{truncate(title(one.name), _LABEL - 2):<{_LABEL}}", "m")]
    for side, amount in (("left", one.left), ("right", one.right)):
        text = truncate(format_value(amount) if amount is not None else "-", value)
        row.append((f"{text:>{value}}", "g" if one.better == side else "m"))
    return row


def _settings(sides: Sequence[CheckpointEntry], found: Comparison, width: int) -> Rows:
    head: list[Piece] = [("settings", "a")]
    if not found.settings:
        same = "they are of one run" if sides[0].run == sides[1].run else "none that is known differs"
        return [[*head, (f"  {same}", "m")]]
    label = min(max(len(one.key) for one in found.settings), max(12, width // 3)) + 2
    rows: Rows = [[*head, (f"  {len(found.settings)} differ", "m")]]
    for one in found.settings:
        pieces = [(_short(one.before), " "), (" → ", "m"), (_short(one.after), "v")]
        for index, line in enumerate(wrapped(pieces, max(8, width - label))):
            key = truncate(plain(one.key, limit=80), label - 2) if index == 0 else ""
            rows.append([(f"{key:<{label}}", "m"), *line])
    return rows


def _notes(sides: Sequence[CheckpointEntry], found: Comparison, width: int) -> Rows:
    """Return what could not be compared; that one run has one configuration is said already."""
    rows: Rows = []
    for note in found.notes:
        if sides[0].run != sides[1].run or "settings" not in note:
            rows += wrapped([("! ", "w"), (plain(note, limit=400), "w")], max(8, width), 2)
    return [[], *rows] if rows else []


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, list | tuple):
        return ", ".join(_short(one) for one in value) or "nothing"
    return plain(str(value), limit=200)


def _answers(sides: Sequence[CheckpointEntry], found: Comparison, width: int) -> Rows:
    both = [one for one in found.answers if one.left is not None and one.right is not None]
    if not both:
        return [[("answers", "a"), ("  none to the same prompts", "m")]]
    differ = sum(not one.same for one in both)
    rows: Rows = [[("answers", "a"), (f"  {differ} of {len(both)} differ; words that only one has are marked", "m")]]
    labels = [_called(one, sides) for one in sides]
    for one in both:
        rows += _answer(one, labels, width)
    return rows


def _called(side: CheckpointEntry, sides: Sequence[CheckpointEntry]) -> str:
    same = sides[0].run == sides[1].run
    return truncate(plain(f"step {side.step:,}" if same else side.run, limit=80), 16, keep="ends")


def _answer(one: Answer, labels: Sequence[str], width: int) -> Rows:
    tag: list[Piece] = [(f"{plain(one.set, limit=20)} ", "a")] if one.set else []
    rows: Rows = [[], *wrapped([*tag, (plain(one.prompt), "m")], max(8, width), 2)]
    if one.same:
        return [*rows, *wrapped([("both  ", "m"), (plain(one.left or "") or "(empty)", " ")], max(8, width), 6)]
    old = [(plain(piece.text), "w" if piece.side == "left" else " ") for piece in one.pieces if piece.side != "right"]
    new = [(plain(piece.text), "g" if piece.side == "right" else " ") for piece in one.pieces if piece.side != "left"]
    old, new = (words or [("(empty)", "m")] for words in (old, new))
    if width >= _MANY:
        half = (width - 3) // 2
        return rows + _beside(wrapped(old, half), wrapped(new, half), half)
    label = max(len(text) for text in labels) + 2
    for text, words in ((labels[0], old), (labels[1], new)):
        rows += wrapped([(f"{text:<{label}}", "m"), *words], max(8, width), label)
    return rows


def _beside(left: Rows, right: Rows, half: int) -> Rows:
    rows: Rows = []
    for index in range(max(len(left), len(right))):
        one = left[index] if index < len(left) else []
        other = right[index] if index < len(right) else []
        rows.append([*one, (" " * (half - length(one)), " "), (" │ ", "o"), *other])
    return rows
