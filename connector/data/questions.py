"""Questions with true answers about a scene, captions of it, and preference pairs: everything that is asked of scenes.

Answers are short and lower case. Phrasings of the test split are not among those of the training split. A thing is asked
about by name only where that name is right for it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from connector.data.colours import COLOURS
from connector.data.records import Record
from connector.data.scenes import POSITIONS, SHAPES, Scene, Thing

# kind -> phrasings of training, then phrasings of the test split
PHRASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "name": (
        ("What is in the picture?", "What is this?", "What does the image show?", "Name the object."),
        ("What can you see in the image?", "What is shown here?"),
    ),
    "name at": (
        ("What is at the {position}?", "What is in the {position} of the picture?", "Which object is at the {position}?"),
        ("What can be seen at the {position}?", "Name the thing at the {position} of the image."),
    ),
    "category": (
        ("What kind of thing is at the {position}?", "What type of object is in the {position} of the picture?"),
        ("Which category of thing is at the {position}?",),
    ),
    "category of one": (
        ("What kind of thing is this?", "What type of object is in the picture?", "What category is the object?"),
        ("Which category of thing does the image show?",),
    ),
    "existence": (
        ("Is there {a} in the picture?", "Is there {a}?", "Does the image contain {a}?", "Can you see {a}?", "Is {a} present?"),
        ("Is there {a} in the image?", "Does the picture show {a}?"),
    ),
    "absence": (
        ("Is there no {bare} in the picture?", "Does the image not contain {a}?", "Is no {bare} present?"),
        ("Is there not {a} in the image?", "Is no {bare} in the image?"),
    ),
    "count": (
        ("How many {plural} are there?", "How many {plural} are in the picture?", "Count the {plural}."),
        ("How many {plural} can you see?", "What is the number of {plural}?"),
    ),
    "colour": (
        ("What color is the {name}?", "What is the color of the {name}?", "What colour is the {name}?"),
        ("Which color does the {name} have?", "What colour does the {name} have?"),
    ),
    "shape": (
        ("What shape is the {colour} object?", "What is the {colour} shape?", "What shape is {colour}?"),
        ("Which shape is {colour}?", "What is the shape of the {colour} object?"),
    ),
    "lone shape": (
        ("What shape is in the picture?", "What is the shape of the object?", "What shape is there?"),
        ("What shape does the image contain?", "What shape is present?"),
    ),
    "position": (
        ("Where is the {name}?", "Where in the picture is the {name}?", "In which part of the image is the {name}?"),
        ("Where can the {name} be seen?", "At what place in the picture is the {name}?"),
    ),
    "relation": (
        ("Is the {name} {relation} the {other}?", "Is the {name} located {relation} the {other}?"),
        ("Would you say the {name} is {relation} the {other}?",),
    ),
    "size": (
        ("Which is larger, the {name} or the {other}?", "Which is bigger, the {name} or the {other}?"),
        ("What is bigger: the {name} or the {other}?",),
    ),
    "text": (
        ("What does the sign say?", "What is written on the sign?", "Read the text."),
        ("Which word is on the sign?", "What text is in the image?"),
    ),
    "caption": (
        ("Describe the image.", "Describe the picture.", "What do you see? Describe it."),
        ("Give a description of the image.",),
    ),
}
RELATIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
IRREGULAR = {"mouse": "mice", "goose": "geese", "sheep": "sheep", "deer": "deer", "fish": "fish", "knife": "knives", "leaf": "leaves"}


class Asker:
    """Asks about scenes of one split; `vocabulary` (names with categories) supplies what is asked for in vain."""

    def __init__(self, split: str, seed: int, vocabulary: Sequence[tuple[str, str, frozenset[str]]]) -> None:
        self.split, self.seed = split, seed
        self.vocabulary = list(dict.fromkeys(vocabulary))

    def questions(self, scene: Scene) -> list[Record]:
        """All questions of a scene, in a fixed order."""
        rng = np.random.default_rng([self.seed, 77, int(scene.id.rsplit("-", 1)[1])])
        alone = [thing for thing in scene.things if self._alone(scene, thing)]
        rows: list[Record] = []

        def ask(kind: str, phrase: str, answer: str, accept: tuple[str, ...] = (), category: str = "", **words: str) -> None:
            pool = PHRASES[phrase][self.split == "test"]
            question = pool[int(rng.integers(len(pool)))].format(**words)
            rows.append(Record(f"{scene.id}-{len(rows)}", question, answer, kind, scene.image, accept=accept, category=category))

        for make in (self._naming, self._existence, self._counting, self._looks, self._places, self._pairs, self._reading):
            make(scene, alone, rng, ask)
        return rows

    def caption(self, scene: Scene) -> Record:
        """A true caption."""
        rng = np.random.default_rng([self.seed, 78, int(scene.id.rsplit("-", 1)[1])])
        pool = PHRASES["caption"][self.split == "test"]
        return Record(f"{scene.id}-c", pool[int(rng.integers(len(pool)))], describe(scene.things, rng), "caption", scene.image)

    def preference(self, scene: Scene) -> Record | None:
        """The caption against the same caption made false: an invented object, or a wrong count, colour or place."""
        rng = np.random.default_rng([self.seed, 79, int(scene.id.rsplit("-", 1)[1])])
        state = rng.bit_generator.state
        true = describe(scene.things, rng)
        false_things = self._falsified(scene, rng)
        if false_things is None:
            return None
        rng.bit_generator.state = state
        false = describe(false_things, rng)
        if false == true:
            return None
        return replace(self.caption(scene), id=f"{scene.id}-p", answer=true, rejected=false)

    # -- the kinds ----------------------------------------------------------------------------------------------

    def _naming(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        if len(scene.things) == 1:
            thing = scene.things[0]
            phrase = "lone shape" if thing.shape and rng.random() < 0.6 else "name"
            if not thing.text:
                kind = "shape" if phrase == "lone shape" else "name"
                ask(kind, phrase, thing.name, _near(thing), thing.category)
                ask("category", "category of one", thing.category)
            return
        for thing in _some(rng, scene.things, 1):
            if sum(other.position == thing.position for other in scene.things) == 1 and not thing.text:
                ask("name", "name at", thing.name, _near(thing), thing.category, position=thing.position)
                ask("category", "category", thing.category, position=thing.position)

    def _existence(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        """One question with yes and one with no, so that the two are balanced to the piece."""
        there = [thing for thing in scene.things if not thing.text]
        if not there:
            return
        thing = there[int(rng.integers(len(there)))]
        as_shape = bool(thing.shape) and rng.random() < 0.5
        yes = f"{thing.colour} {('shape', thing.name)[int(rng.random() < 0.5)]}" if as_shape else thing.name
        if not as_shape and thing.category != "shape" and rng.random() < 0.25 and len(thing.accept) > 1:
            yes = thing.accept[int(rng.integers(len(thing.accept) - 1))]
        no = self._missing_shape(scene, rng) if as_shape else self._missing(scene, thing, rng)
        negated = bool(thing.shape) and rng.random() < 0.3
        for bare, holds in ((yes, True), (no, False)):
            answer = "yes" if holds != negated else "no"
            ask("existence", "absence" if negated else "existence", answer, a=with_article(bare), bare=bare)

    def _counting(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        groups: dict[str, int] = {}
        for thing in scene.things:
            if not thing.text:
                groups[thing.name] = groups.get(thing.name, 0) + 1
        clear = [name for name in groups if all(t.name == name or name not in t.names for t in scene.things)]
        if not clear:
            return
        name = max(clear, key=lambda key: groups[key]) if rng.random() < 0.7 else clear[int(rng.integers(len(clear)))]
        if groups[name] > 1 or rng.random() < 0.35:
            ask("count", "count", str(groups[name]), plural=plural(name))
        if not any(t.text for t in scene.things) and rng.random() < 0.3:
            ask("count", "count", str(len(scene.things)), plural="objects")
        if rng.random() < 0.08:
            ask("count", "count", "0", plural=plural(self._missing(scene, scene.things[0], rng)))

    def _looks(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        for thing in _some(rng, [t for t in alone if t.colour], 1):
            generic = len(scene.things) == 1 and rng.random() < 0.3
            ask("colour", "colour", thing.colour, name="object" if generic else thing.name)
        shapes = [t for t in scene.things if t.shape]
        single = [t for t in shapes if sum(o.colour == t.colour for o in scene.things) == 1]
        if len(scene.things) > 1 and all(t.colour for t in scene.things):
            for thing in _some(rng, single, 1):
                ask("shape", "shape", thing.shape, ("rectangle",) if thing.shape == "square" else (), colour=thing.colour)

    def _places(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        for thing in _some(rng, alone, 1 + (len(alone) > 2)):
            ask("position", "position", thing.position, name=thing.name)

    def _pairs(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        if len(alone) < 2:
            return
        first, second = (alone[int(i)] for i in rng.choice(len(alone), 2, replace=False))
        clear = [r for r, (axis, _) in RELATIONS.items() if abs(first.centre[axis] - second.centre[axis]) > 0.15]
        if clear:
            relation = clear[int(rng.integers(len(clear)))]
            axis, sign = RELATIONS[relation]
            holds = (first.centre[axis] - second.centre[axis]) * sign > 0
            ask("relation", "relation", "yes" if holds else "no", name=first.name, other=second.name, relation=relation)
        larger, smaller = sorted((first, second), key=lambda t: -t.share)
        if larger.share > 1.8 * smaller.share:
            ask("size", "size", larger.name, _near(larger), name=first.name, other=second.name)

    def _reading(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        for thing in scene.things:
            if thing.text:
                ask("text", "text", thing.text)

    # -- what is not there --------------------------------------------------------------------------------------

    def _alone(self, scene: Scene, thing: Thing) -> bool:
        return sum(thing.name in other.names for other in scene.things) == 1

    def _missing(self, scene: Scene, like: Thing, rng: np.random.Generator) -> str:
        """A name that nothing in the scene has: half the time of the same category."""
        near = rng.random() < 0.5
        taken = frozenset().union(*(thing.names for thing in scene.things))
        for _ in range(200):
            name, category, names = self.vocabulary[int(rng.integers(len(self.vocabulary)))]
            if not (names & taken - {category, "mammal", "bird", "insect", "bug"}) and name not in taken and (category == like.category or not near):
                return name
        return "submarine sandwich"

    def _missing_shape(self, scene: Scene, rng: np.random.Generator) -> str:
        colours = [c for c in COLOURS if all(t.colour != c for t in scene.things)]
        name = "shape" if rng.random() < 0.5 else SHAPES[int(rng.integers(3))]
        return f"{colours[int(rng.integers(len(colours)))]} {name}"

    def _falsified(self, scene: Scene, rng: np.random.Generator) -> tuple[Thing, ...] | None:
        things = list(scene.things)
        index = int(rng.integers(len(things)))
        thing = things[index]
        way = int(rng.integers(4))
        if way <= 1 and len(things) < 6:
            name = self._missing(scene, thing, rng)
            category = next((c for n, c, _ in self.vocabulary if n == name), "")
            extra = replace(thing, name=name, category=category, accept=(), colour="", shape="", text="")
            return (*things, extra) if way == 0 else (*things[:index], extra, *things[index + 1 :])
        if way == 2 and thing.colour:
            others = [c for c in COLOURS if c != thing.colour]
            things[index] = replace(thing, colour=others[int(rng.integers(len(others)))])
            return tuple(things)
        count = sum(t.name == thing.name for t in things)
        return (*things, thing) if count > 1 and len(things) < 6 else None


def vocabulary_of(scenes: Sequence[Scene]) -> list[tuple[str, str, frozenset[str]]]:
    """Name, category and all right names of everything in `scenes`, for an Asker."""
    things = {thing.name: thing for scene in scenes for thing in scene.things if not thing.text}
    return [(name, thing.category, thing.names) for name, thing in sorted(things.items())]


def describe(things: Sequence[Thing], rng: np.random.Generator) -> str:
    """A caption that says of each group how many, of single things colour and place.

    >>> rng = np.random.default_rng(0)
    >>> describe((Thing("dog", "animal", (), "brown", "", (0, 0, 60, 60)),), rng)
    'There is a brown dog at the top left.'
    """
    groups: dict[str, list[Thing]] = {}
    for thing in things:
        groups.setdefault(thing.name, []).append(thing)
    parts = []
    for name, group in groups.items():
        if len(group) > 1:
            parts.append(f"{NUMBERS[len(group)]} {plural(name)}")
            continue
        thing = group[0]
        text = with_article(f"{thing.colour} {name}" if thing.colour and not name.startswith(thing.colour) else name)
        if thing.text:
            text += f' that says "{thing.text}"'
        parts.append(f"{text} {'in' if thing.position == 'center' else 'at'} the {thing.position}")
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    verb = "are" if listed.split()[0] in NUMBERS else "is"
    opening = ("There {verb} {listed}.", "The image shows {listed}.", "A picture of {listed}.")[int(rng.integers(3)) if len(things) > 1 else 0]
    return opening.format(verb=verb, listed=listed)


def with_article(name: str) -> str:
    """'an apple', 'a dog', 'glasses'."""
    if name.endswith("s") and not name.endswith(("ss", "us", "is")):
        return name
    return ("an " if name[0] in "aeiou" else "a ") + name


def plural(name: str) -> str:
    """The plural of a name, by its last word."""
    *front, last = name.split()
    if last in IRREGULAR:
        last = IRREGULAR[last]
    elif last.endswith("s") and not last.endswith(("ss", "us")):
        pass
    elif last.endswith(("ss", "us", "x", "ch", "sh", "z")):
        last += "es"
    elif last.endswith("y") and last[-2:-1] not in "aeiou":
        last = last[:-1] + "ies"
    else:
        last += "s"
    return " ".join([*front, last])


def _near(thing: Thing) -> tuple[str, ...]:
    """Right names but for the bare category: to call a dog an animal does not name it."""
    return tuple(name for name in thing.accept if name != thing.category)


def _some(rng: np.random.Generator, things: Sequence[Thing], count: int) -> list[Thing]:
    chosen = rng.permutation(len(things))[:count]
    return [things[int(index)] for index in chosen]


__all__ = ["POSITIONS", "Asker", "describe", "plural", "vocabulary_of", "with_article"]
