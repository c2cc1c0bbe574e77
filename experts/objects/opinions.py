"""Second opinions: what the tagger says of a box's own part of a picture, beside the detector's name for it.

A detector knows few names and takes whatever is there for one of them; a classifier of a thousand names, asked about
the box alone, tells a horse from a cow, a beagle from a dog and a coin from a clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from experts.evidence.categories import COCO_KINDS, kinds_of, matches
from experts.objects.tiles import Box, Seen

MOST = 8  # boxes that are asked about, the largest first
LEAST_SHARE = 0.004  # of the picture; a smaller part shows too little
AROUND = 0.08  # of a box's sides, shown with it
AGREES, KNOWS = 0.35, 0.6  # the tagger's score from which it adds a name to the detector's, and puts one in its place
UNSURE = 0.55  # the detector's score below which its name can be replaced
SCENES = ("person", "dining table", "chair", "couch", "bed", "bench")  # boxes that hold other things

Tag = tuple[str, float]


def cut(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box with a little around it, in whole pixels within a picture of (width, height)."""
    dx, dy = AROUND * (box[2] - box[0]), AROUND * (box[3] - box[1])
    x0, y0 = max(int(box[0] - dx), 0), max(int(box[1] - dy), 0)
    return x0, y0, max(min(round(box[2] + dx), size[0]), x0 + 1), max(min(round(box[3] + dy), size[1]), y0 + 1)


def asked_about(seen: Sequence[Seen], size: tuple[int, int]) -> list[int]:
    """Which boxes are worth a second look: large enough to show something, and not of what holds other things."""
    least = LEAST_SHARE * size[0] * size[1]
    areas = {n: (one.box[2] - one.box[0]) * (one.box[3] - one.box[1]) for n, one in enumerate(seen)}
    fit = [n for n, one in enumerate(seen) if areas[n] >= least and one.name not in SCENES]
    return sorted(sorted(fit, key=lambda n: -areas[n])[:MOST])


def settled(one: Seen, tags: Sequence[Tag]) -> tuple[Seen, str]:
    """The box under the name that both looks leave it, and what kind of that it looks like, "" where that is open."""
    if not tags:
        return one, ""
    name, score = tags[0]
    if one.name != name and matches(one.name, name):
        return one, name if score >= AGREES else ""
    if score < KNOWS:
        return one, ""
    if other := _instead(one.name, name):  # a horse that was taken for a cow
        return replace(one, name=other, score=score), "" if other == name else name
    if one.score < UNSURE and one.name != name:
        return replace(one, name=name, score=score), ""
    return one, ""


def _instead(detected: str, tagged: str) -> str:
    """The detector's own word for what the tagger saw, where both are of one kind (two animals, two vehicles)."""
    for members in (COCO_KINDS["animal"], COCO_KINDS["vehicle"], COCO_KINDS["fruit"]):
        if detected in members:
            return next((word for word in (tagged, *kinds_of(tagged)) if word in members and word != detected), "")
    return ""


def second_looks(
    seen: Sequence[Seen], size: tuple[int, int], tag: Callable[[tuple[int, int, int, int]], Sequence[Tag]]
) -> list[tuple[Seen, str]]:
    """Each box with its name settled; `tag` names the part of the picture in whole-pixel bounds, best first."""
    again = set(asked_about(seen, size))
    return [settled(one, tag(cut(one.box, size))) if n in again else (one, "") for n, one in enumerate(seen)]
