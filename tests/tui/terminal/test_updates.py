"""Thrifty updates: fewer bytes, and the same screen."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pyte
import pytest
from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual._compositor import LayoutUpdate
from textual.app import App, ComposeResult
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip
from textual.widgets import Static

from tui.terminal.updates import PLAIN, FullUpdate, PartialUpdate, Pen, ThriftyCompositor, change, pen_of

WIDTH, HEIGHT = 40, 8


class Thrifty(Screen[None]):
    def __init__(self) -> None:
        super().__init__()
        self._compositor = ThriftyCompositor()

    def compose(self) -> ComposeResult:
        yield Static("\n".join("abcdefgh"))


class Shows(App[None]):
    def on_mount(self) -> None:
        self.push_screen(Thrifty())


def cells(*sequences: str) -> list[tuple[object, ...]]:
    """What a terminal shows: of blanks the background and what shows on them."""
    screen = pyte.Screen(WIDTH, HEIGHT)
    stream = pyte.Stream(screen)
    for sequence in sequences:
        stream.feed(sequence)
    shown: list[tuple[object, ...]] = []
    for y in range(HEIGHT):
        for x in range(WIDTH):
            cell = screen.buffer[y][x]
            seen = (cell.underscore, cell.reverse, cell.strikethrough)
            if cell.data == " " and not any(seen):
                shown.append((" ", cell.bg))
            else:
                shown.append((cell.data, cell.fg, cell.bg, cell.bold, cell.italics, *seen))
    return shown


def random_style(rolls: random.Random) -> Style | None:
    colours = ["red", "bright_blue", "#112233", "#99aabb", "color(200)", "default", None]
    return rolls.choice([
        None,
        Style(
            color=rolls.choice(colours), bgcolor=rolls.choice(colours), bold=rolls.choice([True, False, None]),
            italic=rolls.choice([True, None]), underline=rolls.choice([True, None]),
            reverse=rolls.choice([True, None]), strike=rolls.choice([True, None]),
        ),
    ])  # fmt: skip


def random_strip(rolls: random.Random, width: int) -> Strip:
    segments = []
    while width:
        length = rolls.randint(1, min(width, 9))
        text = rolls.choice([" " * length, "".join(rolls.choice("abc⣿┈ ") for _ in range(length))])
        segments.append(Segment(text, random_style(rolls)))
        width -= length
    return Strip(segments)


@pytest.fixture(params=[ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT, ColorSystem.STANDARD], ids=lambda s: s.name)
def console(request: pytest.FixtureRequest) -> Console:
    console = Console(force_terminal=True)
    console._color_system = request.param
    return console


def test_a_full_update_shows_what_textual_would_show_in_fewer_bytes(console: Console) -> None:
    for seed in range(20):
        rolls = random.Random(seed)
        strips: list[Iterable[Strip]] = [[random_strip(rolls, 25), random_strip(rolls, 15)] for _ in range(HEIGHT)]
        theirs = LayoutUpdate(strips, Region(0, 0, WIDTH, HEIGHT))
        ours = FullUpdate(strips, theirs.region).render_segments(console)
        assert cells(ours) == cells(theirs.render_segments(console))
        assert len(ours) < len(theirs.render_segments(console))


def test_a_partial_update_sends_the_dirty_cells_and_no_others(console: Console) -> None:
    for seed in range(40):
        rolls = random.Random(seed)
        chops = [{0: random_strip(rolls, 25), 25: random_strip(rolls, 15)} for _ in range(HEIGHT)]
        ends = [[25, 40]] * HEIGHT
        spans = []
        for y in sorted(rolls.sample(range(HEIGHT), 4)):
            x1 = rolls.randrange(WIDTH - 1)
            spans.append((y, x1, rolls.randint(x1 + 1, WIDTH)))
        old: list[Iterable[Strip]] = [[random_strip(rolls, WIDTH)] for _ in range(HEIGHT)]
        before = LayoutUpdate(old, Region(0, 0, WIDTH, HEIGHT)).render_segments(console)
        ours = PartialUpdate(chops, spans, ends).render_segments(console)
        whole = LayoutUpdate([list(line.values()) for line in chops], Region(0, 0, WIDTH, HEIGHT))
        was, new, got = cells(before), cells(whole.render_segments(console)), cells(before, ours)
        for y in range(HEIGHT):
            for x in range(WIDTH):
                dirty = any(row == y and x1 <= x < x2 for row, x1, x2 in spans)
                at = y * WIDTH + x
                assert got[at] == (new if dirty else was)[at], (seed, x, y)


@pytest.mark.parametrize(
    ("sgr", "pen"),
    [
        ("", PLAIN),
        ("1;38;2;1;2;3;48;5;9", Pen(frozenset("1"), "38;2;1;2;3", "48;5;9")),
        ("4;91;103", Pen(frozenset("4"), "91", "103")),
        ("7;37;40", Pen(frozenset("7"), "37", "40")),
        ("39;49", PLAIN),
    ],
)
def test_a_pen_is_read_from_its_sequence(sgr: str, pen: Pen) -> None:
    assert pen_of(sgr) == pen


def test_bold_that_ends_does_not_take_dim_with_it() -> None:
    both, dim = Pen(frozenset("12")), Pen(frozenset("2"))
    assert change(both, dim) == "\x1b[22;2m"
    assert change(dim, both) == "\x1b[1m"
    assert change(both, PLAIN) == "\x1b[0m"
    assert change(dim, dim) == ""


async def test_of_a_widget_only_the_rows_that_are_sent_are_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Shows().run_test(size=(WIDTH, HEIGHT)) as pilot:
        await pilot.pause()
        screen = pilot.app.screen
        whole = screen._compositor.render_strips()
        asked: list[Region] = []
        render_lines = Static.render_lines

        def noted(widget: Static, crop: Region) -> list[Strip]:
            asked.append(crop)
            return render_lines(widget, crop)

        monkeypatch.setattr(Static, "render_lines", noted)
        screen._compositor._dirty_regions.add(Region(0, 3, 4, 2))
        update = screen._compositor.render_partial_update()
        assert update is not None
        assert [(crop.y, crop.height) for crop in asked] == [(3, 2)]
        sent = ["".join(strip.text for strip in update.chops[y].values() if strip is not None) for y in (3, 4)]
        assert sent == [whole[y].text for y in (3, 4)]
        assert sent[0].strip() == "d"


@pytest.mark.parametrize("lines", [0, 3])
async def test_what_a_widget_does_not_draw_is_drawn_by_what_is_behind_it(
    monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    async with Shows().run_test(size=(WIDTH, HEIGHT)) as pilot:
        await pilot.pause()
        render_lines = Static.render_lines
        monkeypatch.setattr(Static, "render_lines", lambda widget, crop: render_lines(widget, crop)[:lines])
        update = pilot.app.screen._compositor.render_full_update()
        assert isinstance(update, FullUpdate)
        shown = ["".join(strip.text for strip in line) for line in update.strips]
        assert [line.strip() for line in shown] == [*"abc"[:lines], *[""] * (HEIGHT - lines)]
