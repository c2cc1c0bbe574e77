"""A second opinion on scenes, for tests: answers questions and checks captions from the lines of scenes.jsonl alone."""

from __future__ import annotations

import re
from typing import Any

SIDE = 320
WORDS = "black|white|gray|red|orange|brown|yellow|green|teal|blue|purple|pink"
PLACES = "top left|top right|bottom left|bottom right|top|bottom|left|right|center"
COUNT = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7}
Thing = dict[str, Any]


def centre(thing: Thing) -> tuple[float, float]:
    return (thing["box"][0] + thing["box"][2]) / 2, (thing["box"][1] + thing["box"][3]) / 2


def place(thing: Thing) -> str:
    x, y = centre(thing)
    row = "top" if y < SIDE / 3 else "bottom" if y >= 2 * SIDE / 3 else ""
    column = "left" if x < SIDE / 3 else "right" if x >= 2 * SIDE / 3 else ""
    return f"{row} {column}".strip() or "center"


def area(thing: Thing) -> int:
    x0, y0, x1, y1 = thing["box"]
    return (x1 - x0) * (y1 - y0)


def called(thing: Thing, name: str) -> bool:
    return name in {thing["name"], thing["category"], *thing["accept"]}


def said_of(things: list[Thing], phrase: str) -> list[Thing]:
    """The things that a noun phrase names: 'a red circle', 'animals', 'objects'."""
    phrase = re.sub(r"^(a|an) ", "", phrase)
    if phrase in ("object", "objects"):
        return things
    match = re.fullmatch(rf"({WORDS}) (.+)", phrase)
    colour, noun = (match[1], match[2]) if match else (None, phrase)
    for form in singulars(noun):
        found = [t for t in things if called(t, form) and colour in (None, t["colour"])]
        if found:
            return found
    return []


def singulars(noun: str) -> tuple[str, ...]:
    """What a noun may be the plural of, itself first."""
    return noun, noun.removesuffix("s"), noun.removesuffix("es"), re.sub("ies$", "y", noun), re.sub("ves$", "f", noun)


def only(things: list[Thing]) -> Thing:
    assert len(things) == 1, f"{[t['name'] for t in things]} are not one"
    return things[0]


def is_beyond(relation: str, first: Thing, second: Thing) -> bool:
    (x, y), (u, v) = centre(first), centre(second)
    return {"left of": x < u, "right of": x > u, "above": y < v, "below": y > v}[relation]


def answer(question: str, kind: str, scene: dict[str, Any]) -> set[str]:
    """Every right answer; AssertionError where the question is not clear or not understood."""
    things = scene["things"]
    text = question.lower().rstrip("?.")

    def find(*patterns: str) -> re.Match[str] | None:
        return next((match for pattern in patterns if (match := re.fullmatch(pattern, text))), None)

    if kind == "existence":
        match = find(r"(?:is|are) (there )?(no |not )?(?P<x>.+?)"
                     r"(?: present| in the (?:picture|image)| to be seen here)?",
                     r"does the (?:image|picture|photo) (not )?(?:contain|show|have) (?P<x>.+?)(?: in it)?",
                     "(?:can|do) you see (?P<x>.+)")  # fmt: skip
        assert match, question
        negated = bool(re.search(r"\b(no|not)\b", text))
        return {"yes" if bool(said_of(things, match["x"])) != negated else "no"}
    if kind == "count":
        match = find(r"how many (.+?) (?:are there|are in the picture|can you see|do you see|does the image show)",
                     "count the (.+)", "(?:what is|tell me) the number of (.+)",
                     "what number of (.+) is there")  # fmt: skip
        assert match, question
        return {str(len(said_of(things, match[1])))}
    if kind == "colour":
        match = find(r"(?:what|which) colou?r (?:is|are|does|do) the (.+?)(?: have)?",
                     "(?:what is|name) the color of the (.+)")  # fmt: skip
        assert match, question
        colours = {t["colour"] for t in said_of(things, match[1])}
        assert len(colours) == 1, question
        return colours
    if kind == "position":
        match = find(r"(?:where|in which part|at what place).*? ?(?:is|are|can|do you see) the (.+?)(?: be seen)?",
                     r"tell me where the (.+) (?:is|are)")  # fmt: skip
        assert match, question
        return {place(only([t for t in things if called(t, match[1])]))}
    if kind == "size":
        match = find(r"(?:which|what)(?: one)? is (?:larger|bigger)[,:] the (.+) or the (.+)",
                     r"of the (.+) and the (.+), which is larger",
                     r"(?:is|are) the (.+) or the (.+) the bigger one")  # fmt: skip
        assert match, question
        return names(max((only([t for t in things if called(t, n)]) for n in match.groups()), key=area))
    if kind == "text":
        return {only([t for t in things if t["text"]])["text"]}
    if kind == "relation":
        match = find(
            r"(?:would you say |do you (?:think|see) |is it true that |is |are |does |do |can )the (.+?) "
            r"(?:is |are |stand |be found )?(?:located )?(left of|right of|above|below) the (.+)"
        )
        if match:
            first, second = (only([t for t in things if called(t, n)]) for n in (match[1], match[3]))
            return {"yes" if is_beyond(match[2], first, second) else "no"}
        match = find(
            r"(?:what|which object|name what) (?:is|can be seen|(?:do|can) you (?:see|find)) (?:to the )?"
            r"(left of|right of|above|below) the (.+)"
        )
        assert match, question
        other = only([t for t in things if called(t, match[2])])
        return names(only([t for t in things if t is not other and is_beyond(match[1], t, other)]))
    coloured = re.search(rf"\b({WORDS})\b", text)
    if kind == "shape" and coloured:
        return names(only([t for t in things if t["colour"] == coloured[1]]))
    where = re.search(rf"\b({PLACES})\b", text)
    thing = only([t for t in things if place(t) == where[1]] if where else things)
    return {thing["category"]} if kind == "category" else names(thing)


def names(thing: Thing) -> set[str]:
    return {thing["name"], *thing["accept"], f"{thing['colour']} {thing['name']}"}


def claims(caption: str) -> list[tuple[int, str, str, str, str]]:
    """(number, colour, name, text, place) of every part of a caption; AssertionError where it does not parse."""
    listed = re.sub(r"^(There is|There are|The image shows|A picture of|This is) ", "", caption).rstrip(".")
    found = []
    for part in re.split(r", | and ", listed):
        match = re.fullmatch(
            rf"(?:(?P<article>an?) |(?P<number>{'|'.join(COUNT)}) (?:sets of |pieces of )?)?(?:(?P<colour>{WORDS}) )?"
            rf"(?P<name>.+?)(?: that says \"(?P<text>.+)\")?(?: (?:at|in) the (?P<place>{PLACES}))?",
            part,
        )
        assert match, caption
        words = (match[key] or "" for key in ("colour", "name", "text", "place"))
        found.append((COUNT.get(match["number"], 1), *words))
    return found


def holds(claim: tuple[int, str, str, str, str], scene: dict[str, Any]) -> bool:
    """Whether one part of a caption is true of the scene."""
    number, colour, name, text, where = claim
    alike = [t for t in scene["things"] if t["name"] in singulars(name) and (t["colour"] == colour or not colour)]
    alike = [t for t in alike if colour or not any(t["colour"] and other is not t for other in alike)]
    return len(alike) == number and all((not where or place(t) == where) and t["text"] == text for t in alike)
