"""Connectors: what each kind gives, that all learn, and that an untrained one harms nothing."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import tiny_llm
import torch
from tiny_llm import KINDS, make, stir
from torch.nn import functional as F

from connector.interfaces import build
from connector.interfaces.base import ProjectorConfig, decoder_layers
from connector.llm.language import LanguageModel
from connector.network import Batch, ConnectorModel
from experts.errors import ConfigError, ModelError, UnknownNameError

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return tiny_llm.language_model("llama")


def features(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 20, 12, generator=torch.Generator().manual_seed(3))


def batch_of(connector: Any, rows: int = 2, length: int = 9) -> Batch:
    """Sequences of words with the image tokens from position 2 on."""
    ids = torch.randint(0, 90, (rows, length + connector.n_tokens), generator=torch.Generator().manual_seed(4))
    slots = torch.zeros_like(ids, dtype=torch.bool)
    slots[:, 2 : 2 + connector.n_tokens] = True
    return Batch(ids, torch.ones_like(ids), slots, features(rows))


# -- the function ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_turns_features_into_its_number_of_tokens(kind: str, llama: LanguageModel) -> None:
    connector = make(kind, llama)
    tokens = connector(features(3))
    assert tokens.shape == (3, connector.n_tokens, llama.width)
    assert connector.n_tokens == {"crossattn": 0, "vocabulary": 4 + 4 * (2 + 4)}.get(kind, 6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_gives_the_same_tokens_alone_and_in_a_batch(kind: str, llama: LanguageModel) -> None:
    connector = stir(make(kind, llama)).eval()
    torch.testing.assert_close(connector(features(3))[1:2], connector(features(3)[1:2]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_learns(kind: str, llama: LanguageModel) -> None:
    connector = stir(make(kind, llama))
    model = ConnectorModel(llama, tiny_llm.Encoder(), connector)
    model.head(model.hidden(batch_of(connector))).square().mean().backward()
    still = [name for name, p in connector.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # What shifts all scores of a softmax alike cannot matter: an attention's key bias.
    assert not [name for name in still if "in_proj_bias" not in name]


def test_linear_is_a_matrix_on_pooled_normalised_features(llama: LanguageModel) -> None:
    connector = build.fresh("linear", llama, tiny_llm.Encoder(), n_tokens=5)
    x = features(1)
    pooled = F.layer_norm(x, (12,)).view(1, 5, 4, 12).mean(2)  # 20 features to 5 tokens: four each
    expected = pooled @ connector.project.weight.T + connector.project.bias
    torch.testing.assert_close(connector(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["qformer", "resampler"])
def test_queries_see_the_order_of_features(kind: str, llama: LanguageModel) -> None:
    connector = stir(make(kind, llama)).eval()
    assert (connector(features()) - connector(features().flip(1))).abs().max() > 1e-3


def test_a_resampler_layer_is_attention_over_features_and_latents(llama: LanguageModel) -> None:
    layer = stir(make("resampler", llama)).layers[0]
    latents, seen = torch.randn(1, 6, 16), torch.randn(1, 20, 16)
    asking = layer.norm_latents(latents)
    answering = torch.cat([layer.norm_seen(seen), asking], 1)
    weights, biases = layer.attention.in_proj_weight.chunk(3), layer.attention.in_proj_bias.chunk(3)
    q, k, v = map(F.linear, (asking, answering, answering), weights, biases)
    heads = [t.view(1, -1, 2, 8).transpose(1, 2) for t in (q, k, v)]
    attended = (heads[0] @ heads[1].transpose(2, 3) / 8**0.5).softmax(-1) @ heads[2]
    x = latents + layer.attention.out_proj(attended.transpose(1, 2).reshape(1, 6, 16))
    torch.testing.assert_close(layer(latents, seen), x + layer.mlp(layer.norm_mlp(x)), rtol=1e-4, atol=1e-5)


# -- vocabulary -----------------------------------------------------------------------------------------------------


def sure(*classes: int) -> torch.Tensor:
    """Features [1, 20, 12] of a picture whose views are surely of these classes."""
    x = torch.zeros(5, 4, 12)
    for view, index in enumerate(classes):
        x[view, :, index] = 6.0
    return x.view(1, 20, 12)


def test_an_untrained_vocabulary_says_the_class_of_each_view_in_the_llm_s_own_words(llama: LanguageModel) -> None:
    connector = make("vocabulary", llama)
    table = llama.model.get_input_embeddings().weight
    tokens = connector(sure(0, 1, 2, 0, 1))[0]

    def word(text: str, count: int) -> torch.Tensor:
        ids = llama.tokenizer(f" {text}").input_ids[-count:]
        return table[torch.tensor(ids)]

    said = [tokens[:4], *tokens[4:].view(4, 6, -1)]
    torch.testing.assert_close(said[0], word("cat", 4), rtol=1e-4, atol=1e-4)
    places = [("top", "left"), ("top", "right"), ("bottom", "left"), ("bottom", "right")]
    for tile, (row, column) in enumerate(places):
        assert torch.equal(said[1 + tile][0], word(row, 1)[0]) and torch.equal(said[1 + tile][1], word(column, 1)[0])
        torch.testing.assert_close(
            said[1 + tile][2:], word(("dog", "bus", "cat", "dog")[tile], 4), rtol=1e-4, atol=1e-4
        )
    assert [view["name"] for view in connector.describe(sure(0, 1, 2, 0, 1))] == ["cat", "dog", "bus", "cat", "dog"]


def test_a_vocabulary_mixes_names_by_the_classifier_s_probabilities(llama: LanguageModel) -> None:
    connector = make("vocabulary", llama, top=2)
    x = torch.zeros(1, 20, 12)
    x[..., 0], x[..., 2] = 0.25, 0.5  # logits 1 and 2 for cat and bus, 0 for the rest
    p = torch.tensor([1.0, 2.0]).softmax(0)
    table = llama.model.get_input_embeddings().weight
    cat, bus = (table[torch.tensor(llama.tokenizer(f" {name}").input_ids)] for name in ("cat", "bus"))
    torch.testing.assert_close(connector(x)[0, :4], p[0] * cat + p[1] * bus, rtol=1e-4, atol=1e-5)


def test_a_vocabulary_s_spare_tokens_start_blank(llama: LanguageModel) -> None:
    connector = make("vocabulary", llama, n_tokens=31)
    comma = llama.model.get_input_embeddings().weight[llama.tokenizer(",").input_ids[0]]
    assert torch.equal(connector(features())[:, 28:], comma.expand(2, 3, -1))


def test_a_vocabulary_needs_a_classifier(llama: LanguageModel) -> None:
    class Bare(tiny_llm.Encoder):
        head = property(lambda self: (_ for _ in ()).throw(AttributeError))  # as an encoder without one

    with pytest.raises(ConfigError, match=r"starts from a classifier, and encoder 'tiny-views' has none"):
        build.fresh("vocabulary", llama, Bare())


# -- inside the language model --------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["llama", "mixtral", "qwen2_moe"])
@pytest.mark.parametrize("kind", ["crossattn", "expert"])
def test_untrained_inner_layers_leave_logits_exactly_unchanged(kind: str, family: str) -> None:
    llm = tiny_llm.language_model(family)
    connector = make(kind, llm)
    embeddings, slots = torch.randn(2, 12, llm.width), torch.zeros(2, 12, dtype=torch.bool)
    slots[:, 2:8] = True
    with torch.no_grad():
        before = llm.model(inputs_embeds=embeddings).logits
        with connector.attached(llm.model, features(), slots):
            during = llm.model(inputs_embeds=embeddings).logits
        with stir(connector).attached(llm.model, features(), slots):
            open_ = llm.model(inputs_embeds=embeddings).logits
        after = llm.model(inputs_embeds=embeddings).logits
    assert torch.equal(before, during) and torch.equal(before, after)
    assert (before - open_).abs().max() > 1e-2


def test_cross_attention_stands_before_every_kth_layer(llama: LanguageModel) -> None:
    connector = stir(make("crossattn", llama, every=3))
    assert len(connector.inner) == 2  # of four layers: before the first and the fourth
    first, seen = decoder_layers(llama.model)[0], []

    def watch(module: Any, args: tuple, kwargs: dict) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    embeddings = torch.randn(1, 5, llama.width)
    with torch.no_grad():
        for context in (contextlib.nullcontext(), connector.attached(llama.model, features(1))):
            with context:
                hook = first.register_forward_pre_hook(watch, with_kwargs=True)  # after the connector's own
                llama.model(inputs_embeds=embeddings)
                hook.remove()
        memory = connector.enter(connector.norm(features(1))) + connector.place
        torch.testing.assert_close(seen[1], connector.inner[0](seen[0], memory))


def test_a_visual_expert_changes_nothing_where_no_image_token_is_seen(llama: LanguageModel) -> None:
    connector = stir(make("expert", llama))
    embeddings, slots = torch.randn(1, 12, llama.width), torch.zeros(1, 12, dtype=torch.bool)
    slots[:, 5:11] = True
    with torch.no_grad():
        before = llama.model(inputs_embeds=embeddings).logits
        with connector.attached(llama.model, features(1), slots):
            during = llama.model(inputs_embeds=embeddings).logits
    torch.testing.assert_close(before[:, :5], during[:, :5])  # words before the picture
    assert (before[:, 11] - during[:, 11]).abs().max() > 1e-2  # a word after it


def test_hooks_are_gone_after_an_error(llama: LanguageModel) -> None:
    connector = make("crossattn", llama)
    with pytest.raises(ZeroDivisionError), connector.attached(llama.model, features()):
        raise ZeroDivisionError
    assert not any(layer._forward_pre_hooks for layer in decoder_layers(llama.model))


def test_images_that_fit_no_row_are_one_line(llama: LanguageModel) -> None:
    connector = make("crossattn", llama)
    with (
        pytest.raises(ModelError, match=r"3 images for a batch of 2 sequences"),
        connector.attached(llama.model, features(3)),
    ):
        llama.model(inputs_embeds=torch.randn(2, 4, llama.width))


# -- configs --------------------------------------------------------------------------------------------------------


def test_an_unknown_kind_names_the_known_ones(llama: LanguageModel) -> None:
    with pytest.raises(UnknownNameError, match=r"no connector named 'qformers'; known: crossattn, .*mean 'qformer'\?"):
        build.build({"kind": "qformers"}, llama)


def test_every_fault_of_a_config_is_named_at_once(llama: LanguageModel) -> None:
    config = {"kind": "qformer", "d_llm": 32, "d_enc": 12, "hidden": 30, "heads": 4, "n_tokens": 3}
    with pytest.raises(ConfigError, match=r"'heads' \(4\) does not divide the width of attention \(30\)"):
        build.build(config, llama)
    with pytest.raises(ConfigError) as caught:
        build.build(config | {"d_llm": 64, "width": 3}, llama)
    assert "unknown field 'width'" in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        build.build(config | {"d_llm": 64}, llama)
    assert "speaks 64 wide" in str(caught.value) and "reads 32 wide" in str(caught.value)
    assert "'heads' (4) does not divide" in str(caught.value)
    with pytest.raises(ConfigError, match=r"'n_tokens' must be a whole number, not '49'"):
        build.build(config | {"n_tokens": "49"}, llama)


def test_a_vocabulary_s_config_must_fit_its_views(llama: LanguageModel) -> None:
    good = build.describe(make("vocabulary", llama))
    with pytest.raises(ConfigError) as caught:
        build.build(good | {"views": 4, "n_features": 18, "n_tokens": 3}, llama)
    for part in ("'views' (4) must be a whole picture", "'n_features' (18)", "'n_tokens' (3) is below the 22"):
        assert part in str(caught.value)


def test_defaults_describe_a_connector_of_the_embedded_model() -> None:
    from connector.encoders.registry import LiteEncoder

    encoder = LiteEncoder()
    assert (ProjectorConfig().n_features, ProjectorConfig().d_enc) == (
        encoder.views.count * encoder.cells,
        encoder.width,
    )
