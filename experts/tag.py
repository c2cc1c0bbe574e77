"""The tagger: what a whole picture looks like, as ImageNet classes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experts.base import Finding
from experts.config import Settings
from experts.errors import ExpertError, MediaError, WeightsError, needs
from experts.media import Image, Media
from experts.weights.fetch import reason

if TYPE_CHECKING:
    import PIL.Image
    import torch

    from experts.efficientnet import EfficientNetLite0

MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  # what EfficientNet-Lite was trained with
LEAST_SCORE, MOST_TAGS = 0.05, 5
UNSURE = 0.5  # the best score below which the middle square is looked at too: wide pictures are squeezed otherwise


class Tagger:
    """EfficientNet-Lite0 in the embedded profile; any timm classification model by name or folder otherwise."""

    name = "tag"
    description = "Says what a whole picture looks like, with probabilities (ImageNet classes)."
    kinds = frozenset({"image"})

    def __init__(self, settings: Settings | None = None) -> None:
        self._tagger = (settings or Settings()).tagger
        self.weights = Path(self._tagger).name
        self._lock = threading.Lock()
        self._model: tuple[torch.nn.Module, list[str], dict[str, Any]] | None = None

    def __call__(self, media: Media) -> list[Finding]:
        if not isinstance(media, Image):
            raise MediaError(f"the tagger takes images, '{media.name}' is {media.kind}; pass an image")
        import torch

        with self._lock:
            if self._model is None:
                self._model = self._load()
            net, names, how = self._model
            try:
                with torch.inference_mode():
                    probabilities = net(_prepared(media.to_pil(), **how)).softmax(-1)[0]
                    if media.width != media.height and float(probabilities.max()) < UNSURE:
                        probabilities += net(_prepared(_middle_square(media.to_pil()), **how)).softmax(-1)[0]
                        probabilities /= 2
            except RuntimeError as error:
                raise ExpertError(f"the tagger failed on '{media.name}': {str(error).splitlines()[0]}") from error
        scores, classes = probabilities.topk(min(MOST_TAGS, len(probabilities)))
        return [
            Finding(self.name, names[int(c)], float(s), source=media.name)
            for s, c in zip(scores, classes, strict=True)
            if float(s) >= LEAST_SCORE
        ]

    def _load(self) -> tuple[torch.nn.Module, list[str], dict[str, Any]]:
        from experts.evidence.categories import imagenet_classes

        names = list(imagenet_classes())
        if self._tagger == "efficientnet-lite0":
            return load_backbone(self._tagger), names, {"side_px": 224, "mean": MEAN, "std": STD}
        needs("timm", "hub", f"the tagger '{self.weights}'")
        import timm

        folder = Path(self._tagger).expanduser()
        source = f"local-dir:{folder.absolute()}" if folder.is_dir() else self._tagger
        try:
            net = timm.create_model(source, pretrained=True).eval()
        except Exception as error:  # timm raises whatever the hub's client does
            why = reason(str(error) or type(error).__name__)
            raise WeightsError(
                f"the tagger '{self.weights}' could not be loaded: {why}; "
                "expected 'efficientnet-lite0', or the name or folder of a timm classification model"
            ) from error
        how = timm.data.resolve_model_data_config(net)
        how_many = int(net.num_classes)  # type: ignore[arg-type]  # to mypy, any attribute of a module may be a tensor
        published: Any = net.pretrained_cfg
        labels = published.get("label_names")
        if labels and len(labels) == how_many:
            names = [str(name) for name in labels]
        elif how_many != len(names):
            names = [f"class {index}" for index in range(how_many)]
        return net, names, {"side_px": how["input_size"][-1], "mean": how["mean"], "std": how["std"]}


def _middle_square(picture: PIL.Image.Image) -> PIL.Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    return picture.crop((left, top, left + side, top + side))


def _prepared(picture: PIL.Image.Image, side_px: int, mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
    """The whole picture scaled to [1, 3, side_px, side_px] and normalised."""
    import numpy as np
    import PIL.Image
    import torch

    small = picture.resize((side_px, side_px), PIL.Image.Resampling.BICUBIC, reducing_gap=2.0)
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].float() / 255  # [1, 3, S, S]
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def load_backbone(name: str = "efficientnet-lite0") -> EfficientNetLite0:
    """EfficientNet-Lite0 with its ImageNet head, from the weights table.

    Raises:
        WeightsError: its weights are not here and cannot be fetched, or hold another network.
    """
    from experts import efficientnet
    from experts.weights.catalogue import resolve

    return efficientnet.load(next(resolve(name).glob("*.pth")))
