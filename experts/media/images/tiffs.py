"""TIFFs: their pages one by one, and samples that Pillow has no mode for or takes in the wrong order of bytes.

Those are gray and alpha in 16 bits, colours in floats, many channels, deep gray where 0 is white. Pillow decompresses
them all the same: a copy of the directory at the end of the file says that each byte is a gray pixel, and what comes
out is taken apart by what the directory said at first.
"""

from __future__ import annotations

import contextlib
import functools
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np

from experts.config import Limits
from experts.media.images.headers import directory
from experts.media.pixels import check_pixels, laid, scaled

TYPES = {1: "u", 2: "i", 3: "f"}  # SampleFormat
TYPE_BYTES = {1: 1, 3: 2, 4: 4}  # BYTE, SHORT, LONG
WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, PLANAR = 256, 257, 258, 259, 262, 277, 284
PREDICTOR, TILE_WIDTH, EXTRA, FORMAT, SUBSAMPLED = 317, 322, 338, 339, 530
LEFT_OUT = (
    BITS,
    PHOTOMETRIC,
    SAMPLES,
    PREDICTOR,
    EXTRA,
    FORMAT,
    SUBSAMPLED,
    274,
    320,
    700,
    34377,
    34665,
    34675,
    34853,
    37724,
)


@functools.cache
def silence() -> None:
    """Keep libtiff, where Pillow brings its own, from writing what it dislikes of a file to the standard error."""
    import ctypes

    import PIL

    package = Path(PIL.__file__).parent
    for file in (*package.parent.glob("pillow.libs/libtiff*"), *package.glob(".dylibs/libtiff*")):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(file))
            library.TIFFSetErrorHandler(None)
            library.TIFFSetWarningHandler(None)


def pages(data: bytes, most: int) -> list[int]:
    """Where the directory of each page is, at most `most`; smaller versions and masks of a page are none."""
    order, big = "<" if data[:2] == b"II" else ">", data[2:4] in (b"+\0", b"\0+")
    number, count, entry = ("Q", "Q", 20) if big else ("I", "H", 12)
    head = data[8:16] if big else data[4:8]
    found: list[int] = []
    seen: set[int] = set()
    while len(head) == struct.calcsize(number) and len(found) < most and len(seen) < 4 * most:
        (at,) = struct.unpack(order + number, head)
        field = data[at : at + struct.calcsize(count)]
        if not at or at in seen or len(field) < struct.calcsize(count):
            break
        seen.add(at)
        (entries,) = struct.unpack(order + count, field)
        kind = (0, 0, b"\0\0\0\0") if big else directory(data, at).get(0x00FE, (0, 0, b"\0\0\0\0"))  # NewSubfileType
        if not found or not struct.unpack(order + "I", kind[2])[0] & 5:
            found.append(at)
        end = at + len(field) + entry * entries
        head = data[end : end + struct.calcsize(number)]
    return found


def alone(data: bytes, at: int) -> bytes:
    """The same file with the page at `at` as its first."""
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        return data[:8] + struct.pack(order + "Q", at) + data[16:]
    return data[:4] + struct.pack(order + "I", at) + data[8:]


def odd_tiff(data: bytes, shown: str, limits: Limits, notes: list[str]) -> np.ndarray | None:
    """The first page as [H, W, 3] uint8, as it is stored; None where it cannot be read this way either."""
    order = "<" if data[:2] == b"II" else ">"
    entries = directory(data)
    values = {tag: _values(data, order, entry) for tag, entry in entries.items() if entry[0] in TYPE_BYTES}
    one = {tag: value[0] for tag, value in values.items() if value}
    if WIDTH not in one or HEIGHT not in one or one.get(PLANAR, 1) != 1 or one.get(COMPRESSION, 1) in (6, 7):
        return None
    check_pixels(one[WIDTH], one[HEIGHT], shown, limits)
    bits, channels = one.get(BITS, 1), one.get(SAMPLES, 1)
    kind = TYPES.get(one.get(FORMAT, 1), "u")
    if bits not in (8, 16, 32, 64) or len(set(values.get(BITS, (bits,)))) > 1 or not 1 <= channels <= 64:
        return None
    if kind == "f" and bits == 8:
        return None
    if one.get(PHOTOMETRIC, 1) > 2 and (
        one[PHOTOMETRIC] != 6 or (bits, channels, values.get(SUBSAMPLED)) != (8, 3, (1, 1))
    ):
        return None  # a palette, CMYK and others need their own arithmetic
    check_pixels(one[WIDTH] * channels * bits // 32 or 1, one[HEIGHT], shown, limits)
    flat = _bytes(data, order, entries, one, channels * bits // 8)  # [H, W * channels * bits / 8]
    if one.get(PREDICTOR, 1) == 3:
        return None
    # libtiff would have turned the samples into the machine's own order; as bytes they stay in the file's
    samples = flat.view(np.dtype(f"{order}{kind}{bits // 8}")).reshape(one[HEIGHT], one[WIDTH], channels)
    if one.get(PREDICTOR, 1) == 2:
        samples = np.cumsum(samples, axis=1, dtype=samples.dtype.newbyteorder("="))
    return _shown(samples, one.get(PHOTOMETRIC, 1), values.get(EXTRA, ()), notes)


def _values(data: bytes, order: str, entry: tuple[int, int, bytes]) -> tuple[int, ...]:
    kind, count, field = entry
    size = TYPE_BYTES[kind]
    count = min(count, 64)
    if count * size > 4:
        (at,) = struct.unpack(order + "I", field)
        field = data[at : at + count * size]
    count = min(count, len(field) // size)
    return struct.unpack(f"{order}{count}{'BHxI'[size - 1]}", field[: count * size])


def _bytes(data: bytes, order: str, entries: dict[int, Any], one: dict[int, int], pixel: int) -> np.ndarray:
    """The decompressed bytes of the first page, [H, W * pixel], `pixel` being the bytes of one."""
    from PIL import Image as pillow

    kept = {tag: struct.pack(order + "HHI", tag, *entry[:2]) + entry[2] for tag, entry in entries.items()}
    new = {WIDTH: (4, one[WIDTH] * pixel), BITS: (3, 8), PHOTOMETRIC: (3, 1), SAMPLES: (3, 1), PLANAR: (3, 1)}
    if TILE_WIDTH in one:
        new[TILE_WIDTH] = (4, one[TILE_WIDTH] * pixel)
    kept = {tag: entry for tag, entry in kept.items() if tag not in LEFT_OUT}
    for tag, (kind, value) in new.items():
        kept[tag] = struct.pack(order + "HHI" + ("I" if kind == 4 else "Hxx"), tag, kind, 1, value)
    end = len(data) + len(data) % 2
    table = struct.pack(order + "H", len(kept)) + b"".join(kept[tag] for tag in sorted(kept)) + bytes(4)
    file = data[:4] + struct.pack(order + "I", end) + data[8:].ljust(end - 8, b"\0") + table
    picture: Any = pillow.open(io.BytesIO(file), formats=["TIFF"])
    picture.load_end = lambda: None
    return np.array(picture)  # [H, W * pixel]


def _shown(samples: np.ndarray, photometric: int, extra: tuple[int, ...], notes: list[str]) -> np.ndarray:
    """[H, W, C] of any numbers -> [H, W, 3] uint8: the first one or three channels, and the alpha if there is one."""
    from PIL import Image as pillow

    if photometric == 6:
        return np.array(pillow.fromarray(samples.astype(np.uint8), "YCbCr").convert("RGB"))
    colours = 3 if photometric == 2 and samples.shape[2] >= 3 else 1
    grey = samples[..., :colours] if samples.dtype.itemsize > 1 else samples[..., :colours].astype(np.uint8)
    picture = scaled(grey, notes) if samples.dtype.itemsize > 1 else grey  # [H, W, 1 | 3]
    picture = 255 - picture if photometric == 0 else picture
    picture = np.repeat(picture, 3, axis=2) if colours == 1 else picture  # [H, W, 3]
    alpha = next((number for number, kind in enumerate(extra) if kind in (1, 2)), None)
    if alpha is None and samples.shape[2] in (2, 4) and colours == samples.shape[2] - 1 and not any(extra):
        alpha = 0
    if alpha is None or colours + alpha >= samples.shape[2]:
        if samples.shape[2] > colours:
            notes.append(f"of its {samples.shape[2]} channels the first {colours} are shown")
        return np.ascontiguousarray(picture)
    mask = scaled(samples[..., colours + alpha], []) if samples.dtype.itemsize > 1 else samples[..., colours + alpha]
    return laid(np.dstack([picture, mask.astype(np.uint8)]), notes)
