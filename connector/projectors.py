"""Learnable connectors, one config field apart: features [B, N, D_enc] -> soft tokens [B, M, D_llm].

A connector is a function of the features (token-level fusion). One that works inside the language model (feature-level
fusion, Flamingo's gated cross-attention) returns no tokens (M = 0) and attaches its layers with `attached`; all others
attach nothing. So both kinds have one interface: `tokens = connector(features)`, `with connector.attached(llm, features)`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class ProjectorConfig:
    """The shape of a connector."""

    kind: str = "mlp"  # a row of PROJECTORS
    n_features: int = 245  # N, views x cells
    d_enc: int = 564
    d_llm: int = 576
    n_tokens: int = 49  # M: pooled (linear, mlp) or queried (qformer, crossattn's inner queries)
    hidden: int = 1024  # width of an MLP's or Q-Former's inside
    layers: int = 2  # depth of a Q-Former
    heads: int = 8
    every: int = 4  # cross-attention stands before every k-th layer of the language model


class Projector(nn.Module):
    """Base: a connector that returns tokens and attaches nothing."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(config.d_enc)

    @property
    def n_tokens(self) -> int:
        """M."""
        return self.config.n_tokens

    @contextlib.contextmanager
    def attached(self, llm: nn.Module, features: Tensor) -> Iterator[None]:
        """Within this context the connector's inner layers, if it has any, take part in the language model."""
        yield


class Linear(Projector):
    """One matrix on features pooled to M tokens (LLaVA's first connector, arXiv 2304.08485)."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__(config)
        self.project = nn.Linear(config.d_enc, config.d_llm)

    def forward(self, features: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool1d(self.norm(features).transpose(1, 2), self.n_tokens)  # [B, D_enc, M]
        return self.project(pooled.transpose(1, 2))  # [B, M, D_llm]


class MLP(Projector):
    """Two matrices with a GELU between (LLaVA-1.5, arXiv 2310.03744)."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__(config)
        self.project = nn.Sequential(
            nn.Linear(config.d_enc, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.d_llm)
        )

    def forward(self, features: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool1d(self.norm(features).transpose(1, 2), self.n_tokens)  # [B, D_enc, M]
        return self.project(pooled.transpose(1, 2))  # [B, M, D_llm]


class QFormer(Projector):
    """M learned queries that attend to each other and to the features (BLIP-2, arXiv 2301.12597)."""

    def __init__(self, config: ProjectorConfig) -> None:
        super().__init__(config)
        width = config.hidden
        self.enter = nn.Linear(config.d_enc, width)
        self.place = nn.Parameter(torch.randn(config.n_features, width) * 0.02)
        self.queries = nn.Parameter(torch.randn(config.n_tokens, width) * 0.02)
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, config.heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(config.layers)
        )
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.d_llm))

    def forward(self, features: Tensor) -> Tensor:
        memory = self.enter(self.norm(features)) + self.place  # [B, N, width]
        queries = self.queries.expand(len(features), -1, -1)  # [B, M, width]
        for layer in self.layers:
            queries = layer(queries, memory)
        return self.leave(queries)  # [B, M, D_llm]


class GatedCrossAttention(Projector):
    """Layers inside the language model that look at the features (Flamingo, arXiv 2204.14198, section 3.1.2).

    Each stands before every `every`-th decoder layer: x + tanh(a) attention(x, features), then x + tanh(b) mlp(x). The
    gates a and b start at 0, so an untrained connector leaves the language model's logits exactly as they were.
    """

    def __init__(self, config: ProjectorConfig, n_layers: int = 30) -> None:
        super().__init__(config)
        self.enter = nn.Linear(config.d_enc, config.d_llm)
        self.place = nn.Parameter(torch.randn(config.n_features, config.d_llm) * 0.02)
        self.inner = nn.ModuleList(_GatedLayer(config.d_llm, config.heads) for _ in range(0, n_layers, config.every))

    @property
    def n_tokens(self) -> int:
        return 0

    def forward(self, features: Tensor) -> Tensor:
        return features.new_zeros(len(features), 0, self.config.d_llm)  # [B, 0, D_llm]

    @contextlib.contextmanager
    def attached(self, llm: nn.Module, features: Tensor) -> Iterator[None]:
        memory = self.enter(self.norm(features)) + self.place  # [B, N, D_llm]
        layers = decoder_layers(llm)[:: self.config.every]
        hooks = [
            layer.register_forward_pre_hook(_before(inner, memory), with_kwargs=True)
            for layer, inner in zip(layers, self.inner, strict=True)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


class _GatedLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.gates = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        gates = self.gates.tanh()
        x = x + gates[0] * self.attention(self.norm1(x), memory, memory, need_weights=False)[0]  # [B, T, D_llm]
        return x + gates[1] * self.mlp(self.norm2(x))


def _before(inner: _GatedLayer, memory: Tensor) -> Any:
    def hook(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        if args:
            return (inner(args[0], memory), *args[1:]), kwargs
        return args, kwargs | {"hidden_states": inner(kwargs["hidden_states"], memory)}

    return hook


def decoder_layers(llm: nn.Module) -> nn.ModuleList:
    """The list of decoder layers of a transformers causal model, wrapped by peft or not."""
    lists = [module for name, module in llm.named_modules() if name.endswith("layers") and isinstance(module, nn.ModuleList)]
    return max(lists, key=len)


PROJECTORS: dict[str, type[Projector]] = {
    "linear": Linear,
    "mlp": MLP,
    "qformer": QFormer,
    "crossattn": GatedCrossAttention,
}
