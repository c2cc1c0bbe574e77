"""What people may ask for: one route, both side by side, or auto: experts, then the connector where need be."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING

from agent.answer import Answer, Fallback, Question, Step
from agent.answering.fallback.policy import HAND_OVER, STAY, asked, case_of, confidence_of, same_answer
from agent.answering.routes import ROUTES
from agent.clock import Bounds, Clock
from experts.base import Finding
from experts.errors import DuetError

if TYPE_CHECKING:
    from agent.answering.routes import Route
    from agent.context import Context

NAMES = (*ROUTES, "auto", "both")


def run(question: Question, name: str | Route, context: Context, bounds: Bounds) -> Iterator[Step]:
    """The Steps of route `name`, one of NAMES or itself a route. A question's time begins with its first step."""
    bounds = dataclasses.replace(bounds, begun=time.perf_counter())
    if not isinstance(name, str):
        yield from name(question, context, bounds)
    elif name == "both":
        for each in ROUTES:
            yield from guarded(question, each, context, bounds)
    elif name == "auto":
        yield from auto(question, context, bounds)
    else:
        yield from ROUTES[name](question, context, bounds)


def guarded(question: Question, name: str, context: Context, bounds: Bounds) -> Iterator[Step]:
    """A route whose failure becomes an honest answer, so that the other still speaks."""
    clock = Clock(name, bounds)
    findings: list[Finding] = []
    try:
        for step in ROUTES[name](question, context, bounds):
            if step.kind == "expert":
                findings += step.findings
            if step.kind not in ("token", "answer"):
                clock.steps.append(step)
            yield step
    except Exception as error:  # one route's fault, whatever it is, must not take the other's answer away
        if isinstance(error, DuetError):
            reason = str(error)
        else:
            logging.getLogger("duet").exception("route %s failed", name)
            reason = f"it failed inside ({type(error).__name__})"
        yield clock.step("error", name, text=reason)
        yield clock.finish(f"This route could not answer: {reason}", findings=findings, error=reason)


def auto(question: Question, context: Context, bounds: Bounds) -> Iterator[Step]:
    """Experts first; then the agent's policy says whether the connector is asked, whose answer stands, and why."""
    first = yield from _but_answer(guarded(question, "experts", context, bounds))
    case, policy = case_of(question, first), context.policy
    decision = asked(lambda: policy.decide(case))
    if decision.action == STAY:
        yield from _staying(first, first.seconds, first.trace, decision.reason, bounds)
        return
    clock = Clock("connector", bounds)
    yield clock.step("fallback", "connector", text=decision.reason)
    second = yield from _but_answer(guarded(question, "connector", context, bounds))
    seconds, trace = first.seconds + second.seconds, (*first.trace, *clock.steps, *second.trace)
    if second.error:
        reason = "the connector could not answer, and the experts' answer is better than none"
        yield from _staying(first, seconds, trace, reason, bounds)
        return
    if decision.action != HAND_OVER:
        agree = same_answer(first.text, second.text)
        decision = asked(lambda: policy.settle(case, confidence_of(second), agree))
    if decision.action != HAND_OVER:
        yield from _staying(first, seconds, trace, decision.reason, bounds)
        return
    fallback = Fallback("experts", "connector", decision.reason)
    second = dataclasses.replace(second, seconds=seconds, findings=first.findings, fallback=fallback, trace=trace)
    yield _last(second, bounds)


def _staying(answer: Answer, seconds: float, trace: Sequence[Step], reason: str, bounds: Bounds) -> Iterator[Step]:
    """A note why the experts' answer stands, and the answer."""
    clock = Clock("experts", bounds)
    yield clock.step("note", "auto", text=reason)
    yield _last(dataclasses.replace(answer, seconds=seconds, trace=(*trace, *clock.steps)), bounds)


def _but_answer(steps: Iterator[Step]) -> Generator[Step, None, Answer]:
    """All steps but the last, whose Answer is returned."""
    answer: Answer | None = None
    for step in steps:
        if step.answer is None:
            yield step
        else:
            answer = step.answer
    assert answer is not None, "a route ends in an answer"
    return answer


def _last(answer: Answer, bounds: Bounds) -> Step:
    start_s = time.perf_counter() - bounds.begun - answer.seconds
    return Step("answer", answer.route, answer.route, start_s, answer.seconds, answer.text, answer=answer)
