"""Blind battles, apart from how they are drawn: two routes answer unseen, words come in step, one vote ends it.

What a person may see before the vote is an Event and nothing else: the two texts, grown word by word together, so that
neither wording (see ui.votes.leaks), nor speed, nor who ends first tells a side.

Of a picture or a film, the two routes meet. The connector cannot hear, which would tell it at once, so about sound
alone the experts meet themselves with the other speech engine, or there is no battle.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from experts.errors import DuetError, InputError
from ui.votes import leaks
from ui.votes.records import Battle, Side, Vote
from ui.votes.store import VoteStore

if TYPE_CHECKING:
    from agent.agent import Agent
    from agent.answer import Answer
    from experts.media import Media

ROUTES = ("experts", "connector")
WORDS_A_S = 14.0  # how fast the words of both sides come
NO_ANSWER = "(no answer)"  # shown for every failure, whatever it was
MOST_OPEN = 256  # battles waiting for their vote; beyond, the oldest is given up
BEAT_S = 0.05  # how often is looked for new words
ENGINES = {"faster-whisper": "faster_whisper", "openai-whisper": "whisper"}  # of speech -> the module it needs


@dataclass(frozen=True)
class Event:
    """All that reaches a person before the vote.

    `state` is thinking (nothing to see yet), speaking, or done; `a` and `b` are the texts so far.
    """

    state: str
    a: str = ""
    b: str = ""


@dataclass(frozen=True)
class Contestant:
    """A route with the agent that takes it; `name` is what the record calls it, `models` how its differ from usual."""

    name: str
    route: str
    agent: Agent
    models: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Drawn:
    """A battle of a batch that waits for its vote, as far as it may be seen; `left` so many wait, this one included."""

    id: str
    question: str
    media: tuple[dict[str, str], ...]
    event: Event
    left: int


@dataclass(frozen=True)
class Reveal:
    """What is told once the vote is on the disk; `fresh` is False where an earlier vote stands."""

    battle: Battle
    vote: Vote
    answers: tuple[Answer | None, Answer | None] = (None, None)

    @property
    def fresh(self) -> bool:
        return self.vote.fresh


@dataclass
class _Speaker:
    """A side while it answers."""

    who: Contestant
    text: str = ""
    answer: Answer | None = None
    error: str = ""
    begun: float = 0.0
    over: bool = False
    seconds: float = 0.0

    @property
    def route(self) -> str:
        return self.who.name


@dataclass
class Match:
    """A battle that is going on; `sides` are the speakers of A and B, and nobody else's business."""

    id: str
    question: str
    kind: str
    media: tuple[Media, ...]
    kept: tuple[dict[str, str], ...]
    models: dict[str, Any]
    sides: tuple[_Speaker, _Speaker]
    asked_at: float = field(default_factory=time.time)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)
    shown: int = 0  # words of each side that have been shown
    reveal: Reveal | None = None

    def texts(self) -> tuple[list[str], list[str]]:
        """The words of A and B that may be shown by now."""
        a, b = (self._words(side) for side in self.sides)
        return a, b

    @staticmethod
    def _words(side: _Speaker) -> list[str]:
        if side.error:
            return [NO_ANSWER]
        return leaks.showable(side.text, whole=side.over)

    def ready(self) -> int:
        """Words that may be shown of both sides; of an answer that is over there are as many as one likes."""
        return min(10**6 if side.over else len(words) for side, words in zip(self.sides, self.texts(), strict=True))

    def event(self) -> Event:
        """What may be seen right now."""
        with self.lock:
            a, b = self.texts()
            over = all(side.over for side in self.sides) and self.shown >= max(len(a), len(b))
            state = "done" if over else "speaking" if self.shown else "thinking"
            return Event(state, " ".join(a[: self.shown]), " ".join(b[: self.shown]))

    def record(self) -> Battle:
        """The battle as it is stored: what was said and what had been shown."""
        a, b = self._side(0), self._side(1)
        return Battle(self.id, self.question, self.kind, a, b, self.kept, self.models, asked_at=self.asked_at)

    def _side(self, at: int) -> Side:
        side, words = self.sides[at], self.texts()[at]
        whole = side.over and self.shown >= len(words)
        seconds = side.seconds if side.over else time.perf_counter() - side.begun if side.begun else 0.0
        hits = leaks.neutral(side.text)[1]
        return Side(
            side.route, side.text.strip(), " ".join(words[: self.shown]), whole, round(seconds, 4), hits, side.error
        )


class Arena:
    """The battles of one app: any number of people at once, each with their own."""

    def __init__(
        self,
        agent: Agent,
        store: VoteStore,
        *,
        routes: Sequence[str] = ROUTES,
        words_a_s: float = WORDS_A_S,
        hearing: Callable[[Agent], Sequence[Contestant]] | None = None,
        shuffle: Callable[[list[Any]], None] | None = None,
    ) -> None:
        """`routes` are the contestants, two of which meet; `hearing` makes those for sound alone.

        `shuffle` orders a list at random, by default secretly.
        """
        self.agent, self.store, self.routes, self.words_a_s = agent, store, tuple(routes), words_a_s
        self._shuffle = shuffle or secrets.SystemRandom().shuffle
        self._open: OrderedDict[str, Match] = OrderedDict()
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._models: dict[str, Any] | None = None
        self._hearing, self._listeners = hearing or listeners, tuple[Contestant, ...]()

    def begin(self, question: str, media: Sequence[Any]) -> str:
        """Ask both sides; returns the battle's id. `media` are files or opened media.

        Raises:
            InputError: the question or a medium is not acceptable, or only one contestant could answer at all.
            StoreError: the media cannot be kept.
        """
        from agent.evaluation.benchmarks.own_questions import guess_kind

        text = question.encode("utf-8", "replace").decode() if isinstance(question, str) else question
        asked = self.agent.question(text, media=list(media))
        contestants = self._contestants(seen=bool(asked.of_kind("image") or asked.of_kind("video")))
        models = self.models()
        kept = tuple(
            self.store.keep(medium, source if isinstance(source, str) else None)
            for medium, source in zip(asked.media, media, strict=True)
        )
        self._shuffle(contestants)
        speakers = [_Speaker(contestant) for contestant in contestants[:2]]
        if rivals := {side.route: side.who.models for side in speakers if side.who.models}:
            models = models | {"rivals": rivals}
        kind = guess_kind(asked.text, heard=not asked.of_kind("image"))
        match = Match(secrets.token_hex(16), asked.text, kind, asked.media, kept, models, (speakers[0], speakers[1]))
        with self._lock:
            self._open[match.id] = match
            while len(self._open) > MOST_OPEN:
                self._open.popitem(last=False)[1].stop.set()
        order = list(speakers)
        self._shuffle(order)
        threading.Thread(target=self._run, args=(match, order), name="battle", daemon=True).start()
        return match.id

    def _contestants(self, *, seen: bool) -> list[Contestant]:
        """Those who can answer at all."""
        if seen or "connector" not in self.routes:
            return [Contestant(route, route, self.agent) for route in self.routes]
        with self._loading:
            if not self._listeners:
                self._listeners = tuple(self._hearing(self.agent))
        if len(self._listeners) < 2:
            raise InputError(
                "a blind battle about sound alone needs two that can hear, and here is one: the connector has no "
                "encoder for sound, and there is no second speech engine; ask in the chat, or compare openly"
            )
        return list(self._listeners)

    def draw(self) -> Drawn | None:
        """A battle of a batch that has no vote yet, to be judged as any other; None where there is none.

        Raises:
            StoreError: the database cannot be read.
        """
        battle, left = self.store.waiting()
        if battle is None:
            return None
        event = Event("done", battle.a.shown, battle.b.shown)
        return Drawn(battle.id, battle.question, battle.media, event, left)

    def models(self) -> dict[str, Any]:
        """The models that answer, for the record; the same for both sides.

        Raises:
            DuetError: one cannot be loaded, so that there can be no battle.
        """
        from agent.evaluation.run import models

        with self._loading:
            if self._models is None:
                self._models = models(self.agent, "both" if "connector" in self.routes else "experts")
            return self._models

    def watch(self, battle: str, *, sleep: Callable[[float], None] = time.sleep) -> Iterator[Event]:
        """The Events of a battle until both answers are shown or the vote is in.

        Nothing is shown before something of both sides is there; then both get their next word at the same time.
        """
        match = self._match(battle)
        yield (last := match.event())
        while match.reveal is None and not match.stop.is_set() and last.state != "done":
            with match.lock:
                if match.ready() > match.shown:
                    match.shown += 1
            event = match.event()
            if event != last:
                yield (last := event)
            sleep(1 / self.words_a_s if match.shown else BEAT_S)

    def vote(self, battle: str, choice: str, reasons: Sequence[str] = ()) -> Reveal:
        """Store the vote, stop what still runs, and tell who was who. The first vote of a battle stands.

        Raises:
            InputError: no such battle, or nothing of the answers has been shown yet.
            StoreError: the vote could not be stored; nothing is revealed, and it may be tried again.
        """
        with self._lock:
            match = self._open.get(battle)
        if match is None:
            stored, vote = self.store.battle(battle), self.store.vote_of(battle)
            if stored is None or (vote is None and stored.source != "batch"):
                raise InputError("this battle is over; start a new one")
            return Reveal(stored, vote or self.store.vote(battle, choice, reasons))
        with match.lock:
            if match.reveal is not None:
                return dataclasses.replace(match.reveal, vote=dataclasses.replace(match.reveal.vote, fresh=False))
            if not match.shown:
                raise InputError("there is nothing to judge yet; vote when both answers have begun")
            record = match.record()
            vote = self.store.vote(record, choice, reasons)
            match.reveal = Reveal(record, vote, (match.sides[0].answer, match.sides[1].answer))
            match.stop.set()
            return match.reveal

    def kinds(self, battle: str) -> list[str]:
        """The kinds of a battle's media, in their order.

        Raises:
            InputError: no such battle.
        """
        return [medium["kind"] for medium in self._match(battle).kept]

    def is_open(self, battle: str) -> bool:
        """Whether a battle still waits for its vote."""
        with self._lock:
            match = self._open.get(battle)
        return match is not None and match.reveal is None

    def leave(self, battle: str) -> None:
        """Stop a battle that nobody will vote on."""
        with self._lock:
            match = self._open.pop(battle, None)
        if match is not None:
            match.stop.set()

    def _match(self, battle: str) -> Match:
        with self._lock:
            match = self._open.get(battle)
        if match is None:
            raise InputError("this battle is over; start a new one")
        return match

    def _run(self, match: Match, order: Sequence[_Speaker]) -> None:
        """Both sides, one after the other so that each is timed alone, in an order that says nothing either."""
        for side in order:
            if match.stop.is_set():
                break
            side.begun = time.perf_counter()
            error = ""
            try:
                who, media = side.who, list(match.media)
                steps = who.agent.stream(match.question, media=media, route=who.route, stop=match.stop)
                with closing(steps):  # type: ignore[type-var]
                    for step in steps:
                        with match.lock:
                            side.text += step.text if step.kind == "token" else ""
                            if step.answer is not None:
                                side.answer = step.answer
                                side.text, error = step.answer.text, step.answer.error
            except DuetError as fault:
                error = str(fault)
            except Exception as fault:  # one side's fault must not take the other's answer away
                logging.getLogger("duet").exception("a side of a battle failed")
                error = f"it failed inside ({type(fault).__name__})"
            with match.lock:
                side.seconds = time.perf_counter() - side.begun
                if match.stop.is_set():
                    break
                side.error, side.over = error, True
        match.media = ()  # pictures are large, and the battle may wait long for its vote


def listeners(agent: Agent) -> tuple[Contestant, ...]:
    """The experts as they are, and the same with the other speech engine on the same language model, where it is here.

    Raises:
        DuetError: the language model cannot be loaded.
    """
    own = Contestant("experts", "experts", agent)
    for engine, module in ENGINES.items():
        if engine == agent.settings.speech_engine or importlib.util.find_spec(module) is None:
            continue
        try:
            other = agent.variant(speech_engine=engine)
        except InputError:  # nothing chooses its experts
            break
        return own, Contestant(f"experts ({engine})", "experts", other, {"speech_engine": engine})
    return (own,)
