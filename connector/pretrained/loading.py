"""Loading a pretrained multimodal model: from a folder or a hub, checked before its weights are read.

Nothing in a checkpoint is executed: safetensors only, and `trust_remote_code=False` at every call.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connector.base import ModelInfo
from connector.llm.tokenizer_files import check_tokenizer
from connector.pretrained.families import family_of
from connector.pretrained.memory import BYTES, check_fits, place_of
from connector.pretrained.model import PretrainedModel
from connector.pretrained.prompts import Prompts
from experts.errors import ConfigError, InputError, ModelError, WeightsError, needs

NO_CODE: dict[str, Any] = {"trust_remote_code": False}
PRECISIONS = ("auto", *BYTES)
EXAMPLE = "a folder or hub name such as HuggingFaceTB/SmolVLM-256M-Instruct"
Report = Callable[[str], None]


def open_pretrained(
    name: str, *, revision: str = "main", device: str = "auto", precision: str = "auto", report: Report | None = None
) -> PretrainedModel:
    """The multimodal model in a folder or under a hub name.

    `precision` auto is bfloat16 on a GPU and float32 on a CPU; int8 and int4 need bitsandbytes (extra `quantised`).

    Raises:
        InputError: there is none of this name, or it is no multimodal model.
        WeightsError: it is not here and cannot be fetched, or is incomplete.
        ModelError: it does not fit into memory, or its files do not make a model.
        ConfigError: an unknown precision or device.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision '{precision}' is unknown; accepted: {', '.join(PRECISIONS)}")
    folder, commit = locate(name, revision, report)
    shown = folder.name if Path(name).is_dir() else name
    config = read_config(folder, shown)
    place = place_of(device)
    kind = precision if precision != "auto" else ("float32" if place == "cpu" else "bfloat16")
    parameters = count_parameters(folder, shown)
    check_fits(shown, parameters, kind, place)
    processor = _processor(folder, shown)
    family = family_of(config.model_type)
    if family.part:
        config = getattr(config, f"{family.part}_config")
    model = _weights(folder, shown, config, kind, place)
    if family.common:
        from transformers import GenerationMixin

        model.generate = types.MethodType(GenerationMixin.generate, model)
    info = ModelInfo(
        name=shown,
        kind="pretrained",
        modalities=Prompts(shown, processor, family, config=config).modalities(),
        language=shown,
        revision=commit,
        parameters=parameters,
        precision=kind,
        device=_devices(model),
        most_media=family.most_media,
        licence=_licence(folder),
    )
    return PretrainedModel(model, processor, info, family)


def locate(name: str, revision: str = "main", report: Report | None = None) -> tuple[Path, str]:
    """The folder of a model and its commit ("" where it is no hub's).

    Raises:
        InputError: neither a folder nor a hub's name.
        WeightsError: not here and not to be had.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path.resolve(), ""
    if path.exists() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise InputError(f"there is no model '{path.name or name}'; accepted: {EXAMPLE}")
    from connector.pretrained.hub import snapshot

    return snapshot(name, revision, report)


def read_config(folder: Path, shown: str) -> Any:
    """The config of a multimodal model.

    Raises:
        InputError: it is none, or one that needs its own program.
    """
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as TEXT
    from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES as KNOWN

    if not (folder / "config.json").is_file():
        raise InputError(f"'{shown}' holds no config.json, so it is no model; accepted: {EXAMPLE}")
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = AutoConfig.from_pretrained(folder, **NO_CODE)
    except (OSError, ValueError, KeyError, TypeError) as error:
        own = isinstance(locals().get("raw"), dict) and "auto_map" in raw
        why = "it brings its own program, which is not run" if own else _line(error, folder)
        raise InputError(f"'{shown}' is not a model that can be loaded: {why}; accepted: {EXAMPLE}") from None
    if config.model_type in KNOWN:
        return config
    if config.model_type in TEXT:
        raise InputError(
            f"'{shown}' is a text-only language model ({config.model_type}) and cannot see; set it as llm for the "
            f"experts route, or name a multimodal model, {EXAMPLE}"
        )
    raise InputError(f"'{shown}' is of type {config.model_type}, no multimodal language model; accepted: {EXAMPLE}")


def count_parameters(folder: Path, shown: str) -> int:
    """The number of parameters, by the headers of the safetensors files.

    Raises:
        WeightsError: files are missing, torn, or of another format.
    """
    files = sorted(folder.glob("*.safetensors"))
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        missing = sorted(named - {file.name for file in files})
        if missing:
            raise WeightsError(
                f"'{shown}' is incomplete: {len(missing)} of {len(named)} weight files are missing ({missing[0]} ...); "
                "fetch it again with `duet models fetch`"
            )
    if not files:
        pickled = any(folder.glob("*.bin")) or any(folder.glob("*.pt"))
        why = "its weights are pickles, which can run programs" if pickled else "it holds no weights"
        raise WeightsError(f"'{shown}' cannot be loaded: {why}; accepted: safetensors")
    return sum(_elements(file, shown) for file in files)


def _elements(file: Path, shown: str) -> int:
    """Elements of all tensors in one file, without reading them."""
    import math

    try:
        with file.open("rb") as stream:
            size = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(size))
        tensors = {key: value for key, value in header.items() if key != "__metadata__"}
        end = max((value["data_offsets"][1] for value in tensors.values()), default=0)
        if file.stat().st_size < 8 + size + end:
            raise ValueError("cut short")
        return sum(math.prod(value["shape"]) for value in tensors.values())
    except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError):
        raise WeightsError(f"'{file.name}' of '{shown}' is damaged or cut short; fetch it again") from None


def _processor(folder: Path, shown: str) -> Any:
    from transformers import AutoProcessor
    from transformers.processing_utils import ProcessorMixin

    check_tokenizer(folder, shown)
    try:
        processor = AutoProcessor.from_pretrained(folder, **NO_CODE)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(
            f"'{shown}' has no processor that can be loaded, and without it media cannot be given to it: "
            f"{_line(error, folder)}"
        ) from None
    if not isinstance(processor, ProcessorMixin):
        raise ModelError(
            f"'{shown}' has no processor (preprocessor_config.json or processor_config.json is missing), and without "
            "it media cannot be given to it; copy it from where the model comes from"
        )
    return processor


def _weights(folder: Path, shown: str, config: Any, kind: str, place: str) -> Any:
    """The model with its weights; random ones are never taken for missing ones."""
    import torch
    from transformers import AutoModelForMultimodalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    options: dict[str, Any] = {"dtype": torch.bfloat16 if kind in ("int8", "int4") else getattr(torch, kind)}
    if kind in ("int8", "int4"):
        options["quantization_config"] = _quantised(kind)
    if place == "cuda":
        needs("accelerate", "hub", "a model on a GPU")
        options["device_map"] = "auto"
    try:
        model, told = AutoModelForMultimodalLM.from_pretrained(
            folder, config=config, use_safetensors=True, output_loading_info=True, **NO_CODE, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, ImportError) as error:
        raise ModelError(f"'{shown}' cannot be loaded: {_line(error, folder)}") from None
    wrong = sorted(told.get("missing_keys", ())) or sorted(str(key) for key in told.get("mismatched_keys", ()))
    if wrong:
        raise ModelError(
            f"'{shown}' lacks {len(wrong)} of the weights that its config asks for ({', '.join(wrong[:3])} ...), and "
            "random ones would stand in for them; fetch it again, or use the config that belongs to it"
        )
    model = model if place == "cuda" else model.to(place)
    return model.eval().requires_grad_(False)


def _quantised(kind: str) -> Any:
    """The settings of bitsandbytes.

    Raises:
        ConfigError: it is not installed.
    """
    needs("bitsandbytes", "quantised", f"precision {kind}")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_8bit=kind == "int8", load_in_4bit=kind == "int4")


def _devices(model: Any) -> str:
    places = {str(parameter.device) for parameter in model.parameters()}
    return ", ".join(sorted(places))


def _licence(folder: Path) -> str:
    """The licence that a model card names, "" where there is none."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()[:60]
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("license:"))
    return next(named, "")


def _line(error: BaseException, folder: Path) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text.replace(str(folder), folder.name)[:240]
