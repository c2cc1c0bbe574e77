"""The shapes of tiny checkpoints: what every config shrinks to, and what a family needs beside that. A data table."""

# ruff: noqa: E501
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from checkpoints.tokens import tekken

SMALL: dict[str, Any] = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 2, "head_dim": 16, "embed_dim": 32, "depth": 2, "num_heads": 2, "d_model": 32,
    "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "ffn_dim": 64, "d_ff": 64, "d_kv": 16, "num_layers": 2,
    "num_decoder_layers": 2, "projection_dim": 32, "max_position_embeddings": 4096, "max_source_positions": 1500,
    "image_size": 28, "patch_size": 14, "word_embed_proj_dim": 32, "cross_attention_frequency": 1,
    "encoder_hidden_size": 32, "num_query_tokens": 4, "image_token_budget": 4,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "num_experts": 4, "n_routed_experts": 4,
    "num_local_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 1, "linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 2,
    "linear_num_value_heads": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """What a family needs: tokens, template places, config values, processor parts."""

    special: tuple[str, ...] = ("<image>",)
    image: str = "<image>"
    video: str = ""
    audio: str = ""
    roles: dict[str, str] = field(default_factory=dict)  # tokenizer attributes: image_token ...
    ids: dict[str, str] = field(default_factory=dict)  # config fields that hold a token's id
    values: dict[str, Any] = field(default_factory=dict)  # config values; of sub-configs as {"vision_config": {...}}
    last: dict[str, Any] = field(default_factory=dict)  # fields set when all else is small
    after: Callable[[Any], None] | None = None  # last changes to the config
    processor: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    small: dict[str, dict[str, Any]] = field(default_factory=dict)  # arguments of processor parts
    template: bool = True
    films: bool = False  # takes films itself
    like: str = ""  # the family whose processor and parts are used, where the tables of transformers name none
    processor_class: str = ""
    words: Callable[[], Any] | None = None  # a tokenizer of another kind


def shrunk(kind: Any, words: Any, shape: Shape) -> Any:
    """A small config of class `kind`, those inside it too, with the tokenizer's vocabulary and token ids."""
    fields = _small(kind(**shape.values).to_dict(), words, shape.values)
    for name, token in shape.ids.items():
        fields[name] = words.convert_tokens_to_ids(token)
    config = kind.from_dict({**fields, **shape.last})
    if shape.after:
        shape.after(config)
    return config


def _small(fields: dict[str, Any], words: Any, kept: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config, with the sizes of SMALL where nothing is to be kept."""
    made = dict(fields)
    for name, value in fields.items():
        inside = kept.get(name) if isinstance(kept.get(name), dict) else {}
        if isinstance(value, dict) and "model_type" in value:
            made[name] = _small(value, words, inside)
        elif name in kept:
            made[name] = kept[name]
        elif name in SMALL and isinstance(value, int | float):
            made[name] = SMALL[name]
        elif name in ("vocab_size", "vocab_size_per_layer_input"):
            made[name] = len(words)
        elif name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            made[name] = getattr(words, name)
    if made.get("layer_types") and "layer_types" not in kept:
        kinds, count = list(dict.fromkeys(made["layer_types"])), made.get("num_hidden_layers", 2)
        made["layer_types"] = [kinds[at % len(kinds)] for at in range(count)]  # one of each kind
    return made


SQUARE = {"height": 28, "width": 28}
CLIP = {"size": {"shortest_edge": 28}, "crop_size": SQUARE}
LLAMA = {"model_type": "llama"}
CLIP_TOWER = {"model_type": "clip_vision_model"}
QWEN_SIZE = {"size": {"shortest_edge": 28 * 28, "longest_edge": 56 * 56}}
QWEN_IDS = {"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>", "vision_start_token_id": "<|vision_start|>",
            "vision_end_token_id": "<|vision_end|>"}  # fmt: skip
QWEN = Shape(
    special=("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"),
    image="<|vision_start|><|image_pad|><|vision_end|>",
    video="<|vision_start|><|video_pad|><|vision_end|>",
    roles={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    ids=QWEN_IDS,
    small={"image_processor": QWEN_SIZE, "video_processor": QWEN_SIZE},
    films=True,
)


def _rope(config: Any) -> None:
    text = config.get_text_config()
    text.rope_parameters = {**(text.rope_parameters or {}), "mrope_section": [2, 3, 3], "rope_type": "default"}
    vision = config.vision_config
    for name, value in (("out_hidden_size", 32), ("fullatt_block_indexes", [1]), ("deepstack_visual_indexes", [0])):
        if hasattr(vision, name):
            setattr(vision, name, value)
    if config.model_type == "qwen2_vl":
        vision.hidden_size = text.hidden_size


IDEFICS = Shape(
    special=("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>",
             *(f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5))),
    roles={"image_token": "<image>", "fake_image_token": "<fake_token_around_image>", "global_image_token": "<global-img>",
           "end_of_utterance_token": "<end_of_utterance>"},
    ids={"image_token_id": "<image>"},
    values={"text_config": LLAMA, "scale_factor": 2, "vision_config": {"image_size": 56, "patch_size": 14}},
    processor={"image_seq_len": 4},
    small={"image_processor": {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 56}, "do_image_splitting": False},
           "video_processor": {"size": {"longest_edge": 56}, "max_image_size": {"longest_edge": 56}}},
)  # fmt: skip
BLIP2 = Shape(
    ids={"image_token_id": "<image>"},
    values={"text_config": {"model_type": "opt"}, "num_query_tokens": 4},
    processor={"num_query_tokens": 4},
    small={"image_processor": {"size": SQUARE}},
    template=False,
)
SHAPES: dict[str, Shape] = {
    "llava": Shape(
        ids={"image_token_id": "<image>"},
        values={"text_config": LLAMA, "vision_config": CLIP_TOWER, "vision_feature_layer": -1, "image_seq_length": 4},
        processor={"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        small={"image_processor": CLIP},
    ),
    "llava_next": Shape(
        ids={"image_token_id": "<image>"},
        values={
            "text_config": LLAMA,
            "vision_config": CLIP_TOWER,
            "vision_feature_layer": -1,
            "image_grid_pinpoints": [[28, 56], [56, 28]],
        },
        processor={"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        small={"image_processor": {**CLIP, "image_grid_pinpoints": [[28, 56], [56, 28]]}},
    ),
    "llava_onevision": Shape(
        special=("<image>", "<video>"),
        video="<video>",
        ids={"image_token_id": "<image>", "video_token_id": "<video>"},
        values={
            "text_config": {"model_type": "qwen2"},
            "vision_config": {"model_type": "siglip_vision_model", "vision_use_head": False},
            "vision_feature_layer": -1,
            "image_grid_pinpoints": [[28, 56], [56, 28]],
        },
        processor={"num_image_tokens": 4, "vision_feature_select_strategy": "full"},
        small={
            "image_processor": {"size": SQUARE, "image_grid_pinpoints": [[28, 56], [56, 28]]},
            "video_processor": {"size": SQUARE},
        },
        films=True,
    ),
    "smolvlm": IDEFICS,
    "idefics3": IDEFICS,
    "qwen2_vl": Shape(**{**vars(QWEN), "after": _rope}),
    "qwen2_5_vl": Shape(**{**vars(QWEN), "after": _rope}),
    "qwen3_vl": Shape(**{**vars(QWEN), "after": _rope}),
    "internvl": Shape(
        special=("<IMG_CONTEXT>", "<img>", "</img>", "<video>"),
        image="<IMG_CONTEXT>",
        video="<video>",
        roles={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
        ids={"image_token_id": "<IMG_CONTEXT>"},
        values={"text_config": {"model_type": "qwen2"}, "image_seq_length": 1},
        processor={"image_seq_length": 1},
        small={"image_processor": {"size": SQUARE}, "video_processor": {"size": SQUARE}},
        films=True,
    ),
    "gemma3": Shape(
        special=("<start_of_image>", "<end_of_image>", "<image_soft_token>"),
        image="<start_of_image>",
        roles={"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"},
        ids={
            "image_token_id": "<image_soft_token>",
            "boi_token_id": "<start_of_image>",
            "eoi_token_id": "<end_of_image>",
        },
        values={"mm_tokens_per_image": 4},
        processor={"image_seq_length": 4},
        small={"image_processor": {"size": SQUARE}},
    ),
    "paligemma": Shape(
        ids={"image_token_id": "<image>"},
        values={
            "vision_config": {"model_type": "siglip_vision_model", "vision_use_head": False, "projection_dim": 32},
            "projection_dim": 32,
        },
        parts={"image_processor": ("SiglipImageProcessor", {"size": SQUARE, "image_seq_length": 4})},
        template=False,
    ),
    "lfm2_vl": Shape(
        special=(
            "<image>",
            "<|image_start|>",
            "<|image_end|>",
            "<|img_thumbnail|>",
            *(f"<|img_row_{r}_col_{c}|>" for r in range(1, 5) for c in range(1, 5)),
        ),
        roles={
            "image_token": "<image>",
            "image_start_token": "<|image_start|>",
            "image_end_token": "<|image_end|>",
            "image_thumbnail": "<|img_thumbnail|>",
        },
        ids={"image_token_id": "<image>"},
        values={"text_config": {"model_type": "lfm2"}},
        small={
            "image_processor": {
                "min_image_tokens": 4,
                "max_image_tokens": 16,
                "tile_size": 64,
                "encoder_patch_size": 14,
                "do_image_splitting": False,
            }
        },
    ),
    "blip-2": BLIP2,
    "instructblip": BLIP2,
    "florence2": Shape(
        values={
            "vision_config": {
                "embed_dim": (16, 16, 32, 32),
                "num_heads": (1, 1, 2, 2),
                "num_groups": (1, 1, 2, 2),
                "depths": (1, 1, 1, 1),
            }
        },
        roles={"image_token": "<image>"},
        ids={"image_token_id": "<image>"},
        processor={"num_additional_image_tokens": 1},
        parts={
            "image_processor": (
                "CLIPImageProcessor",
                {"size": {"height": 64, "width": 64}, "do_center_crop": False, "image_seq_length": 5},
            )
        },
        template=False,
    ),
    "qwen2_audio": Shape(
        special=("<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"),
        image="",
        audio="<|audio_bos|><|AUDIO|><|audio_eos|>",
        ids={"audio_token_id": "<|AUDIO|>"},
        values={"text_config": {"model_type": "qwen2"}},
        parts={"feature_extractor": ("WhisperFeatureExtractor", {"feature_size": 128})},
        processor={"audio_token": "<|AUDIO|>", "audio_bos_token": "<|audio_bos|>", "audio_eos_token": "<|audio_eos|>"},
    ),
    "voxtral": Shape(
        words=tekken,
        values={"text_config": LLAMA, "hidden_size": 32, "audio_config": {"intermediate_size": 128}},
        parts={"feature_extractor": ("WhisperFeatureExtractor", {"feature_size": 128})},
        ids={"audio_token_id": "[AUDIO]"},
        template=False,
    ),
    "blip": Shape(small={"image_processor": {"size": SQUARE}}, template=False),
    "git": Shape(parts={"image_processor": ("CLIPImageProcessor", CLIP)}, template=False),
}
