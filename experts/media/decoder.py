"""The decoder's own process: reads one request, decodes with PyAV, replies. It may die in any way without harm."""

from __future__ import annotations

import io
import json
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from experts.config import Limits
from experts.media.formats import DEMUXERS
from experts.media.frames import THREADS, Mark, cuts_of, frames_of, scan
from experts.media.refusal import Refused, check_decoded, check_length, too_big
from experts.media.sound import RATE_HZ, SILENT, Downmix, sound_of, written

SLACK_S = {"WAV": 0.05, "FLAC": 0.05, "AIFF": 0.05}  # how much of the declared time may lack; others 0.5 s + 10 %
GUESSED = {
    "MP3",
    "AAC",
    "AMR",
    "MPEG",
    "MPEG-TS",
}  # FFmpeg guesses their length, or counts a clock
MEMORY_BYTES = 3 << 30  # address space of the child


def serve() -> None:
    """Read one request, decode, reply. Runs in the child only."""
    request = json.loads(sys.stdin.buffer.readline())
    limits = Limits(**request["limits"])
    _bound(limits)
    import av

    av.logging.set_level(None)
    try:
        asked = Asked(request["form"], request["want"], request["track"], limits)
        reply = _decode(sys.stdin.buffer.read(), asked, Path(request["out"]))
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


@dataclass(frozen=True)
class Asked:
    """What is to be decoded: see `experts.media.decode.decode`."""

    form: str
    want: str | None
    track: int | None  # of the sound tracks, from 1; None = the default one
    limits: Limits


@dataclass
class Tracks:
    """What of a file is looked at and heard. Numbers, not streams: PyAV reads freed memory when asked about a stream
    of a closed file."""

    video: int | None = None
    audio: int | None = None
    others: list[int] = field(default_factory=list)  # sound tracks that are heard where `audio` is silent
    start_s: float = 0.0  # of the file's clock
    end_s: float = 0.0
    marks: list[Mark] = field(default_factory=list)
    picture_notes: list[str] = field(default_factory=list)
    sound_notes: list[str] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return "audio" if self.video is None else "video"


def _decode(data: bytes, asked: Asked, out: Path) -> dict[str, Any]:
    tracks = _tracks(data, asked)
    reply: dict[str, Any] = {"kind": tracks.kind, "audio": False, "sizes": [], "times_s": []}
    reply["duration_s"] = tracks.end_s
    if tracks.video is not None:
        cuts: list[int] = []
        if len(tracks.marks) > asked.limits.video_frames:
            with _open(data, asked.form) as box:
                cuts = cuts_of(box, box.streams[tracks.video], tracks.marks, asked.limits)
        with _open(data, asked.form) as box, open(out / "frames", "wb") as file:
            stream = box.streams[tracks.video]
            for time_s, rgb in frames_of(box, stream, tracks.marks, cuts, tracks.start_s, asked.limits):
                reply["times_s"].append(round(max(time_s, 0.0), 6))
                reply["sizes"].append(rgb.shape[:2])
                rgb.tofile(file)
        if not reply["sizes"]:
            raise Refused(
                f"is {asked.form} without a picture that can be decoded; accepted: at least one frame; export it again"
            )
    if tracks.audio is not None:
        n_samples = _heard(data, asked, tracks, out)
        if not n_samples and tracks.kind == "audio":
            raise Refused("is a sound of 0 samples; accepted: at least one; record it again")
        reply["audio"] = n_samples > 0
        if tracks.kind == "audio":
            reply["duration_s"] = n_samples / RATE_HZ
    return reply | {"notes": tracks.picture_notes + tracks.sound_notes}


def _tracks(data: bytes, asked: Asked) -> Tracks:
    """Which tracks are looked at and heard, with the packets of the pictures; the file's length is checked."""
    import av

    limits = asked.limits
    declared_s = _wav_s(data) if asked.form == "WAV" else 0.0
    check_length(declared_s, limits.audio_s, "sounds")
    with _open(data, asked.form) as box:
        covers = av.stream.Disposition.attached_pic  # cover art is not video
        pictures = [s for s in box.streams.video if not s.disposition & covers]
        video, audio = _default(pictures), _chosen_sound(box, asked)
        tracks = Tracks(start_s=(box.start_time or 0) / av.time_base)
        alone = asked.want == "audio" and video is not None and audio is not None  # of a film the sound alone is wanted
        video = None if alone else video
        _check_kind(asked, video, audio)
        if not video and len(data) > limits.audio_bytes:
            raise Refused(too_big(len(data), limits.audio_bytes, "sounds"))
        if asked.form not in GUESSED and not alone:
            declared_s = max(declared_s, (box.duration or 0) / av.time_base)
        longest_s, plural = (limits.video_s, "videos") if video else (limits.audio_s, "sounds")
        check_length(declared_s, longest_s, plural)
        tracks.picture_notes = _picture_notes(pictures, video)
        if audio:
            check_decoded(declared_s * audio.rate * audio.channels, limits)
            tracks.audio = audio.index
            if asked.track is None:
                tracks.others = [stream.index for stream in box.streams.audio if stream.index != audio.index]
            tracks.sound_notes = _sound_notes(list(box.streams.audio), audio)
        elif video:
            tracks.sound_notes = ["it has no sound track"]
        tracks.video = video.index if video else None
        tracks.marks, tracks.end_s = scan(box, video, audio, tracks.start_s, limits)
    check_length(tracks.end_s, longest_s, plural)
    slack_s = SLACK_S.get(asked.form, 0.5 + 0.1 * declared_s)
    late_s = max(tracks.start_s, 0.0)  # a clock that starts late is part of the length that some containers declare
    if tracks.end_s + late_s < declared_s - slack_s:
        raise Refused(
            f"is cut short: it declares {declared_s:.1f} s and holds {tracks.end_s:.1f} s; accepted: whole files; "
            "copy or download it again"
        )
    return tracks


def _heard(data: bytes, asked: Asked, tracks: Tracks, out: Path) -> int:
    """Write the sound of the first track that is not silent, as some recorders' first one is: its samples' number."""
    assert tracks.audio is not None
    n_samples, peak = _write_sound(data, asked, tracks, tracks.audio, out)
    for at in tracks.others:
        if peak > SILENT:
            break
        n_samples, peak = _write_sound(data, asked, tracks, at, out)
        if peak > SILENT:
            count = len(tracks.others) + 1
            tracks.sound_notes = [f"the first sound track is silent, so another of {count} was heard"]
    return n_samples


def _write_sound(data: bytes, asked: Asked, tracks: Tracks, at: int, out: Path) -> tuple[int, float]:
    """Write a track's samples; where its channels cancel each other, those of the loudest one."""
    only = None
    while True:
        mix = Downmix(only)
        with _open(data, asked.form) as box, open(out / "samples", "wb") as file:
            wrote = written(file, sound_of(box, box.streams[at], tracks.start_s, asked.limits, mix))
        only = mix.loudest
        if only is None:
            return wrote


def _check_kind(asked: Asked, video: Any, audio: Any) -> None:
    if not video and not audio:
        raise Refused(
            f"is {asked.form} without sound or pictures; accepted: a file with at least one track; export it again"
        )
    kind = "video" if video else "audio"
    if asked.want and kind != asked.want:
        now, other = ("a sound", "a video") if kind == "audio" else ("a video without a sound track", "a sound")
        fits = "files with pictures" if asked.want == "video" else "files with sound"
        raise Refused(f"is {now} ({asked.form}), not {other}; pass it as {kind} (accepted here: {fits})")


def _default(streams: list[Any]) -> Any:
    """The stream that a player takes: the one marked default, else the first; None of none."""
    from av.stream import Disposition

    return next((s for s in streams if s.disposition & Disposition.default), next(iter(streams), None))


def _chosen_sound(box: Any, asked: Asked) -> Any:
    """The sound track that was asked for, else the default one; None where there is none."""
    sounds = list(box.streams.audio)
    if asked.track is None:
        return _default(sounds)
    if not 1 <= asked.track <= len(sounds):
        raise Refused(f"has no sound track {asked.track}; accepted: {_range(len(sounds))}")
    return sounds[asked.track - 1]


def _range(count: int) -> str:
    return "a file with sound" if not count else "track 1" if count == 1 else f"tracks 1 to {count}"


def _picture_notes(pictures: list[Any], video: Any) -> list[str]:
    if video is None or len(pictures) < 2:
        return []
    return [f"video track {pictures.index(video) + 1} of {len(pictures)} was looked at, the others were not"]


def _sound_notes(sounds: list[Any], audio: Any) -> list[str]:
    """Which of several sound tracks is heard and which are not, with what the file calls them."""
    if len(sounds) < 2:
        return []
    names = [" ".join((str(n), *_called(sound))) for n, sound in enumerate(sounds, 1)]
    at = sounds.index(audio)
    others = ", ".join(name for n, name in enumerate(names) if n != at)
    return [f"sound track {names[at]} of {len(sounds)} was heard, the others were not: {others}"]


def _called(stream: Any) -> list[str]:
    """A track's language and title, in brackets, where it has any."""
    told = [" ".join(str(stream.metadata.get(key) or "").split())[:40] for key in ("language", "title")]
    told = [text for text in told if text and text != "und"]
    return [f"({', '.join(told)})"] if told else []


def _open(data: bytes, form: str) -> Any:
    import av

    return av.open(io.BytesIO(data), "r", format=DEMUXERS[form], metadata_errors="replace")  # old tags are in Latin-1


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
