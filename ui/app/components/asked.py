"""A question and its media above the answers: the words as they were typed, the media to be seen and heard."""

from __future__ import annotations

import html
import urllib.parse
from collections.abc import Sequence
from pathlib import Path

from ui.app.conversations import Kept

SHOWN = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".avif")  # what every browser can draw
MOST_BYTES = 1 << 20  # of a picture that is sent as it is
SHOWN_PX = 1280  # longest side of the picture that is sent in place of another


def asked(question: str, media: Sequence[Kept] = ()) -> str:
    """HTML of a question with its pictures and players; the files lie where the app serves them from."""
    shown = "".join(medium_html(medium) for medium in media)
    return f"<div class='asked'><div class='asked-media'>{shown}</div><p dir='auto'>{html.escape(question)}</p></div>"


def medium_html(medium: Kept) -> str:
    """A picture, or a player."""
    name = html.escape(medium.name, quote=True)
    if medium.kind == "image":
        return f"<img src='{address(picture(medium.path))}' alt='{name}'>"
    tag = "audio" if medium.kind == "audio" else "video"
    return f"<{tag} controls preload='metadata' src='{address(medium.path)}' aria-label='{name}'></{tag}>"


def address(path: str | Path) -> str:
    """Where the app serves a file, fit for an attribute."""
    return html.escape("gradio_api/file=" + urllib.parse.quote(str(path)), quote=True)


def picture(path: str) -> str:
    """The picture itself where a browser can draw it and it is small, else a JPEG of it beside it, made once."""
    from experts.errors import DuetError
    from experts.media import Image

    file = Path(path)
    try:
        if file.suffix.lower() in SHOWN and file.stat().st_size <= MOST_BYTES:
            return path
        shown = file.with_name(f"{file.stem}.shown.jpg")
        if not shown.exists():
            made = Image.open(path).to_pil().convert("RGB")
            made.thumbnail((SHOWN_PX, SHOWN_PX))
            part = shown.with_suffix(".part")
            made.save(part, "JPEG", quality=88)
            part.replace(shown)
        return str(shown)
    except (DuetError, OSError):
        return path
