"""What the built-in model may and may not read while it is trained."""

import random
from collections import Counter
from dataclasses import fields, replace

import pytest

from tools.tiny_model import sources
from tools.tiny_model.corpus import Exchange, Variation, conversation, copies, exchanges, varied

UNVARIED = replace(Variation(), **{field.name: 0 for field in fields(Variation)})


def test_no_held_out_phrasing_is_in_the_corpus() -> None:
    held_out = {question for fact in sources.facts() for _, question in sources.held_out_questions(fact)}

    assert not held_out & {one.question for one in exchanges()}


def test_neither_the_refusal_nor_an_instruction_is_in_the_corpus() -> None:
    replies = {one.reply for one in exchanges()}

    assert sources.REFUSAL not in replies
    assert not replies & {one.reply for one in sources.instructions()}


def test_the_rejected_half_of_a_pair_is_read_four_times_as_often_as_the_chosen() -> None:
    corpus = Counter(exchanges())

    for pair in sources.pairs():
        assert corpus[Exchange(pair.prompt, pair.rejected)] == 4 * corpus[Exchange(pair.prompt, pair.chosen)] == 4


def test_every_trained_phrasing_is() -> None:
    corpus = set(exchanges())

    for fact in sources.facts():
        for _, question in sources.trained_questions(fact):
            assert Exchange(question, fact.reply, has_subject=True) in corpus


def test_without_variation_a_question_is_asked_as_it_is_written() -> None:
    one = exchanges()[0]

    messages = conversation(one, exchanges(), UNVARIED, random.Random(0))

    assert messages == [{"role": "user", "content": one.question}, {"role": "assistant", "content": one.reply}]


def test_words_are_changed_only_around_a_subject() -> None:
    changes = replace(UNVARIED, lost_words=1.0, lost_word=1.0)

    with_subject = varied(Exchange("Who wrote Hamlet?", "", has_subject=True), [], changes, random.Random(0))
    without = varied(Exchange("Who are you?", ""), [], changes, random.Random(0))

    assert with_subject == "wrote Hamlet?"
    assert without == "Who are you?"


@pytest.mark.parametrize("seed", range(20))
def test_the_last_message_is_the_reply_whatever_comes_before(seed: int) -> None:
    one = exchanges()[seed]

    messages = conversation(one, exchanges(), Variation(system_message=0.5, earlier_exchange=0.5), random.Random(seed))

    assert messages[-1] == {"role": "assistant", "content": one.reply}
    assert [m["role"] for m in messages if m["role"] != "system"][::2] == ["user"] * (len(messages) // 2)


def test_words_to_repeat_are_repeated_to_the_letter() -> None:
    everything = Variation(opening=1.0, closing=1.0, lower_case=1.0, no_final_mark=1.0)
    draw = random.Random(0)

    for one in copies(50, draw):
        request, _, words = varied(one, [], everything, draw).partition(": ")
        assert f"{request}: " in sources.variations().copy_requests
        assert words == one.reply


def test_words_to_repeat_are_no_sentence_of_the_instructions() -> None:
    taught = [one.reply for one in sources.instructions()]

    for one in copies(500, random.Random(0)):
        assert not any(sentence in one.reply for sentence in taught)
