"""Linear layers with 8-bit copies: single tokens read those, everything else the weights themselves."""

from __future__ import annotations

import pytest
import tiny
import torch
from torch import nn

from connector.llm.packed import PackedLinear, pack


def layer(rows: int = 640, width: int = 96, bias: bool = False) -> tuple[nn.Linear, PackedLinear]:
    """The same layer twice, the second one packed."""
    torch.manual_seed(0)
    plain, other = (nn.Linear(width, rows, bias=bias) for _ in range(2))
    other.load_state_dict(plain.state_dict())
    other.__class__ = PackedLinear
    return plain.eval(), other


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(96,), (1, 96), (1, 1, 96)])
def test_a_single_token_is_read_from_8_bits_to_within_a_hundredth(shape: tuple[int, ...], bias: bool) -> None:
    plain, quick = layer(bias=bias)
    row = torch.randn(shape)
    with torch.inference_mode():
        right, said = plain(row), quick(row)
    assert said.shape == right.shape and said.dtype == torch.float32
    assert not torch.equal(said, right)
    assert float((said - right).norm() / right.norm()) < 0.015


def test_prompts_batches_and_what_learns_are_read_exactly() -> None:
    plain, quick = layer()
    rows = torch.randn(3, 96)
    with torch.inference_mode():
        assert torch.equal(quick(rows), plain(rows))
    row = torch.randn(1, 96, requires_grad=True)
    assert torch.equal(quick(row), plain(row))
    quick(row).sum().backward()
    assert row.grad is not None and quick.weight.grad is not None


def test_a_changed_weight_is_packed_anew() -> None:
    _, quick = layer()
    row = torch.randn(1, 96)
    with torch.inference_mode():
        before = quick(row)
    with torch.no_grad():
        quick.weight *= 2  # as an adapter is merged
    with torch.inference_mode():
        assert torch.allclose(quick(row), 2 * before, rtol=0.02, atol=0.02)


def test_the_likeliest_tokens_of_a_vocabulary_are_told_apart_exactly() -> None:
    """Scores in bfloat16 would have many a tie."""
    plain, quick = layer()
    quick.exact = True
    with torch.inference_mode():
        for seed in range(20):
            torch.manual_seed(seed)
            row = 5 * torch.randn(1, 96)
            right, said = plain(row)[0], quick(row)[0]
            first = right.topk(5)
            assert torch.equal(said.topk(5).indices, first.indices)
            assert torch.allclose(said[first.indices], first.values, atol=1e-4)


def test_every_layer_of_a_model_is_packed_and_its_weights_are_what_they_were() -> None:
    model = tiny.model().llm.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    pack(model)
    try:
        assert linear and all(type(module) is PackedLinear for module in linear)
        assert [module for module in linear if module.exact] == [model.get_output_embeddings()]  # type: ignore[union-attr]
        after = model.state_dict()
        assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    finally:
        for module in linear:
            vars(module).pop("exact", None)
            module.__class__ = nn.Linear
