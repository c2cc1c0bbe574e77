"""Encoders of the survey's Table I, and Whisper's for sound, loaded through transformers or timm by one preset each.

All of them stand behind the protocol of connector/encoders/registry.py. A preset names a checkpoint on the model hub; a
folder in the same form works in its place. Weights load at the first use.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.encoders.resolution import Views, Windows
from experts.errors import ConfigError, MediaError, WeightsError, needs
from experts.media import Audio, Image

if TYPE_CHECKING:
    import torch

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own images


@dataclass(frozen=True)
class Preset:
    """Where an encoder comes from. `size_px` is its own resolution, `parameters_m` its size in millions."""

    library: str  # transformers | timm | whisper
    source: str  # name on the hub, or a folder
    size_px: int = 0
    parameters_m: float = 0.0


TOWERS: dict[str, Preset] = {
    "clip-vit-l-14": Preset("transformers", "openai/clip-vit-large-patch14", 224, 304),
    "clip-vit-l-14-336": Preset("transformers", "openai/clip-vit-large-patch14-336", 336, 304),
    "openclip-convnext-l": Preset("timm", "timm/convnext_large_mlp.clip_laion2b_ft_soup_320", 320, 197.4),
    "eva-clip-vit-g-14": Preset("timm", "timm/eva_giant_patch14_clip_224.merged2b", 224, 1010),
    "openclip-vit-g-14": Preset("timm", "timm/vit_giant_patch14_clip_224.laion2b", 224, 1010),
    "openclip-vit-bigg-14": Preset("timm", "timm/vit_gigantic_patch14_clip_224.laion2b", 224, 1840),
    "whisper-base-encoder": Preset("whisper", "openai/whisper-base", 0, 20),
    "whisper-large-v3-encoder": Preset("whisper", "openai/whisper-large-v3", 0, 635),
}


SEEN = ("clip", "siglip")  # in the model type of a vision config that TransformersTower reads


class Tower:
    """Base: a checkpoint read once, at the first use, and one batch of views at a time.

    Transformers of images give the patch tokens of their last layer but one, without the class token, as LLaVA takes
    them (arXiv 2304.08485, section 4.1); convolutional ones their last stage.
    """

    takes: type[Image] | type[Audio] = Image

    def __init__(self, name: str, source: str, tiles: int, size_px: int) -> None:
        self.name, self.source, self.shown = name, source, Path(name).name
        self.views: Any = Views(size_px, tiles)
        self._lock = threading.Lock()
        self._net: torch.nn.Module | None = None
        self.cells, self.width = self._shape()

    def encode(self, media: Sequence[Any]) -> torch.Tensor:
        """Features float32 [B, N, D_enc], on the CPU, without gradients."""
        import torch

        for medium in media:
            if not isinstance(medium, self.takes):
                raise MediaError(f"encoder '{self.shown}' takes {self.takes.kind}, not {medium.kind}: '{medium.name}'")
        net = self._loaded()
        with self._lock, torch.no_grad():
            rows = [self._one(net, torch.from_numpy(self.views.cut(medium))) for medium in media]  # [V, cells, D_enc]
        return torch.stack([row.flatten(0, 1).float().cpu() for row in rows])  # [B, N, D_enc]

    def fingerprint(self) -> str:
        """16 hex digits that depend on views, code version and weights (shapes, sums and a sample of every tensor)."""
        import torch

        digest = hashlib.sha256(f"tower-1 {type(self).__name__} {self.views} {self.cells} {self.width}".encode())
        for key, value in sorted(self._loaded().state_dict().items()):
            flat = value.detach().flatten().double().cpu()
            sample = flat[:: max(len(flat) // 64, 1)]
            digest.update(f"{key} {list(value.shape)}".encode())
            digest.update(torch.cat([flat.sum()[None], sample]).numpy().tobytes())
        return digest.hexdigest()[:16]

    def _loaded(self) -> torch.nn.Module:
        import torch

        with self._lock:
            if self._net is None:
                device = "cuda" if torch.cuda.is_available() else "cpu"
                net = _opened(self.source, self._load)
                self._net = net.eval().requires_grad_(False).to(device)
            return self._net

    def _shape(self) -> tuple[int, int]:
        """(cells of a view, D_enc), from the checkpoint's config alone."""
        raise NotImplementedError

    def _load(self) -> torch.nn.Module:
        raise NotImplementedError

    def _one(self, net: Any, views: torch.Tensor) -> torch.Tensor:
        """Views of one medium, as `self.views` cuts them -> [V, cells, D_enc]."""
        raise NotImplementedError


def _opened(source: str, load: Callable[[], Any]) -> Any:
    """What `load` returns of the checkpoint `source`; its failure as one line."""
    from safetensors import SafetensorError

    try:
        return load()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        folder = Path(source).is_dir()
        reason = " ".join(str(error).split()).replace(str(source), Path(source).name)[:160]
        if isinstance(error, OSError):
            reason = "its files are missing or damaged" if folder else "it is neither here nor reachable"
        raise WeightsError(
            f"cannot load the encoder '{Path(source).name if folder else source}': {reason} (expected a preset whose "
            "checkpoint the model hub gives, or a folder that transformers or timm saved; offline, use "
            "'efficientnet-lite0')"
        ) from None


def _pixels(views: torch.Tensor, mean: Sequence[float], std: Sequence[float], like: Any) -> torch.Tensor:
    """uint8 [V, S, S, 3] -> normalised [V, 3, S, S] of the network's type and device."""
    import torch

    at = next(like.parameters())
    pixels = views.permute(0, 3, 1, 2).float() / 255
    pixels = (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    return pixels.to(at.device, at.dtype)


class TransformersTower(Tower):
    """A CLIP-like vision model of transformers. At another resolution its position embeddings are interpolated."""

    def __init__(self, name: str, source: str, tiles: int, size_px: int) -> None:
        self._config = _opened(source, lambda: _vision_config(source))
        super().__init__(name, source, tiles, size_px or self._config.image_size)

    def _shape(self) -> tuple[int, int]:
        patch = self._config.patch_size
        if self.views.size_px % patch:
            raise ConfigError(f"'{self.shown}' takes sides of a multiple of {patch} px, not {self.views.size_px}")
        return (self.views.size_px // patch) ** 2, self._config.hidden_size

    def _load(self) -> torch.nn.Module:
        from transformers import AutoImageProcessor, CLIPVisionModel, SiglipVisionModel

        self._mean, self._std = CLIP_MEAN, CLIP_STD
        if _has_file(self.source, "preprocessor_config.json"):
            how = AutoImageProcessor.from_pretrained(self.source, trust_remote_code=False)
            self._mean, self._std = tuple(how.image_mean), tuple(how.image_std)
        family = SiglipVisionModel if "siglip" in self._config.model_type else CLIPVisionModel
        read: Any = family.from_pretrained
        net, loading = read(self.source, output_loading_info=True)
        if missing := sorted(loading["missing_keys"]):  # of a folder that holds another kind of model
            raise WeightsError(
                f"encoder '{self.shown}' lacks {len(missing)} weights of a CLIP-like vision model ({missing[0]} ...), "
                "and random ones would stand in for them; accepted: a folder that holds a CLIP or SigLIP model"
            )
        return net

    def _one(self, net: Any, views: torch.Tensor) -> torch.Tensor:
        pixels = _pixels(views, self._mean, self._std, net)
        scaled = self.views.size_px != self._config.image_size
        states = net(pixels, output_hidden_states=True, interpolate_pos_encoding=scaled).hidden_states
        return states[-2][:, -self.cells :]  # [V, cells, D_enc]; a class token, where there is one, comes first


def _vision_config(source: str) -> Any:
    """The vision part of a checkpoint's config."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(source, trust_remote_code=False)
    vision = getattr(config, "vision_config", config)
    if not any(kind in vision.model_type for kind in SEEN):
        raise ConfigError(
            f"'{Path(source).name}' holds a vision model of type {vision.model_type}; accepted as encoders: CLIP, "
            "SigLIP, timm's models and Whisper; a whole multimodal model is named with --model"
        )
    return vision


def _has_file(source: str, name: str) -> bool:
    """Whether a checkpoint, in a folder or on the hub, has a file of this name."""
    if Path(source).is_dir():
        return (Path(source) / name).is_file()
    from transformers.utils import cached_file

    return cached_file(source, name, _raise_exceptions_for_missing_entries=False) is not None


class TimmTower(Tower):
    """A vision transformer or a convolutional network of timm; position embeddings are interpolated as it loads."""

    def __init__(self, name: str, source: str, tiles: int, size_px: int) -> None:
        needs("timm", "hub", f"encoder '{Path(name).name}'")
        import timm

        place = f"local-dir:{source}" if Path(source).is_dir() else f"hf-hub:{source}"
        self._create: Callable[..., Any] = lambda **how: timm.create_model(place, num_classes=0, **how)
        self._plan = _opened(source, lambda: _on_meta(self._create))
        own_px = timm.data.resolve_model_data_config(self._plan)["input_size"][-1]
        super().__init__(name, source, tiles, size_px or own_px)

    def _shape(self) -> tuple[int, int]:
        if hasattr(self._plan, "patch_embed"):
            patch = self._plan.patch_embed.patch_size[0]
            width = self._plan.embed_dim
        else:
            patch, width = self._plan.feature_info[-1]["reduction"], self._plan.feature_info[-1]["num_chs"]
        if self.views.size_px % patch:
            raise ConfigError(f"'{self.shown}' takes sides of a multiple of {patch} px, not {self.views.size_px}")
        return (self.views.size_px // patch) ** 2, width

    def _load(self) -> torch.nn.Module:
        import timm

        net = self._create(pretrained=True, **_sized(self._plan, self.views.size_px))
        how = timm.data.resolve_model_data_config(net)
        self._mean, self._std = how["mean"], how["std"]
        return net

    def _one(self, net: Any, views: torch.Tensor) -> torch.Tensor:
        pixels = _pixels(views, self._mean, self._std, net)
        blocks = getattr(net, "blocks", None)
        layer = len(blocks) - 2 if blocks is not None else len(net.feature_info) - 1
        (grid,) = net.forward_intermediates(
            pixels, indices=[layer], norm=False, output_fmt="NCHW", intermediates_only=True
        )  # [V, D_enc, side, side]
        return grid.flatten(2).transpose(1, 2)  # [V, cells, D_enc]


def _on_meta(create: Callable[..., Any]) -> Any:
    """The network without values: enough to tell its shape."""
    import torch

    with torch.device("meta"):
        return create(pretrained=False)


def _sized(plan: Any, size_px: int) -> dict[str, int]:
    """What tells timm the resolution; convolutions need no telling."""
    return {"img_size": size_px} if hasattr(plan, "patch_embed") else {}


class WhisperTower(Tower):
    """Whisper's encoder (arXiv 2212.04356): a window of 30 s -> 1,500 states, averaged in pairs as Qwen2-Audio does."""

    takes = Audio
    POOL = 2

    def __init__(self, name: str, source: str, tiles: int, size_px: int) -> None:
        from transformers import AutoConfig, WhisperFeatureExtractor

        if size_px:
            raise ConfigError(f"encoder '{Path(name).name}' hears windows of one length; 'size_px' is for images")
        self._config = _opened(source, lambda: AutoConfig.from_pretrained(source, trust_remote_code=False))
        self._mel = _opened(source, lambda: WhisperFeatureExtractor.from_pretrained(source))
        super().__init__(name, source, tiles, 0)
        self.views = Windows(self._mel.chunk_length, tiles)

    def _shape(self) -> tuple[int, int]:
        return self._config.max_source_positions // self.POOL, self._config.d_model

    def _load(self) -> torch.nn.Module:
        from transformers import WhisperModel

        return WhisperModel.from_pretrained(self.source).get_encoder()

    def _one(self, net: Any, views: torch.Tensor) -> torch.Tensor:
        import torch

        heard = self._mel(list(views.numpy()), sampling_rate=Audio.RATE_HZ, return_tensors="pt").input_features
        at = next(net.parameters())
        states = net(heard.to(at.device, at.dtype)).last_hidden_state  # [V, 1500, D_enc]
        return torch.nn.functional.avg_pool1d(states.transpose(1, 2), self.POOL).transpose(1, 2)


LIBRARIES: dict[str, type[Tower]] = {
    "transformers": TransformersTower,
    "timm": TimmTower,
    "whisper": WhisperTower,
}


def open_tower(name: str, preset: Preset, tiles: int, size_px: int) -> Tower:
    """The encoder of a preset; of sound, with one window where no tiles are asked for."""
    return LIBRARIES[preset.library](name, preset.source, tiles, size_px)


def open_folder(name: str, tiles: int, size_px: int) -> Tower | None:
    """The encoder that transformers or timm saved in the folder `name`; None where there is no such folder."""
    file = Path(name) / "config.json"
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WeightsError(f"'{Path(name).name}/config.json' is not JSON: {error}") from None
    kind = "whisper" if config.get("model_type") == "whisper" else "transformers"
    library = "timm" if "architecture" in config else kind
    return LIBRARIES[library](name, name, tiles, size_px)
