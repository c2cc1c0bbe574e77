"""The weight store: files in a folder, each there whole and with its listed SHA-256, or not at all.

What has been hashed once is remembered in a stamp, a JSON file of sizes and times of change, so that a start does not
read 100 MB again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from experts.weights.fetch import WrongContent
from experts.weights.sources import File, Stream

BLOCK_BYTES = 1 << 20
ABSENT = "is not here"
Marks = dict[str, list[int | str]]  # path -> [bytes, time of change in ns, SHA-256]


def write(stream: Stream, target: Path, file: File) -> Iterator[int]:
    """Write `stream` to `target`, which appears whole and verified or not at all; yields the bytes written so far.

    Raises:
        WrongContent: the stream is not `file`; what it gave is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    digest, written = hashlib.sha256(), 0
    try:
        with part.open("wb") as out:
            while block := stream.read(BLOCK_BYTES):
                out.write(block)
                digest.update(block)
                written += len(block)
                yield written
            out.flush()
            os.fsync(out.fileno())
        if digest.hexdigest() != file.sha256:
            raise WrongContent(f"{_wrong_hash(file, digest.hexdigest())}: refused")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def tidy(folder: Path, stamp: Path) -> None:
    """Remove what a killed run left half-written."""
    for torn in [*folder.rglob("*.part"), *stamp.parent.glob(f"{stamp.name}-*.part")]:
        torn.unlink(missing_ok=True)


def examine(files: Sequence[File], folder: Path, stamp: Path | None, *, trust: bool = True) -> dict[str, str]:
    """What is wrong with each of `files` in `folder`; {} when all are there and right.

    With `trust`, a file that `stamp` remembers as right, of the same size and time of change, is not read again.
    """
    known = _read(stamp) if stamp else {}
    right: Marks = {}
    faults: dict[str, str] = {}
    for file in files:
        path = folder / file.path
        try:
            found = path.stat()
            mark: list[int | str] = [found.st_size, found.st_mtime_ns, file.sha256]
            if not trust or known.get(file.path) != mark:
                with path.open("rb") as stream:
                    actual = hashlib.file_digest(stream, "sha256").hexdigest()
                if actual != file.sha256:
                    faults[file.path] = _wrong_hash(file, actual)
                    continue
            right[file.path] = mark
        except FileNotFoundError:
            faults[file.path] = ABSENT
        except OSError as error:
            faults[file.path] = f"{file.path} cannot be read: {error.strerror}"
    if stamp and right != known:
        _remember(stamp, right)
    return faults


def fault_line(faults: dict[str, str]) -> str:
    """The faults that `examine` found, in one line."""
    return "; ".join(f"{path} {ABSENT}" if fault == ABSENT else fault for path, fault in faults.items())


def _wrong_hash(file: File, actual: str) -> str:
    return f"{file.path} has SHA-256 {actual[:12]}, expected {file.sha256[:12]}"


def _read(stamp: Path) -> Marks:
    try:
        known = json.loads(stamp.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(stamp: Path, right: Marks) -> None:
    """Write `stamp`; where the folder cannot be written, the files are simply read again next time."""
    with suppress(OSError):
        stamp.parent.mkdir(parents=True, exist_ok=True)
        number, draft = tempfile.mkstemp(dir=stamp.parent, prefix=f"{stamp.name}-", suffix=".part")
        with os.fdopen(number, "w") as out:
            json.dump(right, out)
        os.replace(draft, stamp)
