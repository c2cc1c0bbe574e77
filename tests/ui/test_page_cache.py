"""The page at / is made once, and only where it is the same for everybody."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ui.app.page_cache import MOST, FrontPage, OneByOne, Settled


class Site:
    """An app that counts how often it made a page."""

    def __init__(self, status: int = 200, pieces: int = 1) -> None:
        self.made, self.status, self.pieces = 0, status, pieces
        routes = [Route(path, self.page) for path in ("/", "/config", "/other")]
        routes.append(Route("/", self.page, methods=["POST"]))
        self.app = Starlette(routes=routes, middleware=[Middleware(FrontPage)])

    async def page(self, request: Request) -> Response:
        self.made += 1
        text = f"page {self.made} at {request.url.netloc}".ljust(1000)
        step = len(text) // self.pieces

        async def parts() -> Any:
            for at in range(0, len(text), step):
                yield text[at : at + step]

        return StreamingResponse(parts(), self.status, {"X-Own": "1"}, "text/html")

    def get(self, *asked: tuple[str, str, dict[str, str]]) -> list[httpx.Response]:
        """(method, path, headers) each."""

        async def go() -> list[httpx.Response]:
            where = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=where, base_url="http://here:1") as client:
                return [await client.request(method, path, headers=headers) for method, path, headers in asked]

        return asyncio.run(go())


@pytest.mark.parametrize("pieces", [1, 4])
def test_the_same_page_is_made_once(pieces: int) -> None:
    site = Site(pieces=pieces)
    first, *others = site.get(*[("GET", "/", {})] * 3)
    assert site.made == 1 and first.text.startswith("page 1 at here:1") and len(first.text) == 1000
    for other in others:
        assert (other.status_code, other.content, other.headers) == (200, first.content, first.headers)


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/?view=api", {}), ("GET", "/other", {}), ("POST", "/", {}), ("HEAD", "/", {}),
        ("GET", "/", {"X-Forwarded-Host": "duet.example"}), ("GET", "/", {"X-Direct-Url": "https://duet.example"}),
    ],
)  # fmt: skip
def test_anything_else_is_made_each_time(method: str, path: str, headers: dict[str, str]) -> None:
    site = Site()
    site.get(("GET", "/", {}), (method, path, headers), (method, path, headers))
    assert site.made == 3


def test_the_page_and_its_layout_are_two() -> None:
    site = Site()
    told = site.get(("GET", "/", {}), ("GET", "/config", {}), ("GET", "/", {}), ("GET", "/config", {}))
    assert [page.text.split(" at ")[0] for page in told] == ["page 1", "page 2", "page 1", "page 2"]


def test_each_address_has_its_own_page_and_the_oldest_goes() -> None:
    site = Site()
    hosts = [f"host{number}:1" for number in range(MOST + 1)]
    pages = site.get(*[("GET", "/", {"Host": host}) for host in [*hosts, *hosts[1:], hosts[0]]])
    assert [page.text.split(" at ")[1].strip() for page in pages] == [*hosts, *hosts[1:], hosts[0]]
    assert site.made == len(hosts) + 1  # the first one's had gone


def test_a_page_that_failed_is_not_kept() -> None:
    site = Site(status=500)
    site.get(*[("GET", "/", {})] * 2)
    assert site.made == 2


def test_questions_join_one_by_one_and_none_waits_for_one_still_on_its_way() -> None:
    within, most, said = 0, 0, list[str]()

    async def join(request: Request) -> Response:
        nonlocal within, most
        text = (await request.body()).decode()
        within, most = within + 1, max(most, within + 1)
        await asyncio.sleep(0.01)
        within -= 1
        said.append(text)
        return Response(text)

    async def other(_: Request) -> Response:
        said.append("page")
        return Response("page")

    routes = [Route("/gradio_api/queue/join", join, methods=["POST"]), Route("/page", other)]
    app = Starlette(routes=routes, middleware=[Middleware(OneByOne)])

    async def go() -> list[str]:
        slow = asyncio.Event()

        async def drip() -> Any:
            yield b"sl"
            await slow.wait()
            yield b"ow"

        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://here:1") as client:
            late = asyncio.create_task(client.post("/gradio_api/queue/join", content=drip()))
            rows = [client.post("/gradio_api/queue/join", content=f"{n}") for n in range(5)]
            answers = await asyncio.gather(*rows, client.get("/page"))
            assert not late.done()
            slow.set()
            return [answer.text for answer in [*answers, await late]]

    assert asyncio.run(go()) == ["0", "1", "2", "3", "4", "page", "slow"]
    assert most == 1
    assert said.index("page") < 4  # it went in between


def test_what_outlives_long_rounds_of_the_garbage_collector_is_set_aside_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Circle:
        def __init__(self) -> None:
            self.own = self

    before = gc.get_freeze_count()
    monkeypatch.setattr(Settled, "LONG_S", -1.0)  # every round is long
    with Settled() as settled:
        loaded = Circle()
        assert gc.get_freeze_count() > before and any(each is loaded for each in gc.get_objects())
        gc.collect()
        assert not any(each is loaded for each in gc.get_objects())
        Circle()
        assert gc.collect() > 0  # what dies later is still found
        for _ in range(2 * Settled.MOST):
            gc.collect()
        assert settled.times == Settled.MOST
    assert gc.get_freeze_count() == 0 and any(each is loaded for each in gc.get_objects())
