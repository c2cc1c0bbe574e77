"""Plans as the language model writes them: one tool call a line, short enough for a small model and for short training.

    detect image1
    speech audio1 after 1
    connector image2: is the man happy
    answer from 1 2: how many dogs are there

A line names a tool and a medium, then the earlier lines it waits for, then a part of the request where the tool takes a
question and is not to have the whole of it. `answer` comes last, once at most, and says which lines it answers from. A
request that needs no tool has the plan `none`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

NONE = "none"
ANSWER = "answer"
ASKS = frozenset({"connector", ANSWER})  # tools that take a question
MOST_LINES = 8
INSTRUCTION = "Plan the tool calls."
LINE = re.compile(
    r"(?:(?P<tool>[\w-]+) (?P<media>[\w-]+)(?: after (?P<after>\d(?: \d)*))?|answer from (?P<source>\d(?: \d)*))"
    r"(?:: (?P<question>\S.*))?"
)


@dataclass(frozen=True)
class Line:
    """One line: `needs` are the numbers, from 1, of earlier lines; `question` "" stands for the whole request."""

    tool: str
    media: str = ""  # the id of a medium, such as image1; "" for `answer`
    needs: tuple[int, ...] = ()
    question: str = ""

    def __str__(self) -> str:
        text = f"{self.tool} {self.media}".strip()
        if self.needs:
            text += (" from " if self.tool == ANSWER else " after ") + " ".join(map(str, self.needs))
        return text + (f": {self.question}" if self.question else "")


def plan_text(lines: Iterable[Line]) -> str:
    """The plan as the model writes it."""
    return "\n".join(map(str, lines)) or NONE


def plan_lines(text: str) -> tuple[Line, ...]:
    """The lines of a plan text in its own words, whatever tools and media it names.

    Raises:
        ValueError: it is not of the form above.
    """
    if text.strip() == NONE:
        return ()
    lines: list[Line] = []
    for number, row in enumerate(text.strip().split("\n"), 1):
        found = LINE.fullmatch(row)
        if found is None:
            raise ValueError(
                f"line {number} of the plan is {row[:60]!r}; accepted: TOOL MEDIUM [after LINES][: QUESTION]"
            )
        needs = tuple(int(digit) for digit in (found["after"] or found["source"] or "").split())
        if any(not 0 < need < number for need in needs):
            raise ValueError(f"line {number} of the plan waits for a line that is not before it")
        lines.append(Line(found["tool"] or ANSWER, found["media"] or "", needs, found["question"] or ""))
    return tuple(lines)


def plan_prompt(
    request: str,
    media: Sequence[str],
    *,
    demonstrations: Iterable[tuple[str, str, Sequence[str]]] = (),
    more: Iterable[tuple[str, str]] = (),
) -> str:
    """What the model is asked: the media there are, by id, and the request.

    `demonstrations` are (request, plan text, media) of other requests, `more` the (name, description) of tools that the
    model was not trained on. With neither it is the question of a training record.
    """
    parts = [INSTRUCTION]
    parts += [f"Tool {name}: {does}" for name, does in more]
    parts += [f"{_case(asked, ids)}\n{text}\n" for asked, text, ids in demonstrations]
    return "\n".join([*parts, _case(request, media)])


def _case(request: str, media: Sequence[str]) -> str:
    return f"Media: {', '.join(media) or NONE}\nRequest: {one_line(request)}"


def one_line(request: str) -> str:
    """A request as a plan may quote it: its words with one space between them."""
    return " ".join(request.split())
