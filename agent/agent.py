"""The agent people script: one object that opens media, runs a route, several or all, and streams what happens."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import experts
from agent.answer import Answer, Fallback, Question, Step
from agent.fallback import insufficient
from agent.routes import ROUTES, Clock
from experts.base import Expert
from experts.config import Settings, load_settings
from experts.errors import InputError, ModelError, UnknownNameError
from experts.media import Audio, Image, Media, Video, open_media

if TYPE_CHECKING:
    import torch

    from connector.llm import LanguageModel
    from connector.model import ConnectorModel

NAMES = (*ROUTES, "auto", "both")


class Agent:
    """Answers questions about media. Models load at the first question that needs them and stay.

    >>> answers = Agent().ask("How many dogs are there?", image="photo.jpg", route="both")  # doctest: +SKIP
    """

    def __init__(self, settings: Settings | None = None, **flags: Any) -> None:
        """`flags` are fields of experts.config.Settings, e.g. `profile="hub"`."""
        self.settings = settings or load_settings(**flags)
        self.stop_event = threading.Event()
        self._experts: dict[str, Expert] = {}
        self._model: ConnectorModel | None = None
        self._llm: LanguageModel | None = None
        self._lock = threading.RLock()

    # -- asking -------------------------------------------------------------------------------------------------

    def ask(
        self, question: str, *, image: Any = None, audio: Any = None, video: Any = None, media: Any = None, route: str = "auto"
    ) -> list[Answer]:
        """One Answer a route asked: two for `both`.

        Each medium is a path, bytes, a data URL, an array or an opened medium, or a list of them; `media` takes any kind.

        Raises:
            InputError: the question, a medium or the route is not acceptable.
            DuetError: a model failed.
        """
        steps = self.stream(question, image=image, audio=audio, video=video, media=media, route=route)
        return [step.answer for step in steps if step.answer is not None]

    def stream(
        self, question: str, *, image: Any = None, audio: Any = None, video: Any = None, media: Any = None, route: str = "auto"
    ) -> Iterator[Step]:
        """The Steps of `ask` as they happen; everything wrong with the input is raised before the first."""
        if route not in NAMES:
            raise UnknownNameError("route", route, NAMES)
        asked = self.question(question, image=image, audio=audio, video=video, media=media)
        self.stop_event.clear()
        return self._run(asked, route)

    def question(self, text: str, *, image: Any = None, audio: Any = None, video: Any = None, media: Any = None) -> Question:
        """A Question with its media opened and checked."""
        if not isinstance(text, str) or not text.strip():
            raise InputError("the question is empty; ask something, such as \"What is in the picture?\"")
        if len(text) > 4000:
            raise InputError(f"the question has {len(text)} characters; at most 4000 are accepted")
        opened: list[Media] = []
        for value, kind in ((image, Image), (audio, Audio), (video, Video), (media, None)):
            for source in value if isinstance(value, list | tuple) else [] if value is None else [value]:
                if isinstance(source, Image | Audio | Video):
                    opened.append(source)
                elif kind is None:
                    opened.append(open_media(source, limits=self.settings.limits))
                else:
                    opened.append(kind.open(source, limits=self.settings.limits))
        if not opened:
            raise InputError("no medium was given; pass at least one image, sound or video")
        if len(opened) > 8:
            raise InputError(f"{len(opened)} media were given; at most 8 are accepted")
        return Question(text.strip(), tuple(opened))

    def stop(self) -> None:
        """Stop the answer that is being generated; what was said stays."""
        self.stop_event.set()

    def _run(self, question: Question, route: str) -> Iterator[Step]:
        self._set_threads()
        if route == "both":
            for name in ROUTES:
                yield from self._guarded(question, name)
        elif route == "auto":
            yield from self._auto(question)
        else:
            yield from ROUTES[route](question, self)

    def _guarded(self, question: Question, name: str) -> Iterator[Step]:
        """A route whose failure becomes an honest answer, so that the other still speaks."""
        clock = Clock(name)
        try:
            yield from ROUTES[name](question, self)
        except ModelError as error:
            yield clock.step("error", name, text=str(error))
            yield clock.finish(f"This route could not answer: {error}")

    def _auto(self, question: Question) -> Iterator[Step]:
        """Experts first; the connector where their findings do not suffice, with the reason."""
        first: Answer | None = None
        for step in ROUTES["experts"](question, self):
            if step.answer is None:
                yield step
            else:
                first = step.answer
        assert first is not None
        reason = insufficient(question, first)
        if not reason:
            yield Step("answer", "experts", "experts", 0.0, first.seconds, first.text, answer=first)
            return
        clock = Clock("connector")
        yield clock.step("fallback", "connector", text=reason)
        fallback = Fallback("experts", "connector", reason)
        for step in self._guarded(question, "connector"):
            if step.answer is None:
                yield step
                continue
            second = step.answer
            steps = (*first.trace, *clock.steps, *second.trace)
            answer = Answer("connector", second.text, second.confidence, first.seconds + second.seconds, first.findings, fallback, steps)
            yield Step("answer", "connector", "connector", 0.0, answer.seconds, answer.text, answer=answer)

    # -- models -------------------------------------------------------------------------------------------------

    def expert(self, name: str) -> Expert:
        """The expert `name`, with this agent's settings."""
        with self._lock:
            if name not in self._experts:
                self._experts[name] = experts.get(name, self.settings)
            return self._experts[name]

    def llm(self) -> LanguageModel:
        """The one language model, with the embedded adapter where the settings name one: the same for both routes."""
        from connector import llm

        with self._lock:
            if self._llm is None:
                self._llm = llm.load(self.settings.llm, self.settings.device)
                if self.settings.connector:
                    self.connector_model()  # its adapter belongs to both routes
            return self._llm

    def connector_model(self) -> ConnectorModel:
        """The connector with its encoder, on the shared language model."""
        from connector import llm, model

        with self._lock:
            if self._llm is None:
                self._llm = llm.load(self.settings.llm, self.settings.device)
            if self._model is None:
                folder = self._connector_folder()
                self._model = model.load(folder, self._llm)
            return self._model

    def connector_name(self) -> str:
        """What the trace calls the connector."""
        return self.settings.connector or "none"

    def prompt_from_evidence(self, question: str, evidence: str) -> torch.Tensor:
        """The experts route's prompt as embeddings [T, D_llm]."""
        import torch

        from connector import templates

        llm = self.llm()
        encoded = templates.prompt_ids(llm.tokenizer, question, evidence=evidence)
        with torch.inference_mode():
            return llm.embed(torch.tensor(encoded.ids))  # [T, D_llm]

    def tools(self) -> list[Any]:
        """The experts as LangChain tools."""
        from agent.tools import build_tools

        return build_tools(self)

    def _connector_folder(self) -> Path:
        import connector

        name = self.settings.connector
        if not name:
            raise ModelError(
                f"profile '{self.settings.profile}' has no connector for '{self.settings.llm}'; train one with `duet train` "
                "and pass its folder as connector, or use the embedded profile"
            )
        shipped = Path(connector.__file__).parent / "weights" / name
        if (shipped / "config.json").is_file():
            return shipped
        if (Path(name) / "config.json").is_file():
            return Path(name)
        known = sorted(p.parent.name for p in shipped.parent.glob("*/config.json"))
        raise UnknownNameError("connector", Path(name).name, known)

    def _set_threads(self) -> None:
        import torch

        torch.set_num_threads(self.settings.threads or os.cpu_count() or 1)
