"""Seconds until the first word of an answer is on the chat page: `python benchmarks/first_token.py [--n 5]`.

`duet ui` runs in a process of its own with the real models (`duet weights fetch` first). A question about a photo goes
the way the browser's goes (upload, the page's own event, its stream of updates, gradio's differences put together), and
the clock runs from the click to the update that shows the first word of the answer. The first question of a route loads
models and is not counted; questions differ, and findings that were kept on disk are not used (`--cached` uses them).
Exits with 1 where a median is above `--most` seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = (
    "What is in the picture?", "Is there an elephant?", "How many people are there?", "What color is the cup?",
    "Is there a dog in the picture?", "What is this?", "Is there a spoon?", "Where is the cup?",
)  # fmt: skip
START_S = 300.0  # longest time that the app may take to come up


class Browser:
    """What the chat page does, without drawing."""

    def __init__(self, address: str) -> None:
        import httpx

        self.client = httpx.Client(base_url=address, timeout=300, trust_env=False)
        self.config = self.client.get("config").json()
        parts = {part["props"].get("elem_id"): part["id"] for part in self.config["components"]}
        self.chat, box = parts["chat"], parts["ask"]
        self.event = next(
            event
            for event in self.config["dependencies"]
            if [box, "submit"] in [list(target) for target in event["targets"]] and self.chat in event["outputs"]
        )
        self.place = self.event["outputs"].index(self.chat)

    def upload(self, file: Path) -> dict[str, Any]:
        with file.open("rb") as stream:
            sent = self.client.post("gradio_api/upload", files={"files": (file.name, stream)})
        return {"path": sent.json()[0], "orig_name": file.name, "meta": {"_type": "gradio.FileData"}}

    def ask(self, question: str, file: Path, route: str) -> tuple[float, float]:
        """Seconds from the click to the first word on the page, and to the whole answer."""
        session, photo = uuid.uuid4().hex, self.upload(file)
        asked = {"text": question, "files": [photo]}
        given = {"data": [asked, route, ":"], "fn_index": self.event["id"], "session_hash": session}
        begun = time.perf_counter()
        self.client.post("gradio_api/queue/join", json=given).raise_for_status()
        first = 0.0
        for messages in self._updates(session):
            if not first and any(_word(message) for message in messages):
                first = time.perf_counter() - begun
        if not first:
            raise SystemExit(f"no answer came on route {route}")
        return first, time.perf_counter() - begun

    def _updates(self, session: str) -> Iterator[list[dict[str, Any]]]:
        """The chat's messages after each update of the stream."""
        from gradio_client.utils import apply_diff

        shown: list[Any] = []
        with self.client.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as lines:
            for line in lines.iter_lines():
                if not line.startswith("data:"):
                    continue
                told = json.loads(line[len("data:") :])
                kind = told["msg"]
                if kind in ("process_generating", "process_completed"):
                    if not told["success"]:
                        raise SystemExit(f"the app failed: {told['output']}")
                    data = told["output"]["data"]
                    if kind == "process_generating" and shown:
                        data = [apply_diff(old, diff) for old, diff in zip(shown, data, strict=True)]
                    shown = data
                    value = shown[self.place]
                    value = value.get("value", value) if isinstance(value, dict) else value
                    yield value if isinstance(value, list) else []
                if kind in ("process_completed", "close_stream"):
                    return


def _word(message: dict[str, Any]) -> bool:
    """Whether a message is an answer with a word in it, not a step of the timeline."""
    title = (message.get("metadata") or {}).get("title")
    return message["role"] == "assistant" and not title and bool(_text(message["content"]).strip())


def _text(content: Any) -> str:
    """The words of a message's content."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else [content]
    return "".join(str(part.get("text", "")) if isinstance(part, dict) else str(part) for part in parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, default=ROOT / "examples" / "photo.jpg")
    parser.add_argument("--routes", nargs="+", default=["experts", "connector"])
    parser.add_argument("--n", type=int, default=5, help="questions a route")
    parser.add_argument("--most", type=float, default=2.0, help="seconds that the first word may take, in the median")
    parser.add_argument("--cached", action="store_true", help="experts need not look twice at the same photo")
    options = parser.parse_args()

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = os.environ | ({} if options.cached else {"DUET_CACHE_MB": "0"})
    command = [sys.executable, "-m", "ui.cli", "ui", "--port", str(port)]
    late = False
    with tempfile.TemporaryFile("w+") as log:
        app = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=log)
        try:
            browser = Browser(_up(f"http://127.0.0.1:{port}/", app, log))
            for route in options.routes:
                browser.ask(QUESTIONS[0], options.image, route)  # loads its models
                pairs = [
                    browser.ask(QUESTIONS[n % len(QUESTIONS)], options.image, route) for n in range(1, options.n + 1)
                ]
                firsts = [first for first, _ in pairs]
                whole = statistics.median(seconds for _, seconds in pairs)
                late |= statistics.median(firsts) > options.most
                print(
                    f"{route:<9}  first word {statistics.median(firsts):5.2f} s (slowest {max(firsts):.2f} s), "
                    f"whole answer {whole:5.2f} s, median of {len(pairs)}",
                    flush=True,
                )
        finally:
            app.terminate()
            app.wait(30)
    if late:
        raise SystemExit(1)


def _up(address: str, app: subprocess.Popen[bytes], log: Any) -> str:
    """`address`, once the app answers there."""
    import httpx

    until = time.monotonic() + START_S
    while True:
        try:
            httpx.get(address, timeout=30, trust_env=False).raise_for_status()
            return address
        except httpx.HTTPError:
            if app.poll() is not None or time.monotonic() > until:
                log.seek(0)
                raise SystemExit(f"the app did not come up: {log.read()[-500:]}") from None
            time.sleep(0.2)


if __name__ == "__main__":
    main()
