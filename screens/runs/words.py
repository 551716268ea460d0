"""The sentences of the list: how much is going on, and what to do where there is nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from textual.geometry import Size

from engine.runs.summary import RunSummary, age_text
from screens.runs.columns import percent, when
from tui.display import plain
from tui.widgets.cells import Cells, Piece, cut, fitted, length
from tui.widgets.chart.glyphs import GlyphSet
from tui.widgets.words import SIGNS, number_of, time_left


def tally(summaries: Collection[RunSummary], listed: int | None = None) -> str:
    """Return how many runs there are: "2 running, 1 paused, 14 in all".

    Args:
        summaries: Every run.
        listed: How many a filter has left; None without a filter.
    """
    if not summaries:
        return ""
    parts = []
    for state in ("starting", "running", "paused", "stopping"):
        count = sum(summary.state == state for summary in summaries)
        if count:
            parts.append(f"{count} {state}")
    runs = "1 run" if len(summaries) == 1 else f"{len(summaries):,} runs"
    parts.append(runs if listed is None else f"{listed:,} of {runs}")
    return ", ".join(parts)


def in_a_line(
    summaries: Sequence[RunSummary], now: float, width: int, height: int, glyphs: GlyphSet
) -> list[list[Piece]]:
    """Return what is going on in one row, or in two where there is room for them.

    Args:
        summaries: Every run, those at work first.
        now: Unix seconds.
        width: Of a row.
        height: Rows there are.
        glyphs: What can be drawn.
    """
    if not summaries:
        return [fitted([[("no runs yet", "v")], [("d", "k"), (" starts the demo", " ")]], width, gap=2)]
    active = sum(summary.active for summary in summaries)
    first = next((summary for summary in summaries if summary.state == "running"), summaries[0])
    sign, ascii_sign, style = SIGNS[first.state]
    running = [(f"{active} at work" if active else f"{number_of(len(summaries), 'run')}, none at work", "v")]
    name = [(f"{ascii_sign if glyphs == 'ascii' else sign} ", style), (plain(first.name, limit=80), " ")]
    told: list[list[Piece]] = [[*name, (f" {percent(first)}", "v")]] if percent(first) else [name]
    if first.state == "running" and first.eta_seconds is not None:
        told.append([(f"{time_left(first.eta_seconds)} left", " ")])
    elif not first.active:
        told.append([(when(first, now), "m")])
    if first.loss is not None:
        told.append([("loss ", "m"), (f"{first.loss:.3g}", " ")])
    if height < 3 or length([piece for group in (running, *told) for piece in group]) + 2 * len(told) <= width:
        return [fitted([running, *told], width, gap=2)]
    return [cut(running, width), fitted(told, width, gap=2)]


class SummaryLine(Cells):
    """What is going on, where there is room for little else."""

    DEFAULT_CSS = "SummaryLine { height: auto; max-height: 2; padding: 0; }"
    summaries: Sequence[RunSummary] = ()
    now = 0.0

    def __init__(self, glyphs: GlyphSet) -> None:
        super().__init__()
        self._glyphs = glyphs

    def show(self, summaries: Sequence[RunSummary], now: float) -> None:
        """Draw what differs; the layout changes only with the number of rows."""
        self.summaries, self.now = summaries, now
        if self.size.height and self.size.height != self.get_content_height(self.size, self.app.size, self.size.width):
            self.refresh(layout=True)
        self.redraw()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        del container
        return max(1, len(in_a_line(self.summaries, self.now, width, viewport.height, self._glyphs)))

    def pieces(self, width: int, height: int) -> list[list[Piece]]:
        return in_a_line(self.summaries, self.now, width, self.app.size.height, self._glyphs)[:height]


def nothing_yet(folder: str, *, reading: bool) -> list[tuple[str, str]]:
    """Return what an empty list says: a key and what it does, " " for more about it; ("", text) is a paragraph.

    Args:
        folder: Where runs are kept.
        reading: It is not known yet whether there are any.
    """
    if reading:
        return [("", f"Reading {plain(folder)} ...")]
    return [
        ("", "No runs yet."),
        ("d", "Start the demo. The built-in model is fine-tuned before your eyes, in about two minutes and without "
              "the network, until it refuses what came after its cutoff."),
        ("n", "Set up a run of your own: a form with every setting, checked as you type."),
        ("D", "Look at your data first: every row as the model will see it, and what is wrong with which."),
        ("$", "ftconsole train RUN.yaml"),
        (" ", "In a shell: starts a run of your own. It appears here by itself."),
        ("?", "Every key and what it does."),
        ("", f"Runs are kept in {plain(folder)}"),
    ]  # fmt: skip


def nothing_found(query: str) -> list[tuple[str, str]]:
    """Return what a list says that a filter has left empty."""
    return [("", f"No run matches {plain(query, limit=60)!r}."), ("Esc", "Show all again.")]


def since(summary: RunSummary, now: float) -> str:
    """Return how long ago a run was made; empty when that is not known."""
    return f"{age_text(summary.created, now)} ago" if summary.created else ""
