"""Vectors of texts without weights, and without a library that is slow to import."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import numpy as np


class Words:
    """An embedder without weights: a text is the sum of its words' fixed random directions."""

    def __init__(self, name: str = "words", width: int = 64) -> None:
        self.name, self.width, self.read = name, width, 0

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.read += len(texts)
        made = np.zeros((len(texts), self.width), np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                seed = int.from_bytes(hashlib.sha256(f"{self.name} {word}".encode()).digest()[:4], "big")
                made[row] += np.random.default_rng(seed).normal(size=self.width)
        return made / np.maximum(np.linalg.norm(made, axis=1, keepdims=True), 1e-9)
