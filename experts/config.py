"""Settings: frozen dataclasses <- profile <- duet.toml <- environment <- flags."""

from __future__ import annotations

import dataclasses
import math
import os
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from experts.errors import ConfigError, UnknownNameError

T = TypeVar("T", "Limits", "Settings")
MIB = 1 << 20
MAY_BE_ZERO = ("threads", "cache_mb", "traces_mb", "memory_mb", "fetch_s")


@dataclass(frozen=True)
class Limits:
    """What the media door lets in."""

    image_bytes: int = 50 * MIB
    image_pixels: int = 178_956_970  # checked in the header, before decoding
    image_frames: int = 8  # pages or frames of one file that are looked at, evenly spaced
    audio_bytes: int = 25 * MIB
    audio_s: float = 600.0  # longest sound
    audio_decoded_bytes: int = 256 * MIB  # decoded float32 samples at the file's own rate and channels
    video_bytes: int = 200 * MIB
    video_s: float = 600.0
    video_frames: int = 16  # frames kept, some of every scene
    decode_s: float = 60.0  # a decoder that takes longer is killed
    fetch_s: float = 0.0  # longest time for media at a public web address; 0 = none are fetched


@dataclass(frozen=True)
class Settings:
    """Which models answer, and within which limits."""

    profile: str = "embedded"  # embedded | hub | server: a row of PROFILES
    device: str = "auto"  # auto | cpu | cuda
    threads: int = 0  # CPU threads of torch; 0 = all cores
    detector: str = "nanodet-coco"  # weights name, or any Ultralytics weight file or name
    tagger: str = "efficientnet-lite0"  # weights name, or a timm model name
    captioner: str = "composed"  # composed (from the other findings), or a hub image-to-text model
    ocr: str = "pp-ocrv6-small"
    speech: str = "whisper-base"  # weights name, a Whisper size, or a CTranslate2 directory
    speech_engine: str = "faster-whisper"  # faster-whisper | openai-whisper
    model: str = ""  # the multimodal model: a hub name, a folder, an endpoint's base URL, "auto"; "" = `connector`
    precision: str = "auto"  # of a hub model's weights: auto | float32 | bfloat16 | float16 | int8 | int4
    llm: str = ""  # language model of the experts route alone (weights, hub name or folder); "" = the model's own
    connector: str = "embedded"  # a connector trained here: shipped name, or a folder that `duet train` wrote
    endpoint: str = ""  # base URL of an OpenAI-compatible server (profile server)
    endpoint_model: str = ""  # model id at that endpoint
    policy: str = ""  # file of `duet calibrate` by which route auto decides; "" = the shipped one
    max_new_tokens: int = 48  # longest answer
    answer_s: float = 120.0  # longest time a question may take
    check: bool = False  # have experts check the claims of every answer
    cache_mb: int = 64  # of findings kept on disk, so that no expert looks at the same thing twice; 0 = none
    traces_mb: int = 64  # of traces kept on disk, the oldest go first; 0 = none
    memory_mb: int = 128  # of turns and long media kept on disk to be searched, the least used go first; 0 = none
    limits: Limits = field(default_factory=Limits)


PROFILES: dict[str, dict[str, Any]] = {
    "embedded": {},
    "hub": {
        "detector": "yolo11n.pt",
        "tagger": "vit_base_patch16_224",
        "captioner": "Salesforce/blip-image-captioning-base",
        "speech": "turbo",
        "model": "auto",
    },
    "server": {"endpoint": "http://127.0.0.1:8000/v1"},
}


def home() -> Path:
    """Where Duet keeps weights and caches: $DUET_HOME, else ~/.cache/duet."""
    return Path(os.environ.get("DUET_HOME") or Path.home() / ".cache" / "duet").expanduser().absolute()


def load_settings(path: str | Path | None = None, **flags: Any) -> Settings:
    """Settings from a profile, then a TOML file, then DUET_* variables, then `flags` (None means not given).

    Raises:
        ConfigError: every unknown key, wrong type and value out of range, in one message.
    """
    values: dict[str, Any] = {}
    file = Path(path) if path else Path("duet.toml")
    if path or file.is_file():
        values |= _read_toml(file)
    for spec in dataclasses.fields(Settings):
        text = os.environ.get(f"DUET_{spec.name.upper()}")
        if text is not None and spec.name != "limits":
            values[spec.name] = _parse(text, type(spec.default))
    values |= {key: value for key, value in flags.items() if value is not None}

    profile = values.get("profile", "embedded")
    if not isinstance(profile, str) or profile not in PROFILES:
        raise UnknownNameError("profile", str(profile), PROFILES)
    faults: list[str] = []
    limits = _build(Limits, values.pop("limits", {}), "limits.", faults)
    settings = _build(Settings, PROFILES[profile] | values | {"limits": limits}, "", faults)
    if faults:
        raise ConfigError("settings do not fit: " + "; ".join(faults))
    return settings


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"cannot read settings file '{file.name}': {error.strerror}"
        raise ConfigError(f"{reason}; accepted: a TOML file; check the name") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"settings file '{file.name}' is not TOML: {error}") from None


def _parse(text: str, kind: type) -> Any:
    if kind is bool:
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text.lower(), text)
    if kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            return text  # reported by _build with the field's name
    return text


def _build(cls: type[T], values: Any, prefix: str, faults: list[str]) -> T:
    if isinstance(values, cls):
        return values
    if not isinstance(values, dict):
        faults.append(f"{prefix.rstrip('.')} must be a table")
        return cls()
    hints = typing.get_type_hints(cls)
    fits: dict[str, Any] = {}
    for key, value in values.items():
        kind = hints.get(key)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if kind is None:
            faults.append(f"unknown setting '{prefix}{key}' (known: {', '.join(hints)})")
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            faults.append(f"'{prefix}{key}' must be {kind.__name__}, not {value!r}")
        elif kind is not bool and isinstance(value, int | float) and not _in_range(key, value):
            faults.append(f"'{prefix}{key}' must be {'0 or more' if key in MAY_BE_ZERO else 'above 0'}, not {value!r}")
        else:
            fits[key] = value
    return cls(**fits)


def _in_range(key: str, value: float) -> bool:
    return math.isfinite(value) and (value > 0 or (value == 0 and key in MAY_BE_ZERO))
