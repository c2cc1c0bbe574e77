"""Greedy decoding through transformers' own `generate`, watched step by step: the same tokens alone and in a batch."""

from __future__ import annotations

import copy
from typing import Any

from experts.errors import ModelError

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


def settings_of(model: Any, max_new_tokens: int) -> Any:
    """The model's own generation settings, greedy."""
    chosen = copy.deepcopy(model.generation_config)
    chosen.do_sample, chosen.num_beams, chosen.max_new_tokens, chosen.max_length = False, 1, max_new_tokens, None
    for name in SAMPLING:
        setattr(chosen, name, None)
    return chosen


def run(model: Any, inputs: dict[str, Any], max_new_tokens: int, processors: list[Any]) -> None:
    """One call of `generate`; the last of `processors` watches its steps.

    Raises:
        ModelError: the family's own `generate` passes over the processors, so its steps are not seen.
    """
    import torch
    from transformers import LogitsProcessorList

    with torch.inference_mode():
        model.generate(
            **inputs,
            generation_config=settings_of(model, max_new_tokens),
            logits_processor=LogitsProcessorList(processors),
        )
    if not processors[-1].called:
        kind = type(model).__name__
        raise ModelError(f"{kind} passes over logits processors, so its answer cannot be followed; use another model")


def failed(name: str, error: BaseException) -> ModelError:
    """What went wrong inside a model, in a line."""
    import torch

    if isinstance(error, ModelError):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return ModelError(
            f"model '{name}' ran out of memory at this question; ask about fewer or smaller media, or use a smaller "
            "model or precision; the next question is answered as usual"
        )
    told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return ModelError(f"model '{name}' failed: {told}")
