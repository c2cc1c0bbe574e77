"""The compare page: one question, both routes side by side, with what each cost and what it rests on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from agent.answering.routes import ROUTES
from experts.errors import DuetError
from experts.media import open_media
from ui.app import words
from ui.app.components.evidence import Panel
from ui.app.components.side_by_side import together
from ui.app.components.steps import Timeline, says
from ui.app.components.turns import present
from ui.app.conversations import Conversations
from ui.app.faults import told
from ui.app.pages.chat import ANSWERS, FILES, LIGHT, PACE_S, Running, Updates

if TYPE_CHECKING:
    from agent.agent import Agent


class Compare:
    """The page's handlers."""

    def __init__(self, agent: Agent, store: Conversations, running: Running) -> None:
        self.agent, self.store, self.running = agent, store, running
        self.draw()

    def draw(self) -> None:
        """The components and what they call."""
        gr.Markdown(words.word("compare_about"))
        self.box = gr.MultimodalTextbox(
            show_label=False,
            placeholder=words.word("ask_here"),
            file_types=FILES,
            file_count="multiple",
            sources=["upload", "microphone"],
            elem_id="compare-ask",
        )
        samples = [[question] for _, question in present()]
        if samples:
            gallery = gr.Dataset(
                components=[gr.Textbox(visible=False)], samples=samples, show_label=False, elem_id="compare-examples"
            )
            gallery.click(self.example, None, self.box, **LIGHT)
        self.chats: dict[str, Any] = {}
        self.panels: dict[str, Panel] = {}
        with gr.Row(equal_height=False):
            for route in ROUTES:
                with gr.Column(min_width=320):
                    self.chats[route] = gr.Chatbot(
                        label=route,
                        height=360,
                        elem_id=f"compare-{route}",
                        buttons=["copy"],
                        latex_delimiters=[],
                        feedback_options=None,
                        placeholder=" ",
                    )
                    self.panels[route] = Panel(name=f"compare-evidence-{route}")
        self.last = gr.State(([], {}))  # the media, and the findings by route, for a click in a list
        for route, panel in self.panels.items():
            panel.listing.click(self.pointer(route), self.last, panel.outputs, **LIGHT)
        panels = [part for panel in self.panels.values() for part in panel.outputs]
        shown = [self.box, self.last, *self.chats.values(), *panels]
        self.box.submit(self.ask, self.box, shown, **ANSWERS, api_visibility="private", show_progress="hidden")
        self.box.stop(self.stop, None, None, **LIGHT)

    def example(self, data: gr.SelectData) -> dict[str, Any]:
        """An example in the box, ready to be asked."""
        index = data.index[0] if isinstance(data.index, list | tuple) else data.index
        file, question = present()[int(index)]
        return {"text": question, "files": [str(file)]}

    def ask(self, asked: dict[str, Any], request: gr.Request) -> Iterator[Updates]:
        """Both routes' answers as they come."""
        language = words.language(request)
        try:
            opened = [open_media(file, limits=self.agent.settings.limits) for file in asked["files"]]
            question = self.agent.question(asked["text"], media=opened)
            media = self.store.keep(question.media, asked["files"])
        except (DuetError, OSError) as error:
            gr.Warning(told(error, language))
            yield {self.box: gr.MultimodalTextbox(value=asked)}
            return
        lines = {route: Timeline(language, turn=0) for route in ROUTES}
        user = {"role": "user", "content": question.text}
        empty = {
            part: up for p in self.panels.values() for part, up in zip(p.outputs, p.clear(language, ""), strict=True)
        }
        busy = gr.MultimodalTextbox(submit_btn=False, stop_btn=True)
        yield {self.box: busy, **{self.chats[r]: [user, *lines[r].messages()] for r in ROUTES}, **empty}
        shown = dict.fromkeys(ROUTES, 0.0)
        with self.running.begin(request.session_hash or "") as stop:
            for route, step in together(self.agent, question, list(ROUTES), stop):
                line = lines[route]
                if isinstance(step, Exception):
                    line.error = told(step, language)
                else:
                    line.add(step)
                    if step.kind == "token" and time.monotonic() - shown[route] < PACE_S:
                        continue
                shown[route] = time.monotonic()
                update: Updates = {self.chats[route]: [user, *line.messages()]}
                if line.answers() or line.error:
                    update |= self._evidence(route, line, media, language)
                yield update
        found = {route: line.findings() for route, line in lines.items()}
        yield {self.box: gr.MultimodalTextbox(submit_btn=True, stop_btn=False), self.last: (media, found)}

    def pointer(self, route: str) -> Callable[..., list[Any]]:
        """What answers a click in a route's list: that finding, pointed at."""

        def point(last: Any, data: gr.EventData, request: gr.Request) -> list[Any]:
            media, found = last
            number = int((data._data or {}).get("number", 0))
            if not found.get(route):
                return [gr.skip()] * len(self.panels[route].outputs)
            return self.panels[route].show(media, found[route], words.language(request), chosen=number)

        return point

    def stop(self, request: gr.Request) -> None:
        """End both answers; what was said stays."""
        self.running.stop(request.session_hash or "")

    def _evidence(self, route: str, line: Timeline, media: list[Any], language: str) -> Updates:
        """What an answer rests on: findings, or what the connector can tell of its soft tokens."""
        panel, found = self.panels[route], line.findings()
        if found:
            return dict(zip(panel.outputs, panel.show(media, found, language), strict=True))
        told_words = [
            thing for part in line.parts for step in part.steps if step.kind == "connect" for thing in says(step)
        ]
        text = f"{words.say(language, 's_says')}: {'; '.join(told_words)}" if told_words else ""
        return dict(zip(panel.outputs, panel.clear(language, text), strict=True))


def build(agent: Agent, store: Conversations, running: Running) -> None:
    """Draw the page."""
    Compare(agent, store, running)
