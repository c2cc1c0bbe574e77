"""The curves of training runs from their logs, as one picture.

    python benchmarks/curves.py RUN [RUN ...] --out curves.png

Each run folder (see `duet train`) gives a panel: its loss by minutes, smoothed over a fiftieth of the run, and the
held-out loss where it was looked at. Of `dpo` it is the margin by which chosen answers have become likelier than
rejected ones (nats times beta), smoothed over an eighth of the run.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

ACROSS = 4  # panels beside each other


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

    across = min(len(options.runs), ACROSS)
    down = -(-len(options.runs) // across)
    figure, axes = plt.subplots(down, across, figsize=(3.6 * across, 3 * down), squeeze=False)
    for axis in axes.flat[len(options.runs) :]:
        axis.set_visible(False)
    for run, axis in zip(options.runs, axes.flat, strict=False):
        lines = read(run)
        pairs = [line for line in lines if "margin" in line.get("metrics", {})]  # of dpo; its loss mixes two things
        shown = [(line["seconds"] / 60, line["metrics"]["margin"]) for line in pairs]
        shown = shown or [(line["seconds"] / 60, line["loss"]) for line in lines]
        width = max(len(shown) // (8 if pairs else 50), 1)
        values = [value for _, value in shown]
        smooth = [
            sum(values[max(0, at - width) : at + 1]) / len(values[max(0, at - width) : at + 1])
            for at in range(len(values))
        ]
        axis.plot([minute for minute, _ in shown], smooth, label="training")
        held_out = [(line["seconds"] / 60, line["held_out"]) for line in lines if "held_out" in line]
        if held_out:
            axis.plot(*zip(*held_out, strict=True), "o-", label="held out")
        axis.set_title(run.name)
        axis.set_xlabel("minutes")
        axis.set_ylabel("margin" if pairs else "loss")
        top = max(smooth) if pairs else sorted(smooth)[int(0.95 * (len(smooth) - 1))]
        axis.set_ylim(min(0, *smooth), top * 1.3)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(options.out, dpi=110)
    print(f"{options.out.name}: {len(options.runs)} runs")


if __name__ == "__main__":
    main()
