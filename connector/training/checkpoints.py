"""Checkpoints: staged, synced, renamed, then listed with their hashes; a torn one falls back to the one before."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from experts.errors import TrainingError

MANIFEST = "manifest.json"
STAGING = ".staging-"


def save(folder: Path, step: int, write: Callable[[Path], None], keep: int = 2) -> Path:
    """Write a checkpoint with `write(directory)` so that it is there whole or not at all, and drop all but `keep`.

    The order is: write aside, sync every file, rename, sync the folder, list it in the manifest, then delete old ones.
    A crash at any point leaves the last listed checkpoint intact.

    Raises:
        TrainingError: it cannot be written (a full disk); the message names the last good checkpoint, which is kept.
    """
    name = f"step-{step:08d}"
    staging, target = folder / f"{STAGING}{name}", folder / name
    listed = [entry for entry in entries(folder) if entry["name"] != name]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        write(staging)
        files = {}
        for file in sorted(staging.rglob("*")):
            if file.is_file():
                sync(file)
                files[file.relative_to(staging).as_posix()] = {"sha256": sha256(file), "bytes": file.stat().st_size}
        sync(staging)
        if target.exists():  # left by a crash between renaming and listing, or torn
            shutil.rmtree(target)
        os.rename(staging, target)
        sync(folder)
        listed.append({"name": name, "step": step, "files": files})
        replace_text(folder / MANIFEST, json.dumps({"checkpoints": listed[-keep:]}, indent=1) + "\n")
    except OSError as error:
        shutil.rmtree(staging, ignore_errors=True)
        last = listed[-1]["name"] if listed else "none"
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror or str(error)
        raise TrainingError(
            f"the checkpoint of step {step} could not be written: {reason}; the last good one, {last}, is kept: make "
            "room and start the same command again"
        ) from error
    wanted = {entry["name"] for entry in listed[-keep:]}
    for old in folder.glob("step-*"):
        if old.is_dir() and old.name not in wanted:
            shutil.rmtree(old, ignore_errors=True)
    return target


def entries(folder: Path) -> list[dict[str, Any]]:
    """The listed checkpoints of a run, oldest first.

    Raises:
        TrainingError: the manifest is there but cannot be read.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise TrainingError(f"cannot read the manifest of run '{folder.name}': {error.strerror}") from None
    try:
        listed = json.loads(text)["checkpoints"]
        return sorted(listed, key=lambda entry: entry["step"])
    except (ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            f"the manifest of run '{folder.name}' is damaged ({error}); remove {MANIFEST} and the step-* folders to "
            "start the run again, or name another folder"
        ) from None


def newest(folder: Path, say: Callable[[str], None] | None = None) -> Path | None:
    """The newest checkpoint whose files are all there with the listed hashes; None where none was written.

    `say` gets a line for each torn one that is passed over.

    Raises:
        TrainingError: checkpoints are listed and every one is torn.
    """
    listed = entries(folder)
    torn = []
    for entry in reversed(listed):
        fault = damage(folder / entry["name"], entry["files"])
        if not fault:
            return folder / entry["name"]
        torn.append(f"{entry['name']}: {fault}")
        if say:
            say(f"checkpoint {torn[-1]}; falling back to the one before")
    if torn:
        raise TrainingError(f"every checkpoint of run '{folder.name}' is torn: {'; '.join(torn)}")
    return None


def damage(checkpoint: Path, files: dict[str, dict[str, Any]]) -> str:
    """What is wrong with a checkpoint's files; "" if nothing."""
    for name, known in files.items():
        file = checkpoint / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != known["bytes"]:
            return f"{name} has {file.stat().st_size} bytes instead of {known['bytes']}"
        if sha256(file) != known["sha256"]:
            return f"{name} does not have its listed hash"
    return ""


def sha256(file: Path) -> str:
    """The SHA-256 of a file, as hex digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Have the system put a file's (or a folder's list of) bytes on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_text(file: Path, text: str) -> None:
    """Write a small file so that it holds the old or the new text, never a part."""
    with replacing(file) as part:
        part.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """A file to write beside `file` that takes its place, synced, when the block ends without an error."""
    part = file.with_name(f"{STAGING}{os.getpid()}-{file.name}")
    try:
        yield part
        sync(part)
        os.replace(part, file)
        sync(file.parent)
    finally:
        part.unlink(missing_ok=True)
