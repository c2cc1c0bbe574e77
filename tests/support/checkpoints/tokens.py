"""A byte-level tokenizer small enough for a test, with a family's special tokens."""

from __future__ import annotations

from typing import Any

WORDS = [
    "What is in the picture? How many dogs are there? Notes: a dog, a cat. Answer the question in one sentence.",
    "Yes, there are two dogs and a bus on the left. Platform four, please. A red bicycle stands near the wall.",
]
BASE = ["<pad>", "<s>", "</s>", "<unk>"]


def tokenizer(special: list[str], **roles: str) -> Any:
    """A PreTrainedTokenizerFast trained here; `special` tokens are single ones, `roles` name some of them."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokens = list(dict.fromkeys([*BASE, *special]))
    made.train_from_iterator(
        WORDS, trainers.BpeTrainer(vocab_size=320 + len(tokens), special_tokens=tokens, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=[token for token in tokens if token not in BASE],
        extra_special_tokens=roles,
    )


def tekken() -> Any:
    """A tokenizer of mistral-common: bytes alone, the special tokens where Voxtral has them."""
    import base64
    import json
    import tempfile
    from pathlib import Path

    from transformers.tokenization_mistral_common import MistralCommonBackend

    special = {
        0: "<unk>", 1: "<s>", 2: "</s>", 3: "[INST]", 4: "[/INST]", 5: "[AVAILABLE_TOOLS]", 6: "[/AVAILABLE_TOOLS]",
        7: "[TOOL_RESULTS]", 8: "[/TOOL_RESULTS]", 9: "[TOOL_CALLS]", 10: "[IMG]", 11: "<pad>", 12: "[IMG_BREAK]",
        13: "[IMG_END]", 14: "[PREFIX]", 15: "[MIDDLE]", 16: "[SUFFIX]", 17: "[SYSTEM_PROMPT]", 18: "[/SYSTEM_PROMPT]",
        19: "[TOOL_CONTENT]", 24: "[AUDIO]", 25: "[BEGIN_AUDIO]", 34: "[TRANSCRIBE]",
    }  # fmt: skip
    count = 40
    content = {
        "config": {
            "pattern": "[^ ]+| +",
            "num_vocab_tokens": 256,
            "default_vocab_size": 256 + count,
            "default_num_special_tokens": count,
            "version": "v7",
        },
        "vocab": [
            {"rank": at, "token_bytes": base64.b64encode(bytes([at])).decode(), "token_str": None} for at in range(256)
        ],
        "special_tokens": [
            {"rank": at, "token_str": special.get(at, f"<SPECIAL_{at}>"), "is_control": True} for at in range(count)
        ],
        "audio": {
            "sampling_rate": 16_000,
            "frame_rate": 12.5,
            "audio_encoding_config": {"num_mel_bins": 128, "hop_length": 160, "window_size": 400},
            "chunk_length_s": 30.0,
        },
    }
    file = Path(tempfile.mkdtemp()) / "tekken.json"
    file.write_text(json.dumps(content), encoding="utf-8")
    return MistralCommonBackend(tokenizer_path=file)
