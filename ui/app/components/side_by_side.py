"""Both routes at once: each on a thread of its own, their Steps in the order in which they happen."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agent.answer import Question, Step

if TYPE_CHECKING:
    from agent.agent import Agent


def together(
    agent: Agent, question: Question, routes: Sequence[str], stop: threading.Event
) -> Iterator[tuple[str, Step | Exception]]:
    """(route, Step) of every route, merged; a route that fails ends with its exception instead, the others go on.

    Setting `stop`, or closing the iterator, ends all of them.
    """
    happened: queue.SimpleQueue[tuple[str, Step | Exception | None]] = queue.SimpleQueue()

    def run(route: str) -> None:
        try:
            for step in agent.stream(question.text, media=list(question.media), route=route, stop=stop):
                happened.put((route, step))
        except Exception as error:  # told by whoever shows the steps
            happened.put((route, error))
        finally:
            happened.put((route, None))

    for route in routes:
        threading.Thread(target=run, args=(route,), name=f"duet-{route}", daemon=True).start()
    left = len(routes)
    try:
        while left:
            route, step = happened.get()
            if step is None:
                left -= 1
            else:
                yield route, step
    finally:
        stop.set()
