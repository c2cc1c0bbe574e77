"""Where lines of text are: what several looks saw, put together so that each line is there once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from experts.text.layout import Box, same_row


@dataclass(frozen=True, eq=False)
class Line:
    """Where a line of text is: its corners [4, 2] px, clockwise from the top left of the text.

    `cut`: the upper or lower edge of a tile may have cut its letters; a line cut in its length is joined again.
    """

    corners: np.ndarray
    cut: bool = False

    @property
    def box(self) -> Box:
        """The bounding rectangle (x0, y0, x1, y1)."""
        return self.seen_at(0.0)

    @property
    def angle(self) -> float:
        """The slope of its upper edge in radians; 0 for a slope under a tenth of a degree."""
        run, rise = self.corners[1] - self.corners[0]
        angle = float(np.arctan2(rise, run))
        return angle if abs(angle) > 0.002 else 0.0

    @property
    def is_wide(self) -> bool:
        """Whether it is a row of text and not a column."""
        x0, y0, x1, y1 = self.seen_at(self.angle)
        return x1 - x0 >= 0.8 * (y1 - y0)

    def seen_at(self, angle: float) -> Box:
        """The bounding rectangle in a frame that is turned by `angle`."""
        corners = self.corners @ turn(angle)
        (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
        return float(x0), float(y0), float(x1), float(y1)


def turn(angle: float) -> np.ndarray:
    """The matrix that takes rows of points into a frame turned by `angle` radians."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)


def joined(pieces: Sequence[Line]) -> list[Line]:
    """What was seen in parts, by two tiles or of letters too large for one look, as whole lines, each once.

    Two pieces are of the same line if they have the same slope, share most of their height and touch.
    """
    lines: list[Line] = []
    for piece in sorted(pieces, key=lambda line: line.box[0]):
        for line in list(lines):
            if _same_line(line, piece):
                lines.remove(line)
                piece = _union(line, piece)
        lines.append(piece)
    return lines


def _same_line(one: Line, other: Line) -> bool:
    if not (one.is_wide and other.is_wide) or abs(one.angle - other.angle) > 0.1:
        return False
    a, b = (line.seen_at(other.angle) for line in (one, other))
    return same_row(a, b) and min(a[2], b[2]) >= max(a[0], b[0])


def _union(one: Line, other: Line) -> Line:
    """The line that both are pieces of: the one that holds the other, or the rectangle around both."""
    angle = max((one, other), key=lambda line: float(np.ptp(line.corners[:, 0]))).angle
    a, b = one.seen_at(angle), other.seen_at(angle)
    if _share(b, a) > 0.9 or _share(a, b) > 0.9:
        return one if _share(b, a) > 0.9 else other
    x0, y0, x1, y1 = min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32) @ turn(-angle)
    return Line(corners, one.cut and other.cut)


def combined(whole: Sequence[Line], detailed: Sequence[Line]) -> list[Line]:
    """The lines seen in the whole picture and those seen in its tiles, each once.

    A line of the whole gives way to a row of the tiles that fills it, which is seen more sharply, and to several rows,
    which the smaller scale glued together. Otherwise it stands for what lies in it: of letters larger than a tile, a
    tile sees strokes. What the tiles saw besides is added.
    """
    kept: list[Line] = []
    rest = list(detailed)
    for line in whole:
        inside = [piece for piece in rest if _share(piece.box, line.box) > 0.5]
        rows: list[Line] = []
        for piece in inside:
            is_long = piece.box[2] - piece.box[0] > 0.5 * (line.box[2] - line.box[0])
            if is_long and not piece.cut and not any(same_row(piece.box, row.box) for row in rows):
                rows.append(piece)
        if len(rows) > 1:
            continue
        rest = [piece for piece in rest if piece not in inside]
        kept.append(rows[0] if rows and _fills(rows[0].box, line.box) else line)
    return joined(kept + rest)


def _height(box: Box) -> float:
    return box[3] - box[1]


def _fills(a: Box, b: Box) -> bool:
    return a[2] - a[0] > 0.85 * (b[2] - b[0]) and _height(a) > 0.5 * _height(b)


def _share(a: Box, b: Box) -> float:
    """How much of `a` lies in `b`."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    area = (a[2] - a[0]) * (a[3] - a[1])
    return max(width, 0.0) * max(height, 0.0) / area if area > 0 else 0.0
