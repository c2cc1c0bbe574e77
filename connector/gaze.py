"""A second look: what a connector has found is seen again, larger, so that small things are named like large ones.

In the views of the whole picture a small thing covers a cell or two. A connector that finds things says where they are;
each place becomes a further view of the encoder, filled by it, and a head of the connector names what that view shows.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from connector.resolution import Views

if TYPE_CHECKING:
    from connector.encoders import LiteEncoder
    from experts.media import Image


@dataclasses.dataclass(frozen=True)
class Gazes(Views):
    """The views of an encoder, and `looks` more at places of the image."""

    looks: int = 0

    @property
    def count(self) -> int:
        """V, the number of views of an image."""
        return super().count + self.looks


class Looking:
    """An encoder whose last views of an image are the places that `connector.gaze` names; zeros where it names none."""

    def __init__(self, eyes: LiteEncoder, connector: Any) -> None:
        self.eyes, self.connector = eyes, connector
        self.name, self.cells, self.width = eyes.name, eyes.cells, eyes.width
        self.views = Gazes(eyes.views.size_px, eyes.views.tiles, connector.config.looks)

    def encode(self, media: Sequence[Image]) -> Tensor:
        """Features float32 [B, N, D_enc]: the encoder's own views, rounded as a cache keeps them, then the looks.

        The rounding makes sure that a connector finds the same places in features kept and in features just made.
        """
        first = self.eyes.encode(media).half().float()
        with torch.inference_mode():
            places, worth = self.connector.gaze(first.to(next(self.connector.parameters()).device))
        looks = first.new_zeros(len(first), self.views.looks, self.cells, self.width)
        for row, image in enumerate(media):
            chosen = worth[row].cpu()
            if chosen.any():
                looks[row, chosen] = self.eyes.look_at(image, places[row].cpu()[chosen].tolist())
        return torch.cat([first, looks.flatten(1, 2)], dim=1)

    def fingerprint(self) -> str:
        """16 hex digits that change with the encoder, and with what decides where to look."""
        digest = hashlib.sha256(f"looking-1 {self.eyes.fingerprint()} {self.views.looks}".encode())
        for name, value in sorted(self.connector.state_dict().items()):
            if name.split(".")[0] in self.connector.gazes_with:
                digest.update(name.encode() + value.detach().half().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def classes(self) -> tuple[str, ...]:
        """What the encoder's classifier knows."""
        return self.eyes.classes

    def head(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The encoder's classifier."""
        return self.eyes.head()


class SecondLook(nn.Module):
    """Views of single things [..., cells, D_enc] -> logits of several vocabularies, each [..., its size]."""

    def __init__(self, widths: Sequence[int], hidden: int, sizes: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.widths, self.sizes, self.dropout = tuple(widths), tuple(sizes), dropout
        told = 1280 + 2 * widths[0] + widths[1]
        self.middle = nn.Parameter(torch.zeros(told), requires_grad=False)  # set from data by fit_scale
        self.scale = nn.Parameter(torch.ones(told), requires_grad=False)
        self.enter = nn.Linear(told, hidden)
        self.leave = nn.Linear(hidden, sum(sizes))

    def pool(self, views: Tensor, classify1: tuple[Tensor, Tensor]) -> Tensor:
        """What a view holds wherever it holds it [..., told]; `classify1` is the first layer of the classifier."""
        stage = views[..., : self.widths[0]]
        finer = views[..., self.widths[0] : self.widths[0] + self.widths[1]]
        known = F.relu6(F.linear(stage, *classify1)).mean(-2)
        return torch.cat([known, stage.mean(-2), stage.amax(-2), finer.mean(-2)], dim=-1)

    def fit_scale(self, pooled: Tensor) -> None:
        """Set what is taken away and divided by so that these rows [n, told] have mean 0 and spread 1."""
        self.middle.data = pooled.mean(0)
        self.scale.data = (pooled.std(0) + 1e-3).reciprocal()

    def forward(self, pooled: Tensor) -> tuple[Tensor, ...]:
        x = F.dropout((pooled - self.middle) * self.scale, self.dropout, self.training)
        x = F.dropout(F.gelu(self.enter(x)), self.dropout, self.training)
        return self.leave(x).split(self.sizes, dim=-1)
