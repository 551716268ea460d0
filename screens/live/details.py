"""What a run is made of: its data, its checkpoints, its newest figures."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from screens.live.samples import behaviour_rows
from tui.display import plain
from tui.state import RunState, stage_name
from tui.widgets.text_rows import StyledText, as_content, as_text, cut_row
from tui.widgets.words import clock, count, day, size_text, value

_DROPPED_SHOWN = 20
_CHECKPOINTS_SHOWN = 40
_HEAD = "bold $text-primary"
_MUTED = "$foreground 60%"

Rows = list[list[StyledText]]


def details_rows(state: RunState, path: str) -> Rows:
    """Return everything as rows, in sections with a blank row between them."""
    sections = [_run(state, path), _data(state), _checkpoints(state), _figures(state), behaviour_rows(state.behaviour)]
    found: Rows = []
    for section in sections:
        if section:
            found += [*([[]] if found else []), *section]
    return found


def _pair(name: str, text: str) -> list[StyledText]:
    return [(f"{name:<12}", _MUTED), (text, "")]


def _run(state: RunState, path: str) -> Rows:
    rows: Rows = [[("Run", _HEAD)], _pair("name", plain(state.name))]
    if state.method:
        rows.append(_pair("trains", f"{plain(state.method, limit=40)} on {plain(state.model, limit=200)}"))
    for stage in state.stages:
        origin = f", from {stage.begins_with}" if stage.begins_with else ""
        compared = f", compared with {stage.reference}" if stage.reference else ""
        about = f"{stage_name(stage)} after step {stage.first_step:,}{origin}{compared}"
        rows.append(_pair(f"stage {stage.number}/{stage.count}", plain(about, limit=200)))
    if state.parent:
        rows.append(_pair("from", plain(state.parent, limit=100)))
    if state.created:
        rows.append(_pair("created", f"{day(state.created)} {clock(state.created)}"))
    if state.lifecycle.attempt > 1:
        rows.append(_pair("starts", str(state.lifecycle.attempt)))
    if state.num_parameters:
        share = state.num_trainable_parameters / state.num_parameters
        text = f"{state.num_parameters:,}, {state.num_trainable_parameters:,} of them trained ({share:.2%})"
        rows.append(_pair("parameters", text))
    if state.device:
        rows.append(_pair("device", f"{plain(state.device, limit=80)}, {plain(state.dtype, limit=40)}"))
    if state.damaged:
        rows.append(_pair("damaged", f"{state.damaged:,} lines of the event log could not be read"))
    return [*rows, _pair("folder", plain(path))]


def _data(state: RunState) -> Rows:
    if not state.data:
        return []
    rows: Rows = [
        [("Data", _HEAD)],
        [(f"{'split':<14}{'rows':>9}{'kept':>9}{'dropped':>9}{'tokens':>12}{'trained':>9}", _MUTED)],
    ]
    for split in state.data.values():
        share = split.num_trained_tokens / split.num_tokens if split.num_tokens else 0.0
        name = plain(split.split, limit=13)
        rows.append([
            (f"{name:<14}{split.rows_in:>9,}{split.rows_kept:>9,}", ""),
            (f"{split.rows_dropped:>9,}", "bold $text-warning" if split.rows_dropped else _MUTED),
            (f"{split.num_tokens:>12,}", ""), (f"{share:>9.0%}", ""),
        ])  # fmt: skip
    for split in state.data.values():
        for row in split.dropped[:_DROPPED_SHOWN]:
            where = f"{plain(str(row.get('path', '')), limit=200)}:{plain(str(row.get('line', '')), limit=20)}"
            rows.append([("  dropped ", "$text-warning"), (f"{where}  ", _MUTED),
                         (plain(str(row.get("reason", "")), limit=200), "")])  # fmt: skip
        if split.rows_dropped > _DROPPED_SHOWN:
            rows.append([(f"  and {split.rows_dropped - _DROPPED_SHOWN:,} more of {plain(split.split)}", _MUTED)])
    return rows


def _checkpoints(state: RunState) -> Rows:
    if not state.checkpoints:
        return []
    newest = sorted(state.checkpoints, key=lambda line: (line.step, line.path), reverse=True)
    rows: Rows = [[("Checkpoints", _HEAD)], [(f"{'step':>9}  {'size':>10}  {'why':<11}path", _MUTED)]]
    for line in newest[:_CHECKPOINTS_SHOWN]:
        style = "bold $text-success" if line.path in ("best", "final") else ""
        rows.append([
            (f"{line.step:>9,}  ", "bold"), (f"{size_text(line.used_bytes):>10}  ", ""),
            (f"{plain(line.reason, limit=10):<11}", _MUTED), (plain(line.path, limit=200), style),
        ])  # fmt: skip
    if len(newest) > _CHECKPOINTS_SHOWN:
        rows.append([(f"and {len(newest) - _CHECKPOINTS_SHOWN:,} older ones", _MUTED)])
    return rows


def _figures(state: RunState) -> Rows:
    figures = {**state.newest, **state.evaluation}
    if not figures:
        return []
    rows: Rows = [[("Newest figures", _HEAD)]]
    width = min(40, max(len(plain(name, limit=40)) for name in figures))
    for name, number in list(figures.items())[:100]:
        rows.append([(f"{plain(name, limit=40):<{width}}  ", _MUTED), (value(number), "")])
    rows.append([(f"{'tokens seen':<{width}}  ", _MUTED), (count(state.num_tokens), "")])
    return rows


class DetailsPane(VerticalScroll):
    """Scrolls over the sections."""

    HELP = "What the run is made of: data, checkpoints, newest figures."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j,down", "scroll_down", "Down", show=False, id="details.down"),
        Binding("k,up", "scroll_up", "Up", show=False, id="details.up"),
        Binding("ctrl+d", "page_down", "Page down", show=False, id="details.page-down"),
        Binding("ctrl+u", "page_up", "Page up", show=False, id="details.page-up"),
        Binding("g", "scroll_home", "Top", show=False, id="details.top"),
        Binding("G", "scroll_end", "End", show=False, id="details.end"),
    ]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.border_title = "Details"
        self._drawn: object = None

    def compose(self) -> ComposeResult:
        yield Static()

    def show(self, state: RunState, path: str) -> None:
        """Draw what is new. The figures of each step are, so this is for a pane that is on screen."""
        width = self.scrollable_content_region.width
        rows = [cut_row(row, width) for row in details_rows(state, path)] if width else []
        if rows != self._drawn:
            self._drawn = rows
            self.query_one(Static).update(as_content(rows))

    def text(self, state: RunState, path: str) -> str:
        """Everything as plain text."""
        return as_text(details_rows(state, path))
