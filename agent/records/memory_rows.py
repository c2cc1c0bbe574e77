"""What the memory keeps: rows with their text, data and scope, as people and as SQLite have them."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


SCHEMA = """
PRAGMA synchronous = FULL;
PRAGMA secure_delete = ON;
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
INSERT OR IGNORE INTO about VALUES ('born', hex(randomblob(16))), ('deletions', '0');
CREATE TABLE IF NOT EXISTS scopes (scope TEXT, part TEXT, digest TEXT, used REAL, PRIMARY KEY (scope, part));
CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY AUTOINCREMENT, scope TEXT NOT NULL, part TEXT NOT NULL,
    key TEXT NOT NULL, turn INTEGER NOT NULL, text TEXT NOT NULL, data TEXT NOT NULL, bytes INTEGER NOT NULL,
    UNIQUE (scope, part, key));
CREATE TABLE IF NOT EXISTS vectors (id INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL, model TEXT NOT NULL,
    vector BLOB NOT NULL, UNIQUE (row, model));
"""


COLUMNS = "rows.id, rows.scope, rows.part, rows.key, rows.turn, rows.text, rows.data"


OVERHEAD_BYTES = 300  # of a row, beside its text, data and vector


@dataclass(frozen=True)
class Item:
    """Something to remember: `text` is what it is found by, `data` (JSON) comes back with it.

    An item with a `key` replaces the one of the same key in its scope and part.
    """

    text: str
    data: dict[str, Any] = field(default_factory=dict)
    key: str = ""


@dataclass(frozen=True)
class Remembered:
    """A row, and how like the question it is: the cosine, 0.0 where nothing was asked."""

    id: int
    scope: str
    part: str
    key: str
    turn: int
    text: str
    data: dict[str, Any]
    likeness: float = 0.0


def as_remembered(row: Sequence[Any], likeness: float = 0.0) -> Remembered:
    number, scope, part, key, turn, text, data = row
    return Remembered(number, scope, part, key, turn, text, json.loads(data), likeness)


def within_scopes(
    scopes: Collection[str] | None, part: str | None = None, keys: Collection[str] | None = None
) -> tuple[str, list[Any]]:
    """An SQL condition on `rows`, and its values."""
    where: list[str] = ["1"]
    values: list[Any] = []
    for column, names in (("scope", scopes), ("part", None if part is None else [part]), ("key", keys)):
        if names is not None:
            where.append(f"rows.{column} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(names)))
    return " AND ".join(where), values
