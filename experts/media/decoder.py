"""The decoder's own process: reads one request, decodes with PyAV, replies. It may die in any way without harm."""

from __future__ import annotations

import io
import json
import struct
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experts.config import Limits
from experts.media.upright import upright

RATE_HZ = 16_000


DEMUXERS = {  # our name of a format -> FFmpeg's demuxer
    "WAV": "wav", "FLAC": "flac", "OGG": "ogg", "MP3": "mp3", "AAC": "aac", "AIFF": "aiff", "M4A": "mov",
    "MP4": "mov", "MOV": "mov", "WebM": "matroska", "MKV": "matroska", "AVI": "avi",
}  # fmt: skip


SLACK_S = {"WAV": 0.05, "FLAC": 0.05, "AIFF": 0.05}  # how much of the declared time may lack; others 0.5 s + 10 %


GUESSED = {"MP3", "AAC"}  # their "declared" duration is FFmpeg's guess from the bit rate


MEMORY_BYTES = 3 << 30  # address space of the child


SILENT = 1e-3  # the largest sample of a track in which nothing is heard
THREADS = 2  # of the child's video decoder


MOST_FPS = 240  # packets a second of video, at most


BAD_SHARE = 0.05  # of a sound's packets that may be undecodable (tags at the end of an MP3, for one)


class Refused(Exception):
    """A limit or a mismatch; the text goes after the medium's name."""


def serve() -> None:
    """Read one request, decode, reply. Runs in the child only."""
    request = json.loads(sys.stdin.buffer.readline())
    limits = Limits(**request["limits"])
    _bound(limits)
    import av

    av.logging.set_level(None)
    try:
        reply = _decode(sys.stdin.buffer.read(), request["form"], request["want"], limits, Path(request["out"]))
    except Refused as refusal:
        reply = {"refused": str(refusal)}
    except MemoryError:
        reply = {"refused": "needs more memory to decode than is accepted; make it smaller"}
    except (av.FFmpegError, OSError, ValueError) as error:
        reply = {"failed": type(error).__name__}
    print(json.dumps(reply))


def _bound(limits: Limits) -> None:
    """Bound memory, and CPU time in case the parent is gone; no core files. Windows has none of these."""
    try:
        import resource
    except ImportError:
        return
    cpu_s = int(limits.decode_s * THREADS) + 1
    for kind, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
    ):
        with suppress(ValueError, OSError):  # macOS refuses RLIMIT_AS; a lower hard limit is already in force
            resource.setrlimit(kind, (value, value))


def _decode(data: bytes, form: str, want: str | None, limits: Limits, out: Path) -> dict[str, Any]:
    import av

    declared_s = _wav_s(data) if form == "WAV" else 0.0
    _check_length(declared_s, limits.audio_s, "sounds")
    with _open(data, form) as box:
        covers = av.stream.Disposition.attached_pic  # cover art is not video
        video = _default([s for s in box.streams.video if not s.disposition & covers])
        audio = _default(list(box.streams.audio))
        notes = _tracks(box, video, audio, covers)
        alone = want == "audio" and video is not None and audio is not None  # of a film the sound alone is wanted
        video = None if alone else video
        kind = "video" if video else "audio"
        if not video and not audio:
            raise Refused(
                f"is {form} without sound or pictures; accepted: a file with at least one track; export it again"
            )
        if want and kind != want:
            now, other = ("a sound", "a video") if kind == "audio" else ("a video without a sound track", "a sound")
            fits = "files with pictures" if want == "video" else "files with sound"
            raise Refused(f"is {now} ({form}), not {other}; pass it as {kind} (accepted here: {fits})")
        if not video and len(data) > limits.audio_bytes:
            raise Refused(_too_big(len(data), limits.audio_bytes, "sounds"))
        if form not in GUESSED and not alone:
            declared_s = max(declared_s, (box.duration or 0) / av.time_base)
        longest_s, plural = (limits.video_s, "videos") if video else (limits.audio_s, "sounds")
        _check_length(declared_s, longest_s, plural)
        if audio:
            _check_decoded(declared_s * audio.rate * audio.channels, limits)
        start_s = (box.start_time or 0) / av.time_base
        # PyAV reads freed memory when asked about a stream of a closed file: keep the numbers, not the streams.
        video_at, audio_at = video.index if video else None, audio.index if audio else None
        others = [stream.index for stream in box.streams.audio if stream.index != audio_at]

        marks, end_s = _scan(box, video, audio, start_s, limits)
    _check_length(end_s, longest_s, plural)
    slack_s = SLACK_S.get(form, 0.5 + 0.1 * declared_s)
    late_s = max(start_s, 0.0)  # a clock that starts late is part of the length that some containers declare
    if end_s + late_s < declared_s - slack_s:
        raise Refused(
            f"is cut short: it declares {declared_s:.1f} s and holds {end_s:.1f} s; accepted: whole files; "
            "copy or download it again"
        )

    reply: dict[str, Any] = {"kind": kind, "audio": False, "sizes": [], "times_s": [], "duration_s": end_s}
    reply["notes"] = notes
    if video_at is not None:
        with _open(data, form) as box, open(out / "frames", "wb") as file:
            for time_s, rgb in _frames(box, box.streams[video_at], marks, start_s, limits):
                reply["times_s"].append(round(max(time_s, 0.0), 6))
                reply["sizes"].append(rgb.shape[:2])
                rgb.tofile(file)
        if not reply["sizes"]:
            raise Refused(
                f"is {form} without a picture that can be decoded; accepted: at least one frame; export it again"
            )
    if audio_at is not None:
        for at in (audio_at, *others):  # a silent track, as some recorders write first, gives way to the next
            with _open(data, form) as box, open(out / "samples", "wb") as file:
                n_samples, peak = _written(file, _sound(box, box.streams[at], start_s, limits))
            if peak > SILENT:
                break
        if others and at != audio_at and peak > SILENT:
            reply["notes"] = [f"the first sound track is silent, so another of {len(others) + 1} was heard"]
        if not n_samples and kind == "audio":
            raise Refused("is a sound of 0 samples; accepted: at least one; record it again")
        reply["audio"] = n_samples > 0
        if kind == "audio":
            reply["duration_s"] = n_samples / RATE_HZ
    return reply


def _default(streams: list[Any]) -> Any:
    """The stream that a player takes: the one marked default, else the first; None of none."""
    from av.stream import Disposition

    return next((s for s in streams if s.disposition & Disposition.default), next(iter(streams), None))


def _tracks(box: Any, video: Any, audio: Any, covers: Any) -> list[str]:
    """What of a file's tracks is not looked at or heard, a sentence each."""
    notes = []
    pictures = [stream for stream in box.streams.video if not stream.disposition & covers]
    if len(pictures) > 1:
        notes.append(f"video track {pictures.index(video) + 1} of {len(pictures)} was looked at, the others were not")
    sounds = list(box.streams.audio)
    if len(sounds) > 1:
        notes.append(f"sound track {sounds.index(audio) + 1} of {len(sounds)} was heard, the others were not")
    if video and not sounds:
        notes.append("it has no sound track")
    return notes


def _open(data: bytes, form: str) -> Any:
    import av

    return av.open(io.BytesIO(data), "r", format=DEMUXERS[form], metadata_errors="replace")  # old tags are in Latin-1


def _too_big(size: int, limit: int, plural: str) -> str:
    return f"is {size / 1e6:,.1f} MB; accepted: {plural} up to {limit / 1e6:,.1f} MB; make it smaller or shorter"


def _check_length(length_s: float, limit_s: float, plural: str) -> None:
    if length_s > limit_s:
        raise Refused(f"lasts {length_s:,.0f} s; accepted: {plural} up to {limit_s:,.0f} s; cut it into parts")


def _check_decoded(n_values: float, limits: Limits) -> None:
    """`n_values`: samples times channels, at the file's own rate."""
    if n_values * 4 > limits.audio_decoded_bytes:
        raise Refused(
            f"is {n_values * 4 / 1e6:,.0f} MB of sound when decoded; accepted: up to "
            f"{limits.audio_decoded_bytes / 1e6:,.0f} MB; use fewer channels, a lower rate or a shorter part"
        )


def _wav_s(data: bytes) -> float:
    """Seconds a WAV header declares, whatever the file holds; 0 where it leaves the length open (written to a pipe)."""
    at, bytes_s = 12, 0
    while at + 8 <= len(data):
        tag, size = data[at : at + 4], struct.unpack_from("<I", data, at + 4)[0]
        if tag == b"fmt " and at + 20 <= len(data):
            bytes_s = struct.unpack_from("<I", data, at + 16)[0]
        if tag == b"data":
            return size / bytes_s if bytes_s and size < 0x7FFFF000 else 0.0
        at += 8 + size + size % 2
    return 0.0


@dataclass(frozen=True)
class Mark:
    """A video packet: its time stamp, in the stream's time base, whether decoding can start at it, and whether it is
    shown: what was cut away without encoding again is only there for the frames after it."""

    stamp: int
    key: bool
    shown: bool = True


def _scan(box: Any, video: Any, audio: Any, start_s: float, limits: Limits) -> tuple[list[Mark], float]:
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


def _chosen(marks: list[Mark], most: int) -> list[int]:
    """Indices into `marks` of at most `most` frames: those shown in the middle of as many equal stretches of time."""
    shown = [i for i, mark in enumerate(marks) if mark.shown] or range(len(marks))
    order = sorted(shown, key=lambda i: marks[i].stamp)
    stamps = [marks[i].stamp for i in order]
    if len(order) <= most:
        return order
    span = (stamps[-1] - stamps[0]) * len(stamps) / (len(stamps) - 1)  # the last frame lasts as long as the mean one
    middles = [stamps[0] + (i + 0.5) * span / most for i in range(most)]
    return [order[i] for i in sorted({bisect_right(stamps, middle) - 1 for middle in middles})]


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


def _frames(
    box: Any, stream: Any, marks: list[Mark], start_s: float, limits: Limits
) -> Iterator[tuple[float, np.ndarray]]:
    """(time in seconds, pixels [H, W, 3]) of evenly spaced frames, upright, in order of time.

    At most `limits.video_frames`, and fewer where that many would together exceed `limits.image_pixels`.
    """
    context = stream.codec_context
    shape = float(stream.sample_aspect_ratio or context.sample_aspect_ratio or 1)  # of a pixel, width by height
    pixels = max(context.width * context.height, 1)
    if pixels > limits.image_pixels:
        raise Refused(
            f"has frames of {context.width} x {context.height} px; accepted: up to {limits.image_pixels:,} px; "
            "scale it down"
        )
    chosen = _chosen(marks, min(limits.video_frames, limits.image_pixels // pixels))
    runs = _runs(marks, chosen)
    wanted = {i for run in runs.values() for i in run}
    targets = {marks[i].stamp for i in chosen}
    context.options = {"max_pixels": str(limits.image_pixels)}
    context.thread_type, context.thread_count = "AUTO", THREADS
    found: dict[int, np.ndarray] = {}

    index = -1
    last: Any = None
    for packet in box.demux(stream):
        if packet.dts is None and packet.pts is None:
            continue
        index += 1
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


def _sound(box: Any, stream: Any, start_s: float, limits: Limits) -> Iterator[np.ndarray]:
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
            _check_decoded(n_values, limits)
            if shape is None and frame.time:
                yield np.zeros(max(0, round(min(frame.time - start_s, limits.video_s) * RATE_HZ)), np.float32)
            if shape != (frame.format.name, frame.layout.name, frame.sample_rate):
                if resampler:
                    yield from map(_mono, resampler.resample(None))
                shape = (frame.format.name, frame.layout.name, frame.sample_rate)
                resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=RATE_HZ)
            yield from map(_mono, resampler.resample(frame))
    if resampler:
        yield from map(_mono, resampler.resample(None))
    if n_bad > max(1, BAD_SHARE * n_packets):
        raise ValueError("damaged packets")


def _mono(frame: Any) -> np.ndarray:
    """The plain mean of the channels: FFmpeg's own downmix is 3 dB louder for some sample formats than for others.

    Where the channels cancel each other, as in stereo with one side inverted, it is the loudest of them.
    """
    channels = frame.to_ndarray()  # [C, n]
    samples = channels.mean(axis=0, dtype=np.float32)  # [n]
    if not np.isfinite(samples).all():
        raise Refused("holds samples that are not numbers (NaN or infinite); accepted: finite samples; export it again")
    if len(channels) > 1 and samples.size:
        power = np.square(channels, dtype=np.float32).mean(axis=1)
        if np.square(samples).mean() < 0.01 * power.max():
            samples = channels[power.argmax()].astype(np.float32)
    return np.clip(samples, -1.0, 1.0)  # lossy codecs overshoot a little


def _written(file: io.BufferedWriter, parts: Iterable[np.ndarray]) -> tuple[int, float]:
    """How many samples were written, and the largest of them."""
    count, peak = 0, 0.0
    for part in parts:
        part.tofile(file)
        count, peak = count + part.size, max(peak, float(np.abs(part).max(initial=0.0)))
    return count, peak
