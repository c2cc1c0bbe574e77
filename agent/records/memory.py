"""What was asked and found, kept on disk and found again by meaning.

The rows in SQLite are the truth: what `add` returned is on disk. Vectors are made of them when somebody first searches,
and the FAISS index is a copy of the vectors; losing either costs time and nothing else. Every row belongs to a scope
(a conversation, a medium by the hash of its content, a file of examples), and a search names the scopes it may see.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import secrets
import sqlite3
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.records import database
from agent.records import vectors as indexes
from agent.records.memory_rows import COLUMNS, OVERHEAD_BYTES, SCHEMA, Item, Remembered, as_remembered, within_scopes
from experts.errors import DuetError, InputError

if TYPE_CHECKING:
    import numpy as np

    from experts.config import Settings
    from experts.embed import Embedder

BATCH = 64  # texts between two looks at the clock; their vectors are kept together
SAVE_FROM, SAVE_SHARE = 2000, 0.1  # the index is written when it is this large and this much of it is new
USED_AGAIN_S = 60.0  # the time of use is written at most this often, so that reading stays reading


class Memory:
    """One file of rows and the index over them; may be used from several threads and processes at once."""

    def __init__(
        self,
        file: Path | None = None,
        *,
        embedder: Embedder | None = None,
        most_mb: int = 128,
        lists_from: int = indexes.LISTS_FROM,
    ) -> None:
        """`embedder` stands instead of MiniLM; `lists_from` as in agent.records.vectors."""
        self._file = file or database.folder() / "memory-1.db"
        self._base = database.Database(self._file, SCHEMA, patience_s=5.0)
        self._given, self._most_bytes, self._lists_from = embedder, most_mb << 20, lists_from
        self._lock = threading.RLock()
        self._index: indexes.Index | None = None
        self._about: dict[str, Any] = {}
        self._unsaved = 0

    # -- remembering --------------------------------------------------------------------------------------------

    def add(self, scope: str, items: Sequence[Item], *, part: str = "", turn: int = 0) -> list[int]:
        """Keep `items`; their numbers. When this returns they are on disk, and stay there if the program is killed.

        Raises:
            InputError: they are larger than half of what may be kept.
            DuetError: they cannot be written.
        """
        rows = [self._row(scope, part, turn, item) for item in items]
        self._check_room(rows)
        with self._writing() as db:
            self._drop(db, "scope = ? AND part = ? AND key IN (SELECT value FROM json_each(?))",
                       (scope, part, json.dumps([row[2] for row in rows])))  # fmt: skip
            numbers = self._insert(db, rows)
            self._touch(db, scope, part, "")
            self._prune(db, scope)
        return numbers

    def keep(self, scope: str, part: str, items: Sequence[Item]) -> None:
        """Make `items` all that `part` of `scope` holds; nothing is written where they are there already.

        Raises:
            InputError, DuetError: as `add`.
        """
        rows = [self._row(scope, part, 0, item) for item in items]
        self._check_room(rows)
        digest = hashlib.sha256(json.dumps([[row[4], row[5]] for row in rows]).encode()).hexdigest()
        with self._writing() as db:
            found = db.execute("SELECT digest, used FROM scopes WHERE scope = ? AND part = ?", (scope, part)).fetchone()
            if found and found[0] == digest:
                if time.time() - found[1] > USED_AGAIN_S:
                    self._touch(db, scope, part, digest)
                return
            self._drop(db, "scope = ? AND part = ?", (scope, part))
            self._insert(db, rows)
            self._touch(db, scope, part, digest)
            self._prune(db, scope)

    def forget(
        self, scope: str | None = None, *, part: str | None = None, from_turn: int = 0, keys: Collection[str] = ()
    ) -> int:
        """Forget rows, and how many they were: of a scope or (None) of all; of a part; from a turn on; by their keys.

        Raises:
            DuetError: it cannot be written.
        """
        where: list[str] = ["1"]
        values: list[Any] = []
        for column, value in (("scope = ?", scope), ("part = ?", part)):
            if value is not None:
                where.append(column)
                values.append(value)
        if from_turn:
            where.append("turn >= ?")
            values.append(from_turn)
        if keys:
            where.append("key IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(keys)))
        if not self._base.exists():
            return 0
        with self._writing() as db:
            count = self._drop(db, " AND ".join(where), values)
            db.execute("DELETE FROM scopes WHERE NOT EXISTS "
                       "(SELECT 1 FROM rows WHERE rows.scope = scopes.scope AND rows.part = scopes.part)")  # fmt: skip
            db.execute("UPDATE scopes SET digest = '' WHERE ?1 IS NULL OR scope = ?1", (scope,))  # no more all of them
        if count:
            for file in self._file.parent.glob(f"{self._file.stem}-*.faiss"):  # nothing forgotten stays behind
                file.unlink(missing_ok=True)
        return count

    @property
    def only_here(self) -> str:
        """Why nothing is kept on disk, "" where it is."""
        return self._base.only_here

    # -- finding ------------------------------------------------------------------------------------------------

    def search(
        self,
        text: str,
        scopes: Collection[str] | None,
        k: int = 5,
        *,
        part: str | None = None,
        keys: Collection[str] | None = None,
        until: float | None = None,
        stop: threading.Event | None = None,
    ) -> list[Remembered]:
        """The `k` rows most like `text`, the most like first, of these scopes only; None means all there are.

        Rows that have no vector yet get one first, until `until` (perf_counter) or `stop`; `waiting` says how many are
        left then, and they are not found.

        Raises:
            WeightsError: the embedder's weights are not here.
            DuetError: the memory cannot be read.
        """
        if k < 1 or (scopes is not None and not scopes) or not self._base.exists():
            return []
        self._embed(scopes, until, stop)
        return self.nearest(self.embedder([text])[0], scopes, k, part=part, keys=keys)

    def nearest(
        self,
        vector: Any,
        scopes: Collection[str] | None,
        k: int = 5,
        *,
        part: str | None = None,
        keys: Collection[str] | None = None,
    ) -> list[Remembered]:
        """As `search`, by a vector [D] of length 1, of the rows that have a vector."""
        import numpy as np

        with self._lock:
            index = self._synced()
            among = None
            if scopes is not None or part is not None or keys is not None:
                where, values = within_scopes(scopes, part, keys)
                with self._reading() as db:
                    rows = db.execute(
                        f"SELECT vectors.id FROM rows JOIN vectors ON row = rows.id WHERE model = ? AND {where}",
                        (self.embedder.name, *values),
                    )
                    among = np.fromiter((number for (number,) in rows), np.int64)
            hits = dict(index.search(np.asarray(vector), k, among))
        with self._reading() as db:  # what was deleted in between is not here any more
            rows = db.execute(
                f"SELECT vectors.id, {COLUMNS} FROM rows JOIN vectors ON row = rows.id "
                "WHERE vectors.id IN (SELECT value FROM json_each(?))",
                (json.dumps(list(hits)),),
            )
            found = [as_remembered(row, hits[number]) for number, *row in rows]
        return sorted(found, key=lambda row: (-row.likeness, row.id))

    def waiting(self, scopes: Collection[str] | None) -> int:
        """How many rows of these scopes have no vector yet."""
        where, values = within_scopes(scopes)
        with self._reading() as db:
            query = f"SELECT COUNT(*) FROM rows WHERE {where} AND {_BARE}"
            return int(db.execute(query, (*values, self.embedder.name, 2 * self.embedder.width)).fetchone()[0])

    def rows(self, scope: str, part: str | None = None) -> list[Remembered]:
        """All rows of a scope, in the order in which they came."""
        if not self._base.exists():
            return []
        where, values = within_scopes([scope], part)
        with self._reading() as db:
            found = db.execute(f"SELECT {COLUMNS} FROM rows WHERE {where} ORDER BY id", values).fetchall()
        return [as_remembered(row) for row in found]

    def scopes(self) -> list[dict[str, Any]]:
        """What is kept: scope, part, rows, bytes, used (seconds since 1970); the latest used first."""
        if not self._base.exists():
            return []
        columns = ("scope", "part", "rows", "bytes", "used")
        with self._reading() as db:
            found = db.execute(
                "SELECT scope, part, COUNT(*), SUM(bytes), used FROM rows JOIN scopes USING (scope, part) "
                "GROUP BY scope, part ORDER BY used DESC, scope, part"
            ).fetchall()
        return [dict(zip(columns, row, strict=True)) for row in found]

    @functools.cached_property
    def embedder(self) -> Embedder:
        """What makes vectors of texts."""
        if self._given is not None:
            return self._given
        from experts.embed import MiniLM

        return MiniLM()

    def vectors(self) -> np.ndarray:
        """All vectors there are, float32 [N, D]."""
        return self._synced().content()[1]

    def save(self) -> None:
        """Write the index beside the rows, so that the next start need not build it."""
        with self._lock:
            if self._index is not None and self._unsaved:
                try:
                    self._index.save(self._index_file(), self._about)
                except OSError as error:
                    logging.getLogger("duet").warning("the memory's index cannot be kept (%s)", type(error).__name__)
                self._unsaved = 0

    def close(self) -> None:
        """Save the index and let go of the file; a later call opens it again."""
        self.save()
        self._base.close()

    # -- the index ----------------------------------------------------------------------------------------------

    def _embed(self, scopes: Collection[str] | None, until: float | None, stop: threading.Event | None) -> None:
        import numpy as np

        where, values = within_scopes(scopes)
        name = self.embedder.name
        while not (stop is not None and stop.is_set()) and (until is None or time.perf_counter() < until):
            with self._reading() as db:
                query = f"SELECT id, text FROM rows WHERE {where} AND {_BARE} ORDER BY id LIMIT ?"
                bare = db.execute(query, (*values, name, 2 * self.embedder.width, BATCH)).fetchall()
            if not bare:
                return
            vectors = self.embedder([text for _, text in bare]).astype(np.float16)
            made = [(row, name, vector.tobytes()) for (row, _), vector in zip(bare, vectors, strict=True)]
            with self._writing() as db:  # a row that was deleted meanwhile gets none
                db.executemany(
                    "INSERT OR REPLACE INTO vectors (row, model, vector) "
                    "SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM rows WHERE id = ?1)",
                    made,
                )

    def _synced(self) -> indexes.Index:
        """The index, holding exactly the vectors that are on disk now."""
        import numpy as np

        model, width = self.embedder.name, self.embedder.width
        with self._reading() as db:
            db.execute("BEGIN")  # one state of the file for all that follows
            about = dict(db.execute("SELECT name, value FROM about"))
            now = {"born": about["born"], "model": model}
            if self._index is None:
                saved = {**now, "last": None, "deletions": None}
                self._index = indexes.load(self._index_file(), width, saved, lists_from=self._lists_from)
                self._about = saved
            (newest,) = db.execute(
                "SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'vectors'"
            ).fetchone()
            known = self._index is not None and self._about.items() >= now.items() and self._about["last"] <= newest
            if not known:
                self._index = indexes.Index(width, lists_from=self._lists_from)
                self._about = {**now, "last": 0, "deletions": about["deletions"]}
            assert self._index is not None
            if self._about["deletions"] != about["deletions"]:
                there = [number for (number,) in db.execute("SELECT id FROM vectors WHERE model = ?", (model,))]
                gone = np.setdiff1d(self._index.ids(), np.array(there, np.int64))
                self._index.remove(gone)
                self._unsaved += len(gone)
                self._about["deletions"] = about["deletions"]
            fresh = db.execute(
                "SELECT id, vector FROM vectors WHERE model = ? AND id > ? AND length(vector) = ? ORDER BY id",
                (model, self._about["last"], 2 * width),
            ).fetchall()
        if fresh:
            ids = np.array([number for number, _ in fresh], np.int64)
            vectors = np.frombuffer(b"".join(blob for _, blob in fresh), np.float16).reshape(-1, width)
            self._index.add(ids, vectors.astype(np.float32))
            self._about["last"] = int(ids[-1])
            self._unsaved += len(fresh)
        if len(self._index) >= SAVE_FROM and self._unsaved >= SAVE_SHARE * len(self._index):
            self.save()
        return self._index

    def _index_file(self) -> Path:
        return self._file.with_name(f"{self._file.stem}-{self.embedder.name}.faiss")

    # -- the rows -----------------------------------------------------------------------------------------------

    def _row(self, scope: str, part: str, turn: int, item: Item) -> tuple[str, str, str, int, str, str, int]:
        data = json.dumps(item.data, allow_nan=False)
        size = len(item.text.encode("utf-8", "replace")) + len(data) + 2 * self.embedder.width + OVERHEAD_BYTES
        text = item.text.encode("utf-8", "replace").decode()  # a lone surrogate cannot be stored
        return scope, part, item.key or secrets.token_hex(8), turn, text, data, size

    def _check_room(self, rows: Sequence[tuple[Any, ...]]) -> None:
        need = sum(row[-1] for row in rows)
        if need > self._most_bytes // 2:
            raise InputError(
                f"{len(rows)} things to remember take {need >> 20} MB; accepted: half of memory_mb, "
                f"{self._most_bytes >> 21} MB; raise memory_mb"
            )

    def _insert(self, db: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[int]:
        query = "INSERT INTO rows (scope, part, key, turn, text, data, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)"
        return [int(db.execute(query, row).lastrowid or 0) for row in rows]

    def _touch(self, db: sqlite3.Connection, scope: str, part: str, digest: str) -> None:
        db.execute("INSERT OR REPLACE INTO scopes VALUES (?, ?, ?, ?)", (scope, part, digest, time.time()))

    def _drop(self, db: sqlite3.Connection, where: str, values: Sequence[Any]) -> int:
        """Delete rows with their vectors, so that an index made before learns of it; how many."""
        db.execute(f"DELETE FROM vectors WHERE row IN (SELECT id FROM rows WHERE {where})", values)
        count = db.execute(f"DELETE FROM rows WHERE {where}", values).rowcount
        if count:
            db.execute("UPDATE about SET value = CAST(value AS INTEGER) + 1 WHERE name = 'deletions'")
        return count

    def _prune(self, db: sqlite3.Connection, but: str) -> None:
        """Where too much is kept, forget the least used scopes but this one, then the oldest rows of this one."""
        (total,) = db.execute("SELECT COALESCE(SUM(bytes), 0) FROM rows").fetchone()
        if total <= self._most_bytes:
            return
        goal = self._most_bytes * 9 // 10
        sizes = db.execute(
            "SELECT scope, SUM(bytes) FROM rows JOIN scopes USING (scope, part) WHERE scope != ? "
            "GROUP BY scope ORDER BY MAX(used), scope", (but,)
        ).fetchall()  # fmt: skip
        for scope, size in sizes:
            if total <= goal:
                break
            self._drop(db, "scope = ?", (scope,))
            db.execute("DELETE FROM scopes WHERE scope = ?", (scope,))
            total -= size
        if total > goal:
            older = "SELECT id, SUM(bytes) OVER (ORDER BY id DESC) AS upto FROM rows WHERE scope = ?"
            self._drop(db, f"id IN (SELECT id FROM ({older}) WHERE upto > ?)", (but, goal))
        db.execute("PRAGMA incremental_vacuum").fetchall()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._base.transaction() as connection:
                yield connection
        except (sqlite3.Error, OSError) as error:
            raise DuetError(f"the memory on disk cannot be used ({type(error).__name__}); ask without it") from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection


_BARE = "NOT EXISTS (SELECT 1 FROM vectors WHERE row = rows.id AND model = ? AND length(vector) = ?)"


def open_memory(settings: Settings) -> Memory:
    """The memory in Duet's home: one object a file and process."""
    return _open(database.folder() / "memory-1.db", settings.memory_mb)


@functools.lru_cache(maxsize=64)
def _open(file: Path, most_mb: int) -> Memory:
    return Memory(file, most_mb=most_mb)
