"""Writes a split of scenes with all that is asked of it: images, truth, captions, questions, preference pairs."""

from __future__ import annotations

from pathlib import Path

from connector.data.questions import Asker, vocabulary_of
from connector.data.records import write_records
from connector.data.scenes import generate


def write_scenes(
    out: Path, split: str, n: int, *, seed: int = 0, cutouts: Path | None = None, workers: int = 1
) -> dict[str, int]:
    """Fill the folder `out` with images/, scenes.jsonl, captions.jsonl, questions.jsonl and preferences.jsonl.

    Returns how many of each were written.
    """
    scenes = generate(out, split, n, seed, cutouts, workers)
    asker = Asker(split, seed, vocabulary_of(scenes))
    pairs = [pair for scene in scenes if (pair := asker.preference(scene)) is not None]
    return {
        "scenes": len(scenes),
        "captions": write_records(out / "captions.jsonl", (asker.caption(scene) for scene in scenes)),
        "questions": write_records(
            out / "questions.jsonl", (row for scene in scenes for row in asker.questions(scene))
        ),
        "preference pairs": write_records(out / "preferences.jsonl", pairs),
    }
