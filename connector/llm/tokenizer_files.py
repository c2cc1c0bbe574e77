"""What the tokenizer of a folder needs beside transformers, told before it is loaded."""

from __future__ import annotations

from pathlib import Path

from experts.errors import needs

EXTRA = "tokenizers"


def check_tokenizer(folder: Path, shown: str) -> None:
    """Refuse a folder whose tokenizer cannot be read here for lack of a package.

    A `tokenizer.json` needs none. Without it a `tekken.json` (Voxtral) needs mistral-common, and a `*.model` (Vicuna,
    T5) sentencepiece.

    Raises:
        MissingExtraError: the package is not installed; names the extra.
    """
    if (folder / "tokenizer.json").is_file():
        return
    if (folder / "tekken.json").is_file():
        for package in ("mistral_common", "soundfile"):
            needs(package, EXTRA, f"the tokenizer of '{shown}' (tekken.json)")
    elif any(folder.glob("*.model")):
        for package in ("sentencepiece", "google.protobuf"):
            needs(package, EXTRA, f"the tokenizer of '{shown}' (no tokenizer.json)")
