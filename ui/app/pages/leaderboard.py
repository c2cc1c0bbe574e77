"""The leaderboard's tab: who serves better, how sure that is, by what it may be tilted; votes out and in."""

from __future__ import annotations

import html
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from ui.app import words
from ui.app.faults import toast
from ui.app.words import say, word
from ui.votes.records import comparisons
from ui.votes.store import VoteStore, shared

LIGHT: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
FEW = 20  # decided battles below which the page says that they are few

WORDS: dict[str, tuple[str, str]] = {
    "board_judge": ("Judged by", "评判依据"),
    "board_people": ("votes", "投票"),
    "board_key": ("known right answers", "已知正确答案"),
    "board_by": ("Contestants", "参赛者"),
    "board_route": ("interfaces", "接口"),
    "board_variant": ("interfaces and models", "接口与模型"),
    "board_refresh": ("Refresh", "刷新"),
    "board_none": (
        "No votes yet. Vote in the arena, or compare on your own questions in the batch tab.",
        "暂无投票。请在竞技场投票，或在批量页用自己的问题比较。",
    ),
    "board_few": (
        "Only {0} decided battles: the intervals are wide for a reason.",
        "仅有 {0} 场分出胜负：区间很宽是有原因的。",
    ),
    "board_wins": ("Win rate, with its 95 % interval", "胜率及其 95% 区间"),
    "board_ratings": (
        "Strength (Bradley-Terry), with its 95 % bootstrap interval",
        "实力（Bradley-Terry）及其 95% 自助区间",
    ),
    "board_length": (
        "At equal length: {0}. A longer answer gains {1} points a standard deviation ({2} to {3}).",
        "长度相同时：{0}。回答每长一个标准差得 {1} 分（{2} 至 {3}）。",
    ),
    "board_side": (
        "Side A won {0} of {1} decided battles; if sides do not matter, so uneven a result has probability {2}.",
        "A 方在 {1} 场分出胜负的对战中胜率 {0}；若左右无关，如此不均的概率为 {2}。",
    ),
    "board_contestant": ("contestant", "参赛者"),
    "board_won": ("won", "胜率"),
    "board_of": ("of", "场数"),
    "board_ties": ("ties", "平局"),
    "board_bad": ("both bad", "都不好"),
    "board_median": ("median s", "中位秒数"),
    "board_p95": ("p95 s", "p95 秒数"),
    "board_kinds": ("By kind of question", "按问题类型"),
    "board_media": ("By media", "按媒体"),
    "board_export": ("Export", "导出"),
    "board_import": ("Import battles.jsonl", "导入 battles.jsonl"),
    "board_files": (
        "battles.csv, battles.jsonl, and all with preference pairs and media as a ZIP",
        "battles.csv、battles.jsonl，以及含偏好对和媒体的 ZIP",
    ),
    "board_imported": ("{0} new battles and {1} new votes of {2}.", "共 {2} 场，新增 {0} 场对战、{1} 张投票。"),
}
words.add(WORDS)


class Board:
    """The tab's components and what they call."""

    def __init__(self, votes: VoteStore) -> None:
        self.votes = votes
        self.draw()

    def draw(self) -> None:
        """The components, in the order of the page."""
        tab = gr.context.Context.block
        with gr.Row():
            judge = gr.Radio(
                [(word("board_people"), "people"), (word("board_key"), "key")],
                value="people",
                label=word("board_judge"),
            )
            by = gr.Radio(
                [(word("board_route"), "route"), (word("board_variant"), "variant")],
                value="route",
                label=word("board_by"),
                elem_id="board-by",
            )
            again = gr.Button(word("board_refresh"), scale=0, min_width=120, elem_id="board-refresh")
        shown = gr.HTML("", elem_id="board")
        with gr.Row():
            out = gr.Button(word("board_export"), elem_id="board-export")
            taken = gr.UploadButton(word("board_import"), file_types=[".jsonl"], elem_id="board-import")
        files = gr.File(label=word("board_files"), visible=False, interactive=False, file_count="multiple")
        events = [again.click, judge.change, by.change]
        if isinstance(tab, gr.Tab):
            events.append(tab.select)
        gr.on(events, self.show, [judge, by], shown, **LIGHT)
        out.click(self.export, None, files, api_visibility="private", concurrency_id="board", concurrency_limit=2)
        taken.upload(self.take, [taken, judge, by], shown, api_visibility="private", concurrency_id="board")

    def show(self, judge: str, by: str, request: gr.Request) -> str:
        """The leaderboard as HTML."""
        from agent.evaluation.ranking import standings

        language = words.language(request)
        try:
            return page(standings(comparisons(self.votes.all(), judge=judge, by=by)), language)
        except Exception as error:
            raise toast(error, language) from None

    def export(self, request: gr.Request) -> Any:
        """The exported files, to be downloaded."""
        from gradio.utils import get_upload_folder

        from ui.votes.exchange import FORMATS, export

        try:
            base = Path(get_upload_folder())
            base.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="votes-", dir=base))
            export(self.votes, folder)
            with zipfile.ZipFile(folder / "votes.zip", "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted(folder.rglob("*")):
                    if file.is_file() and file.suffix != ".zip":
                        archive.write(file, file.relative_to(folder))
        except Exception as error:
            raise toast(error, words.language(request)) from None
        made = [FORMATS["csv"], FORMATS["jsonl"], "votes.zip"]
        return gr.File(value=[str(folder / name) for name in made], visible=True)

    def take(self, file: str, judge: str, by: str, request: gr.Request) -> str:
        """Merge an export, and the leaderboard after it."""
        from ui.votes.exchange import import_

        language = words.language(request)
        try:
            told = import_(self.votes, Path(file))
        except Exception as error:
            raise toast(error, language) from None
        gr.Info(say(language, "board_imported", told["new_battles"], told["new_votes"], told["battles"]))
        return self.show(judge, by, request)


def page(found: dict[str, Any], language: str) -> str:
    """HTML of `agent.evaluation.ranking.standings`."""
    if not found["contestants"]:
        return f"<p>{say(language, 'board_none')}</p>"
    parts = []
    decided = found["position"]["n"]
    if decided < FEW:
        parts.append(f"<p>⚠ {say(language, 'board_few', decided)}</p>")
    rates = [(one["name"], *_ends(one["win_rate"])) for one in found["contestants"]]
    parts += [
        f"<h3>{say(language, 'board_wins')}</h3>",
        chart(rates, 0, 1, "{:.1%}", middle=0.5),
        _table(found, language),
    ]
    if found["ratings"]:
        points = [(name, *_ends(rating)) for name, rating in found["ratings"].items()]
        low, high = min(row[2] for row in points), max(row[3] for row in points)
        parts.append(f"<h3>{say(language, 'board_ratings')}</h3>")
        parts.append(chart(points, min(low, 900), max(high, 1100), "{:.0f}", middle=1000))
    side, length = found["position"], found["length_controlled"]
    if length:
        wins = ", ".join(f"{html.escape(name)} {value:.1%}" for name, value in length["wins"].items())
        gain = length["points_per_sd"]
        numbers = [f"{gain[key]:.0f}" for key in ("value", "low", "high")]
        parts.append(f"<p>{say(language, 'board_length', wins, *numbers)}</p>")
    numbers = [f"{side['value']:.1%}", side["n"], f"{side['p_value']:.3g}"]
    parts.append(f"<p>{say(language, 'board_side', *numbers)}</p>")
    for key in ("kinds", "media"):
        parts.append(f"<h3>{say(language, f'board_{key}')}</h3>")
        for part, shares in found[key].items():
            rows = [(name, *_ends(share)) for name, share in shares.items()]
            label = f"{html.escape(part)} ({max(share['n'] for share in shares.values())})"
            parts.append(f"<p style='margin:.6em 0 0'>{label}</p>{chart(rows, 0, 1, '{:.0%}', middle=0.5)}")
    return "".join(parts)


def _ends(found: dict[str, float]) -> tuple[float, float, float]:
    return found["value"], found["low"], found["high"]


def _table(found: dict[str, Any], language: str) -> str:
    keys = ("contestant", "won", "of", "ties", "bad", "median", "p95")
    left = "style='text-align:left;padding-right:1em'"
    head = "".join(f"<th {left}>{say(language, f'board_{key}')}</th>" for key in keys)
    lines = []
    for one in found["contestants"]:
        rate, seconds = one["win_rate"], one["seconds"]
        times = ["–" if seconds[key] is None else f"{seconds[key]:.2f}" for key in ("median", "p95")]
        won = f"{rate['value']:.1%} ({rate['low']:.1%} – {rate['high']:.1%})"
        cells = [html.escape(one["name"]), won, rate["n"], one["ties"], one["both_bad"], *times]
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f"<div style='overflow-x:auto'><table style='width:100%'><tr>{head}</tr>{''.join(lines)}</table></div>"


def chart(
    rows: Sequence[tuple[str, float, float, float]], least: float, most: float, shown: str, *, middle: float
) -> str:
    """An SVG of (name, value, low, high): a bar a row with its interval as a whisker, and a line at `middle`."""
    height, left, width = 30, 0, 600
    lines = []

    def x(value: float) -> float:
        return left + (min(max(value, least), most) - least) / (most - least) * width

    for number, (name, value, low, high) in enumerate(rows):
        y = number * 2 * height + height
        label = f"{html.escape(name)}  {shown.format(value)}  ({shown.format(low)} – {shown.format(high)})"
        lines.append(
            f"<text x='{left}' y='{y - 8}' fill='currentColor' font-size='15'>{label}</text>"
            f"<rect x='{left}' y='{y}' width='{x(value) - left:.1f}' height='18' rx='3' fill='#0d9488' opacity='.75'/>"
            f"<path d='M{x(low):.1f} {y + 9}H{x(high):.1f}M{x(low):.1f} {y + 3}v12M{x(high):.1f} {y + 3}v12' "
            "stroke='currentColor' stroke-width='2' fill='none'/>"
        )
    total = len(rows) * 2 * height
    dashed = "stroke='currentColor' stroke-dasharray='3 4' opacity='.6'"
    lines.append(f"<path d='M{x(middle):.1f} {height - 2}V{total}' {dashed}/>")
    names = ", ".join(f"{html.escape(name)} {shown.format(value)}" for name, value, _, _ in rows)
    return (
        f"<svg viewBox='0 0 {width + 8} {total + 4}' role='img' aria-label='{names}' "
        f"style='width:100%;max-width:640px;display:block'>{''.join(lines)}</svg>"
    )


def build(votes: VoteStore | None = None) -> Board:
    """Draw the leaderboard into the tab that is being made."""
    return Board(votes or shared())
