"""Image files as phones, scanners, messengers and offices write them: read, with a word on what was not, or refused."""

from __future__ import annotations

import contextlib
import io
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL.Image as pillow
import pytest
from PIL import ImageDraw, ImageFont

from experts.config import Limits
from experts.errors import MediaError
from experts.media import Image

SIZE = (120, 80)


def scene(mode: str = "RGB") -> pillow.Image:
    """A red left half and a blue right half, darker below, so that turning shows."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    pixels[:, :60, 0], pixels[:, 60:, 2] = 255, 255
    pixels[40:] //= 2
    return pillow.fromarray(pixels).convert(mode)


def saved(picture: pillow.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(kind: bytes, data: bytes, *, wrong_sum: bool = False) -> bytes:
    """A PNG of the scene with one more chunk behind its header."""
    png, more = saved(scene(), "PNG"), chunk(kind, data)
    more = more[:-4] + b"\0\0\0\0" if wrong_sum else more
    return png[:33] + more + png[33:]


def exif(orientation: Any, kind: int = 3, count: int = 1) -> bytes:
    """An EXIF block of one tag, the orientation, written as `kind` with `count` values."""
    value = struct.pack("<HH", orientation, 0) if isinstance(orientation, int) else orientation
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHI", 0x112, kind, count) + value + b"\0\0\0\0"


def like(image: Image, other: pillow.Image, within: int = 40) -> bool:
    want = np.asarray(other.convert("RGB")).astype(int)
    return image.pixels.shape == want.shape and float(np.abs(image.pixels.astype(int) - want).mean()) < within / 4


@pytest.mark.parametrize(
    "data",
    [
        lambda: with_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 5_000_000)),
        lambda: with_chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
        lambda: with_chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"no profile at all")),
        lambda: with_chunk(b"iCCP", b"profile\0\0" + b"\xff" * 40),
        lambda: with_chunk(b"eXIf", b"II*\0 no block"),
        lambda: with_chunk(b"tEXt", b"Comment\0hello", wrong_sum=True),
        lambda: saved(scene(), "PNG") + b"trailing bytes of a messenger" * 50,
        lambda: saved(scene(), "BMP"),
        lambda: saved(scene("P"), "GIF"),
        lambda: saved(scene(), "WEBP", lossless=True),
        lambda: saved(scene(), "TIFF", compression="tiff_lzw"),
        lambda: saved(scene(), "TGA"),
        lambda: saved(scene(), "PCX"),
        lambda: saved(scene(), "PPM"),
        lambda: saved(scene(), "JPEG2000"),
    ],
)
def test_what_other_programs_show_is_read(data: Callable[[], bytes]) -> None:
    assert like(Image.open(data()), scene())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_stands_upright_in_every_valid_orientation(orientation: int) -> None:
    from PIL import ImageOps

    data = saved(scene(), "JPEG", quality=95, exif=exif(orientation)[6:])
    want = ImageOps.exif_transpose(pillow.open(io.BytesIO(data)))
    assert like(Image.open(data), want)


@pytest.mark.parametrize(
    "block",
    [b"", b"Exif\0\0", b"Exif\0\0II*\0", b"Exif\0\0junk" * 9, exif(0), exif(9), exif(65535), exif(3)[:-9]],
    ids=["empty", "no header", "cut header", "junk", "0", "9", "65535", "cut"],
)
def test_an_odd_exif_block_never_costs_the_picture(block: bytes) -> None:
    jpeg = saved(scene(), "JPEG", quality=95)
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    image = Image.open(jpeg[:2] + segment + jpeg[2:])
    assert image.pixels.shape == (SIZE[1], SIZE[0], 3)
    assert all("\n" not in note and len(note) < 200 for note in image.notes)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_deep_png_pixels_are_read_with_their_upper_bits(channels: int) -> None:
    """PNG of 16 bits a channel, written here by hand: gray, gray with alpha, colour, colour with alpha."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = np.zeros((8, 8, channels), ">u2")
    rows[..., 0] = 0xC0FF
    if channels in (2, 4):
        rows[..., -1] = 0xFFFF
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", 8, 8, 16, kind, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    pixels = Image.open(data).pixels
    assert pixels.dtype == np.uint8 and abs(int(pixels[0, 0, 0]) - 0xC0) <= 2


@pytest.mark.parametrize("ink", ["white", "black"])
def test_letters_on_nothing_are_laid_on_what_shows_them(ink: str) -> None:
    """White letters on a transparent ground were laid on white once, and vanished."""
    picture = pillow.new("RGBA", (200, 60), (0, 0, 0, 0))
    ImageDraw.Draw(picture).text((20, 10), "OPEN", fill=ink, font=ImageFont.load_default(30))
    image = Image.open(saved(picture, "PNG"))
    assert image.pixels.std() > 30
    assert any("transparent" in note for note in image.notes)


@pytest.mark.parametrize(("form", "noun"), [("TIFF", "page"), ("GIF", "frame"), ("PNG", "frame"), ("WEBP", "frame")])
def test_all_pages_and_frames_of_a_file_are_there_and_told(form: str, noun: str) -> None:
    views = [pillow.new("RGB", (40, 30), colour) for colour in ("red", "lime", "blue")]
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    data = saved(views[0], form, save_all=True, append_images=views[1:], **options)
    image = Image.open(data)
    assert image.pages == 3 and len(image.frames) == 2
    assert [np.asarray(view.pixels)[0, 0].argmax() for view in (image, *image.frames)] == [0, 1, 2]
    assert any(noun in note and "3" in note for note in image.notes)
    assert Image.open(data, page=2).pixels[0, 0].argmax() == 1


def test_of_many_pages_some_are_opened_evenly_and_that_is_told() -> None:
    views = [pillow.new("L", (8, 8), 2 * n) for n in range(40)]
    image = Image.open(saved(views[0], "TIFF", save_all=True, append_images=views[1:]))
    assert image.pages == 40 and 1 + len(image.frames) == Limits().image_frames
    assert any("40" in note for note in image.notes)
    with pytest.raises(MediaError, match="40"):
        Image.open(saved(views[0], "TIFF", save_all=True, append_images=views[1:]), page=41)


def test_a_photo_cut_near_its_end_is_shown_and_one_cut_early_is_refused() -> None:
    noise = pillow.fromarray(np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8))
    data = saved(noise, "JPEG", quality=80)
    image = Image.open(data[: int(len(data) * 0.97)])
    assert image.pixels.shape == (200, 200, 3) and any("cut short" in note for note in image.notes)
    with pytest.raises(MediaError, match="cut short"):
        Image.open(data[: len(data) // 2])


@pytest.mark.parametrize(
    ("data", "package"),
    [(b"%PDF-1.7\n1 0 obj", "pypdfium2"), (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "resvg_py")],
)
def test_a_format_of_an_extra_names_it_where_it_is_missing(
    data: bytes, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    with pytest.raises(MediaError, match=rf"needs the package '{package}'; pip install 'duet\[files\]'"):
        Image.open(data)


def test_a_drawing_and_a_document_are_drawn() -> None:
    pytest.importorskip("resvg_py")
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' width='60' height='40'>%s</svg>"
    svg %= b"<rect width='60' height='40' fill='#f00'/>"
    assert Image.open(svg).pixels[10, 10].tolist() == [255, 0, 0]
    pytest.importorskip("pypdfium2")
    pages = [pillow.new("RGB", (60, 40), colour) for colour in ("red", "blue")]
    image = Image.open(saved(pages[0], "PDF", save_all=True, append_images=pages[1:]))
    assert image.pages == 2 and image.pixels[5, 5].argmax() == 0 and image.frames[0].pixels[5, 5].argmax() == 2


def bombs() -> dict[str, bytes]:
    """Small files that ask for much."""
    huge = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return {
        "pixels": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", huge) + chunk(b"IDAT", b"") + chunk(b"IEND", b""),
        "a profile that inflates": with_chunk(b"iCCP", b"p\0\0" + zlib.compress(b"\0" * 200_000_000, 9)),
        "text that inflates": with_chunk(b"zTXt", b"c\0\0" + zlib.compress(b"\0" * 200_000_000, 9)),
        "a wide drawing": b"<svg xmlns='http://www.w3.org/2000/svg' width='99999999' height='99999999'></svg>",
        "entities": b"<!DOCTYPE svg [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>"
        b"<!ENTITY c '&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;'>]><svg xmlns='http://www.w3.org/2000/svg'><text>&c;</text></svg>",
        "a TIFF of a billion pixels": b"II*\0\x08\0\0\0\x02\0"
        + struct.pack("<HHII", 256, 4, 1, 90_000) + struct.pack("<HHII", 257, 4, 1, 90_000) + b"\0\0\0\0",
    }  # fmt: skip


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_or_harmless_at_once(name: str) -> None:
    import resource

    data, begun, before = bombs()[name], time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        image = Image.open(data)
        assert image.width * image.height <= 8_000_000
    except MediaError as error:
        assert "\n" not in str(error)
    assert time.process_time() - begun < 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10  # KiB


def test_what_a_library_dislikes_of_a_file_is_not_written_to_the_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = io.BytesIO()
    scene().save(file, "TIFF", compression="tiff_lzw")
    data = bytearray(file.getvalue())
    for at in range(60, 400, 3):
        data[at] ^= 0x5A
    with contextlib.suppress(MediaError):
        Image.open(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_mutated_files_are_read_or_refused_in_one_line() -> None:
    rng = np.random.default_rng(0)
    seeds = [
        saved(scene(), "PNG"), saved(scene(), "JPEG"), saved(scene("P"), "GIF"), saved(scene(), "WEBP"),
        saved(scene(), "TIFF"), saved(scene(), "BMP"), with_chunk(b"eXIf", exif(6)[6:]),
    ]  # fmt: skip
    for number in range(140):
        data = bytearray(seeds[number % len(seeds)])
        for _ in range(int(rng.integers(1, 12))):
            data[int(rng.integers(len(data)))] = int(rng.integers(256))
        data = data[: int(rng.integers(len(data) // 2, len(data) + 1))]
        try:
            Image.open(bytes(data), limits=Limits(image_pixels=4_000_000), name="x")
        except MediaError as error:
            assert (
                "\n" not in str(error) and "Traceback" not in str(error) and "/" not in str(error).split("accepted")[0]
            )
