"""A multimodal model trained here: encoder, connector and language model of our own, behind the protocol."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.base import IMAGE, VIDEO, Answered, Asked, Generation, ModelInfo, Reply, Stage, Turn
from connector.interfaces.base import Projector
from connector.llm.text import LocalText, answered_in_batches
from connector.network import ConnectorModel
from experts.errors import InputError
from experts.media import Image, Media, Video

if TYPE_CHECKING:
    import torch

    from connector.llm.language import LanguageModel

FRAMES = 4  # of a video that the connector sees


class TrainedModel:
    """`connector.network.ConnectorModel` as a MultimodalModel. It sees pictures and films, and cannot hear."""

    def __init__(self, llm: LanguageModel, load: Callable[[], ConnectorModel], name: str) -> None:
        """`load` gives the network on `llm`; it is called at the first question that is not the language model's."""
        self.name, self._load = name, load
        self.language = LocalText(llm)
        self._network: ConnectorModel | None = None
        self._lock = threading.Lock()

    @property
    def network(self) -> ConnectorModel:
        """Encoder, connector and language model, loaded at the first use.

        Raises:
            ModelError, WeightsError: they cannot be loaded.
        """
        with self._lock:
            if self._network is None:
                self._network = self._load()
            return self._network

    @property
    def info(self) -> ModelInfo:
        llm = self.network.llm.model
        parameters = [*llm.parameters(), *self.network.connector.parameters()]
        return ModelInfo(
            name=self.name,
            kind="trained",
            modalities=frozenset({IMAGE, VIDEO}),
            language=self.language.name,
            revision=self.language.adapter,
            parameters=sum(parameter.numel() for parameter in parameters),
            precision=str(llm.dtype).removeprefix("torch."),
            device=str(llm.device),
            most_media=None if self.network.n_tokens else 1,
            licence=str(self.network.card.get("licence", "")),
        )

    def fingerprint(self) -> str:
        """A hash of the connector's weights, which tells two connectors of one name apart."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.connector.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()[:12]

    def tokens(self, media: Sequence[Media]) -> int:
        """M for each picture; see MultimodalModel.tokens."""
        return self.network.n_tokens * len(self._pictures(media))

    def stream(
        self, question: str, media: Sequence[Media], generation: Generation, history: Sequence[Turn] = ()
    ) -> Reply:
        """Encode, connect, then the language model; see MultimodalModel.stream."""
        network, images = self.network, self._pictures(media)
        begun = time.perf_counter()
        features = network.encoder.encode(images) if images else None  # [B, N, D_enc]
        stages = []
        if features is not None:
            data: dict[str, Any] = {
                "images": [image.sha256[:16] for image in images],
                "features": list(features.shape),
                "tokens": network.n_tokens * len(images),
            }
            stages.append(Stage("encode", network.encoder.name, begun, time.perf_counter() - begun, data))
        if generation.stop.is_set():
            return Reply(self.language.name, self.language.adapter, 0, iter(()), tuple(stages))
        begun = time.perf_counter()
        turns = [(turn.role, turn.text) for turn in history]
        prompt = network.prompt(question, images, features=features, history=turns)  # [T, D_llm]
        if features is not None:
            stages.append(Stage("connect", self.name, begun, time.perf_counter() - begun, self._says(features)))
        tokens = network.llm.stream(
            prompt,
            max_new_tokens=generation.max_new_tokens,
            stop=generation.stop,
            within=network.layers_for(question, features, history=turns),
        )
        return Reply(self.language.name, self.language.adapter, len(prompt), tokens, tuple(stages))

    def answers(self, batch: Sequence[Asked], max_new_tokens: int) -> list[Answered]:
        """Each picture is encoded once a batch; a connector with layers inside the LLM is asked one by one."""
        if _attaches(self.network.connector):
            return [self._alone(asked, max_new_tokens) for asked in batch]
        known: dict[str, torch.Tensor] = {}
        prompts = [self._prompt(asked, known) for asked in batch]
        return answered_in_batches(self.network.llm, prompts, max_new_tokens)

    def _prompt(self, asked: Asked, known: dict[str, torch.Tensor]) -> torch.Tensor:
        import torch

        images = self._pictures(asked.media)
        for image in images:
            if image.sha256 not in known:
                known[image.sha256] = self.network.encoder.encode([image])
        features = torch.cat([known[image.sha256] for image in images]) if images else None  # [B, N, D_enc]
        turns = [(turn.role, turn.text) for turn in asked.history]
        return self.network.prompt(asked.question, images, features=features, history=turns)

    def _alone(self, asked: Asked, max_new_tokens: int) -> Answered:
        import math

        said = list(self.stream(asked.question, asked.media, Generation(max_new_tokens), asked.history).tokens)
        confidence = math.exp(sum(token.logprob for token in said) / len(said)) if said else 0.0
        return Answered("".join(token.text for token in said).strip(), confidence)

    def _says(self, features: torch.Tensor) -> dict[str, Any]:
        """What the connector makes of each picture, in words, where it speaks in words."""
        describe: Any = getattr(self.network.connector, "describe", None)
        return {"says": [describe(features, row) for row in range(len(features))]} if describe else {}

    def _pictures(self, media: Sequence[Media]) -> list[Image]:
        pictures: list[Image] = []
        for medium in media:
            if isinstance(medium, Image):
                pictures.append(medium)
            elif isinstance(medium, Video):
                pictures += spread(medium.frames, FRAMES)
            else:
                raise InputError(f"connector '{self.name}' cannot hear: it has no encoder for sound; give it pictures")
        if self.network.n_tokens == 0 and len(pictures) > 1:
            raise InputError(
                f"connector '{self.name}' takes one picture at a time, here are {len(pictures)}; ask about one image"
            )
        return pictures


def _attaches(connector: Any) -> bool:
    """Whether a connector has layers inside the language model, which see a single question's picture."""
    attach = getattr(type(connector), "attached", None)
    return attach is not None and attach is not Projector.attached


def spread(frames: Sequence[Image], count: int) -> list[Image]:
    """At most `count` frames, evenly spaced."""
    if len(frames) <= count:
        return list(frames)
    return [frames[round(i * (len(frames) - 1) / (count - 1))] for i in range(count)]


def is_trained(folder: Path) -> bool:
    """Whether `folder` holds a connector that `duet train` wrote."""
    return (folder / "config.json").is_file() and (folder / "connector.safetensors").is_file()
