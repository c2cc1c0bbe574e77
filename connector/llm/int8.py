"""Decoding with weights in int8 on a CPU: a token is made as fast as weights are read, now a quarter.

A linear layer keeps its weights in float32 for prompts and batches, and a copy in int8, a scale a row, for one token at
a time; activations stay in bfloat16, so that no outlier of theirs is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

LEAST_WIDTH = 768  # of layers that gain from it: smaller models are fast enough, and stay exact


def speed_up(model: Any) -> int:
    """Give the linear layers of `model`, on a CPU in float32, int8 weights for single tokens; how many got them."""
    import torch
    from torch import nn

    changed = 0
    for module in model.modules():
        if (
            type(module) is nn.Linear
            and module.weight.dtype == torch.float32
            and module.weight.device.type == "cpu"
            and module.in_features >= LEAST_WIDTH
        ):
            module.forward = _Forward(module)  # type: ignore[method-assign, assignment]
            changed += 1
    return changed


def forget(model: Any) -> None:
    """Make the int8 copies anew at the next token: the weights have changed."""
    for module in model.modules():
        if isinstance(module.forward, _Forward):
            module.forward.packed = None


class _Forward:
    """The forward of a linear layer: int8 for one row, the layer's own for more."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        self.layer = layer
        self.packed: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(self, inputs: torch.Tensor) -> torch.Tensor:
        import torch
        from torch.nn import functional as F

        layer = self.layer
        if inputs.numel() != inputs.shape[-1] or torch.is_grad_enabled():
            return F.linear(inputs, layer.weight, layer.bias)
        if self.packed is None:
            scale = layer.weight.abs().amax(1, keepdim=True).clamp(min=1e-8) / 127
            int8 = (layer.weight / scale).round().to(torch.int8)
            self.packed = (int8, scale[:, 0].to(torch.bfloat16))
        int8, scale = self.packed
        out = torch._weight_int8pack_mm(inputs.reshape(1, -1).to(torch.bfloat16), int8, scale).float()
        if layer.bias is not None:
            out = out + layer.bias
        return out.view(*inputs.shape[:-1], -1)
