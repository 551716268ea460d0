"""Foreign text is shown, never obeyed, on every surface the console has."""

from __future__ import annotations

import io
import random
from typing import ClassVar

import pytest
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, Footer, Label, Log, OptionList, RichLog, Static, Tree

from tui.display import StreamCleaner, cell_len, content, for_terminal, plain, rich_text, truncate

PAYLOADS = {
    "title": "\x1b]0;OWNED\x07",
    "clipboard": "\x1b]52;c;T1dORUQ=\x1b\\",
    "clear": "\x1b[2J",
    "c1": "\x9b2J\x90q\x9c",
    "nul": "a\x00b",
    "link": "\x1b]8;;http://owned\x1b\\x\x1b]8;;\x1b\\",
    "newline": "one\rtwo\x0bthree\x85four",
    "direction": "run\u202etxt.exe\u2066\u200f",
    "invisible": "a\u200bb\ufeffc\U000e0041d\u2028e",
    "delete": "x\x7f\x08y",
    "surrogate": "lone \ud83d half",
}
MARKUP = {
    "instruction": "[INST] hi [/INST]",
    "closing tag": "[/s]",
    "thought": "x [/think] [/2]",
    "click": "[@click=app.owned]press[/]",
    "link markup": "[link=http://owned]press[/link]",
    "colour": "[red on blue]x",
    "open bracket": "[b + ",
    "backslash": "ends in \\",
    "dollar": "$error [$x]",
}
ALL = PAYLOADS | MARKUP
ACTS = {chr(code) for code in [*range(0x20), *range(0x7F, 0xA0)]} - {"\n", "\t"}


@pytest.mark.parametrize("text", PAYLOADS.values(), ids=PAYLOADS)
def test_nothing_that_acts_is_left(text: str) -> None:
    for shown in (plain(text), plain(text, lines=9), for_terminal(text)):
        assert not ACTS & set(shown)
        assert not any(character in shown for character in "\u202e\u2066\u200b\u200f\ufeff\u2028\ud83d\U000e0041")
        shown.encode()


def test_what_acts_is_spelled_out_so_that_it_can_be_seen() -> None:
    assert plain("\x1b[2J\x9b\x00\u202e\U000e0041") == r"\x1b[2J\x9b\x00\u202e\U000e0041"


def test_ordinary_text_of_many_scripts_stays_as_it_is() -> None:
    text = "naïve 日本語 Ελληνικά 👩 می\u200cخواهم ⠋ │"
    assert plain(text) == text


def test_emoji_keep_their_picture_and_lose_what_terminals_measure_differently() -> None:
    assert plain("⚠\ufe0f 1\ufe0f\u20e3 👩\u200d💻 🏳\ufe0f\u200d🌈") == "⚠ 1\u20e3 👩💻 🏳🌈"
    assert plain("a\ufe0fb\u200dc") == r"a\ufe0fb\u200dc"


def test_one_line_shows_its_line_breaks() -> None:
    assert plain("a\r\nb\nc\td") == "a⏎b⏎c d"
    assert plain("a\rb") == r"a\rb".replace(r"\r", r"\x0d")


def test_many_lines_keep_their_line_breaks_and_tab_stops() -> None:
    assert plain("a\r\nb\tc\n", lines=5) == "a\nb   c\n"


def test_a_long_text_says_how_much_was_left_out() -> None:
    assert plain("x" * 1_005, limit=1_000) == "x" * 1_000 + " … 5 more characters"
    assert plain("a\nb\nc\nd", lines=2) == "a\nb\n… 2 more lines, 3 more characters"
    assert plain("a\nb\n", lines=2) == "a\nb\n"


def test_only_the_part_that_is_shown_is_looked_at() -> None:
    huge = "\x1b\n" * 2_500_000
    assert len(plain(huge, lines=3)) < 100
    assert len(plain(huge)) < 200_000


@pytest.mark.parametrize("seed", range(20))
def test_pieces_joined_are_what_is_shown_of_the_whole(seed: int) -> None:
    draw = random.Random(seed)
    whole = "".join(
        draw.choices([*ALL.values(), "👩\u200d💻", "⚠\ufe0f\ufe0f", "\r\n", "می\u200cخ", "\ud83d\ude00", "é"], k=60)
    )
    cleaner, shown = StreamCleaner(), ""
    position = 0
    while position < len(whole):
        size = draw.choice([1, 1, 2, 3, 17])
        shown += cleaner.feed(whole[position : position + size])
        position += size
    shown += cleaner.finish()
    assert shown == for_terminal(whole, encoding="utf-8")


def test_bytes_cut_inside_a_character_are_joined_and_wrong_bytes_are_shown() -> None:
    cleaner = StreamCleaner()
    raw = "日\x1b[".encode() + b"\x9b2J\xff"
    assert "".join(cleaner.feed(raw[i : i + 1]) for i in range(len(raw))) + cleaner.finish() == r"日\x1b[\x9b2J\xff"


def test_print_never_fails_for_want_of_a_character() -> None:
    for encoding in ("ascii", "iso-8859-1", "utf-8"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        print(for_terminal("é 日 │ \ud800", encoding=encoding), file=stream, flush=True)
    assert for_terminal("é 日", encoding="iso-8859-1") == r"é \u65e5"


@pytest.mark.parametrize(
    ("keep", "expected"), [("start", "日本…"), ("end", "…語x"), ("ends", "日…x")], ids=["start", "end", "ends"]
)
def test_a_truncated_text_fits_its_cells(keep: str, expected: str) -> None:
    assert truncate("日本語x", 5, keep=keep) == expected
    assert all(cell_len(truncate("日本語 text", width, keep=keep)) <= max(width, 0) for width in range(-1, 13))


class EverySurface(App[None]):
    """Shows one text wherever the console shows text."""

    BINDINGS: ClassVar = [Binding("f9", "bell", "placeholder")]

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.owned = 0
        self._bindings.key_to_bindings["f9"] = [Binding("f9", "bell", plain(text), key_display=plain(text))]

    def action_owned(self) -> None:
        self.owned += 1

    def compose(self) -> ComposeResult:
        yield Static(content(self.text), id="static")
        yield Label(content(self.text), id="label")
        yield DataTable[Content]()
        yield OptionList()
        yield RichLog()
        yield Log()
        yield Tree[None](rich_text(self.text))
        yield Footer()

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        table.add_column(rich_text(self.text, lines=1))
        table.add_row(content(self.text, lines=1))
        self.query_one(OptionList).add_option(content(self.text))
        self.query_one(RichLog).write(content(self.text))
        self.query_one(Log).write_line(plain(self.text))
        self.query_one(Tree).root.add_leaf(rich_text(self.text, lines=1))
        self.query_one("#static", Static).border_title = content(self.text, lines=1).markup
        self.notify(plain(self.text), title=plain(self.text), markup=False, timeout=60)


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
async def test_no_surface_obeys(text: str) -> None:
    app = EverySurface(text)
    async with app.run_test(size=(100, 60)) as pilot:
        await pilot.pause()
        frame = app.screen._compositor.render_full_update()
        drawn = frame.render_segments(app.console)
        for payload in ("]0;", "]52;", "[2J", "]8;"):
            assert f"\x1b{payload}" not in drawn
        assert not {"\x00", "\x07", "\x08", "\x7f", "\x9b", "\x90", "\u202e", "\u200b"} & set(drawn)
        for widget in app.screen.walk_children(Widget):
            for y in range(widget.region.y, widget.region.bottom):
                for x in range(widget.region.x, min(widget.region.right, 40)):
                    assert "@click" not in app.screen.get_style_at(x, y).meta
        assert app.owned == 0
