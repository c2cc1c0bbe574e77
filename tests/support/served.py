"""The app of the browser around an agent with fakes, served for the tests that talk to it."""

from __future__ import annotations

import contextlib
import json
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
from experts.config import Limits
from experts.media import Audio, Media
from experts.video import Watcher

EXAMPLES = Path(__file__).parents[2] / "examples"
CUP = "The picture shows a red cup with a spoon. It stands on a wooden table."
SPOKEN = [("Attention please.", 0.0, 1.3), ("The train leaves from platform four.", 1.4, 5.0)]


def detect(medium: Media) -> list[Finding]:
    boxes = {"cup": (190, 60, 420, 330), "spoon": (330, 250, 470, 330)}
    return [
        Finding("detect", name, 0.9 - 0.2 * n, box, source=medium.name) for n, (name, box) in enumerate(boxes.items())
    ]


def read(medium: Media) -> list[Finding]:
    """Text stands in what is called a sign."""
    return [Finding("ocr", "EXIT 7", 0.8, (20, 30, 280, 110), source=medium.name)] if "sign" in medium.name else []


def speech(medium: Media) -> list[Finding]:
    """What the example says, in whatever can be heard at all."""
    assert isinstance(medium, Audio)
    if not abs(medium.samples).max() > 0.01:
        return []
    return [Finding("speech", text, 0.9, span=(begin, end), source=medium.name) for text, begin, end in SPOKEN]


def say(prompt: str) -> str:
    """The number that a question holds, else what the examples ask for."""
    if number := re.search(r"number (\d+)", prompt):
        return f"It is {number[1]}."
    return "From platform four." if "train" in prompt.lower() else CUP


def agent_with_fakes(pause_s: float = 0.0, experts: Sequence[FakeExpert] = (), **settings: Any) -> Agent:
    seen = experts or [FakeExpert("detect", detect), FakeExpert("ocr", read), FakeExpert("speech", speech, ["audio"])]
    watcher: Any = Watcher(experts={expert.name: expert for expert in seen})
    return make_agent([*seen, watcher], say, pause_s, **settings)[0]


@contextlib.contextmanager
def served(
    home: Path, runs: Path | None = None, pause_s: float = 0.0, limits: dict[str, int] | None = None
) -> Iterator[str]:
    """The address of an app with fakes while the block lasts.

    It is a process of its own: gradio leaves sockets and event loops open, which would count as errors in this one.
    """
    given = {"pause_s": pause_s, "runs": str(runs or home), "limits": limits or {}}
    with process([__file__, json.dumps(given)], home) as address:
        yield address


@contextlib.contextmanager
def process(command: Sequence[str], home: Path) -> Iterator[str]:
    """The address of a server while the block lasts: python with `command` and a port, its state below `home`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/"
    paths = os.pathsep.join([str(EXAMPLES.parent), str(EXAMPLES.parent / "tests")])
    settings = os.environ | {"DUET_HOME": str(home), "PYTHONPATH": paths, "NO_PROXY": "127.0.0.1"}
    with (home / "log.txt").open("w") as log:
        started = subprocess.Popen([sys.executable, *command, str(port)], env=settings, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 280
        while not _answers(address):
            assert started.poll() is None and time.monotonic() < end, (home / "log.txt").read_text()[-2000:]
            time.sleep(0.2)
        yield address
    finally:
        started.terminate()
        started.wait(20)


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5) as page:
        return bool(page.status == 200)
    return False


def main(given: dict[str, Any], port: int) -> None:
    from ui.app import main as app

    agent = agent_with_fakes(given["pause_s"], limits=Limits(**given["limits"]))
    app.launch(app.create(agent, [Path(given["runs"])]), agent, port=port, limits=agent.settings.limits)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), int(sys.argv[2]))
