"""The shared local language model behind LangChain's chat interface: LangChain code speaks with the same model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict

from connector.base import Generation
from connector.llm import templates
from connector.llm.streaming import Token
from experts.errors import InputError

ROLES = {"human": "user", "ai": "assistant", "system": "system", "tool": "user"}


class LocalChat(BaseChatModel):
    """A TextModel as a BaseChatModel: the same weights, the same greedy decoding, text only.

    >>> LocalChat(llm=Agent().context.language()).invoke("What is a dog?").content  # doctest: +SKIP
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    llm: Any  # a TextModel
    max_new_tokens: int = 128

    @property
    def _llm_type(self) -> str:
        return "duet-local"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self.llm.name, "adapter": self.llm.adapter, "max_new_tokens": self.max_new_tokens}

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> Iterator[ChatGenerationChunk]:
        about = {"model_name": self.llm.name}
        for token in _until(self._tokens(messages), stop or ()):
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=token.text, response_metadata=about))
            about = {}  # LangChain adds up what the chunks say of themselves
            if run_manager:
                run_manager.on_llm_new_token(token.text, chunk=chunk)
            yield chunk

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        tokens = list(_until(self._tokens(messages), stop or ()))
        about = {"logprob": sum(token.logprob for token in tokens), "model_name": self.llm.name}
        text = "".join(token.text for token in tokens)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content=text, response_metadata=about))])

    def _tokens(self, messages: Sequence[BaseMessage]) -> Iterator[Token]:
        turns = [{"role": _role(message), "content": templates.fence(_text(message))} for message in messages]
        yield from self.llm.chat(turns, Generation(self.max_new_tokens)).tokens


def _role(message: BaseMessage) -> str:
    if message.type not in ROLES:
        raise InputError(f"a message of type '{message.type}' cannot be read; accepted: {', '.join(ROLES)}")
    return ROLES[message.type]


def _text(message: BaseMessage) -> str:
    """A message's text; anything else in it is refused, not dropped."""
    parts = [message.content] if isinstance(message.content, str) else message.content
    for part in parts:
        kind = "text" if isinstance(part, str) else part.get("type")
        if kind != "text":
            raise InputError(
                f"a message part of type '{kind}' cannot be read by a text model; accepted: text; "
                "ask the agent about media"
            )
    return "".join(part if isinstance(part, str) else str(part["text"]) for part in parts)


def _until(tokens: Iterator[Token], stop: Sequence[str]) -> Iterator[Token]:
    """Tokens up to where one of the `stop` strings begins; text that may be its beginning is held back."""
    held, logprob = "", 0.0
    for token in tokens:
        held, logprob = held + token.text, logprob + token.logprob
        cuts = [held.index(word) for word in stop if word in held]
        if cuts:
            yield Token(held[: min(cuts)], logprob)
            return
        if not any(held.endswith(word[:n]) for word in stop for n in range(1, len(word))):
            yield Token(held, logprob)
            held, logprob = "", 0.0
    if held:
        yield Token(held, logprob)
