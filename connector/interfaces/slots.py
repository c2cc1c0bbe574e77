"""The embedded connector: finds objects on the feature grid and says each in soft words, as in

    3 small red apple , food top left

which is: how many of its kind there are, size, colour, name, category, place. The whole picture comes before them: how
many objects there are, and what it shows on the whole.

A soft word is a mixture of the language model's own input embeddings, weighted by probabilities, so the untouched model
can read it. Which words hold can be learned without the language model (stage `warmup`, thousands of samples a second);
a residual that starts at zero lets later stages say what no word says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from experts.evidence.categories import kinds_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

COLOURS = ("black", "white", "gray", "red", "orange", "brown", "yellow", "green", "teal", "blue", "purple", "pink")
SIZES = ("small", "medium", "large")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
MOST = 6  # objects counted
WHOLE_CLASSES = 1000  # names that a whole picture may have: ImageNet's
STEEP = 20.0
SURE = 0.3  # the probability from which on a name for the whole picture is mostly right,
UNSURE = 0.15  # and that below which a thing's own name is mostly wrong
# Words above a class that say less of it than its own name does.
BROAD = frozenset((
    "animal", "vehicle", "food", "fruit", "vegetable", "building", "musical instrument", "ball", "insect", "plant",
))  # fmt: skip


@dataclass(frozen=True)
class SlotConfig:
    """The shape of a slot connector."""

    names: tuple[str, ...]  # what a thing may be called; the first 1000 are ImageNet's classes, in their order
    categories: tuple[str, ...]
    widths: tuple[int, ...] = (320, 112, 40, 12, 80)  # parts of an encoder feature: last stage, ..., colour, COCO
    tiles: int = 2  # the encoder's views: one whole, tiles x tiles parts
    side: int = 7  # cells along a view's side
    d_llm: int = 576
    hidden: int = 256  # width of the trunk
    blocks: int = 4  # depth of the trunk
    slots: int = 6  # objects spoken of at most
    whole_words: int = 2  # tokens for the name of the whole picture
    name_words: int = 2  # tokens a name has at most
    dropout: float = 0.3  # of what names are told from, while learning: a name must not hang on few channels
    hush: float = 0.0  # how often the slots keep silent, while learning, of one thing whose picture's name is sure
    sharpness: float = 3.0  # a name is spoken by its probability to this power, so that the likeliest is clear

    @property
    def grid(self) -> int:
        """Cells along the side of the whole picture."""
        return self.side * max(self.tiles, 1)

    @property
    def words(self) -> int:
        """Tokens of a slot: number, size, colour, name, category, row, column."""
        return self.name_words + 6

    @property
    def n_tokens(self) -> int:
        """M."""
        return 1 + self.whole_words + self.slots * self.words


class SlotConnector(nn.Module):
    """Features [B, N, D_enc] -> soft words [B, M, D_llm]."""

    kind = "slots"
    # ImageNet's head knows names that no scene holds, and the words can be read as they are: both are to change little.
    slow = {"classify": 0.1, "residual": 0.02}
    names_words: Tensor  # [names, name_words, D_llm]
    categories_words: Tensor  # [categories, 1, D_llm]
    colours_words: Tensor  # these [words, D_llm]
    sizes_words: Tensor
    rows_words: Tensor
    columns_words: Tensor
    numbers_words: Tensor
    silence: Tensor  # [D_llm]
    everyday_words: Tensor  # [1000, name_words, D_llm]: what people call the classes of the whole picture
    above_words: Tensor  # [1000, D_llm]: their categories, zeros where there is none
    whole1_weight: Tensor  # the encoder's classifier
    whole1_bias: Tensor
    whole2_weight: Tensor
    whole2_bias: Tensor

    def __init__(self, config: SlotConfig) -> None:
        super().__init__()
        self.config = c = config
        self.everyday: list[str] = []  # what people call the classes of the whole picture
        stage, coco = c.widths[0], c.widths[-1]
        mixed = sum(c.widths) + stage + coco  # a fine cell, and the whole view's cell above it
        self.scale = nn.Parameter(torch.ones(mixed), requires_grad=False)  # set from data by fit_scale
        self.enter = nn.Linear(mixed + 2, c.hidden)
        self.trunk = nn.ModuleList(_Block(c.hidden) for _ in range(c.blocks))
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
        for vocabulary, size in (("names", (len(c.names), c.name_words)), ("categories", (len(c.categories), 1))):
            self.register_buffer(f"{vocabulary}_words", torch.zeros(*size, c.d_llm), persistent=False)
        for vocabulary, words in (("colours", COLOURS), ("sizes", SIZES), ("rows", ROWS), ("columns", COLUMNS)):
            self.register_buffer(f"{vocabulary}_words", torch.zeros(len(words), c.d_llm), persistent=False)
        self.register_buffer("numbers_words", torch.zeros(MOST + 1, c.d_llm), persistent=False)
        self.register_buffer("silence", torch.zeros(c.d_llm), persistent=False)  # what an empty slot says
        # The classifier as it was made for photographs, not changed by what scenes teach; the encoder's, so not saved.
        for name, shape in (("whole1", (1280, stage)), ("whole2", (WHOLE_CLASSES, 1280))):
            self.register_buffer(f"{name}_weight", torch.zeros(shape), persistent=False)
            self.register_buffer(f"{name}_bias", torch.zeros(shape[0]), persistent=False)
        self.register_buffer("everyday_words", torch.zeros(WHOLE_CLASSES, c.name_words, c.d_llm), persistent=False)
        self.register_buffer("above_words", torch.zeros(WHOLE_CLASSES, c.d_llm), persistent=False)

    @property
    def n_tokens(self) -> int:
        """M."""
        return self.config.n_tokens

    # -- vocabulary ---------------------------------------------------------------------------------------------

    def bind(self, tokenizer: PreTrainedTokenizerBase, embeddings: Tensor) -> None:
        """Take the words' embeddings [V, D_llm] from the language model that will read them."""
        table = embeddings.detach().float()

        def rows(text: str, count: int) -> Tensor:
            ids = tokenizer(" " + text, add_special_tokens=False).input_ids[-count:]
            blank = tokenizer(",", add_special_tokens=False).input_ids[:1]
            return table[torch.tensor(ids + blank * (count - len(ids)))]  # [count, D_llm]

        c = self.config
        self.names_words = torch.stack([rows(name, c.name_words) for name in c.names])
        self.categories_words = torch.stack([rows(name, 1) for name in c.categories])
        for vocabulary, words in (("colours", COLOURS), ("sizes", SIZES), ("rows", ROWS), ("columns", COLUMNS)):
            setattr(self, f"{vocabulary}_words", torch.stack([rows(word, 1)[0] for word in words]))
        self.numbers_words = torch.stack([rows(str(number), 1)[0] for number in range(MOST + 1)])
        self.silence = rows("-", 1)[0]
        classes = c.names[:WHOLE_CLASSES]
        above = [kinds_of(name) for name in classes]
        self.everyday = [next((k for k in ks if k not in BROAD), n) for n, ks in zip(classes, above, strict=True)]
        self.everyday_words = torch.stack([rows(name, c.name_words) for name in self.everyday])
        category = [next((k.split()[-1] for k in ks if k.split()[-1] in c.categories), "") for ks in above]
        nothing = torch.zeros(c.d_llm)
        self.above_words = torch.stack([rows(name, 1)[0] if name else nothing for name in category])

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

    def see_whole_with(self, head: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        """Take the encoder's classifier for the name of the whole picture; it is not among the saved weights."""
        for name, value in zip(("whole1_weight", "whole1_bias", "whole2_weight", "whole2_bias"), head, strict=True):
            getattr(self, name).copy_(value)

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
        here = _gather(trunk, cells)  # [B, S, hidden]
        logits = self.name_logits(here, _gather(stage, cells))
        likeliest = logits.softmax(-1).amax(-1)  # [B, S]
        names = (self.config.sharpness * logits).softmax(-1)
        rows, columns = self._places(cells)
        open_ = torch.sigmoid(self.gate[0] * (scores - self.gate[1]))  # [B, S]
        likely, classes = self._whole(features)  # [B, 5]
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
                self._number(self.kinship(here) @ open_[..., None]),
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
        total = self._number(open_.sum(1, keepdim=True))  # [B, 1, D_llm]
        whole = torch.einsum("bk,bkwd->bwd", share, self.names_words[classes][:, :, : self.config.whole_words])
        return torch.cat([total, whole, tokens.flatten(1, 2)], dim=1)  # [B, M, D_llm]

    def kinship(self, here: Tensor) -> Tensor:
        """Cells' features [B, S, hidden] -> how surely two of them are of one name [B, S, S]; 1 with themselves."""
        kin = F.normalize(self.kin(here), dim=-1)
        alike = torch.sigmoid(self.alike[0] * (kin @ kin.transpose(1, 2)) - self.alike[1])
        same = torch.eye(here.shape[1], device=here.device)
        return same + (1 - same) * alike

    def _number(self, count: Tensor) -> Tensor:
        """Counts [...] -> soft digits [..., D_llm]."""
        digits = torch.arange(len(self.numbers_words), device=count.device)
        return (-((count[..., None] - digits) ** 2) * 8).softmax(-1) @ self.numbers_words

    def _whole(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """What the whole picture shows, as its classifier sees it: probabilities and names of the likeliest, [B, 5]."""
        _, stage = self.assemble(features)
        hidden = F.relu6(F.linear(stage, self.whole1_weight, self.whole1_bias)).mean(1)  # [B, 1280]
        logits = F.linear(hidden, self.whole2_weight, self.whole2_bias)
        return logits.softmax(-1).topk(5, dim=-1)

    def _places(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Cells [B, S] -> soft rows and columns [B, S, 3], one third of the picture each."""
        grid = self.config.grid
        y, x = (cells // grid + 0.5) / grid, (cells % grid + 0.5) / grid
        thirds = torch.tensor([1 / 6, 0.5, 5 / 6], device=cells.device)
        rows, columns = ((-((at[..., None] - thirds) ** 2) * 150).softmax(-1) for at in (y, x))
        return rows, columns

    # -- keeping ------------------------------------------------------------------------------------------------

    def describe(self, features: Tensor, row: int = 0) -> list[dict[str, Any]]:
        """What the connector says of one image before it becomes soft words: for people, traces and tests."""
        c = self.config
        with torch.no_grad():
            trunk, heat, stage = self.look(features[row : row + 1])
            scores, cells = self.peaks(heat)
            here = _gather(trunk, cells)
            names = self.name_logits(here, _gather(stage, cells)).softmax(-1)[0]
            open_ = torch.sigmoid(self.gate[0] * (scores - self.gate[1]))
            alike = (self.kinship(here) @ open_[..., None])[0, :, 0]
            rows, columns = (place[0].argmax(-1) for place in self._places(cells))
            likely, classes = self._whole(features[row : row + 1])
            borrowed = _borrowed(likely[:, 0], names.amax(-1)[None])[0] > 0.5
            whole = (self.everyday[int(classes[0, 0])], float(likely[0, 0])) if borrowed.any() else ("", 0.0)
            own = [(c.names[int(name)], float(p)) for p, name in zip(*names.max(-1), strict=True)]
            called = [whole if borrows else told for told, borrows in zip(own, borrowed.tolist(), strict=True)]
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


class _Block(nn.Module):
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


def _gather(grid: Tensor, cells: Tensor) -> Tensor:
    """Rows [B, S, C] of a flat grid [B, G * G, C] at cells [B, S]."""
    return grid.gather(1, cells[..., None].expand(-1, -1, grid.shape[-1]))


# -- warm-up in word space ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Targets:
    """Which words hold of a batch of scenes; -1 where unknown."""

    heat: Tensor  # [B, G, G] in [0, 1], 1 at centres
    cells: Tensor  # [B, O] centre cells, -1 where there is no object
    names: Tensor  # [B, O]
    kinds: Tensor  # [B, O, L] other right names, -1 where there are fewer
    colours: Tensor  # [B, O]
    categories: Tensor  # [B, O]
    sizes: Tensor  # [B, O]
    weights: dict[str, float] = field(
        default_factory=lambda: {"name": 1.0, "colour": 1.0, "category": 0.5, "size": 0.3, "alike": 0.5}
    )


def warmup_loss(connector: SlotConnector, features: Tensor, targets: Targets) -> tuple[Tensor, dict[str, float]]:
    """How badly the soft words fit: focal loss of the heat (Zhou et al. 2019, eq. 1), cross-entropy of each word."""
    trunk, heat, stage = connector.look(features)
    loss = focal_loss(heat, targets.heat)
    metrics = {"heat": float(loss.detach())}
    present = targets.cells >= 0
    cells = targets.cells.clamp(min=0)
    here, there = _gather(trunk, cells), _gather(stage, cells)
    heads = {
        "colour": (connector.colour(here), targets.colours),
        "category": (connector.category(here), targets.categories),
        "size": (connector.size(here), targets.sizes),
    }
    for key, (logits, truth) in heads.items():
        known = present & (truth >= 0)
        if known.any():
            loss = loss + targets.weights[key] * F.cross_entropy(logits[known], truth[known])
            metrics[key] = float((logits[known].argmax(-1) == truth[known]).float().mean())
    known = present & (targets.names >= 0)
    pairs = known[:, :, None] & known[:, None] & ~torch.eye(known.shape[1], dtype=torch.bool, device=known.device)
    if pairs.any():
        sure = connector.kinship(here)[pairs].clamp(1e-6, 1 - 1e-6)
        alike = (targets.names[:, :, None] == targets.names[:, None])[pairs].float()
        loss = loss + targets.weights["alike"] * F.binary_cross_entropy(sure, alike)
        metrics["alike"] = float(((sure > 0.5) == (alike > 0.5)).float().mean())
    if known.any():
        logits, truth = connector.name_logits(here, there)[known], targets.names[known]
        loss = loss + targets.weights["name"] * name_loss(logits, truth, targets.kinds[known])
        metrics["name"] = float((logits.argmax(-1) == truth).float().mean())
    return loss, metrics


KIND_SHARE = 0.4  # of a name's probability that goes to the words above it
SMOOTHING = 0.05


def name_loss(logits: Tensor, names: Tensor, kinds: Tensor) -> Tensor:
    """Cross-entropy of name logits [P, K] against a name [P] and the words above it [P, L] (-1 = none).

    The words above share KIND_SHARE. So for a thing whose name is unclear, say one of five birds, 'bird' comes out
    likelier than any of them: the connector says what it knows.
    """
    logp = logits.log_softmax(-1)
    above = kinds >= 0
    count = above.sum(-1)
    mean = (logp.gather(-1, kinds.clamp(min=0)) * above).sum(-1) / count.clamp(min=1)
    share = KIND_SHARE * (count > 0)
    exact = logp.gather(-1, names[:, None])[:, 0]
    said = (1 - share) * exact + share * mean
    return -((1 - SMOOTHING) * said + SMOOTHING * logp.mean(-1)).mean()


def focal_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Penalty-reduced focal loss of heat logits against a heat map of the same shape, per object."""
    log_p, log_not = F.logsigmoid(logits), F.logsigmoid(-logits)
    p = logits.sigmoid()
    at_centre = truth == 1
    loss = torch.where(at_centre, -((1 - p) ** 2) * log_p, -((1 - truth) ** 4) * p**2 * log_not)
    return loss.sum() / at_centre.sum().clamp(min=1)
