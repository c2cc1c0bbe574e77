"""A language model over the experts, as a route: its roles are switches, and so is how it thinks.

*Controller*: one plan as a graph of calls, made once. *Decision maker*: rounds of looking and of judging whether what
was found is enough. *Semantics refiner*: one answer from all that was found. `only` ends after the plan, or after what
it found.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.answer import Question, Step
from agent.answering.routes import LOOKING_SHARE, cited_by, evidence_text, media_steps, stopped, stream_reply
from agent.clock import Bounds, Clock
from agent.orchestrator.chat_models import chat_name, chat_reply, endpoint_chat, open_chat
from agent.orchestrator.controller import ChatPlanner, Planner, as_json, follow, make_plan
from agent.orchestrator.decider import Undecided, decide
from agent.orchestrator.reasoning import Thinking, think
from agent.orchestrator.roles import Ended, Record, Stopped
from agent.toolbox.scripted import ANSWER, Call
from agent.toolbox.tools import LONGEST_TEXT, Toolbox
from connector.base import Reply
from connector.llm import templates
from experts.errors import DuetError, InputError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from agent.context import Context

ONLY = ("plan", "steps")
MOST_ROUNDS, MOST_CALLS = 4, 8
LEAST_TOKENS = 512  # of what an endpoint's model may say where it makes plans and calls
THOUGHT_TOKENS = 64  # of a thought of the embedded model


@dataclass(frozen=True)
class Orchestrator:
    """A route: `agent.ask(question, image=..., route=Orchestrator(decides=True, model="openai:gpt-5"))`.

    `model` is any chat model with tool calling: LangChain's name of one, or a BaseChatModel. Without it, it is the one
    that the settings name: at their endpoint, or the embedded one, which plans (see planner.py) and refines, but cannot
    decide. `fallbacks` are asked where `model` fails. Anything callable can be the `planner`.

    Raises:
        InputError: switches that do not fit each other.
    """

    plans: bool = True
    decides: bool = False
    refines: bool = True
    only: str = ""  # "" | plan: the plan, not run | steps: what was found, no answer
    thinking: Thinking = field(default_factory=Thinking)
    model: str | BaseChatModel | None = None
    base_url: str = ""  # where a model given by name is served
    fallbacks: tuple[str | BaseChatModel, ...] = ()
    planner: Planner | None = None
    most_rounds: int = MOST_ROUNDS
    most_calls: int = MOST_CALLS  # of tools, by a decision maker

    name = "agent"  # of the route, in steps and traces

    def __post_init__(self) -> None:
        faults = []
        if self.only not in ("", *ONLY):
            faults.append(f"only is {self.only!r}; accepted: {', '.join(ONLY)}, or nothing for an answer")
        if not (self.plans or self.decides):
            faults.append("nobody looks; accepted: plans, decides or both")
        if self.only == "plan" and not self.plans:
            faults.append("only 'plan' needs plans; a decision maker makes no plan beforehand")
        if self.thinking.shape != "none" and (not self.refines or self.only):
            faults.append("thinking needs refines and an answer: its thoughts go into what the refiner says")
        for name in ("most_rounds", "most_calls"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 32:
                faults.append(f"{name} is {value!r}; accepted: 1 to 32")
        if faults:
            raise InputError("the orchestrator cannot work so: " + "; ".join(faults))

    def __call__(self, question: Question, context: Context, bounds: Bounds) -> Iterator[Step]:
        """The Steps of one question; the last has the Answer.

        Raises:
            DuetError: it cannot be answered; the line says why.
        """
        clock = Clock(self.name, bounds)
        yield from media_steps(question, clock)
        record = Record.of(question)
        try:
            yield from self._answer(question, context, record, bounds, clock)
        except Stopped:
            yield from stopped(clock, record.said, record.found())
        except DuetError as error:
            if not record.found():
                raise
            yield clock.step("error", self.name, text=str(error))  # what was found is worth showing
            yield clock.finish(f"I cannot answer: {error}", findings=record.found(), error=str(error))

    def _answer(
        self, question: Question, context: Context, record: Record, bounds: Bounds, clock: Clock
    ) -> Generator[Step, None, None]:
        toolbox = Toolbox(context, question.by_id())
        chats = self._chats(context, bounds)
        until = bounds.begun + (1.0 if self.only or not self.refines else LOOKING_SHARE) * bounds.longest_s
        if self.plans:
            ended = Ended(bounds.stop)
            planner, name = self._planner(context, chats, toolbox, dataclasses.replace(bounds, stop=ended))
            try:
                calls = yield from make_plan(planner, name, toolbox, question.text, bounds, clock)
            finally:
                ended.set()  # a planner that is left behind need not go on
            if self.only == "plan":
                yield clock.finish(plan_json(calls))
                return
            if self.refines and not self.only:  # the refiner gives the answer, and streams it
                needed = {name for call in calls for name in call.depends_on}
                calls = tuple(call for call in calls if call.tool != ANSWER or call.id in needed)
            share = dataclasses.replace(bounds, longest_s=until - bounds.begun)
            yield from follow(calls, toolbox, record, share, clock)
        if self.decides:
            yield from self._decide(chats, question, toolbox, record, until, bounds, clock)
        yield from self._conclude(question, context, chats, record, bounds, clock)

    def _decide(
        self,
        chats: Sequence[BaseChatModel],
        question: Question,
        toolbox: Toolbox,
        record: Record,
        until: float,
        bounds: Bounds,
        clock: Clock,
    ) -> Iterator[Step]:
        if not chats:
            raise InputError(
                "the embedded language model cannot decide round by round, it has no tool calling; accepted: plans "
                "alone, or a chat model: model='openai:NAME' with base_url, or profile 'server'"
            )
        evidence = (
            evidence_text(question, record.findings, record.failed, record.looked, captions=True)
            if record.looks
            else ""
        )
        limits: dict[str, Any] = {
            "looking_until": until,
            "most_rounds": self.most_rounds,
            "most_calls": self.most_calls,
        }
        try:
            yield from decide(chats, question.text, toolbox, record, evidence, bounds, clock, **limits)
        except Undecided as error:
            if not (record.found() and (self.refines or self.only)):
                raise
            yield clock.step("note", self.name, text=str(error))  # the refiner answers from what was found

    def _conclude(
        self,
        question: Question,
        context: Context,
        chats: Sequence[BaseChatModel],
        record: Record,
        bounds: Bounds,
        clock: Clock,
    ) -> Iterator[Step]:
        """The refiner's answer, or what was said and found without one."""
        found = record.found()
        if unfounded := record.unfounded():
            yield clock.finish(unfounded, error=unfounded)
            return
        if not record.looks:
            yield clock.step("note", self.name, text="nobody looked at the media: no look seemed to be needed")
        summary = "\n".join(record.results) or "nothing was looked for"
        if self.only == "steps" or (not self.refines and not record.said):
            yield clock.finish(summary, findings=found)
            return
        if record.said and (not self.refines or not record.looks):
            if len(record.said) > LONGEST_TEXT:
                yield clock.step("note", self.name, text=f"the answer was cut off after {LONGEST_TEXT} characters")
            text = record.said[:LONGEST_TEXT]
            yield clock.step("token", self.name, text=text)
            yield clock.finish(text, findings=found)
            return
        begun = time.perf_counter()
        evidence = evidence_text(question, record.findings, record.failed, record.looked, captions=True)
        if self.thinking.shape != "none":
            ask = self._thinker(context, chats, bounds)
            thoughts = yield from think(ask, question.text, evidence, self.thinking, clock)
            evidence = "\n".join([evidence, *(f"Thought {n}: {each}" for n, each in enumerate(thoughts, 1))])
        yield clock.step("evidence", "evidence", since=begun, text=evidence, findings=cited_by(found, question.text))
        begun = time.perf_counter()
        yield from stream_reply(clock, self._speech(question, evidence, context, chats, bounds), found, since=begun)

    def _speech(
        self, question: Question, evidence: str, context: Context, chats: Sequence[BaseChatModel], bounds: Bounds
    ) -> Reply:
        if self.model is None:
            longest = bounds.longest(context.settings.max_new_tokens)
            return context.language().read(question.text, evidence, bounds.generation(longest), question.history)
        return chat_reply(chats[0], templates.messages(question.text, evidence=evidence), bounds)

    def _thinker(
        self, context: Context, chats: Sequence[BaseChatModel], bounds: Bounds
    ) -> Callable[[list[dict[str, str]]], str]:
        from agent.orchestrator.chat import LocalChat

        chat: Any = chats[0] if chats else LocalChat(llm=context.language(), max_new_tokens=THOUGHT_TOKENS)

        def ask(turns: list[dict[str, str]]) -> str:
            text = "".join(token.text for token in chat_reply(chat, turns, bounds).tokens)
            if bounds.stop.is_set():
                raise Stopped
            return text

        return ask

    def _chats(self, context: Context, bounds: Bounds) -> list[BaseChatModel]:
        """The chat models there are, in the order in which they are asked."""
        first = [self._served(context, bounds)] if self.model is None else [self.model]
        given = [each for each in (*first, *self.fallbacks) if each is not None]
        chats = [open_chat(each, self.base_url) if isinstance(each, str) else each for each in given]
        for chat in chats:
            if not hasattr(chat, "bind_tools"):
                raise InputError(
                    f"the model is {type(chat).__name__}; accepted: a name such as 'openai:NAME', or a BaseChatModel"
                )
        return chats

    @staticmethod
    def _served(context: Context, bounds: Bounds) -> BaseChatModel | None:
        """The chat model of the settings' endpoint; None where the language model is a local one."""
        from connector.opening import is_address

        if context.settings.profile != "server" and not is_address(context.settings.model):
            return None
        longest = bounds.longest(max(context.settings.max_new_tokens, LEAST_TOKENS))
        return endpoint_chat(context.language(), bounds, longest)  # type: ignore[arg-type]

    def _planner(
        self, context: Context, chats: Sequence[BaseChatModel], toolbox: Toolbox, bounds: Bounds
    ) -> tuple[Planner, str]:
        if self.planner is not None:
            return self.planner, getattr(self.planner, "__name__", type(self.planner).__name__)
        if chats:
            return ChatPlanner(chats, toolbox, bounds), chat_name(chats[0])
        return embedded_planner(context, toolbox, bounds.stop), "planner"


def plan_json(calls: Sequence[Call]) -> str:
    """A plan as JSON that `duet run` takes."""
    return json.dumps({"steps": [as_json(call) for call in calls]}, ensure_ascii=False)


def embedded_planner(context: Context, toolbox: Toolbox, stop: threading.Event) -> Planner:
    """The planner of the agent's own language model, which is loaded when a plan is asked for."""

    def planner(question: str, media: Sequence[str]) -> Sequence[Call]:
        from agent.orchestrator.planner import EmbeddedPlanner

        return EmbeddedPlanner(context.language(), toolbox, stop=stop)(question, media)

    return planner
