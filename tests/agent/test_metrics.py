"""Metrics: equal to what is worked out by hand or by an independent formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agent.evaluation.scoring import metrics
from connector.data.pictures.scenes import Scene, Thing


def test_wilson_interval_equals_the_formula() -> None:
    found = metrics.share([True] * 8 + [False] * 2)
    p, n, z = 0.8, 10, 1.959963984540054
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert (found.hits, found.n, found.value) == (8, 10, 0.8)
    assert found.low == pytest.approx(middle - half) and found.high == pytest.approx(middle + half)


def test_share_of_nothing_says_nothing() -> None:
    assert metrics.share([]) == metrics.Share(0, 0, 0.0, 0.0, 1.0)


def test_mcnemar_equals_a_coin_thrown_as_often_as_the_routes_differ() -> None:
    first = [True] * 5 + [False] + [True] * 3 + [False] * 2
    second = [False] * 5 + [True] + [True] * 3 + [False] * 2
    found = metrics.compare(first, second)
    assert (found.both, found.only_first, found.only_second, found.neither) == (3, 5, 1, 2)
    two_sided = 2 * (math.comb(6, 0) + math.comb(6, 1)) / 2**6  # at most 1 of 6 heads, or at least 5
    assert found.p_value == pytest.approx(two_sided)


def test_equal_routes_do_not_differ_and_unpaired_answers_are_refused() -> None:
    assert metrics.compare([True, False], [True, False]).p_value == 1.0
    with pytest.raises(ValueError, match="2 answers cannot be paired with 1"):
        metrics.compare([True, False], [True])


def test_swapping_the_routes_swaps_their_counts() -> None:
    rng = np.random.default_rng(0)
    a, b = ([bool(x) for x in rng.random(40) < 0.5] for _ in range(2))
    forth, back = metrics.compare(a, b), metrics.compare(b, a)
    assert (forth.only_first, forth.only_second) == (back.only_second, back.only_first)
    assert forth.p_value == pytest.approx(back.p_value)


def test_calibration_error_by_hand() -> None:
    # bin (0.9, 1]: two answers of 0.95, one right: |0.5 - 0.95|; bin (0.4, 0.5]: one of 0.5, right: |1 - 0.5|
    assert metrics.calibration_error([0.95, 0.95, 0.5], [True, False, True]) == pytest.approx(
        2 / 3 * 0.45 + 1 / 3 * 0.5
    )


def test_a_confidence_that_is_always_true_to_itself_has_no_calibration_error() -> None:
    assert metrics.calibration_error([1.0] * 4 + [0.0] * 3, [True] * 4 + [False] * 3) == 0.0
    assert metrics.calibration_error([], []) == 0.0


@pytest.mark.parametrize(
    ("text", "stuck"),
    [
        ("a dog, a dog, a dog", True),
        ("no no no", True),
        ("The dog is in the park. The dog is in the park. The dog is in the park.", True),
        ("a dog and a dog", False),
        ("five five", False),
        ("", False),
        ("There are three red circles at the top left and one at the bottom right of the picture.", False),
    ],
)
def test_repetition_is_the_same_words_three_times_in_a_row(text: str, stuck: bool) -> None:
    assert metrics.is_repetitive(text) is stuck


def thing(name: str, category: str, *accept: str, colour: str = "", text: str = "") -> Thing:
    return Thing(name, category, accept, colour, "", (0, 0, 50, 50), text)


SCENE = Scene(
    "s-0-000000",
    "images/0.png",
    "several",
    "plain",
    (
        thing("electric guitar", "instrument", "guitar", "musical instrument"),
        thing("beagle", "animal", "hound"),
        thing("sign", "sign", "word", text="cat"),
    ),
)
OTHER = Scene(
    "s-0-000001", "images/1.png", "single", "plain", (thing("orange", "food", "fruit"), thing("cat", "animal"))
)
WORDS = metrics.object_words([SCENE, OTHER])


@pytest.mark.parametrize(
    ("caption", "named"),
    [
        ("There are two electric guitars and a cat.", ["electric guitar", "cat"]),
        ("a guitar", ["guitar"]),
        ('a sign that says "cat"', []),
        ("an orange cat", ["cat"]),
        ("an orange and a cat", ["orange", "cat"]),
        ("a cat and another cat", ["cat"]),
        ("nothing", []),
    ],
)
def test_objects_are_found_whole_once_and_not_in_text_or_colours(caption: str, named: list[str]) -> None:
    assert metrics.named_objects(caption, WORDS) == named


def test_hallucination_shares_by_hand() -> None:
    captions = ["There is a guitar, a dog and a cat.", "A picture of a fruit."]  # only the cat is invented
    found = metrics.hallucination(captions, [SCENE, OTHER], WORDS)
    assert (found.sentences.hits, found.sentences.n) == (1, 2)
    # guitar and cat of the first, fruit of the second; dog is no word of these scenes
    assert (found.instances.hits, found.instances.n) == (1, 3)
    # named: the guitar and the orange; not the beagle, not the cat; signs are not asked for
    assert (found.recall.hits, found.recall.n) == (2, 4)


def test_what_the_writer_may_say_is_looked_for_too() -> None:
    words = metrics.object_words([SCENE, OTHER], ["Skunks", "object"])
    assert words == WORDS | {"skunk"}
    assert metrics.hallucination(["a skunk and an object"], [SCENE], words).instances.hits == 1
    assert metrics.hallucination(["a skunk and an object"], [SCENE], WORDS).instances.n == 0


def test_the_names_that_any_caption_may_hold_are_classes_and_everyday_words() -> None:
    from experts.evidence.categories import class_names

    assert {"tench", "sports ball", "vehicle", "man"} <= class_names()  # ImageNet, COCO, a kind, a synonym


def test_a_kind_of_the_thing_is_no_hallucination() -> None:
    words = WORDS | {"dog"}
    assert metrics.hallucination(["a dog"], [SCENE], words).instances.hits == 0
    assert metrics.hallucination(["a dog"], [OTHER], words).instances.hits == 1


def test_true_captions_have_no_hallucination_and_false_ones_do() -> None:
    from connector.data.questions.captions import describe, falsify

    rng = np.random.default_rng(3)
    scenes = [OTHER, Scene("s-0-000002", "i", "single", "plain", (thing("beagle", "animal", "hound"),))]
    true = [describe(scene.things, rng) for scene in scenes]
    found = metrics.hallucination(true, scenes, WORDS)
    assert (found.instances.value, found.recall.value) == (0.0, 1.0)
    for _ in range(20):
        way, things = falsify(scenes[1].things, ("electric guitar", "instrument"), rng)
        if way in ("object", "swap"):
            lie = metrics.hallucination([describe(things, rng)], scenes[1:], WORDS)
            assert lie.sentences.value == 1.0, way
