"""An answer as a card of the comparison: its words with citations, what it cost, and how it came about, as HTML."""

from __future__ import annotations

import html
from collections.abc import Sequence

from agent.answer import Answer, Step
from experts.base import Finding
from ui.app.components.evidence import colour
from ui.app.components.steps import MOST_LINES, MOST_LINKS, Timeline, cited, duration, says, title
from ui.app.words import say


def card(line: Timeline, findings: Sequence[Finding], language: str = "en") -> str:
    """HTML of one route's answer so far, or why there is none."""
    if line.error:
        return f"<p class='said failed'>⚠ {html.escape(line.error)}</p>"
    parts = [part for part in line.parts if not part.aside]
    answer = next((part.answer for part in parts if part.answer is not None), None)
    steps = [step for part in line.parts for step in part.steps]
    if answer is None:
        text = "".join(part.text for part in parts).strip()
        doing = html.escape(title(steps[-1], language)) if steps else say(language, "thinking")
        said = f"<p class='said' dir='auto'>{html.escape(text)}</p>" if text else ""
        return f"{said}<p class='doing' role='status'>{doing} …</p>"
    mark = " failed" if answer.error else ""
    told = [f"<p class='said{mark}' dir='auto'>{'⚠ ' if mark else ''}{with_citations(answer, findings)}</p>"]
    if answer.check and answer.check.corrected:
        told.append(f"<p class='note'>✓ {html.escape(say(language, 'corrected', answer.check.corrected))}</p>")
    told.append(f"<p class='cost'>{html.escape(cost(answer, language))}</p>")
    told.append(_how(steps, language))
    return "".join(told)


def with_citations(answer: Answer, findings: Sequence[Finding]) -> str:
    """The answer's words, each sentence followed by the findings it rests on; a connector rests on none of them."""
    parts, at = [], 0
    for end, number in cited(answer, findings)[:MOST_LINKS]:
        parts.append(html.escape(answer.text[at:end]))
        at = max(at, end)
        told = html.escape(findings[number - 1].text[:60], quote=True)
        parts.append(
            f"<button type='button' class='cite' data-finding='{number}' style='{colour(number)}' "
            f"aria-label='{number}: {told}'>{number}</button>"
        )
    return "".join(parts) + html.escape(answer.text[at:].rstrip())


def cost(answer: Answer, language: str) -> str:
    """Seconds, tokens and confidence on one line."""
    tokens = sum(step.data.get("answer_tokens", 0) for step in answer.trace if step.kind == "llm")
    parts = [duration(answer.seconds)]
    parts += [f"{tokens} {say(language, 'tokens')}"] if tokens else []
    parts += [f"{say(language, 'sure')} {answer.confidence:.2f}"] if answer.confidence else []
    return " · ".join(parts)


def _how(steps: Sequence[Step], language: str) -> str:
    rows = []
    for step in steps:
        lines = "".join(f"<div>{html.escape(told)}</div>" for told in _lines(step))
        took = f" <small>{duration(step.seconds)}</small>" if step.seconds >= 0.0005 else ""
        rows.append(f"<li><b>{html.escape(title(step, language))}</b>{took}{lines}</li>")
    head = f"{say(language, 'how')} · {len(steps)} {say(language, 'steps')}"
    return f"<details class='how'><summary>{head}</summary><ol>{''.join(rows)}</ol></details>"


def _lines(step: Step) -> list[str]:
    if step.kind == "expert":
        found = [f"{finding.text} {finding.score:.2f}" for finding in step.findings[:MOST_LINES]]
        return found + ["…"] * (len(step.findings) > MOST_LINES)
    if step.kind == "connect":
        return says(step)
    if step.kind == "encode":
        return [f"{step.data.get('features')} → {step.data.get('tokens')}"]
    return [line for line in step.text.splitlines() if line.strip()]
