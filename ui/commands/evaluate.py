"""`duet evaluate` and `duet calibrate`: how often each route is right, and when auto is to ask the connector."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ui.commands.options import Config, Json, Model, Profile, print_json


def evaluate(
    benchmark: Annotated[
        str,
        typer.Option("--benchmark", help="scenes, captions, easy-vqa, photos, mixed, mixed-validation or FILE.jsonl."),
    ],
    route: Annotated[str, typer.Option("--route", help="experts, connector, auto or both.")] = "both",
    data: Annotated[
        Path | None, typer.Option("--data", help="Folder of the benchmark, such as that of `duet data scenes`.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Questions, equally many of each kind; 0 = all.")] = 0,
    offset: Annotated[int, typer.Option("--offset", min=0, help="Questions to skip in the sample's order.")] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the sample's order.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the rows (default: one under runs/evaluation).")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Questions at once; 1 to time single ones.")] = 16,
    as_json: Json = False,
    config: Config = None,
    profile: Profile = None,
    model: Model = None,
) -> None:
    """Measure routes on a benchmark; a run that was cut off goes on where it was."""
    from agent.agent import Agent
    from agent.evaluation import report, run
    from agent.evaluation.benchmarks import registry
    from experts.config import load_settings
    from experts.errors import UnknownNameError

    if route not in run.ROUTES:
        raise UnknownNameError("route", route, run.ROUTES)
    chosen = registry.load(benchmark, data, limit=limit, offset=offset, seed=seed)
    agent = Agent(load_settings(config, profile=profile, model=model))
    folder = out or Path("runs") / "evaluation" / run.folder_name(run.settings(chosen, agent, route))
    with counter() as count:
        rows = run.evaluate(chosen, agent, route, folder, batch=batch, report=count)
    summary = report.summarise(rows, chosen)
    if as_json:
        print_json(summary)
    else:
        console = Console()
        for table in report.tables(summary):
            console.print(table)
        console.print(f"rows in {folder}", markup=False)


@contextlib.contextmanager
def counter() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr; yields the callback `report(done, total)`."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("questions", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


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
