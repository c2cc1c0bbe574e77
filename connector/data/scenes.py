"""Scenes: real cut-outs, pictograms, shapes and words composed on varied backgrounds, so that the truth is known.

The same seed gives the same bytes. Splits differ in cut-outs and in backgrounds, not only in seeds.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from connector.data.colours import ANCHORS, COLOURS, to_lab
from connector.data.cutouts import SPLITS, Cutout, load_cutouts

SIDE_PX = 320
SHAPES = ("circle", "rectangle", "triangle", "square", "star")
WORDS = tuple(
    "open closed exit taxi hotel cafe stop sale free menu pizza bank park shop bus milk fresh danger hello welcome "
    "library museum police school market station ticket water coffee bakery garden music north south 24 7 100 2026".split()
)
POSITIONS = tuple(
    f"{row} {column}".replace("middle center", "center").replace("middle ", "").replace(" center", "")
    for row in ("top", "middle", "bottom")
    for column in ("left", "center", "right")
)  # top left, top, top right, left, center, right, bottom left, bottom, bottom right
BACKGROUNDS = {
    "train": ("plain", "vertical", "clouds", "horizon"),
    "validation": ("diagonal", "coarse clouds"),
    "test": ("radial", "fine clouds", "stripes"),
}
FAMILIES = ("single", "several", "repeated", "shapes", "lone shape", "sign")
FAMILY_SHARE = (0.17, 0.27, 0.22, 0.16, 0.10, 0.08)


@dataclass(frozen=True)
class Thing:
    """One object of a scene; `box` (x0, y0, x1, y1) in pixels. `shape` is "" for what is no shape."""

    name: str
    category: str
    accept: tuple[str, ...]
    colour: str
    shape: str
    box: tuple[int, int, int, int]
    text: str = ""

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the box's middle, as shares of the side."""
        x0, y0, x1, y1 = self.box
        return (x0 + x1) / 2 / SIDE_PX, (y0 + y1) / 2 / SIDE_PX

    @property
    def position(self) -> str:
        """One of POSITIONS, by the ninth that holds the centre."""
        x, y = self.centre
        return POSITIONS[3 * min(int(y * 3), 2) + min(int(x * 3), 2)]

    @property
    def share(self) -> float:
        """The box's share of the picture."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0) / SIDE_PX**2

    @property
    def size(self) -> str:
        """small, medium or large, by the box's share."""
        return "small" if self.share < 0.06 else "medium" if self.share < 0.16 else "large"

    @property
    def names(self) -> frozenset[str]:
        """Every right name."""
        return frozenset((self.name, *self.accept))


@dataclass(frozen=True)
class Scene:
    """A picture and all that is true of it."""

    id: str
    image: str
    family: str
    background: str
    things: tuple[Thing, ...]


def generate(
    out: Path, split: str, n: int, seed: int = 0, cutouts: Path | None = None, workers: int = 1, start: int = 0
) -> list[Scene]:
    """Write `n` scenes of `split` into the folder `out`: images/NNNNNN.png and scenes.jsonl.

    Without the folder `cutouts` (see connector.data.cutouts) scenes hold shapes and words only.
    """
    if split not in SPLITS:
        from experts.errors import UnknownNameError

        raise UnknownNameError("split", split, SPLITS)
    (out / "images").mkdir(parents=True, exist_ok=True)
    make = functools.partial(_make, out, split, seed, cutouts)
    if workers > 1:
        with ProcessPoolExecutor(workers) as pool:
            scenes = list(pool.map(make, range(start, start + n), chunksize=50))
    else:
        scenes = [make(index) for index in range(start, start + n)]
    (out / "scenes.jsonl").write_text("".join(json.dumps(asdict(scene)) + "\n" for scene in scenes))
    return scenes


def load_scenes(folder: Path) -> list[Scene]:
    """The scenes that `generate` wrote."""
    scenes = []
    for line in (folder / "scenes.jsonl").read_text().splitlines():
        row = json.loads(line)
        things = tuple(Thing(**t | {"accept": tuple(t["accept"]), "box": tuple(t["box"])}) for t in row["things"])
        scenes.append(Scene(**row | {"things": things}))
    return scenes


def _make(out: Path, split: str, seed: int, cutouts: Path | None, index: int) -> Scene:
    picture, scene = compose(split, seed, index, _cutouts(cutouts, split), cutouts)
    picture.save(out / scene.image, compress_level=1)
    return scene


@functools.lru_cache
def _cutouts(folder: Path | None, split: str) -> tuple[Cutout, ...]:
    return tuple(load_cutouts(folder, split))


def compose(
    split: str, seed: int, index: int, pool: Sequence[Cutout], folder: Path | None
) -> tuple[PIL.Image.Image, Scene]:
    """Scene number `index`, from its own random stream."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    family = str(rng.choice(FAMILIES, p=FAMILY_SHARE))
    if not pool and family in ("single", "several", "repeated"):
        family = "shapes"
    plan = _plan(rng, family, pool)
    background = "plain" if family == "lone shape" else str(rng.choice(BACKGROUNDS[split]))
    canvas = _background(rng, background, pale=family == "lone shape")
    boxes: list[tuple[int, int, int, int]] = []
    things: list[Thing] = []
    for item, low, high in plan:
        piece, thing = _draw(rng, item, float(rng.uniform(low, high)), canvas, folder)
        box = _place(rng, piece.size, boxes)
        if box is None:
            continue
        canvas.paste(piece, box[:2], piece)
        boxes.append(box)
        things.append(Thing(**thing, box=box))
    scene = Scene(f"{split}-{seed}-{index:06d}", f"images/{index:06d}.png", family, background, tuple(things))
    return canvas, scene


def _plan(rng: np.random.Generator, family: str, pool: Sequence[Cutout]) -> list[tuple[object, float, float]]:
    """What to draw: (a cut-out, (shape, colour) or a word, least and largest side as a share)."""

    def shape() -> tuple[str, str]:
        return str(rng.choice(SHAPES)), str(rng.choice(COLOURS))

    def thing() -> object:
        return pool[int(rng.integers(len(pool)))] if pool and rng.random() < 0.85 else shape()

    if family == "single":
        return [(thing(), 0.35, 0.8)]
    if family == "lone shape":
        return [((str(rng.choice(SHAPES[:3])), str(rng.choice(COLOURS))), 0.15, 0.7)]
    if family == "several":
        return [(thing(), 0.22, 0.45) for _ in range(int(rng.integers(2, 5)))]
    if family == "repeated":
        count = int(rng.integers(2, 6))
        item = thing()
        others = [(thing(), 0.2, 0.32) for _ in range(int(rng.integers(0, 6 - count)))]
        return [(item, 0.2, 0.3)] * count + others[:2]
    if family == "sign":
        word = (str(rng.choice(WORDS)), 0.3, 0.5)
        return [word, *((thing(), 0.22, 0.4) for _ in range(int(rng.integers(0, 3))))]
    if rng.random() < 0.4:  # shapes, one of them repeated
        count = int(rng.integers(2, 6))
        return [(shape(), 0.18, 0.3)] * count + [(shape(), 0.18, 0.3)] * int(count < 5)
    return [(shape(), 0.18, 0.4) for _ in range(int(rng.integers(2, 6)))]


def _draw(
    rng: np.random.Generator, item: object, side: float, canvas: PIL.Image.Image, folder: Path | None
) -> tuple[PIL.Image.Image, dict]:
    """A piece with alpha, cropped to itself, and what is true of it."""
    side_px = int(side * SIDE_PX)
    if isinstance(item, Cutout):
        assert folder is not None
        piece = _open(str(folder / item.file))
        scale = side_px / max(piece.size)
        piece = piece.resize((max(8, int(piece.width * scale)), max(8, int(piece.height * scale))), PIL.Image.Resampling.BICUBIC)
        if rng.random() < 0.5:
            piece = piece.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
        piece = piece.rotate(float(rng.uniform(-12, 12)), PIL.Image.Resampling.BICUBIC, expand=True)
        facts = {"name": item.name, "category": item.category, "accept": item.accept, "colour": item.colour, "shape": ""}
    elif isinstance(item, tuple):
        shape, colour = item
        piece = _shape(rng, shape, _tint(rng, colour, canvas), side_px)
        accept = ("shape",) if shape != "square" else ("rectangle", "shape")
        facts = {"name": shape, "category": "shape", "accept": accept, "colour": colour, "shape": shape}
    else:
        piece = _sign(rng, str(item), side_px)
        facts = {"name": "sign", "category": "sign", "accept": ("word",), "colour": "", "shape": "", "text": str(item)}
    box = piece.getchannel("A").point(lambda a: 255 * (a > 60)).getbbox()
    return piece.crop(box), facts


@functools.lru_cache(maxsize=1024)
def _open(path: str) -> PIL.Image.Image:
    return PIL.Image.open(path).convert("RGBA")


def _tint(rng: np.random.Generator, word: str, canvas: PIL.Image.Image) -> tuple[int, int, int]:
    """A colour that the word names, away from the background's."""
    ground = to_lab(np.asarray(canvas.resize((1, 1))))[0, 0]
    choices = [np.clip(np.array(a) + rng.integers(-12, 13, 3), 0, 255) for a in ANCHORS[word] for _ in range(2)]
    far = [c for c in choices if np.linalg.norm(to_lab(c) - ground) > 22]
    return tuple(int(v) for v in (far or choices)[int(rng.integers(len(far or choices)))])  # type: ignore[return-value]


def _shape(rng: np.random.Generator, name: str, colour: tuple[int, int, int], side: int) -> PIL.Image.Image:
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
        turns = [(0.5, k / 3) for k in range(3)] if name == "triangle" else [(0.5 if k % 2 == 0 else 0.21, k / 10) for k in range(10)]
        draw.polygon([(big * (0.5 + r * math.sin(math.tau * a)), big * (0.5 - r * math.cos(math.tau * a))) for r, a in turns], fill=colour)
    turn = 360 if name == "triangle" else 20
    piece = piece.rotate(float(rng.uniform(-turn / 2, turn / 2)), PIL.Image.Resampling.BICUBIC, expand=True)
    return piece.resize((piece.width // 4, piece.height // 4), PIL.Image.Resampling.LANCZOS)


def _sign(rng: np.random.Generator, word: str, side: int) -> PIL.Image.Image:
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


def _place(
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


def _apart(a: tuple[int, int, int, int], b: tuple[int, int, int, int], gap: int = 2) -> bool:
    return a[2] + gap <= b[0] or b[2] + gap <= a[0] or a[3] + gap <= b[1] or b[3] + gap <= a[1]


def _background(rng: np.random.Generator, family: str, pale: bool) -> PIL.Image.Image:
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
        blend = 0.5 + 0.5 * np.sign(np.sin(math.tau * (x * math.cos(a := rng.uniform(0, 3)) + y * math.sin(a)) * rng.integers(4, 9)))
        two = one + (two - one) * 0.35
    else:
        cells = {"clouds": 5, "coarse clouds": 3, "fine clouds": 11}[family]
        noise = PIL.Image.fromarray((rng.random((cells, cells)) * 255).astype(np.uint8))
        blend = np.asarray(noise.resize((SIDE_PX, SIDE_PX), PIL.Image.Resampling.BICUBIC), float) / 255
    pixels = one + (two - one) * blend[..., None]
    if family != "plain" or not pale:
        pixels = pixels + rng.normal(0, 3, (SIDE_PX, SIDE_PX, 1))
    return PIL.Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
