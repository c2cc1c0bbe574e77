"""Which families of transformers' multimodal models answer: `python -m benchmarks.families --out docs/families.md`.

Goes over the whole mapping of AutoModelForMultimodalLM. Of each family a tiny random checkpoint is built in the genuine
format, in a process of its own, opened as Duet opens any model, and asked about one picture (or sound), about two, and
in text alone; the answers are compared with transformers' own `generate`. What cannot be built from a small config is
listed with the reason.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONGEST_S = 120
ASK = "How many dogs are there?"
TOKENS = 6


def tried(family: str, folder: Path) -> dict[str, str]:
    """What one family does; runs in a process of its own."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "connector")]
    import torch

    torch.set_num_threads(1)
    from checkpoints import build
    from test_pretrained import media_of, reference, said, sound

    from connector.pretrained import open_pretrained
    from experts.errors import DuetError

    try:
        build(family, folder)
    except Exception as error:  # whatever a family's own classes raise on a small config
        return {"built": f"no: {line(error)}"}
    try:
        model = open_pretrained(str(folder), device="cpu")
    except DuetError as error:
        return {"built": "yes", "opened": f"refused: {line(error)}"}
    hears = model.info.modalities == {"audio"}
    make = (lambda count: [sound(seed) for seed in range(count)]) if hears else (lambda count: media_of("", count))
    found = {"built": "yes", "opened": "yes", "takes": ", ".join(sorted(model.info.modalities))}
    for count, key in ((1, "one"), (2, "two")):
        try:
            answer = said(model, ASK, make(count)).rstrip("\ufffd").strip()
            own = reference(model, ASK, make(count)).rstrip("\ufffd").strip()
            found[key] = "as generate" if answer == own or (answer and own.endswith(answer)) else "differs"
        except Exception as error:
            found[key] = f"refused: {line(error)}"
    try:
        reply = model.language.chat([{"role": "user", "content": ASK}], generation())
        found["text"] = f"answers ({sum(1 for _ in reply.tokens)} pieces)"
    except Exception as error:
        found["text"] = f"refused: {line(error)}"
    return found


def generation() -> object:
    """A short answer."""
    from connector.base import Generation

    return Generation(TOKENS)


def line(error: BaseException) -> str:
    """An error on one short line, without folders."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).replace("|", "/")
    return text.replace(tempfile.gettempdir(), "")[:110]


def apart(family: str) -> dict[str, str]:
    """`tried` in a process of its own, which may crash or hang."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--one", family, "--folder", str(Path(folder) / family)]
        try:
            run = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
        except subprocess.TimeoutExpired:
            return {"built": f"no: longer than {LONGEST_S} s"}
    last = run.stdout.strip().splitlines()[-1:] or [""]
    try:
        return dict(json.loads(last[0]))
    except ValueError:
        return {"built": f"no: ended with {run.returncode}"}


def page(rows: dict[str, dict[str, str]]) -> str:
    """The table as docs/families.md shows it."""
    import transformers

    answers = [family for family, row in rows.items() if "as generate" in row.get("one", "")]
    text = [
        "# Families of multimodal models",
        "",
        "Made by `python -m benchmarks.families --out docs/families.md` with transformers "
        f"{transformers.__version__}: of each family a tiny random checkpoint in the genuine format, asked as any "
        'model is. "As generate" means that the answer equals that of transformers\' own `generate`.',
        "",
        f"{len(answers)} of {len(rows)} families answer about a picture or a sound as transformers does.",
        "",
        "| family | takes | one medium | two media | text alone | why not |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for family, row in sorted(rows.items()):
        why = row["built"] if row["built"] != "yes" else row.get("opened", "")
        why = "" if why == "yes" else why
        cells = (row.get(key, "") for key in ("takes", "one", "two", "text"))
        text.append(f"| {family} | {' | '.join(cells)} | {why} |")
    return "\n".join(text) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="*", help="Families (default: all of the mapping).")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(tried(options.one, options.folder)))
        return
    from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES as MAPPING

    rows = {}
    for family in options.only or sorted(MAPPING):
        rows[family] = apart(family)
        print(family, rows[family], flush=True)
    if options.out:
        options.out.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
