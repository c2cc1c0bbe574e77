"""The arena's tab: a question to two unseen sides, their answers in step, a vote, and then who was who."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from ui.app import words
from ui.app.components.asked import asked as as_asked
from ui.app.conversations import Kept
from ui.app.faults import toast
from ui.app.words import say, word
from ui.votes.battles import NO_ANSWER, WORDS_A_S, Arena, Event, Reveal
from ui.votes.store import REASONS, VoteStore, shared

if TYPE_CHECKING:
    from agent.agent import Agent

Updates = dict[Any, Any]
AT_ONCE = 16  # battles that are watched at once; the models still answer one at a time
SHOWN_FINDINGS = 8  # of a side, after the vote
KEYS = {"a": "a", "b": "b", "t": "tie", "n": "bad"}  # key -> vote

WORDS: dict[str, tuple[str, str]] = {
    "arena_about": (
        "One question, two unseen interfaces to the same model. Say which answer is better, then see who was who. "
        "Of a recording alone, two speech engines meet, since one interface cannot hear. "
        "Keys: **A**, **B**, **T** tie, **N** neither.",
        "同一个问题，同一个模型的两种接口匿名作答。选出更好的回答，然后揭晓。"
        "只有录音时由两种语音引擎对战，因为其中一种接口听不见。"
        "快捷键：**A**、**B**、**T** 平局、**N** 都不好。",
    ),
    "arena_ask": (
        "Ask about an image, a video or a recording: drop, paste or record it here",
        "询问图像、视频或录音：拖放、粘贴或在此录制",
    ),
    "arena_side_a": ("Answer A", "回答 A"),
    "arena_side_b": ("Answer B", "回答 B"),
    "arena_a": ("A is better", "A 更好"),
    "arena_b": ("B is better", "B 更好"),
    "arena_tie": ("Tie", "平局"),
    "arena_bad": ("Both are bad", "都不好"),
    "arena_reasons": ("What was wrong with the worse one (optional)", "较差的回答有什么问题（可选）"),
    "arena_missed": ("missed an object", "漏看物体"),
    "arena_misread": ("misread text", "读错文字"),
    "arena_misheard": ("misheard", "听错"),
    "arena_invented": ("invented something", "凭空捏造"),
    "arena_slow": ("too slow", "太慢"),
    "arena_thinking": ("Both are at work …", "双方正在作答 …"),
    "arena_speaking": ("You may vote at any time; that ends the answers.", "可随时投票；投票后作答即停止。"),
    "arena_done": ("Both have answered. Which is better?", "双方已答完。哪个更好？"),
    "arena_stored": ("Your vote is stored: **{0}**.", "您的投票已保存：**{0}**。"),
    "arena_before": ("This battle has its vote already: **{0}**.", "此对战已有投票：**{0}**。"),
    "arena_side": ("side", "方"),
    "arena_route": ("interface", "接口"),
    "arena_models": ("models", "模型"),
    "arena_seconds": ("seconds", "秒"),
    "arena_leaks": ("telling phrases taken out", "已滤除的泄露语"),
    "arena_said": ("as it was said", "原话"),
    "arena_found": ("findings", "专家结果"),
    "arena_none": ("This side has no answer.", "此方没有回答。"),
    "arena_expected": ("known right answer", "已知正确答案"),
    "arena_stored_battle": ("Judge answers of a batch", "评判批量回答"),
    "arena_waiting": (
        "Two routes answered this in a batch. Which is better? {0} wait for a vote.",
        "批量任务中两条路线的回答。哪个更好？还有 {0} 场待投票。",
    ),
    "arena_none_waiting": (
        "No answers of a batch wait for a vote; run one in the batch tab.",
        "没有待投票的批量回答；请在批量页运行。",
    ),
    "arena_cut": ("stopped by the vote", "因投票而停止"),
}
words.add(WORDS)

KEYS_JS = """
if (!window.duetArenaKeys) {
  window.duetArenaKeys = true;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const at = event.target;
    if (at.closest && at.closest("textarea, select, [contenteditable=true], input:not([type=checkbox])")) return;
    const vote = KEYS[event.key.toLowerCase()];
    const found = vote && document.getElementById("arena-" + vote);
    const button = found && (found.matches("button") ? found : found.querySelector("button"));
    if (button && !button.disabled && button.offsetParent) { event.preventDefault(); button.click(); }
  });
}
"""


class Page:
    """The tab's components and what they call."""

    def __init__(self, agent: Agent, votes: VoteStore, words_a_s: float) -> None:
        self.arena = Arena(agent, votes, words_a_s=words_a_s)
        self.draw()

    def draw(self) -> None:
        """The components, in the order of the page."""
        gr.Markdown(word("arena_about"))
        # A function, not the method: gradio copies what a component is given for each visitor, a method's object too,
        # and with this one the agent and its models.
        self.battle = gr.State(None, delete_callback=lambda battle: self.left(battle))
        self.box = gr.MultimodalTextbox(
            show_label=False, placeholder=word("arena_ask"), sources=["upload", "microphone"],
            file_types=["image", "video", "audio"], file_count="multiple", elem_id="arena-ask",
        )  # fmt: skip
        self.asked = gr.HTML("", elem_id="arena-asked", js_on_load="")
        self.status = gr.Markdown("", elem_id="arena-status")
        with gr.Row(equal_height=True):
            self.sides = [
                gr.Textbox(
                    label=word(f"arena_side_{side}"),
                    lines=4,
                    interactive=False,
                    min_width=240,
                    elem_id=f"arena-text-{side}",
                )
                for side in "ab"
            ]
        with gr.Row():
            self.buttons = {
                choice: gr.Button(word(f"arena_{choice}"), interactive=False, min_width=130, elem_id=f"arena-{choice}")
                for choice in ("a", "tie", "bad", "b")
            }
        self.reasons = gr.CheckboxGroup(
            [(word(f"arena_{reason}"), reason) for reason in REASONS],
            label=word("arena_reasons"),
            elem_id="arena-reasons",
        )
        self.reveal = gr.HTML("", elem_id="arena-reveal")
        another = gr.Button(word("arena_stored_battle"), size="sm", elem_id="arena-stored")
        gr.HTML("", js_on_load=KEYS_JS.replace("KEYS[", f"({json.dumps(KEYS)})["), elem_id="arena-keys")
        buttons = list(self.buttons.values())
        shown = [self.battle, self.asked, self.reasons, self.reveal, self.status, *self.sides, *buttons]
        another.click(
            self.take, self.battle, shown, queue=False, api_visibility="private", show_progress="hidden",
        )  # fmt: skip
        self.box.submit(
            self.ask, [self.box, self.battle], [self.box, *shown],
            concurrency_limit=AT_ONCE, concurrency_id="battles", api_visibility="private", show_progress="hidden",
        )  # fmt: skip
        self.box.submit(None, js="() => { document.activeElement && document.activeElement.blur(); }")
        self.reasons.input(
            self.explain, [self.battle, self.reasons], None, queue=False, api_visibility="private",
            show_progress="hidden",
        )  # fmt: skip
        for choice, button in self.buttons.items():
            button.click(
                self.voting(choice), [self.battle, self.reasons], [self.status, self.reveal, *buttons],
                queue=False, api_visibility="private", show_progress="hidden",
            )  # fmt: skip

    def explain(self, battle: str | None, reasons: list[str], request: gr.Request) -> None:
        """Reasons that are told after the vote; those before it go with it."""
        try:
            if battle and self.arena.store.vote_of(battle) is not None:
                self.arena.store.give_reasons(battle, reasons or [])
        except Exception as error:
            raise toast(error, words.language(request)) from None

    def left(self, battle: str | None) -> None:
        """Nobody will vote on this battle any more."""
        if battle:
            self.arena.leave(battle)

    def ask(self, asked: dict[str, Any], before: str | None, request: gr.Request) -> Iterator[Updates]:
        """A new battle, as far as it may be seen."""
        language = words.language(request)
        question, files = asked.get("text") or "", list(asked.get("files") or [])
        try:
            battle = self.arena.begin(question, files)
        except Exception as error:
            raise toast(error, language) from None
        self.left(before)
        yield {
            self.battle: battle,
            self.box: {"text": "", "files": []},
            **self.begun(question, list(zip(files, self.arena.kinds(battle), strict=True))),
            **self.seen(Event("thinking"), language),
        }
        for event in self.arena.watch(battle):
            yield self.seen(event, language)
        if not self.arena.is_open(battle):
            yield {self.status: gr.skip()}  # a stream's last update is sent twice, and the vote has drawn over it

    def take(self, before: str | None, request: gr.Request) -> Updates:
        """A battle of a batch that has no vote yet."""
        language = words.language(request)
        try:
            drawn = self.arena.draw()
        except Exception as error:
            raise toast(error, language) from None
        self.left(before)
        if drawn is None:
            nothing = {**self.begun("", []), **self.seen(Event("thinking"), language)}
            return nothing | {self.battle: None, self.status: say(language, "arena_none_waiting")}
        kept = [medium for medium in drawn.media if "file" in medium]
        files = [(str(self.arena.store.media / medium["file"]), medium["kind"]) for medium in kept]
        return {
            self.battle: drawn.id,
            **self.begun(drawn.question, files),
            **self.seen(drawn.event, language),
            self.status: say(language, "arena_waiting", drawn.left),
        }

    def begun(self, question: str, media: Sequence[tuple[str, str]]) -> Updates:
        """The page at the start of a battle: the question and its media, as (file, kind)."""
        kept = [Kept(Path(file).name, kind, file) for file, kind in media]
        return {self.asked: as_asked(question, kept) if question else "", self.reasons: [], self.reveal: ""}

    def seen(self, event: Event, language: str) -> Updates:
        """An Event as the page shows it: all that the browser gets of a battle before the vote."""
        able = bool(event.a or event.b)
        texts = (say(language, "arena_none") if text == NO_ANSWER else text for text in (event.a, event.b))
        return {
            self.status: say(language, f"arena_{event.state}"),
            **dict(zip(self.sides, texts, strict=True)),
            **{button: gr.Button(interactive=able) for button in self.buttons.values()},
        }

    def voting(self, choice: str) -> Callable[..., Updates]:
        """What the button of a choice calls."""

        def vote(battle: str | None, reasons: list[str], request: gr.Request) -> Updates:
            language = words.language(request)
            try:
                told = self.arena.vote(battle or "", choice, reasons or [])
            except Exception as error:
                raise toast(error, language) from None
            chosen = say(language, f"arena_{told.vote.choice}")
            return {
                self.status: say(language, "arena_stored" if told.fresh else "arena_before", chosen),
                self.reveal: unveiled(told, language),
                **{button: gr.Button(interactive=False) for button in self.buttons.values()},
            }

        return vote


def unveiled(told: Reveal, language: str) -> str:
    """HTML of who was who, what it cost, and what stood in the answers that was not shown."""
    battle = told.battle
    sides = (battle.a, battle.b)
    cut = f" ({say(language, 'arena_cut')})"
    rows: list[tuple[str, list[str]]] = [
        ("arena_side", ["A", "B"]),
        ("arena_route", [f"<b>{html.escape(side.route)}</b>" for side in sides]),
        ("arena_seconds", [f"{side.seconds:.2f}" + ("" if side.whole else cut) for side in sides]),
        ("arena_leaks", [str(side.leaks) for side in sides]),
    ]
    if battle.expected:
        marks = {True: " ✓", False: " ✗", None: ""}
        rows.append(("arena_expected", [html.escape(battle.expected) + marks[side.correct] for side in sides]))
    if any(side.leaks or side.error for side in sides):
        rows.append(("arena_said", [html.escape(side.error or side.text) for side in sides]))
    found = [answer.findings if answer else () for answer in told.answers]
    if any(found):
        lines = [[f"{f.expert}: {f.text} ({f.score:.2f})" for f in some[:SHOWN_FINDINGS]] for some in found]
        rows.append(("arena_found", ["<br>".join(html.escape(line) for line in some) for some in lines]))
    left = "style='text-align:left;padding-right:1em'"
    body = "".join(
        f"<tr><th {left}>{say(language, key)}</th><td>{a or '–'}</td><td>{b or '–'}</td></tr>" for key, (a, b) in rows
    )
    models = f"{say(language, 'arena_models')}: {html.escape(battle.variant)}"
    return f"<table class='arena-reveal' style='width:100%'>{body}</table><p>{models}</p>"


def build(agent: Agent, votes: VoteStore | None = None, words_a_s: float = WORDS_A_S) -> Page:
    """Draw the arena into the tab that is being made; votes go to `votes`, or to the usual file."""
    store = votes or shared()
    gr.set_static_paths([store.media])  # what a battle of a batch is about is shown from where it lies
    return Page(agent, store, words_a_s)
