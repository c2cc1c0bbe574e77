"""In which order the pieces of text of a page are read, and which of them make one row.

All boxes are in the frame of the upright page. Two columns of prose are read one after the other; cells of a table, a
menu, a receipt or a timetable that share a line stay one row; columns of vertical script go from right to left.
"""

from __future__ import annotations

import statistics
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Box = tuple[float, float, float, float]
T = TypeVar("T")

PROSE_LETTERS, PROSE_WIDE, PROSE_LINES = 12, 6, 2  # letters (of wide ones, as Chinese) and lines of a column of prose
TALL = 1.5  # times as high as wide: a column of vertical script


@dataclass(frozen=True)
class Piece(Generic[T]):
    """A piece of text at `box` of the upright page, and what the caller knows it by."""

    box: Box
    text: str
    of: T

    @property
    def height(self) -> float:
        """Of the box."""
        return self.box[3] - self.box[1]


def rows(pieces: Sequence[Piece[T]]) -> list[list[Piece[T]]]:
    """The rows of a page in reading order, each with its pieces from left to right."""
    standing = [piece for piece in pieces if _is_vertical(piece)]
    if len(standing) > 1 and 2 * len(standing) > len(pieces):
        lying = [piece for piece in pieces if piece not in standing]
        top = min(piece.box[1] for piece in standing)
        heading = [piece for piece in lying if piece.box[3] <= top]
        rest = [piece for piece in lying if piece not in heading]
        return [*_blocks(heading), *([piece] for piece in _columns(standing)), *_blocks(rest)]
    return _blocks(list(pieces))


def _is_vertical(piece: Piece[T]) -> bool:
    width = piece.box[2] - piece.box[0]
    return piece.height > TALL * width and len(piece.text) > 1


def _columns(pieces: list[Piece[T]]) -> list[Piece[T]]:
    """Columns of vertical script from right to left; those that lie one below the other, band by band."""
    bands: list[list[Piece[T]]] = []
    for piece in sorted(pieces, key=lambda piece: piece.box[1]):
        if bands and piece.box[1] < max(other.box[3] for other in bands[-1]) - 0.3 * piece.height:
            bands[-1].append(piece)
        else:
            bands.append([piece])
    return [piece for band in bands for piece in sorted(band, key=lambda piece: -(piece.box[0] + piece.box[2]))]


def _blocks(pieces: list[Piece[T]]) -> list[list[Piece[T]]]:
    """The rows, where there are columns of prose column by column; what spans them stands before or after."""
    if len(pieces) >= 2 * PROSE_LINES:
        for left, right in _gutters(pieces):
            wide = [piece for piece in pieces if piece.box[0] < left - 1 and piece.box[2] > right + 1]
            first = [piece for piece in pieces if piece.box[2] <= right and piece not in wide]
            second = [piece for piece in pieces if piece.box[0] >= left and piece not in first and piece not in wide]
            if len(first) + len(second) + len(wide) < len(pieces):
                continue
            if not (_fills_column(first) and _fills_column(second)):
                continue
            start = min(piece.box[1] for piece in first + second)
            end = max(piece.box[3] for piece in first + second)
            above = [piece for piece in wide if piece.box[1] <= start + piece.height / 2]
            below = [piece for piece in wide if piece.box[3] >= end - piece.height / 2 and piece not in above]
            if len(above) + len(below) == len(wide):
                return _blocks(above) + _blocks(first) + _blocks(second) + _blocks(below)
    return _lines(pieces)


def _gutters(pieces: list[Piece[T]]) -> list[tuple[float, float]]:
    """The empty strips (left, right) between columns, the widest first; what spans three quarters may cross them."""
    left, right = min(piece.box[0] for piece in pieces), max(piece.box[2] for piece in pieces)
    height = statistics.median(piece.height for piece in pieces)
    spans = sorted(
        (piece.box[0], piece.box[2]) for piece in pieces if piece.box[2] - piece.box[0] < 0.75 * (right - left)
    )
    found, reach = [], left
    for start, end in spans:
        if start - reach > 0.6 * height and reach > left:
            found.append((reach, start))
        reach = max(reach, end)
    return sorted(found, key=lambda gap: gap[0] - gap[1])


def _fills_column(pieces: list[Piece[T]]) -> bool:
    """Whether pieces read on from line to line, as prose does, or are whole rows of a table of their own."""
    lines = [" ".join(piece.text for piece in row) for row in _lines(pieces)]
    if len(lines) < PROSE_LINES:
        return False
    prose = statistics.median(_weight(line) for line in lines) >= PROSE_LETTERS
    few_digits = sum(c.isdigit() for line in lines for c in line) < 0.2 * sum(len(line) for line in lines)
    in_words = statistics.median(len(line.split()) for line in lines) >= 3 or any(map(_is_wide, "".join(lines)))
    several = sum(len(row) > 1 for row in _lines(pieces)) >= 0.6 * len(lines)  # name and price, twice over
    numbered = sum(line[-1:].isdigit() and line[:1].isalpha() for line in lines) >= 0.6 * len(lines)
    return (prose and few_digits and in_words) or (several and numbered)


def _weight(line: str) -> float:
    return sum(PROSE_LETTERS / PROSE_WIDE if _is_wide(c) else 1 for c in line)


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in "WF"


def _lines(pieces: list[Piece[T]]) -> list[list[Piece[T]]]:
    """Row by row from the top, each from left to right; pieces are of one row if they share most of their height."""
    found: list[list[Piece[T]]] = []
    for piece in sorted(pieces, key=lambda piece: (piece.box[1] + piece.box[3], piece.box[0])):
        if found and same_row(found[-1][0].box, piece.box):
            found[-1].append(piece)
        else:
            found.append([piece])
    return [sorted(row, key=lambda piece: piece.box[0]) for row in found]


def same_row(a: Box, b: Box) -> bool:
    """Whether two boxes share most of their height, and neither is twice as high."""
    low, high = sorted((a[3] - a[1], b[3] - b[1]))
    return min(a[3], b[3]) - max(a[1], b[1]) > 0.6 * low and high < 2 * low
