"""The pictures of a film: which of its frames are looked at, decoded upright and in order."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from experts.config import Limits
from experts.media.refusal import Refused
from experts.media.upright import upright

THREADS = 2  # of the video decoder
MOST_FPS = 240  # packets a second of video, at most
MOST_KEYS = 120  # key frames that are compared to find scenes
THUMB = (32, 18)  # px of what is compared
CUT = 40  # mean difference of two thumbnails, of 255, from which on they are of two scenes


@dataclass(frozen=True)
class Mark:
    """A video packet: its time stamp, in the stream's time base, whether decoding can start at it, and whether it is
    shown: what was cut away without encoding again is only there for the frames after it."""

    stamp: int
    key: bool
    shown: bool = True


def scan(box: Any, video: Any, audio: Any, start_s: float, limits: Limits) -> tuple[list[Mark], float]:
    """Go through all packets without decoding: the video's marks, and the end of the longer track in seconds."""
    marks: list[Mark] = []
    end_s = 0.0
    for packet in box.demux(*(stream for stream in (video, audio) if stream)):
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None:  # the empty packet that ends a stream
            continue
        end_s = max(end_s, float((stamp + (packet.duration or 0)) * packet.time_base) - start_s)
        if packet.stream.type == "video":
            marks.append(Mark(stamp, packet.is_keyframe, not packet.is_discard))
            if len(marks) > MOST_FPS * limits.video_s:
                most = int(MOST_FPS * limits.video_s)
                raise Refused(f"holds more than {most:,} frames; accepted: up to that many; lower its frame rate")
    return marks, end_s


def _packets(box: Any, stream: Any) -> Iterator[tuple[int, Any]]:
    """A stream's packets, numbered as the marks of `scan` are."""
    packets = (packet for packet in box.demux(stream) if packet.dts is not None or packet.pts is not None)
    yield from enumerate(packets)


def _bounded(stream: Any, limits: Limits) -> Any:
    """The stream's decoder, which takes no frame of more than `limits.image_pixels`."""
    context = stream.codec_context
    if context.width * context.height > limits.image_pixels:
        raise Refused(
            f"has frames of {context.width} x {context.height} px; accepted: up to {limits.image_pixels:,} px; "
            "scale it down"
        )
    context.options = {"max_pixels": str(limits.image_pixels)}
    context.thread_type, context.thread_count = "AUTO", THREADS
    return context


def cuts_of(box: Any, stream: Any, marks: list[Mark], limits: Limits) -> list[int]:
    """Indices into `marks` of key frames at which another scene has begun since the key frame before.

    Encoders put a key frame where the picture changes, so only those are decoded, at most MOST_KEYS of them.
    """
    import av

    keys = [i for i, mark in enumerate(marks) if mark.key and mark.shown]
    looked = set(keys[:: -(-len(keys) // MOST_KEYS)] if keys else ())
    if len(looked) < 2:
        return []
    context = _bounded(stream, limits)
    small: dict[int, np.ndarray] = {}
    for index, packet in _packets(box, stream):
        if index not in looked:
            continue
        try:
            frames = context.decode(packet) + context.decode(None)
        except av.FFmpegError:
            frames = []
        context.flush_buffers()
        if frames:
            small[index] = frames[-1].reformat(*THUMB, format="rgb24").to_ndarray().astype(np.int16)
    order = sorted(small, key=lambda i: marks[i].stamp)
    return [i for before, i in pairwise(order) if np.abs(small[i] - small[before]).mean() > CUT]


def _chosen(marks: list[Mark], most: int, cuts: Sequence[int] = ()) -> list[int]:
    """Indices into `marks` of at most `most` frames: those in the middle of equal stretches of each scene's time.

    Of a scene that begins at a cut the first one is the key frame there, which is surely of that scene. Longer scenes
    have more frames; of more scenes than frames the longest are shown.
    """
    shown = [i for i, mark in enumerate(marks) if mark.shown] or range(len(marks))
    order = sorted(shown, key=lambda i: marks[i].stamp)
    stamps = [marks[i].stamp for i in order]
    if len(order) <= most:
        return order
    end = stamps[-1] + (stamps[-1] - stamps[0]) / (len(stamps) - 1)  # the last frame lasts as long as the mean one
    begins = sorted({float(stamps[0]), *(float(marks[i].stamp) for i in cuts)})
    scenes = [(begin, until - begin) for begin, until in zip(begins, [*begins[1:], end], strict=True)]
    scenes = sorted(scenes, key=lambda scene: -scene[1])[:most]
    numbers = [1] * len(scenes)
    for _ in range(most - len(scenes)):
        longest = max(range(len(scenes)), key=lambda n: scenes[n][1] / (numbers[n] + 1))
        numbers[longest] += 1
    moments = [
        begin if n == 0 and begin > stamps[0] else begin + (n + 0.5) * length / number
        for (begin, length), number in zip(scenes, numbers, strict=True)
        for n in range(number)
    ]
    return [order[i] for i in sorted({bisect_right(stamps, moment) - 1 for moment in moments})]


def _runs(marks: list[Mark], chosen: list[int]) -> dict[int, list[int]]:
    """Which packets to decode for the chosen ones: {last packet of a run: the run's packets}.

    A frame needs the packets from its key frame to its own, in file order. A frame shown before the key frame it
    follows in the file (an open group of pictures) leans on the group before as well.
    """
    keys = [i for i, mark in enumerate(marks) if mark.key] or [0]
    runs: dict[int, list[int]] = {}
    begin_of_last, last = -1, -1
    for index in sorted(chosen):
        group = max(bisect_right(keys, index) - 1, 0)
        if group and marks[index].stamp < marks[keys[group]].stamp:
            group -= 1
        begin = min(keys[group], index)
        if begin <= last:  # the run before already has the key frame: go on from there
            begin = min(begin, begin_of_last)
            runs.pop(last)
        begin_of_last, last = begin, index
        runs[index] = list(range(begin, index + 1))
    return runs


def frames_of(
    box: Any, stream: Any, marks: list[Mark], cuts: Sequence[int], start_s: float, limits: Limits
) -> Iterator[tuple[float, np.ndarray]]:
    """(time in seconds, pixels [H, W, 3]) of frames of every scene, upright, in order of time.

    At most `limits.video_frames`, and fewer where that many would together exceed `limits.image_pixels`.
    """
    context = _bounded(stream, limits)
    shape = float(stream.sample_aspect_ratio or context.sample_aspect_ratio or 1)  # of a pixel, width by height
    pixels = max(context.width * context.height, 1)
    chosen = _chosen(marks, min(limits.video_frames, limits.image_pixels // pixels), cuts)
    runs = _runs(marks, chosen)
    wanted = {i for run in runs.values() for i in run}
    targets = {marks[i].stamp for i in chosen}
    found: dict[int, np.ndarray] = {}

    last: Any = None
    for index, packet in _packets(box, stream):
        if index not in wanted:
            continue
        frames = context.decode(packet)
        if index in runs:  # the run ends: drain the decoder, then make it forget
            frames += context.decode(None)
            context.flush_buffers()
        for frame in frames:
            last = frame
            stamp = frame.dts if frame.pts is None else frame.pts
            if stamp in targets:
                found[stamp] = upright(frame, shape)
        if index in runs:
            if marks[index].stamp not in found and last is not None:  # decoders of old codecs lose time stamps
                found[marks[index].stamp] = upright(last, shape)
            last = None
    for stamp in sorted(found):
        yield float(stamp * stream.time_base) - start_s, found[stamp]
