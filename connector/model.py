"""The multimodal language model: encoder -> connector -> soft tokens among the words -> the language model."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector import encoders, templates
from connector.llm import LanguageModel
from experts.errors import ConfigError, ModelError, UnknownNameError
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


class ConnectorModel:
    """An encoder, a connector and a language model that belong together."""

    def __init__(
        self, llm: LanguageModel, encoder: encoders.Encoder, connector: nn.Module, card: dict[str, Any] | None = None
    ) -> None:
        self.llm, self.encoder, self.connector = llm, encoder, connector
        self.card = card or {}  # recipe, seed, code version, results: what the weights' file says of itself

    @property
    def n_tokens(self) -> int:
        """M, the image tokens of a picture."""
        return self.connector.n_tokens

    # -- forward ------------------------------------------------------------------------------------------------

    def place(self, batch: Batch) -> torch.Tensor:
        """Input embeddings [B, T, D_llm]: words at words' positions, soft tokens at image slots."""
        words = self.llm.embed(batch.ids)  # [B, T, D_llm]
        if batch.features is None or self.n_tokens == 0:
            return words
        tokens = self.connector(batch.features.to(words.device)).to(words.dtype)  # [b, M, D_llm]
        if int(batch.slots.sum()) != tokens.shape[0] * tokens.shape[1]:
            raise ModelError(
                f"{int(batch.slots.sum())} image slots for {tokens.shape[0]} images of {tokens.shape[1]} tokens"
            )
        return words.masked_scatter(batch.slots[..., None].to(words.device), tokens)

    def hidden(self, batch: Batch) -> torch.Tensor:
        """Last hidden states [B, T, D_llm] of the language model."""
        with self.attached(batch.features):
            return self._decoder()(
                inputs_embeds=self.place(batch), attention_mask=batch.mask.to(self.llm.device), use_cache=False
            ).last_hidden_state

    def head(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., V] of hidden states [..., D_llm]."""
        return self.llm.model.get_output_embeddings()(hidden)

    @contextlib.contextmanager
    def attached(self, features: torch.Tensor | None) -> Iterator[None]:
        """The connector's layers inside the language model, for connectors that have any."""
        attach = getattr(self.connector, "attached", None)
        if attach is None or features is None:
            yield
            return
        with attach(self.llm.model, features.to(self.llm.device)):
            yield

    def _decoder(self) -> nn.Module:
        model = self.llm.model
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        return base.get_decoder() if hasattr(base, "get_decoder") else base.model

    # -- asking -------------------------------------------------------------------------------------------------

    def prompt(self, question: str, images: Sequence[Image], *, features: torch.Tensor | None = None) -> torch.Tensor:
        """The prompt for a question about `images`, as embeddings [T, D_llm].

        `features` [b, N, D_enc] spares encoding where they are known.
        """
        import torch

        encoded = templates.prompt_ids(self.llm.tokenizer, question, image_tokens=self.n_tokens * len(images))
        ids = torch.tensor([encoded.ids])
        slots = torch.zeros_like(ids, dtype=torch.bool)
        slots[0, encoded.image_slots] = True
        if features is None and images:
            features = self.encoder.encode(images)
        with torch.inference_mode():
            return self.place(Batch(ids, torch.ones_like(ids), slots, features))[0]  # [T, D_llm]

    # -- keeping ------------------------------------------------------------------------------------------------

    def save(self, folder: Path, *, adapter: dict[str, torch.Tensor] | None = None) -> None:
        """Write connector.safetensors (and lora.safetensors) with config.json, in half precision, into a new folder."""
        import torch
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        half = {key: value.detach().to(torch.float16).contiguous() for key, value in self.connector.state_dict().items()}
        save_file(half, folder / "connector.safetensors")
        if adapter:
            save_file(
                {key: value.detach().to(torch.float16).contiguous() for key, value in adapter.items()},
                folder / "lora.safetensors",
            )
        config = {
            "format": FORMAT,
            "llm": self.llm.name,
            "encoder": self.encoder.name,
            "tiles": self.encoder.views.tiles,
            "connector": describe(self.connector),
            "card": self.card,
        }
        (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")


def describe(connector: nn.Module) -> dict[str, Any]:
    """A connector's kind and full config, JSON-ready."""
    import dataclasses

    kind = getattr(connector, "kind", None) or getattr(connector.config, "kind", "")
    return {"kind": kind} | dataclasses.asdict(connector.config)


def build(config: dict[str, Any], llm: LanguageModel) -> nn.Module:
    """A fresh connector from `describe`'s form.

    Raises:
        UnknownNameError: an unknown kind.
        ConfigError: every field that is unknown or does not fit the language model, in one message.
    """
    import dataclasses

    from connector.projectors import PROJECTORS, ProjectorConfig
    from connector.slots import SlotConfig, SlotConnector

    values = dict(config)
    kind = values.get("kind", "")
    if kind not in (*PROJECTORS, "slots"):
        raise UnknownNameError("connector", str(kind), [*PROJECTORS, "slots"])
    shape: type = SlotConfig if kind == "slots" else ProjectorConfig
    if kind == "slots":
        values.pop("kind")
    known = {field.name for field in dataclasses.fields(shape)}
    faults = [f"unknown field '{key}'" for key in values if key not in known]
    if values.get("d_llm", llm.width) != llm.width:
        faults.append(f"the connector speaks {values['d_llm']} wide, the language model '{llm.name}' reads {llm.width} wide")
    if faults:
        raise ConfigError(f"connector config does not fit: {'; '.join(faults)} (fields: {', '.join(sorted(known))})")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    connector = SlotConnector(shape(**values)) if kind == "slots" else PROJECTORS[kind](shape(**values))
    if isinstance(connector, SlotConnector):
        connector.bind(llm.tokenizer, llm.model.get_input_embeddings().weight)
    return connector


def load(folder: Path, llm: LanguageModel) -> ConnectorModel:
    """A saved model: config, connector and, where there is one, the adapter, merged into `llm` for both routes.

    Raises:
        ModelError: not such a folder, of a newer format, or of another architecture (the message gives the difference).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / "config.json").read_text())
        tensors = load_file(folder / "connector.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"'{folder.name}' is not a saved connector (config.json + connector.safetensors): {error}") from None
    if config.get("format", 0) > FORMAT:
        raise ModelError(f"'{folder.name}' was saved in format {config['format']}, this program reads up to {FORMAT}")
    if config["llm"] != llm.name:
        raise ModelError(f"'{folder.name}' was trained with '{config['llm']}', not with '{llm.name}'; set llm to it")
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
    lora = folder / "lora.safetensors"
    if lora.is_file():
        merge_adapter(llm, load_file(lora), name=hashlib.sha256(lora.read_bytes()).hexdigest()[:12])
    model = ConnectorModel(llm, encoders.load(config["encoder"], config["tiles"]), connector, config.get("card", {}))
    connector.eval().requires_grad_(False).to(llm.device)
    return model


def merge_adapter(llm: LanguageModel, tensors: dict[str, torch.Tensor], name: str) -> None:
    """Add a LoRA (W += scale * B A; Hu et al. 2021, arXiv 2106.09685) to the language model's weights, once.

    `tensors` maps `PARAMETER.lora_A` [r, in] and `PARAMETER.lora_B` [out, r], already scaled, to values.
    """
    import torch

    if llm.adapter == name:
        return
    if llm.adapter:
        raise ModelError(f"the language model already carries adapter {llm.adapter}; load it anew for {name}")
    parameters = dict(llm.model.named_parameters())
    with torch.no_grad():
        for key in tensors:
            if not key.endswith(".lora_A"):
                continue
            weight = parameters.get(key.removesuffix(".lora_A"))
            a, b = tensors[key].float(), tensors[key.removesuffix("A") + "B"].float()
            if weight is None or weight.shape != (b.shape[0], a.shape[1]):
                raise ModelError(f"adapter {name} does not fit the language model at {key.removesuffix('.lora_A')}")
            weight += (b @ a).to(weight.device, weight.dtype)
    llm.adapter = name
