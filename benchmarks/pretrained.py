"""What Duet's route costs beside transformers' own `generate`: `python -m benchmarks.pretrained [--device cuda]`.

On a CPU: the same tiny model, one thread, CPU time, in the order peer - ours - peer; then a batch of 32 questions
against one by one. With `--device cuda`: a model of the shape of LLaVA-1.5-7B with random weights in bfloat16: tokens a
second, time to the first token and memory, against plain `generate` in the same run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
ASK = "What is in the picture?"
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--repeat", type=int, default=20)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    sizes = ("tiny", "small") if options.device == "cpu" else ("7B",)
    for size in sizes:
        model = llava_7b() if size == "7B" else tiny(size)
        measured(size, model, options)
    if options.device == "cuda":
        print(f"memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB, first token {first_token(model):.3f} s")


def measured(size: str, model: Any, options: argparse.Namespace) -> None:
    """Print what the route costs over `generate`, and what a batch saves."""
    clock = time.process_time if options.device == "cpu" else synchronised
    peer, ours = plain(model, options.tokens), route(model, options.tokens)
    peer(), ours()  # warm
    rounds = [[timed(call, clock) for call in (peer, ours, peer)] for _ in range(options.repeat)]
    ratio = statistics.median(mine / ((before + after) / 2) for before, mine, after in rounds)
    alone, bare = (statistics.median(times) for times in ([r[1] for r in rounds], [r[0] for r in rounds]))
    more_us = (ratio - 1) * bare / options.tokens * 1e6
    print(f"{size}: generate {bare:.4f} s, Duet {ratio:.3f} times that, {more_us:.0f} us more a token")
    together = timed(batched(model, options.tokens), clock) / BATCH
    print(f"{size}: a question alone {alone:.4f} s, one of {BATCH} in a batch {together:.4f} s: {alone / together:.1f}")


def timed(call: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Seconds of one call."""
    begun = clock()
    call()
    return clock() - begun


def synchronised() -> float:
    """Wall time once the GPU is done."""
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def tiny(size: str) -> Any:
    """A LLaVA as the tests build it, or one of 8 layers of width 512; without an end token: answers of one length."""
    from checkpoints import build, shapes

    from connector.pretrained import open_pretrained

    if size == "small":
        shapes.SMALL.update(hidden_size=512, intermediate_size=1408, num_hidden_layers=8, num_attention_heads=8)
        shapes.SMALL.update(num_key_value_heads=8, head_dim=64)
    folder = Path(tempfile.mkdtemp()) / "llava"
    return endless(open_pretrained(str(build("llava", folder)), device="cpu"))


def llava_7b() -> Any:
    """LLaVA-1.5-7B's shape with random weights, on the GPU."""
    import torch
    from checkpoints.build import processor
    from checkpoints.shapes import SHAPES
    from checkpoints.tokens import tokenizer
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    from connector.base import ModelInfo
    from connector.pretrained.families import GENERIC
    from connector.pretrained.model import PretrainedModel

    words = tokenizer(["<image>", "<|im_start|>", "<|im_end|>"])
    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )
    config = LlavaConfig(vision_config=vision, text_config=LlamaConfig(vocab_size=32064))
    config.image_token_id = words.convert_tokens_to_ids("<image>")
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda"):
        model = LlavaForConditionalGeneration(config).eval().requires_grad_(False)
    torch.set_default_dtype(torch.float32)
    made = processor("llava", SHAPES["llava"], words)
    made.image_processor.size, made.image_processor.crop_size = {"shortest_edge": 336}, {"height": 336, "width": 336}
    info = ModelInfo(
        "llava-1.5-7b, random", "pretrained", frozenset({"image"}), "random", precision="bfloat16", device="cuda"
    )
    return endless(PretrainedModel(model, made, info, GENERIC))


def endless(model: Any) -> Any:
    """The model without an end token."""
    model.model.generation_config.eos_token_id = None
    model.ends = frozenset()
    return model


def picture() -> Any:
    import numpy as np

    from experts.media import Image

    return Image.open(np.random.default_rng(0).integers(0, 256, (336, 336, 3), np.uint8), name="photo.png")


def plain(model: Any, tokens: int) -> Callable[[], Any]:
    """transformers alone: chat template, `generate`, decode."""
    import torch

    processor, image = model.prompts.processor, picture().to_pil()
    turn = {"role": "user", "content": [{"type": "image", "image": image}, {"type": "text", "text": ASK}]}

    def call() -> str:
        inputs = processor.apply_chat_template(
            [turn], tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        ).to(model.model.device, model.model.dtype)
        with torch.inference_mode():
            made = model.model.generate(**inputs, do_sample=False, max_new_tokens=tokens)
        return str(processor.batch_decode(made, skip_special_tokens=True)[0])

    return call


def route(model: Any, tokens: int) -> Callable[[], Any]:
    """The same question through Duet's protocol, streamed."""
    from connector.base import Generation

    image = picture()
    return lambda: "".join(token.text for token in model.stream(ASK, [image], Generation(tokens)).tokens)


def batched(model: Any, tokens: int) -> Callable[[], Any]:
    """32 questions at once."""
    from connector.base import Asked

    asked = [Asked(ASK, (picture(),))] * BATCH
    return lambda: model.answers(asked, tokens)


def first_token(model: Any) -> float:
    """Seconds to the first token."""
    from connector.base import Generation

    begun = synchronised()
    next(iter(model.stream(ASK, [picture()], Generation(8)).tokens))
    return synchronised() - begun


if __name__ == "__main__":
    main()
