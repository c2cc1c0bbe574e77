"""PDF pages and SVG drawings -> pixels, by pdfium and resvg in a process of its own, which can be killed.

The child gets one JSON line and the file on standard input, replies with one JSON line, and leaves raw pixels in a
temporary folder. It opens no other file: what a drawing links to is left out of it first.
"""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experts.config import Limits
from experts.errors import MediaError
from experts.media.formats import ACCEPTED
from experts.media.pixels import laid
from experts.media.source import Taken, quote

if TYPE_CHECKING:
    from experts.media.images.pages import Opened

CHILD = "import sys; sys.path.append(sys.argv[1]); from experts.media.images.drawings import serve; serve()"
DOTS_PER_INCH, LONGEST_PX = 150, 2400  # of a PDF page: letters of 8 points are 17 px high
SVG_PX = (1000, LONGEST_PX)  # the longest side of a drawing, whatever size it gives itself
MEMORY_BYTES = 2 << 30
TOP_S = 20.0  # longest time for all pages
HREF = re.compile(r"\{http://www\.w3\.org/1999/xlink\}href|href|src")
OUTSIDE = re.compile(r"url\(\s*['\"]?(?!#|data:)[^)]*\)|@import[^;]*;", re.I)
UNITS = {"": 1, "px": 1, "pt": 4 / 3, "pc": 16, "mm": 96 / 25.4, "cm": 96 / 2.54, "in": 96}


class Refused(Exception):
    """What is to be told after the file's name."""


def drawn(taken: Taken, limits: Limits, page: int | None) -> Opened:
    """The pages of a document as an image file's.

    Raises:
        MediaError: damaged, protected by a password, without pages, or too slow or too large to draw.
    """
    from experts.media.images.pages import Opened, View, pages_note

    shown, most_s = quote(taken.name), min(TOP_S, limits.decode_s)
    fix = f"accepted: whole files of {ACCEPTED['image']}; export it as PNG"
    with tempfile.TemporaryDirectory(prefix="duet-") as out:
        request = {"form": taken.form, "limits": asdict(limits), "page": page, "out": out}
        command = [sys.executable, "-P", "-c", CHILD, str(Path(__file__).resolve().parents[3])]
        try:
            run = subprocess.run(
                command,
                input=json.dumps(request).encode() + b"\n" + taken.data,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=most_s,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
            reply = json.loads(run.stdout)
        except subprocess.TimeoutExpired:
            raise MediaError(f"{shown} took longer than {most_s:g} s to draw and was stopped; {fix}") from None
        except ValueError:
            raise MediaError(f"{shown} stopped the {taken.form} reader (exit {run.returncode}); {fix}") from None
        if "refused" in reply:
            raise MediaError(f"{shown} {' '.join(str(reply['refused']).split())[:200]}; {fix}")
        notes: list[str] = reply["notes"]
        views, at = [], 0
        for number, size in zip(reply["numbers"], reply["sizes"], strict=True):
            flat = np.fromfile(Path(out, "pixels"), np.uint8, count=int(np.prod(size)), offset=at)
            at += flat.size
            pixels = flat.reshape(size)  # [H, W, 3 | 4]
            views.append(View(laid(pixels, notes) if size[2] == 4 else pixels, number))
    pages = [view.number for view in views]
    return Opened(views, reply["pages"], notes=[*pages_note(pages, reply["pages"], "page"), *dict.fromkeys(notes)])


# In the child


def serve() -> None:
    """Read one request, draw, reply."""
    reply: dict[str, Any]
    request = json.loads(sys.stdin.buffer.readline())
    data = sys.stdin.buffer.read()
    _bound()
    quiet = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # a library may print
    try:
        numbers, pages, pictures, notes = _DRAW[request["form"]](data, request)
        with Path(request["out"], "pixels").open("wb") as file:
            for picture in pictures:
                file.write(np.ascontiguousarray(picture).tobytes())
        sizes = [list(picture.shape) for picture in pictures]
        reply = {"numbers": numbers, "pages": pages, "sizes": sizes, "notes": notes}
    except Refused as error:
        reply = {"refused": str(error)}
    except MemoryError:
        reply = {"refused": "needs more memory than there is"}
    except Exception:
        reply = {"refused": f"starts like {request['form']} but cannot be read: it is damaged or cut short"}
    os.write(quiet, json.dumps(reply).encode())
    os._exit(0)  # a library's end is not waited for


def _bound() -> None:
    """Bound the child's memory, where the platform can."""
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _pdf(data: bytes, request: dict[str, Any]) -> tuple[list[int], int, list[np.ndarray], list[str]]:
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if "assword" in str(error):
            raise Refused("is a PDF document that is protected by a password") from None
        raise
    pages = len(document)
    if not pages:
        raise Refused("is a PDF document without pages")
    most, page = request["limits"]["image_frames"], request["page"]
    if page is not None and not 1 <= page <= pages:
        raise Refused(f"has {pages} pages; accepted: page 1 to {pages}; page {page} is not in it")
    spread = {1 + round(i * (pages - 1) / max(most - 1, 1)) for i in range(most)}
    numbers = [page] if page else list(range(1, pages + 1)) if pages <= most else sorted(spread)
    pictures: list[np.ndarray] = []
    notes: list[str] = []
    left = request["limits"]["image_pixels"]
    for number in list(numbers):
        try:
            picture = _pdf_page(document[number - 1], left)
        except Exception:
            if len(numbers) == 1:
                raise
            picture = None
            notes.append(f"page {number} in it cannot be read")
        if picture is None:
            numbers.remove(number)
            continue
        left -= picture.shape[0] * picture.shape[1]
        pictures.append(picture)
    if not pictures:
        raise Refused("has no page that can be read")
    return numbers, pages, pictures, notes


def _pdf_page(page: Any, most_pixels: int) -> np.ndarray | None:
    width, height = page.get_size()
    if not (0 < width < 1e7 and 0 < height < 1e7):
        raise Refused("has a page without a size")
    scale = min(DOTS_PER_INCH / 72, LONGEST_PX / max(width, height))
    if width * height * scale * scale > most_pixels:
        return None
    bgr = page.render(scale=scale, rev_byteorder=True).to_numpy()  # [H, W, 3 | 4] RGB, on white
    return np.asarray(bgr[..., :3]) if bgr.ndim == 3 else np.repeat(bgr[..., None], 3, axis=2)


def _svg(data: bytes, request: dict[str, Any]) -> tuple[list[int], int, list[np.ndarray], list[str]]:
    import resvg_py
    from PIL import Image as pillow

    if request["page"] not in (None, 1):
        raise Refused("has 1 page; accepted: page 1")
    try:
        root = ElementTree.fromstring(data)  # expat bounds what entities grow to, and reads no other file
    except ElementTree.ParseError as error:
        wrong = "its entities grow without bound" if "amplification" in str(error) else "it is damaged or cut short"
        raise Refused(f"starts like SVG but cannot be read: {wrong}") from None
    notes = ["files that it links to were not opened"] if _alone(root) else []
    width, height = _svg_size(root)
    longest = max(width, height)
    scale = min(max(SVG_PX[0] / longest, 1.0), SVG_PX[1] / longest)
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    png = resvg_py.svg_to_bytes(svg_string=ElementTree.tostring(root, "unicode"), width=wide, height=high)
    picture = np.asarray(pillow.open(io.BytesIO(bytes(png))).convert("RGBA"))  # [H, W, 4]
    return [1], 1, [picture], notes


def _alone(root: ElementTree.Element) -> bool:
    """Take every link to another file out of a drawing; whether there was one."""
    found = False
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            kept = value.strip().startswith("#") or re.match(r"\s*data:image/(png|jpe?g|gif|webp)\b", value, re.I)
            if HREF.fullmatch(key) and not kept and not element.tag.endswith("}a"):
                del element.attrib[key]
                found = True
            elif not HREF.fullmatch(key) and OUTSIDE.search(value):
                element.attrib[key] = OUTSIDE.sub("none", value)
                found = True
        if element.text and element.tag.endswith("style") and OUTSIDE.search(element.text):
            element.text, found = OUTSIDE.sub("none", element.text), True
    return found


def _svg_size(root: ElementTree.Element) -> tuple[float, float]:
    """Width and height in px, or of its view box."""
    sizes = []
    for key in ("width", "height"):
        told = re.fullmatch(r"\s*([0-9.]+(?:e[+-]?\d+)?)\s*([a-z]*)\s*", root.get(key, ""), re.I)
        sizes.append(float(told[1]) * UNITS[told[2].lower()] if told and told[2].lower() in UNITS else 0.0)
    box = [float(value) for value in re.findall(r"-?[0-9.]+(?:e[+-]?\d+)?", root.get("viewBox", ""), re.I)]
    if len(box) == 4 and box[2] > 0 and box[3] > 0:
        width, height = sizes
        if width and not height:
            return width, width * box[3] / box[2]
        if height and not width:
            return height * box[2] / box[3], height
        if not width:
            return box[2], box[3]
    if not all(0 < size < 1e9 for size in sizes):
        return 300.0, 150.0
    return sizes[0], sizes[1]


_DRAW = {"PDF": _pdf, "SVG": _svg}
