"""What the language model reads of findings: the words of the evidence, and how questions and class names meet."""

from __future__ import annotations

import doctest
import re

import pytest

from connector.data.questions.readings import READ, readings
from experts.base import Finding
from experts.evidence import asked_thing, categories, compose, compose_evidence
from experts.evidence.categories import matches, plural, singular
from experts.weights.convert.nanodet import COCO

NAMES = [name.replace("_", " ") for name in COCO]


@pytest.mark.parametrize("name", NAMES)
def test_the_plural_of_every_class_is_found_again(name: str) -> None:
    assert matches(plural(name), name)
    assert asked_thing(f"How many {plural(name)} are in the picture?") == plural(name)
    found = [Finding("detect", name, 0.9, (0.0, 0.0, 9.0, 9.0))]
    assert "Not found" not in compose_evidence(found, f"How many {plural(name)} are there?")


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
    assert compose_evidence([tag], "How many apples are there?") == "Looks like: Granny Smith (apple) 70%."
    assert compose_evidence([tag], "Is there a bus?").endswith("\nNot found: bus.")
    assert compose_evidence([], "Is there a bus?", failed=["detect"]) == "Could not look: detect."
    said = Finding("speech", "Two buses.", 0.9)
    assert compose_evidence([said], "How many buses are there?") == 'Speech: "Two buses."'
    assert "Not found: buses" in compose_evidence([said], "How many buses are there?", {"film": (320, 240)})


def test_readings_of_every_sort_follow_from_their_evidence() -> None:
    rows = readings(1500, 2)
    which = r"(?:Which|What) (?!is |does |can |object )(.+?) is (?:this|in the picture)\?|Name the (?!object)(.+)\."
    asked = [(match[1] or match[2], row) for row in rows if (match := re.fullmatch(which, row.question))]
    of_a_kind = [(kind, row) for kind, row in asked if row.kind == "name"]
    assert len(of_a_kind) > 20
    for kind, row in of_a_kind:
        assert matches(kind, row.answer) and row.answer in str(row.evidence), row
    several = [row for row in rows if row.kind == "text" and '"; "' in str(row.evidence)]
    assert len(several) > 60
    for row in several:
        lines = re.findall(r'"(.*?)"', re.findall("Text: .*", str(row.evidence))[0])
        if row.answer in ("yes", "no"):
            asked_for = row.question.split('"')[1].lower()
            assert (asked_for in [line.lower() for line in lines]) == (row.answer == "yes")
        elif row.question in READ:
            assert row.answer == "; ".join(lines[:4])
        else:
            assert row.answer in lines
    spoken = [row for row in rows if row.kind == "speech" and row.evidence and row.answer not in ("yes", "no")]
    for row in spoken:
        said = re.sub("^the ", "", row.answer.lower())  # "your keys have been found": the keys
        assert row.answer == "Nothing was heard." or said in str(row.evidence).lower(), row


@pytest.mark.parametrize("module", [compose, categories])
def test_examples_in_docstrings_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]
