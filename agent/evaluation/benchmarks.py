"""Benchmarks by name: where their questions and media are, and a balanced sample of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from connector.data.records import Record, read_records
from connector.data.scenes import SHAPES, Scene, load_scenes
from experts.colours import COLOURS
from experts.config import home
from experts.errors import InputError, UnknownNameError


@dataclass(frozen=True)
class Benchmark:
    """Questions whose media paths are relative to `folder`; `scenes` maps an image to what is true of it."""

    name: str
    records: tuple[Record, ...]
    folder: Path
    scenes: dict[str, Scene] = field(default_factory=dict)

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
    return Benchmark(benchmark.name, records, benchmark.folder, benchmark.scenes)


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
    try:
        import easy_vqa
    except ImportError:
        raise InputError("benchmark 'easy-vqa' needs its data; install it with `pip install easy-vqa`") from None

    questions, answers, images = easy_vqa.get_test_questions()
    paths = {number: Path(path) for number, path in easy_vqa.get_test_image_paths().items()}
    folder = next(iter(paths.values())).parent
    records = [
        Record(f"easy-vqa-{index}", question, answer, _easy_kind(answer), paths[image].name)
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


BENCHMARKS: dict[str, Callable[[Path | None], Benchmark]] = {
    "scenes": _scenes,
    "captions": _captions,
    "easy-vqa": _easy_vqa,
    "photos": _photos,
}
