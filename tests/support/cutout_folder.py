"""A small folder of home-made cut-outs and one backdrop in the format of `duet data cutouts`, for tests."""

from __future__ import annotations

import json
from pathlib import Path

import PIL.Image
import PIL.ImageDraw

# split -> (name, category, accept, colour)
ROWS: dict[str, tuple[tuple[str, str, tuple[str, ...], str], ...]] = {
    "train": (
        ("poodle", "animal", ("dog", "mammal", "animal"), "white"),
        ("eagle", "animal", ("bird", "animal"), ""),
        ("crow", "animal", ("bird", "animal"), "black"),
        ("race car", "vehicle", ("car", "vehicle"), "red"),
        ("tugboat", "vehicle", ("boat", "ship", "vehicle"), ""),
        ("apple", "food", ("fruit", "food"), "green"),
        ("carrot", "food", ("vegetable", "food"), "orange"),
        ("glasses", "clothing", ("spectacles", "clothing"), ""),
        ("fedora", "clothing", ("hat", "clothing"), "blue"),
        ("bread", "food", ("food",), "brown"),
        ("hammer", "tool", ("tool",), ""),
        ("oak tree", "plant", ("tree", "plant"), "green"),
    ),
    "validation": (("owl", "animal", ("bird", "animal"), "gray"), ("wrench", "tool", ("tool",), "")),
    "test": (
        ("zebra", "animal", ("mammal", "animal"), ""),
        ("lemon", "food", ("fruit", "food"), "yellow"),
        ("unicycle", "vehicle", ("bike", "vehicle"), "pink"),
        ("socks", "clothing", ("clothing",), "white"),
    ),
}


def write_cutouts(folder: Path) -> Path:
    """Write blobs under these names, and a backdrop; returns the folder."""
    (folder / "backdrops").mkdir(parents=True, exist_ok=True)
    PIL.Image.linear_gradient("L").convert("RGB").resize((400, 300)).save(folder / "backdrops" / "slope.jpg")
    lines = []
    for split, rows in ROWS.items():
        for name, category, accept, colour in rows:
            file = f"{name.replace(' ', '-')}.png"
            picture = PIL.Image.new("RGBA", (90, 60))
            PIL.ImageDraw.Draw(picture).ellipse((0, 0, 89, 59), fill=colour or "magenta")
            picture.save(folder / file)
            row = {"name": name, "category": category, "accept": accept, "colour": colour, "source": "stamp"}
            lines.append(json.dumps(row | {"file": file, "split": split}) + "\n")
    (folder / "index.jsonl").write_text("".join(lines))
    return folder
