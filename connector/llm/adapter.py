"""Adapters: low-rank changes of a language model's weights, added to them once, for both routes"""

from __future__ import annotations

from typing import TYPE_CHECKING

from connector.llm.language import LanguageModel
from experts.errors import ModelError

if TYPE_CHECKING:
    import torch


def merge_adapter(llm: LanguageModel, tensors: dict[str, torch.Tensor], name: str) -> None:
    """Add a LoRA (W += scale * B A; Hu et al. 2021, arXiv 2106.09685) to the language model's weights, once.

    `tensors` maps `PARAMETER.lora_A` [r, in] and `PARAMETER.lora_B` [out, r], already scaled, to values.
    """
    import torch

    if llm.adapter == name:
        return
    if llm.adapter:
        raise ModelError(f"the language model already carries adapter {llm.adapter}; load it anew for {name}")
    parameters = dict(llm.model.named_parameters())
    pairs = []
    for key in tensors:
        if not key.endswith(".lora_A"):
            continue
        weight = parameters.get(key.removesuffix(".lora_A"))
        a, b = tensors[key].float(), tensors[key.removesuffix("A") + "B"].float()
        if weight is None or weight.shape != (b.shape[0], a.shape[1]):
            raise ModelError(f"adapter {name} does not fit the language model at {key.removesuffix('.lora_A')}")
        pairs.append((weight, a, b))
    with torch.no_grad():  # all fit: only now is a weight changed
        for weight, a, b in pairs:
            weight += (b @ a).to(weight.device, weight.dtype)
    llm.adapter = name
