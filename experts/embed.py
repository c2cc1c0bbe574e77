"""Sentences as vectors: texts of like meaning lie near each other."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from experts.errors import WeightsError

if TYPE_CHECKING:
    import numpy as np
    import torch

MINILM = "minilm"
LONGEST = 256  # tokens of a text that are read, as the model was published
AT_ONCE = 32  # texts in a forward pass


class Embedder(Protocol):
    """A callable from texts to vectors. Vectors of two embedders of one `name` may be compared, others may not."""

    name: str
    width: int

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, width], each row of length 1, so that the inner product is the cosine.

        Raises:
            WeightsError: its weights are not here.
        """
        ...


class MiniLM:
    """all-MiniLM-L6-v2: the mean of the last layer over a text's tokens, normalised (Reimers and Gurevych, 2019).

    Loaded at the first call, and never fetched then: looking something up must not turn into a download.
    """

    width = 384

    def __init__(self) -> None:
        from experts.weights.catalogue import WEIGHTS

        weights = next(file for file in WEIGHTS[MINILM].files if file.path == "model.safetensors")
        self.name = f"{MINILM}-{weights.sha256[:8]}"
        self._lock = threading.Lock()
        self._net: torch.nn.Module | None = None

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        import numpy as np
        import torch

        vectors = np.zeros((len(texts), self.width), np.float32)
        with self._lock, torch.inference_mode():
            if self._net is None:
                self._load()
            read = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
            order = sorted(range(len(texts)), key=lambda row: len(read[row]))  # so that little is padded
            for first in range(0, len(order), AT_ONCE):
                rows = order[first : first + AT_ONCE]
                vectors[rows] = self._forward([read[row] for row in rows])
        return vectors

    def _forward(self, read: list[list[int]]) -> np.ndarray:
        import torch

        longest = max(map(len, read))
        ids = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens in read])  # [B, T]
        mask = torch.tensor([[1] * len(tokens) + [0] * (longest - len(tokens)) for tokens in read])
        assert self._net is not None
        hidden = self._net(input_ids=ids, attention_mask=mask).last_hidden_state  # [B, T, D]
        mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)  # [B, D]
        return torch.nn.functional.normalize(mean, dim=-1).numpy()

    def _load(self) -> None:
        from experts.weights.catalogue import is_here, resolve

        if not is_here(MINILM):
            raise WeightsError(f"weights '{MINILM}' are not here; run 'duet weights fetch {MINILM}'")
        from tokenizers import Tokenizer
        from transformers import BertModel
        from transformers.utils import logging

        folder = resolve(MINILM)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(LONGEST)
        bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
        logging.disable_progress_bar()
        logging.set_verbosity_error()  # else it reports that the pooler, which sentences do not need, is left out
        try:
            net = BertModel.from_pretrained(str(folder), add_pooling_layer=False)
        finally:
            logging.set_verbosity(level)
            if bars:
                logging.enable_progress_bar()
        self._net = net.eval().requires_grad_(False)
