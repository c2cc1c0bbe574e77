"""Question in, Steps while it is answered, Answer out: the plain data that CLI, UI, server and evaluation share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from connector.base import Turn
from experts.base import Finding
from experts.media import Media


@dataclass(frozen=True)
class Question:
    """What is asked, about which media; and in which conversation, as which of its turns (from 1; 0: the next)."""

    text: str
    media: tuple[Media, ...] = ()
    conversation: str = ""
    turn: int = 0
    history: tuple[Turn, ...] = ()  # what was asked and said before, oldest first
    missing: tuple[str, ...] = ()  # why media that were sent with it are not among `media`, a line each

    def of_kind(self, kind: str) -> tuple[Media, ...]:
        """The media of one kind: image, audio or video."""
        return tuple(medium for medium in self.media if medium.kind == kind)

    def by_id(self) -> dict[str, Media]:
        """The media under the ids by which tools and models name them: image1, image2, audio1, video1 ..."""
        return {
            f"{kind}{number}": medium
            for kind in ("image", "audio", "video")
            for number, medium in enumerate(self.of_kind(kind), 1)
        }


@dataclass(frozen=True)
class Step:
    """One thing that happened while a question was answered.

    `kind` is media (taken in), expert (looked; `findings`), encode and connect (the connector's two halves), evidence
    (the text the model reads), token (a piece of the answer), llm (the model is done), plan (the calls that a planner
    wants), round (what a decision maker wants next), thought (on the way to an answer), fallback, check (of an answer
    against findings), note (worth knowing), error, stop (asked to), or answer (the last; `answer`). `start_s` counts
    from the start of the question.
    """

    kind: str
    name: str
    route: str
    start_s: float
    seconds: float = 0.0
    text: str = ""
    findings: tuple[Finding, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)
    answer: Answer | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, for the trace: what is empty is left out."""
        values = {
            "kind": self.kind,
            "name": self.name,
            "route": self.route,
            "start_s": round(self.start_s, 4),
            "seconds": round(self.seconds, 4),
            "text": self.text,
            "findings": len(self.findings),
            "data": self.data,
        }
        return {
            key: value for key, value in values.items() if value not in ("", {}, 0) or key in ("start_s", "seconds")
        }


@dataclass(frozen=True)
class Fallback:
    """Why one route handed a question to another."""

    from_: str
    to: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        return {"from": self.from_, "to": self.to, "reason": self.reason}


@dataclass(frozen=True)
class Claim:
    """One thing that an answer claims, at characters [start, end) of its text, and what the experts found about it.

    `kind` is object, absence, count, colour, position, text (quoted), number or name (said or written). `verdict` is
    supported (findings hold it, at `findings` of the answer's), contradicted (they hold something else; `better` is
    what to say instead, "" where only that it is not so) or unsupported (they hold neither).
    """

    kind: str
    text: str
    start: int
    end: int
    thing: str = ""  # what it is about, as the answer or else the question calls it
    value: str | int = ""  # the number, colour, place or text
    verdict: str = "unsupported"
    reason: str = ""
    findings: tuple[int, ...] = ()
    better: str = ""

    def to_dict(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return values | {"findings": list(self.findings)}


@dataclass(frozen=True)
class Check:
    """An answer's claims against what the experts found; `corrected` is the answer set right, "" where it may stand.

    The answer itself is never changed.
    """

    claims: tuple[Claim, ...] = ()
    corrected: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {"claims": [claim.to_dict() for claim in self.claims], "corrected": self.corrected}


@dataclass(frozen=True)
class Link:
    """The sentence at characters [start, end) of an answer rests on the answer's finding number `finding`, from 0."""

    start: int
    end: int
    finding: int

    def to_dict(self, findings: tuple[Finding, ...]) -> dict[str, Any]:
        """With where to look: the finding's box in pixels, its seconds, its medium."""
        found = findings[self.finding]
        where = {"expert": found.expert, "box": found.box, "span": found.span, "source": found.source}
        return {"sentence": [self.start, self.end], "finding": self.finding, **where}


@dataclass(frozen=True)
class Answer:
    """What a route said, on which evidence, at which cost.

    `confidence` in [0, 1] is the geometric mean of the probabilities that the model gave the answer's tokens: the same
    measure for every route, a measure of fluency as much as of truth. It is None where the model was never asked or
    does not tell. `error` is why the route could not answer, and then `text` says so; "" where it did. Under `trace_id`
    the whole question is found among the recorded traces. `links` lead from sentences to findings; `check` is there
    where the answer was checked; `notes` say what was looked at and what was not.
    """

    route: str
    text: str
    confidence: float | None
    seconds: float
    findings: tuple[Finding, ...] = ()
    fallback: Fallback | None = None
    trace: tuple[Step, ...] = ()
    error: str = ""
    trace_id: str = ""
    links: tuple[Link, ...] = ()
    check: Check | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What was looked at of the media and what was not, a sentence each, and whether the answer was cut off.

        With several media a sentence says which one it is of.
        """
        media = {step.name for step in self.trace if step.kind == "media"}
        told = [
            step for step in self.trace if step.kind == "note" or (step.kind == "error" and step.name == step.route)
        ]
        lines = []
        for step in told:
            if "media" in step.data:
                lines.append(f"{step.data['media']}: {step.text}" if len(media) > 1 else step.text)
            elif step.data.get("missing") or step.data.get("cut"):
                lines.append(step.text)
        return tuple(dict.fromkeys(lines))

    def to_dict(self) -> dict[str, Any]:
        """The contract of `duet ask --json`."""
        return {
            "route": self.route,
            "text": self.text,
            "confidence": None if self.confidence is None else round(self.confidence, 4),
            "seconds": round(self.seconds, 3),
            "fallback": self.fallback.to_dict() if self.fallback else None,
            "findings": [_finding(finding) for finding in self.findings],
            "links": [link.to_dict(self.findings) for link in self.links],
            "check": self.check.to_dict() if self.check else None,
            "notes": list(self.notes),
            "trace": [step.to_dict() for step in self.trace],
        }


def _finding(finding: Finding) -> dict[str, Any]:
    values = dataclasses.asdict(finding)
    return {key: values[key] for key in ("expert", "text", "score", "box", "span", "source", "extra")}
