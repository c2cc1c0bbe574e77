"""What a route gets to answer with: settings, experts, models, what is remembered; never the Agent itself."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import experts as registry
from agent.answering.fallback.calibration import policy_for
from agent.answering.fallback.policy import Policy
from agent.records.findings import FindingsCache
from agent.records.memory import open_memory
from experts.base import Expert
from experts.config import Settings
from experts.errors import DuetError, InputError, UnknownNameError

if TYPE_CHECKING:
    from connector.base import MultimodalModel, TextModel
    from connector.network import ConnectorModel


class Context:
    """Experts and models of one set of settings; each loads at the first question that needs it, and stays."""

    def __init__(
        self,
        settings: Settings,
        *,
        experts: Mapping[str, Expert] | None = None,
        model: MultimodalModel | ConnectorModel | None = None,
        policy: Policy | None = None,
    ) -> None:
        """`experts`, `model` and `policy` stand instead of those that the settings name."""
        self.settings = settings
        self._lock = threading.RLock()
        self.policy = policy or policy_for(settings, own_models=experts is not None or model is not None)
        self._given = experts
        self._kinds: dict[str, frozenset[str]] | None = None
        self._model: MultimodalModel | None = _behind_protocol(model, settings)
        self._language: TextModel | None = None
        if settings.profile == "server" and self._model is None:
            self.model()  # an address that is none is refused at once; nothing is asked yet
        self.cache = FindingsCache(settings, built_in=experts is None) if settings.cache_mb else None
        self.memory = open_memory(settings) if settings.memory_mb else None
        self.untuned = ""  # why the language model speaks without the connector's adapter, where it should have one

    def kinds(self) -> dict[str, frozenset[str]]:
        """The experts there are, and the kinds of media each takes: none for one that cannot be loaded."""
        with self._lock:
            if self._kinds is None:
                self._kinds = {}
                for name in registry.known() if self._given is None else self._given:
                    try:
                        self._kinds[name] = self.expert(name).kinds
                    except DuetError:
                        self._kinds[name] = frozenset()
            return self._kinds

    def expert(self, name: str) -> Expert:
        """The expert `name`, with these settings.

        Raises:
            UnknownNameError: there is none of this name.
            ExpertError: it cannot be loaded.
        """
        if self._given is None:
            return registry.get(name, self.settings)
        if name not in self._given:
            raise UnknownNameError("expert", name, self._given)
        return self._given[name]

    def model(self) -> MultimodalModel:
        """The multimodal model: what the connector route answers with.

        Raises:
            ModelError: the settings name none, or it cannot be loaded.
            InputError: there is none of this name.
            WeightsError: its weights are not here and cannot be fetched.
        """
        with self._lock:
            if self._model is None:
                from connector.opening import open_model

                self._model = open_model(self.settings)
            return self._model

    def language(self) -> TextModel:
        """What the experts route speaks with: the multimodal model's own weights, unless `llm` names others.

        Where a connector trained here cannot be loaded, its language model speaks without the adapter, and `untuned`
        says why.

        Raises:
            ModelError: it cannot be loaded.
            WeightsError: its weights are not here and cannot be fetched.
        """
        with self._lock:
            if self._language is None:
                self._language = self._open_language()
            return self._language

    def _open_language(self) -> TextModel:
        from connector.opening import open_language

        s = self.settings
        if self.has_separate_language():
            return open_language(s)
        if self._model is None and not s.model and not s.connector and s.profile != "server":
            return open_language(s)
        try:
            return self.model().language
        except DuetError as error:
            if s.model or s.profile == "server":
                raise
            self.untuned = str(error)
            return open_language(s)

    def has_separate_language(self) -> bool:
        """Whether the settings name another language model for the experts route than the multimodal model's own."""
        s = self.settings
        if not (s.llm and s.model):
            return False
        from connector.llm.language import same

        return not same(s.llm, s.model)

    def shares_weights(self) -> bool:
        """Whether both routes speak through the same weights; a comparison of the two says where they do not."""
        return self.language() is self.model().language

    def model_name(self) -> str:
        """What the trace calls the multimodal model, without opening it."""
        from connector.opening import model_name

        if self._model is None:
            return model_name(self.settings)
        return getattr(self._model, "name", "") or self._model.info.name  # info may load what is not loaded yet

    def variant(self, **changes: Any) -> Context:
        """One that differs in the fields `changes` of its settings alone; the models are this one's, loaded once.

        Raises:
            InputError: the experts were given, so no settings choose them.
            DuetError: the language model cannot be loaded.
        """
        if self._given is not None:
            raise InputError("this agent's experts were given to it; settings do not choose others")
        with self._lock:
            self.language()
            made = Context(dataclasses.replace(self.settings, **changes), policy=self.policy)
            made._language, made._model, made.untuned = self._language, self._model, self.untuned
        return made


def _behind_protocol(model: MultimodalModel | ConnectorModel | None, settings: Settings) -> MultimodalModel | None:
    """A model that was given: a bare network is one trained here."""
    if model is None or hasattr(model, "info"):
        return model  # type: ignore[return-value]
    from connector.opening import model_name
    from connector.trained import TrainedModel

    return TrainedModel(model.llm, lambda: model, model_name(settings))
