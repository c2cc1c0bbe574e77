"""Which connector learns most: every kind on the same questions, with the same number of image tokens, steps and seed.

    python -m benchmarks.connectors --train FOLDER --validation FOLDER --out runs/connectors --steps 300

The folders are what `duet data scenes` writes; one row of questions.jsonl:

    {"id": "validation-0-000000-2", "question": "Is there a yellow shape?", "answer": "yes", "kind": "existence",
     "image": "images/000000.png"}

The encoder and the language model stay frozen and only the connector learns, so what differs is the connector alone. An
answer counts as right where greedy decoding says exactly the listed answer and ends there; that is read off one forward
pass over question and answer, for if the likeliest token is the right one at each place, decoding says just these.
Gated cross-attention takes no image tokens: it looks at all N features instead, at no token budget.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from connector.data.pictures.scenes import load_scenes
from connector.data.records import Record, read_records
from connector.encoders import registry
from connector.encoders.features import FeatureCache
from connector.interfaces import build, slots
from connector.llm import language
from connector.network import ConnectorModel
from connector.training import objectives, trainer, warmup
from connector.training.batches import Plan
from connector.training.losses import token_logp
from connector.training.stages import stage_config

KINDS = ("linear", "mlp", "vocabulary", "vocabulary-random", "qformer", "resampler", "crossattn", "expert", "slots")


@dataclass
class Row:
    """A kind's result."""

    kind: str
    tokens: int  # M
    parameters: int  # that learn
    steps: int = 0
    seconds: float = 0.0
    loss: list[float] = field(default_factory=list)  # of validation answers, a token; before and after
    right: list[float] = field(default_factory=list)  # share of validation answers; before and after
    by_type: dict[str, float] = field(default_factory=dict)  # after


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True, help="folder of scenes to learn from")
    parser.add_argument("--validation", type=Path, required=True, help="folder of scenes to be asked about")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/connectors"), help="runs, connectors.json, connectors.md"
    )
    parser.add_argument("--features", type=Path, help="a cache of features that is there already")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--steps", type=int, default=0, help="optimiser steps of each kind; 0 = as the minutes allow")
    parser.add_argument("--minutes", type=float, default=0.0, help="of each kind, at most; 0 = no limit")
    parser.add_argument("--questions", type=int, default=4000, help="to learn from")
    parser.add_argument("--asked", type=int, default=400, help="validation questions")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=0, help="image tokens; 0 = as many as the slot connector has")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--llm", default="smollm2-135m-instruct")
    options = parser.parse_args(arguments)
    if not options.steps and not options.minutes:
        parser.error("one of --steps and --minutes must be above 0")
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options)
    rows: list[Row] = []
    for kind in options.kinds:
        rows.append(bench.run(kind))
        (options.out / "connectors.json").write_text(json.dumps([vars(row) for row in rows], indent=1) + "\n")
        (options.out / "connectors.md").write_text(table(rows) + "\n")
        print(table(rows[-1:]), flush=True)
    print(table(rows))
    return 0


class Bench:
    """What all kinds share: language model, encoder, features and questions."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.llm, self.encoder = language.load(options.llm, "cpu"), registry.load("efficientnet-lite0")
        self.cache = FeatureCache(options.features or options.out / "features", self.encoder.fingerprint())
        self.learned = sample(options.train, options.questions, options.seed)
        self.asked = sample(options.validation, options.asked, options.seed)
        self.slot_config = warmup.configure(load_scenes(options.train), self.llm.width)
        self.tokens = options.tokens or self.slot_config.n_tokens
        self.config = stage_config(
            "instruct",
            steps=options.steps,
            minutes=options.minutes,
            batch=options.batch,
            seed=options.seed,
            learn=("connector",),
            lr_connector=1e-3,
        )

    def run(self, kind: str) -> Row:
        """Train and ask one kind."""
        torch.manual_seed(self.options.seed)
        model = ConnectorModel(self.llm, self.encoder, self.connector(kind))
        learns, asked = (
            objectives.task_from_records(records, folder, model, self.config, self.cache, say=say)
            for records, folder in ((self.learned, self.options.train), (self.asked, self.options.validation))
        )
        if kind == "slots":
            keys = [example.image for example in learns.examples[:256] if example.image]
            model.connector.fit_scale(self.cache.get(keys))
        model.connector.eval()
        row = Row(kind, model.n_tokens, 0)
        kinds = {record.id: record.kind for record in self.asked}
        self.ask(model, asked, kinds, row)
        begun = time.process_time()
        run = trainer.train(
            model, learns, self.config, self.options.out / kind, say=lambda line: say(f"{kind}: {line}")
        )
        row.seconds, row.steps = time.process_time() - begun, run.progress.step
        row.parameters = sum(p.numel() for p in model.connector.parameters() if p.requires_grad)
        model.connector.eval()
        self.ask(model, asked, kinds, row)
        return row

    def connector(self, kind: str) -> Any:
        """An untrained connector of this kind, with as many tokens as all others."""
        if kind == "slots":
            made: Any = slots.SlotConnector(self.slot_config)
            made.bind(self.llm.tokenizer, self.llm.model.get_input_embeddings().weight)
            made.start_from(self.encoder.head())
            return made
        made = build.fresh(kind.removesuffix("-random"), self.llm, self.encoder, n_tokens=self.tokens)
        if kind.endswith("-random"):
            forget(made)
        return made

    def ask(self, model: ConnectorModel, task: objectives.AnswerTask, kinds: dict[str, str], row: Row) -> None:
        """Add the loss and the share of right answers to `row`."""
        loss, tokens, right = 0.0, 0, {}
        plan = Plan(task.lengths, task.groups, self.config.batch, 0)
        with torch.no_grad():
            for step in range(plan.per_epoch):
                batch = task.collate(plan.rows(step))
                spoken = model.hidden(batch.input)[batch.rows, batch.columns]  # [K, D_llm]
                loss -= float(token_logp(spoken, model.head, batch.labels).sum())
                tokens += len(batch.labels)
                wrong = model.head(spoken).argmax(-1) != batch.labels  # [K]
                missed = set(batch.answers[wrong].tolist())
                right |= {name: answer not in missed for answer, name in enumerate(batch.names)}
        row.loss.append(loss / tokens)
        row.right.append(float(np.mean(list(right.values()))))
        row.by_type = {
            kind: float(np.mean([good for name, good in right.items() if kinds[name] == kind]))
            for kind in sorted({kinds[name] for name in right})
        }


def forget(vocabulary: Any) -> None:
    """Take a vocabulary's start away: classifier and words become random numbers of the same size."""
    with torch.no_grad():
        for layer in (vocabulary.classify1, vocabulary.classify2):
            layer.reset_parameters()
        for words in (vocabulary.names_words, vocabulary.places_words, vocabulary.blank):
            words.copy_(torch.randn_like(words) * words.std())


def sample(folder: Path, count: int, seed: int) -> list[Record]:
    """At most `count` questions, spread over the whole file."""
    records = read_records(folder / "questions.jsonl")
    order = np.random.default_rng(seed).permutation(len(records))[:count]
    return [records[at] for at in sorted(order)]


def table(rows: Sequence[Row]) -> str:
    """The results as Markdown."""
    types = sorted({kind for row in rows for kind in row.by_type})
    head = ["connector", "tokens", "learn", "steps", "CPU s", "loss before", "loss", "right before", "right", *types]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        cells = [row.kind, str(row.tokens), f"{row.parameters:,}", str(row.steps), f"{row.seconds:.0f}"]
        cells += [f"{row.loss[0]:.3f}", f"{row.loss[-1]:.3f}", f"{row.right[0]:.1%}", f"{row.right[-1]:.1%}"]
        cells += [f"{row.by_type[kind]:.0%}" if kind in row.by_type else "" for kind in types]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def say(line: str) -> None:
    """A line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
