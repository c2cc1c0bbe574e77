"""Other artists' drawings of things that are named, for training only: emoji by code point, clip art by file name.

A name that is learned from one artist's drawing is a name for that drawing. Eight ways of drawing a squirrel teach what
a squirrel looks like.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw

from experts.errors import needs

# (short caption, category, kinds, source, picture)
Picture = tuple[str, str, tuple[str, ...], str, PIL.Image.Image]
Fit = Callable[[PIL.Image.Image], "PIL.Image.Image | None"]

# npm package and version -> (source, where its drawings are named by code point)
EMOJI_SETS = {
    "emoji-datasource-twitter@16.0.0": ("twemoji", "package/img/twitter/64/*.png"),
    "@lobehub/fluent-emoji-3d@1.1.0": ("fluent", "package/assets/*.webp"),
    "@lobehub/fluent-emoji-flat@1.1.0": ("fluent flat", "package/assets/*.svg"),
    "openmoji@17.0.0": ("openmoji", "package/color/svg/*.svg"),
    "emojione@2.2.7": ("emojione", "package/assets/png_128x128/*.png"),
}
# Debian package -> (source, folder of its pictures)
NOUNS = {"pysiogame": ("art4apps", "usr/share/games/pysiogame/res/images/art4apps")}
CLIP_ART = {"openclipart-png": ("openclipart", "usr/share/openclipart/png")}
SOURCES = frozenset(source for source, _ in (*EMOJI_SETS.values(), *NOUNS.values(), *CLIP_ART.values()))
DRAWN_PX = 160  # side at which a vector drawing is rendered

# Folder of Art4Apps, where each file is named by what it shows -> (category, kinds)
NOUN_FOLDERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "animals": ("animal", ()),
    "clothes_n_accessories": ("clothing", ()),
    "construction": ("building", ()),
    "food": ("food", ()),
    "fruit_n_veg": ("food", ()),
    "transport": ("vehicle", ()),
}
# Parts and places among them, which nobody would answer with, and what stands in many things' pictures.
NO_NOUN = frozenset((
    "button", "heel", "jewel", "patch", "pocket", "sash", "shoe_sole", "shoelace", "sleeve", "zip", "uniform",
    "brick", "chimney", "dam", "door", "roof", "shutter", "smoke", "staircase", "steeple", "step", "street",
    "wall", "well", "window", "farm", "circus", "feast", "flour", "fudge", "gum", "ice", "jam", "jelly",
    "kernel", "lunch", "meal", "roast", "sauce", "slice", "spice", "spread", "sprinkle", "stew", "sugar",
    "carpet", "handlebar", "mast", "pedal", "sail", "cacao", "clam", "herd", "nest", "paw", "tail", "wing",
    "fur", "horn", "shell", "web", "feather", "hoof", "claw", "fin", "beak", "pack", "flock", "school", "shop",
    "store",
))  # fmt: skip
# What makes of an apple something else: apple juice, apple tree.
HEADS = frozenset((
    "juice", "core", "wedge", "slice", "half", "pie", "tree", "collection", "box", "bottle", "cup", "can",
    "case", "stand", "bag", "glove", "cap", "helmet", "bat", "pitch", "field", "head", "print", "house", "seed",
    "leaf", "tail", "nest", "web", "flower",
))  # fmt: skip
BEFORE = frozenset((
    "a", "an", "the", "another", "cartoon", "simple", "big", "small", "old", "red", "blue", "yellow", "green", "slim",
    "funny", "happy",
))  # fmt: skip
FOLDERS = (  # of Open Clip Art that hold things
    "animals", "food", "plants", "transportation", "music", "recreation/music", "recreation/sports", "people/clothing",
    "electronics", "office", "computer/hardware", "tools", "buildings", "household",
)  # fmt: skip
NOT_THINGS = re.compile(
    r"_bw|tux|baby|burner|contour|symbol|outline|silhouet|icon|sign|logo|flag|/(roadsigns|aiga|map_symbols)"
)


def emoji(
    root: Path, where: str, source: str, names: dict[str, tuple[str, tuple[str, tuple[str, ...]]]], fit: Fit
) -> Iterator[Picture]:
    """An artist's drawings of emoji; `names` maps code points in hexadecimal to (name, (category, kinds))."""
    files = {re.sub(r"-fe0f$", "", file.stem.lower()): file for file in sorted(root.glob(where))}
    for point, (name, (category, kinds)) in names.items():
        if point in files:
            picture = fit(_opened(files[point]))
            if picture is not None:
                yield name, category, kinds, source, picture


def nouns(root: Path, source: str, fit: Fit) -> Iterator[Picture]:
    """Pictures on white paper in folders of one category each, named by a noun."""
    for folder, (category, kinds) in NOUN_FOLDERS.items():
        for file in sorted((root / folder).glob("*.jpg")):
            if file.stem in NO_NOUN:
                continue
            picture = fit(without_paper(PIL.Image.open(file).convert("RGB")))
            if picture is not None:
                yield singular(file.stem.replace("_", " ")), category, kinds, source, picture


def clip_art(root: Path, source: str, known: dict[str, tuple[str, tuple[str, ...]]], fit: Fit) -> Iterator[Picture]:
    """Clip art whose file name begins with a noun that is `known`: name -> (category, kinds)."""
    for folder in FOLDERS:
        for file in sorted((root / folder).rglob("*.png")):
            if NOT_THINGS.search(str(file.relative_to(root))):
                continue
            name = noun_of(file.stem, known)
            picture = fit(_opened(file)) if name else None
            if picture is not None:
                yield name, *known[name], source, picture


def noun_of(stem: str, known: Iterable[str]) -> str:
    """The longest of the `known` names that a file's name begins with, '' for none.

    >>> noun_of("cartoon_squirrel_mike_sm1", {"squirrel"}), noun_of("apple_pie_01", {"apple", "apple pie"})
    ('squirrel', 'apple pie')
    >>> noun_of("leaf_of_an_oak", {"oak"})
    ''
    """
    words = [word for word in re.split(r"[^a-z]+", stem.lower()) if word]
    while words and words[0] in BEFORE:
        words = words[1:]
    for count in (3, 2, 1):
        said = singular(" ".join(words[:count]))
        if len(words) >= count and said in known:
            # "apple juice": what follows may make it something else, unless it is somebody's name or a number
            return said if count > 1 or len(words) == 1 or words[1] not in HEADS else ""
    return ""


def singular(name: str) -> str:
    """One of the things.

    >>> [singular(name) for name in ("cherries", "potatoes", "peas", "glasses", "bus", "rhinoceros")]
    ['cherry', 'potato', 'pea', 'glasses', 'bus', 'rhinoceros']
    """
    pairs = ("glasses", "sunglasses", "pants", "trousers", "shorts", "overalls", "pyjamas", "scissors", "pliers")
    if name in pairs or not name.endswith("s") or name.endswith(("ss", "us", "is", "os")):
        return name
    if name.endswith("ies"):
        return name[:-3] + "y"
    return name[:-2] if name.endswith(("oes", "shes", "ches", "xes")) else name[:-1]


def without_paper(picture: PIL.Image.Image) -> PIL.Image.Image:
    """A picture on white paper as RGBA: what is white and reaches the edge becomes transparent."""
    marked = picture.copy()
    width, height = picture.size
    key = (255, 0, 254)
    for x, y in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)):
        if min(marked.getpixel((x, y))) > 235:  # type: ignore[arg-type]
            PIL.ImageDraw.floodfill(marked, (x, y), key, thresh=40)
    paper = (np.asarray(marked) == np.array(key, np.uint8)).all(-1)
    alpha = PIL.Image.fromarray(np.where(paper, 0, 255).astype(np.uint8))
    return PIL.Image.merge("RGBA", (*picture.split(), alpha))


def _opened(file: Path) -> PIL.Image.Image:
    """A drawing as RGBA, a vector drawing rendered, one on opaque white without it."""
    if file.suffix != ".svg":
        picture = PIL.Image.open(file).convert("RGBA")
        white = picture.getchannel("A").getextrema()[0] == 255
        return without_paper(picture.convert("RGB")) if white else picture
    needs("resvg_py", "data", "a drawing in SVG")
    import resvg_py

    return PIL.Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_path=str(file), width=DRAWN_PX)))).convert("RGBA")
