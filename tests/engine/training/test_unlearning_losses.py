"""Each objective against its formula, written again in another way, and its gradient against finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from engine.training import unlearning_losses as losses

LENGTHS = (3, 5, 1)
BETA, GAMMA, LIMIT = 0.4, 0.2, 1.5


def scores(seed: int) -> tuple[Tensor, Tensor]:
    """Return log-probabilities of three answers, 0 where nothing is scored, and which are."""
    generator = torch.Generator().manual_seed(seed)
    mask_BT = torch.zeros(len(LENGTHS), 6, dtype=torch.bool)
    for row, length in enumerate(LENGTHS):
        mask_BT[row, 1 : 1 + length] = True
    log_probs_BT = -3 * torch.rand(mask_BT.shape, generator=generator, dtype=torch.float64)
    return log_probs_BT.masked_fill(~mask_BT, 0.0), mask_BT


def by_hand(name: str, log_probs_BT: Tensor, reference_BT: Tensor, mask_BT: Tensor) -> float:
    """The same in plain Python, one row at a time, from probabilities instead of logarithms where that can be."""
    rows = [[p for p, scored in zip(row, keep, strict=True) if scored] for row, keep in zip(
        log_probs_BT.tolist(), mask_BT.tolist(), strict=True
    )]  # fmt: skip
    reference = [[p for p, scored in zip(row, keep, strict=True) if scored] for row, keep in zip(
        reference_BT.tolist(), mask_BT.tolist(), strict=True
    )]  # fmt: skip
    if name.startswith("gradient_ascent"):
        every = [max(p, -LIMIT) if name.endswith("limited") else p for row in rows for p in row]
        return float(sum(every) / len(every))
    found = []
    for row, then in zip(rows, reference, strict=True):
        if name == "npo":
            ratio = math.prod(math.exp(p) for p in row) / math.prod(math.exp(p) for p in then)
            found.append(2 / BETA * math.log(1 + ratio**BETA))
        else:
            margin = -BETA / len(row) * sum(row) - GAMMA
            found.append(-2 / BETA * math.log(1 / (1 + math.exp(-margin))))
    return sum(found) / len(found)


OBJECTIVES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "gradient_ascent": lambda log_probs, _, mask: losses.gradient_ascent(log_probs, mask),
    "gradient_ascent, limited": lambda log_probs, _, mask: losses.gradient_ascent(log_probs, mask, LIMIT),
    "npo": lambda log_probs, reference, _: losses.npo(log_probs, reference, BETA),
    "simnpo": lambda log_probs, _, mask: losses.simnpo(log_probs, mask, BETA, GAMMA),
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_is_its_formula(name: str) -> None:
    (log_probs_BT, mask_BT), (reference_BT, _) = scores(1), scores(2)
    found = OBJECTIVES[name](log_probs_BT, reference_BT, mask_BT)
    assert found.item() == pytest.approx(by_hand(name, log_probs_BT, reference_BT, mask_BT), rel=1e-12)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_gradient_is_the_difference_quotient_of_the_formula(name: str) -> None:
    (log_probs_BT, mask_BT), (reference_BT, _) = scores(3), scores(4)
    log_probs_BT.requires_grad_(True)
    OBJECTIVES[name](log_probs_BT, reference_BT, mask_BT).backward()
    assert log_probs_BT.grad is not None
    step = 1e-6
    for row, place in mask_BT.nonzero().tolist():
        sides = []
        for sign in (1, -1):
            moved = log_probs_BT.detach().clone()
            moved[row, place] += sign * step
            sides.append(by_hand(name, moved, reference_BT, mask_BT))
        quotient = (sides[0] - sides[1]) / (2 * step)
        assert log_probs_BT.grad[row, place].item() == pytest.approx(quotient, rel=1e-5)


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
def test_npo_begins_at_two_over_beta_times_ln_2(beta: float) -> None:
    log_probs_BT, _ = scores(5)
    assert losses.npo(log_probs_BT, log_probs_BT, beta).item() == pytest.approx(2 / beta * math.log(2))


def test_the_gradient_of_npo_tends_to_that_of_gradient_ascent_as_beta_falls() -> None:
    (log_probs_BT, mask_BT), (reference_BT, _) = scores(6), scores(7)

    def gradient(objective: Callable[[Tensor], Tensor]) -> Tensor:
        at = log_probs_BT.clone().requires_grad_(True)
        objective(at).backward()
        assert at.grad is not None
        return at.grad * mask_BT

    # Ascent of whole answers: a sum over tokens, a mean over rows.
    ascent = gradient(lambda at: at.sum(dim=1).mean())
    near = gradient(lambda at: losses.npo(at, reference_BT, 1e-4))
    assert torch.allclose(near, ascent, rtol=1e-3)


def test_the_divergence_is_that_of_torch_and_nothing_at_the_reference() -> None:
    generator = torch.Generator().manual_seed(8)
    logits_NV, reference_NV = (torch.randn(7, 11, generator=generator) for _ in range(2))
    theirs = torch.nn.functional.kl_div(
        logits_NV.log_softmax(-1), reference_NV.log_softmax(-1), reduction="batchmean", log_target=True
    )
    assert losses.divergence(logits_NV, reference_NV).item() == pytest.approx(theirs.item(), rel=1e-5)
    assert losses.divergence(logits_NV, logits_NV).item() == pytest.approx(0.0, abs=1e-6)


def test_the_likelihood_of_nothing_is_no_division_by_zero() -> None:
    nothing_BT = torch.zeros(2, 3)
    assert losses.negative_log_likelihood(nothing_BT, nothing_BT.bool()).item() == 0.0
