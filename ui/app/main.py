"""The app in the browser: its pages in one table, and how it is served: on this machine, to nobody else, in silence."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experts.config import home
from ui.app import words

if TYPE_CHECKING:
    import gradio as gr

    from agent.agent import Agent

PAGES: dict[str, str] = {  # the tab's word -> module:function that draws it
    "compare": "ui.app.pages.compare:build",  # the front page
    "chat": "ui.app.pages.chat:build",
    "arena": "ui.app.pages.arena:build",
    "leaderboard": "ui.app.pages.leaderboard:build",
    "batch": "ui.app.pages.batch:build",
    "tools": "ui.app.pages.tools:build",
    "training": "ui.app.pages.training:build",
}
HERE = Path(__file__).parent
KEPT_S = 24 * 3600  # how long uploads and drawn pictures stay
SWITCH_S = 0.0005  # how long a thread that works keeps the others waiting, the one that serves pages among them
MCP_AT_ONCE, MCP_QUEUE, MCP_BODY = 2, 16, 64 << 20  # calls over MCP that work and that wait; bytes of one


def create(agent: Agent, runs: Sequence[Path] = ()) -> gr.Blocks:
    """The app around one agent; `runs` are folders in which the training page looks for logs. Loads no model."""
    _quiet()
    import gradio as gr

    from ui.app.components.turns import FOLDER
    from ui.app.conversations import Conversations
    from ui.app.pages.chat import Running
    from ui.app.pages.tools import endpoints

    store, running = Conversations(), Running()
    store.media.mkdir(parents=True, exist_ok=True)
    gr.set_static_paths(
        [store.media, FOLDER]
    )  # served where they lie: hashing a film at every word would take its time
    given: dict[str, Any] = {"agent": agent, "store": store, "running": running, "folders": list(runs)}
    with gr.Blocks(title="Duet", analytics_enabled=False, fill_width=True, delete_cache=(3600, KEPT_S)) as app:
        endpoints(agent, running)  # first: a page's handler of the same name would take theirs
        with gr.Row(elem_classes="head"):
            gr.Markdown("# Duet", elem_classes="name")
            gr.Markdown(words.word("about"), elem_classes="about")
        with gr.Tabs(elem_id="pages"):
            for key, where in PAGES.items():
                module, _, name = where.partition(":")
                if importlib.util.find_spec(module) is None:
                    continue
                with gr.Tab(words.word(key), id=key, elem_id=f"page-{key}"):
                    build = getattr(importlib.import_module(module), name)
                    build(**{key: given[key] for key in inspect.signature(build).parameters if key in given})
        app.unload(running.left)
    return app.queue(default_concurrency_limit=8, max_size=256)


def launch(
    app: gr.Blocks, agent: Agent | None = None, *, host: str = "127.0.0.1", port: int | None = None, **options: Any
) -> tuple[Any, str, Any]:
    """Serve the app, and with `agent` its tools over MCP at /mcp; what `Blocks.launch` returns. `options` go to it."""
    from ui.app.theme import style, theme

    sys.setswitchinterval(SWITCH_S)
    limits = options.pop("limits")
    most = max(limits.image_bytes, limits.audio_bytes, limits.video_bytes)
    return app.launch(
        server_name=host,
        server_port=port,
        share=False,
        show_error=False,
        max_file_size=most,
        strict_cors=True,
        ssr_mode=False,
        enable_monitoring=False,
        footer_links=["api"],
        run_history=False,
        mcp_server=False,  # gradio's own would offer its handlers; the server at /mcp is the one of `duet serve`
        app_kwargs=_web(agent, host),
        i18n=words.i18n(),
        theme=theme(),
        css=style(),
        head=f"<script>{(HERE / 'app.js').read_text(encoding='utf-8')}</script>",
        quiet=True,
        **options,
    )


def _web(agent: Agent | None, host: str) -> dict[str, Any]:
    """What the web application under the pages gets: what keeps them quick, and with an agent MCP while it lives."""
    from starlette.middleware import Middleware
    from starlette.routing import Route

    from ui.app.page_cache import FrontPage, OneByOne, Settled

    manager = None
    if agent is not None:
        from ui.server.gate import Gate
        from ui.server.mcp import http_manager

        manager = http_manager(agent, Gate(MCP_AT_ONCE, MCP_QUEUE), MCP_BODY, host)

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        with Settled():
            async with manager.run() if manager else contextlib.nullcontext():
                yield

    return {
        "middleware": [Middleware(FrontPage), Middleware(OneByOne)],
        "routes": [Route("/mcp", Mounted(manager.handle_request))] if manager else [],
        "lifespan": lifespan,
    }


class Mounted:
    """An ASGI endpoint: a route takes a function for one that answers a request, and an object for what it is."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.handle(scope, receive, send)


def _quiet() -> None:
    """Before gradio is imported: no analytics, and nothing written outside home()."""
    folder = home() / "ui" / "gradio"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ.setdefault("MPLCONFIGDIR", str(home() / "ui" / "matplotlib"))
