"""Preference pairs from a model's own answers: what it named wrongly, said less boldly, against what it said.

RLHF-V (Yu et al. 2023, arXiv 2312.00849) has people correct the wrong segments of a model's own answers. Here the truth
about a scene is known, so the correction is made by rule: a thing that is not named rightly is called by its category
("an animal at the left"), which the picture still shows even where the name does not come through. What is named
rightly is preferred to its category, or a model would learn to name nothing. Answers that name a thing wrongly are left
alone: the captions alone tempt a model to answer "animal" whichever animal is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from connector.data.pictures.scenes import Scene, Thing
from connector.data.questions.captions import NUMBERS, alike, phrase
from connector.data.questions.phrases import many
from connector.data.records import Record
from experts.evidence.colours import COLOURS

# What a thing of a category is called where its name is not clear.
UNSURE = {
    "instrument": "musical instrument", "household": "household item", "sport": "sports item",
    "electronics": "electronic device",
}  # fmt: skip
KEPT = 1 / 3  # right captions for each corrected one, as the shipped weights learned; without any they name ever less
# A caption as connector.data.questions.captions writes them, which the model learned from, and one of the things it
# lists.
CAPTION = re.compile(r"(?P<opening>There (?:is|are)|The image shows|A picture of|This is) (?P<listed>.+)\.")
PART = re.compile(rf"(?:(?P<number>an?|{'|'.join(NUMBERS[2:])}) )?(?P<name>.+?)(?: (?:at|in) the (?P<where>[a-z ]+))?")


def is_named(thing: Thing, caption: str) -> bool:
    """Whether a caption calls `thing` by one of its right names, singular or plural; its category is none of them."""
    return _says(caption, {name for name in thing.names if name != thing.category})


def _says(text: str, names: Iterable[str]) -> bool:
    forms = {form for name in names for form in (name, many(name))}
    return any(re.search(rf"\b{re.escape(form)}\b", text.lower()) for form in forms)


def _kind(category: str) -> str:
    return UNSURE.get(category, category)


def correct_caption(scene: Scene, question: str, said: str) -> Record | None:
    """The pair for one caption; None where it is not of the captions' form, or where nothing would be left of it.

    Only what is wrong is changed, so that the pair prefers nothing else: what stands for a thing that has no right name
    in the caption is called by the thing's category, and what stands for nothing is left out. A caption with nothing
    wrong is preferred to itself with a category for every name.
    """
    found = CAPTION.fullmatch(said.strip())
    if found is None:
        return None
    before = re.split(r", | and ", found["listed"])
    things = [thing for thing in scene.things if not thing.text]
    unnamed = [thing for thing in things if not is_named(thing, said)]
    after = [_corrected(part, scene, unnamed) for part in before]
    right = after == before
    if right:
        after = [_vaguer(part, things) for part in before]
    if not any(after) or after == before:
        return None
    other = _caption(found["opening"], after, keep=after[0] == before[0])
    better, worse = (said, other) if right else (other, said)
    return Record(f"{scene.id}-own", question, better, "caption", scene.image, rejected=worse)


def _caption(opening: str, parts: Sequence[str], *, keep: bool) -> str:
    """A caption that lists the parts with something in them; `keep` holds on to its verb."""
    kept = [part for part in parts if part]
    if opening.startswith("There") and not keep:
        opening = "There are" if kept[0].split()[0] in NUMBERS else "There is"
    return f"{opening} {', '.join(kept[:-1])} and {kept[-1]}." if len(kept) > 1 else f"{opening} {kept[0]}."


def _corrected(part: str, scene: Scene, unnamed: list[Thing]) -> str:
    """One thing of a caption as it should be said; "" where there is nothing to say it of. Takes it from `unnamed`."""
    found = PART.fullmatch(part)
    if found is None or "that says" in part or any(_is_right(thing, part) for thing in scene.things):
        return part
    meant = _meant(found, unnamed)
    for thing in meant:
        unnamed.remove(thing)
    return phrase([thing if thing.shape else _by_kind(thing) for thing in meant]) if meant else ""


def _vaguer(part: str, things: Sequence[Thing]) -> str:
    """A rightly named thing of a caption, called by its category; nothing else of it is changed."""
    found = PART.fullmatch(part)
    meant = _meant(found, [thing for thing in things if is_named(thing, part)]) if found else []
    if not found or (found["number"] in NUMBERS and found["number"] != NUMBERS[len(meant)]):
        return part
    colour = next((word for word in found["name"].split() if word in COLOURS), "")
    return phrase([replace(_by_kind(thing), colour=colour) for thing in meant]) if meant else part


def _by_kind(thing: Thing) -> Thing:
    return replace(thing, name=_kind(thing.category))


def _meant(part: re.Match[str], unnamed: Sequence[Thing]) -> list[Thing]:
    """What a part of a caption stands for: "four red switches" for several things alike, else a thing at its place."""
    if part["number"] in NUMBERS:
        meant = [group for group in alike(unnamed) if len(group) > 1]
    else:
        meant = [[thing] for thing in unnamed if thing.position == part["where"]]
    words = part["name"].split()
    return max(meant, key=lambda group: group[0].colour in words, default=[])


def _is_right(thing: Thing, part: str) -> bool:
    return is_named(thing, part) or _says(part, {thing.category, _kind(thing.category)})


def keep_name(asked: Record, said: str) -> list[Record]:
    """The pairs that prefer a right answer to a question for a name to the category; none where another was given.

    The second asks for a thing of that category ("Which animal is this?"), so that the category is no answer at all.
    """
    said, kind = said.strip().rstrip("."), _kind(asked.category)
    if not _says(said, {asked.answer, *asked.accept} - {asked.category, kind}):
        return []
    questions = dict.fromkeys((asked.question, _narrowed(asked.question, kind)))
    return [Record(f"{asked.id}-own{n}", q, said, "name", asked.image, rejected=kind) for n, q in enumerate(questions)]


def _narrowed(question: str, kind: str) -> str:
    """A question for a name that tells what kind of thing is asked for, where its wording has room for that.

    >>> _narrowed("What is at the left?", "animal"), _narrowed("Name the object.", "animal")
    ('Which animal is at the left?', 'Name the animal.')
    """
    return re.sub(r"\b(?:object|thing)\b", kind, re.sub(r"^What (?=is|can)", f"Which {kind} ", question))


def opposed(asked: Record) -> Record:
    """The right answer to a yes / no question against the other one.

    What is learned of names moves the balance between yes and no too: after pairs of captions and names alone, a model
    said yes to whatever it was asked for in a photograph.
    """
    other = "no" if asked.answer == "yes" else "yes"
    return Record(f"{asked.id}-own", asked.question, asked.answer, asked.kind, asked.image, rejected=other)


def corrections(scenes: Iterable[Scene], asked: Sequence[Record], said: Sequence[str]) -> dict[str, list[Record]]:
    """The pairs from all answers `said` to the questions `asked` about `scenes`, as "captions", "names" and "answers".

    Captions that were right are `KEPT` times as many as those that were corrected, at most. Answers are yes and no,
    whichever of them was said.
    """
    by_image = {scene.image: scene for scene in scenes}
    corrected: list[Record] = []
    kept: list[Record] = []
    names: list[Record] = []
    for record, text in zip(asked, said, strict=True):
        if record.kind == "name":
            names += keep_name(record, text)
        elif record.kind == "caption" and (pair := correct_caption(by_image[str(record.image)], record.question, text)):
            (kept if pair.answer == text else corrected).append(pair)
    answers = [opposed(record) for record in asked if record.kind == "existence"]
    return {"captions": corrected + kept[: round(KEPT * len(corrected))], "names": names, "answers": answers}
