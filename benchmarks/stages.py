"""What each stage of training gained: the target of every stage, for the model that each stage saved.

    python -m benchmarks.stages runs/warmup/model runs/pretrain/model runs/instruct/model runs/dpo/model \
        --scenes runs/data/validation --limit 200

`--scenes` is what `duet data scenes` writes. On its first `--limit` scenes, for each model:

- words: questions answered by fixed rules from what the connector says (benchmarks.words): the target of `warmup`;
- caption: negative log-likelihood of the true captions, nats a token, in Table III's template: that of `pretrain`;
- answers: questions answered rightly by the whole model, as many of each kind as there are: that of `instruct`;
- CHAIR_i, CHAIR_s: things named in its own captions that are not there, captions with such a thing: that of `dpo`
  (a thing is whatever the scenes or the connector have a name for);
- named: how many of the things that are there its captions name.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from agent.evaluation.benchmarks import registry
from agent.evaluation.scoring import metrics
from agent.evaluation.scoring.parsers import judge
from benchmarks import words
from connector import network as models
from connector.data.pictures.scenes import load_scenes
from connector.data.records import Record, read_records
from connector.encoders.features import FeatureCache, content_key
from connector.llm import language
from connector.training import objectives
from connector.training.batches import Plan
from connector.training.stages import stage_config

BATCH = 16
CAPTION_TOKENS, ANSWER_TOKENS = 64, 24
COLUMNS = ("words", "caption nats", "answers", "CHAIR_i", "CHAIR_s", "named")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "models", type=Path, nargs="+", help="saved models with a slot connector, in the order of stages"
    )
    parser.add_argument("--scenes", type=Path, required=True, help="folder made by `duet data scenes`")
    parser.add_argument("--features", type=Path, help="cache of encoder features")
    parser.add_argument("--limit", type=int, default=200, help="scenes, questions and captions at most")
    parser.add_argument("--out", type=Path, help="also write the rows here, as JSON")
    args = parser.parse_args(arguments)
    rows = []
    print("| model | " + " | ".join(COLUMNS) + " | seconds |\n|" + " --- |" * (len(COLUMNS) + 2))
    for folder in args.models:
        language.load.cache_clear()  # an adapter is merged into the language model it was loaded with
        begun = time.monotonic()
        row = measure(models.load(folder), args.scenes, args.features or args.scenes.parent / "features", args.limit)
        rows.append({"model": str(folder), **row})
        cells = [f"{row[name]:.3f}" if name == "caption nats" else f"{row[name]:.1%}" for name in COLUMNS]
        print(
            f"| {folder.parent.name if folder.name == 'model' else folder.name} | "
            + " | ".join(cells)
            + f" | {time.monotonic() - begun:.0f} |",
            flush=True,
        )
        if args.out:
            args.out.write_text(json.dumps(rows, indent=1) + "\n")


def measure(model: Any, folder: Path, features: Path, limit: int) -> dict[str, float]:
    """The targets of all stages, for one model."""
    cache = FeatureCache(features, model.encoder.fingerprint())
    scenes = load_scenes(folder)[:limit]
    asked = registry.load("scenes", folder, limit=limit).records
    keys = {
        name: content_key(folder / name) for name in {s.image for s in scenes} | {r.image for r in asked if r.image}
    }
    cache.fill(((key, folder / name) for name, key in keys.items()), model.encoder, say=print)
    captions = [record for record in read_records(folder / "captions.jsonl") if record.image in keys][:limit]
    by_image = {scene.image: scene for scene in load_scenes(folder)}
    found = metrics.hallucination(
        answers(model, cache, keys, captions, CAPTION_TOKENS),
        [by_image[str(record.image)] for record in captions],
        metrics.object_words(by_image.values(), model.connector.config.names),
    )
    said = answers(model, cache, keys, asked, ANSWER_TOKENS)
    seen = {scene.image: cache.get([keys[scene.image]]) for scene in scenes}
    right, asked_of = words.by_rules(model.connector, seen, read_records(folder / "questions.jsonl"))
    return {
        "words": sum(right.values()) / max(sum(asked_of.values()), 1),
        "caption nats": caption_loss(model, cache, folder, captions),
        "answers": metrics.share(bool(judge(r, a).correct) for r, a in zip(asked, said, strict=True)).value,
        "CHAIR_i": found.instances.value,
        "CHAIR_s": found.sentences.value,
        "named": found.recall.value,
    }


def caption_loss(model: Any, cache: FeatureCache, folder: Path, captions: Sequence[Record]) -> float:
    """Nats a token of the true captions."""
    task = objectives.task_from_records(captions, folder, model, stage_config("pretrain", batch=BATCH), cache)
    plan = Plan(task.lengths, task.groups, BATCH, 0)
    batches = [task.collate(plan.rows(step)) for step in range(plan.per_epoch)]
    with torch.inference_mode():
        return sum(float(task.loss(model, batch)[0]) for batch in batches) / sum(batch.weight for batch in batches)


def answers(model: Any, cache: FeatureCache, keys: dict[str, str], records: Sequence[Record], most: int) -> list[str]:
    """What the model says to each record's question, greedily, in `most` tokens."""
    order = sorted(range(len(records)), key=lambda at: len(records[at].question))  # alike in length, little padding
    asked = ((records[at].question, cache.get([keys[str(records[at].image)]])) for at in order)
    said = dict(zip(order, model.answers(asked, most, BATCH), strict=True))
    return [said[at] for at in range(len(records))]


if __name__ == "__main__":
    main()
