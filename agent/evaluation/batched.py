"""Many questions at once, answered as the agent answers each: its own routes run, the language model's turn waits.

A question is run until its route wants the language model; the prompts of many questions are answered in batches of
like length; then each question is run again and finds its answer there. What the experts and the encoder made of a
medium is remembered in between, so nothing is looked at twice. No route is written down a second time for the bench, so
the two cannot drift apart; what cannot take part in this (an endpoint, a connector with layers inside the language
model) is answered one question at a time, through the same code.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector.interfaces.base import Projector
from connector.llm.language import Token
from connector.trained import ConnectorModel
from experts.errors import DuetError, ModelError

if TYPE_CHECKING:
    import torch

    from agent.agent import Agent
    from agent.answer import Answer
    from experts.base import Expert, Finding
    from experts.media import Image, Media

REMEMBERED = 1024  # media whose findings, and images whose features (about 0.5 MB each), are kept


@dataclass
class Asked:
    """A question on its way: what to ask, then its answer or why there is none, and the seconds it took."""

    question: str
    media: dict[str, Any]  # image=, audio=, video= of Agent.stream
    route: str
    answer: Answer | None = None
    error: str = ""
    seconds: float = 0.0
    said: list[tuple[str, float]] = field(default_factory=list)  # answers of the language model so far, in order
    waiting: _Turn | None = None

    @property
    def done(self) -> bool:
        return self.answer is not None or bool(self.error)


class _Turn(BaseException):
    """A route wants the language model. Not an Exception: nothing on the way may take it for a failure."""

    def __init__(self, prompt: torch.Tensor, max_new_tokens: int) -> None:
        super().__init__()
        self.prompt, self.max_new_tokens = prompt, max_new_tokens


def ask_one(agent: Agent, asked: Asked) -> None:
    """Answer one question through the agent; a failure becomes `error`."""
    begun = time.perf_counter()
    try:
        for step in agent.stream(asked.question, route=asked.route, **asked.media):
            asked.answer = step.answer or asked.answer
        if asked.answer is None:
            asked.error = "the route ended without an answer"
    except Exception as error:  # one question's failure is its own: it becomes a row
        asked.error = reason(error)
    finally:
        asked.seconds += time.perf_counter() - begun


def reason(error: Exception) -> str:
    """An exception as one line for people."""
    text = str(error) if isinstance(error, DuetError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


class Batcher:
    """Answers questions with a batching copy of an agent; the agent itself is not changed."""

    def __init__(self, agent: Agent, batch: int = 16, remembered: int = REMEMBERED) -> None:
        """`batch` prompts go through the language model at once; give a few times as many questions."""
        self.batch = batch
        self._findings: _Memory = _Memory(remembered)
        self._features: _Memory = _Memory(remembered // 4)
        self._current: Asked | None = None
        self._turn = 0
        kind = type("Batching", (_Batching, type(agent.context)), {})
        context = object.__new__(kind)
        context.__dict__.update(agent.context.__dict__, _batcher=self)
        self.agent: Agent = copy.copy(agent)
        self.agent.context = context

    def ask(self, questions: Sequence[Asked]) -> None:
        """Answer all; seconds of a batch are shared equally among its questions."""
        todo = list(questions)
        while todo:
            for asked in todo:
                self._begin(asked)
            todo = [asked for asked in todo if not asked.done]
            self._speak(sorted(todo, key=lambda asked: len(asked.waiting.prompt) if asked.waiting else 0))

    def _begin(self, asked: Asked) -> None:
        self._current, self._turn, asked.waiting = asked, 0, None
        begun = time.perf_counter()
        try:
            ask_one(self.agent, asked)
        except _Turn as turn:
            asked.waiting, asked.answer = turn, None
        finally:
            self._current = None
        assert asked.done or asked.waiting is not None, f"unfinished after {time.perf_counter() - begun:.0f} s"

    def _speak(self, todo: Sequence[Asked]) -> None:
        llm = self.agent.context.llm()
        for at in range(0, len(todo), self.batch):
            group = todo[at : at + self.batch]
            turns = [asked.waiting for asked in group if asked.waiting is not None]
            begun = time.perf_counter()
            try:
                replies: list[Any] = llm.answers([t.prompt for t in turns], max(t.max_new_tokens for t in turns))
            except ModelError:  # whose fault? ask one by one
                replies = [self._alone(llm, turn) for turn in turns]
            for asked, reply in zip(group, replies, strict=True):
                asked.seconds += (time.perf_counter() - begun) / len(group)
                if isinstance(reply, ModelError):
                    asked.error = reason(reply)
                else:
                    asked.said.append(reply)

    @staticmethod
    def _alone(llm: Any, turn: _Turn) -> tuple[str, float] | ModelError:
        try:
            return llm.answers([turn.prompt], turn.max_new_tokens)[0]
        except ModelError as error:
            return error

    def stream(self, prompt: torch.Tensor, max_new_tokens: int) -> Iterator[Token]:
        """The language model's turn: the answer if it is there, else the question waits here."""
        import math

        assert self._current is not None
        if self._turn >= len(self._current.said):
            raise _Turn(prompt, max_new_tokens)
        text, confidence = self._current.said[self._turn]
        self._turn += 1
        yield Token(text, math.log(confidence) if confidence > 0 else -math.inf)

    @property
    def asking(self) -> bool:
        """Whether a question is being run, as opposed to a model being loaded or used directly."""
        return self._current is not None


class _Batching:
    """What a batching context does otherwise than the one it was made from; stands before its class in the MRO."""

    _batcher: Batcher

    def expert(self, name: str) -> Expert:
        return _RememberingExpert(super().expert(name), self._batcher._findings)  # type: ignore[misc]

    def llm(self) -> Any:
        llm = super().llm()  # type: ignore[misc]
        return llm if isinstance(llm, _WaitingModel) else _WaitingModel(llm, self._batcher)

    def connector_model(self) -> ConnectorModel:
        model = super().connector_model()  # type: ignore[misc]
        llm: Any = model.llm._inner if isinstance(model.llm, _WaitingModel) else model.llm
        if not _attaches(model.connector):  # layers inside the language model belong to one question at a time
            llm = _WaitingModel(llm, self._batcher)
        encoder = _RememberingEncoder(model.encoder, self._batcher._features)
        return ConnectorModel(llm, encoder, model.connector, model.card)


def _attaches(connector: Any) -> bool:
    """Whether a connector has layers inside the language model."""
    attach = getattr(type(connector), "attached", None)
    return attach is not None and attach is not Projector.attached


class _Memory:
    """The last `most` results by key."""

    def __init__(self, most: int) -> None:
        self.most = max(most, 1)
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)
        return made


class _Forwarding:
    """Stands for another object: what it does not do itself, the other does."""

    def __init__(self, inner: Any) -> None:
        object.__setattr__(self, "_inner", inner)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._inner, name, value)


class _RememberingExpert(_Forwarding):
    """An expert that looks at each medium once; a failure is not remembered."""

    def __init__(self, inner: Expert, memory: _Memory) -> None:
        super().__init__(inner)
        object.__setattr__(self, "_memory", memory)

    def __call__(self, media: Media) -> list[Finding]:
        return self._memory.get((self._inner.name, media.name, media.sha256), lambda: self._inner(media))


class _RememberingEncoder(_Forwarding):
    """An encoder that encodes each image once."""

    def __init__(self, inner: Any, memory: _Memory) -> None:
        super().__init__(inner)
        object.__setattr__(self, "_memory", memory)

    def encode(self, images: Sequence[Image]) -> torch.Tensor:
        import torch

        rows = [self._memory.get(image.sha256, lambda image=image: self._inner.encode([image])) for image in images]
        return torch.cat(rows)  # [B, N, D_enc]


class _WaitingModel(_Forwarding):
    """The language model, whose turn in a running question waits for the batch."""

    def __init__(self, inner: Any, batcher: Batcher) -> None:
        super().__init__(inner)
        object.__setattr__(self, "_batcher", batcher)

    def stream(self, embeddings: torch.Tensor, *, max_new_tokens: int, **rest: Any) -> Iterator[Token]:
        if not self._batcher.asking:
            return self._inner.stream(embeddings, max_new_tokens=max_new_tokens, **rest)
        return self._batcher.stream(embeddings, max_new_tokens)
