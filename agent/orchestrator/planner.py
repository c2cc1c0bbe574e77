"""The embedded planner: the small language model writes a plan, and can write nothing else.

Its next token is chosen among those that the plan language allows for this request's media and tools, so a malformed
plan cannot occur; which of the possible plans it is remains the model's choice.

>>> planner = EmbeddedPlanner(agent.context.language(), agent.toolbox(image="photo.jpg"))  # doctest: +SKIP
>>> planner.plan("How many dogs are there?").text  # doctest: +SKIP
'detect image1\\nanswer from 1'
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.orchestrator.grammar import Grammar
from agent.toolbox.scripted import Call
from connector.base import Generation
from connector.llm.constrained import spelled, vocabulary
from connector.llm.plan_language import (
    ANSWER,
    ASKS,
    MOST_LINES,
    NONE,
    Line,
    one_line,
    plan_lines,
    plan_prompt,
    plan_text,
)
from experts.errors import InputError, ModelError

if TYPE_CHECKING:
    from agent.toolbox.tools import Toolbox
    from connector.base import TextModel

LEARNED = frozenset(
    {"detect", "tag", "caption", "ocr", "speech", "video", "connector"}
)  # tools of the training records
MOST_TOKENS = 1800  # the longest plan there can be, a token a character
Pair = tuple[str, Any]  # a request, and its plan: as text, or as steps
Demonstrations = Iterable[Pair] | Callable[[str], Iterable[Pair]]


@dataclass(frozen=True)
class Plan:
    """A plan that was made: as it was written, and as agent.toolbox.scripted runs it.

    `confidence` in [0, 1] is the geometric mean of the probabilities of its tokens among those that were allowed.
    """

    request: str
    lines: tuple[Line, ...]
    confidence: float
    seconds: float

    @property
    def text(self) -> str:
        return plan_text(self.lines)

    @property
    def calls(self) -> tuple[Call, ...]:
        """The steps s1, s2 ...; none where the request needs no tool."""
        return calls(self.lines, self.request)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form that `duet run` takes."""
        steps = [
            {"id": call.id, "tool": call.tool, "args": call.args, "depends_on": list(call.depends_on)}
            for call in self.calls
        ]
        return {"steps": steps}


class EmbeddedPlanner:
    """Plans for the media of a toolbox: a question and media ids in, calls out.

    `demonstrations` are (request, plan) of other requests that the model is shown first, or a function that retrieves
    them for a request; a plan is text as the model writes it, or steps as agent.toolbox.scripted has them. A model that
    was trained to plan needs none.
    """

    def __init__(
        self,
        language: TextModel,
        toolbox: Toolbox,
        *,
        demonstrations: Demonstrations = (),
        most: int = MOST_LINES,
        stop: threading.Event | None = None,
    ) -> None:
        self.language, self.toolbox, self.demonstrations, self.most = language, toolbox, demonstrations, most
        self.stop = stop or threading.Event()

    def __call__(self, question: str, media: Sequence[str]) -> tuple[Call, ...]:
        return self.plan(question, media).calls

    def plan(self, request: str, media: Sequence[str] | None = None) -> Plan:
        """A plan for `request`; `media` are ids of the toolbox's media, all of them where it is None.

        Raises:
            InputError: an empty request, a medium that is not there, or a demonstration that is no plan.
            ModelError: the model failed, was stopped, or has a tokenizer that cannot write plans.
        """
        request = one_line(request)
        if not request:
            raise InputError('the request is empty; accepted: words such as "How many dogs are there?"')
        begun = time.perf_counter()
        tools = self.tools(media)
        grammar = Grammar(request, tools, most=self.most, letters=self._letters(tools))
        turns = [{"role": "user", "content": self._prompt(request, media, tools)}]
        said = list(self.language.chat(turns, Generation(MOST_TOKENS, self.stop), grammar.start).tokens)
        try:
            lines = grammar.read("".join(token.text for token in said))
        except ValueError:  # all that is written keeps to the grammar, so it can only be unfinished
            raise ModelError(
                f"the language model '{self.language.name}' was stopped before its plan was whole"
            ) from None
        confidence = math.exp(sum(token.logprob for token in said) / len(said))
        return Plan(request, lines, confidence, time.perf_counter() - begun)

    def tools(self, media: Sequence[str] | None = None) -> dict[str, tuple[str, ...]]:
        """The tools that take any of the media, with the ids of those."""
        there = self.toolbox.media
        ids = tuple(there if media is None else media)
        for name in ids:
            if name not in there:
                raise InputError(
                    f"no medium has the id '{name}'; accepted: {', '.join(there) or 'none, there are no media'}"
                )
        fits = {
            tool: tuple(name for name in ids if there[name].kind in kinds)
            for tool, kinds in self.toolbox.kinds().items()
        }
        return {tool: names for tool, names in fits.items() if names}

    def _prompt(self, request: str, media: Sequence[str] | None, tools: Iterable[str]) -> str:
        """What the language model is asked."""
        ids = tuple(self.toolbox.media if media is None else media)
        given = self.demonstrations(request) if callable(self.demonstrations) else self.demonstrations
        shown = [_shown(asked, plan, ids) for asked, plan in given]
        more = [(name, self.toolbox.describe(name)) for name in tools if name not in LEARNED]
        return plan_prompt(request, ids, demonstrations=shown, more=more)

    def _letters(self, tools: Iterable[str]) -> frozenset[str]:
        """The characters that the model can write.

        Raises:
            ModelError: it cannot write plans of them.
        """
        tokenizer = getattr(self.language, "tokenizer", None)
        if tokenizer is None:
            raise ModelError(f"the language model '{self.language.name}' cannot be held to the form of a plan")
        letters = spelled(vocabulary(tokenizer))
        words = "".join(tools) + "".join(self.toolbox.media) + "".join((NONE, ANSWER, " after from:\n123456789"))
        lacking = sorted(set(words) - letters)
        if lacking:
            raise ModelError(
                f"the language model '{self.language.name}' cannot write plans: its tokenizer has no token for "
                f"{', '.join(map(repr, lacking))}; use one with byte-level tokens, such as the embedded one"
            )
        return letters


def calls(lines: Iterable[Line], request: str) -> tuple[Call, ...]:
    """The lines of a plan as scripted steps, named s1, s2 ...: a question not given is the whole request."""
    made = []
    for number, line in enumerate(lines, 1):
        args: dict[str, Any] = {"media": line.media} if line.media else {}
        if line.tool in ASKS:
            args["question"] = line.question or request
        made.append(Call(f"s{number}", line.tool, args, tuple(f"s{need}" for need in line.needs)))
    return tuple(made)


def lines_of(plan: Any, request: str) -> tuple[Line, ...]:
    """A plan in the form of agent.toolbox.scripted (its JSON, or Calls) as lines, the steps in the order they are in.

    Raises:
        ValueError: a line cannot say what a step says: it waits for a later step, or is no step at all.
    """
    steps: Any = plan.get("steps") if isinstance(plan, dict) else plan
    lines: list[Line] = []
    at: dict[str, int] = {}
    try:
        for number, step in enumerate(steps, 1):
            values = vars(step) if isinstance(step, Call) else step
            args = values.get("args") or {}
            asked = (
                "" if one_line(args.get("question", "")) == one_line(request) else one_line(args.get("question", ""))
            )
            needs = tuple(sorted(at[name] for name in values.get("depends_on") or ()))
            lines.append(Line(values["tool"], args.get("media", ""), needs, asked if values["tool"] in ASKS else ""))
            at[values["id"]] = number
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{plan!r:.80} is no plan whose steps wait for earlier ones") from error
    return tuple(lines)


def similar(examples: Sequence[Pair], most: int = 4) -> Callable[[str], list[Pair]]:
    """A retriever of demonstrations without any model: those of `examples` that share the rarest words with a request.

    The best comes last, next to the request.
    """
    words = [_words(asked) for asked, _ in examples]
    held = Counter(word for each in words for word in each)
    rare = {word: math.log((len(examples) + 1) / count) for word, count in held.items()}

    def retrieve(request: str) -> list[Pair]:
        own = _words(request)
        norms = (math.sqrt(sum(rare[word] for word in each)) or 1.0 for each in words)
        scores = [sum(rare[word] for word in own & each) / norm for each, norm in zip(words, norms, strict=True)]
        best = sorted(range(len(examples)), key=lambda index: -scores[index])[:most]
        return [examples[index] for index in reversed(best)]

    return retrieve


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.lower()))


def _shown(request: str, plan: Any, ids: Sequence[str]) -> tuple[str, str, tuple[str, ...]]:
    """A demonstration with its plan as text, and its media: those the plan names, else those of the request at hand."""
    try:
        lines = plan_lines(plan) if isinstance(plan, str) else lines_of(plan, request)
    except ValueError as error:
        raise InputError(f"a demonstration is no plan: {error}") from None
    named = sorted({line.media for line in lines if line.media})
    return request, plan_text(lines), tuple(named) or tuple(ids)
