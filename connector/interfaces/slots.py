"""The embedded connector: finds objects on the feature grid and says each in soft words, as in

    3 small red apple , food top left

which is: how many of its kind there are, size, colour, name, category, place. The whole picture comes before them: how
many objects there are, and what it shows on the whole.

A soft word is a mixture of the language model's own input embeddings, weighted by probabilities, so the untouched model
can read it. Which words hold can be learned without the language model (stage `warmup`, thousands of samples a second);
a residual that starts at zero lets later stages say what no word says.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from connector.interfaces.slot_config import COLOURS, COLUMNS, ROWS, SIZES, SlotConfig
from connector.interfaces.slot_words import SlotWords

STEEP = 20.0
SURE = 0.3  # the probability from which on a name for the whole picture is mostly right,
UNSURE = 0.15  # and that below which a thing's own name is mostly wrong


class SlotConnector(SlotWords):
    """Features [B, N, D_enc] -> soft words [B, M, D_llm]."""

    kind = "slots"
    # ImageNet's head knows names that no scene holds, and the words can be read as they are: both are to change little.
    slow = {"classify": 0.1, "residual": 0.02}

    def __init__(self, config: SlotConfig) -> None:
        super().__init__(config)
        c = config
        stage, coco = c.widths[0], c.widths[-1]
        mixed = sum(c.widths) + stage + coco  # a fine cell, and the whole view's cell above it
        self.scale = nn.Parameter(torch.ones(mixed), requires_grad=False)  # set from data by fit_scale
        self.enter = nn.Linear(mixed + 2, c.hidden)
        self.trunk = nn.ModuleList(Block(c.hidden) for _ in range(c.blocks))
        self.heat = nn.Linear(c.hidden, 1)
        self.colour = nn.Linear(c.hidden, len(COLOURS))
        self.category = nn.Linear(c.hidden, len(c.categories))
        self.size = nn.Linear(c.hidden, len(SIZES))
        self.kin = nn.Linear(c.hidden, 64)  # objects of one name point the same way
        self.alike = nn.Parameter(torch.tensor([8.0, 4.0]))  # how steeply, and from where on, they count as one kind
        self.classify1 = nn.Linear(stage, 1280)  # ImageNet's head: starts as the encoder's own
        self.classify2 = nn.Linear(1280, len(c.names))
        self.name = nn.Linear(c.hidden, len(c.names))
        self.residual = nn.Linear(c.hidden, c.words * c.d_llm)
        self.gate = nn.Parameter(torch.tensor([16.0, 0.22]))  # how sharply, and from which heat on, a slot speaks
        for layer in (self.name, self.residual):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.heat.bias, -3.0)

    @property
    def n_tokens(self) -> int:
        """M."""
        return self.config.n_tokens

    def start_from(self, head: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        """Start the name head as the encoder's classifier (W1, b1, W2, b2); names beyond ImageNet's start unlikely."""
        with torch.no_grad():
            weight1, bias1, weight2, bias2 = head
            self.classify1.weight.copy_(weight1)
            self.classify1.bias.copy_(bias1)
            self.classify2.weight.zero_()
            self.classify2.bias.fill_(float(bias2.mean()))
            self.classify2.weight[: len(weight2)] = weight2
            self.classify2.bias[: len(bias2)] = bias2
        self.see_whole_with(head)

    # -- looking ------------------------------------------------------------------------------------------------

    def assemble(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """[B, N, D_enc] -> the mixed grid [B, G, G, D] and the last stage of the whole view [B, side * side, 320]."""
        c = self.config
        batch, tiles, side = features.shape[0], max(c.tiles, 1), c.side
        views = features.float().view(batch, -1, side, side, sum(c.widths))
        whole = views[:, 0]  # [B, 7, 7, D_enc]
        fine = views[:, 1:] if c.tiles else views
        fine = fine.reshape(batch, tiles, tiles, side, side, -1).transpose(2, 3).reshape(batch, c.grid, c.grid, -1)
        above = torch.cat([whole[..., : c.widths[0]], whole[..., -c.widths[-1] :]], dim=-1)
        above = above.repeat_interleave(tiles, 1).repeat_interleave(tiles, 2)
        return torch.cat([fine, above], dim=-1), whole[..., : c.widths[0]].flatten(1, 2)

    def fit_scale(self, features: Tensor) -> None:
        """Set the input scale so that each channel of these features has unit root mean square."""
        mixed, _ = self.assemble(features)
        self.scale.data = mixed.square().mean(dim=(0, 1, 2)).sqrt().clamp(min=1e-3).reciprocal()

    def fit_gate(self, features: Tensor, counts: Tensor) -> float:
        """Let a slot speak from the heat on at which the number of open slots is most often `counts` [B].

        Returns how often it is then, as a share.
        """
        with torch.no_grad():
            scores, _ = self.peaks(self.look(features)[1])  # [B, S]
            thresholds = torch.arange(0.1, 0.5, 0.02, device=scores.device)
            open_ = (scores[None] > thresholds[:, None, None]).sum(-1)  # [T, B]
            right = (open_ == counts.clamp(max=self.config.slots)).float().mean(-1)
            self.gate[1] = thresholds[right.argmax()]
        return float(right.max())

    def look(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Trunk features [B, G * G, hidden], heat logits [B, G, G] and pooled stage features [B, G * G, 320]."""
        mixed, _ = self.assemble(features)  # [B, G, G, D]
        grid = self.config.grid
        axis = torch.linspace(-1, 1, grid, device=mixed.device)
        place = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).expand(len(mixed), -1, -1, -1)
        x = self.enter(torch.cat([mixed * self.scale, place], dim=-1)).permute(0, 3, 1, 2)  # [B, hidden, G, G]
        for block in self.trunk:
            x = block(x)
        stage = mixed[..., : self.config.widths[0]].permute(0, 3, 1, 2)
        stage = F.avg_pool2d(stage, 3, stride=1, padding=1, count_include_pad=False)
        flat = x.flatten(2).transpose(1, 2)  # [B, G * G, hidden]
        return flat, self.heat(flat)[..., 0].view(-1, grid, grid), stage.flatten(2).transpose(1, 2)

    def name_logits(self, trunk: Tensor, stage: Tensor) -> Tensor:
        """[..., hidden] and [..., 320] -> logits over names [..., K]."""
        share = self.config.dropout
        hidden = F.relu6(self.classify1(F.dropout(stage, share, self.training)))
        return self.classify2(F.dropout(hidden, share, self.training)) + self.name(
            F.dropout(trunk, share, self.training)
        )

    def peaks(self, heat: Tensor) -> tuple[Tensor, Tensor]:
        """Heat logits [B, G, G] -> scores [B, S] and cells [B, S] of the S highest local maxima, best first."""
        probability = heat.sigmoid()
        highest = F.max_pool2d(probability[:, None], 3, stride=1, padding=1)[:, 0]
        alone = torch.where(probability == highest, probability, torch.zeros_like(probability))
        return alone.flatten(1).topk(self.config.slots, dim=1)

    def forward(self, features: Tensor) -> Tensor:
        trunk, heat, stage = self.look(features)
        scores, cells = self.peaks(heat)  # [B, S]
        here = gather_cells(trunk, cells)  # [B, S, hidden]
        logits = self.name_logits(here, gather_cells(stage, cells))
        likeliest = logits.softmax(-1).amax(-1)  # [B, S]
        names = (self.config.sharpness * logits).softmax(-1)
        rows, columns = self.places(cells)
        open_ = torch.sigmoid(self.gate[0] * (scores - self.gate[1]))  # [B, S]
        likely, classes = self.whole(self.assemble(features)[1])  # [B, 5]
        sure = likely[:, 0]
        if self.training and self.config.hush:  # so that what reads the slots learns to read the whole picture's name
            left = (open_.sum(1) < 1.5) & (sure > SURE) & (torch.rand_like(sure) < self.config.hush)
            open_ = torch.where(left[:, None], 0.0, open_)
        called = torch.einsum("bsk,kwd->bswd", names, self.names_words)
        category = self.category(here).softmax(-1) @ self.categories_words[:, 0]  # [B, S, D_llm]
        share = likely / likely.sum(-1, keepdim=True)
        # What is not recognised by itself, as in photographs, is called what the whole picture is recognised as.
        known = _borrowed(sure, likeliest)[..., None]  # [B, S, 1]
        everyday = torch.einsum("bk,bkwd->bwd", share, self.everyday_words[classes])
        called = torch.lerp(called, everyday[:, None], known[..., None])
        above = self.above_words[classes]  # [B, 5, D_llm]
        of_some = (share * above.any(-1)).sum(-1)[:, None, None]  # the share of the classes with a category
        category = category * (1 - known * of_some) + known * torch.einsum("bk,bkd->bd", share, above)[:, None]
        spoken = torch.cat(
            [
                self.number(self.kinship(here) @ open_[..., None]),
                (self.size(here).softmax(-1) @ self.sizes_words)[:, :, None],
                (self.colour(here).softmax(-1) @ self.colours_words)[:, :, None],
                called,
                category[:, :, None],
                (rows @ self.rows_words)[:, :, None],
                (columns @ self.columns_words)[:, :, None],
            ],
            dim=2,
        )  # [B, S, words, D_llm]
        # The trunk's values are large beside a word's embedding: unscaled, a few steps of learning drown the words.
        spoken = spoken + self.residual(F.layer_norm(here, here.shape[-1:])).view_as(spoken)
        shown = open_[..., None, None]
        tokens = shown * spoken + (1 - shown) * self.silence
        total = self.number(open_.sum(1, keepdim=True))  # [B, 1, D_llm]
        whole = torch.einsum("bk,bkwd->bwd", share, self.names_words[classes][:, :, : self.config.whole_words])
        return torch.cat([total, whole, tokens.flatten(1, 2)], dim=1)  # [B, M, D_llm]

    def kinship(self, here: Tensor) -> Tensor:
        """Cells' features [B, S, hidden] -> how surely two of them are of one name [B, S, S]; 1 with themselves."""
        kin = F.normalize(self.kin(here), dim=-1)
        alike = torch.sigmoid(self.alike[0] * (kin @ kin.transpose(1, 2)) - self.alike[1])
        same = torch.eye(here.shape[1], device=here.device)
        return same + (1 - same) * alike

    # -- keeping ------------------------------------------------------------------------------------------------

    def describe(self, features: Tensor, row: int = 0) -> list[dict[str, Any]]:
        """What the connector says of one image before it becomes soft words: for people, traces and tests."""
        c = self.config
        with torch.no_grad():
            trunk, heat, stage = self.look(features[row : row + 1])
            scores, cells = self.peaks(heat)
            here = gather_cells(trunk, cells)
            names = self.name_logits(here, gather_cells(stage, cells)).softmax(-1)[0]
            open_ = torch.sigmoid(self.gate[0] * (scores - self.gate[1]))
            alike = (self.kinship(here) @ open_[..., None])[0, :, 0]
            rows, columns = (place[0].argmax(-1) for place in self.places(cells))
            likely, classes = self.whole(self.assemble(features[row : row + 1])[1])
            borrowed = _borrowed(likely[:, 0], names.amax(-1)[None])[0] > 0.5
            whole = (self.everyday[int(classes[0, 0])], float(likely[0, 0])) if borrowed.any() else ("", 0.0)
            own = [(c.names[int(name)], float(p)) for p, name in zip(*names.max(-1), strict=True)]
            called = [whole if borrows else own_name for own_name, borrows in zip(own, borrowed.tolist(), strict=True)]
            return [
                {
                    "score": round(float(scores[0, s]), 3),
                    "name": called[s][0],
                    "or": [c.names[int(name)] for name in names[s].topk(5).indices[1:]],
                    "p": round(called[s][1], 3),
                    "alike": round(float(alike[s]), 2),
                    "colour": COLOURS[int(self.colour(here)[0, s].argmax())],
                    "category": c.categories[int(self.category(here)[0, s].argmax())],
                    "size": SIZES[int(self.size(here)[0, s].argmax())],
                    "place": f"{ROWS[int(rows[s])]} {COLUMNS[int(columns[s])]}",
                }
                for s in range(c.slots)
            ]


class Block(nn.Module):
    """Depthwise 5 x 5, then a pointwise MLP (Liu et al. 2022, ConvNeXt), on [B, C, G, G]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)


def _borrowed(sure: Tensor, likeliest: Tensor) -> Tensor:
    """How far things are called what the whole picture is, from [B] how sure that is and [B, S] they are: [B, S]."""
    return torch.sigmoid(STEEP * (sure - SURE))[:, None] * torch.sigmoid(3 * STEEP * (UNSURE - likeliest))


def gather_cells(grid: Tensor, cells: Tensor) -> Tensor:
    """Rows [B, S, C] of a flat grid [B, G * G, C] at cells [B, S]."""
    return grid.gather(1, cells[..., None].expand(-1, -1, grid.shape[-1]))
