"""Requests with the plan that fits them, so that the language model learns to plan: words drawn, plans by rule.

The rules, which the planning benchmark follows too:
- A tool is called on the media that the request names, on all that it can take where none is named.
- Orders whose result is wanted as it comes (transcribe, mark, caption ...) are calls alone. Questions end in one
  `answer` from the calls they need; the connector answers itself, so a question for it alone needs none.
- "First ... then ...", "after", "before" and "if there is ..." make a call wait for another; "and" does not.
- Small talk, knowledge and sums need no tool, whatever media there are; nor does what no medium can tell.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from connector.data.pictures.scenes import WORDS
from connector.data.plans import planning_phrases as say
from connector.data.questions.dialogue import CAPITALS, DAYS, MONTHS, text_dialogue
from connector.data.questions.phrases import many, with_article
from connector.data.readings.recordings import CITIES, DISHES, ITEMS, PEOPLE
from connector.data.readings.things import NAMES
from connector.data.records import Record
from connector.llm.plan_language import ANSWER, Line, plan_prompt, plan_text
from experts.evidence.colours import COLOURS

KINDS = ("image", "audio", "video")
TAKES = {"detect": "image", "tag": "image", "caption": "image", "ocr": "image", "speech": "audio", "video": "video"}
ON_VIDEO = ("detect", "ocr", "speech", "video", "caption")  # whose questions can be asked of a video
ORDINALS = ("first", "second", "third", "fourth")
LONGEST = 400  # characters of a request with its plan; the fewer, the faster it is learned from
FORMS = {"single": 0.4, "parts": 0.2, "ordered": 0.11, "cross": 0.08, "idle": 0.1, "lost": 0.05, "condition": 0.02}
CHAT = 4000  # different questions of the dialogue to draw from


@dataclass(frozen=True)
class Part:
    """One thing that is wanted: its words, the calls it needs, and whether it is a question."""

    text: str
    calls: tuple[tuple[str, str], ...]  # (tool, medium)
    asks: bool


@dataclass(frozen=True)
class Case:
    """A request with its media and its plan."""

    request: str
    media: tuple[str, ...]
    plan: tuple[Line, ...]


def plans(n: int, seed: int) -> list[Record]:
    """`n` different records: the planner's prompt as the question, the plan as the answer."""
    return [
        Record(f"plan-{seed}-{number}", plan_prompt(case.request, case.media), plan_text(case.plan), "plan")
        for number, case in enumerate(cases(n, seed))
    ]


def cases(n: int, seed: int) -> list[Case]:
    """`n` different requests with their plans; the same seed gives the same."""
    writer = Writer(seed)
    found: dict[tuple[str, tuple[str, ...]], Case] = {}
    while len(found) < n:
        case = writer.case()
        if case is not None:
            found.setdefault((case.request, case.media), case)
    return list(found.values())


class Writer:
    """Draws cases, the same ones for the same seed."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng([seed, 97])
        self.chat = [record.question for record in text_dialogue(CHAT, seed)]

    def case(self) -> Case | None:
        """The next case; None where what was drawn does not fit together."""
        form = str(self.rng.choice(list(FORMS), p=np.array([*FORMS.values()]) / sum(FORMS.values())))
        made: Case | None = getattr(self, f"_{form}")()
        short = made is not None and len(made.request) + len(plan_text(made.plan)) <= LONGEST
        return made if short else None

    # -- forms ------------------------------------------------------------------------------------------------------

    def _single(self) -> Case:
        part, counts = self._drawn()
        joins = say.POLITE_ASK if part.asks else say.POLITE_TOLD
        return self._joined(self._pick(joins), [part], counts)

    def _parts(self) -> Case | None:
        first, counts = self._drawn()
        other = self._another(first, counts)
        if other is None:
            return None
        joins = {
            (True, True): say.ASK_ASK,
            (False, False): say.TOLD_TOLD,
            (False, True): say.TOLD_ASK,
            (True, False): say.ASK_TOLD,
        }[first.asks, other.asks]
        return self._joined(self._pick(joins), [first, other], counts)

    def _ordered(self) -> Case | None:
        first, counts = self._drawn(asks=False)
        other = self._another(first, counts, asks=self.rng.random() < 0.3)
        if other is None:
            return None
        joins = say.TOLD_THEN_ASK if other.asks else say.TOLD_THEN_TOLD + say.THEN_REVERSED
        return self._joined(self._pick(joins), [first, other], counts, ordered=True)

    def _condition(self) -> Case | None:
        other, counts = self._drawn(asks=False)
        kinds = [kind for kind in ("image", "video") if counts[kind]]
        if not kinds:
            return None
        tool = "detect" if kinds[0] == "image" else "video"
        inside, targets = self._inside(kinds[0], counts)
        calls = tuple((tool, target) for target in targets)
        if set(calls) & set(other.calls):
            return None
        form = self._filled(self._pick(say.CONDITION)).replace("{in}", inside)
        return self._joined(form, [Part("", calls, False), other], counts, ordered=True)

    def _cross(self) -> Case:
        words, calls = say.CROSS[int(self.rng.integers(len(say.CROSS)))]
        counts = self._counts({kind: sum(k == kind for _, k, _ in set(calls)) for kind in KINDS}, exact=True)
        for kind in KINDS:  # one image may be named twice
            counts[kind] = max([number for _, k, number in calls if k == kind], default=counts[kind])
        part = Part(self._filled(words), tuple((tool, f"{kind}{number}") for tool, kind, number in calls), True)
        return self._joined(self._pick(say.POLITE_ASK), [part], counts)

    def _idle(self) -> Case:
        own = self.rng.random() < 0.6
        request = self._filled(self._pick(say.IDLE)) if own else self._pick(self.chat)
        counts = self._counts({kind: 0 for kind in KINDS})
        return Case(request, _ids(counts), ())

    def _lost(self) -> Case:
        """What is asked of a medium of which there is none."""
        heard = self.rng.random() < 0.5
        absent = "audio" if heard else "image"
        asks = bool(self.rng.random() < 0.6)
        tool = self._tool(absent, asks)
        part = self._part(tool, absent, {**{kind: 0 for kind in KINDS}, absent: 1}, asks, named=not heard)
        present = {kind: 0 for kind in KINDS} | {"image" if heard else "audio": int(self.rng.integers(1, 3))}
        if self.rng.random() < 0.3:
            present = {kind: 0 for kind in KINDS}
        joins = say.POLITE_ASK if asks else say.POLITE_TOLD
        made = self._joined(self._pick(joins), [part], present)
        return Case(made.request, made.media, ())

    # -- parts ------------------------------------------------------------------------------------------------------

    def _drawn(self, asks: bool | None = None) -> tuple[Part, dict[str, int]]:
        """A first part, and the media there are: those it needs and perhaps others."""
        asks = bool(self.rng.random() < 0.68) if asks is None else asks
        kind = str(self.rng.choice(KINDS, p=[0.68, 0.2, 0.12]))
        counts = self._counts({k: int(k == kind) for k in KINDS})
        return self._part(self._tool(kind, asks), kind, counts, asks), counts

    def _another(self, first: Part, counts: dict[str, int], asks: bool | None = None) -> Part | None:
        """A part with other calls on the same media; None where there is none, or the two would not make a plan."""
        asks = bool(self.rng.random() < 0.5) if asks is None else asks
        kind = self._pick([kind for kind in KINDS if counts[kind]])
        part = self._part(self._tool(kind, asks), kind, counts, asks)
        ordered_or_mixed = not (first.asks and part.asks)
        if set(part.calls) <= set(first.calls) or (ordered_or_mixed and set(part.calls) & set(first.calls)):
            return None
        if all(call[0] == "connector" for call in (*first.calls, *part.calls)):
            return None
        return part

    def _tool(self, kind: str, asks: bool) -> str:
        """Whose wordings are used: on a video those of other tools too."""
        table = say.ASKED if asks else say.TOLD
        if kind == "audio":
            return "speech"
        if kind == "video":
            return str(self.rng.choice([*ON_VIDEO, "connector"])) if asks else "video"
        tools = [tool for tool in table if tool not in ("speech", "video")]
        return str(self.rng.choice(tools))

    def _part(self, tool: str, kind: str, counts: dict[str, int], asks: bool, named: bool = False) -> Part:
        form = self._pick((say.ASKED if asks else say.TOLD)[tool])
        if tool != "connector":
            tool = next(name for name in (tool, "speech", "video") if TAKES[name] == kind)
        if "{it}" in form:
            it, target = self._named(kind, counts)
            targets: tuple[str, ...] = (target,)
            if not asks and counts[kind] == 2 and self.rng.random() < 0.25:
                it, targets = self._all(kind)
            form = form.replace("{it}", it)
            form = form.replace("{in}", "")
        else:
            inside, targets = self._inside(kind, counts, named=named)
            form = form.replace("{in}", inside)
        return Part(self._filled(form), tuple((tool, target) for target in targets), asks)

    def _inside(self, kind: str, counts: dict[str, int], named: bool = False) -> tuple[str, tuple[str, ...]]:
        """What stands for {in}, and the media that it means."""
        seen = counts["image"] > 0 and counts["video"] > 0
        clear = not counts["video"] if kind == "audio" else not seen
        draw = self.rng.random()
        if clear and not named and draw < 0.45:
            return "", tuple(f"{kind}{number}" for number in range(1, max(counts[kind], 1) + 1))
        if counts[kind] == 2 and draw > 0.85:
            it, targets = self._all(kind)
            return f" in {it}", targets
        it, target = self._named(kind, counts)
        return f" {'on' if it.endswith('tape') else 'in'} {it}", (target,)

    def _named(self, kind: str, counts: dict[str, int]) -> tuple[str, str]:
        """A noun phrase for one medium, and its id."""
        number = int(self.rng.integers(1, max(counts[kind], 1) + 1))
        if counts[kind] < 2:
            return self._pick(say.PLACES[kind]), f"{kind}1"
        noun = self._pick(say.NOUNS[kind])
        names = [f"the {ORDINALS[number - 1]} {noun}", f"{noun} {number}", f"{noun} number {number}", f"{kind}{number}"]
        if number == counts[kind]:
            names.append(f"the last {noun}")
        return self._pick(names), f"{kind}{number}"

    def _all(self, kind: str) -> tuple[str, tuple[str, ...]]:
        noun = many(self._pick(say.NOUNS[kind]).replace("audio", "recording"))
        return self._pick([f"both {noun}", f"the two {noun}", f"all {noun}"]), (f"{kind}1", f"{kind}2")

    # -- words ------------------------------------------------------------------------------------------------------

    def _joined(self, form: str, parts: Sequence[Part], counts: dict[str, int], *, ordered: bool = False) -> Case:
        """One request of `parts`, with its plan by the rules above."""
        request = form
        for key, part in zip("ab", parts, strict=False):
            request = request.replace(f"{{{key}}}", part.text)
            request = request.replace(f"{{{key.upper()}}}", part.text[:1].upper() + part.text[1:])
        request = request[0].upper() + request[1:] if self.rng.random() < 0.9 else request[0].lower() + request[1:]
        at: dict[tuple[str, str], int] = {}
        lines: list[Line] = []
        before: tuple[int, ...] = ()
        for part in parts:
            for call in part.calls:
                if call not in at:
                    own = call[0] == "connector" and len(parts) > 1
                    at[call] = len(lines) + 1
                    lines.append(Line(*call, before if ordered else (), _quoted(part.text, request) if own else ""))
            before = tuple(at[call] for call in part.calls)
        asked = [part for part in parts if part.asks]
        needs = tuple(sorted({at[call] for part in asked for call in part.calls}))
        if len(needs) > 1 or (needs and lines[needs[0] - 1].tool != "connector"):
            whole = len(asked) == len(parts)
            lines.append(Line(ANSWER, "", needs, "" if whole else _quoted(asked[0].text, request)))
        return Case(request, _ids(counts), tuple(lines))

    def _counts(self, needed: dict[str, int], exact: bool = False) -> dict[str, int]:
        """How many media of each kind there are: those needed, and at times some that nobody asks about."""
        counts = dict(needed)
        for kind in KINDS:
            if exact and counts[kind]:
                continue
            if self.rng.random() < (0.25 if counts[kind] or kind != "video" else 0.12):
                counts[kind] += 1
            if counts[kind] == 2 and self.rng.random() < 0.15:
                counts[kind] = 3
        return counts

    def _filled(self, form: str) -> str:
        """The words of a form's slots, but for {in}, {a} and {b}."""
        thing, other = (str(name) for name in self.rng.choice(NAMES, 2, replace=False))
        city, city2 = (str(name) for name in self.rng.choice(CITIES, 2, replace=False))
        words = {
            "thing": thing, "things": many(thing), "a_thing": with_article(thing), "thing2": other,
            "things2": many(other), "a_thing2": with_article(other), "colour": self._pick(COLOURS),
            "it_this": self._pick(["this", "it", "that"]), "word": self._pick(WORDS), "city": city, "city2": city2,
            "person": self._pick(PEOPLE), "item": self._pick(ITEMS), "dish": self._pick(DISHES),
            "dish2": self._pick(DISHES), "day2": self._pick(MONTHS), "day": self._pick(DAYS),
            "country": self._pick(list(CAPITALS)), "book": self._pick(say.BOOKS), "fruit": self._pick(say.FRUITS),
            "n": str(self.rng.integers(2, 60)), "m": str(self.rng.integers(2, 60)),
        }  # fmt: skip
        return re.sub(r"\{(\w+)\}", lambda slot: words.get(slot[1], slot[0]), form)

    def _pick(self, choices: Sequence[str]) -> str:
        return choices[int(self.rng.integers(len(choices)))]


def _ids(counts: dict[str, int]) -> tuple[str, ...]:
    return tuple(f"{kind}{number}" for kind in KINDS for number in range(1, counts[kind] + 1))


def _quoted(text: str, request: str) -> str:
    """A part's words as they stand in the request."""
    at = request.lower().find(text.lower())
    assert at >= 0, "a request holds its parts"
    return request[at : at + len(text)]
