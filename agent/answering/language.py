"""Who speaks: the shared local language model, or a model behind an OpenAI-compatible endpoint. Both give Tokens."""

from __future__ import annotations

import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.clock import Bounds
from agent.expert_calls import within
from connector.llm import templates
from connector.llm.language import Token
from experts.config import Settings
from experts.errors import ConfigError, DuetError, InputError, ModelError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from connector.llm.language import LanguageModel

KEY = "DUET_ENDPOINT_KEY"  # not OPENAI_API_KEY: that one must not go to whatever address is configured here
LEAST_WAIT_S = 5.0


@dataclass(frozen=True)
class Speech:
    """An answer about to be given: by which model (and adapter), to a prompt of how many tokens (0: not known)."""

    model: str
    adapter: str
    prompt_tokens: int
    tokens: Iterator[Token]


def local_speech(llm: LanguageModel, question: str, evidence: str, max_new_tokens: int, bounds: Bounds) -> Speech:
    """The local model's answer from evidence."""
    import torch

    ids = templates.prompt_ids(llm.tokenizer, question, evidence=evidence).ids
    with torch.inference_mode():
        prompt = llm.embed(torch.tensor(ids))  # [T, D_llm]
    tokens = llm.stream(prompt, max_new_tokens=max_new_tokens, stop=bounds.stop)
    return Speech(llm.name, llm.adapter, len(ids), tokens)


class Endpoint:
    """A chat model behind an OpenAI-compatible address, through LangChain's ChatOpenAI.

    Raises:
        ConfigError: no endpoint is set, or it is not an http(s) address.
    """

    def __init__(self, settings: Settings) -> None:
        if not re.match(r"https?://[^/\s]+", settings.endpoint):
            raise ConfigError(
                "profile 'server' needs endpoint, the base URL of an OpenAI-compatible server; accepted: "
                "http://HOST:PORT/v1 or https://...; set it in duet.toml or as DUET_ENDPOINT"
            )
        self._url, self._model = settings.endpoint, settings.endpoint_model
        self._logprobs = True  # until the endpoint says that it has none
        self._lock = threading.Lock()

    def name(self) -> str:
        """The model's id: the configured one, else the only one that the endpoint lists.

        Raises:
            ModelError: the endpoint does not answer, or lists none or several.
        """
        with self._lock:
            if not self._model:
                import openai

                try:
                    client = openai.OpenAI(base_url=self._url, api_key=_key(), max_retries=1, timeout=LEAST_WAIT_S)
                    with client:
                        listed = [model.id for model in client.models.list()]
                except openai.OpenAIError as error:
                    raise _failure(error, "") from error
                if len(listed) != 1:
                    raise ModelError(
                        f"the endpoint serves {len(listed)} models ({', '.join(listed[:9]) or 'none'}); "
                        "set endpoint_model to one of them"
                    )
                self._model = listed[0]
            return self._model

    def chat(self, bounds: Bounds, max_new_tokens: int, **more: Any) -> Any:
        """A fresh ChatOpenAI: greedy, of at most `max_new_tokens`, within the bounds."""
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(
            model=self.name(),
            base_url=self._url,
            api_key=_key(),  # type: ignore[arg-type]
            temperature=0,
            max_completion_tokens=max_new_tokens,
            timeout=max(bounds.left_s(), LEAST_WAIT_S),
            max_retries=2,
            use_responses_api=False,
            stream_usage=False,
            logprobs=True if self._logprobs else None,
            **more,
        )

    def agentic(self, bounds: Bounds, max_new_tokens: int) -> BaseChatModel:
        """The model for calls of tools, which come without logprobs.

        Raises:
            ModelError: the endpoint does not say in time which model it serves.
        """
        named = within(self.name, bounds.until, bounds.stop)
        if named is None:
            raise _late(bounds)
        named.result()
        chat: BaseChatModel = self.chat(bounds, max_new_tokens).model_copy(update={"logprobs": None})
        return chat

    def speech(self, question: str, evidence: str, max_new_tokens: int, bounds: Bounds) -> Speech:
        """The endpoint's answer from evidence, to the same turns that a local model reads."""
        turns = templates.messages(question, evidence=evidence)
        named = within(self.name, bounds.until, bounds.stop)  # it may have to ask the endpoint
        if named is None and not bounds.stop.is_set():
            raise _late(bounds)
        return Speech(named.result() if named else "endpoint", "", 0, self._stream(turns, max_new_tokens, bounds))

    def _stream(self, turns: list[dict[str, str]], max_new_tokens: int, bounds: Bounds) -> Iterator[Token]:
        """Tokens as they come; stopping, or closing the iterator, closes the connection and so ends the work there."""
        import httpx

        client = httpx.Client()

        def read(pieces: queue.Queue) -> None:
            self._read(client, turns, max_new_tokens, bounds, pieces)

        try:
            yield from _piped(read, lambda error: _failure(error, self._model), bounds)
        finally:
            client.close()

    def _read(
        self, client: Any, turns: list[dict[str, str]], max_new_tokens: int, bounds: Bounds, pieces: queue.Queue
    ) -> None:
        import openai

        try:
            ended = _relay(self.chat(bounds, max_new_tokens, http_client=client).stream(turns), pieces)
        except openai.BadRequestError as error:
            if not self._logprobs or "logprob" not in str(error).lower():
                raise
            self._logprobs = False
            ended = _relay(self.chat(bounds, max_new_tokens, http_client=client).stream(turns), pieces)
        if not ended:
            raise ModelError("the endpoint broke off in the middle of its answer; ask again")


def open_chat(model: str, base_url: str = "") -> BaseChatModel:
    """A chat model by LangChain's name for it, such as "openai:gpt-5" or "ollama:qwen3", at `base_url` if given.

    Raises:
        InputError: there is no such provider, its package is not installed, or it lacks its key.
    """
    from langchain.chat_models import init_chat_model

    own: dict[str, Any] = (
        {"base_url": base_url, "api_key": _key()} if base_url else {}
    )  # no other key goes to such an address
    try:
        chat: BaseChatModel = init_chat_model(model, temperature=0, **own)
    except Exception as error:  # each provider's package raises its own
        raise InputError(
            f"the chat model {model!r} cannot be opened ({_plain(f'{type(error).__name__}: {error}')}); accepted: "
            "PROVIDER:MODEL of an installed LangChain package, such as openai:NAME with --base-url http://HOST:PORT/v1"
        ) from None
    return chat


def chat_name(chat: Any) -> str:
    """What the trace calls a chat model."""
    return str(getattr(chat, "model_name", "") or getattr(chat, "model", "") or chat._llm_type)


def chat_speech(chat: BaseChatModel, turns: Sequence[Any], bounds: Bounds) -> Speech:
    """What any chat model says after `turns` (LangChain messages, or dicts of role and content)."""
    over = threading.Event()

    def read(pieces: queue.Queue) -> None:
        chunks = chat.stream(list(turns))
        ended = _relay((chunk for chunk in chunks if not over.is_set()), pieces)
        if not ended and not over.is_set() and tells_its_end(chat):
            raise ModelError("the endpoint broke off in the middle of its answer; ask again")

    def tokens() -> Iterator[Token]:
        try:
            yield from _piped(read, lambda error: chat_failure(error, chat), bounds)
        finally:
            over.set()

    return Speech(chat_name(chat), "", 0, tokens())


def tells_its_end(chat: Any) -> bool:
    """Whether a complete answer of this model always says why it ended, so that one without a reason was cut."""
    from langchain_openai.chat_models.base import BaseChatOpenAI

    return isinstance(chat, BaseChatOpenAI)


def chat_failure(error: BaseException, chat: Any) -> DuetError:
    """What went wrong with a chat model, in a line."""
    import openai

    if isinstance(error, DuetError):
        return error
    if isinstance(error, openai.OpenAIError):
        return _failure(error, chat_name(chat))
    return ModelError(f"the chat model '{chat_name(chat)}' failed: {_plain(f'{type(error).__name__}: {error}')}")


def _piped(
    read: Callable[[queue.Queue], None], failure: Callable[[Exception], DuetError], bounds: Bounds
) -> Iterator[Token]:
    """The Tokens that `read` puts into a queue on a thread of its own, so that no silence outlasts the bounds."""
    pieces: queue.Queue[Token | DuetError | None] = queue.Queue()

    def work() -> None:
        try:
            read(pieces)
            pieces.put(None)
        except Exception as error:  # the boundary to other people's libraries: handed to the reader below
            pieces.put(error if isinstance(error, DuetError) else failure(error))

    threading.Thread(target=work, name="duet-endpoint", daemon=True).start()
    while not bounds.stop.is_set():
        try:
            piece = pieces.get(timeout=0.05)
        except queue.Empty:
            if time.perf_counter() > bounds.until:
                raise _late(bounds) from None
            continue
        if piece is None:
            return
        if isinstance(piece, DuetError):
            raise piece
        yield piece


def _late(bounds: Bounds) -> ModelError:
    return ModelError(
        f"the endpoint gave no answer within {bounds.longest_s:.0f} s; raise answer_s or use a faster model"
    )


def _relay(chunks: Iterator[Any], pieces: queue.Queue) -> bool:
    """Put a stream's chunks into `pieces` as Tokens; whether the stream came to its end."""
    ended = False
    for chunk in chunks:
        about = chunk.response_metadata
        listed = (about.get("logprobs") or {}).get("content") or []
        logprob = sum(float(token["logprob"]) for token in listed) if listed else math.nan
        if chunk.text:
            pieces.put(Token(str(chunk.text), logprob))
        ended = ended or bool(about.get("finish_reason"))
    return ended


def _key() -> str:
    return os.environ.get(KEY) or "none"


def _failure(error: Exception, model: str) -> ModelError:
    """What went wrong at the endpoint, without addresses and keys."""
    import openai

    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return ModelError(f"the endpoint refused the key (HTTP {error.status_code}); set {KEY}")
    if isinstance(error, openai.NotFoundError):
        return ModelError(f"the endpoint has no model '{model}'; set endpoint_model to one that it serves")
    if isinstance(error, openai.RateLimitError):
        return ModelError("the endpoint is busy (HTTP 429), three times in a row; ask again later")
    if isinstance(error, openai.APIStatusError):
        return ModelError(f"the endpoint failed with HTTP {error.status_code}: {_plain(error.message)}")
    if isinstance(error, openai.APITimeoutError):
        return ModelError("the endpoint did not answer in time; raise answer_s or use a faster model")
    if isinstance(error, openai.APIConnectionError):
        return ModelError("the endpoint cannot be reached; start the server, or set endpoint to where it listens")
    return ModelError(f"the endpoint's answer could not be read: {_plain(f'{type(error).__name__}: {error}')}")


def _plain(text: str) -> str:
    return " ".join(re.sub(r"\w+://\S+", "", text).split())[:200]
