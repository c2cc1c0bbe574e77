"""Where somebody speaks in a sound, and which stretches of it are written down together.

A stretch is what a speech engine hears at once: speech in one language, about equally loud, without a long pause.
Whatever lies between stretches is never heard, so nothing can be made up there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RATE_HZ = 16_000
PAUSE_MS = 500  # a shorter pause does not end a part
SHORTEST_MS = 160  # noise is taken for speech for some 32 ms at a time
PAD_MS = 200  # kept before and after speech
LOUD = 0.1  # the root mean square of speech as the voice detector and the engines know it
MOST_GAIN = 1000.0  # 60 dB; what is fainter is the noise of a recorder
GAP_S = 0.6  # a longer silence is searched for a fainter voice
JOINED_S = 2.0  # a shorter pause belongs to a stretch
ALIKE = 4.0  # a part this many times louder than another (12 dB) is a stretch of its own
LONGEST_S = 28.0  # of a stretch: Whisper hears 30 s at once
BLOCK = RATE_HZ // 10  # samples over which a level is taken

Part = tuple[int, int]  # first and last + 1 sample


@dataclass(frozen=True)
class Stretch:
    """Parts, in order, that are written down together."""

    parts: tuple[Part, ...]
    language: str = ""

    @property
    def first(self) -> int:
        return self.parts[0][0]

    @property
    def last(self) -> int:
        return self.parts[-1][1]

    def within(self, start_s: float, end_s: float) -> tuple[float, float]:
        """A span in seconds of the whole sound, kept inside the parts it touches: no one speaks in a pause."""
        start, end = start_s * RATE_HZ, end_s * RATE_HZ
        touched = [part for part in self.parts if part[1] > start and part[0] < end]
        if not touched:
            touched = [min(self.parts, key=lambda part: min(abs(part[0] - start), abs(part[1] - start)))]
        start = min(max(start, touched[0][0]), touched[-1][1])
        end = max(min(end, touched[-1][1]), start)
        return start / RATE_HZ, end / RATE_HZ


def voiced(samples: np.ndarray) -> list[Part]:
    """Where somebody speaks: parts in order, apart, with 0.2 s around; pauses under 0.5 s belong.

    Silences between loud voices are searched once more, amplified, for faint ones.
    """
    found = _detected(samples)
    edges = [0, *(edge for part in found for edge in part), len(samples)]
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        if found and last - first > GAP_S * RATE_HZ:
            found += [(first + a, first + b) for a, b in _detected(samples[first:last])]
    return sorted(found)


def _detected(samples: np.ndarray) -> list[Part]:
    from faster_whisper.vad import get_speech_timestamps

    if not samples.size:
        return []
    marks = get_speech_timestamps(
        levelled(samples),
        min_silence_duration_ms=PAUSE_MS,
        min_speech_duration_ms=SHORTEST_MS,
        speech_pad_ms=PAD_MS,
    )
    return [(mark["start"], min(mark["end"], len(samples))) for mark in marks]


def levels(samples: np.ndarray) -> np.ndarray:
    """The root mean square of each tenth of a second; the last, shorter one is as if silence followed."""
    padded = np.pad(samples, (0, -len(samples) % BLOCK))
    return np.sqrt(np.square(padded.reshape(-1, BLOCK), dtype=np.float64).mean(axis=1))  # [S / 1600]


def levelled(samples: np.ndarray) -> np.ndarray:
    """The samples, amplified where their loudest tenth of a second is fainter than speech usually is."""
    loudest = float(levels(samples).max(initial=0.0))
    if not 0 < loudest < LOUD:
        return samples
    return np.clip(samples * np.float32(min(LOUD / loudest, MOST_GAIN)), -1.0, 1.0)


def pieces(samples: np.ndarray, part: Part, longest_s: float = LONGEST_S) -> list[Part]:
    """A part cut, where it is longer than `longest_s`, at the quietest place of the second half that fits."""
    first, last = part
    most = int(longest_s * RATE_HZ)
    if last - first <= most:
        return [part]
    begin = first + most // 2
    level = np.convolve(levels(samples[begin : first + most]), [0.25, 0.5, 0.25], mode="valid")
    cut = begin + (int(level.argmin()) + 1) * BLOCK + BLOCK // 2
    return [(first, cut), *pieces(samples, (cut, last), longest_s)]


def stretches(samples: np.ndarray, parts: Sequence[Part], languages: Sequence[str]) -> list[Stretch]:
    """The parts in as few stretches as fit: one language, levels alike, short pauses, 28 s at most."""
    joined: list[Stretch] = []
    level = 0.0
    for part, language in zip(parts, languages, strict=True):
        own = float(levels(samples[slice(*part)]).max(initial=0.0))
        before = joined[-1] if joined else None
        if (
            before
            and before.language == language
            and part[0] - before.last < JOINED_S * RATE_HZ
            and part[1] - before.first <= LONGEST_S * RATE_HZ
            and max(own, level) <= ALIKE * min(own, level)
        ):
            joined[-1] = Stretch((*before.parts, part), language)
            level = max(own, level)
        else:
            joined.append(Stretch((part,), language))
            level = own
    return joined
