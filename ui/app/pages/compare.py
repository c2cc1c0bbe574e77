"""The front page: one question, both routes side by side, what each rests on, and which of the two is better."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from agent.answering.routes import ROUTES
from experts.errors import DuetError
from experts.media import open_media
from ui.app import words
from ui.app.components.answers import card
from ui.app.components.asked import asked as as_asked
from ui.app.components.evidence import Panel, said
from ui.app.components.introduction import CLICKED, cards, hero
from ui.app.components.preference import Preference, battle, votable
from ui.app.components.side_by_side import together
from ui.app.components.steps import Timeline, says
from ui.app.components.turns import present
from ui.app.conversations import Conversations, Kept
from ui.app.faults import message_for, toast, warn
from ui.app.pages.chat import ANSWERS, FILES, LIGHT, PACE_S, Running, Updates
from ui.app.words import say, word
from ui.votes.store import REASONS, VoteStore, shared

if TYPE_CHECKING:
    from agent.agent import Agent

CHOICES = ("a", "tie", "bad", "b")  # of a vote; A is the experts' answer
words.add(
    {
        "compare_hero": hero(),
        "compare_cards": cards(),
        "compare_head_experts": (
            "<h3><b>A</b> Experts <small>findings as text</small></h3>",
            "<h3><b>A</b> 专家 <small>结果转为文字</small></h3>",
        ),
        "compare_head_connector": (
            "<h3><b>B</b> Connector <small>soft tokens</small></h3>",
            "<h3><b>B</b> 连接器 <small>软标记</small></h3>",
        ),
        "compare_a": ("A · Experts", "A · 专家"),
        "compare_b": ("B · Connector", "B · 连接器"),
        "compare_tie": ("Both good", "都好"),
        "compare_bad": ("Neither", "都不好"),
        "compare_which": (
            "**Which answer is better?** One click stores your preference.",
            "**哪个回答更好？** 点击一次即保存您的选择。",
        ),
        "compare_wait": ("You can vote once both have answered.", "双方答完后即可投票。"),
        "compare_stored": ("Stored: **{0}**. What decided it?", "已保存：**{0}**。原因是什么？"),
        "compare_broken": ("Neither route has an answer, so there is no vote.", "两条路线都没有回答，因此不能投票。"),
        "compare_reasons": ("What was wrong with the worse one (optional)", "较差的回答有什么问题（可选）"),
    }
)


class Compare:
    """The page's handlers."""

    def __init__(self, agent: Agent, store: Conversations, running: Running, votes: VoteStore) -> None:
        self.agent, self.store, self.running, self.votes = agent, store, running, votes
        self.draw()

    def draw(self) -> None:
        """The components and what they call."""
        gr.HTML(word("compare_hero"), elem_id="compare-hero", js_on_load="")
        self.box = gr.MultimodalTextbox(
            show_label=False,
            placeholder=word("ask_here"),
            file_types=FILES,
            file_count="multiple",
            sources=["upload", "microphone"],
            elem_id="compare-ask",
        )
        gallery = gr.HTML(word("compare_cards"), elem_id="compare-examples", js_on_load=CLICKED)
        self.asked = gr.HTML("", elem_id="compare-asked", js_on_load="")
        self.answers: dict[str, gr.HTML] = {}
        self.panels: dict[str, Panel] = {}
        with gr.Row(equal_height=False, elem_classes="sides"):
            for letter, route in zip("ab", ROUTES, strict=True):
                with gr.Column(min_width=300, elem_classes=["side", "linked", letter]):
                    gr.HTML(word(f"compare_head_{route}"), js_on_load="")
                    self.answers[route] = gr.HTML("", elem_id=f"compare-{route}", js_on_load="")
                    self.panels[route] = Panel(name=f"compare-evidence-{route}", empty="")
        self.votable = gr.State(None)  # the Preference that a vote is about
        self.draw_vote()
        panels = [part for panel in self.panels.values() for part in panel.outputs]
        vote = [self.votable, self.told, self.reasons, *self.buttons.values()]
        shown = [self.box, self.asked, *vote, *self.answers.values(), *panels]
        options: dict[str, Any] = {**ANSWERS, "api_visibility": "private", "show_progress": "hidden"}
        self.box.submit(self.ask, self.box, shown, **options)
        self.box.stop(self.stop, None, None, **LIGHT)
        gallery.click(self.example, None, shown, **options)

    def draw_vote(self) -> None:
        """The buttons of the vote, and the reasons, which may be told once there is one."""
        with gr.Column(elem_classes="vote"):
            self.told = gr.Markdown(word("compare_wait"), elem_id="compare-told")
            with gr.Row(elem_classes="buttons"):
                self.buttons = {
                    choice: gr.Button(
                        word(f"compare_{choice}"),
                        interactive=False,
                        min_width=60,
                        elem_id=f"compare-vote-{choice}",
                        elem_classes=f"vote-{choice}",
                    )
                    for choice in CHOICES
                }
            self.reasons = gr.CheckboxGroup(
                [(word(f"reason_{reason}"), reason) for reason in REASONS],
                label=word("compare_reasons"),
                visible=False,
                elem_id="compare-reasons",
            )
        for choice, button in self.buttons.items():
            outputs = [self.told, self.reasons, *self.buttons.values()]
            button.click(self.voting(choice), self.votable, outputs, **LIGHT)
        self.reasons.input(self.explain, [self.votable, self.reasons], None, **LIGHT)

    def example(self, data: gr.EventData, request: gr.Request) -> Iterator[Updates]:
        """An example, asked at once; only its number comes from the browser."""
        number = int((data._data or {}).get("example", -1))
        if not 0 <= number < len(present()):
            return
        file, question = present()[number]
        yield from self.ask({"text": question, "files": [str(file)]}, request)

    def voting(self, choice: str) -> Callable[..., Updates]:
        """What the button of a choice calls."""

        def vote(of: Preference | None, request: gr.Request) -> Updates:
            from agent.evaluation.run import models

            language = words.language(request)
            if of is None:
                return {self.told: say(language, "compare_wait")}
            try:
                stored = self.votes.vote(battle(of, models(self.agent, "both"), self.votes), choice)
            except Exception as error:
                raise toast(error, language) from None
            told = say(language, "compare_stored", say(language, f"compare_{stored.choice}"))
            done = {
                button: gr.Button(interactive=False, variant="primary" if key == stored.choice else "secondary")
                for key, button in self.buttons.items()
            }
            return {self.told: told, self.reasons: gr.CheckboxGroup(visible=True), **done}

        return vote

    def explain(self, of: Preference | None, reasons: list[str], request: gr.Request) -> None:
        """The reasons of the vote that is stored."""
        try:
            if of is not None:
                self.votes.give_reasons(of.id, reasons or [])
        except Exception as error:
            raise toast(error, words.language(request)) from None

    def ask(self, asked: dict[str, Any], request: gr.Request) -> Iterator[Updates]:
        """Both routes' answers as they come."""
        language = words.language(request)
        try:
            opened = [open_media(file, limits=self.agent.settings.limits) for file in asked["files"]]
            question = self.agent.question(asked["text"], media=opened)
            media = self.store.keep(question.media, asked["files"])
        except (DuetError, OSError) as error:
            warn(message_for(error, language))
            yield {self.box: gr.MultimodalTextbox(value=asked)}
            return
        lines = {route: Timeline(language, turn=0) for route in ROUTES}
        begun: Updates = {
            self.box: gr.MultimodalTextbox(value={"text": "", "files": []}, submit_btn=False, stop_btn=True),
            self.asked: as_asked(question.text, media),
            self.reasons: gr.CheckboxGroup(value=[], visible=False),
            **self._vote(None, say(language, "compare_wait")),
        }
        for route in ROUTES:
            begun[self.answers[route]] = card(lines[route], (), language)
            begun[self.panels[route].listing] = ""
        yield begun
        shown = dict.fromkeys(ROUTES, 0.0)
        with self.running.begin(request.session_hash or "") as stop:
            for route, step in together(self.agent, question, list(ROUTES), stop):
                line = lines[route]
                if isinstance(step, Exception):
                    line.error = message_for(step, language)
                else:
                    line.add(step)
                    if step.kind == "token" and time.monotonic() - shown[route] < PACE_S:
                        continue
                shown[route] = time.monotonic()
                yield self._side(route, line, media, language)
        votes = votable(question.text, media, [answer for line in lines.values() for answer in line.answers()])
        told = say(language, "compare_which" if votes else "compare_broken")
        yield {self.box: gr.MultimodalTextbox(submit_btn=True, stop_btn=False), **self._vote(votes, told)}

    def stop(self, request: gr.Request) -> None:
        """End both answers; what was said stays."""
        self.running.stop(request.session_hash or "")

    def _vote(self, of: Preference | None, told: str) -> Updates:
        able = {button: gr.Button(interactive=of is not None, variant="secondary") for button in self.buttons.values()}
        return {self.votable: of, self.told: told, **able}

    def _side(self, route: str, line: Timeline, media: list[Kept], language: str) -> Updates:
        """A route's answer so far and, at its end, what it rests on: each route's own, and no other's."""
        found = line.findings() if route == "experts" else []
        update: Updates = {self.answers[route]: card(line, found, language)}
        if line.error or not line.answers():
            return update
        panel = self.panels[route]
        if route == "experts":
            (update[panel.listing],) = (
                panel.show(media, found, language) if found else panel.clear(language, say(language, "nothing_found"))
            )
        else:
            steps = [step for part in line.parts for step in part.steps if step.kind == "connect"]
            update[panel.listing] = said(list(dict.fromkeys(thing for step in steps for thing in says(step))), language)
        return update


def build(agent: Agent, store: Conversations, running: Running, votes: VoteStore | None = None) -> None:
    """Draw the page; votes go to `votes`, or to the usual file."""
    Compare(agent, store, running, votes or shared())
