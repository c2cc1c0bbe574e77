"""The app of the browser around an agent with fakes, served for the tests that talk to it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fakes import FakeExpert, make_agent

from agent.agent import Agent
from experts.base import Finding
from experts.media import Media

EXAMPLES = Path(__file__).parents[1] / "examples"
CUP = "The picture shows a red cup with a spoon. It stands on a wooden table."
SPOKEN = [("Attention please.", 0.0, 1.3), ("The train leaves from platform four.", 1.4, 5.0)]


def detect(medium: Media) -> list[Finding]:
    boxes = {"cup": (190, 60, 420, 330), "spoon": (330, 250, 470, 330)}
    return [
        Finding("detect", name, 0.9 - 0.2 * n, box, source=medium.name) for n, (name, box) in enumerate(boxes.items())
    ]


def speech(medium: Media) -> list[Finding]:
    return [Finding("speech", text, 0.9, span=(begin, end), source=medium.name) for text, begin, end in SPOKEN]


def say(prompt: str) -> str:
    """The number that a question holds, else what the examples ask for."""
    if number := re.search(r"number (\d+)", prompt):
        return f"It is {number[1]}."
    return "From platform four." if "train" in prompt.lower() else CUP


def agent_with_fakes(pause_s: float = 0.0, experts: Sequence[FakeExpert] = (), **settings: Any) -> Agent:
    given = experts or [FakeExpert("detect", detect), FakeExpert("speech", speech, ["audio"])]
    return make_agent(given, say, pause_s, **settings)[0]


@contextlib.contextmanager
def served(home: Path, runs: Path | None = None, pause_s: float = 0.0) -> Iterator[str]:
    """The address of an app with fakes while the block lasts.

    It is a process of its own: gradio leaves sockets and event loops open, which would count as errors in this one.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    command = [sys.executable, __file__, str(port), str(pause_s), str(runs or home)]
    paths = os.pathsep.join([str(EXAMPLES.parent), str(EXAMPLES.parent / "tests")])
    settings = os.environ | {"DUET_HOME": str(home), "PYTHONPATH": paths, "NO_PROXY": "127.0.0.1"}
    with (home / "log.txt").open("w") as log:
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 280
        while not _answers(address):
            assert process.poll() is None and time.monotonic() < end, (home / "log.txt").read_text()[-2000:]
            time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(20)


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as page:
        return bool(page.status == 200)
    return False


def main(port: int, pause_s: float, runs: Path) -> None:
    from ui import app

    agent = agent_with_fakes(pause_s)
    app.launch(app.create(agent, [runs]), port=port, limits=agent.settings.limits)


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]))
