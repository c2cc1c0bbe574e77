"""Names in answers: the noun phrases an answer lists, and whether one names a thing rightly."""

from __future__ import annotations

import re
from collections.abc import Sequence

from experts.evidence.categories import matches, singular

LEAD = re.compile(
    r"^(?:(?:there (?:is|are)|(?:it|this|that|they|these)(?:'s| is| are| looks like| shows?)|i (?:can )?see|we see|"
    r"(?:the|this|an?) (?:\w+ )?(?:image|picture|photo|scene|object|thing|item|animal|kind|type|category|answer|one)"
    r"(?: [\w-]+){0,6}? (?:shows?|contains?|has|is|depicts?|are|called)|"
    r"(?:a|an|the) (?:\w+ )?(?:image|picture|photo|photograph|close-up|drawing) of|"
    r"looks like|probably|likely)\s*:?\s+)+"
)
TAIL = re.compile(
    r"\b(?:at|in|on|with|that|which|who|whose|is|are|was|near|next|from|behind|under|above|below|beside|inside|outside|"
    r"against|over|into|to|for|by|sitting|standing|running|looking|wearing|holding|flying|walking|lying|eating|playing|"
    r"facing|hanging|riding|located|shown|visible|because|not)\b.*"
)
ARTICLE = re.compile(r"^(?:a|an|the|some|one|two|three|four|five|several|many|its|their|\d+)\s+")
HOLLOW = frozenset({"", "nothing", "something", "unknown", "none", "object", "thing", "item", "objects", "yes", "no"})
NOT_THEIR_HEAD = frozenset(
    {"hot dog", "teddy bear", "rubber duck", "sea horse", "sea lion", "guinea pig", "prairie dog"}
)
# Words that people use for the categories of the scenes.
CATEGORY_WORDS: dict[str, tuple[str, ...]] = {
    "food": ("fruit", "vegetable", "dessert", "dish", "meal", "snack"),
    "drink": ("beverage", "food", "food and drink"),
    "plant": ("flower", "tree"),
    "vehicle": ("transport", "transportation", "means of transport"),
    "building": ("structure", "house", "architecture"),
    "clothing": ("clothes", "garment", "apparel", "accessory"),
    "household": ("household object", "household item", "household good", "furniture"),
    "instrument": ("musical instrument", "music"),
    "electronics": ("device", "electronic device", "electronic", "gadget"),
    "sport": ("sports equipment", "sporting good", "sports", "sport equipment", "toy", "game"),
    "tool": ("utensil", "instrument", "implement"),
    "shape": ("geometric shape", "figure", "geometric figure"),
    "animal": ("creature", "wildlife", "bird", "fish", "insect", "mammal", "reptile"),
    "sign": ("text", "word"),
}


def noun_phrases(said: str) -> list[str]:
    """The things an answer lists, lower case, without lead-ins, articles and what follows the noun.

    >>> noun_phrases("It is a brown dog sitting on the grass."), noun_phrases("The image shows a cat and two dogs")
    (['brown dog'], ['cat', 'dogs'])
    """
    text = re.sub(r"\s+", " ", said.lower().replace("\u2019", "'")).strip()
    text = re.split(r"(?<!\bmr)[.!?;\n](?:\s|$)", text)[0].strip(" \"'.:")
    text = LEAD.sub("", text)
    parts = re.split(r",\s*(?:and\s+|or\s+)?|\s+(?:and|or|&)\s+", text)
    phrases = []
    for part in parts:
        phrase = part.strip(" \"'.:")
        while (shorter := ARTICLE.sub("", phrase)) != phrase:
            phrase = shorter
        phrase = TAIL.sub("", phrase).strip(" \"'.:,-")
        if phrase not in HOLLOW:
            phrases.append(phrase)
    return phrases


def is_right_name(phrase: str, accepted: Sequence[str]) -> bool:
    """Whether a noun phrase names what `accepted` names: the first is the name, the rest are other right names.

    Number does not matter, nor what stands before the head noun ("brown dog" for dog). The name itself may also be
    answered by a class that is one of it ("golden retriever" for dog, by experts.evidence.categories); the other names
    may not, since a poodle that may be called a dog is no golden retriever.
    """
    heads = [phrase, *phrase.split(" of ", 1)] if " of " in phrase else [phrase]
    if any(_same(head, name) for head in heads for name in accepted):
        return True
    return any(matches(accepted[0], head) for head in heads if singular_phrase(head) not in NOT_THEIR_HEAD)


def is_right_category(phrase: str, category: str) -> bool:
    """Whether a noun phrase is the category, or another word for it: 'farm animals' for animal."""
    return any(_same(phrase, word) for word in (category, *CATEGORY_WORDS.get(category, ())))


def singular_phrase(text: str) -> str:
    """Every word in the singular, common synonyms made one: 'people' -> 'person', 'bikes' -> 'bicycle'."""
    words = re.findall(r"[a-z0-9'-]+", text.lower())
    return " ".join(singular(word) for word in words)


def _same(said: str, name: str) -> bool:
    have, want = singular_phrase(said), singular_phrase(name)
    if not want:
        return False
    return have == want or (have.endswith(" " + want) and have not in NOT_THEIR_HEAD)
