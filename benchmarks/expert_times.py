"""What one call of each expert costs: `python benchmarks/expert_times.py [--image FILE] [--audio FILE]`.

One thread, process time (so that other programs on the machine do not count), the median of five calls after one that
loads the model. Experts whose weights are not here are named and left out. Without --image, the photo of a bus that
Ultralytics brings is used (810 x 1080 px); without --audio, examples/announcement.wav.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"  # read when the engines are imported

import argparse
import resource
import statistics
import sys
import time
from pathlib import Path

CALLS = 5
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def main() -> None:
    """Print the table."""
    import torch
    from rich.console import Console
    from rich.table import Table

    import experts
    from experts.config import Settings
    from experts.errors import DuetError
    from experts.media import Audio, Image, Media

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--audio", type=Path, default=ROOT / "examples" / "announcement.wav")
    args = parser.parse_args()
    torch.set_num_threads(1)
    image = Image.open(args.image or bus())
    audio = Audio.open(args.audio)
    settings = Settings(device="cpu", threads=1)
    table = Table("expert", "weights", "on", "first call s", "median s", "fastest s", "findings", "peak MB so far")
    for name in experts.EXPERTS:
        expert = experts.get(name, settings)
        media: Media | None = image if "image" in expert.kinds else audio if "audio" in expert.kinds else None
        if media is None:  # the video expert is the others, once a frame
            continue
        times_s = []
        try:
            for _ in range(1 + CALLS):
                begun = time.process_time()
                found = expert(media)
                times_s.append(time.process_time() - begun)
        except DuetError as error:
            print(f"{name}: {error}", file=sys.stderr)
            continue
        first, *rest = times_s
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        seconds = (f"{first:.2f}", f"{statistics.median(rest):.3f}", f"{min(rest):.3f}")
        table.add_row(name, expert.weights, media.name, *seconds, str(len(found)), f"{peak_mb:.0f}")
    Console(width=120).print(table)
    sizes = f"{image.name}: {image.width} x {image.height} px; {audio.name}: {audio.duration_s:.1f} s"
    print(f"{sizes}; process time, one thread")


def bus() -> Path:
    """The photo inside the installed ultralytics package."""
    import importlib.util

    spec = importlib.util.find_spec("ultralytics")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "assets" / "bus.jpg"


if __name__ == "__main__":
    main()
