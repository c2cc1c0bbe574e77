"""`duet weights`: what there is, fetch it, check it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ui.commands.options import Json, print_json

app = typer.Typer(help="The weights: what there is, fetch it, check it.", no_args_is_help=True)


@app.command("list")
def listing(as_json: Json = False) -> None:
    """List all weights: whether they are here, their size, licence and origin."""
    import dataclasses

    from experts.weights import catalogue
    from ui import terminal

    rows = [dataclasses.asdict(row) for row in catalogue.listing()]
    if as_json:
        print_json(rows)
    else:
        terminal.rows(["name", "state", "size", "licence", "origin"], rows)


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all embedded ones by default.")] = None,
) -> None:
    """Fetch and verify weights."""
    from experts.weights import catalogue
    from ui import terminal

    with terminal.progress() as report:
        catalogue.fetch(names or catalogue.embedded(), progress=report)
    if not names:
        from connector import opening

        if not opening.is_prepared():
            print("making the language model ready, once: this takes about a minute", file=sys.stderr)
            opening.prepare()


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(help="Which; all that are here by default.")] = None,
) -> None:
    """Check the SHA-256 of every file."""
    from experts.errors import DuetError, InputError
    from experts.weights import catalogue

    chosen = names or [row.name for row in catalogue.listing() if row.state != "absent"]
    faults = []
    for name in chosen:
        try:
            catalogue.verify(name)
            print(f"{name}: good")
        except InputError:
            raise
        except DuetError as error:
            faults.append(str(error))
            print(f"{name}: {error}")
    if faults:
        raise typer.Exit(1)
