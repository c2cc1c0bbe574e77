"""The evidence panel: boxes on the picture, the transcript under the player, and the list that leads to both."""

from __future__ import annotations

import html
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experts.base import Finding
from experts.config import home
from ui.app import words
from ui.app.components.steps import clock
from ui.app.conversations import Kept

MOST_BOXES = 16  # drawn at once: each is a picture of its own; any other is drawn when it is chosen
MOST_LISTED = 60
SHOWN_PX = 960  # longest side of the picture on the page
EDGE_PX = 3
AWAY: Any = "hidden"  # on the page all the same: one that was taken off it comes back without its file

# A click in the list, or a link to #evidence-TURN-NUMBER anywhere on the page, asks for that finding. A film that comes
# back to the page does not begin where it was told to, so it is wound on once it can be.
ON_LOAD = """
const ask = (turn, number) => {
  trigger('click', {turn: turn, number: number});
  let left = 40;
  const wind = () => {
    const at = element.querySelector(`button[data-number="${number}"][aria-current]`)?.dataset.at;
    const film = document.querySelector(`#${element.closest('[id$=-list]').id.replace(/list$/, 'film')} video`);
    if (at && film && film.readyState > 0) film.currentTime = Number(at);
    else if (left-- > 0) setTimeout(wind, 100);
  };
  setTimeout(wind, 100);
};
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-number]');
  if (button) ask(0, Number(button.dataset.number));
});
if (element.querySelector('.follows-links')) {
  document.addEventListener('click', (event) => {
    const link = event.target.closest && event.target.closest('a[href^="#evidence-"]');
    if (!link) return;
    event.preventDefault();
    const [turn, number] = link.getAttribute('href').split('-').slice(1).map(Number);
    ask(turn, number);
    element.scrollIntoView({behavior: 'smooth', block: 'nearest'});
  });
}
"""


class Panel:
    """The components of one panel, drawn where it is made; `outputs` takes what `show` returns."""

    def __init__(self, *, links: bool = False, name: str = "evidence") -> None:
        import gradio as gr

        self.links = links
        self.picture = gr.AnnotatedImage(
            label=words.word("evidence"), visible=AWAY, elem_id=f"{name}-picture", show_legend=False, height="auto"
        )
        self.player = gr.Audio(
            label=words.word("evidence"),
            visible=AWAY,
            interactive=False,
            elem_id=f"{name}-player",
            buttons=["download"],
        )
        self.film = gr.Video(label=words.word("evidence"), visible=AWAY, interactive=False, elem_id=f"{name}-film")
        self.listing = gr.HTML(
            self._list([], None, "en"), js_on_load=ON_LOAD, elem_id=f"{name}-list", elem_classes="evidence"
        )
        self.outputs: list[Any] = [self.picture, self.player, self.film, self.listing]

    def clear(self, language: str = "en", empty: str | None = None) -> list[Any]:
        """Updates for an empty panel."""
        import gradio as gr

        hidden = [gr.AnnotatedImage(value=None, visible=AWAY), gr.Audio(value=None, visible=AWAY)]
        listing = self._list([], None, language, empty)
        return [*hidden, gr.Video(value=None, visible=AWAY), gr.HTML(listing)]

    def show(
        self, media: Sequence[Kept], findings: Sequence[Finding], language: str = "en", chosen: int = 0
    ) -> list[Any]:
        """Updates that show `findings` in `media`; the one of number `chosen`, from 1, is pointed at, its medium shown.

        Without one, the first medium that something was found in is shown.
        """
        import gradio as gr

        picked = findings[chosen - 1] if 0 < chosen <= len(findings) else None
        medium = _medium(media, findings, picked)
        if medium is None:
            return self.clear(language)
        picture, player, film = self.clear(language)[:3]
        inside = [f for f in findings if f.source in ("", medium.name)]
        at = picked.span[0] if picked and picked.span else 0.0
        if medium.kind == "image":
            drawn = boxes(medium, [picked] if picked and picked.box else inside)
            picture = gr.AnnotatedImage(value=drawn, visible=True if drawn else AWAY, label=medium.name)
        elif medium.kind == "audio":
            player = gr.Audio(
                value=medium.path, visible=True, label=medium.name, subtitles=subtitles(inside), playback_position=at
            )
        else:
            said = subtitles(inside)
            film = gr.Video(
                value=medium.path,
                visible=True,
                label=medium.name,
                subtitles=str(vtt(said)) if said else None,
                playback_position=at,
            )
        return [picture, player, film, gr.HTML(self._list(findings, picked, language))]

    def _list(
        self, findings: Sequence[Finding], picked: Finding | None, language: str, empty: str | None = None
    ) -> str:
        """The findings as buttons, by expert."""
        follows = " follows-links" if self.links else ""
        if not findings:
            told = words.say(language, "no_evidence") if empty is None else empty
            return f'<div class="findings{follows}"><p>{html.escape(told)}</p></div>'
        several = len({finding.source for finding in findings}) > 1
        rows, expert = [], ""
        for number, finding in enumerate(findings[:MOST_LISTED], 1):
            if finding.expert != expert:
                expert = finding.expert
                rows.append(f"<h4>{html.escape(expert)}</h4>")
            when = f"<time>{clock(finding.span[0])}</time> " if finding.span else ""
            colour = f" ({finding.extra['colour']})" if finding.extra.get("colour") else ""
            source = f" · {finding.source}" if several else ""
            marked = ' aria-current="true"' if finding is picked else ""
            marked += f' data-at="{finding.span[0]}"' if finding.span else ""
            rows.append(
                f'<button type="button" data-number="{number}"{marked}><b>{number}</b> {when}'
                f"<span>{html.escape(finding.text + colour)}</span> "
                f"<small>{finding.score:.2f}{html.escape(source)}</small></button>"
            )
        if len(findings) > MOST_LISTED:
            rows.append(f"<p>{html.escape(words.say(language, 'more', len(findings) - MOST_LISTED))}</p>")
        return f'<div class="findings{follows}">{"".join(rows)}</div>'


def boxes(medium: Kept, findings: Sequence[Finding]) -> tuple[Any, list[Any]] | None:
    """A picture of at most SHOWN_PX and the boxes in it with their names; None where the file is gone."""
    from experts.errors import DuetError
    from experts.media import Image

    try:
        image = Image.open(medium.path)
    except DuetError:
        return None
    picture = image.to_pil()
    share = min(SHOWN_PX / max(picture.size), 1.0)
    picture = picture.resize((max(round(picture.width * share), 1), max(round(picture.height * share), 1)))
    drawn = []
    boxed = sorted((f for f in findings if f.box and f.source in ("", medium.name)), key=lambda f: -f.score)
    for finding in boxed[:MOST_BOXES]:
        x0, y0, x1, y1 = (round(value * share) for value in finding.box or ())
        x0, y0 = max(min(x0, picture.width - 4), 0), max(min(y0, picture.height - 4), 0)
        x1, y1 = min(max(x1, x0 + 4), picture.width), min(max(y1, y0 + 4), picture.height)
        drawn.append((_frame(picture.size, x0, y0, x1, y1), f"{finding.text[:40]} {finding.score:.2f}"))
    return picture, drawn


def _frame(size: tuple[int, int], x0: int, y0: int, x1: int, y1: int) -> Any:
    """A box as opacities [height, width]: its edge, and a breath of colour inside that hides nothing."""
    import numpy as np

    mask = np.zeros((size[1], size[0]))
    mask[y0:y1, x0:x1] = 1.0
    mask[y0 + EDGE_PX : y1 - EDGE_PX, x0 + EDGE_PX : x1 - EDGE_PX] = 0.06
    return mask


def subtitles(findings: Sequence[Finding]) -> list[dict[str, Any]] | None:
    """What was said, as a player takes it; None where nothing was."""
    said = [f for f in findings if f.span and f.expert == "speech"]
    return [{"text": f.text, "timestamp": list(f.span or ())} for f in said] or None


def vtt(said: Sequence[dict[str, Any]]) -> Path:
    """The subtitles as a WebVTT file, for a film."""
    lines = ["WEBVTT", ""]
    for cue in said:
        begin, end = (f"{int(s) // 3600:02}:{int(s) // 60 % 60:02}:{s % 60:06.3f}" for s in cue["timestamp"])
        lines += [f"{begin} --> {end}", html.escape(" ".join(cue["text"].split()), quote=False), ""]
    folder = home() / "ui" / "gradio"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{secrets.token_hex(8)}.vtt"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def _medium(media: Sequence[Kept], findings: Sequence[Finding], picked: Finding | None) -> Kept | None:
    names = [picked.source] if picked else [finding.source for finding in findings]
    for name in names:
        for medium in media:
            if medium.name == name:
                return medium
    return media[0] if media else None
