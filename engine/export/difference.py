"""How far two models' logits are apart. Logits are (T, V): positions of an answer, vocabulary."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Difference:
    """Over all positions compared."""

    positions: int
    max_abs: float
    """Largest difference of two logits."""
    mean_kl: float
    """Kullback-Leibler divergence from the reference, in nats, mean over positions."""
    max_kl: float
    argmax_agreement: float
    """Fraction of positions at which both put the same token first, 0 to 1."""


class Meter:
    """Adds up differences, prompt by prompt: the logits of all would not fit into memory."""

    def __init__(self) -> None:
        self.positions = self.agreed = 0
        self.max_abs = self.kl = self.max_kl = 0.0

    def add(self, reference: NDArray[np.float32], other: NDArray[np.float32]) -> None:
        """Compare one answer. A vocabulary padded with rows that mean nothing is cut to the shorter."""
        width = min(reference.shape[1], other.shape[1])
        one, two = reference[:, :width].astype(np.float64), other[:, :width].astype(np.float64)
        apart = np.abs(one - two)
        if not np.isfinite(apart).all():
            self.max_abs = self.kl = self.max_kl = float("inf")
        else:
            log_p, log_q = _log_softmax(one), _log_softmax(two)
            kl = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
            self.max_abs = max(self.max_abs, float(apart.max(initial=0.0)))
            self.kl += float(kl.sum())
            self.max_kl = max(self.max_kl, float(kl.max(initial=0.0)))
        self.positions += one.shape[0]
        self.agreed += int((one.argmax(axis=1) == two.argmax(axis=1)).sum())

    @property
    def difference(self) -> Difference:
        return Difference(
            self.positions,
            self.max_abs,
            max(0.0, self.kl / max(1, self.positions)),
            max(0.0, self.max_kl),
            self.agreed / max(1, self.positions),
        )


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
