"""What an answer says: one parser a kind of answer, and whether it is right.

A parser returns a value in one canonical form or UNPARSED. What is unparsed is counted and reported, never guessed: a
parser that takes every rambling for a "yes" measures itself.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from agent.evaluation.scoring.names import is_right_category, is_right_name, noun_phrases
from connector.data.pictures.scenes import POSITIONS, SHAPES
from connector.data.records import Record
from experts.errors import needs
from experts.evidence import asked_thing
from experts.evidence.categories import matches, singular
from experts.evidence.colours import COLOURS

UNPARSED = "unparsed"
MOST_WER = 0.2  # word error rate up to which a transcription counts as right

NUMBERS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty",
)  # fmt: skip
NUMBER_WORDS = {word: index for index, word in enumerate(NUMBERS)} | {
    "none": 0,
    "no": 0,
    "pair": 2,
    "couple": 2,
    "dozen": 12,
}
COLOUR_WORDS = {colour: colour for colour in COLOURS} | {
    "grey": "gray", "silver": "gray", "violet": "purple", "lilac": "purple", "lavender": "purple", "indigo": "purple",
    "cyan": "teal", "turquoise": "teal", "aqua": "teal", "navy": "blue", "azure": "blue", "golden": "yellow",
    "beige": "brown", "tan": "brown", "scarlet": "red", "crimson": "red", "maroon": "red", "lime": "green",
    "olive": "green", "magenta": "pink",
}  # fmt: skip
SHAPE_WORDS = {shape: shape for shape in SHAPES} | {
    "circular": "circle", "round": "circle", "disc": "circle", "disk": "circle", "rectangular": "rectangle",
    "triangular": "triangle", "oval": "oval", "ellipse": "oval", "pentagon": "pentagon", "hexagon": "hexagon",
    "diamond": "diamond", "heart": "heart", "sphere": "sphere", "cube": "cube", "cross": "cross",
}  # fmt: skip
ROW_WORDS = {"top": "top", "upper": "top", "bottom": "bottom", "lower": "bottom"}
COLUMN_WORDS = {"left": "left", "right": "right"}
MIDDLE_WORDS = frozenset({"middle", "center", "centre", "central"})
UNSURE = re.compile(
    r"\b(i (do not|don't) know|not sure|unsure|unclear|cannot (tell|answer|be determined)|can't (tell|answer)|"
    r"(un)?able to (tell|determine|answer)|could not answer|hard to (say|tell)|maybe|perhaps|possibly)\b"
)


@dataclass(frozen=True)
class Verdict:
    """What an answer was read as, and whether that is right; None where a record has no right answer to compare."""

    parsed: str
    correct: bool | None
    error_rate: float | None = None  # word error rate of a transcription


def judge(record: Record, said: str) -> Verdict:
    """Parse `said` by what the record asks for, and compare."""
    if record.kind in ("caption", "dialogue") or not record.answer:  # a person's own question may have no known answer
        return Verdict(said.strip() or UNPARSED, None)
    if record.kind == "speech":
        return _judge_speech(record, said)
    if record.answer in ("yes", "no"):
        parsed = yes_no(said, record.question)
        return Verdict(parsed, parsed == record.answer)
    if record.kind == "text":
        parsed = written(said)
        right = {squeezed(answer) for answer in (record.answer, *record.accept)}
        return Verdict(parsed, parsed != UNPARSED and any(squeezed(part) in right for part in _readings(said)))
    parser = PARSERS.get(record.kind)
    if parser is not None:
        parsed = parser(said, record.question)
        right = {parser(answer, "") for answer in (record.answer, *record.accept)} - {UNPARSED}
        return Verdict(parsed, parsed in right)
    phrases = noun_phrases(said)
    if not phrases or UNSURE.search(_plain(said)):
        return Verdict(UNPARSED, False)
    accepted = (record.answer, *record.accept)
    if record.kind == "category":
        right_ones = [any(is_right_category(phrase, name) for name in accepted) for phrase in phrases]
        return Verdict(" and ".join(phrases), all(right_ones))
    return Verdict(" and ".join(phrases), all(is_right_name(phrase, accepted) for phrase in phrases))


def yes_no(said: str, question: str = "") -> str:
    """'yes', 'no' or UNPARSED.

    A leading yes or no decides. Otherwise only a statement about the thing that `question` asks for does ("There is no
    dog."), turned round where the question itself is negated.

    >>> yes_no("No, there is no dog."), yes_no("There isn't."), yes_no("Yes."), yes_no("A cat.")
    ('no', 'no', 'yes', 'unparsed')
    """
    text = _plain(said)
    if not text or UNSURE.search(text):
        return UNPARSED
    lead = re.match(r"(yes|yeah|yep|no|nope)\b(?! one\b)", text)
    if lead:
        answer = "yes" if lead[1].startswith("y") else "no"
        return UNPARSED if re.match(r"(yes|no),? (and|or|/) ?(yes|no)\b", text) else answer
    statement = _stated(text, question)
    if not statement:
        return UNPARSED
    negated = bool(re.search(r"\bno\b|\bnot\b|\w+n't\b", question.lower()))
    return ("yes" if statement == "no" else "no") if negated else statement


def _stated(text: str, question: str) -> str:
    """Whether a statement says that the thing asked for is there (yes) or not (no); "" where it does not say."""
    if re.fullmatch(r"(there|it|they|that) (is|are|does|do|has)", text):
        return "yes"
    if re.fullmatch(r"(there|it|they|that) ((is|are|does|do|has) not|(isn't|aren't|doesn't|don't|hasn't))", text):
        return "no"
    thing = asked_thing(question)
    named = re.match(
        r"(?:there (?:is|are)|i (?:can )?see|the (?:image|picture|photo) (?:shows|contains|has)) "
        r"(?:a |an |the |some |any |one )?(?P<rest>.+)",
        text,
    )
    absent = re.match(
        r"(?:there (?:is|are) no|(?:there (?:is not|are not|isn't|aren't)|i (?:do not|don't|cannot|can't) see|"
        r"the (?:image|picture|photo) (?:does not|doesn't) (?:show|contain|have))(?: a| an| any)?) (?P<rest>.+)",
        text,
    )
    if absent:
        return "no" if thing and _mentions(absent["rest"], thing) else ""
    if named and thing and _mentions(named["rest"], thing):
        return "yes"
    return ""


def _mentions(text: str, thing: str) -> bool:
    phrases = noun_phrases(text)
    return bool(phrases) and any(matches(thing, phrase) or matches(phrase, thing) for phrase in phrases[:1])


def number(said: str, question: str = "") -> str:
    """A count in digits, or UNPARSED. Several different numbers count only where the answer begins with one.

    >>> number("three dogs"), number("There are no dogs."), number("a dog")
    ('3', '0', 'unparsed')
    """
    text = re.sub(r"\b(no one|the one|that one|each one|one of)\b", " ", _plain(said))
    if UNSURE.search(text):
        return UNPARSED
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", re.sub(r"\d+(\.\d+)?(%| percent\b| per cent\b)", " ", text))
    found = [_value(word) for word in re.findall(r"\d+(?:\.\d+)?|[a-z]+", text)]
    values = [value for value in found if value is not None]
    if not values:
        return UNPARSED
    if len(set(values)) == 1:
        return values[0]
    start = re.match(r"(?:there (?:is|are) |about |exactly |i (?:can )?see |a )*(\d+|[a-z]+)\b", text)
    first = _value(start[1]) if start else None
    return first if first is not None else UNPARSED


def _value(word: str) -> str | None:
    if re.fullmatch(r"\d+(\.0+)?", word):
        return str(int(float(word)))
    return str(NUMBER_WORDS[word]) if word in NUMBER_WORDS else None


def colour(said: str, question: str = "") -> str:
    """A colour of experts.evidence.colours, several as 'black and white', or UNPARSED.

    >>> colour("It is grey."), colour("The orange is green.", "What color is the orange?"), colour("shiny")
    ('gray', 'green', 'unparsed')
    """
    return _words(said, question, COLOUR_WORDS)


def shape(said: str, question: str = "") -> str:
    """A shape word, several joined, or UNPARSED.

    >>> shape("a red circle"), shape("It's triangular"), shape("It is big")
    ('circle', 'triangle', 'unparsed')
    """
    return _words(said, question, SHAPE_WORDS)


def _words(said: str, question: str, table: dict[str, str]) -> str:
    """The words of `table` in `said`; those that only repeat the question count where there is no other."""
    text = re.sub(r"\bnot [a-z]+", " ", _plain(said))
    found = [
        table[word] for raw in re.findall(r"[a-z]+", text) if (word := raw if raw in table else singular(raw)) in table
    ]
    asked = {table[w] for w in re.findall(r"[a-z]+", question.lower()) if w in table}
    fresh = [value for value in found if value not in asked] or found
    return " and ".join(sorted(set(fresh))) or UNPARSED


def position(said: str, question: str = "") -> str:
    """One of the nine POSITIONS, or UNPARSED; a contradiction is unparsed.

    >>> position("upper left"), position("in the middle"), position("in the top-left corner"), position("on a table")
    ('top left', 'center', 'top left', 'unparsed')
    """
    text = re.sub(r"\bright (?=in|at|on|here|there|next)|\bon top of\b|\bleft (?=behind|over)", " ", _plain(said))
    text = re.sub(r"\b(upper|lower|top|bottom)(left|right)\b", r"\1 \2", text)
    words = re.findall(r"[a-z]+", text)
    rows = {ROW_WORDS[word] for word in words if word in ROW_WORDS}
    columns = {COLUMN_WORDS[word] for word in words if word in COLUMN_WORDS}
    if len(rows) > 1 or len(columns) > 1:
        return UNPARSED
    if not rows and not columns:
        return "center" if MIDDLE_WORDS & set(words) else UNPARSED
    where = " ".join((*rows, *columns))
    return where if where in POSITIONS else UNPARSED


def written(said: str) -> str:
    """What an answer says is written: what it quotes, else what follows 'it says', else all of it; or UNPARSED."""
    return next(iter(_readings(said)), UNPARSED)


def _readings(said: str) -> list[str]:
    """The texts that an answer may be giving, quoted ones first; [] where there is none."""
    said = said.strip()
    if not squeezed(said) or UNSURE.search(_plain(said)):
        return []
    quoted = [
        part for part in re.findall(r"[\"\u201c\u00ab]([^\"\u201d\u00bb]+)[\"\u201d\u00bb]", said) if squeezed(part)
    ]
    if quoted:
        return [part.strip() for part in quoted]
    lead = re.match(
        r"(?:the |it )?(?:sign|text|word|label|image|picture|board|shirt)?s? ?(?:on the \w+ )?"
        r"(?:says?|reads?|is|shows?):? (.+)",
        said,
        re.I | re.S,
    )
    return [lead[1].strip()] if lead and squeezed(lead[1]) else [said]


def squeezed(text: str) -> str:
    """Text without case, spaces and punctuation: what two readings of a sign must share."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(character for character in folded if character.isalnum())


def _judge_speech(record: Record, said: str) -> Verdict:
    """A 'transcription' by word error rate, any other speech question by containment of the fact asked for."""
    text = spoken(said)
    if not text:
        return Verdict(UNPARSED, False)
    wanted = [spoken(answer) for answer in (record.answer, *record.accept)]
    if record.category == "transcription":
        rate = min(word_error_rate(reference, text) for reference in wanted)
        return Verdict(text, rate <= MOST_WER, round(rate, 4))
    return Verdict(text, any(f" {fact} " in f" {text} " for fact in wanted))


def spoken(text: str) -> str:
    """Words as they sound: lower case, no punctuation or lead-in, numbers up to twenty as digits, 'mister' as 'mr'."""
    text = re.sub(r"^\s*(the )?(speaker|voice|recording|person|man|woman)s? (says?|said):?", "", text, flags=re.I)
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)*", unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'"))
    numbers = {word: str(index) for index, word in enumerate(NUMBERS)}
    return " ".join({"mister": "mr", "misses": "mrs"}.get(word, numbers.get(word, word)) for word in words)


def word_error_rate(reference: str, said: str) -> float:
    """Substituted, deleted and inserted words over the words of `reference` (jiwer)."""
    needs("jiwer", "evaluate", "the word error rate")
    import jiwer

    return float(jiwer.wer(reference, said))


def _plain(said: str) -> str:
    """Lower case, one space between words, straight apostrophes, no full stop at the end."""
    text = unicodedata.normalize("NFKC", said).lower().replace("\u2019", "'")
    return re.sub(r"\s+", " ", text).strip(' .!?\n\t"')


PARSERS: dict[str, Callable[[str, str], str]] = {
    "count": number,
    "colour": colour,
    "shape": shape,
    "position": position,
}


# -- other kits' rules for yes and no (POPE), so that a score can be compared with theirs -----------------------------


def llava_yes_no(said: str) -> str:
    """LLaVA's rule: in the text before the first full stop, commas out, split at spaces, the words No, no or not mean
    no; everything else, nothing included, means yes.

    Checked against haotian-liu/LLaVA 4241f08, llava/eval/eval_pope.py.
    """
    words = said.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "no", "not"} & set(words) else "yes"


def lmms_eval_yes_no(said: str) -> str:
    """lmms-eval's rule: right is only what equals 'yes' or 'no' after lower case and strip; 'Yes.' is wrong.

    Checked against EvolvingLMMs-Lab/lmms-eval 2c03baf, lmms_eval/tasks/pope/utils.py.
    """
    text = said.lower().strip()
    return text if text in ("yes", "no") else UNPARSED


def vlmevalkit_yes_no(said: str) -> str:
    """VLMEvalKit's rule: punctuation out, then yes where the words hold 'yes' and not 'no', no the other way round.

    A mark is removed where it touches a space anywhere in the text, or where a comma stands between digits; else it
    becomes a space. What is neither goes to a judging model there; without one, as here, it counts as wrong.
    Checked against open-compass/VLMEvalKit: YOrN_Extraction in vlmeval/dataset/utils/yorn.py (0c7163c) and
    process_punctuation in vlmeval/smp/misc.py (06d45c5).
    """
    text = original = said.lower()
    digits = re.search(r"\d,\d", original) is not None
    for mark in ';/[]"{}()=+\\_-><@`,?!':
        touching = mark + " " in original or " " + mark in original
        text = text.replace(mark, "" if touching or digits else " ")
    words = re.sub(r"\.(?!\d)", "", text, count=int(re.UNICODE)).split()  # their flag stands where a count belongs
    if ("yes" in words) == ("no" in words):
        return UNPARSED
    return "yes" if "yes" in words else "no"


MIMICS: dict[str, Callable[[str], str]] = {
    "LLaVA": llava_yes_no,
    "lmms-eval": lmms_eval_yes_no,
    "VLMEvalKit": vlmevalkit_yes_no,
}
