"""What the arena's database holds: battles, their two sides, votes; as rows and as comparisons in pairs."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from experts.errors import DuetError

if TYPE_CHECKING:
    from agent.evaluation.ranking import Comparison


CHOICES = ("a", "b", "tie", "bad")


SIDES = ("a", "b")


class StoreError(DuetError):
    """The database of votes cannot be read or written; what was to be stored is not."""


@dataclass(frozen=True)
class Side:
    """One answer of a battle: as it was said (`text`), and as it was `shown`, without the `leaks` that were counted.

    `whole` is whether the answer had come to its end. `correct` is None where no right answer is known.
    """

    route: str
    text: str
    shown: str
    whole: bool
    seconds: float
    leaks: int = 0
    error: str = ""
    correct: bool | None = None


@dataclass(frozen=True)
class Battle:
    """Two routes' answers to one question; `a` stood on the left. `media` are dicts of kind, name, sha256 and file.

    `variant` names the models that answered, `models` says which they were.
    """

    id: str
    question: str
    kind: str
    a: Side
    b: Side
    media: tuple[dict[str, str], ...] = ()
    models: dict[str, Any] = field(default_factory=dict)
    source: str = "arena"
    expected: str = ""
    asked_at: float = field(default_factory=time.time)

    @property
    def variant(self) -> str:
        return variant(self.models)


@dataclass(frozen=True)
class Vote:
    """What people said of a battle; `fresh` where this very call stored it, not an earlier one."""

    battle: str
    choice: str
    reasons: tuple[str, ...] = ()
    voted_at: float = field(default_factory=time.time)
    fresh: bool = False


def variant(models: dict[str, Any], route: str = "") -> str:
    """A short name of who answered on a route, and six digits that change with any model of the set.

    On the experts route the language model answers, on the connector route the multimodal model, on others both may.
    """
    digest = hashlib.sha256(json.dumps(models, sort_keys=True).encode()).hexdigest()[:6]
    language = models.get("llm") or models.get("endpoint_model") or ""
    seeing = models.get("model") or ""
    names = {"experts": [language], "connector": [seeing or language]}.get(route, [language, seeing])
    told = " + ".join(dict.fromkeys(name for name in names if name))
    return f"{told or 'unknown'}#{digest}"


def comparisons(
    pairs: Iterable[tuple[Battle, Vote | None]], *, judge: str = "people", by: str = "route"
) -> list[Comparison]:
    """Battles as comparisons to rank.

    `judge` is people (votes) or key (the known right answers: who alone is right wins). Contestants are routes, or by
    "variant" routes with the models behind them.
    """
    from agent.evaluation.ranking import Comparison

    made = []
    for battle, vote in pairs:
        outcome = vote.choice if vote and judge == "people" else _by_key(battle) if judge == "key" else ""
        if not outcome:
            continue
        sides = (battle.a, battle.b)
        a, b = (
            f"{side.route} ({variant(battle.models, side.route)})" if by == "variant" else side.route for side in sides
        )
        a_words, b_words = (len(side.shown.split()) for side in sides)
        alone = not battle.models.get("open")  # answers side by side slow each other, so their times are not ranked
        a_s, b_s = (side.seconds if alone and side.whole and not side.error else None for side in sides)
        media = "+".join(sorted({medium["kind"] for medium in battle.media}))
        made.append(Comparison(a, b, outcome, battle.kind, media, a_words, b_words, a_s, b_s))
    return made


def _by_key(battle: Battle) -> str:
    if battle.a.correct is None or battle.b.correct is None:
        return ""
    if battle.a.correct == battle.b.correct:
        return "tie" if battle.a.correct else "bad"
    return "a" if battle.a.correct else "b"


def battle_of(row: sqlite3.Row) -> Battle:
    sides = []
    for side in SIDES:
        values = {part.name: row[f"{side}_{part.name}"] for part in fields(Side)}
        right = values["correct"]
        sides.append(
            Side(**values | {"whole": bool(values["whole"]), "correct": None if right is None else bool(right)})
        )
    return Battle(
        row["id"], row["question"], row["kind"], sides[0], sides[1], tuple(json.loads(row["media"])),
        json.loads(row["models"]), row["source"], row["expected"], row["asked_at"],
    )  # fmt: skip


def vote_from(row: sqlite3.Row) -> Vote:
    return Vote(row["battle"], row["choice"], tuple(json.loads(row["reasons"])), row["voted_at"])


def as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
