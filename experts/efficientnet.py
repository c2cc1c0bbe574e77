"""EfficientNet-Lite0 (Tan and Le, arXiv 1905.11946): the tagger's and the embedded encoder's network, in torch alone.

Its normalisation is folded into its convolutions, so a layer is a convolution and, but for a block's last, a ReLU6.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import relu6
from torch.nn.utils.fusion import fuse_conv_bn_weights

from experts.errors import WeightsError

STEM, HEAD, CLASSES = 32, 1280, 1000
STAGES = (  # blocks, kernel, stride of the first block, expansion inside a block, width
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
SEEN = (2, 4, 6)  # the last stages at strides 8, 16 and 32
EPSILON = 1e-3  # of its normalisation


class Block(nn.Module):
    """Widen (where there is an expansion), filter each channel, narrow; the input is added where its shape is kept."""

    def __init__(self, inside: int, kernel: int, stride: int, expansion: int, outside: int) -> None:
        super().__init__()
        wide = inside * expansion
        self.wide = nn.Conv2d(inside, wide, 1) if expansion > 1 else None
        self.filter = nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide)
        self.narrow = nn.Conv2d(wide, outside, 1)
        self.adds = stride == 1 and inside == outside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        wide = x if self.wide is None else relu6(self.wide(x))
        out = self.narrow(relu6(self.filter(wide)))
        return out + x if self.adds else out


class EfficientNetLite0(nn.Module):
    """[B, 3, S, S] normalised pixels -> logits [B, 1000]; `stages` gives what the layers below hold."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = nn.Conv2d(3, STEM, 3, 2, 1)
        self.stage_list = nn.ModuleList()
        inside = STEM
        for count, kernel, stride, expansion, width in STAGES:
            blocks = nn.Sequential()
            for at in range(count):
                blocks.append(Block(inside, kernel, stride if at == 0 else 1, expansion, width))
                inside = width
            self.stage_list.append(blocks)
        self.conv_head = nn.Conv2d(inside, HEAD, 1)
        self.classifier = nn.Linear(HEAD, CLASSES)

    def stages(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The last features at strides 8, 16 and 32: [B, 40, S/8, S/8], [B, 112, S/16, S/16], [B, 320, S/32, S/32]."""
        found = []
        x = relu6(self.conv_stem(x))
        for at, blocks in enumerate(self.stage_list):
            x = blocks(x)
            if at in SEEN:
                found.append(x)
        return found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = relu6(self.conv_head(self.stages(x)[-1]))  # [B, 1280, S/32, S/32]
        return self.classifier(x.mean((2, 3)))  # [B, 1000]


def load(file: Path) -> EfficientNetLite0:
    """The network with the weights of a published file, frozen, channels last.

    The file lists, in the order of the layers, each convolution's weights, then its normalisation's scale, shift, mean,
    variance and count; last the classifier.

    Raises:
        WeightsError: the file holds another network.
    """
    stored = list(torch.load(file, map_location="cpu", weights_only=True).values())
    with torch.device("meta"):  # no memory and no random values: all come from the file
        net = EfficientNetLite0()
    convolutions = [layer for layer in net.modules() if isinstance(layer, nn.Conv2d)]
    shapes = [shape for layer in convolutions for shape in (layer.weight.shape, *[layer.weight.shape[:1]] * 4, ())]
    shapes += [net.classifier.weight.shape, net.classifier.bias.shape]
    if [tuple(value.shape) for value in stored] != [tuple(shape) for shape in shapes]:
        raise WeightsError(f"'{file.name}' does not hold EfficientNet-Lite0")
    values = iter(stored)
    for layer in convolutions:
        weight, scale, shift, mean, variance, _ = (next(values) for _ in range(6))
        layer.weight, layer.bias = fuse_conv_bn_weights(weight, None, mean, variance, EPSILON, scale, shift)
    net.classifier.weight, net.classifier.bias = nn.Parameter(next(values)), nn.Parameter(next(values))
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)
