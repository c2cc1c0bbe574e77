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
