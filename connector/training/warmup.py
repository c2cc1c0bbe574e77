"""Warm-up in word space: which words hold where in a scene, as targets for the slot connector, without the LLM."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from connector.data.pictures.cutouts import CATEGORIES
from connector.data.pictures.scenes import Scene, Thing
from connector.interfaces.slot_config import COLOURS, SIZES, SlotConfig
from connector.training.warmup_loss import Targets
from experts.evidence.categories import COCO_KINDS, imagenet_classes

MAX_THINGS = 8
MAX_KINDS = 4


def vocabulary(scenes: Sequence[Scene]) -> tuple[str, ...]:
    """What things may be called: ImageNet's 1000 classes in their order, COCO's, then the scenes' names and kinds."""
    from experts.weights.convert.nanodet import COCO

    names = [name.lower() for name in imagenet_classes()]
    seen = set(names)
    spoken = {word for scene in scenes for thing in scene.things for word in (thing.name, *_kinds(thing))}
    for name in (*(coco.replace("_", " ") for coco in COCO), *COCO_KINDS, *sorted(spoken)):
        if name not in seen:
            names.append(name)
            seen.add(name)
    return tuple(names)


def _kinds(thing: Thing) -> tuple[str, ...]:
    """Right names above or beside a thing's own, but for its bare category, which is said anyway."""
    return tuple(word for word in thing.accept if word not in (thing.category, "mammal"))[:MAX_KINDS]


def configure(scenes: Sequence[Scene], d_llm: int) -> SlotConfig:
    """The slot connector's shape for these scenes' vocabulary."""
    return SlotConfig(names=vocabulary(scenes), categories=CATEGORIES, d_llm=d_llm, hush=0.3)


def targets(scenes: Sequence[Scene], config: SlotConfig) -> Targets:
    """What holds of `scenes`, on the connector's grid; an unnamed or unlisted word is -1."""
    grid = config.grid
    names = {name: index for index, name in reversed(list(enumerate(config.names)))}
    heat = torch.zeros(len(scenes), grid, grid)
    empty = torch.full((len(scenes), MAX_THINGS), -1)
    cells, name_ids, colours, categories, sizes = (empty.clone() for _ in range(5))
    kinds = torch.full((len(scenes), MAX_THINGS, MAX_KINDS), -1)
    axis = torch.arange(grid)
    for row, scene in enumerate(scenes):
        for column, thing in enumerate(scene.things[:MAX_THINGS]):
            x, y = (min(int(at * grid), grid - 1) for at in thing.centre)
            spread = max(math.sqrt(thing.share) * grid / 6, 0.4)
            bump = torch.exp(-((axis[:, None] - y) ** 2 + (axis[None, :] - x) ** 2) / (2 * spread**2))
            bump[y, x] = 1.0
            heat[row] = torch.maximum(heat[row], bump)
            cells[row, column] = y * grid + x
            name_ids[row, column] = names.get(thing.name, -1)
            above = [names[word] for word in _kinds(thing) if word in names]
            kinds[row, column, : len(above)] = torch.tensor(above, dtype=torch.long)
            colours[row, column] = COLOURS.index(thing.colour) if thing.colour else -1
            categories[row, column] = config.categories.index(thing.category)
            sizes[row, column] = SIZES.index(thing.size)
    return Targets(heat, cells, name_ids, kinds, colours, categories, sizes)


def select(whole: Targets, rows: Tensor) -> Targets:
    """The targets of some scenes."""
    return Targets(
        *(getattr(whole, key)[rows] for key in ("heat", "cells", "names", "kinds", "colours", "categories", "sizes"))
    )
