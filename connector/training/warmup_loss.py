"""The loss of the warm-up in word space: which words hold where, without the language model."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from connector.interfaces.slots import SlotConnector, gather_cells


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
    here, there = gather_cells(trunk, cells), gather_cells(stage, cells)
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
