"""Image files -> their pages or frames as pixels, upright; what is whole, what is cut short and what is damaged."""

from __future__ import annotations

import io
import re
import threading
import warnings
from typing import Any

import numpy as np

from experts.config import Limits
from experts.errors import MediaError, MissingExtraError, needs
from experts.media.formats import ACCEPTED, EXTRAS
from experts.media.images.headers import (
    LEAST_ROWS,
    Around,
    around,
    directory,
    png_rows,
    progressive,
    scans_begun,
    stand_upright,
    stand_upright_by,
    turn_by_xmp,
)
from experts.media.images.pages import Opened, View, pages_note
from experts.media.pixels import GREY, check_pixels, rgb, too_many
from experts.media.source import Taken, quote

TURNS = {  # EXIF orientation -> what makes it upright
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
    6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip
PILLOW_NAMES = {"HEIC": "HEIF", "JPEG 2000": "JPEG2000", "PNM": "PPM"}  # where they are not ours in capitals
MOVING = ("GIF", "PNG", "WebP", "AVIF", "HEIC")  # their frames are of one scene, and each is drawn upon the one before
MOST_FRAMES = 10_000

PILLOW = threading.Lock()  # Pillow's warnings and its "load truncated files" switch are process-wide


def open_image(taken: Taken, limits: Limits, page: int | None = None) -> Opened:
    """Up to `limits.image_frames` of a file's pages or frames, evenly spaced, or `page` alone, from 1.

    Raises:
        MediaError: damaged, cut short, over a limit, or of a format that this installation cannot read.
    """
    shown = quote(taken.name)
    if taken.form in EXTRAS:
        package, what = EXTRAS[taken.form]
        try:
            needs(package, "files", f"{shown} is {what}; reading it")
        except MissingExtraError as error:
            raise MediaError(f"{error}; accepted without it: {ACCEPTED['image']}") from None
    if taken.form in ("PDF", "SVG"):
        from experts.media.images.drawings import drawn

        return drawn(taken, limits, page)
    with PILLOW, warnings.catch_warnings():
        from PIL import Image as pillow
        from PIL import ImageFile

        warnings.simplefilter("ignore")  # of large or slightly odd files; refusals are ours
        lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            return _open(taken, limits, page)
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
                f"{shown} is {cut}: its {taken.form} data cannot be decoded to the end; accepted: whole files of "
                f"{ACCEPTED['image']}; save or download it again"
            ) from None
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = lenient


def _open(taken: Taken, limits: Limits, page: int | None) -> Opened:
    shown, form = quote(taken.name), pillow_name(taken.form)
    if form == "WEBP":  # Pillow sets up the whole canvas of a WebP before it tells its size
        check_pixels(*webp_size(taken.data), shown, limits)
    if form == "TIFF":
        return _tiff(taken, shown, limits, page)
    about = around(form, taken.data)
    picture = _first(about, form, shown, limits)
    if about.others:
        return _mpo(about, picture, shown, limits, page)
    count = _count(picture, form, taken.data, shown)
    noun, moving = ("frame", True) if taken.form in MOVING else ("page", False)
    notes = list(about.notes)
    if form == "ICO" and len(picture.info.get("sizes", ())) > 1:
        notes.append(f"of the {len(picture.info['sizes'])} sizes in it the largest was looked at")
    reach = count
    if moving:
        reach = min(count, max(1, 2 * limits.image_pixels // (picture.width * picture.height)))
    numbers = chosen(reach, room(picture.size, limits), page, count, shown, noun)
    views: list[View] = []
    for number in numbers:
        try:
            if number > 1:
                picture.seek(number - 1)
                check_pixels(picture.width, picture.height, shown, limits)
                picture.load()
                about.orientation = _turn(picture, form, about)
            views.append(View(rgb(turned(picture, about.orientation), about.profile, notes), number))
        except Exception:
            if not views:
                raise
            notes.append(f"from {noun} {number} on it cannot be read")
            break
    seen = [view.number for view in views]
    if moving:
        same = [np.array_equal(one.pixels, two.pixels) for one, two in zip(views, views[1:], strict=False)]
        views = [views[0], *(view for view, again in zip(views[1:], same, strict=True) if not again)]
    return Opened(views, count, moving, noun, [*pages_note(seen, count, noun), *dict.fromkeys(notes)])


def pillow_name(form: str) -> str:
    """What Pillow calls a format, whose reader is then there."""
    from PIL import Image as pillow

    pillow.init()
    if form == "HEIC" and "HEIF" not in pillow.OPEN:
        import pi_heif

        pi_heif.register_heif_opener()
    name = PILLOW_NAMES.get(form, form.upper())
    if name not in pillow.OPEN:
        raise MediaError(
            f"an image in {form} cannot be read by this installation; accepted: {ACCEPTED['image']}; export it as JPEG"
        )
    return name


def room(size: tuple[int, int], limits: Limits) -> int:
    """How many pages of `size` may be kept."""
    return max(1, min(limits.image_frames, limits.image_pixels // max(size[0] * size[1], 1)))


def chosen(reach: int, most: int, page: int | None, count: int, shown: str, noun: str) -> list[int]:
    """Which of pages 1 to `reach` are opened: `page`, or `most` of them from the first to the last."""
    if page is not None:
        if not 1 <= page <= count:
            raise MediaError(f"{shown} has {count} {noun}s; accepted: page 1 to {count}; page {page} is not in it")
        return [page]
    if reach <= most:
        return list(range(1, reach + 1))
    return sorted({1 + round(i * (reach - 1) / max(most - 1, 1)) for i in range(most)})


# One image


def _first(about: Around, form: str, shown: str, limits: Limits) -> Any:
    """The first page, loaded; `about` then knows its orientation. What is cut short is mended or refused."""
    try:
        picture = _loaded(about.data, form, shown, limits)
    except MediaError:
        raise
    except Exception as error:
        if form == "PNG" and "truncated" in str(error).lower() or about.cut:
            rows, whole, data = png_rows(about.data)
            _check_rows(rows, whole, shown, about)
            picture = _loaded(data, form, shown, limits)
        elif form == "JPEG" and "truncated" in str(error).lower():
            picture = _cut_jpeg(about, shown, limits)
        else:
            raise
    else:
        if about.cut:
            about.notes.append("the end of its file is missing, but the picture is whole")
    about.orientation = _turn(picture, form, about)
    if not about.profile and form not in ("JPEG", "PNG"):
        about.profile = picture.info.get("icc_profile") or b""
    return picture


def _loaded(data: bytes, form: str, shown: str, limits: Limits) -> Any:
    from PIL import Image as pillow

    picture: Any = pillow.open(io.BytesIO(data), formats=[form])
    check_pixels(picture.width, picture.height, shown, limits)
    if form == "TIFF":
        picture.load_end = lambda: None  # it would turn by any orientation, and read EXIF that may be broken
    picture.load()
    check_pixels(picture.width, picture.height, shown, limits)  # an icon tells its size when it is loaded
    return picture


def _check_raw(data: bytes, shown: str) -> None:
    """Refuse a camera's raw photo, which is a TIFF whose first page is a preview."""
    entries = directory(data)
    little = data[:2] == b"II"
    _, _, kind = entries.get(0x00FE, (0, 0, b"\0\0\0\0"))  # NewSubfileType
    if 0xC612 in entries or int.from_bytes(kind, "little" if little else "big") == 1 or data[8:10] == b"CR":
        raise MediaError(
            f"{shown} is a raw photo of a camera (DNG or like it); accepted: {ACCEPTED['image']}; develop it as JPEG"
        )


def _turn(picture: Any, form: str, about: Around) -> int:
    """The orientation of the page that is loaded."""
    if form in ("JPEG", "PNG"):
        return about.orientation
    stand_upright(about, picture.info.get("exif") or b"")
    turn_by_xmp(about, picture.info.get("xmp") or b"")
    return about.orientation


def turned(picture: Any, orientation: int) -> Any:
    from PIL import Image as pillow

    return picture.transpose(pillow.Transpose[TURNS[orientation]]) if orientation in TURNS else picture


def _cut_jpeg(about: Around, shown: str, limits: Limits) -> Any:
    """A JPEG that is cut short, decoded as far as it goes: libjpeg leaves the rest grey."""
    picture = _loaded(about.data + b"\xff\xd9", "JPEG", shown, limits)
    right = np.asarray(picture).reshape(picture.height, -1)[:, -12:]  # a row is decoded from left to right
    empty: np.ndarray = np.all(abs(right.astype(np.int16) - GREY[0]) <= 1, axis=1)[::-1]
    rows = picture.height - (int(np.argmin(empty)) if not empty.all() else picture.height)
    if progressive(about.data) and not scans_begun(about.data):
        rows = 0
    _check_rows(rows, picture.height, shown, about)
    return picture


def _check_rows(rows: int, whole: int, shown: str, about: Around) -> None:
    if rows < LEAST_ROWS * whole:
        raise MediaError(
            f"{shown} is cut short: {rows:,} of its {whole:,} rows can be decoded; accepted: whole files, or "
            f"{LEAST_ROWS:.0%} of the rows; save or download it again"
        )
    lowest = f"the lowest {whole - rows} of {whole:,} rows are missing"
    about.notes.append(f"its file is cut short: {lowest if rows < whole else 'its end is missing, and detail with it'}")


def webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) in a WebP header (RFC 9649): extended, lossless or lossy."""
    head = data[12:30].ljust(18, b"\0")
    if head[:4] == b"VP8X":
        return int.from_bytes(head[12:15], "little") + 1, int.from_bytes(head[15:18], "little") + 1
    if head[:4] == b"VP8L":
        bits = int.from_bytes(head[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[14:16], "little") & 0x3FFF or 1, int.from_bytes(head[16:18], "little") & 0x3FFF or 1


# Several images in a file


def _count(picture: Any, form: str, data: bytes, shown: str) -> int:
    """How many pages or frames there are."""
    count = gif_frames(data) if form == "GIF" else getattr(picture, "n_frames", 1)
    if count > MOST_FRAMES:
        raise MediaError(f"{shown} has over {MOST_FRAMES:,} frames; accepted: up to that; split it")
    return max(int(count), 1)


def gif_frames(data: bytes) -> int:
    """How many frames a GIF has, at most MOST_FRAMES + 1; what comes after a fault is not counted."""
    at, count = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0), 0
    while at < len(data) and count <= MOST_FRAMES:
        if data[at] == 0x2C and at + 10 < len(data):
            count += 1
            at += 11 + (3 << (data[at + 9] & 7) + 1 if data[at + 9] & 0x80 else 0)
        elif data[at] == 0x21:
            at += 2
        else:
            break
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    return max(count, 1)


def _tiff(taken: Taken, shown: str, limits: Limits, page: int | None) -> Opened:
    """The pages of a TIFF, each by itself, so that one that cannot be read leaves the others."""
    from experts.media.images.tiffs import alone, pages, silence

    silence()
    where = pages(taken.data, MOST_FRAMES + 1)
    count = len(where) or 1
    if count > MOST_FRAMES:
        raise MediaError(f"{shown} has over {MOST_FRAMES:,} pages; accepted: up to that; split it")
    notes: list[str] = []
    views: list[View] = []
    left = limits.image_pixels
    for number in chosen(count, limits.image_frames, page, count, shown, "page"):
        try:
            pixels = _tiff_page(alone(taken.data, where[number - 1]) if where else taken.data, shown, limits, notes)
        except Exception:
            if not views:
                raise
            notes.append(f"page {number} in it cannot be read")
            continue
        left -= pixels.shape[0] * pixels.shape[1]
        if left < 0 and views:
            break
        views.append(View(pixels, number))
    seen = [view.number for view in views]
    return Opened(views, count, False, "page", [*pages_note(seen, count, "page"), *dict.fromkeys(notes)])


def _tiff_page(data: bytes, shown: str, limits: Limits, notes: list[str]) -> np.ndarray:
    """The first page of a TIFF: [H, W, 3] uint8, upright."""
    from PIL import Image as pillow

    from experts.media.images.tiffs import odd_tiff

    _check_raw(data, shown)
    try:
        picture = _loaded(data, "TIFF", shown, limits)
    except (MediaError, pillow.DecompressionBombError):
        raise
    except Exception:
        picture = None
        pixels = odd_tiff(data, shown, limits, notes)
        if pixels is None:
            raise
    else:
        deep = picture.mode == "F" or picture.mode.startswith("I")
        pixels = odd_tiff(data, shown, limits, notes) if deep else None
    own = Around(data)
    if tag := directory(data).get(0x0112):
        stand_upright_by(own, tag, data[:2] == b"II")
    notes += own.notes
    if pixels is not None:
        return np.asarray(turned(pillow.fromarray(pixels), own.orientation))
    return rgb(turned(picture, own.orientation), picture.info.get("icc_profile") or b"", notes)


def _mpo(about: Around, picture: Any, shown: str, limits: Limits, page: int | None) -> Opened:
    """The pictures of a JPEG file that holds several, each with its own header."""
    count = 1 + len(about.others)
    notes = list(about.notes)
    views: list[View] = []
    numbers = chosen(count, room(picture.size, limits), page, count, shown, "picture")
    for number in numbers:
        own, one = about, picture
        if number > 1:
            own = around("JPEG", about.others[number - 2])
            try:
                one = _first(own, "JPEG", shown, limits)
            except Exception:
                if page is not None:
                    raise
                notes.append(f"picture {number} in it cannot be read")
                continue
        views.append(View(rgb(turned(one, own.orientation), own.profile, notes), number))
    seen = [view.number for view in views]
    return Opened(views, count, True, "picture", [*pages_note(seen, count, "picture"), *dict.fromkeys(notes)])
