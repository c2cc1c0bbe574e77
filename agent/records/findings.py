"""What experts found, kept on disk: a question about media that were looked at before runs no expert twice.

An entry belongs to a medium's content, an expert, its weights and the code that ran, and is found again only where all
four are the same. Losing the file costs time and nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import logging
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.expert_calls import look
from agent.records import database
from experts.base import Finding
from experts.config import Settings
from experts.media import Audio, Video

if TYPE_CHECKING:
    from experts.base import Expert
    from experts.media import Media

MODELS = {  # the settings that decide what a built-in expert finds
    "detect": ("detector",),
    "tag": ("tagger",),
    "ocr": ("ocr",),
    "caption": ("captioner", "detector", "tagger", "ocr"),
    "speech": ("speech", "speech_engine"),
    "video": ("detector", "tagger", "ocr", "captioner", "speech", "speech_engine"),
}
ENGINES = ("av", "faster-whisper", "onnxruntime", "openai-whisper", "pillow", "rapidocr", "timm", "torch",
           "transformers", "ultralytics")  # fmt: skip
SCHEMA = """
CREATE TABLE IF NOT EXISTS findings (key TEXT PRIMARY KEY, bytes INTEGER, used REAL, checksum TEXT, value TEXT);
CREATE INDEX IF NOT EXISTS findings_by_use ON findings (used, bytes);
"""
PRUNE = """
DELETE FROM findings WHERE key IN (
    SELECT key FROM (SELECT key, SUM(bytes) OVER (ORDER BY used DESC, key) AS total FROM findings) WHERE total > ?)
"""
LARGEST_SHARE = 8  # one entry may take an eighth of the room
USED_AGAIN_S = 60.0  # the time of use is written at most this often, so that reading stays reading


class FindingsCache:
    """Looks through experts, and remembers; `look` is all that its users need."""

    def __init__(self, settings: Settings, *, built_in: bool = True, file: Path | None = None) -> None:
        """`built_in` says that experts of this package were made with `settings`.

        Other experts are remembered where they have a `fingerprint`, a text that changes whenever their findings may.
        """
        self._settings, self._built_in = settings, built_in
        self._most_bytes = settings.cache_mb << 20
        self._base = database.Database(file or database.folder() / "findings-1.db", SCHEMA, patience_s=0.25)
        self._warned = False

    def look(self, expert: Expert, medium: Media) -> tuple[tuple[Finding, ...], bool]:
        """What `expert` finds in `medium`, and whether that was known from before.

        Raises:
            DuetError: as agent.expert_calls.look; failures are not remembered.
        """
        key = self.key(expert, medium)
        if key:
            known = self._get(key, medium)
            if known is not None:
                return known, True
        found = look(expert, medium)
        if key and not any("error" in finding.extra for finding in found):
            self._put(key, found, medium)
        return found, False

    def key(self, expert: Expert, medium: Media) -> str:
        """What an entry is filed under; "" where findings cannot be told to be the same another time."""
        name = expert.name
        if self._built_in and type(expert).__module__.startswith("experts.") and name in MODELS:
            weights = [_weights(str(getattr(self._settings, field))) for field in MODELS[name]]
            made = [*weights, self._settings.device, code_version()]
        elif own := getattr(expert, "fingerprint", ""):
            made = [type(expert).__module__, type(expert).__qualname__, str(own() if callable(own) else own)]
        else:
            return ""
        return _hash(json.dumps([name, expert.weights, made, _content(medium)]))

    def _get(self, key: str, medium: Media) -> tuple[Finding, ...] | None:
        try:
            with self._base.transaction() as connection:
                row = connection.execute("SELECT used, checksum, value FROM findings WHERE key = ?", (key,)).fetchone()
                if row is None:
                    return None
                used, checksum, value = row
                if _hash(key + str(value)) != checksum:
                    return None
                if time.time() - used > USED_AGAIN_S:
                    connection.execute("UPDATE findings SET used = ? WHERE key = ?", (time.time(), key))
                return _restored(value, medium)
        except (sqlite3.Error, OSError, ValueError, TypeError, KeyError) as error:
            self._warn(error)
            return None

    def _put(self, key: str, found: tuple[Finding, ...], medium: Media) -> None:
        try:
            value = json.dumps([_stored(finding, medium) for finding in found], allow_nan=False)
            if len(value) > self._most_bytes // LARGEST_SHARE or _restored(value, medium) != found:
                return  # too long, or something that JSON would change
            row = (key, len(key) + len(value) + 200, time.time(), _hash(key + value), value)
            with self._base.transaction() as connection:
                connection.execute("INSERT OR REPLACE INTO findings VALUES (?, ?, ?, ?, ?)", row)
                (total,) = connection.execute("SELECT SUM(bytes) FROM findings").fetchone()
                if total > self._most_bytes:
                    connection.execute(PRUNE, (self._most_bytes * 9 // 10,))
                    connection.execute("PRAGMA incremental_vacuum").fetchall()
        except (sqlite3.Error, OSError, ValueError, TypeError) as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        """Once, that remembering does not work; the answer goes on without."""
        if not self._warned:
            self._warned = True
            logging.getLogger("duet").warning("findings cannot be kept on disk (%s)", type(error).__name__)


@functools.cache
def code_version() -> str:
    """A hash of the experts' source and of the versions of the engines that they run on."""
    import experts

    root = Path(experts.__file__).parent
    lines = [f"{file.relative_to(root)} {_hash(file.read_bytes())}" for file in sorted(root.rglob("*.py"))]
    for name in ENGINES:
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            lines.append(f"{name} -")
    return _hash("\n".join(lines))


def _weights(value: str) -> str:
    """What stands for the weights that a setting names: hashes from the table, else size and time of local files."""
    from experts.weights.catalogue import WEIGHTS

    if value in WEIGHTS:
        return " ".join(file.sha256 for file in WEIGHTS[value].files)
    path = Path(value).expanduser()
    if not path.exists():
        return value
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return json.dumps([value, *((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)])


def _content(medium: Media) -> list[Any]:
    """What an expert gets to see: of a video, the frames that the limits left of the file."""
    if isinstance(medium, Video):
        frames = [[frame.sha256, time_s] for frame, time_s in zip(medium.frames, medium.times_s, strict=True)]
        return [medium.kind, medium.sha256, medium.duration_s, medium.audio is not None, frames]
    return [medium.kind, medium.sha256, len(medium.samples) if isinstance(medium, Audio) else 0]


def _stored(finding: Finding, medium: Media) -> dict[str, Any]:
    """A finding without the medium's name: the same content may come under another one."""
    values = finding.to_dict()
    return values | {"source": None if finding.source == medium.name else finding.source}


def _restored(value: str, medium: Media) -> tuple[Finding, ...]:
    found = []
    for values in json.loads(value):
        finding = Finding(**values)
        found.append(
            dataclasses.replace(
                finding,
                box=None if finding.box is None else tuple(finding.box),  # type: ignore[arg-type]
                span=None if finding.span is None else tuple(finding.span),  # type: ignore[arg-type]
                source=medium.name if finding.source is None else finding.source,
            )
        )
    return tuple(found)


def _hash(data: str | bytes) -> str:
    return hashlib.sha256(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data).hexdigest()
