"""How long Duet takes to start, to answer, and how much memory that needs.

    python benchmarks/start.py [--image examples/photo.jpg] [--audio examples/announcement.wav]

Weights must be there (`duet weights fetch`). Prints CPU seconds of `duet --help` (median of five), wall seconds and
peak resident memory of a cold `duet ask --route both` about the image, and wall seconds of a question on each route in
a process whose models are loaded (median of `--n` different questions).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = (
    "What is in the picture?", "Is there an elephant?", "How many people are there?", "What color is the cup?",
    "Is there a dog in the picture?",
)  # fmt: skip
HEARD = "Which platform does the train leave from?"


def run(arguments: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak resident bytes of `duet` with these arguments, in a new process."""
    begun = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "ui.cli", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, env=os.environ
    )
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"duet {arguments[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=ROOT / "examples" / "photo.jpg")
    parser.add_argument("--audio", type=Path, default=ROOT / "examples" / "announcement.wav")
    parser.add_argument("--n", type=int, default=5, help="questions a route")
    options = parser.parse_args()

    cpu = statistics.median(run(["--help"])[1] for _ in range(5))
    print(f"duet --help                        {cpu:6.2f} s CPU")
    wall, cpu, peak = run(["ask", QUESTIONS[0], "--image", str(options.image.resolve()), "--route", "both"])
    print(f"duet ask --route both, cold        {wall:6.1f} s  ({cpu:.1f} s CPU), peak {peak / 2**30:.2f} GiB")
    wall, cpu, peak = run(["ask", HEARD, "--audio", str(options.audio.resolve()), "--route", "experts"])
    print(f"duet ask about a recording, cold   {wall:6.1f} s  ({cpu:.1f} s CPU), peak {peak / 2**30:.2f} GiB")

    sys.path.insert(0, str(ROOT))
    from agent import Agent

    agent = Agent(cache_mb=0)  # else every question after the first finds the experts' work done
    agent.ask(QUESTIONS[0], image=options.image, route="both")
    for route in ("experts", "connector"):
        seconds = [
            agent.ask(question, image=options.image, route=route)[0].seconds for question in QUESTIONS[: options.n]
        ]
        print(f"warm, {route:<9} about the image    {statistics.median(seconds):6.2f} s, slowest {max(seconds):.2f} s")
    agent.ask(HEARD, audio=options.audio, route="experts")
    seconds = [agent.ask(HEARD, audio=options.audio, route="experts")[0].seconds for _ in range(options.n)]
    print(f"warm, experts about the recording  {statistics.median(seconds):6.2f} s, slowest {max(seconds):.2f} s")


if __name__ == "__main__":
    main()
