"""A home that can be read and not written: what is there is found, what is new is kept in memory, one line says so."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from agent.records import database
from connector.llm import converted
from experts.weights import catalogue

SCHEMA = "CREATE TABLE IF NOT EXISTS words (word TEXT);"


def close(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """No file can be opened to be written; root, who may run the tests, is stopped by no permission."""

    def refuse(*_: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(database.os, "open", refuse)
    monkeypatch.setattr(database, "_TOLD", set())


def words(base: database.Database) -> list[str]:
    with base.transaction() as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words ORDER BY rowid")]


def add(base: database.Database, word: str) -> None:
    with base.transaction() as connection:
        connection.execute("INSERT INTO words VALUES (?)", (word,))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_what_is_there_is_read_and_what_is_new_is_kept_in_memory_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    file = tmp_path / "words.db"
    before = database.Database(file, SCHEMA)
    add(before, "old")
    before.close()
    close(monkeypatch, number)
    base, other = database.Database(file, SCHEMA), database.Database(tmp_path / "new.db", SCHEMA)
    with caplog.at_level(logging.WARNING, "duet"):
        add(base, "new")
        add(other, "alone")
    assert (words(base), words(other)) == (["old", "new"], ["alone"])
    assert base.only_here == os.strerror(number) and base.exists() and other.exists()
    (line,) = caplog.messages
    assert line.startswith(f"Duet's home cannot be written ({os.strerror(number)})")
    base.close()
    other.close()
    with sqlite3.connect(file) as there:
        assert there.execute("SELECT word FROM words").fetchall() == [("old",)]
    there.close()
    assert not (tmp_path / "new.db").exists()


def test_another_fault_of_the_file_is_still_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        add(database.Database(tmp_path / "words.db", SCHEMA), "new")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights folder with a GGUF, and a conversion that only writes the stamp."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(catalogue, "resolve", lambda name: tmp_path / "source")
    monkeypatch.setattr(catalogue, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(converted, "_TEMPORARY", {})

    def convert(gguf: Path, target: Path, stamp: dict[str, Any]) -> None:
        target.mkdir(parents=True)
        (target / converted.STAMP).write_text(converted.json.dumps(stamp))

    monkeypatch.setattr(converted, "_convert", convert)
    return tmp_path


def test_a_converted_model_is_used_without_a_lock(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = next(name for name in catalogue.WEIGHTS if name.startswith("qwen"))
    made = converted.folder_of(name)
    monkeypatch.setattr("filelock.FileLock", lambda *_: pytest.fail("it was locked"))
    assert converted.folder_of(name) == made == source / "home" / "converted" / name


def test_a_model_is_converted_for_one_run_where_the_home_is_read_only(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = next(name for name in catalogue.WEIGHTS if name.startswith("qwen"))
    mkdir = Path.mkdir

    def refuse(self: Path, *more: Any, **options: Any) -> None:
        if self.is_relative_to(source / "home"):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        mkdir(self, *more, **options)

    monkeypatch.setattr(Path, "mkdir", refuse)
    made = converted.folder_of(name)
    assert (made / converted.STAMP).is_file() and not made.is_relative_to(source / "home")
    assert converted.folder_of(name) == made  # once a run
