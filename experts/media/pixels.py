"""Pictures in any of Pillow's modes, and arrays -> pixels [H, W, 3] uint8."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from experts.config import Limits
from experts.errors import MediaError

GREY = (128, 128, 128)
BACKGROUNDS = {"white": (255, 255, 255), "black": (0, 0, 0), "grey": GREY}  # in the order in which they are preferred
LEAST_CONTRAST = 64  # of 255, between what is seen and the background it is laid on


def check_pixels(width: int, height: int, shown: str, limits: Limits) -> None:
    if width * height > limits.image_pixels:
        raise MediaError(too_many(f"{width:,} x {height:,}", shown, limits))
    if not width * height:
        raise MediaError(f"{shown} is {width} x {height} px; accepted: at least 1 x 1 px; export it again")


def too_many(pixels: str, shown: str, limits: Limits) -> str:
    return f"{shown} has {pixels} px; accepted: images of up to {limits.image_pixels:,} px; scale it down"


def rgb(picture: Any, profile: bytes, notes: list[str]) -> np.ndarray:
    """A loaded Pillow image of any mode -> [H, W, 3] uint8; `notes` gets what was decided on the way."""
    if picture.mode == "F" or picture.mode.startswith("I"):
        grey = scaled(np.asarray(picture), notes)  # [H, W]
        return np.repeat(grey[..., None], 3, axis=2)  # [H, W, 3]
    if picture.mode == "LAB":
        picture = _from_lab(picture)
    if picture.has_transparency_data or picture.mode in ("RGBa", "La"):
        picture = managed(picture.convert("RGBA"), profile, notes)
        return laid(np.asarray(picture), notes)
    return np.array(managed(picture, profile, notes).convert("RGB"))  # [H, W, 3]


def scaled(values: np.ndarray, notes: list[str]) -> np.ndarray:
    """Numbers of more than 8 bits, of any shape -> uint8; what is not as bright as its type allows is stretched.

    16 bits are taken as 0 to 65,535, floats as 0 to 1, and either as 0 to 255 where they look like that. Anything else
    is stretched between its least and its largest value.
    """
    values = values.astype(np.float32 if values.dtype.kind == "f" else np.int64, copy=False)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        notes.append("pixels that are no numbers were taken as 0")
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f" and low >= 0 and high <= 1:
        return np.rint(values * 255).astype(np.uint8)
    if low >= 0 and 128 <= high <= 255:
        return (values + 0.5).astype(np.uint8) if values.dtype.kind == "f" else values.astype(np.uint8)
    if low >= 0 and 4096 <= high <= 65535:
        return np.clip(values / 257 + 0.5, 0, 255).astype(np.uint8) if values.dtype.kind == "f" else _top(values)
    if low == high:
        return np.zeros(values.shape, np.uint8)
    if low >= 0:
        low = 0.0
    notes.append(f"its pixel values from {low:,.6g} to {high:,.6g} were stretched to black to white")
    return np.rint((values.astype(np.float64) - low) * (255 / (high - low))).astype(np.uint8)


def _top(values: np.ndarray) -> np.ndarray:
    top: np.ndarray = (values >> 8).astype(np.uint8)
    return top


def laid(rgba: np.ndarray, notes: list[str]) -> np.ndarray:
    """[H, W, 4] laid on the background that what is visible stands out from: white, else black, else grey."""
    alpha = rgba[..., 3]
    most = int(alpha.max())
    if int(alpha.min()) == 255:
        return np.ascontiguousarray(rgba[..., :3])
    if not most:
        notes.append("it is fully transparent: nothing in it can be seen")
    name = "white" if not most else _background(rgba, alpha > most // 2)
    if most:
        notes.append(f"its transparent parts are shown {name}")
    out = np.empty((*alpha.shape, 3), np.uint8)
    ground = np.uint16(BACKGROUNDS[name][0])
    step = max(1, 1_000_000 // alpha.shape[1])
    for top in range(0, len(out), step):  # in strips, so that a large picture needs little more than its own room
        weight = alpha[top : top + step, :, None].astype(np.uint16)
        out[top : top + step] = (rgba[top : top + step, :, :3] * weight + ground * (255 - weight) + 127) // 255
    return out


def _background(rgba: np.ndarray, seen: np.ndarray) -> str:
    """The background from which most of the rim of what is `seen` [H, W] stands out."""
    inner = seen.copy()
    inner[1:] &= seen[:-1]
    inner[:-1] &= seen[1:]
    inner[:, 1:] &= seen[:, :-1]
    inner[:, :-1] &= seen[:, 1:]
    rim = seen & ~inner
    edge = rgba[rim if rim.any() else seen][:, :3].astype(np.int32)  # [N, 3]
    light = (edge @ np.array([299, 587, 114])) // 1000
    shares = {name: float((abs(light - grey[0]) >= LEAST_CONTRAST).mean()) for name, grey in BACKGROUNDS.items()}
    best = max(shares.values())
    return next(name for name, share in shares.items() if share >= 0.9 * best)


def managed(picture: Any, profile: bytes, notes: list[str]) -> Any:
    """`picture` in sRGB, by its colour profile where that is another one; a profile that cannot be read is ignored."""
    if not profile or b"sRGB" in profile[:4096] or picture.mode not in ("RGB", "RGBA", "CMYK"):
        return picture
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() != picture.mode.removesuffix("A"):
            raise ValueError("a profile of other colours")
        to = "RGBA" if picture.mode == "RGBA" else "RGB"
        return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode=to)
    except Exception:  # on hostile bytes it raises nearly anything
        notes.append("its colour profile cannot be read and was ignored")
        return picture


def _from_lab(picture: Any) -> Any:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")


def pixels_of_array(array: np.ndarray, shown: str, limits: Limits, notes: list[str]) -> np.ndarray:
    """[H, W], [H, W, 1 | 3 | 4] of several types -> [H, W, 3] uint8."""
    fix = "accepted: [H, W], [H, W, 3] or [H, W, 4] of uint8, uint16, bool, or float in [0, 1]; convert it"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise MediaError(f"{shown} is an array of shape {list(array.shape)}; {fix}")
    check_pixels(array.shape[1], array.shape[0], shown, limits)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise MediaError(f"{shown} is an array with NaN or infinite values; {fix}")
        if array.min() < 0 or array.max() > 1:
            raise MediaError(f"{shown} is a float array from {array.min():g} to {array.max():g}; {fix}")
        array = np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    elif array.dtype == np.uint16:
        array = array >> 8
    elif array.dtype == np.bool_:
        array = array * np.uint8(255)
    elif array.dtype != np.uint8:
        raise MediaError(f"{shown} is an array of {array.dtype}; {fix}")
    pixels = array.astype(np.uint8)
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels  # [H, W, C]
    if pixels.shape[2] == 4:
        return laid(pixels, notes)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels  # [H, W, 3]
