"""Questions with true answers about a scene, its caption, and a preference pair: everything that is asked of scenes.

Answers are short and lower case. Phrasings of the test split are not among those of the training split. A thing is
asked about by name only where that name is right for it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from connector.data.pictures.scenes import SHAPES, Scene, Thing
from connector.data.questions.captions import describe, falsify
from connector.data.questions.phrases import PHRASES, agree, is_mass, is_plural, many, with_article
from connector.data.records import Record
from experts.evidence.colours import COLOURS

RELATIONS = {"left of": (0, -1), "right of": (0, 1), "above": (1, -1), "below": (1, 1)}
BESIDE = {"left of": "to the left of", "right of": "to the right of", "above": "above", "below": "below"}
# Kinds that people ask for, with the category that may hold unnamed members of them; "" where a name always says it.
KINDS = {
    "animal": "", "plant": "", "vehicle": "", "building": "", "musical instrument": "instrument", "shape": "",
    "bird": "", "fish": "", "dog": "", "cat": "", "insect": "animal", "mammal": "animal", "reptile": "animal",
    "fruit": "food", "vegetable": "food", "dessert": "food", "flower": "plant", "tree": "plant",
    "car": "vehicle", "truck": "vehicle", "train": "vehicle", "boat": "vehicle", "aircraft": "vehicle",
    "hat": "clothing", "shirt": "clothing", "shoe": "clothing", "ball": "sport", "tool": "",
}  # fmt: skip
GENERIC = frozenset(KINDS) - {"dog", "cat", "car", "truck", "train", "boat", "hat", "shirt", "shoe", "ball"} | {
    "bug", "rodent", "seafood", "big cat", "string instrument",
}  # fmt: skip
COUNTED = ("animal", "vehicle", "plant", "building", "shape")  # categories whose members are counted together
# Things whose category two people would not agree on.
UNSORTED = frozenset((
    "rock", "log", "bricks", "cave", "wheel", "satellite", "comb", "diamond", "fan", "elevator", "button", "wings",
    "tent", "parachute", "bomb", "trophy", "barrel", "crown", "backpack", "dragon", "bubbles", "ice cube",
    "circus tent", "pig nose", "golf flag", "toy lion", "teddy bear", "rubber duck", "warning sign",
))  # fmt: skip
LOWEST_CLEAR = 0.15  # shares of the side between two centres, for 'left of' and the like


class Asker:
    """Asks about scenes of one split.

    `vocabulary` (name, category, all right names) supplies what is asked for in vain; what it holds more often is asked
    more often, so that a name alone does not tell whether the answer is yes.
    """

    def __init__(self, split: str, seed: int, vocabulary: Sequence[tuple[str, str, frozenset[str]]]) -> None:
        self.split, self.seed = split, seed
        self.vocabulary = list(vocabulary)

    def questions(self, scene: Scene) -> list[Record]:
        """All questions of a scene, in a fixed order."""
        rng = self._rng(scene, 77)
        alone = [thing for thing in scene.things if _alone(scene, thing)]
        rows: list[Record] = []

        def ask(
            kind: str, phrase: str, answer: str, accept: tuple[str, ...] = (), category: str = "", **words: str
        ) -> None:
            question = agree(self._phrase(phrase, rng).format(**words), words.get("bare", words.get("name", "")))
            number = f"{scene.id}-{len(rows)}"
            rows.append(Record(number, question, answer, kind, scene.image, accept=accept, category=category))

        steps = (self._naming, self._existence, self._counting, self._looks, self._places, self._pairs, self._reading)
        for make in steps if scene.things else (self._nothing,):
            make(scene, alone, rng, ask)
        return rows

    def caption(self, scene: Scene) -> Record:
        """A true caption."""
        rng = self._rng(scene, 78)
        return Record(
            f"{scene.id}-c", self._phrase("caption", rng), describe(scene.things, rng), "caption", scene.image
        )

    def preference(self, scene: Scene) -> Record | None:
        """A true answer against a false one.

        Mostly the caption against the same caption with an invented or swapped object, a wrong colour, count or place;
        sometimes a yes/no question.
        """
        rng = self._rng(scene, 79)
        if rng.random() < 0.25:
            for row in self.questions(scene):
                if row.answer in ("yes", "no"):
                    other = "no" if row.answer == "yes" else "yes"
                    return Record(f"{scene.id}-p", row.question, row.answer, row.kind, scene.image, rejected=other)
        if not scene.things:
            return None
        like = scene.things[int(rng.integers(len(scene.things)))]
        name = self._missing(scene, like, rng)
        category = next((category for known, category, _ in self.vocabulary if known == name), "")
        _, untrue = falsify(scene.things, (name, category), rng)
        question = self._phrase("caption", rng)
        words = int(rng.integers(2**31))  # the same words for both
        true, false = (describe(things, np.random.default_rng(words)) for things in (scene.things, untrue))
        if true == false:
            return None
        return Record(f"{scene.id}-p", question, true, "caption", scene.image, rejected=false)

    # -- the kinds ----------------------------------------------------------------------------------------------

    def _naming(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        thing = scene.things[int(rng.integers(len(scene.things)))]
        if thing.text or sum(other.position == thing.position for other in scene.things) > 1:
            return
        sorted_out = thing.name not in UNSORTED and (not thing.shape or rng.random() < 0.35)
        if len(scene.things) > 1:
            ask("name", "name at", thing.name, _near(thing), thing.category, position=thing.position)
            if sorted_out:
                ask("category", "category", thing.category, position=thing.position)
            return
        as_shape = bool(thing.shape) and rng.random() < 0.6
        kind, phrase = ("shape", "lone shape") if as_shape else ("name", "name")
        ask(kind, phrase, thing.name, _near(thing), thing.category)
        if sorted_out:
            ask("category", "category of one", thing.category)

    def _existence(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        """One question with yes and one with no each time, so that the two are balanced to the piece."""
        there = [thing for thing in scene.things if not thing.text]
        if not there:
            return
        thing = there[int(rng.integers(len(there)))]
        kinds = sorted({thing.category, *thing.accept} & KINDS.keys()) if thing.name not in UNSORTED else []
        pairs = []
        if thing.shape and rng.random() < 0.6:
            look = f"{thing.colour} {('shape', thing.name)[int(rng.random() < 0.5)]}"
            pairs.append((look, self._missing_look(scene, thing, rng)))
        else:
            pairs.append((thing.name, self._missing(scene, thing, rng)))
        if kinds and rng.random() < (0.18 if thing.shape else 0.4):
            absent = self._missing_kind(scene, rng)
            if absent:
                pairs.append((kinds[int(rng.integers(len(kinds)))], absent))
        for yes, no in pairs:
            negated = rng.random() < (0.3 if thing.shape else 0.12)
            for bare, holds in ((yes, True), (no, False)):
                answer = "yes" if holds != negated else "no"
                ask("existence", "absence" if negated else "existence", answer, a=with_article(bare), bare=bare)

    def _nothing(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        """What is asked of a scene that holds no thing."""
        names = [self.vocabulary[int(rng.integers(len(self.vocabulary)))][0] for _ in range(3)]
        for name in dict.fromkeys(names):
            ask("existence", "existence", "no", a=with_article(name), bare=name)
        if not is_mass(names[0]) and not is_plural(names[0]):
            ask("count", "count", "0", plural=many(names[0]))

    def _counting(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        groups: dict[str, int] = {}
        for thing in scene.things:
            if not thing.text and not is_mass(thing.name) and not is_plural(thing.name):
                groups[thing.name] = groups.get(thing.name, 0) + 1
        clear = [name for name in groups if all(t.name == name or name not in t.names for t in scene.things)]
        if clear:
            most = max(clear, key=lambda key: groups[key])
            name = most if rng.random() < 0.7 else clear[int(rng.integers(len(clear)))]
            if groups[name] > 1 or rng.random() < 0.2:
                ask("count", "count", str(groups[name]), plural=many(name))
        if rng.random() < 0.4:
            category = COUNTED[int(rng.integers(len(COUNTED)))]
            members = [t for t in scene.things if category in (t.category, *t.accept)]
            if len(members) > 1 and not any(is_plural(t.name) or t.name in UNSORTED for t in members):
                ask("count", "count", str(len(members)), plural=many(category))
        coloured = [t for t in scene.things if t.shape]
        if coloured and rng.random() < 0.3:
            colour = coloured[int(rng.integers(len(coloured)))].colour
            same = sum(t.colour == colour for t in coloured)
            if same > 1 or rng.random() < 0.4:
                ask("count", "count", str(same), plural=f"{colour} shapes")
        if not any(t.text or is_plural(t.name) for t in scene.things) and rng.random() < 0.3:
            ask("count", "count", str(len(scene.things)), plural="objects")
        if rng.random() < 0.1:
            absent = self._missing(scene, scene.things[0], rng)
            if not is_mass(absent) and not is_plural(absent):
                ask("count", "count", "0", plural=many(absent))

    def _looks(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        for thing in _some(rng, [t for t in alone if t.colour and t.colour not in t.name.split()], 1):
            name = thing.name
            if len(scene.things) == 1 and rng.random() < 0.5:
                name = "shape" if thing.shape and rng.random() < 0.6 else "object"
            several = is_plural(name)
            ask("colour", "colour of several" if several else "colour", thing.colour, name=name, plural=name)
        repeated = [t for t in scene.things if t.colour and sum(o.name == t.name for o in scene.things) > 1]
        for thing in _some(rng, repeated, 1):
            alike = all(t.colour == thing.colour or thing.name not in t.names for t in scene.things)
            if alike and not is_mass(thing.name):
                ask("colour", "colour of several", thing.colour, plural=many(thing.name))
        shapes = [t for t in scene.things if t.shape and sum(o.colour == t.colour for o in scene.things) == 1]
        if len(scene.things) > 1 and all(t.colour for t in scene.things):
            for thing in _some(rng, shapes, 1):
                ask("shape", "shape", thing.shape, _near(thing), colour=thing.colour)

    def _places(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        for thing in _some(rng, alone, 1 + (len(alone) > 2)):
            if thing.position != "center" or rng.random() < 0.45:
                ask("position", "position", thing.position, name=thing.name)

    def _pairs(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        if len(alone) < 2:
            return
        first, second = _some(rng, alone, 2)
        wanted = rng.random() < 0.5
        clear = [r for r in RELATIONS if (beyond(first, second, r) if wanted else beyond(second, first, r))]
        if clear:
            relation = clear[int(rng.integers(len(clear)))]
            answer = "yes" if wanted else "no"
            ask("relation", "relation", answer, name=first.name, other=second.name, relation=relation)
        relation = tuple(RELATIONS)[int(rng.integers(4))]
        there = [t for t in scene.things if t is not first and beyond(t, first, relation, 0.0)]
        if len(there) == 1 and not there[0].text and beyond(there[0], first, relation):
            ask(
                "relation", "what is beside", there[0].name, _near(there[0]), name=first.name, relation=BESIDE[relation]
            )
        larger, smaller = sorted((first, second), key=lambda t: -t.share)
        if larger.share > 1.8 * smaller.share:
            ask("size", "size", larger.name, _near(larger), name=first.name, other=second.name)

    def _reading(self, scene: Scene, alone: list[Thing], rng: np.random.Generator, ask: Callable[..., None]) -> None:
        for thing in scene.things:
            if thing.text:
                ask("text", "text", thing.text)

    # -- what is not there --------------------------------------------------------------------------------------

    def _missing(self, scene: Scene, like: Thing, rng: np.random.Generator) -> str:
        """A name that nothing in the scene has, often of the same category as `like`."""
        near = rng.random() < (0.85 if like.shape else 0.5)
        taken = frozenset().union(*(thing.names for thing in scene.things))
        called = {thing.name for thing in scene.things}
        for attempt in range(300):
            name, category, names = self.vocabulary[int(rng.integers(len(self.vocabulary)))]
            if {name, name.removesuffix("s")} & taken or called & names or (names & taken) - GENERIC - {category}:
                continue
            far = not near and (category != "shape" or rng.random() < 0.15)
            if category == like.category or far or attempt > 200:
                return name
        return "submarine"

    def _missing_look(self, scene: Scene, like: Thing, rng: np.random.Generator) -> str:
        """A colour with a shape that nothing has together: half the time one of the two is `like`'s own."""
        held = {(t.colour, word) for t in scene.things for word in (t.name, *t.accept)}
        for attempt in range(300):
            colour = COLOURS[int(rng.integers(len(COLOURS)))]
            word = "shape" if rng.random() < 0.68 else SHAPES[int(rng.integers(len(SHAPES)))]
            if attempt < 100 and rng.random() < 0.5:
                colour, word = (like.colour, word) if rng.random() < 0.6 else (colour, like.name)
            unclear = any(not t.colour for t in scene.things if word in t.names)
            if (colour, word) not in held and not unclear:
                return f"{colour} {word}"
        return "transparent shape"

    def _missing_kind(self, scene: Scene, rng: np.random.Generator) -> str:
        """A kind that nothing in the scene is of and that nothing may be of unnamed; "" where there is none."""
        held = {word for t in scene.things for word in (t.category, *t.names)}
        if held & set(UNSORTED):
            return ""
        for _ in range(30):
            name, category, names = self.vocabulary[int(rng.integers(len(self.vocabulary)))]
            kinds = sorted({category, *names} & KINDS.keys()) if name not in UNSORTED else []
            kind = kinds[int(rng.integers(len(kinds)))] if kinds else ""
            if kind and kind not in held and (not KINDS[kind] or KINDS[kind] not in held):
                return kind
        return ""

    def _phrase(self, what: str, rng: np.random.Generator) -> str:
        pool = PHRASES[what][self.split == "test"]
        return pool[int(rng.integers(len(pool)))]

    def _rng(self, scene: Scene, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, purpose, int(scene.id.rsplit("-", 1)[1])])


def beyond(thing: Thing, other: Thing, relation: str, least: float = LOWEST_CLEAR) -> bool:
    """Whether `thing` is `relation` (left of, right of, above, below) `other` by more than `least` of the side."""
    axis, sign = RELATIONS[relation]
    return (thing.centre[axis] - other.centre[axis]) * sign > least


def vocabulary_of(scenes: Sequence[Scene]) -> list[tuple[str, str, frozenset[str]]]:
    """Name, category and all right names of every thing in `scenes`, as often as it is there, for an Asker."""
    things = [thing for scene in scenes for thing in scene.things if not thing.text]
    names: dict[str, frozenset[str]] = {}
    for thing in things:
        names[thing.name] = names.get(thing.name, frozenset()) | thing.names
    return [(thing.name, thing.category, names[thing.name]) for thing in things]


def _alone(scene: Scene, thing: Thing) -> bool:
    return sum(thing.name in other.names for other in scene.things) == 1


def _near(thing: Thing) -> tuple[str, ...]:
    """Right names but for the bare category: to call a dog an animal does not name it."""
    names = tuple(name for name in thing.accept if name not in (thing.category, "mammal"))
    return (*names, f"{thing.colour} {thing.name}") if thing.shape else names


def _some(rng: np.random.Generator, things: Sequence[Thing], count: int) -> list[Thing]:
    chosen = rng.permutation(len(things))[:count]
    return [things[int(index)] for index in chosen]


__all__ = ["Asker", "beyond", "describe", "vocabulary_of", "with_article"]
