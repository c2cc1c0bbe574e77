"""Numbers about answers, with their uncertainty: accuracy, two routes compared, calibration, hallucinated objects."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from agent.evaluation.scoring.names import singular_phrase
from connector.data.pictures.scenes import Scene
from experts.evidence.categories import matches
from experts.evidence.colours import COLOURS

LOOP = re.compile(r"\b(\w+(?:\W+\w+){0,7}?)(?:\W+\1\b){2,}", re.IGNORECASE)  # the same words three times in a row
BLAND = frozenset(
    {"object", "thing", "image", "picture", "photo", "sign", "word", "text", "color", "colour", "piece", "set"}
)


@dataclass(frozen=True)
class Share:
    """How many of `n`, with the 95 % interval of the share."""

    hits: int
    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """Two routes on the same questions: who was right, and the p-value that the difference is chance."""

    both: int
    only_first: int
    only_second: int
    neither: int
    p_value: float


@dataclass(frozen=True)
class Hallucination:
    """Objects in captions that are not in the picture (CHAIR), and objects of the picture that captions name.

    `instances` is the share of named objects that are not there (CHAIR_i), `sentences` the share of captions with at
    least one such object (CHAIR_s), `recall` the share of the scenes' different things that the caption names.
    """

    instances: Share
    sentences: Share
    recall: Share


def share(hits: Iterable[bool]) -> Share:
    """The share of true values with Wilson's 95 % interval (scipy); of nothing it is 0 in [0, 1]."""
    from scipy.stats import binomtest

    values = [bool(hit) for hit in hits]
    right, n = sum(values), len(values)
    if n == 0:
        return Share(0, 0, 0.0, 0.0, 1.0)
    interval = binomtest(right, n).proportion_ci(0.95, method="wilson")
    return Share(right, n, right / n, float(interval.low), float(interval.high))


def compare(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """McNemar's exact test: under no difference, each question that only one gets right is a fair coin (scipy)."""
    from scipy.stats import binomtest

    if len(first) != len(second):
        raise ValueError(f"{len(first)} answers cannot be paired with {len(second)}")
    pairs = list(zip(first, second, strict=True))
    only_first, only_second = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    differing = only_first + only_second
    p_value = float(binomtest(only_first, differing).pvalue) if differing else 1.0
    return Paired(
        sum(a and b for a, b in pairs), only_first, only_second, sum(not a and not b for a, b in pairs), p_value
    )


def calibration_error(confidences: Sequence[float], correct: Sequence[bool], bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599, eq. 3): |accuracy - confidence| over equal bins.

    A confidence on the border of two bins belongs to the lower one.
    """
    if len(confidences) == 0:
        return 0.0
    certain, right = np.asarray(confidences, float), np.asarray(correct, float)
    index = np.clip(np.ceil(certain * bins).astype(int) - 1, 0, bins - 1)
    error = 0.0
    for number in range(bins):
        inside = index == number
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - certain[inside].mean())
    return float(error)


def is_repetitive(text: str) -> bool:
    """Whether an answer is stuck: the same one to eight words three times in a row, or few different words in many.

    >>> is_repetitive("a dog, a dog, a dog"), is_repetitive("a dog and a cat")
    (True, False)
    """
    words = re.findall(r"\w+", text.lower())
    return bool(LOOP.search(text)) or (len(words) >= 12 and len(set(words)) < 0.35 * len(words))


# -- objects in captions --------------------------------------------------------------------------------------------


def object_words(scenes: Iterable[Scene], others: Iterable[str] = ()) -> frozenset[str]:
    """The vocabulary objects are looked for with, in the singular: every right name of every thing, and `others`.

    What is in no vocabulary is not seen: `others` should hold whatever the writer of the captions may say.
    """
    right = (name for scene in scenes for thing in scene.things if not thing.text for name in thing.names)
    return frozenset({singular_phrase(name) for name in (*right, *others)} - BLAND - {""})


def named_objects(caption: str, vocabulary: frozenset[str]) -> list[str]:
    """The different objects of `vocabulary` that a caption names, longest names first found, in order.

    What stands in quotation marks is text in the picture, no object. A colour word before a name ("orange square") is a
    colour.

    >>> named_objects("Two electric guitars and an orange.", frozenset({"guitar", "electric guitar", "orange"}))
    ['electric guitar', 'orange']
    """
    text = re.sub(r"\"[^\"]*\"|\u201c[^\u201d]*\u201d", " ", caption)
    words = singular_phrase(text).split()
    longest = max((len(name.split()) for name in vocabulary), default=0)
    found: list[str] = []
    at = 0
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            name = " ".join(words[at : at + length])
            if name in vocabulary and not (name in COLOURS and _begins(words[at + 1 :], vocabulary, longest)):
                if name not in found:
                    found.append(name)
                at += length
                break
        else:
            at += 1
    return found


def _begins(words: Sequence[str], vocabulary: frozenset[str], longest: int) -> bool:
    """Whether a name of the vocabulary, or another word for a thing, begins right here."""
    return any(" ".join(words[:n]) in vocabulary | BLAND | {"shape"} for n in range(1, min(longest, len(words)) + 1))


def hallucination(captions: Sequence[str], scenes: Sequence[Scene], vocabulary: frozenset[str]) -> Hallucination:
    """CHAIR (Rohrbach et al. 2018, arXiv 1809.02156, eq. 1 and 2) of one caption a scene, each counted as a sentence.

    Synonyms and hypernyms are the scene's own (`Thing.accept`), and the kinds of experts.evidence.categories: "dog" is
    true of a beagle. An object counts once a caption.
    """
    invented: list[bool] = []
    sentences: list[bool] = []
    recalled: list[bool] = []
    for caption, scene in zip(captions, scenes, strict=True):
        things = [(thing, {singular_phrase(name) for name in (*thing.names, thing.category)}) for thing in scene.things]
        named = named_objects(caption, vocabulary | {name for _, names in things for name in names} - BLAND)
        false = [not any(name in names or matches(name, thing.name) for thing, names in things) for name in named]
        invented += false
        sentences.append(any(false))
        for thing in {thing.name: thing for thing in scene.things if not thing.text}.values():
            proper = {singular_phrase(name) for name in thing.names}
            recalled.append(any(name in proper for name in named))
    return Hallucination(share(invented), share(sentences), share(recalled))
