"""`duet tool` and `duet tools`: one expert on one file, and which experts there are."""

from __future__ import annotations

from typing import Annotated

import typer

from ui.commands.options import Config, Json, Profile, print_json


def tool(
    name: Annotated[str, typer.Argument(help="An expert; `duet tools` lists them.")],
    file: Annotated[str, typer.Argument(help="An image, sound or video file.")],
    as_json: Json = False,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Run one expert on one file."""
    import experts
    from agent.expert_calls import look
    from experts.config import load_settings
    from experts.media import open_media
    from ui.commands import terminal

    settings = load_settings(config, profile=profile)
    expert = experts.get(name, settings)
    findings = look(expert, open_media(file, limits=settings.limits))
    if as_json:
        print_json([finding.to_dict() for finding in findings])
    else:
        terminal.findings(findings)


def tools(as_json: Json = False, config: Config = None, profile: Profile = None) -> None:
    """List the experts."""
    import experts
    from experts.config import load_settings
    from experts.errors import ExpertError
    from ui.commands import terminal

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
