"""Records: one question a line, the form in which every source reaches the training loop and the evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from experts.errors import TrainingError

KINDS = (
    "name", "category", "existence", "count", "colour", "shape", "position", "relation", "size", "text", "speech",
    "caption", "dialogue", "plan",
)  # fmt: skip
MEDIA = ("image", "audio", "video")


@dataclass(frozen=True)
class Record:
    """A question with its answer.

    `image`, `audio` and `video` are paths relative to the file's folder. `evidence` is what experts found, for the
    experts route. `rejected` makes it a preference pair whose chosen answer is `answer`. `accept` holds other right
    answers.
    """

    id: str
    question: str
    answer: str
    kind: str
    image: str | None = None
    evidence: str | None = None
    rejected: str | None = None
    accept: tuple[str, ...] = ()
    category: str = ""
    audio: str | None = None
    video: str | None = None

    @property
    def media(self) -> dict[str, str]:
        """The paths of its media by kind."""
        return {kind: path for kind in MEDIA if (path := getattr(self, kind))}

    def to_json(self) -> str:
        """One JSON line, without the fields that say nothing."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps(
            {key: value for key, value in values.items() if value not in (None, (), "")}, ensure_ascii=False
        )


class RecordReader:
    """Reads a JSONL file of records, naming the lines that are none.

    `broken` lists 'line N: reason'. More than `max_broken` of all lines raises TrainingError.
    """

    def __init__(self, path: Path, max_broken: float = 0.01) -> None:
        self.path, self.max_broken = path, max_broken
        self.broken: list[str] = []

    def __iter__(self) -> Iterator[Record]:
        self.broken = []
        total = 0
        with self.path.open("rb") as lines:
            for total, line in enumerate(lines, start=1):
                try:
                    record = parse_record(line.decode("utf-8"))
                except ValueError as error:
                    self.broken.append(f"line {total}: {error}")
                    continue
                yield record
        if self.broken and len(self.broken) > self.max_broken * total:
            shown = "; ".join(self.broken[:3])
            raise TrainingError(f"{len(self.broken)} of {total} records in '{self.path.name}' are broken: {shown}")


def parse_record(line: str) -> Record:
    """A record from its JSON line; ValueError says what does not fit."""
    values = json.loads(line)
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    known = {field.name for field in fields(Record)}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"unknown field {', '.join(unknown)}")
    for key in ("id", "question", "answer", "kind"):
        if not isinstance(values.get(key), str) or not values[key].strip():
            raise ValueError(f"'{key}' is missing or empty")
    for key in ("image", "evidence", "rejected", "category", "audio", "video"):
        if not isinstance(values.get(key), str | None):
            raise ValueError(f"'{key}' is not a text")
    accept = values.get("accept", [])
    if not isinstance(accept, list) or not all(isinstance(other, str) for other in accept):
        raise ValueError("'accept' is not a list of texts")
    if values["kind"] not in KINDS:
        raise ValueError(f"kind '{values['kind']}' is none of {', '.join(KINDS)}")
    return Record(**values | {"accept": tuple(accept), "category": values.get("category") or ""})


def read_records(path: Path, max_broken: float = 0.01) -> list[Record]:
    """All records of a file; see RecordReader."""
    return list(RecordReader(path, max_broken))


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write records so that the file appears whole or not at all; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    count = 0
    try:
        with part.open("w", encoding="utf-8") as file:
            for record in records:
                file.write(record.to_json() + "\n")
                count += 1
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def sample(records: Sequence[Record], *, limit: int = 0, offset: int = 0, seed: int = 0) -> tuple[Record, ...]:
    """`limit` records (0 = all) after the first `offset` of a fixed random order in which all kinds come equally often.

    Within a kind yes and no alternate. The same seed gives the same order, so two offsets give disjoint samples. The
    sample is returned in the order of `records`, so that questions about one medium stay neighbours.
    """
    rng = np.random.default_rng(seed)
    groups: dict[str, dict[str, list[int]]] = {}
    for index in rng.permutation(len(records)):
        record = records[int(index)]
        side = record.answer if record.answer in ("yes", "no") else ""
        groups.setdefault(record.kind, {}).setdefault(side, []).append(int(index))
    queues = [_alternate(list(groups[kind][side] for side in sorted(groups[kind]))) for kind in sorted(groups)]
    chosen = _alternate(queues)[offset : offset + limit if limit else None]
    return tuple(records[index] for index in sorted(chosen))


def _alternate(queues: list[list[int]]) -> list[int]:
    """One of each queue in turn, until all are empty."""
    longest = max((len(queue) for queue in queues), default=0)
    return [queue[at] for at in range(longest) for queue in queues if at < len(queue)]
