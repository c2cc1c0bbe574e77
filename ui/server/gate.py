"""The gate of the server: how many questions are answered at a time, how many may wait, and when one is given up."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
HEARTBEAT_S = 10.0  # after so long without an item, None is given, so that a connection can be kept awake
FIRST_GUESS_S = 3.0  # for an answer, before one was measured


class FullError(Exception):
    """Nobody more may wait; `retry_after_s` is when it is worth trying again."""

    def __init__(self, waiting: int, retry_after_s: int) -> None:
        super().__init__(
            f"the queue is full ({waiting} questions are being answered or wait); try again in {retry_after_s} s"
        )
        self.retry_after_s = retry_after_s


class Visit:
    """One request from its admission to its end. `stop` ends the work done for it, from whatever thread."""

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave: Callable[[], None] | None = leave
        self.stop = threading.Event()
        self.gone = asyncio.Event()

    def give_up(self) -> None:
        """Nobody wants the answer any more."""
        self.stop.set()
        self.gone.set()

    def leave(self) -> None:
        """Make room for another; calling it again does nothing."""
        if self._leave is not None:
            self._leave()
            self._leave = None


class Gate:
    """Lets `at_once` requests work and `queue` more wait; everything else is refused at once."""

    def __init__(self, at_once: int = 1, queue: int = 8) -> None:
        self.at_once, self.queue = at_once, queue
        self.inside = 0  # working or waiting
        self.working = 0
        self._slots = asyncio.Semaphore(at_once)
        self._mean_s = FIRST_GUESS_S

    def enter(self) -> Visit:
        """A visit, which has to be left.

        Raises:
            FullError: nobody more may wait.
        """
        if self.inside >= self.at_once + self.queue:
            raise FullError(self.inside, min(max(math.ceil(self._mean_s * self.inside / self.at_once), 1), 600))
        self.inside += 1

        def leave() -> None:
            self.inside -= 1

        return Visit(leave)

    async def items(self, visit: Visit, make: Callable[[], Iterator[T]]) -> AsyncGenerator[T | None, None]:
        """What the iterator of `make()` yields, made on a thread as soon as a slot is free; errors are raised here.

        None is a heartbeat. Leaving early, or the visit's end, stops the work; the slot is free once the thread is
        done.
        """
        if not await self._slot(visit):
            return
        loop = asyncio.get_running_loop()
        out: asyncio.Queue[tuple[str, Any]] = asyncio.Queue()

        def put(kind: str, value: Any = None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the server has ended
                loop.call_soon_threadsafe(out.put_nowait, (kind, value))

        def done(seconds: float) -> None:
            self._slots.release()
            self.working -= 1
            self._mean_s += 0.3 * (seconds - self._mean_s)

        def work() -> None:
            begun = time.perf_counter()
            try:
                for item in make():
                    put("item", item)
                put("end")
            except BaseException as error:  # handed to whoever waits for it
                put("error", error)
            finally:
                with contextlib.suppress(RuntimeError):
                    loop.call_soon_threadsafe(done, time.perf_counter() - begun)

        self.working += 1
        threading.Thread(target=work, name="duet-answer", daemon=True).start()
        try:
            while True:
                try:
                    kind, value = await asyncio.wait_for(out.get(), HEARTBEAT_S)
                except TimeoutError:
                    yield None
                    continue
                if kind == "error":
                    raise value
                if kind == "end":
                    return
                yield value
        finally:
            visit.stop.set()

    async def _slot(self, visit: Visit) -> bool:
        """Wait for a slot; False where the visit is over before there is one."""
        slot = asyncio.ensure_future(self._slots.acquire())
        gone = asyncio.ensure_future(visit.gone.wait())
        taken = False
        try:
            await asyncio.wait({slot, gone}, return_when=asyncio.FIRST_COMPLETED)
            taken = slot.done() and not visit.gone.is_set()
            return taken
        finally:
            gone.cancel()
            if not taken:
                if slot.done():
                    self._slots.release()
                else:
                    slot.cancel()
