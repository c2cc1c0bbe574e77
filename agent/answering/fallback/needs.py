"""What a question wants, and whether the findings speak of it: what a policy must know to decide."""

from __future__ import annotations

import re
from collections.abc import Sequence

from experts.base import Finding
from experts.evidence.asked import asked_thing, things
from experts.evidence.categories import matches, singular

PICTURE = r"(?:the|this) (?:image|picture|photo|photograph|scene)"
WORDS = (  # of a question -> its kind, the first that fits
    (r"\bhow many\b|\bcount\b|\bnumber of\b", "count"),
    (r"\b(?:what|which)\b.*\bcolou?rs?\b", "colour"),
    (r"\b(?:what|which)(?: is the)? shape\b|^what (?:is|are) the \w+ shapes?\b", "shape"),
    (r"\bwhere\b|\b(?:what|which) (?:\w+ )?(?:side|corner|part|place)\b", "position"),
    (r"\b(?:bigger|larger|smaller|biggest|largest|smallest|size)\b", "size"),
    (rf"\b(?:left|right) of (?!{PICTURE})|\babove\b|\bbelow\b|\bnext to\b|\bbetween\b", "relation"),
    (r"\b(?:said|say|says|speak|speaker|hear|heard|spoken|voice|talk|announce)\w*\b.*", "speech"),
    (r"\b(?:read|written|write|text|sign|label|title|spell)\w*\b|^(?:what|which) words?\b", "text"),
    (r"\b(?:what|which) (?:type|kind|sort|category)\b|^(?:what|which) .*\bcategory\b", "category"),
    (r"^(?:what|which|name)\b.*\b(?:top|bottom|left|right|middle|cent(?:er|re))\b", "name"),
    (r"\b(?:describe|description|caption)\b|what is (?:in|on|happening)\b|what can you see", "caption"),
    (r"^(?:is|are|does|do|can|has|have|was|were)\b", "existence"),
)
# How findings cover a question, best first: they speak of what is asked; the experts know such things and saw none;
# they have no word for it; they found nothing at all; there is nothing to see, so only the experts can answer.
COVERAGE = ("named", "silent", "beyond", "nothing", "sound")
OPEN = ("name", "category", "caption", "dialogue")  # kinds that ask what is there, not about a thing
PLACED = ("colour", "position", "relation", "size")  # kinds that take a box to answer
SURE_TAG = 0.5  # a tag from which on it says what the picture shows
LONGEST = 2000  # characters of a finding that are looked at: an expert may return a megabyte


def kind_of(question: str, *, heard: bool = False) -> str:
    """What kind of answer a question wants, one of connector.data.records.KINDS; `heard`: it is about sound.

    >>> kind_of("How many dogs are there?"), kind_of("What is the color of the bus?"), kind_of("What is this?")
    ('count', 'colour', 'name')
    """
    text = question.strip().lower()
    for pattern, kind in WORDS:
        if re.search(pattern, text):
            return kind if kind not in ("speech", "text") else "speech" if heard else "text"
    return "speech" if heard else "name"


def coverage(question: str, kind: str, findings: Sequence[Finding], *, seen: bool = True) -> str:
    """How `findings` cover a question of `kind`, one of COVERAGE; `seen`: there is a picture or a video to look at."""
    if not seen:
        return "sound"
    if not findings:
        return "nothing"
    if kind in ("text", "speech"):
        return "named" if any(f.expert == ("ocr" if kind == "text" else "speech") for f in findings) else "silent"
    known = things(question)
    asked = known or tuple(filter(None, [asked_thing(question)]))
    if kind in OPEN and not asked:
        named_by_experts = any(f.expert != "tag" or f.score >= SURE_TAG for f in findings)
        return "named" if named_by_experts else "silent"
    fit = [f for f in findings if f.box is not None or kind not in PLACED]
    if asked and all(any(_speaks(f, thing) for f in fit) for thing in asked):
        return "named"
    return "silent" if known else "beyond"


def _speaks(finding: Finding, thing: str) -> bool:
    """Whether a finding is about a thing: by its name or kind, or, where it is a sentence, by its words."""
    if matches(thing, finding.text[:LONGEST]):
        return True
    words = " ".join(singular(word) for word in re.findall(r"[a-z'-]+", finding.text[:LONGEST].lower()))
    return finding.expert not in ("detect", "tag") and f" {thing} " in f" {words} "
