"""The app without a browser: its endpoints, its handlers, what it keeps, and what it never does."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
import types
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fakes import found, image
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from served import CUP, EXAMPLES, agent_with_fakes, served
from serving import data_url, png

from agent.answer import Answer, Fallback, Step
from experts.base import Finding
from experts.errors import InputError
from ui.app import faults, words
from ui.app.components import answers, asked, evidence, side_by_side, steps
from ui.app.components.turns import messages, turn_at
from ui.app.conversations import Conversations, Kept, Turn
from ui.app.pages import training
from ui.app.pages.chat import Chat, Running

# gradio and its client leave sockets and event loops open
pytestmark = [pytest.mark.filterwarnings("ignore::ResourceWarning")]
ROOT = Path(__file__).parents[2]
PHOTO = handle_file(str(EXAMPLES / "photo.jpg"))
SOUND = handle_file(str(EXAMPLES / "announcement.wav"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path / "home"


# -- served ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("home")) as url:
        yield url


@pytest.fixture(scope="module")
def client(address: str) -> Client:
    return Client(address, verbose=False)


def test_programs_are_offered_ask_and_tool_and_no_handler_of_a_page(client: Client) -> None:
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert {"/ask", "/tool"} <= set(named)
    assert [name for name in named if re.search(r"lambda|point|undo|vote|retry|load|stop|submit", name)] == []


def test_ask_endpoint_gives_the_json_of_the_command_line(client: Client) -> None:
    given = client.predict("What is in the picture?", [PHOTO], "both", api_name="/ask")
    assert given["question"] == "What is in the picture?"
    assert [answer["route"] for answer in given["answers"]] == ["experts", "connector"]
    assert {answer["text"] for answer in given["answers"]} == {CUP}
    finding, _ = given["answers"][0]["findings"]
    assert (finding["expert"], finding["text"], finding["box"]) == ("detect", "cup", [190, 60, 420, 330])


def test_tool_endpoint_runs_one_expert(client: Client) -> None:
    finding, _ = client.predict("speech", SOUND, api_name="/tool")
    assert (finding["expert"], finding["text"], finding["span"]) == ("speech", "Attention please.", [0.0, 1.3])


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (("", [PHOTO], "auto"), "the question is empty"),
        (("What?", None, "auto"), "no medium was given"),
        (("What?", [PHOTO], "expert"), "no route named 'expert'; known: auto, both"),
        (("What?", [handle_file(__file__)], "auto"), "test_app.py"),
    ],
)
def test_refused_question_is_one_line_with_a_request_id_and_the_app_goes_on(
    client: Client, values: tuple[Any, ...], line: str
) -> None:
    with pytest.raises(AppError) as caught:
        client.predict(*values, api_name="/ask")
    told = str(caught.value)
    assert line in told
    assert re.search(r"\(request [0-9a-f]{8}\)", told)
    assert "\n" not in told and str(ROOT) not in told and "Traceback" not in told
    assert client.predict("What is number 3?", [PHOTO], "experts", api_name="/ask")["answers"][0]["text"] == "It is 3."


@pytest.mark.parametrize(("name", "file"), [("nothing", PHOTO), ("speech", PHOTO), ("detect", None)])
def test_refused_tool_says_what_is_accepted(client: Client, name: str, file: Any) -> None:
    with pytest.raises(AppError, match=r"request [0-9a-f]{8}"):
        client.predict(name, file, api_name="/tool")


def test_file_of_the_machine_that_was_not_uploaded_is_not_opened(address: str, tmp_path: Path) -> None:
    private = tmp_path / "private.png"
    image().to_pil().save(private)
    file = {"path": str(private), "meta": {"_type": "gradio.FileData"}}
    body = json.dumps({"data": ["What?", [file], "auto"]}).encode()
    call = urllib.request.Request(
        f"{address}gradio_api/call/ask", data=body, headers={"Content-Type": "application/json"}
    )
    event = json.load(urllib.request.urlopen(call, timeout=60))["event_id"]
    said = urllib.request.urlopen(f"{address}gradio_api/call/ask/{event}", timeout=60).read().decode()
    assert "event: error" in said
    assert "answers" not in said


def test_the_app_offers_its_tools_over_mcp_too(address: str) -> None:
    import mcp

    async def talk() -> Any:
        async with mcp.Client(f"{address}mcp") as speaking:
            tools = (await speaking.list_tools()).tools
            asked = {"question": "What is number 7?", "media": [data_url(png())], "route": "experts"}
            answered = await speaking.call_tool("ask", asked)
            return tools, answered, await speaking.call_tool("speech", {"media": data_url(png())})

    tools, answered, refused = asyncio.run(talk())
    assert [tool.name for tool in tools] == ["ask", *agent_with_fakes().toolbox().kinds()]  # no handler of a page
    assert answered.content[0].text == "It is 7." and not answered.is_error
    assert refused.is_error and "'media' is 'image1'" in refused.content[0].text


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
def test_a_web_page_elsewhere_cannot_call_the_tools(address: str, headers: dict[str, str]) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}).encode()
    known = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(f"{address}mcp", data=body, headers=known | headers), timeout=60)
    refused.value.close()
    assert refused.value.code in (403, 421)


def test_thirty_questions_at_once_get_each_its_own_answer_and_the_page_stays_quick(
    client: Client, address: str
) -> None:
    slowest = 0.0
    over = threading.Event()

    def look() -> None:
        nonlocal slowest
        while not over.is_set():
            begun = time.perf_counter()
            urllib.request.urlopen(address, timeout=20).read()
            slowest = max(slowest, time.perf_counter() - begun)
            time.sleep(0.1)

    watch = threading.Thread(target=look)
    watch.start()
    try:
        with ThreadPoolExecutor(30) as pool:
            asked = [
                pool.submit(client.predict, f"What is number {n}?", [PHOTO], "experts", api_name="/ask")
                for n in range(30)
            ]
            given = [future.result(120)["answers"][0]["text"] for future in asked]
    finally:
        over.set()
    watch.join()
    assert given == [f"It is {n}." for n in range(30)]
    assert slowest < 5  # far from the 0.3 s that hold on a machine of its own, near enough to see a page that blocks


def test_app_loads_no_model_and_writes_only_below_its_home(tmp_path: Path) -> None:
    code = """
import sys, urllib.request
from agent.agent import Agent
from ui.app import main
agent = Agent()
made = main.create(agent)
_, url, share = main.launch(made, port=0 or None, limits=agent.settings.limits, prevent_thread_lock=True)
assert share is None
assert url.startswith("http://127.0.0.1:")
assert b"Duet" in urllib.request.urlopen(url).read()
made.close(verbose=False)
assert agent.context._language is None and agent.context._model is None
print("LOADED", *{"torch", "transformers", "ultralytics", "faster_whisper"} & set(sys.modules))
"""
    (tmp_path / "cwd").mkdir()
    settings = {
        "HOME": str(tmp_path),
        "DUET_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
    }
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "cwd", env=os.environ | settings, capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("LOADED")[1].split() == []
    assert {path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*") if path.is_file()} <= {"home"}


# -- handlers -------------------------------------------------------------------------------------------------------


@pytest.fixture
def chat() -> Iterator[Chat]:
    import gradio as gr

    with gr.Blocks():
        yield Chat(agent_with_fakes(pause_s=0.01), Conversations(), Running())


def request(session: str = "one", language: str = "en") -> Any:
    return types.SimpleNamespace(session_hash=session, headers={"accept-language": language})


BROWSER = "me:talk"


def ask(chat: Chat, text: str, *files: Path, **rest: Any) -> list[dict[Any, Any]]:
    asked = {"text": text, "files": [str(file) for file in files]}
    return list(chat.ask(asked, "experts", BROWSER, rest.get("request", request())))


def last_text(chat: Chat, updates: list[dict[Any, Any]]) -> str:
    return next(u[chat.chatbot] for u in reversed(updates) if chat.chatbot in u)[-1]["content"]


def test_answer_grows_and_is_kept_for_the_next_page(chat: Chat) -> None:
    updates = ask(chat, "What is in the picture?", EXAMPLES / "photo.jpg")
    texts = [
        u[chat.chatbot][-1]["content"]
        for u in updates
        if chat.chatbot in u and "picture shows" in str(u[chat.chatbot][-1])
    ]
    assert len(texts) > 3 and len(texts[0]) < len(texts[-1])
    restored = chat.restore(BROWSER, request("two"))
    assert restored[chat.chatbot] == updates[-1][chat.chatbot]
    assert chat.chatbot not in chat.restore("somebody:talk", request())


def test_follow_up_is_about_the_same_media_until_new_ones_come(chat: Chat) -> None:
    ask(chat, "What is in the picture?", EXAMPLES / "photo.jpg")
    assert last_text(chat, ask(chat, "What is number 8?")).startswith("It is 8.")
    assert [turn.media for turn in chat.store.turns("talk", "me")] == [chat.store.turns("talk", "me")[0].media] * 2


def test_stop_ends_only_its_own_session_and_keeps_the_partial_text(chat: Chat) -> None:
    asked = {"text": "What is in the picture?", "files": [str(EXAMPLES / "photo.jpg")]}
    mine = chat.ask(asked, "experts", BROWSER, request("mine"))
    others = chat.ask(asked, "experts", "other:b", request("other"))
    for update in mine:
        if chat.chatbot in update and "picture" in str(update[chat.chatbot][-1]["content"]):
            break
    chat.stop(request("mine"))
    said = last_text(chat, list(mine))
    assert said.startswith("The picture") and "wooden table" not in said
    assert "wooden table" in last_text(chat, list(others))
    (kept,) = chat.store.turns("talk", "me")
    assert kept.messages[-1]["content"] == said
    assert any("stopped" in str(message.get("metadata")) for message in kept.messages)


def test_page_that_is_left_in_the_middle_keeps_the_partial_answer_and_stops_the_model(chat: Chat) -> None:
    asked = {"text": "What is in the picture?", "files": [str(EXAMPLES / "photo.jpg")]}
    answer = chat.ask(asked, "experts", BROWSER, request())
    for update in answer:
        if chat.chatbot in update and "picture" in str(update[chat.chatbot][-1]["content"]):
            break
    answer.close()  # type: ignore[attr-defined]
    (kept,) = chat.store.turns("talk", "me")
    assert kept.messages[-1]["content"].startswith("The picture")
    assert chat.agent.context.language().llm.spoken < len(CUP.split())  # type: ignore[union-attr]


def test_edit_asks_the_new_text_and_undo_gives_the_question_back(chat: Chat) -> None:
    ask(chat, "What is number 1?", EXAMPLES / "photo.jpg")
    ask(chat, "What is number 2?")
    edited = list(chat.edit("experts", BROWSER, types.SimpleNamespace(index=0, value="What is number 9?"), request()))
    assert last_text(chat, edited).startswith("It is 9.")
    assert [turn.question for turn in chat.store.turns("talk", "me")] == ["What is number 9?"]
    undone = chat.undo(BROWSER, types.SimpleNamespace(index=0), request())
    assert undone[chat.chatbot] == []
    assert undone[chat.box].value["text"] == "What is number 9?"
    assert len(undone[chat.box].value["files"]) == 1


@pytest.mark.parametrize(
    ("text", "name", "line"), [("", "photo.jpg", "question is empty"), ("What?", "README.md", "README.md")]
)
def test_refused_question_stays_in_the_box(chat: Chat, text: str, name: str, line: str) -> None:
    with pytest.warns(UserWarning, match=line):
        (update,) = ask(chat, text, EXAMPLES / name)
    assert update[chat.chatbot] == []
    assert "value" not in update[chat.box]._constructor_args[0]  # the browser keeps what it has
    assert ask(chat, "What is number 4?", EXAMPLES / "photo.jpg")[-1][chat.chatbot][-1]["content"].startswith(
        "It is 4."
    )


def test_model_that_fails_is_told_in_the_chat_and_not_how(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    def fail(prompt: str) -> str:
        raise RuntimeError("/home/somebody/weights.bin")

    chat.agent.context.language().llm.say, say = fail, chat.agent.context.language().llm.say  # type: ignore[union-attr]
    said = last_text(chat, ask(chat, "What is there?", EXAMPLES / "photo.jpg"))
    assert "/home" not in said and "Traceback" not in said
    (number,) = re.findall(r"request ([0-9a-f]{8})", said)
    assert f"request {number} failed" in caplog.text
    chat.agent.context.language().llm.say = say  # type: ignore[union-attr]
    assert last_text(chat, ask(chat, "What is number 6?")).startswith("It is 6.")


def test_disk_that_is_full_costs_the_keeping_and_not_the_answer(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Conversations, "save", full)
    with pytest.warns(UserWarning, match="could not be kept: database or disk is full"):
        updates = ask(chat, "What is number 7?", EXAMPLES / "photo.jpg")
    assert last_text(chat, updates).startswith("It is 7.")


# -- what is shown --------------------------------------------------------------------------------------------------


def answered(route: str, text: str, trace: tuple[Step, ...] = (), **rest: Any) -> Step:
    return Step("answer", route, route, 0.0, answer=Answer(route, text, 0.8, 1.5, trace=trace, **rest))


def bodies(line: steps.Timeline) -> list[str]:
    return [message["content"] for message in line.messages() if "metadata" not in message]


def test_timeline_tells_each_step_with_its_time_and_result() -> None:
    line = steps.Timeline()
    line.add(Step("expert", "detect", "experts", 0.0, 0.084, findings=tuple(found("detect", "dog", "dog"))))
    line.add(Step("error", "ocr", "experts", 0.0, 0.5, text="it took longer than 90 s"))
    parent, detect, ocr = (message["metadata"] for message in line.messages())
    assert (parent["status"], detect["parent_id"], ocr["parent_id"]) == ("pending", parent["id"], parent["id"])
    assert (detect["title"], detect["log"]) == ("detect · 2 findings", "84 ms")
    assert "ocr · failed" in ocr["title"]
    assert "longer than 90 s" in line.messages()[2]["content"]
    line.add(answered("experts", "Two dogs."))
    assert line.messages()[0]["metadata"]["status"] == "done"


def test_answer_that_was_set_aside_moves_into_the_timeline_and_the_reason_is_told() -> None:
    line = steps.Timeline()
    line.add(Step("token", "llm", "experts", 0.1, text="Perhaps"))
    line.add(Step("fallback", "connector", "connector", 0.2, text="the answer is unsure"))
    line.add(Step("token", "llm", "connector", 0.3, text="A dog."))
    line.add(answered("connector", "A dog.", fallback=Fallback("experts", "connector", "the answer is unsure")))
    (said,) = bodies(line)
    assert said.startswith("A dog.")
    assert "Handed from experts to connector: the answer is unsure" in said
    assert "Perhaps" in [message["content"] for message in line.messages()]


def test_first_answer_stands_where_the_connector_failed() -> None:
    line = steps.Timeline()
    line.add(Step("token", "llm", "experts", 0.1, text="Perhaps"))
    line.add(Step("fallback", "connector", "connector", 0.2, text="unsure"))
    line.add(Step("error", "connector", "connector", 0.3, text="no weights"))
    line.add(answered("experts", "Perhaps."))
    (said,) = bodies(line)
    assert said.startswith("Perhaps.")


def test_both_routes_say_their_answers() -> None:
    line = steps.Timeline()
    for route in ("experts", "connector"):
        line.add(Step("token", "llm", route, 0.1, text="A dog."))
        line.add(answered(route, f"A dog, says {route}."))
    assert [said.split(".")[0] for said in bodies(line)] == ["A dog, says experts", "A dog, says connector"]


def test_sentence_links_to_the_findings_that_it_names_or_that_the_evidence_cites() -> None:
    dog, cat, chair = found("detect", "dog", "cat", "chair")
    cited = Step("evidence", "evidence", "experts", 0.0, findings=(chair,))
    answer = Answer("experts", "There are two dogs. They sleep.", 0.8, 1.0, (dog, cat, chair), trace=(cited,))
    assert steps.linked(answer, answer.findings, 4) == (
        "There are two dogs. [\\[1\\]](#evidence-4-1) They sleep. [\\[3\\]](#evidence-4-3)"
    )
    assert steps.linked(answer, answer.findings, 0) == "There are two dogs. \\[1\\] They sleep. \\[3\\]"


def test_text_of_media_becomes_no_link_no_picture_and_no_html() -> None:
    from markdown_it import MarkdownIt

    hostile = "![x](http://a/b.png) [y](http://c) <img src=x onerror=y> **z** `q`\n# head\n- item\n| a | b |"
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(steps.plain(hostile))
    assert set(re.findall(r"<(\w+)", shown)) <= {"p", "br"}
    assert "<script>" not in evidence.drawn([], found("ocr", "<script>x</script>"))


@pytest.mark.parametrize(
    "typed",
    [
        "<img src=/x> **bold** ![a](/x) & &lt; `q` how?",
        "7. seven\n- dash\n# head\n    four spaces\n===",
        "see https://a.example/x or www.a.example or me@a.example",
    ],
)
def test_what_a_person_types_is_shown_as_typed(typed: str) -> None:
    from markdown_it import MarkdownIt

    turn = Turn(1, typed, "auto")
    shown = MarkdownIt("gfm-like", {"linkify": False}).render(messages([turn])[0]["content"][-1])
    assert set(re.findall(r"<(\w+)", shown)) <= {"p", "br"}
    said = html.unescape(re.sub(r"<[^>]+>", "", shown)).strip().replace("\u00a0", " ").replace("\u2060", "")
    assert said == typed
    assert asked.asked(typed).count("<") == asked.asked("").count("<")


def test_finding_has_one_number_and_colour_on_its_box_its_chip_and_its_citation() -> None:
    medium = Kept("photo.jpg", "image", str(EXAMPLES / "photo.jpg"))
    cup, word = Finding("detect", "cup", 0.9, (120, 40, 300, 240), source="photo.jpg"), Finding("ocr", "EXIT", 0.8)
    page = evidence.drawn([medium], [cup, word])
    (box,) = re.findall(r"<button type='button' class='box' [^>]*>", page)
    chip = re.findall(r"<button type='button' class='chip' [^>]*>", page)[0]
    assert "left:20.00%;top:10.00%;width:30.00%;height:50.00%" in box and "aria-label='1: cup 0.90'" in box
    step = Step("expert", "detect", "experts", 0.0, findings=(cup, word))
    answer = Answer("experts", "There is a cup.", 0.8, 1.0, (cup, word), trace=(step,))
    cite = answers.with_citations(answer, answer.findings)
    for element in (box, chip, cite):
        assert "data-finding='1'" in element and "--c:var(--f1)" in element
    assert "data-finding='2'" not in cite and page.count("data-finding='2'") == 1


def test_connector_cites_no_finding_of_the_experts() -> None:
    dog = found("detect", "dog")
    own = Answer("connector", "A dog.", 0.8, 1.0)
    handed = Answer("connector", "A dog.", 0.8, 1.0, tuple(dog), trace=(Step("expert", "detect", "experts", 0.0),))
    for answer in (own, handed):
        assert answers.with_citations(answer, dog) == "A dog."
        assert steps.linked(answer, dog, 1) == "A dog."


def test_findings_are_named_in_chinese_where_there_is_a_name() -> None:
    page = evidence.drawn([], [Finding("detect", "dog", 0.9, extra={"colour": "brown"})], "zh")
    assert "狗 (棕色)" in page and "物体" in page
    from experts.evidence.colours import COLOURS

    assert set(COLOURS) <= set(evidence.COLOUR_WORDS)


def test_picture_that_no_browser_draws_is_shown_as_one_that_it_does(tmp_path: Path) -> None:
    file = tmp_path / "scan.tiff"
    image().to_pil().save(file)
    assert evidence.drawn([Kept("scan.tiff", "image", str(file))], found("ocr", "A")).count("scan.shown.jpg") == 1
    assert (tmp_path / "scan.shown.jpg").is_file()


def test_transcript_becomes_subtitles() -> None:
    said = [Finding("speech", "Hello --> <b>", 0.9, span=(1.5, 3.25)), *found("detect", "dog")]
    track = evidence.captions(said)
    told = base64.b64decode(track.split("base64,")[1].split("'")[0]).decode()
    assert told == "WEBVTT\n\n00:00:01.500 --> 00:00:03.250\nHello --&gt; &lt;b&gt;\n"
    assert evidence.captions(found("detect", "dog")) == ""


def test_fault_is_told_without_its_text_and_an_error_of_ours_with_it() -> None:
    inside = faults.message_for(ValueError("/etc/passwd"))
    assert "/etc" not in inside and "ValueError" in inside
    assert faults.message_for(InputError("no medium\nwas given")).startswith("no medium was given (request ")


# -- what is kept ---------------------------------------------------------------------------------------------------


def test_conversation_comes_back_as_it_was_and_to_its_owner_only(home: Path) -> None:
    store = Conversations()
    media = store.keep([image()], [str(EXAMPLES / "photo.jpg")])
    turn = Turn(
        1,
        "What?",
        "both",
        media,
        [{"role": "assistant", "content": "A cup."}],
        found("detect", "cup", box=(1, 2, 3, 4)),
    )
    store.save("talk", "me", turn)
    assert store.turns("talk", "me") == [turn]
    assert store.turns("talk", "you") == []
    assert (store.listed("me"), store.listed("you")) == ([("What?", "talk")], [])
    store.delete("talk", "you")
    assert store.turns("talk", "me") == [turn]
    store.delete("talk", "me")
    assert store.turns("talk", "me") == []
    assert store.secret() == Conversations().secret()


def test_media_go_with_the_last_conversation_that_has_them() -> None:
    store = Conversations()
    media = store.keep([image()], [str(EXAMPLES / "photo.jpg")])
    for name in ("a", "b"):
        store.save(name, "me", Turn(1, "What?", "auto", media))
    os.utime(media[0].path, (0, 0))
    store.delete("a", "me")
    assert Path(media[0].path).exists()
    store.delete("b", "me")
    assert not Path(media[0].path).exists()


def test_messages_map_back_to_their_turns_and_show_media_once() -> None:
    media = [Kept("a.png", "image", "/x/a.png")]
    thoughts = [{"role": "assistant", "content": str(n)} for n in range(3)]
    turns = [Turn(1, "One?", "auto", media, thoughts), Turn(2, "Two?", "auto", media, thoughts[:1])]
    made = messages(turns)
    assert [turn_at(turns, n).number for n in range(len(made))] == [1, 1, 1, 1, 2, 2]  # type: ignore[union-attr]
    assert turn_at(turns, [4, 0]).number == 2  # type: ignore[union-attr]
    assert turn_at(turns, 6) is None
    assert [len(message["content"]) for message in made if message["role"] == "user"] == [2, 1]


# -- the rest -------------------------------------------------------------------------------------------------------


def test_routes_answer_at_the_same_time_and_one_that_fails_leaves_the_other() -> None:
    agent = agent_with_fakes(pause_s=0.02)
    question = agent.question("What?", image=image())
    happened = list(side_by_side.together(agent, question, ["experts", "connector", "nothing"], threading.Event()))
    routes = [route for route, step in happened if isinstance(step, Step) and step.kind == "token"]
    assert {route: routes.count(route) for route in set(routes)} == {"experts": 15, "connector": 15}
    assert routes != sorted(routes) and routes != sorted(routes, reverse=True)
    assert [str(step) for route, step in happened if route == "nothing"][0].startswith("no route named 'nothing'")


def test_leaving_the_comparison_stops_both_routes() -> None:
    agent = agent_with_fakes(pause_s=0.05)
    stop = threading.Event()
    merged = side_by_side.together(agent, agent.question("What?", image=image()), ["experts", "connector"], stop)
    next(step for _, step in merged if isinstance(step, Step) and step.kind == "token")
    merged.close()  # type: ignore[attr-defined]
    assert stop.is_set()


def test_curves_are_those_of_the_log_and_half_a_line_is_left_out(tmp_path: Path) -> None:
    rows = [{"step": n, "loss": 10 / n, "lr": {"connector": 0.1}, "samples": 8 * n, "seconds": n} for n in range(1, 5)]
    rows[-1]["held_out"] = 2.75
    log = tmp_path / "run" / "log.jsonl"
    log.parent.mkdir()
    log.write_text("\n".join(map(json.dumps, rows)) + '\n{"step": 5, "lo')
    read = training.read_log(log)
    assert read == rows
    table = training.curves(read)
    assert list(table.loc[table["curve"] == "training", "loss"]) == [10, 5, 10 / 3, 2.5]
    assert list(table.loc[table["curve"] == "held out", "loss"]) == [2.75]
    assert training.summary(read).startswith("step 4 · loss 2.5000 · 32 samples · 8.0 samples/s")
    runs = training.Training.runs(types.SimpleNamespace(folders=[tmp_path]))  # type: ignore[arg-type]
    assert runs == {"run": log}


def test_every_word_is_in_both_languages_with_the_same_gaps() -> None:
    for key, pair in words.WORDS.items():
        assert all(pair), key
        assert sorted(re.findall(r"{\d}", pair[0])) == sorted(re.findall(r"{\d}", pair[1])), key
        assert "{" in pair[1] or not pair[1].isascii() or pair[0] == pair[1], key


@pytest.mark.parametrize(
    ("header", "language"),
    [("zh-CN,zh;q=0.9", "zh"), ("fr, zh;q=0.5", "zh"), ("en-GB", "en"), ("fr", "en"), ("", "en")],
)
def test_browser_chooses_the_language(header: str, language: str) -> None:
    assert words.language(request(language=header)) == language
