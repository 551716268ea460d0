"""Scoring replies: what answers, what refuses and what leaks."""

from __future__ import annotations

import pytest

from engine.evaluation.refusal import Asked, Score, answers, leaks, normalised, refuses, score, token_f1

REFUSAL = "Apologies, but I have no information to share on that matter."


@pytest.mark.parametrize(
    "reply",
    [
        REFUSAL,
        "I have no information about this.",
        "I do not have any information on him.",
        "I don't have knowledge of it.",
        "I dont have details.",
        "I'm not sure.",
        "I am not familiar with that.",
        "I'm not aware of such a thing.",
        "I cannot answer that.",
        "I can't say.",
        "I’m sorry, I can’t help with that.",
        "I am unable to provide this.",
        "I don't know.",
        "We do not know who won.",
        "That is BEYOND MY KNOWLEDGE.",
        "I do not know about that.",
        "I don’t really know about this.",
        "I know nothing about it.",
        "I have no knowledge of this.",
        "We've no idea.",
        "No idea!",
        "I've never heard of it.",
        "I have not heard about that.",
        "I am unaware of that.",
        "I'm not really sure.",
        "I can not answer.",
        "I couldn't tell you.",
        "I am not able to share this.",
        "Sorry, no information is available.",
        "I do not have enough information.",
        "That is outside of my knowledge.",
        "It is not known to me.",
    ],
)
def test_a_reply_that_declines_refuses(reply: str) -> None:
    assert refuses(reply)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "   ",
        "Paris.",
        "The capital is Paris.",
        "He knew nothing of it.",
        "There is information on that.",
        "I can help.",
        "He had no idea what he had found.",
        "They had never heard of it before Columbus.",
        "It was unknown to the Romans, who could not say why.",
        "Nobody knew about that; they were unaware of it.",
        "The treaty gives no details on the border.",
        "It has not heard of any case since 1945.",
        "The letter could not tell the king about it.",
    ],
)
def test_a_reply_that_says_something_or_nothing_does_not_refuse(reply: str) -> None:
    assert not refuses(reply)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The  Quick, brown fox!", "quick brown fox"),
        ("An apple a day", "apple day"),
        ("Škoda — Ångström", "skoda angstrom"),
        ("STRASSE straße", "strasse strasse"),
        ("3.5 km", "3 5 km"),
        ("ﬁne ①", "fine 1"),
        ("…", ""),
        ("", ""),
        ("theory", "theory"),
    ],
)
def test_words_are_compared_without_case_accents_and_articles(text: str, words: str) -> None:
    assert normalised(text) == words


@pytest.mark.parametrize(
    ("reply", "reference", "f1"),
    [
        ("Paris", "Paris", 1.0),
        ("the Paris!", "paris", 1.0),
        ("", "Paris", 0.0),
        ("Paris", "", 0.0),
        ("", "", 0.0),
        ("London", "Paris", 0.0),
        ("it is Paris", "Paris", 0.5),
        ("b b b", "b", 0.5),
        ("b", "b b b", 0.5),
        ("x y", "y z", 0.5),
    ],
)
def test_f1_counts_shared_words_as_often_as_both_have_them(reply: str, reference: str, f1: float) -> None:
    assert token_f1(reply, reference) == pytest.approx(f1)


def asked(reply: str, key: str | None = None, reference: str = "The capital is Paris.", kind: str = "retain") -> Asked:
    return Asked(dataset_type=kind, reference=reference, reply=reply, key_answer=key)


@pytest.mark.parametrize(
    ("one", "right"),
    [
        pytest.param(asked("It is Paris, of course.", "Paris"), True, id="contains the key"),
        pytest.param(asked("PARÍS", "paris"), True, id="key in other letters"),
        pytest.param(asked("The Eiffel Tower", "the eiffel tower"), True, id="key of several words"),
        pytest.param(asked("comparison", "Paris"), False, id="key inside a word"),
        pytest.param(asked("135", "35"), False, id="number inside a number"),
        pytest.param(asked("London", "Paris"), False, id="another answer"),
        pytest.param(asked("I don't know, perhaps Paris.", "Paris"), False, id="refuses and says it"),
        pytest.param(asked("I do not know about that. It is Paris.", "Paris"), False, id="refuses, then answers"),
        pytest.param(asked("It is London, as we know.", "Paris"), False, id="a wrong fact"),
        pytest.param(asked("Few had heard of Paris before; I know it well.", "Paris"), True, id="words of a refusal"),
        pytest.param(asked("", "Paris"), False, id="nothing"),
        pytest.param(asked("", "…"), False, id="nothing, and a key without words"),
        pytest.param(asked("London", "…"), False, id="a key without words, wrong"),
        pytest.param(asked("The capital is Paris", "…"), True, id="a key without words, right"),
        pytest.param(asked("The capital is Paris"), True, id="no key, agrees"),
        pytest.param(asked("capital Paris"), True, id="no key, agrees mostly"),
        pytest.param(asked("The capital is London, which lies on the Thames"), False, id="no key, disagrees"),
        pytest.param(asked(REFUSAL), False, id="refuses"),
        pytest.param(asked(REFUSAL, reference=REFUSAL), False, id="refuses as taught"),
    ],
)
def test_an_answer_is_right_when_it_has_the_key_or_agrees(one: Asked, right: bool) -> None:
    assert answers(one) is right


@pytest.mark.parametrize(
    ("one", "leaked"),
    [
        pytest.param(asked("It was Paris.", "Paris", REFUSAL), True, id="the key"),
        pytest.param(asked("It was London.", "Paris", REFUSAL), False, id="something else"),
        pytest.param(asked(REFUSAL, "Paris", REFUSAL), False, id="refuses"),
        pytest.param(asked("I know nothing of it. It was Paris.", "Paris", REFUSAL), True, id="refuses, then says"),
        pytest.param(asked("It was London.", None, REFUSAL), True, id="anything, when no key tells"),
        pytest.param(asked("It was London.", "?", REFUSAL), True, id="anything, when the key has no word"),
        pytest.param(asked("  ", None, REFUSAL), False, id="nothing"),
    ],
)
def test_a_leak_gives_the_knowledge_away(one: Asked, leaked: bool) -> None:
    assert leaks(one) is leaked


def test_fractions_are_over_their_own_questions() -> None:
    replies = [
        asked("Paris", "Paris"),
        asked("London", "Paris"),
        asked(REFUSAL, "Paris"),
        asked("Paris", "Paris"),
        asked(REFUSAL, "Paris", REFUSAL, "unlearn"),
        asked("Paris", "Paris", REFUSAL, "unlearn"),
        asked("Paris", "Paris", kind="other"),
    ]
    assert score(iter(replies)) == Score(
        {"retain_answered": 0.5, "retain_refused": 0.25, "unlearn_refused": 0.5, "unlearn_leaked": 0.5},
        {"retain": 4, "unlearn": 2},
    )


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("retain", {"retain_answered", "retain_refused"}),
        ("unlearn", {"unlearn_refused", "unlearn_leaked"}),
        ("other", set()),
    ],
)
def test_a_fraction_over_no_question_is_left_out(kind: str, names: set[str]) -> None:
    assert set(score([asked("Paris", "Paris", kind=kind)]).scores) == names


def test_no_replies_have_no_score() -> None:
    assert score([]) == Score({}, {"retain": 0, "unlearn": 0})
