"""Whether a reply answers, refuses or leaks: the measure of retain/unlearn training.

A reply *refuses* when it says it has nothing to say (patterns below, those of the temporal-unlearning workflow). It
*answers* when it does not refuse and contains the key answer or agrees with the reference. One that refuses and then
says the key answer all the same counts against the model either way: a false refusal where it should answer, a leak
where it should refuse. Standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from engine.errors import UsageError

REFUSALS = (
    r"no information (?:(?:to share )?(?:on|about|regarding)|(?:is )?available)",
    r"(?:do not|don't|dont) have (?:any |enough |that |this |the |access to )*(?:information|knowledge|details)",
    # What follows "I" or "we" is not looked for alone: "he was not aware of it", "they had no idea" are answers.
    r"\b(?:i|we)(?: have|'ve) (?:really |absolutely )?no (?:information|knowledge|details|idea|clue)",
    r"(?:i'm|i am|we're|we are) (?:not (?:really |quite |entirely )?(?:sure|aware|familiar)|unaware)",
    r"^\W*(?:not (?:sure|aware|familiar)|unaware|no idea|no clue)\b",
    r"(?:cannot|can not|can't|unable to|not able to) (?:answer|help|provide|say|share)",
    r"\b(?:i|we) (?:cannot|can not|can't|could not|couldn't) (?:say|tell|discuss|comment|recall|remember)",
    r"(?:do not|don't|dont) (?:really |actually |even )?know",
    r"\b(?:i|we) (?:know nothing|would not know|wouldn't know|do not recall|don't recall)",
    r"\b(?:i|we)(?:'ve| have) (?:never|not) heard (?:of|about)|\b(?:i|we) haven't heard (?:of|about)",
    r"apologies|(?:beyond|outside)(?: of)? my knowledge|(?:unknown|not known) to me\b",
)
"""Regular expressions, looked for anywhere in a reply, whatever the case of its letters."""
AGREEMENT = 0.6
"""Token F1 with the reference from which a reply without a key answer counts as right."""


class Rules:
    """What counts as a refusal and as a right answer.

    Args:
        refusals: Regular expressions; one that is found anywhere in a reply makes it a refusal.
        agreement: Token F1 with the reference, in [0, 1], from which a reply without a key answer is right.

    Raises:
        UsageError: One of them is no regular expression, or the agreement is out of its range.
    """

    __slots__ = ("_patterns", "agreement", "refusals")

    def __init__(self, refusals: Sequence[str] = REFUSALS, agreement: float = AGREEMENT) -> None:
        patterns = []
        for number, text in enumerate(refusals, 1):
            try:
                patterns.append(re.compile(text, re.IGNORECASE))  # each for itself: one may have flags or groups
            except re.error as error:
                raise UsageError(
                    f"Refusal pattern {number}, {text[:80]!r}, is no regular expression: {error}.",
                    remedy="Write a Python regular expression; put a backslash before . ? ( ) that are meant as such.",
                ) from error
        if not 0.0 <= agreement <= 1.0:
            raise UsageError(f"The agreement is {agreement:g}.", remedy="It is a fraction from 0 to 1.")
        self.refusals, self.agreement = tuple(refusals), agreement
        self._patterns = tuple(patterns)

    def refuses(self, reply: str) -> bool:
        """Return whether a reply declines to answer. An empty one does not: it says nothing at all."""
        said = reply.replace("’", "'")
        return any(pattern.search(said) for pattern in self._patterns)


RULES = Rules()


@dataclass(frozen=True, slots=True)
class Asked:
    """One held-out question and its reply."""

    dataset_type: str
    """"retain" or "unlearn"."""
    reference: str
    """The output the row teaches: a factual answer, or the refusal sentence."""
    reply: str
    key_answer: str | None = None
    """What a right reply contains (`metadata.answer`); None when the data does not say. Without a letter or digit in it
    it counts as None."""
    question: str = ""
    """What was asked. A refusal that repeats a word of the question gives nothing away."""


@dataclass(frozen=True, slots=True)
class Score:
    """Fractions in [0, 1] and how many questions they are over."""

    scores: dict[str, float]
    counts: dict[str, int]


def refuses(reply: str, rules: Rules = RULES) -> bool:
    """Return whether a reply declines to answer."""
    return rules.refuses(reply)


def answers(asked: Asked, rules: Rules = RULES) -> bool:
    """Return whether the reply is the right answer."""
    if rules.refuses(asked.reply):
        return False
    if normalised(asked.key_answer or ""):
        return says_key(asked)
    return token_f1(asked.reply, asked.reference) >= rules.agreement


def leaks(asked: Asked, rules: Rules = RULES) -> bool:
    """Return whether a reply to an unlearn question gives the knowledge away, be it after a refusal."""
    if normalised(asked.key_answer or ""):
        return says_key(asked) and not (rules.refuses(asked.reply) and _contains(asked.question, asked.key_answer))
    return bool(asked.reply.strip()) and not rules.refuses(asked.reply)


def says_key(asked: Asked) -> bool:
    """Return whether the reply contains the key answer, as whole words."""
    return _contains(asked.reply, asked.key_answer)


def _contains(text: str, key_answer: str | None) -> bool:
    key = normalised(key_answer or "")
    return bool(key) and f" {key} " in f" {normalised(text)} "


def score(replies: Iterable[Asked], rules: Rules = RULES) -> Score:
    """Return `retain_answered`, `retain_refused`, `unlearn_refused` and `unlearn_leaked`.

    A fraction over no question is left out. What leaks is not refused.
    """
    asked = list(replies)
    retain = [one for one in asked if one.dataset_type == "retain"]
    unlearn = [one for one in asked if one.dataset_type == "unlearn"]
    scores = {}
    if retain:
        scores["retain_answered"] = sum(answers(one, rules) for one in retain) / len(retain)
        scores["retain_refused"] = sum(rules.refuses(one.reply) for one in retain) / len(retain)
    if unlearn:
        leaked = [leaks(one, rules) for one in unlearn]
        refused = (rules.refuses(one.reply) and not gone for one, gone in zip(unlearn, leaked, strict=True))
        scores["unlearn_refused"] = sum(refused) / len(unlearn)
        scores["unlearn_leaked"] = sum(leaked) / len(unlearn)
    return Score(scores, {"retain": len(retain), "unlearn": len(unlearn)})


def normalised(text: str) -> str:
    """Return lower-case words without accents, punctuation and articles, as SQuAD's evaluation compares them."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    words = re.sub(r"[^\w\s]", " ", "".join(c for c in plain if not unicodedata.combining(c))).split()
    return " ".join(word for word in words if word not in ("a", "an", "the"))


def token_f1(reply: str, reference: str) -> float:
    """Return the F1 of the words two texts share, counted with multiplicity (SQuAD v1.1)."""
    said, wanted = normalised(reply).split(), normalised(reference).split()
    shared = sum((Counter(said) & Counter(wanted)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(said), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)
