"""The language model: loaded once, shared by both routes, decoding the same way for both."""

from __future__ import annotations

import contextlib
import functools
import math
import queue
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from connector.llm import converted
from connector.llm.lean import lean_imports
from experts.errors import ModelError, WeightsError
from experts.weights import catalogue

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NO_REPEAT = 6  # no run of so many tokens is said twice


@dataclass(frozen=True)
class Token:
    """A piece of answer text as it appears, with the log-probability the model gave it."""

    text: str
    logprob: float


class LogitsRule(Protocol):
    """Scores [1, V] after `input_ids` [1, T] -> the same, -inf where a token may not come; one answer's own."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor: ...


class LanguageModel:
    """A transformers causal or encoder-decoder model with its tokenizer.

    `model` computes on `device` in float32 on a CPU and bfloat16 on CUDA. `name` is what the trace shows.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, name: str) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.name = name
        self.adapter = ""  # the LoRA merged into the weights, if any
        self._lock = threading.Lock()  # one generation at a time: the models share all cores

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def width(self) -> int:
        """D_llm, the width of an input embedding."""
        return self.model.get_input_embeddings().embedding_dim

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Input embeddings of token ids of any shape [...] -> [..., D_llm]."""
        return self.model.get_input_embeddings()(ids.to(self.device))

    def stream(
        self,
        embeddings: torch.Tensor,
        *,
        max_new_tokens: int,
        stop: threading.Event | None = None,
        within: AbstractContextManager[None] | None = None,
        rules: LogitsRule | None = None,
    ) -> Iterator[Token]:
        """Greedy answer to a prompt given as embeddings [T, D_llm], piece by piece.

        Both routes come through here. No six tokens in a row are said twice, so no answer loops; where there are
        `rules` they alone say what may come. Setting `stop`, or closing the iterator, really stops the model after the
        token it is at. `within` is entered while this answer has the model for itself: a connector's layers inside it
        are seen by no other question.

        Raises:
            ModelError: the model failed; the message carries its reason.
        """
        import torch
        from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor, StoppingCriteriaList

        stop = stop or threading.Event()
        closed = threading.Event()  # not `stop`: that may belong to several answers
        pieces: queue.Queue[Token | BaseException | None] = queue.Queue()
        scorer = _Scorer()
        streamer = _Streamer(self.tokenizer, pieces, scorer, skip_first=not self.model.config.is_encoder_decoder)

        def halted(*_: Any, **__: Any) -> bool:
            return stop.is_set() or closed.is_set()

        def work() -> None:
            while not self._lock.acquire(timeout=0.05):
                if halted():  # while another answer has the model
                    pieces.put(None)
                    return
            try:
                with torch.inference_mode(), within or contextlib.nullcontext():
                    inputs = embeddings[None].to(self.device, self.model.dtype)  # [1, T, D]
                    self.model.generate(
                        inputs_embeds=inputs,
                        attention_mask=inputs.new_ones(inputs.shape[:2], dtype=torch.long),
                        max_new_tokens=max_new_tokens,
                        do_sample=False,
                        synced_gpus=False,  # one process: else torch's parallel parts are imported to find that out
                        pad_token_id=self.tokenizer.pad_token_id,
                        logits_processor=LogitsProcessorList(
                            [rules or NoRepeatNGramLogitsProcessor(NO_REPEAT), scorer]
                        ),
                        stopping_criteria=StoppingCriteriaList([halted]),
                        streamer=streamer,
                    )
                pieces.put(None)
            except Exception as error:  # the engine's boundary: handed to the reader below
                pieces.put(error)
            finally:
                self._lock.release()

        thread = threading.Thread(target=work, name="duet-llm", daemon=True)
        thread.start()
        try:
            while (piece := pieces.get()) is not None:
                if isinstance(piece, BaseException):
                    raise ModelError(f"the language model '{self.name}' failed: {_one_line(piece)}") from piece
                yield piece
        finally:
            closed.set()
            thread.join()

    def answer(self, embeddings: torch.Tensor, *, max_new_tokens: int) -> str:
        """The whole answer of `stream`, stripped."""
        return "".join(token.text for token in self.stream(embeddings, max_new_tokens=max_new_tokens)).strip()

    def answers(self, prompts: Sequence[torch.Tensor], max_new_tokens: int) -> list[tuple[str, float]]:
        """Greedy answers to prompts [T_i, D_llm] in one batch: what `stream` would say, and how sure the model was.

        Each is (text, confidence), the confidence as in agent.answer.Answer. Prompts of like length waste least.

        Raises:
            ModelError: the model failed.
        """
        import torch
        from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor

        if not prompts:
            return []
        longest, seq2seq = max(len(prompt) for prompt in prompts), self.model.config.is_encoder_decoder
        inputs = prompts[0].new_zeros(len(prompts), longest, prompts[0].shape[-1])  # [B, T, D]
        mask = torch.zeros(len(prompts), longest, dtype=torch.long)
        for row, prompt in enumerate(prompts):  # a decoder goes on at the right end, so it is padded at the left
            place = slice(0, len(prompt)) if seq2seq else slice(longest - len(prompt), longest)
            inputs[row, place], mask[row, place] = prompt, 1
        scorer = _BatchScorer()
        try:
            with self._lock, torch.inference_mode():
                ids = self.model.generate(
                    inputs_embeds=inputs.to(self.device, self.model.dtype),
                    attention_mask=mask.to(self.device),
                    max_new_tokens=max_new_tokens,
                    do_sample=False,
                    synced_gpus=False,
                    pad_token_id=self.tokenizer.pad_token_id,
                    logits_processor=LogitsProcessorList([NoRepeatNGramLogitsProcessor(NO_REPEAT), scorer]),
                )
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the language model '{self.name}' failed: {_one_line(error)}") from error
        ids = ids[:, 1:] if seq2seq else ids  # [B, steps]; encoder-decoders begin with a start token
        logprobs = torch.stack(scorer.steps, dim=1)  # [B, steps]
        return [self._said(row, scores) for row, scores in zip(ids.tolist(), logprobs.tolist(), strict=True)]

    def _said(self, ids: list[int], logprobs: list[float]) -> tuple[str, float]:
        """Text and confidence of one row of a batch, up to its first end token, in the pieces that `stream` gives."""
        end = self.model.generation_config.eos_token_id
        ends = set(end if isinstance(end, list) else [end])
        pieces: queue.Queue = queue.Queue()
        streamer = _Streamer(self.tokenizer, pieces, _Scorer(), skip_first=True)
        for token, logprob in zip(ids, logprobs, strict=True):
            streamer.take(token, logprob)
            if token in ends:
                break
        streamer.end()
        said = list(pieces.queue)
        text = "".join(piece.text for piece in said).strip()
        return text, math.exp(sum(piece.logprob for piece in said) / len(said)) if said else 0.0


class _Scorer:
    """A logits processor that changes nothing and keeps each step's log-probabilities of the likeliest token."""

    def __init__(self) -> None:
        self.last: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        self.last = torch.log_softmax(scores[0].float(), dim=-1)
        return scores


class _BatchScorer:
    """A logits processor that changes nothing and keeps, step by step, each row's log-probability of its best token."""

    def __init__(self) -> None:
        self.steps: list[torch.Tensor] = []  # of [B]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        import torch

        self.steps.append(torch.log_softmax(scores.float(), dim=-1).amax(dim=-1))
        return scores


class _Streamer:
    """Turns the ids that `generate` puts here into text that never changes after it was shown."""

    def __init__(self, tokenizer: Any, pieces: queue.Queue, scorer: _Scorer, *, skip_first: bool) -> None:
        self.tokenizer, self.pieces, self.scorer = tokenizer, pieces, scorer
        self.ids: list[int] = []
        self.shown = 0
        self.logprob = 0.0
        self.prompt_due = not skip_first  # encoder-decoders first put the decoder's start token

    def put(self, value: torch.Tensor) -> None:
        if self.prompt_due or self.scorer.last is None:
            self.prompt_due = False
            return
        token = int(value.flatten()[-1])
        self.take(token, float(self.scorer.last[token]))

    def take(self, token: int, logprob: float) -> None:
        """The next token of the answer."""
        self.logprob += logprob
        self.ids.append(token)
        text = self.tokenizer.decode(self.ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if text.endswith("\ufffd"):  # the middle of a character
            return
        self.pieces.put(Token(text[self.shown :], self.logprob))
        self.shown, self.logprob = len(text), 0.0

    def end(self) -> None:
        """Called by `generate` at its end: what is left is half a character, which is not shown but counts."""
        if self.logprob:
            self.pieces.put(Token("", self.logprob))


def _one_line(error: BaseException) -> str:
    return re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:300]


def choose_device(device: str = "auto") -> str:
    """'cuda' or 'cpu' for a setting of auto, cpu or cuda."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device 'cuda' was asked for, but torch sees no CUDA device; use device 'cpu' or 'auto'")
    return device


@functools.lru_cache(maxsize=2)
def load(name: str, device: str = "auto") -> LanguageModel:
    """The language model `name`, loaded once a process and kept.

    `name` is a row of experts.weights.catalogue.WEIGHTS that holds a GGUF file, a directory, or a hub name of a causal
    or an encoder-decoder model.

    Raises:
        WeightsError: it is not here and cannot be fetched.
        ModelError: its files do not make a language model.
    """
    import torch

    place = choose_device(device)
    dtype = torch.bfloat16 if place == "cuda" else torch.float32
    path = str(converted.folder_of(name) if name in catalogue.WEIGHTS else name)
    ours = dtype == torch.float32 and converted.is_ours(Path(path))
    try:
        with lean_imports() if ours else contextlib.nullcontext():
            model = (converted.mapped(Path(path)) if ours else _pretrained(path, dtype)).to(place)
    except OSError as error:
        raise _not_there(name, path, error) from None
    except (ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"'{name}' is not a language model that transformers can load: {_one_line(error)}") from error
    return LanguageModel(model, load_tokenizer(name), name)


def _pretrained(path: str, dtype: torch.dtype) -> Any:
    """The causal or encoder-decoder model of a folder or a hub name."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(path)
    family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    return family.from_pretrained(path, dtype=dtype)


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of the language model `name`, with a padding token; see `load`.

    Raises:
        WeightsError: it is not here and cannot be fetched.
        ModelError: its files do not make a tokenizer.
    """
    from transformers import AutoTokenizer

    path = str(converted.folder_of(name) if name in catalogue.WEIGHTS else name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except OSError as error:
        raise _not_there(name, path, error) from None
    except (ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"'{name}' has no tokenizer that transformers can load: {_one_line(error)}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _not_there(name: str, path: str, error: OSError) -> WeightsError:
    reason = _one_line(error).replace(path, Path(path).name)
    return WeightsError(
        f"cannot load the language model '{name}': {reason} (expected a weights name, a model directory or a "
        "reachable hub name; offline, use the embedded profile)"
    )
