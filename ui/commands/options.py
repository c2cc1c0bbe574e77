"""Options that several commands share, and JSON as all of them print it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from experts.config import Settings

FETCH_S = 30.0  # for a medium at a web address, where nothing else is set

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[
    Path | None, typer.Option("--config", help="A TOML file of settings (default: ./duet.toml if there).")
]
Profile = Annotated[str | None, typer.Option("--profile", help="embedded, hub or server.")]

KeepGoing = Annotated[
    bool, typer.Option("--keep-going", help="Leave out media that cannot be read, each with a line on stderr.")
]
AudioTrack = Annotated[
    int | None,
    typer.Option("--audio-track", min=1, help="Which sound track is heard (default: the file's own choice)."),
]
Fetch = Annotated[bool, typer.Option("--fetch", help=f"Fetch media at web addresses, within {FETCH_S:g} s each.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The multimodal model: a hub name, a folder, an endpoint's URL (#ID names a model there), auto.",
    ),
]


def fetching(settings: Settings, fetch: bool) -> Settings:
    """The settings, with web addresses fetched where `fetch` says so."""
    if not fetch or settings.limits.fetch_s:
        return settings
    return dataclasses.replace(settings, limits=dataclasses.replace(settings.limits, fetch_s=FETCH_S))


def tell(what: str, message: str, as_json: bool, kind: str = "error") -> None:
    """A line on stderr: `message`, and with --json an object of `kind` (error or note) that says `what` it is of."""
    line = " ".join("".join(c if c.isprintable() else " " for c in message).split())
    with contextlib.suppress(BrokenPipeError):  # nobody reads it
        print(json.dumps({kind: {"type": what, "message": line}}) if as_json else f"duet: {line}", file=sys.stderr)


def print_json(value: Any) -> None:
    """`value` on stdout as JSON, ASCII where stdout has no Unicode; NaN would be a fault of ours, nothing to print."""
    unicode = str(getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    print(json.dumps(value, ensure_ascii=not unicode, indent=1, allow_nan=False))
