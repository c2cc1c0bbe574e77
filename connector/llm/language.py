"""The language model: loaded once, shared by both routes, decoding the same way for both."""

from __future__ import annotations

import contextlib
import functools
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from connector.llm import converted
from connector.llm.lean import lean_imports
from connector.llm.streaming import Text, Token, Watch, end_tokens
from connector.llm.streaming import stream as stream_answer
from connector.llm.tokenizer_files import check_tokenizer
from experts.errors import ModelError, WeightsError
from experts.weights import catalogue

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NO_REPEAT = 6  # no run of so many tokens is said twice


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

        halting = stop or threading.Event()

        def generate(watch: Watch) -> None:
            inputs = embeddings[None]  # [1, T, D]
            with torch.inference_mode(), within or contextlib.nullcontext():
                self._generate(inputs, inputs.new_ones(inputs.shape[:2]), max_new_tokens, watch, rules)

        return stream_answer(self._lock, Text(self.tokenizer, self.ends), generate, halting, self._failed)

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

        if not prompts:
            return []
        longest, seq2seq = max(len(prompt) for prompt in prompts), self.model.config.is_encoder_decoder
        inputs = prompts[0].new_zeros(len(prompts), longest, prompts[0].shape[-1])  # [B, T, D]
        mask = torch.zeros(len(prompts), longest, dtype=torch.long)
        for row, prompt in enumerate(prompts):  # a decoder goes on at the right end, so it is padded at the left
            place = slice(0, len(prompt)) if seq2seq else slice(longest - len(prompt), longest)
            inputs[row, place], mask[row, place] = prompt, 1
        watch = Watch()
        try:
            with self._lock:
                self._generate(inputs, mask, max_new_tokens, watch)
        except (RuntimeError, ValueError) as error:
            raise self._failed(error) from error
        texts = [Text(self.tokenizer, self.ends).decode_all(ids, logprobs) for ids, logprobs in watch.rows()]
        return [(text, confidence or 0.0) for text, confidence in texts]

    @property
    def ends(self) -> frozenset[int]:
        """The tokens at which `generate` ends an answer."""
        return end_tokens(self.model)

    def _generate(
        self,
        inputs: torch.Tensor,
        mask: torch.Tensor,
        max_new_tokens: int,
        watch: Watch,
        rules: LogitsRule | None = None,
    ) -> None:
        """Greedy decoding after inputs [B, T, D_llm] with mask [B, T]; no six tokens in a row are said twice."""
        import torch

        with torch.inference_mode():
            self.model.generate(
                inputs_embeds=inputs.to(self.device, self.model.dtype),
                attention_mask=mask.to(self.device, torch.long),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                synced_gpus=False,  # one process: else torch's parallel parts are imported to find that out
                pad_token_id=self.tokenizer.pad_token_id,
                logits_processor=self._processors(watch, rules),
            )

    def _processors(self, watch: Watch, rules: LogitsRule | None) -> Any:
        from transformers import LogitsProcessorList, NoRepeatNGramLogitsProcessor

        return LogitsProcessorList([rules or NoRepeatNGramLogitsProcessor(NO_REPEAT), watch])

    def _failed(self, error: BaseException) -> ModelError:
        return ModelError(f"the language model '{self.name}' failed: {_one_line(error)}")


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

    where = choose_device(device)
    dtype = torch.bfloat16 if where == "cuda" else torch.float32
    path = str(converted.folder_of(name)) if name in catalogue.WEIGHTS else located(name)
    ours = dtype == torch.float32 and converted.is_ours(Path(path))
    try:
        with lean_imports() if ours else contextlib.nullcontext():
            read: Any = converted.mapped(Path(path)) if ours else read_whole(path, dtype)
            model = read.to(where)
        if ours and where == "cpu":
            from connector.llm.packed import pack

            pack(model)
    except OSError as error:
        raise _not_there(name, path, error) from None
    except (ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"'{name}' is not a language model that transformers can load: {_one_line(error)}") from error
    return LanguageModel(model, load_tokenizer(name), name)


def read_whole(path: str, dtype: torch.dtype) -> Any:
    """The causal or encoder-decoder model of a folder or a hub name."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    config = AutoConfig.from_pretrained(path, trust_remote_code=False)
    family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
    read: Any = family.from_pretrained
    model, loading = read(path, dtype=dtype, trust_remote_code=False, output_loading_info=True)
    if missing := sorted(loading["missing_keys"]):
        raise ValueError(f"{len(missing)} weights are missing ({missing[0]} ...), random ones would stand in for them")
    return model


def located(name: str) -> str:
    """A name as transformers takes it: a folder's path without `~`, a hub name as it is."""
    path = Path(name).expanduser()
    return str(path) if path.is_dir() else name


def same(one: str, other: str) -> bool:
    """Whether two names are one model's: equal, or one folder's by two spellings (relative, a link, `~`, a last /)."""
    first, second = Path(one).expanduser(), Path(other).expanduser()
    return one == other or (first.is_dir() and second.is_dir() and first.samefile(second))


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of the language model `name`, with a padding token; see `load`.

    Raises:
        WeightsError: it is not here and cannot be fetched.
        ModelError: its files do not make a tokenizer.
    """
    from transformers import AutoTokenizer

    path = str(converted.folder_of(name)) if name in catalogue.WEIGHTS else located(name)
    check_tokenizer(Path(path), name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except OSError as error:
        raise _not_there(name, path, error) from None
    except (ValueError, KeyError, RuntimeError, ImportError) as error:  # Vicuna's wants sentencepiece
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
