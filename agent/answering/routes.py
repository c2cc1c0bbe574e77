"""The routes from a question to an answer, all with one signature: `route(question, context, bounds)` gives Steps.

Both routes end in the same call of the same language model with the same decoding; they differ only in what stands at
"Input:" in the prompt: text that experts found, or soft tokens of the connector.
"""

from __future__ import annotations

import contextlib
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.answer import Question, Step
from agent.answering.language import Speech
from agent.clock import Bounds, Clock
from agent.expert_calls import Workers, failures, wait
from agent.records.recall import choose
from experts.base import Finding
from experts.errors import ModelError
from experts.evidence import asked_thing, compose_evidence, quoted
from experts.evidence.categories import matches
from experts.media import Image, Media, Video

if TYPE_CHECKING:
    from agent.context import Context

Route = Callable[[Question, "Context", Bounds], Iterator[Step]]

READING = re.compile(
    r"\b(read|say|says|said|written|write|text|word|words|sign|letter|number plate|label|title|spell|logo|name on)\b",
    re.I,
)
LOOKING = re.compile(r"\b(describe|what (is|does) (this|the (image|picture|photo)|in the)|caption|see)\b", re.I)
USUAL = {"image": ("detect", "tag", "caption"), "audio": ("speech",), "video": ("video",)}
BUILT_IN = ("detect", "tag", "ocr", "caption", "speech", "video")
FRAMES = 4  # of a video that the connector sees
LOOKING_SHARE = 0.75  # of the time for a question that the experts may use, so that some is left to speak


def choose_experts(question: Question, kinds: Mapping[str, Iterable[str]]) -> list[tuple[str, Media]]:
    """Which experts look at which media: all that can see or hear it, but the reader only where reading may help.

    Reading costs ten times as much as looking, so it runs when the question asks for text, or for everything there is.
    `kinds` maps the names of the experts there are to the kinds of media they take; plug-ins are always asked.
    """
    plan: list[tuple[str, Media]] = []
    for medium in question.media:
        wanted = list(USUAL[medium.kind])
        if medium.kind == "image" and (READING.search(question.text) or LOOKING.search(question.text)):
            wanted.append("ocr")
        wanted += [name for name in kinds if name not in BUILT_IN and medium.kind in kinds[name]]
        plan += [(name, medium) for name in wanted if name in kinds]
    return plan


def experts(question: Question, context: Context, bounds: Bounds) -> Iterator[Step]:
    """Media -> experts -> findings -> evidence text -> the language model."""
    clock = Clock("experts", bounds)
    yield from _taken(question, clock)
    workers = Workers()
    own = context.settings.captioner != "composed"  # a composed caption says again what the other experts say
    plan = choose_experts(
        question, {name: kinds for name, kinds in context.kinds().items() if own or name != "caption"}
    )
    asked = [
        (name, medium, workers.look(partial(context.expert, name), medium, context.cache)) for name, medium in plan
    ]
    until = bounds.begun + LOOKING_SHARE * bounds.longest_s
    findings: dict[str, list[Finding]] = {medium.name: [] for medium in question.media}
    failed: dict[str, list[str]] = {medium.name: [] for medium in question.media}
    reasons: list[str] = []
    for medium in question.media:
        if not any(seen is medium for _, seen, _ in asked):
            yield clock.step("note", "experts", text=f"no expert takes {medium.kind}", data={"media": medium.name})
    for name, medium, future in asked:
        about = {"media": medium.name, "sha256": medium.sha256[:16]}
        if not wait(future, until, bounds.stop):
            if bounds.stop.is_set():
                yield from _stopped(clock, "", [f for found in findings.values() for f in found])
                return
            faults = [(name, f"it took longer than {LOOKING_SHARE * bounds.longest_s:.0f} s", {"since": bounds.begun})]
        else:
            look = future.result()
            kept, names, why = failures(look.findings)
            times = {"since": look.begun, "seconds": look.seconds}
            faults = (
                [(name, look.error, times)] if look.error else [(n, w, times) for n, w in zip(names, why, strict=True)]
            )
            findings[medium.name] += kept
            if not look.error:
                weights = context.expert(name).weights
                data = {"weights": weights, **about, **({"cached": True} if look.cached else {})}
                yield clock.step("expert", name, **times, findings=kept, data=data)
        for who, reason, when in faults:
            failed[medium.name].append(who)
            reasons.append(f"{who} failed ({reason})")
            yield clock.step("error", who, **when, text=reason, data=about)
    found = [finding for medium in question.media for finding in findings[medium.name]]
    if reasons and not found:
        text = f"I cannot answer: nothing was found, and {'; '.join(reasons)}"[:600].rstrip(".") + "."
        yield clock.finish(text, error=text)
        return
    begun = time.perf_counter()
    read = choose(question, findings, context.memory, bounds)
    for text, data in read.notes:
        yield clock.step("note", "memory", since=begun, text=text, data=data)
    evidence = "\n".join([_evidence(question, read.findings, failed, captions=own), *read.lines])
    named = _cited(found, question.text)
    cited = (*named, *(finding for finding in read.cited if finding not in named))
    yield clock.step("evidence", "evidence", since=begun, text=evidence, findings=cited)
    begun = time.perf_counter()
    speech = context.speech(question.text, evidence, bounds)
    if context.untuned:
        yield clock.step("note", "connector", text=f"answered without its adapter: {context.untuned}")
    yield from _speak(clock, speech, found, since=begun)


def connector(question: Question, context: Context, bounds: Bounds) -> Iterator[Step]:
    """Media -> encoder -> connector -> soft tokens -> the language model."""
    clock = Clock("connector", bounds)
    yield from _taken(question, clock)
    images: list[Image] = []
    unheard: list[str] = []
    for medium in question.media:
        if isinstance(medium, Image):
            images.append(medium)
        elif isinstance(medium, Video):
            images += _spread(medium.frames, FRAMES)
            unheard += [medium.name] if medium.audio else []
        else:
            unheard.append(medium.name)
    for name in unheard:
        yield clock.step(
            "error", "connector", text="the connector cannot hear: it has no encoder for sound", data={"media": name}
        )
    if not images:
        text = "The connector cannot hear: it has no encoder for sound. Ask the experts route."
        yield clock.finish(text, error=text)
        return
    model = context.connector_model()
    if model.n_tokens == 0 and len(images) > 1:
        raise ModelError(
            f"connector '{context.connector_name()}' takes one picture at a time, here are {len(images)}; "
            "ask about one image"
        )
    begun = time.perf_counter()
    features = model.encoder.encode(images)  # [B, N, D_enc]
    yield clock.step(
        "encode",
        model.encoder.name,
        since=begun,
        data={
            "images": [i.sha256[:16] for i in images],
            "features": list(features.shape),
            "tokens": model.n_tokens * len(images),
        },
    )
    if bounds.stop.is_set():
        yield from _stopped(clock, "", ())
        return
    begun = time.perf_counter()
    prompt = model.prompt(question.text, images, features=features)  # [T, D_llm]
    describe: Any = getattr(model.connector, "describe", None)
    says = {"says": [describe(features, row) for row in range(len(images))]} if describe else {}
    yield clock.step("connect", context.connector_name(), since=begun, data=says)
    begun = time.perf_counter()
    llm = model.llm
    tokens = llm.stream(
        prompt,
        max_new_tokens=bounds.longest(context.settings.max_new_tokens),
        stop=bounds.stop,
        within=model.inside(question.text, features),
    )
    yield from _speak(clock, Speech(llm.name, llm.adapter, len(prompt), tokens), (), since=begun)


ROUTES: dict[str, Route] = {"experts": experts, "connector": connector}


def _taken(question: Question, clock: Clock) -> Iterator[Step]:
    """What was taken in: each medium's id, kind, hash and size."""
    for name, medium in question.by_id().items():
        data: dict[str, Any] = {"id": name, "kind": medium.kind, "sha256": medium.sha256}
        if isinstance(medium, Image):
            data["size_px"] = [medium.width, medium.height]
        else:
            data["duration_s"] = round(medium.duration_s, 3)
        if isinstance(medium, Video):
            data["frames"] = len(medium.frames)
        yield clock.step("media", medium.name, data=data)


def _speak(clock: Clock, speech: Speech, findings: Sequence[Finding], since: float) -> Iterator[Step]:
    """Stream an answer, then finish; `since` is when its prompt began to be made."""
    bounds = clock.bounds
    logprob, count, text, first_s, late = 0.0, 0, "", 0.0, False
    with contextlib.closing(speech.tokens) as tokens:  # type: ignore[type-var]
        for token in tokens:
            first_s = first_s or time.perf_counter() - since
            logprob, count, text = logprob + token.logprob, count + 1, text + token.text
            yield clock.step("token", speech.model, text=token.text)
            if late := time.perf_counter() > bounds.until:
                break
    data: dict[str, Any] = {
        "prompt_tokens": speech.prompt_tokens,
        "answer_tokens": count,
        "first_token_s": round(first_s, 4),
        "adapter": speech.adapter,
    }
    if not math.isfinite(logprob):
        data["logprobs"] = False  # so the confidence is not known
    yield clock.step("llm", speech.model, since=since, data=data)
    if late:
        yield clock.step("note", speech.model, text=f"the answer was cut off after {bounds.longest_s:.0f} s")
    if bounds.stop.is_set():
        yield from _stopped(clock, text.strip(), findings, logprob, count)
    elif not text.strip():
        raise ModelError(f"the language model '{speech.model}' gave an empty answer")
    else:
        yield clock.finish(text.strip(), logprob=logprob, tokens=count, findings=findings)


def _stopped(
    clock: Clock, text: str, findings: Sequence[Finding], logprob: float = 0.0, tokens: int = 0
) -> Iterator[Step]:
    """The end of an answer that somebody stopped: what was said stays."""
    yield clock.step("stop", clock.route, text="stopped")
    yield clock.finish(text or "Stopped before the first word.", logprob=logprob, tokens=tokens, findings=findings)


def _evidence(
    question: Question, findings: Mapping[str, list[Finding]], failed: Mapping[str, list[str]], *, captions: bool
) -> str:
    """The evidence text; of several media, each one's own under its id, so that nothing is sought in the wrong one."""
    parts = []
    for name, medium in question.by_id().items():
        sizes = {}
        picture = medium.frames[0] if isinstance(medium, Video) and medium.frames else medium
        if isinstance(picture, Image):
            sizes[medium.name] = (picture.width, picture.height)
        text = compose_evidence(findings[medium.name], question.text, sizes, failed[medium.name])
        if captions:
            text = "\n".join(
                [*(f"Caption: {quoted(f.text)}" for f in findings[medium.name] if f.expert == "caption"), text]
            )
        parts.append(text if len(question.media) == 1 else f"{name}: {text}")
    return "\n".join(parts)


def _cited(findings: Sequence[Finding], question: str) -> tuple[Finding, ...]:
    """The findings that the question names."""
    thing = asked_thing(question)
    return tuple(finding for finding in findings if thing and matches(thing, finding.text))


def _spread(frames: Sequence[Image], count: int) -> list[Image]:
    """At most `count` frames, evenly spaced."""
    if len(frames) <= count:
        return list(frames)
    return [frames[round(i * (len(frames) - 1) / (count - 1))] for i in range(count)]
