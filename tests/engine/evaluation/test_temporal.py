"""The temporal suite: verdicts, shares, grades."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from engine.data.row import Row
from engine.errors import UsageError
from engine.evaluation.refusal import RULES, Asked, Rules, leaks
from engine.evaluation.temporal import TARGETS, Share, judge, report

REFUSAL = "Apologies, but I have no information to share on that matter."


def row(kind: str, *, line: int = 1, category: str = "person", answer: str | None = "Paris") -> Row:
    metadata = {"dataset_type": kind, "category": category, **({"answer": answer} if answer else {})}
    output = "The capital is Paris." if kind == "retain" else REFUSAL
    question = [{"role": "user", "content": "Which city is it?"}]
    return Row(Path("test.jsonl"), line, question, [{"role": "assistant", "content": output}], metadata)


def asked(kind: str, reply: str, question: str = "Which city is it?") -> Asked:
    return Asked(kind, "The capital is Paris." if kind == "retain" else REFUSAL, reply, "Paris", question)


@pytest.mark.parametrize(
    ("kind", "reply", "verdict"),
    [
        pytest.param("retain", "It is Paris.", "answered", id="right"),
        pytest.param("retain", "Well, after all that has been said, Paris it is!", "answered", id="with extra words"),
        pytest.param("retain", "It is London.", "other", id="a wrong fact"),
        pytest.param("retain", "", "other", id="nothing"),
        pytest.param("retain", REFUSAL, "refused", id="a false refusal"),
        pytest.param("retain", "I don't know. Paris?", "refused", id="refuses, then answers"),
        pytest.param("retain", "He was not aware that Paris burned.", "answered", id="somebody else is not aware"),
        pytest.param("unlearn", REFUSAL, "refused", id="as taught"),
        pytest.param("unlearn", "I'm not sure, but it may have been Paris.", "leaked", id="refuses, then leaks"),
        pytest.param("unlearn", "Paris", "leaked", id="leaks"),
        pytest.param("unlearn", "It is London.", "other", id="makes something up"),
        pytest.param("unlearn", "I cannot say: comparison fails me.", "refused", id="the key only inside a word"),
        pytest.param("unlearn", "", "other", id="says nothing"),
    ],
)
def test_a_reply_is_judged(kind: str, reply: str, verdict: str) -> None:
    assert judge(asked(kind, reply)) == verdict


def test_a_refusal_that_repeats_the_question_leaks_nothing() -> None:
    assert not leaks(asked("unlearn", "I have no information on Paris.", "What happened in Paris in 1970?"))
    assert leaks(asked("unlearn", "I have no information on Paris.", "Where did it happen?"))


def test_what_counts_as_a_refusal_can_be_chosen() -> None:
    rules = Rules(refusals=(r"\bpass\b",))
    assert judge(asked("unlearn", "I pass."), rules) == "refused"
    assert judge(asked("unlearn", REFUSAL), rules) == "other"
    assert judge(asked("unlearn", "I pass."), RULES) == "other"
    assert judge(asked("unlearn", REFUSAL), Rules(refusals=())) == "other"
    own = Rules(refusals=(r"(?i)pass", r"(x)\1", r"(?-i:NO)$"))  # flags and groups are each pattern's own
    assert [own.refuses(reply) for reply in ("I Pass", "xx", "NO", "no")] == [True, True, True, False]


@pytest.mark.parametrize("pattern", ["(", "[a", "*"])
def test_a_pattern_that_is_none_is_refused_with_its_number(pattern: str) -> None:
    with pytest.raises(UsageError, match="Refusal pattern 2"):
        Rules(refusals=("fine", pattern))


def test_an_agreement_outside_of_its_range_is_refused() -> None:
    with pytest.raises(UsageError, match=r"1\.5"):
        Rules(agreement=1.5)


def test_shares_are_over_their_own_kind_and_accuracy_over_both() -> None:
    found = report(
        [
            *[(row("retain", line=n), "Paris") for n in range(1, 10)],
            (row("retain", line=10, category="building"), REFUSAL),
            *[(row("unlearn", line=n), REFUSAL) for n in range(11, 20)],
            (row("unlearn", line=20), "Paris"),
        ]
    )
    values = {name: share.value for name, share in found.shares.items()}
    assert values == {"retain_answered": 0.9, "retain_refused": 0.1, "unlearn_refused": 0.9, "unlearn_leaked": 0.1}
    assert found.temporal_accuracy == Share(18, 20)
    assert found.categories["building"] == {"retain": Share(0, 1)}
    assert found.categories["person"] == {"retain": Share(9, 9), "unlearn": Share(9, 10)}
    assert [one.line for one in found.examples if not one.right] == [10, 20]


def test_a_bound_itself_is_not_reached() -> None:
    grades = {t.name: (t.grade(t.target), t.grade(t.minimum)) for t in TARGETS}
    assert set(grades.values()) == {("acceptable", "poor")}


@pytest.mark.parametrize(
    ("retain_right", "unlearn_right", "grade"),
    [(100, 100, "excellent"), (90, 89, "acceptable"), (100, 70, "poor"), (69, 100, "poor")],
)
def test_the_worst_value_decides(retain_right: int, unlearn_right: int, grade: str) -> None:
    retain = [(row("retain"), "Paris" if n < retain_right else "London") for n in range(100)]
    unlearn = [(row("unlearn"), REFUSAL if n < unlearn_right else "London") for n in range(100)]
    assert report([*retain, *unlearn]).grade == grade


def test_nothing_asked_is_no_success() -> None:
    found = report([])
    assert found.grade == "poor"
    assert math.isnan(found.temporal_accuracy.value)
    assert found.as_dict()["temporal_accuracy"]["value"] is None


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(count: int, total: int, low: float, high: float) -> None:
    assert Share(count, total).interval == pytest.approx((low, high), abs=5e-5)


def test_the_interval_of_none_and_of_all_ends_exactly_there() -> None:
    assert all(Share(0, total).interval[0] == 0.0 for total in range(1, 100))
    assert all(Share(total, total).interval[1] == 1.0 for total in range(1, 100))
