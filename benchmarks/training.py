"""Training speed: this project's loop against a plain step of the same model, on the same questions, in the same run.

A plain step does what a first version does: it runs the frozen encoder on every image of the batch, pads every sequence
to the longest of the data set, and computes logits at every position. The loop reads features from a cache, batches
sequences of like length and computes logits at supervised positions only. Both take the same questions once, with the
same number of questions a step, loss, learning parts (connector and LoRA) and optimiser. The questions are a mixture
like that of stage `instruct`: about scenes, captions, about experts' findings, and without any medium.

    python -m benchmarks.training --data FOLDER --steps 12

With `--questions 4` the loop also puts up to four questions about one image into a sequence, a choice of its own that
a plain step does not have; without it, both see one question a sequence.

FOLDER is what `duet data scenes` writes; one row of its questions.jsonl:

    {"id": "validation-0-000000-0", "question": "What shape is there?", "answer": "triangle", "kind": "shape",
     "image": "images/000000.png", "accept": ["yellow triangle"], "category": "shape"}

    python -m benchmarks.training --device cuda --data FOLDER --batch 96 --questions 6 --steps 60

measures the loop alone on a GPU: tokens a second, model FLOPs utilisation (floating-point operations that the model's
matrix products and attention need, forward, backward and for what learns, over what the device could do) and peak
memory. Recomputing, padding and what the host does count as time, never as work.

Otherwise time is CPU time of this process with one thread, in the order plain, ours, plain; where the two plain
readings differ by more than a tenth, the machine was not quiet enough and no ratio is given. Exit 0 if the ratio
reaches the goal.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch

from connector.data.pictures.scenes import load_scenes
from connector.data.questions.dialogue import text_dialogue
from connector.data.readings.mixture import readings
from connector.data.records import Record, read_records
from connector.data.split import write_scenes
from connector.encoders import registry
from connector.encoders.features import FeatureCache
from connector.interfaces import build, slots
from connector.llm import language as llm
from connector.network import ConnectorModel
from connector.training import objectives, trainable, trainer, warmup
from connector.training.batches import Plan, pad
from connector.training.stages import StageConfig, stage_config
from experts.media import Image

GOAL = 2.0
QUIET = 0.10  # largest difference of the two plain readings, as a share


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of `duet data scenes`; without it, scenes of shapes are made")
    parser.add_argument("--steps", type=int, default=12, help="optimiser steps of each reading")
    parser.add_argument("--batch", type=int, default=16, help="questions a step")
    parser.add_argument("--questions", type=int, default=1, help="about one image in a sequence of the loop, at most")
    parser.add_argument("--connector", default="slots", help="kind of connector")
    parser.add_argument("--llm", default="smollm2-135m-instruct")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args(arguments)
    if options.device == "cuda":
        with tempfile.TemporaryDirectory() as folder:
            return throughput(options, Path(folder))
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        return compare(options, Path(folder))


def compare(options: argparse.Namespace, work: Path) -> int:
    """Take the three readings and print them."""
    data = options.data or made(work / "scenes", options.seed)
    model = assemble(options, data)
    records = chosen(data, options.steps * options.batch, options.seed)
    cache = FeatureCache(work / "features", model.encoder.fingerprint())
    before = time.process_time()
    one = settings(options)
    task = objectives.task_from_records(records, data, model, one, cache)
    filled_s = time.process_time() - before
    several = settings(options, questions=options.questions)
    ours = objectives.task_from_records(records, data, model, several, cache)
    images = {record.image: Image.open(data / record.image) for record in records if record.image}
    trainable.prepare(model, one)

    for warm in range(2):  # pages, kernels and the encoder, for both
        few = settings(options, steps=1, batch=2, seed=warm)
        loop(model, task, few, work / f"warm{warm}", epochs=False)
        plain(model, task, records, images, few)
    taken = {
        "plain": plain(model, task, records, images, one),
        "ours": loop(model, ours, several, work / "ours"),
        "plain again": plain(model, task, records, images, one),
    }
    return report(taken, task, len(images), filled_s, options)


def settings(options: argparse.Namespace, **values: Any) -> StageConfig:
    """Stage `instruct`, without checkpoints on the way."""
    own = {"steps": options.steps, "batch": options.batch, "seed": options.seed, "save_every": 10**6}
    return stage_config("instruct", **own | values)


def report(
    taken: dict[str, tuple[int, float]], task: Any, images: int, filled_s: float, options: argparse.Namespace
) -> int:
    """Print answers a second, the ratio where it can be trusted, and what the cache cost; the exit code."""
    rates = {name: samples / seconds for name, (samples, seconds) in taken.items()}
    lengths = np.array(task.lengths)
    print(
        f"{len(lengths)} questions of {lengths.mean():.0f} tokens (longest {lengths.max()}), {options.batch} a step, "
        f"connector {options.connector}, at most {options.questions} in a sequence"
    )
    for name, (samples, seconds) in taken.items():
        print(f"{name:<12} {samples:5d} answers {seconds:8.1f} s CPU {rates[name]:8.3f} answers/s")
    first, second = rates["plain"], rates["plain again"]
    apart = abs(first - second) / min(first, second)
    peer, samples = (first + second) / 2, taken["ours"][0]
    ratio = rates["ours"] / peer
    once = samples / (taken["ours"][1] + filled_s) / peer
    row = {"plain": [first, second], "ours": rates["ours"], "apart": apart, "ratio": None, "ratio_first_epoch": None}
    if apart > QUIET:
        print(f"the two plain readings differ by {apart:.0%}: no ratio; run again on a quieter machine")
        print(json.dumps(row))
        return 1
    print(f"features of {images} images were computed once before, in {filled_s:.1f} s CPU")
    print(f"ratio {ratio:.2f} (goal {GOAL:g}); {once:.2f} in an epoch that has to fill the cache first")
    print(json.dumps(row | {"ratio": ratio, "ratio_first_epoch": once}))
    return 0 if ratio >= GOAL else 1


# -- on a GPU -------------------------------------------------------------------------------------------------------

PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40": 362.0}  # dense bfloat16, of the vendors' data sheets
WARM_STEPS = 10


def throughput(options: argparse.Namespace, work: Path) -> int:
    """Tokens a second, model FLOPs utilisation and peak memory of the loop on a GPU."""
    data = options.data or made(work / "scenes", options.seed)
    model = assemble(options, data)
    cache = FeatureCache(work / "features", model.encoder.fingerprint())
    config = stage_config(
        "instruct", steps=options.steps + WARM_STEPS, batch=options.batch, tokens=32768, seed=options.seed,
        save_every=10**6, questions=options.questions,
    )  # fmt: skip
    task = objectives.task_from_records(chosen(data, 8 * options.batch, options.seed), data, model, config, cache)
    marks: list[tuple[float, int, int]] = []

    class Timed(Watched):
        def collate(self, rows: Sequence[int]) -> Any:
            batch = self.task.collate(rows)
            marks.append((time.perf_counter(), batch.tokens, len(batch.labels)))
            return batch

    torch.cuda.reset_peak_memory_stats()
    trainer.train(model, Timed(task), config, work / "run", say=lambda line: None)
    taken = marks[WARM_STEPS:]
    seconds = taken[-1][0] - taken[0][0]  # from the first batch's making to the last's: the last is not run in it
    tokens, said = (sum(mark[at] for mark in taken[:-1]) for at in (1, 2))
    work_done = tokens * flops_of_a_token(model, float(np.mean(task.lengths))) + 4 * said * head_size(model)
    device = torch.cuda.get_device_name()
    peak = next((value for name, value in PEAK_TFLOPS.items() if name in device), float("nan"))
    achieved = work_done / seconds / 1e12
    memory_gib = torch.cuda.max_memory_allocated() / 2**30
    row = {
        "device": device,
        "tokens_per_s": round(tokens / seconds),
        "steps_per_s": round((len(taken) - 1) / seconds, 2),
        "tflops": round(achieved, 1),
        "mfu": round(achieved / peak, 4),
        "peak_memory_gib": round(memory_gib, 1),
    }
    print(
        f"{device}: {row['tokens_per_s']:,} tokens/s, {row['steps_per_s']} steps/s of {options.batch} sequences "
        f"(mean {np.mean(task.lengths):.0f} tokens), {achieved:.1f} of {peak:g} TFLOP/s = {achieved / peak:.1%} MFU, "
        f"peak memory {memory_gib:.1f} GiB"
    )
    print(json.dumps(row))
    return 0


def flops_of_a_token(model: ConnectorModel, length: float) -> float:
    """Operations one token of a sequence of `length` costs in training: matrices and attention, without the head.

    A frozen matrix of P weights costs 2 P forward and 2 P for the gradient of its input; what learns 2 P more.
    """
    config = model.llm.model.config
    frozen = learned = 0
    for name, parameter in model.llm.model.named_parameters():
        if parameter.ndim == 2 and "embed_tokens" not in name and "lm_head" not in name:
            learned += parameter.numel() * parameter.requires_grad
            frozen += parameter.numel() * (not parameter.requires_grad)
    attention = 4 * config.num_hidden_layers * config.hidden_size * length  # scores and sums, forward
    return 4 * frozen + 6 * learned + 3 * attention


def head_size(model: ConnectorModel) -> int:
    """Weights of the output layer, which runs at supervised positions only."""
    return int(model.llm.model.get_output_embeddings().weight.numel())


# -- the two ways ---------------------------------------------------------------------------------------------------


class Watched:
    """A task that notes when each batch is asked for, so that only the loop's own steps are timed."""

    def __init__(self, task: Any) -> None:
        self.task = task
        self.asked: list[tuple[float, int]] = []  # (CPU seconds, answers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def collate(self, rows: Sequence[int]) -> Any:
        now = time.process_time()
        batch = self.task.collate(rows)
        self.asked.append((now, batch.n_answers))
        return batch


def loop(model: ConnectorModel, task: Any, config: StageConfig, folder: Path, epochs: bool = True) -> tuple[int, float]:
    """Answers and CPU seconds of an epoch (or of `config.steps` steps) of connector.training.trainer's loop.

    Where sequences hold several questions, a step takes as many fewer. One step more than counts is run: its first
    batch marks the end of the last that does.
    """
    watched = Watched(task)
    answers = sum(_answers(example) for example in task.examples)
    batch = max(round(config.batch * len(task.examples) / answers), 1)
    plan = Plan(task.lengths, task.groups, batch, config.seed)
    steps = plan.per_epoch if epochs else config.steps
    wanted = sum(_answers(task.examples[row]) for step in range(steps) for row in plan.rows(step))
    longer = dataclasses.replace(config, batch=batch, steps=steps + 1)
    trainer.train(model, watched, longer, folder, say=lambda line: None)
    seen = 0
    for now, count in watched.asked:
        if seen == wanted:
            return wanted, now - watched.asked[0][0]
        seen += count
    raise AssertionError(f"{seen} answers in {len(watched.asked)} batches; expected a step after {wanted}")


def _answers(example: Any) -> int:
    """How many answers a sequence holds: runs of supervised tokens."""
    labels = [-100, *example.encoded.labels]
    return sum(now != -100 and before == -100 for before, now in pairwise(labels))


def plain(
    model: ConnectorModel, task: Any, records: Sequence[Record], images: dict[str, Image], config: StageConfig
) -> tuple[int, float]:
    """Answers and CPU seconds of `config.steps` plain steps over the same examples, in a shuffled order."""
    of = {record.id: record for record in records}
    order = np.random.default_rng(config.seed).permutation(len(task.examples))
    longest = max(task.lengths)
    optimizer = trainer.build_optimizer(model, config)
    learning = [parameter for _, parameter in trainable.learning(model)]
    model.connector.train()
    samples, begun = 0, time.process_time()
    for step in range(config.steps):
        rows = order[step * config.batch : (step + 1) * config.batch]
        examples = [task.examples[row] for row in rows]
        seen = [images[image] for example in examples if (image := of[example.name].image)]
        features = model.encoder.encode(seen) if seen else None
        batch = pad([example.encoded for example in examples], [], features, model.llm.tokenizer.pad_token_id).input
        short = longest - batch.ids.shape[1]
        batch.ids, batch.mask, batch.slots = (
            torch.nn.functional.pad(value, (0, short)) for value in (batch.ids, batch.mask, batch.slots)
        )
        labels = torch.full_like(batch.ids, -100)
        for row, example in enumerate(examples):
            labels[row, : len(example.encoded)] = torch.tensor(example.encoded.labels)
        logits = model.head(model.hidden(batch))  # [B, T, V]
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learning, config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        samples += len(rows)
    return samples, time.process_time() - begun


# -- what both take -------------------------------------------------------------------------------------------------


def made(folder: Path, seed: int) -> Path:
    """Scenes of shapes and words, which need no cut-outs."""
    write_scenes(folder, "validation", 60, seed=seed)
    return folder


def assemble(options: argparse.Namespace, data: Path) -> ConnectorModel:
    """The real language model and encoder with an untrained connector."""
    torch.manual_seed(options.seed)
    language, encoder = llm.load(options.llm, options.device), registry.load("efficientnet-lite0")
    if options.connector == "slots":
        connector: Any = slots.SlotConnector(warmup.configure(load_scenes(data), language.width))
        connector.bind(language.tokenizer, language.model.get_input_embeddings().weight)
        connector.start_from(encoder.head())
    else:
        connector = build.fresh(options.connector, language, encoder)
    return ConnectorModel(language, encoder, connector)


def chosen(data: Path, count: int, seed: int) -> list[Record]:
    """`count` records: six tenths about scenes, one of captions, two about experts' findings, one without a medium."""
    shares = {"captions": count // 10, "readings": count // 5, "dialogue": count // 10}
    about = neighbours(read_records(data / "questions.jsonl"), count - sum(shares.values()), seed)
    captions = neighbours(read_records(data / "captions.jsonl"), shares["captions"], seed)
    return about + captions + readings(shares["readings"], seed) + text_dialogue(shares["dialogue"], seed)


def neighbours(records: Sequence[Record], count: int, seed: int) -> list[Record]:
    """All records of some images, up to `count`: an image of a training set has all its questions there."""
    if len(records) < count:
        raise SystemExit(f"{len(records)} records in the data, {count} are needed; lower --steps or --batch")
    images = sorted({record.image or "" for record in records})
    rank = {images[at]: place for place, at in enumerate(np.random.default_rng(seed).permutation(len(images)))}
    return sorted(records, key=lambda record: rank[record.image or ""])[:count]


if __name__ == "__main__":
    sys.exit(main())
