"""Shapes of further families, which only the table of families builds (benchmarks/families.py). A data table."""

# ruff: noqa: E501
from __future__ import annotations

from typing import Any

from checkpoints.shapes import CLIP, CLIP_TOWER, LLAMA, QWEN, QWEN_IDS, QWEN_SIZE, SQUARE, Shape
from checkpoints.tokens import BASE

SQUARE_56 = {"height": 56, "width": 56}
QWEN2 = {"model_type": "qwen2"}
SEEN = {"out_hidden_size": 32, "fullatt_block_indexes": [1]}
GLM = Shape(
    special=("<|image|>", "<|video|>", "<|begin_of_image|>", "<|end_of_image|>", "<|begin_of_video|>", "<|end_of_video|>"),
    image="<|begin_of_image|><|image|><|end_of_image|>",
    video="<|begin_of_video|><|video|><|end_of_video|>",
    ids={"image_token_id": "<|image|>", "video_token_id": "<|video|>", "image_start_token_id": "<|begin_of_image|>",
         "image_end_token_id": "<|end_of_image|>", "video_start_token_id": "<|begin_of_video|>", "video_end_token_id": "<|end_of_video|>"},
    values={"vision_config": {"out_hidden_size": 32}, "text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}},
    small={"image_processor": QWEN_SIZE, "video_processor": QWEN_SIZE},
    like="glm4v",
    films=True,
)  # fmt: skip
PIXTRAL = {"size": {"longest_edge": 56}, "patch_size": {"height": 14, "width": 14}}

HEARD = {"audio_token": "<|audio_pad|>", "audio_bos_token": "<|audio_start|>", "audio_eos_token": "<|audio_end|>"}


def made(shape: Shape, **more: Any) -> Shape:
    """A shape that differs from another."""
    return Shape(**{**vars(shape), **more})


HEARING = (*QWEN.special, "<|audio_pad|>", "<|audio_start|>", "<|audio_end|>")
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}
OMNI_VALUES = {"vision_config": SEEN, "audio_config": {"output_dim": 32}, "text_config": ROPE}
OMNI = made(
    QWEN,
    special=HEARING,
    audio="<|audio_start|><|audio_pad|><|audio_end|>",
    roles={**QWEN.roles, **HEARD, "vision_bos_token": "<|vision_start|>", "vision_eos_token": "<|vision_end|>"},
    ids={"image_token_index": "<|image_pad|>", "video_token_index": "<|video_pad|>", "audio_token_index": "<|audio_pad|>",
         "audio_start_token_id": "<|audio_start|>", "audio_end_token_id": "<|audio_end|>", "user_token_id": "<s>"},
    values=OMNI_VALUES,
    last={"vision_start_token_id": 4 + HEARING.index("<|vision_start|>")},
    like="qwen2_5_omni",
    parts={"feature_extractor": ("WhisperFeatureExtractor", {"feature_size": 128})},
)  # fmt: skip
OMNI_3_VALUES = {
    "vision_config": {"out_hidden_size": 32, "num_position_embeddings": 16, "patch_size": 14, "deepstack_visual_indexes": [0]},
    "audio_config": {"output_dim": 32, "downsample_hidden_size": 32},
    "text_config": ROPE,
}  # fmt: skip
OMNI_3 = made(
    OMNI,
    ids={"image_token_id": "<|image_pad|>", "video_token_id": "<|video_pad|>", "audio_token_id": "<|audio_pad|>",
         "audio_start_token_id": "<|audio_start|>", "user_token_id": "<s>"},
    values=OMNI_3_VALUES,
    like="qwen3_omni_moe",
    parts={"feature_extractor": ("WhisperFeatureExtractor", {"feature_size": 128}), "image_processor": ("Qwen2VLImageProcessor", {**QWEN_SIZE, "patch_size": 14}),
           "video_processor": ("Qwen2VLVideoProcessor", {**QWEN_SIZE, "patch_size": 14})},
)  # fmt: skip


def _omni(config: Any) -> None:
    """The token ids of the part that speaks, for a whole model of both parts."""
    names = (OMNI if config.model_type == "qwen2_5_omni" else OMNI_3).ids
    for name, token in {**names, "vision_start_token_id": "<|vision_start|>"}.items():
        setattr(config.thinker_config, name, BASE.index(token) if token in BASE else len(BASE) + HEARING.index(token))


OTHERS: dict[str, Shape] = {
    "aria": Shape(
        roles={"image_token": "<image>"},
        ids={"image_token_index": "<image>"},
        values={"vision_config": {"image_size": 980, "patch_size": 140}, "projector_patch_to_query_dict": {49: 4}, "max_value_projector_patch_to_query_dict": 4},
        processor={"size_conversion": {980: 4}},
    ),
    "aya_vision": Shape(
        special=("<image>", "<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE", "TILE_GLOBAL"),
        ids={"image_token_index": "<|IMG_PATCH|>"},
        values={"vision_config": {"image_size": 56, "model_type": "siglip_vision_model", "vision_use_head": False}},
        processor={"patch_size": 14, "img_size": 56, "downsample_factor": 2},
        small={"image_processor": {"size": SQUARE_56}},
    ),
    "cohere2_vision": Shape(
        special=("<image>", "<boi>", "<eoi>", "<break>"),
        roles={"image_token": "<image>", "boi_token": "<boi>", "eoi_token": "<eoi>", "img_line_break_token": "<break>"},
        ids={"image_token_id": "<image>"},
        values={"vision_config": {"image_size": 56, "model_type": "siglip_vision_model", "vision_use_head": False}, "alignment_intermediate_size": 64},
        small={"image_processor": {"size": SQUARE_56, "patch_size": 2}},
    ),
    "deepseek_vl": Shape(
        roles={"image_token": "<image>"},
        ids={"image_token_id": "<image>"},
        processor={"num_image_tokens": 4},
        small={"image_processor": {"size": SQUARE, "min_size": 14}},
    ),
    "exaone4_5": made(QWEN, values={"vision_config": SEEN}, ids={key: QWEN_IDS[key] for key in ("image_token_id", "video_token_id")}),
    "glm4v": GLM,
    "glm46v": made(GLM, like=""),
    "glm4v_moe": made(GLM, values={"vision_config": {"out_hidden_size": 32}, "text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0, "mrope_section": [2, 3, 3]}}}),
    "glm_ocr": made(GLM, like="glm46v"),
    "glmasr": Shape(
        special=("<|pad|>", "<|begin_of_audio|>", "<|end_of_audio|>"),
        image="",
        audio="<|begin_of_audio|><|pad|><|end_of_audio|>",
        ids={"audio_token_id": "<|pad|>"},
        parts={"feature_extractor": ("WhisperFeatureExtractor", {"feature_size": 128})},
    ),
    "hyperclovax_vision_v2": made(QWEN, values={"vision_config": SEEN}, ids={key: QWEN_IDS[key] for key in ("image_token_id", "video_token_id")}),
    "idefics2": Shape(
        special=("<image>", "<fake_token_around_image>", "<end_of_utterance>"),
        ids={"image_token_id": "<image>"},
        values={"text_config": {"model_type": "mistral"}, "vision_config": {"image_size": 56},
                "perceiver_config": {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 16, "num_key_value_heads": 2}},
        processor={"image_seq_len": 4},
        small={"image_processor": {"size": {"shortest_edge": 28, "longest_edge": 56}, "do_image_splitting": False}},
    ),
    "kimi_k25": Shape(
        special=("<|media_pad|>", "<|media_start|>", "<|media_end|>", "<|kimi_k25_video_placeholder|>"),
        image="<|media_pad|>",
        video="<|kimi_k25_video_placeholder|>",
        ids={"image_token_id": "<|media_pad|>", "video_token_id": "<|kimi_k25_video_placeholder|>"},
        values={"projection_hidden_size": 32, "text_config": {"qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16, "qk_head_dim": 24, "head_dim": 8, "q_lora_rank": 16, "kv_lora_rank": 16},
                "vision_config": {"pos_emb_height": 8, "pos_emb_width": 8}},
        small={part: {"size": {"max_height": 8, "max_width": 8}} for part in ("image_processor", "video_processor")},
    ),
    "lfm3_vl": made(QWEN, values={"projector_hidden_size": 32}, small={"image_processor": {**QWEN_SIZE, "patch_size": 14}, "video_processor": {**QWEN_SIZE, "patch_size": 14}}),
    "lighton_ocr": Shape(
        special=("<|image_pad|>", "<|vision_pad|>", "<|vision_end|>"),
        image="<|image_pad|>",
        roles={"image_token": "<|image_pad|>", "image_break_token": "<|vision_pad|>", "image_end_token": "<|vision_end|>"},
        ids={"image_token_id": "<|image_pad|>"},
        values={"vision_config": {"model_type": "pixtral", "image_size": 56}, "text_config": {"model_type": "qwen3"}},
        parts={"image_processor": ("PixtralImageProcessor", PIXTRAL)},
    ),
    "llama4": Shape(
        special=("<|image|>", "<|image_start|>", "<|image_end|>", "<|patch|>", "<|tile_x_separator|>", "<|tile_y_separator|>"),
        image="<|image|>",
        ids={"image_token_index": "<|patch|>", "boi_token_index": "<|image_start|>", "eoi_token_index": "<|image_end|>"},
        values={"text_config": {"intermediate_size_mlp": 64, "num_hidden_layers": 2, "no_rope_layers": [1, 0], "moe_layers": [0, 1], "layer_types": ["chunked_attention", "full_attention"]},
                "vision_config": {"image_size": 56, "projector_input_dim": 64, "projector_output_dim": 64, "vision_output_dim": 64, "intermediate_size": 128}},
        small={"image_processor": {"size": SQUARE_56, "max_patches": 4}},
    ),
    "llava_next_video": Shape(
        special=("<image>", "<video>"),
        video="<video>",
        ids={"image_token_index": "<image>", "video_token_index": "<video>"},
        values={"text_config": LLAMA, "vision_config": CLIP_TOWER, "vision_feature_layer": -1, "image_grid_pinpoints": [[28, 56], [56, 28]]},
        processor={"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        parts={"image_processor": ("LlavaNextImageProcessor", {**CLIP, "image_grid_pinpoints": [[28, 56], [56, 28]]})},
        small={"video_processor": {"size": SQUARE, "crop_size": SQUARE}},
        films=True,
    ),
    "mistral3": Shape(
        special=("[IMG]", "[IMG_BREAK]", "[IMG_END]"),
        image="[IMG]",
        ids={"image_token_index": "[IMG]"},
        values={"text_config": {"model_type": "mistral"}, "vision_config": {"model_type": "pixtral", "image_size": 56}},
        processor={"patch_size": 14, "spatial_merge_size": 2},
        small={"image_processor": PIXTRAL},
    ),
    "mllama": Shape(
        special=("<|image|>", "<|python_tag|>"),
        image="<|image|>",
        ids={"image_token_index": "<|image|>"},
        values={"text_config": {"cross_attention_layers": [1]},
                "vision_config": {"image_size": 56, "attention_heads": 2, "num_global_layers": 1, "intermediate_layers_indices": [0], "vision_output_dim": 64, "intermediate_size": 64}},
        small={"image_processor": {"size": SQUARE_56}},
    ),
    "ovis2": Shape(
        special=("<image>", "<IMG_START>", "<IMG_ATOM>", "<IMG_GRID>", "<IMG_COL>", "<IMG_ROW>", "<IMG_END>"),
        ids={"image_token_id": "<IMG_ATOM>"},
        values={"text_config": QWEN2, "vision_config": {"vocab_size": 64, "hidden_stride": 1}},
        processor={"image_seq_length": 4},
        small={"image_processor": {"size": SQUARE}},
    ),
    "paddleocr_vl": Shape(
        special=("<image>", "<video>", "<vs>", "<ve>"),
        image="<vs><image><ve>",
        roles={"image_token": "<image>"},
        ids={"image_token_id": "<image>", "video_token_id": "<video>", "vision_start_token_id": "<vs>", "vision_end_token_id": "<ve>"},
        values={"text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}},
        small={"image_processor": QWEN_SIZE},
    ),
    "qianfan_ocr": Shape(
        special=("<IMG_CONTEXT>", "<img>", "</img>", "<image>"),
        roles={"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"},
        ids={"image_token_id": "<IMG_CONTEXT>"},
        values={"image_seq_length": 1, "vision_config": {"image_size": (28, 28)}},
        processor={"image_seq_length": 1},
        small={"image_processor": {"size": SQUARE}},
    ),
    "qwen3_5": made(QWEN, values={"vision_config": {"out_hidden_size": 32, "num_position_embeddings": 16, "patch_size": 14},
                    "text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0, "mrope_section": [2, 3, 3]}}}),
    "qwen3_5_moe": made(QWEN, values={"vision_config": {"out_hidden_size": 32, "num_position_embeddings": 16, "patch_size": 14},
                        "text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0, "mrope_section": [2, 3, 3]}}}),
    "qwen3_vl_moe": made(QWEN, like="qwen3_vl", values={"vision_config": {"out_hidden_size": 32, "num_position_embeddings": 16, "patch_size": 14, "deepstack_visual_indexes": [0]},
                         "text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}}}),
    "qwen3_asr": Shape(
        special=("<|audio_pad|>", "<|audio_start|>", "<|audio_end|>"),
        image="",
        audio="<|audio_start|><|audio_pad|><|audio_end|>",
        roles={"audio_token": "<|audio_pad|>", "audio_bos_token": "<|audio_start|>", "audio_eos_token": "<|audio_end|>"},
        ids={"audio_token_id": "<|audio_pad|>"},
        values={"audio_config": {"output_dim": 32, "downsample_hidden_size": 32, "max_position_embeddings": 13}},
    ),
    "video_llama_3": made(QWEN, ids={key: QWEN_IDS[key] for key in ("image_token_id", "video_token_id")},
                          small={"image_processor": {"size": {"shortest_edge": 196, "longest_edge": 3136}}, "video_processor": {"size": {"shortest_edge": 196, "longest_edge": 3136}}}),
    "video_llava": Shape(
        special=("<image>", "<video>"),
        video="<video>",
        ids={"image_token_index": "<image>", "video_token_index": "<video>"},
        values={"text_config": LLAMA, "vision_config": CLIP_TOWER, "vision_feature_layer": -1},
        small={"image_processor": {"size": {"shortest_edge": 28}, "crop_size": SQUARE}, "video_processor": {"size": {"shortest_edge": 28}, "crop_size": SQUARE}},
        films=True,
    ),
    "vipllava": Shape(
        ids={"image_token_index": "<image>"},
        values={"text_config": LLAMA, "vision_config": CLIP_TOWER, "vision_feature_layers": [-1, -2]},
        processor={"patch_size": 14, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1},
        parts={"image_processor": ("CLIPImageProcessor", CLIP)},
    ),
    "moss_transcribe_diarize": Shape(
        special=("<|audio_pad|>", "<|audio_start|>", "<|audio_end|>"),
        image="",
        audio="<|audio_start|><|audio_pad|><|audio_end|>",
        ids={"audio_token_id": "<|audio_pad|>"},
    ),
    "muse_glimmer": Shape(
        special=("<|patch|>", "<|image|>", "<|image_start|>", "<|image_end|>", "<|video|>", "<|vid_frame_separator|>", "<|vid_start|>", "<|vid_end|>"),
        image="<|patch|>",
        video="<|video|>",
        ids={"image_token_id": "<|patch|>", "video_token_id": "<|video|>"},
        values={"out_hidden_size": 128, "projector_hidden_size": 32, "text_config": {"layer_rope_theta": [10000.0, 0]}},
        small={"image_processor": QWEN_SIZE, "video_processor": QWEN_SIZE},
    ),
    "qwen2_5_omni": made(OMNI, values={"enable_audio_output": False, "thinker_config": OMNI_VALUES}, last={}, after=_omni, ids={}, like=""),
    "qwen2_5_omni_thinker": OMNI,
    "qwen3_omni_moe": made(OMNI_3, values={"enable_audio_output": False, "thinker_config": OMNI_3_VALUES}, last={}, after=_omni, ids={}, like=""),
    "qwen3_omni_moe_thinker": OMNI_3,
    "gemma4": Shape(
        special=("<|image|>", "<boi>", "<eoi>", "<|audio|>", "<boa>", "<eoa>", "<|video|>"),
        image="<|image|>",
        roles={"image_token": "<|image|>", "boi_token": "<boi>", "eoi_token": "<eoi>", "audio_token": "<|audio|>", "boa_token": "<boa>", "eoa_token": "<eoa>"},
        ids={"image_token_id": "<|image|>", "boi_token_id": "<boi>", "eoi_token_id": "<eoi>", "audio_token_id": "<|audio|>", "boa_token_id": "<boa>", "eoa_token_index": "<eoa>", "video_token_id": "<|video|>"},
        values={"text_config": {"per_layer_config": {}, "hidden_size_per_layer_input": 16}, "vision_config": {"model_type": "gemma4_vision", "patch_size": 16}},
    ),
    "janus": Shape(
        special=("<image_placeholder>", "<begin_of_image>", "<end_of_image>"),
        image="<image_placeholder>",
        roles={"image_token": "<image_placeholder>", "boi_token": "<begin_of_image>", "eoi_token": "<end_of_image>"},
        ids={"image_token_id": "<image_placeholder>"},
        values={"vision_config": {"image_size": 384, "patch_size": 16, "num_image_tokens": 576, "projection_dim": 32}, "vq_config": {"base_channels": 32, "channel_multiplier": (1, 1), "num_embeddings": 16, "image_token_embed_dim": 32, "latent_channels": 32, "num_patches": 2}},
        processor={"use_default_system_prompt": False},
    ),
    "granite_speech": Shape(
        special=("<|audio|>",),
        image="",
        audio="<|audio|>",
        ids={"audio_token_index": "<|audio|>"},
        values={"text_config": {"model_type": "granite"}, "has_lora_adapter": False, "encoder_config": {"hidden_dim": 32, "dim_head": 16, "output_dim": 8},
                "projector_config": {"model_type": "blip_2_qformer", "encoder_hidden_size": 32}},
        parts={"audio_processor": ("GraniteSpeechFeatureExtractor", {})},
    ),
    "got_ocr2": Shape(
        special=("<imgpad>", "<img>", "</img>"),
        ids={"image_token_index": "<imgpad>"},
        values={"text_config": QWEN2, "vision_config": {"image_size": 1024, "patch_size": 16, "mlp_dim": 64, "output_channels": 32, "global_attn_indexes": []}},
        small={"image_processor": {"size": {"height": 1024, "width": 1024}}},
        template=False,
    ),
    "pix2struct": Shape(template=False, values={"vision_config": {"patch_embed_hidden_size": 768, "seq_len": 64}}, small={"image_processor": {"max_patches": 32}}),
    "kosmos-2": Shape(
        special=("</doc>", "<image>", "</image>", "</chunk>", "</line>", "<phrase>", "</phrase>", "<object>", "</object>", "</delimiter_of_multi_objects/>",
                 "<grounding>", *(f"<patch_index_{at:04d}>" for at in range(4))),
        values={"latent_query_num": 64},
        parts={"image_processor": ("CLIPImageProcessor", {**CLIP, "image_seq_length": 4})},
        processor={"num_patch_index_tokens": 4},
        processor_class="Kosmos2Processor",
        template=False,
    ),
    "idefics": Shape(
        special=("<image>", "<fake_token_around_image>"),
        values={"vision_config": {"embed_dim": 32, "image_size": 28}, "perceiver_config": {"resampler_n_latents": 4, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 16}, "additional_vocab_size": 0},
        small={"image_processor": {"image_size": 28}},
    ),
    "deepseek_vl_hybrid": Shape(
        roles={"image_token": "<image>"},
        ids={"image_token_id": "<image>"},
        processor={"num_image_tokens": 4},
        values={"high_res_vision_config": {"image_size": 64, "output_channels": 32, "global_attn_indexes": [1], "mlp_dim": 64}},
        small={"image_processor": {"size": SQUARE, "min_size": 14, "high_res_size": {"height": 64, "width": 64}}},
    ),
    "fast_vlm": Shape(
        ids={"image_token_id": "<image>"},
        values={"text_config": QWEN2, "vision_config": {"model_type": "timm_wrapper", "architecture": "resnet18", "do_pooling": False}},
        like="llava",
        processor={"patch_size": 32, "vision_feature_select_strategy": "full"},
        small={"image_processor": {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}},
    ),
    "perception_lm": Shape(
        special=("<image>", "<video>"),
        video="<video>",
        roles={"image_token": "<image>", "video_token": "<video>"},
        ids={"image_token_id": "<image>", "video_token_id": "<video>"},
        values={"text_config": LLAMA, "vision_use_cls_token": False, "projector_pooling_ratio": 1,
                "vision_config": {"model_type": "timm_wrapper", "architecture": "vit_pe_core_tiny_patch16_384", "model_args": {"img_size": [64, 64], "embed_dim": 32, "depth": 1, "global_pool": "", "use_post_transformer_norm": False}}},
        processor={"patch_size": 16, "pooling_ratio": 1},
        small={"image_processor": {"tile_size": 64, "max_num_tiles": 2}, "video_processor": {"size": {"height": 64, "width": 64}}},
    ),
}  # fmt: skip
