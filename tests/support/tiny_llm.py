"""Tiny random language models of several families in the genuine form, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny
import torch

from connector.encoders.resolution import Views
from connector.interfaces import build
from connector.interfaces.projectors import PROJECTORS
from connector.llm import language
from connector.llm.language import NO_REPEAT, LanguageModel

WIDTH, LAYERS = 32, 4
KINDS = [*PROJECTORS]
SMALL = {"hidden": 16, "heads": 2, "every": 2, "rank": 3}


def family(kind: str, words: Any) -> Any:
    """A random model: llama, mixtral, qwen2_moe or t5, for the tokenizer `words`."""
    import transformers as tf

    torch.manual_seed(0)
    ids = {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}
    shape = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "num_key_value_heads": 1}
    if kind == "llama":
        made: Any = tf.LlamaForCausalLM(tf.LlamaConfig(**ids, **shape, intermediate_size=48, initializer_range=0.3))
    elif kind == "mixtral":
        experts = {"num_local_experts": 4, "num_experts_per_tok": 2}
        made = tf.MixtralForCausalLM(
            tf.MixtralConfig(**ids, **shape, **experts, intermediate_size=48, initializer_range=0.3)
        )
    elif kind == "qwen2_moe":
        experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
        sizes = {"intermediate_size": 48, "shared_expert_intermediate_size": 16, "decoder_sparse_step": 1}
        made = tf.Qwen2MoeForCausalLM(tf.Qwen2MoeConfig(**ids, **shape, **experts, **sizes, initializer_range=0.3))
    elif kind == "t5":
        sizes = {"d_model": WIDTH, "d_kv": 16, "d_ff": 48, "num_layers": LAYERS, "num_heads": 2}
        made = tf.T5ForConditionalGeneration(
            tf.T5Config(**ids, **sizes, decoder_start_token_id=words.pad_token_id, feed_forward_proj="gated-gelu")
        )
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    else:
        raise ValueError(kind)
    made.generation_config.eos_token_id = None  # random models should talk, not stop
    return made.eval()


def t5_words() -> Any:
    """A T5 tokenizer with one piece a letter."""
    from transformers import T5Tokenizer

    letters = [(letter, -2.0) for letter in "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:?'"]
    return T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *letters], extra_ids=0)


def language_model(kind: str = "llama", folder: Path | None = None) -> LanguageModel:
    """In memory; or, with `folder`, saved there by transformers and loaded as any other."""
    words = t5_words() if kind == "t5" else tiny.tokenizer()
    model = family(kind, words)
    if folder is None:
        return LanguageModel(model, words, f"tiny-{kind}")
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return language.load(str(folder), "cpu")


def greedy(model: LanguageModel, prompt: torch.Tensor, steps: int) -> tuple[list[int], list[float]]:
    """What `stream` should say of a prompt [T, D_llm], from whole forward passes alone: no cache, no `generate`.

    Returns ids and their log-probabilities; the rule against repetition is written out again.
    """
    net, ids, logps = model.model, [], []
    with torch.no_grad():
        for _ in range(steps):
            if net.config.is_encoder_decoder:
                said = torch.tensor([[net.config.decoder_start_token_id, *ids]])
                logits = net(inputs_embeds=prompt[None], decoder_input_ids=said, use_cache=False).logits
            else:
                spoken = model.embed(torch.tensor(ids, dtype=torch.long))
                logits = net(inputs_embeds=torch.cat([prompt, spoken])[None], use_cache=False).logits
            scores, tail = logits[0, -1], ids[len(ids) - NO_REPEAT + 1 :]
            for at in range(len(ids) - NO_REPEAT + 1):
                if ids[at : at + NO_REPEAT - 1] == tail:
                    scores[ids[at + NO_REPEAT - 1]] = -torch.inf
            logp = scores.log_softmax(-1)
            ids.append(int(logp.argmax()))
            logps.append(float(logp.max()))
    return ids, logps


class Encoder(tiny.Encoder):
    """Random features that depend on the picture alone, with a classifier: 2 x 2 cells a view, one view and 4 tiles."""

    name, width, cells, views = "tiny-views", 12, 4, Views(4, 2)
    classes = ("cat", "dog", "bus", "espresso")

    def encode(self, media: Any) -> torch.Tensor:
        rows = []
        for image in media:
            generator = torch.Generator().manual_seed(int(image.sha256[:8], 16))
            rows.append(torch.randn(5 * self.cells, self.width, generator=generator))
        return torch.stack(rows)  # [B, N, D_enc]

    def head(self) -> tuple[torch.Tensor, ...]:
        """Channel k of a feature is the score of class k: W1 = 1, W2 = 4."""
        first = torch.eye(6, 8)
        return first, torch.zeros(6), 4 * torch.eye(4, 6), torch.zeros(4)


def make(kind: str, llm: LanguageModel, **values: Any) -> Any:
    """An untrained connector of six tokens (or what its kind gives) between the tiny encoder and `llm`."""
    torch.manual_seed(1)
    tokens = {} if kind == "vocabulary" else {"n_tokens": 6}
    return build.fresh(kind, llm, Encoder(), **SMALL | tokens | values)


def stir(connector: Any) -> Any:
    """Random values everywhere, as if trained: gates open, residuals speak."""
    torch.manual_seed(2)
    for parameter in connector.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return connector
