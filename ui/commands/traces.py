"""`duet traces`: what was asked on this machine, step by step, and its export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ui.commands.options import Config, Json, print_json

app = typer.Typer(help="Recorded questions: list them, look at one, export them.", no_args_is_help=True)
FORMATS = ("json", "otel")

Limit = Annotated[int, typer.Option("--limit", min=1, help="How many, the newest first.")]


@app.command("list")
def listing(limit: Limit = 20, as_json: Json = False, config: Config = None) -> None:
    """List the newest traces."""
    import datetime

    from agent.records.traces import open_traces
    from experts.config import load_settings
    from ui import terminal

    rows = open_traces(load_settings(config)).listing(limit)
    if as_json:
        print_json(rows)
        return
    for row in rows:
        began = datetime.datetime.fromtimestamp(row["began"]).astimezone()
        row |= {"id": row["id"][:8], "asked": f"{began:%Y-%m-%d %H:%M:%S}", "seconds": f"{row['seconds']:.2f}"}
    terminal.rows(["id", "asked", "route", "status", "seconds", "question"], rows)


@app.command("show")
def one(
    trace_id: Annotated[str, typer.Argument(metavar="ID", help="The first characters of a trace's id.")],
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Show one trace as a tree of steps, with when each began and how long it took."""
    from agent.records.traces import open_traces
    from experts.config import load_settings

    trace = open_traces(load_settings(config)).get(trace_id)
    if as_json:
        print_json(trace)
    else:
        _draw(trace)


@app.command()
def export(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Which; the newest by default.")] = None,
    form: Annotated[str, typer.Option("--format", help="json, or otel: OTLP/JSON by OpenInference's names.")] = "json",
    limit: Limit = 20,
    out: Annotated[Path | None, typer.Option("--out", help="A file (default: print).")] = None,
    config: Config = None,
) -> None:
    """Export traces."""
    import importlib.metadata
    import json

    from agent.records import otel
    from agent.records.traces import open_traces
    from experts.config import load_settings
    from experts.errors import UnknownNameError

    if form not in FORMATS:
        raise UnknownNameError("format", form, FORMATS)
    kept = open_traces(load_settings(config))
    recorded = [kept.get(name) for name in ids or [row["id"] for row in kept.listing(limit)]]
    value = otel.export(recorded, importlib.metadata.version("duet")) if form == "otel" else {"traces": recorded}
    if out is None:
        print_json(value)
    else:
        out.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _draw(trace: dict) -> None:
    from rich.console import Console
    from rich.text import Text
    from rich.tree import Tree

    from ui import terminal

    def line(kind: str, name: str, start_s: float, seconds: float, more: str) -> Text:
        text = Text(f"{kind:<9}{name}", no_wrap=True, overflow="ellipsis")
        text.append(f"  +{start_s:.3f} s, {seconds:.3f} s", style="dim")
        return text.append(f"  {_plain(more)[:120]}")

    tree = Tree(line("ask", trace["route"], 0.0, trace["seconds"], trace["question"]))
    for route in trace["steps"]:
        branch = tree.add(line("route", route["name"], route["start_s"], route["seconds"], ""))
        for step in route["steps"]:
            branch.add(line(step["kind"], _plain(step["name"]), step["start_s"], step["seconds"], _in_words(step)))
    console = Console(highlight=False)
    console.print(
        f"trace {trace['id']}, {trace['status']}" + (f": {_plain(trace['error'])}" if trace["error"] else ""),
        markup=False,
    )
    console.print(tree)
    for answer in trace["answers"]:
        sure = terminal.sure(answer["confidence"])
        console.print(f"{answer['route']}: {_plain(answer['text'])} (sure {sure})", markup=False)


def _in_words(step: dict) -> str:
    """A step's result in a few words."""
    if step["kind"] == "expert":
        count = len(step.get("findings", [])) + step.get("findings_left_out", 0)
        return f"{count} findings" + (", known from before" if step.get("data", {}).get("cached") else "")
    data = step.get("data", {})
    return step.get("text") or ", ".join(f"{key} {value}" for key, value in data.items() if not isinstance(value, list))


def _plain(text: str) -> str:
    """Text without what a terminal would act on."""
    return "".join(c if c.isprintable() else " " for c in text)
