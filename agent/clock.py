"""Time in an answer: how long it may take, whether it is still wanted, and its Steps timed from the start."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.answer import Answer, Step
from connector.base import Generation
from experts.base import Finding


@dataclass(frozen=True)
class Bounds:
    """When a question began, until when it may take, and the event that ends it sooner; shared by its routes.

    `most_tokens` of an answer, where it is above 0 and fewer than the settings allow; `trace_id` as in
    agent.records.traces.
    """

    begun: float = field(default_factory=time.perf_counter)
    longest_s: float = 120.0
    stop: threading.Event = field(default_factory=threading.Event)
    most_tokens: int = 0
    trace_id: str = ""

    @property
    def until(self) -> float:
        """The end of time for this question, on time.perf_counter's scale."""
        return self.begun + self.longest_s

    def longest(self, max_new_tokens: int) -> int:
        """The most tokens of an answer where the settings allow `max_new_tokens`."""
        return min(self.most_tokens or max_new_tokens, max_new_tokens)

    def generation(self, max_new_tokens: int = 0) -> Generation:
        """What a model must keep to."""
        return Generation(
            max_new_tokens or self.most_tokens or Generation().max_new_tokens, self.stop, self.until, self.longest_s
        )

    def left_s(self) -> float:
        """Seconds left, not below 0."""
        return max(self.until - time.perf_counter(), 0.0)


class Clock:
    """Makes the Steps of one route and keeps them for the trace."""

    def __init__(self, route: str, bounds: Bounds) -> None:
        self.route, self.bounds, self.begun = route, bounds, time.perf_counter()
        self.steps: list[Step] = []

    def step(
        self, kind: str, name: str, *, since: float | None = None, seconds: float | None = None, **rest: Any
    ) -> Step:
        """A Step that began at `since` (perf_counter; default now) and took `seconds` (default: until now)."""
        now = time.perf_counter()
        start = now if since is None else since
        took = now - start if seconds is None else seconds
        step = Step(kind, name, self.route, start - self.bounds.begun, took, **rest)
        if kind not in ("token", "answer"):
            self.steps.append(step)
        return step

    def finish(
        self, text: str, *, logprob: float = 0.0, tokens: int = 0, findings: Sequence[Finding] = (), error: str = ""
    ) -> Step:
        """The last Step, with the Answer in it; `logprob` is that of all its tokens, NaN where it is not known."""
        confidence = math.exp(logprob / tokens) if tokens and math.isfinite(logprob) else None
        seconds = time.perf_counter() - self.begun
        found, trace, trace_id = tuple(findings), tuple(self.steps), self.bounds.trace_id
        answer = Answer(self.route, text, confidence, seconds, found, None, trace, error, trace_id)
        return self.step("answer", self.route, since=self.begun, text=text, answer=answer)
