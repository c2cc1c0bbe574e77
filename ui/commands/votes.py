"""`duet votes`: the arena's votes out, in, and what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ui.commands.options import Json, print_json

app = typer.Typer(help="The arena's votes: out, in, and what they say.", no_args_is_help=True)
Database = Annotated[Path | None, typer.Option("--db", help="The arena's database (default: the app's).")]


@app.command()
def export(
    out: Annotated[Path, typer.Option("--out", help="Folder for the files and the media they name.")],
    formats: Annotated[
        str, typer.Option("--formats", help="Of jsonl, csv, pairs (for `duet train dpo`).")
    ] = "jsonl,csv,pairs",
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Write all battles and votes, and preference pairs that `duet train dpo --records` reads."""
    from ui.votes.exchange import FORMATS
    from ui.votes.exchange import export as write
    from ui.votes.store import shared

    chosen = [part.strip() for part in formats.split(",") if part.strip()]
    written = write(shared(db), out, chosen)
    if as_json:
        print_json(written)
        return
    for name, file in FORMATS.items():
        if name in written:
            print(f"{file}: {written[name]}")
    for reason, count in written.get("left_out", {}).items():
        print(f"no pair from {count} vote(s): {reason}")
    print(f"media copied: {written['media']}")


@app.command("import")
def import_votes(
    file: Annotated[Path, typer.Argument(help="battles.jsonl of an export, or its folder.")],
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Merge an export; what is there already stays, and a second import changes nothing."""
    from ui.votes.exchange import import_
    from ui.votes.store import shared

    written = import_(shared(db), file)
    if as_json:
        print_json(written)
    else:
        print(
            f"{written['new_battles']} new battles and {written['new_votes']} new votes of {written['battles']}; "
            f"{written['media']} media"
        )


@app.command()
def stats(
    judge: Annotated[str, typer.Option("--judge", help="people (votes) or key (known right answers).")] = "people",
    by: Annotated[str, typer.Option("--by", help="route, or variant: route and models.")] = "route",
    db: Database = None,
    as_json: Json = False,
) -> None:
    """Who serves better: win rates, ratings, and what may have tilted them."""
    from agent.evaluation.ranking import standings
    from experts.errors import UnknownNameError
    from ui.votes.records import comparisons
    from ui.votes.store import shared

    for value, what, known in ((judge, "judge", ("people", "key")), (by, "grouping", ("route", "variant"))):
        if value not in known:
            raise UnknownNameError(what, value, known)
    found = standings(comparisons(shared(db).all(), judge=judge, by=by))
    if as_json:
        print_json(found)
    else:
        _show(found)


def _show(found: dict[str, Any]) -> None:
    from ui import terminal

    if not found["contestants"]:
        print("no votes yet; vote in the arena of `duet ui`, or compare with `duet compare FILE`")
        return
    rows = []
    for one in found["contestants"]:
        rate, seconds = one["win_rate"], one["seconds"]
        rating = found["ratings"].get(one["name"])
        rows.append(
            {
                "contestant": one["name"],
                "won": f"{rate['value']:.1%} ({rate['low']:.1%} - {rate['high']:.1%})",
                "of": rate["n"],
                "ties": one["ties"],
                "both bad": one["both_bad"],
                "rating": f"{rating['value']:.0f} ({rating['low']:.0f} - {rating['high']:.0f})" if rating else "",
                "median s": "" if seconds["median"] is None else f"{seconds['median']:.2f}",
                "p95 s": "" if seconds["p95"] is None else f"{seconds['p95']:.2f}",
            }
        )
    terminal.rows(list(rows[0]), rows)
    side = found["position"]
    print(
        f"side A won {side['value']:.1%} of {side['n']} decided battles "
        f"(p = {side['p_value']:.3g} if sides do not matter)"
    )
    length = found["length_controlled"]
    if length:
        wins = ", ".join(f"{name} {value:.1%}" for name, value in length["wins"].items())
        print(
            f"at equal length: {wins}; a longer answer gains "
            f"{length['points_per_sd']['value']:.0f} points a standard deviation"
        )
