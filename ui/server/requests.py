"""What every request of the server passes: its key, its size, its client that may hang up."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from ui.server.errors import ApiError
from ui.server.gate import Visit

MIB = 1 << 20


READ_S = 120.0  # longest time that a body may take to arrive


DRAIN = 8  # a body that is too long is read, and thrown away, up to so many times the limit: a client hears why


class Guarded:
    """An ASGI endpoint behind the server's key."""

    def __init__(self, app: Any, key: str) -> None:
        self.app, self.key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        check_key(Request(scope), self.key)
        await self.app(scope, receive, send)


def check_key(request: Request, key: str) -> None:
    """Raises ApiError (401) where a key is set and the request does not carry it."""
    given = request.headers.get("authorization", "")
    if key and not hmac.compare_digest(given.encode(), f"Bearer {key}".encode()):
        raise ApiError(
            401,
            "the key is missing or wrong; accepted: Authorization: Bearer KEY, with the key that the server was given",
            kind="authentication_error",
            code="invalid_api_key",
        )


async def read_body(request: Request, most: int) -> bytes:
    """The body of a request. Raises ApiError: 413 where it is longer than `most` bytes, 408 where it does not come."""
    return b"".join([chunk async for chunk in limited(request, most)])


async def limited(request: Request, most: int) -> AsyncIterator[bytes]:
    """The chunks of a body, up to `most` bytes in all; what is more is thrown away, then refused."""
    total = 0
    declared = request.headers.get("content-length", "")
    over = declared.isdigit() and int(declared) > most
    stream, until = request.stream(), time.monotonic() + READ_S
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream), max(until - time.monotonic(), 0.001))
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise ApiError(408, f"the body did not arrive within {READ_S:.0f} s; send it again") from None
        total += len(chunk)
        over = over or total > most
        if total > most * DRAIN:
            break
        if not over:
            yield chunk
    if over:
        raise ApiError(
            413,
            f"the request is over {most / MIB:,.0f} MB; accepted: up to that, media in base64 included; send smaller "
            "media, or start the server with a larger --max-body",
            code="request_too_large",
        )


async def until_gone(work: Any, request: Request, visit: Visit) -> Any:
    """The result of awaiting `work`, which ends early where the client hangs up."""
    watcher = asyncio.create_task(watch(request.receive, visit))
    try:
        return await work
    finally:
        watcher.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watcher


async def watch(receive: Receive, visit: Visit) -> None:
    """Give the visit up when the client hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass
    visit.give_up()


async def only(items: AsyncIterator[Any]) -> Any:
    """The one item that is no heartbeat; None where there is none."""
    last = None
    async for item in items:
        last = item if item is not None else last
    return last
