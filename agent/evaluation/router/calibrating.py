"""`duet calibrate` in steps: rows in, a policy fitted, measured as a router, told to people and written."""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.answering.fallback.calibration import Calibrated
from agent.answering.fallback.policy import Plain, Policy
from agent.evaluation.router import fitting, replay
from agent.evaluation.router.replay import Pair

if TYPE_CHECKING:
    from rich.table import Table

AUTO = "auto"


def provenance(sources: Sequence[Path], pairs: Sequence[Pair], command: str) -> dict[str, Any]:
    """What a policy was calibrated on: the runs, their models, how many questions, when and with what command."""
    runs, models = [], []
    for source in sources:
        try:
            described = json.loads(
                ((source if source.is_dir() else source.parent) / "run.json").read_text(encoding="utf-8")
            )
            runs.append({key: described[key] for key in ("benchmark", "questions", "digest", "route")})
            models.append({key: value for key, value in described["models"].items() if value})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            runs.append({"benchmark": source.name})  # rows that somebody put there without run.json
    return {
        "date": datetime.date.today().isoformat(),
        "command": command,
        "n": len(pairs),
        "runs": runs,
        "models": [described for number, described in enumerate(models) if described not in models[:number]],
    }


def report(pairs: Sequence[Pair], policy: Policy, *, crossed: Sequence[Calibrated] = ()) -> dict[str, Any]:
    """Auto against the single routes and the oracle, JSON-ready, with each route's calibration before and after.

    `crossed` gives the policy of each pair where the pairs are those that the policy was fitted on (cross-validation).
    """
    by_pair = dict(zip(map(id, pairs), crossed, strict=True)) if crossed else {}
    routers = replay.routers({"plain policy": Plain()})
    oracle = routers.pop("oracle")
    routers[AUTO] = lambda pair: replay.choose(pair, by_pair.get(id(pair), policy))
    if all(pair.auto for pair in pairs):
        routers["auto, measured"] = replay.measured
    found = replay.compare(pairs, routers | {"oracle": oracle}, AUTO)
    found["cross_validated"] = bool(crossed)
    if isinstance(policy, Calibrated):
        found["confidence"] = {
            route: _reliability(pairs, route, [by_pair.get(id(pair), policy) for pair in pairs])
            for route in ("experts", "connector")
        }
    return found


def _reliability(pairs: Sequence[Pair], route: str, policies: Sequence[Calibrated]) -> dict[str, Any]:
    """A route's confidence as it is, and as its scale turns it into a share, where it gave an answer and knows."""
    raw, scaled, right = [], [], []
    for pair, policy in zip(pairs, policies, strict=True):
        row = getattr(pair, route)
        if not row.error and row.confidence and not (route == "connector" and pair.case.coverage == "sound"):
            scale = getattr(policy, route)
            raw.append(row.confidence)
            scaled.append(scale.share(pair.case.kind, pair.case.coverage, row.confidence))
            right.append(bool(row.correct))
    return {"before": replay.reliability(raw, right), "after": replay.reliability(scaled, right), "n": len(raw)}


def shared(some: Sequence[Pair], others: Sequence[Pair]) -> int:
    """How many questions are in both."""
    known = {(pair.experts.id, pair.experts.question) for pair in some}
    return sum((pair.experts.id, pair.experts.question) in known for pair in others)


def calibrate(
    sources: Sequence[Path], *, most_asked: float = 0.45, command: str = ""
) -> tuple[Calibrated, dict[str, Any]]:
    """The policy for the rows of a validation split, and its cross-validated report.

    Raises:
        InputError: the sources hold too few questions that both routes answered.
    """
    pairs = replay.read_pairs(sources)
    policy = fitting.fit(pairs, most_asked=most_asked, about=provenance(sources, pairs, command))
    crossed = [dataclasses.replace(other, price=policy.price) for other in fitting.cross_fitted(pairs)]
    found = report(pairs, policy, crossed=crossed)
    auto = found["routers"][AUTO]
    about = {
        **policy.about,
        "most_asked": most_asked,
        "cross_validated": {
            "accuracy": {name: values["accuracy"]["value"] for name, values in found["routers"].items()},
            "asked": auto["asked"],
            "asked_where_experts_are_right": auto["asked_where_experts_are_right"],
        },
    }
    return dataclasses.replace(policy, about=about), found


def write(policy: Calibrated, out: Path) -> None:
    """The policy as a file that appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        text = json.dumps(policy.to_dict(), indent=1, ensure_ascii=False, allow_nan=False)
        part.write_text(text + "\n", encoding="utf-8")
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)


# -- for people -----------------------------------------------------------------------------------------------------


def tables(found: dict[str, Any], title: str) -> list[Table]:
    """A report as rich tables."""
    from rich.box import SIMPLE
    from rich.table import Table

    narrow: dict[str, Any] = {"box": SIMPLE, "padding": (0, 0), "pad_edge": False}  # to fit 80 columns
    routers = Table("router", "right (95 %)", "asked", "asked where experts right", "s", title=title, **narrow)
    for name, values in found["routers"].items():
        right = values["accuracy"]
        share = f"{right['value']:.1%} ({right['low']:.0%}-{right['high']:.0%})"
        asked = (f"{values[key]:.1%}" for key in ("asked", "asked_where_experts_are_right"))
        routers.add_row(name, share, *asked, f"{values['seconds']:.2f}")
    kinds = Table(
        "kind", "n", "experts", "connector", "auto (95 %)", "oracle", "asked", "no worse", title="by kind", **narrow
    )
    for kind, values in found["kinds"].items():
        auto = f"{values[AUTO]:.1%} ({values['low']:.0%}-{values['high']:.0%})"
        ends = (f"{values['oracle']:.1%}", f"{values['asked']:.1%}", "yes" if values["no_worse"] else "NO")
        single = (f"{values[f'always {route}']:.1%}" for route in ("experts", "connector"))
        kinds.add_row(kind, str(values["n"]), *single, auto, *ends, end_section=kind == "all")
    shown = [routers, kinds]
    for route, values in found.get("confidence", {}).items():
        errors = " -> ".join(f"{values[when]['calibration_error']:.3f}" for when in ("before", "after"))
        table = Table("up to", "n", "sure", "right", "n", "share", "right", title=f"{route}: error {errors}", **narrow)
        bins = {when: {b["to"]: b for b in values[when]["bins"]} for when in ("before", "after")}
        for to in sorted(bins["before"].keys() | bins["after"].keys()):
            cells = [_cells(bins[when].get(to)) for when in ("before", "after")]
            table.add_row(f"{to:.1f}", *cells[0], *cells[1])
        shown.append(table)
    return shown


def _cells(values: dict[str, Any] | None) -> tuple[str, str, str]:
    if values is None:
        return "", "", ""
    return str(values["n"]), f"{values['confidence']:.2f}", f"{values['accuracy']:.2f}"
