"""Wordings: how each thing is asked, in one pool for training and one for the test split, and English grammar."""

from __future__ import annotations

from experts.evidence.categories import plural

# what is asked -> phrasings of training, then phrasings of the test split
PHRASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "name": (
        (
            "What is in the picture?",
            "What is this?",
            "What does the image show?",
            "Name the object.",
            "What is there to see?",
            "Which object is in the picture?",
            "What do you see here?",
        ),  # fmt: skip
        ("What can you see in the image?", "What is shown here?"),
    ),
    "name at": (
        (
            "What is at the {position}?",
            "What is in the {position} of the picture?",
            "Which object is at the {position}?",
            "What can you find at the {position}?",
            "What do you see at the {position}?",
            "What is shown at the {position} of the picture?",
            "Tell me what stands at the {position}.",
            "Name what is at the {position}.",
            "Name the object in the {position} of the image.",
        ),  # fmt: skip
        ("What can be seen at the {position}?", "Name the thing at the {position} of the image."),
    ),
    "category": (
        (
            "What kind of thing is at the {position}?",
            "What type of object is in the {position} of the picture?",
            "To which category does the object at the {position} belong?",
            "What sort of thing is at the {position}?",
        ),  # fmt: skip
        ("Which category of thing is at the {position}?",),
    ),
    "category of one": (
        (
            "What kind of thing is this?",
            "What type of object is in the picture?",
            "What category is the object?",
            "To which category does this belong?",
            "What sort of thing is shown?",
        ),  # fmt: skip
        ("Which category of thing does the image show?",),
    ),
    "existence": (
        (
            "Is there {a} in the picture?",
            "Is there {a}?",
            "Does the image contain {a}?",
            "Can you see {a}?",
            "Is {a} present?",
            "Is {a} to be seen here?",
            "Do you see {a}?",
            "Does the photo have {a} in it?",
        ),  # fmt: skip
        ("Is there {a} in the image?", "Does the picture show {a}?"),
    ),
    "absence": (
        ("Is there no {bare} in the picture?", "Does the image not contain {a}?", "Is no {bare} present?"),
        ("Is there not {a} in the image?", "Is no {bare} in the image?"),
    ),
    "count": (
        (
            "How many {plural} are there?",
            "How many {plural} are in the picture?",
            "Count the {plural}.",
            "How many {plural} do you see?",
            "Tell me the number of {plural}.",
            "How many {plural} does the image show?",
            "What number of {plural} is there?",
        ),  # fmt: skip
        ("How many {plural} can you see?", "What is the number of {plural}?"),
    ),
    "colour": (
        (
            "What color is the {name}?",
            "What is the color of the {name}?",
            "What colour is the {name}?",
            "Which colour is the {name}?",
            "Name the color of the {name}.",
        ),  # fmt: skip
        ("Which color does the {name} have?", "What colour does the {name} have?"),
    ),
    "colour of several": (
        ("What color are the {plural}?", "What is the color of the {plural}?", "What colour are the {plural}?"),
        ("Which color do the {plural} have?",),
    ),
    "shape": (
        (
            "What shape is the {colour} object?",
            "What is the {colour} shape?",
            "What shape is {colour}?",
            "Which shape is the {colour} one?",
            "Name the shape of the {colour} thing.",
        ),  # fmt: skip
        ("Which shape is {colour}?", "What is the shape of the {colour} object?"),
    ),
    "lone shape": (
        (
            "What shape is in the picture?",
            "What is the shape of the object?",
            "What shape is there?",
            "Which shape do you see?",
            "Name the shape.",
        ),  # fmt: skip
        ("What shape does the image contain?", "What shape is present?"),
    ),
    "position": (
        (
            "Where is the {name}?",
            "Where in the picture is the {name}?",
            "In which part of the image is the {name}?",
            "Where do you see the {name}?",
            "Tell me where the {name} is.",
        ),  # fmt: skip
        ("Where can the {name} be seen?", "At what place in the picture is the {name}?"),
    ),
    "relation": (
        (
            "Is the {name} {relation} the {other}?",
            "Is the {name} located {relation} the {other}?",
            "Does the {name} stand {relation} the {other}?",
            "Do you see the {name} {relation} the {other}?",
            "Is it true that the {name} is {relation} the {other}?",
            "Can the {name} be found {relation} the {other}?",
            "Do you think the {name} is {relation} the {other}?",
        ),  # fmt: skip
        ("Would you say the {name} is {relation} the {other}?",),
    ),
    "what is beside": (
        (
            "What is {relation} the {name}?",
            "Which object is {relation} the {name}?",
            "What do you see {relation} the {name}?",
            "What can you find {relation} the {name}?",
            "Name what is {relation} the {name}.",
        ),  # fmt: skip
        ("What can be seen {relation} the {name}?",),
    ),
    "size": (
        (
            "Which is larger, the {name} or the {other}?",
            "Which is bigger, the {name} or the {other}?",
            "What is larger, the {name} or the {other}?",
            "Which one is bigger: the {name} or the {other}?",
            "Of the {name} and the {other}, which is larger?",
            "Is the {name} or the {other} the bigger one?",
        ),  # fmt: skip
        ("What is bigger: the {name} or the {other}?",),
    ),
    "text": (
        (
            "What does the sign say?",
            "What is written on the sign?",
            "Read the text.",
            "What word is written here?",
            "What can be read in the picture?",
        ),  # fmt: skip
        ("Which word is on the sign?", "What text is in the image?"),
    ),
    "caption": (
        ("Describe the image.", "Describe the picture.", "What do you see? Describe it."),
        ("Give a description of the image.",),
    ),
}

UNCOUNTABLE = frozenset((
    "bread", "butter", "rice", "honey", "garlic", "ginger", "corn", "lettuce", "broccoli", "sushi", "spaghetti",
    "popcorn", "bacon", "coral", "meat", "cheese", "coffee", "tea", "beer", "wine", "milk", "whiskey", "sake", "mate",
    "chocolate", "paella", "soap", "fruit", "food", "clothing", "electronics",
))  # fmt: skip
PLURALS = {
    "ox": "oxen", "wolf": "wolves", "potato": "potatoes", "tomato": "tomatoes", "mango": "mangoes", "moose": "moose",
    "bison": "bison", "shrimp": "shrimp", "squid": "squid", "trout": "trout", "scarf": "scarves",
}  # fmt: skip


def with_article(name: str) -> str:
    """The name as one says it of one thing.

    >>> [with_article(name) for name in ("apple", "dog", "glasses", "unicorn", "loaf of bread", "toilet paper")]
    ['an apple', 'a dog', 'glasses', 'a unicorn', 'a loaf of bread', 'toilet paper']
    """
    if is_mass(name) or is_plural(name):
        return name
    vowel = name[0] in "aeiou" and not name.startswith(("uni", "eu", "ufo", "use"))
    return ("an " if vowel else "a ") + name


def agree(question: str, name: str) -> str:
    """The question with its verb in the number of `name`.

    >>> agree("Is there no grapes in the picture?", "grapes")
    'Are there no grapes in the picture?'
    >>> agree("Does the scissors stand above the dog?", "scissors")
    'Do the scissors stand above the dog?'
    """
    if not is_plural(name):
        return question
    for one, several in (("Is ", "Are "), ("Does the ", "Do the ")):
        if question.startswith(one) and not question.startswith(
            ("Is it", "Does the image ", "Does the photo ", "Does the picture ")
        ):
            question = several + question.removeprefix(one)
    return question.replace(f"is the {name}", f"are the {name}").replace(f"the {name} is", f"the {name} are")


def is_mass(name: str) -> bool:
    """Whether the name takes neither an article nor a number: 'bread', 'toilet paper'."""
    return name in UNCOUNTABLE or name == "toilet paper"


def is_plural(name: str) -> bool:
    """Whether the name is a plural already: 'glasses', 'french fries'."""
    return name.endswith("s") and not name.endswith(("ss", "us", "is"))


def many(name: str) -> str:
    """The plural of a name."""
    *front, last = name.split()
    return " ".join([*front, PLURALS[last]]) if last in PLURALS else plural(name)
