"""The sound of a file: its packets decoded, its channels mixed to one, at 16,000 Hz."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experts.config import Limits
from experts.media.refusal import Refused, check_decoded

RATE_HZ = 16_000
SILENT = 1e-3  # the largest sample of a track in which nothing is heard
BAD_SHARE = 0.05  # of a sound's packets that may be undecodable (tags at the end of an MP3, for one)
CANCELLED = 0.01  # share of the loudest channel's power below which the channels' mean has lost what is heard


@dataclass
class Downmix:
    """Channels [C, n] -> mono [n]: their plain mean, or channel `only`.

    FFmpeg's own downmix is 3 dB louder for some sample formats than for others. Where channels cancel each other, as in
    stereo with one side inverted, the mean holds nothing: `loudest` tells so once the whole was mixed.
    """

    only: int | None = None
    mixed: float = 0.0  # energy of what was given
    channels: np.ndarray = field(default_factory=lambda: np.zeros(0))  # energy of each channel

    def __call__(self, channels: np.ndarray) -> np.ndarray:
        only = self.only if self.only is not None and self.only < len(channels) else None
        samples = channels.mean(axis=0, dtype=np.float32) if only is None else channels[only].astype(np.float32)
        energy = np.square(channels, dtype=np.float64).sum(axis=1)
        self.mixed += float(np.square(samples, dtype=np.float64).sum())
        if len(energy) > len(self.channels):
            self.channels = np.pad(self.channels, (0, len(energy) - len(self.channels)))
        self.channels[: len(energy)] += energy
        return samples

    @property
    def loudest(self) -> int | None:
        """The channel that is to be heard alone; None where the mean will do."""
        if self.only is not None or len(self.channels) < 2 or self.mixed >= CANCELLED * self.channels.max():
            return None
        return int(self.channels.argmax())


def mono(channels: np.ndarray) -> np.ndarray:
    """Channels [C, n] of a whole sound -> mono float32 [n]."""
    mix = Downmix()
    samples = mix(channels)
    return samples if mix.loudest is None else channels[mix.loudest].astype(np.float32)


def sound_of(box: Any, stream: Any, start_s: float, limits: Limits, mix: Downmix) -> Iterator[np.ndarray]:
    """Mono float32 [n] at 16,000 Hz, part by part; silence first where the sound begins after the pictures."""
    import av

    resampler: Any = None
    shape: Any = None
    n_values = n_packets = n_bad = 0
    for packet in box.demux(stream):
        n_packets += 1
        try:
            frames = packet.decode()
        except av.InvalidDataError:
            n_bad += 1
            continue
        for frame in frames:
            n_values += frame.samples * frame.layout.nb_channels
            check_decoded(n_values, limits)
            if shape is None and frame.time:
                yield np.zeros(max(0, round(min(frame.time - start_s, limits.video_s) * RATE_HZ)), np.float32)
            if shape != (frame.format.name, frame.layout.name, frame.sample_rate):
                if resampler:
                    yield from _mixed(resampler.resample(None), mix)
                shape = (frame.format.name, frame.layout.name, frame.sample_rate)
                resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=RATE_HZ)
            yield from _mixed(resampler.resample(frame), mix)
    if resampler:
        yield from _mixed(resampler.resample(None), mix)
    if n_bad > max(1, BAD_SHARE * n_packets):
        raise ValueError("damaged packets")


def _mixed(frames: list[Any], mix: Downmix) -> Iterator[np.ndarray]:
    for frame in frames:
        samples = mix(frame.to_ndarray())  # [C, n] -> [n]
        if not np.isfinite(samples).all():
            raise Refused(
                "holds samples that are not numbers (NaN or infinite); accepted: finite samples; export it again"
            )
        yield np.clip(samples, -1.0, 1.0)  # lossy codecs overshoot a little


def written(file: io.BufferedWriter, parts: Iterator[np.ndarray]) -> tuple[int, float]:
    """How many samples were written, and the largest of them."""
    count, peak = 0, 0.0
    for part in parts:
        part.tofile(file)
        count, peak = count + part.size, max(peak, float(np.abs(part).max(initial=0.0)))
    return count, peak
