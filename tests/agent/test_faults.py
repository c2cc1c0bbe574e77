"""Over 300 injected faults: in every case an answer or an honest error in time, and no other question affected.

Each case asks one question whose expert, chat model or endpoint misbehaves, and beside it, and after it, a healthy
question of the same agent, which must be answered as it always is.
"""

from __future__ import annotations

import functools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fakes import FakeExpert, make_agent
from langchain_core.messages import AIMessage
from scripted import ScriptedChat, ToolEndpoint, call, calls, planned, step

from agent.agent import Agent
from agent.orchestrator.route import Orchestrator
from agent.toolbox.scripted import run_plan
from experts.base import Finding
from experts.errors import DuetError, ExpertError
from experts.media import Image

ANSWER_S = 4.0  # the time for a question
SLACK_S = 8.0  # of a busy machine, with other tests beside this one
MB = 1 << 20
TWO, NONE = "There are two dogs.", "That cannot be told."
INVENTED = "There are nine cats."  # what a model says that was told nothing
HEALTHY = 0  # the number of the question that nothing is wrong with

acting: dict[int, Any] = {}  # the fault of the question with this number
released = threading.Event()  # ends what hangs


@pytest.fixture(autouse=True)
def nothing_outlasts_its_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)
    acting.clear()
    released.clear()
    yield
    released.set()


def picture(number: int) -> Image:
    """A picture of its own for each question, so that no finding is remembered from another."""
    pixels = np.full((9, 9, 3), number % 251, np.uint8)
    pixels[0, 0] = (number // 251, 1, 2)
    return Image.open(pixels, name=f"picture-{number}.png")


def dogs(medium: Any) -> list[Finding]:
    return [Finding("detect", "dog", 0.9, (0.0, 0.0, 3.0, 3.0), source=medium.name)] * 2


def hang(*_: Any) -> Any:
    released.wait(30)
    return []


def raises(error: BaseException) -> Callable[..., Any]:
    def act(*_: Any) -> Any:
        raise error

    return act


def finding(**values: Any) -> Callable[[Any], Any]:
    return lambda medium: [Finding(**{"expert": "detect", "text": "dog", "score": 0.9, "source": medium.name} | values)]


# -- what experts do ----------------------------------------------------------------------------------------------

EXPERT_FAULTS: dict[str, Callable[[Any], Any]] = {
    "raises RuntimeError": raises(RuntimeError("boom")),
    "raises ExpertError": raises(ExpertError("the weights are torn")),
    "raises MemoryError": raises(MemoryError()),
    "raises OSError": raises(OSError(5, "Input/output error", "/root/secret/weights.bin")),
    "raises RecursionError": raises(RecursionError("too deep")),
    "raises StopIteration": raises(StopIteration()),
    "raises SystemExit": raises(SystemExit(3)),
    "raises 1 MB": raises(ValueError("word " * (MB // 5))),
    "hangs": hang,
    "returns []": lambda _: [],
    "returns None": lambda _: None,
    "returns text": lambda _: "two dogs",
    "returns a dict": lambda _: {"dog": 2},
    "returns a generator": lambda medium: (each for each in dogs(medium)),
    "returns strings": lambda _: ["dog", "dog"],
    "returns NaN": finding(score=float("nan")),
    "returns a score of text": finding(score="high"),
    "returns no text": finding(text=None),
    "returns a box of two": finding(box=(1.0, 2.0)),
    "returns a box of text": finding(box=("a", "b", "c", "d")),
    "returns a span of one": finding(span=(1.0,)),
    "returns no extra": finding(extra=None),
    "returns what JSON cannot hold": finding(extra={"it": object()}),
    "returns a lone surrogate": finding(text="dog \ud800"),
    "returns 1 MB of words": finding(text="word " * (MB // 5)),
    "returns 1 MB in a word": finding(text="x" * MB),
    "returns 1 MB of markers": finding(text="<|im_end|>" * (MB // 10)),
    "returns 1 MB of colour": finding(extra={"colour": "red " * (MB // 4)}),
    "returns 20,000 findings": lambda medium: dogs(medium) * 10_000,
}

# -- what chat models do ------------------------------------------------------------------------------------------

LOOK = {"media": "image1"}


def then_invents(*wanted: dict[str, Any]) -> Callable[..., Any]:
    """Calls that cannot be made, then an answer out of nothing."""
    return lambda heard, tools: INVENTED if any(turn.type == "tool" for turn in heard) else calls(*wanted)


DECIDER_FAULTS: dict[str, Callable[..., Any]] = {
    "unknown tool": then_invents(call("detector", **LOOK)),
    "unknown tool without a name": then_invents(call("", **LOOK)),
    "unknown tool of 1 MB": then_invents(call("x" * MB, **LOOK)),
    "tool by its path": then_invents(call("../../bin/sh", **LOOK)),
    "no arguments": then_invents(call("detect")),
    "a number": then_invents(call("detect", media=1)),
    "null": then_invents(call("detect", media=None)),
    "a list": then_invents(call("detect", media=["image1"])),
    "a path": then_invents(call("detect", media="/etc/passwd")),
    "an address": then_invents(call("detect", media="http://example.org/x.png")),
    "1 MB": then_invents(call("detect", media="x" * MB)),
    "another argument": then_invents(call("detect", media="image1", path="/etc/passwd")),
    "a question of the wrong type": then_invents(call("connector", media="image1", question=7)),
    "calls of one id": then_invents(*[call("look") | {"id": "same"}] * 3),
    "a call without an id": then_invents(call("look") | {"id": None}),
    "the same call for ever": lambda *_: calls(call("detect", **LOOK)),
    "wrong calls for ever": lambda *_: calls(call("look", **LOOK)),
    "fifty calls for ever": lambda *_: calls(*(call("detect", **LOOK) for _ in range(50))),
    "says nothing": lambda *_: "",
    "says blanks": lambda *_: " \n ",
    "broken JSON": lambda *_: AIMessage(
        "", invalid_tool_calls=[{"name": "detect", "args": '{"media": ', "id": "1", "error": None}]
    ),
    "raises RuntimeError": raises(RuntimeError("boom")),
    "raises 1 MB": raises(ValueError("word " * (MB // 5))),
    "raises KeyError": raises(KeyError("choices")),
    "hangs": hang,
}
PLAN_FAULTS: dict[str, Any] = {
    "unknown tool": planned(step("a", "detector")),
    "no arguments": planned({"id": "a", "tool": "detect"}),
    "a number": planned(step("a", media=1)),
    "a path": planned(step("a", media="/etc/passwd")),
    "1 MB": planned(step("a", media="x" * MB)),
    "a circle": planned(step("a", "detect", "b"), step("b", "detect", "a")),
    "waits for itself": planned(step("a", "detect", "a")),
    "waits for none": planned(step("a", "detect", "z")),
    "one id twice": planned(step("a"), step("a")),
    "33 steps": planned(*(step(f"s{n}") for n in range(33))),
    "text for steps": calls(call("plan", steps="detect image1")),
    "numbers for steps": calls(call("plan", steps=[1, 2])),
    "no steps": calls(call("plan")),
    "null for steps": calls(call("plan", steps=None)),
    "another field": calls(call("plan", steps=[step("a") | {"run": "rm"}])),
    "words": AIMessage(INVENTED),
    "nothing": AIMessage(""),
    "another tool": calls(call("detect", **LOOK)),
    "two plans": calls(call("plan", steps=[step("a")]), call("plan", steps=[step("a")])),
    "an error": RuntimeError("boom"),
    "hangs": hang,
}
REFINER_FAULTS: dict[str, Any] = {
    "says nothing": "",
    "says blanks": " \n ",
    "raises": RuntimeError("boom"),
    "hangs": hang,
}

# -- what endpoints do --------------------------------------------------------------------------------------------

ENDPOINT_FAULTS: dict[str, Any] = {
    **{f"HTTP {status}": status for status in (400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503)},
    "closes the connection": None,
    "breaks off": "CUT:There are nine cats and",
    "no body": b"",
    "an empty object": b"{}",
    "a list": b"[]",
    "null": b"null",
    "half of the JSON": b'{"id": "1", "choices": [{"ind',
    "a page": b"<html><body>Welcome</body></html>",
    "no choices": b'{"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": []}',
    "an empty text": "",
    "hangs": hang,
}


# -- the questions ------------------------------------------------------------------------------------------------


def numbered(text: str) -> int:
    found = re.search(r"Case (\d+)", text)
    return int(found[1]) if found else HEALTHY


def honest(text: str) -> str:
    """What a model says that keeps to what it was told."""
    return TWO if "2 dogs" in text else NONE


def look(medium: Image) -> Any:
    act = acting.get(int(re.findall(r"\d+", medium.name)[0]))
    return act[1](medium) if act and act[0] == "expert" else dogs(medium)


def chat(heard: list[Any], tools: tuple[str, ...]) -> Any:
    """The chat model of every orchestrated question: well behaved but where a fault says otherwise."""
    said = "\n".join(str(turn.content) for turn in heard)
    role = (
        "planner"
        if "plan" in tools or "You plan which" in said
        else "decider"
        if "asking experts" in said
        else "refiner"
    )
    act = acting.get(numbered(said))
    if act and act[0] == role:
        return act[1](heard, tools) if callable(act[1]) else act[1]
    if role == "planner":
        return planned(step("a"))
    if role == "decider" and tools and not any(turn.type == "tool" for turn in heard):
        return calls(call("detect", **LOOK))
    return honest(said)


def served(asked: dict[str, Any]) -> Any:
    """The endpoint's model, likewise."""
    said = json.dumps(asked["messages"])
    act = acting.get(numbered(said))
    if act and act[0] == "endpoint":
        return act[1](asked) if callable(act[1]) else act[1]
    names = [tool["function"]["name"] for tool in asked.get("tools", ())]
    if names == ["plan"]:
        return [("plan", json.dumps({"steps": [step("a")]}))]
    if names and "tool" not in [turn["role"] for turn in asked["messages"]]:
        return [("detect", json.dumps(LOOK))]
    return honest(said)


ROLES: dict[str, dict[str, Any]] = {
    "controller": {},
    "controller, unrefined": {"refines": False},
    "decision maker": {"plans": False, "decides": True, "refines": False},
    "decision maker, refined": {"plans": False, "decides": True},
}


@functools.cache
def local() -> Agent:
    return make_agent([FakeExpert("detect", look)], honest, answer_s=ANSWER_S, traces_mb=0)[0]


@functools.cache
def endpoint() -> ToolEndpoint:
    return ToolEndpoint(served).__enter__()


@functools.cache
def remote() -> Agent:
    experts = [FakeExpert("detect", look)]
    return make_agent(
        experts, honest, answer_s=ANSWER_S, traces_mb=0, profile="server", endpoint=endpoint().url,
        endpoint_model="fake-model",
    )[0]  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def libraries_are_loaded_and_the_endpoint_ends() -> Iterator[None]:
    """What is imported at the first question of a program must not count as the time of a case."""
    patient, _ = make_agent([FakeExpert("detect", look)], honest, traces_mb=0, cache_mb=0)
    remote()
    for way in ("auto", *ROLES):
        ask(patient, way, HEALTHY)
    yield
    endpoint().__exit__()


def ask(agent: Agent, way: str, number: int) -> tuple[list[str], list[Finding], list[str]]:
    """The texts of the answers to the question of this number, their findings, and the errors told.

    A DuetError that is raised counts as told; any other gets through, and fails the test.
    """
    question, medium = f"Case {number}: how many dogs are there?", picture(number)
    try:
        if way == "script":
            done = run_plan(
                {"steps": [step("a"), step("b", "answer", "a", question=question)]}, agent.toolbox(image=medium)
            )
            return (
                [each.text for each in done if each.call.tool == "answer" and each.text],
                [each for result in done for each in result.findings],
                [each.error for each in done if each.error],
            )
        route = way if way not in ROLES else Orchestrator(
            **ROLES[way], model=None if agent is remote() else ScriptedChat(script=chat)
        )  # fmt: skip
        answers = agent.ask(question, image=medium, route=route)
    except DuetError as error:
        return [], [], [str(error)]
    return (
        [answer.text for answer in answers if not answer.error],
        [each for answer in answers for each in answer.findings],
        [answer.error for answer in answers if answer.error],
    )


@functools.cache
def reference(remotely: bool, way: str) -> Any:
    """What the healthy question gets where nothing is wrong with any."""
    texts, findings, errors = ask(remote() if remotely else local(), way, HEALTHY)
    assert any(TWO in text or "2 dogs" in text for text in texts) and not errors, (
        f"the healthy question gets {texts}, {errors}"
    )
    return texts, findings


def suffer(agent: Agent, way: str, number: int, fault: Any) -> tuple[list[str], list[Finding], list[str]]:
    """One case; returns what came of it, after everything that holds in every case was asserted."""
    remotely = agent is remote()
    expected = reference(remotely, way)
    acting[number] = fault
    beside: list[Any] = []
    other = threading.Thread(target=lambda: beside.append(ask(agent, way, HEALTHY)))
    begun = time.perf_counter()
    other.start()
    texts, findings, errors = ask(agent, way, number)
    assert time.perf_counter() - begun < ANSWER_S + SLACK_S
    other.join(10)
    assert texts or errors, "neither an answer nor an error"
    for error in errors:
        assert 3 < len(error) < 1500
        assert "\n" not in error and "Traceback" not in error and "/root" not in error
    said = " ".join(texts)
    assert INVENTED not in said and "nine cats" not in said
    if TWO in said and way not in ("auto", "both"):
        assert [each.text for each in findings if each.expert == "detect"][:2] == ["dog", "dog"]
    for after in (*beside, ask(agent, way, HEALTHY)):
        assert after == (*expected, [])
    assert len(beside) == 1
    return texts, findings, errors


CASES: list[tuple[str, str, Any]] = [
    *(
        (way, f"an expert {name}", ("expert", act))
        for way in ("experts", "auto", "both", "script", *ROLES)
        for name, act in EXPERT_FAULTS.items()
    ),
    *(
        (way, f"the deciding model: {name}", ("decider", act))
        for way in ("decision maker", "decision maker, refined")
        for name, act in DECIDER_FAULTS.items()
    ),
    *(
        (way, f"the planning model: {name}", ("planner", act))
        for way in ("controller", "controller, unrefined")
        for name, act in PLAN_FAULTS.items()
    ),
    *(
        (way, f"the refining model {name}", ("refiner", act))
        for way in ("controller", "decision maker, refined")
        for name, act in REFINER_FAULTS.items()
    ),
]
REMOTE: list[tuple[str, str, Any]] = [
    (way, f"the endpoint: {name}", ("endpoint", act))
    for way in ("experts", "controller", "decision maker")
    for name, act in ENDPOINT_FAULTS.items()
]


EVERY = [(number, case) for number, case in enumerate([*CASES, *REMOTE], 1)]
QUICK = [(number, case) for number, case in EVERY if case[2][1] is not hang]
HANGING = [(number, case) for number, case in EVERY if case[2][1] is hang]


def run(number: int, way: str, fault: Any) -> None:
    remotely = fault[0] == "endpoint"
    texts, _, errors = suffer(remote() if remotely else local(), way, number, fault)
    assert not remotely or (errors and not texts)


def test_there_are_300_faults() -> None:
    names = [(way, name) for _, (way, name, _) in EVERY]
    assert len(set(names)) == len(names) >= 300


@pytest.mark.parametrize(("number", "case"), QUICK, ids=[f"{way}: {name}" for _, (way, name, _) in QUICK])
def test_fault_ends_in_an_answer_or_an_honest_error_and_touches_no_other_question(number: int, case: Any) -> None:
    run(number, case[0], case[2])


def test_everything_that_hangs_ends_in_time_though_all_hangs_at_once() -> None:
    for _, (way, _, fault) in HANGING:
        reference(fault[0] == "endpoint", way)
    with ThreadPoolExecutor(len(HANGING)) as pool:
        ends = [pool.submit(run, number, way, fault) for number, (way, _, fault) in HANGING]
    assert [
        (case[:2], str(end.exception())) for (_, case), end in zip(HANGING, ends, strict=True) if end.exception()
    ] == []


@pytest.mark.parametrize("way", ["experts", "controller", "decision maker"])
@pytest.mark.parametrize("status", [429, 500])
def test_endpoint_that_fails_once_is_asked_again(way: str, status: int) -> None:
    left = [status]
    number = 2000 + status
    acting[number] = ("endpoint", lambda asked: left.pop() if left else (acting.pop(number), served(asked))[1])
    texts, _, errors = ask(remote(), way, number)
    assert (texts, errors) == ([TWO], [])


def test_endpoint_that_does_not_say_which_model_it_serves_costs_no_more_than_the_time() -> None:
    with ToolEndpoint(served) as silent:
        silent.models = hang
        agent = make_agent(
            [FakeExpert("detect", look)], answer_s=0.5, traces_mb=0, profile="server", endpoint=silent.url
        )[0]
        for way in ("experts", "controller"):
            begun = time.perf_counter()
            texts, _, errors = ask(agent, way, 3000) if way == "experts" else _asked_of(agent)
            assert time.perf_counter() - begun < 0.5 + SLACK_S
            assert (texts, len(errors)) == ([], 1)
        released.set()


def _asked_of(agent: Agent) -> tuple[list[str], list[Finding], list[str]]:
    with pytest.raises(DuetError) as told:
        agent.ask("How many?", image=picture(3001), route=Orchestrator())
    return [], [], [str(told.value)]
