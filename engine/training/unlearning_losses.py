"""The objectives of unlearning, as functions of log-probabilities. Minimised, all of them.

Shapes: B rows, T time, V vocabulary, N scored tokens. Log-probabilities are 0 where nothing is scored.

- Gradient ascent: Jang et al., 2023, "Knowledge Unlearning for Mitigating Privacy Risks in Language Models"
  (arXiv:2210.01504); with descent on what is to be kept ("gradient difference"): Liu et al., 2022, "Continual Learning
  and Private Unlearning" (arXiv:2203.12817), as in Maini et al., 2024, "TOFU" (arXiv:2401.06121).
- NPO: Zhang et al., 2024, "Negative Preference Optimization: From Catastrophic Collapse to Effective Unlearning"
  (arXiv:2404.05868), equation 3.
- SimNPO: Fan et al., 2024, "Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning"
  (arXiv:2410.07163), equation 4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def negative_log_likelihood(log_probs_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Return the mean over all scored tokens of the batch, in nats."""
    return -log_probs_BT.sum() / mask_BT.sum().clamp(min=1)


def gradient_ascent(log_probs_BT: Tensor, mask_BT: Tensor, limit: float | None = None) -> Tensor:
    """Return the negative of the negative log-likelihood: it has no lower bound unless it is given one.

    The gradient of a token is 1 - p: all of what is forgotten, nothing of what the model is sure of. Without a limit
    the tokens that were forgotten long ago take the steps from the others, and from the rows to retain.

    Args:
        log_probs_BT: Of the answers' tokens.
        mask_BT: Which are scored.
        limit: Nats from which a token counts with these and is pushed no further.
    """
    bounded_BT = log_probs_BT if limit is None else log_probs_BT.clamp(min=-limit)
    return -negative_log_likelihood(bounded_BT, mask_BT)


def npo(log_probs_BT: Tensor, reference_log_probs_BT: Tensor, beta: float) -> Tensor:
    """Return (2 / beta) mean log(1 + (p / p_reference)^beta), over whole answers.

    It begins at (2 / beta) ln 2, where model and reference are the same; its gradient tends to that of gradient ascent
    as beta tends to 0.
    """
    log_ratio_B = log_probs_BT.sum(dim=1) - reference_log_probs_BT.sum(dim=1)
    return -(2.0 / beta) * functional.logsigmoid(-beta * log_ratio_B).mean()


def simnpo(log_probs_BT: Tensor, mask_BT: Tensor, beta: float, gamma: float) -> Tensor:
    """Return -(2 / beta) mean log sigmoid(-(beta / length) log p - gamma): it needs no reference."""
    mean_log_prob_B = log_probs_BT.sum(dim=1) / mask_BT.sum(dim=1).clamp(min=1)
    return -(2.0 / beta) * functional.logsigmoid(-beta * mean_log_prob_B - gamma).mean()


def divergence(logits_NV: Tensor, reference_logits_NV: Tensor) -> Tensor:
    """Return the mean over tokens of KL(reference || model), in nats: 0 where the model is the reference."""
    model = functional.log_softmax(logits_NV.float(), dim=-1)
    reference = functional.log_softmax(reference_logits_NV.float(), dim=-1)
    return torch.sum(reference.exp() * (reference - model), dim=-1).sum() / max(1, logits_NV.shape[0])
