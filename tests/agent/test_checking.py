"""Checking: what an answer claims against what experts found, with answers known by hand, and links to evidence."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fakes import FakeExpert, found, image, make_agent, sound
from hypothesis import given
from hypothesis import strategies as st

from agent.answer import Answer, Claim, Step
from agent.checking.claims import claims, sentences
from agent.checking.corrections import corrected
from agent.checking.judging import Seen, judge
from agent.checking.links import find, links_of
from experts.base import Finding
from experts.errors import ExpertError
from experts.evidence.categories import kinds_of, singular
from ui import terminal
from ui.app.components.steps import Timeline

SIZE = (90, 90)
BOXES = {"left": (0, 30, 20, 50), "right": (70, 30, 90, 50), "top left": (0, 0, 20, 20), "center": (40, 40, 50, 50)}


def thing(name: str, colour: str = "", where: str = "left", score: float = 0.9) -> Finding:
    extra = {"colour": colour} if colour else {}
    return Finding("detect", name, score, box=BOXES[where], source="photo.png", extra=extra)


def read(text: str, score: float = 0.95) -> Finding:
    return Finding("ocr", text, score, box=(0, 0, 50, 10), source="photo.png")


def heard(text: str, start: float = 0.0, end: float = 3.0) -> Finding:
    return Finding("speech", text, 0.9, span=(start, end), source="talk.wav")


def tag(name: str, score: float = 0.8) -> Finding:
    return Finding("tag", name, score, source="photo.png")


DOGS = [thing("dog", "brown"), thing("dog", "white", "right")]
SCENE = [thing("dog", "brown"), thing("cat", "black", "right"), thing("person", "", "center"), tag("golden retriever")]
SIGN = [read("STOP"), read("Room 12"), read("Grand Hotel London")]
TALK = [heard("The train to London leaves from platform nine."), heard("It is ten past 8.", 3.0, 5.0)]

KNOWN = [  # findings, question, answer, then kind and verdict of each claim
    (DOGS, "", "There are two dogs.", "count supported"),
    (DOGS, "", "There are 2 brown dogs.", "count supported, colour supported"),
    (DOGS, "", "I see three dogs.", "count contradicted"),
    (DOGS, "", "There is one dog.", "count contradicted"),
    (DOGS, "How many dogs are there?", "Two.", "count supported"),
    (DOGS, "How many dogs are there?", "5", "count contradicted"),
    (DOGS, "How many cats are there?", "One.", "count contradicted"),
    (DOGS, "", "There are a couple of dogs.", "count supported"),
    ([thing("dog"), thing("dog", score=0.35)], "", "Two dogs play.", "count supported"),
    ([thing("dog"), *[thing("dog", score=0.35)] * 2], "", "Two dogs play.", "count unsupported"),
    (SCENE, "", "There is a dog and a cat.", "object supported, object supported"),
    (SCENE, "", "There is a giraffe.", "object contradicted"),
    (SCENE, "", "A dragonfly sits there.", "object unsupported"),  # the detector has no word for it
    (SCENE, "", "It is a golden retriever.", "object supported"),
    (SCENE, "", "It is an animal.", "object supported"),
    (SCENE, "", "A man stands beside two women.", "object supported, count contradicted"),
    (SCENE, "", "There is no dog.", "absence contradicted"),
    (SCENE, "", "There isn't a zebra.", "absence unsupported"),
    (SCENE, "", "No dog, but there is a cat.", "absence contradicted, object supported"),
    (SCENE, "Is there a cat?", "Yes.", "object supported"),
    (SCENE, "Is there a zebra?", "Yes.", "object contradicted"),
    (SCENE, "Is there a cat?", "No.", "absence contradicted"),
    (SCENE, "", "The dog is brown.", "object supported, colour supported"),
    (SCENE, "", "The dog is green.", "object supported, colour contradicted"),
    (SCENE, "", "The dog is orange.", "object supported, colour unsupported"),  # too near to brown
    (SCENE, "", "The cat is black and white.", "object supported, colour supported, colour unsupported"),
    (SCENE, "What colour is the cat?", "Black.", "colour supported"),
    (SCENE, "What colour is the cat?", "It is yellow.", "colour contradicted"),
    (SCENE, "What colour is the person?", "Red.", "colour unsupported"),
    (SCENE, "", "A dog is on the left.", "object supported, position supported"),
    (SCENE, "", "A dog is on the right.", "object supported, position contradicted"),
    (SCENE, "", "A dog is at the top.", "object supported, position unsupported"),
    (SCENE, "Where is the cat?", "Right.", "position supported"),
    (SCENE, "Where is the cat?", "In the left corner.", "position contradicted"),
    (SCENE, "", "The dog is to the left of the cat.", "object supported, object supported"),  # no place in the picture
    (SIGN, "", 'It says "STOP".', "text supported"),
    (SIGN, "", 'It says "stop".', "text supported"),
    (SIGN, "", 'The label says "Grand Hotal London".', "text contradicted"),
    (SIGN, "", 'It says "Parking".', "text unsupported"),
    (SIGN, "What does the sign say?", "STOP", "text supported"),
    (SIGN, "What does the sign say?", "The sign says Grand Hotel.", "text supported"),
    (SIGN, "", "It leads to room 12.", "number supported"),
    (SIGN, "", "It leads to room 21.", "number contradicted"),
    (SIGN, "", "A dog is there.", "object contradicted"),
    ([read("DOG")], "", "There is a dog.", "object contradicted"),  # the word is not the thing
    (TALK, "", "The train leaves from platform nine.", "object supported, number supported"),
    (TALK, "", "The train leaves from platform 9.", "object supported, number supported"),
    (TALK, "", "The train leaves from platform two.", "object supported, number contradicted"),
    (TALK, "", "It goes to London.", "name supported"),
    (TALK, "", "It goes to Paris.", "name unsupported"),
    (TALK, "", "It leaves at 7.", "number unsupported"),
    ([heard("There is no train today.")], "", "There is a train.", "object unsupported"),
]


@pytest.mark.parametrize(("findings", "question", "answer", "expected"), KNOWN)
def test_claims_are_judged_as_by_hand(findings: list[Finding], question: str, answer: str, expected: str) -> None:
    pictures = 0 if findings and findings[0].expert == "speech" else 1
    seen = Seen({"photo.png": SIZE}, pictures=pictures, whole=bool(pictures))
    judged = judge(claims(answer, question), findings, seen)
    assert ", ".join(f"{claim.kind} {claim.verdict}" for claim in judged) == expected
    for claim in judged:
        assert answer[claim.start : claim.end] == claim.text
        assert bool(claim.findings) or claim.verdict != "supported"
        assert claim.reason


def test_there_are_at_least_sixty_known_claims() -> None:
    assert sum(len(expected.split(", ")) for *_, expected in KNOWN) >= 60


@pytest.mark.parametrize(
    ("findings", "question", "answer", "better"),
    [
        (DOGS, "", "There are three dogs. They play.", "There are two dogs. They play."),
        ([thing("dog")], "", "There are two dogs.", "There is one dog."),
        (DOGS, "How many dogs?", "5", "2"),
        ([thing("cat")], "What is it?", "It is an elephant.", "It is a cat."),
        (SCENE, "", "There is a dog and a giraffe.", "Found: dog. No giraffe was found."),
        (SCENE, "Is there a cat?", "No.", "Yes: cat was found."),
        (SCENE, "Is there a zebra?", "Yes.", "No: no zebra was found."),
        (SCENE, "", "The dog is green.", "The dog is brown."),
        (SCENE, "", "A dog is on the right.", "A dog is on the left."),
        (SIGN, "", 'It says "Grand Hotal London".', 'It says "Grand Hotel London".'),
        (TALK, "", "It leaves from platform two.", "It leaves from platform nine."),
        (DOGS, "", "There are two dogs.", ""),
        (SCENE, "", "A dragonfly sits there.", ""),
    ],
)
def test_what_findings_clearly_contradict_is_set_right(
    findings: list[Finding], question: str, answer: str, better: str
) -> None:
    seen = Seen({"photo.png": SIZE}, pictures=1, whole=findings is not TALK)
    assert corrected(answer, judge(claims(answer, question), findings, seen), findings) == better


def test_without_a_whole_look_nothing_is_said_to_be_absent() -> None:
    for seen in (Seen({}, whole=False), Seen({}, pictures=0, whole=False)):
        (claim,) = judge(claims("There is a dog."), [], seen)
        assert claim.verdict == "unsupported"


def test_things_in_a_video_are_not_counted_over_its_frames() -> None:
    seen = Seen({}, moving=True)
    assert {judge(claims(f"{n} dogs."), DOGS, seen)[0].verdict for n in (1, 2, 3)} == {"unsupported"}


NAMES = st.sampled_from(["dog", "cat", "person", "car", "zebra", "golden retriever", "espresso", "sports ball"])
COLOURS = st.sampled_from(["red", "brown", "black", "white", "green", ""])
TEXTS = st.sampled_from(["STOP", "Room 12", "two dogs", "the cat is red", "Paris", "", "no zebra here", '"'])
FINDINGS = st.lists(
    st.one_of(
        st.builds(thing, NAMES, COLOURS, st.sampled_from(list(BOXES)), st.floats(0.3, 1.0)),
        st.builds(tag, NAMES),
        st.builds(read, TEXTS),
        st.builds(heard, TEXTS),
    ),
    max_size=6,
)
PIECES = st.sampled_from(
    re.split(
        " ",
        "two one no not the a brown red dog dogs cat zebra car person says STOP Paris room 12 21 is on left right .",
    )
)
ANSWERS = st.lists(PIECES, max_size=14).map(" ".join)


def holds(claim: Claim, finding: Finding) -> bool:
    """Whether one finding can hold a claim at all, by plain reading."""
    words = [singular(word) for word in re.findall(r"[\w']+", finding.text.lower())]
    if claim.kind in ("text", "number", "name"):
        wanted = re.findall(r"[\w']+", str(claim.value).lower())
        return any(singular(word) in words for word in wanted) or claim.thing in words
    names = {" ".join(words), *words, *map(singular, kinds_of(finding.text))}
    if claim.thing not in names:
        return False
    if claim.kind == "colour" and finding.expert == "detect":
        return bool(finding.extra.get("colour") == claim.value)
    return True


@given(ANSWERS, FINDINGS, st.booleans())
def test_nothing_is_supported_that_no_finding_holds(answer: str, findings: list[Finding], whole: bool) -> None:
    seen = Seen({"photo.png": SIZE}, whole=whole)
    for claim in judge(claims(answer), findings, seen):
        assert claim.verdict in ("supported", "contradicted", "unsupported")
        if claim.verdict != "supported":
            continue
        assert claim.findings and all(holds(claim, findings[n]) for n in claim.findings)
        assert claim.kind != "absence"
        boxed = [f for n in claim.findings if (f := findings[n]).expert == "detect"]
        if claim.kind == "count" and boxed:
            assert len(boxed) == claim.value
    assert all(claim.verdict != "supported" for claim in judge(claims(answer), [], seen))


@given(st.text(max_size=200), FINDINGS)
def test_any_text_can_be_checked_and_linked(answer: str, findings: list[Finding]) -> None:
    judged = judge(claims(answer, answer), findings, Seen({"photo.png": SIZE}))
    assert isinstance(corrected(answer, judged, findings), str)
    ends = [end for _, end in sentences(answer)]
    assert ends == sorted(ends)
    assert all(0 <= link.finding < len(findings) for link in find(answer, findings))


# -- in an answer ---------------------------------------------------------------------------------------------------


def ask(agent: Any, question: str, **more: Any) -> tuple[list[Step], list[Answer]]:
    steps = list(agent.stream(question, **{"image": image(side=90), **more}))
    return steps, [step.answer for step in steps if step.answer is not None]


def test_connectors_answer_is_checked_by_experts_that_are_then_in_its_trace() -> None:
    agent, _ = make_agent(
        [FakeExpert("detect", DOGS), FakeExpert("tag"), FakeExpert("ocr")], say="There are three dogs."
    )
    steps, (answer,) = ask(agent, "How many dogs are there?", route="connector", check=True)
    assert [step.kind for step in steps if step.kind not in ("token", "media")] == [
        "encode", "connect", "llm", "expert", "expert", "check", "answer",
    ]  # fmt: skip
    assert answer.check is not None
    assert (answer.text, answer.check.corrected) == ("There are three dogs.", "There are two dogs.")
    assert [claim.verdict for claim in answer.check.claims] == ["contradicted"]
    assert [finding.text for finding in answer.findings] == ["dog", "dog"]
    assert answer.trace[-1].data == {"supported": 0, "contradicted": 1, "unsupported": 0}
    assert answer.to_dict()["check"]["claims"][0]["verdict"] == "contradicted"


def test_both_routes_are_checked_and_no_expert_looks_twice() -> None:
    detect, tags = FakeExpert("detect", DOGS), FakeExpert("tag")
    agent, _ = make_agent([detect, tags], say="There are two dogs.", cache_mb=0)
    _, answers = ask(agent, "How many dogs are there?", route="both", check=True)
    assert [answer.check.claims[0].verdict for answer in answers if answer.check] == ["supported", "supported"]
    assert len(detect.asked) == len(tags.asked) == 1
    assert answers[0].findings == answers[1].findings
    assert [[link.finding for link in answer.links] for answer in answers] == [[0, 1], [0, 1]]


def test_reader_is_asked_where_the_answer_quotes() -> None:
    reader = FakeExpert("ocr", [read("STOP")])
    agent, _ = make_agent([FakeExpert("detect", DOGS), reader], say='The sign says "SHOP".')
    _, (answer,) = ask(agent, "How many dogs?", route="experts", check=True)
    assert len(reader.asked) == 1
    assert answer.check is not None and answer.check.corrected == 'The sign says "STOP".'


def test_expert_that_fails_in_a_check_is_told_and_its_silence_contradicts_nothing() -> None:
    agent, _ = make_agent([FakeExpert("detect", ExpertError("torn"))], say="There is a dog.")
    steps, (answer,) = ask(agent, "What is it?", route="connector", check=True)
    assert [(step.name, step.text) for step in steps if step.kind == "error"] == [("detect", "torn")]
    assert answer.error == "" and answer.check is not None
    assert [claim.verdict for claim in answer.check.claims] == ["unsupported"]


def test_check_is_off_by_default_and_a_setting() -> None:
    for settings, checked in (({}, False), ({"check": True}, True)):
        agent, _ = make_agent([FakeExpert("detect", DOGS)], **settings)
        _, (answer,) = ask(agent, "How many dogs are there?", route="experts")
        assert (answer.check is not None) is checked
        assert [link.finding for link in answer.links] == [0, 1]


def test_answer_that_claims_nothing_asks_no_expert() -> None:
    detect = FakeExpert("detect", DOGS)
    agent, _ = make_agent([detect], say="I cannot tell.")
    _, (answer,) = ask(agent, "Why?", route="connector", check=True)
    assert detect.asked == [] and answer.check is not None and answer.check.claims == ()


def test_failed_route_is_not_checked() -> None:
    agent, _ = make_agent([FakeExpert("detect", ExpertError("torn"))])
    _, answers = ask(agent, "What?", route="both", check=True)
    assert answers[0].error and answers[0].check is None
    assert answers[1].check is not None


# -- links ----------------------------------------------------------------------------------------------------------


def test_sentence_links_to_its_second_in_a_recording() -> None:
    agent, _ = make_agent([FakeExpert("speech", TALK, kinds=["audio"])], say="It leaves from platform nine.")
    (answer,) = agent.ask("Which platform?", audio=sound(), route="experts")
    (link,) = answer.to_dict()["links"]
    assert (link["finding"], link["expert"], link["span"], link["sentence"]) == (0, "speech", (0.0, 3.0), [0, 29])


def test_each_sentence_has_its_own_links() -> None:
    text = "There is a dog. A person reads the STOP sign. Nice."
    links = find(text, [*SCENE, read("STOP")])
    assert [(text[a.start : a.end], a.finding) for a in links] == [
        ("There is a dog.", 0),
        ("There is a dog.", 3),  # the tagger's golden retriever is one
        ("A person reads the STOP sign.", 2),
        ("A person reads the STOP sign.", 4),
    ]


def test_cited_finding_belongs_to_the_last_sentence_where_none_names_it() -> None:
    dog, cat = found("detect", "dog", "cat")
    cited = Step("evidence", "evidence", "experts", 0.0, findings=(cat,))
    answer = Answer("experts", "A dog. It sleeps.", 0.8, 1.0, (dog, cat), trace=(cited,))
    assert [(link.start, link.finding) for link in links_of(answer)] == [(0, 0), (7, 1)]


# -- shown ----------------------------------------------------------------------------------------------------------


def test_command_line_shows_what_supports_an_answer_and_what_the_check_says(capsys: pytest.CaptureFixture[str]) -> None:
    speech = FakeExpert("speech", TALK, kinds=["audio"])
    agent, _ = make_agent([speech], say="It leaves from platform two.")
    terminal.answers("Which?", agent.stream("Which platform?", audio=sound(), route="experts", check=True))
    told = " ".join(capsys.readouterr().out.split())
    assert "corrected: It leaves from platform nine." in told
    assert "supported by speech 'The train to London leaves fr…' 0.0-3.0 s" in told


def test_chat_shows_the_correction_under_the_answer_and_leads_to_the_second() -> None:
    agent, _ = make_agent([FakeExpert("speech", TALK, kinds=["audio"])], say="It leaves from platform two.")
    line = Timeline(turn=2)
    for step in agent.stream("Which platform?", audio=sound(), route="experts", check=True):
        line.add(step)
    said = next(message["content"] for message in line.messages() if "metadata" not in message)
    assert said.startswith("It leaves from platform two. [\\[1 · 0:00.0\\]](#evidence-2-1)")
    assert "Corrected by experts: It leaves from platform nine." in said
    titles = [message["metadata"]["title"] for message in line.messages() if "metadata" in message]
    assert "✓ checked by experts" in titles


def test_expert_that_looks_for_the_first_answer_after_a_handover_stays_in_its_part() -> None:
    """A check of the first route's answer comes after the second route has failed; it opened a third part."""
    line = Timeline()
    line.add(Step("token", "llm", "experts", 0.1, text="Perhaps"))
    line.add(Step("fallback", "connector", "connector", 0.2, text="unsure"))
    line.add(Step("check", "check", "experts", 0.3, text="1 of 1 claims supported"))
    answer = Answer("experts", "Perhaps.", 0.8, 1.0)
    line.add(Step("answer", "experts", "experts", 0.4, answer=answer))
    assert [part.route for part in line.parts] == ["experts", "connector"]
    assert line.answers() == [answer]
