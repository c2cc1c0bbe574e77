"""Which cut-outs the encoder's classifier names rightly: close-ups show these, so that the whole's name holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image

from connector.data.pictures.cutouts import Cutout, load_cutouts
from connector.data.pictures.draw import SIDE_PX
from experts.evidence.categories import kinds_of

GROUND = (190, 190, 190)


def known(folder: Path, split: str) -> list[Cutout]:
    """The cut-outs of `split` whose likeliest class has one of their names, when they fill a grey picture.

    What was found is kept in the folder, in known-SPLIT.json, since looking at thousands takes minutes.
    """
    pool = load_cutouts(folder, split)
    kept = folder / f"known-{split}.json"
    if not kept.is_file():
        import experts
        from experts.media import Image

        tag = experts.get("tag")
        files = []
        for cutout in pool:
            found = tag(Image.open(_filling(folder / cutout.file), name=cutout.file))
            if found and _names(found[0].text) & ({cutout.name, *cutout.accept} - {cutout.category}):
                files.append(cutout.file)
        kept.write_text(json.dumps(files) + "\n")
    recognised = set(json.loads(kept.read_text()))
    return [cutout for cutout in pool if cutout.file in recognised]


def _names(label: str) -> set[str]:
    return {label.lower(), *kinds_of(label.lower())}


def _filling(file: Path) -> np.ndarray:
    with PIL.Image.open(file) as opened:
        piece = opened.convert("RGBA")
    ground = PIL.Image.new("RGB", (SIDE_PX, SIDE_PX), GROUND)
    scale = 0.95 * SIDE_PX / max(piece.size)
    piece = piece.resize((max(8, int(piece.width * scale)), max(8, int(piece.height * scale))))
    ground.paste(piece, ((SIDE_PX - piece.width) // 2, (SIDE_PX - piece.height) // 2), piece)
    return np.asarray(ground)
