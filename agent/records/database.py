"""A small SQLite file in Duet's home: shared by processes, never in the way, and begun anew where it is damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from experts.config import home

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
WAL_BYTES = 4 << 20  # kept of the write-ahead log after a checkpoint


def folder() -> Path:
    """Where the files lie that Duet writes while it works."""
    return home() / "state"


class Database:
    """One file, opened at the first use; its transactions may be run from any thread, one at a time.

    Nobody but this user may read the file. `schema` is a script of CREATE ... IF NOT EXISTS.
    """

    def __init__(self, file: Path, schema: str, patience_s: float = 1.0) -> None:
        """`patience_s` is how long a transaction waits for that of another process."""
        self.file, self._schema, self._patience_s = file, schema, patience_s
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are kept if the block ends well.

        Raises:
            sqlite3.Error, OSError: the file cannot be used. A damaged one is removed, so that the next try starts anew.
        """
        with self._lock:
            try:
                connection = self._connection or self._open()
                with connection:
                    yield connection
            except sqlite3.DatabaseError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
                    self._remove()
                raise

    def close(self) -> None:
        """Let go of the file; a later transaction opens it again."""
        with self._lock:
            self._let_go()

    def _open(self) -> sqlite3.Connection:
        """SQLite does not wait where two processes turn the same new file to its write-ahead log: they try again."""
        until = time.monotonic() + self._patience_s
        while True:
            try:
                return self._open_once()
            except sqlite3.OperationalError as error:
                busy = getattr(error, "sqlite_errorcode", 0) & 0xFF in BUSY
                if not busy or time.monotonic() >= until:
                    raise
                time.sleep(0.01)

    def _open_once(self) -> sqlite3.Connection:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite gives its side files the same mode
        connection = sqlite3.connect(self.file, timeout=self._patience_s, check_same_thread=False)
        try:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has to come before the first table
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
            connection.executescript(self._schema)
        except BaseException:
            connection.close()
            raise
        weakref.finalize(self, connection.close)
        self._connection = connection
        return connection

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _remove(self) -> None:
        self._let_go()
        for suffix in ("", "-wal", "-shm"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
