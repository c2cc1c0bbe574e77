"""Weights read as 8-bit integers where a language model says one token at a time on a CPU.

A single token's matrix products only read the weights once, so a step takes as long as that: a quarter of the bytes are
read in a fraction of the time. Prompts are read with the float32 weights, as are batches and whatever learns.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

EXACT = 64  # likeliest tokens whose scores are worked out again in float32
ROWS = 256  # that are packed at a time


class PackedLinear(nn.Linear):
    """A linear layer with a copy of its weight in 8 bits an element and one scale a row, for single tokens.

    The copy is made at the first single token, and anew where the weight has changed since (an adapter was merged).
    """

    exact = (
        False  # whether the likeliest outputs are worked out in float32: bfloat16 has ties among a vocabulary's scores
    )
    _packed: tuple[int, torch.Tensor, torch.Tensor] | None = None  # the weight's version, its integers, their scales

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """[..., D_in] -> [..., D_out]."""
        alone = input.numel() == self.in_features and not torch.is_grad_enabled()
        if not alone or input.dtype != torch.float32 or input.device.type != "cpu":
            return super().forward(input)
        rows, scales = self._integers()
        row = input.reshape(1, -1)
        said = torch._weight_int8pack_mm(row.bfloat16(), rows, scales).float()  # [1, D_out]
        if self.exact:
            first = said[0].topk(min(EXACT, self.out_features)).indices
            said[0, first] = self.weight[first] @ row[0]
        if self.bias is not None:
            said = said + self.bias
        return said.reshape(*input.shape[:-1], self.out_features)

    def _integers(self) -> tuple[torch.Tensor, torch.Tensor]:
        version = self.weight._version
        if self._packed is None or self._packed[0] != version:
            self._packed = version, *_integers_of(self.weight.detach())
        return self._packed[1:]


def _integers_of(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """weight [N, D] -> int8 [N, D] and scales bfloat16 [N]; some rows at a time, which stay in the cache."""
    largest = torch.maximum(weight.amax(dim=1), -weight.amin(dim=1)).clamp(min=1e-8)
    scales = (largest / 126).bfloat16()  # not 127: bfloat16 may round it down
    rows = torch.empty(weight.shape, dtype=torch.int8)
    for at in range(0, len(weight), ROWS):
        part = slice(at, at + ROWS)
        rows[part] = torch.mul(weight[part], 1 / scales[part].float()[:, None]).round_()
    return rows, scales


def pack(model: Any) -> None:
    """Let every linear layer of a float32 language model read single tokens so; nothing else of it changes."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = PackedLinear
    head = model.get_output_embeddings()
    if isinstance(head, PackedLinear):
        head.exact = True
