"""A small SQLite file in Duet's home: shared by processes, never in the way, and begun anew where it is damaged."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from experts.config import home

DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
CLOSED = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN)
CLOSED_FILES = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
WAL_BYTES = 4 << 20  # kept of the write-ahead log after a checkpoint
_TOLD: set[Path] = set()  # folders of which it was said that they cannot be written


def folder() -> Path:
    """Where the files lie that Duet writes while it works."""
    return home() / "state"


class Database:
    """One file, opened at the first use; its transactions may be run from any thread, one at a time.

    Nobody but this user may read the file. `schema` is a script of CREATE ... IF NOT EXISTS. Where the file cannot be
    written (a read-only or full disk), a copy of it in memory takes its place until it is closed, and one warning says
    so; `only_here` is then the reason, "" before.
    """

    def __init__(self, file: Path, schema: str, patience_s: float = 1.0) -> None:
        """`patience_s` is how long a transaction waits for that of another process."""
        self.file, self._schema, self._patience_s = file, schema, patience_s
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self.only_here = ""

    def exists(self) -> bool:
        """Whether there may be anything in it."""
        return bool(self.only_here) or self.file.is_file()

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
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code in CLOSED:
                    return self._open_copy(str(error))
                if code not in BUSY or time.monotonic() >= until:
                    raise
                time.sleep(0.01)
            except OSError as error:
                if error.errno not in CLOSED_FILES:
                    raise
                return self._open_copy(str(error.strerror))

    def _open_copy(self, reason: str) -> sqlite3.Connection:
        """In memory, what can be read of the file."""
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        address = self.file.absolute().as_uri()
        for how in ("mode=ro", "mode=ro&immutable=1"):  # the second needs no side files, which may be impossible here
            try:
                with contextlib.closing(sqlite3.connect(f"{address}?{how}", uri=True)) as there:
                    there.backup(connection)
                break
            except sqlite3.Error:
                continue
        connection.executescript(self._schema)
        weakref.finalize(self, connection.close)
        self._connection, self.only_here = connection, reason
        if self.file.parent not in _TOLD:
            _TOLD.add(self.file.parent)
            logging.getLogger("duet").warning(
                "Duet's home cannot be written (%s): what is found and asked is kept until the program ends", reason
            )
        return connection

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
            self.only_here = ""

    def _remove(self) -> None:
        self._let_go()
        for suffix in ("", "-wal", "-shm"):
            self.file.with_name(self.file.name + suffix).unlink(missing_ok=True)
