"""The media door: Image, Audio, Video from a path, bytes, a data: URL or an array, within limits, in fixed units.

Everything that people or programs send enters here. What a medium is, is decided by its content, never by its name;
limits hold before anything is decoded; what is refused gets one line that says what it is, what is accepted and what to
do. Names are base names: no message and no medium carries a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from experts.config import Limits
from experts.errors import MediaError
from experts.media.decode import Decoded, decode
from experts.media.formats import EITHER
from experts.media.images.opening import open_image
from experts.media.images.pages import Opened
from experts.media.pixels import check_pixels, pixels_of_array
from experts.media.samples import samples_of_array
from experts.media.sound import RATE_HZ
from experts.media.source import Source, Taken, base_name, hash_array, quote, take


@dataclass(frozen=True, eq=False)
class Image:
    """Pixels [H, W, 3] uint8 RGB at the original resolution, upright, without transparency.

    `sha256` is that of the encoded bytes, or of an array's type, shape and values. Of a file with several `pages`
    `frames` are those that were opened after this one, which are `moving` where they show one scene. `notes` say what
    was looked at and what was not, a sentence each.
    """

    pixels: np.ndarray
    name: str
    sha256: str
    notes: tuple[str, ...] = ()
    pages: int = 1
    moving: bool = False
    frames: tuple[Image, ...] = ()
    kind: ClassVar[str] = "image"

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    def to_pil(self) -> Any:
        """A PIL.Image.Image in mode RGB."""
        from PIL import Image as pillow

        return pillow.fromarray(self.pixels)

    @classmethod
    def open(
        cls, source: Source, *, limits: Limits | None = None, name: str | None = None, page: int | None = None
    ) -> Image:
        """An image, upright, laid on a background where it is transparent; the first page or frame, with the others.

        Up to `limits.image_frames` pages or frames are opened, evenly spaced; with `page`, from 1, that one alone.
        Arrays: uint8, uint16, bool, or float in [0, 1]; [H, W], [H, W, 1], [H, W, 3] or [H, W, 4] (RGBA).

        Raises:
            MediaError: not an image, truncated, damaged, or over a limit.
        """
        limits = limits or Limits()
        if isinstance(source, np.ndarray):
            shown, notes = base_name(name or "image"), list[str]()
            pixels = pixels_of_array(source, quote(shown), limits, notes)
            return cls(pixels, shown, hash_array(source), tuple(notes))
        taken = take(source, name, "image", limits)
        return _image(taken, open_image(taken, limits, page), page)


@dataclass(frozen=True, eq=False)
class Audio:
    """Samples [S] float32 in [-1, 1] at 16,000 Hz, mono: the channels' mean, or the loudest where they cancel.

    `notes` say what was heard and what was not, a sentence each.
    """

    samples: np.ndarray
    name: str
    sha256: str
    notes: tuple[str, ...] = ()
    kind: ClassVar[str] = "audio"
    RATE_HZ: ClassVar[int] = RATE_HZ

    @property
    def duration_s(self) -> float:
        return len(self.samples) / RATE_HZ

    @classmethod
    def open(
        cls,
        source: Source,
        *,
        limits: Limits | None = None,
        name: str | None = None,
        rate_hz: int | None = None,
        track: int | None = None,
    ) -> Audio:
        """A sound of any rate and number of channels; of several tracks the default one, or `track`, from 1.

        Arrays need `rate_hz`: [S] or [S, C]; uint8, int16, int32, or float in [-1, 1].

        Raises:
            MediaError: not a sound, empty, damaged, not finite, or over a limit.
        """
        limits = limits or Limits()
        if isinstance(source, np.ndarray):
            shown = base_name(name or "audio")
            samples = samples_of_array(source, quote(shown), rate_hz, limits)
            return cls(samples, shown, hash_array(source, f"{rate_hz} Hz"))
        taken = take(source, name, "audio", limits)
        return _audio(taken, decode(taken.data, quote(taken.name), taken.form, "audio", limits, track))


@dataclass(frozen=True, eq=False)
class Video:
    """Frames of every scene, their times in seconds from the start, and the sound track, or None where it has none."""

    frames: list[Image]
    times_s: list[float]
    audio: Audio | None
    duration_s: float
    name: str
    sha256: str
    notes: tuple[str, ...] = ()
    kind: ClassVar[str] = "video"

    @classmethod
    def open(
        cls,
        source: Source,
        *,
        limits: Limits | None = None,
        name: str | None = None,
        rate_fps: float | None = None,
        track: int | None = None,
    ) -> Video:
        """A video: up to `limits.video_frames` frames, in the middle of equal stretches of each scene's time.

        Fewer are kept where that many would together exceed `limits.image_pixels`. `track` is the sound track that is
        heard, from 1, in place of the default one. Arrays need `rate_fps`: [F, H, W, 3]
        uint8, no sound.

        Raises:
            MediaError: not a video, damaged, or over a limit.
        """
        limits = limits or Limits()
        if isinstance(source, np.ndarray):
            return _video_of_array(source, base_name(name or "video"), rate_fps, limits)
        taken = take(source, name, "video", limits)
        return _video(taken, decode(taken.data, quote(taken.name), taken.form, "video", limits, track))


Media = Image | Audio | Video


def open_media(
    source: Source, *, limits: Limits | None = None, name: str | None = None, track: int | None = None
) -> Media:
    """An Image, Audio or Video, whichever `source` turns out to be; of arrays, only uint8 [H, W, 3 or 4] is clear.

    `track` is the sound track that is heard, from 1, in place of the file's default one.

    Raises:
        MediaError: none of them, or refused by the one it is.
    """
    limits = limits or Limits()
    if isinstance(source, np.ndarray):
        if source.dtype == np.uint8 and source.ndim == 3 and source.shape[2] in (3, 4):
            return Image.open(source, limits=limits, name=name)
        raise MediaError(
            f"an array of {source.dtype} {list(source.shape)} may be anything; accepted: uint8 [H, W, 3]; "
            "use Image.open(array), Audio.open(array, rate_hz=...) or Video.open(array, rate_fps=...)"
        )
    taken = take(source, name, None, limits)
    if taken.kind == "image":
        return _image(taken, open_image(taken, limits))
    want = None if taken.form in EITHER else taken.kind
    decoded = decode(taken.data, quote(taken.name), taken.form, want, limits, track)
    return _video(taken, decoded) if decoded.kind == "video" else _audio(taken, decoded)


def _image(taken: Taken, opened: Opened, page: int | None = None) -> Image:
    first, *more = opened.views
    sha256 = taken.sha256 if page in (None, 1) else hash_array(first.pixels, taken.sha256)
    frames = tuple(Image(v.pixels, f"{opened.noun} {v.number}", hash_array(v.pixels)) for v in more)
    return Image(first.pixels, taken.name, sha256, tuple(opened.notes), opened.pages, opened.moving, frames)


def _audio(taken: Taken, decoded: Decoded) -> Audio:
    assert decoded.samples is not None
    return Audio(decoded.samples, taken.name, taken.sha256, decoded.notes)


def _video(taken: Taken, decoded: Decoded) -> Video:
    audio = None if decoded.samples is None else Audio(decoded.samples, taken.name, taken.sha256)
    frames = _named(decoded.frames, decoded.times_s, taken.name)
    return Video(frames, decoded.times_s, audio, decoded.duration_s, taken.name, taken.sha256, decoded.notes)


def _named(frames: list[np.ndarray], times_s: list[float], name: str) -> list[Image]:
    return [Image(f, f"{name} at {t:.2f} s", hash_array(f)) for f, t in zip(frames, times_s, strict=True)]


def _video_of_array(array: np.ndarray, name: str, rate_fps: float | None, limits: Limits) -> Video:
    """[F, H, W, 3] uint8 at `rate_fps` -> the frames in the middle of equal stretches."""
    shown, fix = quote(name), "accepted: [F, H, W, 3] uint8 with at least one frame, and rate_fps above 0; convert it"
    if array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8 or not array.size:
        raise MediaError(f"{shown} is an array of {array.dtype} {list(array.shape)}; {fix}")
    if rate_fps is None or not 0 < rate_fps < float("inf"):
        raise MediaError(f"{shown} has a rate of {rate_fps} frames a second; {fix}")
    check_pixels(array.shape[2], array.shape[1], shown, limits)
    duration_s = len(array) / rate_fps
    if duration_s > limits.video_s:
        raise MediaError(
            f"{shown} lasts {duration_s:,.0f} s; accepted: up to {limits.video_s:,.0f} s; cut it into parts"
        )
    most = min(len(array), limits.video_frames, limits.image_pixels // (array.shape[1] * array.shape[2]))
    kept = [int((i + 0.5) * len(array) / most) for i in range(most)]
    times_s = [i / rate_fps for i in kept]
    frames = _named([array[i].copy() for i in kept], times_s, name)
    return Video(frames, times_s, None, duration_s, name, hash_array(array, f"{rate_fps} fps"))
