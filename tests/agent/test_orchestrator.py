"""The orchestrator: its roles as switches, its thoughts, its limits, and bad input."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from fakes import FakeExpert, found, image, make_agent, sound
from scripted import ScriptedChat, ToolEndpoint, call, calls, planned, step

from agent.agent import Agent
from agent.answer import Answer, Step
from agent.orchestrator.reasoning import Thinking
from agent.orchestrator.route import Orchestrator
from agent.toolbox.scripted import Call, run_plan
from experts.base import Finding
from experts.errors import ExpertError, InputError, ModelError
from ui.cli import run as duet

DOGS = found("detect", "dog", "dog", box=(0.0, 0.0, 3.0, 3.0))
SAID = "There are two dogs."


def experts() -> list[FakeExpert]:
    return [FakeExpert("detect", DOGS), FakeExpert("tag", found("tag", "lawn")), FakeExpert("speech", kinds=["audio"])]


def ask(how: Orchestrator, given: list[FakeExpert] | None = None, **settings: Any) -> tuple[Answer, list[Step]]:
    agent, _ = make_agent(experts() if given is None else given, **settings)
    steps = list(agent.stream("How many dogs are there?", image=image(), route=how))
    assert steps[-1].answer is not None
    return steps[-1].answer, steps


def texts(steps: list[Step], kind: str) -> list[str]:
    return [step.text for step in steps if step.kind == kind]


def decider(*script: Any, **more: Any) -> Orchestrator:
    chat = ScriptedChat(script=script[0] if callable(script[0]) else list(script))
    return Orchestrator(**{"plans": False, "decides": True, "refines": False, "model": chat} | more)


# -- controller ---------------------------------------------------------------------------------------------------


def test_controller_makes_one_plan_and_the_refiner_one_answer_of_all_that_was_found() -> None:
    chat = ScriptedChat(script=[planned(step("a"), step("b", "tag")), SAID])
    answer, steps = ask(Orchestrator(model=chat))
    assert [s.kind for s in steps if s.kind != "token"] == [
        "media",
        "plan",
        "expert",
        "expert",
        "evidence",
        "llm",
        "answer",
    ]
    assert (answer.text, answer.route, answer.error) == (SAID, "agent", "")
    assert sorted(finding.text for finding in answer.findings) == ["dog", "dog", "lawn"]
    assert answer.trace == tuple(s for s in steps if s.kind not in ("token", "answer"))
    heard = str(chat.heard[1][-1].content)
    assert "2 dogs" in heard
    assert "lawn" in heard


def test_independent_steps_of_a_plan_run_beside_each_other() -> None:
    meet = threading.Barrier(2, timeout=10)  # each waits until the other has begun

    def waits(medium: object) -> list[Finding]:
        meet.wait()
        return DOGS

    chat = ScriptedChat(script=[planned(step("a"), step("b", "tag")), SAID])
    answer, _ = ask(Orchestrator(model=chat), [FakeExpert("detect", waits), FakeExpert("tag", waits)])
    assert answer.error == ""


def test_plan_that_cannot_run_is_told_to_the_model_which_makes_it_again() -> None:
    cycle = planned(step("a", "detect", "b"), step("b", "tag", "a"))
    chat = ScriptedChat(script=[planned(step("a", "detector")), cycle, planned(step("a")), SAID])
    answer, _ = ask(Orchestrator(model=chat))
    assert answer.text == SAID
    assert "no tool named 'detector'; known: answer, connector, detect" in str(chat.heard[1][-1].content)
    assert "wait for each other" in str(chat.heard[2][-1].content)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([step("a", "detector")], "no tool named 'detector'; known: .*did you mean 'detect'"),
        ([step("a", "detect", "b"), step("b", "tag", "a")], "wait for each other"),
        ([step("a", media=1)], "'media' is int 1; accepted: media = image1"),
        ([step("a", media="/etc/passwd")], "'media' is '/etc/passwd'; accepted: media = image1"),
        ("detect", "a plan is an object with one list, 'steps'"),
    ],
)
def test_plan_that_never_becomes_right_is_an_error_that_names_what_is_accepted(steps: Any, message: str) -> None:
    chat = ScriptedChat(script=lambda *_: calls(call("plan", steps=steps)))
    with pytest.raises(ModelError, match=f"no plan that can run in 3 tries.*{message}"):
        ask(Orchestrator(model=chat))
    assert len(chat.heard) == 3


def test_plan_only_runs_nothing_and_is_what_duet_run_takes() -> None:
    given = experts()
    chat = ScriptedChat(script=[planned(step("a"), step("b", "tag", "a"))])
    answer, steps = ask(Orchestrator(only="plan", model=chat), given)
    assert [s.kind for s in steps] == ["media", "plan", "answer"]
    assert [expert.asked for expert in given] == [[], [], []]
    agent, _ = make_agent(given)
    done = run_plan(json.loads(answer.text), agent.toolbox(image=image()))
    assert [(each.call.id, each.status) for each in done] == [("a", "done"), ("b", "done")]


def test_steps_only_gives_what_was_found_and_no_answer() -> None:
    chat = ScriptedChat(script=[planned(step("a"), step("b", "tag", "a"))])
    answer, steps = ask(Orchestrator(only="steps", model=chat))
    assert answer.text.splitlines() == [
        "detect: Objects: 2 dogs (top left; top left).",
        "tag: Looks like: lawn.",
    ]
    assert len(answer.findings) == 3
    assert "llm" not in [s.kind for s in steps]


def test_any_callable_can_plan_and_its_faults_are_honest() -> None:
    def mine(question: str, media: Any) -> list[Call]:
        assert (question, list(media)) == ("How many dogs are there?", ["image1"])
        return [Call("see", "detect", {"media": "image1"}), Call("say", "answer", {"question": question}, ("see",))]

    answer, steps = ask(Orchestrator(planner=mine))
    assert answer.text == SAID  # by the agent's own language model: no chat model was given
    assert answer.confidence > 0
    assert texts(steps, "plan") == ["see: detect(image1); say: answer() after see"]
    own, _ = ask(Orchestrator(planner=mine, refines=False))
    assert own.text == SAID  # of the plan's own step
    for broken, message in (
        (lambda question, media: 1 / 0, "planner '<lambda>' failed .ZeroDivisionError"),
        (lambda question, media: [Call("a", "look", {})], "a plan that cannot run: .*no tool named 'look'"),
        (lambda question, media: ["detect"], "a plan that cannot run: it is no list of calls"),
    ):
        with pytest.raises(ModelError, match=message):
            ask(Orchestrator(planner=broken))


def test_question_that_needs_no_look_is_answered_with_a_note() -> None:
    answer, steps = ask(Orchestrator(model=ScriptedChat(script=[planned(), "Hello!"])))
    assert (answer.text, answer.findings) == ("Hello!", ())
    assert texts(steps, "note") == ["nobody looked at the media: no look seemed to be needed"]


# -- decision maker -----------------------------------------------------------------------------------------------


def test_decision_maker_looks_until_it_has_enough() -> None:
    how = decider(calls(call("detect", media="image1")), calls(call("tag", media="image1")), SAID)
    answer, steps = ask(how)
    assert texts(steps, "round") == ["not enough yet: detect(image1)", "not enough yet: tag(image1)", "enough"]
    assert answer.text == SAID
    assert [finding.text for finding in answer.findings] == ["dog", "dog", "lawn"]
    heard = how.model.heard  # type: ignore[union-attr]
    assert heard[1][-1].content.startswith('Round 2 of 4. Is what was found enough to answer "How many dogs')
    assert heard[1][-2].content == "Objects: 2 dogs (top left; top left)."


def test_last_round_has_no_tools_and_an_endless_loop_ends_as_an_error_with_what_was_found() -> None:
    how = decider(lambda *_: calls(call("detect", media="image1")), most_rounds=3)
    given = experts()
    answer, _ = ask(how, given)
    assert how.model.offered == [("detect", "tag", "connector")] * 2 + [()]  # type: ignore[union-attr]
    assert answer.error == "the chat model came to no answer within 3 rounds; raise the rounds or use another model"
    assert len(given[0].asked) == 1  # the same call is not made twice
    assert len(answer.findings) == 2


def test_refiner_answers_where_the_decision_maker_does_not_come_to_an_end() -> None:
    how = decider(lambda _, tools: calls(call("detect", media="image1")), refines=True, most_rounds=2)
    say = how.model.script  # type: ignore[union-attr]
    how.model.script = lambda heard, tools: say(heard, tools) if "asking experts" in heard[0].content else SAID  # type: ignore[union-attr]
    answer, steps = ask(how)
    assert (answer.text, answer.error) == (SAID, "")
    assert texts(steps, "note")[-1].startswith("the chat model came to no answer within 2 rounds")


def test_calls_of_tools_are_bounded() -> None:
    many = [FakeExpert(f"e{n}", found(f"e{n}", f"thing {n}")) for n in range(9)]
    how = decider(calls(*(call(f"e{n}", media="image1") for n in range(9))), SAID, most_calls=4)
    _, steps = ask(how, many)
    assert sum(len(expert.asked) for expert in many) <= 4
    assert len(texts(steps, "error")) >= 5


def test_expert_that_fails_once_is_asked_again_and_one_that_keeps_failing_is_told() -> None:
    tries = iter([ExpertError("torn"), None])

    def moody(medium: object) -> list[Finding]:
        if error := next(tries):
            raise error
        return DOGS

    answer, steps = ask(decider(calls(call("detect", media="image1")), SAID), [FakeExpert("detect", moody)])
    assert (answer.text, texts(steps, "error")) == (SAID, [])
    answer, steps = ask(
        decider(calls(call("detect", media="image1")), SAID), [FakeExpert("detect", ExpertError("torn"))]
    )
    assert answer.error == "I cannot answer: nothing was found, and detect failed (torn)."


def test_model_that_has_not_looked_is_asked_whether_it_should() -> None:
    how = decider("Three.", calls(call("detect", media="image1")), SAID)
    answer, _ = ask(how)
    assert answer.text == SAID
    assert "Nobody has looked at the media." in how.model.heard[1][-1].content  # type: ignore[union-attr]


def test_answer_after_nothing_but_calls_that_could_not_be_made_is_not_believed() -> None:
    answer, _ = ask(decider(calls(call("look", media="image1"), call("detect", media="x.png")), "Nine dogs."))
    assert "Nine" not in answer.text
    assert "look is not a valid tool" in answer.error
    assert "accepted: media = image1" in answer.error


def test_plan_and_rounds_go_together() -> None:
    chat = ScriptedChat(script=[planned(step("a")), calls(call("tag", media="image1")), "Enough.", SAID])
    answer, steps = ask(Orchestrator(decides=True, model=chat))
    assert [s.kind for s in steps if s.kind not in ("token", "media")] == [
        "plan", "expert", "round", "expert", "round", "evidence", "llm", "answer",
    ]  # fmt: skip
    assert "Found so far: Objects: 2 dogs" in str(chat.heard[1][1].content)
    assert answer.text == SAID


def test_fallback_model_answers_where_the_first_fails_or_hangs() -> None:
    for first in (ScriptedChat(script=[RuntimeError("down")]), ScriptedChat(script=["late"], pause_s=3)):
        second = ScriptedChat(script=[calls(call("detect", media="image1")), SAID])
        first.script = lambda *_, reply=first.script[0]: reply
        how = decider(SAID, model=first, fallbacks=(second,))
        answer, _ = ask(how, answer_s=4.0)
        assert answer.text == SAID


def test_embedded_model_cannot_decide_and_says_what_can() -> None:
    with pytest.raises(InputError, match="no tool calling; accepted: plans alone, or a chat model"):
        ask(Orchestrator(plans=False, decides=True))


# -- thoughts -----------------------------------------------------------------------------------------------------


def thinking(*replies: str, **how: Any) -> tuple[Answer, list[Step], ScriptedChat]:
    chat = ScriptedChat(script=[planned(step("a")), *replies, SAID])
    answer, steps = ask(Orchestrator(model=chat, thinking=Thinking(**how)))
    return answer, steps, chat


def test_adaptive_chain_ends_when_the_model_has_enough_and_its_thoughts_reach_the_answer() -> None:
    answer, steps, chat = thinking("Thought 1: Two boxes.", "So two dogs.", "DONE", shape="chain")
    assert texts(steps, "thought") == ["Two boxes.", "So two dogs.", "DONE"]
    assert "1. Two boxes." in str(chat.heard[2][-1].content)
    assert "Thought 1: Two boxes.\nThought 2: So two dogs." in str(chat.heard[-1][-1].content)
    assert answer.text == SAID


def test_fixed_chain_has_exactly_so_many_thoughts() -> None:
    _, steps, chat = thinking("One.", "Two.", "DONE", shape="chain", length="fixed", most=3)
    assert texts(steps, "thought") == ["One.", "Two.", "DONE"]
    assert all("DONE instead" not in str(heard[-1].content) for heard in chat.heard)


def test_tree_keeps_the_thought_that_the_model_chooses() -> None:
    replies = ("A.", "B.", "2", "C.", "D.", "1")
    _, steps, chat = thinking(*replies, shape="tree", length="fixed", most=2, width=2)
    kept = [(s.text, s.data["kept"]) for s in steps if s.kind == "thought"]
    assert kept == [("A.", False), ("B.", True), ("C.", True), ("D.", False)]
    said = str(chat.heard[-1][-1].content)
    assert "Thought 1: B.\nThought 2: C." in said
    assert "A." not in said


def test_thought_that_only_repeats_ends_the_thinking() -> None:
    _, steps, _ = thinking("Dogs.", "Dogs.", shape="chain", length="fixed", most=9)
    assert texts(steps, "thought") == ["Dogs."]


# -- time and stop ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["plans", "decides"])
def test_silent_chat_model_ends_in_time_with_an_honest_line(how: str) -> None:
    chat = ScriptedChat(script=lambda *_: SAID, pause_s=5)
    begun = time.perf_counter()
    with pytest.raises(ModelError, match="within 0 s; raise answer_s or use a faster model"):
        ask(Orchestrator(**{"plans": how == "plans", "decides": how == "decides", "model": chat}), answer_s=0.3)
    assert time.perf_counter() - begun < 3


@pytest.mark.parametrize("how", ["plans", "decides"])
def test_stop_ends_the_answer_while_an_expert_looks(how: str) -> None:
    slow = FakeExpert("detect", DOGS, pause_s=5)
    first = planned(step("a")) if how == "plans" else calls(call("detect", media="image1"))
    agent, _ = make_agent([slow])
    route = Orchestrator(
        plans=how == "plans", decides=how == "decides", model=ScriptedChat(script=[first, SAID]), refines=False
    )
    stop = threading.Event()
    begun = time.perf_counter()
    steps = agent.stream("How many?", image=image(), route=route, stop=stop)
    kinds = []
    for each in steps:
        kinds.append(each.kind)
        if each.kind in ("plan", "round"):
            stop.set()
    assert kinds[-2:] == ["stop", "answer"]
    assert time.perf_counter() - begun < 4


def test_closing_the_steps_does_not_set_the_callers_event_and_leaves_nothing_running() -> None:
    agent, _ = make_agent([FakeExpert("detect", DOGS)])
    stop = threading.Event()
    route = decider(lambda *_: calls(call("detect", media="image1")))
    steps = agent.stream("How many?", image=image(), route=route, stop=stop)
    assert any(each.kind == "round" for each in steps)
    steps.close()  # type: ignore[attr-defined]
    assert not stop.is_set()
    heard = len(route.model.heard)  # type: ignore[union-attr]
    time.sleep(0.1)
    assert len(route.model.heard) == heard  # type: ignore[union-attr]


# -- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"only": "plans"}, "only is 'plans'; accepted: plan, steps"),
        ({"plans": False}, "nobody looks; accepted: plans, decides or both"),
        ({"plans": False, "decides": True, "only": "plan"}, "only 'plan' needs plans"),
        ({"refines": False, "thinking": Thinking("chain")}, "thinking needs refines"),
        ({"most_rounds": 0, "most_calls": "8"}, "most_rounds is 0; accepted: 1 to 32; most_calls is '8'; accepted"),
    ],
)
def test_switches_that_do_not_fit_are_refused_with_what_is_accepted(switches: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Orchestrator(**switches)


def test_unknown_shape_and_length_of_thought_name_the_known_ones() -> None:
    with pytest.raises(InputError, match="no shape of thought named 'graph'; known: chain, none, tree"):
        Thinking("graph")
    with pytest.raises(InputError, match="no length of thought named 'long'; known: adaptive, fixed"):
        Thinking("chain", "long")


@pytest.mark.parametrize("model", ["nobody:model", "model-of-no-provider", 7])
def test_model_that_is_none_says_what_one_is(model: Any) -> None:
    with pytest.raises(InputError, match="accepted: .*(openai:NAME)"):
        ask(Orchestrator(model=model))


@pytest.mark.parametrize(
    ("question", "media", "message"),
    [
        ("", {"image": image()}, "the question is empty; accepted: 1 to 4000 characters"),
        ("  \n", {"image": image()}, "the question is empty"),
        (None, {"image": image()}, "the question is empty"),
        ("word " * 1000, {"image": image()}, "has 5000 characters; accepted: 1 to 4000"),
        ("What?", {}, "no medium was given; accepted: 1 to 8 images, sounds or videos"),
        ("What?", {"image": [image(n) for n in range(10)]}, "10 media were given; accepted: 1 to 8"),
        ("What?", {"image": sound()}, "'talk.wav' is of kind audio, not image; pass it as audio"),
        ("What?", {"audio": image()}, "'photo.png' is of kind image, not audio; pass it as image"),
        ("What?", {"video": b"no video"}, "accepted"),
    ],
)
@pytest.mark.parametrize("route", ["auto", "orchestrator"])
def test_bad_question_or_media_are_refused_before_any_model_is_asked(
    question: Any, media: dict[str, Any], message: str, route: str
) -> None:
    agent, llm = make_agent(experts())
    chat = ScriptedChat(script=[SAID])
    with pytest.raises(InputError, match=message):
        agent.stream(question, **media, route=route if route == "auto" else Orchestrator(model=chat))
    assert (llm.prompts, chat.heard) == ([], [])


def test_media_that_contradict_each_other_are_told_apart_by_their_ids() -> None:
    """One picture has dogs, the other none: each finding stands under its own medium in what the refiner reads."""

    def detect(medium: Any) -> list[Finding]:
        return [Finding("detect", "dog", 0.9, source=medium.name)] if medium.name == "photo.png" else []

    chat = ScriptedChat(script=[planned(step("a"), step("b", media="image2")), SAID])
    agent, _ = make_agent([FakeExpert("detect", detect)])
    agent.ask("Are there any dogs?", image=[image(), image(9, "other.png")], route=Orchestrator(model=chat))
    first, second = str(chat.heard[-1][-1].content).split("image2:")
    assert "image1: Objects: 1 dog" in first
    assert "1 dog" not in second


def test_unknown_route_names_the_known_ones() -> None:
    agent, _ = make_agent(experts())
    with pytest.raises(InputError, match="no route named 'orchestrate'; known: auto, both, connector, experts"):
        agent.stream("What?", image=image(), route="orchestrate")


# -- over HTTP, and the command line ------------------------------------------------------------------------------


def reply(asked: dict[str, Any]) -> Any:
    """What an endpoint's model says: a plan, then a look, then an answer."""
    names = [tool["function"]["name"] for tool in asked.get("tools", ())]
    if names == ["plan"]:
        return [("plan", json.dumps({"steps": [step("a")]}))]
    if asked["messages"][-1]["role"] == "user" and not any(turn["role"] == "tool" for turn in asked["messages"]):
        return [("tag", '{"media": "image1"}')] if names else SAID
    return SAID


@pytest.mark.parametrize("by", ["settings", "name"])
def test_roles_work_with_a_model_behind_an_openai_compatible_server(by: str) -> None:
    with ToolEndpoint(reply) as endpoint:
        settings = {"profile": "server", "endpoint": endpoint.url} if by == "settings" else {}
        how = {} if by == "settings" else {"model": "openai:fake-model", "base_url": endpoint.url}
        agent = make_agent(experts(), **settings)[0]
        (answer,) = agent.ask("How many dogs are there?", image=image(), route=Orchestrator(decides=True, **how))
    assert (answer.text, answer.error) == (SAID, "")
    assert sorted(finding.text for finding in answer.findings) == ["dog", "dog", "lawn"]
    assert [s.kind for s in answer.trace if s.kind in ("plan", "round", "evidence")] == [
        "plan",
        "round",
        "round",
        "evidence",
    ]
    assert {key for asked in endpoint.requests for key in asked if key == "stream"} == {"stream"}


def test_command_line_prints_a_plan_that_it_can_run(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "photo.png"
    image().to_pil().save(file)
    monkeypatch.setattr("agent.context.Context.expert", lambda self, name: experts()[0])
    monkeypatch.setattr("agent.context.Context.kinds", lambda self: {"detect": frozenset({"image"})})
    with ToolEndpoint(reply) as endpoint:
        model = ["--model", "openai:fake-model", "--base-url", endpoint.url, "--image", str(file)]
        assert duet(["orchestrate", "How many dogs?", "--only", "plan", *model]) == 0
        plan = capsys.readouterr().out
        assert json.loads(plan)["steps"][0]["tool"] == "detect"
        assert duet(["orchestrate", "How many dogs?", "--json", *model]) == 0
        assert json.loads(capsys.readouterr().out)["answers"][0]["text"] == SAID
    (tmp_path / "plan.json").write_text(plan)
    assert duet(["run", str(tmp_path / "plan.json"), "--image", str(file)]) == 0
    capsys.readouterr()
    assert duet(["orchestrate", "How many dogs?", "--only", "everything", *model]) == 2
    assert "accepted: plan, steps" in capsys.readouterr().err


def test_orchestrated_question_is_among_the_recorded_traces() -> None:
    agent: Agent = make_agent(experts())[0]
    how = decider(calls(call("detect", media="image1")), SAID)
    (answer,) = agent.ask("How many dogs are there?", image=image(), route=how)
    assert agent.traces is not None
    trace = agent.traces.get(answer.trace_id)
    (route,) = trace["steps"]
    assert (trace["route"], route["name"]) == ("agent", "agent")
    assert [s["kind"] for s in route["steps"]] == ["media", "round", "expert", "round"]
