"""What the generic path must be told of a family: one line each, by the config's model type. A data table.

A family is missing here where its processor, with its chat template, says all there is to know.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """How a family differs. `prompt` stands for a chat template: {images} for image tokens, {question}."""

    prompt: str = ""
    most_media: int | None = None  # media in one question; None: as many as the context holds
    text: str = ""  # the attribute that speaks without a picture; "" = the model itself; NONE = nothing does
    part: str = ""  # the part that answers and alone is read, where the model also makes speech
    common: bool = False  # whether transformers' common `generate` is called instead of its own, for text the same
    films: bool = True  # whether films go through the video processor where there is one; else as frames


NONE = "none"
GENERIC = Family()
FAMILIES: dict[str, Family] = {
    "blip": Family("{question}", most_media=1, text=NONE),
    "blip-2": Family("Question: {question} Answer:", most_media=1, text="language_model"),
    "instructblip": Family("{question}", most_media=1, text="language_model"),
    "florence2": Family("{question}", most_media=1, text=NONE),
    "git": Family("{question}", most_media=1, text=NONE),
    "pix2struct": Family("{question}", most_media=1, text=NONE),
    "kosmos-2": Family("<grounding>{question}", most_media=1, text=NONE),
    "paligemma": Family("{images}{question}"),
    "fuyu": Family("{question}\n", most_media=1),
    "udop": Family("{question}", most_media=1, text=NONE),
    "qwen2_5_omni": Family(part="thinker"),
    "qwen3_omni_moe": Family(part="thinker"),
    "janus": Family(common=True),  # its own makes pictures too, and passes over logits processors
    "glmasr": Family(most_media=1),
    "qwen3_asr": Family(most_media=1),
    "got_ocr2": Family(
        "<|im_start|>user\n<img>{images}</img>\n{question}<|im_end|><|im_start|>assistant\n", most_media=1, text=NONE
    ),
    "mllama": Family("{images}{question}"),
}


def family_of(model_type: str) -> Family:
    """The hints for a config's model type."""
    return FAMILIES.get(model_type, GENERIC)
