"""Recipes: what `duet train` puts together for a stage: the model it starts from, its data, what the card says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from connector.training.objectives import Say, Task, task_from_records, words_from_scenes
from connector.training.stages import STAGES, StageConfig
from experts.errors import ConfigError, InputError, TrainingError

if TYPE_CHECKING:
    from connector.data.records import Record
    from connector.encoders.features import FeatureCache
    from connector.network import ConnectorModel

# Which file of a scenes folder a stage learns from.
FILES = {"pretrain": "captions.jsonl", "instruct": "questions.jsonl", "dpo": "preferences.jsonl"}


@dataclass(frozen=True)
class Mixture:
    """What stage `instruct` learns from beside the scenes' questions (survey 3.2, data mixture); counts of records.

    `per_scene` questions are drawn for each scene, rarer kinds of question as likely as common ones. What stands beside
    them is also what `dpo` rehearses beside its pairs (`StageConfig.rehearsal`).
    """

    per_scene: int = 3
    captions: int = 0
    readings: int = 0  # questions about findings, which serve the experts route
    dialogue: int = 0  # no medium at all


def open_model(
    llm: str,
    kind: str,
    folders: Sequence[Path],
    start: Path | None,
    *,
    encoder: str = "",
    tiles: int | None = None,
    tokens: int = 0,
) -> ConnectorModel:
    """The model that a stage trains: of the shape that `start` was saved with, else a fresh connector of `kind`.

    Its weights are those of a fresh one; `train(..., start=)` puts the saved ones in, the adapter beside them unmerged.
    `encoder`, `tiles` along a side and `tokens` (soft ones a picture) shape a fresh connector, of any kind but slots.

    Raises:
        ConfigError: a shape is given for slots or beside `start`.
        ConfigError, UnknownNameError: see `connector.interfaces.build.build`.
        TrainingError: `start` was saved with another language model.
    """
    from connector.encoders import registry
    from connector.interfaces.build import build, fresh
    from connector.llm import language as llms
    from connector.network import ConnectorModel

    shaped = bool(encoder or tokens) or tiles is not None
    if shaped and (start or kind == "slots"):
        why = f"'{start.name}' has its own" if start else "a slot connector has its own"
        raise ConfigError(f"encoder, tiles and tokens cannot be set: {why}; leave them out, or use another --connector")
    words = llms.load(llm)
    if start and (start / "config.json").is_file():
        saved = json.loads((start / "config.json").read_text())
        if not llms.same(saved["llm"], llm):
            raise TrainingError(f"'{start.name}' was trained with '{saved['llm']}', not with '{llm}'")
        eyes = registry.load(saved["encoder"], saved["tiles"], saved.get("size_px", 0))
        started = build(saved["connector"], words)
        if hasattr(started, "see_whole_with"):
            started.see_whole_with(eyes.head())  # type: ignore[attr-defined]
        return ConnectorModel(words, eyes, started, saved.get("card", {}))
    eyes = registry.load(encoder or "efficientnet-lite0", 2 if tiles is None else tiles)
    if kind != "slots":
        return ConnectorModel(words, eyes, fresh(kind, words, eyes, **({"n_tokens": tokens} if tokens else {})))
    from connector.data.pictures.scenes import load_scenes
    from connector.interfaces.slots import SlotConnector
    from connector.training import warmup

    scenes = [scene for folder in folders for scene in load_scenes(folder)]
    if not scenes:
        raise InputError("a fresh slot connector takes its words from scenes; name a folder with --data")
    connector = SlotConnector(warmup.configure(scenes, words.width))
    connector.bind(words.tokenizer, words.model.get_input_embeddings().weight)
    connector.start_from(eyes.head())  # type: ignore[attr-defined]
    return ConnectorModel(words, eyes, connector)


def open_task(
    model: Any,
    config: StageConfig,
    folders: Sequence[Path],
    cache: FeatureCache,
    *,
    mixture: Mixture | None = None,
    files: Sequence[Path] = (),
    limit: int = 0,
    say: Say = print,
) -> Task:
    """What the stage learns from: scenes folders (see `duet data scenes`) and further files of records.

    A file named "FILE=N" gives N of its records, all kinds equally often. `limit` keeps that many scenes or records at
    most. Both are drawn with the stage's seed.

    Raises:
        InputError: there is nothing to learn from.
        TrainingError: see `connector.training.objectives.examples_from`.
    """
    if STAGES[config.stage].objective == "words":
        return _words(model, config, folders, cache, limit, say)
    records = [record for folder in folders for record in _scene_records(folder, config, mixture or Mixture())]
    records += [record for file in files for record in _drawn(file, config.seed)]
    if config.stage in ("instruct", "dpo") and mixture:
        records += _beside(folders, config, mixture)
    if not records:
        raise InputError(
            f"stage '{config.stage}' has nothing to learn from; name scenes with --data or files with --records"
        )
    if limit and len(records) > limit:
        kept = np.random.default_rng([config.seed, 5]).permutation(len(records))[:limit]
        records = [records[index] for index in sorted(kept)]
    return task_from_records(records, Path(), model, config, cache, say)


def _words(model: Any, config: StageConfig, folders: Sequence[Path], cache: FeatureCache, limit: int, say: Say) -> Task:
    from connector.data.pictures.scenes import load_scenes

    if not hasattr(model.connector, "fit_scale"):
        raise TrainingError("stage 'warmup' is for connectors that speak in words, such as 'slots', not for this one")
    scenes = [
        replace(scene, id=f"{folder.name}/{scene.id}", image=str(folder.resolve() / scene.image))
        for folder in folders
        for scene in load_scenes(folder)
    ]
    if not scenes:
        raise InputError("stage 'warmup' learns from scenes; name a folder with --data")
    scenes = scenes[: limit or len(scenes)]
    task = words_from_scenes(scenes, Path(), model, config, cache, say)
    model.connector.fit_scale(task.features(task.keys[:256]))
    return task


def open_slots(model: Any, task: Any, say: Say) -> None:
    """After the warm-up: the heat from which on a slot speaks, by held-out scenes."""
    chosen = range(min(len(task.keys), 600))
    batch = task.collate(chosen).to(next(model.connector.parameters()).device)
    right = model.connector.fit_gate(batch.features, (batch.targets.cells >= 0).sum(-1))
    heat = float(model.connector.gate.detach()[1])
    say(f"a slot speaks from heat {heat:.2f} on: {right:.0%} of held-out scenes counted right")


def _rooted(file: Path) -> list[Record]:
    """The records of a file, their images as whole paths."""
    from connector.data.records import read_records

    if not file.is_file():
        raise InputError(f"there is no file '{file.name}' of records")
    root = file.parent.resolve()
    return [
        replace(record, image=str(root / record.image)) if record.image else record for record in read_records(file)
    ]


def _drawn(file: Path, seed: int) -> list[Record]:
    from connector.data.records import sample

    name, _, count = file.name.rpartition("=")
    if file.is_file() or not (name and count.isdecimal() and int(count)):
        return _rooted(file)
    return list(sample(_rooted(file.with_name(name)), limit=int(count), seed=seed))


def _scene_records(folder: Path, config: StageConfig, mixture: Mixture) -> list[Record]:
    file = folder / FILES[config.stage]
    if not file.is_file():
        raise InputError(f"no {file.name} in '{folder.name}'; make it: duet data scenes --out DIR")
    records = _rooted(file)
    if config.stage != "instruct":
        return records
    counts: dict[str, int] = {}
    for record in records:
        counts[record.kind] = counts.get(record.kind, 0) + 1
    rng = np.random.default_rng([config.seed, 3])
    # The likelihood of a kind falls with the root of its frequency: rare kinds are learned, common ones not forgotten.
    drawn = {record.id: float(rng.exponential()) * counts[record.kind] ** 0.5 for record in records}
    by_image: dict[str | None, list[Record]] = {}
    for record in records:
        by_image.setdefault(record.image, []).append(record)
    return [
        record
        for group in by_image.values()
        for record in sorted(group, key=lambda one: drawn[one.id])[: mixture.per_scene]
    ]


def _beside(folders: Sequence[Path], config: StageConfig, mixture: Mixture) -> list[Record]:
    from connector.data.questions.dialogue import text_dialogue
    from connector.data.readings.mixture import readings

    rows = [*text_dialogue(mixture.dialogue, config.seed), *readings(mixture.readings, config.seed)]
    captions = (
        [record for folder in folders for record in _rooted(folder / "captions.jsonl")] if mixture.captions else []
    )
    kept = np.random.default_rng([config.seed, 4]).permutation(len(captions))[: mixture.captions]
    return rows + [captions[index] for index in sorted(kept)]


def version() -> str:
    """The code version that goes into a model card: git's commit where there is one, else the package's version."""
    import subprocess
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as of

    try:
        run = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True
        )
        if run.returncode == 0:
            return run.stdout.strip()
    except OSError:
        pass
    try:
        return of("duet")
    except PackageNotFoundError:
        return "unknown"


def entry(stage: str, run: Any, folders: Sequence[Path], mixture: Mixture, task: Task) -> dict[str, Any]:
    """What the model card says of a finished run."""
    import dataclasses
    import platform

    said = {
        "stage": stage,
        "data": [folder.name for folder in folders],
        "examples": len(task.names),
        "steps": run.progress.step,
        "samples": run.progress.samples,
        "tokens": run.progress.tokens,
        "minutes": round(run.progress.seconds / 60, 1),
        "loss": round(run.progress.loss, 4),
        "held_out_loss": None if run.held_out is None else round(run.held_out, 4),
        "machine": platform.machine(),
    }
    if stage in ("instruct", "dpo"):
        said["mixture"] = dataclasses.asdict(mixture)
    return said
