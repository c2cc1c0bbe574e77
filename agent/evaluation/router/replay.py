"""Route auto as a router, from rows of both routes and without any model: what a policy would choose, at what cost.

Compared are always-experts, always-connector, a policy, and the oracle that knows who is right and asks the connector
only where the experts are wrong and it is not. The cost of an answer is the experts' time, and the connector's where it
is asked.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent.answering.fallback.needs import kind_of
from agent.answering.fallback.policy import CONSULT, HAND_OVER, STAY, Case, Policy, asked, same_answer
from agent.evaluation.benchmarks.own_questions import SOUNDS
from agent.evaluation.run import Row, read_rows
from agent.evaluation.scoring import metrics
from experts.errors import InputError

NOTHING = "Nothing was found."  # the evidence where no expert found anything
BINS = 10  # of the reliability table


@dataclass(frozen=True)
class Pair:
    """One question with the answers of both routes, and what a policy knows after the first; `auto` where measured."""

    experts: Row
    connector: Row
    case: Case
    auto: Row | None = None

    @property
    def kind(self) -> str:
        """The benchmark's kind of the question, for reports: a policy only knows `case.kind`, from its words."""
        return self.experts.kind


@dataclass(frozen=True)
class Outcome:
    """What became of a question: whether the connector was asked, whose answer stood, whether it was right."""

    asked: bool
    handed: bool
    right: bool
    seconds: float


def read_pairs(sources: Iterable[Path]) -> list[Pair]:
    """Questions that both routes answered, out of rows.jsonl files or folders of `duet evaluate`, in their order.

    Raises:
        InputError: there are no rows in a source, or no question in them has both answers and a right one.
    """
    rows: dict[tuple[str, str], dict[str, Row]] = {}
    for source in sources:
        file = source / "rows.jsonl" if source.is_dir() else source
        if not file.is_file():
            raise InputError(f"'{source.name}' holds no rows; accepted: folders or rows.jsonl files of `duet evaluate`")
        for row in read_rows(file):
            answers = rows.setdefault((row.id, row.question), {})
            if row.route in answers:
                raise InputError(
                    f"question '{row.id}' was answered twice by route {row.route}; give rows of one run for a question"
                )
            answers[row.route] = row
    found = [
        Pair(answers["experts"], answers["connector"], case_of_row(answers["experts"]), answers.get("auto"))
        for answers in rows.values()
        if {"experts", "connector"} <= answers.keys() and answers["experts"].correct is not None
    ]
    if not found:
        raise InputError(
            f"of {len(rows)} questions none was answered by both routes and has a right answer; make rows with "
            "`duet evaluate --route both`"
        )
    return found


def case_of_row(row: Row) -> Case:
    """What a policy knew after the experts' row; rows from before coverage was kept have "" where it is not known."""
    heard = row.coverage == "sound" if row.coverage else Path(row.medium).suffix.lower() in SOUNDS
    covered = row.coverage or ("sound" if heard else "nothing" if row.evidence == NOTHING else "")
    failed = tuple(filter(None, row.failed.split(", ")))
    kind = kind_of(row.question, heard=heard)
    return Case(kind, covered, row.confidence or None, failed, row.error, tones=row.tones)


def choose(pair: Pair, policy: Policy) -> Outcome:
    """What route auto would have answered."""
    first, second = pair.experts, pair.connector
    decision = asked(lambda: policy.decide(pair.case))
    if decision.action == STAY:
        return Outcome(False, False, bool(first.correct), first.seconds)
    if decision.action == CONSULT and not second.error:
        agree = same_answer(first.answer, second.answer)
        decision = asked(lambda: policy.settle(pair.case, second.confidence or None, agree))
    handed = decision.action == HAND_OVER and not second.error
    return Outcome(True, handed, bool((second if handed else first).correct), first.seconds + second.seconds)


def oracle(pair: Pair) -> Outcome:
    """The best that choosing between the two answers can do."""
    if pair.experts.correct or not pair.connector.correct:
        return Outcome(False, False, bool(pair.experts.correct), pair.experts.seconds)
    return Outcome(True, True, True, pair.experts.seconds + pair.connector.seconds)


def measured(pair: Pair) -> Outcome:
    """What route auto did answer."""
    row = pair.auto
    assert row is not None, "only pairs with a row of route auto are measured"
    return Outcome(row.consulted, row.answered_by == "connector", bool(row.correct), row.seconds)


def single(pair: Pair, route: str) -> Outcome:
    """Always the same route."""
    row = pair.experts if route == "experts" else pair.connector
    return Outcome(route == "connector", route == "connector", bool(row.correct), row.seconds)


def routers(policies: dict[str, Policy]) -> dict[str, Callable[[Pair], Outcome]]:
    """All that is compared, by name."""
    chosen: dict[str, Callable[[Pair], Outcome]] = {
        "always experts": lambda pair: single(pair, "experts"),
        "always connector": lambda pair: single(pair, "connector"),
    }
    for name, policy in policies.items():
        chosen[name] = lambda pair, policy=policy: choose(pair, policy)  # type: ignore[misc]
    return chosen | {"oracle": oracle}


def compare(pairs: Sequence[Pair], routes: dict[str, Callable[[Pair], Outcome]], auto: str) -> dict[str, Any]:
    """Accuracy over cost of each router, in all and by kind, and how `auto` keeps to what is asked of it."""
    outcomes = {name: [route(pair) for pair in pairs] for name, route in routes.items()}
    kinds = {"all": list(range(len(pairs)))}
    for index, pair in enumerate(pairs):
        kinds.setdefault(pair.kind, []).append(index)
    order = ["all", *sorted(kinds.keys() - {"all"})]
    return {
        "questions": len(pairs),
        "routers": {name: _router(pairs, found) for name, found in outcomes.items()},
        "kinds": {kind: _kind({n: [o[i] for i in kinds[kind]] for n, o in outcomes.items()}, auto) for kind in order},
    }


def _router(pairs: Sequence[Pair], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    easy = [outcome.asked for pair, outcome in zip(pairs, outcomes, strict=True) if pair.experts.correct]
    return {
        "accuracy": rounded(asdict(metrics.share(outcome.right for outcome in outcomes))),
        "asked": round(statistics.fmean(outcome.asked for outcome in outcomes), 4),
        "asked_where_experts_are_right": round(statistics.fmean(easy), 4) if easy else 0.0,
        "seconds": round(statistics.fmean(outcome.seconds for outcome in outcomes), 4),
    }


def _kind(outcomes: dict[str, list[Outcome]], auto: str) -> dict[str, Any]:
    """One kind of question: each router's share, and `auto` against the better of the two routes."""
    right = {name: [outcome.right for outcome in found] for name, found in outcomes.items()}
    single_ones = {name: sum(right[name]) for name in ("always experts", "always connector")}
    better = max(single_ones, key=lambda name: single_ones[name])
    interval = metrics.share(right[auto])
    against = metrics.compare(right[auto], right[better])
    return {
        "n": interval.n,
        **{name: round(statistics.fmean(found), 4) for name, found in right.items()},
        "low": round(interval.low, 4),
        "high": round(interval.high, 4),
        "asked": round(statistics.fmean(outcome.asked for outcome in outcomes[auto]), 4),
        "better": better,
        "won": against.only_first,
        "lost": against.only_second,
        "p_value": float(f"{against.p_value:.4g}"),
        "no_worse": interval.high >= single_ones[better] / interval.n,
    }


def reliability(shares: Sequence[float], right: Sequence[bool]) -> dict[str, Any]:
    """Confidence against accuracy in ten equal bins, and their expected difference (Guo et al. 2017, eq. 3)."""
    bins = []
    for number in range(BINS):
        inside = [i for i, share in enumerate(shares) if max(math.ceil(share * BINS) - 1, 0) == number]
        if inside:
            said, true = (statistics.fmean(values[i] for i in inside) for values in (shares, right))
            bins.append({"to": (number + 1) / BINS, "n": len(inside), "confidence": said, "accuracy": true})
    return {
        "calibration_error": round(metrics.calibration_error(shares, right, BINS), 4),
        "bins": [rounded(values) for values in bins],
    }


def rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers to four places."""
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in values.items()}
