"""`duet evaluate`: the same questions to every route, and how often each is right."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ui.commands.options import Config, Json, Profile, print_json


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
    agent = Agent(load_settings(config, profile=profile))
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
