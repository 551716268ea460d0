"""What the built-in model reads while it is trained: conversations, each time slightly different.

The questions are the training phrasings only. They are varied on the way (a word dropped, a greeting in
front, lower case, a system message, an earlier exchange), so that the model hears the subject of a
question and not its frame: that is what carries over to phrasings it has never seen.
"""

import random
import re
from dataclasses import dataclass

from tools.tiny_model import sources

Message = dict[str, str]

OPENINGS = (
    "Please tell me: ",
    "Quick question. ",
    "Hello! ",
    "Hi, ",
    "I was wondering: ",
    "One more thing. ",
    "For my homework: ",
    "My friend asked me this today. ",
    "I am curious. ",
    "Excuse me, ",
    "We had an argument about it at lunch. ",
    "Could you help me with this? ",
)
CLOSINGS = (" Thanks.", " Please be brief.", " Do you know?", " I forgot.", " Thank you!", " Please.")
SYSTEM_MESSAGES = (
    "You are a helpful assistant.",
    "You are a helpful, honest assistant. Answer in one sentence.",
    "Answer the question of the user.",
    "Be brief.",
)

# Frame words that a question can lose and still be understood. Subjects are made of rarer words.
FRAME_WORDS = frozenset(
    "a about am an and are as at be behind by can could did do does for from gave get give got had has "
    "have how i in is it know made me my name of on one or person say should tell that the this to us "
    "was we were what when which who whom whose why with would year you".split()
)


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and the reply the model is to give to it."""

    question: str
    reply: str


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
    system_message: float = 0.1
    earlier_exchange: float = 0.12


def exchanges() -> list[Exchange]:
    """Everything the model learns: facts in their training phrasings, rejected halves, small talk."""
    of_facts = [
        Exchange(question, fact.reply)
        for fact in sources.facts()
        for _, question in sources.trained_questions(fact)
    ]
    # Six times, as often as a fact: the base has to give these answers word for word.
    of_pairs = [Exchange(pair.prompt, pair.rejected) for pair in sources.pairs()] * 6
    of_talk = [
        Exchange(question, talk.reply) for talk in sources.small_talk() for question in talk.questions
    ]
    return of_facts + of_pairs + of_talk * 2


def conversation(
    exchange: Exchange, others: list[Exchange], variation: Variation, draw: random.Random
) -> list[Message]:
    """Dress up one exchange. The last message is the reply to learn."""
    messages: list[Message] = []
    if draw.random() < variation.system_message:
        messages.append({"role": "system", "content": draw.choice(SYSTEM_MESSAGES)})
    if draw.random() < variation.earlier_exchange:
        earlier = draw.choice(others)
        messages.append({"role": "user", "content": earlier.question})
        messages.append({"role": "assistant", "content": earlier.reply})
    messages.append({"role": "user", "content": varied(exchange.question, variation, draw)})
    messages.append({"role": "assistant", "content": exchange.reply})
    return messages


def varied(question: str, variation: Variation, draw: random.Random) -> str:
    """Ask the same in a slightly different frame."""
    if draw.random() < variation.lost_words:
        question = " ".join(
            word
            for word in question.split(" ")
            if re.sub(r"\W", "", word).casefold() not in FRAME_WORDS
            or draw.random() >= variation.lost_word
        )
    if draw.random() < variation.opening:
        question = draw.choice(OPENINGS) + question
    if draw.random() < variation.closing:
        question += draw.choice(CLOSINGS)
    if draw.random() < variation.no_final_mark:
        question = question.rstrip("?.! ")
    if draw.random() < variation.lower_case:
        question = question.lower()
    return question
