"""Experts at work beside each other: each look bounded in time, stoppable, and a failure told instead of raised."""

from __future__ import annotations

import dataclasses
import json
import math
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from experts.base import Finding
from experts.errors import DuetError, ExpertError

if TYPE_CHECKING:
    from experts.base import Expert
    from experts.media import Media

MOST_FINDINGS, LONGEST_TEXT, LONGEST_JSON = 2000, 10_000, 200_000  # of an expert, of a finding's text, of a finding
FOLDERS = re.compile(
    r"(?<![\w.:/])(?:[A-Za-z]:)?(?:[\\/][\w.@+ -]+)*[\\/](?=[\w.@+-]+)"
)  # of a path: its file's name stays
AT_ONCE = 2  # experts beside each other; each computes on several cores itself


@dataclass(frozen=True)
class Look:
    """What came of asking one expert: `findings`, or `error`, the reason why there are none."""

    begun: float  # time.perf_counter()
    seconds: float
    findings: tuple[Finding, ...] = ()
    error: str = ""
    cached: bool = False  # it had looked before, and that was remembered


class Cache(Protocol):
    """What remembers findings: see agent.records.findings.FindingsCache."""

    def look(self, expert: Expert, medium: Media) -> tuple[tuple[Finding, ...], bool]:
        """Findings, and whether they were remembered."""
        ...


def look(expert: Expert, medium: Media) -> tuple[Finding, ...]:
    """What `expert` finds in `medium`.

    Raises:
        DuetError: it failed, or what it returned is not a list of findings that JSON can hold.
    """
    try:
        found = expert(medium)
    except DuetError:
        raise
    except (Exception, SystemExit) as error:  # experts may be anybody's code and raise anything
        said = str(error.strerror if isinstance(error, OSError) and error.strerror else error)[:10_000]
        reason = FOLDERS.sub("", " ".join(f"{type(error).__name__}: {said}".split()))[:200]
        raise ExpertError(f"expert '{expert.name}' failed on '{medium.name}': {reason}") from error
    if not isinstance(found, list | tuple) or not all(isinstance(f, Finding) for f in found[:MOST_FINDINGS]):
        raise ExpertError(f"expert '{expert.name}' returned something that is not a list of findings")
    kept = tuple(_cut(finding) for finding in found[:MOST_FINDINGS])
    if not all(_sound(finding) for finding in kept):
        raise ExpertError(f"expert '{expert.name}' returned something that is not a list of findings")
    if len(found) > len(kept):  # told as a failure, since what was left out may be what is asked about
        overflow = {"error": f"it returned {len(found)} findings, of which the first {len(kept)} are kept"}
        kept += (Finding(expert.name, "", 0.0, source=medium.name, extra=overflow),)
    return kept


def failures(findings: tuple[Finding, ...]) -> tuple[tuple[Finding, ...], tuple[str, ...], tuple[str, ...]]:
    """Findings without those by which an expert made of experts tells that one failed; their names; their reasons."""
    failed = [f for f in findings if "error" in f.extra]
    kept = tuple(f for f in findings if "error" not in f.extra)
    return kept, tuple(f.expert for f in failed), tuple(str(f.extra["error"]) for f in failed)


class Workers:
    """Runs calls beside each other on threads that no exit of the program has to wait for."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = threading.Semaphore(at_once)

    def submit(self, call: Callable[[], Any]) -> Future[Any]:
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

    def look(self, get: Callable[[], Expert], medium: Media, cache: Cache | None = None) -> Future[Look]:
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

        return self.submit(call)


def within(call: Callable[[], Any], until: float, stop: threading.Event) -> Future[Any] | None:
    """What became of `call`; None where it was not done before `until` and `stop`, and was left behind."""
    future = Workers(1).submit(call)
    return future if wait(future, until, stop) else None


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


def _cut(finding: Finding) -> Finding:
    """A finding whose text is not endless."""
    if not isinstance(finding.text, str) or len(finding.text) <= LONGEST_TEXT:
        return finding
    text = f"{finding.text[:LONGEST_TEXT]} ... (cut: it had {len(finding.text)} characters)"
    return dataclasses.replace(finding, text=text)


def _sound(finding: Finding) -> bool:
    """Whether a finding keeps the contract: text, a score, a box of four and a span of two numbers, JSON-ready."""
    try:
        size = len(json.dumps(finding.to_dict(), allow_nan=False))
        finding.text.encode()  # half of a character is none
        numbers = [finding.score, *(finding.box or ()), *(finding.span or ())]
        shapes = (len(finding.box or "1234"), len(finding.span or "12"))
    except (AttributeError, TypeError, ValueError):
        return False
    return (
        size <= LONGEST_JSON
        and all(isinstance(number, int | float) and math.isfinite(number) for number in numbers)
        and shapes == (4, 2)
        and isinstance(finding.text, str)
        and isinstance(finding.extra, dict)
    )
