"""Blind battles: nothing that is seen before the vote tells a side, one vote ends it, and no thank-you is false."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fakes
import pytest
import tiny

from agent.agent import Agent
from agent.answer import Answer, Question, Step
from experts.config import Settings
from experts.errors import InputError, ModelError
from experts.media import Image, open_media
from ui.votes import battles, leaks
from ui.votes.battles import Arena, Contestant, Event, listeners
from ui.votes.records import Battle, Side, StoreError
from ui.votes.store import VoteStore

TELLING = (
    "experts",
    "connector",
    "route",
    "seconds",
    "finding",
    "evidence",
    "trace",
    "confidence",
    "fallback",
    "expert",
)


class ScriptedAgent:
    """Says a script a route, with a pause a word; what it streams has the genuine form of Steps."""

    def __init__(self, says: dict[str, Any], pauses: dict[str, float] | None = None) -> None:
        self.says, self.pauses = says, pauses or {}
        self.spoken: dict[str, int] = dict.fromkeys(says, 0)
        self.asked: list[str] = []
        self.gate: threading.Event | None = None

    def question(self, text: str, *, media: Any) -> Question:
        if not text.strip():
            raise InputError("the question is empty")
        opened = tuple(m if not isinstance(m, str) else open_media(m) for m in media)
        return Question(text, opened)

    def stream(self, text: str, *, media: Any, route: str, stop: threading.Event) -> Iterator[Step]:
        self.asked.append(route)
        said = self.says[route]
        if isinstance(said, Exception):
            raise said
        yield Step("expert" if route == "experts" else "encode", f"{route}-model", route, 0.0, 0.1)
        text = ""
        for number, word in enumerate(said.split()):
            time.sleep(self.pauses.get(route, 0.0))
            if stop.is_set():
                break
            self.spoken[route] += 1
            piece = f" {word}" if number else word
            text += piece
            yield Step("token", "llm", route, 0.0, text=piece)
        yield Step("answer", route, route, 0.0, answer=Answer(route, text, 0.9, 1.0))


@pytest.fixture
def photo() -> Image:
    import numpy as np

    return Image.open(np.zeros((4, 4, 3), np.uint8), name="photo.png")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VoteStore]:
    made = VoteStore(tmp_path / "votes.sqlite")
    yield made
    made.close()


def arena_of(
    store: VoteStore, says: dict[str, Any], pauses: dict[str, float] | None = None, first: str = "experts", **rest: Any
) -> tuple[Arena, ScriptedAgent]:
    """An arena whose side A is `first`."""
    agent = ScriptedAgent(says, pauses)

    def shuffle(order: list[Any]) -> None:
        order.sort(key=lambda one: getattr(one, "route", one) != first)

    made = Arena(agent, store, words_a_s=500, shuffle=shuffle, **rest)  # type: ignore[arg-type]
    made._models = {"llm": "tiny"}
    return made, agent


LONG = "There is a brown dog on the left and there is a black cat near the right border of it all."
SHORT = "A dog and a cat."


def wait_for(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.005)


# -- blind ------------------------------------------------------------------------------------------------------------


def test_an_event_has_nothing_but_a_state_and_two_texts(store: VoteStore, photo: Image) -> None:
    arena, _ = arena_of(store, {"experts": LONG, "connector": SHORT})
    events = list(arena.watch(arena.begin("What is there?", [photo])))
    assert {tuple(dataclasses.asdict(event)) for event in events} == {("state", "a", "b")}
    assert {event.state for event in events} <= {"thinking", "speaking", "done"}
    shown = json.dumps([dataclasses.asdict(event) for event in events]).lower()
    assert not [word for word in TELLING if word in shown]
    assert (events[-1].state, events[-1].a, events[-1].b) == ("done", LONG, SHORT)


@pytest.mark.parametrize("first", ["experts", "connector"])
@pytest.mark.parametrize("slow", ["experts", "connector"])
def test_who_is_faster_changes_nothing_that_is_seen(store: VoteStore, photo: Image, first: str, slow: str) -> None:
    """Events are the same whichever side lags, and each text grows at the same time as the other."""
    sides = {"experts": LONG, "connector": LONG.replace("dog", "fox")}
    arena, _ = arena_of(store, sides, {slow: 0.01}, first)
    events = list(arena.watch(arena.begin("What is there?", [photo])))
    texts = [(event.a, event.b) for event in events]
    a, b = sides[first].split(), sides["connector" if first == "experts" else "experts"].split()
    assert texts == [(" ".join(a[:n]), " ".join(b[:n])) for n in range(len(a) + 1)][: len(texts)] + [texts[-1]] * (
        len(texts) - len(a) - 1
    )
    assert texts[-1] == (" ".join(a), " ".join(b))


def test_nothing_is_shown_of_one_side_before_the_other_has_begun(store: VoteStore, photo: Image) -> None:
    arena, agent = arena_of(store, {"experts": LONG, "connector": LONG}, {"connector": 0.02})
    name = arena.begin("What is there?", [photo])
    for event in arena.watch(name):
        assert len(event.a.split()) == len(event.b.split())
        if event.a:
            assert agent.spoken["connector"] > leaks.HOLD


@pytest.mark.parametrize("fault", [ModelError("the connector is broken"), ValueError("inside")])
def test_a_side_that_fails_says_the_same_whatever_happened(store: VoteStore, photo: Image, fault: Exception) -> None:
    arena, _ = arena_of(store, {"experts": SHORT, "connector": fault})
    name = arena.begin("What is there?", [photo])
    last = list(arena.watch(name))[-1]
    assert last == Event("done", SHORT, battles.NO_ANSWER)
    reveal = arena.vote(name, "a")
    assert "connector" in reveal.battle.b.error or "ValueError" in reveal.battle.b.error


def test_sides_are_drawn_at_random(store: VoteStore, photo: Image) -> None:
    agent = ScriptedAgent({"experts": SHORT, "connector": SHORT})
    arena = Arena(agent, store)  # type: ignore[arg-type]
    arena._models = {}
    lefts, firsts = [], []
    for _ in range(64):
        match = arena._match(arena.begin("What?", [photo]))
        wait_for(lambda match=match: all(side.over for side in match.sides))  # type: ignore[misc]
        lefts.append(match.sides[0].route)
        firsts.append(agent.asked[-2])
    assert 12 < lefts.count("experts") < 52  # 1 in 10 million by chance
    assert 12 < firsts.count("experts") < 52  # and so is who runs first
    assert 12 < sum(a == b for a, b in zip(lefts, firsts, strict=True)) < 52  # which is not told by the side


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("The detector found two dogs.", "I see two dogs."),
        ("The transcript says that the train is late.", "I see the train is late."),
        ("The object detector found that there are two cats.", "I think there are two cats."),
        ("According to the OCR, the sign reads STOP.", "The sign reads STOP."),
        ("Based on the evidence, it is a cat (92%).", "It is a cat."),
        ("Objects: 2 dogs (left; right).", "2 dogs (left; right)."),
        ("A red car with 81% confidence.", "A red car."),
        ("Two dogs were detected.", "Two dogs were there."),
    ],
)
def test_telling_phrases_are_taken_out_and_counted(said: str, shown: str) -> None:
    assert leaks.neutral(said)[0] == shown
    assert leaks.neutral(said)[1] >= 1


@pytest.mark.parametrize(
    "said",
    [
        "There is a dog on the left.", "The smoke detector is white.", "A 50% off sign.", "The image shows a bus.",
        "The sign says stop.", "The man reads a paper.", "It is found in the kitchen.", "No.", "",
        "Text messages on a phone",
    ],
)  # fmt: skip
def test_ordinary_answers_stay_as_they_are(said: str) -> None:
    assert leaks.neutral(said) == (said, 0)


def test_words_once_shown_never_change() -> None:
    """Of an answer that grows, what may be shown is always a beginning of what is shown at its end."""
    for text in (
        "According to the automatic transcription model, the speaker says hello and the object detector has "
        "detected that there are two dogs (93%) with a confidence of 0.87 on the left of it, and it was tagged by OCR.",
        "Objects: 2 dogs (left; right). Looks like: zebra (animal) 92%. The transcript says that it rains, from the "
        "evidence, and so on and on and on until the evening comes.",
        LONG * 2,
    ):
        final = leaks.showable(text, whole=True)
        for end in range(len(text)):
            some = leaks.showable(text[:end], whole=False)
            assert some == final[: len(some)]


def test_hits_are_counted_for_the_reveal_only(store: VoteStore, photo: Image) -> None:
    arena, _ = arena_of(store, {"experts": "The detector found a dog.", "connector": SHORT})
    name = arena.begin("What is there?", [photo])
    assert list(arena.watch(name))[-1] == Event("done", "I see a dog.", SHORT)
    battle = arena.vote(name, "tie").battle
    assert (battle.a.leaks, battle.a.text, battle.a.shown) == (1, "The detector found a dog.", "I see a dog.")
    assert battle.b.leaks == 0


@pytest.fixture
def sound() -> Any:
    import numpy as np

    from experts.media import Audio

    return Audio.open(np.zeros(1600, np.float32), rate_hz=16_000, name="talk.wav")


def test_of_sound_alone_two_that_hear_meet_and_never_the_connector(store: VoteStore, sound: Any) -> None:
    agent, other = ScriptedAgent({"experts": LONG}), ScriptedAgent({"experts": SHORT})
    pair = (
        Contestant("experts", "experts", agent),  # type: ignore[arg-type]
        Contestant("experts (other)", "experts", other, {"speech_engine": "other"}),  # type: ignore[arg-type]
    )
    arena = Arena(agent, store, words_a_s=500, hearing=lambda _: pair)  # type: ignore[arg-type]
    arena._models = {"llm": "tiny"}
    name = arena.begin("What is said?", [sound])
    assert arena.kinds(name) == ["audio"]
    last = list(arena.watch(name))[-1]
    assert {last.a, last.b} == {LONG, SHORT} and last.state == "done"
    battle = arena.vote(name, "a").battle
    assert {battle.a.route, battle.b.route} == {"experts", "experts (other)"} and battle.kind == "speech"
    assert {side.route: side.text for side in (battle.a, battle.b)}["experts (other)"] == SHORT
    assert battle.models == {"llm": "tiny", "rivals": {"experts (other)": {"speech_engine": "other"}}}
    assert agent.asked == other.asked == ["experts"]
    assert store.all(voted=True)[0][0] == battle


def test_of_sound_alone_there_is_no_battle_where_only_one_can_hear(store: VoteStore, sound: Any, photo: Image) -> None:
    agent = ScriptedAgent({"experts": SHORT, "connector": SHORT})
    only = Contestant("experts", "experts", agent)  # type: ignore[arg-type]
    arena = Arena(agent, store, words_a_s=500, hearing=lambda _: [only])  # type: ignore[arg-type]
    arena._models = {}
    with pytest.raises(InputError, match="no encoder for sound, and there is no second speech engine; ask in the chat"):
        arena.begin("What is said?", [sound])
    assert agent.asked == []
    name = arena.begin("What is said in the picture?", [sound, photo])  # the connector has something to look at
    assert list(arena.watch(name))[-1].state == "done"


def test_the_two_that_hear_share_the_language_model_and_differ_in_the_speech_engine() -> None:
    agent = Agent(Settings(traces_mb=0, cache_mb=0, memory_mb=0), model=tiny.model())
    own, other = listeners(agent)
    assert (own.agent, own.route, other.route) == (agent, "experts", "experts")
    assert (
        other.agent.context.language().llm is agent.context.language().llm
        and other.agent.context.model().network is agent.context.model().network
    )
    engines = [one.agent.settings.speech_engine for one in (own, other)]
    assert engines == ["faster-whisper", "openai-whisper"]
    assert own.agent.context.expert("speech") is not other.agent.context.expert("speech")
    assert [one.name for one in listeners(fakes.make_agent([])[0])] == ["experts"]  # its experts hear in one way


# -- voting -----------------------------------------------------------------------------------------------------------


def test_a_vote_is_on_the_disk_before_it_is_thanked_for(store: VoteStore, photo: Image) -> None:
    arena, _ = arena_of(store, {"experts": LONG, "connector": SHORT})
    name = arena.begin("How many dogs are there?", [photo])
    list(arena.watch(name))
    reveal = arena.vote(name, "a", ["invented"])
    other = VoteStore(store.file)  # as another process sees it
    (battle, vote), *rest = other.all()
    other.close()
    assert rest == [] and vote is not None
    assert (vote.choice, vote.reasons) == ("a", ("invented",))
    assert (battle.a.route, battle.b.route, battle.kind) == ("experts", "connector", "count")
    assert battle == reveal.battle and battle.a.whole and battle.b.whole
    assert (store.media / battle.media[0]["file"]).is_file()
    assert battle.models == {"llm": "tiny"}


def test_an_early_vote_stops_what_still_runs(store: VoteStore, photo: Image) -> None:
    long = " ".join(f"word{n}" for n in range(400))
    arena, agent = arena_of(store, {"experts": SHORT, "connector": long}, {"connector": 0.01})
    name = arena.begin("What is there?", [photo])
    for event in arena.watch(name):
        if len(event.b.split()) == 3:
            break
    reveal = arena.vote(name, "a")
    time.sleep(0.1)
    spoken = agent.spoken["connector"]
    time.sleep(0.2)
    assert agent.spoken["connector"] == spoken < 400
    assert reveal.battle.b.shown == "word0 word1 word2" and not reveal.battle.b.whole  # judged is what was seen
    assert list(arena.watch(name))[-1].state != "done"


def test_a_second_vote_changes_nothing_and_is_told_the_first(store: VoteStore, photo: Image) -> None:
    arena, _ = arena_of(store, {"experts": SHORT, "connector": SHORT})
    name = arena.begin("What is there?", [photo])
    list(arena.watch(name))
    assert arena.vote(name, "a").fresh
    again = arena.vote(name, "b")
    assert not again.fresh and again.vote.choice == "a"
    restarted, _ = arena_of(store, {"experts": SHORT, "connector": SHORT})
    assert restarted.vote(name, "bad").vote.choice == "a"  # also after a restart
    assert store.counts()["votes"] == 1


def test_votes_at_the_same_moment_store_one(store: VoteStore, photo: Image) -> None:
    arena, _ = arena_of(store, {"experts": SHORT, "connector": SHORT})
    name = arena.begin("What is there?", [photo])
    list(arena.watch(name))
    gate, told = threading.Barrier(16), []

    def press(choice: str) -> None:
        gate.wait()
        told.append(arena.vote(name, choice))

    threads = [threading.Thread(target=press, args=("ab"[n % 2],)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(reveal.fresh for reveal in told) == 1
    assert len({reveal.vote.choice for reveal in told}) == 1
    assert store.counts()["votes"] == 1


def test_nothing_can_be_judged_before_it_is_seen(store: VoteStore, photo: Image) -> None:
    arena, _ = arena_of(store, {"experts": LONG, "connector": LONG}, {"connector": 0.05})
    name = arena.begin("What is there?", [photo])
    with pytest.raises(InputError, match="nothing to judge yet"):
        arena.vote(name, "a")
    with pytest.raises(InputError, match="start a new one"):
        arena.vote("0" * 32, "a")
    arena.leave(name)


def test_a_store_that_fails_reveals_nothing_and_may_be_tried_again(store: VoteStore, photo: Image) -> None:
    arena, _ = arena_of(store, {"experts": SHORT, "connector": SHORT})
    name = arena.begin("What is there?", [photo])
    list(arena.watch(name))
    store._base.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match="read-only") as error:
        arena.vote(name, "a")
    assert not re.search("experts|connector", str(error.value))
    store._base.execute("PRAGMA query_only = OFF")
    assert store.counts()["votes"] == 0
    assert arena.vote(name, "b").vote.choice == "b"


def test_a_battle_that_is_left_stops_its_models(store: VoteStore, photo: Image) -> None:
    arena, agent = arena_of(store, {"experts": "word " * 500, "connector": SHORT}, {"experts": 0.01})
    name = arena.begin("What is there?", [photo])
    wait_for(lambda: agent.spoken["experts"] > 2)
    arena.leave(name)
    time.sleep(0.1)
    spoken = agent.spoken["experts"]
    time.sleep(0.1)
    assert agent.spoken["experts"] == spoken and agent.asked == ["experts"]
    assert store.counts()["battles"] == 0


def test_battles_of_several_people_do_not_mix(store: VoteStore, photo: Image) -> None:
    class Echo(ScriptedAgent):
        def stream(self, text: str, *, media: Any, route: str, stop: threading.Event) -> Iterator[Step]:
            yield Step("answer", route, route, 0.0, answer=Answer(route, f"{text} {route}", 0.9, 1.0))

    arena = Arena(Echo({}), store, words_a_s=2000)  # type: ignore[arg-type]
    arena._models = {}

    def one(number: int) -> None:
        name = arena.begin(f"Question {number}?", [photo])
        list(arena.watch(name))
        arena.vote(name, "ab"[number % 2])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = store.all(voted=True)
    assert len(stored) == 12
    for battle, _ in stored:
        assert battle.a.text == f"{battle.question} {battle.a.route}"
        assert battle.b.text == f"{battle.question} {battle.b.route}"


# -- answers of a batch -----------------------------------------------------------------------------------------------


def stored_battle(name: str, **rest: Any) -> Battle:
    a = Side("connector", "The detector found a dog.", "I see a dog.", True, 0.5, leaks=1, correct=False)
    b = Side("experts", "Two dogs.", "Two dogs.", True, 1.5, correct=True)
    values = {"a": a, "b": b, "source": "batch", "expected": "2", "models": {"llm": "tiny"}} | rest
    return Battle(name, "How many dogs are there?", "count", **values)


def test_answers_of_a_batch_are_judged_blind_and_once(store: VoteStore) -> None:
    arena, agent = arena_of(store, {"experts": SHORT, "connector": SHORT})
    assert arena.draw() is None
    store.add([stored_battle("battle-1"), stored_battle("battle-2")])
    drawn = arena.draw()
    assert drawn is not None and drawn.left == 2 and drawn.event == Event("done", "I see a dog.", "Two dogs.")
    shown = json.dumps(dataclasses.asdict(drawn)).lower()
    assert not [word for word in (*TELLING, "correct", '"2"') if word in shown]
    told = arena.vote(drawn.id, "b", ["invented"])
    assert told.fresh and told.battle.b.route == "experts" and told.vote.reasons == ("invented",)
    assert not arena.vote(drawn.id, "a").fresh and store.vote_of(drawn.id).choice == "b"  # type: ignore[union-attr]
    other = arena.draw()
    assert other is not None and (other.left, other.id == drawn.id) == (1, False)
    arena.vote(other.id, "tie")
    assert arena.draw() is None and agent.asked == []


def test_answers_that_tell_their_side_or_are_alike_are_not_judged(store: VoteStore) -> None:
    arena, _ = arena_of(store, {"experts": SHORT, "connector": SHORT})
    b = stored_battle("x" * 8).b
    store.add([
        stored_battle("failed-1", a=Side("connector", "", "I cannot tell.", True, 0.1, error="it cannot hear")),
        stored_battle("empty-01", a=Side("connector", "", "", True, 0.1)),
        stored_battle("alike-01", a=dataclasses.replace(b, route="connector")),
        stored_battle("arena-01", source="arena"),
    ])  # fmt: skip
    assert arena.draw() is None
    with pytest.raises(InputError, match="start a new one"):
        arena.vote("arena-01", "a")  # of somebody's arena: its vote comes with it or not at all
    assert store.counts()["votes"] == 0
