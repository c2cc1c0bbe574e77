"""Questions about findings: evidence text in the form the experts give it, with the answers that follow from it.

The findings are drawn at random, but their text comes from experts.evidence, the same function that serves at run time,
so the language model learns to read exactly what it will be given. What the evidence does not support is answered with
no, with 0, or with saying that it cannot be told.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Sequence

import numpy as np

from connector.data.questions import Asker, with_article
from connector.data.records import Record
from connector.data.scenes import SIDE_PX, WORDS, Scene, Thing
from experts.base import Finding
from experts.colours import COLOURS
from experts.convert.nanodet import COCO
from experts.evidence import asked_thing, compose_evidence
from experts.kinds import COCO_KINDS, kinds_of, matches, plural

NAMES = tuple(name.replace("_", " ") for name in COCO)
LIKELY = 0.2  # score of a tag from which on a description says it
UNKNOWN = "I cannot tell from what was found."
CITIES = [
    "London",
    "Paris",
    "Berlin",
    "Madrid",
    "Rome",
    "Vienna",
    "Oxford",
    "Leeds",
    "Boston",
    "Chicago",
    "Denver",
    "Dallas",
    "Tokyo",
    "Sydney",
    "Dublin",
    "Prague",
]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
PEOPLE = ["Anna", "Peter", "Maria", "John", "Susan", "David", "Laura", "Tom", "Emma", "James", "Alice", "Robert"]
ITEMS = ["keys", "wallet", "umbrella", "camera", "ticket", "book", "phone", "coat", "bag", "letter"]
DISHES = ["soup", "pasta", "salad", "pizza", "rice", "chicken", "fish", "curry", "bread", "cake"]

# A recording's sentence with what may be asked of it; {placeholders} are drawn anew each time.
RECORDINGS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "The {vehicle} to {city} leaves from {gate} {n} in {n2} minutes.",
        (
            ("Which {gate} does the {vehicle} leave from?", "{gate} {n}"),
            ("From which {gate} does it leave?", "{gate} {n}"),
            ("Where does the {vehicle} go?", "{city}"),
            ("What goes to {city}?", "the {vehicle}"),
            ("When does the {vehicle} leave?", "in {n2} minutes"),
        ),
    ),
    (
        "The {vehicle} from {city} will arrive at {gate} {n} at {time}.",
        (
            ("At which {gate} will the {vehicle} arrive?", "{gate} {n}"),
            ("Which {gate} is announced?", "{gate} {n}"),
            ("Where does the {vehicle} come from?", "{city}"),
            ("When will the {vehicle} arrive?", "at {time}"),
        ),
    ),
    (
        "Passengers for {city} should go to {gate} {n} now and keep the {item} in their hands.",
        (
            ("Which {gate} should passengers go to?", "{gate} {n}"),
            ("Where are the passengers going?", "{city}"),
            ("What should be kept?", "the {item}"),
            ("Who should go there now?", "passengers for {city}"),
        ),
    ),
    (
        "{person}, please come to {gate} {n}, your {item} has been found.",
        (
            ("Who is called?", "{person}"),
            ("Where should {person} come?", "{gate} {n}"),
            ("What has been found?", "the {item}"),
            ("Which {gate} is named?", "{gate} {n}"),
        ),
    ),
    (
        "The train to {city} leaves from platform {n} at {time}.",
        (
            ("Where does the train go?", "{city}"),
            ("Which platform does the train leave from?", "platform {n}"),
            ("When does the train leave?", "{time}"),
        ),
    ),
    (
        "Please bring the {item} to room {n} on {day}.",
        (("What should be brought?", "the {item}"), ("Which room is mentioned?", "{n}"), ("On which day?", "{day}")),
    ),
    (
        "{person} is going to {city} next {day}.",
        (
            ("Who is going to {city}?", "{person}"),
            ("Where is {person} going?", "{city}"),
            ("When is {person} going?", "next {day}"),
        ),
    ),
    (
        "The meeting with {person} starts at {time} in room {n}.",
        (
            ("Who is the meeting with?", "{person}"),
            ("When does the meeting start?", "{time}"),
            ("In which room is the meeting?", "{n}"),
        ),
    ),
    (
        "I would like {n} bowls of {dish}, please.",
        (
            ("What does the speaker want?", "{n} bowls of {dish}"),
            ("How many bowls are ordered?", "{n}"),
            ("What food is mentioned?", "{dish}"),
        ),
    ),
    (
        "{person} lost the {item} in {city}.",
        (
            ("Who lost something?", "{person}"),
            ("What was lost?", "the {item}"),
            ("In which city was it lost?", "{city}"),
        ),
    ),
    (
        "The flight from {city} is delayed by {n} minutes.",
        (("Where does the flight come from?", "{city}"), ("How long is the delay?", "{n} minutes")),
    ),
    (
        "Today we have {dish} and it costs {n} dollars.",
        (("What is served today?", "{dish}"), ("How much does it cost?", "{n} dollars")),
    ),
    (
        "Turn left at the station and walk {n} meters.",
        (("Which way should one turn?", "left"), ("How far should one walk?", "{n} meters")),
    ),
    (
        "Your order of {dish} will be ready in {n} minutes, said the cook.",
        (("Who speaks of the order?", "the cook"), ("When will the order be ready?", "in {n} minutes")),
    ),
    (
        "{person} was never a tall man, but he carried the {item} without a word.",
        (("Who carried something?", "{person}"), ("What did he carry?", "the {item}")),
    ),
    (
        "Turn the handle twice, then press the {colour} button.",
        (("Which button should be pressed?", "{colour}"), ("How often should the handle be turned?", "twice")),
    ),
    (
        "The shop in {city} stays closed until {day}, but the bakery is open.",
        (
            ("What is open?", "the bakery"),
            ("Until when is the shop closed?", "{day}"),
            ("Where is the shop?", "{city}"),
        ),
    ),
    (
        "If {person} had come to {city} sooner, she might have found the {item} herself.",
        (("Who might have found something?", "{person}"), ("Which city is named?", "{city}")),
    ),
    (
        "Red team {n}, blue team {n2}.",
        (("How many points has the blue team?", "{n2}"), ("Which team is named first?", "red")),
    ),
    ("Good night, {person}.", (("Who is spoken to?", "{person}"),)),
    (
        "A driver will bring the {dish} to your door, and the next free waiter will help you.",
        (("Who will bring the {dish}?", "a driver"), ("Who will help you?", "the next free waiter")),
    ),
    (
        "The {item} belongs to {person}, who lives above the bakery.",
        (("Who does the {item} belong to?", "{person}"), ("Where does {person} live?", "above the bakery")),
    ),
    (
        "Tomorrow it will rain in {city} and snow in {city2}.",
        (("What is the weather in {city}?", "rain"), ("Where will it snow?", "{city2}")),
    ),
)
# What stands before and after without saying more.
LEADS = (
    "Attention.", "Ladies and gentlemen.", "Good morning.", "Hello.", "Dear passengers.", "This is an announcement.",
    "Listen, please.", "Excuse me.",
)  # fmt: skip
TAILS = (
    "Thank you for your patience.", "Have a nice day.", "We are sorry about that.", "Mind the gap.", "Thank you.",
    "Please do not leave anything behind.", "This message will be repeated.", "Do not run.", "Hold on tight.",
)  # fmt: skip
VEHICLES = ("train", "bus", "ferry", "tram", "boat", "coach", "express", "shuttle", "plane")
GATES = ("platform", "gate", "track", "stop", "pier", "room", "terminal", "desk", "bay", "hall")
# Sentences of any words, so that what is copied need not be known: {a}, {b}, {c} are things, {do} and {did} a deed.
STORIES: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "{adj} as it was, the {a} {did} the {b} {where}, and nobody in {city} knew why.",
        (
            ("Who {did} the {b}?", "the {a}"),
            ("What did the {a} {do}?", "the {b}"),
            ("Where did the {a} {do} the {b}?", "{where}"),
            ("Which city is mentioned?", "{city}"),
        ),
    ),
    (
        "the {a} {did} the {b} {where}",
        (("Who {did} the {b}?", "the {a}"), ("Where did the {a} {do} the {b}?", "{where}")),
    ),
    (
        "It was {when} that the {a} {did} the {b}. The {c} said nothing.",
        (
            ("When did the {a} {do} the {b}?", "{when}"),
            ("Who said nothing?", "the {c}"),
            ("What did the {a} {do}?", "the {b}"),
        ),
    ),
    (
        "I had hoped that the {a} would {do} the {b}, yet the {c} was more {adj} than any of us had thought.",
        (("Who was {adj}?", "the {c}"), ("What was the {a} to {do}?", "the {b}"), ("What was the {c}?", "{adj}")),
    ),
    (
        "{person} is {adj}, and the {a} is rather {adj2}.",
        (("Who is {adj}?", "{person}"), ("What is {adj2}?", "the {a}"), ("Which person is mentioned?", "{person}")),
    ),
    (
        "He was never {adj} to the {a}, unless the {b} was there.",
        (("Who was never {adj}?", "he"), ("Who had to be there?", "the {b}")),
    ),
    (
        "You have now reached the {a}. All {b}s are away. Please hold, or press {number} to leave a {c}.",
        (
            ("What has been reached?", "the {a}"),
            ("Which number should be pressed?", "{number}"),
            ("What can be left?", "a {c}"),
            ("Who is away?", "all {b}s"),
        ),
    ),
    (
        "{number} {a}s, {number2} {b}s",
        (
            ("What is named first?", "{number} {a}s"),
            ("What is named last?", "{number2} {b}s"),
            ("How many {b}s are named?", "{number2}"),
        ),
    ),
    ("the {number} of {a}s", (("Which number can be heard?", "{number}"), ("What is it the {number} of?", "{a}s"))),
    ("{adj} {a}", (("Which word comes first?", "{adj}"), ("What is {adj}?", "{a}"))),
    ("{a} {number}", (("Which number is heard?", "{number}"), ("Which word is heard?", "{a}"))),
    (
        "Sorry, that {a} is {adj}. Say the name of your {b}, followed by the {c}.",
        (
            ("What is {adj}?", "that {a}"),
            ("What should follow the name?", "the {c}"),
            ("Whose name should be said?", "your {b}"),
        ),
    ),
    (
        "Thanks for choosing {person}'s {a}, see you {when}.",
        (("Whose {a} is it?", "{person}'s"), ("When will we meet?", "{when}"), ("What was chosen?", "{person}'s {a}")),
    ),
)
DEEDS = (
    ("see", "saw"), ("carry", "carried"), ("follow", "followed"), ("find", "found"), ("paint", "painted"),
    ("hide", "hid"), ("sell", "sold"), ("visit", "visited"), ("describe", "described"), ("repair", "repaired"),
    ("call", "called"), ("watch", "watched"), ("answer", "answered"), ("break", "broke"), ("marry", "married"),
    ("teach", "taught"), ("help", "helped"), ("forget", "forgot"), ("buy", "bought"), ("wash", "washed"),
)  # fmt: skip
PLACES = (
    "behind the theatre", "near the old mill", "in the garden", "under the bridge", "on the roof", "at the market",
    "beside the lake", "in the kitchen", "outside the court", "on the stairs", "at sea", "in an office",
)  # fmt: skip
TIMES = (
    "after dinner", "last winter", "before sunrise", "on his birthday", "at noon", "in the evening", "a year ago",
    "soon", "next week", "early in May", "during the war", "at half past nine",
)  # fmt: skip
ADJECTIVES = (
    "cheerful", "selfish", "proud", "terrible", "narrow", "respectable", "tired", "prudent", "false", "wooden",
    "generous", "silent", "available", "invalid", "cold", "left", "upper", "famous", "busy", "gentle", "amiable",
)  # fmt: skip
PEOPLE_AT_WORK = (
    "teacher", "lawyer", "sister", "captain", "agent", "widow", "operator", "gardener", "prince", "caller", "manager",
    "neighbour", "doctor", "uncle", "guest", "painter", "daughter", "soldier", "customer", "servant", "message",
    "password", "office", "extension", "account", "letter", "engine", "window", "fortune", "estate", "answer",
)  # fmt: skip
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "zero")
TRANSCRIBE = (
    "What is said?",
    "What does the speaker say?",
    "Transcribe the recording.",
    "What do you hear?",
    "What is being said in the recording?",
    "Write down what is said.",
    "What are the words of the recording?",
    "What does the voice say?",
)
READ = (
    "What does the sign say?",
    "What is written in the picture?",
    "Read the text.",
    "What text is in the image?",
    "What does it say?",
)
TOP = ("What does the title say?", "What is written at the top?", "What is the first line?", "Read the headline.")
BOTTOM = ("What is written at the bottom?", "What is the last line?", "What does the lowest line say?")
NUMBER = ("Which number is written there?", "What number is on it?", "Which number can be read?")
DESCRIBE = (
    "What is in the picture?",
    "What does the image show?",
    "What can you see?",
    "Describe the image.",
    "What is this?",
)


def readings(n: int, seed: int) -> list[Record]:
    """`n` records with evidence and no image, most about pictures and more than a fifth about recordings."""
    rng = np.random.default_rng([seed, 91])
    asker = _asker(seed)
    rows: list[Record] = []
    while len(rows) < n:
        draw = rng.random()
        if draw < 0.12:
            rows += _heard(rng)
        elif draw < 0.22:
            rows += _told(rng)
        elif draw < 0.3:
            rows += _tagged(rng)
        elif draw < 0.42:
            rows += _of_a_kind(rng)
        elif draw < 0.54:
            rows += _written(rng)
        else:
            rows += _seen(rng, asker, len(rows))
    return [
        Record(f"reading-{seed}-{index}", r.question, r.answer, r.kind, evidence=r.evidence, accept=r.accept)
        for index, r in enumerate(rows[:n])
    ]


def _asker(seed: int) -> Asker:
    return Asker("train", seed, [(name, _category(name), frozenset((name, *kinds_of(name)))) for name in NAMES])


def _category(name: str) -> str:
    return next((kind for kind in ("animal", "vehicle", "food", "furniture") if name in COCO_KINDS[kind]), "thing")


def _seen(rng: np.random.Generator, asker: Asker, number: int) -> list[Record]:
    """Questions about a picture of COCO things, as the detector, the tagger and the reader would report it."""
    names = [str(name) for name in rng.choice(NAMES, int(rng.integers(1, 5)), replace=False)]
    if rng.random() < 0.4:
        names[0] = "person"
    things = []
    for name in names:
        for _ in range(int(rng.integers(1, 6)) if rng.random() < 0.35 else 1):
            size = rng.integers(40, 150, 2)
            x, y = (int(rng.integers(0, SIDE_PX - s)) for s in size)
            colour = str(rng.choice(COLOURS)) if rng.random() < 0.8 else ""
            things.append(
                Thing(name, _category(name), kinds_of(name), colour, "", (x, y, x + int(size[0]), y + int(size[1])))
            )
    found = [
        Finding(
            "detect", t.name, 0.8, (float(x0), float(y0), float(x1), float(y1)), None, "picture", {"colour": t.colour}
        )
        for t in things
        for x0, y0, x1, y1 in [t.box]
    ]
    tagged = things[0].name if rng.random() < 0.5 else str(rng.choice(NAMES))
    if rng.random() < 0.85:
        found.append(Finding("tag", tagged, float(rng.uniform(0.1, 0.95)), source="picture"))
    word = str(rng.choice(WORDS)) if rng.random() < 0.3 else ""
    if word:
        word = word.upper() if rng.random() < 0.6 else word
        found.append(Finding("ocr", word, 0.95, (0.0, 0.0, 50.0, 20.0), source="picture"))
    return _asked(rng, asker, number, things, found)


def readings_of(pictures: Iterable[tuple[Sequence[Finding], tuple[int, int]]], seed: int) -> list[Record]:
    """Records about what experts really found in pictures: (findings, (width, height)) of each.

    The answers follow from the findings, not from the pictures: what no expert saw is answered with no.
    """
    rng = np.random.default_rng([seed, 92])
    asker = _asker(seed)
    rows: list[Record] = []
    for number, (found, (width, height)) in enumerate(pictures):
        things = []
        for finding in found:
            if finding.expert == "detect" and finding.box:
                x0, y0, x1, y1 = finding.box
                box = (
                    int(x0 / width * SIDE_PX), int(y0 / height * SIDE_PX),
                    int(x1 / width * SIDE_PX), int(y1 / height * SIDE_PX),
                )  # fmt: skip
                name, colour = finding.text, str(finding.extra.get("colour") or "")
                things.append(Thing(name, _category(name), kinds_of(name), colour, "", box))
        found = [dataclasses.replace(finding, source="picture") for finding in found]
        if things:
            rows += _asked(rng, asker, number, things, found, (width, height))
        elif any(finding.expert == "tag" for finding in found):
            rows += _asked_of_tags(rng, [finding for finding in found if finding.expert != "ocr"])
        elif not found:
            absent = str(rng.choice(NAMES))
            pairs = [(f"Is there {with_article(absent)} in the picture?", "no", "existence"),
                     (str(rng.choice(DESCRIBE)), "Nothing was found.", "caption")]  # fmt: skip
            rows += [Record("x", q, a, kind, evidence=compose_evidence([], q)) for q, a, kind in pairs]
    return [
        Record(f"found-{seed}-{index}", r.question, r.answer, r.kind, evidence=r.evidence, accept=r.accept)
        for index, r in enumerate(rows)
    ]


def _asked(
    rng: np.random.Generator,
    asker: Asker,
    number: int,
    things: list[Thing],
    found: Sequence[Finding],
    size: tuple[int, int] = (SIDE_PX, SIDE_PX),
) -> list[Record]:
    """Up to six questions about `found`, of which `things` are the detector's."""
    scene = Scene(f"reading-{number:06d}", "", "reading", "", tuple(things))
    asked = ("existence", "count", "colour", "position", "name", "category", "relation")
    rows = [row for row in asker.questions(scene) if row.kind in asked and row.answer != "thing"]
    rows = [rows[int(i)] for i in rng.permutation(len(rows))[:4]]
    words = [finding.text for finding in found if finding.expert == "ocr"]
    likely = next((f.text for f in found if f.expert == "tag" and f.score > LIKELY), "")
    if any(matches(likely, t.name) or matches(t.name, likely) for t in things if likely):
        likely = ""
    if likely and len(things) == 1:  # what the whole looks like belongs to what it is
        rows = [row for row in rows if row.kind != "name"]
    rows.append(Record("x", str(rng.choice(DESCRIBE)), _summary(things, " ".join(words), likely), "caption"))
    if words or rng.random() < 0.1:
        rows.append(Record("x", str(rng.choice(READ)), " ".join(words) or "There is no text.", "text"))
    kept = []
    for row in rows:
        # The reader looks only when it may help, so most questions come without what it would find.
        shown = [f for f in found if f.expert != "ocr" or row.kind in ("text", "caption")]
        evidence = compose_evidence(shown, row.question, {"picture": size})
        tagged = (
            row.kind == "existence"
            and row.answer == "no"
            and any(matches(asked_thing(row.question), f.text) for f in shown if f.expert == "tag")
        )
        if not tagged:  # the tagger may have seen what the detector did not: then it is not clear what to answer
            kept.append(dataclasses.replace(row, evidence=evidence, image=None))
    return kept


def _tagged(rng: np.random.Generator) -> list[Record]:
    """A picture of which only the tagger says something."""
    names = [str(name) for name in rng.choice(_classes(), int(rng.integers(1, 4)), replace=False)]
    scores = sorted(rng.dirichlet([0.6] * (len(names) + 1))[1:], reverse=True)
    found = [
        Finding("tag", name, float(score), source="picture")
        for name, score in zip(names, scores, strict=True)
        if score > 0.05
    ]
    if not found:
        return []
    return _asked_of_tags(rng, found)


def _asked_of_tags(rng: np.random.Generator, found: Sequence[Finding]) -> list[Record]:
    best = found[0].text
    kinds = kinds_of(best)
    absent = str(rng.choice(NAMES))
    asked = best if not kinds or rng.random() < 0.5 else kinds[int(rng.integers(len(kinds)))]
    pairs = [
        (str(rng.choice(DESCRIBE)), best, "name"),
        (f"Is there {with_article(asked)} in the picture?", "yes", "existence"),
    ]
    if not any(matches(absent, f.text) for f in found):
        pairs.append((f"Is there {with_article(absent)} in the picture?", "no", "existence"))
    if kinds:
        pairs.append(("What kind of thing is this?", kinds[0], "category"))
    pairs.append((f"What color is the {asked}?", UNKNOWN, "colour"))
    return [Record("x", q, a, kind, evidence=compose_evidence(found, q)) for q, a, kind in pairs]


def _of_a_kind(rng: np.random.Generator) -> list[Record]:
    """Detector and tagger disagree, but the question says what kind of thing it means: who names one of it is right."""
    names = [str(name) for name in rng.choice(NAMES, int(rng.integers(1, 4)), replace=False)]
    sure = rng.random() < 0.7
    scores = [float(rng.uniform(0.3, 0.97)), 0.08] if sure else [float(rng.uniform(0.1, 0.3)), 0.07]
    tagged = [str(name) for name in rng.choice(_classes(), 2, replace=False)]
    kinds = kinds_of(tagged[0])
    if not kinds or tagged[0] in NAMES:
        return []
    kind = kinds[int(rng.integers(len(kinds)))]
    objects = [name for name in names if kind in kinds_of(name) or matches(kind, name)]
    found = [
        Finding("detect", name, 0.5, (float(x), float(y), x + 80.0, y + 80.0), None, "picture", {"colour": colour})
        for name in names
        for x, y in [rng.integers(0, SIDE_PX - 80, 2)]
        for colour in [str(rng.choice(COLOURS)) if rng.random() < 0.6 else ""]
    ]
    found += [Finding("tag", name, score, source="picture") for name, score in zip(tagged, scores, strict=True)]
    size = {"picture": (SIDE_PX, SIDE_PX)}
    which = str(rng.choice(("Which {} is this?", "Which {} is in the picture?", "What {} is this?", "Name the {}.")))
    pairs = [(which.format(kind), objects[0] if objects else tagged[0], "name")]
    if sure:
        pairs.append((str(rng.choice(DESCRIBE)), _summary(_things(names), "", tagged[0]), "caption"))
        if not objects:
            pairs.append((f"How many {plural(kind)} are there?", "1", "count"))
    return [Record("x", q, a, sort, evidence=compose_evidence(found, q, size)) for q, a, sort in pairs]


def _things(names: Sequence[str]) -> list[Thing]:
    return [Thing(name, _category(name), kinds_of(name), "", "", (0, 0, 80, 80)) for name in names]


def _written(rng: np.random.Generator) -> list[Record]:
    """Several texts in one picture, in the reader's order: from the top, each line from the left."""
    lines = [_line(rng) for _ in range(int(rng.integers(2, 7)))]
    if len({line.lower() for line in lines}) < len(lines):
        return []
    found = [
        Finding("ocr", line, 0.9, (0.0, 30.0 * n, 90.0, 30.0 * n + 20), source="picture")
        for n, line in enumerate(lines)
    ]
    if rng.random() < 0.5:
        found.append(Finding("tag", str(rng.choice(_classes())), float(rng.uniform(0.05, 0.7)), source="picture"))
    numbers = [line for line in lines if line.isdigit()]
    pairs = [
        (str(rng.choice(TOP)), lines[0]),
        (str(rng.choice(BOTTOM)), lines[-1]),
        (str(rng.choice(READ)), "; ".join(lines[:4])),
    ]
    if len(numbers) == 1:
        pairs.append((str(rng.choice(NUMBER)), numbers[0]))
    said = lines[int(rng.integers(len(lines)))]
    other = _line(rng)
    pairs.append((f'Does it say "{said}"?', "yes"))
    if other.lower() not in {line.lower() for line in lines}:
        pairs.append((f'Does it say "{other}"?', "no"))
    kept = [pairs[int(i)] for i in rng.permutation(len(pairs))[:2]]
    return [Record("x", q, a, "text", evidence=compose_evidence(found, q, {"picture": (90, 200)})) for q, a in kept]


def _line(rng: np.random.Generator) -> str:
    draw = rng.random()
    if draw < 0.2:
        return str(int(rng.integers(1, 1000)))
    words = [str(rng.choice([*WORDS, *CITIES, *ITEMS, *DISHES, *PEOPLE])) for _ in range(1 + int(rng.integers(3)))]
    line = " ".join(dict.fromkeys(words))
    return line.upper() if draw < 0.5 else line.capitalize()


@functools.lru_cache(maxsize=1)
def _classes() -> tuple[str, ...]:
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    return tuple(_IMAGENET_CATEGORIES)


def _heard(rng: np.random.Generator) -> list[Record]:
    sentence, asked = RECORDINGS[int(rng.integers(len(RECORDINGS)))]
    city, city2 = rng.choice(CITIES, 2, replace=False)
    words = {
        "city": city,
        "city2": city2,
        "day": rng.choice(DAYS),
        "person": rng.choice(PEOPLE),
        "item": rng.choice(ITEMS),
        "dish": rng.choice(DISHES),
        "n": int(rng.integers(2, 60)),
        "colour": rng.choice(COLOURS),
        "n2": int(rng.integers(2, 60)),
        "time": f"{rng.integers(1, 13)}:{rng.integers(10, 60)}",
        "vehicle": rng.choice(VEHICLES),
        "gate": rng.choice(GATES),
    }
    said = sentence.format(**words)
    if rng.random() < 0.4:
        said = f"{rng.choice(LEADS)} {said}"
    if rng.random() < 0.4:
        said = f"{said} {rng.choice(TAILS)}"
    question, answer = asked[int(rng.integers(len(asked)))]
    pairs = [(question.format(**words), answer.format(**words)), (str(rng.choice(TRANSCRIBE)), said)]
    if rng.random() < 0.3:
        pairs.append((f"Does the speaker mention {rng.choice(CITIES + PEOPLE + ITEMS)}?", ""))
    rows = []
    for question, answer in pairs:
        if not answer:
            answer = "yes" if question.removesuffix("?").split()[-1].lower() in said.lower() else "no"
        rows.append(
            Record("x", question, answer, "speech", evidence=compose_evidence([Finding("speech", said, 0.9)], question))
        )
    if rng.random() < 0.1:
        question = str(rng.choice(TRANSCRIBE))
        rows.append(Record("x", question, "Nothing was heard.", "speech", evidence=compose_evidence([], question)))
    return rows


def _told(rng: np.random.Generator) -> list[Record]:
    """A recording of one to three sentences whose words say little: what is asked for can only be copied."""
    told = rng.choice(len(STORIES), int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])), replace=False)
    parts = [_story(rng, *STORIES[int(index)]) for index in told]
    said = " ".join(sentence for sentence, _ in parts)
    asked = parts[0][1]
    if len(parts) > 1:  # only what says which of the sentences it is about
        asked = [pair for pair in asked if any(word in pair[0] for word in PEOPLE_AT_WORK)]
    pairs = [(str(rng.choice(TRANSCRIBE)), said)]
    pairs += [asked[int(rng.integers(len(asked)))]] if asked else []
    found = [Finding("speech", said, 0.9)]
    return [Record("x", q, a, "speech", evidence=compose_evidence(found, q)) for q, a in pairs]


def _story(
    rng: np.random.Generator, sentence: str, asked: Sequence[tuple[str, str]]
) -> tuple[str, list[tuple[str, str]]]:
    """A sentence of STORIES told with words drawn anew, and its questions with their answers."""
    things = [*rng.choice(PEOPLE_AT_WORK, 3, replace=False)]
    things = [_classes()[int(rng.integers(1000))].lower() if rng.random() < 0.2 else thing for thing in things]
    do, did = DEEDS[int(rng.integers(len(DEEDS)))]
    adj, adj2 = rng.choice(ADJECTIVES, 2, replace=False)
    number, number2 = rng.choice(NUMBERS, 2, replace=False)
    words = {
        "a": things[0], "b": things[1], "c": things[2], "do": do, "did": did, "adj": adj, "adj2": adj2,
        "where": rng.choice(PLACES), "when": rng.choice(TIMES), "number": number, "number2": number2,
        "person": rng.choice(PEOPLE), "city": rng.choice(CITIES),
    }  # fmt: skip
    said = sentence.format(**words)
    said = said[0].upper() + said[1:] if rng.random() < 0.8 else said
    return said, [(question.format(**words), answer.format(**words)) for question, answer in asked]


def _summary(things: list[Thing], words: str, likely: str) -> str:
    """What is there, what is written, and what the whole looks like, in one or two sentences."""
    counts: dict[str, int] = {}
    for thing in things:
        counts[thing.name] = counts.get(thing.name, 0) + 1
    parts = [f"{count} {plural(name)}" if count > 1 else with_article(name) for name, count in counts.items()]
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    said = f"There {'are' if counts[things[0].name] > 1 else 'is'} {listed}"
    said += f', and text that says "{words}".' if words else "."
    return f"{said} It looks like {with_article(likely.lower())}." if likely else said
