"""The slot connector: what it says before and after learning, and the loss of names that have kinds above them."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import tiny
import torch

from benchmarks.words import seen
from connector.data.pictures.scenes import Scene, Thing
from connector.interfaces import slot_config, slots
from connector.training import warmup, warmup_loss
from connector.training.trainer import build_optimizer
from experts.errors import TrainingError

NAMES = (*(f"class {index}" for index in range(1000)), "poodle", "dog", "circle")
SHAPE = slot_config.SlotConfig(
    names=NAMES, categories=("animal", "shape"), widths=(8, 4, 2, 12, 3), side=3, d_llm=32, hidden=8, blocks=1
)


def made() -> slots.SlotConnector:
    torch.manual_seed(0)
    connector = slots.SlotConnector(SHAPE)
    words = tiny.tokenizer()
    connector.bind(words, torch.randn(len(words), 32))
    return connector.eval()


def features(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 5 * 9, sum(SHAPE.widths), generator=torch.Generator().manual_seed(1))


def scene(*things: Thing) -> Scene:
    return Scene("train-0-000000", "images/0.png", "several", "plain", things)


def test_it_speaks_three_words_for_the_whole_and_eight_for_each_slot() -> None:
    assert made()(features()).shape == (2, 3 + 6 * 8, 32) == (2, SHAPE.n_tokens, 32)


def test_a_closed_slot_says_silence() -> None:
    connector = made()
    torch.nn.init.constant_(connector.heat.bias, -50.0)
    said = connector(features())
    tokens = said[:, 1 + SHAPE.whole_words :]
    assert torch.allclose(tokens, connector.silence.expand_as(tokens), atol=0.15)
    assert torch.allclose(said[:, 0], connector.numbers_words[0].expand(2, -1), atol=0.15)


def test_a_thing_is_of_its_own_kind_and_kinship_is_mutual() -> None:
    kin = made().kinship(torch.randn(2, 6, SHAPE.hidden))
    assert torch.equal(kin.diagonal(dim1=1, dim2=2), torch.ones(2, 6))
    assert torch.allclose(kin, kin.transpose(1, 2)) and (kin >= 0).all()


def test_whole_counts_are_said_as_their_digit() -> None:
    connector = made()
    said = connector.number(torch.tensor([[0.0, 3.02], [1.0, 6.4]]))
    digits = connector.numbers_words[torch.tensor([[0, 3], [1, 6]])]
    assert torch.allclose(said, digits, atol=0.01)


def test_an_image_alone_says_what_it_says_in_a_batch() -> None:
    connector, given = made(), features(3)
    assert torch.allclose(connector(given)[1], connector(given[1:2])[0], atol=1e-5)


def test_names_are_dropped_out_only_while_learning() -> None:
    connector, given = made(), features()
    assert torch.equal(connector(given), connector(given))
    connector.train()
    trunk, _, stage = connector.look(given)
    assert not torch.equal(connector.name_logits(trunk, stage), connector.name_logits(trunk, stage))


def test_name_loss_without_kinds_is_smoothed_cross_entropy() -> None:
    logits = torch.randn(5, 7, generator=torch.Generator().manual_seed(2))
    names, none = torch.tensor([0, 3, 6, 1, 1]), torch.full((5, 2), -1)
    expected = torch.nn.functional.cross_entropy(logits, names, label_smoothing=warmup_loss.SMOOTHING)
    assert warmup_loss.name_loss(logits, names, none).item() == pytest.approx(expected.item(), rel=1e-5)


def test_name_loss_gives_the_kinds_their_share() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.2, 0.2, 0.1]]))
    loss = warmup_loss.name_loss(logits, torch.tensor([0]), torch.tensor([[1, 3, -1]]))
    exact, above = math.log(0.5), (math.log(0.2) + math.log(0.1)) / 2
    smooth = sum(map(math.log, (0.5, 0.2, 0.2, 0.1))) / 4
    said = (1 - warmup_loss.KIND_SHARE) * exact + warmup_loss.KIND_SHARE * above
    assert loss.item() == pytest.approx(-(1 - warmup_loss.SMOOTHING) * said - warmup_loss.SMOOTHING * smooth, rel=1e-5)


def test_targets_hold_names_kinds_colours_and_the_centre_cell() -> None:
    dog = Thing("poodle", "animal", ("dog", "mammal", "animal"), "white", "", (0, 0, 100, 100))
    circle = Thing("circle", "shape", ("shape",), "red", "circle", (220, 220, 320, 320))
    targets = warmup.targets([scene(dog, circle)], SHAPE)
    assert [NAMES[index] for index in targets.names[0, :2]] == ["poodle", "circle"]
    assert [NAMES[index] for index in targets.kinds[0, 0] if index >= 0] == ["dog"]  # no bare category, no 'mammal'
    assert (targets.kinds[0, 1] == -1).all() and (targets.names[0, 2:] == -1).all()
    assert targets.cells[0, :2].tolist() == [0, 5 * 6 + 5]
    assert targets.heat[0, 0, 0] == targets.heat[0, 5, 5] == 1
    assert [slot_config.COLOURS[index] for index in targets.colours[0, :2]] == ["white", "red"]


def test_vocabulary_begins_with_imagenet_and_holds_names_and_kinds_once() -> None:
    dog = Thing("zyzzyva", "animal", ("weevil", "insect", "animal"), "", "", (0, 0, 9, 9))
    words = warmup.vocabulary([scene(dog, dog)])
    assert words[0] == "tench" and words[999] == "toilet tissue"
    assert {"zyzzyva", "insect", "person", "weevil"} <= set(words) and len(words) - 1000 == len(set(words[1000:]))


def test_warmup_learns_where_things_are() -> None:
    torch.manual_seed(3)
    connector, given = made(), features(4)
    thing = Thing("circle", "shape", ("shape",), "red", "circle", (0, 0, 100, 100))
    targets = warmup.targets([scene(thing)] * 4, SHAPE)
    optimizer = torch.optim.Adam([p for p in connector.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(30):
        loss, _ = warmup_loss.warmup_loss(connector, given, targets)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 3
    said = connector.describe(given)[0]
    assert (said["name"], said["colour"], said["category"], said["place"]) == ("circle", "red", "shape", "top left")


def test_warmup_learns_which_things_are_of_one_name() -> None:
    torch.manual_seed(4)
    connector, given = made(), features(2)

    def thing(name: str, x: int) -> Thing:
        return Thing(name, "animal", (), "", "", (x, 0, x + 60, 60))

    targets = warmup.targets([scene(thing("poodle", 0), thing("poodle", 120), thing("dog", 240))] * 2, SHAPE)
    optimizer = torch.optim.Adam([p for p in connector.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(80):
        loss, metrics = warmup_loss.warmup_loss(connector, given, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert metrics["alike"] == 1.0
    here = slots.gather_cells(connector.look(given)[0], targets.cells[:, :3])
    assert ((connector.kinship(here) > 0.5)[0] == torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]]).bool()).all()


def test_the_gate_opens_from_the_heat_at_which_most_counts_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    connector = made()
    heat = torch.full((3, SHAPE.grid, SHAPE.grid), -8.0)
    for row, peaks in enumerate(((0.9, 0.2), (0.8, 0.7, 0.22), (0.6,))):  # what is 0.2 or 0.22 hot is nothing
        for at, value in enumerate(peaks):
            heat[row, 2 * at, 2 * at] = torch.logit(torch.tensor(value))
    monkeypatch.setattr(connector, "look", lambda features: (None, heat, None))
    assert connector.fit_gate(features(3), torch.tensor([1, 2, 1])) == 1.0
    assert 0.2 < float(connector.gate.detach()[1]) < 0.3
    assert connector.fit_gate(features(3), torch.tensor([2, 3, 1])) == 1.0
    assert float(connector.gate.detach()[1]) < 0.2


def test_the_whole_is_named_by_the_encoders_own_head_whatever_scenes_have_taught() -> None:
    torch.manual_seed(0)
    connector = slots.SlotConnector(SHAPE)
    words = tiny.tokenizer()
    connector.bind(words, torch.randn(len(words), 32))
    head = tuple(torch.randn(shape) for shape in ((1280, 8), (1280,), (1000, 1280), (1000,)))
    connector.start_from(head)
    before = connector.eval().whole(connector.assemble(features())[1])[0]
    with torch.no_grad():
        connector.classify2.weight.add_(1.0).mul_(-3.0)
    assert torch.equal(connector.whole(connector.assemble(features())[1])[0], before)
    assert not any(key.startswith("whole") for key in connector.state_dict())  # the encoder's weights are there anyway
    again = slots.SlotConnector(connector.config).eval()
    again.load_state_dict(connector.state_dict())
    again.bind(words, torch.zeros(len(words), 32))
    again.names_words = connector.names_words
    assert not torch.equal(again.whole(again.assemble(features())[1])[0], before)
    again.see_whole_with(head)
    assert torch.equal(again.whole(again.assemble(features())[1])[0], before)


def test_a_thing_that_is_not_recognised_is_called_what_the_whole_picture_is() -> None:
    torch.manual_seed(0)
    names = (*NAMES[:3], "monarch", *NAMES[4:])
    connector = slots.SlotConnector(dataclasses.replace(SHAPE, names=names)).eval()
    words = tiny.tokenizer()
    connector.bind(words, torch.randn(len(words), 32))
    torch.nn.init.zeros_(connector.classify2.weight)
    torch.nn.init.zeros_(connector.classify2.bias)

    def name_and_category() -> tuple[torch.Tensor, torch.Tensor]:
        slot = connector(features(1))[0, 1 + SHAPE.whole_words :][: SHAPE.words]
        return slot[3:5], slot[5]

    torch.nn.init.constant_(connector.heat.bias, 50.0)
    own = name_and_category()
    connector.whole2_bias[3] = 20.0  # surely a monarch: a butterfly, an animal
    name, category = name_and_category()
    assert torch.allclose(name, connector.everyday_words[3], atol=0.01)
    table = connector.everyday_words
    assert not torch.equal(table[3], connector.names_words[3])  # people say butterfly
    assert torch.allclose(category, connector.categories_words[0, 0], atol=0.01)
    assert connector.describe(features(1))[0]["name"] == "butterfly"
    connector.classify2.bias.data[1002] = 20.0  # but where a thing is surely a circle it stays one
    name, category = name_and_category()
    assert torch.allclose(name, connector.names_words[1002], atol=0.01)
    assert torch.allclose(category, own[1], atol=0.01) and not torch.allclose(own[0], name, atol=0.1)


def test_while_learning_some_pictures_of_one_thing_are_left_to_the_wholes_name() -> None:
    connector = made()
    connector.config = dataclasses.replace(SHAPE, hush=0.5, dropout=0.0)
    given = features(1).repeat(40, 1, 1)
    torch.nn.init.constant_(connector.heat.bias, -50.0)
    silent = connector.silence.expand(SHAPE.words, -1)
    connector.whole2_bias[3] = 20.0  # sure of the whole picture's name

    def hushed() -> int:
        said = connector(given)[:, 1 + SHAPE.whole_words :][:, : SHAPE.words]
        return sum(torch.equal(one, silent) for one in said)

    connector.gate.data[1] = 0.1  # at a heat of 0: open by 0.17 each, one in all
    assert hushed() == 0
    connector.train()
    assert 10 <= hushed() <= 30
    connector.gate.data[1] = -0.1  # all six are open: several things
    assert hushed() == 0
    connector.gate.data[1] = 0.1
    connector.whole2_bias[3] = 0.0  # it may be anything
    assert hushed() == 0


def test_an_object_counts_as_what_else_it_may_be_where_that_is_asked_for() -> None:
    slot = {"score": 0.9, "name": "standard poodle", "or": ["cat", "apple"], "colour": "white", "category": "animal"}
    said = [slot | {"size": "small", "place": "top left"}]
    assert seen(said, 0.2)["things"][0]["accept"] == ("dog", "animal", "animal")
    more = seen(said, 0.2, names=2)["things"][0]["accept"]
    assert {"cat", "dog", "animal"} <= set(more) and "apple" not in more
    assert seen(said, 0.95, names=2)["things"] == []


def test_the_classifier_learns_slower_than_the_rest() -> None:
    from connector.training.stages import stage_config

    model = tiny.model()
    model.connector = made()
    config = stage_config("warmup", steps=1)
    model.llm.model.requires_grad_(False)
    rates = {
        id(parameter): group["lr"]
        for group in build_optimizer(model, config).param_groups
        for parameter in group["params"]
    }
    assert rates[id(model.connector.classify2.weight)] == pytest.approx(0.1 * config.lr_connector)
    assert rates[id(model.connector.heat.weight)] == config.lr_connector


def test_warmup_is_refused_for_a_connector_without_words(tmp_path: object) -> None:
    from connector.training import prepare
    from connector.training.stages import stage_config

    with pytest.raises(TrainingError, match="connectors that speak in words"):
        prepare.open_task(tiny.model(), stage_config("warmup"), [], None)  # type: ignore[arg-type]


def test_a_connector_is_carried_over_to_another_language_model_with_all_that_it_sees(tmp_path: Path) -> None:
    import tiny_llm
    from safetensors.torch import load_file

    from connector.network import ConnectorModel
    from connector.training.carry import carried, llm_of

    connector = made()
    connector.residual.weight.data.normal_()
    old = ConnectorModel(tiny_llm.language_model("llama"), tiny.Encoder(), connector)  # type: ignore[arg-type]
    old.save(tmp_path / "old")
    other = tiny_llm.language_model("mixtral")
    other.name = "another"
    folder = carried(tmp_path / "old", other, tmp_path / "new")
    assert llm_of(folder) == "another" and llm_of(tmp_path / "old") == old.llm.name and llm_of(None) == ""
    before, after = (load_file(path / "connector.safetensors") for path in (tmp_path / "old", folder))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before if not key.startswith("residual"))
    assert not after["residual.weight"].any() and before["residual.weight"].any()
    assert carried(folder, other, tmp_path / "again") == folder
