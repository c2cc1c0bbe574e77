"""What each stage of training gained: the target of every stage, for the model that each stage saved.

    python -m benchmarks.stages runs/warmup/model runs/pretrain/model runs/instruct/model runs/dpo/model \
        --scenes runs/data/validation --limit 200

`--scenes` is what `duet data scenes` writes. On its first `--limit` scenes, for each model:

- words: questions answered by fixed rules from what the connector says (benchmarks.words): the target of `warmup`;
- caption: negative log-likelihood of the true captions, nats a token, in Table III's template: that of `pretrain`;
- answers: questions answered rightly by the whole model, as many of each kind as there are: that of `instruct`;
- CHAIR_i, CHAIR_s: things named in its own captions that are not there, captions with such a thing: that of `dpo`;
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

from agent.evaluation import benchmarks, metrics
from agent.evaluation.parsers import judge
from benchmarks import words
from connector import llm, tasks
from connector import model as models
from connector.batches import Plan
from connector.data.records import Record, read_records
from connector.data.scenes import Scene, load_scenes
from connector.features import FeatureCache, content_key
from connector.losses import token_logp
from connector.stages import stage_config

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
        llm.load.cache_clear()  # an adapter is merged into the language model it was loaded with
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
    asked = benchmarks.load("scenes", folder, limit=limit).records
    keys = {
        name: content_key(folder / name) for name in {s.image for s in scenes} | {r.image for r in asked if r.image}
    }
    cache.fill(((key, folder / name) for name, key in keys.items()), model.encoder, say=print)
    captions = [record for record in read_records(folder / "captions.jsonl") if record.image in keys][:limit]
    by_image = {scene.image: scene for scene in load_scenes(folder)}
    found = metrics.hallucination(
        answers(model, cache, keys, captions, CAPTION_TOKENS),
        [by_image[str(record.image)] for record in captions],
        metrics.object_words(by_image.values()),
    )
    said = answers(model, cache, keys, asked, ANSWER_TOKENS)
    return {
        "words": by_rules(model, cache, keys, folder, scenes),
        "caption nats": caption_loss(model, cache, folder, captions),
        "answers": metrics.share(bool(judge(r, a).correct) for r, a in zip(asked, said, strict=True)).value,
        "CHAIR_i": found.instances.value,
        "CHAIR_s": found.sentences.value,
        "named": found.recall.value,
    }


def by_rules(model: Any, cache: FeatureCache, keys: dict[str, str], folder: Path, scenes: Sequence[Scene]) -> float:
    """The share of the scenes' questions, but for those about words to be read, that the rules answer rightly."""
    least = float(model.connector.gate[1])
    with torch.inference_mode():
        seen = {s.image: words.seen(model.connector.describe(cache.get([keys[s.image]])), least) for s in scenes}
    records = [r for r in read_records(folder / "questions.jsonl") if r.image in seen and r.kind != "text"]
    return metrics.share(bool(judge(r, words.read(r, seen[str(r.image)])).correct) for r in records).value


def caption_loss(model: Any, cache: FeatureCache, folder: Path, captions: Sequence[Record]) -> float:
    """Nats a token of the true captions."""
    config = stage_config("pretrain", batch=BATCH)
    task = tasks.task_from_records(captions, folder, model, config, cache)
    plan = Plan(task.lengths, task.groups, BATCH, 0)
    loss, tokens = 0.0, 0
    with torch.inference_mode():
        for step in range(plan.per_epoch):
            batch = task.collate(plan.rows(step))
            loss -= float(
                token_logp(model.hidden(batch.input)[batch.rows, batch.columns], model.head, batch.labels).sum()
            )
            tokens += len(batch.labels)
    return loss / tokens


def answers(
    model: Any, cache: FeatureCache, keys: dict[str, str], records: Sequence[Record], most_tokens: int
) -> list[str]:
    """What the model says to each record's question, greedily."""
    order = sorted(range(len(records)), key=lambda at: len(records[at].question))
    said = [""] * len(records)
    with torch.inference_mode():
        for start in range(0, len(order), BATCH):
            part = [records[at] for at in order[start : start + BATCH]]
            prompts = [model.prompt(one.question, [None], features=cache.get([keys[str(one.image)]])) for one in part]
            for at, (text, _) in zip(
                order[start : start + BATCH], model.llm.answers(prompts, most_tokens), strict=True
            ):
                said[at] = text
    return said


if __name__ == "__main__":
    main()
