"""Media from web addresses: nothing unless it is asked for, nothing private ever, nothing without bounds."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

from experts.config import Limits
from experts.errors import MediaError
from experts.media import Image, fetching, open_media

ON = Limits(fetch_s=5.0)


def png() -> bytes:
    file = io.BytesIO()
    pillow.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


class Site(BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("Location", self.path[4:])
            self.end_headers()
            return
        if self.path == "/slow.png":
            time.sleep(3)
        if self.path == "/endless.png":
            self.send_response(200)
            self.end_headers()
            try:
                for _ in range(10_000):
                    self.wfile.write(bytes(1 << 16))
            except OSError:
                return
        data = png()
        self.send_response(200 if self.path.startswith(("/photo.png", "/slow.png")) else 404)
        self.send_header("Content-Length", str(10**12 if "huge" in self.path else len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of this machine, which counts as public for the test."""
    monkeypatch.setattr(fetching, "_is_public", lambda address: address == "127.0.0.1")
    Site.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
    monkeypatch.setattr(server, "handle_error", lambda *of: None)  # who asks may leave before the end
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_picture_at_an_address_is_opened_where_that_is_asked_for(site: str) -> None:
    image = open_media(f"{site}/photo.png?size=large#top", limits=ON)
    assert isinstance(image, Image) and (image.width, image.height, image.name) == (30, 40, "photo.png")
    assert image.sha256 == open_media(png()).sha256
    with pytest.raises(MediaError, match=r"'photo.png' is a web address, and fetching is off"):
        open_media(f"{site}/photo.png")
    assert len(Site.asked) == 1


def test_redirects_are_followed_a_few_times(site: str) -> None:
    assert open_media(f"{site}/to?/to?/photo.png", limits=ON).name == "to"
    with pytest.raises(MediaError, match="redirected more than 3 times"):
        open_media(f"{site}/to?/to?/to?/to?/photo.png", limits=ON)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/none.png", "'none.png' could not be fetched: its server answers 404"),
        ("/photo.png?huge", "'photo.png' is more than 52.4 MB"),
        ("/endless.png", "'endless.png' is more than 52.4 MB"),
        ("/to?http://10.0.0.1/a.png", "'to' is at an address of a private network"),
        ("/to?file:///etc/passwd", "has no address that is fetched"),
    ],
)
def test_what_cannot_be_had_gets_one_line(site: str, path: str, message: str) -> None:
    with pytest.raises(MediaError, match=message) as caught:
        Image.open(site + path, limits=ON)
    assert "\n" not in str(caught.value) and "/etc" not in str(caught.value)


def test_a_slow_server_is_left_at_the_limit(site: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(MediaError, match="within 0.3 s"):
        open_media(f"{site}/slow.png", limits=Limits(fetch_s=0.3))
    assert time.perf_counter() - begun < 2.5


def test_it_works_below_an_event_loop(site: str) -> None:
    import asyncio

    async def served() -> str:
        return open_media(f"{site}/photo.png", limits=ON).name

    assert asyncio.run(served()) == "photo.png"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "10.1.2.3", "192.168.0.1", "172.16.5.5", "169.254.169.254", "100.64.0.1", "0.0.0.0",
        "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "[fd00::1]", "[2002:7f00:1::]", "2130706433", "0x7f.1", "224.0.0.1",
    ],
)  # fmt: skip
def test_private_addresses_are_never_asked_however_they_are_written(host: str) -> None:
    with pytest.raises(MediaError, match="private network|name is not known"):
        open_media(f"http://{host}/a.png", limits=ON)


@pytest.mark.parametrize(
    "url", ["ftp://example.org/a.png", "gopher://127.0.0.1/", "http://user:secret@example.org/a.png"]
)
def test_other_schemes_and_passwords_are_refused(url: str) -> None:
    with pytest.raises(MediaError) as caught:
        open_media(url, limits=ON)
    assert "secret" not in str(caught.value)
