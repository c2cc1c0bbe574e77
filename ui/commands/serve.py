"""`duet serve`, `duet mcp` and `duet ui`: the agent for other programs, over HTTP and stdio, and for people."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

import typer

from ui.commands.options import Config, Model, Profile

KEY = "DUET_SERVER_KEY"
NoCache = Annotated[bool, typer.Option("--no-cache", help="Let experts look anew each time.")]


def serve(
    host: Annotated[str, typer.Option("--host", help="Where to listen; 0.0.0.0 is everywhere.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = 8910,
    queue: Annotated[int, typer.Option("--queue", min=0, help="Questions that may wait; more are refused (429).")] = 8,
    at_once: Annotated[int, typer.Option("--at-once", min=1, help="Questions that are answered at a time.")] = 1,
    max_body: Annotated[int, typer.Option("--max-body", min=1, help="Largest request in MB, media included.")] = 64,
    no_cache: NoCache = False,
    config: Config = None,
    profile: Profile = None,
    model: Model = None,
) -> None:
    """Serve OpenAI's API at /v1 and MCP at /mcp. DUET_SERVER_KEY sets a key that callers have to send."""
    import uvicorn

    from agent.agent import Agent
    from experts.config import load_settings
    from ui.server.api import Server
    from ui.server.gate import Gate
    from ui.server.mcp import LOOPBACK

    agent = Agent(load_settings(config, profile=profile, model=model, cache_mb=0 if no_cache else None))
    key = os.environ.get(KEY, "")
    listening = _listen(host, port)
    app = Server(agent, Gate(at_once, queue), most_body_mb=max_body, key=key).app(host)
    address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
    print(f"OpenAI's API at {address}/v1, MCP at {address}/mcp; stop with Ctrl+C", flush=True)
    if host not in LOOPBACK and not key:
        print(f"whoever reaches {host} may ask: set {KEY} to require a key", flush=True)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False, timeout_graceful_shutdown=5))
    with listening:
        server.run(sockets=[listening])


def mcp(
    allow: Annotated[
        list[Path] | None, typer.Option("--allow", help="A folder whose files may be named by path; may be repeated.")
    ] = None,
    no_cache: NoCache = False,
    config: Config = None,
    profile: Profile = None,
    model: Model = None,
) -> None:
    """Serve MCP over stdin and stdout, as desktop programs start it."""
    import asyncio

    from agent.agent import Agent
    from experts.config import load_settings
    from ui.server.mcp import serve_stdio

    agent = Agent(load_settings(config, profile=profile, model=model, cache_mb=0 if no_cache else None))
    asyncio.run(serve_stdio(agent, allow or []))


def _listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        InputError: the port is taken, or the host is none of this machine's.
    """
    from experts.errors import InputError

    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (OSError, UnicodeError) as error:
        known = isinstance(error, OSError) and error.errno and error.errno > 0  # else it is about the name
        reason = os.strerror(error.errno) if known else "no such host"  # type: ignore[union-attr, arg-type]
        raise InputError(
            f"cannot listen on {host}:{port} ({reason.lower()}); accepted: an address of this machine and a free port, "
            "such as --port 0"
        ) from None


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
    model: Model = None,
) -> None:
    """Chat with either interface and compare them, in the browser."""
    import time

    from agent.agent import Agent
    from experts.config import load_settings
    from experts.errors import InputError
    from ui.app import main

    settings = load_settings(config, profile=profile, model=model)
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
