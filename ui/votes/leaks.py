"""The leak filter of the arena: words that tell which interface spoke, and what is shown in their place."""

from __future__ import annotations

import re

HOLD = 12  # words of an unfinished answer that are not shown yet: no leak, once begun, is longer

_TOOL = (
    r"(?:the |an? |my |our |its )?(?:speech |object |image |text |voice |video |automatic )?"
    r"(?:transcripts?|transcriptions?|detectors?|detections?|classifiers?|taggers?|taggings?|tags|ocr|asr|whisper|yolo|"
    r"nanodet|recogni[sz]ers?|recognition|captioners?|(?:generated )?captions?|text readers?|experts?|tools?|findings?|"
    r"evidence|encoders?|connectors?|projectors?|soft (?:words|tokens)|image tokens|embeddings?)"
    r"(?: (?:model|result|output|text)s?)?"
)
_SAYS = (
    r"(?:says?|said|reads?|finds?|found|detect(?:s|ed)?|shows?|showed|lists?|listed|reports?|reported|sees?|saw|"
    r"indicates?|indicated|suggests?|suggested|mentions?|mentioned|contains?|identif(?:y|ies|ied)|states?|stated|"
    r"recogni[sz]e[sd]?|returns?|returned|gives?|gave|tells?|heard|hears?)"
)
# Each row: what gives a side away, and what stands there instead. Tried from the top; all ignore case.
LEAKS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        (rf"\b(?:according to|based on|judging by|as per|going by) {_TOOL}\b[,:]? ?", ""),
        (r"\b(?:in|from|by) (?:the |its )?(?:transcripts?|transcription|findings|evidence|detections?)\b[,:]? ?", ""),
        (rf"\b{_TOOL} (?:has |have )?{_SAYS}(?: that)?(?= there (?:is|are)\b)", "I think"),
        (rf"\b{_TOOL} (?:has |have )?{_SAYS}(?: that)?:?", "I see"),
        (r"\b(was|were|is|are) (?:detected|transcribed|recogni[sz]ed|tagged)\b(?: by \w+)?", r"\1 there"),
        (r"^(?:objects|looks like|text|speech|caption|not found|could not look): ?", ""),
        (r" ?\((?:\w+ )?\d{1,3}(?:\.\d+)? ?%\)|(?<=\)) \d{1,3} ?%", ""),
        (r" ?\b(?:with |at )?(?:a |an )?(?:(?:confidence|score|probability|certainty) (?:of )?(?:0?\.\d+|\d{1,3} ?%)|"
         r"\d{1,3}(?:\.\d+)? ?% (?:confidence|certainty|probability|sure|confident|certain))", ""),
        (r"\b(?:the )?bounding box(?:es)?\b", "it"),
        (r"\b(?:i (?:can(?:not|'t) hear)|i have no encoder)\b", "I cannot tell"),
        (r"\b(?:the |an? )?(?:transcripts?|transcriptions?|ocr|asr|nanodet|yolo|object detectors?|image classifiers?|"
         r"soft (?:words|tokens)|image tokens)\b", "it"),
    )
)  # fmt: skip


def neutral(text: str) -> tuple[str, int]:
    """`text` without what gives its side away, and how many such places there were.

    >>> neutral("The detector found two dogs.")
    ('I see two dogs.', 1)
    """
    hits, upper = 0, text.strip()[:1].isupper()
    for pattern, instead in LEAKS:
        text, found = pattern.subn(instead, text)
        hits += found
    said = re.sub(r"\s+", " ", text).strip()
    return (said[:1].upper() + said[1:] if upper else said), hits


def showable(text: str, *, whole: bool) -> list[str]:
    """The words of a neutral answer that may be shown; of one that goes on not the last: a leak may begin there."""
    words = neutral(text)[0].split()
    return words if whole else words[:-HOLD]
