"""Every expert, and the connector, as tools: called with the id of a medium, never with a path or an address.

The room is not named `tools`: the package offers a function `agent.tools`, which such a room would hide.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from agent.answer import Question
from agent.answering.combined import guarded
from agent.clock import Bounds
from agent.evidence import findings_text
from agent.expert_calls import failures, look
from experts.base import Finding
from experts.errors import DuetError, ExpertError, InputError, ModelError, UnknownNameError
from experts.media import Media

if TYPE_CHECKING:
    from langchain_core.tools import StructuredTool
    from pydantic import BaseModel

    from agent.context import Context

CONNECTOR = "connector"
SEES = frozenset({"image", "video"})
LONGEST_TEXT = 4000  # characters of an expert's result that a language model is given


@dataclass(frozen=True)
class Result:
    """What a call gave: `text` for a language model, `findings` for people and programs."""

    text: str
    findings: tuple[Finding, ...]
    seconds: float


class Toolbox:
    """The calls that are possible on some media, which are named image1, image2, audio1, video1 ..."""

    def __init__(self, context: Context, media: Mapping[str, Media]) -> None:
        self.context, self.media = context, dict(media)
        self._schemas: dict[str, type[BaseModel]] = {}  # making one takes longer than many an expert

    def kinds(self) -> dict[str, frozenset[str]]:
        """The tools by name, and the kinds of media each takes."""
        return {**self.context.kinds(), CONNECTOR: SEES}

    def describe(self, name: str) -> str:
        """What a tool does, in a sentence for people and models."""
        if name == CONNECTOR:
            return "Answers a question about a picture or video from what the language model itself sees; cannot hear."
        return self.context.expert(name).description

    def check(self, name: str, args: Any) -> dict[str, Any]:
        """The arguments of a call, validated.

        Raises:
            UnknownNameError: no such tool, or no such medium.
            InputError: a missing, unknown or wrong argument; all faults at once, with what is accepted.
        """
        from pydantic import ValidationError

        kinds = self.kinds()
        if name not in kinds:
            raise UnknownNameError("tool", str(name), kinds)
        if not isinstance(args, dict):
            raise InputError(f"the arguments of tool '{name}' are {_shown(args)}; accepted: {self._accepted(name)}")
        try:
            return self._schema(name).model_validate(args, strict=True).model_dump()
        except ValidationError as error:
            raise InputError(self._line(name, error)) from None

    def call(self, name: str, args: Mapping[str, Any], *, bounds: Bounds | None = None) -> Result:
        """Run one tool.

        Raises:
            InputError: as `check`.
            DuetError: the tool failed.
        """
        values = self.check(name, args)
        begun = time.perf_counter()
        medium = self.media[values["media"]]
        if name == CONNECTOR:
            text, findings = self._ask_connector(values["question"], medium, bounds)
        else:
            expert = self.context.expert(name)
            cache = self.context.cache
            found = look(expert, medium) if cache is None else cache.look(expert, medium)[0]
            findings, names, reasons = failures(found)
            if names and not findings:
                raise ExpertError("; ".join(f"{n} failed: {why}" for n, why in zip(names, reasons, strict=True)))
            text = findings_text(findings, medium, names)
        return Result(text[:LONGEST_TEXT], tuple(findings), time.perf_counter() - begun)

    def langchain(self, call: Callable[[str, Mapping[str, Any]], Result] | None = None) -> list[StructuredTool]:
        """The tools for LangChain: text as content, the findings as artifact; a failure is told to the model.

        `call` makes the calls instead of this toolbox's own.
        """
        from langchain_core.tools import StructuredTool, ToolException

        def function(name: str) -> Callable[..., tuple[str, list[Finding]]]:
            def run(**args: Any) -> tuple[str, list[Finding]]:
                try:
                    result = (call or self.call)(name, args)
                except DuetError as error:
                    raise ToolException(self.nameless(str(error))) from error
                return result.text, list(result.findings)

            return run

        return [
            StructuredTool.from_function(
                func=function(name),
                name=name,
                description=self.describe(name),
                args_schema=self._schema(name),
                response_format="content_and_artifact",
                handle_tool_error=True,
                handle_validation_error=lambda error, name=name: self._line(name, error),
            )
            for name, kinds in self.kinds().items()
            if not self.media or any(medium.kind in kinds for medium in self.media.values())
        ]

    def _ask_connector(self, question: str, medium: Media, bounds: Bounds | None) -> tuple[str, tuple[Finding, ...]]:
        bounds = bounds or Bounds(longest_s=self.context.settings.answer_s)
        answer = None
        for step in guarded(Question(question, (medium,)), CONNECTOR, self.context, bounds):
            answer = step.answer or answer
        assert answer is not None, "a route ends in an answer"
        if answer.error:
            raise ModelError(answer.error)
        score = round(answer.confidence or 0.0, 4)
        return answer.text, (Finding(CONNECTOR, answer.text, score, source=medium.name),)

    def nameless(self, reason: str) -> str:
        """A failure for a language model: media under their ids, since a file's name may be anybody's words."""
        from connector.llm.templates import fence

        for name, medium in sorted(self.media.items(), key=lambda item: -len(item[1].name)):
            reason = re.sub(rf"'{re.escape(medium.name)}'|(?<!\w){re.escape(medium.name)}(?!\w)", name, reason)
        return fence(reason)

    def ids(self, name: str) -> tuple[str, ...]:
        """The ids of the media that a tool takes."""
        kinds = self.kinds()[name]
        return tuple(key for key, medium in self.media.items() if medium.kind in kinds)

    def _schema(self, name: str) -> type[BaseModel]:
        """The arguments of a tool, as a pydantic model."""
        if name in self._schemas:
            return self._schemas[name]
        from pydantic import ConfigDict, Field, create_model

        ids = self.ids(name)
        id_type: Any = Literal[ids] if ids else Literal["(no medium)"]
        fields: dict[str, Any] = {"media": (id_type, Field(description="Which medium, by its id."))}
        if name == CONNECTOR:
            fields["question"] = (str, Field(min_length=1, max_length=LONGEST_TEXT, description="What to find out."))
        self._schemas[name] = create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
        return self._schemas[name]

    def _accepted(self, name: str) -> str:
        ids = self.ids(name)
        kinds = " or ".join(sorted(self.kinds()[name]))
        media = f"media = {' | '.join(ids)}" if ids else f"media = the id of an opened {kinds} (none was given)"
        return media + (f", question = 1 to {LONGEST_TEXT} characters" if name == CONNECTOR else "")

    def _line(self, name: str, error: Any) -> str:
        """A pydantic ValidationError as one line."""
        faults = []
        for fault in error.errors():
            argument = ".".join(str(part) for part in fault["loc"]) or "arguments"
            if fault["type"] == "missing":
                faults.append(f"'{argument}' is missing")
            elif fault["type"] == "extra_forbidden":
                faults.append(f"'{argument}' is not an argument")
            else:
                faults.append(f"'{argument}' is {_shown(fault['input'])}")
        return f"tool '{name}': {'; '.join(faults)}; accepted: {self._accepted(name)}"


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else f"{type(value).__name__} {value!r}"
    return text if len(text) <= 60 else text[:57] + "..."
