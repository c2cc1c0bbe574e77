"""Scripted tool calls: a plan of steps that depend on each other, checked whole, then run with no model deciding.

    {"steps": [{"id": "see", "tool": "detect", "args": {"media": "image1"}},
               {"id": "read", "tool": "ocr", "args": {"media": "image1"}},
               {"id": "say", "tool": "answer", "args": {"question": "What is it?"}, "depends_on": ["see", "read"]}]}

`see` and `read` run beside each other. `answer` is no expert: the language model answers from what the steps that it
depends on found.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.clock import Bounds
from agent.expert_calls import Workers
from agent.toolbox.tools import Result, Toolbox
from experts.base import Finding
from experts.errors import DuetError, InputError, UnknownNameError

if TYPE_CHECKING:
    pass

ANSWER = "answer"
MOST_STEPS, MOST_BYTES = 32, 1 << 20
FIELDS = ("id", "tool", "args", "depends_on")
NAME = re.compile(r"[A-Za-z0-9][\w-]{0,39}")
FORM = '{"steps": [{"id": "see", "tool": "detect", "args": {"media": "image1"}, "depends_on": []}, ...]}'


@dataclass(frozen=True)
class Call:
    """One step of a plan."""

    id: str
    tool: str
    args: dict[str, Any]
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Done:
    """What came of one step: "done", "failed" with an `error`, or "skipped" because a step it needs did not succeed."""

    call: Call
    status: str
    start_s: float
    seconds: float = 0.0
    text: str = ""
    findings: tuple[Finding, ...] = ()
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "id": self.call.id,
            "tool": self.call.tool,
            "args": self.call.args,
            "status": self.status,
            "start_s": round(self.start_s, 4),
            "seconds": round(self.seconds, 4),
            "text": self.text,
            "findings": [finding.to_dict() for finding in self.findings],
            "error": self.error or None,
        }


def read_plan(file: str | Path) -> Any:
    """The JSON in `file`, not yet checked.

    Raises:
        InputError: it cannot be read, is too long, or is not JSON.
    """
    path = Path(file)
    try:
        with path.open("rb") as opened:
            data = opened.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        cause = (getattr(error, "strerror", None) or "not a file name").lower()
        raise InputError(f"plan '{path.name}' cannot be read ({cause}); accepted: a JSON file such as {FORM}") from None
    if len(data) > MOST_BYTES:
        raise InputError(f"plan '{path.name}' is over {MOST_BYTES >> 20} MiB; accepted: up to {MOST_STEPS} steps")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "not UTF-8 text, or nested too deep"
        raise InputError(f"plan '{path.name}' is not JSON ({reason}); accepted: {FORM}") from None


def check_plan(plan: Any, toolbox: Toolbox) -> tuple[Call, ...]:
    """The steps of a plan in an order in which they can run.

    Raises:
        InputError: every fault of the plan in one message: form, unknown tools, wrong arguments, cycles.
    """
    steps = plan.get("steps") if isinstance(plan, dict) else plan
    if not isinstance(steps, list) or (isinstance(plan, dict) and set(plan) != {"steps"}):
        raise InputError(f"a plan is an object with one list, 'steps'; accepted: {FORM}")
    if not 1 <= len(steps) <= MOST_STEPS:
        raise InputError(f"the plan has {len(steps)} steps; accepted: 1 to {MOST_STEPS}")
    calls: list[Call] = []
    faults: list[str] = []
    for number, step in enumerate(steps, 1):
        try:
            calls.append(_call(step, number, toolbox))
        except InputError as error:
            faults.append(str(error))
    ids = [call.id for call in calls]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    faults += [f"two steps have the id '{name}'; each needs its own" for name in twice]
    if faults:
        raise InputError("the plan cannot run: " + "; ".join(faults))
    for call in calls:
        for name in call.depends_on:
            if name not in ids:
                raise InputError(f"the plan cannot run: step '{call.id}': {UnknownNameError('step', name, ids)}")
    return _ordered(calls)


def run_plan(plan: Any, toolbox: Toolbox, *, stop: threading.Event | None = None) -> list[Done]:
    """Run a plan; what does not depend on each other runs beside each other. In the order of the plan.

    A step that fails is told in its Done and skips those that need it.

    Raises:
        InputError: the plan is wrong; nothing was run.
    """
    order = check_plan(plan, toolbox)
    bounds = Bounds(longest_s=toolbox.context.settings.answer_s, stop=stop or threading.Event())
    done = {result.call.id: result for result in carry_out(order, toolbox, bounds)}
    steps = plan["steps"] if isinstance(plan, dict) else plan
    return [done[step["id"]] for step in steps]


def carry_out(calls: Sequence[Call], toolbox: Toolbox, bounds: Bounds) -> Iterator[Done]:
    """Run the steps of a plan that `check_plan` gave; each one's Done as it comes about."""
    workers, stop = Workers(), bounds.stop
    todo = list(calls)
    done: dict[str, Done] = {}
    running: dict[Future[Any], tuple[Call, float]] = {}
    while todo or running:
        late = (
            f"not done within {bounds.longest_s:.0f} s" if not bounds.left_s() else "stopped" if stop.is_set() else ""
        )
        for call in list(todo):
            lost = [name for name in call.depends_on if name in done and done[name].status != "done"]
            if late or lost:
                reason = late or f"it needs '{lost[0]}', which is {done[lost[0]].status}"
                done[call.id] = Done(call, "skipped", time.perf_counter() - bounds.begun, error=reason)
            elif all(name in done for name in call.depends_on):
                needed = [done[name] for name in call.depends_on]
                future = workers.submit(partial(_do, call, needed, toolbox, bounds))
                running[future] = (call, time.perf_counter() - bounds.begun)
            else:
                continue
            todo.remove(call)
            if call.id in done:
                yield done[call.id]
        finished, _ = wait_for(list(running), timeout=0.05, return_when=FIRST_COMPLETED) if running else ([], None)
        for future in [*running] if late else finished:
            call, start_s = running.pop(future)
            future.cancel()
            result = (
                Done(call, "failed", start_s, error=late)
                if not future.done()
                else _outcome(call, future, start_s, late)
            )
            done[call.id] = result
            yield result


def _outcome(call: Call, future: Future[Any], start_s: float, late: str) -> Done:
    if future.cancelled():
        return Done(call, "failed", start_s, error=late)
    error = future.exception()
    if error is None:
        result: Result = future.result()
        return Done(call, "done", start_s, result.seconds, result.text, result.findings)
    if not isinstance(error, DuetError):
        raise error
    return Done(call, "failed", start_s, error=str(error))


def _do(call: Call, needed: Sequence[Done], toolbox: Toolbox, bounds: Bounds) -> Result:
    if call.tool != ANSWER:
        return toolbox.call(call.tool, call.args, bounds=bounds)
    begun = time.perf_counter()
    evidence = "\n".join(f"{done.call.args['media']}: {done.text}" for done in needed if "media" in done.call.args)
    longest = bounds.longest(toolbox.context.settings.max_new_tokens)
    tokens = toolbox.context.language().read(call.args["question"], evidence, bounds.generation(longest)).tokens
    text = "".join(token.text for token in tokens).strip()
    return Result(text, (), time.perf_counter() - begun)


def _call(step: Any, number: int, toolbox: Toolbox) -> Call:
    """One step, checked on its own."""
    where = f"step {number}"
    if not isinstance(step, dict):
        raise InputError(f"{where} is {type(step).__name__}; accepted: an object with {', '.join(FIELDS)}")
    unknown = sorted(set(step) - set(FIELDS))
    if unknown:
        raise InputError(f"{where} has unknown fields {', '.join(unknown)}; accepted: {', '.join(FIELDS)}")
    name, tool, args, needs = (step.get(key) for key in FIELDS)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"{where}: 'id' is {_short(name)}; accepted: 1 to 40 letters, digits, - or _")
    if not isinstance(tool, str):
        raise InputError(f"step '{name}': 'tool' is {_short(tool)}; accepted: {', '.join(sorted(_tools(toolbox)))}")
    needs = [] if needs is None else needs
    if not isinstance(needs, list) or not all(isinstance(each, str) for each in needs):
        raise InputError(f"step '{name}': 'depends_on' is {_short(needs)}; accepted: a list of step ids")
    if tool not in _tools(toolbox):
        raise InputError(f"step '{name}': {UnknownNameError('tool', tool, _tools(toolbox))}")
    args = {} if args is None else args
    if tool == ANSWER:
        question = args.get("question") if isinstance(args, dict) and set(args) == {"question"} else None
        if not isinstance(question, str) or not 1 <= len(question.strip()) <= 4000 or not needs:
            raise InputError(
                f"step '{name}': tool 'answer' has {_short(args)} and depends on {len(needs)} steps; accepted: "
                "question = 1 to 4000 characters, and at least one step to answer from"
            )
    else:
        try:
            args = toolbox.check(tool, args)
        except InputError as error:
            raise InputError(f"step '{name}': {error}") from None
    return Call(name, tool, args, tuple(dict.fromkeys(needs)))


def _tools(toolbox: Toolbox) -> Mapping[str, Any]:
    return {**toolbox.kinds(), ANSWER: None}


def _ordered(calls: Sequence[Call]) -> tuple[Call, ...]:
    """Each call after those that it depends on."""
    from graphlib import CycleError, TopologicalSorter

    by_id = {call.id: call for call in calls}
    try:
        return tuple(by_id[name] for name in TopologicalSorter({c.id: c.depends_on for c in calls}).static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise InputError(
            f"the plan cannot run: its steps wait for each other ({circle}); accepted: steps that depend on earlier "
            "ones; take one dependency out"
        ) from None


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
