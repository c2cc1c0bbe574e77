"""`duet orchestrate`: a language model decides which experts look, and how it comes to its answer is switched here."""

from __future__ import annotations

from typing import Annotated

import typer

from ui.commands.options import Config, Json, Profile, print_json


def orchestrate(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    image: Annotated[list[str] | None, typer.Option("--image", help="An image file; may be repeated.")] = None,
    audio: Annotated[list[str] | None, typer.Option("--audio", help="A sound file; may be repeated.")] = None,
    video: Annotated[list[str] | None, typer.Option("--video", help="A video file; may be repeated.")] = None,
    plan: Annotated[bool, typer.Option("--plan/--no-plan", help="One plan of calls before anything else.")] = True,
    decide: Annotated[bool, typer.Option("--decide/--no-decide", help="Rounds of: look, is this enough?")] = False,
    refine: Annotated[bool, typer.Option("--refine/--no-refine", help="One answer from all findings.")] = True,
    only: Annotated[str, typer.Option("--only", help="plan (for `duet run`), or steps (no answer).")] = "",
    thought: Annotated[str, typer.Option("--thought", help="none, chain or tree.")] = "none",
    length: Annotated[str, typer.Option("--length", help="Of thought: adaptive or fixed.")] = "adaptive",
    thoughts: Annotated[int, typer.Option("--thoughts", min=1, max=16, help="The most, or how many if fixed.")] = 4,
    rounds: Annotated[int, typer.Option("--rounds", min=1, max=32, help="The most rounds of --decide.")] = 4,
    model: Annotated[str | None, typer.Option("--model", help="A chat model, such as openai:NAME.")] = None,
    base_url: Annotated[str, typer.Option("--base-url", help="Where that model is served.")] = "",
    fallback: Annotated[list[str] | None, typer.Option("--fallback", help="A model for where it fails.")] = None,
    as_json: Json = False,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Ask with a language model that plans, decides and refines."""
    from agent.agent import Agent
    from agent.orchestrator.reasoning import Thinking
    from agent.orchestrator.route import Orchestrator
    from experts.config import load_settings
    from experts.errors import ModelError
    from ui import terminal

    how = Orchestrator(
        plans=plan,
        decides=decide,
        refines=refine,
        only=only,
        thinking=Thinking(thought, length, thoughts),
        model=model,
        base_url=base_url,
        fallbacks=tuple(fallback or ()),
        most_rounds=rounds,
    )
    agent = Agent(load_settings(config, profile=profile))
    steps = agent.stream(question, image=image, audio=audio, video=video, route=how)
    if only == "plan":
        print_json({"steps": next(step.data["steps"] for step in steps if step.kind == "plan")})
        return
    answers = [step.answer for step in steps if step.answer] if as_json else terminal.answers(question, steps)
    if all(answer.error for answer in answers):
        raise ModelError(f"no answer: {answers[0].error}")
    if as_json:
        print_json({"question": question, "answers": [answer.to_dict() for answer in answers]})
