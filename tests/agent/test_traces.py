"""Recorded traces: every question leaves one, none ever costs an answer, and their export reads as OpenTelemetry."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeExpert, found, image, make_agent, sound

from agent.answer import Step
from agent.records import otel
from agent.records import traces as traces_module
from agent.records.traces import Traces, nested, new_id
from experts.base import Finding
from experts.errors import ExpertError, InputError, ModelError
from ui.cli import main

DOGS = found("detect", "dog", "dog", box=(0.0, 0.0, 3.0, 4.0))
ASK = "How many dogs are there?"


def recorded(route: str = "experts", experts: Any = None) -> dict[str, Any]:
    """The trace that asking leaves."""
    agent, _ = make_agent(experts or [FakeExpert("detect", DOGS)])
    (answer,) = agent.ask(ASK, image=image(), route=route)[:1]
    return agent.traces.get(answer.trace_id)  # type: ignore[union-attr]


def kinds(trace: dict[str, Any]) -> list[list[str]]:
    return [[step["kind"] for step in route["steps"]] for route in trace["steps"]]


def test_every_question_leaves_a_trace_under_the_id_that_its_answer_tells() -> None:
    agent, _ = make_agent([FakeExpert("detect", DOGS)])
    begun = time.time()
    (answer,) = agent.ask(ASK, image=image(), route="experts")
    trace = agent.traces.get(answer.trace_id)  # type: ignore[union-attr]
    assert (trace["question"], trace["route"], trace["status"], trace["error"]) == (ASK, "experts", "ok", "")
    assert begun - 1 < trace["began"] < time.time()
    assert trace["answers"] == [
        {"route": "experts", "text": answer.text, "confidence": round(answer.confidence, 4),
         "seconds": round(answer.seconds, 3), "fallback": None, "error": "", "findings": 2}
    ]  # fmt: skip
    assert kinds(trace) == [["media", "expert", "evidence", "llm"]]


def test_steps_lie_within_their_route_and_routes_within_the_question() -> None:
    trace = recorded("both", [FakeExpert("detect", DOGS, pause_s=0.05)])
    assert [route["name"] for route in trace["steps"]] == ["experts", "connector"]
    for route in trace["steps"]:
        assert route["start_s"] >= 0 and route["start_s"] + route["seconds"] <= trace["seconds"] + 0.01
        for step in route["steps"]:
            assert route["start_s"] <= step["start_s"]
            assert step["start_s"] + step["seconds"] <= route["start_s"] + route["seconds"] + 0.001
    assert trace["steps"][0]["seconds"] >= 0.05


def test_findings_of_each_expert_and_the_fallback_are_in_the_trace() -> None:
    trace = recorded("auto", [FakeExpert("detect", [])])
    assert [route["name"] for route in trace["steps"]] == ["experts", "connector"]
    assert trace["answers"][0]["fallback"]["reason"] == "the experts found nothing"
    looked = recorded()["steps"][0]["steps"][1]
    assert [finding["text"] for finding in looked["findings"]] == ["dog", "dog"]


def broken_model(prompt: str) -> str:
    raise ModelError("the model is out of order")


@pytest.mark.parametrize(
    ("experts", "say", "status", "error"),
    [
        ([FakeExpert("detect", DOGS)], broken_model, "error", "the model is out of order"),
        ([FakeExpert("detect", DOGS)], lambda prompt: 1 / 0, "error", "ZeroDivisionError"),
        ([FakeExpert("detect", ExpertError("no power"))], "x", "error", "I cannot answer: nothing was found"),
    ],
)
def test_failure_is_recorded_with_its_reason(experts: Any, say: Any, status: str, error: str) -> None:
    agent, _ = make_agent(experts, say)
    with contextlib.suppress(ModelError, ZeroDivisionError):
        agent.ask(ASK, image=image(), route="experts")
    (row,) = agent.traces.listing()  # type: ignore[union-attr]
    assert row["status"] == status
    assert agent.traces.get(row["id"])["error"].startswith(error)  # type: ignore[union-attr]


@pytest.mark.parametrize(("how", "status"), [("close", "abandoned"), ("stop", "stopped")])
def test_answer_that_nobody_waited_for_is_recorded_too(how: str, status: str) -> None:
    agent, _ = make_agent([FakeExpert("detect", DOGS)], "word " * 30, pause_s=0.01)
    stop = threading.Event()
    steps = agent.stream(ASK, image=image(), route="experts", stop=stop)
    for step in steps:
        if step.kind == "token":
            if how == "close":
                break
            stop.set()
    steps.close()  # type: ignore[attr-defined]
    (row,) = agent.traces.listing()  # type: ignore[union-attr]
    assert row["status"] == status


def test_media_themselves_are_not_kept(state_folder: Path) -> None:
    agent, _ = make_agent([FakeExpert("detect", DOGS)])
    agent.ask(ASK, image=image(77, side=64), route="experts")
    agent.traces.flush()  # type: ignore[union-attr]
    assert sum(file.stat().st_size for file in state_folder.iterdir()) < 200_000
    step = agent.traces.get(agent.traces.listing()[0]["id"])["steps"][0]["steps"][0]  # type: ignore[union-attr]
    assert step["data"] == {"id": "image1", "kind": "image", "sha256": image(77, side=64).sha256, "size_px": [64, 64]}


def test_none_is_recorded_where_there_is_no_room_for_them(state_folder: Path) -> None:
    agent, _ = make_agent([FakeExpert("detect", DOGS)], traces_mb=0, cache_mb=0)
    assert agent.ask(ASK, image=image(), route="experts")[0].text == "There are two dogs."
    assert not list(state_folder.iterdir())


# Recording must never break or slow an answer


def test_answer_is_given_where_traces_cannot_be_written(
    state_folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (state_folder / "file").write_text("in the way")
    monkeypatch.setattr("agent.records.database.folder", lambda: state_folder / "file" / "sub")
    agent, _ = make_agent([FakeExpert("detect", DOGS)])
    with caplog.at_level(logging.WARNING, "duet"):
        assert agent.ask(ASK, image=image(), route="experts")[0].text == "There are two dogs."
        agent.traces.flush()  # type: ignore[union-attr]
    messages = [record.getMessage() for record in caplog.records if "trace" in record.getMessage()]
    assert messages == ["a trace could not be recorded (NotADirectoryError)"]


def test_recording_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    traces = Traces(tmp_path / "traces.db", 1)
    traces.record(lambda: trace_of("a"))
    traces.flush()
    other = sqlite3.connect(tmp_path / "traces.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")  # another process holds the file
    begun = time.perf_counter()
    traces.record(lambda: trace_of("b"))
    taken = time.perf_counter() - begun
    time.sleep(0.3)
    other.execute("COMMIT")
    other.close()
    assert taken < 0.25
    assert [row["question"] for row in traces.listing()] == ["b", "a"]


def test_rubbish_from_an_expert_is_kept_short(state_folder: Path) -> None:
    rubbish = [Finding("detect", "x" * 1_000_000, 0.5, extra={"note": "y" * 5000}) for _ in range(300)]
    trace = recorded(experts=[FakeExpert("detect", rubbish)])
    step = trace["steps"][0]["steps"][1]
    assert len(step["findings"]) + step["findings_left_out"] == 300
    assert (state_folder / "traces-1.db").stat().st_size < 4 << 20


def test_damaged_file_is_begun_anew(tmp_path: Path) -> None:
    file = tmp_path / "traces.db"
    file.write_bytes(b"no database" * 1000)
    traces = Traces(file, 1)
    for question in "abc":
        traces.record(lambda question=question: trace_of(question))
        traces.flush()
    assert [row["question"] for row in traces.listing()][:2] == ["c", "b"]


def trace_of(question: str, began: float = 0.0) -> dict[str, Any]:
    return {
        "id": new_id(), "began": began or time.time(), "question": question, "route": "auto", "seconds": 1.0,
        "status": "ok", "error": "", "answers": [], "steps": [],
    }  # fmt: skip


def test_oldest_traces_make_room(tmp_path: Path) -> None:
    file = tmp_path / "traces.db"
    traces = Traces(file, 1)
    for number in range(40):
        traces.record(lambda number=number: trace_of(f"{number} " + "x" * 60_000, began=1000.0 + number))
        if number % 10 == 0:
            traces.flush()
    kept = [int(row["question"].split()[0]) for row in traces.listing(100)]
    assert kept == list(range(39, 39 - len(kept), -1)) and 10 < len(kept) < 20
    assert file.stat().st_size < 2 << 20


def test_two_processes_may_record_at_once(tmp_path: Path) -> None:
    both = [Traces(tmp_path / "traces.db", 4) for _ in range(2)]
    for number in range(20):
        for traces in both:
            traces.record(lambda number=number: trace_of(str(number)))
    for traces in both:
        traces.flush()
    assert len(both[0].listing(100)) == 40


def test_a_file_that_is_busy_as_it_opens_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite refuses at once, without waiting, where two processes turn the same new file to its write-ahead log."""
    traces, tries = Traces(tmp_path / "traces.db", 1), []
    open_once = traces._base._open_once

    def busy_twice() -> sqlite3.Connection:
        tries.append(len(tries))
        if len(tries) < 3:
            refused = sqlite3.OperationalError("database is locked")
            refused.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise refused
        return open_once()

    monkeypatch.setattr(traces._base, "_open_once", busy_twice)
    traces.record(lambda: trace_of("kept"))
    assert [row["question"] for row in traces.listing()] == ["kept"] and len(tries) == 3


def test_program_that_ends_at_once_has_written_its_trace(tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    root = Path(__file__).parents[2]
    code = (
        "from fakes import *\na, _ = make_agent([FakeExpert('detect', found('detect', 'dog'))])\n"
        "a.ask('How many?', image=image(), route='experts')"
    )
    own = os.environ | {"DUET_HOME": str(tmp_path), "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests' / 'support'}"}
    subprocess.run([sys.executable, "-c", code], env=own, check=True, cwd=tmp_path)
    assert len(Traces(tmp_path / "state" / "traces-1.db", 1).listing()) == 1


def test_file_is_for_this_user_alone(state_folder: Path) -> None:
    recorded()
    assert {oct(file.stat().st_mode & 0o777) for file in state_folder.iterdir()} == {"0o600"}


# Export


def attributes(span: dict[str, Any]) -> dict[str, Any]:
    return {item["key"]: next(iter(item["value"].values())) for item in span["attributes"]}


def spans_of(trace: dict[str, Any]) -> list[dict[str, Any]]:
    (resource,) = otel.export([trace], "0")["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    return scope["spans"]


def test_spans_form_a_tree_in_otlps_json() -> None:
    trace = recorded("both", [FakeExpert("detect", DOGS)])
    spans = spans_of(trace)
    by_id = {span["spanId"]: span for span in spans}
    assert len(by_id) == len(spans) == 1 + 2 + sum(len(route["steps"]) for route in trace["steps"])
    assert [span["name"] for span in spans if not span["parentSpanId"]] == ["duet.ask"]
    for span in spans:
        assert re.fullmatch(r"[0-9a-f]{32}", span["traceId"]) and re.fullmatch(r"[0-9a-f]{16}", span["spanId"])
        assert re.fullmatch(r"\d{19}", span["startTimeUnixNano"]) and re.fullmatch(r"\d{19}", span["endTimeUnixNano"])
        assert (span["kind"], span["status"]["code"]) == (1, 1)
        if span["parentSpanId"]:
            assert int(span["startTimeUnixNano"]) >= int(by_id[span["parentSpanId"]]["startTimeUnixNano"])
        for item in span["attributes"]:
            ((form, value),) = item["value"].items()
            assert form in ("stringValue", "intValue") and isinstance(value, str)
    assert spans_of(trace) == spans  # the same ids again


def test_spans_carry_openinferences_attributes() -> None:
    spans = {span["name"]: attributes(span) for span in spans_of(recorded())}
    root, tool, model = spans["duet.ask"], spans["expert detect"], spans["llm fake-llm"]
    assert [spans[name]["openinference.span.kind"] for name in ("duet.ask", "route experts", "media photo.png")] == [
        "AGENT", "CHAIN", "CHAIN",
    ]  # fmt: skip
    assert (root["input.value"], root["output.value"]) == (ASK, "There are two dogs.")
    assert (tool["openinference.span.kind"], tool["tool.name"]) == ("TOOL", "detect")
    assert [finding["text"] for finding in json.loads(tool["output.value"])] == ["dog", "dog"]
    assert json.loads(tool["metadata"])["weights"] == "detect-fake"
    assert (model["openinference.span.kind"], model["llm.model_name"]) == ("LLM", "fake-llm")
    assert model["llm.token_count.completion"] == "4"
    assert int(model["llm.token_count.total"]) == int(model["llm.token_count.prompt"]) + 4
    assert model["llm.output_messages.0.message.content"] == "There are two dogs."
    assert ASK in model["llm.input_messages.0.message.content"]


def test_failed_expert_is_a_span_with_an_error_and_a_fallback_an_event() -> None:
    spans = {span["name"]: span for span in spans_of(recorded("auto", [FakeExpert("detect", ExpertError("no power"))]))}
    failed = spans["error detect"]
    assert failed["status"] == {"code": 2, "message": "no power"}
    (event,) = [event for event in spans["route connector"]["events"] if event["name"] == "fallback"]
    assert "could not answer" in event["attributes"][0]["value"]["stringValue"]


def test_nested_gathers_steps_under_the_routes_in_their_order() -> None:
    steps = [
        Step("media", "a", "experts", 0.0),
        Step("expert", "b", "experts", 0.1, 0.5),
        Step("llm", "c", "connector", 1.0, 2.0),
    ]
    first, second = nested([step.to_dict() for step in steps])
    assert (first["name"], first["start_s"], first["seconds"], len(first["steps"])) == ("experts", 0.0, 0.6, 2)
    assert (second["name"], second["start_s"], second["seconds"]) == ("connector", 1.0, 2.0)


# The command


def duet(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = 0
    try:
        main(["traces", *arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_command_lists_shows_and_exports(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    trace = recorded()
    code, out, _ = duet(capsys, "list")
    assert code == 0 and trace["id"][:8] in out and ASK[:20] in out
    assert [row["id"] for row in json.loads(duet(capsys, "list", "--json")[1])] == [trace["id"]]
    code, out, _ = duet(capsys, "show", trace["id"][:6])
    assert code == 0 and "2 findings" in out and "There are two dogs." in out
    assert json.loads(duet(capsys, "show", trace["id"], "--json")[1]) == trace
    assert json.loads(duet(capsys, "export")[1]) == {"traces": [trace]}
    code, out, _ = duet(capsys, "export", trace["id"], "--format", "otel", "--out", str(tmp_path / "spans.json"))
    written = json.loads((tmp_path / "spans.json").read_text())
    assert (code, out) == (0, "")
    assert written["resourceSpans"][0]["scopeSpans"][0]["spans"] == spans_of(trace)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["show", "abcdef"], "there is no trace 'abcdef'; `duet traces list` shows the ids"),
        (["show", "abc"], "'abc' is no trace id; accepted: at least 4 of its 32 characters"),
        (["show", "' OR 1=1"], "is no trace id"),
        (["export", "--format", "xml"], "no format named 'xml'; known: json, otel"),
        (["export", "zzzz"], "'zzzz' is no trace id"),
    ],
)
def test_wrong_command_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], says: str) -> None:
    code, _, err = duet(capsys, *arguments)
    assert code == 2 and says in err and err.count("\n") == 1


def test_id_that_several_traces_share_is_not_guessed(tmp_path: Path) -> None:
    traces = Traces(tmp_path / "traces.db", 1)
    for last in "ab":
        traces.record(lambda last=last: trace_of("x") | {"id": "f" * 31 + last})
    with pytest.raises(InputError, match="several traces begin with 'ffff'"):
        traces.get("ffff")
    assert traces.get("f" * 31 + "a")["id"] == "f" * 31 + "a"


def test_questions_about_sound_leave_one_too() -> None:
    agent, _ = make_agent([FakeExpert("speech", found("speech", "good morning"), ("audio",))])
    agent.ask("What is said?", audio=sound(), route="auto")
    (row,) = agent.traces.listing()  # type: ignore[union-attr]
    assert row["status"] == "ok" and traces_module.LEAST_ID == 4
