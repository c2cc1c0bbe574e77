"""The media door: what it lets in comes out in fixed units, what it refuses gets one clear line."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import struct
import sys
import time
import urllib.parse
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import NOISE, mux, peak, pitch_hz, sine, wav
from PIL import Image as pillow
from PIL import ImageFile

from experts.config import Limits
from experts.errors import MediaError
from experts.media import Audio, Image, Video, kind_of, open_media
from experts.media import decode as decoder

av = pytest.importorskip("av")


def picture(form: str = "PNG", array: np.ndarray = NOISE, mode: str | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    image = pillow.fromarray(array)
    (image.convert(mode) if mode else image).save(file, form, **options)
    return file.getvalue()


def bomb_png(width: int, height: int) -> bytes:
    def chunk(tag: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + tag + body + struct.pack(">I", zlib.crc32(tag + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def bomb_gif(width: int, height: int) -> bytes:
    data = bytearray(picture("GIF"))
    struct.pack_into("<HH", data, 6, width, height)
    return bytes(data)


def bomb_bmp(width: int, height: int) -> bytes:
    data = bytearray(picture("BMP"))
    struct.pack_into("<ii", data, 18, width, height)
    return bytes(data)


def bomb_webp(width: int, height: int) -> bytes:
    body = b"VP8X" + struct.pack("<I", 10) + b"\x02\0\0\0" + (width - 1).to_bytes(3, "little")
    body += (height - 1).to_bytes(3, "little") + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def bomb_tiff(width: int, height: int) -> bytes:
    data = bytearray(picture("TIFF"))
    at = struct.unpack_from("<I", data, 4)[0]
    for i in range(struct.unpack_from("<H", data, at)[0]):
        entry = at + 2 + 12 * i
        tag = struct.unpack_from("<H", data, entry)[0]
        if tag in (256, 257):
            struct.pack_into("<HII", data, entry + 2, 4, 1, width if tag == 256 else height)
    return bytes(data)


def declared_wav(seconds: float, held: bytes = b"\0" * 3200) -> bytes:
    size = int(32_000 * seconds)
    fields = (b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16, b"data", size)
    head = struct.pack("<4sI4s4sIHHIIHH4sI", *fields)
    return head + held


def float_wav(values: list[float]) -> bytes:
    body = np.array(values, "<f4").tobytes()
    fields = (b"RIFF", 36 + len(body), b"WAVE", b"fmt ", 16, 3, 1, 16_000, 64_000, 4, 32, b"data", len(body))
    head = struct.pack("<4sI4s4sIHHIIHH4sI", *fields)
    return head + body


def data_url(data: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(data).decode()


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(MediaError) as caught:
        call()
    return str(caught.value)


# What is refused, and in which words

SMALL = Limits(image_bytes=20_000, audio_bytes=100_000, video_bytes=150_000, audio_s=2.0, video_s=3.0)
TONE = wav(sine(16_000, 1.0, 1), 16_000)
SHORT_MP4 = mux("mp4", "libx264", "aac", n_frames=20)
BAD_FILES: dict[str, tuple[Callable, str, Callable[[], bytes], Limits, list[str]]] = {
    "an empty file": (Image.open, "x.png", lambda: b"", Limits(), ["empty", "PNG"]),
    "an empty sound file": (Audio.open, "x.wav", lambda: b"", Limits(), ["empty", "WAV"]),
    "text called .jpg": (Image.open, "x.jpg", lambda: b"hello there", Limits(), ["is text", "an image", "JPEG"]),
    "UTF-16 text": (Audio.open, "x.mp3", lambda: "hello".encode("utf-16"), Limits(), ["is text", "a sound", "MP3"]),
    "a document": (open_media, "x.png", lambda: b"%PDF-1.7\n1 0 obj", Limits(), ["PDF", "PNG", "JPEG"]),
    "an archive": (Video.open, "x.mp4", lambda: b"PK\x03\x04\x14\0\0\0", Limits(), ["ZIP", "a video", "MP4"]),
    "a web page": (Image.open, "x.png", lambda: b"<!DOCTYPE html><html>", Limits(), ["web page", "PNG"]),
    "a program": (Audio.open, "x.wav", lambda: b"\x7fELF\x02\x01\x01", Limits(), ["program", "WAV"]),
    "unknown bytes": (open_media, "x.bin", lambda: b"\x01\x02\x00\x99" * 50, Limits(), ["not known", "PNG"]),
    "a sound as image": (
        Image.open,
        "x.wav",
        lambda: TONE,
        Limits(),
        ["is a sound (WAV), not an image; pass it as audio"],
    ),
    "an image as sound": (Audio.open, "x.png", picture, Limits(), ["is an image (PNG), not a sound; pass it as image"]),
    "a sound as video": (
        Video.open,
        "x.wav",
        lambda: TONE,
        Limits(),
        ["is a sound (WAV), not a video; pass it as audio"],
    ),
    "a video as sound": (
        Audio.open,
        "x.mp4",
        lambda: mux("mp4", "mpeg4", n_frames=5),
        Limits(),
        ["a video without a sound track (MP4), not a sound; pass it as video"],
    ),
    "a sound-only MP4 as video": (
        Video.open,
        "x.mp4",
        lambda: mux("mp4", None, "aac"),
        Limits(),
        ["is a sound (MP4), not a video; pass it as audio"],
    ),
    "a large image file": (Image.open, "x.png", lambda: picture() + b"\0" * 20_000, SMALL, ["MB", "up to 0.0 MB"]),
    "a large sound file": (
        Audio.open,
        "x.wav",
        lambda: wav(sine(48_000, 1.5), 48_000),
        SMALL,
        ["0.3 MB", "up to 0.1 MB"],
    ),
    "a large video file": (
        Video.open,
        "x.mp4",
        lambda: SHORT_MP4 + b"\0" * 150_000,
        SMALL,
        ["0.2 MB", "MP4 up to 0.1"],
    ),
    "a PNG bomb": (
        Image.open,
        "x.png",
        lambda: bomb_png(50_000, 50_000),
        Limits(),
        ["2,500,000,000 px", "up to 178,956,970 px"],
    ),
    "a PNG above the limit": (
        Image.open,
        "x.png",
        lambda: bomb_png(900, 900),
        Limits(image_pixels=10_000),
        ["900 x 900 px", "10,000 px"],
    ),
    "a PNG that Pillow warns of": (
        Image.open,
        "x.png",
        lambda: bomb_png(10_000, 10_000),
        Limits(image_pixels=90_000_000),
        ["10,000 x 10,000 px"],
    ),
    "a GIF bomb": (
        Image.open,
        "x.gif",
        lambda: bomb_gif(50_000, 50_000),
        Limits(),
        ["px; accepted: images of up to 178,956,970 px"],
    ),
    "a BMP bomb": (
        Image.open,
        "x.bmp",
        lambda: bomb_bmp(50_000, 50_000),
        Limits(),
        ["px; accepted: images of up to 178,956,970 px"],
    ),
    "a WebP bomb": (Image.open, "x.webp", lambda: bomb_webp(16_383, 16_383), Limits(), ["px; accepted"]),
    "a TIFF bomb": (
        Image.open,
        "x.tif",
        lambda: bomb_tiff(50_000, 50_000),
        Limits(),
        ["px; accepted: images of up to 178,956,970 px"],
    ),
    "a HEIC that Pillow cannot read": (
        Image.open,
        "x.heic",
        lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        Limits(),
        ["HEIC", "JPEG"],
    ),
    "a damaged PNG": (
        Image.open,
        "x.png",
        lambda: picture()[:60] + b"\0" * 4000,
        Limits(),
        ["rows can be decoded", "whole files"],
    ),
    "a WAV of 0 samples": (
        Audio.open,
        "x.wav",
        lambda: wav(np.zeros((0, 1), np.int16), 16_000),
        Limits(),
        ["0 samples", "at least one"],
    ),
    "a WAV that declares 3 hours": (
        Audio.open,
        "x.wav",
        lambda: declared_wav(10_800),
        Limits(),
        ["lasts 10,800 s", "up to 600 s"],
    ),
    "a WAV cut short": (
        Audio.open,
        "x.wav",
        lambda: declared_wav(5),
        Limits(),
        ["cut short", "declares 5.0 s and holds 0.1 s", "whole files"],
    ),
    "a WAV with NaN": (Audio.open, "x.wav", lambda: float_wav([0.1, float("nan")] * 800), Limits(), ["NaN", "finite"]),
    "a WAV of junk": (
        Audio.open,
        "x.wav",
        lambda: b"RIFF\xff\xff\0\0WAVE" + b"\x07" * 500,
        Limits(),
        ["cannot be decoded", "accepted"],
    ),
    "a sound over the time limit": (
        Audio.open,
        "x.wav",
        lambda: wav(sine(8_000, 2.5, 1), 8_000),
        SMALL,
        ["lasts 2 s", "up to 2 s"],
    ),
    "a sound that decodes to too much": (
        Audio.open,
        "x.flac",
        lambda: mux("flac", None, "flac"),
        Limits(audio_decoded_bytes=100_000),
        ["MB of sound when decoded", "up to 0 MB"],
    ),
    "an MP3 of junk": (
        Audio.open,
        "x.mp3",
        lambda: b"ID3\x03\0\0\0\0\0\0" + b"\x55" * 5000,
        Limits(),
        ["cannot be decoded", "WAV"],
    ),
    "a video over the time limit": (
        Video.open,
        "x.mp4",
        lambda: mux("mp4", "mpeg4"),
        SMALL,
        ["lasts 5 s", "up to 3 s"],
    ),
    "a video without its index": (
        Video.open,
        "x.mp4",
        lambda: SHORT_MP4[: len(SHORT_MP4) // 2],
        Limits(),
        ["cannot be decoded", "MP4"],
    ),
    "an MKV cut short": (
        Video.open,
        "x.mkv",
        lambda: mux("matroska", "mjpeg")[:9_000],
        Limits(),
        ["cut short", "declares 5.0 s"],
    ),
    "a video of large frames": (
        Video.open,
        "x.mp4",
        lambda: SHORT_MP4,
        Limits(image_pixels=2_000),
        ["64 x 48 px", "up to 2,000 px"],
    ),
    "a video of junk": (
        open_media,
        "x.mkv",
        lambda: b"\x1a\x45\xdf\xa3" + b"\x42" * 3000,
        Limits(),
        ["MKV", "cannot be decoded"],
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_refused_file_gets_one_line_that_names_what_is_wrong_and_what_is_accepted(case: str, tmp_path: Path) -> None:
    open_it, name, make, limits, parts = BAD_FILES[case]
    file = tmp_path / name
    file.write_bytes(make())
    started = time.perf_counter()
    text = refusal(lambda: open_it(file, limits=limits))
    assert time.perf_counter() - started < 10
    assert "\n" not in text and len(text) < 400
    assert f"'{name}'" in text
    assert "accepted" in text
    assert str(tmp_path) not in text and "/" not in text.replace("/L", "")
    for part in parts:
        assert part in text


ZEROS = np.zeros((4, 4, 3), np.uint8)
BAD_VALUES: dict[str, tuple[Callable[[], object], list[str]]] = {
    "a web address": (
        lambda: Image.open("https://me:secret@example.com/deep/cat.png?key=1"),
        ["'cat.png' is a web address", "fetching is off", "download it first"],
    ),
    "a bare web address": (lambda: open_media("http://example.com"), ["web address", "download it first"]),
    "a file address": (lambda: Image.open("file:///etc/passwd"), ["'passwd'", "path"]),
    "nothing": (lambda: Image.open(None), ["NoneType", "a path, bytes"]),  # type: ignore[arg-type]
    "a number": (lambda: open_media(7), ["int is not a medium"]),  # type: ignore[arg-type]
    "empty bytes": (lambda: Image.open(b""), ["empty"]),
    "no name": (lambda: Image.open(""), ["there is no file 'unnamed'"]),
    "a null byte in a name": (lambda: Image.open("a\0b.png"), ["'a?b.png' cannot be read"]),
    "a very long name": (lambda: Image.open("x" * 5000), ["cannot be read"]),
    "a data URL without data": (lambda: Image.open("data:image/png;base64"), ["comma", "base64"]),
    "a data URL with broken base64": (lambda: Image.open("data:image/png;base64,####"), ["base64 is broken"]),
    "a data URL over the limit": (
        lambda: Image.open("data:,%41" + "%41" * 400_000, limits=SMALL),
        ["too long", "0.1 MB"],
    ),
    "a data URL of text": (lambda: Image.open("data:,hello"), ["is text"]),
    "an array of NaN": (lambda: Image.open(np.full((4, 4), np.nan)), ["NaN", "float in [0, 1]"]),
    "an array in 0..255 floats": (lambda: Image.open(np.full((4, 4), 200.0)), ["from 200 to 200"]),
    "an array of int64": (lambda: Image.open(np.zeros((4, 4), np.int64)), ["int64", "uint8"]),
    "an array with channels first": (lambda: Image.open(np.zeros((3, 8, 8), np.uint8)), ["[3, 8, 8]", "[H, W, 3]"]),
    "an array of no pixels": (lambda: Image.open(np.zeros((0, 5, 3), np.uint8)), ["5 x 0 px", "at least 1 x 1"]),
    "an array of too many pixels": (
        lambda: Image.open(ZEROS, limits=Limits(image_pixels=15)),
        ["4 x 4 px", "up to 15 px"],
    ),
    "a sound array without a rate": (lambda: Audio.open(np.zeros(100, np.float32)), ["None Hz", "rate_hz="]),
    "a sound array with rate 0": (lambda: Audio.open(np.zeros(100, np.float32), rate_hz=0), ["0 Hz"]),
    "a sound array of no samples": (lambda: Audio.open(np.zeros(0, np.float32), rate_hz=8000), ["0 samples"]),
    "a sound array of NaN": (lambda: Audio.open(np.full(9, np.nan), rate_hz=8000), ["NaN"]),
    "a sound array of infinity": (lambda: Audio.open(np.full(9, np.inf), rate_hz=8000), ["infinite"]),
    "a sound array in int16 scale as float": (lambda: Audio.open(np.full(9, 3000.0), rate_hz=8000), ["peak of 3000"]),
    "a sound array with channels first": (
        lambda: Audio.open(np.zeros((2, 800)), rate_hz=8000),
        ["[2, 800]", "transpose"],
    ),
    "a sound array of int64": (lambda: Audio.open(np.zeros(9, np.int64), rate_hz=8000), ["int64", "int16"]),
    "a sound array over the limit": (
        lambda: Audio.open(np.zeros(24_001), rate_hz=8000, limits=Limits(audio_s=3)),
        ["up to 3 s"],
    ),
    "a video array without a rate": (lambda: Video.open(np.zeros((2, 4, 4, 3), np.uint8)), ["None frames a second"]),
    "a video array of floats": (lambda: Video.open(np.zeros((2, 4, 4, 3)), rate_fps=1), ["float64", "uint8"]),
    "an array that may be anything": (lambda: open_media(np.zeros(100)), ["may be anything", "rate_hz"]),
}


@pytest.mark.parametrize("case", BAD_VALUES)
def test_refused_value_gets_one_line_that_names_what_is_wrong_and_what_is_accepted(case: str) -> None:
    call, parts = BAD_VALUES[case]
    text = refusal(call)
    assert "\n" not in text and len(text) < 400
    assert "accepted" in text
    assert "example.com" not in text and "secret" not in text and "/etc" not in text
    for part in parts:
        assert part in text


def test_missing_file_folder_and_pipe_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "album").mkdir()
    missing = refusal(lambda: Image.open(tmp_path / "gone.png"))
    folder = refusal(lambda: Image.open(str(tmp_path / "album") + "/"))
    assert missing.startswith("there is no file 'gone.png'; accepted: a file of PNG, JPEG")
    assert folder.startswith("'album' is a folder; accepted: a file of PNG, JPEG")
    assert str(tmp_path) not in missing + folder
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert "'pipe' is a device or pipe" in refusal(lambda: Image.open(tmp_path / "pipe"))


def test_names_are_base_names_on_one_line_whatever_the_system(tmp_path: Path) -> None:
    (tmp_path / "a\nb.png").write_bytes(picture())
    assert Image.open(tmp_path / "a\nb.png").name == "a?b.png"
    assert Image.open(picture(), name="C:\\Users\\me\\cat.png").name == "cat.png"
    assert Image.open(picture(), name="/home/me/cat.png").name == "cat.png"
    assert Image.open(picture()).name == "image"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_image_cut_short_is_refused(form: str, share: float) -> None:
    data = picture(form)
    text = refusal(lambda: Image.open(data[: int(len(data) * share)], name="x.img"))
    assert "cut short" in text and "accepted: whole" in text and "\n" not in text


def test_image_cut_short_is_refused_even_where_another_library_told_pillow_to_be_lenient(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert "cut short" in refusal(lambda: Image.open(picture("JPEG")[:1500]))
    assert ImageFile.LOAD_TRUNCATED_IMAGES


# Images


def test_kind_is_decided_by_content_not_by_name(tmp_path: Path) -> None:
    for form, content in {"PNG": picture(), "JPEG": picture("JPEG"), "WebP": picture("WEBP"), "WAV": TONE}.items():
        (tmp_path / "holiday.mp4").write_bytes(content)
        kind = "audio" if form == "WAV" else "image"
        assert kind_of(content) == (kind, form)
        assert open_media(tmp_path / "holiday.mp4").kind == kind
    assert kind_of(b"") is None and kind_of(b"BMW is a car maker") is None


def test_path_bytes_data_url_and_array_give_the_same_pixels(tmp_path: Path) -> None:
    data = picture()
    (tmp_path / "x.png").write_bytes(data)
    percent = "data:image/png," + urllib.parse.quote_from_bytes(data)
    sources = [tmp_path / "x.png", str(tmp_path / "x.png"), data, bytearray(data), data_url(data), percent, NOISE]
    for source in sources:
        image = Image.open(source)  # type: ignore[arg-type]
        assert np.array_equal(image.pixels, NOISE)
        assert (image.width, image.height, image.kind) == (64, 48, "image")
    assert np.array_equal(np.asarray(Image.open(NOISE).to_pil()), NOISE)


def test_data_url_may_be_folded_unpadded_and_percent_encoded() -> None:
    coded = base64.b64encode(picture()).decode().rstrip("=")
    assert np.array_equal(Image.open("DATA:image/png;base64," + coded[:40] + "\n " + coded[40:]).pixels, NOISE)
    assert np.array_equal(Image.open("data:;base64," + urllib.parse.quote(coded, safe="")).pixels, NOISE)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_rotation_stands_the_image_upright(orientation: int, form: str) -> None:
    upright = np.zeros((24, 40, 3), np.uint8)
    upright[:12, :20], upright[:12, 20:], upright[12:, :20] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    # How a camera stores the upright image, by the definition of EXIF tag 0x0112.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = pillow.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95, "subsampling": 0} if form == "JPEG" else {"lossless": True} if form == "WEBP" else {}
    seen = Image.open(picture(form, np.ascontiguousarray(stored), exif=exif, **options)).pixels
    assert seen.shape == upright.shape
    assert np.abs(seen.astype(int) - upright).mean() < 3


def test_transparency_is_laid_on_white() -> None:
    rgba = np.zeros((2, 2, 4), np.uint8)
    rgba[..., 0] = 200
    rgba[0, 0, 3], rgba[0, 1, 3], rgba[1, :, 3] = 255, 0, 51  # opaque, clear, a fifth
    expected = [[[200, 0, 0], [255, 255, 255]], [[244, 204, 204], [244, 204, 204]]]
    for source in (rgba, picture("PNG", rgba), picture("WEBP", rgba, lossless=True, exact=True), picture("TIFF", rgba)):
        assert np.abs(Image.open(source).pixels.astype(int) - expected).max() <= 1
    palette = pillow.fromarray(np.array([[0, 1]], np.uint8), "L").convert("P")
    file = io.BytesIO()
    palette.save(file, "PNG", transparency=1)
    assert Image.open(file.getvalue()).pixels.tolist() == [[[0, 0, 0], [255, 255, 255]]]
    grey_alpha = picture("PNG", np.array([[[100, 255], [100, 0]]], np.uint8))
    assert Image.open(grey_alpha).pixels.tolist() == [[[100] * 3, [255] * 3]]


def test_every_pixel_type_becomes_8_bit_rgb() -> None:
    grey = np.array([[0, 128, 255]], np.uint8)
    three = [[[0] * 3, [128] * 3, [255] * 3]]
    deep = np.array([[0, 128 * 257, 65535]], np.uint16)
    assert Image.open(picture("PNG", grey)).pixels.tolist() == three
    assert Image.open(picture("PNG", deep)).pixels.tolist() == three
    assert Image.open(picture("TIFF", deep)).pixels.tolist() == three
    assert Image.open(picture("GIF", grey)).pixels.tolist() == three
    for array in (grey, deep, grey[..., None], grey / 255, (grey / 255).astype(np.float32)):
        assert Image.open(array).pixels.tolist() == three
    assert Image.open(np.array([[True, False]])).pixels.tolist() == [[[255] * 3, [0] * 3]]
    assert Image.open(picture("PNG", grey, "1")).pixels[0, 0].tolist() == [0, 0, 0]
    red = np.full((8, 8, 3), (250, 10, 10), np.uint8)
    assert np.abs(Image.open(picture("JPEG", red, "CMYK")).pixels.astype(int) - red).max() < 8
    for image in (Image.open(grey), Image.open(picture("PNG", deep))):
        assert image.pixels.dtype == np.uint8 and image.pixels.shape == (1, 3, 3)


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(form: str) -> None:
    red, blue = (pillow.new("RGB", (20, 10), colour) for colour in ("red", "blue"))
    file = io.BytesIO()
    options = {"lossless": True} if form == "WEBP" else {}
    red.save(file, form, save_all=True, append_images=[blue] * 3, duration=100, **options)
    image = open_media(file.getvalue())
    assert isinstance(image, Image)
    assert np.array_equal(image.pixels, np.asarray(red))


def test_webp_size_is_read_from_every_kind_of_header() -> None:
    for options in ({"lossless": True}, {"quality": 80}, {"quality": 80, "exif": b"Exif\0\0"}):
        data = picture("WEBP", **options)
        assert "has 64 x 48 px" in refusal(lambda data=data: Image.open(data, limits=Limits(image_pixels=3071)))
        assert Image.open(data, limits=Limits(image_pixels=3072)).width == 64


def test_large_image_within_the_limit_is_taken_without_a_warning() -> None:
    wide = pillow.new("1", (10_000, 9_000))  # over the 89 million px from which Pillow warns
    file = io.BytesIO()
    wide.save(file, "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Image.open(file.getvalue()).pixels.shape == (9_000, 10_000, 3)


def test_sha256_is_that_of_the_encoded_bytes_whatever_the_name(tmp_path: Path) -> None:
    for data, open_it in ((picture(), Image.open), (TONE, Audio.open), (SHORT_MP4, Video.open)):
        (tmp_path / "one").write_bytes(data)
        (tmp_path / "two").write_bytes(data)
        one, two = open_it(tmp_path / "one"), open_it(tmp_path / "two")
        assert one.sha256 == two.sha256 == hashlib.sha256(data).hexdigest()
        assert (one.name, two.name) == ("one", "two")


def test_arrays_of_other_shape_or_rate_have_other_hashes() -> None:
    zeros = np.zeros((2, 3, 3), np.uint8)
    assert Image.open(zeros).sha256 == Image.open(zeros.copy()).sha256
    assert Image.open(zeros).sha256 != Image.open(zeros.transpose(1, 0, 2)).sha256
    tone = np.zeros(800, np.float32)
    assert Audio.open(tone, rate_hz=8000).sha256 != Audio.open(tone, rate_hz=16_000).sha256


# Sound


def test_440_hz_stereo_at_44100_hz_stays_440_hz_at_16000_hz_with_its_amplitude() -> None:
    tone = sine(44_100, 2.0)
    for audio in (Audio.open(wav(tone, 44_100)), Audio.open(tone, rate_hz=44_100)):
        assert audio.samples.dtype == np.float32 and audio.samples.ndim == 1
        assert audio.duration_s == pytest.approx(2.0, abs=0.005)
        assert pitch_hz(audio.samples) == pytest.approx(440, abs=0.6)
        assert peak(audio.samples) == pytest.approx(0.5, abs=0.005)


def test_a_tone_above_8000_hz_is_filtered_out_not_folded_down() -> None:
    tone = sine(44_100, 1.0, hz=12_000)
    for audio in (Audio.open(wav(tone, 44_100)), Audio.open(tone, rate_hz=44_100)):
        assert peak(audio.samples) < 0.005


@pytest.mark.parametrize(
    "container, codec",
    [
        ("flac", "flac"),
        ("ogg", "vorbis"),
        ("ogg", "libopus"),
        ("mp3", "libmp3lame"),
        ("ipod", "aac"),
        ("adts", "aac"),
        ("webm", "libopus"),
        ("matroska", "pcm_s16le"),
        ("aiff", "pcm_s16be"),
    ],
)
def test_every_accepted_sound_format_keeps_pitch_amplitude_and_length(container: str, codec: str) -> None:
    audio = open_media(mux(container, None, codec, n_frames=20), name="x")
    assert isinstance(audio, Audio)
    assert audio.duration_s == pytest.approx(2.0, abs=0.1)
    assert pitch_hz(audio.samples) == pytest.approx(440, abs=1)
    assert peak(audio.samples) == pytest.approx(0.5, abs=0.03)


def test_integer_and_float_arrays_of_the_same_sound_give_the_same_samples() -> None:
    whole = np.array([-128, -64, 0, 64, 127], np.int16)
    expected = whole / 128
    for array in ((whole + 128).astype(np.uint8), whole * 256, whole.astype(np.int32) * 2**24, expected):
        assert np.allclose(Audio.open(array, rate_hz=16_000).samples, expected, atol=1e-6)


def test_channels_are_averaged() -> None:
    tone = sine(16_000, 1.0, 2)
    tone[:, 1] = 0
    for audio in (Audio.open(wav(tone, 16_000)), Audio.open(tone, rate_hz=16_000)):
        assert peak(audio.samples) == pytest.approx(0.25, abs=0.002)


def test_silence_is_a_sound() -> None:
    silence = Audio.open(wav(np.zeros((8000, 1), np.int16), 8000))
    assert silence.duration_s == pytest.approx(1.0, abs=0.005) and not silence.samples.any()


def test_wav_that_leaves_its_length_open_is_taken_whole() -> None:
    data = bytearray(declared_wav(1, b"\1\0" * 8000))
    struct.pack_into("<I", data, 40, 0xFFFFFFFF)
    assert Audio.open(bytes(data)).duration_s == pytest.approx(0.5, abs=0.005)


def test_tags_that_are_not_utf8_do_no_harm() -> None:
    file = io.BytesIO()
    with av.open(file, "w", format="flac") as box:
        box.metadata["title"] = "Cafe"
        sound = box.add_stream("flac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sine(16_000, 0.2, 1).reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate = 16_000
        box.mux(sound.encode(frame))
        box.mux(sound.encode(None))
    assert open_media(file.getvalue().replace(b"Cafe", b"Caf\xe9")).kind == "audio"


def test_cover_art_does_not_make_a_song_a_video() -> None:
    song = mux("mp3", None, "libmp3lame", n_frames=10, cover=True)
    assert open_media(song).kind == "audio"


# Video


@pytest.mark.parametrize(
    "container, codec, sound",
    [
        ("mp4", "libx264", "aac"),
        ("mp4", "mpeg4", "aac"),
        ("mov", "libx264", "aac"),
        ("webm", "libvpx", "libopus"),
        ("matroska", "libx264", "vorbis"),
        ("matroska", "mjpeg", "flac"),
        ("avi", "mpeg4", "libmp3lame"),
    ],
)
def test_frames_are_evenly_spaced_and_those_of_their_time_and_the_sound_is_found(
    container: str, codec: str, sound: str
) -> None:
    video = open_media(mux(container, codec, sound))  # 50 frames, 10 a second; frame i has grey level 4 i
    assert isinstance(video, Video) and len(video.frames) == len(video.times_s) == 16
    assert video.duration_s == pytest.approx(5.0, abs=0.2)
    off_s = 0.21 if container == "avi" else 0.11  # FFmpeg's AVI writer leaves a hole after the first frame
    for i, (frame, time_s) in enumerate(zip(video.frames, video.times_s, strict=True)):
        assert frame.pixels.shape == (48, 64, 3)
        assert time_s == pytest.approx((i + 0.5) * 5 / 16, abs=off_s)
        assert frame.pixels[30:, 40:].mean() == pytest.approx(40 * time_s, abs=8)
        assert frame.name == f"media at {time_s:.2f} s"
    assert video.audio is not None
    assert pitch_hz(video.audio.samples) == pytest.approx(440, abs=1)
    assert video.audio.duration_s == pytest.approx(5.0, abs=0.15)


def test_video_shorter_than_the_frame_limit_gives_every_frame_and_no_sound_gives_none() -> None:
    video = Video.open(mux("mp4", "libx264", n_frames=7))
    assert video.times_s == pytest.approx([i / 10 for i in range(7)])
    assert video.audio is None
    assert len(Video.open(mux("mp4", "libx264", n_frames=1)).frames) == 1


def test_frame_limits_hold() -> None:
    data = mux("mp4", "libx264")
    assert len(Video.open(data, limits=Limits(video_frames=3)).frames) == 3
    assert len(Video.open(data, limits=Limits(image_pixels=5 * 64 * 48)).frames) == 5


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_of_a_phone_video_is_undone(degrees: int) -> None:
    data = mux("mp4", "libx264", n_frames=3)
    turns = {90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}[degrees]  # clockwise, when shown
    old = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 0x40000000)
    a, b, c, d = (65536 * turn for turn in turns)
    at = data.index(old, data.index(b"tkhd"))
    turned = data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000) + data[at + 36 :]
    flat, upright = (Video.open(d).frames[0].pixels for d in (data, turned))
    assert np.array_equal(upright, np.rot90(flat, -degrees // 90))


def test_array_video_gives_the_frames_in_the_middle_of_equal_stretches() -> None:
    clip = np.arange(32, dtype=np.uint8)[:, None, None, None] * np.ones((1, 4, 6, 3), np.uint8)
    video = Video.open(clip, rate_fps=8)
    assert [int(frame.pixels[0, 0, 0]) for frame in video.frames] == list(range(1, 32, 2))
    assert video.times_s == [i / 8 for i in range(1, 32, 2)]
    assert (video.duration_s, video.audio) == (4.0, None)


# The decoder's process


def child(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(decoder, "command", lambda: [sys.executable, "-c", code])


def test_decoder_that_hangs_is_killed_at_the_limit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child(
        monkeypatch,
        f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)",
    )
    started = time.perf_counter()
    text = refusal(lambda: Audio.open(TONE, name="x.wav", limits=Limits(decode_s=1.5)))
    assert time.perf_counter() - started < 10
    assert text.startswith("'x.wav' took longer than the accepted 1.5 s to decode and was stopped")
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


@pytest.mark.parametrize("code, part", [
    ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashed the WAV decoder (SIGSEGV)"),
    ("import os; os.abort()", "crashed the WAV decoder (SIGABRT)"),
    ("raise SystemExit(3)", "stopped the WAV decoder (exit 3)"),
    ("print('no JSON')", "stopped the WAV decoder (exit 0)"),
])  # fmt: skip
def test_decoder_that_crashes_is_a_refusal(monkeypatch: pytest.MonkeyPatch, code: str, part: str) -> None:
    child(monkeypatch, code)
    text = refusal(lambda: Audio.open(TONE, name="x.wav"))
    assert text.startswith(f"'x.wav' {part}") and "re-encode it" in text and "\n" not in text


def test_decoder_cannot_take_more_memory_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resource")
    if sys.platform == "darwin":
        pytest.skip("macOS has no bound on address space")
    code = "import sys; sys.path.append(sys.argv[1]); from experts.media import decoder as d; "
    code += "d._decode = lambda *a: bytes(4 << 30); d.serve()"
    monkeypatch.setattr(
        decoder, "command", lambda: [sys.executable, "-c", code, str(Path(decoder.__file__).parents[2])]
    )
    assert "'x.wav' needs more memory to decode" in refusal(lambda: Audio.open(TONE, name="x.wav"))


def test_decoder_starts_fast_and_without_torch() -> None:
    import subprocess

    code = "import sys; sys.path.append(sys.argv[1]); import experts.media.decode, av; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, str(Path(decoder.__file__).parents[2])], capture_output=True)
    assert run.stdout.split() == [b"False"]


def test_playlist_cannot_reach_other_files(tmp_path: Path) -> None:
    (tmp_path / "secret.wav").write_bytes(TONE)
    (tmp_path / "list.mp3").write_text("ffconcat version 1.0\nfile secret.wav\n")
    (tmp_path / "list.wav").write_text("#EXTM3U\n#EXTINF:1,\nsecret.wav\n")
    for name in ("list.mp3", "list.wav"):
        assert "is text, not a sound" in refusal(lambda name=name: Audio.open(tmp_path / name))


# Clocks, channels, tracks and shapes as phones and editors write them
