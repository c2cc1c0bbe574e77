"""What a newcomer meets on the front page: what A and B are, drawn, and examples to click, each in both languages."""

from __future__ import annotations

import html

from ui.app.components.asked import address
from ui.app.components.turns import EXAMPLES, FOLDER

TEXTS = (
    {
        "title": "One question, two ways to look. Which serves better?",
        "about": "The same language model answers twice: <b>A</b> reads what experts found, as text; <b>B</b> looks "
        "through a learned connector, as soft tokens. Pick an example, compare, and say which is better.",
        "media": "media", "experts": "experts", "connector": "connector", "text": "findings as text",
        "soft": "soft tokens", "model": "the same", "model2": "language model",
        "label": "Two routes from media to an answer",
        "answer": "answer", "pick": "Pick an example: one click asks both",
        "object": "object", "count": "count", "colour": "colour · the routes differ",
        "text_": "text · the routes differ", "absence": "what is not there", "sound": "sound", "film": "film",
    },
    {
        "title": "同一个问题，两种观察方式，哪种更好？",
        "about": "同一个语言模型回答两次：<b>A</b> 读取专家得出的文字结果；<b>B</b> 通过训练好的连接器以软标记观察。"
        "选一个示例，比较后说出哪个更好。",
        "media": "媒体", "experts": "专家", "connector": "连接器", "text": "文字结果",
        "soft": "软标记", "model": "同一个", "model2": "语言模型", "label": "从媒体到回答的两条路线",
        "answer": "回答", "pick": "选一个示例：点击一次，两条路线同时回答",
        "object": "物体", "count": "数量", "colour": "颜色 · 两条路线不同", "text_": "文字 · 两条路线不同",
        "absence": "不存在的东西", "sound": "声音", "film": "影片",
    },
)  # fmt: skip
ICONS = {".wav": "♪", ".mp4": "▶"}
CLICKED = """
element.addEventListener('click', (event) => {
  const card = event.target.closest('[data-example]');
  if (card) trigger('click', {example: Number(card.dataset.example)});
});
"""


def hero() -> tuple[str, str]:
    """What the page is for, in a sentence and a diagram."""
    made = [
        f"<div class='hero'><div><h2>{told['title']}</h2><p>{told['about']}</p></div>{_diagram(told)}</div>"
        for told in TEXTS
    ]
    return made[0], made[1]


def cards() -> tuple[str, str]:
    """The examples that are here as cards; their questions stay in English, which the embedded model reads best."""
    made = []
    for told in TEXTS:
        parts = [f"<h3>{told['pick']}</h3>"]
        there = [one for one in EXAMPLES if (FOLDER / one[0]).is_file()]
        for number, (file, question, kind) in enumerate(there):
            icon = ICONS.get(file[file.rfind(".") :])
            picture = f"<i aria-hidden='true'>{icon}</i>" if icon else f"<img src='{address(FOLDER / file)}' alt=''>"
            parts.append(
                f"<button type='button' class='card' data-example='{number}'>{picture}"
                f"<span>{html.escape(question)}<em>{told[kind]}</em></span></button>"
            )
        made.append(f"<div class='cards'>{''.join(parts)}</div>" if there else "")
    return made[0], made[1]


def _diagram(told: dict[str, str]) -> str:
    def box(
        x: int, y: int, wide: int, first: str, second: str = "", fill: str = "none", ink: str = "currentColor"
    ) -> str:
        lines = [first, second] if second else [first]
        at = y + 27 - 9 * (len(lines) - 1)
        text = "".join(
            f"<text x='{x + wide / 2}' y='{at + 18 * n}' text-anchor='middle' fill='{ink}'>{line}</text>"
            for n, line in enumerate(lines)
        )
        edge = "stroke='currentColor' stroke-opacity='.45'" if fill == "none" else ""
        return f"<rect x='{x}' y='{y}' width='{wide}' height='44' rx='10' fill='{fill}' {edge}/>{text}"

    def arrow(path: str) -> str:
        line = "fill='none' stroke='currentColor' stroke-opacity='.6' stroke-width='1.5'"
        return f"<path d='{path}' {line} marker-end='url(#tip)'/>"

    tip = "<marker id='tip' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7' markerHeight='7' orient='auto'>"
    parts = [
        f"<defs>{tip}<path d='M0 0L8 4L0 8z' fill='currentColor' fill-opacity='.6'/></marker></defs>",
        box(2, 58, 76, told["media"]),
        box(124, 10, 110, f"A · {told['experts']}", fill="#0f766e", ink="#fff"),
        box(124, 106, 110, f"B · {told['connector']}", fill="#1d4ed8", ink="#fff"),
        box(376, 58, 124, told["model"], told["model2"]),
        box(540, 58, 76, told["answer"]),
        arrow("M78 72C100 66 100 34 122 32"), arrow("M78 88C100 94 100 126 122 128"),
        arrow("M234 32C330 34 330 66 374 72"), arrow("M234 128C330 126 330 94 374 88"), arrow("M500 80H538"),
        f"<text x='250' y='24' font-size='13' fill='currentColor'>{told['text']}</text>",
        f"<text x='250' y='150' font-size='13' fill='currentColor'>{told['soft']}</text>",
    ]  # fmt: skip
    return f"<svg viewBox='0 0 620 162' role='img' aria-label='{told['label']}' font-size='14'>{''.join(parts)}</svg>"
