"""Questions about what is said: transcripts drawn at random, as the recogniser would give them, with their answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from connector.data.questions.dialogue import DAYS
from connector.data.readings import wordings
from connector.data.records import Record
from experts.base import Finding
from experts.evidence import compose_evidence
from experts.evidence.categories import imagenet_classes
from experts.evidence.colours import COLOURS

CITIES = [
    "London", "Paris", "Berlin", "Madrid", "Rome", "Vienna", "Oxford", "Leeds", "Boston", "Chicago", "Denver", "Dallas",
    "Tokyo", "Sydney", "Dublin", "Prague", "Zurich", "Milan", "Lyon", "Hamburg", "Geneva", "Naples", "Seattle",
    "Toronto", "Lisbon", "Porto", "Glasgow", "York", "Bristol", "Bath", "Cairo", "Delhi", "Osaka", "Seoul", "Austin",
    "Houston", "Phoenix", "Portland", "Krakow", "Budapest",
]  # fmt: skip
PEOPLE = [
    "Anna", "Peter", "Maria", "John", "Susan", "David", "Laura", "Tom", "Emma", "James", "Alice", "Robert", "Helen",
    "Mark", "Sarah", "Paul", "Julia", "Frank", "Clara", "Henry", "Nina", "Oscar", "Grace", "Simon", "Mrs Miller",
    "Mr Brown", "Doctor Smith", "Professor Green",
]  # fmt: skip
ITEMS = [
    "keys", "wallet", "umbrella", "camera", "ticket", "book", "phone", "coat", "bag", "letter", "suitcase", "passport",
    "jacket", "backpack", "laptop", "glasses", "hat", "gloves", "parcel", "violin", "notebook", "receipt", "watch",
]  # fmt: skip
DISHES = [
    "soup", "pasta", "salad", "pizza", "rice", "chicken", "fish", "curry", "bread", "cake", "noodles", "stew",
    "pancakes", "beans", "sausages", "porridge", "dumplings", "cheese", "fruit", "ice cream",
]  # fmt: skip
# Where one goes that has no name of its own.
DESTINATIONS = [
    "the old town", "the airport", "the main station", "the north beach", "the city center", "the island", "the museum",
    "the upper village", "the mountain hotel", "the west gate", "the new harbor", "the zoo", "the university",
    "the lake", "the border", "the south pier",
]  # fmt: skip

# A recording's sentence with what may be asked of it; {placeholders} are drawn anew each time.
RECORDINGS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "The {vehicle} to {goal} leaves from {gate} {n} in {n2} minutes.",
        (
            ("Which {gate} does the {vehicle} leave from?", "{gate} {n}"),
            ("From which {gate} does it leave?", "{gate} {n}"),
            ("Where does the {vehicle} go?", "{goal}"),
            ("Where is the {vehicle} going?", "{goal}"),
            ("What goes to {goal}?", "the {vehicle}"),
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
        "Passengers for {goal} should go to {gate} {n} now and keep the {item} in their hands.",
        (
            ("Which {gate} should passengers go to?", "{gate} {n}"),
            ("Where are the passengers going?", "{goal}"),
            ("What should be kept?", "the {item}"),
            ("Who should go there now?", "passengers for {goal}"),
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
        "The train to {goal} leaves from platform {n} at {time}.",
        (
            ("Where does the train go?", "{goal}"),
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


def heard(rng: np.random.Generator) -> list[Record]:
    """A recording of RECORDINGS: a question about it, and what is said; at times one that nothing answers."""
    sentence, asked = RECORDINGS[int(rng.integers(len(RECORDINGS)))]
    city, city2 = rng.choice(CITIES, 2, replace=False)
    words = {
        "city": city,
        "city2": city2,
        "goal": city if rng.random() < 0.5 else rng.choice(DESTINATIONS),
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
        rows.append(Record("x", question, answer, "speech", evidence=_evidence(rng, said)))
    if rng.random() < 0.1:
        question = str(rng.choice((*TRANSCRIBE, *wordings.SAID["en"])))
        rows.append(Record("x", question, "Nobody was heard speaking.", "speech", evidence=_evidence(rng, "")))
    if rng.random() < 0.25:
        rows.append(_told(rng, said if rng.random() < 0.6 else ""))
    return rows


def _told(rng: np.random.Generator, said: str) -> Record:
    """Whether somebody speaks, and what is said, in English or Chinese."""
    language = "zh" if rng.random() < 0.3 else "en"
    if rng.random() < 0.5:
        question, answers = str(rng.choice(wordings.SPEAKING[language])), {
            "en": ("Yes, someone is speaking.", "No, nobody was heard speaking."),
            "zh": ("有，有人在说话。", "没有，没有听到人说话。"),
        }  # fmt: skip
        return Record("x", question, answers[language][not said], "speech", evidence=_evidence(rng, said))
    question = str(rng.choice(wordings.SAID[language]))
    answer = (f'They say: "{said}"' if said else "Nobody was heard speaking.") if language == "en" else (
        f"录音里说：“{said}”" if said else "没有听到人说话。"
    )  # fmt: skip
    return Record("x", question, answer, "speech", evidence=_evidence(rng, said))


def _evidence(rng: np.random.Generator, said: str) -> str:
    """What the experts route reads of a recording in which `said` is heard."""
    about = (f"Sound of {rng.integers(1, 90)} s.",)
    return compose_evidence([Finding("speech", said, 0.9)] if said else [], "", None, (), ("speech",), about)


def statements(rng: np.random.Generator) -> list[Record]:
    """A recording of one to three sentences whose words say little: what is asked for can only be copied."""
    drawn = rng.choice(len(STORIES), int(rng.choice([1, 2, 3], p=[0.7, 0.2, 0.1])), replace=False)
    parts = [_story(rng, *STORIES[int(index)]) for index in drawn]
    said = " ".join(sentence for sentence, _ in parts)
    asked = parts[0][1]
    if len(parts) > 1:  # only what says which of the sentences it is about
        asked = [pair for pair in asked if any(word in pair[0] for word in PEOPLE_AT_WORK)]
    pairs = [(str(rng.choice(TRANSCRIBE)), said)]
    pairs += [asked[int(rng.integers(len(asked)))]] if asked else []
    return [Record("x", q, a, "speech", evidence=_evidence(rng, said)) for q, a in pairs]


def _story(
    rng: np.random.Generator, sentence: str, asked: Sequence[tuple[str, str]]
) -> tuple[str, list[tuple[str, str]]]:
    """A sentence of STORIES told with words drawn anew, and its questions with their answers."""
    things = [*rng.choice(PEOPLE_AT_WORK, 3, replace=False)]
    things = [imagenet_classes()[int(rng.integers(1000))].lower() if rng.random() < 0.2 else thing for thing in things]
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
