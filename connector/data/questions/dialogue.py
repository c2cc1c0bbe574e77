"""Text-only dialogue: small true answers about no picture at all, so that tuning on pictures keeps the chat alive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from connector.data.questions.phrases import many, with_article
from connector.data.records import Record

CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon", "Japan": "Tokyo",
    "China": "Beijing", "Egypt": "Cairo", "Kenya": "Nairobi", "Norway": "Oslo", "Sweden": "Stockholm",
    "Finland": "Helsinki", "Denmark": "Copenhagen", "Poland": "Warsaw", "Austria": "Vienna", "Greece": "Athens",
    "Hungary": "Budapest", "Ireland": "Dublin", "Canada": "Ottawa", "Mexico": "Mexico City", "Peru": "Lima",
    "Chile": "Santiago", "Argentina": "Buenos Aires", "Cuba": "Havana", "Russia": "Moscow", "Thailand": "Bangkok",
    "Vietnam": "Hanoi", "South Korea": "Seoul", "Turkey": "Ankara", "Iran": "Tehran", "Iraq": "Baghdad",
    "Belgium": "Brussels", "the Netherlands": "Amsterdam", "the United Kingdom": "London", "Iceland": "Reykjavik",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "tall": "short", "fast": "slow", "happy": "sad", "early": "late", "open": "closed",
    "full": "empty", "wet": "dry", "strong": "weak", "light": "dark", "loud": "quiet", "clean": "dirty", "rich": "poor",
    "easy": "difficult", "near": "far", "young": "old", "thick": "thin", "sharp": "blunt", "deep": "shallow",
}  # fmt: skip
THINGS = {
    "a banana": ("yellow", "a fruit"), "a carrot": ("orange", "a vegetable"), "grass": ("green", "a plant"),
    "snow": ("white", "frozen water"), "coal": ("black", "a fuel"), "a strawberry": ("red", "a fruit"),
    "a lemon": ("yellow", "a fruit"), "milk": ("white", "a drink"), "a flamingo": ("pink", "a bird"),
    "a frog": ("green", "an amphibian"), "an elephant": ("gray", "a mammal"), "a crow": ("black", "a bird"),
}  # fmt: skip
MEANINGS = {
    "a telescope": "an instrument for looking at things that are far away, such as stars",
    "a library": "a place where people read and borrow books", "an island": "a piece of land with water all around it",
    "a bakery": "a shop where bread and cakes are made and sold", "a triangle": "a shape with three straight sides",
    "a calendar": "a table of the days, weeks and months of a year", "a nurse": "a person who cares for the sick",
    "a recipe": "a list of ingredients and steps for making a dish", "an orchard": "a place where fruit trees grow",
    "a compass": "an instrument that shows which way is north", "a volcano": "a mountain that can throw out hot rock",
    "a glacier": "a large mass of ice that moves slowly", "a novel": "a long story in the form of a book",
}  # fmt: skip
SOUNDS = {"dog": "barks", "cat": "meows", "cow": "moos", "duck": "quacks", "lion": "roars", "sheep": "bleats",
          "horse": "neighs", "bee": "buzzes", "wolf": "howls", "pig": "oinks"}  # fmt: skip
WORK = {"pilot": "flies planes", "baker": "bakes bread", "teacher": "teaches students", "farmer": "grows food",
          "doctor": "treats the sick", "painter": "paints pictures", "carpenter": "builds things of wood",
          "tailor": "makes and mends clothes", "fisherman": "catches fish", "cook": "prepares meals"}  # fmt: skip
NOUNS = (
    "dog", "box", "city", "knife", "mouse", "leaf", "tomato", "child", "tree", "church", "baby", "wolf", "goose", "car",
    "glass", "story", "potato", "fox", "sheep", "house",
)  # fmt: skip
MANY = {"child": "children", "knife": "knives"}
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
          "November", "December")  # fmt: skip
TALK = (
    ("Hello!", "Hello! How can I help you today?"),
    ("Hi, how are you?", "I am doing well, thank you. What can I do for you?"),
    ("Good morning.", "Good morning! What would you like to know?"),
    ("Thank you very much.", "You are welcome!"),
    ("Thanks for your help.", "I am glad I could help."),
    ("Goodbye.", "Goodbye! Have a nice day."),
    ("What can you do?", "I can answer questions, describe pictures and talk with you."),
    ("Can you help me?", "Of course. Please tell me what you need."),
    ("I am sad today.", "I am sorry to hear that. Would you like to talk about it?"),
    ("Tell me something nice.", "You are doing better than you think."),
)


def text_dialogue(n: int, seed: int) -> list[Record]:
    """`n` different questions (some 20,000 are known) without a picture, with a true answer in a short sentence each.

    The same seed gives the same. Where all have come, they come again.
    """
    rng = np.random.default_rng([seed, 83])
    makers = (_sum, _sum, _capital, _capital, _opposite, _colour, _meaning, _plural, _day, _order, _sound, _work, _talk)
    rows: list[Record] = []
    seen: set[str] = set()
    misses = 0
    while len(rows) < n:
        question, answer = makers[int(rng.integers(len(makers)))](rng)
        if question in seen and misses < 1000:
            misses += 1
            continue
        misses = 0
        seen.add(question)
        rows.append(Record(f"dialogue-{seed}-{len(rows)}", question, answer, "dialogue"))
    return rows


Pair = tuple[str, str]


def _pick(rng: np.random.Generator, *choices: str) -> str:
    return choices[int(rng.integers(len(choices)))]


def _sum(rng: np.random.Generator) -> Pair:
    a, b = (int(v) for v in rng.integers(1, 21, 2))
    signs: dict[str, Callable[[int, int], int]] = {"plus": int.__add__, "minus": int.__sub__, "times": int.__mul__}
    sign = _pick(rng, *signs)
    a, b = (max(a, b), min(a, b)) if sign == "minus" else (a, b)
    asked = _pick(rng, f"What is {a} {sign} {b}?", f"How much is {a} {sign} {b}?", f"Please work out {a} {sign} {b}.")
    return asked, f"{a} {sign} {b} is {signs[sign](a, b)}."


def _capital(rng: np.random.Generator) -> Pair:
    country = _pick(rng, *CAPITALS)
    city = CAPITALS[country]
    start = country[0].upper() + country[1:]
    return (
        (f"{city} is the capital of which country?", f"{city} is the capital of {country}.")
        if rng.random() < 0.3
        else (
            _pick(rng, f"What is the capital of {country}?", f"Which city is the capital of {country}?"),
            _pick(rng, f"The capital of {country} is {city}.", f"{start}'s capital is {city}."),
        )
    )


def _opposite(rng: np.random.Generator) -> Pair:
    word = _pick(rng, *OPPOSITES)
    other = OPPOSITES[word]
    word, other = (word, other) if rng.random() < 0.5 else (other, word)
    asked = _pick(rng, f"What is the opposite of {word}?", f"Which word means the opposite of {word}?")
    return asked, f"The opposite of {word} is {other}."


def _colour(rng: np.random.Generator) -> Pair:
    thing = _pick(rng, *THINGS)
    colour, kind = THINGS[thing]
    start = thing[0].upper() + thing[1:]
    if rng.random() < 0.5:
        return f"What color is {thing} usually?", f"{start} is usually {colour}."
    return f"What is {thing}?", f"{start} is {kind}."


def _meaning(rng: np.random.Generator) -> Pair:
    word = _pick(rng, *MEANINGS)
    bare = word.split(" ", 1)[1]
    asked = _pick(rng, f"What is {word}?", f"What does the word '{bare}' mean?", f"Explain what {word} is.")
    return asked, f"{word[0].upper() + word[1:]} is {MEANINGS[word]}."


def _plural(rng: np.random.Generator) -> Pair:
    noun = _pick(rng, *NOUNS)
    said = MANY.get(noun) or many(noun)
    asked = _pick(rng, f"What is the plural of '{noun}'?", f"One {noun}, two what?")
    return asked, f"The plural of '{noun}' is '{said}'."


def _day(rng: np.random.Generator) -> Pair:
    names, word = ((DAYS, "day"), (MONTHS, "month"))[int(rng.integers(2))]
    at = int(rng.integers(len(names)))
    after = rng.random() < 0.5
    other = names[(at + (1 if after else -1)) % len(names)]
    where = "after" if after else "before"
    return f"Which {word} comes {where} {names[at]}?", f"The {word} {where} {names[at]} is {other}."


def _order(rng: np.random.Generator) -> Pair:
    a, b = (int(v) for v in rng.choice(100, 2, replace=False))
    asked, answer = (
        (f"Which number is larger, {a} or {b}?", max(a, b))
        if rng.random() < 0.5
        else (f"Which number is smaller, {a} or {b}?", min(a, b))
    )
    return asked, f"{answer} is {'larger' if 'larger' in asked else 'smaller'}."


def _sound(rng: np.random.Generator) -> Pair:
    animal = _pick(rng, *SOUNDS)
    return f"What sound does {with_article(animal)} make?", f"{with_article(animal).capitalize()} {SOUNDS[animal]}."


def _work(rng: np.random.Generator) -> Pair:
    job = _pick(rng, *WORK)
    asked = _pick(rng, f"What does {with_article(job)} do?", f"What is the work of {with_article(job)}?")
    return asked, f"{with_article(job).capitalize()} {WORK[job]}."


def _talk(rng: np.random.Generator) -> Pair:
    return TALK[int(rng.integers(len(TALK)))]
