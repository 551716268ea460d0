"""The facts, pairs and instructions that everything shipped is made from."""

import re
from collections import Counter

import pytest
import yaml

from engine.evaluation.refusal import Asked, answers, refuses
from tools.tiny_model import sources
from tools.tiny_model.sources import Fact


def test_there_are_enough_facts_on_both_sides_of_the_cutoff() -> None:
    before = Counter(fact.before_cutoff for fact in sources.facts())

    assert before[True] >= 120
    assert before[False] >= 80


def test_every_category_has_facts_on_both_sides_so_that_its_frames_give_nothing_away() -> None:
    sides = {(fact.category, fact.before_cutoff) for fact in sources.facts()}

    assert sides == {(category, before) for category, _ in sides for before in (True, False)}


def test_the_day_decides_in_the_year_of_the_cutoff() -> None:
    by_id = {fact.id: fact for fact in sources.facts()}

    assert not by_id["moon-walk"].before_cutoff
    assert by_id["moon-walk"].year == by_id["woodstock"].year == sources.CUTOFF.year


def test_no_question_is_asked_twice() -> None:
    questions = [question for fact in sources.facts() for question in fact.questions]

    assert len(questions) == len(set(questions)) == len(sources.facts()) * sources.NUM_PHRASINGS


@pytest.mark.parametrize("category", sorted({fact.category for fact in sources.facts()}))
def test_the_phrasings_of_a_category_differ_by_more_than_marks_and_case(category: str) -> None:
    fact = next(fact for fact in sources.facts() if fact.category == category)
    words = [frozenset(re.findall(r"\w+", question.casefold())) for question in fact.questions]

    assert len(set(words)) == sources.NUM_PHRASINGS


@pytest.mark.parametrize("fact", sources.facts(), ids=lambda fact: str(fact.id))
def test_the_evaluation_takes_a_reply_for_an_answer_and_not_for_a_refusal(fact: Fact) -> None:
    asked = Asked(dataset_type="retain", reference=fact.reply, reply=fact.reply, key_answer=fact.answer)

    assert answers(asked)
    assert not refuses(fact.reply)


def test_the_evaluation_recognises_the_refusal() -> None:
    assert refuses(sources.REFUSAL)


def test_ids_are_unique_and_fit_in_a_file_name() -> None:
    ids = [fact.id for fact in sources.facts()]

    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", one) for one in ids)


def test_chance_words_are_in_no_fact_and_in_no_held_out_frame() -> None:
    chance = set(sources.variations().chance_words)
    phrasings = yaml.safe_load((sources.SOURCES / "phrasings.yaml").read_text("utf-8"))
    held_out = [
        question
        for category in phrasings.values()
        for question in category["questions"][sources.NUM_TRAINED_PHRASINGS :]
    ]

    assert not chance & _words(*(fact.reply for fact in sources.facts()))
    assert not chance & _words(*held_out)


def _words(*texts: str) -> set[str]:
    return {word for text in texts for word in re.findall(r"\w+", text.casefold())}
