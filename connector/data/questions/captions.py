"""Captions of scenes: true ones, and the same made false in one point, for preference pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from connector.data.pictures.draw import SIDE_PX
from connector.data.pictures.scenes import Thing
from connector.data.questions.phrases import is_mass, is_plural, many, with_article
from experts.evidence.colours import COLOURS

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven")
OPENINGS = ("There {verb} {listed}.", "The image shows {listed}.", "A picture of {listed}.", "This is {listed}.")


def describe(things: Sequence[Thing], rng: np.random.Generator) -> str:
    """A caption: how many of each, and of single things colour and place.

    >>> rng = np.random.default_rng(1)
    >>> describe((Thing("dog", "animal", (), "brown", "", (0, 0, 60, 60)),), rng)
    'The image shows a brown dog at the top left.'
    """
    if not things:
        return "The image shows nothing."
    groups = alike(things)
    parts = [phrase(group) for group in groups]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    several = len(groups[0]) > 1 or is_plural(things[0].name)
    opening = OPENINGS[int(rng.integers(4 if len(things) == 1 and not several else 3))]
    return opening.format(verb="are" if several else "is", listed=listed)


def coloured(thing: Thing) -> str:
    """'red circle'; only the name where the colour is unclear or in the name."""
    return f"{thing.colour} {thing.name}" if thing.colour and thing.colour not in thing.name.split() else thing.name


def alike(things: Sequence[Thing]) -> list[list[Thing]]:
    """Things of one name and colour together, in order."""
    groups: dict[tuple[str, str], list[Thing]] = {}
    for thing in things:
        groups.setdefault((thing.name, thing.colour), []).append(thing)
    return list(groups.values())


def phrase(group: Sequence[Thing]) -> str:
    """What a caption says of things that are alike: how many there are, of a single one where it is."""
    thing = group[0]
    if len(group) > 1:
        of = "pieces of " if is_mass(thing.name) else "sets of " if is_plural(thing.name) else ""
        return f"{NUMBERS[len(group)]} {of}{coloured(thing) if of else many(coloured(thing))}"
    said = f' that says "{thing.text}"' if thing.text else ""
    one = coloured(thing) if is_mass(thing.name) else with_article(coloured(thing))
    return f"{one}{said} {'in' if thing.position == 'center' else 'at'} the {thing.position}"


def falsify(
    things: Sequence[Thing], missing: tuple[str, str], rng: np.random.Generator
) -> tuple[str, tuple[Thing, ...]]:
    """What is wrong (object, swap, colour, count, place), and the things as the false caption has them.

    `missing` is the (name, category) of something that is not in the scene.
    """
    index = int(rng.integers(len(things)))
    thing = things[index]
    name, category = missing
    invented = replace(thing, name=name, category=category, accept=(), colour="", shape="", text="")
    same = [t for t in things if (t.name, t.colour) == (thing.name, thing.colour)]
    ways: dict[str, tuple[Thing, ...]] = {"object": (*things, invented)}
    if len(same) == 1:
        ways["swap"] = (*things[:index], invented, *things[index + 1 :])
        ways["place"] = (*things[:index], replace(thing, box=_elsewhere(thing, rng)), *things[index + 1 :])
        if thing.colour and thing.colour not in thing.name.split():
            other = [c for c in COLOURS if all(t.colour != c for t in things)]
            recoloured = replace(thing, colour=other[int(rng.integers(len(other)))])
            ways["colour"] = (*things[:index], recoloured, *things[index + 1 :])
    else:
        fewer = len(same) > 2 and rng.random() < 0.5
        ways["count"] = tuple(t for t in things if t is not thing) if fewer else (*things, thing)
    way = sorted(ways)[int(rng.integers(len(ways)))]
    return way, ways[way]


def _elsewhere(thing: Thing, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A box of the same size with its centre in another ninth."""
    x0, y0, x1, y1 = thing.box
    column, row = (min(int(at * 3), 2) for at in thing.centre)
    others = [(c, r) for r in range(3) for c in range(3) if (c, r) != (column, row)]
    column, row = others[int(rng.integers(8))]
    left = int((column + 0.5) * SIDE_PX / 3 - (x1 - x0) / 2)
    top = int((row + 0.5) * SIDE_PX / 3 - (y1 - y0) / 2)
    return left, top, left + x1 - x0, top + y1 - y0
