"""Media as content parts of a chat request: pictures as data: URLs, sounds as WAV, films as frames and sound."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Sequence
from typing import Any

import numpy as np

from experts.media import Audio, Image, Media, Video

FRAMES = 8  # of a film
LARGEST_PNG_PX = 512 * 512  # larger pictures go as JPEG, ten times smaller
JPEG_QUALITY = 92


def content_of(text: str, media: Sequence[Media], *, sound: bool = True) -> Any:
    """A message's content: the text alone, or the media's parts and then the text; `sound` with films' sound tracks."""
    parts = [part for medium in media for part in parts_of(medium, sound=sound)]
    return [*parts, {"type": "text", "text": text}] if parts else text


def parts_of(medium: Media, *, sound: bool = True) -> list[dict[str, Any]]:
    """One medium's parts; a film's frames are preceded by their times."""
    if isinstance(medium, Image):
        return [_picture(medium)]
    if isinstance(medium, Audio):
        return [_sound(medium.samples)]
    assert isinstance(medium, Video)
    count = min(FRAMES, len(medium.frames))
    chosen = [round(i * (len(medium.frames) - 1) / max(count - 1, 1)) for i in range(count)]
    parts: list[dict[str, Any]] = []
    for index in dict.fromkeys(chosen):
        parts += [{"type": "text", "text": f"Frame at {medium.times_s[index]:.1f} s:"}, _picture(medium.frames[index])]
    if sound and medium.audio is not None:
        parts.append(_sound(medium.audio.samples))
    return parts


def _picture(image: Image) -> dict[str, Any]:
    stream = io.BytesIO()
    small = image.width * image.height <= LARGEST_PNG_PX
    image.to_pil().save(stream, "PNG" if small else "JPEG", **({} if small else {"quality": JPEG_QUALITY}))
    packed = base64.b64encode(stream.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/{'png' if small else 'jpeg'};base64,{packed}"}}


def _sound(samples: np.ndarray) -> dict[str, Any]:
    """[S] float32 at 16,000 Hz -> a part with 16-bit WAV."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(Audio.RATE_HZ)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return {
        "type": "input_audio",
        "input_audio": {"data": base64.b64encode(stream.getvalue()).decode(), "format": "wav"},
    }


def probe_of(kind: str) -> dict[str, Any]:
    """A small medium of `kind` (image or audio), to find out whether an endpoint takes such."""
    if kind == Audio.kind:
        return _sound(np.zeros(Audio.RATE_HZ // 2, np.float32))
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = 255
    return _picture(Image(pixels, "probe", ""))
