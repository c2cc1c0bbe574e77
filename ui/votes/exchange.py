"""Battles and votes out of the database (CSV, JSON lines, preference pairs with their media) and back into one."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from connector.data.records import KINDS, Record, parse_record, write_records
from experts.errors import InputError
from ui.votes.records import CHOICES, SIDES, Battle, Side, Vote
from ui.votes.store import REASONS, VoteStore

FORMATS = {"jsonl": "battles.jsonl", "csv": "battles.csv", "pairs": "preferences.jsonl"}
MEDIA = "media"  # folder of an export that holds the files
LONGEST_LINE = 4 << 20  # bytes of an imported line
Pair = tuple[Battle, Vote | None]


def export(store: VoteStore, folder: Path, formats: Sequence[str] = tuple(FORMATS)) -> dict[str, Any]:
    """Write battles.jsonl (all there is), battles.csv (for spreadsheets) and preferences.jsonl (for `duet train dpo`).

    Media that the files name are copied into the folder's media. Returns how many of each were written, and why votes
    are not among the preference pairs.

    Raises:
        InputError: an unknown format, or `folder` is no folder that can be written.
    """
    if unknown := sorted(set(formats) - set(FORMATS)):
        raise InputError(f"{unknown[0]!r} is no format; accepted: {', '.join(FORMATS)}")
    pairs = store.all()
    files: set[str] = set()
    told: dict[str, Any] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if "jsonl" in formats:
            write_whole(folder / FORMATS["jsonl"], lambda file: [file.write(to_line(*pair) + "\n") for pair in pairs])
            files |= {medium["file"] for battle, _ in pairs for medium in battle.media if "file" in medium}
            told["jsonl"] = len(pairs)
        if "csv" in formats:
            write_whole(folder / FORMATS["csv"], lambda file: _csv(file, pairs))
            told["csv"] = len(pairs)
        if "pairs" in formats:
            records, left_out = preferences(pairs, store.media)
            told["pairs"] = write_records(folder / FORMATS["pairs"], records)
            told["left_out"] = left_out
            files |= {Path(name).name for record in records for name in (record.image, record.audio) if name}
        told["media"] = sum(_copy(store.media / name, folder / MEDIA / name) for name in sorted(files))
    except OSError as error:
        raise InputError(
            f"the export into '{folder.name}' failed ({error.strerror}); give a folder with room"
        ) from None
    return told


def preferences(pairs: Sequence[Pair], media: Path) -> tuple[list[Record], dict[str, int]]:
    """Votes that somebody won as records whose answer was preferred to `rejected`; counts of the others by reason.

    A record is about one image at most, so votes about videos, sounds and several images are left out.
    """
    records: list[Record] = []
    left_out: Counter[str] = Counter()
    for battle, vote in pairs:
        if vote is None:
            continue
        record = _preference(battle, vote, media)
        if isinstance(record, str):
            left_out[record] += 1
        else:
            records.append(record)
    return records, dict(left_out)


def _preference(battle: Battle, vote: Vote, media: Path) -> Record | str:
    """A vote as a record, or why it makes none."""
    if vote.choice not in SIDES:
        return "nobody won"
    won, lost = (battle.a, battle.b) if vote.choice == "a" else (battle.b, battle.a)
    if not (won.whole and lost.whole):
        return "an answer was cut off"
    if won.error or lost.error or not won.text.strip() or not lost.text.strip():
        return "a route had no answer"
    if won.text.strip() == lost.text.strip():
        return "the answers are the same"
    if len(battle.media) > 1 or any(medium["kind"] != "image" for medium in battle.media):
        return "not about a single image"
    image = None
    for medium in battle.media:
        if "file" not in medium or not (media / medium["file"]).is_file():
            return "its medium is not here"
        image = f"{MEDIA}/{medium['file']}"
    record = Record(
        id=f"battle-{battle.id}",
        question=battle.question,
        answer=won.text.strip(),
        kind=battle.kind if battle.kind in KINDS else "caption",
        image=image,
        rejected=lost.text.strip(),
    )
    parse_record(record.to_json())  # what the trainer will do with it
    return record


def to_line(battle: Battle, vote: Vote | None) -> str:
    """A battle and its vote as one JSON line."""
    values = dataclasses.asdict(battle) | {"variant": battle.variant}
    if vote:
        values["vote"] = {"choice": vote.choice, "reasons": vote.reasons, "voted_at": vote.voted_at}
    return json.dumps(values, ensure_ascii=False, allow_nan=False)


def _csv(file: TextIO, pairs: Sequence[Pair]) -> None:
    sides = [(side, part.name) for side in SIDES for part in dataclasses.fields(Side)]
    names = [
        "id",
        "source",
        "asked_at",
        "question",
        "kind",
        "media",
        "variant",
        "expected",
        "choice",
        "winner",
        "reasons",
        "voted_at",
    ]
    writer = csv.writer(file)
    writer.writerow([*names, *(f"{side}_{name}" for side, name in sides)])
    for battle, vote in pairs:
        winner = getattr(battle, vote.choice).route if vote and vote.choice in SIDES else ""
        said = [vote.choice, winner, " ".join(vote.reasons), vote.voted_at] if vote else ["", "", "", ""]
        media = " ".join(medium.get("file") or medium["name"] for medium in battle.media)
        row = [
            battle.id, battle.source, battle.asked_at, battle.question, battle.kind, media, battle.variant,
            battle.expected, *said, *(getattr(getattr(battle, side), name) for side, name in sides),
        ]  # fmt: skip
        writer.writerow([harmless(value) for value in row])


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


# -- in ---------------------------------------------------------------------------------------------------------------


def import_(store: VoteStore, file: Path) -> dict[str, Any]:
    """Merge an exported battles.jsonl (or the folder it is in), with media beside it; what is there already stays.

    Returns how many battles and votes were new, how many there were, and the media taken over.

    Raises:
        InputError: there is no such file, or a line is no battle; then nothing is taken in.
    """
    file = file / FORMATS["jsonl"] if file.is_dir() else file
    if not file.is_file():
        raise InputError(f"there is no file '{file.name}'; expected {FORMATS['jsonl']} of `duet votes export`")
    pairs: list[Pair] = []
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                if len(line) > LONGEST_LINE:
                    raise ValueError("longer than 4 MiB")
                pairs.append(from_line(line.decode("utf-8")))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                reason = f"'{error.args[0]}' is missing" if isinstance(error, KeyError) else str(error)
                raise InputError(
                    f"line {number} of '{file.name}' is no battle ({reason[:120]}); nothing was taken in"
                ) from None
    media = 0
    for name in sorted({medium["file"] for battle, _ in pairs for medium in battle.media if "file" in medium}):
        media += _copy(file.parent / MEDIA / name, store.media / name)
    battles, votes = store.merge(pairs)
    return {"battles": len(pairs), "new_battles": battles, "new_votes": votes, "media": media}


def from_line(line: str) -> Pair:
    """A battle and its vote from their JSON line; ValueError says what does not fit."""
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    said = values.pop("vote", None)
    values.pop("variant", None)
    battle = Battle(
        **values | {side: Side(**values[side]) for side in SIDES} | {"media": tuple(values.get("media", ()))}
    )
    _check(battle, "a battle")
    for side in SIDES:
        _check(getattr(battle, side), f"side {side}")
    if battle.source not in ("arena", "batch") or len(battle.id) < 8 or battle.a.route == battle.b.route:
        raise ValueError("its id, source or routes do not fit")
    for medium in battle.media:
        if not isinstance(medium, dict) or not {"kind", "name", "sha256"} <= medium.keys() <= {
            "kind",
            "name",
            "sha256",
            "file",
        }:
            raise ValueError("a medium is not described by kind, name, sha256 and file")
        if not all(isinstance(value, str) for value in medium.values()):
            raise ValueError("a medium's description is not text")
        name = medium.get("file", "x")
        if Path(name).name != name or name.startswith("."):
            raise ValueError(f"{name[:40]!r} is not the plain name of a file")
    if said is None:
        return battle, None
    vote = Vote(battle.id, said["choice"], tuple(said.get("reasons", ())), said["voted_at"])
    _check(vote, "a vote")
    if vote.choice not in CHOICES or not set(vote.reasons) <= set(REASONS):
        raise ValueError("its vote is none")
    return battle, vote


def _check(value: Any, what: str) -> None:
    """The types of a battle's, a side's or a vote's plain fields."""
    kinds: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "float": (float, int),
        "bool": (bool,),
        "int": (int,),
        "bool | None": (bool, type(None)),
    }
    for part in dataclasses.fields(value):
        given, kind = getattr(value, part.name), kinds.get(str(part.type))
        wrong = kind is not None and (not isinstance(given, kind) or (isinstance(given, bool) and bool not in kind))
        if wrong or (isinstance(given, float) and not math.isfinite(given)):
            raise ValueError(f"'{part.name}' of {what} is not {part.type}")
        if str(part.type).startswith("dict") and not isinstance(given, dict):
            raise ValueError(f"'{part.name}' of {what} is not an object")


def _copy(source: Path, target: Path) -> int:
    """Copy a file that is not there yet; 1 where it now is new, 0 where it was there or cannot be had."""
    if target.is_file() or not source.is_file() or source.is_symlink():
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(source, part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return 1


def write_whole(path: Path, fill: Callable[[TextIO], Any]) -> None:
    """A file that appears whole or not at all."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
