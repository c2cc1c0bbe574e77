"""An object's colours from its own pixels: cut out of its box by GrabCut (Rother et al., 2004), named in words."""

from __future__ import annotations

import numpy as np

from experts.evidence.colours import colours_in_words
from experts.objects.tiles import Box

AROUND = 0.15  # of a box's sides: the background that an object is told from
LARGEST_PX = 96  # of the cut-out's longer side
ROUNDS = 2
LEAST = 0.12  # the share of a box that an object has at least; a cut-out with less of it has failed
MIDDLE = 0.5  # of a box's sides, taken where there is no background to tell an object from
TOP, LEGS = (0.2, 0.5), (0.6, 0.85)  # of a standing person's height, where the clothes are
STANDING = 2.0  # height by width of a box that holds a whole person


def object_pixels(pixels: np.ndarray, box: Box) -> tuple[np.ndarray, np.ndarray]:
    """The part of a picture [H, W, 3] in `box`, made small [h, w, 3], and which pixels are the object's [h, w]."""
    import cv2

    height, width = pixels.shape[:2]
    x0, y0, x1, y1 = box
    x0, y0 = min(max(int(x0), 0), width - 1), min(max(int(y0), 0), height - 1)
    x1, y1 = max(min(round(x1), width), x0 + 1), max(min(round(y1), height), y0 + 1)
    dx, dy = max(int(AROUND * (x1 - x0)), 2), max(int(AROUND * (y1 - y0)), 2)
    left, top = max(x0 - dx, 0), max(y0 - dy, 0)
    part = pixels[top : min(y1 + dy, height), left : min(x1 + dx, width)]
    scale = min(1.0, LARGEST_PX / max(part.shape[:2]))
    size = max(round(part.shape[1] * scale), 1), max(round(part.shape[0] * scale), 1)
    small = cv2.resize(np.ascontiguousarray(part), size, interpolation=cv2.INTER_AREA)
    a, b = round((x0 - left) * scale), round((y0 - top) * scale)
    c, d = max(round((x1 - left) * scale), a + 1), max(round((y1 - top) * scale), b + 1)
    inner = small[b:d, a:c]
    mask = np.full(small.shape[:2], cv2.GC_BGD, np.uint8)
    mask[b:d, a:c] = cv2.GC_PR_FGD
    own = np.zeros(inner.shape[:2], bool)
    if (mask == cv2.GC_BGD).sum() >= 0.1 * mask.size and inner.size >= 3 * 64:
        cv2.setRNGSeed(0)
        cv2.grabCut(small[..., ::-1].copy(), mask, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), ROUNDS)
        own = (mask == cv2.GC_PR_FGD)[b:d, a:c]
    if own.mean() < LEAST:
        own = _middle(inner.shape[:2])
    return inner, own


def _middle(shape: tuple[int, ...]) -> np.ndarray:
    own = np.zeros(shape, bool)
    rim_y, rim_x = (int(side * (1 - MIDDLE) / 2) for side in shape)
    own[rim_y : shape[0] - rim_y, rim_x : shape[1] - rim_x] = True
    return own


def colours_of(name: str, pixels: np.ndarray, box: Box) -> dict[str, str]:
    """What is told of the colours of the thing called `name` in `box`: its `colour`, or a person's `clothes`."""
    inner, own = object_pixels(pixels, box)
    if name != "person":
        words = colours_in_words(inner[own])
        return {"colour": words} if words else {}
    standing = inner.shape[0] >= STANDING * inner.shape[1]
    first, last = TOP if standing else (0.45, 0.95)
    told = {"clothes": _band(inner, own, first, last)}
    if standing:
        told["legs"] = _band(inner, own, *LEGS)
    return {key: words for key, words in told.items() if words}


def _band(inner: np.ndarray, own: np.ndarray, first: float, last: float) -> str:
    """The colours of an object between two heights, in shares of its box."""
    rows = slice(int(first * len(inner)), max(int(last * len(inner)), int(first * len(inner)) + 1))
    return colours_in_words(inner[rows][own[rows]])
