"""What a route gets to answer with: settings, experts, models, what is remembered; never the Agent itself."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import experts as registry
from agent.answering.fallback.calibration import policy_for
from agent.answering.fallback.policy import Policy
from agent.answering.language import Endpoint, Speech, local_speech
from agent.clock import Bounds
from agent.records.findings import FindingsCache
from agent.records.memory import open_memory
from experts.base import Expert
from experts.config import Settings
from experts.errors import DuetError, InputError, ModelError, UnknownNameError
from experts.threads import cpu_threads

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from connector.llm.language import LanguageModel
    from connector.trained import ConnectorModel

LEAST_TOKENS = 512  # of what an endpoint's model may say where it makes plans and calls


class Context:
    """Experts and models of one set of settings; each loads at the first question that needs it, and stays."""

    def __init__(
        self,
        settings: Settings,
        *,
        experts: Mapping[str, Expert] | None = None,
        model: ConnectorModel | None = None,
        policy: Policy | None = None,
    ) -> None:
        """`experts`, `model` and `policy` stand instead of those that the settings name."""
        self.settings = settings
        self.policy = policy or policy_for(settings, own_models=experts is not None or model is not None)
        self._given = experts
        self._kinds: dict[str, frozenset[str]] | None = None
        self._model = model
        self._llm: LanguageModel | None = model.llm if model else None
        self._endpoint = Endpoint(settings) if settings.profile == "server" else None
        self.cache = FindingsCache(settings, built_in=experts is None) if settings.cache_mb else None
        self.memory = open_memory(settings) if settings.memory_mb else None
        self.untuned = ""  # why the language model speaks without the connector's adapter, where it should have one
        self._lock = threading.RLock()

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

    def llm(self) -> LanguageModel:
        """The one language model, with the connector's adapter where there is one: the same for both routes.

        Without its connector it speaks un-tuned, and `untuned` says why.

        Raises:
            ModelError: it cannot be loaded, or answers at an endpoint.
            WeightsError: its weights are not here and cannot be fetched.
        """
        with self._lock:
            language = self._load_llm()
            if self._model is None and not self.untuned and self.settings.connector:
                try:
                    self.connector_model()
                except DuetError as error:
                    self.untuned = str(error)
            return language

    def connector_model(self) -> ConnectorModel:
        """The connector with its encoder, on the shared language model.

        Raises:
            ModelError: the settings name no connector, or it does not fit.
            InputError: there is no connector of this name.
        """
        with self._lock:
            if self._model is None:
                from connector import trained

                if self._endpoint is not None:
                    raise ModelError(
                        "the connector needs the local language model, but profile 'server' answers at an endpoint; "
                        "use --profile embedded or hub for this route"
                    )
                folder = self._connector_folder()
                self._model = trained.load(folder, self._load_llm())
            return self._model

    def connector_name(self) -> str:
        """What the trace calls the connector."""
        return Path(self.settings.connector).name or "none"

    def chat(self, bounds: Bounds) -> BaseChatModel | None:
        """The endpoint's chat model, for one question; None where the language model is a local one."""
        if self._endpoint is None:
            return None
        return self._endpoint.agentic(bounds, bounds.longest(max(self.settings.max_new_tokens, LEAST_TOKENS)))

    def speech(self, question: str, evidence: str, bounds: Bounds) -> Speech:
        """The answer from evidence, of the local model or the endpoint's, about to be given."""
        longest = bounds.longest(self.settings.max_new_tokens)
        if self._endpoint is not None:
            return self._endpoint.speech(question, evidence, longest, bounds)
        return local_speech(self.llm(), question, evidence, longest, bounds)

    def variant(self, **changes: Any) -> Context:
        """One that differs in the fields `changes` of its settings alone; the models are this one's, loaded once.

        Raises:
            InputError: the experts were given, so no settings choose them.
            DuetError: the language model cannot be loaded.
        """
        if self._given is not None:
            raise InputError("this agent's experts were given to it; settings do not choose others")
        with self._lock:
            if self._endpoint is None:
                self.llm()
            made = Context(dataclasses.replace(self.settings, **changes), policy=self.policy)
            made._llm, made._model, made.untuned = self._llm, self._model, self.untuned
        return made

    def _load_llm(self) -> LanguageModel:
        with self._lock:
            if self._llm is None:
                if self._endpoint is not None:
                    raise ModelError("profile 'server' has no local language model; use --profile embedded or hub")
                import torch

                from connector.llm import language

                torch.set_num_threads(cpu_threads(self.settings))
                self._llm = language.load(self.settings.llm, self.settings.device)
            return self._llm

    def _connector_folder(self) -> Path:
        import connector

        name = self.settings.connector
        if not name:
            raise ModelError(
                f"profile '{self.settings.profile}' has no connector for '{self.settings.llm}'; train one with "
                "`duet train` and set connector to its folder, or use --profile embedded"
            )
        shipped = Path(connector.__file__).parent / "weights"
        if (shipped / name / "config.json").is_file():
            return shipped / name
        if (Path(name) / "config.json").is_file():
            return Path(name)
        known = [path.parent.name for path in shipped.glob("*/config.json")]
        unknown = UnknownNameError("connector", Path(name).name, known)
        raise InputError(f"{unknown}; or a folder that `duet train` wrote")
