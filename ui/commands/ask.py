"""`duet ask`: a question about media, answered by one route or by both."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ui.commands.options import (
    AudioTrack,
    Config,
    Fetch,
    Json,
    KeepGoing,
    Model,
    Profile,
    fetching,
    print_json,
    tell,
)

if TYPE_CHECKING:
    from agent.answer import Step


def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    image: Annotated[list[str] | None, typer.Option("--image", help="An image file; may be repeated.")] = None,
    audio: Annotated[list[str] | None, typer.Option("--audio", help="A sound file; may be repeated.")] = None,
    video: Annotated[list[str] | None, typer.Option("--video", help="A video file; may be repeated.")] = None,
    route: Annotated[str, typer.Option("--route", help="experts, connector, auto or both.")] = "auto",
    conversation: Annotated[
        str, typer.Option("--conversation", help="A name; questions under it may point back to earlier media.")
    ] = "",
    check: Annotated[bool, typer.Option("--check", help="Let experts check what the answer claims.")] = False,
    keep_going: KeepGoing = False,
    audio_track: AudioTrack = None,
    fetch: Fetch = False,
    as_json: Json = False,
    config: Config = None,
    profile: Profile = None,
    model: Model = None,
) -> None:
    """Ask a question about media."""
    from agent.agent import Agent
    from experts.config import load_settings
    from experts.errors import ModelError
    from ui import terminal

    agent = Agent(fetching(load_settings(config, profile=profile, model=model), fetch))
    steps = agent.stream(
        question,
        image=image,
        audio=audio,
        video=video,
        route=route,
        conversation=conversation,
        check=check or None,
        keep_going=keep_going,
        audio_track=audio_track,
    )
    steps = _telling(steps, as_json)
    answers = [step.answer for step in steps if step.answer] if as_json else terminal.answers(question, steps)
    if all(answer.error for answer in answers):
        raise ModelError(f"no answer: {answers[0].error}")
    if as_json:
        print_json({"question": question, "answers": [answer.to_dict() for answer in answers]})


def _telling(steps: Iterator[Step], as_json: bool) -> Iterator[Step]:
    """`steps`, and a line on stderr for each medium that was left out."""
    told: set[str] = set()
    for step in steps:
        if step.data.get("missing") and step.text not in told:  # two routes tell of the same one
            told.add(step.text)
            tell("MediaError", step.text, as_json)
        yield step
