"""Frozen encoders: media -> features [B, N, D_enc], N = views x cells of a view; the table, and the embedded one."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from connector.encoders.resolution import Views, Windows
from connector.encoders.towers import TOWERS, open_folder, open_tower
from experts.errors import ConfigError, UnknownNameError
from experts.evidence.categories import imagenet_classes
from experts.media import Image

if TYPE_CHECKING:
    import onnxruntime
    import torch


class Encoder(Protocol):
    """A frozen encoder with its views. One with a classifier also has `head()` and `classes`: see LiteEncoder."""

    name: str
    views: Views | Windows
    cells: int  # cells of one view; N = views.count * cells
    width: int  # D_enc

    def encode(self, media: Sequence[Any]) -> torch.Tensor:
        """Features float32 [B, N, D_enc] of images (or sounds, for an encoder of sound), on the CPU, without gradients.

        Raises:
            MediaError: a medium of another kind.
        """
        ...

    def fingerprint(self) -> str:
        """16 hex digits that change whenever the features of an image would; part of a cache's key."""
        ...


class LiteEncoder:
    """EfficientNet-Lite0 at 224 px, seen whole and in tiles, with what its last layer forgets put back.

    A cell's feature is [last stage 320 | stride 16: 112 | stride 8: 40 | colour of its quarters: 12 | COCO scores: 80].
    The last stage alone names things but has lost colour and place. The COCO scores are what the dense head of the
    embedded NanoDet says of the cell: features, not findings, for no box is decided here.
    """

    name = "efficientnet-lite0"
    size_px = 224  # side of a view
    side = 7  # cells along a view's side
    cells = side * side
    parts = {"stage": 320, "stride16": 112, "stride8": 40, "colour": 12, "coco": 80}
    width = sum(parts.values())

    def __init__(self, tiles: int = 2) -> None:
        self.views = Views(self.size_px, tiles)
        self._lock = threading.Lock()
        self._net: Any = None
        self._detector: Any = None

    def fingerprint(self) -> str:
        from experts.weights.catalogue import WEIGHTS

        files = [file.sha256 for name in (self.name, "nanodet-coco") for file in WEIGHTS[name].files]
        text = f"lite-1 {self.views} {self.parts} {files}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def encode(self, media: Sequence[Image]) -> torch.Tensor:
        import torch

        with self._lock:
            if self._net is None:
                self._load()
            with torch.inference_mode():
                features = torch.stack([self._one(image) for image in media])  # [B, N, D_enc]
        return features.clone()  # autograd refuses tensors that were made in inference mode

    @property
    def classes(self) -> tuple[str, ...]:
        """What the classifier's outputs are called, in their order."""
        return imagenet_classes()

    def head(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The classifier that a vocabulary connector starts from.

        Returns W1 [1280, 320] and b1 (then ReLU6), W2 [1000, 1280] and b2: last-stage features -> ImageNet classes.
        """
        with self._lock:
            if self._net is None:
                self._load()
        net = self._net
        values = (
            net.conv_head.weight.detach()[:, :, 0, 0],
            net.conv_head.bias.detach(),
            net.classifier.weight.detach(),
            net.classifier.bias.detach(),
        )
        weight1, bias1, weight2, bias2 = (value.cpu().clone() for value in values)
        return weight1, bias1, weight2, bias2

    def _load(self) -> None:
        import torch

        from experts.tag import load_backbone

        self._net = load_backbone(self.name).to("cuda" if torch.cuda.is_available() else "cpu")
        self._detector = DenseScores()

    def _one(self, image: Image) -> torch.Tensor:
        """Features [N, D_enc] of one image."""
        import torch
        from torch.nn.functional import adaptive_avg_pool2d

        from experts.tag import MEAN, STD

        device = self._net.conv_head.weight.device
        pixels = torch.from_numpy(self.views.cut(image)).to(device).permute(0, 3, 1, 2).float() / 255
        mean, std = (torch.tensor(value, device=device).view(3, 1, 1) for value in (MEAN, STD))
        stages = self._net.stages(((pixels - mean) / std).contiguous(memory_format=torch.channels_last))
        quarters = adaptive_avg_pool2d(pixels, 2 * self.side)  # [V, 3, 14, 14]
        layers = [
            stages[2],
            adaptive_avg_pool2d(stages[1], self.side),
            adaptive_avg_pool2d(stages[0], self.side),
            torch.nn.functional.pixel_unshuffle(quarters, 2),  # [V, 12, 7, 7]
            self._coco(image).to(device),
        ]
        return torch.cat(layers, dim=1).flatten(2).transpose(1, 2).flatten(0, 1).cpu()  # [V * 49, D_enc]

    def _coco(self, image: Image) -> torch.Tensor:
        """Class scores [V, 80, 7, 7] of the detector's dense head, the largest within each cell."""
        import torch
        from torch.nn.functional import adaptive_max_pool2d

        scores = torch.from_numpy(self._detector(image))  # [80, S, S] over the whole image
        whole = adaptive_max_pool2d(scores[None], self.side)
        if not self.views.tiles:
            return whole
        tiles = self.views.tiles
        fine = adaptive_max_pool2d(scores, tiles * self.side)  # [80, tiles * 7, tiles * 7]
        cut = fine.view(80, tiles, self.side, tiles, self.side).permute(1, 3, 0, 2, 4)
        return torch.cat([whole, cut.reshape(-1, 80, self.side, self.side)])


class DenseScores:
    """What NanoDet's dense head says of each place before any box is decided: image -> [80, 52, 52] in [0, 1].

    A cell holds, for each COCO class, the largest score among the three strides (8, 16, 32 px at 416 px) that cover it.
    """

    side_px = 416
    strides = (8, 16, 32)

    def __init__(self) -> None:
        import onnxruntime

        from experts.weights.catalogue import resolve

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1  # a second pool of spinning threads beside torch's slows both
        file = next(resolve("nanodet-coco").glob("*.onnx"))
        self._session: onnxruntime.InferenceSession = onnxruntime.InferenceSession(
            str(file), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, image: Image) -> np.ndarray:
        pixels = Views(self.side_px).cut(image).transpose(0, 3, 1, 2).astype(np.float32) / 255  # [1, 3, 416, 416]
        out = self._session.run(None, {self._session.get_inputs()[0].name: pixels})[0][0, 4:]  # [80, 3549]
        fine = self.side_px // self.strides[0]
        best = np.zeros((out.shape[0], fine, fine), np.float32)
        start = 0
        for stride in self.strides:
            side = self.side_px // stride
            level = out[:, start : start + side * side].reshape(-1, side, side)
            best = np.maximum(best, np.kron(level, np.ones((1, fine // side, fine // side), np.float32)))
            start += side * side
        return best


ENCODERS: dict[str, Any] = {"efficientnet-lite0": LiteEncoder, **TOWERS}


@functools.lru_cache(maxsize=2)
def load(name: str, tiles: int = 2, size_px: int = 0) -> Encoder:
    """The frozen encoder `name`, once a process.

    Args:
        name: a row of ENCODERS, or a folder in the form in which transformers or timm save an encoder.
        tiles: tiles along a picture's side (patch division; 0 = the whole picture alone); of a sound, further windows.
        size_px: side of a view (direct scaling: position embeddings are interpolated); 0 = the encoder's own.

    Raises:
        UnknownNameError: neither.
        ConfigError: tiles or a size that the encoder cannot have.
        WeightsError: it is not here and cannot be fetched.
    """
    if tiles < 0 or size_px < 0:
        raise ConfigError(f"'tiles' ({tiles}) and 'size_px' ({size_px}) must be 0 or more")
    if name == LiteEncoder.name:
        if size_px not in (0, LiteEncoder.size_px):
            raise ConfigError(f"encoder '{name}' sees {LiteEncoder.size_px} px a view, not {size_px}; use more tiles")
        return ENCODERS[name](tiles)
    if name in ENCODERS:
        made = ENCODERS[name]
        return made(tiles) if callable(made) else open_tower(name, made, tiles, size_px)
    found = open_folder(name, tiles, size_px)
    if found is None:
        raise UnknownNameError("encoder", name.rstrip("/").rsplit("/", 1)[-1], ENCODERS)
    return found
