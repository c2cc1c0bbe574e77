"""When are the experts' findings enough? A small replaceable policy that decides, and says why in one sentence.

After the experts have answered, a policy sees a Case and makes a Decision: their answer may STAY, the connector must
answer (HAND_OVER), or it is asked and the likelier answer stands (CONSULT, then `settle`). `Plain` holds what needs no
measurement; agent.answering.fallback.calibration.Calibrated adds how often each route was right in such cases. Any
object with `decide` and `settle` may stand instead: `Agent(policy=...)`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from agent.answer import Answer, Question, Step
from agent.answering.fallback.needs import PLACED, coverage, kind_of
from experts.evidence.colours import tones
from experts.media import Image, Media, Video

STAY, CONSULT, HAND_OVER = "stay", "consult", "hand over"
LEAST_CONFIDENCE = 0.35  # of an answer from findings, below which `Plain` asks the connector
LONGEST = 300  # characters of a reason


@dataclass(frozen=True)
class Case:
    """What is known once the experts have answered.

    `kind` of the question and `coverage` by the findings as in agent.answering.fallback.needs; `confidence` is None
    where the language model does not tell; `failed` names the experts that failed, `error` says why the whole route
    could not answer; `tones` are those of the most richly toned picture (see experts.evidence.colours), None where
    there is none.
    """

    kind: str
    coverage: str
    confidence: float | None
    failed: tuple[str, ...] = ()
    error: str = ""
    stopped: bool = False
    tones: float | None = None


@dataclass(frozen=True)
class Decision:
    """What is to be done (STAY, CONSULT or HAND_OVER), and why, in one sentence without a full stop."""

    action: str
    reason: str


@runtime_checkable
class Policy(Protocol):
    """Decides between the routes."""

    def decide(self, case: Case) -> Decision:
        """Whether the experts' answer stays, the connector is consulted, or must answer."""
        ...

    def settle(self, case: Case, confidence: float | None, agree: bool) -> Decision:
        """After CONSULT: whether the experts' answer stays (STAY) or the connector's stands (HAND_OVER).

        `confidence` is that of the connector's answer, `agree` whether both say the same.
        """
        ...


@dataclass(frozen=True)
class Plain:
    """What holds without any measurement: failed, silent or unsure experts hand over, and who has no box of what is
    asked about cannot know its colour, place or size; what is only heard stays."""

    least_confidence: float = LEAST_CONFIDENCE

    def decide(self, case: Case) -> Decision:
        """See Policy."""
        failed = " and ".join(dict.fromkeys(case.failed))
        if case.stopped:
            return Decision(STAY, "the answer was stopped")
        if case.coverage == "sound":
            trouble = f"{failed} failed" if failed else "there is nothing to see"
            return Decision(STAY, f"{trouble}, and the connector cannot hear")
        if case.error:
            return Decision(HAND_OVER, sentence(f"the experts route could not answer: {case.error}"))
        if failed:
            return Decision(HAND_OVER, sentence(f"{failed} failed, so the findings are incomplete"))
        if case.coverage == "nothing":
            return Decision(HAND_OVER, "the experts found nothing")
        return self.weigh(case)

    def weigh(self, case: Case) -> Decision:
        """The decision where all experts looked and something was found."""
        if case.confidence is None:
            return Decision(STAY, "the model does not tell how sure it is, so the answer from the findings stands")
        if case.kind in PLACED and case.coverage in ("silent", "beyond"):
            return Decision(HAND_OVER, f"no finding tells the {case.kind} of what is asked about")
        if case.confidence < self.least_confidence:
            doubt = f"confidence {case.confidence:.2f}, below {self.least_confidence}"
            return Decision(HAND_OVER, f"the answer from the findings is unsure ({doubt})")
        return Decision(STAY, f"the answer from the findings is sure enough (confidence {case.confidence:.2f})")

    def settle(self, case: Case, confidence: float | None, agree: bool) -> Decision:
        """See Policy; this policy never consults, and would take what the connector says."""
        return Decision(HAND_OVER, "the connector was asked")


def case_of(question: Question, answer: Answer) -> Case:
    """The Case of an answer by the experts route."""
    seen = bool(question.of_kind("image") or question.of_kind("video"))
    kind = kind_of(question.text, heard=not seen)
    return Case(
        kind,
        coverage(question.text, kind, answer.findings, seen=seen),
        confidence_of(answer),
        failed_experts(answer.trace),
        answer.error,
        any(step.kind == "stop" for step in answer.trace),
        most_tones(question.media),
    )


def most_tones(media: Iterable[Media]) -> float | None:
    """The tones of the most richly toned picture: of images, and of each video's first frame; None without any."""
    pictures = [medium for medium in media if isinstance(medium, Image)]
    pictures += [frame for medium in media if isinstance(medium, Video) for frame in medium.frames[:1]]
    return max((tones(picture.pixels) for picture in pictures), default=None)


def confidence_of(answer: Answer) -> float | None:
    """The confidence of an answer; None where its model does not tell."""
    untold = any(step.kind == "llm" and not step.data.get("logprobs", True) for step in answer.trace)
    return None if untold else answer.confidence


def failed_experts(trace: Iterable[Step]) -> tuple[str, ...]:
    """The experts that a trace tells to have failed, each once."""
    failed = (step.name for step in trace if step.kind == "error" and step.route == "experts")
    return tuple(dict.fromkeys(name for name in failed if name != "experts"))  # that is the route itself


def same_answer(one: str, other: str) -> bool:
    """Whether two answers say the same but for case, spaces and punctuation."""
    first, second = ("".join(filter(str.isalnum, text.casefold())) for text in (one, other))
    return first == second


def sentence(text: str) -> str:
    """`text` as one sentence: one line, no full stop inside or at the end, not endless."""
    text = re.sub(r"[.!?]+\s+(?=\S)", "; ", " ".join(text.split())).rstrip(" .;!?")
    return text if len(text) <= LONGEST else text[:LONGEST].rsplit(" ", 1)[0] + " ..."


def asked(call: Callable[[], Decision]) -> Decision:
    """What a policy decides; one that fails leaves the experts' answer standing, and that is said."""
    try:
        decision = call()
        if decision.action in (STAY, CONSULT, HAND_OVER):
            return Decision(decision.action, sentence(str(decision.reason)))
        trouble = f"decided '{decision.action}', which is none of {STAY}, {CONSULT}, {HAND_OVER}"
    except Exception as error:  # a policy may be anybody's code
        logging.getLogger("duet").exception("the policy failed")
        trouble = f"failed inside ({type(error).__name__})"
    return Decision(STAY, sentence(f"the policy {trouble}, so the experts' answer stands"))
