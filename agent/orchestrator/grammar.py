"""What plans can be written at all: the language of connector/llm/plan_language.py, narrowed to media and tools.

A walk through this grammar, character by character, ends in a plan that agent.toolbox.scripted accepts: known tools on
media that they take, no call twice, dependencies on earlier lines only, no more lines than allowed, and questions that
are words of the request, so that none is invented.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

from connector.llm.plan_language import ANSWER, ASKS, MOST_LINES, NONE, Line, one_line

LONGEST_QUESTION = 160  # characters of a request that a call may be given instead of all of it


class Grammar:
    """The plans for one request. `tools` maps each tool to the ids of the media that it takes.

    `letters` are the characters that can be written, where not all can: others are not quoted from the request.
    """

    def __init__(
        self,
        request: str,
        tools: Mapping[str, Sequence[str]],
        *,
        most: int = MOST_LINES,
        letters: frozenset[str] | None = None,
    ) -> None:
        if not 1 <= most <= 9:
            raise ValueError(f"a plan has 1 to 9 lines, not {most}")  # a dependency is one digit
        self.request = one_line(request)
        self.tools = {name: tuple(ids) for name, ids in tools.items() if ids and name not in (ANSWER, NONE)}
        self.most = most
        self.letters = letters

    @property
    def start(self) -> State:
        """Before the first character."""
        return self.new_line(())

    def read(self, text: str) -> tuple[Line, ...]:
        """The lines of a plan.

        Raises:
            ValueError: it is none of this grammar.
        """
        state: State | None = self.start
        for at, letter in enumerate(text):
            state = state.step(letter) if state else None
            if state is None:
                raise ValueError(f"{letter!r} cannot stand at character {at + 1} of the plan")
        if state is None or not state.done:
            raise ValueError("the plan breaks off")
        return state.plan

    # -- states -------------------------------------------------------------------------------------------------------

    def new_line(self, lines: tuple[Line, ...]) -> State:
        options: dict[str, Callable[[], State]] = {}
        called = {(line.tool, line.media) for line in lines}
        for tool, ids in self.tools.items():
            free = tuple(name for name in ids if (tool, name) not in called)
            if free:
                options[f"{tool} "] = partial(self.medium, lines, tool, free)
        if lines:
            options[f"{ANSWER} from "] = partial(self.need, lines, Line(ANSWER))
        else:
            options[NONE] = partial(State, self, (), {}, done=True)
        return State(self, lines, options)

    def medium(self, lines: tuple[Line, ...], tool: str, free: tuple[str, ...]) -> State:
        options: dict[str, Callable[[], State]] = {name: partial(self.called, lines, Line(tool, name)) for name in free}
        return State(self, lines, options)

    def called(self, lines: tuple[Line, ...], line: Line) -> State:
        """A call that is whole, but may say what it waits for."""
        options = self.after(lines, line)
        if lines:
            options[" after "] = partial(self.need, lines, line)
        return State(self, (*lines, line), options, done=True)

    def need(self, lines: tuple[Line, ...], line: Line) -> State:
        """The number of an earlier line is due, above those that there are."""
        first = line.needs[-1] + 1 if line.needs else 1
        options: dict[str, Callable[[], State]] = {
            str(number): partial(self.needed, lines, replace(line, needs=(*line.needs, number)))
            for number in range(first, len(lines) + 1)
        }
        return State(self, lines, options)

    def needed(self, lines: tuple[Line, ...], line: Line) -> State:
        options = self.after(lines, line)
        if line.needs[-1] < len(lines):
            options[" "] = partial(self.need, lines, line)
        return State(self, (*lines, line), options, done=True)

    def after(self, lines: tuple[Line, ...], line: Line) -> dict[str, Callable[[], State]]:
        """What may follow a call: another line, or a question of its own."""
        options: dict[str, Callable[[], State]] = {}
        if line.tool != ANSWER and len(lines) + 1 < self.most:
            options["\n"] = partial(self.new_line, (*lines, line))
        if line.tool in ASKS and self.starts:
            options[": "] = partial(Quote, self, lines, line, self.starts, 0)
        return options

    # -- words of the request -----------------------------------------------------------------------------------------

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Where a quotation may begin: at words that can be written to an end."""
        words = self.request
        return tuple(
            at
            for at in range(len(words))
            if words[at].isalnum() and not (at and words[at - 1].isalnum()) and self.reaches(at, 1)
        )

    @cached_property
    def ends(self) -> list[int]:
        """For each place in the request the next one, or itself, where a quotation may end; -1 where it cannot."""
        words = self.request
        ends = [-1] * (len(words) + 1)
        if words:
            ends[-1] = len(words)
        for at in range(len(words) - 1, -1, -1):
            if at and words[at - 1].isalnum() and not words[at].isalnum():
                ends[at] = at
            elif self.letters is None or words[at] in self.letters:
                ends[at] = ends[at + 1]
        return ends

    def reaches(self, start: int, length: int) -> bool:
        """Whether a quotation that has `length` characters of the request from `start` can still come to an end."""
        at = start + length
        if at > len(self.request) or (self.letters is not None and self.request[at - 1] not in self.letters):
            return False
        return self.ends[at] >= 0 and self.ends[at] - start <= LONGEST_QUESTION


@dataclass(frozen=True)
class State:
    """After some text: `typed` is what there is of one of the `options`, of which none begins another."""

    grammar: Grammar
    plan: tuple[Line, ...]  # where `done`
    options: dict[str, Callable[[], State]] = field(default_factory=dict)
    typed: str = ""
    done: bool = False

    def letters(self) -> Iterable[str]:
        """What may come next."""
        return {option[len(self.typed)] for option in self.options if option.startswith(self.typed)}

    def step(self, letter: str) -> State | None:
        """The state after `letter`; None where it may not come."""
        typed = self.typed + letter
        if typed in self.options:
            return self.options[typed]()
        if any(option.startswith(typed) for option in self.options):
            return replace(self, typed=typed, done=False)
        return None


class Quote(State):
    """In a question: after `length` characters that stand in the request at each place of `starts`."""

    def __init__(
        self, grammar: Grammar, lines: tuple[Line, ...], line: Line, starts: tuple[int, ...], length: int
    ) -> None:
        words = grammar.request
        said = words[starts[0] : starts[0] + length]
        ended = length > 0 and any(grammar.ends[at + length] == at + length for at in starts)
        line = replace(line, question=said)
        options: dict[str, Callable[[], State]] = {}
        if ended and line.tool != ANSWER and len(lines) + 1 < grammar.most:
            options["\n"] = partial(grammar.new_line, (*lines, line))
        nexts: dict[str, tuple[int, ...]] = {}
        for at in starts:
            if grammar.reaches(at, length + 1):
                letter = words[at + length]
                nexts[letter] = (*nexts.get(letter, ()), at)
        for letter, places in nexts.items():
            options[letter] = partial(Quote, grammar, lines, line, places, length + 1)
        super().__init__(grammar, (*lines, line), options, done=ended)
