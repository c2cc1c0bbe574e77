"""Which of two open answers is better: what may be voted on, and the battle that the vote is stored with.

The sides are named, so such a vote is not blind. Its battle says so (`models["open"]`), which tells it from the arena's
by the digest of its models and keeps its times, taken side by side, out of the ranking.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.answer import Answer
from ui.app.conversations import Kept
from ui.votes import leaks
from ui.votes.records import Battle, Side
from ui.votes.store import VoteStore


@dataclass(frozen=True)
class Preference:
    """A question that both routes have answered: `answers` in the order experts (A), connector (B)."""

    id: str
    question: str
    media: tuple[Kept, ...]
    answers: tuple[Answer, Answer]


def votable(question: str, media: Sequence[Kept], answers: Sequence[Answer]) -> Preference | None:
    """What may be voted on; None unless two routes have answered and one of them could."""
    if len(answers) != 2 or all(answer.error for answer in answers):
        return None
    return Preference(secrets.token_hex(16), question, tuple(media), (answers[0], answers[1]))


def battle(of: Preference, models: dict[str, Any], store: VoteStore) -> Battle:
    """The preference as the store keeps it, its media beside the database.

    Raises:
        StoreError: the media cannot be kept.
    """
    from agent.evaluation.benchmarks.own_questions import guess_kind

    files = [(Path(medium.path), medium) for medium in of.media]
    media = tuple(
        store.keep_file(file, {"kind": medium.kind, "name": medium.name, "sha256": file.stem}) for file, medium in files
    )
    a, b = (_side(answer) for answer in of.answers)
    kind = guess_kind(of.question, heard=not any(medium.kind == "image" for medium in of.media))
    return Battle(of.id, of.question, kind, a, b, media, models | {"open": True})


def _side(answer: Answer) -> Side:
    text = answer.text.strip()
    return Side(answer.route, text, text, True, round(answer.seconds, 4), leaks.neutral(text)[1], answer.error)
