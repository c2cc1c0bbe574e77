"""Traces on disk: every question that was asked, with its nested, timed steps; otel.py exports them.

Recording happens on a thread of its own, after the answer. Where it fails a warning says so, and nothing else does.
The media themselves are not kept, only their names, hashes and sizes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from agent.answer import Answer, Question, Step
from agent.clock import Bounds
from agent.records import database
from experts.config import Settings
from experts.errors import DuetError, InputError

SCHEMA = """
CREATE TABLE IF NOT EXISTS traces (id TEXT PRIMARY KEY, began REAL, bytes INTEGER, status TEXT, route TEXT,
                                   seconds REAL, question TEXT, body TEXT);
CREATE INDEX IF NOT EXISTS traces_by_time ON traces (began, bytes);
"""
PRUNE = """
DELETE FROM traces WHERE id IN (
    SELECT id FROM (SELECT id, SUM(bytes) OVER (ORDER BY began DESC, id) AS total FROM traces) WHERE total > ?)
"""
MOST_WAITING = 256  # traces that wait to be written; more are dropped, with a warning
MOST_CHARACTERS, MOST_FINDINGS = 4000, 200  # of a text, and of the findings of a step, that are kept
MOST_BODY = 1 << 20  # characters of a trace; of a longer one the findings are only counted
LEAST_ID = 4  # characters by which a trace can be named


def new_id() -> str:
    """A fresh trace id: 32 hexadecimal digits, not all zero, as OpenTelemetry has them."""
    return secrets.token_hex(16)


def recorded(
    steps: Iterator[Step], question: Question, route: str, bounds: Bounds, traces: Traces | None
) -> Iterator[Step]:
    """`steps` unchanged; what they were is recorded when they end, in whatever way."""
    began, started = time.time(), time.perf_counter()
    kept: list[Step] = []
    status, error = "", ""
    try:
        for step in steps:
            if step.kind != "token":
                kept.append(step)
            yield step
        status = _status(kept)
    except GeneratorExit:
        status = _status(kept) if any(step.answer for step in kept) else "abandoned"
        raise
    except BaseException as failure:
        status, error = "error", str(failure) if isinstance(failure, DuetError) else type(failure).__name__
        raise
    finally:
        getattr(steps, "close", lambda: None)()
        if traces is not None:
            seconds = time.perf_counter() - started
            traces.record(lambda: _trace(bounds.trace_id, question.text, route, began, seconds, status, error, kept))


class Traces:
    """The traces in one file, up to `most_mb`: the oldest go first."""

    def __init__(self, file: Path, most_mb: int) -> None:
        self._most_bytes = most_mb << 20
        self._base = database.Database(file, SCHEMA, patience_s=5.0)
        self._waiting: deque[Callable[[], dict[str, Any]]] = deque()
        self._lock = threading.Lock()
        self._writer: threading.Thread | None = None

    def record(self, make: Callable[[], dict[str, Any]]) -> None:
        """Keep the trace that `make` returns, soon; never waits and never raises."""
        try:
            with self._lock:
                if len(self._waiting) >= MOST_WAITING:
                    raise OSError("too many are waiting")
                self._waiting.append(make)
                if self._writer is None:
                    self._writer = threading.Thread(target=self._work, name="duet-traces", daemon=False)
                    self._writer.start()  # not a daemon: the program's end waits for the last trace
        except (OSError, RuntimeError) as error:  # RuntimeError: the interpreter is ending, no thread can begin
            _warn(error)

    def flush(self) -> None:
        """Wait until everything recorded so far is on disk."""
        while (writer := self._writer) is not None:
            writer.join()

    def listing(self, limit: int = 20) -> list[dict[str, Any]]:
        """The newest traces first: id, began (seconds since 1970), status, route, seconds, question.

        Raises:
            InputError: the file cannot be read.
        """
        columns = ("id", "began", "status", "route", "seconds", "question")
        rows = self._read(f"SELECT {', '.join(columns)} FROM traces ORDER BY began DESC LIMIT ?", (limit,))
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def get(self, trace_id: str) -> dict[str, Any]:
        """A whole trace, by its id or the first characters of it.

        Raises:
            InputError: there is none, or several begin so.
        """
        if len(trace_id) < LEAST_ID or not set(trace_id) <= set("0123456789abcdef"):
            raise InputError(
                f"{trace_id[:40]!r} is no trace id; accepted: at least {LEAST_ID} of its 32 characters 0-9 and a-f; "
                "`duet traces list` shows the ids"
            )
        rows = self._read("SELECT body FROM traces WHERE id >= ? AND id < ? LIMIT 2", (trace_id, trace_id + "g"))
        if len(rows) != 1:
            found = f"several traces begin with '{trace_id}'" if rows else f"there is no trace '{trace_id[:40]}'"
            raise InputError(f"{found}; `duet traces list` shows the ids")
        return json.loads(rows[0][0])

    def _read(self, query: str, values: tuple[Any, ...]) -> list[Any]:
        self.flush()
        if not self._base.exists():
            return []
        try:
            with self._base.transaction() as connection:
                return connection.execute(query, values).fetchall()
        except (sqlite3.Error, OSError) as error:
            raise InputError(
                f"the recorded traces cannot be read ({type(error).__name__}); ask something anew"
            ) from None

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._writer = None
                    return
                make = self._waiting.popleft()
            try:
                self._write(make())
            except Exception as error:  # whatever it is, it must not be the answer's trouble
                _warn(error)

    def _write(self, trace: dict[str, Any]) -> None:
        body = _body(trace)
        about = (trace["id"], trace["began"], len(body) + 300, trace["status"], trace["route"], trace["seconds"])
        with self._base.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO traces VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*about, trace["question"][:200], body)
            )
            (total,) = connection.execute("SELECT SUM(bytes) FROM traces").fetchone()
            if total > self._most_bytes:
                connection.execute(PRUNE, (self._most_bytes * 9 // 10,))
                connection.execute("PRAGMA incremental_vacuum").fetchall()


def open_traces(settings: Settings) -> Traces:
    """The traces in Duet's home: one object a file and process."""
    return _open(database.folder() / "traces-1.db", settings.traces_mb)


@functools.lru_cache(maxsize=64)
def _open(file: Path, most_mb: int) -> Traces:
    return Traces(file, most_mb)


def nested(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Steps under the routes that took them: [{"kind": "route", "name", "start_s", "seconds", "steps"}, ...]."""
    routes: list[dict[str, Any]] = []
    for step in steps:
        if not routes or routes[-1]["name"] != step["route"]:
            routes.append(
                {"kind": "route", "name": step["route"], "start_s": step["start_s"], "seconds": 0.0, "steps": []}
            )
        route = routes[-1]
        end_s = max(route["start_s"] + route["seconds"], step["start_s"] + step["seconds"])
        route["start_s"] = min(route["start_s"], step["start_s"])
        route["seconds"] = round(end_s - route["start_s"], 4)
        route["steps"].append(step)
    return routes


def _trace(
    trace_id: str, question: str, route: str, began: float, seconds: float, status: str, error: str, steps: list[Step]
) -> dict[str, Any]:
    answers = [_answer(step.answer) for step in steps if step.answer is not None]
    return {
        "id": trace_id,
        "began": began,
        "question": question,
        "route": route,
        "seconds": round(seconds, 4),
        "status": status,
        "error": error or next((answer["error"] for answer in answers if answer["error"]), ""),
        "answers": answers,
        "steps": nested([_step(step) for step in steps if step.answer is None]),
    }


def _body(trace: dict[str, Any]) -> str:
    body = json.dumps(trace, allow_nan=False, default=str)
    if len(body) <= MOST_BODY:
        return body
    for step in (step for route in trace["steps"] for step in route["steps"]):
        if isinstance(step.get("findings"), list):
            step["findings_left_out"] = step.get("findings_left_out", 0) + len(step["findings"])
            step["findings"] = []
    return json.dumps(trace, allow_nan=False, default=str)


def _status(steps: list[Step]) -> str:
    """How a question that came to its end ended: ok, stopped, or error where no route could answer."""
    answers = [step.answer for step in steps if step.answer is not None]
    if any(step.kind == "stop" for step in steps):
        return "stopped"
    return "error" if answers and all(answer.error for answer in answers) else "ok"


def _answer(answer: Answer) -> dict[str, Any]:
    values = answer.to_dict()
    return {key: values[key] for key in ("route", "text", "confidence", "seconds", "fallback")} | {
        "error": answer.error,
        "findings": len(answer.findings),
    }


def _step(step: Step) -> dict[str, Any]:
    values = step.to_dict()
    values["text"] = _short(step.text)
    if step.findings and step.kind == "expert":
        values["findings"] = [finding.to_dict() for finding in step.findings[:MOST_FINDINGS]]
        for finding in values["findings"]:
            finding["text"] = _short(finding["text"])
        if len(step.findings) > MOST_FINDINGS:
            values["findings_left_out"] = len(step.findings) - MOST_FINDINGS
    return {key: value for key, value in values.items() if value != ""}


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} ... ({len(text)} characters)"


def _warn(error: BaseException) -> None:
    with contextlib.suppress(Exception):
        logging.getLogger("duet").warning("a trace could not be recorded (%s)", type(error).__name__)
