"""Checkpoints: whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from connector.training import checkpoints
from experts.errors import TrainingError


def writer(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "a.txt").write_text(text)
        (folder / "deep").mkdir()
        (folder / "deep" / "b.txt").write_text(text * 2)

    return write


def saved(folder: Path, *steps: int, keep: int = 2) -> None:
    for step in steps:
        checkpoints.save(folder, step, writer(f"step {step}"), keep)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_newest_is_the_last_saved_and_only_the_wanted_number_is_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    newest = checkpoints.newest(tmp_path)
    assert newest is not None and (newest / "deep" / "b.txt").read_text() == "step 3step 3"
    assert names(tmp_path) == ["manifest.json", "step-00000002", "step-00000003"]


def test_no_checkpoint_yet_is_none(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path) is None
    assert checkpoints.newest(tmp_path / "missing") is None


@pytest.mark.parametrize(
    ("tear", "says"),
    [
        (lambda file: file.unlink(), "is missing"),
        (lambda file: file.write_text("st"), "has 2 bytes instead of"),
        (lambda file: file.write_text("spet 3"), "does not have its listed hash"),
    ],
)
def test_a_torn_newest_falls_back_to_the_one_before(tmp_path: Path, tear: Callable[[Path], None], says: str) -> None:
    saved(tmp_path, 2, 3)
    tear(tmp_path / "step-00000003" / "a.txt")
    lines: list[str] = []
    assert checkpoints.newest(tmp_path, lines.append) == tmp_path / "step-00000002"
    assert len(lines) == 1 and says in lines[0] and "step-00000003" in lines[0]


def test_all_torn_is_an_error_that_names_each(tmp_path: Path) -> None:
    saved(tmp_path, 2, 3)
    for step in (2, 3):
        (tmp_path / f"step-0000000{step}" / "a.txt").unlink()
    with pytest.raises(TrainingError, match="step-00000003: a.txt is missing; step-00000002: a.txt is missing"):
        checkpoints.newest(tmp_path)


def test_a_torn_checkpoint_is_replaced_when_its_step_comes_again(tmp_path: Path) -> None:
    saved(tmp_path, 2, 3)
    (tmp_path / "step-00000003" / "a.txt").unlink()
    saved(tmp_path, 3)
    assert checkpoints.newest(tmp_path) == tmp_path / "step-00000003"
    assert [entry["step"] for entry in checkpoints.entries(tmp_path)] == [2, 3]


@pytest.mark.parametrize("at", ["fsync", "rename", "replace"])
def test_a_crash_at_any_point_leaves_the_last_good_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    """KeyboardInterrupt stands for a kill: nothing below catches it, so nothing below can tidy up."""
    saved(tmp_path, 1, 2)

    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, at, die)
        with pytest.raises(KeyboardInterrupt):
            saved(tmp_path, 3)
    assert checkpoints.newest(tmp_path) == tmp_path / "step-00000002"
    saved(tmp_path, 3)
    assert checkpoints.newest(tmp_path) == tmp_path / "step-00000003"
    assert names(tmp_path) == ["manifest.json", "step-00000002", "step-00000003"]


def test_a_full_disk_keeps_the_last_good_one_and_says_so(tmp_path: Path) -> None:
    saved(tmp_path, 1)

    def full(folder: Path) -> None:
        (folder / "a.txt").write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(TrainingError, match="step 2 could not be written: the disk is full; .*step-00000001, is kept"):
        checkpoints.save(tmp_path, 2, full)
    assert names(tmp_path) == ["manifest.json", "step-00000001"]
    assert checkpoints.newest(tmp_path) == tmp_path / "step-00000001"


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(TrainingError, match="manifest of run .* is damaged"):
        checkpoints.newest(tmp_path)


def test_manifest_lists_the_sha256_of_every_file(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    files = json.loads((tmp_path / "manifest.json").read_text())["checkpoints"][0]["files"]
    assert sorted(files) == ["a.txt", "deep/b.txt"]
    assert files["a.txt"]["sha256"] == hashlib.sha256(b"step 1").hexdigest()
    assert files["deep/b.txt"]["bytes"] == len("step 1step 1")
