"""A tiny random image projector of llama.cpp (`--mmproj`): LLaVA's shape, for a language model of any width."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WIDTH, INNER, SIDE, PATCH, LAYERS, HEADS = 64, 128, 56, 14, 1, 2


def write(file: Path, llm_width: int, seed: int = 0) -> Path:
    """Write the projector for a language model of width `llm_width`."""
    import gguf

    rng = np.random.default_rng(seed)
    out = gguf.GGUFWriter(str(file), "clip")
    out.add_bool("clip.has_vision_encoder", True)
    out.add_string("clip.projector_type", "mlp")
    for key, value in {
        "image_size": SIDE,
        "patch_size": PATCH,
        "embedding_length": WIDTH,
        "feed_forward_length": INNER,
        "projection_dim": llm_width,
        "block_count": LAYERS,
        "attention.head_count": HEADS,
    }.items():
        out.add_uint32(f"clip.vision.{key}", value)
    out.add_float32("clip.vision.attention.layer_norm_epsilon", 1e-5)
    out.add_array("clip.vision.image_mean", [0.5, 0.5, 0.5])
    out.add_array("clip.vision.image_std", [0.5, 0.5, 0.5])
    out.add_bool("clip.use_gelu", True)

    def random(name: str, *shape: int, scale: float = 0.1) -> None:
        out.add_tensor(name, (rng.standard_normal(shape) * scale).astype(np.float32))

    def norm(name: str) -> None:
        out.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
        out.add_tensor(f"{name}.bias", np.zeros(WIDTH, np.float32))

    random("v.class_embd", WIDTH)
    random("v.patch_embd.weight", WIDTH, 3, PATCH, PATCH)
    random("v.position_embd.weight", (SIDE // PATCH) ** 2 + 1, WIDTH)
    norm("v.pre_ln")
    for layer in range(LAYERS):
        begin = f"v.blk.{layer}"
        for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
            random(f"{begin}.{part}.weight", WIDTH, WIDTH)
            random(f"{begin}.{part}.bias", WIDTH)
        norm(f"{begin}.ln1")
        norm(f"{begin}.ln2")
        for part, to, of in (("ffn_up", INNER, WIDTH), ("ffn_down", WIDTH, INNER)):
            random(f"{begin}.{part}.weight", to, of)
            random(f"{begin}.{part}.bias", to)
    for part, of in (("mm.0", WIDTH), ("mm.2", llm_width)):
        random(f"{part}.weight", llm_width, of)
        random(f"{part}.bias", llm_width)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    return file
