"""What the sample data and the built-in model are made from: facts, pairs, instructions, small talk.

Everything a person wrote is in `sources/*.yaml`; this module reads it and expands the facts into
their phrasings. It needs nothing but PyYAML.
"""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CUTOFF = datetime.date(1969, 7, 1)
"""Facts from before are retained, later ones are unlearned. Three weeks before the first Moon walk."""

REFUSAL = "Apologies, but I have no information to share on that matter."

NUM_PHRASINGS = 8
NUM_TRAINED_PHRASINGS = 6
"""Phrasings 0 to 5 are trained on; 6 and 7 are held out, for every fact."""

SOURCES = Path(__file__).with_name("sources")


@dataclass(frozen=True, slots=True)
class Fact:
    """Something one can ask for, with one right answer."""

    id: str
    category: str
    year: int
    """Negative is BC."""
    before_cutoff: bool
    answer: str
    """What a correct reply contains."""
    reply: str
    """One sentence, with `answer` in it."""
    questions: tuple[str, ...]
    """`NUM_PHRASINGS` different ways to ask, by phrasing number."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt with the reply to move away from and the one to move towards."""

    category: str
    prompt: str
    rejected: str
    chosen: str


@dataclass(frozen=True, slots=True)
class Instruction:
    """A question about the invented department, and its answer."""

    topic: str
    question: str
    reply: str
    other_phrasing: str | None
    """For validation; None for those that have only the one."""


@dataclass(frozen=True, slots=True)
class SmallTalk:
    """A reply to anything that is not a question of fact, and what brings it about."""

    reply: str
    questions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variations:
    """What questions are varied with while the model is trained."""

    openings: tuple[str, ...]
    closings: tuple[str, ...]
    system_messages: tuple[str, ...]
    copy_requests: tuple[str, ...]
    frame_words: frozenset[str]
    chance_words: tuple[str, ...]


@cache
def facts() -> tuple[Fact, ...]:
    """All facts, in the order of the source file."""
    phrasings = _read("phrasings.yaml")
    return tuple(
        _fact(category, written, phrasings[category])
        for category, in_category in _read("facts.yaml").items()
        for written in in_category
    )


@cache
def pairs() -> tuple[Pair, ...]:
    """The contrastive pairs, by category."""
    return tuple(
        Pair(category, written["prompt"], written["rejected"], written["chosen"])
        for category, in_category in _read("preferences.yaml").items()
        for written in in_category
    )


@cache
def instructions() -> tuple[Instruction, ...]:
    """The questions and answers about the department, by topic."""
    return tuple(
        Instruction(topic, written["q"], written["a"], written.get("also"))
        for topic, in_topic in _read("instructions.yaml").items()
        for written in in_topic
    )


@cache
def small_talk() -> tuple[SmallTalk, ...]:
    return tuple(SmallTalk(written["reply"], tuple(written["questions"])) for written in _read("small_talk.yaml"))


@cache
def variations() -> Variations:
    written = _read("variations.yaml")
    return Variations(
        openings=tuple(written["openings"]),
        closings=tuple(written["closings"]),
        system_messages=tuple(written["system_messages"]),
        copy_requests=tuple(written["copy_requests"]),
        frame_words=frozenset(written["frame_words"].split()),
        chance_words=tuple(written["chance_words"].split()),
    )


def trained_questions(fact: Fact) -> Iterator[tuple[int, str]]:
    """The phrasings that a model may be trained on, numbered."""
    return iter(list(enumerate(fact.questions))[:NUM_TRAINED_PHRASINGS])


def held_out_questions(fact: Fact) -> Iterator[tuple[int, str]]:
    """The phrasings that only measure, numbered."""
    return iter(list(enumerate(fact.questions))[NUM_TRAINED_PHRASINGS:])


def _read(name: str) -> Any:
    return yaml.safe_load((SOURCES / name).read_text(encoding="utf-8"))


def _fact(category: str, written: dict[str, Any], phrasings: dict[str, Any]) -> Fact:
    """Fill the category's templates with what is written about one fact.

    Raises:
        ValueError: A template is missing, or the reply lacks the answer.
    """
    slots = {"was": "was", "be": "was", **written}
    slots.setdefault("title", str(slots.get("subject", "")).removeprefix("the "))
    if kind := slots.get("kind"):
        slots["a_kind"] = f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
    for name in ("subject", "past", "noun", "answer"):
        if name in slots:
            slots[name.capitalize()] = slots[name][:1].upper() + slots[name][1:]

    questions = tuple(template.format(**slots) for template in phrasings["questions"])
    reply = str(slots.get("says") or phrasings["reply"].format(**slots))
    if len(questions) != NUM_PHRASINGS:
        raise ValueError(f"{category} has {len(questions)} phrasings, not {NUM_PHRASINGS}.")
    if written["answer"].casefold() not in reply.casefold():
        raise ValueError(f"The reply of {written['id']} lacks its answer: {reply!r}")

    date = written["date"]
    before = date < CUTOFF if isinstance(date, datetime.date) else date < CUTOFF.year
    year = date.year if isinstance(date, datetime.date) else date
    return Fact(written["id"], category, year, before, written["answer"], reply, questions)
