"""What 8-bit copies of the weights save a CPU while the embedded language model says single tokens.

    python -m benchmarks.decode [--threads 1] [--tokens 40]

The same greedy answer from float32 weights, from the copies (connector/llm/packed.py) and from float32 again, with the
milliseconds a token takes by the clock and how far the two say the same.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from torch import nn

from connector.llm import language
from connector.llm.packed import PackedLinear, pack
from connector.opening import EMBEDDED_LLM

QUESTION = "Write three sentences about the sea and the people who live beside it."


def said(model: Any, ids: torch.Tensor, tokens: int) -> tuple[list[int], float]:
    """The tokens of a greedy answer, and the milliseconds that each after the first took."""
    with torch.inference_mode():
        read = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        taken = [read.logits[:, -1].argmax(-1, keepdim=True)]
        begun = time.perf_counter()
        for _ in range(tokens):
            read = model(input_ids=taken[-1], cache=read.past_key_values, use_cache=True, logits_to_keep=1)
            taken.append(read.logits[:, -1].argmax(-1, keepdim=True))
        return [int(token) for token in taken], 1000 * (time.perf_counter() - begun) / tokens


def main() -> None:
    """Print a row for each pass."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=40)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    llm = language.load(EMBEDDED_LLM, "cpu")
    turns = [{"role": "user", "content": QUESTION}]
    form = llm.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    layers = [module for module in llm.model.modules() if isinstance(module, PackedLinear)]
    right: list[int] = []
    print("| weights | ms a token | tokens as in float32 |\n| --- | --- | --- |")
    for name in ("float32", "8 bits", "float32"):
        if name == "8 bits":
            pack(llm.model)
            said(llm.model, form["input_ids"], 1)  # makes the copies
        else:
            for layer in layers:
                layer.__class__ = nn.Linear
        tokens, each_ms = said(llm.model, form["input_ids"], asked.tokens)
        right = right or tokens
        same = next((n for n, (a, b) in enumerate(zip(tokens, right, strict=True)) if a != b), len(right))
        print(f"| {name} | {each_ms:.0f} | {same} of {len(right)} |", flush=True)


if __name__ == "__main__":
    main()
