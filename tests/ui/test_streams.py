"""Standard streams as they are outside: without Unicode, closed, full. Real processes with a plug-in expert."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEndpoint, image

ROOT = Path(__file__).parents[2]
SAID = "一只狗 🐶 naïve"
PROGRAM = "import experts, ui.cli; experts.EXPERTS = {'seer': 'seer:Seer'}; ui.cli.main()"
SEER = """
from experts.base import Finding
class Seer:
    name, description, weights, kinds = "seer", "Sees 狗.", "seer-1", frozenset({"image"})
    def __init__(self, settings): pass
    def __call__(self, media): return [Finding("seer", "狗 🐶 " * 3000, 0.5, source=media.name)]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    image().to_pil().save(tmp_path / "狗 🐶.png")
    (tmp_path / "seer.py").write_text(SEER, encoding="utf-8")
    return tmp_path


def started(folder: Path, *arguments: str, encoding: str = "utf-8", **more: Any) -> subprocess.Popen[bytes]:
    paths = f"{folder}{os.pathsep}{ROOT}"
    settings = os.environ | {
        "PYTHONPATH": paths,
        "PYTHONIOENCODING": encoding,
        "NO_PROXY": "127.0.0.1",
        "COLUMNS": "90",
    }
    settings |= more.pop("env", {})
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | more
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments], cwd=folder, env=settings, **streams)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, bytes, bytes]:
    out, err = process.communicate(timeout=50)
    return process.returncode, out or b"", err or b""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("as_json", [[], ["--json"]], ids=["people", "json"])
def test_any_text_is_shown_on_streams_without_unicode(folder: Path, encoding: str, as_json: list[str]) -> None:
    with FakeEndpoint(SAID) as endpoint:
        env = {"DUET_ENDPOINT": endpoint.url, "DUET_PROFILE": "server"}
        ask = ("ask", "什么?", "--image", "狗 🐶.png", "--route", "experts", *as_json)
        code, out, err = ended(started(folder, *ask, encoding=encoding, env=env))
    assert (code, err) == (0, b"")
    text = out.decode(encoding)
    if as_json:
        assert json.loads(text)["answers"][0]["text"] == SAID
    else:
        assert r"\u72d7 \U0001f436" in " ".join(text.split())
        assert ("naïve" if encoding == "cp1252" else r"na\xefve") in text


def test_refusal_of_any_name_is_one_line_on_a_stderr_without_unicode(folder: Path) -> None:
    code, out, err = ended(started(folder, "tool", "seer", "猫.png", encoding="ascii"))
    assert (code, out, len(err.splitlines())) == (2, b"", 1)
    assert rb"there is no file '\u732b.png'" in err


@pytest.mark.parametrize("command", [["tools"], ["tool", "seer", "狗 🐶.png", "--json"]], ids=["rich", "json"])
def test_output_that_nobody_reads_ends_quietly(folder: Path, command: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = started(folder, *command, stdout=writer)
        code, _, err = ended(process)
    finally:
        os.close(writer)
    assert (code, err) == (1, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", [["tools"], ["tools", "--json"]], ids=["rich", "json"])
def test_full_disk_behind_the_output_is_one_line(folder: Path, command: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        code, _, err = ended(started(folder, *command, stdout=full))
    assert (code, len(err.splitlines())) == (1, 1)
    assert b"No space left on device" in err


def test_closed_streams_are_no_fault(folder: Path) -> None:
    command = f'"{sys.executable}" -c "{PROGRAM}" tool seer "狗 🐶.png" >&- 2>&- <&-'
    settings = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    assert subprocess.run(["sh", "-c", command], cwd=folder, env=settings, timeout=50).returncode == 0
