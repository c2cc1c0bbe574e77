"""Answer parsers: known answers, what is left unparsed, and other kits' rules."""

from __future__ import annotations

import pytest

from agent.evaluation.scoring import parsers
from agent.evaluation.scoring.names import is_right_category, is_right_name, noun_phrases
from agent.evaluation.scoring.parsers import UNPARSED, judge
from connector.data.pictures.scenes import POSITIONS, SHAPES
from connector.data.records import Record
from experts.evidence.colours import COLOURS

DOG = "Is there a dog in the picture?"


@pytest.mark.parametrize(
    ("said", "question", "parsed"),
    [
        ("Yes.", "", "yes"),
        ("yes", "", "yes"),
        ("YES!", "", "yes"),
        ("Yes, there is no doubt.", "", "yes"),
        ("No, there is no dog.", "", "no"),
        ("no", "", "no"),
        ("Nope", "", "no"),
        ("there isn't", "", "no"),
        ("There isn\u2019t.", "", "no"),
        ("There is not.", "", "no"),
        ("It does.", "", "yes"),
        ("There is no dog.", DOG, "no"),
        ("There isn't a dog in the picture.", DOG, "no"),
        ("There is a dog on the left.", DOG, "yes"),
        ("There are two dogs.", "Are there dogs in the image?", "yes"),
        ("I see a brown dog.", DOG, "yes"),
        ("The image does not show a dog.", DOG, "no"),
        ("There is a cat.", DOG, UNPARSED),
        ("There is no cat.", DOG, UNPARSED),
        ("There is no dog.", "Is there no dog in the picture?", "yes"),
        ("No.", "Is there no dog in the picture?", "no"),
        ("Yes and no.", "", UNPARSED),
        ("yes or no", "", UNPARSED),
        ("I don't know.", "", UNPARSED),
        ("No one is there.", "", UNPARSED),
        ("a dog", DOG, UNPARSED),
        ("A note", "", UNPARSED),
        ("", "", UNPARSED),
        (" . ", "", UNPARSED),
    ],
)
def test_yes_no_is_read_from_a_lead_or_a_statement_and_never_guessed(said: str, question: str, parsed: str) -> None:
    assert parsers.yes_no(said, question) == parsed


@pytest.mark.parametrize(
    ("said", "parsed"),
    [
        ("three dogs", "3"),
        ("3", "3"),
        ("There are 3 dogs.", "3"),
        ("3.0", "3"),
        ("1,000", "1000"),
        ("Twelve.", "12"),
        ("a dog", UNPARSED),
        ("some dogs", UNPARSED),
        ("no dogs", "0"),
        ("None.", "0"),
        ("zero", "0"),
        ("a pair of shoes", "2"),
        ("3 dogs, one brown and two black", "3"),
        ("There are four: two cats and two dogs.", "4"),
        ("dogs: two or three", UNPARSED),
        ("the one on the left", UNPARSED),
        ("54% of them", UNPARSED),  # evidence quotes probabilities, and a model may repeat them
        ("I am not sure, maybe 3", UNPARSED),
        ("", UNPARSED),
    ],
)
def test_number(said: str, parsed: str) -> None:
    assert parsers.number(said) == parsed


@pytest.mark.parametrize(
    ("said", "question", "parsed"),
    [
        ("red", "", "red"),
        ("It is grey.", "", "gray"),
        ("Gray", "", "gray"),
        ("The car is dark blue.", "", "blue"),
        ("turquoise", "", "teal"),
        ("black and white", "", "black and white"),
        ("white and black", "", "black and white"),
        ("not red but green", "", "green"),
        ("The orange is green.", "What color is the orange?", "green"),
        ("The orange is orange.", "What color is the orange?", "orange"),
        ("coloured", "", UNPARSED),
        ("bored", "", UNPARSED),
        ("", "", UNPARSED),
    ],
)
def test_colour(said: str, question: str, parsed: str) -> None:
    assert parsers.colour(said, question) == parsed


@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_of_the_scenes_is_parsed_as_itself(colour: str) -> None:
    assert parsers.colour(f"It is {colour}.") == colour


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_the_scenes_is_parsed_as_itself(shape: str) -> None:
    assert parsers.shape(f"a blue {shape}") == shape == parsers.shape(f"{shape}s")


@pytest.mark.parametrize("position", POSITIONS)
def test_every_position_of_the_scenes_is_parsed_as_itself(position: str) -> None:
    assert parsers.position(position) == position
    assert parsers.position(f"It is at the {position} of the picture.") == position


@pytest.mark.parametrize(
    ("said", "parsed"),
    [
        ("upper left", "top left"),
        ("in the middle", "center"),
        ("In the centre.", "center"),
        ("top-left corner", "top left"),
        ("the lower right-hand corner", "bottom right"),
        ("middle left", "left"),
        ("on the left side, in the middle", "left"),
        ("top center", "top"),
        ("at the bottom", "bottom"),
        ("right at the top", "top"),
        ("topleft", "top left"),
        ("on top of the table", UNPARSED),
        ("left and right", UNPARSED),
        ("from top to bottom", UNPARSED),
        ("on the table", UNPARSED),
        ("", UNPARSED),
    ],
)
def test_position(said: str, parsed: str) -> None:
    assert parsers.position(said) == parsed


@pytest.mark.parametrize(
    ("said", "phrases"),
    [
        ("a dog", ["dog"]),
        ("It is a brown dog sitting on the grass.", ["brown dog"]),
        ("The image shows a cat and two dogs", ["cat", "dogs"]),
        ("This is a picture of an electric guitar.", ["electric guitar"]),
        ("The object at the top left is a car.", ["car"]),
        ("The dog is brown.", ["dog"]),
        ("cup of coffee", ["cup of coffee"]),
        ("a cat, a dog, and a bird", ["cat", "dog", "bird"]),
        ("Nothing.", []),
        ("", []),
    ],
)
def test_noun_phrases(said: str, phrases: list[str]) -> None:
    assert noun_phrases(said) == phrases


@pytest.mark.parametrize(
    ("phrase", "accepted", "right"),
    [
        ("dog", ("dog",), True),
        ("dogs", ("dog",), True),
        ("brown dog", ("dog",), True),
        ("golden retriever", ("dog",), True),  # one of its kind
        ("golden retriever", ("poodle", "dog"), False),  # a dog, but not that one
        ("dog", ("poodle", "dog"), True),
        ("hot dog", ("dog",), False),
        ("dog house", ("dog",), False),
        ("cat", ("dog", "animal"), False),
        ("animal", ("dog", "animal"), True),
        ("cup of coffee", ("cup",), True),
        ("cup of coffee", ("espresso",), True),
        ("plane", ("airplane",), True),
        ("people", ("person",), True),
        ("", ("dog",), False),
    ],
)
def test_name_matches_by_head_noun_and_kind(phrase: str, accepted: tuple[str, ...], right: bool) -> None:
    assert is_right_name(phrase, accepted) is right


def test_category_takes_other_words_for_it_but_no_other_category() -> None:
    assert is_right_category("farm animals", "animal")
    assert is_right_category("musical instrument", "instrument")
    assert not is_right_category("food", "animal")


def record(kind: str, answer: str, question: str = "?", **more: object) -> Record:
    return Record("r", question, answer, kind, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "said", "correct"),
    [
        (record("name", "otter", accept=("sea otter",)), "It is an otter.", True),
        (record("name", "otter"), "An otter and a bear.", False),  # what is listed besides is invented
        (record("existence", "no", DOG), "No, there is no dog.", True),
        (record("relation", "yes", "Is the cat left of the dog?"), "Yes", True),
        (record("relation", "cat", "What is left of the dog?"), "a cat", True),
        (record("count", "2", "How many dogs are there?"), "two", True),
        (record("count", "2", "How many dogs are there?"), "two dogs and a cat", True),
        (record("shape", "square", accept=("rectangle", "red square")), "rectangle", True),
        (record("shape", "rectangle", accept=("red rectangle",)), "square", False),
        (record("colour", "gray"), "grey", True),
        (record("position", "center"), "in the middle", True),
        (record("text", "open"), "OPEN", True),
        (record("text", "open"), 'The sign says "Open".', True),
        (record("text", "open"), "it says open!", True),
        (record("text", "open"), "opened", False),
        (record("text", "24"), "2 4", True),
        (record("category", "animal"), "an animal", True),
        (record("category", "animal"), "a vehicle", False),
        (record("size", "dog", "Which is larger, the dog or the cat?"), "The dog is larger.", True),
        (record("size", "dog", "Which is larger, the dog or the cat?"), "the cat", False),
    ],
)
def test_judging_follows_what_the_record_asks_for(asked: Record, said: str, correct: bool) -> None:
    assert judge(asked, said).correct is correct


def test_an_unparsed_answer_is_wrong_and_says_so() -> None:
    for kind, answer in (("count", "2"), ("existence", "yes"), ("colour", "red"), ("name", "dog"), ("text", "open")):
        verdict = judge(record(kind, answer), "I don't know")
        assert (verdict.parsed, verdict.correct) == (UNPARSED, False), kind


def test_captions_and_talk_are_neither_right_nor_wrong() -> None:
    assert judge(record("caption", "There is a dog."), "A cat.").correct is None
    assert judge(record("dialogue", "Hello."), "Hi.").correct is None


def test_word_error_rate_equals_edits_over_words_counted_by_hand() -> None:
    # the cat sat down / the bat sat = one substitution and one deletion in four words
    assert parsers.word_error_rate("the cat sat down", "the bat sat") == 0.5


def test_transcription_is_right_up_to_a_fifth_of_wrong_words_and_facts_are_looked_for() -> None:
    said = record("speech", "Nobody is available to take your call.", category="transcription")
    good = judge(said, 'The speaker says: "nobody is available to take your call"')
    assert (good.correct, good.error_rate) == (True, 0.0)
    assert judge(said, "Nobody took the call.").correct is False
    fact = record("speech", "seven", category="fact")
    assert judge(fact, "It is the 7 of clubs.").correct is True
    assert judge(fact, "seventeen").correct is False
    assert judge(fact, "").parsed == UNPARSED


@pytest.mark.parametrize(
    ("said", "llava", "lmms_eval", "vlmevalkit"),
    [
        ("yes", "yes", "yes", "yes"),
        ("Yes.", "yes", UNPARSED, "yes"),
        ("No, there is no dog.", "no", UNPARSED, "no"),
        ("There is a dog.", "yes", UNPARSED, UNPARSED),
        ("there isn't", "yes", UNPARSED, UNPARSED),
        ("NO", "yes", "no", "no"),
        ("It is. No doubt.", "yes", UNPARSED, "no"),
        ("yes, no", "no", UNPARSED, UNPARSED),
        ("yes/no", "yes", UNPARSED, UNPARSED),
        ("maybe-yes", "yes", UNPARSED, "yes"),
        ("", "yes", UNPARSED, UNPARSED),
    ],
)
def test_the_same_answer_gets_what_each_kit_would_make_of_it(
    said: str, llava: str, lmms_eval: str, vlmevalkit: str
) -> None:
    assert [rule(said) for rule in parsers.MIMICS.values()] == [llava, lmms_eval, vlmevalkit]
