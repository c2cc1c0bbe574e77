"""Drawing: backgrounds, shapes and signs, and where a piece may stand."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageEnhance
import PIL.ImageFilter
import PIL.ImageFont

from experts.evidence.colours import ANCHORS, to_lab

SIDE_PX = 320  # of a scene


@functools.lru_cache(maxsize=1024)
def open_cutout(path: str) -> PIL.Image.Image:
    """A cut-out as RGBA; kept in memory, so do not change it."""
    return PIL.Image.open(path).convert("RGBA")


@functools.lru_cache(maxsize=64)
def _open_photo(path: Path) -> PIL.Image.Image:
    return PIL.Image.open(path).convert("RGB")


def crop_backdrop(rng: np.random.Generator, files: Sequence[Path]) -> PIL.Image.Image:
    """A square part of one of the photographs, 0.35 to all of its shorter side, SIDE_PX large."""
    photo = _open_photo(files[int(rng.integers(len(files)))])
    side = int(min(photo.size) * rng.uniform(0.35, 1.0))
    x, y = (int(rng.integers(0, length - side + 1)) for length in photo.size)
    part = photo.resize((SIDE_PX, SIDE_PX), PIL.Image.Resampling.BICUBIC, box=(x, y, x + side, y + side))
    return part.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part


def vary(rng: np.random.Generator, piece: PIL.Image.Image) -> PIL.Image.Image:
    """A cut-out [RGBA] as another hand, lens or light would show it: its colours keep their names.

    Stretched and sheared, brighter or darker, paler or stronger, blurred, coarsened, partly covered: each now and then.
    """
    if rng.random() < 0.5:
        stretch, shear = rng.uniform(0.75, 1.3), rng.uniform(-0.25, 0.25)
        width, height = piece.size
        wide = int(width * stretch + abs(shear) * height)
        matrix = (1 / stretch, shear / stretch, -max(shear, 0.0) * height / stretch, 0, 1, 0)
        piece = piece.transform((wide, height), PIL.Image.Transform.AFFINE, matrix, PIL.Image.Resampling.BICUBIC)
    alpha, flat = piece.getchannel("A"), piece.convert("RGB")
    for enhance, low, high in (
        (PIL.ImageEnhance.Brightness, 0.8, 1.2),
        (PIL.ImageEnhance.Contrast, 0.7, 1.3),
        (PIL.ImageEnhance.Color, 0.6, 1.4),
    ):
        if rng.random() < 0.4:
            flat = enhance(flat).enhance(float(rng.uniform(low, high)))
    if rng.random() < 0.2:
        flat = flat.filter(PIL.ImageFilter.GaussianBlur(float(rng.uniform(0.5, 2.0))))
    if rng.random() < 0.15:
        small = max(24, int(max(flat.size) * rng.uniform(0.25, 0.5)))
        coarse = flat.resize((small, max(1, small * flat.height // flat.width)), PIL.Image.Resampling.BILINEAR)
        flat = coarse.resize(flat.size, PIL.Image.Resampling.BICUBIC)
    if rng.random() < 0.1:
        flat = flat.quantize(int(rng.integers(4, 12))).convert("RGB")
    if rng.random() < 0.2:
        width, height = flat.size
        covered = (int(width * rng.uniform(0.15, 0.4)), int(height * rng.uniform(0.15, 0.4)))
        x, y = int(rng.integers(0, width - covered[0])), int(rng.integers(0, height - covered[1]))
        alpha.paste(0, (x, y, x + covered[0], y + covered[1]))
    return PIL.Image.merge("RGBA", (*flat.split(), alpha))


def tint(rng: np.random.Generator, word: str, canvas: PIL.Image.Image) -> tuple[int, int, int]:
    """A colour that the word names, away from the background's."""
    ground = to_lab(np.asarray(canvas.resize((1, 1))))[0, 0]
    choices = [np.clip(np.array(a) + rng.integers(-12, 13, 3), 0, 255) for a in ANCHORS[word] for _ in range(2)]
    far = [c for c in choices if np.linalg.norm(to_lab(c) - ground) > 22]
    return tuple(int(v) for v in (far or choices)[int(rng.integers(len(far or choices)))])  # type: ignore[return-value]


def draw_shape(rng: np.random.Generator, name: str, colour: tuple[int, int, int], side: int) -> PIL.Image.Image:
    """A filled shape, drawn four times larger and reduced for smooth edges."""
    big = 4 * side
    piece = PIL.Image.new("RGBA", (big, big))
    draw = PIL.ImageDraw.Draw(piece)
    if name == "circle":
        draw.ellipse((0, 0, big - 1, big - 1), fill=colour)
    elif name == "rectangle":
        short = int(big * rng.uniform(0.4, 0.7))
        draw.rectangle((0, 0, big - 1, short) if rng.random() < 0.5 else (0, 0, short, big - 1), fill=colour)
    elif name == "square":
        draw.rectangle((0, 0, big - 1, big - 1), fill=colour)
    else:
        corners = 3 if name == "triangle" else 10
        points = []
        for corner in range(corners):
            reach = 0.21 if name == "star" and corner % 2 else 0.5
            turned = math.tau * (corner / corners)
            points.append((big * (0.5 + reach * math.sin(turned)), big * (0.5 - reach * math.cos(turned))))
        draw.polygon(points, fill=colour)
    turn = 360 if name == "triangle" else 20
    piece = piece.rotate(float(rng.uniform(-turn / 2, turn / 2)), PIL.Image.Resampling.BICUBIC, expand=True)
    return piece.resize((piece.width // 4, piece.height // 4), PIL.Image.Resampling.LANCZOS)


def draw_sign(rng: np.random.Generator, word: str, side: int) -> PIL.Image.Image:
    """A word on a plate `side` wide."""
    dark = tuple(int(v) for v in rng.integers(0, 70, 3))
    light = tuple(int(v) for v in rng.integers(215, 256, 3))
    ink, plate = (dark, light) if rng.random() < 0.6 else (light, dark)
    font = PIL.ImageFont.load_default(size=60)
    text = word.upper() if rng.random() < 0.5 else word
    box = font.getbbox(text)
    piece = PIL.Image.new("RGBA", (int(box[2] + 48), 110), (*plate, 255))
    PIL.ImageDraw.Draw(piece).text((24, 14), text, fill=ink, font=font)
    height = max(24, int(piece.height * side / piece.width))
    return piece.resize((side, min(height, side)), PIL.Image.Resampling.LANCZOS)


def place(
    rng: np.random.Generator, size: tuple[int, int], taken: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int] | None:
    """A box of `size` inside the picture, clear of the others and with its centre clearly within one ninth."""
    width, height = size
    if width >= SIDE_PX or height >= SIDE_PX:
        return None
    for _ in range(60):
        x, y = int(rng.integers(0, SIDE_PX - width)), int(rng.integers(0, SIDE_PX - height))
        box = (x, y, x + width, y + height)
        centre = ((x + width / 2) / SIDE_PX, (y + height / 2) / SIDE_PX)
        if any(abs(at - edge) < 0.04 for at in centre for edge in (1 / 3, 2 / 3)):
            continue
        if all(_apart(box, other) for other in taken):
            return box
    return None


def within(rng: np.random.Generator, piece: PIL.Image.Image) -> PIL.Image.Image:
    """A part of `piece` that the picture can hold; from somewhere in it, where it is larger."""
    room = SIDE_PX - 2
    x, y = (int(rng.integers(0, max(side - room, 0) + 1)) for side in piece.size)
    return piece.crop((x, y, x + min(room, piece.width), y + min(room, piece.height)))


def _apart(a: tuple[int, int, int, int], b: tuple[int, int, int, int], gap: int = 2) -> bool:
    return a[2] + gap <= b[0] or b[2] + gap <= a[0] or a[3] + gap <= b[1] or b[3] + gap <= a[1]


def draw_background(rng: np.random.Generator, family: str, pale: bool) -> PIL.Image.Image:
    """A background of one of the families of connector.data.pictures.scenes.BACKGROUNDS."""
    low, high = (200, 256) if pale else (110, 246)
    one, two = (rng.integers(low, high, 3).astype(float) for _ in range(2))
    axis = np.linspace(0, 1, SIDE_PX)
    y, x = np.meshgrid(axis, axis, indexing="ij")
    if family == "plain":
        blend = np.zeros_like(x)
    elif family == "vertical":
        blend = y
    elif family == "horizon":
        blend = (y > rng.uniform(0.35, 0.7)).astype(float)
    elif family == "diagonal":
        blend = (x + y) / 2
    elif family == "radial":
        blend = np.clip(np.hypot(x - rng.uniform(), y - rng.uniform()), 0, 1)
    elif family == "stripes":
        angle = rng.uniform(0, 3)
        along = x * math.cos(angle) + y * math.sin(angle)
        blend = 0.5 + 0.5 * np.sign(np.sin(math.tau * along * rng.integers(4, 9)))
        two = one + (two - one) * 0.35
    else:
        cells = {"clouds": 5, "coarse clouds": 3, "fine clouds": 11}[family]
        noise = PIL.Image.fromarray((rng.random((cells, cells)) * 255).astype(np.uint8))
        blend = np.asarray(noise.resize((SIDE_PX, SIDE_PX), PIL.Image.Resampling.BICUBIC), float) / 255
    pixels = one + (two - one) * blend[..., None]
    if family != "plain" or not pale:
        pixels = pixels + rng.normal(0, 3, (SIDE_PX, SIDE_PX, 1))
    return PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
