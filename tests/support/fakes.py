"""Fakes with a memory: experts that say what they were given to say, a language model, an OpenAI-compatible server."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import tiny
import torch

from agent.agent import Agent
from connector.llm.language import LanguageModel
from connector.llm.streaming import Token
from connector.network import ConnectorModel
from experts.base import Finding
from experts.config import Settings
from experts.media import Audio, Image, Media, Video

P = 0.8  # the probability that the fake language model gives each word


def image(shade: int = 0, name: str = "photo.png", side: int = 9) -> Image:
    return Image.open(np.full((side, side, 3), shade, np.uint8), name=name)


def sound(name: str = "talk.wav", seconds: float = 1.0) -> Audio:
    return Audio.open(np.zeros(int(16_000 * seconds), np.float32), rate_hz=16_000, name=name)


def video(frames: int = 6, *, heard: bool = True) -> Video:
    pictures = [image(shade * 10, "frame") for shade in range(frames)]
    return Video(
        pictures, [float(i) for i in range(frames)], sound() if heard else None, float(frames), "clip.mp4", "a" * 64
    )


class FakeExpert:
    """Returns its script (findings, an exception to raise, or a function of the medium); keeps what it was `asked`."""

    description = "Says what a test wants it to."

    def __init__(self, name: str, script: Any = (), kinds: Iterable[str] = ("image",), pause_s: float = 0.0) -> None:
        self.name, self.script, self.kinds, self.pause_s = name, script, frozenset(kinds), pause_s
        self.weights = f"{name}-fake"
        self.asked: list[Media] = []
        self.times: list[tuple[float, float]] = []

    def __call__(self, media: Media) -> list[Finding]:
        begun = time.perf_counter()
        self.asked.append(media)
        time.sleep(self.pause_s)
        self.times.append((begun, time.perf_counter()))
        if isinstance(self.script, BaseException):
            raise self.script
        return self.script(media) if callable(self.script) else list(self.script)


def found(expert: str, *texts: str, box: tuple[float, float, float, float] | None = None) -> list[Finding]:
    """Findings of `expert` in the picture that `image` makes."""
    return [Finding(expert, text, 0.9, box=box, source="photo.png") for text in texts]


class FakeLanguageModel(LanguageModel):
    """Says `say` (a text, or a function of the prompt's text), a word a token; `prompts` keeps what it read."""

    def __init__(self, say: str | Callable[[str], str] = "There are two dogs.", pause_s: float = 0.0) -> None:
        real = tiny.model().llm
        super().__init__(real.model, real.tokenizer, "fake-llm")
        self.say, self.pause_s = say, pause_s
        self.prompts: list[str] = []
        self.ids: list[list[int]] = []
        self.spoken = 0

    def stream(
        self,
        embeddings: torch.Tensor,
        *,
        max_new_tokens: int,
        stop: threading.Event | None = None,
        within: AbstractContextManager[None] | None = None,
        rules: Any = None,
    ) -> Iterator[Token]:
        ids = torch.cdist(embeddings.float(), self.model.get_input_embeddings().weight).argmin(-1).tolist()
        self.ids.append(ids)
        self.prompts.append(self.tokenizer.decode(ids))
        text = self.say(self.prompts[-1]) if callable(self.say) else self.say
        with within or nullcontext():
            for number, word in enumerate(text.split()[:max_new_tokens]):
                if stop is not None and stop.is_set():
                    return
                time.sleep(self.pause_s)
                self.spoken += 1
                yield Token(f" {word}" if number else word, math.log(P))


def lettered(model: ConnectorModel) -> ConnectorModel:
    """A tiny model held to lower-case letters: its random weights would also say bytes that are no text."""
    letters = set(model.llm.tokenizer.convert_tokens_to_ids(list("abcdefghijklmnopqrstuvwxyz")))
    everything = range(model.llm.model.config.vocab_size)
    model.llm.model.generation_config.suppress_tokens = [token for token in everything if token not in letters]
    return model


def make_agent(
    experts: Sequence[FakeExpert] = (), say: Any = "There are two dogs.", pause_s: float = 0.0, **settings: Any
) -> tuple[Agent, FakeLanguageModel]:
    """An agent with fake experts and a fake language model behind a real, tiny connector."""
    llm = FakeLanguageModel(say, pause_s)
    real = tiny.model()
    served = settings.get("profile") == "server"  # which answers at its endpoint, whatever is given
    model = None if served else ConnectorModel(llm, real.encoder, real.connector)
    return Agent(Settings(**settings), experts={expert.name: expert for expert in experts}, model=model), llm


class FakeEndpoint:
    """An OpenAI-compatible server on a free port of this machine, as a context manager; `requests` keeps what came.

    `statuses` are answered before anything else, one a request. `cut` breaks the stream off without an end. It `takes`
    kinds of media ("image", "audio"): others are a 400, or are read over in silence where it `drops` them.
    """

    def __init__(
        self,
        answer: str = "There are two dogs.",
        *,
        logprobs: bool = True,
        takes_logprobs: bool = True,
        statuses: Iterable[int] = (),
        pause_s: float = 0.0,
        cut: bool = False,
        models: Sequence[str] = ("fake-model",),
        takes: Iterable[str] = (),
        drops: bool = False,
    ) -> None:
        self.answer, self.logprobs, self.takes_logprobs = answer, logprobs, takes_logprobs
        self.statuses, self.pause_s, self.cut, self.models = list(statuses), pause_s, cut, models
        self.takes, self.drops = frozenset(takes), drops
        self.requests: list[dict[str, Any]] = []  # of answers; probes, of one token, are apart
        self.probes: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.sent = 0
        self.hung_up = threading.Event()

    def __enter__(self) -> FakeEndpoint:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"


def kinds_in(asked: dict[str, Any]) -> set[str]:
    """The kinds of media in a chat request."""
    names = {"image_url": "image", "input_audio": "audio"}
    parts = [part for turn in asked["messages"] if isinstance(turn["content"], list) for part in turn["content"]]
    return {names[part["type"]] for part in parts if part["type"] in names}


def _handler(endpoint: FakeEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Not on stderr."""

        def do_GET(self) -> None:
            self._json(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in endpoint.models]})

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            (endpoint.requests if asked.get("stream") else endpoint.probes).append(asked)
            endpoint.keys.append(self.headers.get("Authorization", ""))
            if endpoint.statuses:
                self._json(endpoint.statuses.pop(0), {"error": {"message": "no", "type": "test", "code": None}})
            elif asked.get("logprobs") and not endpoint.takes_logprobs:
                self._json(400, {"error": {"message": "logprobs is not supported", "type": "test", "code": None}})
            elif (unknown := kinds_in(asked) - endpoint.takes) and not endpoint.drops:
                self._json(400, {"error": {"message": f"{unknown} is not supported", "type": "test", "code": None}})
            elif not asked.get("stream"):
                self._whole(asked)
            else:
                self._stream(asked)

        def _whole(self, asked: dict[str, Any]) -> None:
            message = {"role": "assistant", "content": endpoint.answer.split()[0]}
            choice = {"index": 0, "message": message, "finish_reason": "length"}
            seen = len(kinds_in(asked) & endpoint.takes)
            usage = {"prompt_tokens": 10 + 50 * seen, "completion_tokens": 1, "total_tokens": 11 + 50 * seen}
            head = {"id": "1", "object": "chat.completion", "created": 0, "model": endpoint.models[0]}
            self._json(200, head | {"choices": [choice], "usage": usage})

        def _json(self, status: int, value: Any) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _stream(self, asked: dict[str, Any]) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                for number, word in enumerate(endpoint.answer.split()):
                    time.sleep(endpoint.pause_s)
                    word = f" {word}" if number else word
                    scores = {"content": [{"token": word, "logprob": math.log(P), "bytes": None, "top_logprobs": []}]}
                    wanted = endpoint.logprobs and asked.get("logprobs")
                    self._chunk({"content": word}, scores if wanted else None, None)
                    endpoint.sent += 1
                if not endpoint.cut:
                    self._chunk({}, None, "stop")
                    self.wfile.write(b"data: [DONE]\n\n")
            except (BrokenPipeError, ConnectionResetError):
                endpoint.hung_up.set()

        def _chunk(self, delta: dict[str, str], logprobs: Any, end: str | None) -> None:
            choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": end}
            head = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "fake-model"}
            self.wfile.write(f"data: {json.dumps(head | {'choices': [choice]})}\n\n".encode())
            self.wfile.flush()

    return Handler
