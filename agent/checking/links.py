"""Which findings each sentence of an answer rests on: a box to look at, a second to listen to."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Sequence

from agent.answer import Answer, Link
from agent.checking.claims import STOP, WORD, number, sentences
from experts.base import Finding
from experts.evidence.categories import kinds_of, singular

MOST_LINKS = 8  # of one sentence
MOST_FINDINGS = 200  # that are looked through
LONGEST = 2000  # characters of a finding that are compared
NAMED = ("detect", "tag")  # experts whose findings are names of things


def links_of(answer: Answer) -> tuple[Link, ...]:
    """The links of a finished answer: by its words, by what its evidence cites, and by the claims that were checked."""
    cited = {id(finding) for step in answer.trace if step.kind == "evidence" for finding in step.findings}
    asked = {number for number, finding in enumerate(answer.findings) if id(finding) in cited}
    held = [
        (claim.start, number)
        for claim in (answer.check.claims if answer.check else ())
        if claim.verdict == "supported"
        for number in claim.findings
    ]
    return find(answer.text, answer.findings, asked, held)


def find(
    text: str,
    findings: Sequence[Finding],
    cited: Collection[int] = (),
    held: Sequence[tuple[int, int]] = (),
) -> tuple[Link, ...]:
    """Links from the sentences of `text` to the findings that they name or repeat.

    A finding of number `cited` that no sentence names belongs to the last one. `held` are pairs of a position in the
    text and a finding that is known to support what stands there.
    """
    spans = sentences(text)
    marks: list[list[int]] = [[] for _ in spans]
    for at, finding in held:
        row = next((row for row, (start, end) in enumerate(spans) if start <= at < end), None)
        if row is not None and finding not in marks[row]:
            marks[row].append(finding)
    for (start, end), numbers in zip(spans, marks, strict=True):
        words = _words(text[start:end])
        grams = {" ".join(words[at : at + n]) for n in (1, 2, 3, 4) for at in range(len(words) - n + 1)}
        numbers += [
            n for n, f in enumerate(findings[:MOST_FINDINGS]) if n not in numbers and _supports(f, words, grams)
        ]
    if marks:
        linked = {number for numbers in marks for number in numbers}
        marks[-1] += [number for number in sorted(cited) if number not in linked]
    return tuple(
        Link(start, end, number)
        for (start, end), numbers in zip(spans, marks, strict=True)
        for number in sorted(numbers)[:MOST_LINKS]
    )


def _supports(finding: Finding, words: Sequence[str], grams: Collection[str]) -> bool:
    if finding.expert in NAMED:
        return any(form in grams for form in _forms(finding.text))
    said = _words(finding.text[:LONGEST])
    content = {word for word in words if word not in STOP}
    shared = content & set(said)
    if not shared or (len(finding.text.strip()) < 3 and len(content) > 1):
        return False
    whole = {word for word in said if word not in STOP}
    return whole <= content or 2 * len(shared) >= len(content) or len(shared) >= 3


@functools.lru_cache(maxsize=4096)
def _forms(name: str) -> tuple[str, ...]:
    """How a thing called `name` may be called: by its name, its head noun or a kind that it is one of."""
    parts = _words(name)
    ends = [" ".join(parts[at:]) for at in range(len(parts))]
    return tuple(dict.fromkeys([*ends, *(" ".join(_words(kind)) for kind in kinds_of(name))]))


def _words(text: str) -> list[str]:
    """Words in the singular, lower case, numbers as numerals."""
    found = []
    for match in re.finditer(WORD, text):
        value = number(match[0])
        found.append(singular(match[0].replace("\u2019", "'")) if value is None else str(value))
    return found
