"""Second looks: where they are taken, that they come back to the slot they were taken for, and what they change."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import tiny
import torch

from connector import build, parts, slots, warmup
from connector.data.scenes import Scene, Thing
from connector.gaze import Looking
from connector.resolution import Views
from connector.stages import stage_config
from experts.media import Image

NAMES = (*(f"class {index}" for index in range(1000)), "poodle", "dog", "circle")
PLAIN = slots.SlotConfig(
    names=NAMES, categories=("animal", "shape"), widths=(8, 4, 2, 12, 3), side=3, d_llm=32, hidden=8, blocks=1
)
SHAPE = dataclasses.replace(PLAIN, looks=4, look_hidden=16)
WIDTH = sum(SHAPE.widths)


def made(shape: slots.SlotConfig = SHAPE) -> slots.SlotConnector:
    torch.manual_seed(0)
    connector = slots.SlotConnector(shape)
    words = tiny.tokenizer()
    connector.bind(words, torch.randn(len(words), 32, generator=torch.Generator().manual_seed(1)))
    torch.nn.init.constant_(connector.heat.bias, 0.0)
    return connector.eval()


class Eyes:
    """Random features for each image, and a view's features that tell the place it was taken at."""

    name, cells, width, views, classes = "eyes", 9, WIDTH, Views(4, 2), ("tench",)

    def encode(self, media: Sequence[Any]) -> torch.Tensor:
        seeds = [int(image.pixels[0, 0, 0]) for image in media]
        return torch.stack([torch.rand(45, WIDTH, generator=torch.Generator().manual_seed(s)) for s in seeds])

    def look_at(self, image: Any, places: Sequence[Sequence[float]]) -> torch.Tensor:
        return torch.stack([torch.full((9, WIDTH), 1 + x + 10 * y) for x, y, _ in places])

    def fingerprint(self) -> str:
        return "eyes"


def picture(seed: int = 0) -> Image:
    return Image.open(np.full((8, 8, 3), seed, np.uint8))


def scene(*things: Thing) -> Scene:
    return Scene("train-0-000000", "images/0.png", "several", "plain", things)


def test_a_part_is_cut_where_it_is_asked_and_moved_into_the_image() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[40:60, 90:110] = 250
    views = Views(8).parts(Image.open(pixels), [(0.5, 0.5, 20 / 20_000**0.5), (0.0, 0.0, 0.3), (0.5, 0.5, 9.0)])
    assert views.shape == (3, 8, 8, 3) and views.dtype == np.uint8
    assert views[0].min() > 200 and (views[1] == 0).all()
    assert views[2].max() > 100 and (views[2][:, 0] == 0).all()  # as large as fits: the middle square


def test_features_are_the_rounded_first_views_and_then_the_looks() -> None:
    connector = made()
    seen = Looking(Eyes(), connector).encode([picture(1), picture(2)])  # type: ignore[arg-type]
    assert seen.shape == (2, 45 + 4 * 9, WIDTH) == (2, *build.takes(connector))  # type: ignore[misc]
    assert torch.equal(seen[:, :45], Eyes().encode([picture(1), picture(2)]).half().float())
    assert torch.equal(seen.half().float()[:, :45], seen[:, :45])
    places, worth = connector.gaze(seen)
    for row in range(2):
        for look in range(4):
            x, y, _ = places[row, look].tolist()
            told = 1 + x + 10 * y if worth[row, look] else 0.0
            assert torch.allclose(seen[row, 45 + 9 * look : 45 + 9 * look + 9], torch.tensor(told))
    assert worth.any()


def test_no_look_is_taken_where_nothing_is_found() -> None:
    connector = made()
    torch.nn.init.constant_(connector.heat.bias, -50.0)
    assert (Looking(Eyes(), connector).encode([picture()])[:, 45:] == 0).all()  # type: ignore[arg-type]


def test_each_look_comes_back_to_the_slot_that_it_was_taken_for(monkeypatch: pytest.MonkeyPatch) -> None:
    connector = made()
    seen = Looking(Eyes(), connector).encode([picture(3), picture(4)])  # type: ignore[arg-type]
    monkeypatch.setattr(connector.again, "pool", lambda views, _: views[..., 0, :1])
    monkeypatch.setattr(connector.again, "forward", lambda pooled: (pooled,))
    scores, cells = connector.peaks(connector.look(seen)[1])
    (told,), shown = connector.look_again(seen, cells)
    at = 1 + (cells % 6 + 0.5) / 6 + 10 * (cells // 6 + 0.5) / 6
    assert torch.allclose(told[..., 0], torch.where(scores > slots.WORTH, at, 0.0)[:, :4], atol=1e-4)
    assert torch.equal(shown, scores[:, :4] > slots.WORTH) and shown.any()


def test_untrained_looks_change_nothing_and_trained_ones_decide() -> None:
    connector, plain = made(), made(PLAIN)
    plain.load_state_dict({k: v for k, v in connector.state_dict().items() if k in plain.state_dict()})
    seen = Looking(Eyes(), connector).encode([picture(5)])  # type: ignore[arg-type]
    assert torch.allclose(connector(seen), plain(seen[:, :45]), atol=1e-5)
    connector.blend[:, 0], connector.blend[:, 1] = 0.0, 1.0
    connector.again.leave.bias.data[NAMES.index("poodle")] = 50.0
    (first, *_) = connector.describe(seen)
    assert first["name"] == "poodle" and first["p"] > 0.99
    assert not torch.allclose(connector(seen), plain(seen[:, :45]), atol=1e-2)


def test_looks_learn_to_name_and_how_much_they_count_while_the_gaze_stays() -> None:
    connector = made()
    model = tiny.model()
    model.connector = connector
    parts.prepare(model, stage_config("warmup", steps=1))
    frozen = {name for name, value in connector.named_parameters() if not value.requires_grad}
    assert {"heat.weight", "size.weight", "enter.weight", "scale", "blend", "again.scale"} <= frozen
    assert not {"again.enter.weight", "name.weight", "residual.weight"} & frozen
    seen = Looking(Eyes(), connector).encode([picture(n) for n in range(4)])  # type: ignore[arg-type]
    connector.fit_scale(seen)
    cells = connector.peaks(connector.look(seen)[1])[1][:, 0].tolist()
    side, low = 320 / 6, sorted(cells)[2]

    def at(cell: int) -> Thing:
        x, y = (cell % 6 + 0.5) * side, (cell // 6 + 0.5) * side
        name, category = ("poodle", "animal") if cell >= low else ("circle", "shape")
        return Thing(name, category, ("dog",) if cell >= low else (), "red", "", (x - 9, y - 9, x + 9, y + 9))

    targets = warmup.targets([scene(at(cell)) for cell in cells], SHAPE)
    optimizer = torch.optim.Adam(connector.again.parameters(), lr=1e-2)
    for _ in range(100):
        loss, metrics = slots.look_loss(connector, seen, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert metrics["named again"] == 1.0
    (_, second), _, _ = connector.fit_blend(seen, targets)
    assert second > 0
    named = [connector.describe(seen, row)[0]["name"] for row in range(4)]
    assert named == [("poodle" if cell >= low else "circle") for cell in cells]


def test_a_look_away_from_every_object_teaches_nothing() -> None:
    connector = made()
    seen = Looking(Eyes(), connector).encode([picture(6)])  # type: ignore[arg-type]
    targets = warmup.targets([scene()], SHAPE)
    loss, metrics = slots.look_loss(connector, seen, targets)
    assert loss.item() == 0 and metrics == {}


def test_the_fingerprint_changes_with_where_it_looks_and_with_nothing_else() -> None:
    connector = made()
    looking = Looking(Eyes(), connector)  # type: ignore[arg-type]
    before = looking.fingerprint()
    connector.again.enter.weight.data += 1
    connector.name.weight.data += 1
    assert looking.fingerprint() == before
    connector.heat.weight.data += 1
    assert looking.fingerprint() != before


def test_an_encoder_without_second_looks_stays_itself() -> None:
    eyes = Eyes()
    assert build.sight(eyes, made(PLAIN)) is eyes
    assert isinstance(build.sight(eyes, made()), Looking)
