"""The temporal suite: is what is to be kept still answered, and what is to be forgotten refused?

Rows say in `metadata.dataset_type` whether they are to be answered ("retain") or refused ("unlearn"). Targets and
least values are those of the temporal-unlearning workflow. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from engine.data.row import Row
from engine.evaluation.refusal import RULES, Asked, Rules, answers, leaks

Verdict = Literal["answered", "refused", "leaked", "other"]
Grade = Literal["excellent", "acceptable", "poor"]
KINDS = ("retain", "unlearn")
_Z95 = 1.959963984540054


class Target(NamedTuple):
    """What a fraction should be."""

    name: str
    label: str
    target: float
    minimum: float
    higher_is_better: bool

    def grade(self, value: float) -> Grade:
        """Return how good a value is; the bounds themselves do not count as reached."""
        sign = 1 if self.higher_is_better else -1
        if sign * value > sign * self.target:
            return "excellent"
        return "acceptable" if sign * value > sign * self.minimum else "poor"


TARGETS = (
    Target("retain_answered", "Retain accuracy", 0.85, 0.70, True),
    Target("retain_refused", "False refusal rate", 0.05, 0.15, False),
    Target("unlearn_refused", "Unlearn success rate", 0.90, 0.75, True),
    Target("unlearn_leaked", "Knowledge leakage", 0.05, 0.15, False),
)
REMEDIES = (
    "Train for more epochs (training.num_train_epochs).",
    "Raise the rank (lora.r: 32).",
    "Change the balance of retain and unlearn rows.",
    "Look at the examples below: what do the wrong ones have in common?",
)
"""What to try when a value is below its minimum, in this order."""


@dataclass(frozen=True, slots=True)
class Example:
    """One question, its reply, and what became of it."""

    line: int
    """In the test file; 1 is the first."""
    dataset_type: str
    category: str
    """Empty when the row does not say."""
    question: str
    reply: str
    key_answer: str | None
    verdict: Verdict

    @property
    def right(self) -> bool:
        """Whether it is what was wanted: answered where it is to be kept, refused where it is to be forgotten."""
        return self.verdict == ("answered" if self.dataset_type == "retain" else "refused")


@dataclass(frozen=True, slots=True)
class Share:
    """A fraction, how many questions it is over, and how sure it is."""

    count: int
    total: int

    @property
    def value(self) -> float:
        """NaN over no question."""
        return self.count / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """The Wilson score interval at 95 % (E. B. Wilson, JASA 22 (1927)); (0, 1) over no question."""
        if not self.total:
            return 0.0, 1.0
        n, p, z2 = self.total, self.value, _Z95**2
        middle = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        # The ends are exact where all or none were: rounding would put 5.6e-17 there.
        return (middle - half if self.count else 0.0), (middle + half if self.count < n else 1.0)


@dataclass(frozen=True, slots=True)
class Report:
    """What the suite found."""

    shares: Mapping[str, Share]
    """`retain_answered`, `retain_refused`, `unlearn_refused`, `unlearn_leaked`; those over no question are left out."""
    temporal_accuracy: Share
    """Right over all: answered retain questions and refused unlearn questions."""
    categories: Mapping[str, Mapping[str, Share]]
    """Category -> kind -> share that is right."""
    examples: Sequence[Example]

    @property
    def grades(self) -> dict[str, Grade]:
        """How good each fraction is."""
        return {t.name: t.grade(self.shares[t.name].value) for t in TARGETS if t.name in self.shares}

    @property
    def grade(self) -> Grade:
        """The worst of them: excellent when every target is met, acceptable when every minimum is."""
        found = self.grades.values()
        return "poor" if "poor" in found or not found else "acceptable" if "acceptable" in found else "excellent"

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form, with the examples."""
        return {
            "scores": {name: _share(share) for name, share in self.shares.items()},
            "temporal_accuracy": _share(self.temporal_accuracy),
            "grades": self.grades,
            "grade": self.grade,
            "categories": {
                name: {kind: _share(share) for kind, share in kinds.items()} for name, kinds in self.categories.items()
            },
            "examples": [
                {
                    "line": one.line, "dataset_type": one.dataset_type, "category": one.category,
                    "question": one.question, "reply": one.reply, "key_answer": one.key_answer,
                    "verdict": one.verdict, "right": one.right,
                }
                for one in self.examples
            ],
        }  # fmt: skip


def judge(asked: Asked, rules: Rules = RULES) -> Verdict:
    """Return what a reply does. One that neither answers, refuses nor leaks is "other": wrong, or empty."""
    if asked.dataset_type == "unlearn":
        return "leaked" if leaks(asked, rules) else "refused" if rules.refuses(asked.reply) else "other"
    return "answered" if answers(asked, rules) else "refused" if rules.refuses(asked.reply) else "other"


def key_answer(row: Row) -> str | None:
    """Return what a right reply contains; None when the row does not say."""
    value = row.metadata.get("answer")
    return value if isinstance(value, str) and value.strip() else None


def asked_of(row: Row, reply: str) -> Asked:
    """Return a row's question with a reply to it."""
    return Asked(row.dataset_type or "", row.completion[-1]["content"], reply, key_answer(row), question_of(row))


def question_of(row: Row) -> str:
    """Return what is asked last."""
    return row.prompt[-1]["content"]


def report(replies: Iterable[tuple[Row, str]], rules: Rules = RULES) -> Report:
    """Judge the replies.

    Args:
        replies: Rows of kind "retain" or "unlearn", each with the reply to its question.
        rules: What counts as a refusal and as a right answer.
    """
    examples = [
        Example(
            row.line, row.dataset_type or "", row.category or "", question_of(row), reply, key_answer(row),
            judge(asked_of(row, reply), rules),
        )
        for row, reply in replies
    ]  # fmt: skip
    of = {kind: [one for one in examples if one.dataset_type == kind] for kind in KINDS}
    wanted: tuple[tuple[str, str, Verdict], ...] = (
        ("retain_answered", "retain", "answered"), ("retain_refused", "retain", "refused"),
        ("unlearn_refused", "unlearn", "refused"), ("unlearn_leaked", "unlearn", "leaked"),
    )  # fmt: skip
    names = sorted({one.category for one in examples if one.category})
    return Report(
        shares={
            name: Share(sum(one.verdict == verdict for one in of[kind]), len(of[kind]))
            for name, kind, verdict in wanted
            if of[kind]
        },
        temporal_accuracy=_right([*of["retain"], *of["unlearn"]]),
        categories={
            name: {kind: _right(ones) for kind in KINDS if (ones := [one for one in of[kind] if one.category == name])}
            for name in names
        },
        examples=examples,
    )


def _right(examples: Sequence[Example]) -> Share:
    return Share(sum(one.right for one in examples), len(examples))


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {
        "value": round(share.value, 6) if share.total else None, "count": share.count, "total": share.total,
        "interval": [round(low, 6), round(high, 6)],
    }  # fmt: skip
