"""The mean of two saved models' weights: what a later run taught, without all that it made the earlier one forget.

For runs that start one from the other (Wortsman et al. 2022, arXiv 2109.01903, with a share of 1/2).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from experts.errors import InputError, ModelError

FILES = ("connector.safetensors", "lora.safetensors")


def average(first: Path, second: Path, out: Path) -> None:
    """Write into the new folder `out` the model whose tensors are the means of those of `first` and `second`.

    Settings and card are the second's, which is the later one's.

    Raises:
        ModelError: a folder is no saved model, or the two differ in their tensors.
        InputError: `out` is there already.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    if out.exists():
        raise InputError(f"'{out.name}' is there already; name another folder with --out")
    means: dict[str, dict[str, torch.Tensor]] = {}
    for name in FILES:
        try:
            ours, theirs = (load_file(folder / name) for folder in (first, second))
        except (OSError, SafetensorError) as error:
            raise ModelError(
                f"'{first.name}' and '{second.name}' must both be saved models with {name}: {_line(error)}"
            ) from None
        differing = sorted(
            key
            for key in ours.keys() | theirs.keys()
            if key not in ours or key not in theirs or ours[key].shape != theirs[key].shape
        )
        if differing:
            raise ModelError(f"'{first.name}' and '{second.name}' differ in {', '.join(differing[:5])} of {name}")
        means[name] = {key: ((ours[key].float() + theirs[key].float()) / 2).to(ours[key].dtype) for key in ours}
    config: dict[str, Any] = json.loads((second / "config.json").read_text())
    config.setdefault("card", {})["average"] = [first.parent.name, second.parent.name]
    staging = out.with_name(f".staging-{out.name}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    for name, tensors in means.items():
        save_file(tensors, staging / name)
    (staging / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    staging.rename(out)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
