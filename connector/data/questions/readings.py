"""Questions about findings: evidence text in the form the experts give it, with the answers that follow from it.

The findings are drawn at random, but their text comes from experts.evidence, the same function that serves at run time,
so the language model learns to read exactly what it will be given. What the evidence does not support is answered with
no, with 0, or with saying that it cannot be told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from connector.data.pictures.scenes import SIDE_PX, WORDS, Scene, Thing
from connector.data.questions.about_scenes import Asker, with_article
from connector.data.questions.recordings import CITIES, DISHES, ITEMS, PEOPLE, heard, statements
from connector.data.records import Record
from experts.base import Finding
from experts.evidence import asked_thing, compose_evidence
from experts.evidence.categories import COCO_KINDS, imagenet_classes, kinds_of, matches, plural
from experts.evidence.colours import COLOURS
from experts.weights.convert.nanodet import COCO

NAMES = tuple(name.replace("_", " ") for name in COCO)
LIKELY = 0.2  # score of a tag from which on a description says it
UNKNOWN = "I cannot tell from what was found."
READ = (
    "What does the sign say?",
    "What is written in the picture?",
    "Read the text.",
    "What text is in the image?",
    "What does it say?",
)
TOP = ("What does the title say?", "What is written at the top?", "What is the first line?", "Read the headline.")
BOTTOM = ("What is written at the bottom?", "What is the last line?", "What does the lowest line say?")
NUMBER = ("Which number is written there?", "What number is on it?", "Which number can be read?")
DESCRIBE = (
    "What is in the picture?",
    "What does the image show?",
    "What can you see?",
    "Describe the image.",
    "What is this?",
)


def readings(n: int, seed: int) -> list[Record]:
    """`n` records with evidence and no image, most about pictures and more than a fifth about recordings."""
    rng = np.random.default_rng([seed, 91])
    asker = _asker(seed)
    rows: list[Record] = []
    while len(rows) < n:
        draw = rng.random()
        if draw < 0.12:
            rows += heard(rng)
        elif draw < 0.22:
            rows += statements(rng)
        elif draw < 0.3:
            rows += _tagged(rng)
        elif draw < 0.42:
            rows += _of_a_kind(rng)
        elif draw < 0.54:
            rows += _written(rng)
        else:
            rows += _seen(rng, asker, len(rows))
    return [
        Record(f"reading-{seed}-{index}", r.question, r.answer, r.kind, evidence=r.evidence, accept=r.accept)
        for index, r in enumerate(rows[:n])
    ]


def _asker(seed: int) -> Asker:
    return Asker("train", seed, [(name, _category(name), frozenset((name, *kinds_of(name)))) for name in NAMES])


def _category(name: str) -> str:
    return next((kind for kind in ("animal", "vehicle", "food", "furniture") if name in COCO_KINDS[kind]), "thing")


def _seen(rng: np.random.Generator, asker: Asker, number: int) -> list[Record]:
    """Questions about a picture of COCO things, as the detector, the tagger and the reader would report it."""
    names = [str(name) for name in rng.choice(NAMES, int(rng.integers(1, 5)), replace=False)]
    if rng.random() < 0.4:
        names[0] = "person"
    things = []
    for name in names:
        for _ in range(int(rng.integers(1, 6)) if rng.random() < 0.35 else 1):
            size = rng.integers(40, 150, 2)
            x, y = (int(rng.integers(0, SIDE_PX - s)) for s in size)
            colour = str(rng.choice(COLOURS)) if rng.random() < 0.8 else ""
            things.append(
                Thing(name, _category(name), kinds_of(name), colour, "", (x, y, x + int(size[0]), y + int(size[1])))
            )
    found = [
        Finding(
            "detect", t.name, 0.8, (float(x0), float(y0), float(x1), float(y1)), None, "picture", {"colour": t.colour}
        )
        for t in things
        for x0, y0, x1, y1 in [t.box]
    ]
    tagged = things[0].name if rng.random() < 0.5 else str(rng.choice(NAMES))
    if rng.random() < 0.85:
        found.append(Finding("tag", tagged, float(rng.uniform(0.1, 0.95)), source="picture"))
    word = str(rng.choice(WORDS)) if rng.random() < 0.3 else ""
    if word:
        word = word.upper() if rng.random() < 0.6 else word
        found.append(Finding("ocr", word, 0.95, (0.0, 0.0, 50.0, 20.0), source="picture"))
    return _asked(rng, asker, number, things, found)


def readings_of(pictures: Iterable[tuple[Sequence[Finding], tuple[int, int]]], seed: int) -> list[Record]:
    """Records about what experts really found in pictures: (findings, (width, height)) of each.

    The answers follow from the findings, not from the pictures: what no expert saw is answered with no.
    """
    rng = np.random.default_rng([seed, 92])
    asker = _asker(seed)
    rows: list[Record] = []
    for number, (found, (width, height)) in enumerate(pictures):
        things = []
        for finding in found:
            if finding.expert == "detect" and finding.box:
                x0, y0, x1, y1 = finding.box
                box = (
                    int(x0 / width * SIDE_PX), int(y0 / height * SIDE_PX),
                    int(x1 / width * SIDE_PX), int(y1 / height * SIDE_PX),
                )  # fmt: skip
                name, colour = finding.text, str(finding.extra.get("colour") or "")
                things.append(Thing(name, _category(name), kinds_of(name), colour, "", box))
        found = [dataclasses.replace(finding, source="picture") for finding in found]
        if things:
            rows += _asked(rng, asker, number, things, found, (width, height))
        elif any(finding.expert == "tag" for finding in found):
            rows += _asked_of_tags(rng, [finding for finding in found if finding.expert != "ocr"])
        elif not found:
            absent = str(rng.choice(NAMES))
            pairs = [(f"Is there {with_article(absent)} in the picture?", "no", "existence"),
                     (str(rng.choice(DESCRIBE)), "Nothing was found.", "caption")]  # fmt: skip
            rows += [Record("x", q, a, kind, evidence=compose_evidence([], q)) for q, a, kind in pairs]
    return [
        Record(f"found-{seed}-{index}", r.question, r.answer, r.kind, evidence=r.evidence, accept=r.accept)
        for index, r in enumerate(rows)
    ]


def _asked(
    rng: np.random.Generator,
    asker: Asker,
    number: int,
    things: list[Thing],
    found: Sequence[Finding],
    size: tuple[int, int] = (SIDE_PX, SIDE_PX),
) -> list[Record]:
    """Up to six questions about `found`, of which `things` are the detector's."""
    scene = Scene(f"reading-{number:06d}", "", "reading", "", tuple(things))
    asked = ("existence", "count", "colour", "position", "name", "category", "relation")
    rows = [row for row in asker.questions(scene) if row.kind in asked and row.answer != "thing"]
    rows = [rows[int(i)] for i in rng.permutation(len(rows))[:4]]
    words = [finding.text for finding in found if finding.expert == "ocr"]
    likely = next((f.text for f in found if f.expert == "tag" and f.score > LIKELY), "")
    if any(matches(likely, t.name) or matches(t.name, likely) for t in things if likely):
        likely = ""
    if likely and len(things) == 1:  # what the whole looks like belongs to what it is
        rows = [row for row in rows if row.kind != "name"]
    rows.append(Record("x", str(rng.choice(DESCRIBE)), _summary(things, " ".join(words), likely), "caption"))
    if words or rng.random() < 0.1:
        rows.append(Record("x", str(rng.choice(READ)), " ".join(words) or "There is no text.", "text"))
    kept = []
    for row in rows:
        # The reader looks only when it may help, so most questions come without what it would find.
        shown = [f for f in found if f.expert != "ocr" or row.kind in ("text", "caption")]
        evidence = compose_evidence(shown, row.question, {"picture": size})
        tagged = (
            row.kind == "existence"
            and row.answer == "no"
            and any(matches(asked_thing(row.question), f.text) for f in shown if f.expert == "tag")
        )
        if not tagged:  # the tagger may have seen what the detector did not: then it is not clear what to answer
            kept.append(dataclasses.replace(row, evidence=evidence, image=None))
    return kept


def _tagged(rng: np.random.Generator) -> list[Record]:
    """A picture of which only the tagger says something."""
    names = [str(name) for name in rng.choice(imagenet_classes(), int(rng.integers(1, 4)), replace=False)]
    scores = sorted(rng.dirichlet([0.6] * (len(names) + 1))[1:], reverse=True)
    found = [
        Finding("tag", name, float(score), source="picture")
        for name, score in zip(names, scores, strict=True)
        if score > 0.05
    ]
    if not found:
        return []
    return _asked_of_tags(rng, found)


def _asked_of_tags(rng: np.random.Generator, found: Sequence[Finding]) -> list[Record]:
    best = found[0].text
    kinds = kinds_of(best)
    absent = str(rng.choice(NAMES))
    asked = best if not kinds or rng.random() < 0.5 else kinds[int(rng.integers(len(kinds)))]
    pairs = [
        (str(rng.choice(DESCRIBE)), best, "name"),
        (f"Is there {with_article(asked)} in the picture?", "yes", "existence"),
    ]
    if not any(matches(absent, f.text) for f in found):
        pairs.append((f"Is there {with_article(absent)} in the picture?", "no", "existence"))
    if kinds:
        pairs.append(("What kind of thing is this?", kinds[0], "category"))
    pairs.append((f"What color is the {asked}?", UNKNOWN, "colour"))
    return [Record("x", q, a, kind, evidence=compose_evidence(found, q)) for q, a, kind in pairs]


def _of_a_kind(rng: np.random.Generator) -> list[Record]:
    """Detector and tagger disagree, but the question says what kind of thing it means: who names one of it is right."""
    names = [str(name) for name in rng.choice(NAMES, int(rng.integers(1, 4)), replace=False)]
    sure = rng.random() < 0.7
    scores = [float(rng.uniform(0.3, 0.97)), 0.08] if sure else [float(rng.uniform(0.1, 0.3)), 0.07]
    tagged = [str(name) for name in rng.choice(imagenet_classes(), 2, replace=False)]
    kinds = kinds_of(tagged[0])
    if not kinds or tagged[0] in NAMES:
        return []
    kind = kinds[int(rng.integers(len(kinds)))]
    objects = [name for name in names if kind in kinds_of(name) or matches(kind, name)]
    found = [
        Finding("detect", name, 0.5, (float(x), float(y), x + 80.0, y + 80.0), None, "picture", {"colour": colour})
        for name in names
        for x, y in [rng.integers(0, SIDE_PX - 80, 2)]
        for colour in [str(rng.choice(COLOURS)) if rng.random() < 0.6 else ""]
    ]
    found += [Finding("tag", name, score, source="picture") for name, score in zip(tagged, scores, strict=True)]
    size = {"picture": (SIDE_PX, SIDE_PX)}
    which = str(rng.choice(("Which {} is this?", "Which {} is in the picture?", "What {} is this?", "Name the {}.")))
    pairs = [(which.format(kind), objects[0] if objects else tagged[0], "name")]
    if sure:
        pairs.append((str(rng.choice(DESCRIBE)), _summary(_things(names), "", tagged[0]), "caption"))
        if not objects:
            pairs.append((f"How many {plural(kind)} are there?", "1", "count"))
    return [Record("x", q, a, sort, evidence=compose_evidence(found, q, size)) for q, a, sort in pairs]


def _things(names: Sequence[str]) -> list[Thing]:
    return [Thing(name, _category(name), kinds_of(name), "", "", (0, 0, 80, 80)) for name in names]


def _written(rng: np.random.Generator) -> list[Record]:
    """Several texts in one picture, in the reader's order: from the top, each line from the left."""
    lines = [_line(rng) for _ in range(int(rng.integers(2, 7)))]
    if len({line.lower() for line in lines}) < len(lines):
        return []
    found = [
        Finding("ocr", line, 0.9, (0.0, 30.0 * n, 90.0, 30.0 * n + 20), source="picture")
        for n, line in enumerate(lines)
    ]
    if rng.random() < 0.5:
        found.append(
            Finding("tag", str(rng.choice(imagenet_classes())), float(rng.uniform(0.05, 0.7)), source="picture")
        )
    numbers = [line for line in lines if line.isdigit()]
    pairs = [
        (str(rng.choice(TOP)), lines[0]),
        (str(rng.choice(BOTTOM)), lines[-1]),
        (str(rng.choice(READ)), "; ".join(lines[:4])),
    ]
    if len(numbers) == 1:
        pairs.append((str(rng.choice(NUMBER)), numbers[0]))
    said = lines[int(rng.integers(len(lines)))]
    other = _line(rng)
    pairs.append((f'Does it say "{said}"?', "yes"))
    if other.lower() not in {line.lower() for line in lines}:
        pairs.append((f'Does it say "{other}"?', "no"))
    kept = [pairs[int(i)] for i in rng.permutation(len(pairs))[:2]]
    return [Record("x", q, a, "text", evidence=compose_evidence(found, q, {"picture": (90, 200)})) for q, a in kept]


def _line(rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.2:
        return str(int(rng.integers(1, 1000)))
    words = [str(rng.choice([*WORDS, *CITIES, *ITEMS, *DISHES, *PEOPLE])) for _ in range(1 + int(rng.integers(3)))]
    line = " ".join(dict.fromkeys(words))
    return line.upper() if draw < 0.5 else line.capitalize()


def _summary(things: list[Thing], words: str, likely: str) -> str:
    """What is there, what is written, and what the whole looks like, in one or two sentences."""
    counts: dict[str, int] = {}
    for thing in things:
        counts[thing.name] = counts.get(thing.name, 0) + 1
    parts = [f"{count} {plural(name)}" if count > 1 else with_article(name) for name, count in counts.items()]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    said = f"There {'are' if counts[things[0].name] > 1 else 'is'} {listed}"
    said += f', and text that says "{words}".' if words else "."
    return f"{said} It looks like {with_article(likely.lower())}." if likely else said
