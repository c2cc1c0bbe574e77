"""Chat models with a script: in this process, and as an OpenAI-compatible server of this machine that takes tools."""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, PrivateAttr

NUMBERS = itertools.count(1)


def call(tool: str, **args: Any) -> dict[str, Any]:
    """A tool call as LangChain has it."""
    return {"type": "tool_call", "id": f"call{next(NUMBERS)}", "name": tool, "args": args}


def calls(*wanted: dict[str, Any], text: str = "") -> AIMessage:
    return AIMessage(text, tool_calls=list(wanted))


def planned(*steps: Any) -> AIMessage:
    """A plan as the controller's chat model gives it."""
    return calls(call("plan", steps=list(steps)))


def step(name: str, tool: str = "detect", *needs: str, **args: Any) -> dict[str, Any]:
    return {"id": name, "tool": tool, "args": args or {"media": "image1"}, "depends_on": list(needs)}


class ScriptedChat(BaseChatModel):
    """Says what `script` (replies in turn, or a function of the messages and of the names of the tools offered) says.

    A reply is a text, an AIMessage, or an exception to raise; `heard` keeps the messages of each call.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    script: Any
    model_name: str = "scripted"
    pause_s: float = 0.0
    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _heard: list[list[BaseMessage]] = PrivateAttr(default_factory=list)
    _offered: list[tuple[str, ...]] = PrivateAttr(default_factory=list)
    _next: Any = PrivateAttr(default=None)

    @property
    def heard(self) -> list[list[BaseMessage]]:
        return self._heard

    @property
    def offered(self) -> list[tuple[str, ...]]:
        """The names of the tools of each call."""
        return self._offered

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Any:
        return self.bind(tools=[tool if isinstance(tool, dict) else {"name": tool.name} for tool in tools])

    def _reply(self, messages: list[BaseMessage], tools: Sequence[Any]) -> AIMessage:
        names = tuple(str(tool.get("name") or tool["function"]["name"]) for tool in tools)
        time.sleep(self.pause_s)
        with self._lock:
            self._heard.append(list(messages))
            self._offered.append(names)
            if self._next is None and not callable(self.script):
                self._next = iter(self.script)
        reply = self.script(messages, names) if callable(self.script) else next(self._next)
        if isinstance(reply, BaseException):
            raise reply
        return AIMessage(reply) if isinstance(reply, str) else reply

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, tools: Any = (), **_: Any
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=self._reply(messages, tools))])

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, tools: Any = (), **_: Any
    ) -> Iterator[ChatGenerationChunk]:
        for word in str(self._reply(messages, tools).text).split(" "):
            yield ChatGenerationChunk(message=AIMessageChunk(word + " "))


class ToolEndpoint:
    """An OpenAI-compatible server with tool calling; `script` maps a request's JSON to what is sent.

    That is a text, a list of (tool, arguments as JSON text), a number (a status), bytes (sent as they are, as a 200),
    None (the connection is closed) or "CUT:" and a text (broken off after it).
    """

    def __init__(self, script: Callable[[dict[str, Any]], Any]) -> None:
        self.script, self.requests = script, list[dict[str, Any]]()
        self.models: Any = ["fake-model"]
        self.over = threading.Event()

    def __enter__(self) -> ToolEndpoint:
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}/v1"


def _handler(endpoint: ToolEndpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            """Not on stderr."""

        def do_GET(self) -> None:
            if callable(endpoint.models):
                endpoint.models()  # says nothing until it returns
                self.close_connection = True
            elif isinstance(endpoint.models, int):
                self._send(endpoint.models, b'{"error": {"message": "no"}}')
            else:
                listed = [{"id": name, "object": "model"} for name in endpoint.models]
                self._send(200, json.dumps({"object": "list", "data": listed}).encode())

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            endpoint.requests.append(asked)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # nobody waits any more
                self._reply(asked, endpoint.script(asked))

        def _reply(self, asked: dict[str, Any], reply: Any) -> None:
            if reply is None:
                self.close_connection = True
                return
            if isinstance(reply, int):
                self._send(reply, b'{"error": {"message": "no", "type": "test", "code": null}}')
                return
            if isinstance(reply, bytes):
                self._send(200, reply)
                return
            cut = isinstance(reply, str) and reply.startswith("CUT:")
            message: dict[str, Any] = {"role": "assistant", "content": reply[4:] if cut else reply}
            if isinstance(reply, list):
                message = {"role": "assistant", "content": None, "tool_calls": _tool_calls(reply)}
            end = "tool_calls" if isinstance(reply, list) else "stop"
            self._stream(message, end, cut) if asked.get("stream") else self._whole(message, end, cut)

        def _whole(self, message: dict[str, Any], end: str, cut: bool) -> None:
            choice = {"index": 0, "message": message, "finish_reason": end, "logprobs": None}
            body = {"id": "1", "object": "chat.completion", "created": 0, "model": "fake-model", "choices": [choice]}
            self._send(200, json.dumps(body).encode(), cut=cut)

        def _stream(self, message: dict[str, Any], end: str, cut: bool) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for delta, reason in ((message, None), ({}, end))[: 1 if cut else 2]:
                choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
                head = {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "fake-model"}
                self.wfile.write(f"data: {json.dumps(head | {'choices': [choice]})}\n\n".encode())
            if not cut:
                self.wfile.write(b"data: [DONE]\n\n")

        def _send(self, status: int, body: bytes, cut: bool = False) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = self.close_connection or cut

    return Handler


def _tool_calls(wanted: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    return [
        {"index": n, "id": f"call{next(NUMBERS)}", "type": "function", "function": {"name": name, "arguments": args}}
        for n, (name, args) in enumerate(wanted)
    ]
