"""What stands around the pixels of a JPEG or PNG: read within bounds, and kept from Pillow, which trips over it."""

from __future__ import annotations

import contextlib
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

LONGEST = 4 << 20  # bytes of a colour profile or a text that are inflated; a CMYK profile has half a megabyte
PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT")
PNG_CRITICAL = (b"IHDR", b"PLTE", b"IDAT")
LEAST_ROWS = 0.9  # of an image that is cut short, to be shown with the rest missing
MOST_PICTURES = 64  # in one MPO file
STANDALONE = {0x01, *range(0xD0, 0xD9)}  # JPEG markers without a length

Entry = tuple[int, int, bytes]  # of a TIFF directory: type, count, the 4 bytes of its value or offset


@dataclass
class Around:
    """`data` is the file without what is not needed to decode it; the rest is what was found in that."""

    data: bytes
    orientation: int = 1
    profile: bytes = b""  # ICC
    notes: list[str] = field(default_factory=list)
    others: list[bytes] = field(default_factory=list)  # the further pictures of a JPEG file (MPO)
    cut: bool = False
    exif: bool = False


def around(form: str, data: bytes) -> Around:
    """The header of a JPEG or PNG, taken apart; of any other format, the file as it is."""
    return {"JPEG": _jpeg, "PNG": _png}.get(form, Around)(data)


# Which way up


def directory(block: bytes, at: int = 0) -> dict[int, Entry]:
    """The directory at `at` (0: the first) of a TIFF or EXIF block by tag; what is left of it where it is cut.

    {} where the block is none.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    found: dict[int, Entry] = {}
    if order is None or len(block) < 8:
        return found
    at = at or struct.unpack(order + "I", block[4:8])[0]
    (count,) = struct.unpack(order + "H", block[at : at + 2].ljust(2, b"\0"))
    for number in range(count):
        entry = block[at + 2 + 12 * number : at + 14 + 12 * number]
        if len(entry) < 12:
            break
        tag, kind, values = struct.unpack(order + "HHI", entry[:8])
        found.setdefault(tag, (kind, values, entry[8:]))
    return found


def stand_upright(about: Around, exif: bytes) -> None:
    """Take the orientation from an EXIF block (the first that is there counts); a note where it cannot be read.

    The tag is valid as one unsigned short from 1 to 8 (EXIF 2.32, 4.6.4); of anything else the image is left as stored.
    """
    if about.exif or not exif:
        return
    about.exif = True
    block = exif[6:] if exif[:6] in (b"Exif\0\0", b"Exif\0\xff") else exif
    entries = directory(block)
    if not entries and block[:8] not in (b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        about.notes.append("its EXIF data cannot be read and was ignored")
    if 0x0112 in entries:
        stand_upright_by(about, entries[0x0112], block[:2] == b"II")


def stand_upright_by(about: Around, entry: Entry, little: bool) -> None:
    """Take the orientation from its entry in a directory."""
    kind, count, value = entry
    (turn,) = struct.unpack("<H" if little else ">H", value[:2])
    if kind == 3 and count == 1 and 1 <= turn <= 8:
        about.orientation = turn
    else:
        about.notes.append("its EXIF orientation is not valid, so it is shown as it is stored")


def turn_by_xmp(about: Around, xmp: bytes) -> None:
    """The orientation in an XMP packet, where EXIF tells none."""
    told = re.search(rb"tiff:Orientation(?:\s*=\s*[\"']|>)\s*([1-8])\s*[\"'<]", xmp)
    if told and about.orientation == 1:
        about.orientation = int(told[1])


# JPEG


def _jpeg(data: bytes) -> Around:
    about = Around(data)
    kept, profile, pictures, gain_map = [data[:2]], {}, [], False
    at = 2
    for marker, start, end in _segments(data):
        body, at = data[start + 4 : end], end
        if marker == 0xE1 and body.startswith((b"Exif\0\0", b"Exif\0\xff")):
            stand_upright(about, body if len(body) > 6 else b"")
        elif marker == 0xE1 and body.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            turn_by_xmp(about, body)
            gain_map = gain_map or b"hdrgm:" in body or b"GainMap" in body
            if b"MotionPhoto" in body or b"MicroVideo" in body:
                about.notes.append("the short film in this photo was not looked at")
        elif marker == 0xE2 and body.startswith(b"ICC_PROFILE\0") and len(body) > 14:
            profile[body[12]] = body[14:]
        elif marker == 0xE2 and body.startswith(b"MPF\0"):
            pictures = _mpf(data, start + 8)
        if not 0xE0 <= marker <= 0xEF and marker != 0xFE:
            kept.append(data[start:end])
        elif (marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= 14) or (
            marker == 0xEE and body.startswith(b"Adobe") and len(body) >= 12
        ):
            kept.append(data[start:end])  # they tell which colours the numbers are
    about.data = b"".join([*kept, data[at:]])
    about.profile = b"".join(profile[number] for number in sorted(profile))
    if not gain_map:
        about.others = pictures
    return about


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment before the first scan."""
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF or data[at + 1] == 0xFF or data[at + 1] in STANDALONE:
            at += 2 if data[at] == 0xFF and data[at + 1] != 0xFF else 1
            continue
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0xDA, 0xD9) or length < 2:
            return
        yield marker, at, min(at + 2 + length, len(data))
        at += 2 + length


def _mpf(data: bytes, at: int) -> list[bytes]:
    """The pictures that a Multi-Picture Format index (CIPA DC-007) tells of, after the first and without previews."""
    block = data[at : at + 65_536]
    order = "<" if block[:2] == b"II" else ">"
    _, length, where = directory(block).get(0xB002, (0, 0, b"\0\0\0\0"))
    (start,) = struct.unpack(order + "I", where)
    found = []
    for number in range(1, min(length // 16, MOST_PICTURES)):
        entry = block[start + 16 * number : start + 16 * number + 12]
        if len(entry) == 12:
            what, size, offset = struct.unpack(order + "III", entry)
            picture = data[at + offset : at + offset + size]
            if picture[:3] == b"\xff\xd8\xff" and offset and what & 0xFF0000 != 0x010000:
                found.append(picture)
    return found


def progressive(data: bytes) -> bool:
    """Whether a JPEG is stored as ever finer versions of the whole picture."""
    return any(marker == 0xC2 for marker, _, _ in _segments(data))


def scans_begun(data: bytes) -> bool:
    """Whether a progressive JPEG that is cut has begun to refine every coefficient to its last bit.

    Then all that is missing is fine detail.
    """
    colours = next(data[start + 9] for marker, start, _ in _segments(data) if marker == 0xC2 and start + 9 < len(data))
    sharp: dict[int, set[int]] = {}
    for found in re.finditer(rb"\xff\xda..([\x01-\x04])", data, re.DOTALL):
        parts = found[1][0]
        body = data[found.end() : found.end() + 2 * parts + 3]
        if len(body) == 2 * parts + 3 and body[-1] & 15 == 0:
            for number in range(parts):
                sharp.setdefault(body[2 * number], set()).update(range(body[-3], min(body[-2], 63) + 1))
    return len(sharp) >= colours and all(len(known) == 64 for known in sharp.values())


# PNG


def _png(data: bytes) -> Around:
    about = Around(data)
    kept: list[tuple[bytes, bytes]] = []
    moves, ended = True, False
    for tag, body, sound in _chunks(data):
        if tag == b"IEND":
            ended = True
            break
        if tag in PNG_CRITICAL and sound is False:
            raise ValueError(f"the checksum of its {tag.decode()} data is wrong")
        if tag in (b"acTL", b"fcTL", b"fdAT") and not sound:
            moves = False
        elif tag == b"tRNS" and not sound:
            about.notes.append("its transparency is damaged and was ignored")
        elif tag in PNG_KEPT:
            kept.append((tag, body))
            about.cut = about.cut or sound is None
        elif sound is not None:
            with contextlib.suppress(zlib.error, ValueError, IndexError):
                _told(about, tag, body)
    about.cut = about.cut or not ended
    if not moves:
        kept = [chunk for chunk in kept if chunk[0] not in (b"acTL", b"fcTL", b"fdAT")]
        about.notes.append("its animation is damaged, and the first frame alone was looked at")
    about.data = data[:8] + b"".join(_chunk(*chunk) for chunk in kept) + _chunk(b"IEND", b"")
    return about


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool | None]]:
    """(name, content, whether its checksum is right; None where it is cut short)."""
    at = 8
    while at + 8 <= len(data):
        length, tag = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 8 + length
        body = data[at + 8 : end]
        if end + 4 > len(data):
            yield tag, body, None
            return
        needed = tag in PNG_KEPT  # the checksum of what is left out is of no interest
        sound = not needed or zlib.crc32(body, zlib.crc32(tag)) == int.from_bytes(data[end : end + 4], "big")
        yield tag, body, sound
        at = end + 4


def _chunk(tag: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(body, zlib.crc32(tag)))


def _told(about: Around, tag: bytes, body: bytes) -> None:
    """What a chunk that is not needed for the pixels tells of them."""
    if tag == b"eXIf":
        stand_upright(about, body)
    elif tag == b"iCCP":
        about.profile = _inflated(body.partition(b"\0")[2][1:]) or b"damaged"
    elif tag == b"iTXt" and body.startswith(b"XML:com.adobe.xmp\0"):
        packed, _, rest = body[18:19], body[19:20], body[20:]
        text = rest.split(b"\0", 2)[2]
        turn_by_xmp(about, _inflated(text) if packed == b"\1" else text[:LONGEST])
    elif tag in (b"zTXt", b"tEXt") and body.startswith((b"Raw profile type exif\0", b"Raw profile type APP1\0")):
        text = body.partition(b"\0")[2]
        text = _inflated(text[1:]) if tag == b"zTXt" else text[:LONGEST]
        lines = text.strip().split(b"\n", 2)  # ImageMagick: the name, the length, hexadecimal digits
        stand_upright(about, bytes.fromhex(lines[2].decode("ascii", "replace")))
    elif tag == b"CgBI":
        raise ValueError("it is a PNG for Apple's devices alone (CgBI)")


def _inflated(data: bytes) -> bytes:
    """What `data` inflates to; nothing where that is too much or broken."""
    packed = zlib.decompressobj()
    try:
        text = packed.decompress(data, LONGEST)
    except zlib.error:
        return b""
    return b"" if packed.unconsumed_tail else text


def png_rows(data: bytes) -> tuple[int, int, bytes]:
    """(rows that can be decoded, rows there should be, the same PNG with the missing ones as the last again).

    Of an interlaced PNG no row is whole. The bytes are empty where fewer than LEAST_ROWS of them are there.
    """
    chunks = [(tag, body) for tag, body, _ in _chunks(data)]
    head = next((body for tag, body in chunks if tag == b"IHDR"), b"")
    if len(head) != 13:
        return 0, 1, b""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", head)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    line = (width * depth * channels + 7) // 8 + 1
    if interlaced or any(tag == b"acTL" for tag, _ in chunks):
        return 0, height, b""
    packed = b"".join(body for tag, body in chunks if tag == b"IDAT")
    rows = min(sum(len(piece) for piece in _pieces(packed, line * height)) // line, height)
    if rows < LEAST_ROWS * height or not rows:
        return rows, height, b""
    whole = b"".join(_pieces(packed, line * height))[: rows * line] + (b"\2" + bytes(line - 1)) * (height - rows)
    mended = [(tag, body) for tag, body in chunks if tag in (b"IHDR", b"PLTE", b"tRNS")]
    mended += [(b"IDAT", zlib.compress(whole, 1)), (b"IEND", b"")]
    return rows, height, data[:8] + b"".join(_chunk(*chunk) for chunk in mended)


def _pieces(packed: bytes, most: int) -> Iterator[bytes]:
    """What can be inflated of `packed`, up to `most` bytes and the first fault."""
    stream, total = zlib.decompressobj(), 0
    with contextlib.suppress(zlib.error):
        for start in range(0, len(packed), 1 << 14):
            piece = stream.decompress(packed[start : start + (1 << 14)], max(most - total, 1))
            total += len(piece)
            yield piece
            if total >= most:
                return
