"""What the language model reads of findings: the words of the evidence, and how questions and class names meet."""

from __future__ import annotations

import doctest
import re

import pytest

from connector.data.readings import wordings
from connector.data.readings.mixture import readings
from experts.base import Finding
from experts.evidence import asked, asked_facts, asked_thing, categories, compose, compose_evidence
from experts.evidence.asked import asked_things
from experts.evidence.categories import matches, plural, singular
from experts.weights.convert.nanodet import COCO

NAMES = [name.replace("_", " ") for name in COCO]


@pytest.mark.parametrize("name", NAMES)
def test_the_plural_of_every_class_is_found_again(name: str) -> None:
    assert matches(plural(name), name)
    assert asked_thing(f"How many {plural(name)} are in the picture?") == plural(name)
    found = [Finding("detect", name, 0.9, (0.0, 0.0, 9.0, 9.0))]
    assert ": yes, 1 seen." in compose_evidence(found, f"How many {plural(name)} are there?")


@pytest.mark.parametrize(
    ("word", "one"),
    [
        ("buses", "bus"), ("houses", "house"), ("octopuses", "octopus"), ("tomatoes", "tomato"), ("shoes", "shoe"),
        ("glasses", "glass"), ("horses", "horse"), ("boxes", "box"), ("berries", "berry"), ("cookies", "cookie"),
        ("people", "person"), ("mice", "mouse"), ("wolves", "wolf"), ("canoes", "canoe"), ("bus", "bus"),
    ],
)  # fmt: skip
def test_singulars(word: str, one: str) -> None:
    assert singular(word) == one


@pytest.mark.parametrize(
    ("question", "thing"),
    [
        ("Is there an elephant?", "elephant"),
        ("Are there any dogs in the picture?", "dogs"),
        ("Is there a man next to the car?", "man"),
        ("Do you see the cup above the plate?", "cup"),
        ("Does the photo have a dog in it?", "dog"),
        ("Is a dog to be seen here?", "dog"),
        ("How many objects lie on the table?", "objects"),
        ("Tell me the number of red shapes.", "red shapes"),
        ("What number of cars is there?", "cars"),
        ("And how many people have hats?", "people"),
        ("What is in the picture?", ""),
        ("Where is the dog?", ""),
    ],
)
def test_whose_presence_is_asked_for(question: str, thing: str) -> None:
    assert asked_thing(question) == thing


def test_what_was_asked_for_in_vain_is_said_unless_nobody_could_look() -> None:
    tag = Finding("tag", "Granny Smith", 0.7)
    apples = compose_evidence([tag], "How many apples are there?")
    assert apples == "Looks like: Granny Smith (apple).\nAsked about: apple: yes, the whole looks like one."
    assert compose_evidence([tag], "Is there a bus?").endswith("\nAsked about: bus: no, none seen.")
    assert compose_evidence([], "Is there a bus?", failed=["detect"]) == "Could not look: detect."
    said = Finding("speech", "Two buses.", 0.9)
    assert compose_evidence([said], "How many buses are there?") == 'Speech: "Two buses."'
    assert "bus: no, none seen" in compose_evidence([said], "How many buses are there?", {"film": (320, 240)})


def test_what_nobody_found_is_said_of_each_expert_that_looked() -> None:
    text = compose_evidence([], "What is it?", {"a": (9, 9)}, looked=["detect", "tag", "ocr"])
    assert text.splitlines() == [
        "Objects: none were detected.", "It is not clear what the whole picture shows.", "Text: no text was found.",
    ]  # fmt: skip
    assert compose_evidence([], "What?", looked=["speech"]) == "Speech: nobody was heard speaking."
    assert compose_evidence([], "What?", looked=["ocr"], failed=["ocr"]) == "Could not look: ocr."
    assert compose_evidence([], "What?") == "Nothing was found."


def test_second_opinions_and_clothes_are_told_with_the_thing_and_found_by_their_names() -> None:
    dog = Finding("detect", "dog", 0.9, (0.0, 0.0, 9.0, 9.0), None, "a", {"colour": "gray", "like": "beagle"})
    man = Finding("detect", "person", 0.9, None, None, "a", {"clothes": "red", "legs": "black"})
    text = compose_evidence([dog, man], "Any beagles?", {"a": (30, 30)})
    assert text.splitlines() == [
        "Objects: 1 dog (beagle, gray top left), 1 person (red clothes, black legs).",
        "Asked about: beagle: yes, 1 seen.",
    ]


def test_several_likely_classes_of_one_kind_make_it_sure() -> None:
    tags = [Finding("tag", "palace", 0.3), Finding("tag", "bell cote", 0.24), Finding("tag", "lakeside", 0.1)]
    text = compose_evidence(tags, "Is this a building? Is it a palace?")
    assert text.splitlines() == [
        "Looks like: building (palace or bell cote).",
        "Asked about: building: yes, the whole looks like one; palace: probably yes, the whole may look like one.",
    ]


@pytest.mark.parametrize(
    ("question", "things"),
    [
        ("Any elephants?", ("elephant",)),
        ("Could there be a lion?", ("lion",)),
        ("how many dogs and how many cats", ("dog", "cat")),
        ("I'm looking for my keys and a cell phone", ("cell phone",)),
        ("有大象吗?", ("elephant",)),
        ("图里有几只狗和几只猫?", ("dog", "cat")),
        ("¿Hay perros?", ("dog",)),
        ("Gibt es Fahrräder?", ()),
        ("Combien de chiens et de voitures ?", ("dog", "car")),
        ("Is there a unicorn?", ("unicorn",)),
        ("Can I park here?", ()),
        ("What time is it?", ()),
        ("What does the sign say?", ()),
        ("", ()),
    ],
)
def test_things_are_found_in_any_wording(question: str, things: tuple[str, ...]) -> None:
    assert asked_things(question) == things


def test_a_cut_evidence_keeps_its_facts_and_says_that_more_was_left_out() -> None:
    lines = [Finding("ocr", f"line {n} " + "x" * 40, 0.9) for n in range(200)]
    text = compose_evidence([Finding("detect", "dog", 0.9), *lines], "Any dogs?")
    assert "dog: yes, 1 seen" in text and text.endswith(compose.LEFT_OUT)
    assert len(text) <= compose.MAX_CHARS + len(compose.LEFT_OUT) + 1 and text.count('"') % 2 == 0


@pytest.mark.parametrize("question", ["Is there food anywhere?", "Is there food here?", "Can you see any food nearby?"])
def test_where_something_is_looked_for_is_no_part_of_its_name(question: str) -> None:
    assert asked.asked_thing(question) == "food"
    other = question.replace("food", "glitter")
    assert asked_facts(other, [Finding("detect", "pizza", 0.9)], []) == "Asked about: glitter: no, none seen."


def test_readings_of_every_sort_follow_from_their_evidence() -> None:
    rows = readings(1500, 2)
    facts = re.compile(r"Asked about: ([^:;]+): (yes, (\d+) seen|no, none seen)\.")
    told = [(last[0], row) for row in rows if (last := [*facts.finditer(str(row.evidence))][-1:])]
    assert len(told) > 100
    for match, row in told:
        if row.kind != "existence" or re.search(r"[?,].+\?", row.question):  # the fact may be of another part of it
            continue
        yes = row.answer.startswith(("Yes", "有", "Sí", "Oui", "Ja"))
        assert yes == match[2].startswith("yes"), row
    read = [row for row in rows if row.question in wordings.READ["en"] and "Text, line by line" in str(row.evidence)]
    assert len(read) > 10
    for row in read:
        lines = re.findall(r'^"(.*)"$', str(row.evidence), re.M)
        assert [" ".join(said.split()) for said in re.findall(r'"([^"]*)"', row.answer)] == lines[:8], row
    counted = [
        row for row in rows if row.kind == "count" and row.question.startswith("How many") and "and" not in row.question
    ]
    assert len(counted) > 10
    assert all((match := facts.search(str(row.evidence))) is None or (match[3] or "no") in row.answer.replace("0", "no")
               for row in counted)  # fmt: skip
    unknown = [row.answer for row in rows if row.kind == "unknown"]
    assert unknown and all(answer.startswith(tuple(wordings.CANNOT.values())) for answer in unknown)


@pytest.mark.parametrize("module", [asked, compose, categories])
def test_examples_in_docstrings_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
