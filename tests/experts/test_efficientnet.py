"""EfficientNet-Lite0 without timm: the network that timm has, from the same file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from experts.efficientnet import EPSILON, load
from experts.errors import WeightsError


@pytest.fixture(scope="module")
def reference() -> torch.nn.Module:
    """timm's network with random weights and statistics."""
    import timm

    torch.manual_seed(0)
    net = timm.create_model("efficientnet_lite0", pretrained=False).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = EPSILON
            module.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr, operator]
            module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr, operator]
    return net


def test_logits_and_features_are_those_of_timm(reference: torch.nn.Module, tmp_path: Path) -> None:
    torch.save(reference.state_dict(), tmp_path / "weights.pth")
    own = load(tmp_path / "weights.pth")
    pixels = torch.randn(2, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        wanted = reference.forward_intermediates(pixels, indices=[2, 3, 4], intermediates_only=True)  # type: ignore[operator]
        for found, stage in zip(own.stages(pixels), wanted, strict=True):
            assert (found - stage).abs().max() < 1e-3 * stage.std()  # folding rounds differently
        logits = reference(pixels)
        assert (own(pixels) - logits).abs().max() < 1e-3 * logits.std()
    assert not any(parameter.requires_grad for parameter in own.parameters())


def test_weights_of_another_network_are_refused_by_name(reference: torch.nn.Module, tmp_path: Path) -> None:
    values = reference.state_dict()
    values["classifier.weight"] = values["classifier.weight"][:10]
    torch.save(values, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="'other.pth' does not hold EfficientNet-Lite0"):
        load(tmp_path / "other.pth")


def test_class_names_are_those_that_torchvision_lists() -> None:
    from torchvision.models._meta import _IMAGENET_CATEGORIES

    from experts.evidence.categories import imagenet_classes

    assert imagenet_classes() == tuple(_IMAGENET_CATEGORIES)
