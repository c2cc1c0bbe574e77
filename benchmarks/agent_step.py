"""What one step of the agent costs beside the models: fakes that answer at once, one thread, CPU time, medians.

    python benchmarks/agent_step.py [--rounds 40]

A step is an expert's look or a call of a chat model. `plain route`: the experts route with two experts. `controller`
and `decision maker`: LangChain's create_agent with all of the middleware. `another round`: what one more round of
looking, two steps, adds to a decision maker's question; `set up`: what is left of a question with one look without its
steps, the building of tools and graph among it. The target is under 5 ms a step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["DUET_HOME"] = tempfile.mkdtemp(prefix="duet-agent-step-")  # its traces are nobody's

import numpy as np
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

sys.path.insert(0, str(Path(__file__).parents[1]))

from agent.agent import Agent
from agent.orchestrator.chat_models import Speech
from agent.orchestrator.route import Orchestrator
from connector.llm.streaming import Token
from experts.base import Finding
from experts.config import Settings
from experts.media import Image, Media

TARGET_MS = 5.0
EXPERTS = ("detect", "tag")


class Instant:
    """An expert that knows at once."""

    description, kinds, weights = "Knows at once.", frozenset({"image"}), ""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, media: Media) -> list[Finding]:
        return [Finding(self.name, "dog", 0.9, (0.0, 0.0, 4.0, 4.0), source=media.name)]


class InstantAgent(Agent):
    """Its language model speaks at once."""

    def speech(self, question: str, evidence: str, bounds: Any) -> Speech:
        def tokens() -> Iterator[Token]:
            yield Token("A dog.", -0.1)

        return Speech("instant", "", 0, tokens())


class InstantChat(BaseChatModel):
    """Plans both experts' looks, or looks with one of them a round, then answers."""

    looks: int = 2

    @property
    def _llm_type(self) -> str:
        return "instant"

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self.bind(names=[tool["function"]["name"] if isinstance(tool, dict) else tool.name for tool in tools])

    def _generate(
        self, messages: Any, stop: Any = None, run_manager: Any = None, names: Any = (), **_: Any
    ) -> ChatResult:
        done = sum(message.type == "tool" for message in messages)
        wanted: list[tuple[str, dict[str, Any]]] = []
        if "plan" in names:
            steps = [{"id": name, "tool": name, "args": {"media": "image1"}} for name in EXPERTS]
            wanted = [("plan", {"steps": steps})]
        elif names and done < self.looks:
            wanted = [(f"look{done}", {"media": "image1"})]
        calls = [{"type": "tool_call", "id": f"{done}", "name": name, "args": args} for name, args in wanted]
        message = AIMessage("" if calls else "A dog.", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        yield ChatGenerationChunk(message=AIMessageChunk("A dog."))


def measure(ask: Callable[[], Any], rounds: int) -> float:
    """The median of the CPU time of `ask`, in ms, all of its threads together; the first five calls do not count."""
    taken = []
    for _ in range(rounds + 5):
        begun = time.process_time()
        ask()
        taken.append((time.process_time() - begun) * 1000)
    return statistics.median(taken[5:])


def main(arguments: list[str] | None = None) -> None:
    """Print the figures as JSON; exit 1 where a step costs more than the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args(arguments).rounds
    picture = Image.open(np.zeros((8, 8, 3), np.uint8), name="photo.png")
    few, many = 1, 5

    def asker(route: Any, names: Any) -> Callable[[], Any]:
        agent = InstantAgent(Settings(cache_mb=0, traces_mb=0), experts={name: Instant(name) for name in names})

        def ask() -> None:
            (answer,) = agent.ask("How many dogs are there?", image=picture, route=route)
            assert answer.text == "A dog." and answer.findings, answer

        return ask

    looks = [f"look{number}" for number in range(many)]

    def deciding(count: int) -> Orchestrator:
        return Orchestrator(plans=False, decides=True, refines=False, model=InstantChat(looks=count), most_rounds=8)

    cases = {  # what is asked
        "plain route": asker("experts", EXPERTS),
        "controller": asker(Orchestrator(model=InstantChat()), EXPERTS),
        "decision maker, 1 look": asker(deciding(few), looks),
        "decision maker, 5 looks": asker(deciding(many), looks),
    }
    ms = {name: measure(ask, rounds) for name, ask in cases.items()}
    another = (ms["decision maker, 5 looks"] - ms["decision maker, 1 look"]) / (many - few)
    steps = {
        "plain route": ms["plain route"] / 3,  # two looks, one answer; what goes before them included
        "controller": ms["controller"] / 4,  # a plan, two looks, one answer; likewise
        "another round": another / 2,  # a call and a look
    }
    report = {
        "rounds": rounds,
        "target_ms": TARGET_MS,
        "step_ms": {name: round(value, 2) for name, value in steps.items()},
        "question_ms": {name: round(value, 2) for name, value in ms.items()},
        "set_up_ms": round(ms["decision maker, 1 look"] - 1.5 * another, 2),
    }
    print(json.dumps(report, indent=1))
    if max(steps.values()) >= TARGET_MS:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
