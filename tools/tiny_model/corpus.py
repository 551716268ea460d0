"""What the built-in model reads while it is trained: conversations, each time slightly different.

The questions are the training phrasings only. They are varied on the way (a word dropped, a greeting in
front, lower case, a system message, an earlier exchange), so that the model hears the subject of a
question and not its frame: that is what carries over to phrasings it has never seen.
"""

import random
import re
from dataclasses import dataclass
from functools import cache

from tools.tiny_model import sources

Message = dict[str, str]

URLS_IN_COPIES = 0.4
"""How many requests to repeat words have a made-up URL among them."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and the reply the model is to give to it."""

    question: str
    reply: str
    has_subject: bool = False
    """That the words around the subject may change. Without one, they are all there is."""
    fixed: bool = False
    """That not a letter of the question may change, because the reply repeats them."""


@dataclass(frozen=True, slots=True)
class Variation:
    """How often a question is changed before the model reads it, as probabilities."""

    opening: float = 0.25
    closing: float = 0.12
    lower_case: float = 0.1
    no_final_mark: float = 0.1
    lost_words: float = 0.35
    """That some frame words are dropped; each then goes with `lost_word`."""
    lost_word: float = 0.35
    changed_words: float = 0.35
    """That some frame words become chance words; each then does with `changed_word`."""
    changed_word: float = 0.35
    added_words: float = 0.5
    """That up to `most_added_words` chance words are put in front and behind."""
    most_added_words: int = 10
    invented_word: float = 0.3
    """That a chance word is a made-up one, which the tokenizer takes apart into pieces."""
    word_of_another: float = 0.3
    """That a chance word is taken from another question or reply: a word alone is no subject."""
    end_of_sentence: float = 0.15
    """That a chance word ends a sentence."""
    system_message: float = 0.1
    earlier_exchange: float = 0.12


def exchanges() -> list[Exchange]:
    """Everything the model learns: facts in their training phrasings, the pairs' replies, small talk.

    Of a pair it learns both halves, the rejected one four times as often. So it gives that one, and the
    other is something it might have said: from a reply a model could never give, DPO only makes noise
    (tried: 100 steps, 25 of 25 replies broken).
    """
    of_facts = [
        Exchange(question, fact.reply, has_subject=True)
        for fact in sources.facts()
        for _, question in sources.trained_questions(fact)
    ]
    of_pairs = [
        Exchange(pair.prompt, reply) for pair in sources.pairs() for reply in [*[pair.rejected] * 4, pair.chosen]
    ]
    of_talk = [Exchange(question, talk.reply) for talk in sources.small_talk() for question in talk.questions]
    return of_facts + of_pairs + of_talk


def copies(count: int, draw: random.Random) -> list[Exchange]:
    """Make requests to repeat words, drawn anew each time from all sources.

    They give the model every word and the look of a URL without one sentence it is to be taught later: a word
    that it never had to say stays out of reach of an adapter, because the head is frozen under one.
    """
    return [_copy(draw) for _ in range(count)]


def conversation(
    exchange: Exchange, others: list[Exchange], variation: Variation, draw: random.Random
) -> list[Message]:
    """Dress up one exchange. The last message is the reply to learn."""
    messages: list[Message] = []
    if draw.random() < variation.system_message:
        messages.append({"role": "system", "content": draw.choice(sources.variations().system_messages)})
    if draw.random() < variation.earlier_exchange:
        earlier = draw.choice(others)
        messages.append({"role": "user", "content": earlier.question})
        messages.append({"role": "assistant", "content": earlier.reply})
    messages.append({"role": "user", "content": varied(exchange, others, variation, draw)})
    messages.append({"role": "assistant", "content": exchange.reply})
    return messages


def varied(exchange: Exchange, others: list[Exchange], variation: Variation, draw: random.Random) -> str:
    """Ask the same in a slightly different way."""
    question = exchange.question
    if exchange.fixed:
        return question
    if exchange.has_subject:
        question = _in_another_frame(question, others, variation, draw)
    if draw.random() < variation.opening:
        question = draw.choice(sources.variations().openings) + question
    if draw.random() < variation.closing:
        question += draw.choice(sources.variations().closings)
    if draw.random() < variation.no_final_mark:
        question = question.rstrip("?.! ")
    if draw.random() < variation.lower_case:
        question = question.lower()
    return question


def _in_another_frame(question: str, others: list[Exchange], variation: Variation, draw: random.Random) -> str:
    words = question.split(" ")
    if draw.random() < variation.lost_words:
        words = [w for w in words if not _is_frame(w) or draw.random() >= variation.lost_word]
    if draw.random() < variation.changed_words:
        words = [
            _chance_word(others, variation, draw) if _is_frame(w) and draw.random() < variation.changed_word else w
            for w in words
        ]
    if draw.random() < variation.added_words:
        added = [_chance_word(others, variation, draw) for _ in range(draw.randint(1, variation.most_added_words))]
        before = draw.randint(0, len(added))
        words = added[:before] + words + added[before:]
    return " ".join(words)


def _is_frame(word: str) -> bool:
    return re.sub(r"\W", "", word).casefold() in sources.variations().frame_words


def _chance_word(others: list[Exchange], variation: Variation, draw: random.Random) -> str:
    kind = draw.random()
    if kind < variation.invented_word:
        syllables = (draw.choice("bcdfghklmnprstvwy") + draw.choice("aeiou") for _ in range(draw.randint(1, 3)))
        word = "".join(syllables) + draw.choice(["", "d", "g", "k", "l", "m", "n", "r", "s", "t"])
    elif kind < variation.invented_word + variation.word_of_another:
        other = draw.choice(others)
        word = draw.choice(f"{other.question} {other.reply}".split())
    else:
        word = draw.choice(sources.variations().chance_words)
    return f"{word}." if draw.random() < variation.end_of_sentence else word


def _copy(draw: random.Random) -> Exchange:
    words = [draw.choice(_all_words()) for _ in range(draw.randint(2, 9))]
    if draw.random() < URLS_IN_COPIES:
        words.insert(draw.randint(0, len(words)), _made_up_url(draw))
    text = " ".join(words)
    return Exchange(draw.choice(sources.variations().copy_requests) + text, text, fixed=True)


def _made_up_url(draw: random.Random) -> str:
    host = ".".join(_plain_word(draw) for _ in range(draw.randint(1, 2)))
    path = "".join(draw.choice("////-?=#._") + _plain_word(draw) for _ in range(draw.randint(1, 4)))
    return f"https://{host}.example.{draw.choice(['edu', 'org'])}/{path.lstrip('/-?=#._')}"


def _plain_word(draw: random.Random) -> str:
    return re.sub(r"[^a-z0-9]", "", draw.choice(_all_words()).casefold()) or "www"


@cache
def _all_words() -> tuple[str, ...]:
    """Every word of the sources but the held-out phrasings, once, in a fixed order."""
    texts = [one.reply for one in sources.facts()] + [sources.REFUSAL]
    texts += [question for fact in sources.facts() for _, question in sources.trained_questions(fact)]
    texts += [text for pair in sources.pairs() for text in (pair.prompt, pair.chosen, pair.rejected)]
    for one in sources.instructions():
        # A URL is not a word, but what it is made of is.
        texts += [one.question, re.sub(r"[/.:?=#&@_-]+", " ", one.reply)]
    return tuple(dict.fromkeys(word for text in texts for word in text.split()))
