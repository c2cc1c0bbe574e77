"""Records: one question a line, the form in which every source reaches the training loop and the evaluation."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from experts.errors import TrainingError

KINDS = (
    "name", "category", "existence", "count", "colour", "shape", "position", "relation", "size", "text", "speech",
    "caption", "dialogue",
)  # fmt: skip


@dataclass(frozen=True)
class Record:
    """A question with its answer.

    `image` is a path relative to the file's folder. `evidence` is what experts found, for the experts route. `rejected`
    makes it a preference pair whose chosen answer is `answer`. `accept` holds other right answers.
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

    def to_json(self) -> str:
        """One JSON line, without the fields that say nothing."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return json.dumps({key: value for key, value in values.items() if value not in (None, (), "")}, ensure_ascii=False)


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
        with self.path.open(encoding="utf-8") as lines:
            for total, line in enumerate(lines, start=1):
                try:
                    yield parse_record(line)
                except ValueError as error:
                    self.broken.append(f"line {total}: {error}")
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
    if values["kind"] not in KINDS:
        raise ValueError(f"kind '{values['kind']}' is none of {', '.join(KINDS)}")
    return Record(**values | {"accept": tuple(values.get("accept", ()))})


def read_records(path: Path, max_broken: float = 0.01) -> list[Record]:
    """All records of a file; see RecordReader."""
    return list(RecordReader(path, max_broken))


def write_records(path: Path, records: Iterable[Record]) -> int:
    """Write records so that the file appears whole or not at all; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, suffix=".part", delete=False) as file:
        for count, record in enumerate(records, start=1):
            file.write(record.to_json() + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)
    return count
