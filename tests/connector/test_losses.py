"""Losses: against values known by hand, float64 written from the formulas, and trl on the same numbers."""

from __future__ import annotations

import math
import warnings
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from connector.training import losses


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_answer_loss_is_minus_log_of_the_probability_known_by_hand() -> None:
    logits = torch.tensor([[1.0, 3.0, 1.0], [2.0, 2.0, 2.0]]).log()
    total, divisor = losses.answer_loss(logits, lambda h: h, torch.tensor([1, 0]))
    assert float(total) == pytest.approx(-math.log(3 / 5) - math.log(1 / 3))
    assert divisor == 2


def test_loss_at_supervised_positions_equals_transformers_loss_on_all() -> None:
    import tiny

    model = tiny.model()
    ids = torch.randint(0, 200, (2, 9), generator=torch.Generator().manual_seed(1))
    labels = ids.clone()
    labels[:, :5] = -100
    expected = model.llm.model(input_ids=ids, labels=labels).loss
    hidden = model.llm.model.get_decoder()(input_ids=ids).last_hidden_state
    rows, columns = (labels[:, 1:] != -100).nonzero(as_tuple=True)
    total, divisor = losses.answer_loss(hidden[rows, columns], model.head, labels[rows, columns + 1])
    torch.testing.assert_close(total / divisor, expected)


def test_means_differ_as_described() -> None:
    logits = torch.zeros(4, 8)  # every token costs log 8
    logits[3] = torch.tensor([math.log(7.0), *[0.0] * 7])  # the second answer's only token, 0, costs log 2
    labels, answers = torch.zeros(4, dtype=torch.long), torch.tensor([0, 0, 0, 1])
    value = {}
    for mean in losses.MEANS:
        total, divisor = losses.answer_loss(logits, lambda h: h, labels, answers, mean)
        value[mean] = float(total) / divisor
    assert value["token"] == pytest.approx((3 * math.log(8) + math.log(2)) / 4)
    assert value["answer"] == pytest.approx((math.log(8) + math.log(2)) / 2)
    assert value["formula"] == pytest.approx((3 * math.log(8) + math.log(2)) / 2)


def test_sequence_logp_adds_up_the_tokens_of_each_row() -> None:
    hidden, weight = random(5, 4), random(7, 4, seed=1)
    labels, rows = torch.tensor([0, 3, 6, 2, 1]), torch.tensor([0, 0, 2, 2, 2])
    table = torch.log_softmax((hidden @ weight.T).double(), -1)
    expected = [float(table[0, 0] + table[1, 3]), 0.0, float(table[2, 6] + table[3, 2] + table[4, 1])]
    got = losses.sequence_logp(hidden, lambda h: h @ weight.T, labels, rows, 3)
    assert got.tolist() == pytest.approx(expected, abs=1e-5)


def test_dpo_loss_is_log2_when_policy_is_reference() -> None:
    w, other = random(6), random(6, seed=1)
    for smoothing in (0.0, 0.2):
        loss, right, margin = losses.dpo_loss(w, other, w, other, 0.1, smoothing)
        assert loss.tolist() == pytest.approx([math.log(2)] * 6)
        assert margin.tolist() == [0.0] * 6


def test_dpo_loss_equals_the_formula_in_float64() -> None:
    w, other, ref_w, ref_l = (random(6, seed=seed).double() * 5 for seed in range(4))
    loss, right, margin = losses.dpo_loss(w, other, ref_w, ref_l, 0.3)
    for index in range(6):
        ratio = (w[index].exp() / ref_w[index].exp()).log() - (other[index].exp() / ref_l[index].exp()).log()
        assert float(loss[index]) == pytest.approx(-math.log(1 / (1 + math.exp(-0.3 * ratio))))
        assert float(right[index]) == (ratio > 0)


def test_swapping_the_pair_mirrors_the_margin() -> None:
    w, other, ref_w, ref_l = (random(6, seed=seed) for seed in range(4))
    there, back = losses.dpo_loss(w, other, ref_w, ref_l, 0.1)[2], losses.dpo_loss(other, w, ref_l, ref_w, 0.1)[2]
    assert torch.equal(there, -back)


def test_dpo_gradient_raises_the_chosen_and_lowers_the_rejected() -> None:
    w, other = torch.zeros(1, requires_grad=True), torch.zeros(1, requires_grad=True)
    losses.dpo_loss(w, other, torch.zeros(1), torch.zeros(1), 0.1)[0].sum().backward()
    assert w.grad is not None and other.grad is not None
    assert float(w.grad) == pytest.approx(-0.05)  # -beta sigmoid(-margin)
    assert float(other.grad) == pytest.approx(0.05)


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_dpo_loss_and_margin_equal_trl_on_the_same_numbers(beta: float) -> None:
    """trl's own DPOTrainer._compute_loss runs here on a model that returns the given log-probabilities."""
    from accelerate import Accelerator

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # trl's imports warn of things that are not ours
        from trl.trainer.dpo_trainer import DPOTrainer

    pairs, length = 3, 5
    per_token = -random(2 * pairs, length - 1).abs() * 3
    reference = -random(2, pairs, seed=7).abs() * 8
    unused = torch.zeros_like(per_token)
    outputs = SimpleNamespace(log_probs=per_token, entropy=unused, mean_logits=unused, is_top1=unused.bool())
    metrics: Any = defaultdict(lambda: defaultdict(list))
    trainer: Any = SimpleNamespace(
        model=SimpleNamespace(training=True),
        accelerator=Accelerator(cpu=True),
        aux_loss_enabled=False,
        ld_alpha=None,
        precompute_ref_logps=True,
        f_divergence_type="reverse_kl",
        loss_types=["sigmoid"],
        loss_weights=[1.0],
        beta=beta,
        label_smoothing=0.0,
        use_weighting=False,
        _metrics=metrics,
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {
        "input_ids": torch.zeros(2 * pairs, length, dtype=torch.long),
        "attention_mask": torch.ones(2 * pairs, length),
        "completion_mask": torch.ones(2 * pairs, length),
        "ref_chosen_logps": reference[0],
        "ref_rejected_logps": reference[1],
    }
    theirs = DPOTrainer._compute_loss(trainer, lambda **_: outputs, inputs, return_outputs=False)
    chosen, rejected = per_token.sum(1).chunk(2)
    loss, right, margin = losses.dpo_loss(chosen, rejected, reference[0], reference[1], beta)
    torch.testing.assert_close(loss.mean(), theirs)
    assert float(margin.mean()) == pytest.approx(metrics["train"]["rewards/margins"][0], rel=1e-5)
    assert float(right.mean()) == pytest.approx(metrics["train"]["rewards/accuracies"][0])
