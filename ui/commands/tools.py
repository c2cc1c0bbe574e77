"""`duet tool`, `duet tools` and `duet run`: one expert on files, the list of experts, scripted calls of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ui.commands.options import AudioTrack, Config, Fetch, Json, KeepGoing, Profile, fetching, print_json, tell

if TYPE_CHECKING:
    from experts.base import Finding
    from experts.config import Limits
    from experts.media import Media


def tool(
    name: Annotated[str, typer.Argument(help="An expert; `duet tools` lists them.")],
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Image, sound or video files.")],
    keep_going: KeepGoing = False,
    audio_track: AudioTrack = None,
    fetch: Fetch = False,
    as_json: Json = False,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Run one expert on files."""
    import experts
    from agent.expert_calls import look
    from experts.config import load_settings
    from ui import terminal

    settings = fetching(load_settings(config, profile=profile), fetch)
    expert = experts.get(name, settings)
    findings: list[Finding] = []
    for medium in _opened(files, settings.limits, keep_going, as_json, audio_track):
        for note in medium.notes:
            tell(medium.name, f"{medium.name}: {note}", as_json, "note")
        findings += look(expert, medium)
    if as_json:
        print_json([finding.to_dict() for finding in findings])
    else:
        terminal.findings(findings)


def _opened(files: list[str], limits: Limits, keep_going: bool, as_json: bool, track: int | None = None) -> list[Media]:
    """The media of `files`; with `keep_going` those that can be opened, and a line on stderr for each other one.

    Raises:
        MediaError: one is refused; with `keep_going`, all are.
    """
    from experts.errors import MediaError
    from experts.media import open_media

    opened: list[Media] = []
    for number, file in enumerate(files, 1):
        try:
            opened.append(open_media(file, limits=limits, track=track))
        except MediaError as error:
            if not keep_going or (number == len(files) and not opened):
                raise
            tell("MediaError", str(error), as_json)
    return opened


def tools(as_json: Json = False, config: Config = None, profile: Profile = None) -> None:
    """List the experts."""
    import experts
    from experts.config import load_settings
    from experts.errors import ExpertError
    from ui import terminal

    settings = load_settings(config, profile=profile)
    rows = []
    for name in experts.known():
        try:
            expert = experts.get(name, settings)
        except ExpertError as error:  # somebody's plug-in; the others are still there
            rows.append({"name": name, "takes": [], "weights": "", "description": str(error)})
            continue
        rows.append(
            {"name": name, "takes": sorted(expert.kinds), "weights": expert.weights, "description": expert.description}
        )
    if as_json:
        print_json(rows)
    else:
        terminal.rows(["name", "takes", "weights", "description"], rows)


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
