"""Questions about what experts saw: what is there, how many, where, in which colour, and what was not found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connector.data.questions.phrases import with_article
from connector.data.readings import wordings as say
from connector.data.readings.findings import NAMES, Shown, pick
from connector.data.readings.texts import Asked, read
from experts.evidence import is_called, place
from experts.evidence.asked import translations
from experts.evidence.categories import COCO_KINDS, kinds_of, matches, plural
from experts.evidence.compose import LIKELY_TAG, SURE_TAG

KINDS = tuple(kind for kind, members in COCO_KINDS.items() if len(members) > 1)
OTHERS = ("zh", "zh", "zh", "es", "fr", "de")  # languages other than English, by how often they are asked in
OTHER_SHARE = 0.3  # of the questions that are asked in another language
SHORT_SHARE = 0.15  # of the questions that ask for a single word


def about(rng: np.random.Generator, shown: Shown, most: int) -> list[Asked]:
    """Questions about what is there and what is not."""
    makers = [existence, existence, existence, counting, counting, _colour, _position, _describe, _which, _more,
              _unknown, _reading, _unknown, _chosen, _like, _worn, _whole_colours,
              _left_of, _what_at]  # fmt: skip
    rows: list[Asked] = []
    for index in rng.permutation(len(makers)):
        if row := makers[int(index)](rng, shown):
            rows.append(row)
        if len(rows) == most:
            break
    return rows


def _language(rng: np.random.Generator, name: str, of: dict[str, tuple[str, ...]]) -> tuple[str, str]:
    """A language to ask in, and what the thing is called in it."""
    language = pick(rng, OTHERS) if rng.random() < OTHER_SHARE else "en"
    known = translations(name)
    return (language, pick(rng, known[language])) if language in of and language in known else ("en", name)


def _asked(rng: np.random.Generator, wording: str, name: str, foreign: str = "") -> str:
    text = wording.format(a=with_article(name), s=plural(name), t=name, z=foreign, k=name)
    return text[0].upper() + text[1:] if rng.random() < 0.8 else text


def _brief(rng: np.random.Generator, question: str, answer: str, short: str, ends: Sequence[str]) -> tuple[str, str]:
    """The same asked for in a word, at times."""
    if rng.random() < SHORT_SHARE:
        return question + pick(rng, ends), short
    return question, answer


def existence(rng: np.random.Generator, shown: Shown) -> Asked | None:
    names = sorted(shown.counts())
    there = bool(names) and rng.random() < 0.5
    name = pick(rng, names) if there else pick(rng, NAMES)
    if rng.random() < 0.2 and kinds_of(name):
        name = pick(rng, kinds_of(name))
    elif not there and rng.random() < 0.3:
        name = pick(rng, ("unicorn", "dragon", "ladder", "bridge", "hat", "flag", "ghost", "lion", "tiger", "whale"))
    number = shown.number(name)
    tag = next((t for t in shown.tags if matches(name, t.text)), None)
    if tag and not number and tag.score < SURE_TAG:
        return None  # neither yes nor no follows
    language, foreign = _language(rng, name, say.EXISTENCE)
    question = _asked(rng, pick(rng, say.EXISTENCE[language]), name, foreign)
    if language != "en":
        return question, (say.YES if number or tag else say.NO)[language].format(n=number or 1, z=foreign), "existence"
    if number:
        where = _where(shown, name) if number == 1 else ""
        answer = (
            f"Yes, there are {number} {plural(name)}." if number > 1 else f"Yes, there is {with_article(name)}{where}."
        )
    elif tag:
        answer = f"Yes, it looks like {with_article(tag.text)}."
    else:
        answer = f"No, there is no {name}."
    return (*_brief(rng, question, answer, "Yes" if number or tag else "No", say.YES_OR_NO), "existence")


def _where(shown: Shown, name: str) -> str:
    box = next(f.box for f in shown.things if is_called(name, f))
    return f" {_at(place(box or (), shown.size))}"


def _at(position: str) -> str:
    return "in the center" if position == "center" else f"on the {position}" if position in ("left", "right") else (
        f"at the {position}"
    )  # fmt: skip


def counting(rng: np.random.Generator, shown: Shown) -> Asked | None:
    names = sorted(shown.counts())
    name = pick(rng, names) if names and rng.random() < 0.75 else pick(rng, NAMES)
    number = shown.number(name)
    if not number and any(matches(name, t.text) for t in shown.tags):
        return None
    if len(names) > 1 and rng.random() < 0.3:
        first, second = (str(one) for one in rng.choice(names, 2, replace=False))
        question = pick(rng, ("How many {0} and how many {1} are there?", "Count the {0} and the {1}.",
                               "How many {0} and {1}?")).format(plural(first), plural(second))  # fmt: skip
        return (
            question,
            f"There {_many(shown.number(first), first)} and {_some(shown.number(second), second)}.",
            "count",
        )
    language, foreign = _language(rng, name, say.COUNT)
    question = _asked(rng, pick(rng, say.COUNT[language]), name, foreign)
    if language != "en":
        return question, say.COUNTED[language].format(n=number, z=foreign), "count"
    answer = f"There {_many(number, name)}."
    return (*_brief(rng, question, answer, str(number), say.ONE_WORD), "count")


def _many(number: int, name: str) -> str:
    return f"{'is' if number == 1 else 'are'} {_some(number, name)}"


def _some(number: int, name: str) -> str:
    return f"{number or 'no'} {name if number == 1 else plural(name)}"


def _colour(rng: np.random.Generator, shown: Shown) -> Asked | None:
    names = sorted(name for name in shown.counts() if name != "person")
    if not names or rng.random() < 0.1:
        name = pick(rng, NAMES)
        if shown.number(name) or any(matches(name, t.text) for t in shown.tags):
            return None
        return _asked(rng, pick(rng, say.COLOUR["en"]), name), f"There is no {name}.", "colour"
    name = pick(rng, names)
    colours = list(dict.fromkeys(str(f.extra.get("colour") or "") for f in shown.things if f.text == name))
    language, foreign = _language(rng, name, say.COLOUR)
    question = _asked(rng, pick(rng, say.COLOUR[language]), name, foreign)
    if "" in colours:
        return question, say.CANNOT[language], "colour"
    if language == "zh":
        return question, f"{foreign}是{_colours_zh(colours)}的。", "colour"
    several = len([f for f in shown.things if f.text == name]) > 1
    answer = f"The {plural(name) if several else name} {'are' if several else 'is'} {_and(colours)}."
    return (*_brief(rng, question, answer, _and(colours), say.ONE_WORD), "colour")


def _colours_zh(colours: Sequence[str]) -> str:
    words = [word for colour in colours for word in colour.split(" and ")]
    return "和".join(say.COLOURS_ZH[word] for word in dict.fromkeys(words))


def _like(rng: np.random.Generator, shown: Shown) -> Asked | None:
    """Breed or make, where it was recognised; else it cannot be told."""
    single = [f for f in shown.things if shown.counts()[f.text] == 1 and f.text != "person"]
    if not single:
        return None
    thing = next((f for f in single if f.extra.get("like")), single[0])
    like = str(thing.extra.get("like") or "")
    tagged = [tag.text for tag in shown.tags if tag.score >= LIKELY_TAG and matches(thing.text, tag.text)]
    if not like and tagged:
        return None  # the whole may look like one
    question = _asked(rng, pick(rng, say.LIKE), thing.text)
    if not like:
        return question, say.CANNOT["en"], "name"
    answer = f"The {thing.text} looks like {with_article(like)}."
    return (*_brief(rng, question, answer, like, say.ONE_WORD), "name")


def _worn(rng: np.random.Generator, shown: Shown) -> Asked | None:
    """The colours of a person's clothes."""
    persons = [f for f in shown.things if f.text == "person"]
    if len(persons) > 1:
        return None
    language = "zh" if rng.random() < OTHER_SHARE else "en"
    question = pick(rng, say.CLOTHES[language])
    if not persons:
        return question, {"en": "There is no person.", "zh": "没有发现人。"}[language], "colour"
    clothes, legs = (str(persons[0].extra.get(part) or "") for part in ("clothes", "legs"))
    if not clothes:
        return question, say.CANNOT[language], "colour"
    if language == "zh":
        return question, f"衣服是{_colours_zh([clothes])}的。", "colour"
    below = f", and {legs} at the legs" if legs else ""
    return (*_brief(rng, question, f"The clothes are {clothes}{below}.", clothes, say.ONE_WORD), "colour")


def _whole_colours(rng: np.random.Generator, shown: Shown) -> Asked | None:
    """The colours of a picture in which no thing was found."""
    if shown.things or not shown.colours:
        return None
    if rng.random() < OTHER_SHARE:
        return pick(rng, say.MAIN_COLOURS["zh"]), f"主要是{_colours_zh([shown.colours])}。", "colour"
    return pick(rng, say.MAIN_COLOURS["en"]), f"It is mainly {shown.colours}.", "colour"


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _position(rng: np.random.Generator, shown: Shown) -> Asked | None:
    single = [name for name, number in sorted(shown.counts().items()) if number == 1]
    if not single:
        return None
    name = pick(rng, single)
    at = next(place(f.box or (), shown.size) for f in shown.things if f.text == name)
    language, foreign = _language(rng, name, say.POSITION)
    question = _asked(rng, pick(rng, say.POSITION[language]), name, foreign)
    if language == "zh":
        return question, f"{foreign}在{say.PLACES_ZH[at]}。", "position"
    return question, f"The {name} is {_at(at)}.", "position"


def _left_of(rng: np.random.Generator, shown: Shown) -> Asked | None:
    """Which of two things is further left, where their places tell."""
    single = [f for f in shown.things if shown.counts()[f.text] == 1]
    if len(single) < 2:
        return None
    first, second = (single[int(n)] for n in rng.choice(len(single), 2, replace=False))
    places = [place(f.box or (), shown.size) for f in (first, second)]
    columns = [-1 if "left" in at else 1 if "right" in at else 0 for at in places]
    if columns[0] == columns[1]:
        return None
    question = pick(rng, say.LEFT_OF).format(first.text, second.text)
    where = f"the {first.text} is {_at(places[0])} and the {second.text} {_at(places[1])}"
    return question, f"{'Yes' if columns[0] < columns[1] else 'No'}, {where}.", "position"


def _what_at(rng: np.random.Generator, shown: Shown) -> Asked | None:
    """What is at a place: of a side also what is in its corners."""
    if not shown.things:
        return None
    asked = pick(rng, ("top", "bottom", "left", "right", "center", "top left", "bottom right"))
    corner = " " in asked or asked == "center"
    there = [f.text for f in shown.things if (at := place(f.box or (), shown.size)) == asked or (
        not corner and asked in at.split())]  # fmt: skip
    question = pick(rng, say.WHAT_AT).format(p=_at(asked))
    if not there:
        return question, f"Nothing was found {_at(asked)}.", "position"
    counts = {name: there.count(name) for name in dict.fromkeys(there)}
    listed = _and([f"{n} {plural(name)}" if n > 1 else with_article(name) for name, n in counts.items()])
    is_or_are = "are" if next(iter(counts.values())) > 1 else "is"
    return question, f"There {is_or_are} {listed} {_at(asked)}.", "position"


def _describe(rng: np.random.Generator, shown: Shown) -> Asked | None:
    known = [translations(name).get("zh") for name in shown.counts()]
    if shown.things and all(known) and not shown.lines and rng.random() < OTHER_SHARE:
        parts = [
            f"{number}个{(names or ('',))[0]}" for number, names in zip(shown.counts().values(), known, strict=True)
        ]
        return pick(rng, say.DESCRIBE["zh"]), f"图里有{'、'.join(parts)}。", "caption"
    return pick(rng, say.DESCRIBE["en"]), summary(shown), "caption"


def summary(shown: Shown) -> str:
    """What is there, what it looks like and what is written, in up to three sentences.

    >>> summary(Shown(lines=["EXIT"])), summary(Shown())
    ('There is text: "EXIT".', 'Nothing was found in it.')
    """
    parts = []
    if counts := shown.counts():
        like = {f.text: f" ({f.extra['like']})" for f in shown.things if f.extra.get("like")}
        listed = _and(
            [
                f"{number} {plural(name)}" if number > 1 else with_article(name) + like.get(name, "")
                for name, number in counts.items()
            ]
        )
        parts.append(f"There {'are' if next(iter(counts.values())) > 1 else 'is'} {listed}.")
    tag = next((t for t in shown.tags if t.score >= SURE_TAG), None)
    if tag and not any(matches(tag.text, f.text) or matches(f.text, tag.text) for f in shown.things):
        parts.append(f"It looks like {with_article(tag.text)}.")
    elif not shown.things and shown.tags and shown.tags[0].score >= LIKELY_TAG:
        parts.append(f"It may be {with_article(shown.tags[0].text)}.")
    if shown.lines:
        quoted = ", ".join(f'"{line}"' for line in shown.lines[:4])
        parts.append(f"There is text: {quoted}{' and more' if len(shown.lines) > 4 else ''}.")
    return " ".join(parts) or "Nothing was found in it."


def _which(rng: np.random.Generator, shown: Shown) -> Asked | None:
    """The question says what kind of thing it means: who names one of it is right."""
    tag = shown.tags[0] if shown.tags and shown.tags[0].score >= SURE_TAG else None
    kinds = {kind for finding in shown.things for kind in kinds_of(finding.text)} | set(
        kinds_of(tag.text) if tag else ()
    )
    kind = pick(rng, sorted(kinds) if kinds and rng.random() < 0.8 else KINDS)
    names = [name for name in shown.counts() if matches(kind, name) and name != kind]
    if tag and matches(kind, tag.text) and not names:
        names = [tag.text]
    question = _asked(rng, pick(rng, say.WHICH), kind)
    if not names:
        return (question, f"No {kind} was found.", "name") if kind not in kinds else None
    several = len(names) == 1 and shown.number(names[0]) > 1
    answer = f"There are {shown.number(names[0])} {plural(names[0])}." if several else (
        f"It is {_and([with_article(name) for name in names])}."
    )  # fmt: skip
    return (*_brief(rng, question, answer, names[0], say.ONE_WORD), "name")


def _more(rng: np.random.Generator, shown: Shown) -> Asked | None:
    names = sorted(shown.counts())
    if len(names) < 2:
        return None
    first, second = (str(one) for one in rng.choice(names, 2, replace=False))
    a, b = shown.number(first), shown.number(second)
    counts = f"there {_many(a, first)} and {_some(b, second)}"
    return f"Are there more {plural(first)} than {plural(second)}?", f"{'Yes' if a > b else 'No'}, {counts}.", "count"


def _unknown(rng: np.random.Generator, shown: Shown) -> Asked | None:
    if shown.things and rng.random() < 0.5:
        return _asked(rng, pick(rng, say.UNKNOWN_OF), pick(rng, sorted(shown.counts()))), say.CANNOT["en"], "unknown"
    question = pick(rng, say.UNKNOWN)
    return question, say.CANNOT["en" if question.isascii() else "zh"], "unknown"


def _reading(rng: np.random.Generator, shown: Shown) -> Asked | None:
    return read(rng, shown.lines)


def _chosen(rng: np.random.Generator, shown: Shown) -> Asked | None:
    """A choice by letters, as benchmarks put it."""
    if not shown.things:
        return None
    right = shown.things[0].text
    others = [str(name) for name in rng.choice([n for n in NAMES if not shown.number(n)], 3, replace=False)]
    options = [str(one) for one in rng.permutation([right, *others])]
    listed = "\n".join(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=True))
    question = (
        f"Which of these is in the picture?\n{listed}\nAnswer with the option's letter from the given choices directly."
    )
    return question, "ABCD"[options.index(right)], "name"
