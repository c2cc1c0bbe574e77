"""The arena's memory: battles and votes in one SQLite file, where a vote counts once it is on the disk, and once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experts.config import home
from experts.errors import InputError
from ui.votes.records import (
    CHOICES,
    SIDES,
    Battle,
    Side,
    StoreError,
    Vote,
    as_json,
    battle_of,
    vote_from,
)

if TYPE_CHECKING:
    from experts.media import Media

REASONS = ("missed", "misread", "misheard", "invented", "slow")
VERSION = 1
BUSY_S = 30.0  # how long another process may hold the file

SCHEMA = """
CREATE TABLE IF NOT EXISTS battles (
    id TEXT PRIMARY KEY NOT NULL CHECK (length(id) >= 8),
    source TEXT NOT NULL CHECK (source IN ('arena', 'batch')),
    asked_at REAL NOT NULL,
    question TEXT NOT NULL,
    kind TEXT NOT NULL,
    media TEXT NOT NULL CHECK (json_valid(media)),
    variant TEXT NOT NULL,
    models TEXT NOT NULL CHECK (json_valid(models)),
    a_route TEXT NOT NULL, a_text TEXT NOT NULL, a_shown TEXT NOT NULL, a_whole INTEGER NOT NULL,
    a_seconds REAL NOT NULL, a_leaks INTEGER NOT NULL, a_error TEXT NOT NULL, a_correct INTEGER,
    b_route TEXT NOT NULL, b_text TEXT NOT NULL, b_shown TEXT NOT NULL, b_whole INTEGER NOT NULL,
    b_seconds REAL NOT NULL, b_leaks INTEGER NOT NULL, b_error TEXT NOT NULL, b_correct INTEGER,
    expected TEXT NOT NULL,
    CHECK (a_route <> b_route)
) STRICT;
CREATE TABLE IF NOT EXISTS votes (
    battle TEXT PRIMARY KEY NOT NULL REFERENCES battles (id),
    choice TEXT NOT NULL CHECK (choice IN ('a', 'b', 'tie', 'bad')),
    reasons TEXT NOT NULL CHECK (json_valid(reasons)),
    voted_at REAL NOT NULL
) STRICT;
CREATE TRIGGER IF NOT EXISTS votes_stay BEFORE DELETE ON votes
    BEGIN SELECT RAISE(ABORT, 'a vote stays'); END;
CREATE TRIGGER IF NOT EXISTS battles_stand BEFORE UPDATE ON battles
    BEGIN SELECT RAISE(ABORT, 'a battle stands'); END;
"""
# What a vote says stands; its reasons may be told after it. Made anew at each opening: older files have a stricter one.
VOTES_STAND = """
BEGIN IMMEDIATE;
DROP TRIGGER IF EXISTS votes_stand;
CREATE TRIGGER votes_stand BEFORE UPDATE OF battle, choice, voted_at ON votes
    BEGIN SELECT RAISE(ABORT, 'a vote stands'); END;
COMMIT;
"""


def default_file() -> Path:
    """Where votes are kept unless a command names another file."""
    return home() / "arena" / "votes.sqlite"


def shared(file: Path | None = None) -> VoteStore:
    """The one store of a file in this process."""
    path = (file or default_file()).absolute()
    with _SHARED_LOCK:
        return _SHARED.setdefault(path, VoteStore(path))


class VoteStore:
    """Battles and votes of one file, for all threads of a process; other processes may use the file beside it.

    Whatever a method that writes returns is on the disk. Media are kept beside the file, in the folder media.

    Raises:
        StoreError: the file cannot be opened or written, is full, or is no such database.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or default_file()
        self.media = self.file.parent / "media"
        self._lock = threading.RLock()
        self._opened: sqlite3.Connection | None = None

    @property
    def _base(self) -> sqlite3.Connection:
        """The connection, made at first use, so that an app starts without a database that it can write."""
        with self._lock:
            if self._opened is None:
                with self._told("opened"):
                    self.file.parent.mkdir(parents=True, exist_ok=True)
                    base = sqlite3.connect(self.file, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
                    try:
                        self._prepare(base)
                    except BaseException:
                        base.close()
                        raise
                    self._opened = base
            return self._opened

    @staticmethod
    def _prepare(base: sqlite3.Connection) -> None:
        base.row_factory = sqlite3.Row
        base.execute("PRAGMA foreign_keys = ON")
        base.execute("PRAGMA synchronous = FULL")
        there = base.execute("PRAGMA user_version").fetchone()[0]
        if there not in (0, VERSION):
            raise StoreError(
                f"the database of votes is of version {there}; this Duet reads {VERSION}; use another file"
            )
        if not there:
            _set_wal(base)
            base.executescript(f"BEGIN IMMEDIATE;{SCHEMA}PRAGMA user_version = {VERSION};COMMIT;")
        trigger = base.execute("SELECT sql FROM sqlite_master WHERE name = 'votes_stand'").fetchone()
        if not trigger or "UPDATE OF" not in trigger[0]:
            base.executescript(VOTES_STAND)

    def close(self) -> None:
        """Give the file back; the next use opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
            self._opened = None

    # -- writing ------------------------------------------------------------------------------------------------------

    def add(self, battles: Iterable[Battle]) -> int:
        """Store battles that are not there yet; returns how many were new."""
        with self._writing():
            return sum(self._add(battle) for battle in battles)

    def vote(self, battle: Battle | str, choice: str, reasons: Sequence[str] = ()) -> Vote:
        """Store a vote, and the battle with it where it is not there; the first vote stands and is what is returned.

        Raises:
            InputError: an unknown choice, reason or battle.
        """
        if choice not in CHOICES:
            raise InputError(f"{choice!r} is no vote; accepted: {', '.join(CHOICES)}")
        name = battle if isinstance(battle, str) else battle.id
        vote = Vote(name, choice, _ordered(reasons), fresh=True)
        with self._writing():
            if isinstance(battle, Battle):
                self._add(battle)
            elif not self._base.execute("SELECT 1 FROM battles WHERE id = ?", (name,)).fetchone():
                raise InputError("there is no such battle; start a new one")
            fresh = self._vote(vote)
            stored = vote if fresh else self.vote_of(name)
        assert stored is not None, "a vote that is refused is there already"
        return stored

    def give_reasons(self, battle: str, reasons: Sequence[str]) -> Vote:
        """Replace the reasons of a vote that is stored; what was chosen stands.

        Raises:
            InputError: an unknown reason, or no vote of this battle.
        """
        told = _ordered(reasons)
        with self._writing():
            query = "UPDATE votes SET reasons = ? WHERE battle = ?"
            if not self._base.execute(query, (as_json(told), battle)).rowcount:
                raise InputError("this battle has no vote yet; vote first")
            vote = self.vote_of(battle)
        assert vote is not None, "its row was just written"
        return vote

    def merge(self, pairs: Iterable[tuple[Battle, Vote | None]]) -> tuple[int, int]:
        """Take in battles with their votes from elsewhere, all or none; returns how many of each were new.

        A battle that is there keeps its answers and its vote.
        """
        battles = votes = 0
        with self._writing():
            for battle, vote in pairs:
                battles += self._add(battle)
                votes += self._vote(vote) if vote else 0
        return battles, votes

    def keep(self, medium: Media, source: Any) -> dict[str, str]:
        """Keep a medium's file beside the database, under its hash; returns what a battle says of it.

        `source` is the file it was opened from; without one an image is written as PNG, and anything else not kept.
        """
        said = {"kind": medium.kind, "name": medium.name, "sha256": medium.sha256}
        if isinstance(source, str | os.PathLike):
            return self.keep_file(Path(source), said)
        if medium.kind == "image":
            picture: Any = medium
            return self._kept(said, ".png", lambda part: picture.to_pil().save(part, "PNG"))
        return said

    def keep_file(self, source: Path, said: dict[str, str]) -> dict[str, str]:
        """The same for a file of which `said` tells kind, name and sha256."""
        suffix = source.suffix.lower()
        return self._kept(said, suffix if suffix[1:].isalnum() else "", lambda part: shutil.copyfile(source, part))

    def _kept(self, said: dict[str, str], suffix: str, write: Callable[[Path], Any]) -> dict[str, str]:
        target = self.media / f"{said['sha256']}{suffix}"
        with self._told("written"):
            if not target.is_file():
                self.media.mkdir(parents=True, exist_ok=True)
                part = target.with_name(f".{target.name}.{os.getpid()}.{threading.get_ident()}.part")
                try:
                    write(part)
                    os.replace(part, target)
                finally:
                    part.unlink(missing_ok=True)
        return {**said, "file": target.name}

    # -- reading ------------------------------------------------------------------------------------------------------

    def vote_of(self, battle: str) -> Vote | None:
        """The vote that a battle has."""
        with self._lock, self._told("read"):
            row = self._base.execute("SELECT * FROM votes WHERE battle = ?", (battle,)).fetchone()
        return vote_from(row) if row else None

    def battle(self, name: str) -> Battle | None:
        """The battle of this id."""
        with self._lock, self._told("read"):
            row = self._base.execute("SELECT * FROM battles WHERE id = ?", (name,)).fetchone()
        return battle_of(row) if row else None

    def all(self, *, voted: bool = False) -> list[tuple[Battle, Vote | None]]:
        """Every battle with its vote, in the order in which they were asked; with `voted` only those that have one."""
        join = "JOIN" if voted else "LEFT JOIN"
        query = f"SELECT * FROM battles {join} votes ON votes.battle = battles.id ORDER BY asked_at, id"
        with self._lock, self._told("read"):
            rows = self._base.execute(query).fetchall()
        return [(battle_of(row), vote_from(row) if row["choice"] else None) for row in rows]

    def waiting(self) -> tuple[Battle | None, int]:
        """A battle of a batch that may be judged blind, at random, and how many there are.

        It has no vote yet, and both sides answered, not in the same words: a side that could not tells which it is.
        """
        query = (
            "SELECT battles.*, count(*) OVER () AS waiting FROM battles LEFT JOIN votes ON votes.battle = battles.id "
            "WHERE votes.battle IS NULL AND source = 'batch' AND a_error = '' AND b_error = '' AND a_shown <> b_shown "
            "AND a_shown <> '' AND b_shown <> '' ORDER BY random() LIMIT 1"
        )
        with self._lock, self._told("read"):
            row = self._base.execute(query).fetchone()
        return (battle_of(row), row["waiting"]) if row else (None, 0)

    def counts(self) -> dict[str, int]:
        """How many battles and votes there are."""
        with self._lock, self._told("read"):
            return {
                table: self._base.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
                for table in ("battles", "votes")
            }

    # -- below --------------------------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction, on the disk when it is left; an error leaves everything as it was."""
        with self._lock, self._told("written"):
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._base.execute("COMMIT")
            except BaseException:
                if self._base.in_transaction:
                    self._base.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self, what: str) -> Iterator[None]:
        """Faults of the file as one line for people."""
        try:
            yield
        except sqlite3.Error as error:
            reason = _reason(error)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
        else:
            return
        lost = "nothing was stored; " if what == "written" else ""
        raise StoreError(
            f"the database of votes cannot be {what} ({reason}); {lost}make room or mend its folder, then try again"
        )

    def _add(self, battle: Battle) -> int:
        values: dict[str, Any] = {
            name: getattr(battle, name)
            for name in ("id", "source", "asked_at", "question", "kind", "variant", "expected")
        }
        values |= {"media": as_json(battle.media), "models": as_json(battle.models)}
        for side in SIDES:
            answer = getattr(battle, side)
            values |= {f"{side}_{part.name}": getattr(answer, part.name) for part in fields(Side)}
        columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        query = f"INSERT INTO battles ({columns}) VALUES ({marks}) ON CONFLICT (id) DO NOTHING"
        return self._base.execute(query, values).rowcount

    def _vote(self, vote: Vote) -> int:
        query = "INSERT INTO votes VALUES (?, ?, ?, ?) ON CONFLICT (battle) DO NOTHING"
        values = (vote.battle, vote.choice, as_json(vote.reasons), vote.voted_at)
        return self._base.execute(query, values).rowcount


_SHARED: dict[Path, VoteStore] = {}
_SHARED_LOCK = threading.Lock()


def _ordered(reasons: Sequence[str]) -> tuple[str, ...]:
    """Known reasons, each once and in the usual order."""
    if unknown := sorted(set(reasons) - set(REASONS)):
        raise InputError(f"{unknown[0]!r} is no reason; accepted: {', '.join(REASONS)}")
    return tuple(reason for reason in REASONS if reason in reasons)


def _set_wal(base: sqlite3.Connection) -> None:
    """SQLite does not wait here for another process that does the same, so this does."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            base.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _reason(error: sqlite3.Error) -> str:
    text = str(error).lower()
    for sign, reason in (
        ("readonly", "it is read-only"),
        ("full", "the disk is full"),
        ("locked", "another program holds it"),
        ("not a database", "the file is no such database"),
        ("unable to open", "its folder or file is not accessible"),
        ("disk i/o", "the disk failed or is full"),
    ):
        if sign in text:
            return reason
    return text[:80]
