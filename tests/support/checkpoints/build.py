"""Builds a tiny random checkpoint of one family: config, safetensors, processor, tokenizer, chat template."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

from checkpoints.others import OTHERS
from checkpoints.shapes import SHAPES, Shape, shrunk
from checkpoints.tokens import tokenizer

TEMPLATE = (
    "{%% for m in messages %%}<|im_start|>{{ m['role'] }}\n"
    "{%% if m['content'] is string %%}{{ m['content'] }}{%% else %%}{%% for p in m['content'] %%}"
    "{%% if p['type'] == 'image' %%}%s{%% elif p['type'] == 'video' %%}%s{%% elif p['type'] == 'audio' %%}%s"
    "{%% else %%}{{ p['text'] }}{%% endif %%}{%% endfor %%}{%% endif %%}<|im_end|>\n{%% endfor %%}"
    "{%% if add_generation_prompt %%}<|im_start|>assistant\n{%% endif %%}"
)


def build(family: str, folder: Path, seed: int = 0) -> Path:
    """Write the checkpoint of a config's model type into `folder`."""
    import torch
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING
    from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES as MODELS

    shape = {**SHAPES, **OTHERS}.get(family, Shape())
    words = shape.words() if shape.words else tokenizer([*shape.special, "<|im_start|>", "<|im_end|>"], **shape.roles)
    config = shrunk(CONFIG_MAPPING[family], words, shape)
    torch.manual_seed(seed)
    name = MODELS[family]
    kind = getattr(transformers, name if isinstance(name, str) else name[0])
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # larger than the usual 0.02: every input is to matter
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.25)
            elif parameter.numel() == 1 and not parameter.any():
                parameter.fill_(0.5)  # a gate that begins closed
    model.generation_config.eos_token_id = words.eos_token_id
    model.generation_config.pad_token_id = words.pad_token_id
    model.save_pretrained(folder)
    processor(family, shape, words).save_pretrained(folder)
    return folder


def processor(family: str, shape: Shape, words: Any) -> Any:
    """The family's processor with small parts."""
    import transformers
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    family = shape.like or family
    kind = getattr(transformers, shape.processor_class or PROCESSOR_MAPPING_NAMES[family])
    parts: dict[str, Any] = {"tokenizer": words, "qformer_tokenizer": words}
    takes = inspect.signature(kind.__init__).parameters
    for part in ("image_processor", "video_processor", "feature_extractor", "audio_processor"):
        if part in takes:
            parts[part] = _part(family, part, shape)
    if "chat_template" in takes and shape.template:
        parts["chat_template"] = TEMPLATE % (shape.image, shape.video or shape.image, shape.audio)
    given = {key: value for key, value in {**parts, **shape.processor}.items() if key in takes}
    made = kind(**given)
    if shape.template and "chat_template" not in takes:
        made.chat_template = TEMPLATE % (shape.image, shape.video or shape.image, shape.audio)
    return made


def _part(family: str, part: str, shape: Shape) -> Any:
    """An image or video processor or feature extractor of the family, with small pictures."""
    import transformers
    from transformers.models.auto import feature_extraction_auto, image_processing_auto, video_processing_auto

    if part in shape.parts:
        made = shape.parts[part]
        return getattr(transformers, made[0])(**made[1])
    tables = {
        "image_processor": image_processing_auto.IMAGE_PROCESSOR_MAPPING_NAMES,
        "video_processor": video_processing_auto.VIDEO_PROCESSOR_MAPPING_NAMES,
        "feature_extractor": feature_extraction_auto.FEATURE_EXTRACTOR_MAPPING_NAMES,
    }
    name = tables.get(part, {}).get(family)
    if isinstance(name, dict):
        name = name.get("torchvision") or name.get("pil")
    if name is None:
        raise ValueError(f"{family} has no {part} in the tables")
    return getattr(transformers, name)(**shape.small.get(part, {}))


def modules() -> None:
    """Make sure that the table of shapes is the one of this folder."""
    importlib.import_module("checkpoints.shapes")
