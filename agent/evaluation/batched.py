"""Many questions at once, answered as the agent answers each: its own routes run, the language model's turn waits.

A question is run until its route wants the model; what many questions want is answered in batches; then each question
is run again and finds its answer there. What the experts made of a medium is remembered in between, so nothing is
looked at twice. No route is written down a second time for the bench, so the two cannot drift apart.
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from connector import base as models
from connector.base import Answered, Generation, Reply, Turn
from connector.llm.streaming import Token
from experts.errors import DuetError

if TYPE_CHECKING:
    from agent.agent import Agent
    from agent.answer import Answer
    from experts.base import Expert, Finding
    from experts.media import Media

REMEMBERED = 1024  # media whose findings are kept


@dataclass
class Asked:
    """A question on its way: what to ask, then its answer or why there is none, and the seconds it took."""

    question: str
    media: dict[str, Any]  # image=, audio=, video= of Agent.stream
    route: str
    answer: Answer | None = None
    error: str = ""
    seconds: float = 0.0
    said: list[Answered] = field(default_factory=list)  # answers of the models so far, in order
    waiting: _Turn | None = None

    @property
    def done(self) -> bool:
        return self.answer is not None or bool(self.error)


class _Turn(BaseException):
    """A route wants a model. Not an Exception: nothing on the way may take it for a failure."""

    def __init__(self, model: Any, request: Any, max_new_tokens: int) -> None:
        super().__init__()
        self.model, self.request, self.max_new_tokens = model, request, max_new_tokens


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
        """`batch` requests go to a model at once; give a few times as many questions."""
        self.batch = batch
        self._findings: _Memory = _Memory(remembered)
        self._current: Asked | None = None
        self._turn = 0
        kind = type("Batching", (_Batching, type(agent.context)), {})
        context: Any = object.__new__(kind)
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
            for model in dict.fromkeys(asked.waiting.model for asked in todo if asked.waiting):
                waiting = [asked for asked in todo if asked.waiting and asked.waiting.model is model]
                for at in range(0, len(waiting), self.batch):
                    self._answer(model, waiting[at : at + self.batch])

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

    @staticmethod
    def _answer(model: _Waiting, group: Sequence[Asked]) -> None:
        turns = [asked.waiting for asked in group if asked.waiting is not None]
        longest = max(turn.max_new_tokens for turn in turns)
        begun = time.perf_counter()
        try:
            replies: list[Any] = model.batch([turn.request for turn in turns], longest)
        except DuetError:  # whose fault? ask one by one
            replies = [_alone(model, turn) for turn in turns]
        for asked, reply in zip(group, replies, strict=True):
            asked.seconds += (time.perf_counter() - begun) / len(group)
            if isinstance(reply, DuetError):
                asked.error = reason(reply)
            else:
                asked.said.append(reply)

    def reply(self, model: _Waiting, request: Any, max_new_tokens: int, name: str, adapter: str) -> Reply:
        """A model's turn: the answer if it is there, else the question waits here."""
        assert self._current is not None
        if self._turn >= len(self._current.said):
            raise _Turn(model, request, max_new_tokens)
        said = self._current.said[self._turn]
        self._turn += 1
        logprob = math.nan if said.confidence is None else math.log(max(said.confidence, 1e-300))
        return Reply(name, adapter, 0, iter([Token(said.text, logprob)]))

    @property
    def asking(self) -> bool:
        """Whether a question is being run, as opposed to a model being loaded or used directly."""
        return self._current is not None


def _alone(model: _Waiting, turn: _Turn) -> Answered | DuetError:
    try:
        return model.batch([turn.request], turn.max_new_tokens)[0]
    except DuetError as error:
        return error


class _Batching:
    """What a batching context does otherwise than the one it was made from; stands before its class in the MRO."""

    _batcher: Batcher
    _waiting: dict[int, Any] | None = None

    def expert(self, name: str) -> Expert:
        return _RememberingExpert(super().expert(name), self._batcher._findings)  # type: ignore[misc]

    def language(self) -> Any:
        return self._once(_WaitingText, super().language())  # type: ignore[misc]

    def model(self) -> Any:
        model = super().model()  # type: ignore[misc]
        return model if isinstance(model, _Waiting) else self._once(_WaitingModel, model)

    def _once(self, kind: type[_Waiting], inner: Any) -> Any:
        """One stand-in for a model, whoever asks for it."""
        if isinstance(inner, _Waiting):
            return inner
        kept = self.__dict__.setdefault("_stand_ins", {})
        return kept.setdefault((kind, id(inner)), kind(inner, self._batcher))


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


class _Waiting(_Forwarding):
    """A model whose turn in a running question waits for the batch."""

    def __init__(self, inner: Any, batcher: Batcher) -> None:
        super().__init__(inner)
        object.__setattr__(self, "_batcher", batcher)

    def batch(self, requests: Sequence[Any], max_new_tokens: int) -> list[Answered]:
        """Answers to the requests that waited."""
        raise NotImplementedError


class _WaitingText(_Waiting):
    def read(self, question: str, evidence: str, generation: Generation, history: Sequence[Turn] = ()) -> Reply:
        if history or not self._batcher.asking:
            return self._inner.read(question, evidence, generation, history)
        asked = (question, evidence)
        return self._batcher.reply(self, asked, generation.max_new_tokens, self._inner.name, self._inner.adapter)

    def batch(self, requests: Sequence[Any], max_new_tokens: int) -> list[Answered]:
        return self._inner.read_batch(requests, max_new_tokens)


class _WaitingModel(_Waiting):
    def stream(
        self, question: str, media: Sequence[Media], generation: Generation, history: Sequence[Turn] = ()
    ) -> Reply:
        if not self._batcher.asking:
            return self._inner.stream(question, media, generation, history)
        self._inner.tokens(media)  # refuses what the model does not take, as `stream` would
        request = models.Asked(question, tuple(media), tuple(history))
        language = self._inner.language
        return self._batcher.reply(self, request, generation.max_new_tokens, language.name, language.adapter)

    def batch(self, requests: Sequence[Any], max_new_tokens: int) -> list[Answered]:
        return self._inner.answers(requests, max_new_tokens)
