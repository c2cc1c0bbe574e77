"""Demonstrations: examples of notes, questions and answers before every question (survey, in-context learning).

They say how notes are read to a language model that was not tuned on them. They travel with a model, in
demonstrations.json of its folder: {"system": ..., "form": ..., "turns": [[notes, question, answer], ...]}.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experts.errors import ModelError

if TYPE_CHECKING:
    import torch

FILE = "demonstrations.json"
KEPT = ("keys", "values")  # of each layer


@dataclass(frozen=True)
class Demonstrations:
    """`form` is how a question is put, with {input} and {question}; `turns` are (input, question, answer)."""

    system: str
    form: str
    turns: tuple[tuple[str, str, str], ...]

    def messages(self) -> list[dict[str, str]]:
        """The chat before the first question."""
        shown: list[dict[str, str]] = [{"role": "system", "content": self.system}]
        for seen, question, answer in self.turns:
            shown.append({"role": "user", "content": self.form.format(input=seen, question=question)})
            shown.append({"role": "assistant", "content": answer})
        return shown


def demonstrations_of(folder: Path) -> Demonstrations | None:
    """Those of a saved model's folder, None where it has none.

    Raises:
        ModelError: the file does not hold demonstrations.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
        turns = tuple((str(seen), str(question), str(answer)) for seen, question, answer in read["turns"])
        return Demonstrations(str(read["system"]), str(read["form"]), turns)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"'{folder.name}/{FILE}' does not hold demonstrations: {' '.join(str(error).split())}"
        ) from None


class Prefix:
    """What every prompt begins with, read once: its embeddings [N, D_llm] and the model's keys and values for them.

    They are kept in `folder` from one process to the next, under a name that `key` and the embeddings give them.
    """

    def __init__(self, model: Any, embeddings: torch.Tensor, key: str, folder: Path) -> None:
        import hashlib

        self.embeddings = embeddings
        values = embeddings.float().cpu().numpy().tobytes()
        file = folder / f"{hashlib.sha256(key.encode() + values).hexdigest()[:16]}.safetensors"
        self.cache = _kept(file, embeddings) or _read(model, embeddings, file)

    def begins(self, prompt: torch.Tensor) -> bool:
        """Whether `prompt` [T, D_llm] begins with this, and goes on."""
        import torch

        count = len(self.embeddings)
        return len(prompt) > count and torch.equal(prompt[:count], self.embeddings)


def _read(model: Any, embeddings: torch.Tensor, file: Path) -> Any:
    """The keys and values after reading `embeddings`, also written to `file` where that can be."""
    import contextlib
    import os

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with torch.inference_mode():
        cache = model(inputs_embeds=embeddings[None], use_cache=True, logits_to_keep=1).past_key_values
    tensors = {
        f"{n}.{kind}": getattr(layer, kind).contiguous() for n, layer in enumerate(cache.layers) for kind in KEPT
    }
    staged = file.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError, SafetensorError):  # a full or read-only disk costs the time again, no more
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, staged)
            staged.replace(file)
        finally:
            staged.unlink(missing_ok=True)
    return cache


def _kept(file: Path, embeddings: torch.Tensor) -> Any:
    """The keys and values in `file`; None where there are none, or none for these embeddings."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import DynamicCache

    try:
        tensors = load_file(file)
    except (OSError, SafetensorError):
        return None
    cache = DynamicCache()
    for n in range(len(tensors) // len(KEPT)):
        keys, values = (tensors[f"{n}.{kind}"].to(embeddings.device) for kind in KEPT)
        if keys.shape[-2] != len(embeddings):
            return None
        cache.update(keys, values, n)
    return cache


def decode(model: Any, prompt: torch.Tensor, prefix: Prefix, most: int, processors: Any, ends: frozenset[int]) -> None:
    """Greedy decoding after `prompt` [T, D_llm], which begins with `prefix`: what `generate` would say.

    `processors` see the ids so far [1, n] and the scores [1, V], as in `generate`; it ends at a token of `ends`,
    after `most` tokens, or when a processor raises.
    """
    import copy

    import torch

    cache = copy.deepcopy(prefix.cache)
    inputs: dict[str, torch.Tensor] = {"inputs_embeds": prompt[None, len(prefix.embeddings) :]}
    ids = torch.zeros(1, 0, dtype=torch.long, device=prompt.device)
    with torch.inference_mode():
        for _ in range(most):
            read = model(**inputs, cache=cache, use_cache=True, logits_to_keep=1)
            scores = processors(ids, read.logits[:, -1].float())  # [1, V]
            token = scores.argmax(-1, keepdim=True)  # [1, 1]
            ids = torch.cat([ids, token], dim=-1)
            if int(token) in ends:
                return
            inputs = {"input_ids": token}
