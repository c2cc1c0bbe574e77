"""Every question of a benchmark to every route: rows streamed to disk, resumed after a kill, failures told as rows."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.answering.fallback.needs import coverage, kind_of
from agent.answering.fallback.policy import failed_experts, most_tones
from agent.evaluation.batched import Asked, Batcher, ask_one
from agent.evaluation.benchmarks.registry import Benchmark
from agent.evaluation.scoring import parsers
from experts.errors import InputError, UnknownNameError
from experts.media import open_media

if TYPE_CHECKING:
    from agent.agent import Agent
    from agent.answer import Answer
    from connector.base import MultimodalModel
    from connector.data.records import Record

ROUTES: dict[str, tuple[str, ...]] = {
    "experts": ("experts",),
    "connector": ("connector",),
    "auto": ("auto",),
    "both": ("experts", "connector"),
}
SYNC_ROWS = 32  # rows after which they are on the disk for certain
WINDOW = 4  # batches whose questions are collected, so that prompts of like length meet


@dataclass(frozen=True)
class Row:
    """One question through one route.

    `parsed` is what the answer was read as. `correct` is None where no answer is right or wrong (captions); an answer
    that is missing or unparsed is wrong. `seconds` are a fair share of the batch's. `answered_by` is the route that
    spoke, `fallback` why it was not the one that was asked first.
    """

    id: str
    route: str
    kind: str
    category: str
    medium: str
    question: str
    expected: str
    answer: str
    parsed: str
    correct: bool | None
    confidence: float | None
    seconds: float
    answered_by: str
    fallback: str = ""
    error: str = ""
    error_rate: float | None = None  # word error rate of a transcription
    evidence: str = ""  # the text of the experts' findings that the answer was given from
    coverage: str = (
        ""  # how the findings cover the question (agent.answering.fallback.needs.COVERAGE); "" where no expert looked
    )
    failed: str = ""  # the experts that failed, joined by ", "
    consulted: bool = False  # route auto: the connector was asked, whoever's answer stands
    tones: float | None = None  # of the picture, as agent.answering.fallback.policy.Case has them

    def to_json(self) -> str:
        """One line."""
        return json.dumps(asdict(self), ensure_ascii=False)


def evaluate(
    benchmark: Benchmark,
    agent: Agent,
    route: str,
    out: Path,
    *,
    batch: int = 16,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> list[Row]:
    """Ask all that is not answered yet, and return all rows in the benchmark's order, one route after the other.

    `out` gets run.json (what was asked of which models) and rows.jsonl. `report` is told (done, total) as rows come.
    With `batch` 1 every question goes through the agent alone, which is how single questions are to be timed.

    Raises:
        UnknownNameError: an unknown route.
        InputError: `out` holds a run with other settings; the message gives the difference.
        DuetError: the models cannot be loaded.
    """
    if route not in ROUTES:
        raise UnknownNameError("route", route, ROUTES)
    wanted = [(record, name) for name in ROUTES[route] for record in benchmark.records]
    _claim(out, settings(benchmark, agent, route))
    rows = {(row.id, row.route): row for row in read_rows(out / "rows.jsonl", repair=True)}
    todo = [(record, name) for record, name in wanted if (record.id, name) not in rows]
    report(len(wanted) - len(todo), len(wanted))
    with (out / "rows.jsonl").open("a", encoding="utf-8") as file:
        unsynced = 0
        for row in _answer(benchmark, agent, todo, batch):
            file.write(row.to_json() + "\n")
            rows[row.id, row.route] = row
            unsynced += 1
            if unsynced >= SYNC_ROWS:
                _sync(file)
                unsynced = 0
            report(len(rows), len(wanted))
        _sync(file)
    return [rows[record.id, name] for record, name in wanted]


def settings(benchmark: Benchmark, agent: Agent, route: str) -> dict[str, Any]:
    """All that decides the answers, for run.json: two runs that agree in it may share their rows.

    Raises:
        DuetError: a model that the route needs cannot be loaded.
    """
    return {
        "benchmark": benchmark.name,
        "questions": len(benchmark.records),
        "digest": benchmark.digest(),
        "route": route,
        "max_new_tokens": agent.settings.max_new_tokens,
        "models": models(agent, route),
    }


def models(agent: Agent, route: str) -> dict[str, Any]:
    """The models that answer on this route, with the language model's adapter and the connector's fingerprint.

    Raises:
        DuetError: one of them cannot be loaded.
    """
    s = agent.settings
    named: dict[str, Any] = {
        "detector": s.detector, "tagger": s.tagger, "ocr": s.ocr, "speech": s.speech,
        "speech_engine": s.speech_engine, "captioner": s.captioner, "endpoint": s.endpoint,
        "endpoint_model": s.endpoint_model,
    }  # fmt: skip
    language = agent.context.language()
    named |= {"llm": language.name, "adapter": language.adapter}
    if route != "experts":
        model = agent.context.model()
        named |= _identity(model) | {"same_language": agent.context.shares_weights()}
    if route == "auto":
        described = (
            repr(agent.context.policy)
            if is_dataclass(agent.context.policy)
            else type(agent.context.policy).__qualname__
        )
        named["policy"] = hashlib.sha256(described.encode()).hexdigest()[:16]
    return named


def folder_name(values: dict[str, Any]) -> str:
    """A name for a run of these settings: 'scenes-both-1a2b3c4d'."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return f"{values['benchmark']}-{values['route']}-{digest}"


def read_rows(file: Path, *, repair: bool = False) -> list[Row]:
    """The rows of a run; a line that a kill tore off at the end is no row, and with `repair` is cut off the file.

    Raises:
        InputError: a line that is no row stands before others.
    """
    if not file.is_file():
        return []
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if repair and len(whole) < len(data):
        with file.open("r+b") as stream:
            stream.truncate(len(whole))
    rows = []
    for number, line in enumerate(whole.decode("utf-8", "replace").split("\n")[:-1], 1):
        try:
            rows.append(Row(**json.loads(line)))
        except (ValueError, TypeError):
            where = f"line {number} of '{file.name}' in '{file.parent.name}'"
            raise InputError(f"{where} is no row of an evaluation; use another --out") from None
    return rows


def _claim(out: Path, values: dict[str, Any]) -> None:
    """Make `out` the folder of a run with these settings, or check that it is."""
    file = out / "run.json"
    if not file.is_file():
        if (out / "rows.jsonl").is_file():
            raise InputError(f"folder '{out.name}' holds rows.jsonl but no run.json; give another --out")
        out.mkdir(parents=True, exist_ok=True)
        part = out / ".run.json.part"
        part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        os.replace(part, file)
        return
    try:
        there = _flat(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, AttributeError):
        raise InputError(f"'run.json' in '{out.name}' is broken; give another --out") from None
    here = _flat(values)
    differing = [
        f"{k}: {there.get(k)} there, {here.get(k)} now" for k in sorted(there | here) if there.get(k) != here.get(k)
    ]
    if differing:
        shown = "; ".join(differing)
        raise InputError(f"folder '{out.name}' holds a run with other settings ({shown}); give another --out")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def _identity(model: MultimodalModel) -> dict[str, Any]:
    """What tells a model from another of the same name, for the folder of a run."""
    info = model.info
    fingerprint = getattr(model, "fingerprint", None)
    identity = {"model": info.name, "revision": info.revision, "precision": info.precision}
    return identity | ({"connector": fingerprint()} if fingerprint else {})


def _answer(benchmark: Benchmark, agent: Agent, todo: Sequence[tuple[Record, str]], batch: int) -> Iterator[Row]:
    batcher = Batcher(agent, batch) if batch > 1 else None
    window = batch * WINDOW if batcher else 1
    for at in range(0, len(todo), window):
        part = todo[at : at + window]
        questions = [Asked(record.question, _media(record, benchmark), route) for record, route in part]
        if batcher:
            batcher.ask(questions)
        else:
            for asked in questions:
                ask_one(agent, asked)
        for (record, _), asked in zip(part, questions, strict=True):
            yield _row(record, asked)


def _media(record: Record, benchmark: Benchmark) -> dict[str, Any]:
    return {kind: benchmark.path(name) for kind, name in record.media.items()}


def _row(record: Record, asked: Asked) -> Row:
    answer = asked.answer
    error = asked.error or (answer.error if answer else "")
    said = answer.text if answer else ""
    judged = parsers.judge(record, said)
    failed = bool(error)
    trace = answer.trace if answer else ()
    return Row(
        id=record.id,
        route=asked.route,
        kind=record.kind,
        category=record.category,
        medium=next(iter(record.media.values()), ""),
        question=record.question,
        expected=record.answer,
        answer=said,
        parsed=parsers.UNPARSED if failed else judged.parsed,
        correct=judged.correct and not failed if judged.correct is not None else None,
        confidence=None if answer is None or answer.confidence is None else round(answer.confidence, 4),
        seconds=round(asked.seconds, 4),
        answered_by=answer.route if answer else asked.route,
        fallback=answer.fallback.reason if answer and answer.fallback else "",
        error=error,
        error_rate=judged.error_rate,
        evidence=next((step.text for step in trace if step.kind == "evidence"), ""),
        coverage=_coverage(record, answer) if answer and asked.route != "connector" else "",
        failed=", ".join(failed_experts(trace)),
        consulted=any(step.kind == "fallback" for step in trace),
        tones=None if failed else _tones(*(asked.media[kind] for kind in ("image", "video") if asked.media.get(kind))),
    )


@functools.lru_cache(maxsize=256)
def _tones(*files: Path) -> float | None:
    return most_tones([open_media(file) for file in files])


def _coverage(record: Record, answer: Answer) -> str:
    seen = record.image is not None or record.video is not None
    return coverage(record.question, kind_of(record.question, heard=not seen), answer.findings, seen=seen)


def _sync(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())
