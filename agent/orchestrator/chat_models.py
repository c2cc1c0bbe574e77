"""Chat models of LangChain: opened by name or at an endpoint, read as Tokens, their failures in one line."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from agent.clock import Bounds
from connector.base import Reply
from connector.endpoint import LEAST_WAIT_S, EndpointModel, failure, key, plain, queued_tokens
from connector.llm.streaming import Token
from experts.errors import DuetError, InputError, ModelError, needs

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


def endpoint_chat(endpoint: EndpointModel, bounds: Bounds, max_new_tokens: int) -> BaseChatModel:
    """The endpoint's model for calls of tools: greedy, of at most `max_new_tokens`, within the bounds.

    Raises:
        ModelError: the endpoint does not say in time which model it serves.
    """
    needs("langchain_openai", "endpoint", "a chat model at an endpoint")
    from langchain_openai import ChatOpenAI

    chat: BaseChatModel = ChatOpenAI(
        model=endpoint.model_id(bounds.generation()),
        base_url=endpoint.url,
        api_key=key(),  # type: ignore[arg-type]
        temperature=0,
        max_completion_tokens=max_new_tokens,
        timeout=max(bounds.left_s(), LEAST_WAIT_S),
        max_retries=2,
        use_responses_api=False,
        stream_usage=False,
    )
    return chat


def open_chat(model: str, base_url: str = "") -> BaseChatModel:
    """A chat model by LangChain's name for it, such as "openai:gpt-5" or "ollama:qwen3", at `base_url` if given.

    Raises:
        InputError: there is no such provider, its package is not installed, or it lacks its key.
    """
    from langchain.chat_models import init_chat_model

    own: dict[str, Any] = (
        {"base_url": base_url, "api_key": key()} if base_url else {}
    )  # no other key goes to such an address
    try:
        chat: BaseChatModel = init_chat_model(model, temperature=0, **own)
    except Exception as error:  # each provider's package raises its own
        raise InputError(
            f"the chat model {model!r} cannot be opened ({plain(f'{type(error).__name__}: {error}')}); accepted: "
            "PROVIDER:MODEL of an installed LangChain package, such as openai:NAME with --base-url http://HOST:PORT/v1"
        ) from None
    return chat


def chat_name(chat: Any) -> str:
    """What the trace calls a chat model."""
    return str(getattr(chat, "model_name", "") or getattr(chat, "model", "") or chat._llm_type)


def chat_reply(chat: BaseChatModel, turns: Sequence[Any], bounds: Bounds) -> Reply:
    """What any chat model says after `turns` (LangChain messages, or dicts of role and content)."""
    over = threading.Event()

    def read(pieces: queue.Queue) -> None:
        chunks = chat.stream(list(turns))
        ended = relay((chunk for chunk in chunks if not over.is_set()), pieces)
        if not ended and not over.is_set() and tells_its_end(chat):
            raise ModelError("the endpoint broke off in the middle of its answer; ask again")

    def tokens() -> Iterator[Token]:
        try:
            yield from queued_tokens(read, lambda error: chat_failure(error, chat), bounds.generation())
        finally:
            over.set()

    return Reply(chat_name(chat), "", 0, tokens())


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
        return failure(error, chat_name(chat))
    return ModelError(f"the chat model '{chat_name(chat)}' failed: {plain(f'{type(error).__name__}: {error}')}")


def relay(chunks: Iterator[Any], pieces: queue.Queue) -> bool:
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
