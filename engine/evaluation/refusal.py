"""Whether a reply answers, refuses or leaks: the measure of retain/unlearn training.

A reply *refuses* when it says it has nothing to say (patterns below, those of the temporal-unlearning workflow). It
*answers* when it does not refuse and contains the key answer or agrees with the reference. Standard library only.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_REFUSALS = re.compile(
    r"no information (?:to share )?(?:on|about)|"
    r"(?:do not|don't|dont) have (?:any )?(?:information|knowledge|details)|"
    r"(?:not|i'm not|i am not) (?:sure|aware|familiar)|"
    r"(?:cannot|can't|unable to) (?:answer|help|provide|say|share)|"
    r"(?:i )?(?:do not|don't|dont) know|"
    r"apologies|beyond my knowledge",
    re.IGNORECASE,
)
AGREEMENT = 0.6
"""Token F1 with the reference from which a reply without a key answer counts as right."""


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


@dataclass(frozen=True, slots=True)
class Score:
    """Fractions in [0, 1] and how many questions they are over."""

    scores: dict[str, float]
    counts: dict[str, int]


def refuses(reply: str) -> bool:
    """Return whether a reply declines to answer. An empty one does not: it says nothing at all."""
    return bool(_REFUSALS.search(reply.replace("’", "'")))


def answers(asked: Asked) -> bool:
    """Return whether the reply is the right answer."""
    if refuses(asked.reply):
        return False
    if key_answer := normalised(asked.key_answer or ""):
        return f" {key_answer} " in f" {normalised(asked.reply)} "
    return token_f1(asked.reply, asked.reference) >= AGREEMENT


def leaks(asked: Asked) -> bool:
    """Return whether a reply to an unlearn question gives the knowledge away: it answers instead of refusing."""
    if refuses(asked.reply):
        return False
    return answers(asked) if normalised(asked.key_answer or "") else bool(asked.reply.strip())


def score(replies: Iterable[Asked]) -> Score:
    """Return `retain_answered`, `retain_refused`, `unlearn_refused` and `unlearn_leaked`.

    A fraction over no question is left out.
    """
    asked = list(replies)
    retain = [one for one in asked if one.dataset_type == "retain"]
    unlearn = [one for one in asked if one.dataset_type == "unlearn"]
    scores = {}
    if retain:
        scores["retain_answered"] = sum(map(answers, retain)) / len(retain)
        scores["retain_refused"] = sum(refuses(one.reply) for one in retain) / len(retain)
    if unlearn:
        scores["unlearn_refused"] = sum(refuses(one.reply) for one in unlearn) / len(unlearn)
        scores["unlearn_leaked"] = sum(map(leaks, unlearn)) / len(unlearn)
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
