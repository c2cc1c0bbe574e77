"""A mean of two saved models' weights: what a later run taught, without all that it made the earlier one forget.

For runs that start one from the other, or both from a third (Wortsman et al. 2022, arXiv 2109.01903). A share above 1
goes on past the later one, the way its run went from the earlier: a larger dose of a preference stage without another
run (Zheng et al. 2024, arXiv 2404.16792).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experts.errors import InputError, ModelError

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("connector.safetensors", "lora.safetensors")
SAME = ("format", "llm", "llm_shape", "encoder", "tiles", "size_px", "connector")  # of config.json


MOST = 4.0  # times the way from the first model to the second; further out is nothing that either has learned


def average(first: Path, second: Path, out: Path, *, share: float = 0.5) -> None:
    """Write into the new folder `out` the model whose tensors are those of `first` plus `share` of the way to `second`.

    Settings and card are the second's, which is the later one's.

    Raises:
        ModelError: a folder is no saved model, or the two differ in their architecture.
        InputError: `out` is there already, or `share` is not above 0 and at most `MOST`.
    """
    from safetensors.torch import save_file

    if not 0 < share <= MOST:
        raise InputError(f"a share of {share:g} does not fit: above 0 and at most {MOST:g}, and 0.5 is the mean")
    if out.exists():
        raise InputError(f"'{out.name}' is there already; name another folder with --out")
    (ours, tensors), (theirs, others) = _saved(first), _saved(second)
    differing = [key for key in SAME if ours.get(key) != theirs.get(key)]
    differing += sorted(
        key
        for key in tensors.keys() | others.keys()
        if key not in tensors or key not in others or tensors[key].shape != others[key].shape
    )
    if differing:
        raise ModelError(f"'{first.name}' and '{second.name}' differ in {', '.join(differing[:5])}")
    means = {key: tensors[key].float().lerp(others[key].float(), share).to(tensors[key].dtype) for key in tensors}
    theirs.setdefault("card", {})["average"] = [first.parent.name, second.parent.name, share]
    staging = out.with_name(f".staging-{out.name}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for file in FILES:
        part = {key.removeprefix(f"{file}: "): value for key, value in means.items() if key.startswith(f"{file}: ")}
        if part:
            save_file(part, staging / file)
    (staging / "config.json").write_text(json.dumps(theirs, indent=1, sort_keys=True) + "\n")
    staging.rename(out)


def _saved(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The settings of a saved model, and its tensors as "FILE: NAME"; an adapter is not in every model."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "config.json").read_text())
        files = [file for file in FILES if file == FILES[0] or (folder / file).is_file()]
        tensors = {f"{file}: {key}": value for file in files for key, value in load_file(folder / file).items()}
    except FileNotFoundError as error:
        raise ModelError(f"'{folder.name}' is not a saved model: no {Path(str(error.filename)).name}") from None
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split()).replace(str(folder), folder.name)
        raise ModelError(f"'{folder.name}' is not a saved model: {reason}") from None
    return config, tensors
