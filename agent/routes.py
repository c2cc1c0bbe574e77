"""The routes from a question to an answer, all with one signature: `route(question, agent) -> Iterator[Step]`.

Both routes end in the same call of the same language model with the same decoding; they differ only in what stands at
"Input:" in the prompt: text that experts found, or soft tokens of the connector.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from agent.answer import Answer, Fallback, Question, Step
from experts.base import Finding
from experts.errors import DuetError, ModelError
from experts.evidence import asked_thing, compose_evidence
from experts.kinds import matches
from experts.media import Image, Media

if TYPE_CHECKING:
    import torch

    from agent.agent import Agent

Route = Callable[[Question, "Agent"], Iterator[Step]]

READING = re.compile(r"\b(read|say|says|said|written|write|text|word|words|sign|letter|number plate|label|title|spell|logo|name on)\b", re.I)
LOOKING = re.compile(r"\b(describe|what (is|does) (this|the (image|picture|photo)|in the)|caption|see)\b", re.I)


class Clock:
    """Makes the Steps of one route, timed from its start, and keeps them for the trace."""

    def __init__(self, route: str) -> None:
        self.route, self.begun = route, time.perf_counter()
        self.steps: list[Step] = []

    def step(self, kind: str, name: str, *, since: float | None = None, **rest: object) -> Step:
        """A Step that began at `since` (perf_counter; default now) and ends now."""
        now = time.perf_counter()
        start = now if since is None else since
        step = Step(kind, name, self.route, start - self.begun, now - start, **rest)  # type: ignore[arg-type]
        if kind not in ("token", "answer"):
            self.steps.append(step)
        return step

    def finish(
        self, text: str, logprob: float = 0.0, tokens: int = 0, findings: Sequence[Finding] = (), fallback: Fallback | None = None
    ) -> Step:
        """The last Step, with the Answer in it."""
        confidence = math.exp(logprob / tokens) if tokens else 0.0
        seconds = time.perf_counter() - self.begun
        answer = Answer(self.route, text, confidence, seconds, tuple(findings), fallback, tuple(self.steps))
        return self.step("answer", self.route, since=self.begun, text=text, answer=answer)


def choose_experts(question: Question) -> list[tuple[str, Media]]:
    """Which experts look at which media: all that can see or hear it, but the reader only where reading may help.

    Reading costs ten times as much as looking, so it runs when the question asks for text, or for everything there is.
    """
    plan: list[tuple[str, Media]] = []
    for medium in question.media:
        if medium.kind == "image":
            plan += [("detect", medium), ("tag", medium)]
            if READING.search(question.text) or LOOKING.search(question.text):
                plan.append(("ocr", medium))
        else:
            plan.append(({"audio": "speech", "video": "video"}[medium.kind], medium))
    return plan


def experts(question: Question, agent: Agent) -> Iterator[Step]:
    """Media -> experts -> findings -> evidence text -> the language model."""
    clock = Clock("experts")
    findings: list[Finding] = []
    failed: list[str] = []
    plan = choose_experts(question)
    with ThreadPoolExecutor(max_workers=2) as pool:
        futures = [(name, medium, pool.submit(_look, agent, name, medium)) for name, medium in plan]
        for name, medium, future in futures:
            begun, found, error = future.result()
            findings += found
            if error:
                failed.append(name)
                yield clock.step("error", name, since=begun, text=error, data={"media": medium.name, "sha256": medium.sha256[:16]})
            else:
                yield clock.step("expert", name, since=begun, findings=tuple(found), data=_about(agent, name, medium))
    sizes = {image.name: (image.width, image.height) for image in question.of_kind("image")}
    for video in question.of_kind("video"):
        if video.frames:
            sizes[video.name] = (video.frames[0].width, video.frames[0].height)
    if failed and not findings:
        text = f"I cannot answer from what the experts found: {', '.join(failed)} failed and nothing else was found."
        yield clock.finish(text)
        return
    evidence = compose_evidence(findings, question.text, sizes, failed)
    yield clock.step("evidence", "evidence", text=evidence, findings=_cited(findings, question.text))
    yield from _speak(clock, agent, agent.prompt_from_evidence(question.text, evidence), findings)


def connector(question: Question, agent: Agent) -> Iterator[Step]:
    """Media -> encoder -> connector -> soft tokens -> the language model."""
    clock = Clock("connector")
    images = list(question.of_kind("image"))
    unseen = [medium for medium in question.media if medium.kind == "audio"]
    for video in question.of_kind("video"):
        images.extend(_spread(video.frames, 4))
        if video.audio is not None:
            unseen.append(video.audio)
    for medium in unseen:
        yield clock.step("error", "connector", text="the connector has no encoder for sound", data={"media": medium.name})
    if unseen and not images:
        yield clock.finish("The connector cannot hear: it has no encoder for sound. Ask the experts route.")
        return
    model = agent.connector_model()
    begun = time.perf_counter()
    features = model.encoder.encode(images) if images else None
    if features is not None:
        yield clock.step(
            "encode",
            model.encoder.name,
            since=begun,
            data={"images": [i.sha256[:16] for i in images], "features": list(features.shape), "tokens": model.n_tokens * len(images)},
        )
    begun = time.perf_counter()
    prompt = model.prompt(question.text, images, features=features)
    seen = {}
    if features is not None and hasattr(model.connector, "describe"):
        seen = {"says": [model.connector.describe(features, row) for row in range(len(images))]}
    yield clock.step("connect", agent.connector_name(), since=begun, data=seen)
    with model.attached(features):
        yield from _speak(clock, agent, prompt, ())


ROUTES: dict[str, Route] = {"experts": experts, "connector": connector}


def _speak(clock: Clock, agent: Agent, prompt: torch.Tensor, findings: Sequence[Finding]) -> Iterator[Step]:
    """Stream the answer of the shared language model to a prompt [T, D_llm], then finish."""
    llm = agent.llm()
    begun = time.perf_counter()
    logprob, count, text = 0.0, 0, ""
    first_s = 0.0
    for token in llm.stream(prompt, max_new_tokens=agent.settings.max_new_tokens, stop=agent.stop_event):
        first_s = first_s or time.perf_counter() - begun
        logprob, count, text = logprob + token.logprob, count + 1, text + token.text
        yield clock.step("token", llm.name, text=token.text)
        if time.perf_counter() - clock.begun > agent.settings.answer_s:
            yield clock.step("error", llm.name, text=f"the answer was cut off after {agent.settings.answer_s:.0f} s")
            break
    clock.step(
        "llm",
        llm.name,
        since=begun,
        data={"prompt_tokens": len(prompt), "answer_tokens": count, "first_token_s": round(first_s, 4), "adapter": llm.adapter},
    )
    if not text.strip():
        raise ModelError(f"the language model '{llm.name}' gave an empty answer")
    yield clock.finish(text.strip(), logprob, count, findings)


def _look(agent: Agent, name: str, medium: Media) -> tuple[float, list[Finding], str]:
    """When an expert began, what it found, and why it failed ("" if it did not)."""
    begun = time.perf_counter()
    try:
        return begun, agent.expert(name)(medium), ""
    except DuetError as error:
        return begun, [], str(error)


def _about(agent: Agent, name: str, medium: Media) -> dict[str, str]:
    return {"weights": agent.expert(name).weights, "media": medium.name, "sha256": medium.sha256[:16]}


def _cited(findings: Sequence[Finding], question: str) -> tuple[Finding, ...]:
    """The findings that the question names."""
    thing = asked_thing(question)
    return tuple(finding for finding in findings if thing and matches(thing, finding.text))


def _spread(frames: Sequence[Image], count: int) -> list[Image]:
    """At most `count` frames, evenly spaced."""
    if len(frames) <= count:
        return list(frames)
    return [frames[round(i * (len(frames) - 1) / (count - 1))] for i in range(count)]
