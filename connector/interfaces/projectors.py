"""Learnable connectors, one config field apart: features [B, N, D_enc] -> soft tokens [B, M, D_llm].

Those that work through tokens alone are here; the vocabulary and what attaches inside the language model have files of
their own. See connector/interfaces/base.py for the interface.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from connector.interfaces.base import Projector, ProjectorConfig
from connector.interfaces.feature_fusion import GatedCrossAttention, VisualExpert
from connector.interfaces.vocabulary import Vocabulary

__all__ = ["PROJECTORS", "Projector", "ProjectorConfig"]


class Linear(Projector):
    """One matrix on features pooled to M tokens (LLaVA's first connector, arXiv 2304.08485)."""

    def __init__(self, config: ProjectorConfig, llm: Any = None) -> None:
        super().__init__(config)
        self.project = nn.Linear(config.d_enc, config.d_llm)

    def forward(self, features: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool1d(self.norm(features).transpose(1, 2), self.n_tokens)  # [B, D_enc, M]
        return self.project(pooled.transpose(1, 2))  # [B, M, D_llm]


class MLP(Projector):
    """Two matrices with a GELU between (LLaVA-1.5, arXiv 2310.03744)."""

    def __init__(self, config: ProjectorConfig, llm: Any = None) -> None:
        super().__init__(config)
        self.project = nn.Sequential(
            nn.Linear(config.d_enc, config.hidden), nn.GELU(), nn.Linear(config.hidden, config.d_llm)
        )

    def forward(self, features: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool1d(self.norm(features).transpose(1, 2), self.n_tokens)  # [B, D_enc, M]
        return self.project(pooled.transpose(1, 2))  # [B, M, D_llm]


class QFormer(Projector):
    """M learned queries that attend to each other and to the features (BLIP-2, arXiv 2301.12597)."""

    def __init__(self, config: ProjectorConfig, llm: Any = None) -> None:
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


class Resampler(Projector):
    """M latents resample the features (Flamingo's perceiver resampler, arXiv 2204.14198, section 3.1.1).

    Unlike a Q-Former's, a layer has one attention only: latents ask, and features and latents together answer.
    """

    def __init__(self, config: ProjectorConfig, llm: Any = None) -> None:
        super().__init__(config)
        width = config.hidden
        self.enter = nn.Linear(config.d_enc, width)
        self.place = nn.Parameter(torch.randn(config.n_features, width) * 0.02)
        self.latents = nn.Parameter(torch.randn(config.n_tokens, width) * 0.02)
        self.layers = nn.ModuleList(_ResamplerLayer(width, config.heads) for _ in range(config.layers))
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, config.d_llm))

    def forward(self, features: Tensor) -> Tensor:
        seen = self.enter(self.norm(features)) + self.place  # [B, N, width]
        latents = self.latents.expand(len(features), -1, -1)  # [B, M, width]
        for layer in self.layers:
            latents = layer(latents, seen)
        return self.leave(latents)  # [B, M, D_llm]


class _ResamplerLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_seen, self.norm_latents, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, latents: Tensor, seen: Tensor) -> Tensor:
        asking = self.norm_latents(latents)  # [B, M, width]
        answering = torch.cat([self.norm_seen(seen), asking], dim=1)  # [B, N + M, width]
        latents = latents + self.attention(asking, answering, answering, need_weights=False)[0]
        return latents + self.mlp(self.norm_mlp(latents))


PROJECTORS: dict[str, type[Projector]] = {
    "linear": Linear,
    "mlp": MLP,
    "vocabulary": Vocabulary,
    "qformer": QFormer,
    "resampler": Resampler,
    "crossattn": GatedCrossAttention,
    "expert": VisualExpert,
}
