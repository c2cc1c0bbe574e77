"""A recorded trace as OpenTelemetry spans with OpenInference's attributes, in OTLP's JSON encoding.

One span for the question (AGENT), under it one a route (CHAIN), under that one a timed step; what took no time is an
event of its route. The result can be posted to /v1/traces of any collector. Sources: opentelemetry.io/docs/specs/otlp
(JSON: ids in hexadecimal, 64-bit numbers as strings) and OpenInference's semantic conventions.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

INTERNAL = 1  # SpanKind
OK, ERROR = 1, 2  # Status.StatusCode
SPAN_KINDS = {  # kind of a step -> OpenInference's kind of a span; every other step is a CHAIN
    "expert": "TOOL",
    "llm": "LLM",
    "encode": "EMBEDDING",
}
EVENTS = ("note", "stop", "fallback")  # steps that are moments


def export(recorded: list[dict[str, Any]], version: str) -> dict[str, Any]:
    """Traces as one OTLP ExportTraceServiceRequest, JSON-ready; `version` is Duet's."""
    resource = _attributes({"service.name": "duet", "service.version": version})
    spans = [span for trace in recorded for span in _spans(trace)]
    scope = {"scope": {"name": "duet.agent", "version": version}, "spans": spans}
    return {"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [scope]}]}


def _spans(trace: dict[str, Any]) -> list[dict[str, Any]]:
    answers = trace["answers"]
    said = "\n".join(answer["text"] for answer in answers)
    about = {
        "openinference.span.kind": "AGENT",
        "agent.name": "duet",
        "input.value": trace["question"],
        "input.mime_type": "text/plain",
        "output.value": said or None,
        "output.mime_type": "text/plain" if said else None,
        "metadata": json.dumps({"route": trace["route"], "status": trace["status"]}),
    }
    root = _span(trace, "", "0", "duet.ask", 0.0, trace["seconds"], about, trace["error"])
    spans = [root]
    for number, route in enumerate(trace["steps"]):
        spans += _route(trace, route, str(number), answers)
    return spans


def _route(
    trace: dict[str, Any], route: dict[str, Any], number: str, answers: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The span of a route, and those of its steps."""
    answer = next((answer for answer in answers if answer["route"] == route["name"]), None)
    about = {
        "openinference.span.kind": "CHAIN",
        "input.value": trace["question"],
        "input.mime_type": "text/plain",
        "output.value": answer["text"] if answer else None,
        "output.mime_type": "text/plain" if answer else None,
    }
    wrong = answer["error"] if answer else ""
    span = _span(trace, "0", f"0.{number}", f"route {route['name']}", route["start_s"], route["seconds"], about, wrong)
    span["events"] = [_event(trace, step) for step in route["steps"] if _is_moment(step)]
    evidence = next((step["text"] for step in route["steps"] if step["kind"] == "evidence"), "")
    under = []
    for index, step in enumerate(route["steps"]):
        if not _is_moment(step):
            about = _about(step, trace["question"], evidence, answer)
            wrong = step.get("text", "failed") if step["kind"] == "error" else ""
            name = f"{step['kind']} {step['name']}"
            place = f"0.{number}.{index}"
            under.append(_span(trace, f"0.{number}", place, name, step["start_s"], step["seconds"], about, wrong))
    return [span, *under]


def _about(
    step: dict[str, Any], question: str, evidence: str, answer: dict[str, Any] | None
) -> dict[str, str | int | None]:
    """The attributes of a step's span."""
    kind, data = step["kind"], step.get("data", {})
    about: dict[str, str | int | None] = {
        "openinference.span.kind": SPAN_KINDS.get(kind, "CHAIN"),
        "metadata": json.dumps(data) if data else None,
    }
    if kind == "expert":
        about["tool.name"] = step["name"]
        about["input.value"], about["input.mime_type"] = json.dumps({"media": data.get("media")}), "application/json"
        about["output.value"] = json.dumps(step.get("findings", []), ensure_ascii=False)
        about["output.mime_type"] = "application/json"
    elif kind == "llm":
        about["llm.model_name"] = step["name"]
        read = f"{evidence}\n{question}" if evidence else question
        about["llm.input_messages.0.message.role"] = "user"
        about["llm.input_messages.0.message.content"] = read
        about["input.value"], about["input.mime_type"] = read, "text/plain"
        if answer:
            about["llm.output_messages.0.message.role"] = "assistant"
            about["llm.output_messages.0.message.content"] = answer["text"]
            about["output.value"], about["output.mime_type"] = answer["text"], "text/plain"
        prompt, completion = data.get("prompt_tokens", 0), data.get("answer_tokens", 0)
        if prompt:  # an endpoint does not tell
            about["llm.token_count.prompt"] = prompt
            about["llm.token_count.total"] = prompt + completion
        about["llm.token_count.completion"] = completion
    elif kind == "encode":
        about["embedding.model_name"] = step["name"]
    elif step.get("text"):
        about["output.value"], about["output.mime_type"] = step["text"], "text/plain"
    return about


def _is_moment(step: dict[str, Any]) -> bool:
    return step["kind"] in EVENTS or (step["kind"] == "error" and not step["seconds"])


def _event(trace: dict[str, Any], step: dict[str, Any]) -> dict[str, Any]:
    if step["kind"] == "error":
        name, about = "exception", {"exception.type": step["name"], "exception.message": step.get("text", "failed")}
    else:
        name, about = step["kind"], {"message": step.get("text", "")}
    return {"name": name, "timeUnixNano": _nanoseconds(trace, step["start_s"]), "attributes": _attributes(about)}


def _span(
    trace: dict[str, Any],
    parent: str,
    place: str,
    name: str,
    start_s: float,
    seconds: float,
    about: dict[str, Any],
    error: str,
) -> dict[str, Any]:
    """One span; `place` in the tree ("0.1.2") makes its id, so that an export twice is the same twice."""
    return {
        "traceId": trace["id"],
        "spanId": _span_id(trace, place),
        "parentSpanId": _span_id(trace, parent) if parent else "",
        "name": name,
        "kind": INTERNAL,
        "startTimeUnixNano": _nanoseconds(trace, start_s),
        "endTimeUnixNano": _nanoseconds(trace, start_s + seconds),
        "attributes": _attributes(about),
        "status": {"code": ERROR, "message": error} if error else {"code": OK},
    }


def _span_id(trace: dict[str, Any], place: str) -> str:
    return hashlib.sha256(f"{trace['id']} {place}".encode()).hexdigest()[:16]


def _nanoseconds(trace: dict[str, Any], offset_s: float) -> str:
    return str(int(trace["began"] * 1e6) * 1000 + int(offset_s * 1e9))  # a float holds microseconds since 1970


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    """OTLP's list of keys and typed values; None is left out."""
    return [
        {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": str(value)}}
        for key, value in values.items()
        if value is not None
    ]
