"""Decides, answers, explains, and measures.

Imports connector and experts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.answer import Answer, Fallback, Question, Step

if TYPE_CHECKING:
    from agent.agent import Agent

__all__ = ["Agent", "Answer", "Fallback", "Question", "Step", "tools"]


def tools(*, image: Any = None, audio: Any = None, video: Any = None, media: Any = None, **flags: Any) -> list[Any]:
    """The experts and the connector as LangChain tools on these media, which the tools call image1, audio1, video1 ...

    `flags` are settings, as in `Agent(...)`. Raises InputError where a medium is refused.
    """
    from agent.agent import Agent

    return Agent(**flags).tools(image=image, audio=audio, video=video, media=media)


def __getattr__(name: str) -> Any:
    if name == "Agent":
        from agent.agent import Agent

        return Agent
    raise AttributeError(f"module 'agent' has no attribute '{name}'")
