"""An answer set right where findings clearly contradict it; the answer itself stays as it was said."""

from __future__ import annotations

import re
from collections.abc import Sequence

from agent.answer import Claim
from agent.checking.claims import NUMBERS, number, sentences
from experts.base import Finding
from experts.evidence.categories import plural, singular

VOWELS = "aeiou"


def corrected(text: str, claims: Sequence[Claim], findings: Sequence[Finding]) -> str:
    """The answer as it should read, "" where no claim is contradicted in a way that can be set right."""
    parts = []
    changed = False
    for start, end in sentences(text):
        inside = [claim for claim in claims if start <= claim.start < end]
        corrected_sentence = _sentence(text[start:end], start, inside, findings)
        changed = changed or corrected_sentence != text[start:end]
        parts.append(corrected_sentence)
    return " ".join(part for part in parts if part) if changed else ""


def _sentence(text: str, offset: int, claims: Sequence[Claim], findings: Sequence[Finding]) -> str:
    wrong = [claim for claim in claims if claim.verdict == "contradicted"]
    gone = [claim for claim in wrong if claim.kind in ("object", "count", "absence") and not claim.better]
    gone = [claim for claim in gone if claim.kind != "count" or not claim.findings]  # too many to count is not gone
    if gone or (wrong and any(claim.text.lower() in ("yes", "no") for claim in wrong)):
        return _set_right(
            [*gone, *(c for c in wrong if c not in gone and c.text.lower() in ("yes", "no"))], claims, findings
        )
    for claim in sorted(wrong, key=lambda claim: -claim.start):
        if not claim.better:
            continue
        start, end = claim.start - offset, claim.end - offset
        text = _exchange(text, start, end, claim)
    return text


def _exchange(text: str, start: int, end: int, claim: Claim) -> str:
    """`text` in which characters [start, end), a claim, are what should stand there."""
    old, before, after = text[start:end], text[:start], text[end:]
    if claim.kind == "count":
        new = _counted(old, int(claim.better))
        if number(claim.better) == 1:
            before = re.sub(r"\b([Tt])here are $", r"\1here is ", before)
        elif re.match(r"(?:one|1)\b", old, re.I):
            before = re.sub(r"\b([Tt])here is $", r"\1here are ", before)
    elif claim.kind == "position":
        new = re.sub(
            r"(?:top|upper|bottom|lower|left|right|cent(?:er|re)|middle)(?:[ -](?:left|right|cent(?:er|re)))?$",
            claim.better,
            old,
            flags=re.I,
        )
    elif claim.kind == "object":
        many = old.lower().endswith("s") and singular(old) != old.lower()
        new = plural(claim.better) if many else claim.better
        article = "an" if new[:1].lower() in VOWELS else "a"
        before = re.sub(r"\b([Aa])n? $", lambda found: f"{'A' if found[1] == 'A' else 'a'}{article[1:]} ", before)
    else:
        new = claim.better
    return before + (new[:1].upper() + new[1:] if old[:1].isupper() and claim.kind not in ("text",) else new) + after


def _counted(old: str, count: int) -> str:
    """ "two brown dogs" with another number."""
    first, *rest = old.split(" ")
    said = str(count) if first.isdigit() or count >= len(NUMBERS) else NUMBERS[count]
    if rest:
        name = rest[-1] if (number(first) == 1) == (count == 1) else plural(rest[-1]) if count != 1 else _one(rest[-1])
        rest = [*rest[:-1], name]
    return " ".join([said, *rest])


def _one(word: str) -> str:
    return {"people": "person", "men": "man", "women": "woman", "children": "child"}.get(word.lower(), singular(word))


def _set_right(wrong: Sequence[Claim], claims: Sequence[Claim], findings: Sequence[Finding]) -> str:
    """What was found and what was not, in place of a sentence that cannot be mended."""
    held = [
        claim.text
        for claim in claims
        if claim.verdict == "supported" and claim.kind in ("object", "count") and claim.text.lower() != "yes"
    ]
    said = []
    if held:
        said.append(f"Found: {', '.join(dict.fromkeys(held))}.")
    for claim in wrong:
        lead = {"yes": "No: ", "no": "Yes: "}.get(claim.text.lower(), "")
        if claim.kind == "absence":
            count = len([n for n in claim.findings if findings[n].expert == "detect"])
            sentence = f"{count} {plural(claim.thing)} were found." if count > 1 else f"{claim.thing} was found."
        else:
            sentence = f"no {claim.thing} was found."
        said.append(lead + sentence if lead else sentence[:1].upper() + sentence[1:])
    return " ".join(dict.fromkeys(said))
