"""A really started server on a free port of this machine, around an agent of fakes."""

from __future__ import annotations

import base64
import contextlib
import io
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import fakes
import httpx
import uvicorn

from agent.agent import Agent
from experts.media import Image
from ui.server.api import Server
from ui.server.gate import Gate


class Client(httpx.Client):
    """An HTTP client of the server, past any proxy; `url` is where OpenAI's API begins, `gate` the server's."""

    def __init__(self, address: str, gate: Gate) -> None:
        super().__init__(base_url=address, trust_env=False, timeout=30)
        self.address, self.url, self.gate = address, f"{address}/v1", gate

    def ask(self, content: Any, model: str = "duet-experts", **more: Any) -> httpx.Response:
        """A chat of one user message."""
        return self.chat({"model": model, "messages": [{"role": "user", "content": content}], **more})

    def chat(self, body: Any) -> httpx.Response:
        return self.post("/v1/chat/completions", json=body)


@contextlib.contextmanager
def serving(agent: Agent, *, at_once: int = 1, queue: int = 8, **options: Any) -> Iterator[Client]:
    """The server in a thread of this process."""
    gate = Gate(at_once, queue)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        app = Server(agent, gate, **options).app()
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        until(lambda: server.started)
        try:
            with Client(f"http://127.0.0.1:{listening.getsockname()[1]}", gate) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "the server did not end"


def until(holds: Any, seconds: float = 20.0) -> None:
    """Wait until `holds()`, at most so long."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def png(medium: Image | None = None) -> bytes:
    file = io.BytesIO()
    (medium or fakes.image()).to_pil().save(file, "PNG")
    return file.getvalue()


def wav(seconds: float = 0.5) -> bytes:
    import wave

    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(b"\0\0" * int(16_000 * seconds))
    return file.getvalue()


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def picture(shade: int = 0) -> dict[str, Any]:
    """A content part."""
    return {"type": "image_url", "image_url": {"url": data_url(png(fakes.image(shade)))}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}
