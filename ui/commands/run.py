"""`duet run`: the tool calls of a plan file, scripted, with no model deciding."""

from __future__ import annotations

from typing import Annotated

import typer

from ui.commands.options import Config, Json, Profile, print_json


def run(
    plan: Annotated[str, typer.Argument(help="A JSON file of steps: id, tool, args, depends_on.")],
    image: Annotated[list[str] | None, typer.Option("--image", help="image1, image2, ... of the plan.")] = None,
    audio: Annotated[list[str] | None, typer.Option("--audio", help="audio1, audio2, ... of the plan.")] = None,
    video: Annotated[list[str] | None, typer.Option("--video", help="video1, video2, ... of the plan.")] = None,
    as_json: Json = False,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Run the tool calls of a plan file and print what they gave, as JSON."""
    from agent.agent import Agent
    from agent.toolbox.scripted import read_plan, run_plan
    from experts.config import load_settings

    agent = Agent(load_settings(config, profile=profile))
    given = read_plan(plan)
    done = run_plan(given, agent.toolbox(image=image, audio=audio, video=video))
    print_json({"steps": [result.to_dict() for result in done]})
    if any(result.status != "done" for result in done):
        raise typer.Exit(1)
