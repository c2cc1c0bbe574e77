"""What of long media and of earlier turns the language model gets to read: what is most like the question."""

from __future__ import annotations

import dataclasses
import logging
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.records.memory_rows import Item, Remembered
from connector.base import Turn
from experts.base import Finding
from experts.errors import DuetError, InputError
from experts.evidence import LEFT_OUT, MAX_CHARS, asked_thing, compose_evidence, quoted
from experts.evidence.categories import matches
from experts.media import Image, Media, Video

if TYPE_CHECKING:
    from agent.answer import Question, Step
    from agent.clock import Bounds
    from agent.records.memory import Memory

SPOKEN_CHARS = 390  # of speech that the evidence has room for
EARLIER_CHARS = 500  # of what was found and said in earlier turns
LEAST_LIKENESS = 0.2  # below it, two sentences have nothing to do with each other
TURNS, TURN_CHARS = 3, 300  # of the conversation that stand before a question, and of each of their texts
MOST = 64  # rows that are looked at
SHARE = 0.5  # of the time that is left which comparing may take
WHEN = re.compile(r"\b(when|what time|(which|what) (minute|second|hour)|how (late|long into))\b", re.I)
_MEDIUM = r"(image|picture|photo|photograph|video|clip|film|recording|sound|audio|file|question|answer|one)s?"
REFERS_BACK = re.compile(
    rf"\b(earlier|previous|former|prior|other|another|last|first|second|third|both|all)\b[\w ]{{0,12}}\b{_MEDIUM}\b"
    rf"|\b{_MEDIUM}\b[\w ]{{0,12}}\b(before|earlier|previously|again)\b"
    r"|\b(earlier|previously|already|again|remember|compared? (to|with))\b"
    r"|\b(you|I) (just )?(said|asked|told|showed|sent)\b|\bdid (you|I) (say|ask|tell|show|send|see|find)\b",
    re.I,
)
NUMBERED = {"first": 0, "second": 1, "third": 2}


@dataclass(frozen=True)
class Chosen:
    """Findings by medium, as the evidence is made of; what it says beside them; and what was done, for the trace.

    `cited` are those that were looked for, as the experts gave them.
    """

    findings: dict[str, list[Finding]]
    lines: tuple[str, ...] = ()
    notes: tuple[tuple[str, dict[str, Any]], ...] = ()
    cited: tuple[Finding, ...] = ()


def scope_of(conversation: str) -> str:
    """The scope of a conversation."""
    return f"conversation:{conversation}"


def choose(
    question: Question,
    findings: Mapping[str, list[Finding]],
    memory: Memory | None,
    bounds: Bounds,
) -> Chosen:
    """`findings` unchanged where they fit the prompt; else, of each long medium, those most like the question.

    Where the question points back to earlier turns of its conversation, what was found and said there is in `lines`.
    Without a memory the evidence is cut as it stands, and a note says so. Never raises.
    """
    chosen = {name: list(found) for name, found in findings.items()}
    lines: list[str] = []
    notes: list[tuple[str, dict[str, Any]]] = []
    cited: list[Finding] = []
    for medium in question.media:
        for part, long in _long(chosen[medium.name], medium):
            about = {"media": medium.name, "of": len(long)}
            what = "spoken segments" if part == "speech" else "findings"
            try:
                if memory is None:
                    raise InputError("memory_mb is 0")
                kept, left = _most_like(question, medium, part, long, memory, bounds)
            except DuetError as error:
                notes.append((f"only the beginning of {len(long)} {what} could be read: {error}", about))
                continue
            if not kept:
                notes.append((f"none of {len(long)} {what} is like the question, so the first ones are read", about))
                continue
            text = f"{len(kept)} of {len(long)} {what} are read, those most like the question"
            notes.append((text + (f"; {left} could not be compared in time" if left else ""), about))
            lines.append(f"Left out: {len(long) - len(kept)} {what}, less like the question.")
            cited += kept
            timed = part == "speech" and WHEN.search(question.text)
            shown = {id(finding): _timed(finding) if timed else finding for finding in kept}
            dropped = {id(finding) for finding in long} - set(shown)
            chosen[medium.name] = [shown.get(id(f), f) for f in chosen[medium.name] if id(f) not in dropped]
    if question.conversation and memory is not None and REFERS_BACK.search(question.text):
        try:
            before = earlier(question, memory, bounds)
        except DuetError as error:
            notes.append((f"earlier turns could not be looked up: {error}", {}))
        else:
            lines += [line for line, _ in before]
            notes += [("read again from earlier turns", {"rows": [row.id for _, row in before]})] if before else []
    return Chosen(chosen, tuple(lines), tuple(notes), tuple(cited))


def history_of(question: Question, memory: Memory | None) -> tuple[Turn, ...]:
    """The last turns of the question's conversation that were about the same media, oldest first.

    A further question may mean what was said before ("What colour is it?"). Where the memory cannot be read there is
    no history.
    """
    if memory is None or not question.conversation:
        return ()
    try:
        rows = memory.rows(scope_of(question.conversation), "turn")
    except DuetError as error:
        logging.getLogger("duet").warning("earlier turns cannot be read: %s", error)
        return ()
    about = sorted(medium.sha256 for medium in question.media)
    before = {row.turn: row.data for row in reversed(rows) if not question.turn or row.turn < question.turn}
    same = [before[turn] for turn in sorted(before) if before[turn].get("about") == about][-TURNS:]
    return tuple(
        Turn(role, str(data[part])[:TURN_CHARS])
        for data in same
        for role, part in (("user", "question"), ("assistant", "answer"))
    )


def earlier(question: Question, memory: Memory, bounds: Bounds) -> list[tuple[str, Remembered]]:
    """What was found in other media of the conversation, and said about them: a line each, with its row.

    The medium that a question counts out ("the first picture", "the previous one") comes first, then what is most like
    the question.
    """
    scope = scope_of(question.conversation)
    present = {medium.sha256 for medium in question.media}
    media = [row for row in memory.rows(scope, "media") if row.data["sha256"] not in present]
    long = [f"media:{sha256}" for sha256 in dict.fromkeys(str(row.data["sha256"]) for row in media)]
    until = time.perf_counter() + SHARE * bounds.left_s()
    near = memory.search(question.text, [scope, *long], 8, until=until, stop=bounds.stop)
    counted = _counted(question.text, media)
    order = [*counted, *(row for row in near if row.likeness >= LEAST_LIKENESS or row.part == "media")]
    shown: dict[str, Remembered] = {}
    for row in order:
        if row.part != "turn" and row.scope == scope and row.data["sha256"] in present:
            continue
        line = _line(row)
        if line not in shown and sum(map(len, shown)) + len(line) <= EARLIER_CHARS:
            shown[line] = row
    return [(line, row) for line, row in shown.items()]


def remembered(steps: Iterator[Step], question: Question, memory: Memory | None) -> Iterator[Step]:
    """`steps` unchanged; when they end, what was found and answered is kept as a turn of the conversation."""
    found: dict[str, list[Finding]] = {}
    answers: list[str] = []
    try:
        for step in steps:
            if step.kind == "expert":
                found.setdefault(str(step.data.get("media", "")), []).extend(step.findings)
            elif step.answer is not None and not step.answer.error:
                answers.append(step.answer.text)
            yield step
    finally:
        getattr(steps, "close", lambda: None)()
        if memory is not None and question.conversation:
            try:
                _keep_turn(question, found, answers, memory)
            except DuetError as error:
                logging.getLogger("duet").warning("a turn is not remembered: %s", error)


def _keep_turn(question: Question, found: Mapping[str, list[Finding]], answers: Sequence[str], memory: Memory) -> None:
    from agent.evidence import findings_text

    scope, turn = scope_of(question.conversation), question.turn
    if turn:
        memory.forget(scope, from_turn=turn)  # asked again: what came after is forgotten
    else:
        turn = max((row.turn for row in memory.rows(scope)), default=0) + 1
    media = []
    for medium in question.media:
        if findings := found.get(medium.name):
            text = " ".join(findings_text(tuple(findings), medium).split())
            data = {"sha256": medium.sha256, "kind": medium.kind, "name": medium.name}
            media.append(Item(text, data, f"{turn}:{medium.sha256}"))
    if media:
        memory.add(scope, media, part="media", turn=turn)
    about = sorted(medium.sha256 for medium in question.media)
    said = [
        Item(f"{question.text} {answer}", {"question": question.text, "answer": answer, "about": about})
        for answer in answers
    ]
    if said:
        memory.add(scope, said, part="turn", turn=turn)


def _long(found: list[Finding], medium: Media) -> Iterator[tuple[str, list[Finding]]]:
    """The parts of a medium's findings that the evidence would cut: what is said, and what is seen or read."""
    spoken = [finding for finding in found if finding.expert == "speech"]
    if _spoken_chars(spoken) > SPOKEN_CHARS:
        yield "speech", spoken
    seen = [finding for finding in found if finding.expert not in ("speech", "caption", "tag")]
    if _is_cut(seen, medium, bool(spoken)):
        yield "seen", seen


def _spoken_chars(spoken: Sequence[Finding]) -> int:
    return sum(len(finding.text) + 1 for finding in spoken)


def _is_cut(seen: Sequence[Finding], medium: Media, heard: bool) -> bool:
    """Whether these findings are more than the evidence has room for, beside what is `heard`."""
    picture = medium.frames[0] if isinstance(medium, Video) and medium.frames else medium
    sizes = {medium.name: (picture.width, picture.height)} if isinstance(picture, Image) else {}
    text = compose_evidence(seen, "", sizes)
    return text.endswith(LEFT_OUT) or (heard and len(text) > MAX_CHARS - SPOKEN_CHARS)


def _most_like(
    question: Question, medium: Media, part: str, long: list[Finding], memory: Memory, bounds: Bounds
) -> tuple[list[Finding], int]:
    """Of one part of a medium's findings those most like the question that there is room for, in their order.

    Things that the question names are all kept: their number must stay true. And how many findings could not be
    compared in time.
    """
    scope = f"media:{medium.sha256}"
    memory.keep(scope, part, [Item(finding.text, {"number": number}) for number, finding in enumerate(long)])
    until = time.perf_counter() + SHARE * bounds.left_s()
    rows = memory.search(question.text, [scope], MOST, part=part, until=until, stop=bounds.stop)
    left = memory.waiting([scope]) if time.perf_counter() > until else 0
    thing = asked_thing(question.text)
    kept = {n: f for n, f in enumerate(long) if part == "seen" and thing and matches(thing, f.text)}
    for row in rows:
        number = int(row.data["number"])
        more = [*kept.values(), long[number]]
        if row.likeness < LEAST_LIKENESS:
            break
        full = _spoken_chars(more) + 9 * len(more) > SPOKEN_CHARS if part == "speech" else _is_cut(more, medium, True)
        if not full or not kept:  # one that is too long alone is read as far as there is room
            kept[number] = long[number]
    return [kept[number] for number in sorted(kept)], left


def _timed(finding: Finding) -> Finding:
    """With the time at which it is said in its text, for a question that asks when."""
    assert finding.span is not None
    minutes, seconds = divmod(int(finding.span[0]), 60)
    return dataclasses.replace(finding, text=f"[{minutes}:{seconds:02}] {finding.text.strip()}")


def _counted(question: str, media: list[Remembered]) -> list[Remembered]:
    """The rows of the medium that a question counts out: the first, second or third, or the one just before."""
    order = list(dict.fromkeys(row.data["sha256"] for row in media))
    words = question.lower()
    at = next((number for word, number in NUMBERED.items() if re.search(rf"\b{word}\b", words)), None)
    if at is None and re.search(r"\b(previous|last|earlier|before|other)\b", words):
        at = len(order) - 1
    return [row for row in media if at is not None and at < len(order) and row.data["sha256"] == order[at]]


def _line(row: Remembered) -> str:
    """A row as a line of evidence. The name of a file is anybody's words and stays out of it."""
    if row.part == "turn":
        return f"Asked before: {quoted(row.data['question'])} Answered: {quoted(row.data['answer'])}"
    if "sha256" in row.data:
        return f"Earlier {row.data['kind']} (question {row.turn}): {row.text[: EARLIER_CHARS // 2]}"
    return f"Earlier, said or seen: {quoted(row.text)}"
