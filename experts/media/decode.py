"""The sound and video decoder of the media door: PyAV in a process of its own, which can be killed.

FFmpeg can crash, hang or eat memory on a hostile file, so it never runs in the process that answers people. `decode`
starts a child, gives it one JSON line and the encoded bytes on standard input, and reads back one JSON line on
standard output and raw numbers from a temporary folder. The child is killed after `limits.decode_s`, its memory is
bounded where the platform can do that, and it may die in any way without harm. The demuxer is fixed by the caller,
never guessed by FFmpeg: playlists and concat scripts, which open other files and addresses, cannot be reached.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from experts.config import Limits
from experts.errors import MediaError

CHILD = "import sys; sys.path.append(sys.argv[1]); from experts.media.decoder import serve; serve()"


@dataclass(frozen=True, eq=False)
class Decoded:
    """What came out: `samples` [S] float32 mono at 16,000 Hz, or None; `frames` each [H, W, 3] uint8."""

    kind: str
    samples: np.ndarray | None
    frames: list[np.ndarray]
    times_s: list[float]
    duration_s: float
    notes: tuple[str, ...] = ()  # what was not looked at or heard, a sentence each


def command() -> list[str]:
    """The child's command line. -P and an appended path: nothing in the current folder can shadow a library."""
    return [sys.executable, "-P", "-c", CHILD, str(Path(__file__).resolve().parents[2])]


def decode(data: bytes, name: str, form: str, want: str | None, limits: Limits, track: int | None = None) -> Decoded:
    """Decode a sound or video in a child process.

    `form` is a key of DEMUXERS, `want` "audio", "video" or None (whichever it turns out to be), `track` the sound track
    that is heard, from 1 (None: the file's default one, or the first that is not silent).

    Raises:
        MediaError: damaged, over a limit, of the other kind; or the decoder crashed, hung or ran out of memory.
    """
    again = "re-encode it (WAV for sound, MP4 for video) and try again"
    with tempfile.TemporaryDirectory(prefix="duet-") as out:
        request = {"form": form, "want": want, "track": track, "limits": asdict(limits), "out": out}
        try:
            run = subprocess.run(
                command(),
                input=json.dumps(request).encode() + b"\n" + data,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=limits.decode_s,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )
        except subprocess.TimeoutExpired:
            raise MediaError(
                f"{name} took longer than the accepted {limits.decode_s:g} s to decode and was stopped; "
                f"shorten it, or {again}"
            ) from None
        if run.returncode < 0:
            with suppress(ValueError):
                cause = signal.Signals(-run.returncode).name
                raise MediaError(f"{name} crashed the {form} decoder ({cause}) and is not accepted; {again}")
        try:
            reply = json.loads(run.stdout)
        except ValueError:
            raise MediaError(f"{name} stopped the {form} decoder (exit {run.returncode}); {again}") from None
        if "refused" in reply:
            raise MediaError(f"{name} {' '.join(str(reply['refused']).split())[:300]}")
        if "failed" in reply:
            raise MediaError(
                f"{name} starts like {form} but cannot be decoded ({str(reply['failed'])[:60]}): it is damaged, cut "
                f"short or in a codec that is not accepted; {again}"
            )
        samples = np.fromfile(Path(out, "samples"), np.float32) if reply["audio"] else None  # [S]
        frames, at = [], 0
        for height, width in reply["sizes"]:
            flat = np.fromfile(Path(out, "frames"), np.uint8, count=height * width * 3, offset=at)
            frames.append(flat.reshape(height, width, 3))  # [H, W, 3]
            at += flat.size
        notes = tuple(reply.get("notes", ()))
        return Decoded(reply["kind"], samples, frames, reply["times_s"], reply["duration_s"], notes)
