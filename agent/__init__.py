"""Decides, answers, explains, and measures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.answer import Answer, Fallback, Question, Step

if TYPE_CHECKING:
    from agent.agent import Agent

__all__ = ["Agent", "Answer", "Fallback", "Question", "Step", "tools"]


def __getattr__(name: str) -> Any:
    if name == "Agent":
        from agent.agent import Agent

        return Agent
    raise AttributeError(f"module 'agent' has no attribute '{name}'")
