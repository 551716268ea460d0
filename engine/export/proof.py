"""What a proof of parity says: of each form its checks and a verdict. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, TypeAlias

Verdict: TypeAlias = Literal["same", "close", "not-asked", "different"]
VERDICTS: Final[tuple[Verdict, ...]] = ("same", "close", "not-asked", "different")
"""From the best to the worst. "same": every check passed, and all answers are equal; "close": it is the model, and
rounding changes some answers; "not-asked": a server that failed; "different": something is wrong."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that has to be the same."""

    name: Literal["base", "template", "prompt tokens", "beginning of sequence", "end of answer", "answers", "logits"]
    passed: bool | None
    """None: this form does not let it be seen."""
    said: str
    """In a sentence: how far it holds, or the first divergence. Foreign text in it."""


@dataclass(frozen=True, slots=True)
class FormProof:
    """One form, held against the reference."""

    path: str
    """Of a server what was written for it, such as "lmstudio:MODEL"."""
    kind: Literal["merged", "gguf", "server"]
    type: str
    """"float32", "q4_k_m" ...; empty where the form does not say."""
    verdict: Verdict
    checks: tuple[Check, ...]
    equal_answers: int
    num_prompts: int
    max_abs: float | None
    """Largest difference of two logits over the reference's answers. None, as the next two: it gives no logits."""
    mean_kl: float | None
    argmax_agreement: float | None
    failure: dict[str, str] | None = None
    """Why a server could not be asked: `code`, `message`, `remedy`."""

    @property
    def failed(self) -> tuple[Check, ...]:
        return tuple(check for check in self.checks if check.passed is False)


@dataclass(frozen=True, slots=True)
class Proof:
    """All forms of one model."""

    model: str
    base: str
    base_fingerprint: str
    created: str
    prompts: tuple[str, ...]
    answers: tuple[str, ...]
    """Of the reference: the adapter on its base, in float32."""
    forms: tuple[FormProof, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst of all."""
        return max((form.verdict for form in self.forms), key=VERDICTS.index)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"verdict": self.verdict, **asdict(self)}


def first_difference(one: Sequence[Any], other: Sequence[Any]) -> int:
    """Return the first place where two differ: the length of the shorter where it begins the longer."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def around(text: str, at: int) -> str:
    """Return what is about one place of a text."""
    return text[max(0, at - 20) : at + 40]
