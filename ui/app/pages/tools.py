"""The tools page: one expert on one file, its findings drawn. And the endpoints that programs call: /ask and /tool."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import gradio as gr

from agent.expert_calls import failures, look
from experts.base import Finding
from experts.errors import ExpertError, InputError
from experts.media import Media, open_media
from ui.app import words
from ui.app.components.evidence import Panel
from ui.app.components.steps import duration, plain
from ui.app.conversations import Conversations
from ui.app.faults import toast
from ui.app.pages.chat import ANSWERS, FILES, LIGHT, ROUTES, Running

if TYPE_CHECKING:
    from agent.agent import Agent


class Tools:
    """The page's handlers."""

    def __init__(self, agent: Agent, store: Conversations) -> None:
        self.agent, self.store = agent, store
        self.draw()

    def draw(self) -> None:
        """The components and what they call."""
        kinds = self.agent.context.kinds()
        choices = [(f"{name} · {', '.join(sorted(takes))}", name) for name, takes in kinds.items() if takes]
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                expert = gr.Dropdown(
                    choices, value=choices[0][1] if choices else None, label=words.word("expert"), elem_id="tool-expert"
                )
                about = gr.Markdown(self.describe(choices[0][1]) if choices else "")
                file = gr.File(show_label=False, file_types=FILES, elem_id="tool-file", height=150)
                run = gr.Button(words.word("run"), variant="primary", elem_id="tool-run")
            with gr.Column(scale=3, min_width=320, elem_classes="linked"):
                told = gr.Markdown(elem_id="tool-told")
                self.panel = Panel(name="tool")
        expert.input(self.describe, expert, about, **LIGHT)
        shown = [told, *self.panel.outputs]
        run.click(self.run, [expert, file], shown, **ANSWERS, api_visibility="private")

    def describe(self, name: str) -> str:
        """What an expert does, and with which weights."""
        expert = self.agent.context.expert(name)
        weights = f" `{expert.weights}`" if expert.weights else ""
        return f"{plain(expert.description)}{weights}"

    def run(self, name: str, file: str | None, request: gr.Request) -> list[Any]:
        """One expert on one file."""
        language = words.language(request)
        try:
            if not file:
                raise InputError("no file was given; accepted: one image, sound or video; choose one first")
            findings, medium, seconds = looked(self.agent, name, file)
            kept = self.store.keep([medium], [file])
        except Exception as error:
            raise toast(error, language) from None
        count = len(findings)
        noun = words.say(language, "s_finding" if count == 1 else "s_expert")
        line = f"**{name}** · {count} {noun} · {duration(seconds)}"
        return [line, *self.panel.show(kept, findings, language)]


def looked(agent: Agent, name: str, file: str) -> tuple[list[Finding], Media, float]:
    """What expert `name` finds in `file`, the medium, and the seconds it took.

    Raises:
        InputError: the name or the file is refused.
        ExpertError: the expert failed.
    """
    expert = agent.context.expert(name)
    medium = open_media(file, limits=agent.settings.limits)
    if medium.kind not in expert.kinds:
        takes = " or ".join(sorted(expert.kinds))
        raise InputError(
            f"'{medium.name}' is of kind {medium.kind}; accepted by {name}: {takes}; choose another expert"
        )
    begun = time.perf_counter()
    findings, failed, reasons = failures(look(expert, medium))
    if failed and not findings:
        raise ExpertError("; ".join(f"{who} failed: {why}" for who, why in zip(failed, reasons, strict=True)))
    return list(findings), medium, time.perf_counter() - begun


def endpoints(agent: Agent, running: Running) -> None:
    """The named endpoints, on real components so that an upload's path is checked before it is opened."""

    def ask(question: str, files: list[str] | None, route: str, request: gr.Request) -> dict[str, Any]:
        """Ask a question about images, sounds or videos; answers in the form of `duet ask --json`."""
        try:
            with running.begin(request.session_hash or "api") as stop:
                steps = agent.stream(question, media=list(files or []) or None, route=route, stop=stop)
                answers = [step.answer.to_dict() for step in steps if step.answer is not None]
        except Exception as error:
            raise toast(error, words.language(request)) from None
        return {"question": question, "answers": answers}

    def tool(name: str, file: str | None, request: gr.Request) -> list[dict[str, Any]]:
        """Run one expert on one file; its findings in the form of `duet tool --json`."""
        try:
            if not file:
                raise InputError("no file was given; accepted: one image, sound or video; pass one")
            return [finding.to_dict() for finding in looked(agent, name, file)[0]]
        except Exception as error:
            raise toast(error, words.language(request)) from None

    with gr.Row(visible=False):
        question = gr.Textbox(label="question")
        files = gr.File(label="files", file_count="multiple")
        route = gr.Textbox("auto", label=f"route ({', '.join(ROUTES)})")
        answers = gr.JSON(label="answers")
        name = gr.Textbox(label="name")
        file = gr.File(label="file")
        findings = gr.JSON(label="findings")
    gr.Button(visible=False).click(ask, [question, files, route], answers, **ANSWERS, api_name="ask")
    gr.Button(visible=False).click(tool, [name, file], findings, **ANSWERS, api_name="tool")


def build(agent: Agent, store: Conversations, running: Running) -> None:
    """Draw the page."""
    Tools(agent, store)
