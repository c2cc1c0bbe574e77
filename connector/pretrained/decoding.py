"""Greedy decoding through transformers' own `generate`, watched step by step: the same tokens alone and in a batch."""

from __future__ import annotations

import copy
import math
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from connector.base import Answered, Generation
from connector.llm.language import Token
from experts.errors import ModelError

if TYPE_CHECKING:
    import torch

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff")


class Watch:
    """A logits processor, the last of all: what greedy decoding takes at each step, and how probable it was.

    What `generate` returns differs between families (with or without the prompt, with start tokens); what it takes
    does not.
    """

    def __init__(self, taken: Callable[[int, float], None] | None = None) -> None:
        """`taken` is told each token of a single answer as it is decided."""
        self.taken = taken
        self.ids: list[torch.Tensor] = []  # a step: [B]
        self.logprobs: list[torch.Tensor] = []  # a step: [B]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        logprobs, ids = torch.log_softmax(scores.float(), dim=-1).max(dim=-1)
        if self.taken is not None:
            self.taken(int(ids[0]), float(logprobs[0]))
        else:
            self.ids.append(ids)
            self.logprobs.append(logprobs)
        return scores


def settings_of(model: Any, max_new_tokens: int) -> Any:
    """The model's own generation settings, greedy."""
    chosen = copy.deepcopy(model.generation_config)
    chosen.do_sample, chosen.num_beams, chosen.max_new_tokens, chosen.max_length = False, 1, max_new_tokens, None
    for name in SAMPLING:
        setattr(chosen, name, None)
    return chosen


def run(
    model: Any, inputs: dict[str, Any], max_new_tokens: int, processors: list[Any], stop: Callable[[], bool]
) -> Any:
    """One call of `generate`."""
    import torch
    from transformers import LogitsProcessorList, StoppingCriteriaList

    with torch.inference_mode():
        return model.generate(
            **inputs,
            generation_config=settings_of(model, max_new_tokens),
            logits_processor=LogitsProcessorList(processors),
            stopping_criteria=StoppingCriteriaList([lambda *_, **__: stop()]),
        )


class Text:
    """Ids of an answer -> text that never changes after it was shown."""

    def __init__(self, tokenizer: Any, ends: frozenset[int]) -> None:
        self.tokenizer, self.ends = tokenizer, ends
        self.ids: list[int] = []
        self.shown, self.logprob, self.ended = 0, 0.0, False

    def take(self, token: int, logprob: float) -> Token | None:
        """The piece that this token completes; None in the middle of a character and after the end."""
        if self.ended:
            return None
        self.ended = token in self.ends
        self.ids.append(token)
        self.logprob += logprob
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if text.endswith("\ufffd") and not self.ended:
            return None
        piece = Token(text[self.shown :], self.logprob)
        self.shown, self.logprob = len(text), 0.0
        return piece


def stream(
    name: str,
    lock: threading.Lock,
    text: Text,
    generate: Callable[[Watch, Callable[[], bool]], None],
    generation: Generation,
) -> Iterator[Token]:
    """The pieces of one answer, made on a thread of its own; closing the iterator stops the model.

    Raises:
        ModelError: the model failed; after a lack of memory, what it held is given back.
    """
    closed = threading.Event()
    pieces: queue.Queue[Token | BaseException | None] = queue.Queue()

    def halted() -> bool:
        return generation.stop.is_set() or closed.is_set()

    def taken(token: int, logprob: float) -> None:
        if (piece := text.take(token, logprob)) is not None:
            pieces.put(piece)

    def work() -> None:
        while not lock.acquire(timeout=0.05):
            if halted():  # while another answer has the model
                pieces.put(None)
                return
        try:
            generate(Watch(taken), halted)
            pieces.put(None)
        except Exception as error:  # the engine's boundary: handed to the reader below
            pieces.put(error)
        finally:
            lock.release()

    thread = threading.Thread(target=work, name="duet-model", daemon=True)
    thread.start()
    try:
        while (piece := pieces.get()) is not None:
            if isinstance(piece, BaseException):
                raise failed(name, piece) from piece
            yield piece
    finally:
        closed.set()
        thread.join()


def whole(text: Text, ids: list[int], logprobs: list[float], most: int) -> Answered:
    """One row of a batch up to its end, in the pieces that `stream` gives."""
    said: list[Token] = []
    for token, logprob in zip(ids, logprobs, strict=True):
        piece = text.take(token, logprob)
        said += [piece] if piece is not None else []
        if text.ended:
            break
    confidence = math.exp(sum(piece.logprob for piece in said) / len(said)) if said else None
    return Answered("".join(piece.text for piece in said).strip(), confidence, cut=not text.ended and len(ids) >= most)


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
