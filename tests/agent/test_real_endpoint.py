"""Real servers of other projects at the other end: transformers' and llama.cpp's, with pictures and in text."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import fakes
import numpy as np
import pytest
from checkpoints import build, mmproj

from agent.agent import Agent
from connector.base import Generation
from connector.pretrained import open_pretrained
from experts.config import Settings
from experts.media import Image

pytest.importorskip("fastapi")
SERVE = "import sys; sys.argv[0] = 'transformers'; from transformers.cli.transformers import main; main()"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("qwen2_vl", tmp_path_factory.mktemp("served") / "qwen")


@pytest.fixture(scope="module")
def address(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("log") / "serve.log"
    arguments = ["serve", "--port", str(port), "--host", "127.0.0.1", "--device", "cpu"]
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVE, *arguments], stdout=out, stderr=out, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < until, log.read_text()[-2000:]
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/v1#{checkpoint}"
    finally:
        server.terminate()
        server.wait(30)


LLAMA = """
import sys, time
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port, params.n_ctx, params.use_jinja = sys.argv[1], int(sys.argv[2]), 2048, True
params.cpuparams.n_threads = 1
params.mmproj.path = sys.argv[3]
server = xllamacpp.Server(params)
time.sleep(600)
"""


@contextlib.contextmanager
def llama_server(projector: str = "") -> Iterator[str]:
    """llama.cpp's own server with the embedded language model; it sees with a projector."""
    pytest.importorskip("xllamacpp")
    from experts.weights.catalogue import resolve

    (file,) = resolve("smollm2-135m-instruct").glob("*.gguf")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", LLAMA, str(file), str(port), projector]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < until
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.kill()
        server.wait(30)


@pytest.fixture(scope="module")
def llama() -> Iterator[str]:
    with llama_server() as address:
        yield address


def test_llama_cpps_server_with_a_projector_reads_the_picture(tmp_path: Path) -> None:
    with llama_server(str(mmproj.write(tmp_path / "mmproj.gguf", 576))) as address:
        agent = Agent(Settings(model=address, max_new_tokens=12, cache_mb=0, traces_mb=0, memory_mb=0), experts={})
        assert "image" in agent.context.model().info.modalities
        answers = [agent.ask("What is it?", image=picture(seed), route="connector")[0] for seed in (0, 1, 0)]
        assert [answer.error for answer in answers] == [""] * 3 and answers[0].confidence
        assert answers[0].text != answers[1].text and answers[0].text == answers[2].text


def test_llama_cpps_server_answers_from_findings_and_is_known_to_see_nothing(llama: str) -> None:
    dogs = fakes.FakeExpert("detect", fakes.found("detect", "dog"))
    settings = Settings(model=llama, max_new_tokens=16, cache_mb=0, traces_mb=0, memory_mb=0)
    experts, connector = Agent(settings, experts={"detect": dogs}).ask(
        "Which animal is it?", image=picture(1), route="both"
    )
    assert "dog" in experts.text.lower() and experts.confidence
    assert "SmolLM2-135M-Instruct.Q4_1.gguf' cannot see pictures; it takes text alone" in connector.error
    assert "/" not in connector.error


def picture(seed: int) -> Image:
    return Image.open(np.random.default_rng(seed).integers(0, 256, (56, 56, 3), np.uint8), name="photo.png")


def plain(text: str) -> str:
    """Text without special tokens and half characters, which the server shows and Duet does not."""
    return re.sub(r"</s>|<[^<>]*>|\ufffd", "", text).strip()


def test_the_picture_reaches_the_server_and_its_answer_is_the_models_own(address: str, checkpoint: Path) -> None:
    agent = Agent(Settings(model=address, max_new_tokens=6, cache_mb=0, traces_mb=0, memory_mb=0), experts={})
    assert "image" in agent.context.model().info.modalities
    own = open_pretrained(str(checkpoint), device="cpu")
    for seed in (1, 2):
        (answer,) = agent.ask("What is it?", image=picture(seed), route="connector")
        said = own.stream("What is it?", [picture(seed)], Generation(6))
        assert plain(answer.text) == plain("".join(token.text for token in said.tokens))
        assert answer.confidence is None  # the server tells no log-probabilities


def test_the_experts_route_asks_the_same_model_in_text(address: str) -> None:
    agent = Agent(Settings(model=address, max_new_tokens=6, cache_mb=0, traces_mb=0, memory_mb=0), experts={})
    (answer,) = agent.ask("What is it?", image=picture(1), route="experts")
    assert answer.text and agent.context.shares_weights()
