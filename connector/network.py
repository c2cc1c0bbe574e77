"""The multimodal language model: encoder -> connector -> soft tokens among the words -> the language model."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.encoders import registry
from connector.interfaces.build import build, check_encoder, check_features, describe
from connector.llm import templates
from connector.llm.adapter import merge_adapter
from connector.llm.language import LanguageModel, read_whole, same
from connector.llm.language import load as load_llm
from experts.errors import ModelError
from experts.media import Image

if TYPE_CHECKING:
    import torch
    from torch import nn

FORMAT = 1  # of a saved connector; raised when an older program could not read a newer one


@dataclass
class Batch:
    """Sequences as the model reads them."""

    ids: torch.Tensor  # [B, T], the pad id at image slots and padding
    mask: torch.Tensor  # [B, T], 1 at real positions
    slots: torch.Tensor  # [B, T] bool, True where an image token goes
    features: torch.Tensor | None = None  # [b, N, D_enc] of the b rows that have image slots, in row order
    turns: torch.Tensor | None = None  # [B, T], which question a token belongs to, 0 = all; see templates.Encoded
    positions: torch.Tensor | None = None  # [B, T], where it stands for that question


def question_mask(turns: torch.Tensor, mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Which token may look at which, [B, 1, T, T], 0 or the least number of `dtype`: added to the attention's scores.

    A token looks at those before it that belong to its own question or to all. What belongs to all, the image, looks at
    whatever stands before it, as it does where there is one question.
    """
    import torch

    length = turns.shape[1]
    before = turns.new_ones(length, length).tril().bool()
    ask, seen = turns[:, :, None], turns[:, None, :]
    allowed = before & mask[:, None, :].bool() & ((seen == 0) | (seen == ask) | (ask == 0))
    allowed |= torch.eye(length, dtype=torch.bool, device=turns.device)  # padding sees itself: no row may be empty
    hidden = torch.zeros(allowed.shape, dtype=dtype, device=turns.device)
    return hidden.masked_fill(~allowed, torch.finfo(dtype).min)[:, None]


class ConnectorModel:
    """An encoder, a connector and a language model that belong together."""

    def __init__(
        self, llm: LanguageModel, encoder: registry.Encoder, connector: nn.Module, card: dict[str, Any] | None = None
    ) -> None:
        self.llm, self.encoder = llm, encoder
        self.connector: Any = connector
        self.card = card or {}  # recipe, seed, code version, results: what the weights' file says of itself

    @property
    def n_tokens(self) -> int:
        """M, the image tokens of a picture."""
        connector = self.connector
        return int(connector.n_tokens if hasattr(connector, "n_tokens") else connector.config.n_tokens)

    # -- forward ------------------------------------------------------------------------------------------------

    def place(self, batch: Batch) -> torch.Tensor:
        """Input embeddings [B, T, D_llm]: words at words' positions, soft tokens at image slots."""
        words = self.llm.embed(batch.ids)  # [B, T, D_llm]
        if batch.features is None:
            return words
        check_features(self.connector, batch.features)
        if self.n_tokens == 0:
            return words
        tokens = self.connector(batch.features.to(words.device)).to(words.dtype)  # [b, M, D_llm]
        if int(batch.slots.sum()) != tokens.shape[0] * tokens.shape[1]:
            raise ModelError(
                f"{int(batch.slots.sum())} image slots for {tokens.shape[0]} images of {tokens.shape[1]} tokens"
            )
        return words.masked_scatter(batch.slots[..., None].to(words.device), tokens)

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Last hidden states [B, T, D_llm] of a causal language model; padding may stand on either side.

        Raises:
            ModelError: an encoder-decoder, whose answers are not part of the same sequence.
        """
        from connector.interfaces.base import decoder

        if self.llm.model.config.is_encoder_decoder:
            raise ModelError(
                f"'{self.llm.name}' is an encoder-decoder: it answers prompts, but stages train causal models only"
            )
        mask = batch.mask.to(self.llm.device)
        places = {}
        if not bool(mask[:, 0].all()):  # padded on the left: count from the first real token
            places["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
        if batch.turns is not None and batch.positions is not None:
            places["position_ids"] = batch.positions.to(mask.device)
            mask = question_mask(batch.turns.to(mask.device), mask, self.llm.model.dtype)
        with self.attached(batch.features, batch.slots):
            return decoder(self.llm.model)(
                inputs_embeds=self.place(batch), attention_mask=mask, use_cache=False, **places
            ).last_hidden_state

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., V] of hidden states [..., D_llm]."""
        return self.llm.model.get_output_embeddings()(hidden)

    @contextlib.contextmanager
    def attached(self, features: torch.Tensor | None, slots: torch.Tensor | None = None) -> Iterator[None]:
        """The connector's layers inside the language model, for connectors that have any.

        `slots` [B, T] says where the image tokens are. Layers are there for whoever runs the language model meanwhile,
        so a generation enters this inside its lock: see `layers_for`.
        """
        attach = getattr(self.connector, "attached", None)
        if attach is None or features is None:
            yield
            return
        check_features(self.connector, features)
        with attach(self.llm.model, features.to(self.llm.device), slots):
            yield

    # -- asking -------------------------------------------------------------------------------------------------

    def prompt(
        self,
        question: str,
        images: Sequence[Image],
        *,
        features: torch.Tensor | None = None,
        history: Sequence[tuple[str, str]] = (),
    ) -> torch.Tensor:
        """The prompt for a question about `images`, as embeddings [T, D_llm].

        `features` [b, N, D_enc] take the images' place where they are known; `history` as in templates.messages.
        """
        import torch

        if features is None and images:
            features = self.encoder.encode(images)
        ids, slots = self._ids(question, 0 if features is None else len(features), history)
        with torch.inference_mode():
            return self.place(Batch(ids, torch.ones_like(ids), slots, features))[0]  # [T, D_llm]

    def layers_for(
        self, question: str, features: torch.Tensor | None, *, history: Sequence[tuple[str, str]] = ()
    ) -> contextlib.AbstractContextManager[None]:
        """What `LanguageModel.stream` must run within to answer this question's `prompt`: the attached layers."""
        slots = None if features is None else self._ids(question, len(features), history)[1]
        return self.attached(features, slots)

    def answers(self, asked: Iterable[tuple[str, torch.Tensor]], max_new_tokens: int, batch: int = 16) -> Iterator[str]:
        """Greedy answers to questions, each with its image's features [1, N, D_enc], `batch` at a time as they come.

        A connector with layers inside the language model is asked one by one, as those see a single question's image.
        """
        asked, alone = iter(asked), hasattr(self.connector, "attached")
        while part := list(itertools.islice(asked, 1 if alone else batch)):
            prompts = [self.prompt(question, [], features=features) for question, features in part]
            if alone:
                within = self.layers_for(*part[0])
                said = self.llm.stream(prompts[0], max_new_tokens=max_new_tokens, within=within)
                yield "".join(token.text for token in said).strip()
            else:
                yield from (text for text, _ in self.llm.answers(prompts, max_new_tokens))

    def _ids(
        self, question: str, images: int, history: Sequence[tuple[str, str]] = ()
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids and image slots [1, T] of the prompt for a question about so many images."""
        import torch

        encoded = templates.prompt_ids(
            self.llm.tokenizer,
            question,
            image_tokens=self.n_tokens * images,
            image=images > 0,
            history=history,
        )
        ids = torch.tensor([encoded.ids])
        slots = torch.zeros_like(ids, dtype=torch.bool)
        slots[0, encoded.image_slots] = True
        return ids, slots

    # -- keeping ------------------------------------------------------------------------------------------------

    def save(self, folder: Path, *, adapter: dict[str, torch.Tensor] | None = None) -> None:
        """Write connector.safetensors (and lora.safetensors) with config.json into a new folder.

        Values are stored in half precision (float16, 11 significant bits), so what is loaded differs from what was
        trained by that rounding, once: a loaded model that is saved again gives the same bytes.

        Raises:
            ModelError: values that float16 does not hold.
        """
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        save_file(_half(self.connector.state_dict()), folder / "connector.safetensors")
        if adapter:
            save_file(_half(adapter), folder / "lora.safetensors")
        config = {
            "format": FORMAT,
            "llm": self.llm.name,
            "llm_shape": architecture_of(self.llm),
            "stored": "float16",
            "encoder": self.encoder.name,
            "tiles": self.encoder.views.tiles,
            "size_px": getattr(self.encoder.views, "size_px", 0),
            "connector": describe(self.connector),
            "card": self.card,
        }
        (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def _half(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Floating-point tensors in half precision, the rest as they are."""
    import torch

    half = {
        key: (value.detach().to(torch.float16) if value.is_floating_point() else value.detach()).cpu().contiguous()
        for key, value in tensors.items()
    }
    lost = [key for key, value in half.items() if not torch.isfinite(value).all()]
    if lost:
        raise ModelError(f"values of {', '.join(lost[:5])} are not finite in half precision; the model was not saved")
    return half


def architecture_of(llm: LanguageModel) -> dict[str, Any]:
    """What must agree between the language model a connector was trained with and the one that it is loaded for."""
    config = llm.model.config
    keys = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")
    return {key: getattr(config, key) for key in keys if hasattr(config, key)}


def adapted(folder: Path, llm: LanguageModel | None = None, device: str = "auto") -> LanguageModel:
    """The language model of a saved model with its adapter merged; neither connector nor encoder is loaded.

    Raises:
        ModelError: not such a folder, of a newer format, or trained with another language model.
    """
    config = _config(folder)
    llm = llm or load_llm(config["llm"], device)
    _check_llm(config, llm, folder)
    _merge(folder, llm)
    return llm


def _config(folder: Path) -> dict[str, Any]:
    """config.json of a saved model."""
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise _not_saved(folder, error) from None
    if config.get("format", 0) > FORMAT:
        raise ModelError(f"'{folder.name}' was saved in format {config['format']}, this program reads up to {FORMAT}")
    return config


def _not_saved(folder: Path, error: Exception) -> ModelError:
    reason = " ".join(str(error).split()).replace(str(folder), folder.name)
    return ModelError(f"'{folder.name}' is not a saved connector (config.json + connector.safetensors): {reason}")


def _check_llm(config: dict[str, Any], llm: LanguageModel, folder: Path) -> None:
    """Raises ModelError where a model was saved with another language model than `llm`."""
    own_shape = architecture_of(llm)
    differences = [
        f"{key} {was} is {own_shape.get(key)} here"
        for key, was in config.get("llm_shape", {}).items()
        if own_shape.get(key) != was
    ]
    if not same(config["llm"], llm.name) or differences:
        raise ModelError(
            f"'{folder.name}' was trained with '{config['llm']}', not with '{llm.name}'; set llm to it"
            + (f" ({', '.join(differences)})" if differences else "")
        )


def _merge(folder: Path, llm: LanguageModel) -> None:
    """Put what training changed of the language model into it: all its weights (llm/), the adapter, or both.

    It is named by its content, so that the same is put in once.
    """
    from safetensors.torch import load_file

    whole, lora = folder / "llm", folder / "lora.safetensors"
    files = [*sorted(whole.glob("*.safetensors")), *([lora] if lora.is_file() else [])]
    if not files:
        return
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.read_bytes())
    name = digest.hexdigest()[:12]
    if llm.adapter == name:
        return
    if whole.is_dir():
        _replace(llm, whole, name)
    if lora.is_file():
        merge_adapter(llm, load_file(lora), name)
    llm.adapter = name


def _replace(llm: LanguageModel, folder: Path, name: str) -> None:
    """Copy the weights of a language model that was trained in full into `llm`."""
    import torch

    if llm.adapter:
        raise ModelError(f"the language model already carries adapter {llm.adapter}; load it anew for {name}")
    try:
        trained = read_whole(str(folder), llm.model.dtype).state_dict()
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _not_saved(folder.parent, error) from None
    own = llm.model.state_dict()
    differing = [key for key in own if key not in trained or trained[key].shape != own[key].shape]
    if differing:
        raise ModelError(f"the language model of '{folder.parent.name}' does not fit at {differing[0]}")
    with torch.no_grad():
        for key, value in own.items():
            value.copy_(trained[key])


def load(folder: Path, llm: LanguageModel | None = None, device: str = "auto") -> ConnectorModel:
    """A saved model: config, connector and, where there is one, the adapter, merged into `llm` for both routes.

    Nothing else is needed: without `llm`, the language model is loaded by the name that was saved.

    Raises:
        ModelError: not such a folder, of a newer format, or of another architecture (the message gives the difference).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    config = _config(folder)
    try:
        tensors = load_file(folder / "connector.safetensors")
    except (OSError, SafetensorError) as error:
        raise _not_saved(folder, error) from None
    llm = llm or load_llm(config["llm"], device)
    _check_llm(config, llm, folder)
    connector = build(config["connector"], llm)
    own = connector.state_dict()
    differences = [
        f"{key}: file {list(tensors[key].shape) if key in tensors else 'none'}, config "
        f"{list(own[key].shape) if key in own else 'none'}"
        for key in sorted(own.keys() | tensors.keys())
        if key not in own or key not in tensors or own[key].shape != tensors[key].shape
    ]
    if differences:
        raise ModelError(f"weights and config of '{folder.name}' differ: {'; '.join(differences[:5])}")
    connector.load_state_dict({key: value.float() for key, value in tensors.items()})
    encoder = registry.load(config["encoder"], config["tiles"], config.get("size_px", 0))
    check_encoder(connector, encoder)
    if hasattr(connector, "see_whole_with"):
        connector.see_whole_with(encoder.head())  # type: ignore[attr-defined]
    _merge(folder, llm)
    model = ConnectorModel(llm, encoder, connector, config.get("card", {}))
    connector.eval().requires_grad_(False).to(llm.device)
    return model
