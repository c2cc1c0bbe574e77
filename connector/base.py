"""The protocol of a multimodal model: whatever can be the connector, and the language model inside it.

Three kinds keep it: one trained here (connector/trained.py), any that transformers loads (connector/pretrained/), and
one behind an OpenAI-compatible endpoint (connector/endpoint.py). Routes, checking, evaluation, server, arena and app
know this file and nothing of families.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from connector.llm.streaming import Token
    from experts.media import Media

IMAGE, AUDIO, VIDEO = "image", "audio", "video"


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model before it answers; the trace and every table that compares models show it."""

    name: str  # as it was asked for: a weights name, a folder's base name, a hub name, an endpoint's model id
    kind: str  # trained | pretrained | endpoint
    modalities: frozenset[str]  # of image, audio, video: what it takes beside text
    language: str  # the language model inside it; equal names and revisions are equal weights
    revision: str = ""  # commit of a hub model, hash of an adapter, "" where there is none
    parameters: int | None = None  # None: not known (an endpoint)
    precision: str = ""  # float32, bfloat16, int8 ...; "" where it is not known
    device: str = ""  # cpu, cuda:0, mps, "cuda:0, cuda:1"; "" for an endpoint
    most_media: int | None = None  # media in one question, all kinds together; None: as many as its context holds
    licence: str = ""


@dataclass(frozen=True)
class Generation:
    """How far an answer may go. Decoding is greedy, the same for every model and route."""

    max_new_tokens: int = 48
    stop: threading.Event = field(default_factory=threading.Event)  # ends it after the token it is at
    until: float | None = None  # on time.perf_counter's scale: what waits for a network gives up then
    longest_s: float = 120.0  # how long that was in all, for the message


@dataclass(frozen=True)
class Turn:
    """One earlier turn of a conversation. Only a user's turn has media."""

    role: str  # user | assistant
    text: str
    media: tuple[Media, ...] = ()


@dataclass(frozen=True)
class Stage:
    """Something done before the first token (`encode`, `connect`), for the trace."""

    kind: str
    name: str
    begun: float  # time.perf_counter()
    seconds: float
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """An answer about to be given. Closing `tokens` ends the model's work; reading it raises ModelError if it fails."""

    model: str  # the name that the trace shows
    adapter: str  # the LoRA in its weights, "" where there is none
    prompt_tokens: int  # 0: not known
    tokens: Iterator[Token]
    stages: tuple[Stage, ...] = ()

    def close(self) -> None:
        """End the model's work."""
        getattr(self.tokens, "close", lambda: None)()


@dataclass(frozen=True)
class Asked:
    """One question of a batch."""

    question: str
    media: tuple[Media, ...] = ()
    history: tuple[Turn, ...] = ()


@dataclass(frozen=True)
class Answered:
    """A whole answer: `confidence` is the geometric mean of its tokens' probabilities, None where they are not told."""

    text: str
    confidence: float | None
    cut: bool = False  # ended by the limit of tokens, not by the model


class TextModel(Protocol):
    """The language model alone: what the experts route, planners and judges speak with."""

    @property
    def name(self) -> str: ...

    @property
    def adapter(self) -> str: ...

    def read(self, question: str, evidence: str, generation: Generation, history: Sequence[Turn] = ()) -> Reply:
        """The answer to `question` from `evidence`, the text made of findings."""
        ...

    def chat(self, turns: Sequence[dict[str, str]], generation: Generation, rules: Any = None) -> Reply:
        """What follows `turns` of role (system, user, assistant) and content; `rules` restrict what may be written."""
        ...

    def read_batch(self, asked: Sequence[tuple[str, str]], max_new_tokens: int) -> list[Answered]:
        """Answers to pairs of question and evidence: what `read` says to each."""
        ...


class MultimodalModel(Protocol):
    """Answers questions about media, and speaks text through the same weights."""

    @property
    def info(self) -> ModelInfo: ...

    @property
    def language(self) -> TextModel:
        """The same weights, text alone; raises ModelError at its use where they cannot speak without a picture."""
        ...

    def tokens(self, media: Sequence[Media]) -> int:
        """How many tokens of the prompt `media` take.

        Raises:
            InputError: a kind or a number of media that this model does not take; the message says what it does.
        """
        ...

    def stream(
        self, question: str, media: Sequence[Media], generation: Generation, history: Sequence[Turn] = ()
    ) -> Reply:
        """The greedy answer, token by token.

        Raises:
            InputError: as `tokens`.
            ModelError: it cannot be loaded, or fails; raised here or while the tokens are read.
        """
        ...

    def answers(self, batch: Sequence[Asked], max_new_tokens: int) -> list[Answered]:
        """Answers to many questions at once, each what `stream` says to it."""
        ...
