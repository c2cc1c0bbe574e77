"""A chat request of OpenAI's form, checked: messages -> a question and its media, or a refusal that names the fault.

What cannot be honoured is refused; what makes no difference here (decoding is always greedy) is let through and listed
under `duet.ignored` of the answer. The form: platform.openai.com/docs/api-reference/chat; `video_url` as vLLM has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.agent import MOST_MEDIA
from connector.base import Turn
from experts.config import Limits
from experts.media import Audio, Image, Media, Video
from ui.server.errors import ApiError, refuse

MODELS = {"duet-experts": "experts", "duet-connector": "connector", "duet-auto": "auto"}  # id -> route
PARTS = ("text", "image_url", "input_audio", "video_url")
HARMLESS = frozenset({
    "frequency_penalty", "metadata", "parallel_tool_calls", "presence_penalty", "prompt_cache_key",
    "safety_identifier", "seed", "service_tier", "store", "temperature", "top_p", "user", "verbosity",
    "reasoning_effort",
})  # fmt: skip
FIXED: dict[str, tuple[Any, ...]] = {  # parameters of which only some values can be honoured
    "n": (1,),
    "stop": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
}
KNOWN = ("model", "messages", "stream", "stream_options", "max_tokens", "max_completion_tokens")
REFERS_BACK = re.compile(
    r"\b(both|compare|comparison|differ\w*|same|other|previous|earlier|before|first|second|third|last|all|each|every|"
    r"(images|pictures|photos|videos|sounds|recordings|clips))\b",
    re.I,
)
MOST_HISTORY, MOST_TURN_CHARS = 4, 300  # earlier turns that are read again, and characters of each


@dataclass(frozen=True)
class Part:
    """A medium as it came: what opens it, and in which turn (from 0) it was sent."""

    kind: str
    source: str | bytes
    name: str
    turn: int

    def open(self, limits: Limits) -> Media:
        """Through the media door. Raises MediaError where it is refused."""
        kind: Any = {"image": Image, "audio": Audio, "video": Video}[self.kind]
        return kind.open(self.source, limits=limits, name=self.name)


@dataclass(frozen=True)
class ChatRequest:
    """A question with the media it is about, and how the answer is wanted."""

    model: str
    route: str
    question: str
    media: tuple[Part, ...]
    history: tuple[Turn, ...] = ()  # what was asked and said before, oldest first
    not_looked_at: tuple[str, ...] = ()  # names of media of earlier turns that the question is not about
    stream: bool = False
    include_usage: bool = False
    most_tokens: int = 0
    ignored: tuple[str, ...] = field(default=())


def parse_chat(body: Any) -> ChatRequest:
    """The request in a decoded JSON body.

    Raises:
        ApiError: 404 for an unknown model, 400 for anything else that cannot be honoured.
    """
    if not isinstance(body, dict):
        raise refuse(f"the body is {_type(body)}; accepted: a JSON object with 'model' and 'messages'")
    for key in body:
        if key not in HARMLESS and key not in FIXED and key not in KNOWN:
            known = ", ".join(sorted({*HARMLESS, *FIXED, *KNOWN}))
            raise refuse(f"unknown parameter {str(key)[:60]!r}; known: {known}", str(key)[:60], "unknown_parameter")
    model = body.get("model")
    if not isinstance(model, str):
        raise refuse(f"'model' is {_type(model)}; accepted: {', '.join(MODELS)}", "model")
    if model not in MODELS:
        raise unknown_model(model)
    for key, accepted in FIXED.items():
        if body.get(key) is not None and body[key] not in accepted:
            shown = " or ".join(repr(value) for value in accepted)
            raise refuse(f"'{key}' cannot be honoured; accepted: {shown}, or leave it out", key, "unsupported_value")
    options = body.get("stream_options") or {}
    if not isinstance(options, dict):
        raise refuse(f"'stream_options' is {_type(options)}; accepted: an object", "stream_options")
    stream = _flag(body, "stream")
    turns = _turns(body.get("messages"))
    media, others = _media(turns)
    ignored = sorted(key for key in HARMLESS if body.get(key) is not None)
    ignored += ["system messages"] if any(turn.role in ("system", "developer") for turn in turns) else []
    return ChatRequest(
        model,
        MODELS[model],
        turns[-1].text.strip(),
        media,
        _history(turns),
        others,
        stream,
        _flag(options, "include_usage", "stream_options."),
        _most_tokens(body),
        tuple(ignored),
    )


def unknown_model(name: str, known: Any = tuple(MODELS)) -> ApiError:
    """404, as OpenAI has it."""
    message = f"the model {name[:60]!r} does not exist here; known: {', '.join(known)}"
    return ApiError(404, message, param="model", code="model_not_found")


@dataclass(frozen=True)
class _Turn:
    role: str
    text: str
    media: tuple[Part, ...]


def _turns(messages: Any) -> list[_Turn]:
    if not isinstance(messages, list) or not messages:
        raise refuse(f"'messages' is {_type(messages)}; accepted: a list with at least one message", "messages")
    turns: list[_Turn] = []
    counts = dict.fromkeys(("image", "audio", "video"), 0)
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise refuse(f"{where} is {_type(message)}; accepted: an object with 'role' and 'content'", where)
        role = message.get("role")
        if role not in ("system", "developer", "user", "assistant"):
            raise refuse(
                f"{where}.role is {_short(role)}; accepted: system, developer, user, assistant", f"{where}.role"
            )
        if message.get("tool_calls") or message.get("function_call") or message.get("audio"):
            raise refuse(f"{where} has calls or audio of an assistant; accepted: its text as 'content'", where)
        turns.append(_turn(role, message.get("content"), number, counts))
    if turns[-1].role != "user":
        raise refuse(f"the last message is of role '{turns[-1].role}'; accepted: user, who asks", "messages")
    return turns


def _turn(role: str, content: Any, number: int, counts: dict[str, int]) -> _Turn:
    where = f"messages[{number}].content"
    if content is None and role == "assistant":
        return _Turn(role, "", ())
    if isinstance(content, str):
        return _Turn(role, _text(content, where), ())
    if not isinstance(content, list):
        raise refuse(f"{where} is {_type(content)}; accepted: a text or a list of parts", where)
    texts: list[str] = []
    media: list[Part] = []
    for index, part in enumerate(content):
        at = f"{where}[{index}]"
        kind = str(part.get("type")) if isinstance(part, dict) else ""
        accepted = PARTS if role == "user" else ("text", "refusal") if role == "assistant" else ("text",)
        if kind not in accepted:
            found = f"type {_short(kind)}" if isinstance(part, dict) else _type(part)
            raise refuse(f"{at} is of {found}; accepted in a {role} message: {', '.join(accepted)}", at)
        if kind in ("text", "refusal"):
            texts.append(_text(part.get(kind), f"{at}.{kind}"))
        else:
            medium, source = READERS[kind](part.get(kind), f"{at}.{kind}")
            counts[medium] += 1
            media.append(Part(medium, source, f"{medium}{counts[medium]}", number))
    return _Turn(role, "\n".join(texts), tuple(media))


def _url(kind: str) -> Callable[[Any, str], tuple[str, str | bytes]]:
    def read(value: Any, where: str) -> tuple[str, str | bytes]:
        url = value.get("url") if isinstance(value, dict) else None
        if not isinstance(url, str):
            raise refuse(f"{where}.url is {_type(url)}; accepted: a data: URL with the {kind} in it", f"{where}.url")
        if url[:5].lower() != "data:" or not url.isascii():
            what = "a remote address, and fetching is off" if re.match(r"\w+://", url) else "no data: URL"
            raise refuse(
                f"{where}.url is {what}; accepted: data:{kind}/...;base64,...; load it first and send its bytes",
                f"{where}.url",
                "unsupported_url",
            )
        return kind, url

    return read


def _sound(value: Any, where: str) -> tuple[str, str | bytes]:
    data = value.get("data") if isinstance(value, dict) else None
    if not isinstance(data, str) or not data or not data.isascii():
        raise refuse(f"{where}.data is {_type(data)}; accepted: a sound file in base64", f"{where}.data")
    form = value.get("format")
    if form is not None and not isinstance(form, str):
        raise refuse(f"{where}.format is {_type(form)}; accepted: wav, mp3 or another format's name", f"{where}.format")
    return "audio", data if data[:5].lower() == "data:" else f"data:audio/any;base64,{data}"


READERS: dict[str, Callable[[Any, str], tuple[str, str | bytes]]] = {
    "image_url": _url("image"),
    "video_url": _url("video"),
    "input_audio": _sound,
}


def _media(turns: list[_Turn]) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """The media that the question of the last turn is about, and the names of those that it is not about.

    Those of the last turn that sent any, and all where the question points back ("both", "the first picture").
    """
    sent = [part for turn in turns for part in turn.media]
    latest = max((part.turn for part in sent), default=-1)
    media = sent if REFERS_BACK.search(turns[-1].text) else [part for part in sent if part.turn == latest]
    if len(media) > MOST_MEDIA:
        late = [part for part in media if part.turn == latest]
        media = late if len(late) > MOST_MEDIA else media[-MOST_MEDIA:]  # too many in one turn are refused later
    return tuple(media), tuple(part.name for part in sent if part not in media)


def _history(turns: list[_Turn]) -> tuple[Turn, ...]:
    """What was asked and said before the last turn, so that "What colour is it?" has something to be about."""
    before = [turn for turn in turns[:-1] if turn.text.strip() and turn.role in ("user", "assistant")]
    return tuple(Turn(turn.role, " ".join(turn.text.split())[:MOST_TURN_CHARS]) for turn in before[-MOST_HISTORY:])


def _most_tokens(body: dict[str, Any]) -> int:
    for key in ("max_completion_tokens", "max_tokens"):
        value = body.get(key)
        if value is not None:
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise refuse(f"'{key}' is {_short(value)}; accepted: whole numbers from 1", key)
            return value
    return 0


def _flag(body: dict[str, Any], key: str, prefix: str = "") -> bool:
    value = body.get(key)
    if value is not None and not isinstance(value, bool):
        raise refuse(f"'{prefix}{key}' is {_short(value)}; accepted: true or false", prefix + key)
    return bool(value)


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise refuse(f"{where} is {_type(value)}; accepted: a text", where)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise refuse(f"{where} holds half of a character; accepted: whole Unicode text", where) from None
    return value


def _type(value: Any) -> str:
    names = {type(None): "missing", dict: "an object", list: "a list", str: "a text", bool: "a truth value"}
    if value == [] or value == "":
        return "empty"
    return names.get(type(value), "a number")


def _short(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."
