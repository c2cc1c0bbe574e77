"""Conversations that outlive a reload: turns in SQLite, media beside it under their content's hash."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experts.base import Finding
from experts.config import home
from experts.media import Media

TITLE = 60  # characters of a conversation's title
SCHEMA = """
CREATE TABLE IF NOT EXISTS conversations (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, title TEXT NOT NULL, changed REAL NOT NULL
);
CREATE INDEX IF NOT EXISTS by_owner ON conversations (owner, changed);
CREATE TABLE IF NOT EXISTS turns (
    conversation TEXT NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    number INTEGER NOT NULL, content TEXT NOT NULL, PRIMARY KEY (conversation, number)
);
CREATE TABLE IF NOT EXISTS secrets (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


@dataclass(frozen=True)
class Kept:
    """A medium of a conversation: its name for people, its kind, and the file that holds it."""

    name: str
    kind: str
    path: str


@dataclass
class Turn:
    """A question and what came of it; `messages` are those of the chat, after the question."""

    number: int
    question: str
    route: str
    media: list[Kept] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


class Conversations:
    """The store of one app. Every call opens the database anew, so that any thread may make it.

    Raises:
        sqlite3.Error, OSError: it cannot be read or written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or home() / "ui"
        self.media = self.folder / "media"

    def secret(self) -> str:
        """What the browsers' own store is encrypted with: the same after the app was started again."""
        with self._open() as db:
            db.execute("INSERT OR IGNORE INTO secrets VALUES ('browser', ?)", (secrets.token_urlsafe(12),))
            return str(db.execute("SELECT value FROM secrets WHERE name = 'browser'").fetchone()[0])

    def listed(self, owner: str, most: int = 100) -> list[tuple[str, str]]:
        """(title, id) of an owner's conversations, the latest first."""
        with self._open() as db:
            rows = db.execute(
                "SELECT title, id FROM conversations WHERE owner = ? ORDER BY changed DESC LIMIT ?", (owner, most)
            )
            return [(str(title), str(key)) for title, key in rows]

    def turns(self, conversation: str, owner: str) -> list[Turn]:
        """The turns of an owner's conversation; none where it is not there or not theirs."""
        with self._open() as db:
            rows = db.execute(
                "SELECT content FROM turns JOIN conversations ON id = conversation "
                "WHERE conversation = ? AND owner = ? ORDER BY number",
                (conversation, owner),
            )
            return [_read(content, self.media) for (content,) in rows]

    def save(self, conversation: str, owner: str, turn: Turn) -> None:
        """Keep a turn; its conversation begins with its first one."""
        title = " ".join(turn.question.split())[:TITLE] or "?"
        with self._open() as db:
            db.execute(
                "INSERT INTO conversations VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET changed = excluded.changed",
                (conversation, owner, title, time.time()),
            )
            if turn.number == 1:
                db.execute("UPDATE conversations SET title = ? WHERE id = ?", (title, conversation))
            db.execute("INSERT OR REPLACE INTO turns VALUES (?, ?, ?)", (conversation, turn.number, _written(turn)))

    def cut(self, conversation: str, owner: str, number: int) -> None:
        """Forget the turns from `number` on."""
        with self._open() as db:
            db.execute(
                "DELETE FROM turns WHERE number >= ? AND conversation = "
                "(SELECT id FROM conversations WHERE id = ? AND owner = ?)",
                (number, conversation, owner),
            )

    def delete(self, conversation: str, owner: str) -> None:
        """Forget a conversation, and the media that no other one has."""
        with self._open() as db:
            db.execute("DELETE FROM conversations WHERE id = ? AND owner = ?", (conversation, owner))
            kept = {
                Path(medium["path"]).name
                for (content,) in db.execute("SELECT content FROM turns")
                for medium in json.loads(content)["media"]
            }
        hour_ago = time.time() - 3600  # a question that is being answered has its media here before its turn
        for file in self.media.glob("*"):
            if file.name not in kept and file.stat().st_mtime < hour_ago:
                file.unlink(missing_ok=True)

    def keep(self, media: Sequence[Media], files: Sequence[str]) -> list[Kept]:
        """Copies of the files that `media` were opened from."""
        self.media.mkdir(parents=True, exist_ok=True)
        kept = []
        for medium, file in zip(media, files, strict=True):
            path = self.media / f"{medium.sha256}{Path(file).suffix.lower()}"
            if not path.exists():
                part = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
                shutil.copyfile(file, part)
                part.replace(path)
            kept.append(Kept(medium.name, medium.kind, str(path)))
        return kept

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.folder / "conversations.db", timeout=10)) as db:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA foreign_keys = ON")
            with db:
                db.executescript(SCHEMA)
            with db:
                yield db


def _written(turn: Turn) -> str:
    values = vars(turn) | {
        "media": [vars(medium) | {"path": Path(medium.path).name} for medium in turn.media],
        "findings": [finding.to_dict() for finding in turn.findings],
    }
    return json.dumps(values, ensure_ascii=False)


def _read(content: str, folder: Path) -> Turn:
    values = json.loads(content)
    media = [Kept(**medium | {"path": str(folder / medium["path"])}) for medium in values.pop("media")]
    findings = [_finding(finding) for finding in values.pop("findings")]
    return Turn(**values, media=media, findings=findings)


def _finding(values: dict[str, Any]) -> Finding:
    box, span = (tuple(values[key]) if values[key] else None for key in ("box", "span"))
    return Finding(**values | {"box": box, "span": span})
