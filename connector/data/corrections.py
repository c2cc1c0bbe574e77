"""Preference pairs from a model's own captions: what it named wrongly, said less boldly, against what it said.

RLHF-V (Yu et al. 2023, arXiv 2312.00849) has people correct the wrong segments of a model's own answers. Here the truth
about a scene is known, so the correction is made by rule: a thing that the caption does not name rightly is called by
its category ("an animal at the left"), which the picture still shows even where the name does not come through.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from connector.data.captions import describe
from connector.data.phrases import many
from connector.data.records import Record
from connector.data.scenes import Scene, Thing

# What a thing of a category is called where its name is not clear.
UNSURE = {
    "instrument": "musical instrument", "household": "household item", "sport": "sports item",
    "electronics": "electronic device",
}  # fmt: skip


def is_named(thing: Thing, caption: str) -> bool:
    """Whether a caption calls `thing` by one of its right names, singular or plural; its category is none of them."""
    names = {name for name in thing.names if name != thing.category}
    forms = {form for name in names for form in (name, many(name))}
    return any(re.search(rf"\b{re.escape(form)}\b", caption.lower()) for form in forms)


def correct(scene: Scene, question: str, said: str, seed: int = 0) -> Record | None:
    """The pair for one caption; None where it names everything, or where nothing better can be said."""
    if not said.strip() or not scene.things:
        return None
    things = tuple(
        thing
        if thing.text or thing.shape or is_named(thing, said)
        else replace(thing, name=UNSURE.get(thing.category, thing.category), accept=())
        for thing in scene.things
    )
    if all(new is old for new, old in zip(things, scene.things, strict=True)):
        return None
    better = describe(things, np.random.default_rng([seed, 80, int(scene.id.rsplit("-", 1)[1])]))
    if better == said:
        return None
    return Record(f"{scene.id}-own", question, better, "caption", scene.image, rejected=said)


def corrections(
    scenes: Sequence[Scene], captions: Sequence[Record], said: Sequence[str], seed: int = 0
) -> list[Record]:
    """The pairs of all scenes: `captions` holds the question each caption in `said` answers."""
    rows = zip(scenes, captions, said, strict=True)
    return [pair for scene, asked, text in rows if (pair := correct(scene, asked.question, text, seed)) is not None]
