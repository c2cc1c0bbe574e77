"""Scenes: real cut-outs, pictograms, shapes and words composed on varied backgrounds, so that the truth is known.

The same seed gives the same bytes. Splits differ in cut-outs and in backgrounds, not only in seeds.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL.Image

from connector.data.pictures import artists
from connector.data.pictures.cutouts import SPLITS, Cutout, backdrops, load_cutouts
from connector.data.pictures.draw import (
    SIDE_PX,
    crop_backdrop,
    draw_background,
    draw_shape,
    draw_sign,
    open_cutout,
    place,
    tint,
    vary,
    within,
)
from connector.data.pictures.known import known
from experts.errors import InputError, UnknownNameError
from experts.evidence.colours import COLOURS

SHAPES = ("circle", "rectangle", "triangle", "square", "star")
WORDS = (
    "open", "closed", "exit", "taxi", "hotel", "cafe", "stop", "sale", "free", "menu", "pizza", "bank", "park", "shop",
    "bus", "milk", "fresh", "danger", "hello", "welcome", "library", "museum", "police", "school", "market", "station",
    "ticket", "water", "coffee", "bakery", "garden", "music", "north", "south", "24", "7", "100", "2026",
)  # fmt: skip
POSITIONS = tuple(
    f"{row} {column}".replace("middle center", "center").replace("middle ", "").replace(" center", "")
    for row in ("top", "middle", "bottom")
    for column in ("left", "center", "right")
)  # top left, top, top right, left, center, right, bottom left, bottom, bottom right
BACKGROUNDS = {
    "train": ("plain", "vertical", "clouds", "horizon"),
    "validation": ("diagonal", "coarse clouds"),
    "test": ("radial", "fine clouds", "stripes"),
    "reading": ("plain", "vertical", "clouds", "horizon"),
}
TRAINING = ("train", "reading")
PHOTO_SHARE = 0.35  # of the training scenes that stand before a photograph, where there are any
VARIED_SHARE = 0.7  # of the training scenes' cut-outs that are changed a little
EMPTY_SHARE = 0.15  # of those that hold nothing: what is asked for is not there
FAMILIES = ("single", "several", "repeated", "shapes", "lone shape", "sign")
FAMILY_SHARE = (0.17, 0.27, 0.22, 0.16, 0.10, 0.08)
CLOSE_UP = "close-up"  # one thing fills the picture and may go over its edge; only where asked for


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
    out: Path,
    split: str,
    n: int,
    seed: int = 0,
    cutouts: Path | None = None,
    workers: int = 1,
    start: int = 0,
    close_ups: float = 0.0,
) -> list[Scene]:
    """Write `n` scenes of `split` into the folder `out`: images/NNNNNN.png and scenes.jsonl.

    Without the folder `cutouts` (see connector.data.pictures.cutouts) scenes hold shapes and words only. `close_ups` is
    the share of scenes that a single cut-out fills, one that the encoder's classifier knows (see
    connector.data.pictures.known).
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    if close_ups and not _known(cutouts, split):
        raise InputError(f"no cut-out of split '{split}' is known to the classifier, so there are no close-ups")
    (out / "images").mkdir(parents=True, exist_ok=True)
    make = functools.partial(_make, out, split, seed, cutouts, close_ups)
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


def _make(out: Path, split: str, seed: int, cutouts: Path | None, close_ups: float, index: int) -> Scene:
    near = _known(cutouts, split) if close_ups else ()
    picture, scene = compose(split, seed, index, _cutouts(cutouts, split), cutouts, near, close_ups)
    picture.save(out / scene.image, compress_level=1)
    return scene


@functools.lru_cache
def _cutouts(folder: Path | None, split: str) -> tuple[Cutout, ...]:
    pool = load_cutouts(folder, split)
    # Other artists drew most pictures of the training split; half of what is seen there is like what is asked later.
    own = [cutout for cutout in pool if cutout.source not in artists.SOURCES]
    return tuple(pool + own * ((len(pool) - len(own)) // max(len(own), 1) - 1))


@functools.lru_cache
def _known(folder: Path | None, split: str) -> tuple[Cutout, ...]:
    return tuple(known(folder, split)) if folder else ()


@functools.lru_cache
def _backdrops(folder: Path | None) -> tuple[Path, ...]:
    return tuple(backdrops(folder))


def compose(
    split: str,
    seed: int,
    index: int,
    pool: Sequence[Cutout],
    folder: Path | None,
    near: Sequence[Cutout] = (),
    close_ups: float = 0.0,
) -> tuple[PIL.Image.Image, Scene]:
    """Scene number `index`, from its own random stream; `close_ups` is how likely it is one, of a cut-out of `near`."""
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    family = str(rng.choice(FAMILIES, p=FAMILY_SHARE))
    if near and rng.random() < close_ups:
        family, pool = CLOSE_UP, near
    if not pool and family in ("single", "several", "repeated"):
        family = "shapes"
    plan = _plan(rng, family, pool)
    photographs = _backdrops(folder) if split in TRAINING else ()
    if photographs and family != "lone shape" and rng.random() < PHOTO_SHARE:
        background, canvas = "photo", crop_backdrop(rng, photographs)
        plan = () if rng.random() < EMPTY_SHARE else plan
    else:
        background = "plain" if family == "lone shape" else str(rng.choice(BACKGROUNDS[split]))
        canvas = draw_background(rng, background, pale=family == "lone shape")
    boxes: list[tuple[int, int, int, int]] = []
    things: list[Thing] = []
    for item, low, high in plan:
        piece, thing = _draw(rng, item, float(rng.uniform(low, high)), canvas, folder, split in TRAINING)
        if family == CLOSE_UP:
            piece = within(rng, piece)
        box = place(rng, piece.size, boxes)
        if box is None:
            continue
        canvas.paste(piece, box[:2], piece)
        boxes.append(box)
        things.append(Thing(**thing, box=box))
    scene = Scene(f"{split}-{seed}-{index:06d}", f"images/{index:06d}.png", family, background, tuple(things))
    return canvas, scene


def _plan(rng: np.random.Generator, family: str, pool: Sequence[Cutout]) -> Sequence[tuple[object, float, float]]:
    """What to draw: (a cut-out, (shape, colour) or a word, least and largest side as a share)."""

    def shape() -> tuple[str, str]:
        return str(rng.choice(SHAPES)), str(rng.choice(COLOURS))

    def thing() -> object:
        return pool[int(rng.integers(len(pool)))] if pool and rng.random() < 0.85 else shape()

    if family == "single":
        return [(thing(), 0.35, 0.8)]
    if family == CLOSE_UP:
        return [(pool[int(rng.integers(len(pool)))], 0.75, 1.3)]
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
    rng: np.random.Generator, item: object, side: float, canvas: PIL.Image.Image, folder: Path | None, varied: bool
) -> tuple[PIL.Image.Image, dict]:
    """A piece with alpha, cropped to itself, and what is true of it."""
    side_px = int(side * SIDE_PX)
    if isinstance(item, Cutout):
        assert folder is not None
        piece = open_cutout(str(folder / item.file))
        scale = side_px / max(piece.size)
        piece = piece.resize(
            (max(8, int(piece.width * scale)), max(8, int(piece.height * scale))), PIL.Image.Resampling.BICUBIC
        )
        if rng.random() < 0.5:
            piece = piece.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
        if varied and rng.random() < VARIED_SHARE:
            piece = vary(rng, piece)
        piece = piece.rotate(float(rng.uniform(-12, 12)), PIL.Image.Resampling.BICUBIC, expand=True)
        facts = {
            "name": item.name,
            "category": item.category,
            "accept": item.accept,
            "colour": item.colour,
            "shape": "",
        }
    elif isinstance(item, tuple):
        shape, colour = item
        piece = draw_shape(rng, shape, tint(rng, colour, canvas), side_px)
        accept = ("shape",) if shape != "square" else ("rectangle", "shape")
        facts = {"name": shape, "category": "shape", "accept": accept, "colour": colour, "shape": shape}
    else:
        piece = draw_sign(rng, str(item), side_px)
        facts = {"name": "sign", "category": "sign", "accept": ("word",), "colour": "", "shape": "", "text": str(item)}
    box = piece.getchannel("A").point(lambda a: 255 * (a > 60)).getbbox()
    return piece.crop(box), facts
