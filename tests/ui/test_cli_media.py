"""The command line and media that cannot be read: odd names, odd files, and going on without them."""
# ruff: noqa: F811  (fixtures of test_cli are used by name)

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEndpoint, FakeExpert, image, make_agent
from test_cli import photo, run, served  # noqa: F401

from agent.evaluation.benchmarks.own_questions import load_questions
from experts.errors import MediaError
from ui.votes.comparison import readable

# -- going on without what cannot be read ---------------------------------------------------------------------------


@pytest.fixture
def torn(tmp_path: Path) -> str:
    (tmp_path / "torn.png").write_bytes(b"")
    return "torn.png"


ASK = ("ask", "What is it?", "--route", "experts")


def test_without_keep_going_one_unreadable_file_is_exit_2_and_no_answer(
    run: Any, photo: str, torn: str, served: FakeEndpoint
) -> None:
    code, out, err = run(*ASK, "--image", photo, "--image", torn, "--json")
    assert (code, out) == (2, "")
    assert "'torn.png' is empty (0 bytes); accepted:" in json.loads(err)["error"]["message"]


@pytest.mark.parametrize("route", ["experts", "both"])
def test_keep_going_answers_about_the_others_and_says_once_what_is_missing(
    run: Any, photo: str, torn: str, served: FakeEndpoint, route: str
) -> None:
    code, out, err = run(
        "ask", "What is it?", "--route", route, "--image", torn, "--image", photo, "--keep-going", "--json"
    )
    assert code == 0
    (line,) = err.splitlines()
    assert "'torn.png' is empty (0 bytes); accepted:" in json.loads(line)["error"]["message"]
    answer = json.loads(out)["answers"][0]
    assert answer["text"] == "A grey square."
    assert any("'torn.png' is empty" in note for note in answer["notes"])
    assert [step["name"] for step in answer["trace"] if step["kind"] == "media"] == [photo]


def test_keep_going_with_nothing_left_is_one_line_that_names_each(
    run: Any, torn: str, served: FakeEndpoint, tmp_path: Path
) -> None:
    code, out, err = run(*ASK, "--image", torn, "--image", "gone.png", "--keep-going")
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert err.startswith("duet: none of the 2 media can be opened: 'torn.png' is empty")
    assert "there is no file 'gone.png'" in err


def test_tool_looks_at_several_files_and_keeps_going(run: Any, photo: str, torn: str, served: FakeEndpoint) -> None:
    code, out, err = run("tool", "seer", photo, torn)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    code, out, err = run("tool", "seer", torn, photo, "gone.png", photo, "--keep-going", "--json")
    assert code == 0
    assert [finding["source"] for finding in json.loads(out)] == [photo, photo]
    assert ["torn.png" in err.splitlines()[0], "gone.png" in err.splitlines()[1], len(err.splitlines())] == [
        True
    ] * 2 + [2]
    assert run("tool", "seer", torn, "gone.png", "--keep-going")[0] == 2


def test_tool_tells_what_was_looked_at_beside_the_findings(run: Any, served: FakeEndpoint, tmp_path: Path) -> None:
    image().to_pil().save(tmp_path / "scan.tiff", save_all=True, append_images=[image(90).to_pil()])
    code, out, err = run("tool", "seer", "scan.tiff", "--json")
    assert code == 0 and len(json.loads(out)) == 1
    assert json.loads(err) == {"note": {"type": "scan.tiff", "message": "scan.tiff: all 2 pages of it were opened"}}


def test_comparison_leaves_out_questions_whose_file_cannot_be_read(
    photo: str, torn: str, run: Any, tmp_path: Path
) -> None:
    rows = [{"question": "What is it?", "image": name} for name in (photo, torn, torn, photo)]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    agent, _ = make_agent([FakeExpert("detect")])
    benchmark = load_questions(tmp_path / "asked.jsonl").benchmark
    kept, refused = readable(benchmark, agent)
    assert [record.id for record in kept.records] == ["line 1", "line 4"]
    assert len(refused) == 1 and refused[0].startswith("'torn.png' is empty")
    (tmp_path / "asked.jsonl").write_text(json.dumps(rows[1]))
    with pytest.raises(MediaError, match=r"torn\.png"):
        readable(load_questions(tmp_path / "asked.jsonl").benchmark, agent)


# -- odd names and odd files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two  words.png", "🐶 狗.png", "--image.png", "-", "a'b\".png", "n\new.png"])
def test_a_file_of_any_name_is_looked_at(run: Any, served: FakeEndpoint, tmp_path: Path, name: str) -> None:
    image().to_pil().save(tmp_path / name, "PNG")
    code, out, err = run("tool", "seer", "--json", "--", name)
    assert (code, err, len(json.loads(out))) == (0, "", 1)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("n" * 300 + ".png", "File name too long"),
        ("-gone.png", "there is no file"),
        ("folder", "is a folder"),
        ("pipe", "is a device or pipe"),
        ("/dev/zero", "is a device or pipe"),
        ("/proc/self/status", "is empty"),
        ("/proc/self/mem", "cannot be read"),
        ("loop.png", "cannot be read"),
        ("a\0b.png", "not a file name"),
        ("", "there is no file"),
    ],
)
def test_what_is_no_file_of_media_is_one_line_and_exit_2(
    run: Any, served: FakeEndpoint, tmp_path: Path, name: str, says: str
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    code, out, err = run("tool", "seer", "--", name)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
    assert says in err
