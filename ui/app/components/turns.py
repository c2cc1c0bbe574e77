"""Turns of a conversation as a chat shows them, who asks, and the examples to begin with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ui.app.components.steps import plain
from ui.app.conversations import Kept, Turn

FOLDER = Path(__file__).parents[3] / "examples"


EXAMPLES = [  # file, question, what it shows
    ("photo.jpg", "What is in the picture?", "object"),
    ("photo.jpg", "How many cups are there?", "count"),
    ("photo.jpg", "What colour is the cup?", "colour"),
    ("sign.png", "What is written on the sign?", "text_"),
    ("photo.jpg", "Is there a dog in the picture?", "absence"),
    ("announcement.wav", "Which platform does the train leave from?", "sound"),
    ("film.mp4", "What is said in the film?", "film"),
]


def who(brought: Any) -> dict[str, str]:
    """Whose browser it is and which conversation is open, from what it keeps: "OWNER:CONVERSATION".

    A text, since a dict would be patched in place by the page while an answer streams.
    """
    owner, _, conversation = str(brought or "").partition(":")
    return {"owner": owner, "conversation": conversation}


def written(browser: dict[str, str]) -> str:
    """What a browser keeps."""
    return f"{browser['owner']}:{browser['conversation']}"


def messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The chat's messages for these turns; media stand where they are new."""
    made: list[dict[str, Any]] = []
    before: list[Kept] = []
    for turn in turns:
        files = [{"path": medium.path, "alt_text": medium.name} for medium in turn.media if medium not in before]
        made.append({"role": "user", "content": [*files, plain(turn.question)]})
        made += turn.messages
        before = turn.media
    return made


def turn_at(turns: Sequence[Turn], index: Any) -> Turn | None:
    """The turn that the chat's message `index` belongs to."""
    wanted = index[0] if isinstance(index, list | tuple) else index
    at = 0
    for turn in turns:
        at += 1 + len(turn.messages)
        if wanted < at:
            return turn
    return None


def present() -> list[tuple[Path, str]]:
    """The examples that are here."""
    return [(FOLDER / file, question) for file, question, _ in EXAMPLES if (FOLDER / file).is_file()]


def examples() -> list[Any]:
    """The example gallery of an empty chat."""
    return [{"text": question, "files": [str(file)]} for file, question in present()]
