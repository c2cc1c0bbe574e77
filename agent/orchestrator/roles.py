"""What the roles of a language model over experts share: a record of what was found, and care around chat models.

The chat models run inside LangChain's create_agent with its ready-made middleware; what that cannot do is added here:
an end to every wait, and a second try at what cannot be read.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent.answer import Question, Step
from agent.answering.routes import within as experts_within
from agent.clock import Bounds, Clock
from agent.expert_calls import within
from agent.orchestrator.chat_models import chat_failure, chat_name
from agent.toolbox.tools import CONNECTOR, Result, Toolbox
from experts.base import Finding
from experts.errors import DuetError, ModelError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel


class Stopped(Exception):
    """Somebody stopped the answer."""


class Ended(threading.Event):
    """Set when `other` is: so that closing one answer need not set an event that several may share."""

    def __init__(self, other: threading.Event) -> None:
        super().__init__()
        self.other = other

    def is_set(self) -> bool:
        return super().is_set() or self.other.is_set()


@dataclass
class Record:
    """What came of the looks so far: findings, and experts that failed and that looked, by the name of the medium."""

    findings: dict[str, list[Finding]]
    failed: dict[str, list[str]]
    looked: dict[str, list[str]]
    reasons: list[str] = field(default_factory=list)  # of experts that failed
    mistakes: list[str] = field(default_factory=list)  # of the model: calls that could not be made
    results: list[str] = field(default_factory=list)  # each result as a line of text
    looks: int = 0  # that succeeded
    said: str = ""  # the answer, where a step of a plan or a decision maker gave one

    @classmethod
    def of(cls, question: Question) -> Record:
        names = [medium.name for medium in question.media]
        return cls({name: [] for name in names}, {name: [] for name in names}, {name: [] for name in names})

    def found(self) -> list[Finding]:
        return [finding for found in self.findings.values() for finding in found]

    def unfounded(self) -> str:
        """Why nothing can be said, "" where something can: an answer without any ground would be invented."""
        if self.found() or not (self.reasons or (self.mistakes and not self.looks)):
            return ""
        causes = "; ".join(dict.fromkeys([*self.reasons, *self.mistakes]))
        return f"I cannot answer: nothing was found, and {causes}"[:600].rstrip(".") + "."


def careful(chats: Sequence[BaseChatModel], bounds: Bounds) -> list[Any]:
    """Middleware around the model: the next model where one fails, a second try at rubbish, an end to every wait."""
    from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware, ModelRetryMiddleware

    class Unreadable(ModelError):
        """The model said nothing, or called a tool in no form that can be read."""

    class Bounded(AgentMiddleware):
        def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
            last = request.model is chats[-1] or len(chats) == 1
            until = bounds.until if last else time.perf_counter() + bounds.left_s() / 2
            work = contextvars.copy_context()
            done = within(lambda: work.run(handler, request), until, bounds.stop)
            try:
                response = settled(done, f"the chat model '{chat_name(request.model)}' gave no answer", bounds)
            except (DuetError, Stopped):
                raise
            except Exception as error:  # each provider's package raises its own
                raise chat_failure(error, request.model) from error
            said = response.result[0]
            if not said.tool_calls and not str(said.text).strip():
                what = "a tool call that cannot be read" if said.invalid_tool_calls else "an empty answer"
                raise Unreadable(f"the chat model '{chat_name(request.model)}' gave {what}")
            return response

    again = ModelRetryMiddleware(max_retries=1, retry_on=(Unreadable,), on_failure="error", initial_delay=0.0)
    return [*([ModelFallbackMiddleware(*chats[1:])] if len(chats) > 1 else []), again, Bounded()]


def settled(done: Any, late: str, bounds: Bounds) -> Any:
    """The result of a future from `within`."""
    if done is None:
        if bounds.stop.is_set():
            raise Stopped
        raise ModelError(f"{late} within {bounds.longest_s:.0f} s; raise answer_s or use a faster model")
    return done.result()


def looked_step(
    tool: str, key: str, result: Result, record: Record, toolbox: Toolbox, clock: Clock, *, since: float, data: Any = ()
) -> Step:
    """The Step of a look of `tool` at the medium with the id `key`, its findings recorded."""
    medium = toolbox.media[key]
    record.looks += 1
    record.findings[medium.name] += result.findings
    record.looked[medium.name] += experts_within(tool, medium)
    record.results.append(f"{f'{key}, ' if len(toolbox.media) > 1 else ''}{tool}: {result.text}")
    weights = toolbox.context.model_name() if tool == CONNECTOR else toolbox.context.expert(tool).weights
    about = {"weights": weights, "media": medium.name, "sha256": medium.sha256[:16], **dict(data)}
    return clock.step("expert", tool, since=since, seconds=result.seconds, findings=result.findings, data=about)


def listed(toolbox: Toolbox) -> str:
    """The media by id and kind; not by name, which may be anything."""
    return ", ".join(f"{key} ({medium.kind})" for key, medium in toolbox.media.items())
