"""What a cut-out is called: a noun from its caption, other right names, and corrections made by looking at it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources

# Nouns that name the same thing, or the thing above it.
ALIASES: dict[str, tuple[str, ...]] = {
    "automobile": ("car",), "airplane": ("plane", "aeroplane"), "aircraft": ("plane",), "puppy": ("dog",),
    "kitten": ("cat",), "hen": ("chicken",), "rooster": ("chicken",), "hog": ("pig",), "bull": ("cow",),
    "ox": ("cow",), "calf": ("cow",), "foal": ("horse",), "pony": ("horse",), "duckling": ("duck",), "drake": ("duck",),
    "gander": ("goose",), "lorry": ("truck",), "taxi": ("car", "cab"), "cab": ("taxi",), "bicycle": ("bike",),
    "motorcycle": ("motorbike",), "tangerine": ("orange",), "hamburger": ("burger",), "ladybug": ("ladybird", "beetle"),
    "dove": ("pigeon",), "rabbit": ("bunny",), "hare": ("rabbit",), "mobile phone": ("phone", "cell phone"),
    "television": ("tv",), "laptop": ("computer",), "sailboat": ("boat",), "t-shirt": ("shirt",),
    "soccer ball": ("ball", "football"), "guitar": ("string instrument",), "locomotive": ("train",),
    "aubergine": ("eggplant",), "eggplant": ("aubergine",), "corn": ("maize",), "sheep": ("lamb",), "ewe": ("sheep",),
    "ram": ("sheep",), "lamb": ("sheep",), "chick": ("chicken",), "peafowl": ("peacock",), "peahen": ("peacock",),
    "doughnut": ("donut",),
}  # fmt: skip


@dataclass(frozen=True)
class Label:
    """What is said of one cut-out; `accept` goes from near to far and ends with the category."""

    name: str
    category: str
    accept: tuple[str, ...]
    colour: str | None  # None = as measured


def corrections() -> dict[str, tuple[str, str, str, str]]:
    """labels.tsv: SOURCE/CAPTION (-2 for its second picture) -> name, other names, category, colour.

    An empty field stands for what is worked out without it. Other names are separated by commas; '-' is none, a
    leading '=' says that the kinds of the picture's folder do not hold. The colour '-' is: no one colour.
    """
    rows = {}
    table = resources.files("connector.data.pictures").joinpath("labels.tsv").read_text(encoding="utf-8")
    for line in table.splitlines()[1:]:
        key, name, others, category, colour = line.split("\t")
        rows[key] = (name, others, category, colour)
    return rows


def label(caption: str, category: str, kinds: tuple[str, ...], correction: tuple[str, str, str, str] | None) -> Label:
    """The label of a picture from its short caption, the category and kinds of its folder, and its correction."""
    name, others, better, colour = correction or ("", "", "", "")
    name, category = name or caption, better or category
    if others:
        near = [other for other in others.lstrip("=-").split(",") if other]
        names = [*near, *(() if others.startswith("=") else kinds), category]
    else:
        names = [*other_names(name), *kinds, category]
    accept = tuple(dict.fromkeys(other for other in names if other != name))
    return Label(name, category, accept, None if not colour else colour.replace("-", ""))


def short_name(caption: str) -> str:
    """The noun of a one-line caption; '' where it is a sentence.

    >>> short_name("An albino peahen (a female peafowl, or peacock).")
    'albino peahen'
    """
    text = re.sub(r"\(.*?\)", "", caption).lower()
    text = re.split(r"[.,;:!?]| with | from | in | on | of | for | at | that | made ", text)[0]
    text = re.sub(r"^(a|an|the|some|two|three|pair) ", "", text.strip()).strip(" '\"")
    text = re.sub(r"^very \w+ ", "", text)
    words = text.split()
    return " ".join(words) if 1 <= len(words) <= 3 and re.fullmatch(r"[a-z' -]+", text) else ""


def other_names(name: str) -> tuple[str, ...]:
    """The head noun and what the table knows: 'race car' -> ('car',).

    >>> other_names("rooster")
    ('chicken',)
    """
    head = name.split()[-1]
    names = [head, *ALIASES.get(name, ()), *ALIASES.get(head, ())]
    return tuple(dict.fromkeys(other for other in names if other != name))
