"""The media door: Image, Audio, Video from a path, bytes, a data: URL or an array, within limits, in fixed units.

Everything that people or programs send enters here. What a medium is, is decided by its content, never by its name;
limits hold before anything is decoded; what is refused gets one line that says what it is, what is accepted and what to
do. Names are base names: no message and no medium carries a folder.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import re
import stat
import threading
import urllib.parse
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from experts.config import Limits
from experts.errors import MediaError
from experts.media.decode import RATE_HZ, Decoded, decode
from experts.media.resample import resampled

Source = str | os.PathLike | bytes | np.ndarray  # a path, a data: URL, encoded bytes, an array
ACCEPTED = {
    "image": "PNG, JPEG, GIF, WebP, BMP, TIFF, AVIF",
    "audio": "WAV, FLAC, OGG, MP3, M4A, AAC, AIFF, WebM",
    "video": "MP4, MOV, WebM, MKV, AVI, OGG",
}
NOUN = {"image": "an image", "audio": "a sound", "video": "a video"}
EITHER = frozenset({"MP4", "MOV", "M4A", "WebM", "MKV", "OGG"})  # sound or video: known once the tracks are
MAGIC: list[tuple[bytes, str, str]] = [
    (rb"\x89PNG\r\n\x1a\n", "image", "PNG"),
    (rb"\xff\xd8\xff", "image", "JPEG"),
    (rb"GIF8[79]a", "image", "GIF"),
    (rb"RIFF....WEBP", "image", "WebP"),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", "image", "BMP"),
    (rb"II[*+]\0|MM\0[*+]", "image", "TIFF"),
    (rb".{4}ftypavi[fs]|.{4}ftypmif1.{4,24}avif", "image", "AVIF"),
    (rb".{4}ftyp(hei[cxms]|hev[cx]|mif1|msf1)", "image", "HEIC"),
    (rb"(RIFF|RF64|BW64)....WAVE", "audio", "WAV"),
    (rb"fLaC", "audio", "FLAC"),
    (rb"FORM....AIF[FC]", "audio", "AIFF"),
    (rb"OggS", "audio", "OGG"),
    (rb"ID3[\x02-\x04]|\xff[\xfa\xfb\xf2\xf3\xe2\xe3][^\xf0-\xff]", "audio", "MP3"),
    (rb"\xff[\xf0\xf1\xf8\xf9]", "audio", "AAC"),
    (rb".{4}ftypM4[AB] ", "audio", "M4A"),
    (rb".{4}(ftypqt  |moov|mdat|wide)", "video", "MOV"),
    (rb".{4}ftyp", "video", "MP4"),
    (rb"\x1a\x45\xdf\xa3.{0,60}webm", "video", "WebM"),
    (rb"\x1a\x45\xdf\xa3", "video", "MKV"),
    (rb"RIFF....AVI ", "video", "AVI"),
]
STRANGERS: list[tuple[bytes, str]] = [  # known, and refused by name
    (rb"%PDF-", "a PDF document"),
    (rb"PK\x03\x04|PK\x05\x06", "a ZIP archive or office document"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!", "a compressed archive"),
    (rb"\x7fELF|MZ|\xcf\xfa\xed\xfe", "a program"),
    (rb"8BPS", "a Photoshop document"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript document"),
    (rb"\0\0\x01\0", "an icon file"),
    (rb"MThd", "a MIDI file"),
    (rb"FLV\x01", "a Flash video"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (rb"\0\0\x01[\xba\xb3]|G.{187}G", "an MPEG program or transport stream"),
    (rb"\x93NUMPY", "a NumPy file"),
    (rb"SQLite format 3", "a database"),
    (rb"\s*(<\?xml[^>]*>)?\s*(<!--.*?-->|<!DOCTYPE svg[^>]*>|\s)*<svg", "an SVG drawing"),
    (rb"(?i)\s*(<!doctype html|<html)", "a web page"),
]
HEAD_BYTES = 4096  # enough to tell what a file is
TURNS = {  # EXIF orientation -> what makes it upright
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
    6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip
PILLOW = threading.Lock()  # Pillow's warnings and its "load truncated files" switch are process-wide
LOUDEST = 2.0  # a float array's overshoot beyond 1 that is clipped; above it, the scale is wrong


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels [H, W, 3] uint8 RGB at the original resolution, upright, without transparency.

    `sha256` is that of the encoded bytes, or of an array's type, shape and values.
    """

    pixels: np.ndarray
    name: str
    sha256: str
    kind: ClassVar[str] = "image"

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    def to_pil(self) -> Any:
        """A PIL.Image.Image in mode RGB."""
        from PIL import Image as pillow

        return pillow.fromarray(self.pixels)

    @classmethod
    def open(cls, source: Source, *, limits: Limits | None = None, name: str | None = None) -> Image:
        """An image; of an animation, the first frame. EXIF rotation is applied, transparency laid on white.

        Arrays: uint8, uint16, bool, or float in [0, 1]; [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (RGBA).

        Raises:
            MediaError: not an image, truncated, damaged, or over a limit.
        """
        limits = limits or Limits()
        if isinstance(source, np.ndarray):
            shown = _base(name or "image")
            return cls(_pixels_of_array(source, _quote(shown), limits), shown, _hash_array(source))
        taken = _take(source, name, "image", limits)
        return cls(_pixels_of_file(taken, limits), taken.name, taken.sha256)


@dataclass(frozen=True, eq=False)
class Audio:
    """Samples [S] float32, mono (the mean of the channels), in [-1, 1], at 16,000 Hz."""

    samples: np.ndarray
    name: str
    sha256: str
    kind: ClassVar[str] = "audio"
    RATE_HZ: ClassVar[int] = RATE_HZ

    @property
    def duration_s(self) -> float:
        return len(self.samples) / RATE_HZ

    @classmethod
    def open(
        cls, source: Source, *, limits: Limits | None = None, name: str | None = None, rate_hz: int | None = None
    ) -> Audio:
        """A sound of any rate and number of channels.

        Arrays need `rate_hz`: [S] or [S, C]; uint8, int16, int32, or float in [-1, 1].

        Raises:
            MediaError: not a sound, empty, damaged, not finite, or over a limit.
        """
        limits = limits or Limits()
        if isinstance(source, np.ndarray):
            shown = _base(name or "audio")
            samples = _samples_of_array(source, _quote(shown), rate_hz, limits)
            return cls(samples, shown, _hash_array(source, f"{rate_hz} Hz"))
        taken = _take(source, name, "audio", limits)
        return _audio(taken, decode(taken.data, _quote(taken.name), taken.form, "audio", limits))


@dataclass(frozen=True, eq=False)
class Video:
    """Evenly spaced frames, their times in seconds from the start, and the sound track, or None where it has none."""

    frames: list[Image]
    times_s: list[float]
    audio: Audio | None
    duration_s: float
    name: str
    sha256: str
    kind: ClassVar[str] = "video"

    @classmethod
    def open(
        cls, source: Source, *, limits: Limits | None = None, name: str | None = None, rate_fps: float | None = None
    ) -> Video:
        """A video: the frames in the middle of `limits.video_frames` equal stretches of time (all, if it has no more).

        Fewer are kept where that many would together exceed `limits.image_pixels`. Arrays need `rate_fps`: [F, H, W, 3]
        uint8, no sound.

        Raises:
            MediaError: not a video, damaged, or over a limit.
        """
        limits = limits or Limits()
        if isinstance(source, np.ndarray):
            return _video_of_array(source, _base(name or "video"), rate_fps, limits)
        taken = _take(source, name, "video", limits)
        return _video(taken, decode(taken.data, _quote(taken.name), taken.form, "video", limits))


Media = Image | Audio | Video


def open_media(source: Source, *, limits: Limits | None = None, name: str | None = None) -> Media:
    """An Image, Audio or Video, whichever `source` turns out to be; of arrays, only uint8 [H, W, 3 or 4] is clear.

    Raises:
        MediaError: none of them, or refused by the one it is.
    """
    limits = limits or Limits()
    if isinstance(source, np.ndarray):
        if source.dtype == np.uint8 and source.ndim == 3 and source.shape[2] in (3, 4):
            return Image.open(source, limits=limits, name=name)
        raise MediaError(
            f"an array of {source.dtype} {list(source.shape)} may be anything; accepted: uint8 [H, W, 3]; "
            "use Image.open(array), Audio.open(array, rate_hz=...) or Video.open(array, rate_fps=...)"
        )
    taken = _take(source, name, None, limits)
    if taken.kind == "image":
        return Image(_pixels_of_file(taken, limits), taken.name, taken.sha256)
    decoded = decode(taken.data, _quote(taken.name), taken.form, None if taken.form in EITHER else taken.kind, limits)
    return _video(taken, decoded) if decoded.kind == "video" else _audio(taken, decoded)


def kind_of(head: bytes) -> tuple[str, str] | None:
    """What a file is by its first 4096 bytes: ("image", "PNG"), ("audio", "WAV"), ("video", "MP4"); None if neither.

    For the formats in EITHER the kind is the likely one: an MP4, WebM or Ogg file may hold sound only.
    """
    for pattern, kind, form in MAGIC:
        if re.match(pattern, head[:HEAD_BYTES], re.DOTALL):
            return kind, form
    return None


# From a source to encoded bytes


@dataclass(frozen=True, eq=False)
class _Taken:
    data: bytes
    name: str
    kind: str
    form: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def _take(source: Any, name: str | None, want: str | None, limits: Limits) -> _Taken:
    """The encoded bytes of `source`, of a kind that fits `want` and within the kind's size limit."""
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        return _judge(data, len(data), _base(name or want or "media"), want, limits)
    if isinstance(source, os.PathLike):
        source = os.fsdecode(source)
    if not isinstance(source, str):
        raise MediaError(
            f"a {type(source).__name__} is not {NOUN[want] if want else 'a medium'}; accepted: a path, bytes, a data: "
            "URL or a NumPy array; pass one of these"
        )
    if source[:5].lower() == "data:":
        data = _data_url(source, max(_most_bytes(kind, limits) for kind in NOUN))
        return _judge(data, len(data), _base(name or want or "media"), want, limits)
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source):
        path = re.split(r"[?#]", source)[0].partition("://")[2].rstrip("/").partition("/")[2]  # not host, not query
        shown, scheme = _quote(_base(path)) if path else "this", source.partition(":")[0].lower()
        what = "a web address" if scheme in ("http", "https") else f"an address ({scheme}:)"
        raise MediaError(
            f"{shown} is {what}, and fetching is off; accepted: a path, bytes, a data: URL or an array; "
            "download it first and pass the file"
        )
    return _read(source, _base(name or source.rstrip("/\\")), want, limits)


def _read(path: str, name: str, want: str | None, limits: Limits) -> _Taken:
    """A file's bytes; its kind and size are judged by its head and its size on disk, before the rest is read."""
    some = f"accepted: a file of {_accepted(want)}; check the name"
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise MediaError(f"{_quote(name)} is a folder; {some}, or pass the files in it one by one")
        if not stat.S_ISREG(mode):  # opening a pipe would wait for ever
            raise MediaError(f"{_quote(name)} is a device or pipe; {some}, or pass its bytes")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(HEAD_BYTES)
            _judge(head, size, name, want, limits)
            data = head + file.read(size)
    except FileNotFoundError:
        raise MediaError(f"there is no file {_quote(name)}; {some}") from None
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) and error.strerror else "not a file name"
        raise MediaError(f"{_quote(name)} cannot be read ({cause}); {some} and its permissions") from None
    return _judge(data, len(data), name, want, limits)


def _judge(data: bytes, size: int, name: str, want: str | None, limits: Limits) -> _Taken:
    """Refuse by content or size; `data` may be the head of something of `size` bytes."""
    shown = _quote(name)
    if not size:
        raise MediaError(f"{shown} is empty (0 bytes); accepted: {_accepted(want)}; save or download it again")
    found = kind_of(data)
    if found is None:
        raise MediaError(
            f"{shown} is {_stranger(data)}, not {NOUN[want] if want else 'an image, sound or video'}; "
            f"accepted: {_accepted(want)}; export it as one of these"
        )
    kind, form = found
    if want and kind != want and not (form in EITHER and want != "image"):
        other = f"{NOUN[kind]} ({form})"
        raise MediaError(f"{shown} is {other}, not {NOUN[want]}; pass it as {kind} (accepted here: {_accepted(want)})")
    kind = want or kind
    most = max(_most_bytes(k, limits) for k in (("audio", "video") if not want and form in EITHER else (kind,)))
    if size > most:
        raise MediaError(
            f"{shown} is {size / 1e6:,.1f} MB; accepted: {form} up to {most / 1e6:,.1f} MB; make it smaller or shorter"
        )
    return _Taken(data, name, kind, form)


def _most_bytes(kind: str, limits: Limits) -> int:
    return {"image": limits.image_bytes, "audio": limits.audio_bytes, "video": limits.video_bytes}[kind]


def _accepted(want: str | None) -> str:
    return ACCEPTED[want] if want else "; ".join(f"{kind}: {forms}" for kind, forms in ACCEPTED.items())


def _stranger(data: bytes) -> str:
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


def _data_url(url: str, most: int) -> bytes:
    """The bytes of a data: URL (RFC 2397), base64 or percent-encoded."""
    head, comma, body = url.partition(",")
    fix = "accepted: data:image/png;base64,... (or percent-encoded); encode it again"
    if not comma:
        raise MediaError(f"a data: URL without a comma holds no data; {fix}")
    coded = head.lower().rstrip().endswith(";base64")
    if len(body) * (0.75 if coded else 1 / 3) > most:
        raise MediaError(
            f"a data: URL of {len(body) / 1e6:,.1f} MB is too long; accepted: {most / 1e6:,.1f} MB; pass a file"
        )
    if not coded:
        return urllib.parse.unquote_to_bytes(body)
    packed = b"".join(urllib.parse.unquote_to_bytes(body).split())
    try:
        return base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except binascii.Error:
        raise MediaError(f"a data: URL whose base64 is broken; {fix}") from None


def _base(name: str) -> str:
    """The base name, on one line, whatever the system it comes from; what a terminal would act on is replaced."""
    base = re.split(r"[/\\]", name)[-1] or "unnamed"
    return "".join(c if c.isprintable() else "?" for c in base)


def _quote(name: str) -> str:
    return f"'{name if len(name) <= 80 else name[:60] + '...' + name[-15:]}'"


def _hash_array(array: np.ndarray, more: str = "") -> str:
    head = f"{array.dtype.str} {array.shape} {more}".encode()  # a 2 x 3 array is not a 3 x 2 one
    return hashlib.sha256(head + np.ascontiguousarray(array).tobytes()).hexdigest()


# From encoded bytes or arrays to the fixed units


def _pixels_of_file(taken: _Taken, limits: Limits) -> np.ndarray:
    """Decode to [H, W, 3] uint8 with Pillow; the size in the header is checked first."""
    from PIL import Image as pillow
    from PIL import ImageFile

    shown = _quote(taken.name)
    form = {"HEIC": "HEIF"}.get(taken.form, taken.form.upper())
    pillow.init()
    if form not in pillow.OPEN:
        raise MediaError(
            f"{shown} is an image in {taken.form}, which this installation cannot read; accepted: {ACCEPTED['image']}; "
            "export it as JPEG or PNG"
        )
    if form == "WEBP":  # Pillow sets up the whole canvas of a WebP before it tells its size
        _check_pixels(*_webp_size(taken.data), shown, limits)
    with PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large or slightly odd files; refusals are ours
        lenient, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
        try:
            with pillow.open(io.BytesIO(taken.data), formats=[form]) as picture:
                _check_pixels(*picture.size, shown, limits)
                picture.load()
                return _rgb(picture, shown)
        except pillow.DecompressionBombError as error:
            count = next(iter(re.findall(r"\d{9,}", str(error))), "too many")
            raise MediaError(_too_many(f"{int(count):,}" if count.isdigit() else count, shown, limits)) from None
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


def _webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) in a WebP header (RFC 9649): extended, lossless or lossy."""
    head = data[12:30].ljust(18, b"\0")
    if head[:4] == b"VP8X":
        return int.from_bytes(head[12:15], "little") + 1, int.from_bytes(head[15:18], "little") + 1
    if head[:4] == b"VP8L":
        bits = int.from_bytes(head[9:13], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return int.from_bytes(head[14:16], "little") & 0x3FFF or 1, int.from_bytes(head[16:18], "little") & 0x3FFF or 1


def _check_pixels(width: int, height: int, shown: str, limits: Limits) -> None:
    if width * height > limits.image_pixels:
        raise MediaError(_too_many(f"{width:,} x {height:,}", shown, limits))
    if not width * height:
        raise MediaError(f"{shown} is {width} x {height} px; accepted: at least 1 x 1 px; export it again")


def _too_many(pixels: str, shown: str, limits: Limits) -> str:
    return f"{shown} has {pixels} px; accepted: images of up to {limits.image_pixels:,} px; scale it down"


def _rgb(picture: Any, shown: str) -> np.ndarray:
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


def _pixels_of_array(array: np.ndarray, shown: str, limits: Limits) -> np.ndarray:
    """[H, W], [H, W, 1 | 3 | 4] of several types -> [H, W, 3] uint8."""
    fix = "accepted: [H, W], [H, W, 3] or [H, W, 4] of uint8, uint16, bool, or float in [0, 1]; convert it"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise MediaError(f"{shown} is an array of shape {list(array.shape)}; {fix}")
    _check_pixels(array.shape[1], array.shape[0], shown, limits)
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


def _samples_of_array(array: np.ndarray, shown: str, rate_hz: int | None, limits: Limits) -> np.ndarray:
    """[S] or [S, C] at `rate_hz` -> [S'] float32 at 16,000 Hz, by polyphase filtering."""
    fix = "accepted: [S] or [S, C] of uint8, int16, int32, or float in [-1, 1]; convert it"
    if not isinstance(rate_hz, int | np.integer) or not 1_000 <= rate_hz <= 768_000:
        raise MediaError(
            f"{shown} has a rate of {rate_hz} Hz; accepted: whole numbers from 1000 to 768000; pass rate_hz="
        )
    if array.ndim not in (1, 2) or (array.ndim == 2 and not 1 <= array.shape[1] <= 32):
        raise MediaError(f"{shown} is an array of shape {list(array.shape)}; {fix}, or transpose it")
    if not len(array):
        raise MediaError(f"{shown} is a sound of 0 samples; accepted: at least one; record it again")
    if len(array) > limits.audio_s * rate_hz or array.size * 4 > limits.audio_decoded_bytes:
        raise MediaError(
            f"{shown} lasts {len(array) / rate_hz:,.0f} s and fills {array.size * 4 / 1e6:,.0f} MB; accepted: up to "
            f"{limits.audio_s:,.0f} s and {limits.audio_decoded_bytes / 1e6:,.0f} MB; cut it into parts"
        )
    scale = {"|u1": 128, "<i2": 32768, "<i4": 2**31}.get(array.dtype.newbyteorder("<").str)
    if array.dtype.kind != "f" and not scale:
        raise MediaError(f"{shown} is an array of {array.dtype}; {fix}")
    if not np.isfinite(array).all():
        raise MediaError(f"{shown} is an array with NaN or infinite values; {fix}")
    if not scale and abs(array).max() > LOUDEST:
        raise MediaError(f"{shown} is a float array with a peak of {abs(array).max():g}; {fix}")
    samples: np.ndarray = array.astype(np.float32)
    if scale:
        samples = (samples - (128 if scale == 128 else 0)) / scale
    if samples.ndim == 2:
        samples = samples.mean(axis=1)  # [S, C] -> [S]
    if rate_hz != RATE_HZ:
        samples = resampled(samples, int(rate_hz), RATE_HZ)  # [S']
    return np.clip(samples, -1.0, 1.0).astype(np.float32)


def _audio(taken: _Taken, decoded: Decoded) -> Audio:
    assert decoded.samples is not None
    return Audio(decoded.samples, taken.name, taken.sha256)


def _video(taken: _Taken, decoded: Decoded) -> Video:
    audio = None if decoded.samples is None else Audio(decoded.samples, taken.name, taken.sha256)
    frames = _named(decoded.frames, decoded.times_s, taken.name)
    return Video(frames, decoded.times_s, audio, decoded.duration_s, taken.name, taken.sha256)


def _named(frames: list[np.ndarray], times_s: list[float], name: str) -> list[Image]:
    return [Image(f, f"{name} at {t:.2f} s", _hash_array(f)) for f, t in zip(frames, times_s, strict=True)]


def _video_of_array(array: np.ndarray, name: str, rate_fps: float | None, limits: Limits) -> Video:
    """[F, H, W, 3] uint8 at `rate_fps` -> the frames in the middle of equal stretches."""
    shown, fix = _quote(name), "accepted: [F, H, W, 3] uint8 with at least one frame, and rate_fps above 0; convert it"
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8 or not array.size:
        raise MediaError(f"{shown} is an array of {array.dtype} {list(array.shape)}; {fix}")
    if rate_fps is None or not 0 < rate_fps < float("inf"):
        raise MediaError(f"{shown} has a rate of {rate_fps} frames a second; {fix}")
    _check_pixels(array.shape[2], array.shape[1], shown, limits)
    duration_s = len(array) / rate_fps
    if duration_s > limits.video_s:
        raise MediaError(
            f"{shown} lasts {duration_s:,.0f} s; accepted: up to {limits.video_s:,.0f} s; cut it into parts"
        )
    most = min(len(array), limits.video_frames, limits.image_pixels // (array.shape[1] * array.shape[2]))
    kept = [int((i + 0.5) * len(array) / most) for i in range(most)]
    times_s = [i / rate_fps for i in kept]
    frames = _named([array[i].copy() for i in kept], times_s, name)
    return Video(frames, times_s, None, duration_s, name, _hash_array(array, f"{rate_fps} fps"))
