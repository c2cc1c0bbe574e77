"""Batch A/B: a file of questions to several routes, resumable, its battles in the same database as the arena's."""

from __future__ import annotations

import csv
import hashlib
import itertools
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experts.config import home
from experts.errors import InputError, MediaError, UnknownNameError
from ui.votes import leaks
from ui.votes.records import Battle, Side
from ui.votes.store import VoteStore

if TYPE_CHECKING:
    from agent.agent import Agent
    from agent.evaluation.benchmarks.registry import Benchmark
    from agent.evaluation.run import Row
    from connector.data.records import Record

ROUTES = ("experts", "connector", "auto")
USUAL = ("experts", "connector")


class _StoppedError(Exception):
    """Somebody asked the run to stop; its rows are on the disk."""


@dataclass(frozen=True)
class Compared:
    """What a run came to: the rows by route, in the benchmark's order, and whether it was stopped before its end."""

    benchmark: Benchmark
    rows: dict[str, list[Row]]
    battles: int  # new in the database
    stopped: bool


def routes_of(text: str) -> tuple[str, ...]:
    """The routes of 'experts,connector'.

    Raises:
        UnknownNameError: one is none of ROUTES.
        InputError: fewer than two, so that there is nothing to compare.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in ROUTES:
            raise UnknownNameError("route", name, ROUTES)
    if len(names) < 2:
        raise InputError(f"a comparison needs two routes or more of {', '.join(ROUTES)}; for example experts,connector")
    return names


def readable(benchmark: Benchmark, agent: Agent) -> tuple[Benchmark, list[str]]:
    """The questions whose media can be opened, and for each other file why it cannot.

    Raises:
        MediaError: none can.
    """
    faults: dict[str, MediaError | None] = {}
    kept = []
    for record in benchmark.records:
        for kind, name in record.media.items():
            if name not in faults:
                try:
                    given: dict[str, Any] = {kind: benchmark.path(name)}
                    agent.open(**given)
                    faults[name] = None
                except MediaError as error:
                    faults[name] = error
        if all(faults[name] is None for name in record.media.values()):
            kept.append(record)
    refused = [error for error in faults.values() if error]
    if refused and not kept:
        raise refused[0]
    return replace(benchmark, records=tuple(kept)), [str(error) for error in refused]


def folder_for(benchmark: Benchmark, agent: Agent, routes: Sequence[str]) -> Path:
    """Where a run is kept unless told otherwise: the same questions to the same models go on where they were."""
    told = [benchmark.digest(), models_of(agent, routes), agent.settings.max_new_tokens]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]
    return home() / "batch" / f"{benchmark.name}-{digest}"


def models_of(agent: Agent, routes: Sequence[str]) -> dict[str, Any]:
    """The models behind these routes."""
    from agent.evaluation.run import models

    return models(agent, "both" if set(routes) - {"experts"} else "experts")


def compare(
    benchmark: Benchmark,
    agent: Agent,
    routes: Sequence[str],
    out: Path,
    store: VoteStore,
    *,
    batch: int = 1,
    report: Callable[[int, int], None] = lambda done, total: None,
    stop: threading.Event | None = None,
) -> Compared:
    """Ask every question on every route that has not answered it yet, and store the pairs of answers as battles.

    `out` gets a folder a route (see agent.evaluation.run). With `batch` 1 each answer is timed alone, and `stop` is
    heeded after every answer.

    Raises:
        InputError: `out` holds another run.
        StoreError: the battles cannot be stored; the rows stay, and the same call goes on from there.
        DuetError: a model cannot be loaded.
    """
    from agent.evaluation.run import evaluate, read_rows

    total, stopped = len(routes) * len(benchmark.records), False
    for number, route in enumerate(routes):

        def told(done: int, _: int, before: int = number * len(benchmark.records)) -> None:
            report(before + done, total)
            if stop is not None and stop.is_set():
                raise _StoppedError

        try:
            evaluate(benchmark, agent, route, out / route, batch=batch, report=told)
        except _StoppedError:
            stopped = True
            break
    rows: dict[str, list[Row]] = {}
    for route in routes:
        found = {row.id: row for row in read_rows(out / route / "rows.jsonl", repair=True)}
        rows[route] = [found[record.id] for record in benchmark.records if record.id in found]
    return Compared(benchmark, rows, store.add(battles(benchmark, rows, models_of(agent, routes), store)), stopped)


def battles(benchmark: Benchmark, rows: dict[str, list[Row]], models: dict[str, Any], store: VoteStore) -> list[Battle]:
    """A battle for each question and pair of routes that have both answered it; the same for the same answers."""
    by_route = {route: {row.id: row for row in some} for route, some in rows.items()}
    made = []
    for record in benchmark.records:
        pairs = [
            pair for pair in itertools.combinations(by_route, 2) if all(record.id in by_route[route] for route in pair)
        ]
        if not pairs:
            continue
        media = _media(record, benchmark, store)
        for pair in pairs:
            said = sorted([route, by_route[route][record.id].answer] for route in pair)
            told = json.dumps([models, record.question, media[0]["sha256"], said], sort_keys=True)
            digest = hashlib.sha256(told.encode()).hexdigest()
            first, second = pair if int(digest[-1], 16) % 2 else reversed(pair)
            a, b = (_side(by_route[route][record.id]) for route in (first, second))
            made.append(Battle(digest[:32], record.question, record.kind, a, b, media, models, "batch", record.answer))
    return made


def _media(record: Record, benchmark: Benchmark, store: VoteStore) -> tuple[dict[str, str]]:
    ((kind, name),) = record.media.items()
    file = benchmark.path(name)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    said = {"kind": kind, "name": Path(name).name, "sha256": digest}
    return (store.keep_file(file, said),)


def _side(row: Row) -> Side:
    shown, hits = leaks.neutral(row.answer)
    return Side(row.route, row.answer, shown, True, row.seconds, hits, row.error, row.correct)


def summary(found: Compared) -> dict[str, Any]:
    """JSON-ready: how often each route was right, its times, and pair by pair what only one of them got right."""
    from agent.evaluation.scoring.metrics import compare as paired
    from agent.evaluation.scoring.metrics import share

    routes: dict[str, Any] = {}
    for route, rows in found.rows.items():
        judged = [bool(row.correct) for row in rows if row.correct is not None]
        seconds = sorted(row.seconds for row in rows)
        routes[route] = {
            "n": len(rows),
            "right": asdict(share(judged)) if judged else None,
            "errors": sum(bool(row.error) for row in rows),
            "median_s": seconds[len(seconds) // 2] if seconds else None,
            "p95_s": seconds[min(int(0.95 * len(seconds)), len(seconds) - 1)] if seconds else None,
        }
    pairs = {}
    for a, b in itertools.combinations(found.rows, 2):
        second = {row.id: row.correct for row in found.rows[b]}
        both = [(row.correct, second.get(row.id)) for row in found.rows[a]]
        known = [(bool(x), bool(y)) for x, y in both if x is not None and y is not None]
        pairs[f"{a} - {b}"] = asdict(paired([x for x, _ in known], [y for _, y in known]))
    return {
        "questions": len(found.benchmark.records), "routes": routes, "pairs": pairs, "battles": found.battles,
        "stopped": found.stopped,
    }  # fmt: skip


def table(found: Compared) -> tuple[list[str], list[list[Any]]]:
    """Columns and a row a question: what was asked, for each route its answer, whether it is right, and seconds."""
    by_route = {route: {row.id: row for row in rows} for route, rows in found.rows.items()}
    columns = ["id", "question", "expected"]
    columns += [f"{route}{what}" for route in by_route for what in ("", " right", " s")] + ["evidence"]
    rows = []
    for record in found.benchmark.records:
        answered = [by_route[route].get(record.id) for route in by_route]
        if not any(answered):
            continue
        cells: list[Any] = [record.id, record.question, record.answer]
        for row in answered:
            right = {True: "✓", False: "✗", None: ""}[row.correct] if row else ""
            cells += [(row.error or row.answer) if row else "", right, round(row.seconds, 2) if row else ""]
        cells.append(next((row.evidence for row in answered if row and row.evidence), ""))
        rows.append(cells)
    return columns, rows


def write(found: Compared, out: Path) -> list[Path]:
    """Write rows.csv, rows.jsonl and summary.json of all routes into `out`; returns the files."""
    from agent.evaluation.run import Row
    from ui.votes.exchange import harmless, write_whole

    rows = [row for some in found.rows.values() for row in some]
    names = [part.name for part in fields(Row)]

    def as_csv(file: Any) -> None:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([harmless(getattr(row, name)) for name in names] for row in rows)

    write_whole(out / "rows.csv", as_csv)
    write_whole(out / "rows.jsonl", lambda file: [file.write(row.to_json() + "\n") for row in rows])
    write_whole(out / "summary.json", lambda file: json.dump(summary(found), file, ensure_ascii=False, indent=1))
    return [out / name for name in ("rows.csv", "rows.jsonl", "summary.json")]
