"""Tasks: what a stage learns from, i.e. its examples, how they become a batch, and the loss of a batch."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from connector.data.records import Record
from connector.encoders.features import FeatureCache, content_key
from connector.llm import templates
from connector.training import checkpoints
from connector.training.batches import Plan, Sequences, pad
from connector.training.stages import StageConfig
from experts.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Say = Callable[[str], None]
GetFeatures = Callable[[Sequence[str]], "Tensor"]  # keys [b] -> features [b, N, D_enc]


class Task(Protocol):
    """What a stage learns from, as the loop sees it."""

    names: list[str]  # of each example, for messages
    lengths: list[int]  # tokens of each example as the model reads it
    groups: list[int]  # examples of different groups are never in one batch
    dropout: bool  # whether the model learns from it with dropout

    def prepare(self, model: Any, folder: Path, say: Say) -> None:
        """What must be known before the first step, from the model as it starts."""

    def collate(self, rows: Sequence[int]) -> Any:
        """The examples `rows` as a batch with `names`, `weight` (its loss's divisor), `tokens` and `to(device)`."""

    def loss(self, model: Any, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch times its weight, and sums of other figures that want the same divisor."""


# -- records -> examples --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """One sequence (or a pair of them) with the image it is about."""

    name: str
    encoded: templates.Encoded
    image: str | None = None  # key of the image's features
    rejected: templates.Encoded | None = None


def image_keys(records: Sequence[Record], folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Content keys of the records' image files (relative to `folder`), and a reason for each that cannot be read."""
    keys, broken = {}, {}
    for name in sorted({record.image for record in records if record.image}):
        try:
            keys[name] = content_key(folder / name)
        except OSError as error:
            broken[name] = error.strerror or str(error)
    return keys, broken


def examples_from(
    records: Sequence[Record],
    keys: dict[str, str],
    broken: dict[str, str],
    tokenizer: Any,
    config: StageConfig,
    image_tokens: int,
    say: Say = lambda line: None,
) -> list[Example]:
    """Every record as an example; a broken one (no image, a sound, too long, no pair) is counted and named.

    Args:
        keys: feature key of each image's name; an image that is missing here is broken.
        broken: what is known of broken images, name -> reason.

    Raises:
        TrainingError: a mask or token count that does not fit, or a share of broken records above `config.max_broken`.
    """
    pairs = config.stage == "dpo"
    examples, faults = [], []
    for group in _together(records, config.questions):
        first = group[0]
        name = first.id if len(group) == 1 else f"{first.id}..{group[-1].id}"
        if first.image and first.image not in keys:
            faults += [
                f"{record.id} (image '{first.image}': {broken.get(first.image, 'not there')})" for record in group
            ]
            continue
        if pairs and first.rejected is None and not config.rehearsal:
            faults.append(f"{first.id} (no rejected answer)")
            continue
        unseen = next((kind for kind in ("audio", "video") if getattr(first, kind)), "")
        if unseen and first.evidence is None:  # stages show pictures alone: it would be learned without its medium
            faults += [
                f"{record.id} ({unseen} is not shown in training; give its findings as evidence)" for record in group
            ]
            continue
        encoded = templates.encode_turns(tokenizer, group, config.stage, image_tokens)
        other = None
        if pairs and first.rejected is not None:
            other = templates.encode(tokenizer, first, config.stage, image_tokens, first.rejected)
        longest = max(len(encoded), len(other) if other else 0)
        if longest > config.max_tokens:
            faults += [f"{record.id} ({longest} tokens, at most {config.max_tokens})" for record in group]
            continue
        examples.append(Example(name, encoded, keys[first.image] if first.image else None, other))
    if faults:
        line = (
            f"{len(faults)} of {len(records)} records are broken: {'; '.join(faults[:5])}{' ...' * (len(faults) > 5)}"
        )
        if len(faults) > config.max_broken * len(records):
            raise TrainingError(f"{line}; the share allowed (max_broken) is {config.max_broken:.1%}")
        say(line)
    return examples


def _together(records: Sequence[Record], questions: int) -> Iterator[list[Record]]:
    """Records in groups of up to `questions` about the same media and evidence, in order of first appearance."""
    if questions == 1:
        yield from ([record] for record in records)
        return
    groups: dict[Any, list[Record]] = {}
    for index, record in enumerate(records):
        seen = (record.image, record.audio, record.video, record.evidence)
        groups.setdefault(seen if any(seen) else index, []).append(record)
    for group in groups.values():
        yield from (group[at : at + questions] for at in range(0, len(group), questions))


# -- tasks -------------------------------------------------------------------------------------------------------------


class AnswerTask:
    """Stages `pretrain` and `instruct`: say the answer."""

    dropout = True

    def __init__(
        self, examples: Sequence[Example], features: GetFeatures, pad_id: int, config: StageConfig, slots: bool
    ) -> None:
        self.examples, self.features, self.pad_id, self.config = examples, features, pad_id, config
        self.names = [example.name for example in examples]
        self.lengths = [max(len(one) for one in self._sequences(example)) for example in examples]
        # A connector inside the language model (no image slots) reads batches with images in all rows or in none.
        self.groups = [0 if slots else int(example.image is not None) for example in examples]

    @staticmethod
    def _sequences(example: Example) -> list[templates.Encoded]:
        return [example.encoded]

    def prepare(self, model: Any, folder: Path, say: Say) -> None:
        """Nothing is needed."""

    def collate(self, rows: Sequence[int]) -> Sequences:
        from connector.training.losses import token_weights

        chosen = [self.examples[row] for row in rows]
        batch = self._pad(chosen, [example.encoded for example in chosen])
        batch.weight = token_weights(batch.answers, batch.n_answers, self.config.mean)[1]
        return batch

    def _pad(self, chosen: list[Example], encoded: list[templates.Encoded]) -> Sequences:
        times = len(encoded) // len(chosen)
        keys = [example.image for example in chosen if example.image is not None]
        features = self.features(keys).repeat(times, 1, 1) if keys else None  # [b, N, D_enc]
        return pad(encoded, [example.name for example in chosen], features, self.pad_id)

    def loss(self, model: Any, batch: Sequences) -> tuple[Tensor, dict[str, Tensor]]:
        from connector.training.losses import answer_loss

        spoken = model.hidden(batch.input)[batch.rows, batch.columns]  # [K, D_llm]
        return answer_loss(spoken, model.head, batch.labels, batch.answers, self.config.mean)[0], {}


class PreferenceTask(AnswerTask):
    """Stage `dpo`: prefer the chosen answer, measured against the model as it was at the start.

    The reference's log-probabilities are computed once and kept in the run's folder, so a step runs one model, not two.
    Answers with no rejected one are batches of their own, learned as in `instruct`: what is preferred in captions would
    otherwise spread to other questions.
    """

    # With dropout the policy would differ from its reference before anything is learned, and learn that difference.
    dropout = False
    reference: np.ndarray  # [examples, 2], chosen and rejected

    def __init__(
        self, examples: Sequence[Example], features: GetFeatures, pad_id: int, config: StageConfig, slots: bool
    ) -> None:
        super().__init__(examples, features, pad_id, config, slots)
        self.groups = [group + 2 * (one.rejected is None) for group, one in zip(self.groups, examples, strict=True)]

    @staticmethod
    def _sequences(example: Example) -> list[templates.Encoded]:
        return [example.encoded] if example.rejected is None else [example.encoded, example.rejected]

    def prepare(self, model: Any, folder: Path, say: Say) -> None:
        """Compute the reference, or read it where this run has already done so."""
        import torch

        text = json.dumps(
            [[example.name, *(one.ids for one in self._sequences(example)), example.image] for example in self.examples]
        )
        file = folder / f"reference-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npy"
        if file.is_file():
            self.reference = np.load(file)
            return
        say(f"reference: log-probabilities of {2 * sum(one.rejected is not None for one in self.examples)} answers")
        self.reference = np.zeros((len(self.examples), 2), np.float32)
        plan = Plan(self.lengths, self.groups, self.config.batch, 0)
        with torch.no_grad():
            for step in range(plan.per_epoch):
                for rows in plan.shares(plan.rows(step), self.config.tokens)[0]:
                    if self.examples[rows[0]].rejected is None:
                        continue
                    batch = self.collate(rows).to(model.llm.device)
                    self.reference[rows] = self.logp(model, batch).float().cpu().numpy().T
        folder.mkdir(parents=True, exist_ok=True)
        with checkpoints.replacing(file) as part, part.open("wb") as stream:
            np.save(stream, self.reference)

    def collate(self, rows: Sequence[int]) -> Sequences:
        import torch

        chosen = [self.examples[row] for row in rows]
        if chosen[0].rejected is None:
            return super().collate(rows)
        pairs = [self._sequences(example) for example in chosen]
        batch = self._pad(chosen, [pair[0] for pair in pairs] + [pair[1] for pair in pairs])
        batch.weight = float(len(rows))
        batch.reference = torch.from_numpy(self.reference[list(rows)].T.copy())  # [2, P]
        return batch

    @staticmethod
    def logp(model: Any, batch: Sequences) -> Tensor:
        """log p [2, P] of the chosen and the rejected answers."""
        from connector.training.losses import sequence_logp

        spoken = model.hidden(batch.input)[batch.rows, batch.columns]  # [K, D_llm]
        return sequence_logp(spoken, model.head, batch.labels, batch.rows, len(batch.input.ids)).view(2, -1)

    def loss(self, model: Any, batch: Sequences) -> tuple[Tensor, dict[str, Tensor]]:
        from connector.training.losses import dpo_loss

        if batch.reference is None:
            loss, _ = super().loss(model, batch)
            return self.config.rehearsal * loss, {"rehearsed": loss.detach()}
        policy = self.logp(model, batch)
        chosen, rejected = policy
        loss, right, margin = dpo_loss(
            chosen, rejected, batch.reference[0], batch.reference[1], self.config.beta, self.config.label_smoothing
        )
        nll = -chosen / batch.rows.bincount(minlength=2 * len(chosen))[: len(chosen)]  # [P], nats a token
        metrics = {"accuracy": right.sum(), "margin": margin.sum(), "chosen_nll": nll.detach().sum()}
        return (loss + self.config.rpo_alpha * nll).sum(), metrics


# -- words ----------------------------------------------------------------------------------------------------------


@dataclass
class Scenes:
    """Features of images with the words that hold of them."""

    names: list[str]
    features: Tensor  # [B, N, D_enc]
    targets: Any
    weight: float
    tokens: int = 0

    def to(self, device: torch.device) -> Scenes:
        """The same on `device`."""
        moved = {
            item.name: value.to(device)
            for item in dataclasses.fields(self.targets)
            if hasattr(value := getattr(self.targets, item.name), "to")
        }
        return dataclasses.replace(
            self, features=self.features.to(device), targets=dataclasses.replace(self.targets, **moved)
        )


class WordsTask:
    """Stage `warmup`: which words hold where; the language model does not run.

    Args:
        keys: feature key of each image.
        targets: of all images; `select(targets, rows)` gives those of some.
        objective: (connector, features, targets) -> (mean loss, metrics).
        noise: while learning, features are multiplied by factors of this spread around 1.
    """

    dropout = True

    def __init__(
        self,
        names: list[str],
        keys: Sequence[str],
        features: GetFeatures,
        targets: Any,
        select: Callable[[Any, Tensor], Any],
        objective: Callable[[Any, Tensor, Any], tuple[Tensor, dict[str, float]]],
        noise: float = 0.0,
    ) -> None:
        self.names, self.keys, self.features, self.targets = names, keys, features, targets
        self.select, self.objective, self.noise = select, objective, noise
        self.lengths = [1] * len(keys)
        self.groups = [0] * len(keys)

    def prepare(self, model: Any, folder: Path, say: Say) -> None:
        """Nothing is needed."""

    def collate(self, rows: Sequence[int]) -> Scenes:
        import torch

        features = self.features([self.keys[row] for row in rows])
        targets = self.select(self.targets, torch.tensor(list(rows)))
        return Scenes([self.names[row] for row in rows], features, targets, float(len(rows)))

    def loss(self, model: Any, batch: Scenes) -> tuple[Tensor, dict[str, Tensor]]:
        features = batch.features
        if self.noise and model.connector.training:
            features = features * (1 + self.noise * features.new_empty(features.shape).normal_())
        loss, metrics = self.objective(model.connector, features, batch.targets)
        return loss * batch.weight, {key: loss.new_tensor(value * batch.weight) for key, value in metrics.items()}


# -- from files -----------------------------------------------------------------------------------------------------


def task_from_records(
    records: Sequence[Record],
    folder: Path,
    model: Any,
    config: StageConfig,
    cache: FeatureCache,
    say: Say = lambda line: None,
) -> AnswerTask:
    """The task of stage pretrain, instruct or dpo: hash the images, encode those the cache lacks, build every example.

    Raises:
        TrainingError: see `examples_from`.
    """
    keys, broken = image_keys(records, folder)
    names = {key: name for name, key in keys.items()}
    for line in cache.fill(((key, folder / name) for key, name in names.items()), model.encoder, say=say):
        say(f"broken image {line}")
    unread = {name: "not an image" for name, key in keys.items() if key not in cache}
    keys = {name: key for name, key in keys.items() if key in cache}
    tokenizer = model.llm.tokenizer
    examples = examples_from(records, keys, broken | unread, tokenizer, config, model.n_tokens, say)
    kind = PreferenceTask if config.stage == "dpo" else AnswerTask
    return kind(examples, cache.get, tokenizer.pad_token_id, config, slots=model.n_tokens > 0)


def words_from_scenes(
    scenes: Sequence[Any],
    folder: Path,
    model: Any,
    config: StageConfig,
    cache: FeatureCache,
    say: Say = lambda line: None,
) -> WordsTask:
    """The task of stage warmup, for a connector that speaks in words."""
    from connector.training import warmup, warmup_loss

    files = {scene.id: content_key(folder / scene.image) for scene in scenes}
    lacking = cache.fill(((files[scene.id], folder / scene.image) for scene in scenes), model.encoder, say=say)
    if lacking:
        raise TrainingError(f"{len(lacking)} of {len(scenes)} scenes cannot be read: {'; '.join(lacking[:3])}")
    names = [scene.id for scene in scenes]
    targets = warmup.targets(scenes, model.connector.config)
    keys = [files[name] for name in names]
    return WordsTask(names, keys, cache.get, targets, warmup.select, warmup_loss.warmup_loss, config.noise)
