"""Text out of tokens as they come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tokenizers import Tokenizer, decoders, models

from engine.chat.streamed_text import StreamedText
from engine.workspace import shipped_folder


@pytest.fixture(scope="module")
def tiny() -> Tokenizer:
    return Tokenizer.from_file(str(shipped_folder() / "models" / "tiny" / "tokenizer.json"))


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    """Return a tokenizer of the SentencePiece kind, whose words carry their space and which falls back to bytes."""
    words = ["▁Hello", "▁world", "!", "▁a", "b", "▁", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(["</s>"])
    return tokenizer


def number_of(tokenizer: Tokenizer, word: str) -> int:
    number = tokenizer.token_to_id(word)
    assert number is not None
    return number


def streamed(tokenizer: Tokenizer, ids: list[int], stop: tuple[str, ...] = ()) -> Iterator[str]:
    text = StreamedText(lambda part: tokenizer.decode(part, skip_special_tokens=True), stop=stop)
    for number in ids:
        yield text.push(number)
        if text.stopped:
            return
    yield text.finish()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Plain words, and more of them.", id="words"),
        pytest.param("Grüße aus Zürich, 日本語 und 🙂👩‍👩‍👧‍👦!", id="characters of several bytes"),
        pytest.param("\x1b[31mred\x1b[0m [bold]not bold[/bold] <b>&amp;", id="escape sequences and markup"),
        pytest.param("  two spaces\n\n\tand a tab ", id="white space at both ends"),
        pytest.param("", id="nothing"),
    ],
)
def test_the_pieces_make_the_whole(tiny: Tokenizer, text: str) -> None:
    got = list(streamed(tiny, tiny.encode(text, add_special_tokens=False).ids))
    assert "".join(got) == text
    assert not any("\ufffd" in piece for piece in got)


def test_the_space_between_words_is_kept_and_the_first_left_out(pieces: Tokenizer) -> None:
    ids = [number_of(pieces, word) for word in ("▁Hello", "▁world", "!", "▁a", "b")]
    assert list(streamed(pieces, ids)) == ["Hello", " world", "!", " a", "b", ""]


def test_a_character_of_four_bytes_arrives_whole(pieces: Tokenizer) -> None:
    ids = [number_of(pieces, f"<0x{byte:02X}>") for byte in "🙂é".encode()]
    assert [piece for piece in streamed(pieces, ids) if piece] == ["🙂", "é"]


def test_half_a_character_at_the_end_is_shown_as_what_it_is(pieces: Tokenizer) -> None:
    ids = [number_of(pieces, "▁Hello"), number_of(pieces, "<0xF0>")]
    assert "".join(streamed(pieces, ids)) == "Hello\ufffd"


def test_bytes_that_never_make_a_character_do_not_hold_up_the_rest(pieces: Tokenizer) -> None:
    ids = [number_of(pieces, "<0xFF>")] * 40
    got = list(streamed(pieces, ids))
    assert any(got[:20])
    assert set("".join(got)) == {"\ufffd"}


def test_special_tokens_are_not_shown(tiny: Tokenizer) -> None:
    ids = tiny.encode("one<|im_end|>two", add_special_tokens=False).ids
    assert "".join(streamed(tiny, ids)) == "onetwo"


@pytest.mark.parametrize(
    ("stop", "left"),
    [
        pytest.param(("\n\n",), "first", id="two new lines"),
        pytest.param(("cond",), "first\n\nse", id="inside a word"),
        pytest.param(("third", "second"), "first\n\n", id="the earliest of several"),
        pytest.param(("first",), "", id="at the beginning"),
        pytest.param(("missing",), "first\n\nsecond", id="one that does not come"),
        pytest.param(("secondary",), "first\n\nsecond", id="one that only begins"),
        pytest.param(("",), "first\n\nsecond", id="an empty one"),
    ],
)
def test_a_stop_string_ends_the_text_before_it(tiny: Tokenizer, stop: tuple[str, ...], left: str) -> None:
    ids = tiny.encode("first\n\nsecond", add_special_tokens=False).ids
    assert "".join(streamed(tiny, ids, stop)) == left


def test_what_may_become_a_stop_string_waits(tiny: Tokenizer) -> None:
    text = StreamedText(tiny.decode, stop=("END",))
    said = [text.push(number) for number in tiny.encode("aEN", add_special_tokens=False).ids]
    assert "".join(said) == "a"
    assert text.finish() == "EN"


def test_an_answer_that_was_begun_goes_on_where_it_stands(pieces: Tokenizer) -> None:
    before = [number_of(pieces, "▁Hello")]
    text = StreamedText(pieces.decode, before=before)
    assert text.push(number_of(pieces, "▁world")) == " world"
