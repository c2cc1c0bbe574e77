"""The server, really started: what OpenAI's and LangChain's clients get, and what hostile requests get."""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import fakes
import httpx
import numpy as np
import openai
import pytest
from fakes import FakeExpert, found, make_agent
from serving import Client, data_url, picture, png, serving, text, until, wav

from experts.base import Finding
from experts.errors import ExpertError

DOGS = found("detect", "dog", "dog", box=(0.0, 0.0, 3.0, 4.0))
WORDS = [
    Finding("speech", "Good morning, everyone.", 0.9, span=(0.0, 1.5), extra={"language": "en", "no_speech": 0.01}),
    Finding("speech", "a <b> --> c", 0.8, span=(61.25, 3723.004), extra={"language": "en"}),
]
ASK = "How many dogs are there?"
SECRET = "/home/somebody/secret"


def speaker() -> FakeExpert:
    return FakeExpert("speech", WORDS, ("audio",))


@pytest.fixture
def detect() -> FakeExpert:
    return FakeExpert("detect", lambda medium: [Finding("detect", "dog", 0.9, source=medium.name)])


@pytest.fixture
def client(detect: FakeExpert) -> Iterator[Client]:
    agent, _ = make_agent([detect, speaker()])
    with serving(agent, most_body_mb=1) as client:
        yield client


@pytest.fixture
def official(client: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[openai.OpenAI]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with openai.OpenAI(base_url=client.url, api_key="none", max_retries=0) as made:
        yield made


def error_of(response: Any) -> str:
    """The message of an error in OpenAI's form."""
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert not re.search(r"Traceback|File \"|/home|/tmp|/root|site-packages", json.dumps(error))
    return error["message"]


# What the official clients get


def test_official_client_gets_an_answer_with_usage_and_findings(official: openai.OpenAI) -> None:
    done = official.chat.completions.create(
        model="duet-experts", messages=[{"role": "user", "content": [text(ASK), picture()]}]
    )
    assert done.choices[0].message.content == "There are two dogs."
    assert (done.choices[0].finish_reason, done.model) == ("stop", "duet-experts")
    assert done.usage is not None and done.usage.completion_tokens == 4
    assert done.usage.prompt_tokens > 50 and done.usage.total_tokens == done.usage.prompt_tokens + 4
    about = done.model_extra["duet"]  # type: ignore[index]
    assert [finding["text"] for finding in about["findings"]] == ["dog"]
    assert (about["fallback"], about["error"], about["media"], about["ignored"]) == (None, None, ["image1"], [])
    assert about["confidence"] == pytest.approx(fakes.P, abs=1e-3)
    assert done.id == f"chatcmpl-{about['trace_id']}"


@pytest.mark.parametrize("model", ["duet-experts", "duet-connector", "duet-auto"])
def test_streamed_pieces_join_to_the_whole_answer(official: openai.OpenAI, model: str) -> None:
    ask: Any = {"model": model, "messages": [{"role": "user", "content": [text(ASK), picture()]}]}
    whole = official.chat.completions.create(**ask)
    chunks = list(official.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True}))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said == whole.choices[0].message.content == "There are two dogs."
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 2) + ["stop"]
    assert chunks[-1].usage == whole.usage and not chunks[-1].choices
    assert chunks[-2].model_extra["duet"]["route"] == whole.model_extra["duet"]["route"]  # type: ignore[index]
    assert len({chunk.id for chunk in chunks}) == 1


def test_tokens_are_streamed_while_the_model_speaks() -> None:
    agent, llm = make_agent([FakeExpert("detect", DOGS)], "one two three four five six", pause_s=0.1)
    body = {"model": "duet-experts", "stream": True, "messages": [{"role": "user", "content": [text(ASK), picture()]}]}
    with serving(agent) as client, client.stream("POST", "/v1/chat/completions", json=body) as response:
        for line in response.iter_lines():
            if "one" in line:
                assert llm.spoken < 6
                break
        else:
            pytest.fail("the first word never came")


def test_auto_streams_only_the_answer_that_stands() -> None:
    agent, _ = make_agent([FakeExpert("detect", [])], lambda prompt: "Nothing." if "Nothing" in prompt else "A dog.")
    with serving(agent) as client:
        body = {"model": "duet-auto", "messages": [{"role": "user", "content": [text(ASK), picture()]}], "stream": True}
        lines = [line[6:] for line in client.chat(body).text.split("\n\n") if line.startswith("data: {")]
    chunks = [json.loads(line) for line in lines]
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "A dog."
    assert chunks[-1]["duet"]["fallback"]["reason"] == "the experts found nothing"


def test_langchain_chat_model_works(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_core.messages import HumanMessage
    from langchain_openai import ChatOpenAI

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    message = HumanMessage([text(ASK), picture()])  # type: ignore[list-item]
    with openai.DefaultHttpxClient() as http:
        chat = ChatOpenAI(model="duet-auto", base_url=client.url, api_key="none", max_retries=0, http_client=http)  # type: ignore[arg-type]
        assert chat.invoke([message]).content == "There are two dogs."
        assert "".join(str(chunk.content) for chunk in chat.stream([message])) == "There are two dogs."


def test_what_was_looked_at_of_a_medium_is_told(client: Client) -> None:
    file = io.BytesIO()
    fakes.image().to_pil().save(file, "TIFF", save_all=True, append_images=[fakes.image(90).to_pil()])
    scan = {"type": "image_url", "image_url": {"url": data_url(file.getvalue(), "image/tiff")}}
    assert client.ask([text(ASK), scan]).json()["duet"]["notes"] == ["all 2 pages of it were opened"]
    assert client.ask([text(ASK), picture()]).json()["duet"]["notes"] == []


def test_models_are_the_three_routes(official: openai.OpenAI) -> None:
    assert [model.id for model in official.models.list()] == ["duet-experts", "duet-connector", "duet-auto"]
    assert official.models.retrieve("duet-auto").owned_by == "duet"
    with pytest.raises(openai.NotFoundError, match="known: duet-experts, duet-connector, duet-auto"):
        official.models.retrieve("gpt-5")


def test_sound_and_video_are_looked_at_too(official: openai.OpenAI) -> None:
    encoded = base64.b64encode(wav()).decode()
    sound: Any = {"type": "input_audio", "input_audio": {"data": encoded, "format": "wav"}}
    done = official.chat.completions.create(
        model="duet-experts", messages=[{"role": "user", "content": [text("What is said?"), sound]}]
    )
    assert done.model_extra["duet"]["findings"][0]["text"] == "Good morning, everyone."  # type: ignore[index]


def test_video_url_is_opened_as_a_video() -> None:
    import io

    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as made:
        stream = made.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        for _ in range(5):
            made.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        made.mux(stream.encode())
    watcher = FakeExpert("video", [Finding("detect", "dog", 0.9)], ("video",))
    part = {"type": "video_url", "video_url": {"url": data_url(file.getvalue(), "video/mp4")}}
    with serving(make_agent([watcher])[0]) as client:
        assert client.ask([text(ASK), part]).json()["duet"]["media"] == ["video1"]
    assert watcher.asked[0].kind == "video"


# The conversation


def conversation(*turns: Any) -> list[dict[str, Any]]:
    """User and assistant by turns."""
    return [{"role": ("user", "assistant")[i % 2], "content": turn} for i, turn in enumerate(turns)]


@pytest.mark.parametrize(
    ("turns", "looked_at", "asked"),
    [
        (([text(ASK), picture(1)], "Two.", "Is there a cat?"), [1], "Is there a cat?"),
        (([text(ASK), picture(1)], "Two.", [text("Is there a cat?"), picture(2)]), [2], "Is there a cat?"),
        (
            ([text(ASK), picture(1)], "Two.", [text("Which of both pictures has a cat?"), picture(2)]),
            [1, 2],
            "Which of both pictures has a cat?",
        ),
        (
            ([text(ASK), picture(1)], "Two.", "What colour are they?"),
            [1],
            "What colour are they?",
        ),
        (([picture(1), picture(2), text(ASK)],), [1, 2], ASK),
    ],
    ids=["earlier medium", "newest medium", "points back", "follow-up", "several at once"],
)
def test_media_and_words_of_earlier_turns_stay_available(
    client: Client, detect: FakeExpert, turns: Any, looked_at: list[int], asked: str
) -> None:
    done = client.chat({"model": "duet-experts", "messages": conversation(*turns)}).json()
    assert [int(medium.pixels[0, 0, 0]) for medium in detect.asked] == looked_at  # type: ignore[union-attr]
    assert done["duet"]["question"] == asked
    sent = sum(part["type"] == "image_url" for turn in turns for part in turn if isinstance(part, dict))
    assert len(done["duet"]["media"] + done["duet"]["media_not_looked_at"]) == sent


@pytest.mark.parametrize("model", ["duet-experts", "duet-connector"])
def test_a_follow_up_is_asked_as_it_stands_after_the_turns_before_it(model: str) -> None:
    """The question before was pasted in front once, and answered in place of the new one."""
    agent, llm = make_agent([FakeExpert("detect", [Finding("detect", "bus", 0.9)])])
    turns = conversation([text("What vehicle is there?"), picture()], "A bus.", "What colour is it?")
    with serving(agent) as client:
        assert client.chat({"model": model, "messages": turns}).status_code == 200
    before, _, asked = llm.prompts[0].partition("A bus.")
    assert "What vehicle is there?" in before and "Instruction: What colour is it?" in asked
    assert "What vehicle" not in asked


def test_what_makes_no_difference_is_named(client: Client) -> None:
    messages = [{"role": "system", "content": "Be brief."}, *conversation([text(ASK), picture()])]
    done = client.chat({"model": "duet-experts", "messages": messages, "temperature": 0.7, "user": "me"}).json()
    assert done["duet"]["ignored"] == ["temperature", "user", "system messages"]


@pytest.mark.parametrize("key", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("model", ["duet-experts", "duet-connector"])
def test_answer_of_limited_length_says_so(client: Client, key: str, model: str) -> None:
    done = client.ask([text(ASK), picture()], model, **{key: 2}).json()
    assert done["choices"][0] | {"message": done["choices"][0]["message"]["content"]} == {
        "index": 0, "message": "There are", "logprobs": None, "finish_reason": "length",
    }  # fmt: skip
    assert done["usage"]["completion_tokens"] == 2


# Transcriptions


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("text", "Good morning, everyone. a <b> --> c\n"),
        (
            "srt",
            "1\n00:00:00,000 --> 00:00:01,500\nGood morning, everyone.\n\n"
            "2\n00:01:01,250 --> 01:02:03,004\na <b> -> c\n",
        ),
        (
            "vtt",
            "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nGood morning, everyone.\n\n"
            "00:01:01.250 --> 01:02:03.004\na &lt;b&gt; -&gt; c\n",
        ),
    ],
)
def test_transcript_as_text_and_subtitles(official: openai.OpenAI, form: Any, expected: str) -> None:
    given = official.audio.transcriptions.create(model="whisper-1", file=("talk.wav", wav()), response_format=form)
    assert given == expected


def test_transcript_as_json(official: openai.OpenAI) -> None:
    plain = official.audio.transcriptions.create(model="speech-fake", file=("talk.wav", wav()))
    assert plain.text == "Good morning, everyone. a <b> --> c"
    whole = official.audio.transcriptions.create(
        model="whisper-1", file=("talk.wav", wav()), response_format="verbose_json"
    )
    assert (whole.language, whole.duration, whole.text) == ("en", 0.5, plain.text)
    assert whole.segments is not None
    assert [(s.id, s.start, s.end) for s in whole.segments] == [(0, 0.0, 1.5), (1, 61.25, 3723.004)]
    assert whole.segments[0].avg_logprob == pytest.approx(np.log(0.9), abs=1e-3)


@pytest.mark.parametrize(
    ("fields", "file", "status", "says"),
    [
        ({"model": "whisper-9"}, wav(), 404, "'whisper-9' does not exist here; known: whisper-1"),
        ({}, wav(), 400, "'model' is missing"),
        ({"model": "whisper-1"}, None, 400, "'file' is missing"),
        ({"model": "whisper-1"}, b"no sound at all", 400, "is text, not a sound"),
        ({"model": "whisper-1"}, b"", 400, "is empty"),
        ({"model": "whisper-1"}, png(), 400, "is an image"),
        ({"model": "whisper-1", "response_format": "docx"}, wav(), 400, "accepted: json, text, srt, vtt, verbose_json"),
        ({"model": "whisper-1", "language": "de"}, wav(), 400, "'language' cannot be honoured"),
        ({"model": "whisper-1", "temperature": "warm"}, wav(), 400, "'temperature' is 'warm'; accepted: 0"),
        ({"model": "whisper-1", "timestamp_granularities[]": "word"}, wav(), 400, "accepted: segment"),
        ({"model": "whisper-1"}, b"x" * 2_000_000, 413, "the request is over 1 MB"),
    ],
)
def test_refused_transcription_says_what_is_accepted(
    client: Client, fields: dict[str, str], file: bytes | None, status: int, says: str
) -> None:
    files = {} if file is None else {"file": (f"..{SECRET}/talk.wav", file)}
    if not files:
        files, fields = {"model": (None, "whisper-1")}, {}  # type: ignore[dict-item]
    response = client.post("/v1/audio/transcriptions", data=fields, files=files)
    assert (response.status_code, says in error_of(response)) == (status, True), error_of(response)
    assert "secret/" not in response.text


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "multipart/form-data"),
        (b"junk", "multipart/form-data; boundary=x"),
        (
            b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nhalf",
            "multipart/form-data; boundary=x",
        ),
        (b"{}", "application/json"),
        (b"--x\r\n" * 1000, "multipart/form-data; boundary=x"),
    ],
)
def test_malformed_form_is_a_400(client: Client, content: bytes, kind: str) -> None:
    response = client.post("/v1/audio/transcriptions", content=content, headers={"Content-Type": kind})
    assert response.status_code == 400 and error_of(response)


# Hostile requests


def one(part: Any) -> Any:
    return conversation([text(ASK), picture(), part])


def at(url: Any, kind: str = "image_url") -> Any:
    return one({"type": kind, kind: {"url": url}})


def heard(data: Any, form: Any = "wav") -> Any:
    return one({"type": "input_audio", "input_audio": {"data": data, "format": form}})


REFUSED: list[tuple[Any, int, str]] = [
    ([], 400, "the body is empty; accepted: a JSON object"),
    ({}, 400, "'model' is missing"),
    ({"model": 5}, 400, "'model' is a number"),
    ({"model": "gpt-4o"}, 404, "the model 'gpt-4o' does not exist here; known: duet-experts"),
    ({"model": "duet-auto"}, 400, "'messages' is missing"),
    ({"messages": []}, 400, "'messages' is empty"),
    ({"messages": ["hello"]}, 400, "messages[0] is a text"),
    ({"messages": [{"role": "king", "content": "x"}]}, 400, "role is 'king'; accepted: system, developer, user"),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "1"}]}, 400, "role is 'tool'"),
    ({"messages": [{"role": "user"}]}, 400, "messages[0].content is missing"),
    ({"messages": conversation([text(ASK), picture()], "Two.")}, 400, "the last message is of role 'assistant'"),
    ({"messages": conversation("")}, 400, "the question is empty"),
    ({"messages": conversation([picture()])}, 400, "the question is empty"),
    ({"messages": conversation(ASK)}, 400, "no medium was given"),
    ({"messages": conversation([text("x" * 4001), picture()])}, 400, "the question has 4001 characters"),
    ({"messages": conversation([text(ASK)] + [picture()] * 9)}, 400, "9 media were given; accepted: 1 to 8"),
    ({"messages": one({"type": "file", "file": {"file_id": "1"}})}, 400, "messages[0].content[2] is of type 'file'"),
    ({"messages": one({"type": "IMAGE_URL"})}, 400, "accepted in a user message: text, image_url, input_audio"),
    ({"messages": one({})}, 400, "messages[0].content[2] is of type 'None'"),
    ({"messages": one("text")}, 400, "messages[0].content[2] is of a text"),
    ({"messages": one({"type": "text", "text": 3})}, 400, "content[2].text is a number"),
    ({"messages": one({"type": "text", "text": "\ud800"})}, 400, "holds half of a character"),
    ({"messages": one({"type": "image_url", "image_url": "x"})}, 400, "image_url.url is missing"),
    ({"messages": at(None)}, 400, "image_url.url is missing"),
    (
        {"messages": one({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})},
        400,
        "fetching is off",
    ),
    ({"messages": at("http://169.254.169.254/")}, 400, "fetching is off"),
    ({"messages": at("file:///etc/passwd")}, 400, "fetching is off"),
    ({"messages": at("/etc/passwd")}, 400, "is no data: URL"),
    ({"messages": at("photo.png")}, 400, "is no data: URL"),
    ({"messages": at("data:,")}, 400, "is empty (0 bytes)"),
    (
        {"messages": one({"type": "image_url", "image_url": {"url": "data:image/png;base64,@@"}})},
        400,
        "base64 is broken",
    ),
    (
        {"messages": one({"type": "image_url", "image_url": {"url": "data:image/png;base64,\udcff"}})},
        400,
        "no data: URL",
    ),
    ({"messages": at(data_url(b"hello"))}, 400, "is text, not an image"),
    ({"messages": at(data_url(png()[:45]))}, 400, "cut short"),
    ({"messages": at(data_url(wav()))}, 400, "is a sound (WAV)"),
    ({"messages": at(data_url(png()), "video_url")}, 400, "is an image (PNG)"),
    ({"messages": heard("")}, 400, "data is empty"),
    (
        {"messages": heard("/etc/passwd", None)},
        400,
        "in a format that is not",
    ),
    (
        {"messages": heard("AAAA", 3)},
        400,
        "format is a number",
    ),
    ({"stream": "yes"}, 400, "'stream' is 'yes'; accepted: true or false"),
    ({"stream_options": 3}, 400, "'stream_options' is a number"),
    ({"n": 2}, 400, "'n' cannot be honoured; accepted: 1"),
    ({"logprobs": True}, 400, "'logprobs' cannot be honoured"),
    ({"stop": ["\n"]}, 400, "'stop' cannot be honoured"),
    ({"tools": [{"type": "function"}]}, 400, "'tools' cannot be honoured"),
    ({"response_format": {"type": "json_object"}}, 400, "'response_format' cannot be honoured"),
    ({"max_tokens": 0}, 400, "'max_tokens' is 0; accepted: whole numbers from 1"),
    ({"max_tokens": True}, 400, "'max_tokens' is True"),
    ({"max_completion_tokens": "9"}, 400, "'max_completion_tokens' is '9'"),
    ({"api_base": "x"}, 400, "unknown parameter 'api_base'"),
]


@pytest.fixture(scope="module")
def shared() -> Iterator[Client]:
    """One server for all requests that no model has to answer."""
    with serving(make_agent([FakeExpert("detect", DOGS)])[0], most_body_mb=1) as client:
        yield client


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(("body", "status", "says"), REFUSED)
def test_what_cannot_be_honoured_is_refused_with_what_is_accepted(
    shared: Client, body: Any, status: int, says: str, stream: bool
) -> None:
    if isinstance(body, dict):
        whole = {"model": "duet-experts", "messages": conversation([text(ASK), picture()]), "stream": stream} | body
        if body == {} or body == {"model": "duet-auto"}:
            whole = body
        body = whole
    response = shared.post(
        "/v1/chat/completions", content=json.dumps(body), headers={"Content-Type": "application/json"}
    )
    assert (response.status_code, says in error_of(response)) == (status, True), error_of(response)


@pytest.mark.parametrize(
    ("content", "kind", "status", "says"),
    [
        (b"", "application/json", 400, "the body is not JSON"),
        (b"{", "application/json", 400, "the body is not JSON"),
        (b"\xff\xfe", "application/json", 400, "the body is not JSON"),
        (b"[" * 100_000, "application/json", 400, "nested too deep"),
        (b"{}", "text/plain", 400, "accepted: application/json"),
        (b'"' + b"x" * 1_100_000 + b'"', "application/json", 413, "the request is over 1 MB"),
        (b'"' + b"x" * 9_000_000 + b'"', "application/json", 413, "the request is over 1 MB"),
    ],
    ids=["empty", "half", "not text", "deep", "of another type", "oversize", "far oversize"],
)
def test_body_that_is_no_request_is_refused(shared: Client, content: bytes, kind: str, status: int, says: str) -> None:
    response = shared.post("/v1/chat/completions", content=content, headers={"Content-Type": kind})
    assert (response.status_code, says in error_of(response)) == (status, True), error_of(response)


def test_oversize_body_without_a_length_is_refused_too(shared: Client) -> None:
    chunks = (b" " * 65_536 for _ in range(40))
    response = shared.post("/v1/chat/completions", content=chunks, headers={"Content-Type": "application/json"})
    assert response.status_code == 413 and error_of(response)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models/..%2f..%2fetc%2fpasswd", 404),
        ("POST", "/v1/embeddings", 404),
    ],
)
def test_unknown_addresses_and_methods_have_openais_form(shared: Client, method: str, path: str, status: int) -> None:
    response = shared.request(method, path)
    assert response.status_code == status and error_of(response)


# Failures, the queue, and clients that leave


class Leaky(FakeExpert):
    """Fails with what must not be shown."""

    def __call__(self, media: Any) -> list[Finding]:
        raise ExpertError("the detector is out of order")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_expert_that_fails_is_an_honest_answer(stream: bool) -> None:
    with serving(make_agent([Leaky("detect")])[0]) as client:
        response = client.ask([text(ASK), picture()], stream=stream)
    assert response.status_code == 200
    assert "the detector is out of order" in response.text and "I cannot answer" in response.text


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_fault_inside_shows_no_path_and_no_traceback(stream: bool, caplog: pytest.LogCaptureFixture) -> None:
    def say(prompt: str) -> str:
        raise RuntimeError(f"cannot open {SECRET}")

    agent, _ = make_agent([FakeExpert("detect", DOGS)], say)
    with serving(agent) as client:
        response = client.ask([text(ASK), picture()], stream=stream)
        after = client.get("/health").json()
    if stream:
        assert response.status_code == 200 and 'data: {"error"' in response.text
    else:
        assert response.status_code == 500 and "RuntimeError" in error_of(response)
    assert SECRET not in response.text and "Traceback" not in response.text
    assert SECRET in caplog.text  # for whoever runs the server
    assert (after["working"], after["waiting"]) == (0, 0)


def test_full_queue_is_a_429_with_retry_after() -> None:
    agent, llm = make_agent([FakeExpert("detect", DOGS)], "word " * 40, pause_s=0.05)
    with serving(agent, queue=1) as client:
        statuses: list[int] = []
        asked = [threading.Thread(target=lambda: statuses.append(client.ask([text(ASK), picture()]).status_code))]
        asked[0].start()
        until(lambda: llm.spoken)
        asked.append(threading.Thread(target=lambda: statuses.append(client.ask([text(ASK), picture()]).status_code)))
        asked[1].start()
        until(lambda: client.gate.inside == 2)
        refused = client.ask([text(ASK), picture()])
        assert refused.status_code == 429 and "the queue is full (2 questions" in error_of(refused)
        assert int(refused.headers["Retry-After"]) >= 1
        assert client.get("/health").json() | {"profile": ""} == {
            "status": "ok", "profile": "", "working": 1, "waiting": 1, "queue": 1,
        }  # fmt: skip
        for thread in asked:
            thread.join()
    assert statuses == [200, 200]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_model_stops_when_the_client_hangs_up(stream: bool) -> None:
    agent, llm = make_agent([FakeExpert("detect", DOGS)], "word " * 400, pause_s=0.02, max_new_tokens=400)
    body = {"model": "duet-experts", "messages": conversation([text(ASK), picture()]), "stream": stream}
    with serving(agent) as client:
        with Client(client.address, client.gate) as other:
            request = other.build_request(
                "POST", "/v1/chat/completions", json=body, extensions={"timeout": {"read": 1.0}}
            )
            if stream:
                response = other.send(request, stream=True)
                lines = response.iter_lines()  # kept: letting it go would hang up
                next(lines)
                until(lambda: llm.spoken)
                response.close()
            else:
                with pytest.raises(httpx.ReadTimeout):
                    other.send(request)
        until(lambda: client.gate.working == 0, 5)
        spoken = llm.spoken
        assert 0 < spoken < 390
        time.sleep(0.2)
        assert llm.spoken == spoken
        assert client.ask([text(ASK), picture()], max_tokens=1).status_code == 200  # the slot is free again


def test_client_that_leaves_the_queue_is_never_answered() -> None:
    detect = FakeExpert("detect", DOGS)
    agent, llm = make_agent([detect], "word " * 40, pause_s=0.05)
    with serving(agent) as client:
        first = threading.Thread(target=client.ask, args=([text(ASK), picture()],))
        first.start()
        until(lambda: llm.spoken)
        with Client(client.address, client.gate) as other, pytest.raises(httpx.ReadTimeout):
            other.timeout = 0.3
            other.ask([text(ASK), picture(3)])
        until(lambda: client.gate.inside == 1, 5)
        first.join()
        assert client.ask([text(ASK), picture(1)], max_tokens=1).status_code == 200
    assert len(detect.asked) == 2


def test_key_is_required_where_one_is_set() -> None:
    with serving(make_agent([FakeExpert("detect", DOGS)])[0], key="open sesame") as client:
        for path, method in (("/v1/models", "GET"), ("/v1/chat/completions", "POST"), ("/mcp", "POST")):
            for given in ({}, {"Authorization": "Bearer wrong"}):
                refused = client.request(method, path, headers=given)
                assert refused.status_code == 401 and error_of(refused)
        assert client.get("/v1/models", headers={"Authorization": "Bearer open sesame"}).status_code == 200
        assert client.get("/health").status_code == 200


# The command


def test_serve_starts_answers_and_ends(tmp_path: Any) -> None:
    import os
    import signal
    import subprocess
    import sys
    from pathlib import Path

    own = os.environ | {"DUET_HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "ui.cli", "serve", "--port", "0", "--no-cache"]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def hear_interrupts() -> None:  # a shell's background job, as CI may be, is started deaf to them
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(command, env=own, preexec_fn=hear_interrupts, **pipes) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert found, process.communicate(timeout=20)
            health = httpx.get(f"{found[0]}/health", trust_env=False, timeout=30).json()
            assert (health["status"], health["profile"]) == ("ok", "embedded")
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_port_that_is_taken_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    from ui.cli import main

    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as end:
        main(["serve", "--port", str(taken.getsockname()[1])])
    assert end.value.code == 2
    line = capsys.readouterr().err
    assert re.fullmatch(r"duet: cannot listen on 127.0.0.1:\d+ \(address already in use\); .*\n", line), line
