"""The controller: one plan for a question, as a graph of calls, made by any planner and carried out in parallel.

A role of the survey's section on LLM-aided visual reasoning; the other two are in decider.py and, as the answer from
all findings, in route.py.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from agent.answer import Step
from agent.clock import Bounds, Clock
from agent.expert_calls import within
from agent.orchestrator.roles import Ended, Record, Stopped, careful, listed, looked_step, settled
from agent.toolbox.scripted import ANSWER, FORM, Call, Done, carry_out, check_plan
from agent.toolbox.tools import CONNECTOR, Result, Toolbox
from experts.errors import DuetError, InputError, ModelError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

PLAN_TRIES = 3  # at a plan that can run
PLANNER = (
    "You plan which experts look at which media so that a question can be answered from what they find. Make one plan, "
    "with as few steps as answer the question, none where it needs no look at the media. Steps that do not depend on "
    "each other run beside each other. Tools:\n{tools}\nMedia: {media}."
)


class Planner(Protocol):
    """Anything that makes a plan: a question and the ids of the media in, calls out; none where nothing is needed."""

    def __call__(self, question: str, media: Sequence[str]) -> Sequence[Call]: ...


def make_plan(
    planner: Planner, name: str, toolbox: Toolbox, question: str, bounds: Bounds, clock: Clock
) -> Generator[Step, None, tuple[Call, ...]]:
    """One plan by the planner `name`, checked.

    Raises:
        ModelError: it made none that can run, or none in time.
        Stopped: somebody stopped it.
    """
    begun = time.perf_counter()
    made = within(lambda: tuple(planner(question, tuple(toolbox.media))), bounds.until, bounds.stop)
    try:
        calls = settled(made, f"'{name}' made no plan", bounds)
    except (DuetError, Stopped):
        raise
    except Exception as error:  # a planner may be anybody's code and raise anything
        raise ModelError(f"the planner '{name}' failed ({type(error).__name__})") from error
    try:
        steps = [as_json(call) for call in calls]
        calls = check_plan({"steps": steps}, toolbox) if steps else ()
    except (InputError, AttributeError, TypeError) as error:
        fault = str(error) if isinstance(error, InputError) else f"it is no list of calls; accepted: {FORM}"
        raise ModelError(f"the planner '{name}' made a plan that cannot run: {fault}") from error
    yield clock.step("plan", name, since=begun, text=_outline(calls), data={"steps": [as_json(call) for call in calls]})
    return calls


def follow(
    calls: Sequence[Call], toolbox: Toolbox, record: Record, bounds: Bounds, clock: Clock
) -> Generator[Step, None, None]:
    """Make the calls of a plan, those that do not depend on each other beside each other."""
    ended = Ended(bounds.stop)
    try:
        for done in carry_out(calls, toolbox, replace(bounds, stop=ended)):
            if bounds.stop.is_set():
                raise Stopped
            yield _done(done, toolbox, record, bounds, clock)
    finally:
        ended.set()
    if bounds.stop.is_set():
        raise Stopped


class ChatPlanner:
    """A chat model that plans: the plan is the one tool it has; what is wrong with it is told, and it is made again."""

    def __init__(self, chats: Sequence[BaseChatModel], toolbox: Toolbox, bounds: Bounds) -> None:
        self.chats, self.toolbox, self.bounds = chats, toolbox, bounds

    def __call__(self, question: str, media: Sequence[str]) -> Sequence[Call]:
        from langchain.agents import create_agent
        from langchain.agents.middleware import ModelCallLimitMiddleware
        from langchain.agents.middleware.model_call_limit import ModelCallLimitExceededError
        from langchain.agents.structured_output import ToolStrategy

        box = self.toolbox
        kinds = box.kinds()
        fitting = [name for name in kinds if any(medium.kind in kinds[name] for medium in box.media.values())]
        tools = "\n".join(f"- {name}(media: {' or '.join(box.ids(name))}): {box.describe(name)}" for name in fitting)
        wrong: list[str] = []

        def ask_again(error: Exception) -> str:
            wrong.append(_reason(error))
            return f"The plan cannot run: {wrong[-1]} Make it again."

        planner: Any = create_agent(
            self.chats[0],
            system_prompt=PLANNER.format(tools=tools, media=listed(box)),
            response_format=ToolStrategy(_plan_form(box, fitting), handle_errors=ask_again),
            middleware=[
                ModelCallLimitMiddleware(run_limit=PLAN_TRIES, exit_behavior="error"),
                *careful(self.chats, self.bounds),
            ],
        )
        try:
            state = planner.invoke({"messages": [("user", question)]})
        except ModelCallLimitExceededError as error:
            because = f"; the last: {wrong[-1]}" if wrong else ""
            raise ModelError(f"the chat model made no plan that can run in {PLAN_TRIES} tries{because}") from error
        if "structured_response" not in state:
            raise ModelError("the chat model made no plan: it answered in words; use one with tool calling")
        given = state["structured_response"].model_dump(exclude_none=True)["steps"]
        return check_plan({"steps": given}, box) if given else ()


def _plan_form(toolbox: Toolbox, tools: Sequence[str]) -> Any:
    """A plan as pydantic has it, checked by scripted.py, so that its faults are told in the same words everywhere."""
    from typing import Literal

    from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

    media: Any = Literal[tuple(toolbox.media)]
    names: Any = Literal[tuple(tools)]
    strict = ConfigDict(extra="forbid")
    args = create_model(
        "args",
        __config__=strict,
        media=(media, Field(description="Which medium, by its id.")),
        question=(str | None, Field(None, description=f"What to find out; for {CONNECTOR} only.")),
    )
    step = create_model(
        "step",
        __config__=strict,
        id=(str, Field(description="A short name of its own for this step.")),
        tool=(names, ...),
        args=(args, ...),
        depends_on=(list[str], Field(default_factory=list, description="Ids of steps that must be done before.")),
    )

    class plan(BaseModel):
        """The steps that find out what the question needs; none where it needs no look at the media."""

        model_config = strict
        steps: list[step]  # type: ignore[valid-type]

        @model_validator(mode="before")
        @classmethod
        def checked(cls, given: Any) -> Any:
            if not (isinstance(given, dict) and given.get("steps") == []):
                try:
                    check_plan(given, toolbox)
                except InputError as error:
                    raise ValueError(str(error)) from None
            return given

    return plan


def _done(done: Done, toolbox: Toolbox, record: Record, bounds: Bounds, clock: Clock) -> Step:
    """The Step of one step of a plan, what it found recorded."""
    call = done.call
    since = bounds.begun + done.start_s
    where = {"step": call.id, "needs": list(call.depends_on)}
    if done.status == "done" and call.tool == ANSWER:
        record.said = done.text
        return clock.step("llm", ANSWER, since=since, seconds=done.seconds, data=where | {"logprobs": False})
    if done.status == "done":
        result = Result(done.text, done.findings, done.seconds)
        return looked_step(call.tool, call.args["media"], result, record, toolbox, clock, since=since, data=where)
    if call.tool in toolbox.kinds():
        medium = toolbox.media[call.args["media"]]
        record.failed[medium.name].append(call.tool)
        where |= {"media": medium.name, "sha256": medium.sha256[:16]}
    record.reasons.append(f"{call.tool} {done.status} ({done.error})")
    return clock.step("error", call.tool, since=since, seconds=done.seconds, text=done.error, data=where)


def _outline(calls: Sequence[Call]) -> str:
    """A plan on one line: `see` and `read` beside each other, `say` after them: detect(image1), ocr(image1); ..."""
    parts = []
    for call in calls:
        after = f" after {', '.join(call.depends_on)}" if call.depends_on else ""
        parts.append(f"{call.id}: {call.tool}({call.args.get('media', '')}){after}")
    return "; ".join(parts) or "no look at the media is needed"


def as_json(call: Call) -> dict[str, Any]:
    return {"id": call.id, "tool": call.tool, "args": call.args, "depends_on": list(call.depends_on)}


def _reason(error: Exception) -> str:
    """What check_plan said, out of what pydantic and LangChain wrapped it in."""
    text = " ".join(str(getattr(error, "source", error)).split())
    text = text[text.find("Value error, ") + 13 :] if "Value error, " in text else text
    return text.split(" [type=")[0][:600]
