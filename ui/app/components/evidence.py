"""Evidence as every page shows it: boxes on the picture, the transcript under the player, a chip for each finding.

A finding has one number and one colour, shared by its box, its chip and the citations of it in an answer; ui/app/app.js
lights all of them where one is pointed at or has the focus, within the nearest element of class "linked".
"""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import Any

from experts.base import Finding
from ui.app import words
from ui.app.components.asked import address, picture
from ui.app.components.steps import clock
from ui.app.conversations import Kept

MOST_BOXES = 24  # drawn on one medium, the surest first
MOST_LISTED = 60
MOST_SAID = 8  # things that a connector says
COLOURS = 10  # --f0 to --f9 of theme.css; a finding's colour is its number's last digit, as in the links of a chat
COLOUR_WORDS = {
    "black": "黑色", "white": "白色", "grey": "灰色", "gray": "灰色", "red": "红色", "orange": "橙色", "yellow": "黄色",
    "green": "绿色", "blue": "蓝色", "purple": "紫色", "pink": "粉色", "brown": "棕色", "beige": "米色", "cyan": "青色",
    "teal": "蓝绿色",
}  # fmt: skip
EXPERTS = ("detect", "tag", "ocr", "caption", "speech", "video")  # those with a word of their own: expert_NAME

# A link to a finding of an earlier turn asks for that turn's evidence.
FOLLOW = """
document.addEventListener('click', (event) => {
  const link = event.target.closest?.('a[href^="#evidence-"]');
  if (!link) return;
  event.preventDefault();
  const [turn, number] = link.getAttribute('href').split('-').slice(1).map(Number);
  if (element.querySelector('.evidence')?.dataset.turn !== String(turn)) trigger('click', {turn: turn, number: number});
  element.scrollIntoView({behavior: 'smooth', block: 'nearest'});
});
"""


class Panel:
    """One panel, drawn where it is made; `outputs` takes what `show` returns."""

    def __init__(self, *, links: bool = False, name: str = "evidence", empty: str | None = None) -> None:
        """`links`: it follows links to the findings of any turn. `empty` stands in it at first instead of the hint."""
        import gradio as gr

        value: Any = words.word("no_evidence_html") if empty is None else empty
        self.listing = gr.HTML(value, js_on_load=FOLLOW if links else "", elem_id=f"{name}-list")
        self.outputs: list[Any] = [self.listing]

    def clear(self, language: str = "en", empty: str | None = None) -> list[Any]:
        """Updates for a panel without findings; `empty` is what it says then."""
        told = words.say(language, "no_evidence") if empty is None else empty
        return [f"<div class='evidence'><p>{html.escape(told)}</p></div>" if told else ""]

    def show(
        self, media: Sequence[Kept], findings: Sequence[Finding], language: str = "en", chosen: int = 0, turn: int = 0
    ) -> list[Any]:
        """Updates that show `findings` in `media`; the one of number `chosen`, from 1, is marked."""
        return [drawn(media, findings, language, chosen, turn)] if findings else self.clear(language)


def drawn(
    media: Sequence[Kept], findings: Sequence[Finding], language: str = "en", chosen: int = 0, turn: int = 0
) -> str:
    """HTML of the media with their boxes and players, and of all findings as chips, by expert."""
    numbered = list(enumerate(findings, 1))
    figures = []
    for medium in media:
        inside = [(n, f) for n, f in numbered if f.source in ("", medium.name)]
        if inside or len(media) == 1:
            figures.append(_figure(medium, inside, language, several=len(media) > 1))
    chips, expert = [], ""
    for number, finding in numbered[:MOST_LISTED]:
        if finding.expert != expert:
            expert = finding.expert
            chips.append(f"<h4>{html.escape(named(expert, language))}</h4>")
        chips.append(_chip(number, finding, language, len(media) > 1, number == chosen))
    if len(numbered) > MOST_LISTED:
        chips.append(f"<p>{words.say(language, 'more', len(numbered) - MOST_LISTED)}</p>")
    return f"<div class='evidence' data-turn='{turn}'>{''.join(figures)}<div class='chips'>{''.join(chips)}</div></div>"


def said(things: Sequence[str], language: str = "en") -> str:
    """HTML of what a connector's soft tokens stand for, where it can tell; these are its own, not the experts'."""
    title = html.escape(words.say(language, "s_says"))
    if not things:
        told = html.escape(words.say(language, "no_says"))
        return f"<div class='evidence'><div class='chips'><p>{told}</p></div></div>"
    chips = "".join(f"<span class='chip soft'>{html.escape(thing)}</span>" for thing in things[:MOST_SAID])
    return f"<div class='evidence'><div class='chips'><h4>{title}</h4>{chips}</div></div>"


def colour(number: int) -> str:
    """The CSS that gives an element the colour of finding `number`, from 1."""
    return f"--c:var(--f{number % COLOURS})"


def named(expert: str, language: str) -> str:
    """What an expert finds, in words."""
    return words.say(language, f"expert_{expert}") if expert in EXPERTS else expert


def label(finding: Finding, language: str) -> str:
    """What was found: things that the detector names, and colours, also in Chinese."""
    text, tint = finding.text, str(finding.extra.get("colour") or "")
    if language == "zh":
        from experts.evidence.asked import translations

        if finding.expert == "detect":
            text = next(iter(translations(text).get("zh", ())), text)
        tint = COLOUR_WORDS.get(tint, tint)
    return f"{text} ({tint})" if tint else text


def _chip(number: int, finding: Finding, language: str, several: bool, chosen: bool) -> str:
    when = f"<time>{clock(finding.span[0])}</time>" if finding.span else ""
    source = f" · {finding.source}" if several else ""
    marks = (f" data-at='{finding.span[0]}'" if finding.span else "") + (" aria-current='true'" if chosen else "")
    return (
        f"<button type='button' class='chip' data-finding='{number}' style='{colour(number)}'{marks}>"
        f"<b>{number}</b>{when}<span>{html.escape(label(finding, language))}</span>"
        f"<small>{finding.score:.2f}{html.escape(source)}</small></button>"
    )


def _figure(medium: Kept, inside: Sequence[tuple[int, Finding]], language: str, *, several: bool) -> str:
    name = html.escape(medium.name, quote=True)
    caption = f"<figcaption>{name}</figcaption>" if several else ""
    if medium.kind == "audio":
        shown = f"<audio controls preload='metadata' src='{address(medium.path)}' aria-label='{name}'></audio>"
    elif medium.kind == "video":
        track = captions([f for _, f in inside])
        boxes = "".join(_film_box(n, f, language) for n, f in _boxed(inside) if f.span)
        shown = (
            f"<div class='frame'><video controls preload='metadata' src='{address(medium.path)}' aria-label='{name}'>"
            f"{track}</video>{boxes}</div>"
        )
    else:
        size = _size(medium)
        boxes = "".join(_box(n, f, size, language) for n, f in _boxed(inside)) if size else ""
        shown = f"<div class='frame'><img src='{address(picture(medium.path))}' alt='{name}'>{boxes}</div>"
    return f"<figure>{shown}{caption}</figure>"


def _boxed(inside: Sequence[tuple[int, Finding]]) -> list[tuple[int, Finding]]:
    """Findings with a box, the largest first, so that a small one lies on top and can be pointed at."""
    boxed = sorted(((n, f) for n, f in inside if f.box), key=lambda one: -one[1].score)[:MOST_BOXES]
    return sorted(boxed, key=lambda one: -_area(one[1]))


def _area(finding: Finding) -> float:
    x0, y0, x1, y1 = finding.box or (0, 0, 0, 0)
    return (x1 - x0) * (y1 - y0)


def _box(number: int, finding: Finding, size: tuple[int, int], language: str) -> str:
    wide, high = size
    x0, x1 = (min(max(value, 0), wide) / wide * 100 for value in (finding.box or ())[::2])
    y0, y1 = (min(max(value, 0), high) / high * 100 for value in (finding.box or ())[1::2])
    place = f"left:{x0:.2f}%;top:{y0:.2f}%;width:{max(x1 - x0, 0.5):.2f}%;height:{max(y1 - y0, 0.5):.2f}%"
    inner = " inner" if y0 < 8 else ""  # its name has no room above it
    return _button(number, finding, language, f"style='{place};{colour(number)}'", inner)


def _film_box(number: int, finding: Finding, language: str) -> str:
    begin, end = finding.span or (0.0, 0.0)
    where = " ".join(f"{value:.1f}" for value in finding.box or ())
    times = f"data-from='{begin}' data-to='{max(end, begin + 0.5)}'"
    return _button(number, finding, language, f"data-box='{where}' {times} hidden style='{colour(number)}'", "")


def _button(number: int, finding: Finding, language: str, marks: str, kind: str) -> str:
    told = html.escape(f"{label(finding, language)[:40]} {finding.score:.2f}", quote=True)
    return (
        f"<button type='button' class='box{kind}' data-finding='{number}' {marks} aria-label='{number}: {told}'>"
        f"<span>{told}</span></button>"
    )


def _size(medium: Kept) -> tuple[int, int] | None:
    from experts.errors import DuetError
    from experts.media import Image

    try:
        image = Image.open(medium.path)
    except DuetError:  # the file is gone: what was found is still listed
        return None
    return image.width, image.height


def captions(findings: Sequence[Finding]) -> str:
    """What was said as a film's subtitles; "" where nothing was."""
    spoken = [f for f in findings if f.span and f.expert == "speech"]
    if not spoken:
        return ""
    lines = ["WEBVTT", ""]
    for finding in spoken:
        begin, end = (f"{int(s) // 3600:02}:{int(s) // 60 % 60:02}:{s % 60:06.3f}" for s in finding.span or ())
        lines += [f"{begin} --> {end}", html.escape(" ".join(finding.text.split()), quote=False), ""]
    data = base64.b64encode("\n".join(lines).encode()).decode()
    return f"<track kind='subtitles' default src='data:text/vtt;base64,{data}'>"
