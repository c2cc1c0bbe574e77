"""The vocabulary connector: says what the encoder's classifier sees, in soft words, before any training.

First matrix: the encoder's classifier head. Activation: a softmax, of which the likeliest classes stay. Second matrix:
the class names' input embeddings in the language model. A residual MLP that starts at zero lets training add the rest.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from connector.interfaces.base import Projector, ProjectorConfig

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ROWS = (("",), ("top", "bottom"), ("top", "middle", "bottom"))  # by tiles along a side
COLUMNS = (("",), ("left", "right"), ("left", "center", "right"))


class Vocabulary(Projector):
    """[name] of the whole picture, then [row][column][name] of each tile, then blank tokens up to M.

    A name is a mixture of the `top` likeliest class names, token by token, weighted by their probabilities.
    """

    def __init__(self, config: ProjectorConfig, llm: Any = None) -> None:
        super().__init__(config)
        c = config
        self.classify1 = nn.Linear(c.d_head, c.head_hidden)
        self.classify2 = nn.Linear(c.head_hidden, len(c.names))
        last = nn.Linear(c.hidden, c.d_llm)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.residual = nn.Sequential(nn.Linear(c.d_enc, c.hidden), nn.GELU(), last)
        self.register_buffer("names_words", torch.zeros(len(c.names), c.words, c.d_llm), persistent=False)
        self.register_buffer("places_words", torch.zeros(c.views - 1, 2, c.d_llm), persistent=False)
        self.register_buffer("blank", torch.zeros(c.d_llm), persistent=False)

    @staticmethod
    def spoken(config: ProjectorConfig) -> int:
        """Tokens that say something before training; M is at least this."""
        return config.words + (config.views - 1) * (2 + config.words)

    def bind(self, tokenizer: PreTrainedTokenizerBase, embeddings: Tensor) -> None:
        """Take the words' embeddings [V, D_llm] from the language model that will read them."""
        table, c = embeddings.detach().float(), self.config
        comma = tokenizer(",", add_special_tokens=False).input_ids[-1]

        def rows(text: str, count: int) -> Tensor:
            ids = tokenizer(f" {text}", add_special_tokens=False).input_ids[-count:]  # the noun of a long name is last
            return table[torch.tensor(ids + [comma] * (count - len(ids)), device=table.device)]  # [count, D_llm]

        self.names_words = torch.stack([rows(name, c.words) for name in c.names])
        side = math.isqrt(c.views - 1)
        places = [(row, column) for row in ROWS[side - 1] for column in COLUMNS[side - 1]] if side else []
        if places:
            self.places_words = torch.stack([torch.cat([rows(word, 1) for word in place]) for place in places])
        self.blank = table[comma]

    def start_from(self, head: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        """Start as the encoder's classifier (W1, b1, W2, b2)."""
        with torch.no_grad():
            for parameter, value in zip(
                (self.classify1.weight, self.classify1.bias, self.classify2.weight, self.classify2.bias),
                head,
                strict=True,
            ):
                parameter.copy_(value)

    def class_logits(self, features: Tensor) -> Tensor:
        """Features [B, N, D_enc] -> the classifier's logits for each view [B, V, K]."""
        views = features.unflatten(1, (self.config.views, -1))[..., : self.config.d_head]  # [B, V, cells, d_head]
        return self.classify2(F.relu6(self.classify1(views)).mean(2))

    def forward(self, features: Tensor) -> Tensor:
        c = self.config
        batch = len(features)
        likeliest, classes = self.class_logits(features).softmax(-1).topk(min(c.top, len(c.names)), dim=-1)
        weights = likeliest / likeliest.sum(-1, keepdim=True)  # [B, V, top]
        names = torch.einsum("bvk,bvkwd->bvwd", weights, self.names_words[classes])  # [B, V, words, D_llm]
        places = self.places_words.expand(batch, -1, -1, -1)
        tiles = torch.cat([places, names[:, 1:]], dim=2)  # [B, V - 1, 2 + words, D_llm]
        rest = self.blank.expand(batch, c.n_tokens - self.spoken(c), -1)
        said = torch.cat([names[:, 0], tiles.flatten(1, 2), rest], dim=1)  # [B, M, D_llm]
        return said + self.residual(self._pooled(features))

    def _pooled(self, features: Tensor) -> Tensor:
        """Features at the tokens [B, M, D_enc]: those of a view in as many strips as it has tokens, then of all."""
        c = self.config
        views = self.norm(features).transpose(1, 2).unflatten(2, (c.views, -1))  # [B, D_enc, V, cells]
        strips = [F.adaptive_avg_pool1d(views[:, :, 0], c.words)]
        strips += [F.adaptive_avg_pool1d(views[:, :, at], 2 + c.words) for at in range(1, c.views)]
        rest = c.n_tokens - self.spoken(c)
        if rest:
            strips.append(F.adaptive_avg_pool1d(views.flatten(2), rest))
        return torch.cat(strips, dim=2).transpose(1, 2)

    def describe(self, features: Tensor, row: int = 0) -> list[dict[str, object]]:
        """What the connector says of one image's views before training added to it: for people and traces."""
        with torch.no_grad():
            best, classes = self.class_logits(features[row : row + 1])[0].softmax(-1).max(-1)  # [V]
        return [
            {"view": view, "name": self.config.names[int(index)], "p": round(float(p), 3)}
            for view, (p, index) in enumerate(zip(best, classes, strict=True))
        ]
