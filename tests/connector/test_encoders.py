"""Encoders: presets behind one protocol, on tiny random checkpoints in the form their libraries save."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import build

from connector.encoders import registry
from connector.encoders.registry import ENCODERS, LiteEncoder
from connector.encoders.towers import TOWERS
from experts.errors import ConfigError, MediaError, UnknownNameError, WeightsError
from experts.media import Audio, Image
from experts.weights import catalogue

torch.set_num_threads(1)


def picture(side: int, seed: int = 0) -> Image:
    return Image.open(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


def clip_folder(folder: Path, *, whole: bool = False) -> str:
    """A CLIP checkpoint: its vision model alone, or with its text model as it is published."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPVisionConfig, CLIPVisionModel

    torch.manual_seed(0)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 3}
    vision = CLIPVisionConfig(**shape, patch_size=8, image_size=32)
    if whole:
        text = shape | {"vocab_size": 50, "bos_token_id": 0, "eos_token_id": 1}
        model = CLIPModel(CLIPConfig(vision_config=vision.to_dict(), text_config=text, projection_dim=16))
    else:
        model = CLIPVisionModel(vision)
    model.save_pretrained(folder)
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder)
    return str(folder)


def timm_folder(folder: Path, architecture: str, **shape: Any) -> str:
    import timm

    torch.manual_seed(0)
    model = timm.create_model(architecture, pretrained=False, num_classes=5, **shape)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    timm.models.save_for_hf(model, str(folder), safe_serialization=True, model_args=shape)
    return str(folder)


VIT = {"img_size": 28, "embed_dim": 32, "depth": 3, "num_heads": 2}
CONV = {"depths": (1, 1, 1, 1), "dims": (8, 16, 24, 32)}


def whisper_folder(folder: Path) -> str:
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    torch.manual_seed(0)
    shape = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "vocab_size": 60, "num_mel_bins": 80}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 3}
    WhisperModel(WhisperConfig(**shape, **heads, **ids, max_target_positions=8)).save_pretrained(folder)
    WhisperFeatureExtractor().save_pretrained(folder)
    return str(folder)


# -- images ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("whole", [False, True])
def test_clip_features_are_the_patches_of_its_last_layer_but_one(tmp_path: Path, whole: bool) -> None:
    from transformers import CLIPImageProcessor, CLIPModel, CLIPVisionModel

    folder, image = clip_folder(tmp_path, whole=whole), picture(32)
    encoder = registry.load(folder, tiles=0)
    pixels = CLIPImageProcessor.from_pretrained(folder)(image.to_pil(), return_tensors="pt").pixel_values
    model = CLIPModel.from_pretrained(folder).vision_model if whole else CLIPVisionModel.from_pretrained(folder)
    with torch.no_grad():
        expected = model.eval()(pixels, output_hidden_states=True).hidden_states[1 + 3 - 2][:, 1:]  # [1, 16, 32]
    features = encoder.encode([image])
    assert features.shape == (1, encoder.cells, encoder.width) == (1, 16, 32)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


def test_direct_scaling_interpolates_position_embeddings(tmp_path: Path) -> None:
    from transformers import CLIPVisionModel

    folder, image = clip_folder(tmp_path), picture(64)
    encoder = registry.load(folder, tiles=0, size_px=64)
    features = encoder.encode([image])
    assert features.shape == (1, 64, 32)
    model = CLIPVisionModel.from_pretrained(folder).eval()
    grid = model.embeddings.position_embedding.weight[1:].view(1, 4, 4, 32).permute(0, 3, 1, 2)
    larger = torch.nn.functional.interpolate(grid, (8, 8), mode="bicubic", align_corners=False)
    with torch.no_grad():  # the same network with a position table that has that size
        table = torch.cat([model.embeddings.position_embedding.weight[:1], larger.flatten(2)[0].T])
        model.embeddings.position_embedding = torch.nn.Embedding.from_pretrained(table)
        model.embeddings.position_ids = torch.arange(65)[None]
        model.embeddings.image_size = 64
        mean, std = (torch.tensor(value).view(3, 1, 1) for value in (encoder._mean, encoder._std))
        pixels = (torch.from_numpy(image.pixels).permute(2, 0, 1)[None] / 255 - mean) / std
        expected = model(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "shape"),
    [
        ("vit_tiny_patch16_224", VIT | {"patch_size": 14, "pre_norm": True}),
        ("eva02_tiny_patch14_224", VIT),
        ("convnext_atto", CONV),
    ],
)
def test_patch_division_is_the_encoder_on_each_view(tmp_path: Path, architecture: str, shape: dict[str, Any]) -> None:
    side = 64 if architecture.startswith("convnext") else 28
    folder = timm_folder(tmp_path, architecture, **shape)
    image = picture(2 * side)
    tiled, single = registry.load(folder, 2, side), registry.load(folder, 0, side)
    features = tiled.encode([image])[0].view(5, single.cells, single.width)
    for tile in range(4):
        row, column = divmod(tile, 2)
        part = image.pixels[row * side : (row + 1) * side, column * side : (column + 1) * side]
        torch.testing.assert_close(features[1 + tile], single.encode([Image.open(part)])[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features[0], single.encode([image])[0], rtol=1e-4, atol=1e-5)
    assert (features[1] - features[2]).abs().max() > 1e-3


def test_timm_features_are_those_of_its_own_intermediate_layers(tmp_path: Path) -> None:
    import timm

    folder = timm_folder(tmp_path, "vit_tiny_patch16_224", **VIT, patch_size=14)
    image, net = picture(28), timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    how = timm.data.resolve_model_data_config(net)
    mean, std = (torch.tensor(how[key]).view(3, 1, 1) for key in ("mean", "std"))
    pixels = (torch.from_numpy(image.pixels).permute(2, 0, 1)[None] / 255 - mean) / std
    with torch.no_grad():
        x = net.norm_pre(net.patch_drop(net._pos_embed(net.patch_embed(pixels))))
        expected = net.blocks[1](net.blocks[0](x))[:, 1:]  # the last layer but one of three, without the class token
    torch.testing.assert_close(registry.load(folder, 0).encode([image]), expected, rtol=1e-4, atol=1e-5)


def test_timm_position_embeddings_follow_the_resolution(tmp_path: Path) -> None:
    folder = timm_folder(tmp_path, "vit_tiny_patch16_224", **VIT, patch_size=14)
    encoder = registry.load(folder, 0, 56)
    assert encoder.encode([picture(56)]).shape == (1, encoder.cells, encoder.width) == (1, 16, 32)


def test_alone_and_in_a_batch_features_are_the_same(tmp_path: Path) -> None:
    encoder = registry.load(clip_folder(tmp_path), tiles=2)
    both = encoder.encode([picture(40, 1), picture(70, 2)])
    assert torch.equal(both[1:], encoder.encode([picture(70, 2)]))
    assert not both.requires_grad and both.dtype == torch.float32


def test_features_can_be_trained_on(tmp_path: Path) -> None:
    features = registry.load(clip_folder(tmp_path), tiles=0).encode([picture(32)])
    layer = torch.nn.Linear(32, 2)
    layer(features).sum().backward()  # raises for tensors that were made in inference mode
    assert layer.weight.grad is not None


# -- sound ----------------------------------------------------------------------------------------------------------


def test_whisper_hears_each_window_as_its_own_encoder_does(tmp_path: Path) -> None:
    from transformers import WhisperFeatureExtractor, WhisperModel

    folder = whisper_folder(tmp_path)
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, 16_000 * 31).astype(np.float32)
    encoder = registry.load(folder, tiles=1)
    features = encoder.encode([Audio.open(samples, rate_hz=16_000)])
    assert features.shape == (1, 2 * 750, 16) == (1, encoder.views.count * encoder.cells, encoder.width)
    mel = WhisperFeatureExtractor()(samples[: 30 * 16_000], sampling_rate=16_000, return_tensors="pt").input_features
    with torch.no_grad():
        states = WhisperModel.from_pretrained(folder).encoder.eval()(mel).last_hidden_state
    torch.testing.assert_close(features[:, :750], states.unflatten(1, (750, 2)).mean(2), rtol=1e-4, atol=1e-4)


def test_an_encoder_refuses_a_medium_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"takes audio, not image: 'image'"):
        registry.load(whisper_folder(tmp_path), 0).encode([picture(8)])


# -- names ----------------------------------------------------------------------------------------------------------


def test_the_survey_s_encoders_and_whisper_have_a_preset() -> None:
    sizes = {name: (preset.size_px, preset.parameters_m) for name, preset in TOWERS.items()}
    assert sizes["openclip-convnext-l"] == (320, 197.4)
    assert sizes["clip-vit-l-14"] == (224, 304) and sizes["clip-vit-l-14-336"] == (336, 304)
    assert TOWERS["eva-clip-vit-g-14"].source.endswith(".merged2b")  # EVA-CLIP's own; laion400m is another training
    assert {"eva-clip-vit-g-14", "openclip-vit-g-14", "openclip-vit-bigg-14", "whisper-base-encoder"} <= sizes.keys()


@pytest.mark.parametrize("name", [name for name, preset in TOWERS.items() if preset.library == "timm"])
def test_a_timm_preset_names_an_architecture_of_its_size_and_resolution(name: str) -> None:
    import timm
    from timm.models import get_pretrained_cfg

    preset = TOWERS[name]
    published = preset.source.removeprefix("timm/")
    config = get_pretrained_cfg(published)
    assert config is not None and config.hf_hub_id == preset.source and config.input_size[-1] == preset.size_px
    with torch.device("meta"):
        net = timm.create_model(published, pretrained=False, num_classes=0)
    count_m = sum(parameter.numel() for parameter in net.parameters()) / 1e6
    assert count_m == pytest.approx(preset.parameters_m, rel=0.01)


def test_a_preset_loads_its_checkpoint_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = clip_folder(tmp_path / "copy")
    monkeypatch.setitem(ENCODERS, "clip-vit-l-14", dataclasses.replace(TOWERS["clip-vit-l-14"], source=folder))
    registry.load.cache_clear()
    encoder = registry.load("clip-vit-l-14", 1)
    assert encoder.name == "clip-vit-l-14"
    assert encoder.encode([picture(9)]).shape == (1, 2 * 16, 32)
    registry.load.cache_clear()


def test_an_unknown_encoder_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"'clip-vit-l-15'; known: clip-vit-l-14, .* did you mean"):
        registry.load("clip-vit-l-15")


def test_a_size_that_patches_do_not_fill_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"multiple of 8 px, not 33"):
        registry.load(clip_folder(tmp_path), 0, 33)


def test_a_folder_without_weights_is_one_line_without_its_path(tmp_path: Path) -> None:
    folder = clip_folder(tmp_path / "broken")
    (Path(folder) / "model.safetensors").unlink()
    with pytest.raises(WeightsError) as caught:
        registry.load(folder, 0).encode([picture(8)])
    assert str(caught.value).startswith("cannot load the encoder 'broken': its files are missing or damaged (expected")
    assert str(tmp_path) not in str(caught.value) and "\n" not in str(caught.value)


def test_the_fingerprint_changes_with_weights_and_views_alone(tmp_path: Path) -> None:
    first, second = clip_folder(tmp_path / "one"), clip_folder(tmp_path / "two")
    same = registry.load(first, 0).fingerprint()
    assert registry.load(second, 0).fingerprint() == same
    assert registry.load(first, 2).fingerprint() != same
    from safetensors.torch import load_file, save_file

    tensors = load_file(tmp_path / "two" / "model.safetensors")
    key = next(key for key in sorted(tensors) if key.endswith("fc1.weight"))
    tensors[key][3, 5] += 0.01
    save_file(tensors, tmp_path / "two" / "model.safetensors", {"format": "pt"})
    registry.load.cache_clear()
    assert registry.load(second, 0).fingerprint() != same


# -- the embedded one -----------------------------------------------------------------------------------------------


def embedded() -> LiteEncoder:
    """The embedded encoder with its real weights."""
    states = {row.name: row.state for row in catalogue.listing()}
    if any(states[name] != "ready" for name in ("efficientnet-lite0", "nanodet-coco")):
        pytest.skip("its weights are not here: duet weights fetch")
    return registry.load("efficientnet-lite0", 2)


def test_the_embedded_classifier_on_pooled_features_is_the_tagger() -> None:
    from experts.tag import Tagger

    encoder, image = embedded(), Image.open(Path(__file__).parents[2] / "examples" / "photo.jpg")
    weight1, bias1, weight2, bias2 = encoder.head()
    stage = encoder.encode([image])[0, : encoder.cells, : encoder.parts["stage"]]  # [49, 320]
    hidden = torch.nn.functional.relu6(stage @ weight1.T + bias1).mean(0)
    p, index = (hidden @ weight2.T + bias2).softmax(-1).max(-1)
    first = Tagger()(image)[0]
    assert encoder.classes[int(index)] == first.text
    assert float(p) == pytest.approx(first.score, abs=2e-3)


def test_the_embedded_encoder_s_width_is_that_of_its_parts() -> None:
    assert LiteEncoder.width == sum(LiteEncoder.parts.values()) == 564
    assert LiteEncoder(2).views.count * LiteEncoder.cells == 245


def test_the_embedded_encoder_has_one_size() -> None:
    with pytest.raises(ConfigError, match=r"sees 224 px a view, not 336; use more tiles"):
        registry.load("efficientnet-lite0", 2, 336)


@pytest.mark.parametrize("family", ["llava", "idefics3", "git", "qwen2_vl", "florence2"])
def test_a_whole_multimodal_model_is_never_an_encoder_with_random_weights(family: str, tmp_path: Path) -> None:
    folder = build(family, tmp_path / family)
    with pytest.raises((ConfigError, WeightsError), match="accepted"):
        registry.load(str(folder)).encode([Image.open(np.zeros((28, 28, 3), np.uint8), name="black.png")])
