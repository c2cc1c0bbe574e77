"""What an answer claims, found by rules and a vocabulary: things, how many, which colour, where, and what is written.

The first half of checking an answer after Woodpecker (arXiv 2310.16045), which asks a large language model for the
claims. Rules find fewer, but nothing that is not there, in well under a millisecond: things are those that the experts
have words for (COCO, ImageNet and the kinds above them).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from agent.answer import Claim
from agent.answering.fallback.needs import kind_of
from experts.evidence import asked_thing
from experts.evidence.categories import COCO_KINDS, IMAGENET_KINDS, OTHERWISE, SYNONYMS, singular
from experts.evidence.colours import COLOURS


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NUMBERS = re.findall(
    r"\w+",
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty",
)
SPELT = {"grey": "gray", "violet": "purple", "golden": "yellow", "turquoise": "teal", "crimson": "red"}
SIDES = {"upper": "top", "lower": "bottom", "centre": "center", "middle": "center"}
# Names that are more often another word; they count where an article or a number stands before them.
ALSO_WORDS = _words(
    "orange bear fly duck tie train ship safe lighter switch slot ear hip bow boxer wing iron mask stage plate "
    "screen remote book sink glass watch drop menu nail ruler pot plane can light mobile jet"
)
BETWEEN = _words(  # that may stand between a number and the thing it counts
    "small big large little tiny huge young old tall short long round cute happy different other more similar "
    "visible bright dark light and very"
)
ARTICLES = _words("a an the some any this that these those each every his her its their")
NOT = re.compile(r"(?:no|not|none|never|without|nor|neither|cannot|nothing|[a-z]+n't)")
BREAKS = re.compile(r"[,;:]|\b(?:but|however|though|although|only|instead|rather)\b", re.I)
QUOTED = re.compile(r'"([^"]+)"|\u201c([^\u201d]+)\u201d|(?<![\w\'])\'([^\'\n]+(?:\'\w[^\'\n]*)*)\'(?!\w)')
SAYS = re.compile(
    r"\b(?:says|said|say|reads|spells|written|(?:text|word|sign|label|title) is)\b:?\s+(?!that\b)(.+)", re.I
)
PLACE = re.compile(
    r"\b(?:(?P<lead>in|on|at|to|near|towards?) the )?(?:far |very )?"
    r"(?P<one>top|upper|bottom|lower|left|right|cent(?:er|re)|middle)(?:[ -](?P<two>left|right|cent(?:er|re)))?\b"
    r"(?! (?:of|to|next|behind|after|before|now|here|there|away)\b(?! (?:of )?(?:the |this )?"
    r"(?:image|picture|photo|photograph|frame|scene|screen)))",
    re.I,
)
WORD = re.compile(r"\d+(?:[.:]\d+)*|[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
STOP = _words(
    "a an the and or of in on at to from for by with is are was were be it its this that these those there here "
    "as i you he she they we his her their not no yes do does did has have had can will would picture image photo "
    "sign text word says said say reads read about around approximately over under than"
)
MOST_CLAIMS = 40


@dataclass(frozen=True)
class Word:
    """A word of the answer, where it stands, and its bare form."""

    text: str
    start: int
    end: int

    @property
    def low(self) -> str:
        return self.text.lower().replace("\u2019", "'")


def sentences(text: str) -> list[tuple[int, int]]:
    """Where the sentences of a text stand, as (start, end), without the space around them.

    >>> [("One. Two!"[a:b]) for a, b in sentences("One. Two!")]
    ['One.', 'Two!']
    """
    found = re.finditer(r"\S.*?(?:(?<=[.!?\u2026])[\"'\u201d)]*(?=\s)|(?<=[\u3002\uff01\uff1f])|\s*\Z)", text, re.S)
    return [(match.start(), match.start() + len(match[0].rstrip())) for match in found]


def claims(answer: str, question: str = "") -> tuple[Claim, ...]:
    """What an answer claims, in the order of its words, none of it judged yet; at most 40 claims.

    The question says what a bare "Two.", "Red." or "Yes." is about.

    >>> [(claim.kind, claim.thing, claim.value) for claim in claims("There are two brown dogs on the left.")]
    [('count', 'dog', 2), ('colour', 'dog', 'brown'), ('position', 'dog', 'left')]
    """
    found: list[Claim] = []
    asked = _asked(question)
    for start, end in sentences(answer):
        found += _sentence(answer[start:end], start, question, asked)
    return tuple(sorted(found, key=lambda claim: (claim.start, claim.end))[:MOST_CLAIMS])


def number(word: str) -> int | None:
    """The number that a word or numeral is, up to twenty in words; None for anything else.

    >>> number("Seven"), number("12"), number("dog")
    (7, 12, None)
    """
    if word.isascii() and word.isdigit() and len(word) <= 6:
        return int(word)
    return NUMBERS.index(word.lower()) if word.lower() in NUMBERS else None


def things(words: Sequence[Word]) -> list[tuple[int, int, str]]:
    """The things that words name, as (first word, word after the last, name in the singular), longest names first."""
    bare = [singular(word.low) for word in words]
    found = []
    at = 0
    while at < len(words):
        for length in range(min(4, len(words) - at), 0, -1):
            name = " ".join(bare[at : at + length])
            if name in _vocabulary() and (name not in ALSO_WORDS or _is_noun(words, at)):
                found.append((at, at + length, name))
                at += length
                break
        else:
            at += 1
    begins = {first for first, _, _ in found}
    return [(a, b, name) for a, b, name in found if not (_colour(name) and b in begins)]  # an orange car is one thing


def _sentence(text: str, offset: int, question: str, asked: str) -> list[Claim]:
    """The claims of one sentence that begins at `offset` of the answer."""
    found = list(_texts(text, question))
    blank = text
    for claim in found:  # what is quoted claims nothing about things
        blank = blank[: claim.start] + " " * (claim.end - claim.start) + blank[claim.end :]
    words = [Word(match[0], match.start(), match.end()) for match in WORD.finditer(blank)]
    named = things(words)
    used: set[int] = set()  # words that say how many
    for first, after, name in named:
        claim, counted = _thing(blank, words, first, after, name)
        found.append(claim)
        used |= counted
        if claim.kind != "absence":
            found += _colours(blank, words, first, after, name)
    if not named and not found:
        found += _bare(blank, words, question, asked, used)
    found += _places(blank, words, named, question, asked)
    found += _said(blank, words, named, used)
    return [replace(claim, start=claim.start + offset, end=claim.end + offset) for claim in found]


def _thing(text: str, words: list[Word], first: int, after: int, name: str) -> tuple[Claim, set[int]]:
    """The claim that a thing is there, how often, or that it is not."""
    at = first - 1
    while at >= 0 and (words[at].low in BETWEEN or _colour(words[at].low)):
        at -= 1
    count, begins, used = None, first, set()
    if at >= 0 and not BREAKS.search(text[words[at].end : words[first].start]):
        count = number(words[at].low)
        if count is None and at and words[at].low == "of" and words[at - 1].low == "couple":
            count, at = 2, at - 1
        if count is not None:
            begins, used = at, {at}
    start, end = words[begins].start, words[after - 1].end
    clause = BREAKS.split(text[:start])[-1] if text[:start] else ""
    denied = any(NOT.fullmatch(word) for word in re.findall(r"[a-z']+", clause.lower().replace("\u2019", "'"))[-6:])
    if denied or count == 0:
        return Claim("absence", text[start:end], start, end, name), used
    if count is not None:
        return Claim("count", text[start:end], start, end, name, count), used
    return Claim("object", text[start:end], start, end, name), used


def _colours(text: str, words: list[Word], first: int, after: int, name: str) -> Iterator[Claim]:
    """Colours before a thing ("a brown dog") or said of it ("the dogs are brown")."""
    at = first - 1
    while at >= 0 and (words[at].low in BETWEEN or _colour(words[at].low)):
        if (colour := _colour(words[at].low)) and words[at].low not in ("light", "dark"):
            yield Claim("colour", words[at].text, words[at].start, words[at].end, name, colour)
        at -= 1
    rest = text[words[after - 1].end :]
    said = re.match(
        r"(?: that)? (?:is|are|was|were|looks?|appears?)(?: (?!not\b)[a-z]+)?? ([a-z]+)(?: and ([a-z]+))?\b", rest
    )
    for group in (1, 2):
        if said and said[group] and (colour := _colour(said[group])):
            start = words[after - 1].end + said.start(group)
            yield Claim("colour", said[group], start, start + len(said[group]), name, colour)


def _bare(text: str, words: list[Word], question: str, asked: str, used: set[int]) -> Iterator[Claim]:
    """An answer that names no thing: yes, no, a number or a colour of what the question is about."""
    if not asked or not words:
        return
    kind = kind_of(question)
    if kind == "existence" and words[0].low in ("yes", "no") and not re.search(r"\b(?:not|no)\b|n't", question.lower()):
        claim = "object" if words[0].low == "yes" else "absence"
        yield Claim(claim, words[0].text, words[0].start, words[0].end, asked)
    for at, word in enumerate(words):
        value = number(word.low)
        if kind == "count" and value is not None and not used:
            used.add(at)
            yield Claim("count" if value else "absence", word.text, word.start, word.end, asked, value or "")
        if kind == "colour" and (colour := _colour(word.low)):
            yield Claim("colour", word.text, word.start, word.end, asked, colour)


def _places(
    text: str, words: list[Word], named: list[tuple[int, int, str]], question: str, asked: str
) -> Iterator[Claim]:
    """Where a thing is said to be: of the thing named last before, else of the one the question is about."""
    for match in PLACE.finditer(text):
        if not match["lead"] and (kind_of(question) != "position" or named):
            continue
        before = [name for first, _, name in named if words[first].start < match.start()]
        thing = before[-1] if before else asked or (named[0][2] if named else "")
        denied = NOT.search(text[: match.start()].lower()) and re.search(
            r"\b(?:not|no)\b|n't", text[: match.start()].lower()
        )
        if not thing or denied:
            continue
        sides = [SIDES.get(side.lower(), side.lower()) for side in (match["one"], match["two"]) if side]
        sides = [side for side in sides if side != "center" or len(sides) == 1]
        yield Claim("position", match[0], match.start(), match.end(), thing, " ".join(sides))


def _texts(text: str, question: str) -> Iterator[Claim]:
    """What the answer says is written or said, word for word."""
    quotes = list(QUOTED.finditer(text))
    for match in quotes:
        group = match.lastindex or 1
        if re.search(r"\w", match[group]):
            yield Claim("text", match[group], match.start(group), match.end(group), value=match[group])
    if quotes:
        return
    said = SAYS.search(text)
    if said is None and kind_of(question) == "text" and len(text.split()) <= 8:
        said = re.match(r"(?:it is |it's |the (?:text|word|sign|title) is )?(.+)", text, re.I)
    if said and (words := said[1].strip(" .!?:;,\"'")) and not re.match(r"(?:yes|no|nothing|there|i)\b", words, re.I):
        start = said.start(1) + said[1].index(words)
        yield Claim("text", words, start, start + len(words), value=words)


def _said(text: str, words: list[Word], named: list[tuple[int, int, str]], used: set[int]) -> Iterator[Claim]:
    """Numbers that count nothing ("platform nine") and names: they were read or heard, or made up."""
    taken = {at for first, after, _ in named for at in range(first, after)} | used
    for at, word in enumerate(words):
        if at in taken or word.low in ("one", "zero"):
            continue
        context = words[at - 1] if at and words[at - 1].low not in STOP else None
        if word.text[0].isdigit() or number(word.low) is not None:
            start = context.start if context and number(context.low) is None else word.start
            about = context.low if start != word.start and context else ""
            yield Claim("number", text[start : word.end], start, word.end, about, word.low)
        elif at and word.text[0].isupper() and word.low not in STOP and not _colour(word.low):
            yield Claim("name", word.text, word.start, word.end, value=word.low)


def _asked(question: str) -> str:
    """The thing that a question is about, in the singular; "" where it names none."""
    words = [Word(match[0], match.start(), match.end()) for match in WORD.finditer(question)]
    named = things(words)
    thing = asked_thing(question)
    inside = things([Word(match[0], match.start(), match.end()) for match in WORD.finditer(thing)])
    return inside[-1][2] if inside else thing or (named[0][2] if named else "")


def _is_noun(words: Sequence[Word], at: int) -> bool:
    before = words[at - 1].low if at else ""
    return before in ARTICLES or number(before) is not None or _colour(before) != "" or words[at].low.endswith("s")


def _colour(word: str) -> str:
    word = SPELT.get(word, word)
    return word if word in COLOURS else ""


@functools.lru_cache(maxsize=1)
def _vocabulary() -> frozenset[str]:
    """Every name and kind that experts have a word for, its words in the singular."""
    from experts.evidence.categories import imagenet_classes
    from experts.weights.convert.nanodet import COCO

    names = {name.replace("_", " ") for name in COCO} | {name.lower() for name in imagenet_classes()}
    names |= {*IMAGENET_KINDS, *COCO_KINDS, *SYNONYMS.values()} | OTHERWISE
    return frozenset(" ".join(singular(word) for word in re.findall(r"[a-z'-]+", name)) for name in names)
