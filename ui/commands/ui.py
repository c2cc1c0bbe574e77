"""`duet ui`: the app in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ui.commands.options import Config, Profile


def ui(
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="The port on this machine.")] = 7860,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen at; 0.0.0.0 lets others in.")
    ] = "127.0.0.1",
    runs: Annotated[
        list[Path] | None,
        typer.Option("--runs", help="A folder with training runs; may be repeated (default: ./runs)."),
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = False,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Chat with either interface and compare them, in the browser."""
    import time

    from agent.agent import Agent
    from experts.config import load_settings
    from experts.errors import InputError
    from ui.app import main

    settings = load_settings(config, profile=profile)
    agent = Agent(settings)
    made = main.create(agent, runs or [Path("runs")])
    try:
        _, url, _ = main.launch(
            made, agent, host=host, port=port, limits=settings.limits, inbrowser=browser, prevent_thread_lock=True
        )
    except OSError:
        raise InputError(
            f"port {port} at {host} cannot be had; another program may have it: duet ui --port N"
        ) from None
    print(f"Duet is at {url}, MCP at {url.rstrip('/')}/mcp  (Ctrl-C ends it)", flush=True)
    try:
        while True:
            time.sleep(3600)
    finally:
        made.close(verbose=False)
