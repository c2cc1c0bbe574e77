"""The things that a question names: hints for facts told beside the findings; whatever it misses, nothing is lost."""

from __future__ import annotations

import functools
import re
from pathlib import Path

from experts.evidence.categories import class_names, kinds_of, singular

THING = r"(?P<thing>[\w' -]+?)"
SOME = r"(?:a |an |any |some |the )?"
BESIDE = "in|on|at|here|anywhere|somewhere|around|nearby|left|right|above|below|under|beside|behind|near|next"
ASKED = (
    rf"(?:is|are) there (?:not |no )?{SOME}{THING}(?: (?:{BESIDE}|visible|present|to be seen)\b.*)?\?",
    rf"(?:do|can) you (?:see|find|spot) {SOME}{THING}(?: (?:{BESIDE})\b.*)?\?",
    rf"(?:does|do) the (?:image|picture|photo|video|scene)s? (?:not )?(?:contain|show|have|include) {SOME}{THING}"
    rf"(?: (?:{BESIDE})\b.*)?\?",
    rf"(?:is|are) (?:a |an |any |no ){THING} (?:present|visible|shown|in|on|there|to be seen)\b.*\?",
    r"(?:.*\b)?(?:how many|count the|number of) "
    rf"{THING}(?: (?:are|is|can|do|does|have|lie|lies|stand|sit|there|{BESIDE})\b.*)?[?.]",
)
# Words of the vocabulary that in a question mean no thing to be looked for
NO_THINGS = frozenset({
    "image", "picture", "photo", "photograph", "object", "thing", "shape", "color", "colour", "center", "centre",
    "top", "bottom", "left", "right", "side", "corner", "part", "screen", "front", "back", "stand", "present", "show",
    "type", "kind", "category", "time", "one", "text", "word", "name", "number", "letter", "line", "anything",
    "something", "page", "menu", "label", "sign", "price", "scene", "bar", "beam", "brake", "can", "chest", "cover",
    "drill", "eater", "fan", "file", "fly", "grey", "iron", "light", "lock", "mail", "maker", "marker", "meter",
    "pick", "rule", "safe", "scale", "seat", "setter", "shade", "site", "stage", "stick", "store", "swing", "switch",
    "t", "tick", "track", "watch", "web", "web site", "wreck", "food", "place", "book jacket",
})  # fmt: skip
MOST = 4  # things of one question
LANGUAGES = ("zh", "es", "fr", "de")  # columns of names.tsv after the English name


def asked_thing(question: str) -> str:
    """The noun phrase whose presence or number is asked for in common English wordings; "" where none is.

    >>> asked_thing("How many dogs are in the picture?")
    'dogs'
    >>> asked_thing("How many objects lie on the table?"), asked_thing("Do you see a cup left of the plate?")
    ('objects', 'cup')
    """
    text = question.strip().lower()
    text = text if text.endswith(("?", ".")) else text + "?"
    for pattern in ASKED:
        if match := re.fullmatch(pattern, text):
            return match["thing"].strip()
    return ""


def things(question: str) -> tuple[str, ...]:
    """The things a question names that the built-in experts have a word for, in its order; also in Chinese, Spanish,
    French and German where they are among the detector's.

    >>> things("Is the traffic light left of the golden retriever?"), things("Is there a black shape?")
    (('traffic light', 'golden retriever'), ())
    >>> things("图里有狗吗?"), things("¿Cuántos perros hay?")
    (('dog',), ('dog',))
    """
    if foreign := _translated(question.lower()):
        return tuple(dict.fromkeys(foreign))
    words = [singular(word) for word in re.findall(r"[a-z'-]+", question.lower())]
    found: list[str] = []
    at = 0
    while at < len(words):
        for length in range(min(4, len(words) - at), 0, -1):
            name = " ".join(words[at : at + length])
            if name in vocabulary() and name not in NO_THINGS:
                found.append(name)
                at += length
                break
        else:
            at += 1
    return tuple(dict.fromkeys(found))


def asked_things(question: str) -> tuple[str, ...]:
    """What is asked about, at most MOST: `things`, else the phrase of `asked_thing`, which no expert may know."""
    known = things(question)
    if not known and (thing := asked_thing(question)):
        last = singular(thing.split()[-1])
        known = () if last in NO_THINGS or len(thing) > 30 else (thing,)
    return known[:MOST]


def _translated(question: str) -> list[str]:
    """The English names of detector classes that a question in another language names."""
    if question.isascii() and re.search(r"\b(the|is|are|what|how|there|any|which|do|does|can|you)\b", question):
        return []
    found = [(match.start(), -len(match[0]), name) for name, form in _forms() for match in form.finditer(question)]
    names: list[tuple[int, str]] = []
    taken: list[tuple[int, int]] = []
    for start, length, name in sorted(found, key=lambda one: (one[1], one[0])):  # the longest name wins its place
        end = start - length
        if all(end <= a or b <= start for a, b in taken):
            taken.append((start, end))
            names.append((start, name))
    return [name for _, name in sorted(names)]


def translations(name: str) -> dict[str, tuple[str, ...]]:
    """A detector class in other languages, by their codes: {"zh": ("狗", "犬"), "es": ("perro",), ...}."""
    return _table().get(name, {})


@functools.lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, tuple[str, ...]]]:
    rows = (line.split("\t") for line in (Path(__file__).parent / "names.tsv").read_text(encoding="utf-8").splitlines())
    return {
        name: {language: tuple(forms.split("|")) for language, forms in zip(LANGUAGES, others, strict=True)}
        for name, *others in rows
    }


@functools.lru_cache(maxsize=1)
def _forms() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """English name and the pattern of its names in other languages."""
    return tuple(
        (
            name,
            re.compile(
                "|".join(
                    re.escape(form) if language == "zh" else rf"\b{re.escape(form)}(?:s|es|x|e|n|en|er)?\b"
                    for language, forms in languages.items()
                    for form in forms
                )
            ),
        )
        for name, languages in _table().items()
    )


@functools.lru_cache(maxsize=1)
def vocabulary() -> frozenset[str]:
    """Every name, head of a name and kind that `matches` takes for a class of COCO or ImageNet."""
    words: set[str] = set()
    for name in (*class_names(), *_table()):
        parts = [singular(word) for word in re.findall(r"[a-z'-]+", name.lower())]
        words |= {" ".join(parts[at:]) for at in range(len(parts))}
        words |= {singular(kind) for kind in kinds_of(name)}
    return frozenset(words)
