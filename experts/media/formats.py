"""What a file is, by its content: formats that are read, and strangers that are refused by name."""

from __future__ import annotations

import re

ACCEPTED = {
    "image": "PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF, ICO, JPEG 2000, PNM, TGA, PCX (HEIC, PDF, SVG: extra 'files')",
    "audio": "WAV, FLAC, OGG, MP3, M4A, AAC, AIFF, WebM, WMA, AMR, 3GP, CAF, AU, WavPack",
    "video": "MP4, MOV, WebM, MKV, AVI, OGG, WMV, 3GP, MPEG, MPEG-TS, FLV",
}


EXTRAS = {  # image formats that need the extra "files" -> the package, and what such a file is
    "HEIC": ("pi_heif", "a photo in HEIC"),
    "PDF": ("pypdfium2", "a PDF document"),
    "SVG": ("resvg_py", "an SVG drawing"),
}


NOUN = {"image": "an image", "audio": "a sound", "video": "a video"}


# Sound or video: known once the tracks are
EITHER = frozenset({"MP4", "MOV", "M4A", "WebM", "MKV", "OGG", "Windows Media", "MPEG", "MPEG-TS", "FLV", "AVI"})


DEMUXERS = {  # our name of a format -> FFmpeg's demuxer
    "WAV": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3", "AAC": "aac", "AIFF": "aiff", "M4A": "mov",
    "MP4": "mov", "MOV": "mov", "WebM": "matroska", "MKV": "matroska", "AVI": "avi", "AMR": "amr", "CAF": "caf",
    "AU": "au", "W64": "w64", "WavPack": "wv", "Windows Media": "asf", "FLV": "flv", "MPEG": "mpeg",
    "MPEG-TS": "mpegts",
}  # fmt: skip


MAGIC: list[tuple[bytes, str, str]] = [
    (rb"\x89PNG\r\n\x1a\n", "image", "PNG"),
    (rb"\xff\xd8\xff", "image", "JPEG"),
    (rb"GIF8[79]a", "image", "GIF"),
    (rb"RIFF....WEBP", "image", "WebP"),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "image", "BMP"),
    (rb"II[*+]\0|MM\0[*+]", "image", "TIFF"),
    (rb".{4}ftypavi[fs]|.{4}ftypmif1.{4,24}avif", "image", "AVIF"),
    (rb".{4}ftyp(hei[cxms]|hev[cx]|mif1|msf1)", "image", "HEIC"),
    (rb"\0\0\x01\0[\x01-\xff]\0...\0", "image", "ICO"),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", "image", "JPEG 2000"),
    (rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s+(#[^\n]*\n\s*)*\d+\s|P[Ff]\s+\d+\s+\d+\s+-?\d", "image", "PNM"),
    (rb"\x0a[\x00\x02-\x05]\x01[\x01\x02\x04\x08].{60}\0[\x01-\x04]", "image", "PCX"),
    (rb"%PDF-", "image", "PDF"),
    (
        rb"(?:\xef\xbb\xbf)?(?:<\?[^>]*>|<!--.*?-->|<!DOCTYPE\s+svg[^>\[]*(?:\[.*?\]\s*)?>|\s++)*+<(?:svg:)?svg\b",
        "image",
        "SVG",
    ),
    (rb"(RIFF|RF64|BW64)....WAVE", "audio", "WAV"),
    (rb"fLaC", "audio", "FLAC"),
    (rb"FORM....AIF[FC]", "audio", "AIFF"),
    (rb"OggS", "audio", "OGG"),
    (rb"ID3[\x02-\x04]|\xff[\xfa\xfb\xf2\xf3\xe2\xe3][^\xf0-\xff]", "audio", "MP3"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "audio", "AAC"),
    (rb"#!AMR(-WB)?\n", "audio", "AMR"),
    (rb"caff\0[\x01\x02]", "audio", "CAF"),
    (rb"\.snd\0\0", "audio", "AU"),
    (rb"riff\x2e\x91\xcf\x11", "audio", "W64"),
    (rb"wvpk.{4}[\x02-\x10]\x04", "audio", "WavPack"),
    (rb".{4}ftypM4[AB] ", "audio", "M4A"),
    (rb".{4}(ftypqt  |moov|mdat|wide)", "video", "MOV"),
    (rb".{4}ftyp(?!crx )", "video", "MP4"),
    (rb"\x1a\x45\xdf\xa3.{0,60}webm", "video", "WebM"),
    (rb"\x1a\x45\xdf\xa3", "video", "MKV"),
    (rb"RIFF....AVI ", "video", "AVI"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "video", "Windows Media"),
    (rb"FLV\x01", "video", "FLV"),
    (rb"\0\0\x01\xba", "video", "MPEG"),
    (rb"G.{187}G.{187}G|.{4}G.{191}G.{191}G", "video", "MPEG-TS"),  # packets of 188 bytes, on discs of 192
    (rb".\0[\x02\x03\x0a\x0b]\0{5}.{4}(?!\0\0)..(?!\0\0)..[\x08\x0f\x10\x18\x20][\0-\x3f]", "image", "TGA"),
    (rb".\x01[\x01\x09].{2}(?!\0\0)..[\x0f\x10\x18\x20].{4}(?!\0\0)..(?!\0\0)..\x08[\0-\x3f]", "image", "TGA"),
]


STRANGERS: list[tuple[bytes, str]] = [  # known, and refused by name
    (rb"PK\x03\x04|PK\x05\x06", "a ZIP archive or office document"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "a compressed archive"),
    (rb"\x7fELF|MZ|\xcf\xfa\xed\xfe", "a program"),
    (rb"8BPS", "a Photoshop document"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript document"),
    (rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n", "an image in JPEG XL"),
    (rb".{4}ftypcrx |FUJIFILMCCD-RAW|IIRO|IIU\0", "a raw photo of a camera"),
    (rb"\0\0\x02\0[\x01-\xff]\0", "a cursor file"),
    (rb"MThd", "a MIDI file"),
    (rb"\.RMF", "a RealMedia file"),
    (rb"\0\0\x01\xb3", "MPEG video without a container"),
    (rb"\x93NUMPY", "a NumPy file"),
    (rb"SQLite format 3", "a database"),
    (rb"(?i)\s*(<!doctype html|<html)", "a web page"),
]


HEAD_BYTES = 4096  # enough to tell what a file is


def kind_of(head: bytes) -> tuple[str, str] | None:
    """What a file is by its first 4096 bytes: ("image", "PNG"), ("audio", "WAV"), ("video", "MP4"); None if neither.

    For the formats in EITHER the kind is the likely one: an MP4, WebM or Ogg file may hold sound only.
    """
    for pattern, kind, form in MAGIC:
        if re.match(pattern, head[:HEAD_BYTES], re.DOTALL):
            return kind, form
    return None


def behind_tag(data: bytes) -> tuple[str, str] | None:
    """What stands behind an ID3 tag, which some programs also put before FLAC and AAC; None where there is no tag.

    Its length is in four bytes of seven bits (id3.org, ID3v2.4.0 structure, 3.1).
    """
    if data[:3] != b"ID3" or len(data) < 10:
        return None
    length = 0
    for byte in data[6:10]:
        length = length << 7 | byte & 0x7F
    return kind_of(data[10 + length : 10 + length + HEAD_BYTES])


def accepted(want: str | None) -> str:
    return ACCEPTED[want] if want else "; ".join(f"{kind}: {forms}" for kind, forms in ACCEPTED.items())


def stranger(data: bytes) -> str:
    """What something is that is no medium, as far as it can be recognised."""
    head = data[:HEAD_BYTES]
    for pattern, what in STRANGERS:
        if re.match(pattern, head, re.DOTALL):
            return what
    try:
        text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8")
    except UnicodeDecodeError as error:
        text = head[: error.start].decode("utf-8", "replace") if error.start > HEAD_BYTES - 4 else "\0"
    return "in a format that is not known" if "\0" in text else "text"
