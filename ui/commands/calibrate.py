"""`duet calibrate`: when the connector is asked on route auto, learnt from rows of a validation split in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ui.commands.options import Json, print_json

Rows = Annotated[
    list[Path] | None,
    typer.Argument(metavar="ROWS...", help="Folders of `duet evaluate --route both` on a validation split."),
]


def calibrate(
    rows: Rows = None,
    test: Annotated[
        list[Path] | None, typer.Option("--test", help="Rows of other questions to report on; may be given often.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="Fit nothing: report on --test with this file's policy.")
    ] = None,
    most_asked: Annotated[
        float, typer.Option("--most-asked", help="The most of the questions experts answer rightly to ask about.")
    ] = 0.45,
    out: Annotated[Path, typer.Option("--out", help="File for the policy; name it in the setting policy.")] = Path(
        "policy.json"
    ),
    as_json: Json = False,
) -> None:
    """Fit the policy of route auto to rows of both routes, and report it as a router; no model is needed."""
    import shlex

    from agent.answering.fallback import calibration
    from agent.evaluation.router import calibrating, replay
    from experts.errors import InputError

    rows, test = rows or [], test or []
    if bool(rows) == (policy is not None):
        raise InputError("give either ROWS of a validation split to fit a policy, or --policy FILE with --test ROWS")
    if policy is not None and not test:
        raise InputError("--policy needs --test ROWS to report on")
    tested = replay.read_pairs(test) if test else []
    shared = calibrating.shared(replay.read_pairs(rows), tested) if rows else 0
    if shared:
        raise InputError(f"{shared} questions of --test are ones to fit on; give rows of other questions")
    reports = {}
    if rows:
        named = shlex.join(["duet", "calibrate", *(source.name for source in rows), "--most-asked", f"{most_asked:g}"])
        fitted, reports["validation"] = calibrating.calibrate(rows, most_asked=most_asked, command=named)
        calibrating.write(fitted, out)
    else:
        assert policy is not None, "checked above"
        fitted = calibration.load(policy)
    if test:
        reports["test"] = calibrating.report(tested, fitted)
    if as_json:
        print_json(reports | {"policy": fitted.to_dict()})
        return
    from rich.console import Console

    console = Console()
    titles = {"validation": "validation, each question by a policy fitted without its picture", "test": "test"}
    for name, found in reports.items():
        for table in calibrating.tables(found, f"{titles[name]}, {found['questions']} questions"):
            console.print(table)
    if rows:
        console.print(f"policy written to {out}: set policy in duet.toml, or DUET_POLICY, to use it", markup=False)
