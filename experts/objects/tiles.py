"""Nearer looks: overlapping tiles of a large or wide picture, and the boxes of all looks as one list.

A detector sees a picture scaled to a few hundred pixels, so what is small in it is lost; in a tile it is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Box = tuple[float, float, float, float]  # (x0, y0, x1, y1) in pixels

WIDE = 1.8  # longer side by shorter side from which a picture is looked at in squares along its length
LARGE = 1.5  # times the detector's own side from which a picture has tiles
SIDE = 0.6  # of a tile by the picture's, where there are two by two
OVERLAP = 0.25  # of squares along a wide picture
MOST_TILES = 6
EDGE = 0.01  # of a tile's side: a box that ends so near to a tile's inner edge is of a thing that goes on beyond it
SURE_IN_TILE = 0.6  # a part of a thing looks like another thing, so what only a tile shows must be surer
SAME_THING = 0.5  # intersection over union of two boxes with one name that are of one thing
ONE_NAME = 0.75  # of two boxes with different names
WITHIN = 0.8  # the share of a box that lies in another one with its name, of which it is then a part


@dataclass(frozen=True)
class Seen:
    """One box of a detector: its name, score in [0, 1], and where it is."""

    name: str
    score: float
    box: Box


def tiles(width: int, height: int, side: int) -> list[Box]:
    """The tiles of a picture for a detector that sees `side` pixels; [] where the whole is seen well enough."""
    longer, shorter = max(width, height), min(width, height)
    if longer < LARGE * side:
        return []
    if longer > WIDE * shorter:
        count = min(MOST_TILES, math.ceil((longer / shorter - OVERLAP) / (1 - OVERLAP)))
        length = max(shorter, math.ceil(longer / (count - (count - 1) * OVERLAP)))
        starts = [round(n * (longer - length) / max(count - 1, 1)) for n in range(count)]
        return [(s, 0, s + length, height) if width > height else (0, s, width, s + length) for s in starts]
    w, h = math.ceil(width * SIDE), math.ceil(height * SIDE)
    return [(x, y, x + w, y + h) for y in (0, height - h) for x in (0, width - w)]


def whole(seen: Sequence[Seen], tile: Box, size: tuple[int, int]) -> list[Seen]:
    """What of a tile's boxes, in the picture's pixels, is sure and not cut by an edge inside the picture."""
    edge_x, edge_y = EDGE * (tile[2] - tile[0]), EDGE * (tile[3] - tile[1])
    return [
        one
        for one in seen
        if one.score >= SURE_IN_TILE
        and (tile[0] == 0 or one.box[0] > tile[0] + edge_x)
        and (tile[1] == 0 or one.box[1] > tile[1] + edge_y)
        and (tile[2] >= size[0] or one.box[2] < tile[2] - edge_x)
        and (tile[3] >= size[1] or one.box[3] < tile[3] - edge_y)
    ]


def merged(seen: Sequence[Seen], nearer: Sequence[Seen] = ()) -> list[Seen]:
    """One box a thing, best first: of the look at the whole, then of nearer looks what that did not have."""
    kept: list[Seen] = []
    for one in (*sorted(seen, key=lambda s: -s.score), *sorted(nearer, key=lambda s: -s.score)):
        if not any(_is_same(one, other) for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda s: -s.score)


def _is_same(one: Seen, other: Seen) -> bool:
    inter = intersection(one.box, other.box)
    union = area(one.box) + area(other.box) - inter
    overlap = inter / union if union else 0.0
    if one.name != other.name:
        return overlap >= ONE_NAME
    return overlap >= SAME_THING or inter >= WITHIN * area(one.box)


def whole_pixels(box: Box) -> tuple[int, int, int, int]:
    """A box's corners without their fractions."""
    return int(box[0]), int(box[1]), int(box[2]), int(box[3])


def area(box: Box) -> float:
    """Of a box, in square pixels."""
    return max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0)


def intersection(a: Box, b: Box) -> float:
    """The area that two boxes share."""
    return area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
