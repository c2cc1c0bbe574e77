"""A person's own questions as a benchmark: a JSONL or CSV file, or a folder, with media and perhaps right answers."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.answering.fallback.needs import kind_of
from agent.evaluation.benchmarks.registry import Benchmark
from agent.evaluation.scoring.parsers import COLOUR_WORDS, NUMBER_WORDS, SHAPE_WORDS
from connector.data.records import KINDS, MEDIA, Record
from experts.errors import InputError

IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif")
SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".m4a", ".aac", ".aiff", ".aif")
FILMS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".ogv")
SUFFIXES = {"image": IMAGES, "audio": SOUNDS, "video": FILMS}
MOST_QUESTIONS = 10_000
USUAL_QUESTION = {  # of a folder's medium that has no question beside it
    "image": "What is in the picture?",
    "audio": "What is said?",
    "video": "What is in the video?",
}
COLUMNS = ("question", *MEDIA, "answer", "kind", "id", "accept", "category")
HEARD = re.compile(r"\b(?:said|speak|spoke|hear|voice|talk|announce)", re.I)  # of a film: a question about its sound


@dataclass(frozen=True)
class Questions:
    """A benchmark of one's own, and the lines that could not be taken, each with its reason."""

    benchmark: Benchmark
    refused: tuple[str, ...] = ()


def guess_kind(question: str, answer: str = "", *, heard: bool = False) -> str:
    """What kind of answer a question wants, one of connector.data.records.KINDS; a known right answer tells most.

    >>> guess_kind("How many dogs are there?"), guess_kind("What is this?", "red")
    ('count', 'colour')
    """
    text, right = question.strip().lower(), answer.strip().lower().rstrip(".")
    if right in ("yes", "no"):
        return "existence"
    if right.isdigit() or (right in NUMBER_WORDS and "how many" in text):
        return "count"
    for table, kind in ((COLOUR_WORDS, "colour"), (SHAPE_WORDS, "shape")):
        if right in table:
            return kind
    kind = kind_of(text, heard=heard)
    if kind == "caption" and right:  # something is there to compare: a name
        return "speech" if heard else "name"
    return kind


def load_questions(source: Path, *, name: str = "") -> Questions:
    """The questions of FILE.jsonl, FILE.csv or a folder.

    Lines have question, image, audio or video (a path beside the file), and perhaps answer, kind, id, accept, category.
    A folder is questions.jsonl or questions.csv with media; without either, every medium in it is asked the question of
    the text file of its name, the first line the question and the second the answer, or what is in it.

    Raises:
        InputError: nothing there can be asked.
    """
    if source.is_dir():
        listed = [file for file in (source / "questions.jsonl", source / "questions.csv") if file.is_file()]
        folder, rows = source, _rows(listed[0]) if listed else _folder(source)
    elif source.is_file() and source.suffix.lower() in (".jsonl", ".csv"):
        folder, rows = source.parent, _rows(source)
    else:
        raise InputError(f"'{source.name}' holds no questions; accepted: FILE.jsonl, FILE.csv or a folder of media")
    records: list[Record] = []
    refused: list[str] = []
    ids: set[str] = set()
    for place, values in rows:
        try:
            record = _record(values, folder, str(place))
        except ValueError as error:
            refused.append(f"{place}: {error}")
            continue
        if record.id in ids:
            refused.append(f"{place}: id '{record.id[:40]}' is there twice")
            continue
        ids.add(record.id)
        records.append(record)
        if len(records) > MOST_QUESTIONS:
            raise InputError(f"'{source.name}' has more than {MOST_QUESTIONS} questions; split it")
    if not records:
        shown = f" ({'; '.join(refused[:3])})" if refused else ""
        raise InputError(
            f"nothing in '{source.name}' can be asked{shown}; needed: question and image, audio or video a line"
        )
    return Questions(Benchmark(name or source.stem, tuple(records), folder), tuple(refused))


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(where, values) of each line of a JSONL or row of a CSV; a line that is neither has an 'error'."""
    if file.suffix.lower() == ".jsonl":
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.strip():
                    continue
                try:
                    values = json.loads(line.decode("utf-8-sig"))
                except ValueError:
                    values = {"error": "not JSON"}
                yield f"line {number}", values if isinstance(values, dict) else {"error": "not a JSON object"}
        return
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as text:
        try:
            table = csv.DictReader(text)
            names = [str(name).strip().lower() for name in table.fieldnames or ()]
            if "question" not in names:
                raise InputError(f"'{file.name}' has no column 'question'; its columns: {', '.join(names)[:200]}")
            table.fieldnames = names
            for number, row in enumerate(table, 2):
                yield f"row {number}", {key: value for key, value in row.items() if key and value}
        except csv.Error as error:
            raise InputError(f"'{file.name}' is no CSV ({error})") from None


def _folder(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for file in sorted(folder.iterdir()):
        kind = next((kind for kind, suffixes in SUFFIXES.items() if file.suffix.lower() in suffixes), "")
        if not file.is_file() or not kind:
            continue
        beside = file.with_suffix(".txt")
        said = beside.read_text(encoding="utf-8", errors="replace").splitlines() if beside.is_file() else []
        question = said[0].strip() if said and said[0].strip() else USUAL_QUESTION[kind]
        answer = said[1].strip() if len(said) > 1 else ""
        yield file.name, {"id": file.name, "question": question, "answer": answer, kind: file.name}


def _record(values: dict[str, Any], folder: Path, place: str) -> Record:
    """A record whose medium is there; ValueError says what is wrong."""
    if "error" in values:
        raise ValueError(values["error"])
    texts = {key: str(values.get(key) or "").strip() for key in COLUMNS if key != "accept"}
    if not texts["question"]:
        raise ValueError("'question' is missing or empty")
    named = [kind for kind in MEDIA if texts[kind]]
    if len(named) != 1:
        raise ValueError(f"needed: one of 'image', 'audio' and 'video', not {len(named)} of them")
    medium = texts[named[0]]
    root = folder.resolve()
    beside = [name for name in (medium, Path(medium).name) if _is_within(root, name)]  # uploads have lost their folders
    if not beside:
        raise ValueError(f"there is no file '{Path(medium).name[:80]}' beside the questions")
    accept = values.get("accept") or []
    if isinstance(accept, str):
        accept = [part.strip() for part in accept.split("|")]
    if not isinstance(accept, list) or not all(isinstance(part, str) for part in accept):
        raise ValueError("'accept' is not a list of texts")
    heard = bool(texts["audio"] or (texts["video"] and HEARD.search(texts["question"])))
    kind = texts["kind"] or guess_kind(texts["question"], texts["answer"], heard=heard)
    if kind not in KINDS:
        raise ValueError(f"kind '{kind[:40]}' is none of {', '.join(KINDS)}")
    return Record(
        id=texts["id"] or place,
        question=texts["question"],
        answer=texts["answer"],
        kind=kind,
        image=beside[0] if texts["image"] else None,
        accept=tuple(part for part in accept if part),
        category=texts["category"],
        audio=beside[0] if texts["audio"] else None,
        video=beside[0] if texts["video"] else None,
    )


def _is_within(root: Path, name: str) -> bool:
    path = (root / name).resolve()
    return path.is_relative_to(root) and path.is_file()
