"""The server: OpenAI's chat completions, models and transcriptions over one Agent, and MCP under /mcp.

A request is admitted or refused by the gate (429), read (413), checked (400, 404), waits for its turn, and is then
answered on a thread; when its client hangs up, the model stops. Errors have OpenAI's form and carry no paths.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from agent.agent import Agent
from agent.answer import Answer, Step
from ui.server import mcp, speech
from ui.server.errors import ApiError, as_api_error, refuse
from ui.server.gate import FullError, Gate, Visit
from ui.server.requests import MIB, Guarded, check_key, limited, only, read_body, until_gone, watch
from ui.server.schema import MODELS, ChatRequest, parse_chat, unknown_model

KEEP_AWAKE = b": working\n\n"

Handler = Callable[[Request, Visit], Awaitable[Response]]


class Server:
    """The endpoints over one agent."""

    def __init__(self, agent: Agent, gate: Gate, *, most_body_mb: int = 64, key: str = "") -> None:
        """`key`, where it is not "", has to come with every request as `Authorization: Bearer KEY`."""
        self.agent, self.gate, self.most_body, self.key = agent, gate, most_body_mb * MIB, key
        self.begun = int(time.time())

    def app(self, host: str = "127.0.0.1") -> Starlette:
        """The ASGI application; `host` is where it will listen."""
        manager = mcp.http_manager(self.agent, self.gate, self.most_body, host)

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            async with manager.run():
                yield
            self.agent.stop()

        routes = [
            Route("/health", self.health, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model}", self.model, methods=["GET"]),
            Route("/v1/chat/completions", self.admitted(self.chat), methods=["POST"]),
            Route("/v1/audio/transcriptions", self.admitted(self.transcribe), methods=["POST"]),
            Route("/mcp", Guarded(manager.handle_request, self.key)),
        ]
        handlers: Any = {HTTPException: _http_error, ApiError: _api_error, Exception: _api_error}
        return Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)

    async def health(self, request: Request) -> Response:
        """Whether the server answers, and how busy it is."""
        return JSONResponse(
            {
                "status": "ok",
                "profile": self.agent.settings.profile,
                "working": self.gate.working,
                "waiting": max(self.gate.inside - self.gate.working, 0),
                "queue": self.gate.queue,
            }
        )

    async def models(self, request: Request) -> Response:
        """The model ids: one a route."""
        check_key(request, self.key)
        return JSONResponse({"object": "list", "data": [self._model(name) for name in MODELS]})

    async def model(self, request: Request) -> Response:
        """One model id."""
        check_key(request, self.key)
        name = request.path_params["model"]
        if name not in MODELS:
            raise unknown_model(name)
        return JSONResponse(self._model(name))

    def admitted(self, handle: Handler) -> Callable[[Request], Awaitable[Response]]:
        """`handle` for requests that the gate lets in."""

        async def admit(request: Request) -> Response:
            check_key(request, self.key)
            try:
                visit = self.gate.enter()
            except FullError as error:
                headers = {"Retry-After": str(error.retry_after_s)}
                raise ApiError(429, str(error), kind="rate_limit_error", code="queue_full", headers=headers) from None
            staying = False
            try:
                response = await handle(request, visit)
                staying = isinstance(response, EventStream)  # it leaves when it has been sent
                return response
            except Exception as error:
                raise as_api_error(error) from None
            finally:
                if not staying:
                    visit.give_up()
                    visit.leave()

        return admit

    async def chat(self, request: Request, visit: Visit) -> Response:
        """/v1/chat/completions."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise refuse(f"the body is of type {kind[:60] or 'none'!r}; accepted: application/json")
        body = await read_body(request, self.most_body)
        asked = parse_chat(await asyncio.to_thread(_json, body))
        del body
        longest = self.agent.settings.max_new_tokens
        answer = Completion(asked, min(asked.most_tokens or longest, longest))
        items = self.gate.items(visit, lambda: self._steps(asked, visit))
        if asked.stream:
            events = answer.events(items)
            first = await until_gone(anext(events, b""), request, visit)  # refusals come before the status is sent
            return EventStream(first, events, visit)
        async with contextlib.aclosing(items):
            await until_gone(answer.take(items), request, visit)
        return JSONResponse(answer.whole())

    async def transcribe(self, request: Request, visit: Visit) -> Response:
        """/v1/audio/transcriptions."""
        asked = await speech.parse(request, self.most_body, limited)
        async with contextlib.aclosing(self.gate.items(visit, lambda: speech.listen(asked, self.agent))) as items:
            heard = await until_gone(only(items), request, visit)
        return speech.response(asked, heard)

    def _steps(self, asked: ChatRequest, visit: Visit) -> Iterator[Step]:
        """A first step once the media are open and the question is accepted, then those of the answer."""
        limits = self.agent.settings.limits
        media = [part.open(limits) for part in asked.media]
        steps = self.agent.stream(
            asked.question,
            media=media,
            route=asked.route,
            stop=visit.stop,
            most_tokens=asked.most_tokens,
            history=asked.history,
        )
        yield Step("media", "accepted", asked.route, 0.0)
        yield from steps

    def _model(self, name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": self.begun, "owned_by": "duet"}


class Completion:
    """One chat completion, as it comes or as a whole; `longest` is the most tokens it may have."""

    def __init__(self, asked: ChatRequest, longest: int) -> None:
        self.asked, self.longest = asked, longest
        self.id, self.created = "", int(time.time())
        self.answer: Answer | None = None

    async def take(self, items: AsyncGenerator[Step | None, None]) -> None:
        """All steps, of which the answer stays."""
        async for step in items:
            if step is not None:
                self.answer = step.answer or self.answer

    async def events(self, items: AsyncGenerator[Step | None, None]) -> AsyncGenerator[bytes, None]:
        """Server-sent events. An error before the first is raised, a later one is an event of its own.

        On `duet-auto` the tokens of the experts' answer are held back until it is known that it stands.
        """
        said, held = "", ""
        begun = False
        try:
            async with contextlib.aclosing(items):
                async for step in items:
                    if step is None:
                        if begun:
                            yield KEEP_AWAKE
                        continue
                    if not begun:
                        begun = True
                        yield self._chunk({"role": "assistant", "content": ""})
                    if step.kind == "fallback":
                        held = ""
                    elif step.kind == "token":
                        held += step.text
                        if self.asked.route != "auto" or step.route == "connector":
                            piece = held if said else held.lstrip()
                            piece, held = piece.rstrip(), piece[len(piece.rstrip()) :]
                            said += piece
                            if piece:
                                yield self._chunk({"content": piece})
                    self.answer = step.answer or self.answer
            if self.answer is None:
                return  # the client has gone
            if not self.answer.text.startswith(said):
                raise ApiError(500, f"the answer broke off: {self.answer.error or 'ask again'}", kind="server_error")
            if rest := self.answer.text[len(said) :]:
                yield self._chunk({"content": rest})
            yield self._chunk({}, end=True)
            if self.asked.include_usage:
                yield _event(self._head("chat.completion.chunk") | {"choices": [], "usage": self._usage()})
            yield b"data: [DONE]\n\n"
        except Exception as error:
            if not begun:
                raise
            yield _event(as_api_error(error).body)

    def whole(self) -> dict[str, Any]:
        """The completion as one object."""
        assert self.answer is not None, "a route ends in an answer"
        message = {"role": "assistant", "content": self.answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish()}
        head = self._head("chat.completion")
        return head | {"choices": [choice], "usage": self._usage(), "duet": self._about()}

    def _chunk(self, delta: dict[str, str], *, end: bool = False) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": self._finish() if end else None}
        value = self._head("chat.completion.chunk") | {"choices": [choice]}
        if self.asked.include_usage:
            value["usage"] = None
        return _event(value | {"duet": self._about()} if end else value)

    def _head(self, kind: str) -> dict[str, Any]:
        if not self.id:
            self.id = f"chatcmpl-{self.answer.trace_id if self.answer else _random_id()}"
        return {"id": self.id, "object": kind, "created": self.created, "model": self.asked.model}

    def _finish(self) -> str:
        """ "length" where the answer was cut: by its length, by time, or because the server ends."""
        assert self.answer is not None
        own = [step for step in self.answer.trace if step.route == self.answer.route]
        spoken = [step for step in own if step.kind == "llm"]
        if not spoken:
            return "stop"
        full = spoken[-1].data["answer_tokens"] >= self.longest
        cut = any(step.kind == "stop" or (step.kind == "error" and step.name == spoken[-1].name) for step in own)
        return "length" if full or cut else "stop"

    def _usage(self) -> dict[str, int]:
        """Tokens of all the language model's work for this question, as the trace has them."""
        assert self.answer is not None
        spoken = [step.data for step in self.answer.trace if step.kind == "llm"]
        prompt = sum(data["prompt_tokens"] for data in spoken)
        completion = sum(data["answer_tokens"] for data in spoken)
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    def _about(self) -> dict[str, Any]:
        """What OpenAI's form has no place for."""
        assert self.answer is not None
        values = self.answer.to_dict()
        return {key: values[key] for key in ("route", "confidence", "seconds", "fallback", "findings", "notes")} | {
            "error": self.answer.error or None,
            "trace_id": self.answer.trace_id,
            "question": self.asked.question,
            "media": [part.name for part in self.asked.media],
            "media_not_looked_at": list(self.asked.not_looked_at),
            "ignored": list(self.asked.ignored),
        }


class EventStream(Response):
    """Server-sent events, until they end or the client hangs up, which ends the visit."""

    media_type = "text/event-stream"

    def __init__(self, first: bytes, events: AsyncGenerator[bytes, None], visit: Visit) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self.first, self.events, self.visit = first, events, visit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        watcher = asyncio.create_task(watch(receive, self.visit))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": self.first, "more_body": True})
            async with contextlib.aclosing(self.events):
                async for event in self.events:
                    await send({"type": "http.response.body", "body": event, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:
            pass  # the client hung up while something was sent
        finally:
            watcher.cancel()
            self.visit.give_up()
            self.visit.leave()


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=True, allow_nan=False).encode() + b"\n\n"


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, json.JSONDecodeError) else "not UTF-8 text, or nested too deep"
        raise refuse(f"the body is not JSON ({reason}); accepted: a JSON object") from None


def _random_id() -> str:
    from agent.records.traces import new_id

    return new_id()


async def _api_error(request: Request, error: Exception) -> Response:
    error_form = as_api_error(error)
    return JSONResponse(error_form.body, error_form.status, error_form.headers)


async def _http_error(request: Request, error: HTTPException) -> Response:
    if error.status_code == 404:
        message = "there is nothing at this address; known: /v1/chat/completions, /v1/audio/transcriptions, /v1/models"
    else:
        message = (
            f"{request.method} is not accepted here" if error.status_code == 405 else "the request is not accepted"
        )
    refusal = ApiError(error.status_code, message, headers=dict(error.headers or {}))
    return JSONResponse(refusal.body, refusal.status, refusal.headers)
