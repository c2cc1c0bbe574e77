"""How the command line shows answers as they come, findings, tables and progress."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from agent.answer import Answer, Step
from experts.base import Finding

MARGIN = 11  # columns before a line of a route: its name stands there
MOST_SUPPORT = 3  # findings named for a sentence
MOST_FINDINGS = 20  # in a table; the rest is counted
COLOURS = {"error": "red", "fallback": "yellow", "note": "yellow", "stop": "yellow"}


def sure(confidence: float | None) -> str:
    """A confidence for people; "-" where the model does not tell."""
    return "-" if confidence is None else f"{confidence:.2f}"


def answers(question: str, steps: Iterable[Step]) -> list[Answer]:
    """Show each step with its time and each answer as it is said, then tables of the answers and their evidence."""
    console = Console(highlight=False)
    console.print(f"[bold]{_safe(question)}[/bold]")
    done: list[Answer] = []
    voice = _Voice(console)
    route = ""
    for step in steps:
        if step.kind == "token":
            voice.say(step.route, step.text)
            continue
        voice.end()
        if step.answer is not None:
            done.append(step.answer)
        elif step.kind != "media" or not done:  # two routes take the same media in
            _line(console, step, first=step.route != route)
            route = step.route
    voice.end()
    table = Table("route", "answer", box=box.SIMPLE_HEAD, pad_edge=False, title="Answers", title_justify="left")
    table.add_column("sure", justify="right")
    table.add_column("seconds", justify="right")
    for answer in done:
        table.add_row(answer.route, _safe(answer.text), sure(answer.confidence), f"{answer.seconds:.2f}")
    console.print(table)
    for answer in done:
        if answer.links:
            several = f" ({answer.route})" if len(done) > 1 else ""
            console.print(f"[dim]supported by{several}  {_safe(_support(answer))}[/dim]")
    found = next((answer.findings for answer in done if answer.findings), ())
    if found:
        console.print(_table(found, "Evidence"))
    return done


def findings(found: Sequence[Finding]) -> None:
    """A table of findings."""
    console = Console(highlight=False)
    console.print(_table(found, "") if found else "nothing found")


def rows(columns: Sequence[str], values: Iterable[dict[str, Any]]) -> None:
    """A table of dicts; lists are joined, byte counts under "size" made readable."""
    table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
    for value in values:
        table.add_row(*(_safe(_cell(column, value[column])) for column in columns))
    Console(highlight=False).print(table)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, int, int, str], None]]:
    """A progress bar a name; yields the callback `report(name, done_bytes, total_bytes, note)`."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:>24}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bar = Progress(*columns, console=Console(file=sys.stderr))
    tasks: dict[str, Any] = {}

    def report(name: str, done: int, total: int, note: str) -> None:
        bar.start()  # at the first report: before it, there may be an error to show alone
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=total, note=note)
        bar.update(tasks[name], completed=done, total=total, note=note)

    try:
        yield report
    finally:
        if tasks:
            bar.stop()


class _Voice:
    """Writes an answer as it comes, broken between words at the console's width."""

    def __init__(self, console: Console) -> None:
        self.console, self.column, self.word = console, 0, ""

    def say(self, route: str, text: str) -> None:
        """More of `route`'s answer."""
        if not self.column:
            self.console.print(f"[bold cyan]{_safe(route):<{MARGIN}}[/bold cyan]", end="")
            self.column = MARGIN
        for character in _plain(text):
            if character.isspace():
                self._flush()
                self.word = " "
            else:
                self.word += character
        self.console.file.flush()

    def end(self) -> None:
        """The answer is over, or something else is to be shown."""
        if self.column:
            self._flush()
            self.console.print()
        self.column, self.word = 0, ""

    def _flush(self) -> None:
        word = self.word
        if self.column > MARGIN and self.column + len(word) > self.console.width:
            self.console.print()
            self.column = MARGIN
            self.console.out(" " * MARGIN, end="")
        if self.column == MARGIN:
            word = word.lstrip()
        self.console.out(word, end="", highlight=False)
        self.column += len(word)
        self.word = ""


def _line(console: Console, step: Step, *, first: bool) -> None:
    """One step that is over: the route where it is new, what, with what result, and how long it took."""
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=MARGIN - 1)
    grid.add_column(width=10)
    grid.add_column(ratio=1)
    grid.add_column(width=8, justify="right")
    colour = COLOURS.get(step.kind, "dim")
    kind = step.name if step.kind == "expert" or (step.kind == "error" and step.name != step.route) else step.kind
    seconds = f"{step.seconds:.2f} s" if step.seconds >= 0.005 else ""
    grid.add_row(
        f"[cyan]{_safe(step.route)}[/cyan]" if first else "",
        f"[{colour}]{_safe(kind[:10])}[/{colour}]",
        f"[{colour}]{_safe(_in_words(step))}[/{colour}]",
        f"[dim]{seconds}[/dim]",
    )
    console.print(grid)


def _in_words(step: Step) -> str:
    """A step's result in a few words."""
    if step.kind == "media":
        size = (
            "{} x {} px".format(*step.data["size_px"]) if "size_px" in step.data else f"{step.data['duration_s']:.1f} s"
        )
        return f"{step.name}, {step.data['kind']}, {size}, sha256 {step.data['sha256'][:12]}"
    if step.kind == "expert":
        by = f" by {step.data['weights']}" if step.data.get("weights") else ""
        return f"{len(step.findings)} finding{'s' if len(step.findings) != 1 else ''}{by}"
    if step.kind == "encode":
        return f"{len(step.data['images'])} picture(s) to {step.data['tokens']} tokens by {step.name}"
    if step.kind == "connect":
        return f"{step.name}: {_soft_words(step)}"
    if step.kind == "llm":
        adapter = f" with adapter {step.data['adapter']}" if step.data.get("adapter") else ""
        return f"{step.data['answer_tokens']} tokens by {step.name}{adapter}"
    return step.text


def _support(answer: Answer) -> str:
    """Which findings the sentences of an answer rest on, with where to look: a box in pixels, or seconds."""
    spans = list(dict.fromkeys((link.start, link.end) for link in answer.links))
    parts = []
    for start, end in spans:
        cited = []
        for number in dict.fromkeys(link.finding for link in answer.links if link.start == start):
            finding = answer.findings[number]
            text = finding.text if len(finding.text) <= 30 else finding.text[:29] + "…"
            corners = f" ({' '.join(f'{v:.0f}' for v in finding.box)})" if finding.box else ""
            when = f" {finding.span[0]:.1f}-{finding.span[1]:.1f} s" if finding.span else ""
            cited.append(f"{finding.expert} '{text}'{corners}{when}")
        head = f"{answer.text[start:end][:40]} <- " if len(spans) > 1 else ""
        parts.append(head + ", ".join(cited[:MOST_SUPPORT]) + (" …" if len(cited) > MOST_SUPPORT else ""))
    return "; ".join(parts)


def _soft_words(step: Step) -> str:
    """What the connector says where its words can be told."""
    said = [
        f"{slot['colour']} {slot['name']} {slot['place']} ({slot['score']:.2f})"
        for picture in step.data.get("says", [])
        for slot in picture
        if slot["score"] > 0.3
    ]
    return "; ".join(said) or "soft tokens"


def _table(found: Sequence[Finding], title: str) -> Table:
    several = len({f.source for f in found}) > 1
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_justify="left")
    for column in ["in", "expert", "text"] if several else ["expert", "text"]:
        table.add_column(column)
    table.add_column("score", justify="right")
    table.add_column("box px" if any(f.box for f in found) else "")
    table.add_column("time s" if any(f.span for f in found) else "")
    for f in found[:MOST_FINDINGS]:
        corners = " ".join(f"{v:.0f}" for v in f.box) if f.box else ""
        span = f"{f.span[0]:.1f}-{f.span[1]:.1f}" if f.span else ""
        colour = f" ({f.extra['colour']})" if f.extra.get("colour") else ""
        where = [_safe(f.source)] if several else []
        table.add_row(*where, _safe(f.expert), _safe(f.text[:400] + colour), f"{f.score:.2f}", corners, span)
    if len(found) > MOST_FINDINGS:
        table.add_row(*[""] * (1 + several), f"and {len(found) - MOST_FINDINGS} more")
    return table


def _cell(column: str, value: Any) -> str:
    if column == "size":
        return f"{value / 1e6:.1f} MB"
    return ", ".join(value) if isinstance(value, list | tuple) else str(value)


def _plain(text: str) -> str:
    """Text without what a terminal would act on."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def _safe(text: str) -> str:
    """Text without what rich or a terminal would act on."""
    from rich.markup import escape

    return escape(_plain(text))
