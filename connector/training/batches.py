"""Batches: which examples each step sees, a function of seed and step alone, and sequences padded to tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from connector.llm import templates
from experts.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from connector.network import Batch


class Plan:
    """Which examples each optimiser step sees. Step s always gives the same rows: nothing has to be remembered.

    Each epoch is a new shuffle. Within a pool of `pool` batches examples are sorted by length, so that there is little
    padding. The last batch of an epoch is smaller, filled up only to a multiple of `world` processes.
    """

    def __init__(
        self, lengths: Sequence[int], groups: Sequence[int], batch: int, seed: int, world: int = 1, pool: int = 4
    ):
        if not len(lengths):
            raise TrainingError("there is nothing to learn from: no example is left")
        self.lengths, self.batch_size, self.seed, self.world, self.pool = np.asarray(lengths), batch, seed, world, pool
        self._groups = [np.flatnonzero(np.asarray(groups) == group) for group in sorted(set(groups))]
        self.per_epoch = sum(-(-len(group) // batch) for group in self._groups)
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    def rows(self, step: int) -> list[int]:
        """The examples of optimiser step `step` (from 0)."""
        epoch, at = divmod(step, self.per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffle(epoch))
        return self._epoch[1][at]

    def _shuffle(self, epoch: int) -> list[list[int]]:
        random = np.random.default_rng([self.seed, epoch])
        batches = []
        for group in self._groups:
            order = random.permutation(group)
            for start in range(0, len(order), self.pool * self.batch_size):
                pool = order[start : start + self.pool * self.batch_size]
                pool = pool[np.argsort(self.lengths[pool], kind="stable")]
                batches += [pool[at : at + self.batch_size].tolist() for at in range(0, len(pool), self.batch_size)]
            short = -len(batches[-1]) % self.world
            batches[-1] = batches[-1] + np.resize(order, short).tolist()
        return [batches[at] for at in random.permutation(len(batches))]

    def shares(self, rows: Sequence[int], limit: int) -> list[list[list[int]]]:
        """`rows` as micro-batches of at most `limit` padded tokens (0 = no limit): [process][micro-batch][row].

        Every process gets equally many, since each has to join in every exchange of gradients.
        """
        order = sorted(rows, key=lambda row: -int(self.lengths[row]))
        own = [order[rank :: self.world] for rank in range(self.world)]
        for count in range(1, max(len(own[0]), 1) + 1):
            split = [[part.tolist() for part in np.array_split(np.array(share), count)] for share in own]
            largest = max(len(part) * int(self.lengths[part].max()) for share in split for part in share)
            if not limit or largest <= limit:
                break
        return split


@dataclass
class Sequences:
    """Padded sequences; `rows`, `columns` [K] are the positions whose next token is supervised."""

    names: list[str]
    input: Batch
    rows: Tensor
    columns: Tensor
    labels: Tensor  # [K], the tokens to be said at those positions
    answers: Tensor  # [K], which answer each is part of
    n_answers: int
    tokens: int  # real tokens
    weight: float = 0.0
    reference: Tensor = field(default=None)  # type: ignore[assignment]  # [2, P], DPO only

    def to(self, device: torch.device) -> Sequences:
        """The same on `device`."""
        moved = {
            item.name: getattr(self, item.name).to(device)
            for item in dataclasses.fields(self)
            if item.name in ("rows", "columns", "labels", "answers", "reference")
            and getattr(self, item.name) is not None
        }
        batch = self.input
        there = {
            item.name: part.to(device)
            for item in dataclasses.fields(batch)
            if (part := getattr(batch, item.name)) is not None
        }
        moved["input"] = dataclasses.replace(batch, **there)
        return dataclasses.replace(self, **moved)


def pad(encoded: Sequence[templates.Encoded], names: list[str], features: Tensor | None, pad_id: int) -> Sequences:
    """Sequences padded on the right to the longest."""
    import torch

    from connector.network import Batch

    length = max(len(one) for one in encoded)
    ids = torch.full((len(encoded), length), pad_id)
    mask = torch.zeros_like(ids)
    slots = torch.zeros_like(ids, dtype=torch.bool)
    labels = torch.full_like(ids, templates.IGNORED)
    turns = positions = None
    if any(one.turns for one in encoded):
        turns, positions = torch.ones_like(ids), torch.arange(length).repeat(len(encoded), 1)
    for row, one in enumerate(encoded):
        ids[row, : len(one)] = torch.tensor(one.ids)
        mask[row, : len(one)] = 1
        slots[row, one.image_slots] = True
        labels[row, : len(one)] = torch.tensor(one.labels)
        if one.turns and turns is not None and positions is not None:
            turns[row, : len(one)], positions[row, : len(one)] = torch.tensor(one.turns), torch.tensor(one.positions)
    loss = labels != templates.IGNORED  # [B, T]
    starts = loss & ~torch.nn.functional.pad(loss[:, :-1], (1, 0))  # the first token of each answer
    answers = starts.flatten().cumsum(0).view_as(loss) - 1
    rows, columns = loss[:, 1:].nonzero(as_tuple=True)
    said = (rows, columns + 1)
    n_answers = int(starts.sum())
    return Sequences(
        names,
        Batch(ids, mask, slots, features, turns, positions),
        rows,
        columns,
        labels[said],
        answers[said],
        n_answers,
        int(mask.sum()),
    )
