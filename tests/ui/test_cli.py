"""The command line's contract: what is printed where, and the exit codes that programs rely on."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakes
import pytest
from fakes import FakeEndpoint, FakeExpert, found, image, make_agent, sound
from rich.console import Console

import experts
from experts.base import Finding
from experts.errors import ExpertError
from ui import terminal
from ui.cli import COMMANDS, main

ROOT = Path(__file__).parents[2]


class Seer:
    """A plug-in expert, as another package would bring it."""

    name, description, weights, kinds = "seer", "Sees that there is a picture.", "seer-1", frozenset({"image"})

    def __init__(self, settings: object) -> None:
        """Settings are of no use to it."""

    def __call__(self, media: Any) -> list[Finding]:
        return [
            Finding("seer", f"[bold]{media.width} wide[/bold] \x1b[31m", 0.75, (0.0, 0.0, 3.0, 3.0), source=media.name)
        ]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `duet` in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            main(list(arguments))
        except SystemExit as end:
            code = int(end.code or 0)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def photo(tmp_path: Path) -> str:
    image().to_pil().save(tmp_path / "photo.png")
    return "photo.png"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEndpoint]:
    """The `server` profile at a fake endpoint, and one expert, a plug-in: no weights are needed."""
    monkeypatch.setattr(experts, "EXPERTS", {"seer": f"{__name__}:Seer"})
    with FakeEndpoint("A grey square.") as endpoint:
        monkeypatch.setenv("DUET_ENDPOINT", endpoint.url)
        monkeypatch.setenv("DUET_PROFILE", "server")
        yield endpoint


def test_ask_json_is_the_contract(run: Any, photo: str, served: FakeEndpoint) -> None:
    code, out, err = run("ask", "What is it?", "--image", photo, "--route", "experts", "--json")
    assert (code, err) == (0, "")
    values = json.loads(out)
    assert set(values) == {"question", "answers"}
    assert values["question"] == "What is it?"
    (answer,) = values["answers"]
    about = {"route", "text", "confidence", "seconds", "fallback", "findings", "links", "check", "notes", "trace"}
    assert set(answer) == about
    assert answer["notes"] == []
    assert (answer["route"], answer["text"], answer["fallback"]) == ("experts", "A grey square.", None)
    assert answer["confidence"] == pytest.approx(fakes.P)
    assert answer["findings"][0]["box"] == [0, 0, 3, 3]
    assert {step["kind"] for step in answer["trace"]} == {"media", "expert", "evidence", "llm"}


def test_both_with_one_route_that_cannot_answer_is_a_success_that_says_so(
    run: Any, photo: str, served: FakeEndpoint
) -> None:
    code, out, _ = run("ask", "What is it?", "--image", photo, "--route", "both", "--json")
    experts_answer, connector_answer = json.loads(out)["answers"]
    assert code == 0
    assert experts_answer["text"] == "A grey square."
    assert connector_answer["text"].startswith("The model 'fake-model' cannot see pictures")


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_route_that_cannot_answer_is_one_line_and_exit_1(
    run: Any, photo: str, served: FakeEndpoint, as_json: list[str]
) -> None:
    code, out, err = run("ask", "What is it?", "--image", photo, "--route", "connector", *as_json)
    assert code == 1
    assert len(err.splitlines()) == 1
    if as_json:
        assert out == ""
        error = json.loads(err)["error"]
        assert error["type"] == "ModelError"
        assert "Ask the experts route" in error["message"]


def test_every_route_failing_prints_no_json_answer(run: Any, photo: str, served: FakeEndpoint) -> None:
    served.statuses = [400]
    code, out, err = run("ask", "What is it?", "--image", photo, "--route", "both", "--json")
    assert (code, out) == (1, "")
    assert "no answer: the endpoint failed with HTTP 400" in json.loads(err)["error"]["message"]


def test_ask_for_people_shows_steps_answer_and_evidence(run: Any, photo: str, served: FakeEndpoint) -> None:
    code, out, err = run("ask", "What is it?", "--image", photo, "--route", "experts")
    assert (code, err) == (0, "")
    assert "1 finding by seer-1" in out
    assert out.count("A grey square.") == 2  # as it was said, and in the table
    assert "[bold]9 wide[/bold]" in out  # nothing in media is markup,
    assert "\x1b" not in out  # or acts on the terminal
    assert re.search(r"seer +\[bold\].* 0\.75 +0 0 3 3", out)


def test_tool_runs_one_expert(run: Any, photo: str, served: FakeEndpoint) -> None:
    code, out, err = run("tool", "seer", photo, "--json")
    assert (code, err) == (0, "")
    (finding,) = json.loads(out)
    assert finding["box"] == [0, 0, 3, 3]
    assert "seer" in run("tool", "seer", photo)[1]


def test_tools_lists_experts_and_a_broken_plug_in_does_not_hide_the_others(
    run: Any, served: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(experts.EXPERTS, "torn", "no_such_module:Expert")
    code, out, _ = run("tools", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["seer"] == {
        "name": "seer",
        "takes": ["image"],
        "weights": "seer-1",
        "description": "Sees that there is a picture.",
    }
    assert "cannot be loaded" in rows["torn"]["description"]


def test_run_prints_what_the_steps_gave_and_exits_1_where_one_failed(
    run: Any, photo: str, served: FakeEndpoint, tmp_path: Path
) -> None:
    see = {"id": "see", "tool": "seer", "args": {"media": "image1"}}
    say = {"id": "say", "tool": "answer", "args": {"question": "What is it?"}, "depends_on": ["see"]}
    ask = {"id": "ask", "tool": "connector", "args": {"media": "image1", "question": "What is it?"}}
    (tmp_path / "plan.json").write_text(json.dumps({"steps": [see, say]}))
    code, out, err = run("run", "plan.json", "--image", photo)
    assert (code, err) == (0, "")
    assert [(step["id"], step["status"]) for step in json.loads(out)["steps"]] == [("see", "done"), ("say", "done")]
    assert json.loads(out)["steps"][1]["text"] == "A grey square."
    (tmp_path / "plan.json").write_text(json.dumps({"steps": [see, ask]}))
    code, out, _ = run("run", "plan.json", "--image", photo)
    assert code == 1
    assert [step["status"] for step in json.loads(out)["steps"]] == ["done", "failed"]


def test_help_lists_every_command_and_each_has_its_own(run: Any) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", out, re.MULTILINE)
        code, shown, _ = run(name, "--help")
        assert code == 0
        assert f"duet {name}" in shown
        assert "--install-completion" not in shown


def test_no_command_shows_the_help_and_a_group_without_one_names_those_it_has(run: Any) -> None:
    assert run() == run("--help")
    code, out, err = run("weights")
    assert (code, out) == (2, "")
    assert re.fullmatch(
        r"duet: Missing command after 'duet weights'; known: .*verify.*; see duet weights --help\n", err
    )


def test_fault_of_our_own_is_one_line_without_a_traceback(
    run: Any, photo: str, served: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(terminal, "findings", lambda found: 1 / 0)
    code, _, err = run("tool", "seer", photo)
    assert code == 1
    assert err == "duet: a fault in duet itself (ZeroDivisionError); please report it with what DUET_DEBUG=1 shows\n"
    monkeypatch.setenv("DUET_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        run("tool", "seer", photo)


def test_interrupt_is_one_line_and_130(
    run: Any, photo: str, served: FakeEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupted(Seer):
        def __call__(self, media: Any) -> list[Finding]:
            raise KeyboardInterrupt

    monkeypatch.setitem(globals(), "Interrupted", Interrupted)
    monkeypatch.setitem(experts.EXPERTS, "seer", f"{__name__}:Interrupted")
    assert run("tool", "seer", photo) == (130, "", "duet: stopped\n")


# -- how it looks -------------------------------------------------------------------------------------------------


def shown(width: int, monkeypatch: pytest.MonkeyPatch, **asked: Any) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    says = "There are two brown dogs on the wide green lawn in front of an old house with a red door, and a ball."
    dogs = found("detect", "dog", "dog", box=(10.0, 20.0, 1234.0, 987.0))
    agent, _ = make_agent([FakeExpert("detect", dogs), FakeExpert("tag", ExpertError("the weights are torn"))], says)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        terminal.answers("What is it?", agent.stream("What is it?", image=image(), **asked))
    return out.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("route", ["experts", "both", "auto"])
def test_view_fits_its_width_and_breaks_between_words(width: int, route: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = shown(width, monkeypatch, route=route)
    assert max(len(line) for line in out.splitlines()) <= width
    spoken = re.search(r"experts +There are .*?(?=\n +llm)", out, re.DOTALL)
    assert spoken is not None
    assert spoken[0].split()[1:] == re.sub(r"\s+", " ", spoken[0]).split()[1:]
    assert " ".join(spoken[0].split()[1:]).endswith("with a red door, and a ball.")
    assert "10 20 1234 987" in out
    assert "the weights are torn" in out


def test_fallback_is_shown_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.search(r"fallback +tag failed, so the findings are\s+incomplete", shown(120, monkeypatch, route="auto"))


def test_long_lists_of_findings_are_cut_and_counted() -> None:
    table = terminal._table([Finding("speech", f"word {i}", 0.5, span=(i, i + 1.0)) for i in range(50)], "")
    console = Console(width=80, file=io.StringIO())
    console.print(table)
    assert "and 30 more" in console.file.getvalue()  # type: ignore[attr-defined]


def test_sound_is_shown_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    agent, _ = make_agent([FakeExpert("speech", [Finding("speech", "hello", 0.9, span=(0.5, 1.25))], kinds=["audio"])])
    with contextlib.redirect_stdout(io.StringIO()) as out:
        terminal.answers("What?", agent.stream("What?", audio=sound(seconds=1.5), route="experts"))
    assert "talk.wav, audio, 1.5 s" in out.getvalue()
    assert "0.5-1.2" in out.getvalue()


def test_expert_that_was_given_up_does_not_keep_the_program_from_ending(tmp_path: Path) -> None:
    """A real process: it used to abort, because the expert was still in native code while Python ended around it."""
    image().to_pil().save(tmp_path / "photo.png")
    (tmp_path / "sleeper.py").write_text(
        "import time\n"
        "class Sleeper:\n"
        "    name, description, weights, kinds = 'sleeper', 'Sleeps.', '', frozenset({'image'})\n"
        "    def __init__(self, settings): pass\n"
        "    def __call__(self, media): time.sleep(60)\n"
    )
    (tmp_path / "plan.json").write_text('{"steps": [{"id": "a", "tool": "sleeper", "args": {"media": "image1"}}]}')
    code = "import experts, ui.cli; experts.EXPERTS['sleeper'] = 'sleeper:Sleeper'; ui.cli.main()"
    environment = {**os.environ, "DUET_ANSWER_S": "0.3", "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", code, "run", "plan.json", "--image", "photo.png"]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert json.loads(ended.stdout)["steps"][0]["error"] == "not done within 0 s"


def test_the_summaries_in_the_help_are_what_the_commands_say_of_themselves() -> None:
    import typer.main

    from ui import cli

    group: Any = typer.main.get_command(cli.app)
    assert list(cli.SUMMARIES) == list(cli.COMMANDS)
    for name, summary in cli.SUMMARIES.items():
        said = " ".join(group.get_command(None, name).help.split())
        assert said.startswith(summary.rstrip(".")), name
