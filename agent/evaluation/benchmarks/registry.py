"""Benchmarks by name: where their questions and media are."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from connector.data.pictures.scenes import SHAPES, Scene, load_scenes
from connector.data.records import Record, read_records, sample
from experts.config import home
from experts.errors import InputError, UnknownNameError, needs
from experts.evidence.colours import COLOURS

MIXED_SCENES, MIXED_EASY = 600, 300  # questions of the benchmark mixed, equally many of each kind


@dataclass(frozen=True)
class Benchmark:
    """Questions whose media paths are relative to `folder`; `scenes` maps an image to what is true of it.

    Where media lie in several folders, `folders` maps the first part of a path to the folder of the rest.
    """

    name: str
    records: tuple[Record, ...]
    folder: Path
    scenes: dict[str, Scene] = field(default_factory=dict)
    folders: dict[str, Path] = field(default_factory=dict)

    def path(self, medium: str) -> Path:
        """Where a record's medium is."""
        first, _, rest = medium.partition("/")
        return self.folders[first] / rest if first in self.folders else self.folder / medium

    def digest(self) -> str:
        """16 hex digits that change with any question or answer."""
        text = "\n".join(record.to_json() for record in self.records)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(name: str, data: Path | None = None, *, limit: int = 0, offset: int = 0, seed: int = 0) -> Benchmark:
    """The benchmark `name` (a name of BENCHMARKS or a file of records), or `limit` of its questions after `offset`.

    Raises:
        UnknownNameError: no such benchmark.
        InputError: its data is not where it should be; the message says how to make it.
        TrainingError: more than 1 % of a file's records are broken.
    """
    if name in BENCHMARKS:
        benchmark = BENCHMARKS[name](data)
    elif name.endswith(".jsonl"):
        benchmark = _file(Path(name))
    else:
        raise UnknownNameError("benchmark", Path(name).name, (*BENCHMARKS, "FILE.jsonl"))
    records = sample(benchmark.records, limit=limit, offset=offset, seed=seed)
    if not records:
        raise InputError(
            f"benchmark '{Path(name).name}' has {len(benchmark.records)} questions; none is left after offset {offset}"
        )
    return dataclasses.replace(benchmark, records=records)


def _file(path: Path) -> Benchmark:
    if not path.is_file():
        raise InputError(
            f"there is no file '{path.name}'; expected JSON lines of records (id, question, answer, kind, ...)"
        )
    return Benchmark(path.stem, tuple(read_records(path)), path.parent)


def _scene_folder(data: Path | None, name: str, file: str) -> Path:
    if data is None or not (data / file).is_file():
        raise InputError(
            f"benchmark '{name}' needs --data with a folder that holds {file}; make one with "
            "`duet data scenes --split test --out FOLDER`"
        )
    return data


def _scenes(data: Path | None) -> Benchmark:
    """Questions about composed scenes.

    {"question": "Where can the electric guitar be seen?", "answer": "left", "kind": "position", ...}
    """
    folder = _scene_folder(data, "scenes", "questions.jsonl")
    return Benchmark("scenes", tuple(read_records(folder / "questions.jsonl")), folder)


def _captions(data: Path | None) -> Benchmark:
    """Captions of the same scenes, scored by the objects they name.

    {"question": "Give a description of the image.", "answer": "There is a zebra in the center.", "kind": "caption"}
    """
    folder = _scene_folder(data, "captions", "scenes.jsonl")
    scenes = {scene.image: scene for scene in load_scenes(folder)}
    return Benchmark("captions", tuple(read_records(folder / "captions.jsonl")), folder, scenes)


def _easy_vqa(data: Path | None) -> Benchmark:
    """The test split of easy-VQA (package easy-vqa, MIT): one coloured shape on a pale ground, never trained on.

    {"question": "is there not a black shape in the image?", "answer": "yes", "kind": "existence", ...}
    """
    return _easy_split("test")


def _easy_split(split: str) -> Benchmark:
    """easy-VQA's split test or train."""
    needs("easy_vqa", "evaluate", "benchmark 'easy-vqa'")
    import easy_vqa

    questions, answers, images = getattr(easy_vqa, f"get_{split}_questions")()
    paths = {number: Path(path) for number, path in getattr(easy_vqa, f"get_{split}_image_paths")().items()}
    folder = next(iter(paths.values())).parent
    prefix = "easy-vqa" if split == "test" else f"easy-vqa-{split}"
    records = [
        Record(f"{prefix}-{index}", question, answer, _easy_kind(answer), paths[image].name)
        for index, (question, answer, image) in enumerate(zip(questions, answers, images, strict=True))
    ]
    return Benchmark("easy-vqa", tuple(records), folder)


def _easy_kind(answer: str) -> str:
    return "colour" if answer in COLOURS else "shape" if answer in SHAPES else "existence"


def _photos(data: Path | None) -> Benchmark:
    """Real photos and recordings that no training has seen, with questions written by hand.

    {"question": "What colour is the motorcycle?", "answer": "red", "kind": "colour", "image": "motorcycle.png", ...}
    """
    folder = data or home() / "benchmarks" / "photos"
    if not (folder / "questions.jsonl").is_file():
        raise InputError(
            "benchmark 'photos' is not built yet; run `python benchmarks/photos/build.py` once (it fetches packages)"
        )
    return Benchmark("photos", tuple(read_records(folder / "questions.jsonl", max_broken=0.0)), folder)


def _mixed(data: Path | None) -> Benchmark:
    """600 questions about test scenes, 300 of easy-VQA and all about the recordings of `photos`: what a router meets.

    {"question": "What is said in the recording?", "answer": "ten of clubs", "audio": "photos/cards-001.wav"}
    """
    scenes = _of_split(_scenes(data), "test", "mixed")
    spoken = _photos(None)
    heard = tuple(record for record in spoken.records if record.audio)
    parts = {
        "scenes": dataclasses.replace(scenes, records=sample(scenes.records, limit=MIXED_SCENES)),
        "easy-vqa": dataclasses.replace(easy := _easy_split("test"), records=sample(easy.records, limit=MIXED_EASY)),
        "photos": dataclasses.replace(spoken, records=heard),
    }
    return _joined("mixed", parts)


def _mixed_validation(data: Path | None) -> Benchmark:
    """To calibrate on, with nothing of `mixed`: 1,200 questions about validation scenes, 600 of easy-VQA's train split.

    {"question": "Is the sign above the rose?", "answer": "no", "kind": "relation", "image": "scenes/images/000071.png"}

    No recordings: what can only be heard is never a matter of confidence.
    """
    scenes = _of_split(_scenes(data), "validation", "mixed-validation")
    easy = _easy_split("train")
    parts = {
        "scenes": dataclasses.replace(scenes, records=sample(scenes.records, limit=2 * MIXED_SCENES)),
        "easy-vqa": dataclasses.replace(easy, records=sample(easy.records, limit=2 * MIXED_EASY)),
    }
    return _joined("mixed-validation", parts)


def _of_split(scenes: Benchmark, split: str, name: str) -> Benchmark:
    """`scenes`, if the ids of its records say that they are of `split`."""
    if not scenes.records or not all(record.id.startswith(f"{split}-") for record in scenes.records):
        raise InputError(
            f"benchmark '{name}' needs the scenes of split '{split}', and '{scenes.folder.name}' holds others; make "
            f"them with `duet data scenes --split {split} --out FOLDER`"
        )
    return scenes


def _joined(name: str, parts: dict[str, Benchmark]) -> Benchmark:
    """Benchmarks as one; the media of each begin with its name."""

    def put(record: Record, part: str) -> Record:
        media: dict[str, Any] = {kind: f"{part}/{medium}" for kind, medium in record.media.items()}
        return dataclasses.replace(record, **media)

    records = tuple(put(record, part) for part, benchmark in parts.items() for record in benchmark.records)
    folders = {part: benchmark.folder for part, benchmark in parts.items()}
    return Benchmark(name, records, folders["scenes"], folders=folders)


BENCHMARKS: dict[str, Callable[[Path | None], Benchmark]] = {
    "scenes": _scenes,
    "captions": _captions,
    "easy-vqa": _easy_vqa,
    "photos": _photos,
    "mixed": _mixed,
    "mixed-validation": _mixed_validation,
}
