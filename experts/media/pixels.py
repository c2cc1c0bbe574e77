"""Encoded images and arrays -> pixels [H, W, 3] uint8, upright."""

from __future__ import annotations

import io
import re
import threading
import warnings
from typing import Any

import numpy as np

from experts.config import Limits
from experts.errors import MediaError
from experts.media.formats import ACCEPTED
from experts.media.source import Taken, quote

TURNS = {  # EXIF orientation -> what makes it upright
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
    6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip


PILLOW = threading.Lock()  # Pillow's warnings and its "load truncated files" switch are process-wide


def pixels_of_file(taken: Taken, limits: Limits) -> np.ndarray:
    """Decode to [H, W, 3] uint8 with Pillow; the size in the header is checked first."""
    from PIL import Image as pillow
    from PIL import ImageFile

    shown = quote(taken.name)
    form = {"HEIC": "HEIF"}.get(taken.form, taken.form.upper())
    pillow.init()
    if form not in pillow.OPEN:
        raise MediaError(
            f"{shown} is an image in {taken.form}, which this installation cannot read; accepted: {ACCEPTED['image']}; "
            "export it as JPEG or PNG"
        )
    if form == "WEBP":  # Pillow sets up the whole canvas of a WebP before it tells its size
        check_pixels(*webp_size(taken.data), shown, limits)
    with PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large or slightly odd files; refusals are ours
        lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            with pillow.open(io.BytesIO(taken.data), formats=[form]) as picture:
                check_pixels(*picture.size, shown, limits)
                picture.load()
                return rgb(picture, shown)
        except pillow.DecompressionBombError as error:
            count = next(iter(re.findall(r"\d{9,}", str(error))), "too many")
            raise MediaError(too_many(f"{int(count):,}" if count.isdigit() else count, shown, limits)) from None
        except MediaError:
            raise
        except MemoryError:
            raise MediaError(
                f"{shown} needs more memory than there is; accepted: smaller images; scale it down"
            ) from None
        except Exception as error:  # on hostile bytes Pillow's readers raise nearly anything
            cut = "cut short" if "truncated" in str(error).lower() else "damaged or cut short"
            raise MediaError(
                f"{shown} is {cut}: its {taken.form} data cannot be decoded to the end; accepted: whole "
                f"{ACCEPTED['image']} files; save or download it again"
            ) from None
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) in a WebP header (RFC 9649): extended, lossless or lossy."""
    head = data[12:30].ljust(18, b"\0")
    if head[:4] == b"VP8X":
        return int.from_bytes(head[12:15], "little") + 1, int.from_bytes(head[15:18], "little") + 1
    if head[:4] == b"VP8L":
        bits = int.from_bytes(head[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[14:16], "little") & 0x3FFF or 1, int.from_bytes(head[16:18], "little") & 0x3FFF or 1


def check_pixels(width: int, height: int, shown: str, limits: Limits) -> None:
    if width * height > limits.image_pixels:
        raise MediaError(too_many(f"{width:,} x {height:,}", shown, limits))
    if not width * height:
        raise MediaError(f"{shown} is {width} x {height} px; accepted: at least 1 x 1 px; export it again")


def too_many(pixels: str, shown: str, limits: Limits) -> str:
    return f"{shown} has {pixels} px; accepted: images of up to {limits.image_pixels:,} px; scale it down"


def rgb(picture: Any, shown: str) -> np.ndarray:
    """A loaded Pillow image of any mode -> upright [H, W, 3] uint8."""
    from PIL import Image as pillow

    turn = TURNS.get(picture.getexif().get(0x0112, 1))  # after load(): TIFFs have been turned by then
    if turn:
        picture = picture.transpose(pillow.Transpose[turn])
    if picture.mode == "F":
        raise MediaError(f"{shown} has 32-bit float pixels; accepted: 8 or 16 bits a channel; export it so")
    if picture.mode.startswith("I"):
        deep = np.asarray(picture).astype(np.int64)  # [H, W]
        if deep.min() < 0 or deep.max() > 65535:
            raise MediaError(f"{shown} has 32-bit pixels; accepted: 8 or 16 bits a channel; export it so")
        return np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2)  # [H, W, 3]
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = pillow.new("RGB", picture.size, "white")
        white.paste(picture, mask=picture.getchannel("A"))
        picture = white
    return np.array(picture.convert("RGB"))  # [H, W, 3]


def pixels_of_array(array: np.ndarray, shown: str, limits: Limits) -> np.ndarray:
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
        alpha = pixels[..., 3:].astype(np.float32) / 255
        return np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)  # [H, W, 3]
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels  # [H, W, 3]
