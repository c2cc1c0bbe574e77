"""Losses: the answer's likelihood (survey, section 3.2) and direct preference optimisation (section 3.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Head = Callable[[Tensor], Tensor]  # hidden states [..., D_llm] -> logits [..., V]
MEANS = ("token", "answer", "formula")


def token_logp(hidden: Tensor, head: Head, labels: Tensor) -> Tensor:
    """log p of each supervised token [K], from the hidden states [K, D_llm] one position before it.

    Only supervised positions come here, so logits [K, V] exist for no other.
    """
    return -F.cross_entropy(head(hidden).float(), labels, reduction="none")  # [K]


def token_weights(answers: Tensor, n_answers: int, mean: str) -> tuple[Tensor, float]:
    """How much each token counts [K], and what the weighted sum is divided by.

    `answers` [K] says which of the `n_answers` answers a token belongs to. With R_i the tokens of an answer:

    token:    every token alike: the mean over all tokens
    answer:   every answer alike: the mean over answers of the mean over its tokens
    formula:  -sum_i log p(R_i | I, M, R_<i; theta) as printed: the mean over answers of the sum of tokens
    """
    if mean == "token":
        return torch.ones_like(answers, dtype=torch.float32), float(len(answers))
    if mean == "formula":
        return torch.ones_like(answers, dtype=torch.float32), float(n_answers)
    lengths = torch.bincount(answers, minlength=n_answers)
    return lengths[answers].float().reciprocal(), float(n_answers)


def answer_loss(
    hidden: Tensor, head: Head, labels: Tensor, answers: Tensor | None = None, mean: str = "token"
) -> tuple[Tensor, float]:
    """The weighted sum of -log p over supervised tokens, and its divisor: loss = sum / divisor.

    Kept apart so that micro-batches and processes add up to the loss of the whole batch exactly.

    Args:
        hidden: [K, D_llm], at the positions before the supervised tokens.
        labels: [K].
        answers: [K], which answer each token belongs to; needed unless `mean` is "token".
    """
    groups = torch.zeros_like(labels) if answers is None else answers
    weights, divisor = token_weights(groups, int(groups.max()) + 1 if len(groups) else 0, mean)
    return -(weights * token_logp(hidden, head, labels)).sum(), divisor


def sequence_logp(hidden: Tensor, head: Head, labels: Tensor, rows: Tensor, n_rows: int) -> Tensor:
    """log p of each answer [n_rows]: the sum over its tokens; `rows` [K] says which row a token is of."""
    logp = token_logp(hidden, head, labels)
    return logp.new_zeros(n_rows).index_add(0, rows, logp)


def dpo_loss(
    policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float, label_smoothing: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290, equation 7), per pair.

    -log sigmoid(beta (log pi(y_w|x) / pi_ref(y_w|x) - log pi(y_l|x) / pi_ref(y_l|x))); with `label_smoothing` e, which
    says that a share e of the pairs is labelled the wrong way round, (1 - e) times it plus e times the loss of the
    swapped pair (conservative DPO).

    Args:
        policy_w, policy_l, ref_w, ref_l: log-probabilities [P] of the chosen (w) and the rejected (l) answers.

    Returns:
        The loss [P], whether the implied reward prefers the chosen answer [P] (0 or 1), and the reward margin [P].
    """
    margin = beta * ((policy_w - ref_w) - (policy_l - ref_l))  # [P]
    loss = -(1 - label_smoothing) * F.logsigmoid(margin) - label_smoothing * F.logsigmoid(-margin)
    return loss, (margin.detach() > 0).float(), margin.detach()
