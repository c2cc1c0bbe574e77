"""The tagger: the embedded weights name what is in a photo; any timm model takes their place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experts.base import Expert
from experts.config import Settings, home
from experts.errors import MediaError, WeightsError
from experts.media import Audio, Image
from experts.tag import Tagger

NOISE = Image.open(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8), name="noise")


@pytest.mark.skipif(
    not (home() / "weights" / "efficientnet-lite0" / "efficientnet-lite0.pth").is_file(),
    reason="efficientnet-lite0 is not here: `duet weights fetch efficientnet-lite0`",
)
def test_embedded_weights_name_the_bus() -> None:
    import importlib.util

    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None and spec.origin is not None
    found = Tagger(Settings(device="cpu"))(Image.open(Path(spec.origin).parent / "assets" / "bus.jpg"))
    assert found[0].text in ("minibus", "trolleybus", "streetcar", "recreational vehicle")
    assert [f.score for f in found] == sorted((f.score for f in found), reverse=True)
    assert all(f.expert == "tag" and f.source == "bus.jpg" and 0.05 <= f.score <= 1 for f in found)


def save(folder: Path, count: int, labels: list[str] | None) -> None:
    """A small timm model with random weights, in the layout that timm publishes."""
    import timm
    import torch

    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=count)
    timm.models.save_for_hf(net, str(folder), {"label_names": labels} if labels else None, safe_serialization=True)


@pytest.mark.parametrize("labels", [["apple", "bridge", "cloud"], None])
def test_timm_model_of_ones_own_gives_its_classes(tmp_path: Path, labels: list[str] | None) -> None:
    import timm
    import torch

    save(tmp_path / "mine", 3, labels)
    tagger = Tagger(Settings(tagger=str(tmp_path / "mine"), device="cpu"))
    assert tagger.weights == "mine"
    found = tagger(NOISE)
    assert {f.text for f in found} <= set(labels or ["class 0", "class 1", "class 2"])

    net = timm.create_model(f"local-dir:{tmp_path / 'mine'}", pretrained=True).eval()
    how = timm.data.resolve_model_data_config(net)
    side_px = how["input_size"][-1]
    pixels = torch.tensor(np.array(NOISE.to_pil().resize((side_px, side_px), 3))).permute(2, 0, 1).float() / 255
    normal = (pixels - torch.tensor(how["mean"])[:, None, None]) / torch.tensor(how["std"])[:, None, None]
    with torch.inference_mode():
        wanted = net(normal[None]).softmax(-1)[0]
    assert [f.score for f in found] == pytest.approx(sorted(wanted.tolist(), reverse=True)[: len(found)], abs=1e-3)


def test_unknown_model_is_told_in_one_line_without_folders(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="the tagger 'resnet_of_nobody' could not be loaded: .*'efficientnet-lite0'"):
        Tagger(Settings(tagger="resnet_of_nobody"))(NOISE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="the tagger 'empty' could not be loaded") as caught:
        Tagger(Settings(tagger=str(tmp_path / "empty")))(NOISE)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_tagger_is_an_expert_and_takes_only_images() -> None:
    tagger = Tagger()
    assert isinstance(tagger, Expert) and tagger.weights == "efficientnet-lite0"
    with pytest.raises(MediaError, match="the tagger takes images, 'audio' is audio"):
        tagger(Audio.open(np.zeros(100, np.float32), rate_hz=16_000))
