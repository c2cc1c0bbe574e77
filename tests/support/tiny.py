"""A tiny multimodal model in the genuine shapes, for tests: two Llama layers, a ChatML tokenizer, one connector."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from connector.data.records import Record
from connector.encoders.resolution import Views
from connector.llm.language import LanguageModel
from connector.network import ConnectorModel

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
N, D_ENC, M = 4, 6, 3


def tokenizer() -> Any:
    """Byte-level, one token a byte, with ChatML's two special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens=["<|im_start|>"]
    )
    made.chat_template = CHATML
    return made


@dataclasses.dataclass(frozen=True)
class Shape:
    """The connector's config."""

    kind: str = "tiny"
    d_llm: int = 32


class Connector(nn.Module):
    """Features [B, N, D_enc] -> tokens [B, M, D_llm]."""

    kind, n_tokens = "tiny", M

    def __init__(self) -> None:
        super().__init__()
        self.config = Shape()
        self.project = nn.Linear(D_ENC, 32)
        self.scale = nn.Parameter(torch.ones(D_ENC), requires_grad=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.project(features[:, :M] * self.scale)


class Encoder:
    """Features that depend on the image's mean colour alone; counts how often it is asked."""

    name, width, cells, calls, views = "tiny", D_ENC, N, 0, Views(4)

    def fingerprint(self) -> str:
        return "0123456789abcdef"

    def encode(self, images: Any) -> torch.Tensor:
        self.calls += len(images)
        means = torch.tensor(np.stack([image.pixels.mean((0, 1)) for image in images]), dtype=torch.float32) / 255
        return means.repeat(1, 2)[:, None].expand(-1, N, -1) * torch.arange(1, N + 1)[:, None]  # [B, N, D_enc]


def model(seed: int = 0) -> ConnectorModel:
    """The whole, in float32 on the CPU."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    words = tokenizer()
    llm = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            tie_word_embeddings=True,
            pad_token_id=words.pad_token_id,
            eos_token_id=words.eos_token_id,
        )
    )
    return ConnectorModel(LanguageModel(llm, words, "tiny"), Encoder(), Connector())


def records(folder: Path, count: int = 8) -> list[Record]:
    """Questions about small one-coloured images, which are written into `folder`; each third without an image."""
    import PIL.Image

    (folder / "images").mkdir(parents=True, exist_ok=True)
    made = []
    for index in range(count):
        image = None
        if index % 3 != 2:
            image = f"images/{index // 3}.png"
            PIL.Image.new("RGB", (4, 4), (index // 3 * 40, 90, 200)).save(folder / image)
        answer = "red" if index % 2 else "a longer blue"
        made.append(
            Record(
                f"r{index}", f"Colour {index}?", answer, "colour", image=image, rejected="green" if index % 2 else "no"
            )
        )
    return made
