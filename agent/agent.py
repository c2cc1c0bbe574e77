"""The agent people script: one object that opens media, runs a route, several or all, and streams what happens."""

from __future__ import annotations

import dataclasses
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agent.answer import Answer, Question, Step
from agent.answering.combined import NAMES, run
from agent.answering.fallback.policy import Policy
from agent.checking.check import supported
from agent.clock import Bounds
from agent.context import Context
from agent.records.recall import history_of, remembered, scope_of
from agent.records.traces import new_id, open_traces, recorded
from connector.base import Turn
from experts.base import Expert
from experts.config import Settings, load_settings
from experts.errors import InputError, MediaError, UnknownNameError
from experts.media import Audio, Image, Media, Video, open_media

if TYPE_CHECKING:
    from agent.answering.routes import Route
    from agent.toolbox.tools import Toolbox
    from connector.network import ConnectorModel

MOST_MEDIA, MOST_CHARACTERS = 8, 4000
MOST_NAME = 200  # characters of a conversation's name
LEAST_TOKENS = 512  # of what an endpoint's model may say where it makes plans and calls


class Agent:
    """Answers questions about media. Models load at the first question that needs them and stay.

    Questions may be asked from several threads at once: each has its own steps, its own time and its own end.

    >>> answers = Agent().ask("How many dogs are there?", image="photo.jpg", route="both")  # doctest: +SKIP
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        experts: Mapping[str, Expert] | None = None,
        model: ConnectorModel | None = None,
        policy: Policy | None = None,
        context: Context | None = None,
        **flags: Any,
    ) -> None:
        """`flags` are fields of experts.config.Settings, e.g. `profile="hub"`.

        `experts` by name stand instead of the registered ones, `model` instead of the connector and language model that
        the settings name, `policy` instead of the one that decides on route auto; a `context` instead of all of these.
        """
        self.context = context or Context(
            settings or load_settings(**flags), experts=experts, model=model, policy=policy
        )
        self.settings = self.context.settings
        self.traces = open_traces(self.settings) if self.settings.traces_mb else None
        self._lock = threading.Lock()
        self._running: weakref.WeakSet[threading.Event] = weakref.WeakSet()

    # -- asking -------------------------------------------------------------------------------------------------

    def ask(
        self,
        question: str,
        *,
        image: Any = None,
        audio: Any = None,
        video: Any = None,
        media: Any = None,
        route: str | Route = "auto",
        conversation: str = "",
        turn: int = 0,
        check: bool | None = None,
        history: Sequence[Turn] = (),
        keep_going: bool = False,
        audio_track: int | None = None,
    ) -> list[Answer]:
        """One Answer a route asked: two for `both`.

        Each medium is a path, bytes, a data URL, an array or an opened medium, or a list of them; `media` takes any.
        `route` is a name, or a route itself, such as agent.orchestrator.route.Orchestrator(decides=True, model=...).
        Where a single route cannot answer its error is raised; `both` and `auto` tell it in an Answer with `error`.
        `check` has experts check each answer's claims (its `check`); None is as the settings say. `history` is what was
        asked and said before, oldest first: the question may refer to it. With `keep_going` a medium that is refused is
        left out, and a note of the answer says so, as long as there is another. `audio_track`, from 1, is the sound
        track that is heard in files with several.

        Raises:
            InputError: the question, a medium or the route is not acceptable.
            DuetError: a model failed.
        """
        steps = self.stream(
            question,
            image=image,
            audio=audio,
            video=video,
            media=media,
            route=route,
            conversation=conversation,
            turn=turn,
            check=check,
            history=history,
            keep_going=keep_going,
            audio_track=audio_track,
        )
        return [step.answer for step in steps if step.answer is not None]

    def stream(
        self,
        question: str,
        *,
        image: Any = None,
        audio: Any = None,
        video: Any = None,
        media: Any = None,
        route: str | Route = "auto",
        stop: threading.Event | None = None,
        most_tokens: int = 0,
        conversation: str = "",
        turn: int = 0,
        check: bool | None = None,
        history: Sequence[Turn] = (),
        keep_going: bool = False,
        audio_track: int | None = None,
    ) -> Iterator[Step]:
        """The Steps of `ask` as they happen; everything wrong with the input is raised before the first.

        Setting `stop`, or closing the iterator, ends this answer and no other. `most_tokens` above 0 makes answers
        shorter than the settings do.

        Under a `conversation`, any name, what is found and answered is remembered; its last questions about the same
        media stand before the next one as `history` would, and questions that point back to its earlier media are
        answered from that too. `turn`, from 1, replaces that turn and forgets those after it; 0 is the next.
        """
        if not callable(route) and route not in NAMES:
            raise UnknownNameError("route", str(route), NAMES)
        missing: list[str] | None = [] if keep_going else None
        given = {"image": image, "audio": audio, "video": video, "media": media}
        asked = self.question(question, **given, missing=missing, track=audio_track)
        asked = dataclasses.replace(asked, conversation=_named(conversation), turn=turn, history=tuple(history))
        asked = dataclasses.replace(asked, missing=tuple(missing or ()))
        if not history:
            asked = dataclasses.replace(asked, history=history_of(asked, self.context.memory))
        bounds = Bounds(
            longest_s=self.settings.answer_s,
            stop=stop or threading.Event(),
            most_tokens=most_tokens,
            trace_id=new_id(),
        )
        with self._lock:
            self._running.add(bounds.stop)
        name = route if isinstance(route, str) else getattr(route, "name", type(route).__name__)
        checks = self.settings.check if check is None else check
        steps = supported(run(asked, route, self.context, bounds), asked, self.context, bounds, check=checks)
        steps = remembered(steps, asked, self.context.memory)
        return recorded(steps, asked, name, bounds, self.traces)

    def question(
        self, text: str, *, missing: list[str] | None = None, track: int | None = None, **media: Any
    ) -> Question:
        """A Question with its media (image=, audio=, video=, media=) opened and checked; the rest is as in `open`.

        Raises:
            InputError: no question, no media, or more than 8 of them.
            MediaError: a medium is refused.
        """
        if not isinstance(text, str) or not text.strip():
            raise InputError('the question is empty; accepted: 1 to 4000 characters, such as "What is in the picture?"')
        if len(text) > MOST_CHARACTERS:
            raise InputError(
                f"the question has {len(text)} characters; accepted: 1 to {MOST_CHARACTERS}; make it shorter"
            )
        return Question(text.strip(), self.open(**media, missing=missing, track=track))

    def open(
        self,
        *,
        image: Any = None,
        audio: Any = None,
        video: Any = None,
        media: Any = None,
        missing: list[str] | None = None,
        track: int | None = None,
    ) -> tuple[Media, ...]:
        """Media through the media door, within this agent's limits; two media of one name get different ones.

        `track` is the sound track that is heard of files with several. Where a list is given as `missing`, the reasons
        why media are refused go into it, and the others are opened.

        Raises:
            InputError: no media, or more than 8.
            MediaError: a medium is refused, or all are.
        """
        given: list[tuple[Any, Any]] = []
        for value, kind in ((image, Image), (audio, Audio), (video, Video), (media, None)):
            sources = value if isinstance(value, list | tuple) else [] if value is None else [value]
            given += [(source, kind) for source in sources]
        if not given:
            raise InputError("no medium was given; accepted: 1 to 8 images, sounds or videos; pass at least one")
        if len(given) > MOST_MEDIA:
            raise InputError(f"{len(given)} media were given; accepted: 1 to {MOST_MEDIA}; ask about fewer at a time")
        opened: list[Media] = []
        for source, kind in given:
            try:
                medium = self._open(source, kind, track)
            except MediaError as error:
                if missing is None or len(given) == 1:
                    raise
                missing.append(str(error))
                continue
            names = {other.name for other in opened}
            free = (n for n in range(1, MOST_MEDIA + 1) if _numbered(medium.name, n) not in names)
            opened.append(dataclasses.replace(medium, name=_numbered(medium.name, next(free))))
        if missing and not opened:
            raise MediaError(f"none of the {len(given)} media can be opened: {'; '.join(missing)}")
        return tuple(opened)

    def _open(self, source: Any, kind: Any, track: int | None) -> Media:
        """One medium; `kind` is what it must be, or None."""
        if not isinstance(source, Image | Audio | Video):
            if kind is Image:
                return Image.open(source, limits=self.settings.limits)
            opener = open_media if kind is None else kind.open
            return opener(source, limits=self.settings.limits, track=track)
        if kind is not None and not isinstance(source, kind):
            raise InputError(f"'{source.name}' is of kind {source.kind}, not {kind.kind}; pass it as {source.kind}")
        return source

    def forget(self, conversation: str, from_turn: int = 1) -> int:
        """Forget a conversation's turns from one on, and how many things that were."""
        memory = self.context.memory
        return memory.forget(scope_of(conversation), from_turn=from_turn) if memory else 0

    def stop(self) -> None:
        """Stop every answer that this agent is giving; what was said stays."""
        with self._lock:
            for event in list(self._running):
                event.set()

    def variant(self, **changes: Any) -> Agent:
        """An agent that differs from this one in the fields `changes` of its settings alone; see Context.variant."""
        return Agent(context=self.context.variant(**changes))

    def toolbox(self, **media: Any) -> Toolbox:
        """The experts and the connector as calls on these media (image=, audio=, video=, media=, as in `ask`)."""
        from agent.toolbox.tools import Toolbox

        opened = self.open(**media) if any(value is not None for value in media.values()) else ()
        return Toolbox(self.context, Question("", opened).by_id())

    def tools(self, **media: Any) -> list[Any]:
        """The same as LangChain tools."""
        return self.toolbox(**media).langchain()


def _named(conversation: str) -> str:
    if not isinstance(conversation, str) or len(conversation) > MOST_NAME:
        raise InputError(f"a conversation's name must be a text of at most {MOST_NAME} characters; give it a short one")
    return conversation


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name} ({number})"
