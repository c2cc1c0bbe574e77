"""Experts at work beside each other: each look bounded in time, stoppable, and a failure told instead of raised."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experts.base import Finding
from experts.errors import DuetError, ExpertError

if TYPE_CHECKING:
    from agent.cache import FindingsCache
    from experts.base import Expert
    from experts.media import Media

AT_ONCE = 2  # experts beside each other; each computes on several cores itself


@dataclass(frozen=True)
class Look:
    """What came of asking one expert: `findings`, or `error`, the reason why there are none."""

    begun: float  # time.perf_counter()
    seconds: float
    findings: tuple[Finding, ...] = ()
    error: str = ""
    cached: bool = False  # it had looked before, and that was remembered


def look(expert: Expert, medium: Media) -> tuple[Finding, ...]:
    """What `expert` finds in `medium`.

    Raises:
        DuetError: it failed, or what it returned is not a list of findings that JSON can hold.
    """
    try:
        found = expert(medium)
    except DuetError:
        raise
    except Exception as error:  # experts may be anybody's code and raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise ExpertError(f"expert '{expert.name}' failed on '{medium.name}': {reason}") from error
    if not isinstance(found, list | tuple) or not all(isinstance(f, Finding) and _sound(f) for f in found):
        raise ExpertError(f"expert '{expert.name}' returned something that is not a list of findings")
    return tuple(found)


def failures(findings: tuple[Finding, ...]) -> tuple[tuple[Finding, ...], tuple[str, ...], tuple[str, ...]]:
    """Findings without those by which an expert made of experts tells that one failed; their names; their reasons."""
    failed = [f for f in findings if "error" in f.extra]
    kept = tuple(f for f in findings if "error" not in f.extra)
    return kept, tuple(f.expert for f in failed), tuple(str(f.extra["error"]) for f in failed)


class Desk:
    """Runs calls beside each other on threads that no exit of the program has to wait for."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = threading.Semaphore(at_once)

    def begin(self, call: Callable[[], Any]) -> Future[Any]:
        """Start `call` as soon as there is room; cancelling its future before that keeps it from starting."""
        future: Future[Any] = Future()

        def work() -> None:
            with self._free:
                if not future.set_running_or_notify_cancel():
                    return
                try:
                    future.set_result(call())
                except BaseException as error:
                    future.set_exception(error)

        threading.Thread(target=work, name="duet-expert", daemon=True).start()
        return future

    def look(self, get: Callable[[], Expert], medium: Media, cache: FindingsCache | None = None) -> Future[Look]:
        """Begin to ask the expert that `get` returns; the future holds a Look and never an error of the expert's."""

        def call() -> Look:
            begun = time.perf_counter()
            found: tuple[Finding, ...] = ()
            error, cached = "", False
            try:
                found, cached = (look(get(), medium), False) if cache is None else cache.look(get(), medium)
            except DuetError as failure:
                error = str(failure)
            return Look(begun, time.perf_counter() - begun, found, error, cached)

        return self.begin(call)


def wait(future: Future[Any], until: float, stop: threading.Event) -> bool:
    """Whether `future` is done before `until` (perf_counter) and before `stop` is set; else it is cancelled."""
    from concurrent.futures import wait as wait_for

    while not future.done():
        left = until - time.perf_counter()
        if left <= 0 or stop.is_set():
            future.cancel()
            return False
        wait_for([future], timeout=min(left, 0.05))
    return True


def _sound(finding: Finding) -> bool:
    """Whether a finding keeps the contract: text, a score, JSON-ready."""
    try:
        json.dumps(finding.to_dict(), allow_nan=False)
    except (TypeError, ValueError):
        return False
    return isinstance(finding.text, str) and math.isfinite(finding.score)
