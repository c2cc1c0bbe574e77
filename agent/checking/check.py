"""Experts check an answer: its claims against their findings, and what to say instead where these clearly differ.

The second half of checking after Woodpecker (arXiv 2310.16045): no model decides, so that every verdict can be traced
to findings. Nothing is called supported that no finding holds; what the experts cannot know stays unsupported.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.answer import Answer, Check, Claim, Question, Step
from agent.checking.claims import claims
from agent.checking.corrections import corrected
from agent.checking.judging import Seen, judge
from agent.checking.links import links_of
from agent.clock import Bounds, Clock
from agent.expert_calls import Workers, failures, wait
from experts.base import Finding
from experts.media import Image, Media, Video

if TYPE_CHECKING:
    from agent.context import Context

LOOKS = {"image": ("detect", "tag"), "audio": ("speech",), "video": ("video",)}  # experts that check, by kind of medium
READS = ("text", "number", "name")  # claims for which a picture must be read
SHARE = 0.95  # of the time of a question that the experts may use to check its answer


@dataclass
class Known:
    """What was looked at while a question is answered: findings by expert and medium, and who failed."""

    looked: dict[tuple[str, str], tuple[Finding, ...]]
    failed: set[tuple[str, str]]

    def add(self, step: Step) -> None:
        """Learn from a step that passes."""
        medium = str(step.data.get("media", ""))
        if step.kind == "expert":
            self.looked[(step.name, medium)] = step.findings
        elif step.kind == "error" and medium:
            self.failed.add((step.name, medium))


def supported(
    steps: Iterator[Step], question: Question, context: Context, bounds: Bounds, *, check: bool = False
) -> Iterator[Step]:
    """The same Steps, each answer with the links of its sentences and, with `check`, with what experts found about it.

    Experts that have looked already are not asked again.
    """
    bounds = replace(bounds, begun=time.perf_counter())
    known = Known({}, set())
    with contextlib.closing(steps):  # type: ignore[type-var]
        for step in steps:
            known.add(step)
            if step.answer is None:
                yield step
                continue
            answer = step.answer
            stopped = bounds.stop.is_set() or any(passed.kind == "stop" for passed in answer.trace)
            if check and not answer.error and not stopped:
                answer = yield from _checked(answer, question, context, bounds, known)
            answer = replace(answer, links=links_of(answer))
            yield replace(step, answer=answer, seconds=max(step.seconds, answer.seconds))


def _checked(
    answer: Answer, question: Question, context: Context, bounds: Bounds, known: Known
) -> Generator[Step, None, Answer]:
    clock = Clock(answer.route, bounds)
    made = claims(answer.text, question.text)
    if made:
        yield from _look(made, question, context, clock, known)
    begun = time.perf_counter()
    findings = list(answer.findings)
    for found in known.looked.values():
        findings += [finding for finding in found if finding not in findings]
    judged = judge(made, findings, _seen(question, context, known))
    result = Check(judged, corrected(answer.text, judged, findings))
    counts = {
        verdict: sum(c.verdict == verdict for c in judged) for verdict in ("supported", "contradicted", "unsupported")
    }
    yield clock.step("check", "check", since=begun, text=summary(result), data=counts)
    took = time.perf_counter() - clock.begun
    trace = (*answer.trace, *clock.steps)
    return replace(answer, findings=tuple(findings), check=result, trace=trace, seconds=answer.seconds + took)


def _look(made: Sequence[Claim], question: Question, context: Context, clock: Clock, known: Known) -> Iterator[Step]:
    """Ask the experts that these claims need and that have not looked yet."""
    bounds, workers, kinds = clock.bounds, Workers(), context.kinds()
    plan: list[tuple[str, Media]] = []
    for medium in question.media:
        names = list(LOOKS[medium.kind])
        if medium.kind == "image" and any(claim.kind in READS for claim in made):
            names.append("ocr")
        plan += [(name, medium) for name in names if medium.kind in kinds.get(name, ())]
    done = known.looked.keys() | known.failed
    asked = [
        (name, medium, workers.look(partial(context.expert, name), medium, context.cache))
        for name, medium in plan
        if (name, medium.name) not in done
    ]
    until = bounds.begun + SHARE * bounds.longest_s
    for name, medium, future in asked:
        about: dict[str, Any] = {"media": medium.name, "sha256": medium.sha256[:16]}
        if not wait(future, until, bounds.stop):
            reason = "stopped" if bounds.stop.is_set() else "no time was left to check the answer"
            known.failed.add((name, medium.name))
            yield clock.step("error", name, text=reason, data=about)
            continue
        look = future.result()
        times: dict[str, Any] = {"since": look.begun, "seconds": look.seconds}
        kept, names_, why = failures(look.findings)
        for who, reason in [(name, look.error)] if look.error else zip(names_, why, strict=True):
            known.failed.add((who, medium.name))
            yield clock.step("error", who, **times, text=reason, data=about)
        if not look.error:
            known.looked[(name, medium.name)] = kept
            cached = {"cached": True} if look.cached else {}
            data = {"weights": context.expert(name).weights, **about, **cached}
            yield clock.step("expert", name, **times, findings=kept, data=data)


def _seen(question: Question, context: Context, known: Known) -> Seen:
    """What the findings are about: sizes of pictures, and whether the detector has looked at all of them."""
    sizes, whole, moving = {}, True, False
    pictures = 0
    for medium in question.media:
        if medium.kind == "audio":
            continue
        pictures += 1
        first = medium.frames[0] if isinstance(medium, Video) and medium.frames else medium
        if isinstance(first, Image):
            sizes[medium.name] = (first.width, first.height)
        expert = "video" if medium.kind == "video" else "detect"
        moving = moving or medium.kind == "video"
        whole = whole and (expert, medium.name) in known.looked and ("detect", medium.name) not in known.failed
    coco = re.fullmatch(r"nanodet-coco|yolo(?!.*(?:-oiv7|world|yoloe)).*", context.settings.detector) is not None
    return Seen(sizes, pictures=pictures, whole=bool(pictures) and whole and coco, moving=moving)


def summary(check: Check) -> str:
    """A check in a sentence or two."""
    if not check.claims:
        return "the answer claims nothing that experts could check"
    held = sum(claim.verdict == "supported" for claim in check.claims)
    parts = [f"{held} of {len(check.claims)} claim{'s' if len(check.claims) != 1 else ''} supported"]
    for verdict in ("contradicted", "unsupported"):
        listed = [f"'{claim.text}' ({claim.reason})" for claim in check.claims if claim.verdict == verdict]
        if listed:
            parts.append(f"{verdict}: {', '.join(listed[:5])}")
    if check.corrected:
        parts.append(f"corrected: {check.corrected}")
    return "; ".join(parts)
