"""/v1/audio/transcriptions: a sound file in, what is said in it as json, text, srt, vtt or verbose_json."""

from __future__ import annotations

import math
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from agent.expert_calls import look
from experts.base import Finding
from experts.media import Audio
from ui.server.errors import ApiError, refuse
from ui.server.schema import unknown_model

if TYPE_CHECKING:
    from agent.agent import Agent

FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
FIELDS = ("file", "model", "response_format", "temperature", "timestamp_granularities[]")
MODELS = ("whisper-1", "duet-experts")  # ids that mean the speech expert, whichever weights it has
EXPERT = "speech"
MOST_FIELDS, MOST_FIELD_BYTES = 16, 4096


@dataclass(frozen=True)
class Wanted:
    """A sound, and the form in which its words are wanted."""

    data: bytes
    name: str
    model: str
    form: str


@dataclass(frozen=True)
class Heard:
    """What is said in a sound of `duration_s` seconds."""

    findings: tuple[Finding, ...]
    duration_s: float

    @property
    def text(self) -> str:
        return " ".join(finding.text for finding in self.findings)


async def parse(request: Request, most: int, limited: Callable[[Request, int], AsyncIterator[bytes]]) -> Wanted:
    """The form's fields, checked.

    Raises:
        ApiError: what cannot be honoured, or is too long.
    """
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        raise refuse("the body is no form; accepted: multipart/form-data with 'file' and 'model'")
    parser = MultiPartParser(
        request.headers,
        limited(request, most),  # type: ignore[arg-type]
        max_files=1,
        max_fields=MOST_FIELDS,
        max_part_size=MOST_FIELD_BYTES,
    )
    try:
        form = await parser.parse()
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise refuse("'file' is missing; accepted: a sound file as a part with a file name", "file")
        values = _values(form)
        data = await file.read()
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        reason = error.message if isinstance(error, MultiPartException) else "it is cut short or malformed"
        raise refuse(f"the form cannot be read: {reason}; accepted: multipart/form-data with one file") from None
    finally:
        for spooled in parser._files_to_close_on_error:  # every file that was begun, that of a form cut short too
            spooled.close()
    return Wanted(data, file.filename or "audio", values["model"], values.get("response_format") or "json")


def listen(wanted: Wanted, agent: Agent) -> Iterator[Heard]:
    """What the speech expert hears.

    Raises:
        ApiError: no such model.
        MediaError: the file is refused.
        DuetError: the expert failed.
    """
    expert = agent.context.expert(EXPERT)
    known = (*MODELS, expert.weights)
    if wanted.model not in known:
        raise unknown_model(wanted.model, known)
    sound = Audio.open(wanted.data, limits=agent.settings.limits, name=wanted.name)
    found = look(expert, sound) if agent.context.cache is None else agent.context.cache.look(expert, sound)[0]
    yield Heard(found, sound.duration_s)


def response(wanted: Wanted, heard: Heard | None) -> Response:
    """The transcript in the form that was asked for."""
    if heard is None:
        raise ApiError(499, "the request was given up")
    if wanted.form == "text":
        return PlainTextResponse(heard.text + "\n")
    if wanted.form == "srt":
        return PlainTextResponse(srt(heard.findings))
    if wanted.form == "vtt":
        return PlainTextResponse(vtt(heard.findings))
    usage = {"type": "duration", "seconds": math.ceil(heard.duration_s)}
    if wanted.form == "json":
        return JSONResponse({"text": heard.text, "usage": usage})
    language = next((str(f.extra["language"]) for f in heard.findings if f.extra.get("language")), "")
    return JSONResponse(
        {
            "task": "transcribe",
            "language": language,
            "duration": round(heard.duration_s, 3),
            "text": heard.text,
            "segments": [_segment(number, finding) for number, finding in enumerate(heard.findings)],
            "usage": usage,
        }
    )


def srt(findings: Sequence[Finding]) -> str:
    """SubRip: numbered cues with a comma before the milliseconds."""
    cues = [
        f"{number}\n{_time(start_s, ',')} --> {_time(end_s, ',')}\n{_line(text)}\n"
        for number, (start_s, end_s, text) in enumerate(_cues(findings), 1)
    ]
    return "\n".join(cues)


def vtt(findings: Sequence[Finding]) -> str:
    """WebVTT: a head, then cues with a point before the milliseconds; what would be markup is escaped."""
    cues = []
    for start_s, end_s, text in _cues(findings):
        safe = _line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"\n{_time(start_s, '.')} --> {_time(end_s, '.')}\n{safe}\n")
    return "WEBVTT\n" + "".join(cues)


def _values(form: Any) -> dict[str, str]:
    values = {key: value for key, value in form.multi_items() if isinstance(value, str)}
    accepted = {"response_format": FORMATS, "timestamp_granularities[]": ("segment",)}
    for key, value in values.items():
        if key not in FIELDS:
            raise refuse(
                f"{key[:60]!r} cannot be honoured (the language is detected); accepted: {', '.join(FIELDS)}",
                key[:60],
                "unknown_parameter",
            )
        if key in accepted and value not in accepted[key]:
            raise refuse(f"'{key}' is {value[:60]!r}; accepted: {', '.join(accepted[key])}", key)
    if not values.get("model"):
        raise refuse(f"'model' is missing; accepted: {', '.join(MODELS)}", "model")
    try:
        warm = float(values.get("temperature") or 0)
    except ValueError:
        warm = math.nan
    if warm != 0:
        raise refuse(f"'temperature' is {values['temperature'][:60]!r}; accepted: 0", "temperature")
    return values


def _segment(number: int, finding: Finding) -> dict[str, Any]:
    start_s, end_s = finding.span or (0.0, 0.0)
    data = finding.text.encode()
    return {
        "id": number,
        "seek": int(start_s * 100),
        "start": start_s,
        "end": end_s,
        "text": finding.text,
        "tokens": [],  # the expert does not tell them
        "temperature": 0.0,  # the one that was asked for
        "avg_logprob": round(math.log(max(finding.score, 1e-9)), 4),
        "compression_ratio": round(len(data) / len(zlib.compress(data)), 4),
        "no_speech_prob": finding.extra.get("no_speech", 0.0),
    }


def _cues(findings: Sequence[Finding]) -> list[tuple[float, float, str]]:
    return [(*finding.span, finding.text) for finding in findings if finding.span]


def _time(time_s: float, point: str) -> str:
    """1.5 -> 00:00:01,500"""
    milliseconds = round(time_s * 1000)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{point}{milliseconds:03d}"


def _line(text: str) -> str:
    """One line: an empty one, or an arrow, would end the cue."""
    return " ".join(text.split()).replace("-->", "->")
