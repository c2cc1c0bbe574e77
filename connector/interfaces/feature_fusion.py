"""Connectors with layers inside the language model (feature-level fusion): gated cross-attention, visual expert.

They attach by hooks while a forward or a generation runs and leave nothing behind. Both start as no change at all.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from connector.interfaces.base import Projector, ProjectorConfig, decoder_layers
from experts.errors import ConfigError, ModelError


class GatedCrossAttention(Projector):
    """Layers inside the language model that look at the features (Flamingo, arXiv 2204.14198, section 3.1.2).

    Each stands before every `every`-th decoder layer: x + tanh(a) attention(x, features), then x + tanh(b) mlp(x). The
    gates a and b start at 0, so an untrained connector leaves the language model's logits exactly as they were. What a
    position gets depends on itself and the features alone, so a KV cache changes nothing.
    """

    def __init__(self, config: ProjectorConfig, llm: Any = None) -> None:
        super().__init__(config)
        assert llm is not None, "crossattn needs the language model that it attaches to"
        count = len(decoder_layers(llm))
        self.enter = nn.Linear(config.d_enc, config.d_llm)
        self.place = nn.Parameter(torch.randn(config.n_features, config.d_llm) * 0.02)
        self.inner = nn.ModuleList(_GatedLayer(config.d_llm, config.heads) for _ in range(0, count, config.every))

    @property
    def n_tokens(self) -> int:
        return 0

    def forward(self, features: Tensor) -> Tensor:
        return features.new_zeros(len(features), 0, self.config.d_llm)  # [B, 0, D_llm]

    @contextlib.contextmanager
    def attached(self, llm: Any, features: Tensor, slots: Tensor | None = None) -> Iterator[None]:
        memory = self.enter(self.norm(features)) + self.place  # [b, N, D_llm]
        with contextlib.ExitStack() as stack:
            for layer, inner in zip(decoder_layers(llm)[:: self.config.every], self.inner, strict=True):
                change = functools.partial(inner, memory=memory)
                stack.callback(layer.register_forward_pre_hook(_before(change), with_kwargs=True).remove)
            yield


class _GatedLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.gates = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        memory = _one_a_row(memory, len(x))
        gates = self.gates.tanh()
        asking = self.norm1(x.to(memory.dtype))
        seen = gates[0] * self.attention(asking, memory, memory, need_weights=False)[0]  # [B, T, D_llm]
        x = x + seen.to(x.dtype)
        return x + (gates[1] * self.mlp(self.norm2(x.to(memory.dtype)))).to(x.dtype)


def _one_a_row(memory: Tensor, rows: int) -> Tensor:
    """What each of `rows` sequences looks at [rows, _, D]: its own image, or all images where it is alone."""
    if len(memory) == rows:
        return memory
    if rows == 1:
        return memory.flatten(0, 1)[None]
    raise ModelError(
        f"{len(memory)} images for a batch of {rows} sequences; layers inside the language model take one image a "
        "sequence, or several for one sequence"
    )


def _before(change: Callable[[Tensor], Tensor]) -> Callable[..., tuple[tuple, dict]]:
    """A pre-hook that changes a decoder layer's hidden states, passed by position or by name."""

    def hook(module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": change(kwargs["hidden_states"])}

    return hook


class VisualExpert(Projector):
    """Image tokens pass through matrices of their own in every layer (CogVLM, arXiv 2311.03079, section 2.1).

    Tokens come from an MLP. At image positions the queries, keys, values and the MLP of each layer use W + B A where
    words use W. CogVLM learns whole matrices that start as copies of W; this learns their difference, at rank
    `config.rank`, starting at B = 0: the same start, some tens of times smaller. Text positions never change.
    """

    PARTS = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "down_proj")

    def __init__(self, config: ProjectorConfig, llm: Any = None) -> None:
        super().__init__(config)
        assert llm is not None, "expert needs the language model that it attaches to"
        if llm.config.is_encoder_decoder:
            raise ConfigError("a visual expert needs a causal language model: an encoder-decoder keeps no image tokens")
        self.project = nn.Sequential(
            nn.Linear(config.d_enc, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.d_llm)
        )
        self.down, self.up = nn.ParameterDict(), nn.ParameterDict()
        for name, module in self._places(llm):
            self.down[name] = nn.Parameter(torch.randn(config.rank, module.in_features) / module.in_features**0.5)
            self.up[name] = nn.Parameter(torch.zeros(module.out_features, config.rank))

    @classmethod
    def _places(cls, llm: Any) -> Iterator[tuple[str, Any]]:
        """(our name, projection) of every projection that has an expert, wrapped by peft or not."""
        for index, layer in enumerate(decoder_layers(llm)):
            for name, module in layer.named_modules():
                part = name.rsplit(".", 1)[-1]
                if part in cls.PARTS and hasattr(module, "in_features"):
                    yield f"{index}_{part}", module

    def forward(self, features: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool1d(self.norm(features).transpose(1, 2), self.n_tokens)  # [B, D_enc, M]
        return self.project(pooled.transpose(1, 2))  # [B, M, D_llm]

    @contextlib.contextmanager
    def attached(self, llm: Any, features: Tensor, slots: Tensor | None = None) -> Iterator[None]:
        if slots is None:
            raise ModelError("a visual expert must know which positions are image tokens; pass their slots [B, T]")
        with contextlib.ExitStack() as stack:
            for name, module in self._places(llm):
                hook = _at(slots, self.down[name], self.up[name])
                stack.callback(module.register_forward_hook(hook).remove)
            yield


def _at(slots: Tensor, down: Tensor, up: Tensor) -> Callable[..., Tensor]:
    """A hook that adds B A x to a projection's output at image positions; a step on a KV cache has none."""

    def hook(module: nn.Module, args: tuple, out: Tensor) -> Tensor:
        x, length = args[0], slots.shape[1]
        if x.ndim != 3 or x.shape[1] < length:
            return out
        where = F.pad(slots.to(x.device), (0, x.shape[1] - length))[..., None]  # [B, T, 1]
        extra = F.linear(F.linear(x.to(down.dtype), down), up)  # [B, T, out]
        return out + (where * extra).to(out.dtype)

    return hook
