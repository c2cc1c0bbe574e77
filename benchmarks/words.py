"""What the connector's words hold: scenes' questions answered from them by fixed rules, without the language model.

    python -m benchmarks.words runs/warmup/model --scenes runs/data/validation [--limit 500] [--names 5]

The connector finds objects and says for each a name, a category, a colour, a size and a place. Here the likeliest of
each are taken at their word, and the rules with which the tests check the generator answer from them instead of from
the truth. Beside the same questions through the whole model this tells whether a miss is the connector's, which did not
see, or the language model's, which did not read. With `--names 5` an object counts as each of the five things that it
most likely is: as much as a reader could know who weighed all five.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from agent.evaluation.scoring.parsers import judge
from benchmarks.scene_oracle import answer
from connector import network as models
from connector.data.pictures.draw import SIDE_PX
from connector.data.pictures.scenes import SHAPES
from connector.data.records import Record, read_records
from connector.encoders.features import FeatureCache, content_key
from connector.interfaces.slot_config import COLUMNS, ROWS
from connector.interfaces.slots import SlotConnector
from experts.errors import InputError
from experts.evidence.categories import kinds_of

SIDES = {"small": 0.2, "medium": 0.33, "large": 0.5}  # of the picture, for a box of that size


def seen(said: list[dict[str, Any]], least: float, names: int = 1) -> dict[str, Any]:
    """The connector's objects above the score `least` in the form of a line of scenes.jsonl."""
    things = []
    for slot in said:
        if slot["score"] < least:
            continue
        row, column = slot["place"].split()
        x, y, half = COLUMNS.index(column) * 2 + 1, ROWS.index(row) * 2 + 1, SIDES[slot["size"]] * 3
        shape = slot["name"] if slot["name"] in SHAPES else ""
        above = {"shape": ("shape", *(("rectangle",) if shape == "square" else ()))}.get(slot["category"], ())
        may_be = [slot["name"], *slot["or"][: names - 1]]
        things.append(
            {
                "name": slot["name"],
                "category": slot["category"],
                "accept": (
                    *may_be[1:],
                    *(kind for name in may_be for kind in kinds_of(name)),
                    *above,
                    slot["category"],
                ),
                "colour": slot["colour"],
                "shape": shape,
                "text": "",
                "box": [at * SIDE_PX / 6 for at in (x - half, y - half, x + half, y + half)],
            }
        )
    return {"things": things}


def read(record: Record, scene: dict[str, Any]) -> str:
    """The answer by the rules; nothing where they have none."""
    try:
        right = answer(record.question, record.kind, scene)
    except AssertionError:
        return ""
    return next((thing["name"] for thing in scene["things"] if thing["name"] in right), min(right, default=""))


def by_rules(
    connector: SlotConnector, features: Mapping[str, Tensor], records: Iterable[Record], names: int = 1
) -> tuple[Counter[str], Counter[str]]:
    """How many questions of each kind the rules answer rightly, and how many were asked: those about the images whose
    `features` [1, N, D_enc] are given, but for words to be read, which the connector does not see."""
    least = float(connector.gate[1])
    scenes = {image: seen(connector.describe(of_it), least, names) for image, of_it in features.items()}
    right, asked = Counter[str](), Counter[str]()
    for record in records:
        if record.image in scenes and record.kind != "text":
            asked[record.kind] += 1
            right[record.kind] += bool(judge(record, read(record, scenes[record.image])).correct)
    return right, asked


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a saved model with a slot connector")
    parser.add_argument("--scenes", type=Path, required=True, help="folder made by `duet data scenes`")
    parser.add_argument("--features", type=Path, help="cache of encoder features")
    parser.add_argument("--limit", type=int, default=500, help="scenes at most")
    parser.add_argument("--names", type=int, choices=range(1, 6), default=1, help="likeliest names that an object has")
    args = parser.parse_args()
    model = models.load(args.model)
    if not isinstance(model.connector, SlotConnector):
        raise InputError("the model's connector does not speak in words; expected one of kind 'slots'")
    records = read_records(args.scenes / "questions.jsonl")
    images = list(dict.fromkeys(record.image for record in records if record.image))[: args.limit]
    keys = {image: content_key(args.scenes / image) for image in images}
    cache = FeatureCache(args.features or args.scenes.parent / "features", model.encoder.fingerprint())
    cache.fill(((keys[image], args.scenes / image) for image in images), model.encoder, say=print)
    features = {image: cache.get([key]) for image, key in keys.items()}
    right, asked = by_rules(model.connector, features, records, args.names)
    for kind in sorted(asked):
        print(f"{kind:12} {right[kind] / asked[kind]:6.1%} of {asked[kind]}")


if __name__ == "__main__":
    main()
