"""Colour words: which of the basic names a set of pixels has, measured where eyes measure it (CIE Lab)."""

from __future__ import annotations

import numpy as np

# Named anchors; several a word where the word covers much ground. Values are sRGB.
ANCHORS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((0, 0, 0), (30, 30, 30)),
    "white": ((255, 255, 255), (238, 238, 238)),
    "gray": ((128, 128, 128), (90, 90, 90), (175, 175, 175)),
    "red": ((220, 20, 30), (170, 10, 20), (250, 60, 60)),
    "orange": ((255, 140, 0), (240, 110, 20), (255, 165, 60)),
    "brown": ((120, 70, 30), (150, 95, 50), (85, 50, 25), (165, 120, 80)),
    "yellow": ((250, 220, 20), (255, 240, 90), (225, 190, 30)),
    "green": ((30, 150, 40), (0, 100, 20), (110, 190, 60), (0, 220, 60)),
    "teal": ((0, 128, 128), (20, 160, 155), (0, 100, 110)),
    "blue": ((20, 60, 220), (0, 20, 140), (70, 130, 230), (120, 180, 240)),
    "purple": ((128, 20, 150), (90, 40, 160), (160, 90, 200)),
    "pink": ((255, 120, 180), (250, 170, 190), (235, 70, 140)),
}
COLOURS = tuple(ANCHORS)
SECOND = 0.22  # the share from which on a further colour is named
HUE = 0.2  # the share from which on a hue stands before black, gray and white, which shadows and wheels have
GRAYS = ("black", "gray", "white")
SHADED = {"brown": ("orange", "yellow")}  # what is brown beside half as much of such a hue is that hue in shade
TONES_PX = 320  # pixels along the longer side that `tones` looks at, at most
_WORDS = [word for word, anchors in ANCHORS.items() for _ in anchors]


def tones(pixels: np.ndarray) -> float:
    """How richly toned a picture [H, W, 3] uint8 is: the entropy, in bits, of its lightness in 32 steps, 0 to 5.

    A drawing or diagram has few tones, large areas of one each; a photograph has all of them.

    >>> tones(np.zeros((40, 40, 3), np.uint8))
    0.0
    >>> tones(np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (9, 1, 3)))
    5.0
    """
    step = -(-max(pixels.shape[:2]) // TONES_PX)
    light = pixels[::step, ::step].astype(np.uint32) @ np.array([299, 587, 114], np.uint32) // 1000
    share = np.bincount((light >> 3).ravel(), minlength=32) / light.size
    share = share[share > 0]
    return max(0.0, round(float(-(share * np.log2(share)).sum()), 3))


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """sRGB [..., 3] in 0..255 -> CIE Lab [..., 3] (D65; IEC 61966-2-1 and CIE 15)."""
    c = np.asarray(rgb, np.float64) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)


_ANCHOR_LAB = to_lab(np.array([anchor for anchors in ANCHORS.values() for anchor in anchors]))


def colour_shares(pixels: np.ndarray) -> dict[str, float]:
    """The share of pixels [P, 3] nearest to each colour word."""
    if len(pixels) == 0:
        return {}
    lab = to_lab(pixels[:: max(1, len(pixels) // 4000)])
    nearest = ((lab[:, None] - _ANCHOR_LAB) ** 2).sum(-1).argmin(1)
    shares: dict[str, float] = {}
    for index, count in zip(*np.unique(nearest, return_counts=True), strict=True):
        shares[_WORDS[index]] = shares.get(_WORDS[index], 0.0) + count / len(nearest)
    return shares


def name_colour(pixels: np.ndarray, least: float = 0.45) -> str:
    """The word that at least `least` of the pixels [P, 3] have, and twice as many as any other; "" where none has."""
    ranked = sorted(colour_shares(pixels).items(), key=lambda item: -item[1])
    if not ranked or ranked[0][1] < least or (len(ranked) > 1 and ranked[1][1] * 2 > ranked[0][1]):
        return ""
    return ranked[0][0]


def colours_in_words(pixels: np.ndarray) -> str:
    """The main colours of pixels [P, 3], at most two and hues first: 'blue and white'; "" where none prevails."""
    shares = _unshaded(colour_shares(pixels))
    ranked = sorted(shares, key=lambda word: -shares[word])
    hues = [word for word in ranked if word not in GRAYS and shares[word] >= HUE]
    others = [word for word in ranked if word in GRAYS and shares[word] >= SECOND]
    if hues and shares[hues[0]] >= 0.6:
        return hues[0]
    if not hues and ranked and shares[ranked[0]] >= 0.6:
        return ranked[0]
    return " and ".join([*hues, *others][:2])


def _unshaded(shares: dict[str, float]) -> dict[str, float]:
    """Shares of colour words, those that are the shade of a hue beside them counted as that hue."""
    shares = dict(shares)
    for dark, hues in SHADED.items():
        hue = max(hues, key=lambda word: shares.get(word, 0.0))
        if shares.get(hue, 0.0) >= max(HUE / 2, shares.get(dark, 0.0) / 2):
            shares[hue] += shares.pop(dark, 0.0)
    return shares
