"""The policy of route auto: one sentence for every decision, and never a call that cannot help."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import FakeExpert, P, found, image, make_agent, sound, video
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.agent import Agent
from agent.answer import Question
from agent.answering.fallback import calibration
from agent.answering.fallback.calibration import Calibrated, Scale, load, parse, policy_for
from agent.answering.fallback.needs import COVERAGE, coverage, kind_of, things
from agent.answering.fallback.policy import (
    CONSULT,
    HAND_OVER,
    STAY,
    Case,
    Decision,
    Plain,
    Policy,
    same_answer,
    sentence,
)
from agent.evaluation.router.calibrating import write
from experts.base import Finding
from experts.config import Settings
from experts.errors import ConfigError, ExpertError

KINDS = ("existence", "count", "colour", "name", "text", "speech", "kind of its own")
DOGS = found("detect", "dog", "dog", box=(0.0, 0.0, 3.0, 3.0))
TORN = ExpertError("the weights are torn. All of them!")


def measured(experts: float, connector: float, *, slope: float = 1.0, **rest: Any) -> Calibrated:
    """A policy by which the experts are right with one log-odds, the connector with another, in every case alike."""
    own, other = (Scale(0.0, {"": offset}, {"": slope}) for offset in (experts, connector))
    return Calibrated(experts=own, connector=other, **rest)


POLICIES = [
    Plain(),
    Plain(0.9),
    measured(0.0, 0.0),
    measured(-2.0, 2.0),
    measured(2.0, -2.0),
    measured(0.0, 1.0, price=1),
]
if calibration.SHIPPED.is_file():
    POLICIES.append(load(calibration.SHIPPED))


def cases() -> list[Case]:
    troubles: list[dict[str, Any]] = [
        {}, {"failed": ("detect",)}, {"failed": ("detect", "tag", "detect")}, {"stopped": True},
        {"error": "It broke. Really!\nAsk again."}, {"error": "nothing was found", "failed": ("speech",)},
    ]  # fmt: skip
    sure = (None, 0.0, 0.2, 0.5, 0.99, 1.0)
    return [
        Case(kind, covered, confidence, **trouble)
        for kind, covered, confidence, trouble in itertools.product(KINDS, COVERAGE, sure, troubles)
    ]


# -- every decision ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_every_decision_gives_its_reason_in_one_sentence(policy: Policy) -> None:
    for case in cases():
        decisions = [policy.decide(case)]
        decisions += [policy.settle(case, sure, agree) for sure in (None, 0.0, 0.7) for agree in (True, False)]
        for decision in decisions:
            assert decision.reason and decision.reason == sentence(decision.reason)
            assert "\n" not in decision.reason and ". " not in decision.reason and decision.reason[-1] not in ".!?"
    assert isinstance(policy, Policy)


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_failed_expert_hands_over_or_the_reason_says_why_not(policy: Policy) -> None:
    for case in cases():
        if not (case.failed or case.error) or case.stopped:
            continue
        decision = policy.decide(case)
        if case.coverage == "sound":
            assert decision.action == STAY and "the connector cannot hear" in decision.reason
        else:
            assert decision.action == HAND_OVER
        assert bool(case.error) or "failed" in decision.reason


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_what_is_only_heard_or_was_stopped_never_goes_to_the_connector(policy: Policy) -> None:
    for case in cases():
        if case.coverage == "sound" or case.stopped:
            assert policy.decide(case).action == STAY


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_silent_experts_hand_over(policy: Policy) -> None:
    assert policy.decide(Case("count", "nothing", 0.99)) == Decision(HAND_OVER, "the experts found nothing")


def test_plain_policy_asks_where_the_answer_is_unsure_and_not_where_the_confidence_is_unknown() -> None:
    actions = [Plain(0.35).decide(Case("count", "named", sure)).action for sure in (0.34, 0.35, 0.36, None)]
    assert actions == [HAND_OVER, STAY, STAY, STAY]


# -- calibrated -------------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    covered=st.sampled_from(COVERAGE),
    one=st.floats(0, 1),
    other=st.floats(0, 1),
    policy=st.sampled_from([p for p in POLICIES if isinstance(p, Calibrated)]),
)
def test_surer_is_never_less_likely_right(
    kind: str, covered: str, one: float, other: float, policy: Calibrated
) -> None:
    low, high = sorted((one, other))
    for scale in (policy.experts, policy.connector):
        assert 0 < scale.share(kind, covered, low) <= scale.share(kind, covered, high) < 1


def test_share_is_the_logistic_of_the_offsets_that_hold() -> None:
    scale = Scale(
        0.5, {"": 0.1, "count": 0.2, "/named": -0.4, "count/named": 1.0, "name": 9.0}, {"": 1.0, "count": 2.0}
    )
    want = 0.1 + 0.2 - 0.4 + 1.0 + 2.0 * (math.log(0.7 / 0.3) - 0.5)
    assert scale.share("count", "named", 0.7) == pytest.approx(1 / (1 + math.exp(-want)))
    assert scale.share("count", "", None) == pytest.approx(1 / (1 + math.exp(-0.3)))  # an unknown confidence is usual
    assert scale.share("size", "silent", 0.7) == pytest.approx(
        1 / (1 + math.exp(-(0.1 + math.log(0.7 / 0.3) - 0.5)))
    )  # a kind never seen is taken for a usual one


def test_connector_is_consulted_where_that_gains_enough() -> None:
    spread = {"": (0.5, 0.9)}  # of which the connector is right half the time, and in 9 of 10
    policy = measured(0.0, 0.0, spread=spread, least_gain=0.0)
    case = Case("count", "named", 0.7)  # the experts are right in 70 %
    assert policy.gain(case) == pytest.approx(0.1)  # in one of two answers 20 % better
    assert policy.decide(case).action == CONSULT
    assert dataclasses.replace(policy, least_gain=0.11).decide(case).action == STAY
    assert dataclasses.replace(policy, price=0.13).decide(case).action == CONSULT  # 0.1 > 0.13 * 0.7
    assert dataclasses.replace(policy, price=0.15).decide(case).action == STAY
    assert "are right in 70% of such cases, the connector in 70%" in policy.decide(case).reason


def test_a_colour_that_no_finding_tells_is_the_connectors_to_tell() -> None:
    for kind in ("colour", "position", "size"):
        for covered in ("silent", "beyond"):
            decision = Plain().decide(Case(kind, covered, 0.99))
            assert decision == Decision(HAND_OVER, f"no finding tells the {kind} of what is asked about")
        assert Plain().decide(Case(kind, "named", 0.99)).action == STAY
    assert Plain().decide(Case("existence", "silent", 0.99)).action == STAY  # what was not found is not there


def test_shares_hold_for_pictures_like_the_measured_ones_only() -> None:
    policy = measured(-2.0, 2.0, most_tones=3.5)
    drawing, photograph = (Case("count", "named", 0.7, tones=tones) for tones in (3.4, 4.4))
    assert policy.decide(drawing).action == CONSULT
    decision = policy.decide(photograph)
    assert (decision.action, "pictures of fewer tones" in decision.reason) == (STAY, True)
    assert policy.decide(dataclasses.replace(photograph, confidence=0.2)).action == HAND_OVER  # as Plain has it
    assert policy.decide(Case("count", "named", 0.7)).action == CONSULT  # rows that do not tell
    assert calibration.parse(json.loads(json.dumps(policy.to_dict()))) == policy


def test_a_case_knows_how_richly_toned_its_picture_is() -> None:
    policy = Told(STAY)
    ramp = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (40, 1, 3))
    ask(policy, image=ramp)
    assert policy.cases[0].tones == 5.0


def test_likelier_answer_stands_and_the_experts_where_none_is() -> None:
    policy, case = measured(0.0, 0.0), Case("count", "named", 0.7)
    assert policy.settle(case, 0.8, False).action == HAND_OVER
    assert policy.settle(case, 0.6, False).action == STAY
    assert policy.settle(case, 0.7, False).action == STAY
    assert policy.settle(case, 0.8, True) == Decision(STAY, "the connector gives the same answer")


def test_answers_are_the_same_but_for_case_and_punctuation() -> None:
    assert same_answer("Top left.", " top  left")
    assert not same_answer("top left", "top right")


def test_a_decision_costs_under_a_millisecond() -> None:
    policy = measured(0.0, 0.5, spread={"": (0.1, 0.3, 0.5, 0.7, 0.9)})
    things("a dog")  # the vocabulary is read once
    begun = time.process_time()
    for _ in range(200):
        covered = coverage("How many dogs are there?", kind_of("How many dogs are there?"), DOGS)
        policy.decide(Case("count", covered, 0.7))
    assert (time.process_time() - begun) / 200 < 0.001


# -- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many dogs are there?", "count"), ("What is the color of the square?", "colour"),
        ("What is the pink shape?", "shape"), ("At what place in the picture is the star?", "position"),
        ("What is in the top right of the picture?", "name"), ("Is the sign above the rose?", "relation"),
        ("Which is bigger, the sign or the lemon?", "size"), ("What does the sign say?", "text"),
        ("What type of object is in the right of the picture?", "category"), ("is no teal shape present?", "existence"),
        ("Describe the image.", "caption"), ("Which word is on the shirt?", "text"),
    ],
)  # fmt: skip
def test_kind_is_known_from_the_question_alone(question: str, kind: str) -> None:
    assert kind_of(question) == kind


@pytest.mark.parametrize(
    ("question", "findings", "covered"),
    [
        ("How many dogs are there?", DOGS, "named"),
        ("Is there an animal?", DOGS, "named"),  # a dog is one
        ("Is there a cat?", DOGS, "silent"),  # the experts know cats
        ("Is there a black shape?", DOGS, "beyond"),
        ("Is there a black shape?", [], "nothing"),
        ("Is the dog left of the cat?", DOGS, "silent"),  # only one of both was found
        ("What colour is the dog?", DOGS, "named"),
        ("What colour is the beagle?", found("tag", "beagle"), "silent"),  # a tag tells no colour
        ("Is there a beagle?", found("tag", "beagle"), "named"),
        ("What does the sign say?", DOGS, "silent"),
        ("What does the sign say?", found("ocr", "STOP"), "named"),
        ("What is in the picture?", DOGS, "named"),
        ("What is in the picture?", [Finding("tag", "lawn", 0.1)], "silent"),
        ("Is there a wren?", found("bird", "a wren sings in a hedge"), "named"),  # a plug-in that writes sentences
    ],
)
def test_findings_cover_a_question_where_they_speak_of_it(question: str, findings: list, covered: str) -> None:
    assert coverage(question, kind_of(question), findings) == covered


def test_a_megabyte_of_text_does_not_slow_the_decision() -> None:
    begun = time.process_time()
    assert coverage("Is there a cat?", "existence", [Finding("ocr", "dog " * 250_000, 1.0)] * 4) == "silent"
    assert time.process_time() - begun < 0.5


# -- in the agent -----------------------------------------------------------------------------------------------------


class Told:
    """A policy that does what a test tells it, and keeps the cases that it saw."""

    def __init__(self, first: str, then: str = STAY) -> None:
        self.first, self.then, self.cases = first, then, []  # type: ignore[var-annotated]

    def decide(self, case: Case) -> Decision:
        self.cases.append(case)
        return Decision(self.first, "the test says so")

    def settle(self, case: Case, confidence: float | None, agree: bool) -> Decision:
        self.cases.append((confidence, agree))
        return Decision(self.then, "the test decides")


def ask(policy: Policy | None, *experts: FakeExpert, say: Any = "There are two dogs.", **media: Any) -> Any:
    agent, llm = make_agent(experts or [FakeExpert("detect", DOGS)], say)
    agent.context.policy = policy or agent.context.policy
    (answer,) = agent.ask("How many dogs are there?", route="auto", **(media or {"image": image()}))
    return answer, llm


def test_any_object_with_the_two_methods_decides() -> None:
    policy = Told(STAY)
    answer, llm = ask(policy)
    assert policy.cases == [Case("count", "named", pytest.approx(P), tones=0.0)]  # a picture of one colour
    assert (answer.route, answer.fallback, len(llm.prompts)) == ("experts", None, 1)
    assert [(s.name, s.text) for s in answer.trace if s.kind == "note"] == [("auto", "the test says so")]
    agent = Agent(Settings(), experts={}, policy=policy)
    assert agent.context.policy is policy


def test_consulted_connector_answers_where_the_policy_settles_on_it() -> None:
    says = iter(["two", "three dogs"])
    policy = Told(CONSULT, HAND_OVER)
    answer, _ = ask(policy, say=lambda prompt: next(says))
    assert policy.cases[1] == (pytest.approx(P), False)
    assert (answer.route, answer.text) == ("connector", "three dogs")
    assert answer.fallback.to_dict() == {"from": "experts", "to": "connector", "reason": "the test decides"}
    assert [s.text for s in answer.trace if s.kind == "fallback"] == ["the test says so"]


def test_experts_answer_stands_where_the_policy_settles_on_it_and_the_trace_says_why() -> None:
    says = iter(["two", "three dogs"])
    answer, llm = ask(Told(CONSULT, STAY), say=lambda prompt: next(says))
    assert (answer.route, answer.text, answer.fallback, len(llm.prompts)) == ("experts", "two", None, 2)
    told = [(s.kind, s.text) for s in answer.trace if s.kind in ("fallback", "note")]
    assert told == [("fallback", "the test says so"), ("note", "the test decides")]
    assert answer.seconds >= sum(s.seconds for s in answer.trace if s.kind == "llm")


def test_agreeing_answers_are_told_to_the_policy() -> None:
    policy = Told(CONSULT)
    ask(policy)
    assert policy.cases[1][1] is True


def test_policy_that_fails_or_talks_nonsense_leaves_the_experts_answer() -> None:
    class Broken(Told):
        def decide(self, case: Case) -> Decision:
            raise ZeroDivisionError("no. Never.")

    answer, _ = ask(Broken(STAY))
    assert answer.route == "experts" and not answer.error
    reasons = [step.text for step in answer.trace if step.kind == "note"]
    assert reasons == ["the policy failed inside (ZeroDivisionError), so the experts' answer stands"]
    answer, _ = ask(Told("jump"))
    assert "decided 'jump', which is none of stay, consult, hand over" in answer.trace[-1].text


@pytest.mark.parametrize("policy", [None, measured(-5.0, 5.0)], ids=["plain", "calibrated"])
def test_question_about_sound_alone_stays_with_experts_that_failed(policy: Policy | None) -> None:
    answer, _ = ask(policy, FakeExpert("speech", TORN, kinds=["audio"]), audio=sound())
    assert answer.route == "experts" and answer.error
    assert answer.trace[-1].text == "speech failed, and the connector cannot hear"
    assert not [step for step in answer.trace if step.route == "connector"]


@pytest.mark.parametrize("policy", [None, measured(5.0, -5.0)], ids=["plain", "calibrated"])
def test_failed_expert_is_answered_by_the_connector(policy: Policy | None) -> None:
    answer, _ = ask(policy, FakeExpert("detect", TORN), FakeExpert("tag", found("tag", "beagle")))
    assert (answer.route, answer.fallback.reason) == ("connector", "detect failed, so the findings are incomplete")


def test_video_is_seen_so_the_connector_may_answer() -> None:
    agent, _ = make_agent()
    asked = Question("What is said?", (video(),))
    assert kind_of(asked.text) == "text"
    (answer,) = agent.ask("How many dogs are there?", video=video(), route="auto")
    assert answer.route == "connector"


# -- the file ---------------------------------------------------------------------------------------------------------


def test_written_policy_is_the_one_read(tmp_path: Path) -> None:
    policy = measured(0.5, -0.25, price=0.3, spread={"": (0.2, 0.9), "count": (1.0,)}, about={"n": 3, "date": "today"})
    write(policy, tmp_path / "own.json")
    assert load(tmp_path / "own.json") == policy
    assert Agent(Settings(policy=str(tmp_path / "own.json")), experts={}).context.policy == policy


def broken() -> dict[str, Any]:
    good = json.loads(json.dumps(measured(0.0, 0.0).to_dict()))
    assert parse(good) == measured(0.0, 0.0)
    scale = good["experts"]
    return {
        "not json": '{"format": 1,', "bytes": b"\xff\xfe\x00", "list": "[]", "other format": {**good, "format": 9},
        "unknown": {**good, "colour": 1}, "no spread": {k: v for k, v in good.items() if k != "spread"},
        "price": {**good, "price": -1}, "text": {**good, "price": "high"}, "nan": {**good, "price": math.nan},
        "slope": {**good, "experts": {**scale, "slopes": {"": -1}}}, "scale": {**good, "connector": {}},
        "offsets": {**good, "experts": {**scale, "offsets": [1]}}, "spread": {**good, "spread": {"": [2.0]}},
        "empty spread": {**good, "spread": {"": []}}, "true": {**good, "price": True}, "nested": "[" * 100_000,
    }  # fmt: skip


@pytest.mark.parametrize("fault", [*broken(), "missing"])
def test_broken_policy_file_is_one_clear_line(fault: str, tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    if fault != "missing":
        value = broken()[fault]
        file.write_bytes(
            value if isinstance(value, bytes) else (value if isinstance(value, str) else json.dumps(value)).encode()
        )
    with pytest.raises(ConfigError) as raised:
        Agent(Settings(policy=str(file)), experts={})
    message = str(raised.value)
    assert message.startswith("policy file 'own.json' cannot be used: ") and "duet calibrate" in message
    assert "\n" not in message and str(tmp_path) not in message and len(message) < 300


def test_shipped_policy_is_for_the_models_it_was_calibrated_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    policy = measured(0.0, 0.0, price=0.7)
    write(policy, tmp_path / "shipped.json")
    monkeypatch.setattr(calibration, "SHIPPED", tmp_path / "shipped.json")
    usual = Settings(connector=calibration.CALIBRATED)
    assert policy_for(usual) == policy_for(Settings(model=calibration.CALIBRATED)) == policy
    assert policy_for(dataclasses.replace(usual, max_new_tokens=9, threads=1)) == policy
    assert policy_for(dataclasses.replace(usual, llm="another")) == policy_for(Settings()) == Plain()
    assert policy_for(usual, own_models=True) == Plain()
    (tmp_path / "shipped.json").unlink()
    assert policy_for(usual) == Plain()
