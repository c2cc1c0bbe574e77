"""What keeps the page at / quick: it and its layout at /config are made once for each address they are asked under.

Gradio makes them anew each time, in some 50 ms, by copying all that the page is made of. Questions go one by one. And
the garbage collector, which holds up everything, does not go through what stays for good.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import OrderedDict
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = ("/", "/config")
MOST = 16  # pages that are kept
PROXIED = (b"x-forwarded", b"x-direct", b"forwarded")  # headers that put another address into the page
Key = tuple[str, str, bytes, str]
Kept = tuple[Message, bytes]


class FrontPage:
    """ASGI middleware around an app whose page is the same for everybody: no login, nothing of a session in it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._kept: OrderedDict[Key, Kept] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        key = _key(scope)
        if key is None:
            await self.app(scope, receive, send)
        elif key in self._kept:
            self._kept.move_to_end(key)
            start, body = self._kept[key]
            await send(start)
            await send({"type": "http.response.body", "body": body})
        else:
            await self._make(key, scope, receive, send)

    async def _make(self, key: Key, scope: Scope, receive: Receive, send: Send) -> None:
        """The page from the app itself, kept where it came whole."""
        start: Message | None = None
        parts: list[bytes] = []

        async def keep(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = {**message, "headers": list(message["headers"])}  # what is around this may add to its own
            elif message["type"] == "http.response.body":
                parts.append(message.get("body", b""))
                if not message.get("more_body", False) and start is not None and start["status"] == 200:
                    self._kept[key] = (start, b"".join(parts))
                    while len(self._kept) > MOST:
                        self._kept.popitem(last=False)
            await send(message)

        await self.app(scope, receive, keep)


def _key(scope: Scope) -> Key | None:
    """Which page is asked for, under which address; None where it is something else, or comes through a proxy."""
    if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in PATHS or scope.get("query_string"):
        return None
    headers: list[tuple[bytes, Any]] = scope["headers"]
    if any(name.startswith(PROXIED) for name, _ in headers):
        return None
    host = next((value for name, value in headers if name == b"host"), b"")
    return scope.get("scheme", "http"), scope.get("root_path", ""), host, scope["path"]


class OneByOne:
    """ASGI middleware that lets questions join the queue one at a time, so that a page asked for goes in between.

    The first question of a visitor costs the event loop some 10 ms, in which Gradio notes down every component for
    them; of thirty at once none would leave it until all were through. Nobody waits for a question still on its way.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].endswith("/queue/join"):
            await self.app(scope, receive, send)
            return
        came = [await receive()]
        while came[-1].get("more_body", False):
            came.append(await receive())
        came.reverse()

        async def again() -> Message:
            return came.pop() if came else await receive()

        async with self._turn:
            await self.app(scope, again, send)
            await asyncio.sleep(0)


class Settled:
    """Keeps what stays for good out of the garbage collector's full rounds, in which nobody is served.

    Modules and pages are some million objects, through which a round takes half a second. What there is at first is set
    aside (gc.freeze), and so is what survives a round that took long: that is what the first questions loaded. A few
    times only: of what is set aside, nothing that dies in a circle is given back.
    """

    LONG_S, MOST = 0.1, 8

    def __init__(self) -> None:
        self._begun, self.times = 0.0, 0

    def __enter__(self) -> Settled:
        gc.collect()
        gc.freeze()
        gc.callbacks.append(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        gc.unfreeze()

    def _see(self, phase: str, info: dict[str, int]) -> None:
        if info["generation"] < 2:
            return
        if phase == "start":
            self._begun = time.perf_counter()
        elif time.perf_counter() - self._begun > self.LONG_S:
            gc.freeze()
            self.times += 1
            if self.times == self.MOST:
                self._stop()

    def _stop(self) -> None:
        if self._see in gc.callbacks:
            gc.callbacks.remove(self._see)
