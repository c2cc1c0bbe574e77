"""The Steps of an answer as a chat shows them: a timeline that grows, the answer as it is said, links to its evidence.

The same Steps as the command line's, the server's and the trace's: nothing is shown here that is not in them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.answer import Answer, Link, Step
from agent.checking.links import find
from experts.base import Finding
from ui.app.words import say

MOST_LINES = 12  # findings of a step that its entry in the timeline lists; the rest is counted
MOST_LINKS = 8  # from one answer to its evidence
MOST_NUMBER = 99  # of a finding that is linked to
SURE = 0.3  # score from which a thing that the connector says is worth showing
ICONS = {"error": "⚠", "fallback": "↪", "note": "ℹ", "stop": "■", "llm": "✎", "check": "✓"}


@dataclass
class Part:
    """What one route did: its steps, the text so far, its answer."""

    route: str
    steps: list[Step] = field(default_factory=list)
    text: str = ""
    answer: Answer | None = None
    aside: bool = False  # another route answered in its place


class Timeline:
    """Takes the Steps of one question as they come and gives the chat's messages, the same at any moment.

    `turn` is the question's number in its conversation, for links to its evidence; 0 where there is nothing to link to.
    """

    def __init__(self, language: str = "en", turn: int = 1) -> None:
        self.language, self.turn = language, turn
        self.parts: list[Part] = []
        self.handed = False  # from one route to another
        self.error = ""

    def add(self, step: Step) -> None:
        """What happened next."""
        part = self._part(step)
        if step.kind == "token":
            part.text += step.text
        elif step.answer is not None:
            part.answer = step.answer
        else:
            part.steps.append(step)

    def answers(self) -> list[Answer]:
        """The answers that are complete."""
        return [part.answer for part in self.parts if part.answer is not None]

    def findings(self) -> list[Finding]:
        """What the experts found for these answers, or have found so far."""
        found = max((answer.findings for answer in self.answers()), key=len, default=())
        if found:  # routes that answer beside each other have the same findings, one of them perhaps some more
            return list(found)
        return [
            finding for part in self.parts for step in part.steps if step.kind == "expert" for finding in step.findings
        ]

    def messages(self) -> list[dict[str, Any]]:
        """The messages of the assistant: for each route its steps in one entry that opens, then its answer."""
        made: list[dict[str, Any]] = []
        for number, part in enumerate(self.parts):
            working = part.answer is None and not part.aside and not self.error
            made += self._thoughts(part, f"{self.turn}.{number}", working)
            if not part.aside and (part.text or part.answer):
                made.append({"role": "assistant", "content": self._said(part)})
        if self.error:
            made.append({"role": "assistant", "content": f"⚠ {plain(self.error)}"})
        if not made:
            title = say(self.language, "thinking")
            made.append({"role": "assistant", "content": "", "metadata": {"title": title, "status": "pending"}})
        return made

    def _part(self, step: Step) -> Part:
        if step.kind == "fallback":
            self.handed = True
            for part in self.parts:
                part.aside = True
            self.parts.append(Part(step.route))
        elif step.answer is not None and self.handed:  # where the second route failed, the first one's answer stands
            for part in self.parts:
                part.aside = part.route != step.route
            return next(part for part in self.parts if part.route == step.route)
        elif known := next((part for part in reversed(self.parts) if part.route == step.route), None):
            return known
        else:
            self.parts.append(Part(step.route))
        return self.parts[-1]

    def _thoughts(self, part: Part, key: str, working: bool) -> list[dict[str, Any]]:
        seconds = max((step.start_s + step.seconds for step in part.steps), default=0.0)
        seconds -= min((step.start_s for step in part.steps), default=0.0)
        parent: dict[str, Any] = {
            "title": f"{part.route} · {say(self.language, 'how')}",
            "id": key,
            "log": f"{len(part.steps)} {say(self.language, 'steps')} · {duration(seconds)}",
            "status": "pending" if working else "done",
        }
        made = [{"role": "assistant", "content": "", "metadata": parent}]
        entries = [(title(step, self.language), detail(step, self.language), step.seconds) for step in part.steps]
        if part.aside and part.text:
            entries.append((say(self.language, "s_first"), plain(part.text.strip()), 0.0))
        for number, (told, body, took) in enumerate(entries):
            metadata = {"title": plain(told), "id": f"{key}.{number}", "parent_id": key, "status": "done"}
            if took >= 0.0005:
                metadata["log"] = duration(took)
            made.append({"role": "assistant", "content": body, "metadata": metadata})
        return made

    def _said(self, part: Part) -> str:
        answer = part.answer
        if answer is None:
            return plain(part.text.strip())
        several = len([other for other in self.parts if not other.aside]) > 1
        lines = [linked(answer, self.findings(), self.turn)]
        if answer.fallback:
            told = answer.fallback
            lines.append(f"*{plain(say(self.language, 'because', told.from_, told.to, told.reason))}*")
        if answer.check and answer.check.corrected:
            lines.append(f"✓ *{plain(say(self.language, 'corrected', answer.check.corrected))}*")
        if answer.error:
            lines[0] = f"⚠ {lines[0]}"
        figures = facts(answer, self.language)
        links = (
            f" · [{say(self.language, 'evidence')}](#evidence-{self.turn}-0)" if self.turn and self.findings() else ""
        )
        lines.append(f"<small>{answer.route + ' · ' if several or answer.fallback else ''}{figures}{links}</small>")
        return "\n\n".join(lines)


def title(step: Step, language: str) -> str:
    """A step's name in the timeline, with its result in a few words."""
    icon = f"{ICONS[step.kind]} " if step.kind in ICONS else ""
    if step.kind == "expert":
        count = len(step.findings)
        return f"{step.name} · {count} {say(language, 's_finding' if count == 1 else 's_expert')}"
    if step.kind == "media":
        return f"{icon}{step.name} · {_size(step)}"
    if step.kind == "error":
        return f"{icon}{step.name} · {say(language, 's_error')}"
    named = f" · {step.name}" if step.kind in ("encode", "connect", "llm") else ""
    key = f"s_{step.kind}"
    return f"{icon}{say(language, key)}{named}"


def detail(step: Step, language: str) -> str:
    """What opens under a step's title."""
    data = step.data
    if step.kind == "media":
        return f"sha256 `{data.get('sha256', '')[:16]}`"
    if step.kind == "expert":
        lines = [f"- {line(finding)}" for finding in step.findings[:MOST_LINES]] or [say(language, "nothing")]
        if len(step.findings) > MOST_LINES:
            lines.append(f"- {say(language, 'more', len(step.findings) - MOST_LINES)}")
        if data.get("weights"):
            lines.append(f"\n{say(language, 'by')} `{data['weights']}`")
        return "\n".join(lines)
    if step.kind == "encode":
        return (
            f"{len(data.get('images', ()))} × {data.get('features')} → {data.get('tokens')} {say(language, 'tokens')}"
        )
    if step.kind == "connect":
        return "\n".join(f"- {plain(thing)}" for thing in says(step)) or say(language, "s_connect")
    if step.kind == "llm":
        adapter = f" + `{data['adapter']}`" if data.get("adapter") else ""
        return (
            f"{data.get('prompt_tokens', 0)} → {data.get('answer_tokens', 0)} {say(language, 'tokens')}, "
            f"{duration(data.get('first_token_s', 0.0))} → 1{adapter}"
        )
    return plain(step.text)


def says(step: Step) -> list[str]:
    """The things that a connector names, where it can tell them: what its soft tokens stand for."""
    return [
        f"{' '.join(str(slot[key]) for key in ('colour', 'name', 'place') if slot.get(key))} {slot['score']:.2f}"
        for picture in step.data.get("says", ())
        for slot in picture
        if slot["score"] > SURE
    ]


def linked(answer: Answer, findings: Sequence[Finding], turn: int) -> str:
    """An answer's text in Markdown, each sentence followed by links to the findings it rests on."""
    parts: list[str] = []
    at = 0
    for end, number in cited(answer, findings)[:MOST_LINKS]:
        if end > at:
            parts.append(plain(answer.text[at:end]))
            at = end
        span = findings[number - 1].span
        told = f"{number} · {clock(span[0])}" if span else f"{number}"
        parts.append(f" [\\[{told}\\]](#evidence-{turn}-{number})" if turn else f" \\[{told}\\]")
    return "".join([*parts, plain(answer.text[at:].rstrip())])


def cited(answer: Answer, findings: Sequence[Finding]) -> list[tuple[int, int]]:
    """(end of a sentence, number from 1 of a finding that it rests on), in the order of the text, each finding once.

    Only an answer that was made from findings cites any: what the experts saw is no evidence of a connector's.
    """
    if not any(step.kind in ("expert", "evidence") for step in answer.trace) or answer.route == "connector":
        return []
    told: dict[int, int] = {}
    for link in _links(answer, findings):
        if link.finding < min(len(findings), MOST_NUMBER):
            told.setdefault(link.finding + 1, link.end)
    return sorted(((end, number) for number, end in told.items()), key=lambda one: one[0])


def _links(answer: Answer, findings: Sequence[Finding]) -> Sequence[Link]:
    if answer.links and len(answer.findings) <= len(findings):
        return answer.links
    shown = {id(finding) for step in answer.trace if step.kind == "evidence" for finding in step.findings}
    return find(answer.text, findings, [number for number, f in enumerate(findings) if id(f) in shown])


def facts(answer: Answer, language: str) -> str:
    """An answer's time, tokens, confidence and the experts it used, on one line."""
    spoken = [step for step in answer.trace if step.kind == "llm"]
    used = list(dict.fromkeys(step.name for step in answer.trace if step.kind == "expert"))
    parts = [duration(answer.seconds)]
    if spoken:
        parts.append(f"{sum(step.data.get('answer_tokens', 0) for step in spoken)} {say(language, 'tokens')}")
    if answer.confidence:
        parts.append(f"{say(language, 'sure')} {answer.confidence:.2f}")
    if used:
        parts.append(f"{say(language, 'experts_used')}: {plain(', '.join(used))}")
    return " · ".join(parts)


def line(finding: Finding) -> str:
    """A finding on one line."""
    colour = f" ({finding.extra['colour']})" if finding.extra.get("colour") else ""
    when = f" · {clock(finding.span[0])}-{clock(finding.span[1])}" if finding.span else ""
    return f"{plain(finding.text + colour)} · {finding.score:.2f}{when}"


def duration(seconds: float) -> str:
    """Milliseconds below a second, seconds above."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def clock(seconds: float) -> str:
    """A time in a recording: 0:07.5"""
    return f"{int(seconds) // 60}:{seconds % 60:04.1f}"


def plain(text: str) -> str:
    """Text that Markdown shows as it is: what people, media or a model say becomes no link, picture, list or HTML.

    ui/app/app.js takes the backslashes out again where such a text is copied or edited.
    """
    text = re.sub(r"([\\`*_\[\]<>~|&])", r"\\\1", text)
    text = re.sub(r"(?m)^(\s*)([#+=-])", r"\1\\\2", text)
    text = re.sub(r"(?m)^(\s*\d+)([.)])", r"\1\\\2", text)  # no numbered list
    text = re.sub(r"(?<=://)(?=\w)|(?<=\bwww)(?=\.)|(?<=\w)(?=@\w)", "\u2060", text)  # an address becomes no link
    text = re.sub(r" {2,}", lambda spaces: "\u00a0" * len(spaces[0]), text)
    return text.replace("\n", "  \n")


def _size(step: Step) -> str:
    if "size_px" in step.data:
        return "{} × {} px".format(*step.data["size_px"])
    return f"{step.data.get('duration_s', 0.0):.1f} s"
