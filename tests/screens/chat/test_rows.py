"""What a turn looks like as rows, and what may be said of it."""

from __future__ import annotations

import pytest

from engine.chat.asking import SIDES, Sampling, Side
from engine.chat.votes import Vote, is_swapped
from screens.chat.markdown_rows import markdown_rows
from screens.chat.sampling import FIELDS, PRESETS, as_fields, as_text, from_fields, from_text, problem_of
from screens.chat.talk import CHARACTERS, coming_figures, figures
from screens.chat.turn_rows import ComingRows, answer_rows, raw_rows, text_of
from screens.chat.twin import as_markdown, twin
from tests.screens.chat.stage import NAMES, NOW, a_talk, answer, coming
from tui.display import cell_len

LONG = "Some words of different length follow, " * 40 + "supercalifragilistic" * 9 + " and\n\n* a list\tof\n* two\nend"
ADDRESS = "https://example.org/" + "path/" * 30 + "?week=1&dish=eggs#boiled"


@pytest.mark.parametrize("width", [8, 21, 60])
@pytest.mark.parametrize("pieces", [1, 7, 400])
def test_an_answer_that_grows_shows_every_word_and_fits(width: int, pieces: int) -> None:
    rows = ComingRows(width)
    whole = coming(1, "left", LONG, pieces=pieces)
    shown = whole.shown[:]
    drawn: list[str] = []
    for end in range(1, len(shown) + 1):
        whole.shown = shown[:end]
        whole.pieces = end
        drawn = text_of(rows.rows(whole, NOW)).split("\n")
        assert all(cell_len(row) <= width for row in drawn)
    said = "".join("".join(drawn).split())
    assert "".join(LONG.split()) in said
    assert raw_rows(LONG.expandtabs(4), width)[:3] == rows._rows[:3]


def test_of_a_million_pieces_no_more_is_drawn_than_anybody_reads() -> None:
    whole, rows = coming(1, "left"), ComingRows(60)
    for _ in range(1_000_000):
        whole.take("token ", NOW)
    assert len(whole.text) == 6_000_000
    assert sum(map(len, whole.shown)) <= CHARACTERS
    drawn = rows.rows(whole, NOW)
    assert len(drawn) < CHARACTERS / 50
    assert "more than is shown" in text_of(drawn)
    assert len(rows.rows(whole, NOW)) == len(drawn)


@pytest.mark.parametrize("width", [8, 38, 100])
def test_markdown_fits_and_its_addresses_are_whole(width: int) -> None:
    text = f"# A heading\n\n[here]({ADDRESS}) and {ADDRESS}\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\n{ADDRESS}\n```"
    rows = markdown_rows(text, width)
    assert text_of(rows).split()[:2] == ["A", "heading"]
    assert not text_of(rows).startswith(" ")
    assert all(cell_len("".join(piece for piece, _ in row)) <= width for row in rows)
    assert "".join(text_of(rows).split()).count(ADDRESS) == 3


def test_words_that_differ_are_told_by_weight_and_the_rest_is_quiet() -> None:
    talk = a_talk(("Who?", "Leo Tolstoy wrote it in 1869.", "Leo Tolstoy wrote it in 1865."))
    turn = talk.thread[0]
    left, right = (turn.answer(side) for side in SIDES)
    assert left is not None
    row = answer_rows(left, right, 60, "differences")[0]
    assert [text.strip() for text, style in row if style == "v"] == ["1869."]
    assert {style for text, style in row if text.strip() != "1869."} == {"m"}


def test_figures_are_short_where_there_is_little_room() -> None:
    talk = a_talk(("Who?", "Tolstoy.", None))
    one = talk.thread[0].answer("left")
    assert one is not None
    assert figures(one) == "3 tokens · first after 81 ms · 48.2 tokens/s · ended"
    assert figures(one, room=38) == "3 tok · 81 ms · 48.2/s · ended"
    assert figures(one, hidden=True) == "ended"
    assert "pieces/s" not in coming_figures(coming(1, "left", "word " * 40), NOW, hidden=True)


def test_hidden_names_are_nowhere_before_the_vote() -> None:
    talk = a_talk(("Who?", "Tolstoy.", None), blind_seed=7)
    error = {"code": "out-of-memory", "message": "voice-1@best does not fit.", "remedy": "Load voice-1@best in 4 bits."}
    answer(talk.conversation, 1, "right", "Tol", reason="error", error=error)
    talk.coming["right"] = coming(1, "right", doing="loading voice-1@best")
    talk.doing = "loading voice-1@best"
    talk.path = "One model in memory: tiny and voice-1@best."
    said = twin(talk, NOW) + as_markdown(talk) + talk.path_shown + talk.doing_shown
    said += "".join(talk.head_at(place) + talk.name_at(place, talk.last) for place in SIDES)
    talk.coming.clear()
    for place in SIDES:
        one = talk.thread[0].answer(talk.side_at(place, 1))
        assert one is not None
        said += text_of(answer_rows(one, None, 60, "markdown", hidden=True)) + twin(talk, NOW)
    assert not [name for name in (*NAMES.values(), "voice-1", "48.2", "39.7", "81 ms") if name in said]
    talk.verdicts[1] = "tie"
    assert all(name in twin(talk, NOW) for name in NAMES.values())


@pytest.mark.parametrize("seed", range(6))
def test_votes_are_known_again_where_they_were_cast(seed: int) -> None:
    talk = a_talk(("Who?", "Tolstoy.", "Tolstoi."), blind_seed=seed)
    swapped = is_swapped(seed, 1)
    texts: dict[Side, str] = {"left": "Tolstoy.", "right": "Tolstoi."}
    vote = Vote("right", NAMES, texts, (), "by-hand", 1, swapped=swapped, seed=seed)
    other = Vote("tie", NAMES, texts, (), "another", 1)
    talk.take_votes([vote, other])
    place: Side = "left" if swapped else "right"
    assert talk.verdicts == {1: place}
    assert talk.head_at(place) == "voice-1@best"


SETTINGS = Sampling(0.2, 0.95, 40, 64, 7, ("###", "\n\n"), 1.1)


def test_sampling_is_text_and_back() -> None:
    assert from_text(as_text(SETTINGS), Sampling()) == SETTINGS
    assert from_fields(as_fields(SETTINGS)) == SETTINGS
    assert from_fields(as_fields(Sampling())) == Sampling()
    assert from_fields({**as_fields(SETTINGS), "seed": "", "stop": ""}).seed is None
    for values in PRESETS.values():
        assert not [name for name, value in values.items() if problem_of(name, value)]
    assert from_text("top_k=none seed=none stop=none repetition_penalty=none", SETTINGS) == Sampling(
        0.2, 0.95, None, 64
    )
    assert from_text("temperature=0", Sampling()).temperature == 0


@pytest.mark.parametrize("text", [
    "temperature=hot", "temperature=-1", "temperature=nan", "top_p=0", "top_p=1.1", "top_k=0", "top_k=1.5",
    "max_tokens=none", "max_tokens=0", "seed=-1", "stop=[1]", 'stop=["a"', 'stop=""', "nothing=1", "0.7",
    "temperature=1e999",
])  # fmt: skip
def test_what_is_no_setting_is_told_in_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"[.]$"):
        from_text(text, Sampling())


def test_every_setting_has_a_meaning() -> None:
    assert set(FIELDS) == set(Sampling.__dataclass_fields__)
