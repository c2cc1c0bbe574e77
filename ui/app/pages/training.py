"""The training page: the curves of a run, from the log that `duet train` writes, while it runs and after."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ui.app import words
from ui.app.components.steps import plain
from ui.app.pages.chat import LIGHT

LOG = "log.jsonl"
DEEP = 3  # levels of folders below the given ones in which runs are sought
MOST_POINTS = 400  # of a curve
EVERY_S = 5.0


class Training:
    """The page's handlers; only logs below `folders` are ever read."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = [Path(folder) for folder in folders]
        self.draw()

    def draw(self) -> None:
        """The components and what they call."""
        with gr.Row():
            run = gr.Dropdown(
                label=words.word("training_run"), info=words.word("runs_info"), choices=[], scale=5, elem_id="run"
            )
            again = gr.Button(words.word("refresh"), scale=1, min_width=90)
        told = gr.Markdown(elem_id="run-told")
        with gr.Row():
            loss, rate = plot("loss", "loss", "curve"), plot("learning rate", "rate", "part")
        timer = gr.Timer(EVERY_S, active=False)
        shown = [run, told, loss, rate, timer]
        gr.on([again.click, run.input, timer.tick], self.show, run, shown, **LIGHT)
        root = gr.context.Context.root_block
        assert root is not None, "drawn inside an app"
        root.load(self.show, run, shown, **LIGHT)

    def runs(self) -> dict[str, Path]:
        """Every run below the folders by its name, the one that was last written to first."""
        found: dict[str, tuple[float, Path]] = {}
        for folder in self.folders:
            for level in range(DEEP + 1):
                for log in folder.glob("*/" * level + LOG):
                    name = log.parent.relative_to(folder).as_posix() if level else folder.name
                    found.setdefault(name, (log.stat().st_mtime, log))
        return {name: log for name, (_, log) in sorted(found.items(), key=lambda item: -item[1][0])}

    def show(self, chosen: str | None) -> list[Any]:
        """The curves of the chosen run, or of the latest; looked at again every few seconds."""
        runs = self.runs()
        if not runs:
            blank = gr.LinePlot(value=None, visible=False)
            return [gr.Dropdown(choices=[], value=None), words.word("no_runs"), blank, blank, gr.Timer(active=False)]
        chosen = chosen if chosen in runs else next(iter(runs))
        rows = read_log(runs[chosen])
        busy = time.time() - runs[chosen].stat().st_mtime < 120
        return [
            gr.Dropdown(choices=list(runs), value=chosen),
            summary(rows),
            gr.LinePlot(value=curves(rows), visible=bool(rows)),
            gr.LinePlot(value=rates(rows), visible=bool(rows)),
            gr.Timer(active=busy),
        ]


def plot(title: str, y: str, color: str) -> gr.LinePlot:
    """An empty plot over the steps; a label above it would push the legend out of the box (gradio 6.31)."""
    return gr.LinePlot(
        x="step", y=y, color=color, title=title, show_label=False, color_title=" ", height=380, min_width=320, elem_id=y
    )


def read_log(log: Path) -> list[dict[str, Any]]:
    """The lines of a log; one that is being written is left out."""
    rows = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "step" in row:
            rows.append(row)
    return rows


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Where a run is, on one line."""
    if not rows:
        return ""
    last = rows[-1]
    seconds = max(float(last.get("seconds", 0.0)), 1e-9)
    parts = [f"step {last['step']:,}", f"loss {last.get('loss', float('nan')):.4f}"]
    parts += [f"{key} {value:.3f}" for key, value in last.get("metrics", {}).items()]
    parts += [f"{last.get('samples', 0):,} samples", f"{last.get('samples', 0) / seconds:.1f} samples/s"]
    parts.append(f"{seconds / 60:.1f} min")
    return plain(" · ".join(parts))


def curves(rows: Sequence[dict[str, Any]]) -> Any:
    """Training loss, averaged over steps that share a point, and the held-out loss, as a table for a plot."""
    import pandas

    width = max(len(rows) // MOST_POINTS, 1)
    points = []
    for begin in range(0, len(rows), width):
        group = [row["loss"] for row in rows[begin : begin + width] if isinstance(row.get("loss"), int | float)]
        if group:
            points.append((rows[min(begin + width, len(rows)) - 1]["step"], sum(group) / len(group), "training"))
    points += [(row["step"], row["held_out"], "held out") for row in rows if row.get("held_out") is not None]
    return pandas.DataFrame(points, columns=["step", "loss", "curve"])


def rates(rows: Sequence[dict[str, Any]]) -> Any:
    """The learning rate of each part, as a table for a plot."""
    import pandas

    width = max(len(rows) // MOST_POINTS, 1)
    points = [(row["step"], value, part) for row in rows[::width] for part, value in row.get("lr", {}).items()]
    return pandas.DataFrame(points, columns=["step", "rate", "part"])


def build(folders: Sequence[Path]) -> None:
    """Draw the page."""
    Training(folders)
