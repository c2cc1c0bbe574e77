"""Which families of transformers' multimodal models answer: `python -m benchmarks.families --out docs/families.md`.

Goes over the whole mapping of AutoModelForMultimodalLM. Of each family a tiny random checkpoint is built in the genuine
format, in a process of its own, opened as Duet opens any model, and asked about one picture (or sound), about two, and
in text alone; the answers are compared with transformers' own `generate`. What cannot be built from a small config is
listed with the reason.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LONGEST_S = 120
ASK = "How many dogs are there?"
TOKENS = 6
SEEDS = 8  # random weights that are tried until they say something
SILENT = "both say nothing"


def tried(family: str, folder: Path) -> dict[str, str]:
    """What one family does; runs in a process of its own."""
    from checkpoints import build

    from connector.pretrained import open_pretrained
    from experts.errors import DuetError

    found: dict[str, str] = {}
    for seed in range(SEEDS):
        try:
            build(family, folder / str(seed) / family, seed)
        except Exception as error:  # whatever a family's own classes raise on a small config
            return {"built": f"no: {line(error)}"}
        try:
            model = open_pretrained(str(folder / str(seed) / family), device="cpu")
        except DuetError as error:
            return {"built": "yes", "opened": f"refused: {line(error)}"}
        found = {"built": "yes", "opened": "yes", "takes": ", ".join(sorted(model.info.modalities))}
        found |= {"one": compared(model, 1), "two": compared(model, 2)}
        if SILENT not in found.values():
            break
    try:
        reply = model.language.chat([{"role": "user", "content": ASK}], generation())
        found["text"] = f"answers ({sum(1 for _ in reply.tokens)} pieces)"
    except Exception as error:
        found["text"] = f"refused: {line(error)}"
    return found


def compared(model: Any, count: int) -> str:
    """The answer about so many pictures (or sounds) against that of `generate`."""
    from test_pretrained import media_of, reference, said, sound

    hears = model.info.modalities == {"audio"}
    media = [sound(seed) for seed in range(count)] if hears else media_of("", count)
    try:
        own = reference(model, ASK, media).rstrip("\ufffd").strip()
    except Exception as error:  # of any family's classes
        own, peer = "", str(error)
    else:
        peer = ""
    try:
        answer = said(model, ASK, media).rstrip("\ufffd").strip()
    except Exception as error:
        return f"{'transformers fails too' if peer and peer[:60] in str(error) else 'refused'}: {line(error)}"
    if peer:
        return f"answers, but the comparison failed: {peer[:80]}"
    if answer != own and not (answer and own.endswith(answer)):
        return f"differs: {answer!r}, {own!r}"
    if not answer:
        return SILENT
    other = [sound(7)] if hears else media_of("", 8)[7:]
    shown, hidden = (
        [token.logprob for token in model.stream(ASK, given, generation()).tokens]
        for given in (media, [*other, *media[1:]])
    )
    return "as generate" if shown != hidden else "as generate, but another medium changes nothing"


def generation() -> object:
    """A short answer."""
    from connector.base import Generation

    return Generation(TOKENS)


def line(error: BaseException) -> str:
    """An error on one short line, without folders."""
    text = " ".join(f"{type(error).__name__}: {error}".split()).replace("|", "/")
    text = re.sub(r"(?:ModelError|InputError): (?:model '[^']*' (?:failed: )?)?", "", text)
    return text.replace(tempfile.gettempdir(), "")[:140]


def apart(family: str) -> dict[str, str]:
    """`tried` in a forked process, which may crash or hang."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=lambda: theirs.send(tried(family, Path(folder))))
        process.start()
        theirs.close()
        try:
            return dict(ours.recv()) if ours.poll(LONGEST_S) else {"built": f"no: longer than {LONGEST_S} s"}
        except EOFError:
            return {"built": "no: ended without an answer"}
        finally:
            process.kill()
            process.join()


def page(rows: dict[str, dict[str, str]]) -> str:
    """The table as docs/families.md shows it."""
    import transformers

    answers = [family for family, row in rows.items() if row.get("one") == "as generate"]
    text = [
        "# Families of multimodal models",
        "",
        "Made by `python -m benchmarks.families --out docs/families.md` with transformers "
        f"{transformers.__version__}: of each family a tiny random checkpoint in the genuine format, asked as any "
        'model is. "As generate" means that the answer equals that of transformers\' own `generate`, and that another '
        "medium changes its probabilities. Where the last column begins with no, a tiny checkpoint could not be built "
        "(no shape for it in tests/support/checkpoints, or a package is missing): that says nothing of the family.",
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
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "connector")]
    import test_pretrained  # noqa: F401  what every family needs is loaded once, before the processes part
    from transformers.utils import logging

    logging.disable_progress_bar()
    from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES as MAPPING

    rows = {}
    for family in options.only or sorted(MAPPING):
        rows[family] = apart(family)
        print(family, rows[family], flush=True)
    if options.out:
        options.out.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
