"""Questions about findings: evidence text in the form the experts give it, with the answers that follow from it.

The findings are drawn at random, but their text comes from experts.evidence, the same function that serves at run time,
so the language model learns to read exactly what it will be given. What the evidence does not support is answered with
no, with none, or with saying that it cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from connector.data.readings import wordings as say
from connector.data.readings.findings import PICTURE, Shown, drawn, pick
from connector.data.readings.recordings import heard, statements
from connector.data.readings.texts import Asked, texts
from connector.data.readings.things import about, counting, existence
from connector.data.records import Record
from experts.base import Finding
from experts.evidence import asked_facts, compose_evidence


def readings(n: int, seed: int) -> list[Record]:
    """`n` records with evidence and no image, most about pictures and a fifth about recordings."""
    rng = np.random.default_rng([seed, 91])
    rows: list[Record] = []
    while len(rows) < n:
        draw = rng.random()
        if draw < 0.08:
            rows += heard(rng)
        elif draw < 0.16:
            rows += statements(rng)
        elif draw < 0.19:
            rows += _two_pictures(rng)
        elif draw < 0.22:
            rows += _film(rng)
        elif draw < 0.5:
            shown = drawn(rng)
            shown.things = shown.things if rng.random() < 0.3 else []
            shown.lines, pairs = texts(rng)
            rows += _records(rng, shown, [pairs[int(i)] for i in rng.permutation(len(pairs))[:2]])
        else:
            shown = drawn(rng)
            rows += _records(rng, shown, about(rng, shown, most=3))
    return _numbered(rows[:n], f"reading-{seed}")


def readings_of(pictures: Iterable[tuple[Sequence[Finding], tuple[int, int]]], seed: int) -> list[Record]:
    """Records about what experts really found in pictures: (findings, (width, height)) of each.

    The answers follow from the findings, not from the pictures: what no expert saw is answered with no.
    """
    rng = np.random.default_rng([seed, 92])
    rows: list[Record] = []
    for found, size in pictures:
        of = {name: [f for f in found if f.expert == name] for name in PICTURE}
        shown = Shown(of["detect"], of["tag"], [f.text for f in of["ocr"]], size, found[0].source if found else "x")
        rows += _records(rng, shown, about(rng, shown, most=4))
    return _numbered(rows, f"found-{seed}")


def _numbered(rows: Sequence[Record], stem: str) -> list[Record]:
    return [
        Record(f"{stem}-{index}", r.question, r.answer, r.kind, evidence=r.evidence, accept=r.accept)
        for index, r in enumerate(rows)
    ]


def _records(rng: np.random.Generator, shown: Shown, asked: Sequence[Asked]) -> list[Record]:
    """Each question as a record with its evidence; some joined to one in two parts."""
    rows = list(asked)
    whole = [one for one in rows if one[0].isascii() and one[0].endswith("?") and one[2] != "caption"]
    if len(whole) >= 2 and whole[0][1] != whole[1][1] and rng.random() < 0.25:
        (q1, a1, kind), (q2, a2, _) = whole[:2]
        rows = [one for one in rows if one not in whole[:2]]
        joined = pick(rng, (f"{q1[:-1]}, and {_low(q2)}", f"{q1} {q2}", f"{q1} And {_low(q2)}"))
        rows.append((joined, f"{a1} {a2}", kind))
    return [Record("x", q, a, kind, evidence=shown.evidence(q)) for q, a, kind in rows]


def _low(text: str) -> str:
    return text[0].lower() + text[1:]


def _film(rng: np.random.Generator) -> list[Record]:
    """A film with or without sound: what is written in it is not said."""
    shown, silent = drawn(rng), rng.random() < 0.6
    shown.lines, _ = texts(rng)
    question = pick(rng, (*say.SAID["en"], *say.SPEAKING["en"]))
    length = [f"Film of {rng.integers(2, 60)} s."]
    if silent:
        length.append("It has no sound track, so nothing is said in it.")
        answer = "Nothing is said: it has no sound track."
    else:
        answer = "Nobody was heard speaking."
    looked = PICTURE if silent else (*PICTURE, "speech")
    evidence = compose_evidence(shown.findings, question, {shown.source: shown.size}, (), looked, length)
    return [Record("x", question, answer, "speech", evidence=evidence)]


def _two_pictures(rng: np.random.Generator) -> list[Record]:
    """What is in one of two pictures is there."""
    first, second = drawn(rng), drawn(rng)
    both = Shown([*first.things, *second.things], [*first.tags, *second.tags])
    row = existence(rng, both) or counting(rng, both)
    if row is None:
        return []
    question, answer, kind = row
    if kind == "existence" and answer.startswith("Yes, there is a"):  # its place is one in one picture
        answer = re.split(r" (?:at|on|in) the ", answer)[0].rstrip(".") + "."
    facts = asked_facts(question, both.things, both.tags)
    evidence = f"image1: {first.evidence(question)}\nimage2: {second.evidence(question)}"
    return [Record("x", question, answer, kind, evidence=evidence + (f"\nAll together: {facts}" if facts else ""))]
