"""What rows say: accuracy by route and kind with its interval, what is missing, times, what each interface loses."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from agent.evaluation.benchmarks.registry import Benchmark
from agent.evaluation.run import Row
from agent.evaluation.scoring import metrics
from agent.evaluation.scoring.names import is_right_category, singular_phrase
from agent.evaluation.scoring.parsers import MIMICS, UNPARSED
from experts.evidence.categories import class_names, matches

if TYPE_CHECKING:
    from rich.table import Table


def summarise(rows: Sequence[Row], benchmark: Benchmark) -> dict[str, Any]:
    """The whole report, JSON-ready: `routes` by name, and `losses` where experts and connector were both asked."""
    routes = list(dict.fromkeys(row.route for row in rows))
    by_route = {route: [row for row in rows if row.route == route] for route in routes}
    report: dict[str, Any] = {
        "benchmark": benchmark.name,
        "questions": len(benchmark.records),
        "routes": {route: _route(part, benchmark) for route, part in by_route.items()},
    }
    if {"experts", "connector"} <= by_route.keys():
        report["losses"] = _losses(by_route["experts"], by_route["connector"])
    return report


def _route(rows: Sequence[Row], benchmark: Benchmark) -> dict[str, Any]:
    kinds = sorted({row.kind for row in rows})
    judged = [row for row in rows if row.correct is not None and not row.error]
    confident = [(row.confidence, bool(row.correct)) for row in judged if row.confidence is not None]
    values: dict[str, Any] = {
        "all": _figures(rows),
        "kinds": {kind: _figures([row for row in rows if row.kind == kind]) for kind in kinds},
        "calibration_error": _rounded(
            metrics.calibration_error([sure for sure, _ in confident], [right for _, right in confident])
        ),
        "fallbacks": _rounded(metrics.share(bool(row.fallback) for row in rows).value),
        "consulted": _rounded(metrics.share(row.consulted for row in rows).value),
    }
    names = [row for row in rows if row.kind == "name" and row.category]
    if names:
        values["name_by_category"] = _share(_in_category(row, benchmark) for row in names)
    polar = [row for row in rows if row.expected in ("yes", "no")]
    if polar:
        values["yes_no"] = _polar(polar)
    rates = [row.error_rate for row in rows if row.error_rate is not None]
    if rates:
        values["word_error_rate"] = _rounded(statistics.fmean(rates))
    captions = [row for row in rows if row.kind == "caption" and not row.error and row.medium in benchmark.scenes]
    if captions:
        scenes = [benchmark.scenes[row.medium] for row in captions]
        words = metrics.object_words(benchmark.scenes.values(), class_names())
        found = metrics.hallucination([row.answer for row in captions], scenes, words)
        values["hallucination"] = {key: _numbers(value) for key, value in asdict(found).items()}
    return values


def _figures(rows: Sequence[Row]) -> dict[str, Any]:
    judged = [row for row in rows if row.correct is not None]
    seconds = sorted(row.seconds for row in rows)
    return {
        "n": len(rows),
        "accuracy": _share(bool(row.correct) for row in judged) if judged else None,
        "unparsed": _part(rows, lambda row: row.parsed == UNPARSED and not row.error),
        "errors": _part(rows, lambda row: bool(row.error)),
        "empty": _part(rows, lambda row: not row.answer.strip()),
        "repetitive": _part(rows, lambda row: metrics.is_repetitive(row.answer)),
        "seconds": {
            "mean": _rounded(statistics.fmean(seconds)) if seconds else 0.0,
            "median": _rounded(statistics.median(seconds)) if seconds else 0.0,
            "p95": _rounded(seconds[min(int(0.95 * len(seconds)), len(seconds) - 1)]) if seconds else 0.0,
        },
    }


def _polar(rows: Sequence[Row]) -> dict[str, Any]:
    """Yes/no questions: how often yes was said, and what other kits' parsers would make of the same answers."""
    return {
        "n": len(rows),
        "said_yes": _part(rows, lambda row: row.parsed == "yes"),
        "truth_yes": _part(rows, lambda row: row.expected == "yes"),
        "accuracy": _part(rows, lambda row: bool(row.correct)),
        "as_parsed_by": {
            kit: _part(rows, lambda row, rule=rule: rule(row.answer) == row.expected)  # type: ignore[misc]
            for kit, rule in MIMICS.items()
        },
    }


def _in_category(row: Row, benchmark: Benchmark) -> bool:
    """Whether an answer names at least something of the right category."""
    if row.correct:
        return True
    if row.error or row.parsed == UNPARSED:
        return False
    return all(is_of_category(phrase, row.category, benchmark.records) for phrase in row.parsed.split(" and "))


def is_of_category(phrase: str, category: str, records: Iterable[Any]) -> bool:
    """Whether a noun phrase is the category, of it by everyday words, or a name that `records` put in it."""
    if is_right_category(phrase, category) or matches(category, phrase):
        return True
    words = singular_phrase(phrase)
    known = {
        singular_phrase(record.answer) for record in records if record.kind == "name" and record.category == category
    }
    return any(words == name or words.endswith(" " + name) for name in known)


def _losses(experts: Sequence[Row], connector: Sequence[Row]) -> dict[str, Any]:
    """Per kind: questions only one interface gets right are what the other loses."""
    second = {row.id: row for row in connector}
    pairs = [(row, second[row.id]) for row in experts if row.id in second and row.correct is not None]
    kinds = sorted({row.kind for row, _ in pairs})
    return {kind: _pair([p for p in pairs if kind in ("all", p[0].kind)]) for kind in ("all", *kinds)}


def _pair(pairs: Sequence[tuple[Row, Row]]) -> dict[str, Any]:
    found = metrics.compare([bool(a.correct) for a, _ in pairs], [bool(b.correct) for _, b in pairs])
    return {
        "n": len(pairs),
        "both": found.both,
        "experts_only": found.only_first,
        "connector_only": found.only_second,
        "neither": found.neither,
        "p_value": float(f"{found.p_value:.4g}"),
    }


def _part(rows: Sequence[Row], holds: Callable[[Row], bool]) -> float:
    return _rounded(sum(holds(row) for row in rows) / len(rows)) if rows else 0.0


def _share(hits: Iterable[bool]) -> dict[str, Any]:
    return _numbers(asdict(metrics.share(hits)))


def _numbers(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _rounded(value) if isinstance(value, float) else value for key, value in values.items()}


def _rounded(value: float) -> float:
    return round(float(value), 4)


# -- for people -----------------------------------------------------------------------------------------------------


def tables(report: dict[str, Any]) -> list[Table]:
    """The report as rich tables."""
    from rich.box import SIMPLE
    from rich.table import Table

    narrow: dict[str, Any] = {"box": SIMPLE, "padding": (0, 0), "pad_edge": False}  # to fit 80 columns
    shown = []
    for route, values in report["routes"].items():
        columns = ("kind", "n", "right (95 %)", "unparsed", "errors", "empty", "stuck", "s: mean/median/p95")
        table = Table(*columns, title=f"{report['benchmark']}, route {route}", **narrow)
        for kind, figures in (*values["kinds"].items(), ("all", values["all"])):
            table.add_row(*_cells(kind, figures), end_section=kind == list(values["kinds"])[-1])
        notes = Table("measure", "value", title=f"more of route {route}", **narrow)
        for name, value in _notes(values):
            notes.add_row(name, value)
        shown += [table, notes]
    if "losses" in report:
        outcomes = ("kind", "n", "both right", "experts only", "connector only", "neither", "p (McNemar)")
        table = Table(*outcomes, title="what each loses", **narrow)
        for kind, v in report["losses"].items():
            counts = [str(v[key]) for key in ("n", "both", "experts_only", "connector_only", "neither")]
            table.add_row(kind, *counts, f"{v['p_value']:.3g}")
        shown.append(table)
    return shown


def _cells(kind: str, figures: dict[str, Any]) -> list[str]:
    right = figures["accuracy"]
    share = f"{right['value']:.1%} ({right['low']:.0%}-{right['high']:.0%})" if right else ""
    parts = [f"{figures[key]:.1%}" for key in ("unparsed", "errors", "empty", "repetitive")]
    times = " ".join(f"{figures['seconds'][key]:.2f}" for key in ("mean", "median", "p95"))
    return [kind, str(figures["n"]), share, *parts, times]


def _notes(values: dict[str, Any]) -> list[tuple[str, str]]:
    notes = [("calibration error of the confidence", f"{values['calibration_error']:.3f}")]
    if values["consulted"]:
        notes.append(("asked the connector too", f"{values['consulted']:.1%}"))
    if values["fallbacks"]:
        notes.append(("fell back to the connector", f"{values['fallbacks']:.1%}"))
    if "name_by_category" in values:
        notes.append(("names right by category", _interval(values["name_by_category"])))
    if "word_error_rate" in values:
        notes.append(("word error rate of transcriptions", f"{values['word_error_rate']:.1%}"))
    if "yes_no" in values:
        polar = values["yes_no"]
        notes.append(("yes said / yes true", f"{polar['said_yes']:.1%} / {polar['truth_yes']:.1%}"))
        notes += [(f"yes/no right as {kit} parses", f"{value:.1%}") for kit, value in polar["as_parsed_by"].items()]
    if "hallucination" in values:
        found = values["hallucination"]
        notes.append(("objects named that are not there (CHAIR_i)", _interval(found["instances"])))
        notes.append(("captions with such an object (CHAIR_s)", _interval(found["sentences"])))
        notes.append(("objects of the scene named", _interval(found["recall"])))
    return notes


def _interval(share: dict[str, Any]) -> str:
    return f"{share['value']:.1%} ({share['low']:.1%} - {share['high']:.1%}, n = {share['n']})"
