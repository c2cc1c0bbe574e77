"""When are the experts' findings enough? One small replaceable function that answers with a reason."""

from __future__ import annotations

from agent.answer import Answer, Question

LEAST_CONFIDENCE = 0.35  # of an answer from findings, below which the connector is asked too


def insufficient(question: Question, answer: Answer) -> str:
    """Why the connector should answer instead of the experts, in one sentence; "" where their answer may stand.

    The connector cannot hear, so a question about sound alone stays with the experts.
    """
    if not question.of_kind("image") and not question.of_kind("video"):
        return ""
    if any(step.kind == "stop" for step in answer.trace):
        return ""
    if answer.error:
        return f"the experts route could not answer: {answer.error}"
    failed = [step.name for step in answer.trace if step.kind == "error"]
    if failed:
        return f"{' and '.join(dict.fromkeys(failed))} failed, so the findings are incomplete"
    if not answer.findings:
        return "the experts found nothing"
    unknown = any(step.kind == "llm" and not step.data.get("logprobs", True) for step in answer.trace)
    if answer.confidence < LEAST_CONFIDENCE and not unknown:
        return f"the answer from the findings is unsure (confidence {answer.confidence:.2f}, below {LEAST_CONFIDENCE})"
    return ""
