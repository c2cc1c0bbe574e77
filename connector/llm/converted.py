"""A GGUF of the weights table as safetensors, made once, and the model read from them without a copy."""

from __future__ import annotations

import atexit
import errno
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experts.errors import ModelError
from experts.weights import catalogue

if TYPE_CHECKING:
    from transformers import PreTrainedModel

STAMP, WEIGHTS = "converted-from.json", "model.safetensors"
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)  # a folder that cannot be written, and will not be
_TEMPORARY: dict[str, Path] = {}  # what was made for this run alone


def folder_of(name: str) -> Path:
    """The safetensors directory made once from the GGUF of weights row `name`; remade if its source changed.

    transformers needs half a minute to dequantise a GGUF and a tenth of a second to load the result. Where Duet's home
    cannot be written, the result lies in a temporary folder until the program ends.

    Raises:
        ModelError: it cannot be written: the disk is full.
    """
    from filelock import FileLock

    source = catalogue.resolve(name)
    files = sorted(source.glob("*.gguf"))
    if not files:
        return source
    target = catalogue.home() / "converted" / name
    stamp = {"file": files[0].name, "bytes": files[0].stat().st_size, "sha256": catalogue.WEIGHTS[name].files[0].sha256}
    if _is_made_of(target, stamp):  # before the lock, which a folder that cannot be written does not give
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not _is_made_of(target, stamp):
                _convert(files[0], target, stamp)
    except OSError as error:
        if error.errno not in CLOSED:
            raise ModelError(
                f"'{name}' cannot be made ready ({(error.strerror or type(error).__name__).lower()}); it takes "
                f"{8 * files[0].stat().st_size / 1e9:.1f} GB: make room, or set DUET_HOME to a folder on a larger disk"
            ) from error
        if name not in _TEMPORARY:
            logging.getLogger("duet").warning("'%s' is made ready for this run alone: its folder is read-only", name)
            folder = Path(tempfile.mkdtemp(prefix="duet-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            _convert(files[0], folder / name, stamp)
            _TEMPORARY[name] = folder / name
        return _TEMPORARY[name]
    return target


def _is_made_of(folder: Path, stamp: dict[str, Any]) -> bool:
    try:
        return bool(json.loads((folder / STAMP).read_text()) == stamp)
    except (OSError, ValueError):
        return False


def is_ready(name: str) -> bool:
    """Whether `folder_of` would convert nothing."""
    return (catalogue.home() / "converted" / name / STAMP).is_file()


def _convert(gguf: Path, target: Path, stamp: dict[str, Any]) -> None:
    """Dequantise `gguf` to float32 safetensors in `target`, which appears whole or not at all."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as folder:
        staged = Path(folder) / "model"
        staged.mkdir()
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer.save_pretrained(staged)
        del model.config.quantization_config  # transformers refuses to save what it still thinks is quantised
        model.config.save_pretrained(staged)
        if model.generation_config is not None:
            model.generation_config.save_pretrained(staged)
        tensors = {key: value.contiguous() for key, value in model.state_dict().items()}
        if model.config.tie_word_embeddings:
            tensors.pop("lm_head.weight", None)
        try:
            save_file(tensors, staged / WEIGHTS, metadata={"format": "pt"})
        except SafetensorError as error:  # which hides the system's reason in a text
            full = "No space left" in str(error) or "os error 28" in str(error)
            raise OSError(
                errno.ENOSPC if full else errno.EIO, os.strerror(errno.ENOSPC if full else errno.EIO)
            ) from error
        (staged / STAMP).write_text(json.dumps(stamp))
        if target.exists():
            shutil.rmtree(target)
        staged.rename(target)


def is_ours(folder: Path) -> bool:
    """Whether `folder` holds weights that were converted here."""
    return (folder / STAMP).is_file()


def mapped(folder: Path) -> PreTrainedModel:
    """The causal model of a folder that is ours, in float32, its weights mapped from the file.

    Its names are already the model's own; from_pretrained would first prepare to translate every family's.

    Raises:
        ModelError: the file does not hold this model.
    """
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig
    from transformers.initialization import no_init_weights
    from transformers.utils import logging

    logging.set_verbosity_error()
    config: Any = AutoConfig.from_pretrained(folder)
    with no_init_weights():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    missing, unknown = model.load_state_dict(load_file(folder / WEIGHTS), strict=False, assign=True)
    model.tie_weights()
    tied = {"lm_head.weight"} if config.tie_word_embeddings else set()
    if unknown or set(missing) - tied:
        names = ", ".join([*unknown, *missing][:3])
        raise ModelError(f"the converted weights in '{folder.name}' do not fit ({names}); delete that folder")
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder)
    return model
