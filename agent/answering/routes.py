"""The routes from a question to an answer, all with one signature: `route(question, context, bounds)` gives Steps.

Both routes end in the same call of the same language model with the same decoding; they differ only in what stands at
"Input:" in the prompt: text that experts found, or soft tokens of the connector.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.answer import Question, Step
from agent.clock import Bounds, Clock
from agent.expert_calls import Workers, failures, wait
from agent.records.recall import choose
from connector.base import ModelInfo, Reply
from experts.base import Finding
from experts.errors import ModelError
from experts.evidence import asked_facts, compose_evidence, is_called, quoted
from experts.evidence.asked import asked_things
from experts.evidence.colours import colours_in_words
from experts.media import Image, Media, Video

if TYPE_CHECKING:
    from agent.context import Context

Route = Callable[[Question, "Context", Bounds], Iterator[Step]]

USUAL = {"image": ("detect", "tag", "ocr", "caption"), "audio": ("speech",), "video": ("video",)}
BUILT_IN = ("detect", "tag", "ocr", "caption", "speech", "video")
LOOKING_SHARE = 0.75  # of the time for a question that the experts may use, so that some is left to speak


def choose_experts(question: Question, kinds: Mapping[str, Iterable[str]]) -> list[tuple[str, Media]]:
    """Which experts look at which media: all that can see or hear it, whatever the question says.

    No wording can so keep an expert from what it is needed for. `kinds` maps the names of the experts there are to the
    kinds of media they take.
    """
    plan: list[tuple[str, Media]] = []
    for medium in question.media:
        wanted = [*USUAL[medium.kind], *(name for name in kinds if name not in BUILT_IN and medium.kind in kinds[name])]
        plan += [(name, medium) for name in wanted if name in kinds]
    return plan


@dataclass
class Gathered:
    """What the experts found by medium, which of them looked at it, which failed on it, and why."""

    findings: dict[str, list[Finding]]
    failed: dict[str, list[str]]
    looked: dict[str, list[str]]
    reasons: list[str] = field(default_factory=list)


def gather(
    question: Question, plan: Sequence[tuple[str, Media]], gathered: Gathered, context: Context, clock: Clock
) -> Iterator[Step]:
    """Experts at work beside each other; findings and failures go into `gathered`. Ends early when stopped."""
    bounds, workers = clock.bounds, Workers()
    asked = [
        (name, medium, workers.look(partial(context.expert, name), medium, context.cache)) for name, medium in plan
    ]
    until = bounds.begun + LOOKING_SHARE * bounds.longest_s
    for medium in question.media:
        if not any(other is medium for _, other, _ in asked):
            yield clock.step("note", "experts", text=f"no expert takes {medium.kind}", data={"media": medium.name})
    for name, medium, future in asked:
        about = {"media": medium.name, "sha256": medium.sha256[:16]}
        faults: list[tuple[str, str, dict[str, Any]]] = []
        if not wait(future, until, bounds.stop):
            if bounds.stop.is_set():
                return
            faults = [(name, f"it took longer than {LOOKING_SHARE * bounds.longest_s:.0f} s", {"since": bounds.begun})]
        else:
            look = future.result()
            kept, names, why = failures(look.findings)
            times = {"since": look.begun, "seconds": look.seconds}
            faults = [(who, reason, times) for who, reason in zip(names, why, strict=True)]
            faults = [(name, look.error, times)] if look.error else faults
            gathered.findings[medium.name] += kept
            if not look.error:
                gathered.looked[medium.name] += within(name, medium)
                data = {"weights": context.expert(name).weights, **about, **({"cached": True} if look.cached else {})}
                yield clock.step("expert", name, **times, findings=kept, data=data)
        for who, reason, when in faults:
            gathered.failed[medium.name].append(who)
            gathered.reasons.append(f"{who} failed ({reason})")
            yield clock.step("error", who, **when, text=reason, data=about)


def experts(question: Question, context: Context, bounds: Bounds) -> Iterator[Step]:
    """Media -> experts -> findings -> evidence text -> the language model."""
    clock = Clock("experts", bounds)
    yield from media_steps(question, clock)
    own = context.settings.captioner != "composed"  # a composed caption says again what the other experts say
    there = {name: kinds for name, kinds in context.kinds().items() if own or name != "caption"}
    names = [medium.name for medium in question.media]
    gathered = Gathered({name: [] for name in names}, {name: [] for name in names}, {name: [] for name in names})
    yield from gather(question, choose_experts(question, there), gathered, context, clock)
    found = [finding for medium in question.media for finding in gathered.findings[medium.name]]
    if bounds.stop.is_set():
        yield from stopped(clock, "", found)
        return
    if gathered.reasons and not found:
        text = f"I cannot answer: nothing was found, and {'; '.join(gathered.reasons)}"[:600].rstrip(".") + "."
        yield clock.finish(text, error=text)
        return
    begun = time.perf_counter()
    read = choose(question, gathered.findings, context.memory, bounds)
    for text, data in read.notes:
        yield clock.step("note", "memory", since=begun, text=text, data=data)
    evidence = "\n".join(
        [evidence_text(question, read.findings, gathered.failed, gathered.looked, captions=own), *read.lines]
    )
    named = cited_by(found, question.text)
    cited = (*named, *(finding for finding in read.cited if finding not in named))
    yield clock.step("evidence", "evidence", since=begun, text=evidence, findings=cited)
    begun = time.perf_counter()
    language = context.language()
    if context.untuned:
        yield clock.step("note", "connector", text=f"answered without its adapter: {context.untuned}")
    longest = bounds.longest(context.settings.max_new_tokens)
    reply = language.read(question.text, evidence, bounds.generation(longest), question.history)
    yield from stream_reply(clock, reply, found, since=begun, longest=longest)


def connector(question: Question, context: Context, bounds: Bounds) -> Iterator[Step]:
    """Media -> the multimodal model: encoder, connector and language model in one."""
    clock = Clock("connector", bounds)
    yield from media_steps(question, clock)
    model = context.model()
    info = model.info
    taken = [medium for medium in question.media if medium.kind in info.modalities]
    for medium in question.media:
        unheard = isinstance(medium, Video) and medium.audio is not None and "audio" not in info.modalities
        if medium not in taken or unheard:
            yield clock.step("error", "connector", text=_cannot(info, medium), data={"media": medium.name})
    if question.media and not taken:
        reason = _cannot(info, question.media[0])
        text = f"{reason[0].upper()}{reason[1:]}. Ask the experts route."
        yield clock.finish(text, error=text)
        return
    if context.has_separate_language():
        other = context.settings.llm
        text = f"another language model than the experts route's ({info.language} here, {other} there)"
        yield clock.step("note", "connector", text=text)
    longest = bounds.longest(context.settings.max_new_tokens)
    reply = model.stream(question.text, taken, bounds.generation(longest), question.history)
    for stage in reply.stages:
        yield clock.step(stage.kind, stage.name, since=stage.begun, seconds=stage.seconds, data=stage.data)
    yield from stream_reply(clock, reply, (), since=time.perf_counter(), info=info, longest=longest)


def _cannot(info: ModelInfo, medium: Media) -> str:
    """Why a model does not take a medium, or not its sound."""
    kind = "audio" if isinstance(medium, Video) and "video" in info.modalities else medium.kind
    if info.kind == "trained" and kind == "audio":
        return "the connector cannot hear: it has no encoder for sound"
    deed = {"image": "see pictures", "audio": "hear", "video": "watch films"}[kind]
    takes = ", ".join(sorted(info.modalities)) or "text alone"
    return f"the model '{info.name}' cannot {deed}; it takes {takes}"


ROUTES: dict[str, Route] = {"experts": experts, "connector": connector}


def media_steps(question: Question, clock: Clock) -> Iterator[Step]:
    """What was taken in: each medium's id, kind, hash and size; and what was refused."""
    for line in question.missing:
        yield clock.step("note", "media", text=f"not looked at: {line}", data={"missing": True})
    for name, medium in question.by_id().items():
        data: dict[str, Any] = {"id": name, "kind": medium.kind, "sha256": medium.sha256}
        if isinstance(medium, Image):
            data["size_px"] = [medium.width, medium.height]
        else:
            data["duration_s"] = round(medium.duration_s, 3)
        if isinstance(medium, Video):
            data["frames"] = len(medium.frames)
        yield clock.step("media", medium.name, data=data)
        for note in getattr(medium, "notes", ()):
            yield clock.step("note", medium.name, text=note, data={"media": medium.name})


def stream_reply(
    clock: Clock,
    reply: Reply,
    findings: Sequence[Finding],
    since: float,
    info: ModelInfo | None = None,
    longest: int = 0,
) -> Iterator[Step]:
    """Stream an answer, then finish.

    `since` is when its prompt began to be made, `longest` the most tokens it may have; the last token of an answer that
    came to its own end has no text.
    """
    bounds = clock.bounds
    logprob, count, text, first_s, late = 0.0, 0, "", 0.0, False
    last = ""
    with contextlib.closing(reply):
        for token in reply.tokens:
            first_s = first_s or time.perf_counter() - since
            logprob, count, text, last = logprob + token.logprob, count + 1, text + token.text, token.text
            yield clock.step("token", reply.model, text=token.text)
            if late := time.perf_counter() > bounds.until:
                break
    data: dict[str, Any] = {
        "prompt_tokens": reply.prompt_tokens,
        "answer_tokens": count,
        "first_token_s": round(first_s, 4),
        "adapter": reply.adapter,
        **(_described(info) if info else {}),
    }
    if not math.isfinite(logprob):
        data["logprobs"] = False  # so the confidence is not known
    yield clock.step("llm", reply.model, since=since, data=data)
    cut = {"cut": True}
    if late:
        yield clock.step("note", reply.model, text=f"the answer was cut off after {bounds.longest_s:.0f} s", data=cut)
    elif longest and count >= longest and last and not bounds.stop.is_set():
        yield clock.step("note", reply.model, text=f"the answer was cut off after {count} tokens", data=cut)
    if bounds.stop.is_set():
        yield from stopped(clock, text.strip(), findings, logprob, count)
    elif not text.strip():
        raise ModelError(f"the language model '{reply.model}' gave an empty answer")
    else:
        yield clock.finish(text.strip(), logprob=logprob, tokens=count, findings=findings)


def stopped(
    clock: Clock, text: str, findings: Sequence[Finding], logprob: float = 0.0, tokens: int = 0
) -> Iterator[Step]:
    """The end of an answer that somebody stopped: what was said stays."""
    yield clock.step("stop", clock.route, text="stopped")
    yield clock.finish(text or "Stopped before the first word.", logprob=logprob, tokens=tokens, findings=findings)


def within(name: str, medium: Media) -> list[str]:
    """The experts that have looked once expert `name` has: of a film those at its frames and, if any, at its sound."""
    if name != "video" or not isinstance(medium, Video):
        return [name]
    return ["detect", "tag", "ocr", *(["speech"] if medium.audio is not None else [])]


def evidence_text(
    question: Question,
    findings: Mapping[str, list[Finding]],
    failed: Mapping[str, list[str]],
    looked: Mapping[str, list[str]] | None = None,
    *,
    captions: bool,
) -> str:
    """The evidence text; of several media, each one's own under its id, so that nothing is sought in the wrong one.

    What is asked about is counted over all of them too: what is in one of them is there.
    """
    parts = []
    for name, medium in question.by_id().items():
        sizes = {}
        picture = medium.frames[0] if isinstance(medium, Video) and medium.frames else medium
        if isinstance(picture, Image):
            sizes[medium.name] = (picture.width, picture.height)
        text = compose_evidence(
            findings[medium.name],
            question.text,
            sizes,
            failed[medium.name],
            (looked or {}).get(medium.name, ()),
            about(medium, findings[medium.name]),
        )
        if captions:
            text = "\n".join(
                [*(f"Caption: {quoted(f.text)}" for f in findings[medium.name] if f.expert == "caption"), text]
            )
        parts.append(text if len(question.media) == 1 else f"{name}: {text}")
    if len(question.media) > 1 and not any(failed.values()):
        found = [finding for medium in question.media for finding in findings[medium.name]]
        facts = asked_facts(question.text, *([f for f in found if f.expert == name] for name in ("detect", "tag")))
        parts += [f"All together: {facts}"] if facts else []
    return "\n".join(parts)


def about(medium: Media, found: Sequence[Finding] = ()) -> list[str]:
    """What is known of a medium without an expert: of sound and films their length, and whether a film has sound.

    Of a picture its main colours, where nothing in it has colours of its own.
    """
    if isinstance(medium, Image):
        colours = "" if any(f.expert == "detect" for f in found) else colours_in_words(medium.pixels.reshape(-1, 3))
        return [f"Main colours: {colours}."] if colours else []
    kind = "Film" if isinstance(medium, Video) else "Sound"
    lines = [f"{kind} of {medium.duration_s:.0f} s."]
    if isinstance(medium, Video) and medium.audio is None:
        lines.append("It has no sound track, so nothing is said in it.")
    return lines


def cited_by(findings: Sequence[Finding], question: str) -> tuple[Finding, ...]:
    """The findings that the question names."""
    things = asked_things(question)
    return tuple(finding for finding in findings if any(is_called(thing, finding) for thing in things))


def _described(info: ModelInfo) -> dict[str, Any]:
    """What a trace tells of a model beside its name."""
    identity = {"model": info.name, "revision": info.revision, "precision": info.precision, "device": info.device}
    return {key: value for key, value in identity.items() if value}
