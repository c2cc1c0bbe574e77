"""`duet compare`: a file of one's own questions to several routes, side by side, into the arena's database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ui.commands.evaluate import counter
from ui.commands.options import Config, Json, KeepGoing, Model, Profile, print_json, tell


def compare(
    questions: Annotated[
        Path, typer.Argument(help="FILE.jsonl, FILE.csv or a folder: question, image, audio or video, answer.")
    ],
    routes: Annotated[
        str, typer.Option("--routes", help="Two or more of experts, connector, auto.")
    ] = "experts,connector",
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the run (default: one under DUET_HOME).")] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Questions, equally many of each kind; 0 = all.")] = 0,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Questions at once; 1 times each alone.")] = 1,
    database: Annotated[Path | None, typer.Option("--db", help="The arena's database (default: the app's).")] = None,
    keep_going: KeepGoing = False,
    as_json: Json = False,
    config: Config = None,
    profile: Profile = None,
    model: Model = None,
) -> None:
    """Compare routes on your own questions; a run that was cut off goes on where it was."""
    import dataclasses

    from agent.agent import Agent
    from agent.evaluation.benchmarks.own_questions import load_questions
    from connector.data.records import sample
    from experts.config import load_settings
    from ui.votes import comparison
    from ui.votes.store import shared

    chosen = comparison.routes_of(routes)
    loaded = load_questions(questions)
    benchmark = dataclasses.replace(loaded.benchmark, records=sample(loaded.benchmark.records, limit=limit))
    agent = Agent(load_settings(config, profile=profile, model=model))
    if keep_going:
        benchmark, unread = comparison.readable(benchmark, agent)
        loaded = dataclasses.replace(loaded, refused=(*loaded.refused, *unread))
        for line in unread:
            tell("MediaError", line, as_json)
    folder = out or comparison.folder_for(benchmark, agent, chosen)
    with counter() as count:
        found = comparison.compare(benchmark, agent, chosen, folder, shared(database), batch=batch, report=count)
    comparison.write(found, folder)
    summed = comparison.summary(found) | {"refused": list(loaded.refused)}
    if as_json:
        print_json(summed)
    else:
        _show(summed, folder)


def _show(summed: dict[str, Any], folder: Path) -> None:
    from ui import terminal

    rows = []
    for route, values in summed["routes"].items():
        right = values["right"]
        share = f"{right['value']:.1%} ({right['low']:.1%} - {right['high']:.1%})" if right else "no answers known"
        times = {key: f"{values[key]:.2f}" if values[key] is not None else "" for key in ("median_s", "p95_s")}
        rows.append({"route": route, "n": values["n"], "right": share, "errors": values["errors"], **times})
    terminal.rows(["route", "n", "right", "errors", "median_s", "p95_s"], rows)
    for pair, v in summed["pairs"].items():
        if sum(v[key] for key in ("both", "only_first", "only_second", "neither")):
            print(
                f"{pair}: both right {v['both']}, only the first {v['only_first']}, only the other {v['only_second']}, "
                f"neither {v['neither']} (p = {v['p_value']:.3g})"
            )
    for line in summed["refused"]:
        print(f"left out: {line}")
    print(f"{summed['battles']} new battles in the database; rows in {folder}")
