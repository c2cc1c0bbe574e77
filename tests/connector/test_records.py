"""Records: what is written is read back, broken lines are counted and named, and files appear whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.data.records import Record, RecordReader, parse_record, read_records, write_records
from experts.errors import TrainingError

FULL = Record(
    "a-1",
    "Où est le chien?",
    "left",
    "position",
    "images/1.png",
    "dog at the left",
    "right",
    ("at the left",),
    "animal",
)
PLAIN = Record("a-2", "Hello!", "Hello!", "dialogue")


def test_written_records_are_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "r.jsonl"
    assert write_records(path, [FULL, PLAIN]) == 2
    assert read_records(path, max_broken=0) == [FULL, PLAIN]
    assert json.loads(path.read_text().splitlines()[1]) == {
        "id": "a-2", "question": "Hello!", "answer": "Hello!", "kind": "dialogue",
    }  # fmt: skip


BROKEN = [
    (b'{"id": "x", "question": "q", "answer"', "Expecting"),
    (b"[1]", "not a JSON object"),
    (b"\xff\xfe", "codec"),
    (b'{"id": "x", "question": "q", "answer": " ", "kind": "name"}', "'answer' is missing or empty"),
    (b'{"id": "x", "question": "q", "answer": "a", "kind": "smell"}', "kind 'smell'"),
    (b'{"id": "x", "question": "q", "answer": "a", "kind": "name", "colour": "red"}', "unknown field colour"),
    (b'{"id": "x", "question": "q", "answer": "a", "kind": "name", "image": 3}', "'image' is not a text"),
    (b'{"id": "x", "question": "q", "answer": "a", "kind": "name", "accept": "b"}', "'accept' is not a list"),
]


@pytest.mark.parametrize(("line", "reason"), BROKEN)
def test_a_broken_line_is_counted_and_named_and_the_rest_is_read(tmp_path: Path, line: bytes, reason: str) -> None:
    path = tmp_path / "r.jsonl"
    good = PLAIN.to_json().encode()
    path.write_bytes(b"\n".join([good, line, good]) + b"\n")
    reader = RecordReader(path, max_broken=0.5)
    assert list(reader) == [PLAIN, PLAIN]
    assert len(reader.broken) == 1
    assert reader.broken[0].startswith("line 2: ") and reason in reader.broken[0]
    assert list(reader) == [PLAIN, PLAIN] and len(reader.broken) == 1  # a second reading does not count twice


def test_too_many_broken_lines_stop_with_their_reasons(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("\n".join([PLAIN.to_json()] * 9 + ["{}"]) + "\n")
    assert len(read_records(path, max_broken=0.1)) == 9
    with pytest.raises(TrainingError, match=r"1 of 10 records in 'r\.jsonl' are broken: line 10: 'id' is missing"):
        read_records(path, max_broken=0.09)


def test_a_fault_while_writing_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    write_records(path, [PLAIN])

    def failing() -> Iterator[Record]:
        yield FULL
        raise RuntimeError("out of records")

    with pytest.raises(RuntimeError, match="out of records"):
        write_records(path, failing())
    assert read_records(path) == [PLAIN]
    assert [file.name for file in tmp_path.iterdir()] == ["r.jsonl"]


def test_null_fields_are_as_good_as_absent_ones() -> None:
    line = json.dumps(json.loads(PLAIN.to_json()) | {"image": None, "category": None, "rejected": None})
    assert parse_record(line) == PLAIN
