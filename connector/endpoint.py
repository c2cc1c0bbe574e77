"""A model behind an OpenAI-compatible address: what it is called, what it takes, and its answers.

Pictures go to it as data: URLs, sounds as WAV, films as frames with their times and the sound track: parts that vLLM,
llama-server, Ollama and `transformers serve` all read. What an endpoint takes is found out once: from its list of
models, and by a probe, since a server may drop a picture in silence.
"""

from __future__ import annotations

import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from connector.base import AUDIO, IMAGE, VIDEO, Answered, Asked, Generation, ModelInfo, Reply, Turn
from connector.endpoint_parts import content_of, probe_of
from connector.llm import templates
from connector.llm.streaming import Token
from experts.errors import ConfigError, DuetError, InputError, ModelError, needs
from experts.media import Media

KEY = "DUET_ENDPOINT_KEY"  # not OPENAI_API_KEY: that one must not go to whatever address is configured here
LEAST_WAIT_S = 5.0
PROBE_S = 60.0  # a server may load its model at the first question
AT_ONCE = 8  # questions of a batch that are on their way together


class EndpointModel:
    """The model `model` at the base URL `url`; without a name, the only one that the endpoint serves.

    Raises:
        ConfigError: not an http(s) address.
    """

    adapter = ""

    def __init__(self, url: str, model: str = "") -> None:
        if not re.match(r"https?://[^/\s]+", url):
            raise ConfigError(
                "profile 'server' needs endpoint, the base URL of an OpenAI-compatible server; accepted: "
                "http://HOST:PORT/v1 or https://...; set it in duet.toml or as DUET_ENDPOINT"
            )
        needs("openai", "endpoint", "a model behind an endpoint")
        self.url, self._model = url, model
        self._logprobs = True  # until the endpoint says that it has none
        self._takes: dict[str, bool] = {}
        self._lock = threading.RLock()

    # -- what it is ---------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The model's id.

        Raises:
            ModelError: the endpoint does not answer, does not serve the configured model, or serves several.
        """
        with self._lock:
            if not self._model:
                listed = self.model_ids()
                if len(listed) != 1:
                    raise ModelError(
                        f"the endpoint serves {len(listed)} models ({', '.join(listed[:9]) or 'none'}); "
                        "set endpoint_model to one of them"
                    )
                self._model = listed[0]
            return self._model

    @property
    def shown(self) -> str:
        """The id as people see it: of a file's path, the file's name."""
        return base_name(self.name)

    def model_ids(self) -> list[str]:
        """The ids of the models that the endpoint says it serves."""
        import openai

        try:
            with openai.OpenAI(base_url=self.url, api_key=key(), max_retries=1, timeout=LEAST_WAIT_S) as client:
                return [model.id for model in client.models.list()]
        except openai.OpenAIError as error:
            raise failure(error, "") from error

    def takes(self, kind: str) -> bool:
        """Whether the endpoint's model takes pictures (image) or sounds (audio), found out by asking it once."""
        with self._lock:
            if kind not in self._takes:
                self._takes[kind] = self._probe(kind)
            return self._takes[kind]

    @property
    def info(self) -> ModelInfo:
        """See ModelInfo; asks the endpoint at its first use."""
        seen = {IMAGE, VIDEO} if self.takes(IMAGE) else set()
        heard = {AUDIO} if self.takes(AUDIO) else set()
        return ModelInfo(self.shown, "endpoint", frozenset(seen | heard), language=self.shown)

    @property
    def language(self) -> EndpointModel:
        """The same model, asked in text."""
        return self

    def _probe(self, kind: str) -> bool:
        """A medium that is refused, or that costs no tokens, is not taken."""
        import openai

        def cost(parts: list[dict[str, Any]]) -> int:
            with openai.OpenAI(base_url=self.url, api_key=key(), max_retries=0, timeout=PROBE_S) as client:
                create: Any = client.chat.completions.create
                response = create(
                    model=self.name,
                    messages=[{"role": "user", "content": [*parts, {"type": "text", "text": "?"}]}],
                    max_tokens=1,
                    temperature=0,
                )
            return response.usage.prompt_tokens if response.usage else 0

        try:
            plain = cost([])
            with_medium = cost([probe_of(kind)])
        except (openai.BadRequestError, openai.UnprocessableEntityError, openai.InternalServerError):
            return False  # llama-server answers 500 to a picture where it has no projector
        except openai.APIStatusError as error:
            if error.status_code in (404, 415, 501):
                return False
            raise failure(error, self._model) from error
        except openai.OpenAIError as error:
            raise failure(error, self._model) from error
        return not plain or with_medium > plain + 1

    # -- answers ------------------------------------------------------------------------------------------------

    def tokens(self, media: Sequence[Media]) -> int:
        """0: what media cost is the endpoint's secret; refuses what it does not take."""
        self._check(media)
        return 0

    def stream(
        self, question: str, media: Sequence[Media], generation: Generation, history: Sequence[Turn] = ()
    ) -> Reply:
        """Media and question as content parts; see MultimodalModel.stream."""
        self._check(media)
        sound = any(medium.kind == VIDEO for medium in media) and self.takes(AUDIO)
        earlier = [{"role": turn.role, "content": content_of(turn.text, turn.media, sound=sound)} for turn in history]
        asked = {"role": "user", "content": content_of(question, media, sound=sound)}
        return self._reply([*earlier, asked], generation)

    def read(self, question: str, evidence: str, generation: Generation, history: Sequence[Turn] = ()) -> Reply:
        """The answer from evidence, to the same turns that a local model reads."""
        earlier = [(turn.role, turn.text) for turn in history]
        return self._reply(templates.messages(question, evidence=evidence, history=earlier), generation)

    def chat(self, turns: Sequence[dict[str, str]], generation: Generation, rules: Any = None) -> Reply:
        """What follows `turns`; an endpoint cannot be held to a grammar."""
        if rules is not None:
            raise ModelError("an endpoint's model cannot be held to a grammar; use a planner for chat models")
        return self._reply(list(turns), generation)

    def answers(self, batch: Sequence[Asked], max_new_tokens: int) -> list[Answered]:
        """Several requests on their way at once: the endpoint batches them itself."""
        return self._together([partial(self._answer, asked, max_new_tokens) for asked in batch])

    def read_batch(self, asked: Sequence[tuple[str, str]], max_new_tokens: int) -> list[Answered]:
        """As `answers`, from evidence."""
        return self._together([partial(self._read_one, *pair, max_new_tokens) for pair in asked])

    def _answer(self, asked: Asked, max_new_tokens: int) -> Answered:
        return read_to_end(self.stream(asked.question, asked.media, Generation(max_new_tokens), asked.history))

    def _read_one(self, question: str, evidence: str, max_new_tokens: int) -> Answered:
        return read_to_end(self.read(question, evidence, Generation(max_new_tokens)))

    @staticmethod
    def _together(calls: Sequence[Callable[[], Answered]]) -> list[Answered]:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(lambda call: call(), calls))

    def _check(self, media: Sequence[Media]) -> None:
        for kind in dict.fromkeys(medium.kind for medium in media):
            if not self.takes(AUDIO if kind == AUDIO else IMAGE):
                what = {IMAGE: "pictures", AUDIO: "sound", VIDEO: "films"}[kind]
                raise InputError(
                    f"the endpoint's model '{self.shown}' does not take {what}; accepted: text"
                    f"{', pictures' if self._takes.get(IMAGE) else ''}{', sound' if self._takes.get(AUDIO) else ''}; "
                    "ask the experts route, or serve a multimodal model"
                )

    def _reply(self, turns: list[dict[str, Any]], generation: Generation) -> Reply:
        """What follows `turns` (role, content), as it comes; stopping closes the connection and ends the work there."""
        name = base_name(self.model_id(generation))
        return Reply(name, "", 0, self._stream(turns, generation))

    def model_id(self, generation: Generation) -> str:
        """The model's id; it may have to be asked for, which must not outlast the question."""
        if self._model:
            return self._model
        pieces: queue.Queue[str | DuetError] = queue.Queue()

        def work() -> None:
            try:
                pieces.put(self.name)
            except DuetError as error:
                pieces.put(error)

        threading.Thread(target=work, name="duet-endpoint", daemon=True).start()
        while not generation.stop.is_set():
            try:
                named = pieces.get(timeout=0.05)
            except queue.Empty:
                if generation.until is not None and time.perf_counter() > generation.until:
                    raise timed_out(generation) from None
                continue
            if isinstance(named, DuetError):
                raise named
            return named
        return "endpoint"

    def _stream(self, turns: list[dict[str, Any]], generation: Generation) -> Iterator[Token]:
        import httpx

        client = httpx.Client()
        try:
            yield from queued_tokens(
                lambda pieces: self._read(client, turns, generation, pieces), self._failed, generation
            )
        finally:
            client.close()

    def _failed(self, error: Exception) -> DuetError:
        return failure(error, self._model)

    def _read(self, client: Any, turns: list[dict[str, Any]], generation: Generation, pieces: queue.Queue) -> None:
        import openai

        try:
            ended = self._relay(client, turns, generation, pieces)
        except openai.BadRequestError as error:
            if not self._logprobs or "logprob" not in str(error).lower():
                raise
            self._logprobs = False
            ended = self._relay(client, turns, generation, pieces)
        if not ended:
            raise ModelError("the endpoint broke off in the middle of its answer; ask again")

    def _relay(self, http: Any, turns: list[dict[str, Any]], generation: Generation, pieces: queue.Queue) -> bool:
        """Put the stream's chunks into `pieces` as Tokens; whether the stream came to its end."""
        import openai

        left = LEAST_WAIT_S if generation.until is None else generation.until - time.perf_counter()
        client = openai.OpenAI(
            base_url=self.url, api_key=key(), http_client=http, max_retries=2, timeout=max(left, LEAST_WAIT_S)
        )
        create: Any = client.chat.completions.create
        chunks = create(
            model=self.name,
            messages=turns,
            temperature=0,
            max_tokens=generation.max_new_tokens,
            stream=True,
            **({"logprobs": True} if self._logprobs else {}),
        )
        ended = False
        for chunk in chunks:
            for choice in chunk.choices[:1]:
                listed = (choice.logprobs.content if choice.logprobs else None) or []
                logprob = sum(token.logprob for token in listed) if listed else math.nan
                if choice.delta.content:
                    pieces.put(Token(choice.delta.content, logprob))
                ended = ended or bool(choice.finish_reason)
        return ended


def base_name(name: str) -> str:
    """A model's id; of a file's path, the file's name."""
    return name.rsplit("/", 1)[-1] if name.startswith("/") else name


def read_to_end(reply: Reply) -> Answered:
    """A reply read to its end."""
    said = list(reply.tokens)
    total = sum(token.logprob for token in said)
    confidence = math.exp(total / len(said)) if said and math.isfinite(total) else None
    return Answered("".join(token.text for token in said).strip(), confidence)


def queued_tokens(
    read: Callable[[queue.Queue], None], failed: Callable[[Exception], DuetError], generation: Generation
) -> Iterator[Token]:
    """The Tokens that `read` puts into a queue on a thread of its own, so that no silence outlasts the bounds."""
    pieces: queue.Queue[Token | DuetError | None] = queue.Queue()

    def work() -> None:
        try:
            read(pieces)
            pieces.put(None)
        except Exception as error:  # the boundary to other people's libraries: handed to the reader below
            pieces.put(error if isinstance(error, DuetError) else failed(error))

    threading.Thread(target=work, name="duet-endpoint", daemon=True).start()
    while not generation.stop.is_set():
        try:
            piece = pieces.get(timeout=0.05)
        except queue.Empty:
            if generation.until is not None and time.perf_counter() > generation.until:
                raise timed_out(generation) from None
            continue
        if piece is None:
            return
        if isinstance(piece, DuetError):
            raise piece
        yield piece


def timed_out(generation: Generation) -> ModelError:
    """The endpoint took longer than a question may."""
    return ModelError(
        f"the endpoint gave no answer within {generation.longest_s:.0f} s; raise answer_s or use a faster model"
    )


def key() -> str:
    """The key that goes to endpoints."""
    return os.environ.get(KEY) or "none"


def failure(error: Exception, model: str) -> ModelError:
    """What went wrong at the endpoint, without addresses and keys."""
    import openai

    if isinstance(error, openai.AuthenticationError | openai.PermissionDeniedError):
        return ModelError(f"the endpoint refused the key (HTTP {error.status_code}); set {KEY}")
    if isinstance(error, openai.NotFoundError):
        return ModelError(f"the endpoint has no model '{model}'; set endpoint_model to one that it serves")
    if isinstance(error, openai.RateLimitError):
        return ModelError("the endpoint is busy (HTTP 429), three times in a row; ask again later")
    if isinstance(error, openai.APIStatusError):
        return ModelError(f"the endpoint failed with HTTP {error.status_code}: {plain(error.message)}")
    if isinstance(error, openai.APITimeoutError):
        return ModelError("the endpoint did not answer in time; raise answer_s or use a faster model")
    if isinstance(error, openai.APIConnectionError):
        return ModelError("the endpoint cannot be reached; start the server, or set endpoint to where it listens")
    return ModelError(f"the endpoint's answer could not be read: {plain(f'{type(error).__name__}: {error}')}")


def plain(text: str) -> str:
    """A message on one line, without addresses."""
    return " ".join(re.sub(r"\w+://\S+", "", text).split())[:200]
