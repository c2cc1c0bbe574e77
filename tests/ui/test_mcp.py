"""The MCP server, by the official client: over HTTP from a started server, over stdio from a started program."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import mcp
import pytest
from fakes import FakeExpert, found, image, make_agent
from mcp.client.stdio import StdioServerParameters, stdio_client
from serving import data_url, png, serving, wav

from agent.agent import Agent
from experts.errors import InputError
from ui.server.gate import Gate
from ui.server.mcp import server

DOGS = found("detect", "dog", "dog", box=(0.0, 0.0, 3.0, 4.0))
ROOT = Path(__file__).parents[2]
STDIO = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
import agent.agent, fakes, ui.commands.serve

def look(medium):
    print("a library that prints")
    return fakes.found("detect", "dog")

made, _ = fakes.make_agent([fakes.FakeExpert("detect", look)], traces_mb=0, cache_mb=0)
agent.agent.Agent = lambda settings: made
ui.commands.serve.mcp(allow=[Path({folder!r})])
"""


@pytest.fixture
def agent() -> Agent:
    experts = [FakeExpert("detect", DOGS), FakeExpert("speech", found("speech", "good morning"), ("audio",))]
    return make_agent(experts)[0]


def with_client(target: Any, talk: Callable[[mcp.Client], Awaitable[Any]]) -> Any:
    """What `talk` returns, with a client of `target`: a server in this process, an address, or a program."""

    async def session() -> Any:
        async with mcp.Client(target) as client:
            return await talk(client)

    return asyncio.run(session())


def call(target: Any, name: str, **arguments: Any) -> Any:
    return with_client(target, lambda client: client.call_tool(name, arguments))


def said(result: Any) -> str:
    return "\n".join(part.text for part in result.content)


def test_http_client_lists_and_calls_the_tools(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    photo = data_url(png())

    async def talk(client: mcp.Client) -> Any:
        tools = (await client.list_tools()).tools
        asked = await client.call_tool("ask", {"question": "How many dogs?", "media": [photo], "route": "experts"})
        looked = await client.call_tool("detect", {"media": photo})
        return tools, asked, looked

    with serving(agent) as http:
        tools, asked, looked = with_client(f"{http.address}/mcp", talk)
    assert [tool.name for tool in tools] == ["ask", *agent.toolbox().kinds()]
    assert all(tool.description and tool.input_schema["additionalProperties"] is False for tool in tools)
    assert said(asked) == "There are two dogs." and not asked.is_error
    (answer,) = asked.structured_content["answers"]
    assert (answer["route"], len(asked.structured_content["trace_id"])) == ("experts", 32)
    assert [finding["text"] for finding in looked.structured_content["findings"]] == ["dog", "dog"]


def test_every_tool_of_the_toolbox_answers(agent: Agent) -> None:
    serve = server(agent, Gate())
    assert said(call(serve, "connector", media=data_url(png()), question="What is it?")) == "There are two dogs."
    assert "good morning" in said(call(serve, "speech", media=data_url(wav(), "audio/wav")))
    both = call(serve, "ask", question="What is it?", media=[data_url(png())], route="both")
    assert said(both) == "experts: There are two dogs.\nconnector: There are two dogs."


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("detekt", {"media": data_url(png())}, "no tool named 'detekt'; known: ask, connector, detect, speech"),
        ("detect", {}, "a medium is no text; accepted: a data: URL"),
        ("detect", {"media": 3}, "a medium is no text"),
        ("detect", {"media": [data_url(png())]}, "a medium is no text"),
        ("detect", {"media": data_url(png()), "path": "x"}, "no argument of 'detect' named 'path'; known: media"),
        ("detect", {"media": data_url(png()), "question": "x"}, "no argument of 'detect' named 'question'"),
        ("detect", {"media": data_url(wav())}, "tool 'detect': 'media' is 'audio1'; accepted: media = the id of"),
        ("detect", {"media": "data:image/png;base64,@"}, "base64 is broken"),
        ("detect", {"media": "https://example.com/a.png"}, "a remote address is not fetched"),
        ("detect", {"media": "file:///etc/passwd"}, "a remote address is not fetched"),
        ("detect", {"media": "/etc/passwd"}, "paths are not taken here"),
        ("connector", {"media": data_url(png())}, "'question' is missing"),
        ("ask", {"media": [data_url(png())]}, "the question is empty"),
        ("ask", {"question": "x", "media": data_url(png())}, "'media' is no list"),
        ("ask", {"question": "x", "media": []}, "no medium was given"),
        ("ask", {"question": "x", "media": [data_url(png())] * 9}, "9 media were given; accepted: 1 to 8"),
        ("ask", {"question": "x", "media": [data_url(png())], "route": "best"}, "no route named 'best'; known: auto"),
    ],
)
def test_wrong_call_is_told_with_what_is_accepted(
    agent: Agent, name: str, arguments: dict[str, Any], says: str
) -> None:
    result = call(server(agent, Gate()), name, **arguments)
    assert result.is_error and says in said(result), said(result)


def test_failing_tool_shows_no_path() -> None:
    broken = FakeExpert("detect", lambda medium: [][0])
    failed = call(server(make_agent([broken])[0], Gate()), "detect", media=data_url(png()))
    assert failed.is_error and said(failed).startswith("expert 'detect' failed on 'image'")


def test_full_queue_is_told(agent: Agent) -> None:
    result = call(server(agent, Gate(at_once=1, queue=-1)), "detect", media=data_url(png()))
    assert result.is_error and "the queue is full" in said(result)


def test_web_page_cannot_reach_the_server_under_another_name(agent: Agent) -> None:
    with serving(agent) as http:
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            accepted = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-06-18"}
            body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            refused: httpx.Response = http.post("/mcp", json=body, headers=headers | accepted)
            assert refused.status_code in (403, 421)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """An allowed folder with a photo, and a link that leads out of it; a folder that is not allowed."""
    allowed, other = tmp_path / "allowed", tmp_path / "other"
    for folder in (allowed, other):
        folder.mkdir()
        (folder / "photo.png").write_bytes(png(image()))
    (allowed / "link.png").symlink_to(other / "photo.png")
    return allowed, other


@pytest.mark.parametrize("path", ["{allowed}/photo.png", "{allowed}/../allowed/photo.png"])
def test_path_below_an_allowed_folder_is_opened(agent: Agent, folders: tuple[Path, Path], path: str) -> None:
    result = call(server(agent, Gate(), [folders[0]]), "detect", media=path.format(allowed=folders[0]))
    assert not result.is_error and len(result.structured_content["findings"]) == 2


@pytest.mark.parametrize(
    "path",
    [
        "{other}/photo.png", "{allowed}/../other/photo.png", "{allowed}/link.png", "{allowed}", "{other}", "/",
        "/etc/passwd", "photo.png", "", "\0", "{allowed}/\ud800",
    ],
)  # fmt: skip
def test_path_elsewhere_is_refused_without_telling_whether_it_exists(
    agent: Agent, folders: tuple[Path, Path], path: str
) -> None:
    from ui.server.mcp import Tools

    tools = Tools(agent, Gate(), [folders[0]])
    result = asyncio.run(tools.call("detect", {"media": path.format(allowed=folders[0], other=folders[1])}))
    assert result.is_error
    assert "the path is not below an allowed folder" in said(result) or "cannot be read" in said(result)
    assert str(folders[0].parent) not in said(result)


def test_allowed_folder_has_to_be_one(agent: Agent, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'nowhere' is no folder"):
        server(agent, Gate(), [tmp_path / "nowhere"])


def test_stdio_program_answers_and_its_prints_do_not_disturb(folders: tuple[Path, Path], tmp_path: Path) -> None:
    program = tmp_path / "serve.py"
    program.write_text(STDIO.format(paths=[str(ROOT / "tests" / "support"), str(ROOT)], folder=str(folders[0])))
    started = stdio_client(StdioServerParameters(command=sys.executable, args=[str(program)]))

    async def talk(client: mcp.Client) -> Any:
        names = [tool.name for tool in (await client.list_tools()).tools]
        return names, await client.call_tool("detect", {"media": str(folders[0] / "photo.png")})

    names, looked = with_client(started, talk)
    assert names == ["ask", "detect", "connector"]
    assert looked.structured_content["findings"][0]["text"] == "dog"


def test_sound_is_no_picture_for_the_connector(agent: Agent) -> None:
    result = call(server(agent, Gate()), "connector", media=data_url(wav()), question="What is said?")
    assert result.is_error and "accepted: media = the id of an opened image or video" in said(result)


def two_pages() -> str:
    """A TIFF of two pages as a data: URL."""
    file = io.BytesIO()
    image().to_pil().save(file, "TIFF", save_all=True, append_images=[image(90).to_pil()])
    return data_url(file.getvalue(), "image/tiff")


def test_what_was_looked_at_of_a_medium_is_in_the_result(agent: Agent) -> None:
    serve = server(agent, Gate())
    asked = call(serve, "ask", question="What is it?", media=[two_pages()], route="both")
    note = "all 2 pages of it were opened"
    assert [answer["notes"] for answer in asked.structured_content["answers"]] == [[note], [note]]
    assert said(asked).splitlines()[2:] == [f"Note: {note}"]
    looked = call(serve, "detect", media=two_pages())
    assert looked.structured_content["notes"] == [note]
    assert said(looked).endswith(f"Note: {note}")


def test_a_further_question_comes_with_what_was_asked_and_said_before() -> None:
    made, llm = make_agent([FakeExpert("detect", DOGS)])
    history = [{"question": "Which animal is this?", "answer": "A dog."}]
    asked = {"question": "What colour is it?", "media": [data_url(png())], "route": "experts"}
    assert not call(server(made, Gate()), "ask", **asked, history=history).is_error
    prompt = llm.prompts[-1]
    assert prompt.index("Which animal is this?") < prompt.index("A dog.") < prompt.index("What colour is it?")
    for wrong in ([{"question": "x"}], [{"question": "x", "answer": 3}], [history[0]] * 9):
        result = call(server(made, Gate()), "ask", **asked, history=wrong)
        assert result.is_error and "\n" not in said(result), said(result)
