"""Findings -> the evidence text that the language model answers from: what was found, what was not, what is counted."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence

from experts.base import Finding
from experts.evidence.asked import asked_things
from experts.evidence.categories import kinds_of, matches, plural

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
MAX_CHARS = 2000  # of the evidence; the least certain findings are left out first, and that is said
LEFT_OUT = " ... (more findings left out)"
# Quotation marks that look like ".
QUOTES = re.compile('["\u201c-\u201f\u2033\u2036\u3003\u301d-\u301f\uff02\u275d\u275e\u02ba\u02dd\u02ee]')
LONGEST = 20_000  # characters of one text that are looked at: an expert may return a megabyte
JOINERS = "\u200c\u200d"  # invisible, but letters and emoji are not the same without them
BUILT_IN = ("detect", "tag", "ocr", "speech", "caption")
SURE_TAG, LIKELY_TAG = 0.5, 0.15  # score from which on a tag says what the picture is, and what it may be
NOTHING = "Nothing was found."


def place(box: Sequence[float], size: tuple[int, int]) -> str:
    """Which ninth of a picture of (width, height) holds a box's centre: 'top left' ... 'center' ... 'bottom right'."""
    x, y = (box[0] + box[2]) / 2 / size[0], (box[1] + box[3]) / 2 / size[1]
    row, column = ROWS[min(int(y * 3), 2)], COLUMNS[min(int(x * 3), 2)]
    if row == "middle":
        return column
    return row if column == "center" else f"{row} {column}"


def compose_evidence(
    findings: Sequence[Finding],
    question: str,
    sizes: Mapping[str, tuple[int, int]] | None = None,
    failed: Collection[str] = (),
    looked: Collection[str] = (),
    about: Sequence[str] = (),
) -> str:
    """What was found in one medium, what was not, and how often what is asked about was seen.

    `sizes` maps a finding's source to the (width, height) of its picture, for places. `looked` names the experts that
    looked and came to an end: where one of them found nothing, the text says so. `failed` names those that could not
    look, whose silence must not pass for absence. `about` are sentences on the medium itself (its length, what of it
    was not looked at).
    """
    sizes = sizes or {}
    of = {name: [f for f in findings if f.expert == name] for name in BUILT_IN}
    could = set(looked) - set(failed)
    seen = bool(sizes) or bool(of["detect"] or of["tag"])  # of sound alone nothing was to be seen
    seen = seen and not {"detect", "tag"} & set(failed)  # else not having found it says nothing
    facts = asked_facts(question, of["detect"], of["tag"]) if seen else ""
    lines = [
        *about,
        _objects(of["detect"], sizes, "detect" in could),
        _tags(of["tag"], could),
        facts,
        _texts(of["ocr"]) or ("Text: no text was found." if "ocr" in could else ""),
        _speech(of["speech"]) or ("Speech: nobody was heard speaking." if "speech" in could else ""),
        *(f"{f.expert}: {quoted(f.text)}." for f in findings if f.expert not in BUILT_IN),
    ]
    if failed:
        lines.append(f"Could not look: {', '.join(failed)}.")
    kept = [line for line in lines if line]
    text = "\n".join(kept)
    if len(text) > MAX_CHARS:
        text = text[:MAX_CHARS].rsplit(" ", 1)[0]
        still_open = text.count('"') % 2  # else what follows would stand in the quote, and the next quote outside
        text += ('"' if still_open else "") + LEFT_OUT
    return text or NOTHING


def asked_facts(question: str, things: Sequence[Finding], tags: Sequence[Finding]) -> str:
    """Whether and how often each thing that the question names was seen, counted here and not by the language model.

    >>> asked_facts("How many dogs and cats?", [Finding("detect", "dog", 0.9), Finding("detect", "dog", 0.8)], [])
    'Asked about: dog: yes, 2 seen; cat: no, none seen.'
    """
    facts = []
    for thing in asked_things(question):
        count = sum(is_called(thing, finding) for finding in things)
        kinds = [tag.score for tag in tags if matches(thing, tag.text)]
        if count:
            fact = f"yes, {count} seen"
        elif sum(kinds) >= SURE_TAG:
            fact = "yes, the whole looks like one"
        elif max(kinds, default=0.0) >= LIKELY_TAG:
            first = kinds and kinds[0] == max(tag.score for tag in tags)
            fact = f"{'probably yes' if first else 'perhaps'}, the whole may look like one"
        else:
            fact = "no, none seen"
        facts.append(f"{clean(thing)}: {fact}")
    return f"Asked about: {'; '.join(facts)}." if facts else ""


def is_called(thing: str, finding: Finding) -> bool:
    """Whether a finding's name, or what its part of the picture looks like, is `thing` or one of its kind."""
    return any(matches(thing, name) for name in (finding.text, str(finding.extra.get("like") or "")) if name)


def clean(text: str) -> str:
    """Text from media as one line of data: nothing invisible, no chat markers, at most 400 characters."""
    text = "".join(c for c in text[:LONGEST] if unicodedata.category(c) not in ("Cf", "Co", "Cn") or c in JOINERS)
    text = "".join(c if unicodedata.category(c) != "Cc" else " " for c in text)
    text = re.sub(r"<\|.*?\|>", " ", text)
    return re.sub(r"\s+", " ", text).strip()[:400]


def _objects(findings: Sequence[Finding], sizes: Mapping[str, tuple[int, int]], looked: bool) -> str:
    if not findings:
        return "Objects: none were detected." if looked else ""
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(clean(finding.text) or "thing", []).append(finding)
    parts = []
    for name, group in groups.items():
        where = [_told(f, sizes) for f in group]
        shown = "; ".join(w for w in where if w)
        parts.append(f"{len(group)} {plural(name) if len(group) > 1 else name}" + (f" ({shown})" if shown else ""))
    return f"Objects: {', '.join(parts)}." + (" Nothing else was detected." if looked else "")


def _told(finding: Finding, sizes: Mapping[str, tuple[int, int]]) -> str:
    """What is told of one thing beside its name: 'beagle, brown left', 'red clothes, black legs, center 0-3 s'."""
    extra = {key: clean(str(value)) for key, value in finding.extra.items() if value}
    at = place(finding.box, sizes[finding.source]) if finding.box and finding.source in sizes else ""
    when = f"{finding.span[0]:.0f}-{finding.span[1]:.0f} s" if finding.span else ""
    where = " ".join(part for part in (extra.get("colour", ""), at, when) if part)
    worn = [f"{extra[part]} {part}" for part in ("clothes", "legs") if part in extra]
    return ", ".join(part for part in (extra.get("like", ""), *worn, where) if part)


def _tags(findings: Sequence[Finding], looked: Collection[str]) -> str:
    """What the whole looks like; without percentages, which are read as counts."""
    likely = [finding for finding in findings[:5] if finding.score >= LIKELY_TAG]
    if not likely:
        unclear = "tag" in looked or bool(findings)
        return "It is not clear what the whole picture shows." if unclear else ""
    if likely[0].score >= SURE_TAG:
        return f"Looks like: {_of_a_kind(likely[0].text)}."
    if kind := _common_kind(findings[:5]):
        return f"Looks like: {kind} ({' or '.join(clean(finding.text) for finding in likely[:2])})."
    return f"May look like: {' or '.join(_of_a_kind(finding.text) for finding in likely[:2])}."


def _common_kind(tags: Sequence[Finding]) -> str:
    """The narrowest everyday word that is surely above what the whole looks like, though no single class is sure."""
    shares: dict[str, float] = {}
    for tag in tags:
        for kind in kinds_of(tag.text):
            shares[kind] = shares.get(kind, 0.0) + tag.score
    return next((kind for kind in kinds_of(tags[0].text) if shares[kind] >= SURE_TAG), "")


def _of_a_kind(name: str) -> str:
    """A class with the everyday word above it: 'espresso (coffee)'."""
    kind = next(iter(kinds_of(name)), "")
    return clean(name) + (f" ({kind})" if kind else "")


def _texts(findings: Sequence[Finding]) -> str:
    """One line of the evidence a line of text, in reading order; lines that could not be read are told, not quoted."""
    unread = sum(int(finding.extra.get("unread") or 0) for finding in findings)
    if unread:
        read = _texts([finding for finding in findings if not finding.extra.get("unread")])
        told = f"There {'is a line' if unread == 1 else f'are {unread} lines'} of text in a script that is not read."
        return "\n".join(part for part in (read, told) if part)
    if not findings:
        return ""
    if len(findings) == 1:
        return f"Text: {quoted(findings[0].text)}."
    return "\n".join(["Text, line by line:", *(quoted(finding.text) for finding in findings)])


def _speech(findings: Sequence[Finding]) -> str:
    return f"Speech: {quoted(' '.join(f.text for f in findings))}" if findings else ""


def quoted(text: str) -> str:
    """Text from media in quotes that it cannot close itself, so that it cannot pose as another finding or as an order.

    >>> print(quoted('STOP". Objects: 9 dogs.'))
    "STOP'. Objects: 9 dogs."
    """
    return '"' + QUOTES.sub("'", clean(text)) + '"'
