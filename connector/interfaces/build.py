"""Building: a connector from its config, its config from an encoder and a language model, and what does not fit."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import TYPE_CHECKING, Any

from experts.errors import ConfigError, ModelError, UnknownNameError

if TYPE_CHECKING:
    import torch

    from connector.encoders.registry import Encoder
    from connector.interfaces.base import ProjectorConfig
    from connector.llm.language import LanguageModel


def describe(connector: Any) -> dict[str, Any]:
    """A connector's kind and full config, JSON-ready."""
    kind = getattr(connector, "kind", None) or getattr(connector.config, "kind", "")
    return {"kind": kind} | dataclasses.asdict(connector.config)


def fresh(kind: str, llm: LanguageModel, encoder: Any, **values: Any) -> Any:
    """An untrained connector between `encoder` and `llm`; `values` are fields of its config.

    A vocabulary starts as the encoder's classifier and the language model's words.

    Raises:
        UnknownNameError: an unknown kind.
        ConfigError: as `build`; or a vocabulary for an encoder without a classifier.
    """
    from connector.interfaces.base import ProjectorConfig
    from connector.interfaces.vocabulary import Vocabulary

    fields: dict[str, Any] = {"kind": kind}
    if kind != "slots":
        fields |= {"n_features": encoder.views.count * encoder.cells, "d_enc": encoder.width, "d_llm": llm.width}
    head = None
    if kind == "vocabulary":
        if not hasattr(encoder, "head"):
            raise ConfigError(f"a vocabulary starts from a classifier, and encoder '{encoder.name}' has none")
        head = encoder.head()
        fields |= {"views": encoder.views.count, "names": tuple(encoder.classes)}
        fields |= {"d_head": head[0].shape[1], "head_hidden": head[0].shape[0]}
        if "n_tokens" not in values:
            known = {key: value for key, value in (fields | values).items() if hasattr(ProjectorConfig, key)}
            fields["n_tokens"] = Vocabulary.spoken(ProjectorConfig(**known))
    connector = build(fields | values, llm)
    if head is not None:
        connector.start_from(head)
    return connector


def build(config: dict[str, Any], llm: LanguageModel) -> Any:
    """A fresh connector from `describe`'s form, on the CPU.

    Raises:
        UnknownNameError: an unknown kind.
        ConfigError: every field that is unknown, out of range or does not fit the language model, in one message.
    """
    from connector.interfaces.base import ProjectorConfig
    from connector.interfaces.projectors import PROJECTORS
    from connector.interfaces.slot_config import SlotConfig
    from connector.interfaces.slots import SlotConnector

    values = dict(config)
    kind = values.get("kind", "")
    if kind not in (*PROJECTORS, "slots"):
        raise UnknownNameError("connector", str(kind), [*PROJECTORS, "slots"])
    shape: type = SlotConfig if kind == "slots" else ProjectorConfig
    if kind == "slots":
        values.pop("kind")
    known = {field.name for field in dataclasses.fields(shape)}
    faults = [f"unknown field '{key}'" for key in values if key not in known]
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key in known}
    faults += _wrong_types(shape, values)
    if not faults:
        shaped = shape(**values)
        if shaped.d_llm != llm.width:
            faults.append(
                f"the connector speaks {shaped.d_llm} wide, the language model '{llm.name}' reads {llm.width} wide"
            )
        if isinstance(shaped, ProjectorConfig):
            faults += misfits(shaped)
    if faults:
        raise ConfigError(f"connector config does not fit: {'; '.join(faults)} (fields: {', '.join(sorted(known))})")
    connector: Any = SlotConnector(shaped) if kind == "slots" else PROJECTORS[kind](shaped, llm.model)
    if hasattr(connector, "bind"):
        connector.bind(llm.tokenizer, llm.model.get_input_embeddings().weight)
    return connector


def _wrong_types(shape: type, values: dict[str, Any]) -> list[str]:
    """A fault for each whole number that is none."""
    hints = typing.get_type_hints(shape)
    return [
        f"'{key}' must be a whole number, not {value!r}"
        for key, value in values.items()
        if hints[key] is int and (not isinstance(value, int) or isinstance(value, bool))
    ]


def misfits(c: ProjectorConfig) -> list[str]:
    """What is wrong with the values of a config, one line each."""
    counts = ("n_features", "d_enc", "d_llm", "n_tokens", "hidden", "layers", "heads", "every", "rank", "views")
    faults = [f"'{key}' must be 1 or more, not {getattr(c, key)}" for key in counts if getattr(c, key) < 1]
    if faults:
        return faults
    attends = {"qformer": c.hidden, "resampler": c.hidden, "crossattn": c.d_llm}
    if attends.get(c.kind, 0) % c.heads:
        faults.append(f"'heads' ({c.heads}) does not divide the width of attention ({attends[c.kind]})")
    if c.kind == "vocabulary":
        from connector.interfaces.vocabulary import ROWS, Vocabulary

        side = math.isqrt(c.views - 1)
        if side * side != c.views - 1 or side > len(ROWS):
            allowed = ", ".join(str(1 + at * at) for at in range(len(ROWS) + 1))
            faults.append(f"'views' ({c.views}) must be a whole picture and a square of tiles: {allowed}")
        if c.n_features % c.views:
            faults.append(f"'n_features' ({c.n_features}) is not the same for each of {c.views} views")
        if c.n_tokens < Vocabulary.spoken(c):
            faults.append(f"'n_tokens' ({c.n_tokens}) is below the {Vocabulary.spoken(c)} that it says")
        if not c.names:
            faults.append("'names' is empty: the classes of the encoder's classifier")
        if min(c.words, c.top, c.head_hidden) < 1 or not 0 < c.d_head <= c.d_enc:
            faults.append("'words', 'top' and 'head_hidden' must be 1 or more, 'd_head' at most 'd_enc'")
    return faults


def takes(connector: Any) -> tuple[int, int] | None:
    """(N, D_enc) of the features that a connector takes; None if it does not say."""
    config = connector.config
    if hasattr(config, "n_features"):
        return config.n_features, config.d_enc
    if hasattr(config, "widths"):
        return (1 + config.tiles**2) * config.side**2, sum(config.widths)
    return None


def check_features(connector: Any, features: torch.Tensor) -> None:
    """Raise ModelError, with the differences, unless features [B, N, D_enc] fit the connector."""
    expected = takes(connector)
    if expected is None or (features.ndim == 3 and tuple(features.shape[1:]) == expected):
        return
    shown = list(features.shape)
    if features.ndim != 3:
        faults = [f"{features.ndim} dimensions instead of 3"]
    else:
        pairs = zip(("N", "D_enc"), shown[1:], expected, strict=True)
        faults = [f"{name} is {was} instead of {wanted}" for name, was, wanted in pairs if was != wanted]
    raise ModelError(
        f"features {shown} do not fit this {describe(connector)['kind']} connector, which takes [B, {expected[0]}, "
        f"{expected[1]}]: {', '.join(faults)}; use the encoder and tiles it was made for"
    )


def check_encoder(connector: Any, encoder: Encoder) -> None:
    """Raise ModelError, with the differences, unless the encoder's features fit the connector."""
    expected, gives = takes(connector), (encoder.views.count * encoder.cells, encoder.width)
    if expected is None or expected == gives:
        return
    faults = [
        f"{name} is {was} instead of {wanted}"
        for name, was, wanted in zip(("N", "D_enc"), gives, expected, strict=True)
        if was != wanted
    ]
    raise ModelError(f"encoder '{encoder.name}' does not fit the connector: {', '.join(faults)}")
