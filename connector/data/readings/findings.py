"""Findings drawn at random: pictures as the experts would report them, for questions to be asked about."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from connector.data.pictures.scenes import SIDE_PX
from experts.base import Finding
from experts.evidence import compose_evidence, is_called
from experts.evidence.categories import imagenet_classes, matches
from experts.evidence.colours import COLOURS
from experts.weights.convert.nanodet import COCO

NAMES = tuple(name.replace("_", " ") for name in COCO)
PICTURE = ("detect", "tag", "ocr")  # experts that look at a picture
LIKE_SHARE, TWO_COLOURS_SHARE = 0.3, 0.2  # of things whose breed or make was recognised; with two colours


@dataclass
class Shown:
    """A picture as the experts report it."""

    things: list[Finding] = field(default_factory=list)
    tags: list[Finding] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    size: tuple[int, int] = (SIDE_PX, SIDE_PX)
    source: str = "picture"
    colours: str = ""  # of the whole, told where no thing was found

    @property
    def findings(self) -> list[Finding]:
        """All that was found, in the experts' order."""
        text = [Finding("ocr", line, 0.95, (0.0, 30.0 * n, 90.0, 30.0 * n + 20), None, self.source)
                for n, line in enumerate(self.lines)]  # fmt: skip
        return [*self.things, *self.tags, *text]

    def counts(self) -> Counter[str]:
        """How many of each name."""
        return Counter(finding.text for finding in self.things)

    def number(self, name: str) -> int:
        """How many things are called `name`, or are of that kind."""
        return sum(is_called(name, finding) for finding in self.things)

    def evidence(self, question: str) -> str:
        """The text that the language model reads at this question."""
        whole = [f"Main colours: {self.colours}."] if self.colours and not self.things else []
        return compose_evidence(self.findings, question, {self.source: self.size}, (), PICTURE, whole)


def pick(rng: np.random.Generator, of: Sequence[str]) -> str:
    return str(of[int(rng.integers(len(of)))])


def drawn(rng: np.random.Generator) -> Shown:
    """A picture of COCO things and what it looks like as a whole; at times nothing was found."""
    shown = Shown(size=(int(rng.integers(200, 2000)), int(rng.integers(200, 2000))))
    draw = rng.random()
    names = [] if draw < 0.22 else [str(name) for name in rng.choice(NAMES, int(rng.integers(1, 5)), replace=False)]
    if names and rng.random() < 0.35:
        names[0] = "person"
    for name in dict.fromkeys(names):
        for _ in range(int(rng.integers(2, 7)) if rng.random() < 0.35 else 1):
            width, height = (int(side * rng.uniform(0.08, 0.5)) for side in shown.size)
            x, y = int(rng.integers(0, shown.size[0] - width)), int(rng.integers(0, shown.size[1] - height))
            box = (float(x), float(y), float(x + width), float(y + height))
            shown.things.append(Finding("detect", name, 0.8, box, None, "picture", _looks(rng, name)))
    tag = names[0] if names and rng.random() < 0.45 else pick(rng, imagenet_classes())
    score = float(rng.uniform(0.02, 0.97)) if rng.random() < 0.6 else 0.05
    shown.tags = [Finding("tag", tag, score, source="picture")]
    if rng.random() < 0.5:
        shown.tags.append(Finding("tag", pick(rng, imagenet_classes()), score * float(rng.uniform(0.1, 0.9))))
    shown.colours = _colours(rng)
    if rng.random() < 0.1:
        shown.lines = [pick(rng, ("EXIT", "STOP", "Hello World", "24", "Coffee", "ROOM 12", "Line 3"))]
    return shown


def _looks(rng: np.random.Generator, name: str) -> dict[str, Any]:
    """What is told of a thing beside its name: its colour or a person's clothes, and at times what it is like."""
    if name == "person":
        told = {"clothes": _colours(rng), "legs": _colours(rng) if rng.random() < 0.6 else ""}
    else:
        like = pick(rng, classes_of(name)) if classes_of(name) and rng.random() < LIKE_SHARE else ""
        told = {"colour": _colours(rng), "like": like}
    return {key: value for key, value in told.items() if value}


def _colours(rng: np.random.Generator) -> str:
    if rng.random() < 0.2:
        return ""
    first, second = (str(one) for one in rng.choice(COLOURS, 2, replace=False))
    return f"{first} and {second}" if rng.random() < TWO_COLOURS_SHARE else first


@functools.cache
def classes_of(name: str) -> tuple[str, ...]:
    """What the tagger knows of a kind of thing: the breeds of dogs, the makes of trucks."""
    return tuple(one for one in imagenet_classes() if one.lower() != name and matches(name, one))
