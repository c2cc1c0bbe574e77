"""Greedy answers as they come: what `generate` takes at each step, as text that never changes once it was shown."""

from __future__ import annotations

import contextlib
import inspect
import math
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from experts.errors import ModelError

if TYPE_CHECKING:
    import torch

LAST, BEFORE = 24, 6  # tokens that are decoded together at most, and those kept of them to go on after


@dataclass(frozen=True)
class Token:
    """A piece of answer text as it appears, with the log-probability the model gave it (NaN: not told)."""

    text: str
    logprob: float


def _greedy(scores: torch.Tensor) -> tuple[int, float]:
    """The likeliest token of scores [1, V] and its log-probability."""
    import numpy as np
    import torch

    if scores.device.type != "cpu" or scores.dtype != torch.float32:
        logprobs, ids = torch.log_softmax(scores[0].float(), dim=-1).max(dim=-1)
        return int(ids), float(logprobs)
    row = scores.numpy()[0]
    token = int(row.argmax())
    return token, -math.log(np.exp(row - row[token]).sum())


def _shown(input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Stands for Watch.__call__ where only the signature is asked for: working it out takes longer than the call."""
    raise NotImplementedError


_shown.__signature__ = inspect.signature(_shown)  # type: ignore[attr-defined]


class Halted(Exception):
    """Leaves `generate` at the token where an answer was stopped."""


class Watch:
    """A logits processor, the last of all: what greedy decoding takes at each step, and how probable it was.

    What `generate` returns differs between families (with or without the prompt, with start tokens); what it takes
    does not. A step on a CPU is to cost little beside that of the smallest model.
    """

    def __init__(
        self, taken: Callable[[int, float], None] | None = None, halted: Callable[[], bool] | None = None
    ) -> None:
        """`taken` is told each token of a single answer as it is decided; `halted` is asked after each."""
        self.taken, self.halted, self.called = taken, halted, False
        vars(self)["__call__"] = _shown  # what `generate` reads the signature of, at every step
        self.ids: list[torch.Tensor] = []  # a step: [B]
        self.logprobs: list[torch.Tensor] = []  # a step: [B]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        self.called = True
        if self.taken is None:
            logprobs, ids = torch.log_softmax(scores.float(), dim=-1).max(dim=-1)
            self.ids.append(ids)
            self.logprobs.append(logprobs)
            return scores
        self.taken(*_greedy(scores))
        if self.halted is not None and self.halted():
            raise Halted
        return scores

    def rows(self) -> list[tuple[list[int], list[float]]]:
        """Each row of a batch: the ids it took, and their log-probabilities."""
        import torch

        ids, logprobs = (torch.stack(steps, dim=1).tolist() for steps in (self.ids, self.logprobs))  # [B, steps]
        return list(zip(ids, logprobs, strict=True))


class Text:
    """Ids of an answer -> pieces of text. Half a character is not shown, but its probability counts."""

    def __init__(self, tokenizer: Any, ends: frozenset[int]) -> None:
        self.decode, self.ends = _decoding(tokenizer), ends
        self.ids: list[int] = []  # the last ones, so that a long answer costs no more a token than a short one
        self.shown = 0  # characters of their text that were shown
        self.logprob, self.ended = 0.0, False

    def add(self, token: int, logprob: float) -> Token | None:
        """The piece that this token completes; None in the middle of a character and after the end."""
        if self.ended:
            return None
        self.ended = token in self.ends
        self.ids.append(token)
        self.logprob += logprob
        text = self.decode(self.ids)
        if text.endswith("\ufffd"):
            return None
        piece = Token(text[self.shown :], self.logprob)
        if len(self.ids) > LAST:
            self.ids = self.ids[-BEFORE:]
            text = self.decode(self.ids)
        self.shown, self.logprob = len(text), 0.0
        return piece

    def flush(self) -> Token | None:
        """What is left at the end."""
        return Token("", self.logprob) if self.logprob else None

    def decode_all(self, ids: list[int], logprobs: list[float]) -> tuple[str, float | None]:
        """Text and confidence of a row of a batch up to its end, in the pieces that a stream gives."""
        taken = [self.add(token, logprob) for token, logprob in zip(ids, logprobs, strict=True)]
        said = [piece for piece in (*taken, self.flush()) if piece is not None]
        confidence = math.exp(sum(piece.logprob for piece in said) / len(said)) if said else None
        return "".join(piece.text for piece in said).strip(), confidence


def _decoding(tokenizer: Any) -> Callable[[list[int]], str]:
    """Ids -> text without special tokens, no space moved."""
    from transformers import PreTrainedTokenizerFast as Fast

    kind = type(tokenizer)
    if issubclass(kind, Fast) and kind.decode is Fast.decode and kind._decode is Fast._decode:
        # these do no more than the library below, ten times as slowly
        return partial(tokenizer.backend_tokenizer.decode, skip_special_tokens=True)
    return partial(tokenizer.decode, skip_special_tokens=True, clean_up_tokenization_spaces=False)


def end_tokens(model: Any, tokenizer: Any = None) -> frozenset[int]:
    """The tokens that end an answer, by the model's own settings, else by the tokenizer's."""
    end = model.generation_config.eos_token_id
    end = getattr(tokenizer, "eos_token_id", None) if end is None else end
    return frozenset(end if isinstance(end, list | tuple) else [] if end is None else [int(end)])


def stream(
    lock: threading.Lock,
    text: Text,
    generate: Callable[[Watch], None],
    stop: threading.Event,
    failed: Callable[[BaseException], ModelError],
) -> Iterator[Token]:
    """The pieces of one answer, made on a thread of its own while it holds `lock`.

    Setting `stop`, or closing the iterator, really stops the model after the token it is at.

    Raises:
        ModelError: what `failed` makes of the model's failure.
    """
    closed = threading.Event()  # not `stop`: that may belong to several answers
    pieces: queue.SimpleQueue[Token | BaseException | None] = queue.SimpleQueue()

    def halted() -> bool:
        return stop.is_set() or closed.is_set()

    def taken(token: int, logprob: float) -> None:
        if (piece := text.add(token, logprob)) is not None:
            pieces.put(piece)

    def work() -> None:
        import torch

        torch.set_num_threads(torch.get_num_threads())  # a new thread's own setting is all cores
        while not lock.acquire(timeout=0.05):
            if halted():  # while another answer has the model
                pieces.put(None)
                return
        try:
            with contextlib.suppress(Halted):
                generate(Watch(taken, halted))
            if (rest := text.flush()) is not None:
                pieces.put(rest)
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
                raise failed(piece) from piece
            yield piece
    finally:
        closed.set()
        thread.join()
