"""Decoded video frames as a player shows them: square pixels, turned and mirrored by the display matrix"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np


def upright(frame: Any, shape: float) -> np.ndarray:
    """Pixels [H, W, 3] as a player shows them: square pixels, turned and mirrored as the display matrix says."""
    width = round(frame.width * shape) if 1 / 8 < shape < 8 else frame.width
    rgb = (frame if width == frame.width else frame.reformat(width=width, format="rgb24")).to_ndarray(format="rgb24")
    a, b, c, d = _matrix(frame)
    if a or d:
        rgb = rgb[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]
    else:
        rgb = rgb.transpose(1, 0, 2)[:: -1 if b < 0 else 1, :: -1 if c < 0 else 1]
    return np.ascontiguousarray(rgb)  # [H, W, 3]


def _matrix(frame: Any) -> tuple[int, int, int, int]:
    """The display matrix (a, b, c, d), each -1, 0 or 1: a point (x, y) is shown at (a x + c y, b x + d y)."""
    data = next((bytes(side) for side in frame.side_data if side.type.name == "DISPLAYMATRIX"), b"")
    if len(data) != 36:
        return 1, 0, 0, 1
    a, b, _, c, d, *_ = struct.unpack("<9i", data)
    signs = tuple((value > 0x8000) - (value < -0x8000) for value in (a, b, c, d))
    straight = signs[:2] in ((1, 0), (-1, 0)) and signs[2:] in ((0, 1), (0, -1))
    turned = signs[:2] in ((0, 1), (0, -1)) and signs[2:] in ((1, 0), (-1, 0))
    return signs if straight or turned else (1, 0, 0, 1)
