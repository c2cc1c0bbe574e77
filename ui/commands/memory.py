"""`duet memory`: what was kept of conversations and long media, what of it is like a question, and forgetting it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ui.commands.options import Config, Json, print_json

if TYPE_CHECKING:
    from agent.records.memory import Memory

app = typer.Typer(help="What is remembered: list it, search it, forget it.", no_args_is_help=True)


@app.command("list")
def listing(as_json: Json = False, config: Config = None) -> None:
    """List the scopes, the latest used first."""
    import datetime

    from agent.records.memory import open_memory
    from experts.config import load_settings
    from ui import terminal

    kept = open_memory(load_settings(config)).scopes()
    if as_json:
        print_json(kept)
        return
    for row in kept:
        row["size"] = row.pop("bytes")
        row["used"] = f"{datetime.datetime.fromtimestamp(row['used']).astimezone():%Y-%m-%d %H:%M:%S}"
    terminal.rows(["scope", "part", "rows", "size", "used"], kept)


@app.command()
def search(
    question: Annotated[str, typer.Argument(help="What you want to find.")],
    scope: Annotated[str | None, typer.Option("--scope", help="Only there (default: everywhere).")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, the most like first.")] = 5,
    as_json: Json = False,
    config: Config = None,
) -> None:
    """Find what is most like a question."""
    import dataclasses

    from agent.records.memory import open_memory
    from experts.config import load_settings
    from ui import terminal

    memory = open_memory(load_settings(config))
    found = memory.search(question, None if scope is None else [_one(memory, scope)], limit)
    if as_json:
        print_json([dataclasses.asdict(row) for row in found])
        return
    terminal.rows(
        ["like", "scope", "text"],
        [{"like": f"{row.likeness:.2f}", "scope": row.scope[:24], "text": row.text[:200]} for row in found],
    )


@app.command()
def forget(
    scope: Annotated[str | None, typer.Argument(help="A scope of `duet memory list`, or how it begins.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All scopes.")] = False,
    config: Config = None,
) -> None:
    """Forget a scope, or all."""
    from agent.records.memory import open_memory
    from experts.config import load_settings
    from experts.errors import DuetError, InputError

    if (scope is None) == (not everything):
        raise InputError("say what to forget: a scope of `duet memory list`, or --all, but not both")
    memory = open_memory(load_settings(config))
    count = memory.forget(None if scope is None else _one(memory, scope))
    if memory.only_here:
        raise DuetError(f"nothing was forgotten: the memory on disk cannot be written ({memory.only_here.lower()})")
    print(f"forgot {count} things")


def _one(memory: Memory, scope: str) -> str:
    """The scope of this name, or the only one that begins so."""
    from experts.errors import InputError, UnknownNameError

    known = sorted({row["scope"] for row in memory.scopes()})
    found = [name for name in known if name == scope] or [name for name in known if name.startswith(scope)]
    if not found:
        raise UnknownNameError("scope", scope, known)
    if len(found) > 1:
        raise InputError(f"{len(found)} scopes begin with {scope[:40]!r}; give more of the name")
    return found[0]
