"""What every connector is: a function [B, N, D_enc] -> [B, M, D_llm], plus layers it may attach inside the LLM.

That was decided once, for all kinds. Token-level fusion is the function alone (M soft tokens among the words, nothing
attached); feature-level fusion attaches layers (gated cross-attention returns M = 0 tokens, a visual expert M > 0). So
the rest of the program knows one interface: `tokens = connector(features)`, `with connector.attached(llm, features)`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from experts.errors import ModelError


@dataclass(frozen=True)
class ProjectorConfig:
    """The shape of a connector. A field that a kind does not need is left alone."""

    kind: str = "mlp"  # a row of PROJECTORS
    n_features: int = 245  # N, views x cells
    d_enc: int = 564
    d_llm: int = 576
    n_tokens: int = 49  # M: pooled (linear, mlp, expert), queried (qformer, resampler) or spoken (vocabulary)
    hidden: int = 1024  # width of an MLP's, Q-Former's or resampler's inside
    layers: int = 2  # depth of a Q-Former or resampler
    heads: int = 8  # of attention
    every: int = 4  # crossattn: a layer before every k-th layer of the language model
    rank: int = 16  # expert: rank of the difference between its matrices and the language model's
    views: int = 5  # vocabulary: the whole picture, then square tiles of it
    names: tuple[str, ...] = ()  # vocabulary: the encoder's classes, in the order of its classifier
    words: int = 4  # vocabulary: tokens a name has at most
    top: int = 5  # vocabulary: classes that are mixed
    d_head: int = 320  # vocabulary: the first channels of a feature, which the encoder's classifier reads
    head_hidden: int = 1280  # vocabulary: width between the two matrices of that classifier


class Projector(nn.Module):
    """Base: a connector that returns tokens and attaches nothing.

    `llm` is the language model it will serve; only connectors with layers inside it look at it, to learn its shape.
    """

    def __init__(self, config: ProjectorConfig, llm: Any = None) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.LayerNorm(config.d_enc)

    @property
    def n_tokens(self) -> int:
        """M."""
        return self.config.n_tokens

    @contextlib.contextmanager
    def attached(self, llm: Any, features: Tensor, slots: Tensor | None = None) -> Iterator[None]:
        """Within this context the connector's inner layers, if it has any, take part in the language model.

        Args:
            features: [B, N, D_enc], one image a sequence; or [b, N, D_enc], all of the one sequence there is.
            slots: [B, T] bool, True at image tokens; only a visual expert wants to know.
        """
        yield


def decoder(llm: Any) -> Any:
    """The stack of decoder layers of a transformers model, wrapped by peft or not."""
    base = llm.get_base_model() if hasattr(llm, "get_base_model") else llm
    return base.get_decoder() if hasattr(base, "get_decoder") else base.model


def decoder_layers(llm: Any) -> nn.ModuleList:
    """The list of decoder layers of a causal model (Llama's `layers`) or of an encoder-decoder (T5's `block`)."""
    lists = [child for child in decoder(llm).children() if isinstance(child, nn.ModuleList)]
    if not lists:
        raise ModelError(f"{type(llm).__name__} has no list of decoder layers that a connector could attach to")
    return max(lists, key=len)
