"""A slot connector for another language model: what it sees and says stays, what was learned for the old one goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from experts.errors import TrainingError

if TYPE_CHECKING:
    from connector.llm.language import LanguageModel


def llm_of(start: Path | None) -> str:
    """The language model that a saved model was trained with; "" where `start` is none."""
    if start is None or not (start / "config.json").is_file():
        return ""
    return str(json.loads((start / "config.json").read_text())["llm"])


def carried(start: Path, llm: LanguageModel, out: Path) -> Path:
    """`start` itself where it was trained with `llm`, else a copy of it for `llm` in the folder `out`.

    A slot connector says words as mixtures of its language model's own embeddings, so the words are said with the new
    model's. Its residual, which has the old model's width, begins at zero again, and the adapter is left behind.

    Raises:
        TrainingError: it is another kind of connector, whose weights all have the old model's width.
    """
    from safetensors.torch import load_file, save_file

    from connector.network import architecture_of

    config = json.loads((start / "config.json").read_text())
    if config["llm"] == llm.name:
        return start
    shape = config["connector"]
    if shape["kind"] != "slots":
        raise TrainingError(
            f"'{start.name}' was trained with '{config['llm']}', not with '{llm.name}'; only slot connectors can be "
            f"carried over, and this one is of kind {shape['kind']}"
        )
    shape["d_llm"] = llm.width
    tensors = load_file(start / "connector.safetensors")
    words = tensors["residual.weight"].shape[0] // config["llm_shape"]["hidden_size"]
    tensors["residual.weight"] = tensors["residual.weight"].new_zeros(words * llm.width, shape["hidden"])
    tensors["residual.bias"] = tensors["residual.bias"].new_zeros(words * llm.width)
    config |= {"llm": llm.name, "llm_shape": architecture_of(llm)}
    config["card"] = config.get("card", {}) | {"carried_from": start.name}
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "connector.safetensors")
    (out / "connector.safetensors").chmod(0o644)
    (out / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    return out
