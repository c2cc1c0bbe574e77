"""What the media door makes of damaged files: never a crash, never a long wait, one line for what is refused.

    python -m benchmarks.robust                            500 damaged files a family, in minutes
    python -m benchmarks.robust --each 10000               the whole, in hours
    python -m benchmarks.robust --families sound --seed 3

Each file is a whole one made here, with bytes changed, cut out, repeated or swapped with another file's, or numbers of
its header set to extremes; it is opened like any file. `read` and `refused` are both right. `crashed` is
any error that is not a MediaError, `slow` took longer than ten seconds, `unclear` is a message of more than one line or
with a folder in it. What was wrong is kept in the folder --keep.
"""

from __future__ import annotations

import argparse
import io
import re
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image as pillow

from experts.config import Limits
from experts.errors import MediaError
from experts.media import open_media

SLOW_S = 10.0
LIMITS = Limits(decode_s=9.0)
UNCLEAR = re.compile(r"\n|Traceback|(?<![\w.])/\w+/\w+|site-packages")
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def pictures() -> dict[str, bytes]:
    """A whole file of each image format."""
    rng = np.random.default_rng(0)
    flat = pillow.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8))
    more = [flat.rotate(angle) for angle in (90, 180)]
    made: dict[str, bytes] = {}
    for form, image, how in (
        ("PNG", flat, {}), ("PNG", flat.convert("P"), {"optimize": True}), ("PNG", flat.convert("RGBA"), {}),
        ("JPEG", flat, {"exif": pillow.Exif().tobytes()}), ("JPEG", flat, {"progressive": True}),
        ("GIF", flat, {"save_all": True, "append_images": more}), ("WebP", flat, {}),
        ("WebP", flat, {"save_all": True, "append_images": more}), ("BMP", flat, {}), ("TIFF", flat, {}),
        ("TIFF", flat, {"save_all": True, "append_images": more, "compression": "tiff_lzw"}), ("ICO", flat, {}),
        ("TGA", flat, {}), ("PPM", flat, {}), ("PCX", flat, {}), ("JPEG2000", flat, {}), ("AVIF", flat, {}),
    ):  # fmt: skip
        file = io.BytesIO()
        try:
            image.save(file, form, **how)
        except (KeyError, OSError):  # a Pillow without this format
            continue
        made[f"{form} {len(made)}"] = file.getvalue()
    return made


def muxed(container: str, video: str = "", audio: str = "") -> bytes:
    """A second of a moving picture or of a tone, or of both."""
    file = io.BytesIO()
    rng = np.random.default_rng(1)
    with av.open(file, "w", format=container) as box:
        pictures = box.add_stream(video, rate=10) if video else None
        sound = box.add_stream(audio, rate=48_000, options={"strict": "experimental"}) if audio else None
        if sound is not None:
            sound.layout = "stereo"
        if pictures is not None:
            pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
            for i in range(10):
                frame = av.VideoFrame.from_ndarray(rng.integers(0, 256, (48, 64, 3), np.uint8), format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, 10)
                box.mux(pictures.encode(frame))
            box.mux(pictures.encode(None))
        if sound is not None:
            tone = (9000 * np.sin(np.arange(96_000) / 20)).astype(np.int16).reshape(1, -1)
            whole = av.AudioFrame.from_ndarray(tone, format="s16", layout="stereo")
            whole.sample_rate, whole.pts, whole.time_base = 48_000, 0, Fraction(1, 48_000)
            resampler = av.AudioResampler(format=sound.format, layout="stereo", rate=48_000, frame_size=960)
            for part in resampler.resample(whole) + resampler.resample(None):
                box.mux(sound.encode(part))
            box.mux(sound.encode(None))
    return file.getvalue()


def sounds() -> dict[str, bytes]:
    """A whole file of each sound format."""
    forms = (
        ("wav", "pcm_s16le"), ("flac", "flac"), ("ogg", "libopus"), ("ogg", "vorbis"), ("mp3", "libmp3lame"),
        ("ipod", "aac"), ("adts", "aac"), ("aiff", "pcm_s16be"), ("caf", "pcm_s16le"), ("au", "pcm_s16be"),
        ("wv", "wavpack"), ("webm", "libopus"),
    )  # fmt: skip
    made = {f"{container} {codec}": muxed(container, audio=codec) for container, codec in forms}
    return made | {"amr": b"#!AMR\n" + (bytes([7 << 3 | 4]) + bytes(31)) * 50}


def films() -> dict[str, bytes]:
    """A whole file of each film format."""
    forms = (
        ("mp4", "libx264", "aac"), ("mov", "mpeg4", "aac"), ("webm", "libvpx", "libopus"), ("avi", "mpeg4", "mp2"),
        ("matroska", "libx264", "flac"), ("mpegts", "libx264", "aac"), ("flv", "flv", "libmp3lame"),
        ("mpeg", "mpeg2video", "mp2"),
    )  # fmt: skip
    return {f"{container} {video}": muxed(container, video, audio) for container, video, audio in forms}


FAMILIES: dict[str, Callable[[], dict[str, bytes]]] = {"image": pictures, "sound": sounds, "film": films}


def damaged(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """One to three kinds of damage, one after the other."""
    for _ in range(int(rng.integers(1, 4))):
        if not data:
            break
        data = DAMAGES[int(rng.integers(len(DAMAGES)))](rng, data, other)
    return data


def _flipped(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    changed = bytearray(data)
    for at in rng.integers(0, len(data), int(rng.integers(1, 20))):
        changed[int(at)] = int(rng.integers(256))
    return bytes(changed)


def _cut(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    first, last = sorted(int(at) for at in rng.integers(0, len(data) + 1, 2))
    return data[:first] if rng.random() < 0.5 else data[:first] + data[last:]


def _repeated(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    first, last = sorted(int(at) for at in rng.integers(0, len(data) + 1, 2))
    return data[:last] + data[first:last][:50_000] * int(rng.integers(1, 4)) + data[last:]


def _spliced(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    return data[: int(rng.integers(len(data)))] + other[int(rng.integers(max(len(other), 1))) :]


def _headed(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    length = int(rng.integers(4, 64))
    return other[:length] + data[length:]


def _extreme(rng: np.random.Generator, data: bytes, other: bytes) -> bytes:
    """A number in the first kilobyte becomes an extreme one, in either byte order."""
    changed = bytearray(data)
    size = int(rng.choice([1, 2, 4]))
    at = int(rng.integers(0, max(min(len(data), 1024) - size, 1)))
    value = EXTREMES[int(rng.integers(len(EXTREMES)))] % (1 << 8 * size)
    changed[at : at + size] = value.to_bytes(size, "little" if rng.random() < 0.5 else "big")
    return bytes(changed)


DAMAGES = (_flipped, _flipped, _cut, _repeated, _spliced, _headed, _extreme, _extreme)


def judged(data: bytes) -> tuple[str, str]:
    """What came of opening `data` (read, refused, crashed, slow, unclear), and what was said."""
    begun = time.perf_counter()
    said = ""
    try:
        open_media(data, limits=LIMITS, name="file")
        what = "read"
    except MediaError as error:
        said = str(error)
        what = "unclear" if UNCLEAR.search(said) or len(said) > 400 else "refused"
    except Exception as error:  # what the harness is there to find
        what, said = "crashed", f"{type(error).__name__}: {error}"
    return ("slow" if time.perf_counter() - begun > SLOW_S else what), said


def main() -> None:
    """Run the harness; exit 1 where anything but `read` and `refused` came of a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--each", type=int, default=500)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for the files that something was wrong with")
    asked = parser.parse_args()
    print("| family | files | read | refused | crashed | slow | unclear | longest s |\n| --- |" + " --- |" * 7)
    wrong = 0
    for number, family in enumerate(asked.families.split(",")):
        rng = np.random.default_rng([asked.seed, number])
        seeds = list(FAMILIES[family]().values())
        counts: Counter[str] = Counter()
        longest = 0.0
        for file in range(asked.each):
            first, other = (seeds[int(n)] for n in rng.integers(0, len(seeds), 2))
            data = damaged(rng, first, other)
            begun = time.perf_counter()
            what, said = judged(data)
            longest = max(longest, time.perf_counter() - begun)
            counts[what] += 1
            if what not in ("read", "refused"):
                wrong += 1
                print(f"{family} {file}: {what}: {said[:300]}", flush=True)
                if asked.keep:
                    asked.keep.mkdir(parents=True, exist_ok=True)
                    (asked.keep / f"{family}-{file}").write_bytes(data)
        shown = " | ".join(str(counts[what]) for what in ("read", "refused", "crashed", "slow", "unclear"))
        print(f"| {family} | {asked.each:,} | {shown} | {longest:.1f} |", flush=True)
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
