"""Claims against findings: which hold each one, which hold something else, and what that is."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher

from agent.answer import Claim
from agent.checking.claims import NUMBERS, WORD, number
from experts.base import Finding
from experts.evidence import is_called, place
from experts.evidence.categories import kinds_of, singular

SURE = 0.5  # score from which a finding speaks against an answer
READ = 0.7  # score from which a text that was read does
ALIKE = 0.6  # share of two texts that is the same, from which one is the other misread
MOST = 8  # findings that a claim lists
NAMES, TEXTS = ("detect", "tag"), ("ocr", "speech")
NEAR = [  # colours that the same thing may be called by; they contradict each other never
    {"brown", "orange"}, {"brown", "black"}, {"brown", "red"}, {"red", "orange"}, {"red", "pink"}, {"red", "purple"},
    {"orange", "yellow"}, {"yellow", "green"}, {"yellow", "white"}, {"yellow", "brown"}, {"green", "teal"},
    {"teal", "blue"}, {"blue", "purple"}, {"purple", "pink"}, {"gray", "white"}, {"gray", "black"}, {"gray", "brown"},
    {"gray", "blue"}, {"blue", "black"}, {"green", "black"},
]  # fmt: skip
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}


@dataclass(frozen=True)
class Seen:
    """What findings are about: sizes (width, height) of pictures by source; how many pictures there are.

    `whole`: a detector that knows COCO's classes has looked at every one of them, so that what it did not find is not
    there; `moving`: there is a video, where one thing may be found several times.
    """

    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    pictures: int = 1
    whole: bool = True
    moving: bool = False


def judge(claims: Sequence[Claim], findings: Sequence[Finding], seen: Seen) -> tuple[Claim, ...]:
    """The claims with their verdicts; `findings` are what their numbers count, from 0."""
    several = {
        c.thing
        for c in claims
        if c.kind == "colour" and any(o.thing == c.thing and o is not c for o in claims if o.kind == "colour")
    }
    judged = []
    for claim in claims:
        verdict = JUDGES[claim.kind](claim, findings, seen)
        if claim.kind == "colour" and claim.thing in several and verdict.verdict == "contradicted":
            verdict = replace(verdict, verdict="unsupported", better="")  # experts name one colour a thing
        judged.append(replace(verdict, findings=verdict.findings[:MOST]))
    return tuple(judged)


def _supported(claim: Claim, numbers: Sequence[int], reason: str) -> Claim:
    assert numbers, "nothing is supported without a finding"
    return replace(claim, verdict="supported", findings=tuple(numbers), reason=reason)


def _contradicted(claim: Claim, reason: str, numbers: Sequence[int] = (), better: str = "") -> Claim:
    return replace(claim, verdict="contradicted", findings=tuple(numbers), reason=reason, better=better)


def _unsupported(claim: Claim, reason: str) -> Claim:
    return replace(claim, reason=reason)


# Things


def _object(claim: Claim, findings: Sequence[Finding], seen: Seen) -> Claim:
    if hits := _named(claim.thing, findings):
        return _supported(claim, hits, f"{findings[hits[0]].text} was found")
    if hits := _mentioned(claim.thing, findings):
        return _supported(claim, hits, f"{findings[hits[0]].expert} says so")
    if not _must_be_seen(claim.thing, seen):
        return _unsupported(claim, f"no finding of {claim.thing}")
    boxed = [f for f in findings if f.expert == "detect"]
    clear = len({f.text for f in boxed}) == 1 and all(f.score >= SURE for f in boxed)
    better = boxed[0].text if clear and not seen.moving and claim.text.lower() != "yes" else ""
    return _contradicted(claim, f"no {claim.thing} was found", better=better)


def _absence(claim: Claim, findings: Sequence[Finding], seen: Seen) -> Claim:
    hits = [n for n in _named(claim.thing, findings) if findings[n].score >= SURE]
    if hits:
        return _contradicted(claim, f"{findings[hits[0]].text} was found", hits)
    return _unsupported(claim, f"nothing was found that says {claim.thing} is there, nor that it is not")


def _count(claim: Claim, findings: Sequence[Finding], seen: Seen) -> Claim:
    value = int(claim.value)
    boxed = [n for n in _named(claim.thing, findings) if findings[n].expert == "detect"]
    if said := _phrase(claim, findings):
        return _supported(claim, said, f"{findings[said[0]].expert} says so")
    if not boxed:
        if _named(claim.thing, findings):
            return _unsupported(claim, f"{claim.thing} was found, but not counted")
        if _must_be_seen(claim.thing, seen) and value:
            return _contradicted(claim, f"no {claim.thing} was found")
        return _unsupported(claim, f"no finding of {claim.thing}")
    groups = [
        [n for n in boxed if findings[n].source == source]
        for source in dict.fromkeys(findings[n].source for n in boxed)
    ]
    for group in [*groups, boxed]:
        sure = [n for n in group if findings[n].score >= SURE]
        for counted in (sure, group):
            if len(counted) == value and not seen.moving:
                return _supported(claim, counted, f"{value} found")
    if seen.moving or seen.pictures != 1 or len(groups) != 1:
        return _unsupported(claim, f"{len(boxed)} findings of {claim.thing}, in several pictures")
    sure = [n for n in boxed if findings[n].score >= SURE]
    if len(sure) <= value <= len(boxed):
        return _unsupported(claim, f"{len(sure)} to {len(boxed)} found")
    if value > len(boxed) and not seen.whole:
        return _unsupported(claim, f"{len(boxed)} found")
    clear = len(sure) == len(boxed)
    reason = f"{len(boxed)} found" if clear else f"{len(sure)} to {len(boxed)} found"
    return _contradicted(claim, reason, boxed, str(len(boxed)) if clear else "")


def _colour(claim: Claim, findings: Sequence[Finding], seen: Seen) -> Claim:
    hits = [n for n in _named(claim.thing, findings) if findings[n].expert == "detect"]
    if held := [n for n in hits if claim.value in str(findings[n].extra.get("colour") or "").split(" and ")]:
        return _supported(claim, held, f"{claim.thing} is {claim.value}")
    if held := _mentioned(f"{claim.value} {claim.thing}", findings):
        return _supported(claim, held, f"{findings[held[0]].expert} says so")
    colours = [str(findings[n].extra.get("colour") or "") for n in hits if findings[n].score >= SURE]
    if not colours or len(colours) < len(hits) or not all(colours):
        return _unsupported(claim, f"no finding of the colour of {claim.thing}")
    if any({word, claim.value} in NEAR for colour in colours for word in colour.split(" and ")):
        return _unsupported(claim, f"{claim.thing} is {colours[0]}, which is near")
    better = colours[0] if len(set(colours)) == 1 else ""
    return _contradicted(claim, f"{claim.thing} is {' and '.join(dict.fromkeys(colours))}", hits, better)


def _position(claim: Claim, findings: Sequence[Finding], seen: Seen) -> Claim:
    sides = str(claim.value).split()
    hits = [n for n in _named(claim.thing, findings) if findings[n].box and findings[n].source in seen.sizes]
    where = {n: place(findings[n].box or (), seen.sizes[findings[n].source]).split() for n in hits}
    if held := [n for n in hits if set(sides) <= set(where[n]) and (sides != ["center"] or where[n] == ["center"])]:
        return _supported(claim, held, f"{claim.thing} is there")
    if not hits:
        return _unsupported(claim, f"no finding of where {claim.thing} is")
    places = " and ".join(dict.fromkeys(" ".join(where[n]) for n in hits))
    against = [n for n in hits if findings[n].score >= SURE and any(OPPOSITE.get(side) in where[n] for side in sides)]
    if len(against) < len(hits):
        return _unsupported(claim, f"{claim.thing} is {places}")
    better = places if len({" ".join(where[n]) for n in hits}) == 1 else ""
    return _contradicted(claim, f"{claim.thing} is {places}", hits, better)


# Words


def _text(claim: Claim, findings: Sequence[Finding], seen: Seen) -> Claim:
    wanted = _tokens(str(claim.value))
    if not wanted:
        return _unsupported(claim, "no word to look for")
    best: tuple[float, list[int], str] = (0.0, [], "")
    for stream in _streams(findings):
        tokens = [token for token, _, _ in stream]
        for at in range(len(tokens) - len(wanted) + 1):
            window = stream[at : at + len(wanted)]
            numbers = list(dict.fromkeys(n for _, n, _ in window))
            if tokens[at : at + len(wanted)] == wanted:
                return _supported(claim, numbers, "it stands there")
            if all(findings[n].expert == "ocr" and findings[n].score >= READ for n in numbers):
                alike = SequenceMatcher(None, " ".join(wanted), " ".join(t for t, _, _ in window)).ratio()
                best = max(best, (alike, numbers, " ".join(raw for _, _, raw in window)))
    squeezed = "".join(wanted)
    if re.search(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]", squeezed):  # no spaces between words
        held = [n for n, f in enumerate(findings) if f.expert in TEXTS and squeezed in "".join(_tokens(f.text))]
        if held:
            return _supported(claim, held, "it stands there")
    for n, finding in enumerate(findings):  # a word more or less than was claimed
        if finding.expert == "ocr" and finding.score >= READ:
            alike = SequenceMatcher(None, " ".join(wanted), " ".join(_tokens(finding.text))).ratio()
            best = max(best, (alike, [n], finding.text.strip()))
    if best[0] >= ALIKE and '"' not in best[2]:
        return _contradicted(claim, f"what stands there is '{best[2]}'", best[1], best[2])
    return _unsupported(claim, "no such text was read or heard")


def _number(claim: Claim, findings: Sequence[Finding], seen: Seen) -> Claim:
    value = _tokens(str(claim.value))
    others: list[tuple[int, str]] = []
    for stream in _streams(findings):
        for at, (token, n, _) in enumerate(stream):
            if not claim.thing and [token] == value:
                return _supported(claim, [n], "it was read or heard")
            if claim.thing and token == singular(claim.thing):
                for after, m, raw in stream[at + 1 : at + 3]:
                    if [after] == value:
                        return _supported(claim, list(dict.fromkeys([n, m])), "it was read or heard")
                    if after[0].isdigit():
                        others.append((m, raw))
                        break
    if others and len({raw for _, raw in others}) == 1:
        n, raw = others[0]
        if findings[n].score >= SURE:
            shown = NUMBERS[int(raw)] if str(claim.value).isalpha() and raw.isdigit() and int(raw) <= 20 else raw
            better = f"{claim.text.rsplit(' ', 1)[0]} {shown}"
            return _contradicted(claim, f"what was read or heard is {claim.thing} {raw}", [n], better)
    return _unsupported(claim, "no such number was read or heard")


def _name(claim: Claim, findings: Sequence[Finding], seen: Seen) -> Claim:
    held = [
        n
        for n, finding in enumerate(findings)
        if _tokens(str(claim.value)) and _within(_tokens(str(claim.value)), _tokens(finding.text))
    ]
    if held:
        return _supported(claim, held, f"{findings[held[0]].expert} says so")
    return _unsupported(claim, "no such name was read, heard or seen")


JUDGES: dict[str, Callable[[Claim, Sequence[Finding], Seen], Claim]] = {
    "object": _object, "absence": _absence, "count": _count, "colour": _colour, "position": _position, "text": _text,
    "number": _number, "name": _name,
}  # fmt: skip


# Looking things up


def _named(thing: str, findings: Sequence[Finding]) -> list[int]:
    """Findings of things that answer to `thing`."""
    return [n for n, finding in enumerate(findings) if finding.expert in NAMES and is_called(thing, finding)]


def _mentioned(phrase: str, findings: Sequence[Finding]) -> list[int]:
    """Findings in sentences (captions, speech, plug-ins) that hold `phrase` word for word.

    What was read does not count: a sign that says DOG is no dog.
    """
    wanted = _tokens(phrase)
    return [
        n
        for n, finding in enumerate(findings)
        if finding.expert not in (*NAMES, "ocr")
        and wanted
        and _within(wanted, _tokens(finding.text))
        and not _denies(finding.text)
    ]


def _denies(text: str) -> bool:
    return re.search(r"\b(?:no|not|without|never|nothing|none)\b|n't\b", text.lower()) is not None


def _phrase(claim: Claim, findings: Sequence[Finding]) -> list[int]:
    """Findings that say how many, word for word: "two dogs"."""
    wanted = [str(claim.value), *_tokens(claim.thing)]
    return [n for n in _mentioned(claim.thing, findings) if _within(wanted, _tokens(findings[n].text))]


def _within(wanted: Sequence[str], tokens: Sequence[str]) -> bool:
    return any(list(tokens[at : at + len(wanted)]) == list(wanted) for at in range(len(tokens) - len(wanted) + 1))


def _streams(findings: Sequence[Finding]) -> Iterator[list[tuple[str, int, str]]]:
    """What was read and what was heard in each medium, as (token, number of its finding, word as it stands)."""
    for expert, source in dict.fromkeys((f.expert, f.source) for f in findings if f.expert in TEXTS):
        yield [
            (_token(match[0]), n, match[0])
            for n, finding in enumerate(findings)
            if (finding.expert, finding.source) == (expert, source)
            for match in WORD.finditer(finding.text)
        ]


def _tokens(text: str) -> list[str]:
    return [_token(match[0]) for match in WORD.finditer(text)]


def _token(word: str) -> str:
    """A word for comparing: lower case, singular; a number as a numeral."""
    value = number(word)
    return singular(word.replace("\u2019", "'")) if value is None else str(value)


def _must_be_seen(thing: str, seen: Seen) -> bool:
    """Whether not having found a thing means that it is not there."""
    return seen.whole and thing in _classes()


@functools.lru_cache(maxsize=1)
def _classes() -> frozenset[str]:
    """What a COCO detector has a word for, and the kinds all of whose common members it has."""
    from experts.weights.convert.nanodet import COCO

    names = {name.replace("_", " ") for name in COCO}
    kinds = {kind for name in names for kind in kinds_of(name)}
    narrow = {"animal", "food", "fruit", "furniture", "plant", "flower", "glass", "bag", "ball", "table", "computer"}
    return frozenset(" ".join(singular(word) for word in name.split()) for name in names | (kinds - narrow))
