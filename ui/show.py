"""How the command line shows answers, findings, tables and progress."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from agent.answer import Answer, Step
from experts.base import Finding


def answers(question: str, steps: Iterable[Step]) -> None:
    """Stream each route's answer, then a table of all with evidence and times."""
    console = Console()
    console.print(f"[bold]{_safe(question)}[/bold]")
    done: list[Answer] = []
    speaking = ""
    for step in steps:
        if step.kind == "token":
            if speaking != step.route:
                speaking = step.route
                console.print(f"[cyan]{step.route:>9}[/cyan] ", end="")
            console.out(step.text, end="", highlight=False)
        elif step.kind == "fallback":
            console.print(f"[yellow] fallback[/yellow] {_safe(step.text)}")
            speaking = ""
        elif step.kind == "error":
            console.print(f"[red]    error[/red] {_safe(step.name)}: {_safe(step.text)}")
        elif step.answer is not None:
            if speaking:
                console.print()
            else:
                console.print(f"[cyan]{step.route:>9}[/cyan] {_safe(step.answer.text)}")
            speaking = ""
            done.append(step.answer)
        if speaking and step.kind == "evidence":
            speaking = ""
    table = Table("route", "answer", "confidence", "seconds", "evidence", expand=False)
    for answer in done:
        table.add_row(answer.route, _safe(answer.text), f"{answer.confidence:.2f}", f"{answer.seconds:.1f}", _evidence(answer))
    console.print(table)


def findings(found: Sequence[Finding]) -> None:
    """A table of findings."""
    table = Table("expert", "text", "score", "box px", "span s")
    for f in found:
        box = " ".join(f"{v:.0f}" for v in f.box) if f.box else ""
        span = f"{f.span[0]:.1f}-{f.span[1]:.1f}" if f.span else ""
        table.add_row(f.expert, _safe(f.text), f"{f.score:.2f}", box, span)
    console = Console()
    console.print(table if found else "nothing found")


def rows(columns: Sequence[str], values: Iterable[dict[str, Any]]) -> None:
    """A table of dicts; lists are joined, byte counts under "size" made readable."""
    table = Table(*columns)
    for value in values:
        table.add_row(*(_safe(_cell(column, value[column])) for column in columns))
    Console().print(table)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int, str], None]]:
    """A progress bar a name; yields the callback `report(name, done_bytes, total_bytes, note)`."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:>24}"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=Console(file=sys.stderr)) as bar:
        tasks: dict[str, Any] = {}

        def report(name: str, done: int, total: int, note: str) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total, note=note)
            bar.update(tasks[name], completed=done, total=total, note=note)

        yield report


def _evidence(answer: Answer) -> str:
    for step in answer.trace:
        if step.kind == "evidence":
            return _safe(step.text)
        if step.kind == "connect" and "says" in step.data:
            said = [f"{s['colour']} {s['name']} {s['place']} ({s['score']:.2f})" for row in step.data["says"] for s in row if s["score"] > 0.3]
            return _safe("soft words: " + ("; ".join(said) or "none"))
    return ""


def _cell(column: str, value: Any) -> str:
    if column == "size":
        return f"{value / 1e6:.1f} MB"
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)


def _safe(text: str) -> str:
    """Text without what rich or a terminal would act on."""
    from rich.markup import escape

    return escape("".join(c for c in text if c.isprintable() or c == "\n"))
