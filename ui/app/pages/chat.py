"""The chat page: media and a question in, the steps and the answer as they happen, conversations that stay."""

from __future__ import annotations

import contextlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from agent.answering.combined import NAMES
from experts.errors import DuetError
from experts.media import open_media
from ui.app import words
from ui.app.components.evidence import Panel
from ui.app.components.steps import Timeline
from ui.app.components.turns import examples, messages, present, turn_at, who, written
from ui.app.conversations import Conversations, Turn
from ui.app.faults import message_for, reason, warn

if TYPE_CHECKING:
    from agent.agent import Agent

ANSWERS: dict[str, Any] = {"concurrency_id": "answers", "concurrency_limit": 2}  # at once, on all pages
LIGHT: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
PACE_S = 0.05  # between two pictures of a growing answer
ROUTES = ("auto", *(name for name in NAMES if name != "auto"))
FILES = ["image", "audio", "video"]

Updates = dict[Any, Any]


class Running:
    """The questions that are being answered, by session, so that each can be stopped and no other one."""

    def __init__(self) -> None:
        self._stops: dict[str, set[threading.Event]] = {}
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def begin(self, session: str) -> Iterator[threading.Event]:
        """The event that ends this answer; it is set in any case when the block is left."""
        stop = threading.Event()
        with self._lock:
            self._stops.setdefault(session, set()).add(stop)
        try:
            yield stop
        finally:
            stop.set()
            with self._lock:
                self._stops[session].discard(stop)
                if not self._stops[session]:
                    del self._stops[session]

    def stop(self, session: str) -> None:
        """End the answers of a session."""
        with self._lock:
            for stop in self._stops.get(session, ()):
                stop.set()

    def left(self, request: gr.Request) -> None:
        """A page was closed or reloaded: its answers are wanted no more."""
        self.stop(request.session_hash or "")


class Chat:
    """The page's handlers. A browser brings its owner's id and which conversation is open; the rest is kept here."""

    def __init__(self, agent: Agent, store: Conversations, running: Running) -> None:
        self.agent, self.store, self.running = agent, store, running
        self.draw()

    def draw(self) -> None:
        """The components and what they call."""
        self.browser = gr.BrowserState(":", storage_key="duet-chat", secret=self.store.secret())
        with gr.Row(elem_classes="bar"):
            self.picker = gr.Dropdown(
                label=words.word("conversation"),
                choices=[],
                show_label=False,
                container=False,
                scale=8,
                min_width=140,
                elem_id="conversations",
            )
            new = gr.Button(words.word("new"), scale=1, min_width=80, elem_id="new")
            delete = gr.Button(words.word("delete"), scale=1, min_width=80, elem_id="delete")
        with gr.Row(elem_classes="linked"):
            with gr.Column(scale=3, min_width=320):
                self.chatbot = gr.Chatbot(
                    show_label=False,
                    height="56vh",
                    min_height=320,
                    elem_id="chat",
                    editable="user",
                    buttons=["copy"],
                    latex_delimiters=[],
                    feedback_options=None,
                    layout="bubble",
                    group_consecutive_messages=False,  # one of a file and a text together cannot be edited
                    placeholder=words.word("empty_chat"),
                    examples=examples(),
                )
                self.box = gr.MultimodalTextbox(
                    show_label=False,
                    placeholder=words.word("ask_here"),
                    file_types=FILES,
                    file_count="multiple",
                    sources=["upload", "microphone"],
                    elem_id="ask",
                    autofocus=True,
                )
                self.route = gr.Radio(
                    list(ROUTES),
                    value="auto",
                    label=words.word("route"),
                    info=words.word("route_info"),
                    elem_id="route",
                )
                photo, film = self._camera()
            with gr.Column(scale=2, min_width=320):
                self.panel = Panel(links=True)

        self._wire(new, delete, photo, film)

    @staticmethod
    def _camera() -> tuple[gr.Image, gr.Video]:
        """What takes a photo or a film."""
        with gr.Accordion(words.word("camera"), open=False), gr.Row():
            photo = gr.Image(
                sources=["webcam"],
                type="filepath",
                label=words.word("photo"),
                format="png",
                height=260,
                elem_id="camera-photo",
            )
            film = gr.Video(
                sources=["webcam"],
                label=words.word("film"),
                height=260,
                include_audio=True,  # else gradio strips it with a program that need not be there
                webcam_options=gr.WebcamOptions(mirror=False),
                elem_id="camera-film",
            )
        return photo, film

    def _wire(self, new: gr.Button, delete: gr.Button, photo: gr.Image, film: gr.Video) -> None:
        """What each component calls."""
        shown = [self.chatbot, self.box, self.picker, self.browser, *self.panel.outputs]
        answering: dict[str, Any] = {
            **ANSWERS,
            "api_visibility": "private",
            "show_progress": "hidden",
            "outputs": shown,
        }
        self.box.submit(self.ask, [self.box, self.route, self.browser], **answering)
        self.chatbot.retry(self.retry, [self.route, self.browser], **answering)
        self.chatbot.edit(self.edit, [self.route, self.browser], **answering)
        self.chatbot.undo(self.undo, [self.browser], shown, **LIGHT)
        self.chatbot.example_select(self.example, None, self.box, **LIGHT)
        self.box.stop(self.stop, None, None, **LIGHT)
        self.picker.input(self.reopen, [self.picker, self.browser], shown, **LIGHT)
        gr.on([new.click, self.chatbot.clear], self.begin, [self.browser], shown, **LIGHT)
        delete.click(self.delete, [self.browser], shown, **LIGHT)
        self.panel.listing.click(self.point, [self.browser], self.panel.outputs, **LIGHT)
        photo.input(self.attach, [photo, self.box], [self.box, photo], **LIGHT)
        film.change(self.attach, [film, self.box], [self.box, film], **LIGHT)  # a recording is no input to gradio
        gr.on([gr.context.Context.root_block.load], self.restore, [self.browser], shown, **LIGHT)  # type: ignore[union-attr]

    # -- answering ----------------------------------------------------------------------------------------------

    def ask(self, asked: dict[str, Any], route: str, brought: Any, request: gr.Request) -> Iterator[Updates]:
        """A new question; without new media it is about those of the question before."""
        browser = who(brought)
        turns = self._turns(browser)
        files = [(file, Path(file).name) for file in asked["files"]]
        if not files and turns:
            files = [(medium.path, medium.name) for medium in turns[-1].media]
        yield from self._answer(asked["text"], files, route, turns, browser, request)

    def retry(self, route: str, brought: Any, data: gr.RetryData, request: gr.Request) -> Iterator[Updates]:
        """The same question again."""
        browser = who(brought)
        yield from self._again(data.index, None, route, browser, request)

    def edit(self, route: str, brought: Any, data: gr.EditData, request: gr.Request) -> Iterator[Updates]:
        """Another question about the same media; what was said after it is forgotten."""
        browser = who(brought)
        yield from self._again(data.index, data.value, route, browser, request)

    def _again(
        self, index: Any, text: str | None, route: str, browser: dict[str, str], request: gr.Request
    ) -> Iterator[Updates]:
        turns = self._turns(browser)
        old = turn_at(turns, index)
        if old is None:
            yield self._shown(turns, browser, words.language(request))
            return
        files = [(medium.path, medium.name) for medium in old.media]
        yield from self._answer(text or old.question, files, route, turns[: old.number - 1], browser, request)

    def _answer(
        self,
        text: str,
        files: Sequence[tuple[str, str]],
        route: str,
        turns: list[Turn],
        browser: dict[str, str],
        request: gr.Request,
    ) -> Iterator[Updates]:
        language = words.language(request)
        idle = gr.MultimodalTextbox(submit_btn=True, stop_btn=False)
        try:
            opened = [open_media(file, limits=self.agent.settings.limits, name=name) for file, name in files]
            question = self.agent.question(text, media=opened)
            media = self.store.keep(question.media, [file for file, _ in files])
        except (DuetError, OSError) as error:
            warn(message_for(error, language))
            yield {self.chatbot: messages(turns), self.box: idle}
            return
        turn = Turn(len(turns) + 1, question.text, route, media)
        browser = {key: browser[key] or secrets.token_urlsafe(12) for key in ("owner", "conversation")}
        timeline = Timeline(language, turn.number)
        turn.messages = timeline.messages()
        busy = gr.MultimodalTextbox(value=None, submit_btn=False, stop_btn=True)
        yield {self.chatbot: messages([*turns, turn]), self.box: busy, self.browser: written(browser)}
        with self.running.begin(request.session_hash or "") as stop:
            shown = 0.0
            try:
                self.store.cut(browser["conversation"], browser["owner"], turn.number)
                self.store.save(browser["conversation"], browser["owner"], turn)
            except (sqlite3.Error, OSError) as error:
                warn(words.say(language, "not_kept", reason(error)))
            try:
                steps = self.agent.stream(
                    question.text,
                    media=list(question.media),
                    route=route,
                    stop=stop,
                    conversation=browser["conversation"],
                    turn=turn.number,
                )
                for step in steps:
                    timeline.add(step)
                    if step.kind != "token" or time.monotonic() - shown > PACE_S:
                        turn.messages = timeline.messages()
                        yield {self.chatbot: messages([*turns, turn])}
                        shown = time.monotonic()
            except Exception as error:  # whatever fails is told in the chat, and the session goes on
                timeline.error = message_for(error, language)
            finally:  # also where the page was left in the middle
                turn.messages, turn.findings = timeline.messages(), timeline.findings()
                with contextlib.suppress(sqlite3.Error, OSError):  # said above, where it could not be kept
                    self.store.save(browser["conversation"], browser["owner"], turn)
        yield {
            self.chatbot: messages([*turns, turn]),
            self.box: gr.MultimodalTextbox(submit_btn=True, stop_btn=False),
            self.picker: self._choices(browser),
            self.panel.listing: self._evidence(turn, language),
        }

    def stop(self, request: gr.Request) -> None:
        """End this session's answer; what was said stays."""
        self.running.stop(request.session_hash or "")

    # -- conversations ------------------------------------------------------------------------------------------

    def restore(self, brought: Any, request: gr.Request) -> Updates:
        """The conversation that was open before the page was loaded."""
        browser = who(brought)
        if not browser["owner"]:
            browser = {"owner": secrets.token_urlsafe(12), "conversation": ""}
        turns = self._turns(browser)
        if not turns:  # nothing is drawn anew: somebody quick may have begun to ask
            return {self.browser: written(browser), self.picker: self._choices(browser)}
        return self._shown(turns, browser, words.language(request))

    def begin(self, brought: Any, request: gr.Request) -> Updates:
        """A new conversation."""
        browser = who(brought)
        self.stop(request)
        return self._shown([], browser | {"conversation": ""}, words.language(request))

    def reopen(self, conversation: str | None, brought: Any, request: gr.Request) -> Updates:
        """Another conversation of the same owner."""
        browser = who(brought)
        self.stop(request)
        browser = browser | {"conversation": conversation or ""}
        return self._shown(self._turns(browser), browser, words.language(request))

    def delete(self, brought: Any, request: gr.Request) -> Updates:
        """Forget the open conversation."""
        browser = who(brought)
        self.stop(request)
        try:
            self.store.delete(browser["conversation"], browser["owner"])
            self.agent.forget(browser["conversation"])
        except (sqlite3.Error, OSError, DuetError) as error:
            warn(message_for(error, words.language(request)))
        return self._shown([], browser | {"conversation": ""}, words.language(request))

    def undo(self, brought: Any, data: gr.UndoData, request: gr.Request) -> Updates:
        """Take a question back; it stands in the box again, with its media."""
        browser = who(brought)
        self.stop(request)
        turns = self._turns(browser)
        old = turn_at(turns, data.index)
        if old is None:
            return self._shown(turns, browser, words.language(request))
        self.store.cut(browser["conversation"], browser["owner"], old.number)
        back: dict[str, Any] = {"text": old.question, "files": [medium.path for medium in old.media]}
        updates = self._shown(turns[: old.number - 1], browser, words.language(request))
        return updates | {self.box: gr.MultimodalTextbox(value=back, submit_btn=True, stop_btn=False)}

    # -- small things -------------------------------------------------------------------------------------------

    def example(self, data: gr.SelectData) -> dict[str, Any]:
        """An example in the box, ready to be asked."""
        file, question = present()[int(data.index)]
        return {"text": question, "files": [str(file)]}

    def attach(self, taken: str | None, asked: dict[str, Any]) -> tuple[Any, None]:
        """A photo or film of the camera beside the question."""
        if taken is None:
            return gr.skip(), None
        return {"text": asked["text"], "files": [*asked["files"], taken]}, None

    def point(self, brought: Any, data: gr.EventData, request: gr.Request) -> Any:
        """A finding that was clicked: in the list of the last answer, or by a link in any one."""
        browser = who(brought)
        turns = self._turns(browser)
        values = data._data or {}
        number, at = int(values.get("number", 0)), int(values.get("turn", 0))
        turn = next((turn for turn in turns if turn.number == at), turns[-1] if turns else None)
        return self._evidence(turn, words.language(request), number)

    def _evidence(self, turn: Turn | None, language: str, chosen: int = 0) -> str:
        """What the panel shows of a turn."""
        if turn is None:
            return str(self.panel.clear(language)[0])
        return str(self.panel.show(turn.media, turn.findings, language, chosen, turn.number)[0])

    def _turns(self, browser: dict[str, str] | None) -> list[Turn]:
        if not browser or not browser.get("conversation"):
            return []
        try:
            return self.store.turns(browser["conversation"], browser["owner"])
        except (sqlite3.Error, OSError, ValueError) as error:
            warn(message_for(error))
            return []

    def _choices(self, browser: dict[str, str]) -> Any:
        try:
            listed = self.store.listed(browser["owner"])
        except (sqlite3.Error, OSError):  # told where a turn is kept
            listed = []
        known = browser["conversation"] in [key for _, key in listed]
        return gr.Dropdown(choices=listed, value=browser["conversation"] if known else None)

    def _shown(self, turns: list[Turn], browser: dict[str, str], language: str) -> Updates:
        """Everything on the page, for these turns."""
        last = turns[-1] if turns else None
        if not turns:
            browser = browser | {"conversation": ""}
        return {
            self.chatbot: messages(turns),
            self.box: gr.MultimodalTextbox(submit_btn=True, stop_btn=False),
            self.picker: self._choices(browser),
            self.browser: written(browser),
            self.panel.listing: self._evidence(last, language),
        }


def build(agent: Agent, store: Conversations, running: Running) -> None:
    """Draw the page."""
    Chat(agent, store, running)
