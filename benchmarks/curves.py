"""The curves of training runs from their logs, as one picture.

    python benchmarks/curves.py RUN [RUN ...] --out curves.png

Each run folder (see `duet train`) gives a panel: its loss by minutes, smoothed over a fiftieth of the run, and the
held-out loss where it was looked at.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def read(run: Path) -> list[dict]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("curves.png"))
    options = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(options.runs), figsize=(3.6 * len(options.runs), 3), squeeze=False)
    for run, axis in zip(options.runs, axes[0], strict=True):
        lines = read(run)
        minutes, losses = [line["seconds"] / 60 for line in lines], [line["loss"] for line in lines]
        width = max(len(lines) // 50, 1)
        smooth = [
            sum(losses[max(0, at - width) : at + 1]) / len(losses[max(0, at - width) : at + 1])
            for at in range(len(losses))
        ]
        axis.plot(minutes, smooth, label="training")
        held_out = [(line["seconds"] / 60, line["held_out"]) for line in lines if "held_out" in line]
        if held_out:
            axis.plot(*zip(*held_out, strict=True), "o-", label="held out")
        axis.set_title(run.name)
        axis.set_xlabel("minutes")
        axis.set_ylabel("loss")
        axis.set_ylim(0, sorted(smooth)[int(0.95 * (len(smooth) - 1))] * 1.3)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(options.out, dpi=110)
    print(f"{options.out.name}: {len(options.runs)} runs")


if __name__ == "__main__":
    main()
