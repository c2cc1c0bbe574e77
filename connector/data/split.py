"""Writes a split of scenes with all that is asked of it, and what the experts find in it with questions about that."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.data.pictures.scenes import generate, load_scenes
from connector.data.questions.about_scenes import Asker, vocabulary_of
from connector.data.questions.corrections import corrections
from connector.data.readings.mixture import readings_of
from connector.data.records import read_records, write_records
from experts.errors import InputError

if TYPE_CHECKING:
    from connector.encoders.features import FeatureCache


CORRECTED = ("caption", "name", "existence")
ANSWERED = 64  # questions answered at once
CAPTION_TOKENS = 64  # of a caption, at most


def write_scenes(
    out: Path,
    split: str,
    n: int,
    *,
    seed: int = 0,
    cutouts: Path | None = None,
    workers: int = 1,
    close_ups: float = 0.0,
) -> dict[str, int]:
    """Fill the folder `out` with images/, scenes.jsonl, captions.jsonl, questions.jsonl and preferences.jsonl.

    Returns how many of each were written.
    """
    scenes = generate(out, split, n, seed, cutouts, workers, close_ups=close_ups)
    asker = Asker(split, seed, vocabulary_of(scenes))
    pairs = [pair for scene in scenes if (pair := asker.preference(scene)) is not None]
    return {
        "scenes": len(scenes),
        "captions": write_records(out / "captions.jsonl", (asker.caption(scene) for scene in scenes if scene.things)),
        "questions": write_records(
            out / "questions.jsonl", (row for scene in scenes for row in asker.questions(scene))
        ),
        "preference pairs": write_records(out / "preferences.jsonl", pairs),
    }


def write_readings(scenes: Path, n: int, *, seed: int = 0, say: Callable[[str], None] = lambda line: None) -> int:
    """Run the detector, the tagger and, where a word is to be read, the reader on the first `n` scenes of a folder.

    Writes readings.jsonl there: the evidence text that the experts really produce, with questions and the answers that
    follow from it. Returns how many.

    Raises:
        InputError: no scenes are there.
    """
    import experts
    from experts.media import Image

    if not (scenes / "scenes.jsonl").is_file():
        raise InputError(f"no scenes.jsonl in '{scenes.name}'; make it: duet data scenes --out DIR")
    pictures = []
    for number, scene in enumerate(load_scenes(scenes)[:n], 1):
        image = Image.open(scenes / scene.image)
        names = ("detect", "tag", "ocr") if any(thing.text for thing in scene.things) else ("detect", "tag")
        found = [finding for name in names for finding in experts.get(name)(image)]
        pictures.append((found, (image.width, image.height)))
        if number % 200 == 0:
            say(f"looked at {number} of {n} scenes")
    return write_records(scenes / "readings.jsonl", readings_of(pictures, seed))


def write_corrections(
    scenes: Path,
    model: Any,
    cache: FeatureCache,
    n: int,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, int]:
    """Ask `model` about the first `n` scenes that hold more than shapes, and write preference pairs beside them.

    A caption and a name are asked of each; pairs of yes and no need no asking. The files are corrected-captions.jsonl,
    corrected-names.jsonl and corrected-answers.jsonl; returns how many pairs each has.
    """
    from connector.encoders.features import content_key

    chosen = [s for s in load_scenes(scenes) if any(not thing.shape and not thing.text for thing in s.things)][:n]
    keys = {scene.image: content_key(scenes / scene.image) for scene in chosen}
    cache.fill(((key, scenes / image) for image, key in keys.items()), model.encoder, say=say)
    records = [r for name in ("captions", "questions") for r in read_records(scenes / f"{name}.jsonl")]
    one = {kind: {r.image: r for r in records if r.kind == kind and r.image in keys} for kind in CORRECTED}
    asked = [record for kind in ("caption", "name") for record in one[kind].values()]
    said: list[str] = []
    prompts = ((record.question, cache.get([keys[str(record.image)]])) for record in asked)
    for text in model.answers(prompts, CAPTION_TOKENS, ANSWERED):
        said.append(text)
        if len(said) % ANSWERED == 0 or len(said) == len(asked):
            say(f"{len(said)} of {len(asked)} questions answered")
    known = list(one["existence"].values())  # their pairs need no answer
    pairs = corrections(chosen, [*asked, *known], [*said, *("" for _ in known)])
    return {name: write_records(scenes / f"corrected-{name}.jsonl", found) for name, found in pairs.items()}
