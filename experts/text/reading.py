"""What a strip of text says, and whether it is of a script that the recogniser has not got.

The recogniser drops letters that it does not know (Cyrillic, Arabic, Thai, Vietnamese accents) and is sure of the rest.
So its sureness says nothing here; the ink that no letter was read from, and a second look at the strip, do.
"""

from __future__ import annotations

import difflib
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np

HEIGHT_PX, LEAST_RATIO = 48, 320 / 48  # what the recogniser takes: strips of this height, padded to this ratio
LEAST_INK_PX = 8  # a letter's width at that height; narrower ink is a stroke, a dot or dirt
REACH_PX = 7.0  # a letter is read from ink at most this far beside where it was read
LEAST_CONTRAST = 50  # gray levels between ink and ground; below, a strip is texture
LEAST_LETTERS, LEAST_PX = 3, 24  # letters apart in a strip, and its height, that more is said of than what was read
STRETCH = (1.3, 0.8)  # of the second and third look
ALIKE = 0.8  # looks that share fewer of their letters disagree
UNSURE = 0.9  # a letter below asks for more looks
# Capitals and small letters that stand in Cyrillic or Greek and in Latin alike.
TWINS = frozenset("ABCEHIKMNOPTXYZaceopxyΛΔ")


@dataclass(frozen=True)
class Reading:
    """What a strip says.

    `score` is the mean probability of its characters. `unread`: letters are there which the recogniser has not got.
    """

    text: str = ""
    score: float = 0.0
    unread: bool = False


@dataclass(frozen=True)
class Glyphs:
    """What the recogniser read, each character with its probability and its place in px at HEIGHT_PX."""

    text: str
    sure: np.ndarray
    at: np.ndarray

    @property
    def score(self) -> float:
        """The mean probability of the characters."""
        return float(self.sure.mean()) if len(self.sure) else 0.0


def recognise(engine: Any, strip: np.ndarray) -> Glyphs:
    """The characters of an upright strip [H, W, 3] BGR."""
    recogniser = engine.text_rec
    ratio = max(strip.shape[1] / strip.shape[0], LEAST_RATIO)
    pixels = recogniser.resize_norm_img(strip, ratio)[None].astype(np.float32)
    told = np.asarray(recogniser.session(pixels))[0]  # [T, characters]; the first stands for none
    best, sure = told.argmax(1), told.max(1)
    new = np.ones(len(best), bool)
    new[1:] = best[1:] != best[:-1]
    steps = np.flatnonzero(new & (best != 0))
    ends = [int(step + np.argmax(np.append(best[step:] != best[step], True))) for step in steps]
    at = (steps + np.array(ends, float)) / 2 * pixels.shape[3] / len(best)
    characters = recogniser.postprocess_op.character
    return Glyphs("".join(characters[best[step]] for step in steps), sure[steps], at)


def read(engine: Any, strip: np.ndarray) -> Reading:
    """What an upright strip [H, W, 3] BGR says."""
    glyphs = recognise(engine, strip)
    ink = _ink(strip) if strip.shape[0] >= LEAST_PX else None
    if ink is None or len(ink) < LEAST_LETTERS:  # small, blurred or touching letters may be of any script
        return Reading(glyphs.text, glyphs.score)
    letters = [character for character in glyphs.text if not character.isspace()]
    if not letters or glyphs.score < 0.5:
        return Reading(glyphs.text.strip(), glyphs.score, True)
    missed = len(_missed(ink, glyphs))
    doubtful = missed > 0 or float(glyphs.sure.min()) < UNSURE or _mixed(glyphs.text)
    if not doubtful:
        return Reading(glyphs.text, glyphs.score)
    return Reading(glyphs.text, glyphs.score, _is_unread(engine, strip, glyphs, missed))


def _is_unread(engine: Any, strip: np.ndarray, glyphs: Glyphs, missed: int) -> bool:
    """Whether a doubtful reading is of letters that the recogniser has not got."""
    import cv2

    letters = sum(not character.isspace() for character in glyphs.text)
    if missed > max(1, 0.4 * letters):
        return True
    agreed = 1.0
    for stretch in STRETCH:
        other = recognise(engine, cv2.resize(strip, None, fx=stretch, fy=1.0)).text
        agreed = min(agreed, difflib.SequenceMatcher(None, glyphs.text, other, autojunk=False).ratio())
    if _mixed(glyphs.text):
        return missed > 0 or agreed < 1.0 or not glyphs.text.isascii()
    return (
        (missed > 0 and letters <= 30 * missed)
        or agreed < ALIKE
        or (only_twins(glyphs.text) and letters > 4 and agreed < 1.0)
    )


def only_twins(text: str) -> bool:
    """Whether a text has none but letters that look the same in Cyrillic or Greek."""
    letters = [character for character in text if character.isalpha()]
    return bool(letters) and all(character in TWINS for character in letters)


def _mixed(text: str) -> bool:
    """Whether letters of Greek or Coptic stand in words of three letters or more, as Latin formulas have none."""
    for word in text.split():
        kinds = [unicodedata.name(character, "").split(" ")[0] for character in word if character.isalpha()]
        if len(kinds) >= 3 and {"GREEK", "COPTIC"} & set(kinds):
            return True
    return False


def _ink(strip: np.ndarray) -> np.ndarray | None:
    """The spans [N, 2] of letters in a strip, in px at HEIGHT_PX; None where ink cannot be told from ground."""
    import cv2

    scale = HEIGHT_PX / strip.shape[0]
    gray = cv2.cvtColor(strip, cv2.COLOR_BGR2GRAY)
    gray = cv2.resize(gray, (max(1, round(gray.shape[1] * scale)), HEIGHT_PX), interpolation=cv2.INTER_AREA)
    level, mask = cv2.threshold(gray, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    if mask.mean() > 127:
        mask = 255 - mask
    if not mask.any() or abs(float(gray[mask > 0].mean()) - float(gray[mask == 0].mean())) < LEAST_CONTRAST:
        return None
    count, _, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    spans = [
        (x, x + width)
        for x, y, width, height, area in boxes[1:count]
        if height >= HEIGHT_PX * 0.3 and LEAST_INK_PX <= width <= 3 * HEIGHT_PX and area >= 30
    ]
    return np.array(sorted(spans), float).reshape(-1, 2)


def _missed(spans: np.ndarray, glyphs: Glyphs) -> list[tuple[float, float]]:
    """The letters in `spans` that nothing was read from."""
    at = glyphs.at[[not character.isspace() for character in glyphs.text]]
    missed = []
    for left, right in spans:
        if not ((at >= left - REACH_PX) & (at <= right + REACH_PX)).any():
            missed.append((float(left), float(right)))
    return missed
