"""The multimodal model: caches, padding, batches, keeping and loading, for each kind of connector and family of LLM."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_llm
import torch
from safetensors.torch import load_file, save_file
from tiny_llm import KINDS, SMALL, make, stir

from connector import network as model
from connector.data.records import Record
from connector.encoders import registry
from connector.interfaces import build
from connector.llm import templates
from connector.llm.language import LanguageModel
from connector.llm.language import load as load_llm
from connector.network import Batch, ConnectorModel
from connector.training import trainable
from connector.training.batches import pad
from connector.training.stages import stage_config
from experts.errors import ModelError
from experts.media import Image

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def known_encoder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tiny encoder is a row of the table, as a real one is."""
    monkeypatch.setitem(registry.ENCODERS, "tiny-views", lambda tiles: tiny_llm.Encoder())
    registry.load.cache_clear()
    yield
    registry.load.cache_clear()


def picture(seed: int = 0) -> Image:
    return Image.open(np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8))


def whole(kind: str, llm: LanguageModel | None = None, *, trained: bool = True) -> ConnectorModel:
    llm = llm or tiny_llm.language_model("llama")
    connector = make(kind, llm)
    return ConnectorModel(llm, tiny_llm.Encoder(), (stir(connector) if trained else connector).eval())


def sequence(m: ConnectorModel, length: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Ids, slots and features of one sequence with a picture."""
    ids = torch.randint(0, 90, (length + m.n_tokens,), generator=torch.Generator().manual_seed(seed))
    slots = torch.zeros_like(ids, dtype=torch.bool)
    slots[1 : 1 + m.n_tokens] = True
    return ids, slots, m.encoder.encode([picture(seed)])[0]


def padded(rows: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], side: str) -> Batch:
    """Sequences as a batch, padded on one side with what must not matter."""
    length = max(len(ids) for ids, _, _ in rows)
    ids = torch.full((len(rows), length), 7)
    mask, slots = torch.zeros_like(ids), torch.zeros_like(ids, dtype=torch.bool)
    for row, (one, where, _) in enumerate(rows):
        at = slice(0, len(one)) if side == "right" else slice(length - len(one), length)
        ids[row, at], mask[row, at], slots[row, at] = one, 1, where
    return Batch(ids, mask, slots, torch.stack([features for _, _, features in rows]))


def logits(m: ConnectorModel, batch: Batch) -> torch.Tensor:
    """Logits of real positions [K, V], row by row."""
    with torch.no_grad():
        return m.head(m.hidden(batch)[batch.mask.bool()])


# -- same answers however it is asked -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["llama", "qwen2_moe"])
def test_padding_and_company_do_not_change_logits(kind: str, family: str) -> None:
    m = whole(kind, tiny_llm.language_model(family))
    rows = [sequence(m, length, seed) for seed, length in enumerate((4, 9, 6))]
    alone = torch.cat([logits(m, padded([row], "right")) for row in rows])
    for side in ("right", "left"):
        torch.testing.assert_close(logits(m, padded(rows, side)), alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", ["llama", "mixtral", "qwen2_moe"])
def test_an_answer_with_a_cache_is_that_of_whole_forward_passes(kind: str, family: str) -> None:
    m = whole(kind, tiny_llm.language_model(family))
    features = m.encoder.encode([picture()])
    prompt = m.prompt("What?", [picture()])
    said = "".join(t.text for t in m.llm.stream(prompt, max_new_tokens=12, within=m.layers_for("What?", features)))
    with m.layers_for("What?", features):
        ids, _ = tiny_llm.greedy(m.llm, prompt, 12)
    assert said == m.llm.tokenizer.decode(ids, skip_special_tokens=True).rstrip("\ufffd")


@pytest.mark.parametrize("kind", KINDS)
def test_answers_in_batches_are_those_of_one_question_at_a_time(kind: str) -> None:
    m = whole(kind)
    asked = [(question, m.encoder.encode([picture(seed)])) for seed, question in enumerate(("What?", "Is it?", "Who?"))]
    alone = []
    for question, features in asked:
        within, prompt = m.layers_for(question, features), m.prompt(question, [], features=features)
        alone.append("".join(t.text for t in m.llm.stream(prompt, max_new_tokens=8, within=within)).strip())
    assert list(m.answers(iter(asked), 8, batch=2)) == alone
    assert len(set(alone)) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_matters(kind: str) -> None:
    m = whole(kind)
    one, other = (sequence(m, 6, 0)[:2] + sequence(m, 6, seed)[2:] for seed in (1, 2))
    assert (logits(m, padded([one], "right")) - logits(m, padded([other], "right"))).abs().max() > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_a_question_about_several_pictures_sees_them_all(kind: str) -> None:
    m = whole(kind)
    answers = set()
    for pair in ((0, 1), (0, 2), (3, 1)):
        images = [picture(seed) for seed in pair]
        features = m.encoder.encode(images)
        prompt = m.prompt("Which?", images, features=features)
        said = [t.logprob for t in m.llm.stream(prompt, max_new_tokens=1, within=m.layers_for("Which?", features))]
        answers.add(round(said[0], 4))
    assert len(answers) == 3


def test_a_prompt_without_tokens_still_says_that_there_is_a_picture() -> None:
    m = whole("crossattn")
    with_one, without = m.prompt("What?", [picture()]), m.prompt("What?", [])
    assert len(with_one) > len(without)
    ids, _ = m._ids("What?", 1)
    assert "Input:" in m.llm.tokenizer.decode(ids[0])


def test_an_untrained_vocabulary_puts_the_class_into_the_prompt() -> None:
    m = whole("vocabulary", trained=False)
    x = torch.zeros(1, 20, 12)
    x[..., 2] = 6.0  # surely a bus, everywhere
    prompt = m.prompt("What?", [picture()], features=x)
    table = m.llm.model.get_input_embeddings().weight
    nearest = ((prompt[:, None] - table[None]) ** 2).sum(-1).argmin(-1)
    text = m.llm.tokenizer.decode(nearest)
    assert "Input:  bus" in text and text.count(" bus") == 5


# -- encoder-decoder and mixture of experts -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "expert"])
def test_an_encoder_decoder_answers_about_a_picture(tmp_path: Path, kind: str) -> None:
    m = whole(kind, tiny_llm.language_model("t5", tmp_path))
    features = m.encoder.encode([picture()])
    prompt = m.prompt("What?", [picture()])
    pieces = list(m.llm.stream(prompt, max_new_tokens=10, within=m.layers_for("What?", features)))
    with m.layers_for("What?", features):
        ids, _ = tiny_llm.greedy(m.llm, prompt, 10)
    assert "".join(piece.text for piece in pieces) == m.llm.tokenizer.decode(ids, skip_special_tokens=True)


def test_training_an_encoder_decoder_is_refused_in_a_line(tmp_path: Path) -> None:
    m = whole("mlp", tiny_llm.language_model("t5", tmp_path))
    with pytest.raises(ModelError, match=r"is an encoder-decoder: it answers prompts, but stages train causal models"):
        m.hidden(padded([sequence(m, 4, 0)], "right"))


# -- wrong shapes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "differences"),
    [
        ((1, 19, 12), "N is 19 instead of 20;"),
        ((1, 20, 13), "D_enc is 13 instead of 12;"),
        ((1, 5, 6), "N is 5 instead of 20, D_enc is 6 instead of 12;"),
        ((20, 12), "2 dimensions instead of 3;"),
    ],
)
@pytest.mark.parametrize("kind", ["linear", "vocabulary", "crossattn"])
def test_features_of_a_wrong_shape_are_one_line_with_the_differences(
    kind: str, shape: tuple[int, ...], differences: str
) -> None:
    m = whole(kind)
    with pytest.raises(ModelError) as caught:
        m.prompt("What?", [picture()], features=torch.zeros(shape))
    message = str(caught.value)
    assert differences in message and f"this {kind} connector, which takes [B, 20, 12]" in message
    assert "\n" not in message


def test_a_wrong_number_of_image_slots_is_one_line() -> None:
    m = whole("linear")
    ids, slots, features = sequence(m, 4, 0)
    slots[1] = False
    with pytest.raises(ModelError, match=r"^5 image slots for 1 images of 6 tokens$"):
        m.hidden(Batch(ids[None], torch.ones_like(ids)[None], slots[None], features[None]))


# -- keeping --------------------------------------------------------------------------------------------------------


def halved(m: ConnectorModel) -> ConnectorModel:
    """The same model with values that half precision holds exactly."""
    m.connector.requires_grad_(False)  # as a loaded one: torch has another kernel for attention that cannot learn
    for tensor in m.connector.state_dict().values():
        tensor.copy_(tensor.half().float())
    return m


@pytest.mark.parametrize("kind", KINDS)
def test_a_loaded_model_gives_identical_logits(tmp_path: Path, kind: str) -> None:
    m = halved(whole(kind))
    m.card = {"seed": 3}
    m.save(tmp_path / "saved")
    again = model.load(tmp_path / "saved", tiny_llm.language_model("llama"))
    rows = padded([sequence(m, 5, 1), sequence(m, 8, 2)], "right")
    assert torch.equal(logits(again, rows), logits(m, rows))
    assert again.card == {"seed": 3} and again.encoder.name == "tiny-views"
    assert build.describe(again.connector) == build.describe(m.connector)


def test_values_are_rounded_to_half_precision_once(tmp_path: Path) -> None:
    m = whole("mlp")
    m.save(tmp_path / "first")
    assert json.loads((tmp_path / "first" / "config.json").read_text())["stored"] == "float16"
    again = model.load(tmp_path / "first", tiny_llm.language_model("llama"))
    rows = padded([sequence(m, 5, 1)], "right")
    assert 0 < (logits(again, rows) - logits(m, rows)).abs().max() < 0.05
    again.save(tmp_path / "second")
    for file in ("connector.safetensors", "config.json"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_values_that_half_precision_cannot_hold_are_not_saved_in_silence(tmp_path: Path) -> None:
    m = whole("linear")
    m.connector.project.bias.data[0] = 1e6
    with pytest.raises(ModelError, match=r"values of project.bias are not finite in half precision"):
        m.save(tmp_path / "saved")


def test_a_saved_model_needs_nothing_else(tmp_path: Path) -> None:
    m = halved(whole("vocabulary", tiny_llm.language_model("llama", tmp_path / "llm")))
    m.save(tmp_path / "saved")
    again = model.load(tmp_path / "saved")
    assert again.llm.name == m.llm.name == str(tmp_path / "llm")
    question = again.prompt("What?", [picture()])
    assert torch.equal(question, m.prompt("What?", [picture()]))


def test_a_language_model_that_was_trained_in_full_is_read_back(tmp_path: Path) -> None:
    m = halved(whole("vocabulary", tiny_llm.language_model("llama", tmp_path / "llm")))
    with torch.no_grad():
        for parameter in m.llm.model.parameters():
            parameter.mul_(1.5)
    m.save(tmp_path / "saved")
    m.llm.model.save_pretrained(tmp_path / "saved" / "llm")
    told = m.llm.model.state_dict()
    for again in (model.load(tmp_path / "saved").llm, model.adapted(tmp_path / "saved")):
        assert all(torch.equal(value, told[key]) for key, value in again.model.state_dict().items())
        assert len(again.adapter) == 12  # what the trace calls it
    assert model.load(tmp_path / "saved", model.adapted(tmp_path / "saved")).llm.adapter == again.adapter


def test_a_language_model_by_another_spelling_of_its_path_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    m = halved(whole("vocabulary", tiny_llm.language_model("llama", tmp_path / "llm")))
    m.save(tmp_path / "saved")
    (tmp_path / "link").symlink_to("llm")
    for spelling in ("llm", "llm/", "./llm", "~/llm", "link"):
        assert model.load(tmp_path / "saved", load_llm(spelling)).llm.name == spelling
    with pytest.raises(ModelError, match="was trained with"):
        model.load(tmp_path / "saved", tiny_llm.language_model("llama", tmp_path / "other"))


def adapted(llm: LanguageModel) -> ConnectorModel:
    """A model with a LoRA in it that does something, in values that half precision holds exactly."""
    m = halved(whole("linear", llm))
    trainable.add_adapter(m, stage_config("instruct", lora_rank=4, lora_alpha=8))
    torch.manual_seed(5)
    for name, parameter in m.llm.model.named_parameters():
        if ".lora_" in name:
            parameter.data = (torch.randn_like(parameter) * 0.1).half().float()
    return m


@pytest.mark.parametrize("family", ["llama", "mixtral", "qwen2_moe"])
def test_a_merged_adapter_gives_the_logits_of_peft_s_own(tmp_path: Path, family: str) -> None:
    m = adapted(tiny_llm.language_model(family))
    m.save(tmp_path / "saved", adapter=trainable.adapter_tensors(m))
    again = model.load(tmp_path / "saved", tiny_llm.language_model(family))
    rows = padded([sequence(m, 5, 1), sequence(m, 8, 2)], "right")
    torch.testing.assert_close(logits(again, rows), logits(m, rows), rtol=1e-3, atol=1e-3)
    plain = whole("linear", tiny_llm.language_model(family))
    plain.connector = m.connector
    assert (logits(plain, rows) - logits(m, rows)).abs().max() > 0.1
    assert len(again.llm.adapter) == 12


def test_an_adapter_is_merged_once(tmp_path: Path) -> None:
    m = adapted(tiny_llm.language_model("llama"))
    m.save(tmp_path / "saved", adapter=trainable.adapter_tensors(m))
    llm = tiny_llm.language_model("llama")
    first = model.load(tmp_path / "saved", llm)
    weight = first.llm.model.model.layers[0].self_attn.q_proj.weight.clone()
    model.load(tmp_path / "saved", llm)
    assert torch.equal(weight, llm.model.model.layers[0].self_attn.q_proj.weight)


# -- what cannot be loaded ------------------------------------------------------------------------------------------


def saved(folder: Path, **changes: Any) -> Path:
    """A saved model whose config.json was changed."""
    whole("mlp").save(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def test_another_language_model_is_refused_with_the_differences(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved")
    with pytest.raises(ModelError) as caught:
        model.load(folder, tiny_llm.language_model("mixtral"))
    assert str(caught.value).startswith("'saved' was trained with 'tiny-llama', not with 'tiny-mixtral'; set llm to it")
    assert "model_type llama is mixtral here" in str(caught.value)


def test_weights_that_do_not_fit_their_config_are_refused_with_the_differences(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved")
    tensors = load_file(folder / "connector.safetensors")
    tensors["project.0.weight"] = torch.zeros(3, 12)
    tensors["extra"] = torch.zeros(1)
    save_file(tensors, folder / "connector.safetensors")
    with pytest.raises(ModelError) as caught:
        model.load(folder, tiny_llm.language_model("llama"))
    assert "extra: file [1], config none; project.0.weight: file [3, 12], config [16, 12]" in str(caught.value)


def test_an_encoder_that_does_not_fit_is_refused_with_the_differences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(tmp_path / "saved")
    wide = type("Wide", (tiny_llm.Encoder,), {"width": 16})
    monkeypatch.setitem(registry.ENCODERS, "tiny-views", lambda tiles: wide())
    with pytest.raises(
        ModelError, match=r"encoder 'tiny-views' does not fit the connector: D_enc is 16 instead of 12$"
    ):
        model.load(folder, tiny_llm.language_model("llama"))


def test_a_newer_format_and_no_model_at_all_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"'saved' was saved in format 9, this program reads up to 1"):
        model.load(saved(tmp_path / "saved", format=9), tiny_llm.language_model("llama"))
    with pytest.raises(ModelError, match=r"'none' is not a saved connector") as caught:
        model.load(tmp_path / "none", tiny_llm.language_model("llama"))
    assert str(tmp_path) not in str(caught.value)


def test_saved_sizes_stay_small(tmp_path: Path) -> None:
    """Words come from the language model and hooks from the config: only what was learned is stored."""
    m = whole("vocabulary")
    m.save(tmp_path / "saved")
    stored = load_file(tmp_path / "saved" / "connector.safetensors")
    assert stored.keys() == dict(m.connector.named_parameters()).keys()
    assert SMALL["hidden"] == len(stored["residual.0.weight"])


def test_an_adapter_that_does_not_fit_changes_nothing() -> None:
    from connector.llm.adapter import merge_adapter

    llm = tiny_llm.language_model()
    name = next(name for name, _ in llm.model.named_parameters() if name.endswith("q_proj.weight"))
    before = {key: value.clone() for key, value in llm.model.state_dict().items()}
    rows, columns = before[name].shape
    fits = {f"{name}.lora_A": torch.ones(2, columns), f"{name}.lora_B": torch.ones(rows, 2)}
    strange = {"no.such.weight.lora_A": torch.ones(2, 3), "no.such.weight.lora_B": torch.ones(3, 2)}
    with pytest.raises(ModelError, match="does not fit the language model at no.such.weight"):
        merge_adapter(llm, fits | strange, "x")
    assert all(torch.equal(value, before[key]) for key, value in llm.model.state_dict().items()) and not llm.adapter
    merge_adapter(llm, fits, "x")
    assert not torch.equal(llm.model.state_dict()[name], before[name])


@pytest.mark.parametrize("family", ["llama", "mixtral", "qwen2_moe"])
def test_questions_in_one_sequence_do_not_see_each_other(family: str) -> None:
    m = whole("mlp", tiny_llm.language_model(family))
    words = m.llm.tokenizer
    asked = [("What is it?", "a dog"), ("Where is the cat?", "left"), ("How many are there?", "3")]
    records = [Record(str(at), question, said, "name", "a.png") for at, (question, said) in enumerate(asked)]
    encoded = templates.encode_turns(words, records, "instruct", m.n_tokens)
    batch = pad([encoded], ["a"], m.encoder.encode([picture()]), words.pad_token_id).input
    second = torch.tensor([turn == 2 for turn in encoded.turns])
    others = dataclasses.replace(batch, ids=torch.where(second, (batch.ids + 1) % 50, batch.ids))
    with torch.inference_mode():
        said, changed = m.hidden(batch)[0], m.hidden(others)[0]
    assert torch.allclose(said[~second], changed[~second], atol=1e-4)
    assert not torch.allclose(said[second], changed[second], atol=1e-2)
    alone = templates.encode(words, records[0], "instruct", m.n_tokens)
    with torch.inference_mode():
        first = m.hidden(pad([alone], ["a"], batch.features, words.pad_token_id).input)[0]
    assert torch.allclose(said[: len(alone)], first, atol=1e-4)
    assert encoded.positions[encoded.turns.index(3)] == encoded.image_slots[-1] + 1
