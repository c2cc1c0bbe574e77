"""Batch A/B: one's own questions from a file or folder, resumed and stopped, into the database that the arena uses."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fakes
import PIL.Image
import pytest

from agent.evaluation import run
from agent.evaluation.benchmarks.own_questions import guess_kind, load_questions
from agent.evaluation.run import read_rows
from agent.evaluation.scoring.parsers import judge
from connector.data.records import Record
from experts.errors import InputError, UnknownNameError
from ui.votes import comparison
from ui.votes.comparison import battles, compare, folder_for, routes_of, summary, table, write
from ui.votes.records import comparisons
from ui.votes.store import VoteStore

SAYS = "There are two dogs."


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Three pictures; four questions, one of them without a known answer."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for number in range(3):
        PIL.Image.new("RGB", (8, 8), (80 * number, 120, 40)).save(folder / f"{number}.png")
    rows = [
        {"id": "q0", "question": "How many dogs are there?", "image": "0.png", "answer": "2"},
        {"id": "q1", "question": "How many dogs are there?", "image": "1.png", "answer": "3"},
        {"id": "q2", "question": "Is there a dog?", "image": "2.png", "answer": "yes"},
        {"id": "q3", "question": "What is going on?", "image": "2.png"},
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Iterator[VoteStore]:
    made = VoteStore(tmp_path / "arena" / "votes.sqlite")
    yield made
    made.close()


def agent_that_sees() -> tuple[Any, Any]:
    return fakes.make_agent([fakes.FakeExpert("detect", lambda media: fakes.found("detect", "dog", "dog"))], SAYS)


# -- questions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "answer", "heard", "kind"),
    [
        ("How many dogs are there?", "", False, "count"), ("What colour is it?", "", False, "colour"),
        ("Is there a dog?", "", False, "existence"), ("Where is the cat?", "", False, "position"),
        ("What does the sign say?", "", False, "text"), ("What does the speaker say?", "", True, "speech"),
        ("Describe the picture.", "", False, "caption"), ("What animal is this?", "", False, "name"),
        ("What is this?", "red", False, "colour"), ("Any cars?", "no", False, "existence"),
        ("Dogs?", "3", False, "count"),
        ("What is in the picture?", "a zebra", False, "name"),
    ],
)  # fmt: skip
def test_the_kind_of_a_question_is_guessed(question: str, answer: str, heard: bool, kind: str) -> None:
    assert guess_kind(question, answer, heard=heard) == kind


def test_jsonl_csv_and_folder_give_the_same_questions(questions: Path) -> None:
    by_folder = load_questions(questions).benchmark.records
    by_file = load_questions(questions / "questions.jsonl").benchmark.records
    with (questions / "other.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ID", "Question ", "image", "answer"])
        writer.writerows([r.id, r.question, r.image, r.answer] for r in by_file)
    assert load_questions(questions / "other.csv").benchmark.records == by_folder == by_file
    assert [record.kind for record in by_file] == ["count", "count", "existence", "name"]


def test_a_folder_of_media_alone_is_asked_what_stands_beside_each(questions: Path) -> None:
    (questions / "questions.jsonl").unlink()
    (questions / "0.txt").write_text("How many dogs are there?\n2\n")
    records = load_questions(questions).benchmark.records
    assert [(r.question, r.answer, r.image) for r in records] == [
        ("How many dogs are there?", "2", "0.png"),
        ("What is in the picture?", "", "1.png"),
        ("What is in the picture?", "", "2.png"),
    ]  # fmt: skip


def test_lines_that_cannot_be_asked_are_named(questions: Path) -> None:
    (questions.parent / "secret.png").write_bytes(b"x")
    lines = [
        '{"question": "ok?", "image": "0.png"}', "no json",
        '{"question": "", "image": "0.png"}', '{"question": "what?"}',
        '{"question": "what?", "image": "none.png"}', '{"question": "what?", "image": "../secret.png"}',
        '{"question": "what?", "video": "clip.mp4"}', '{"question": "what?", "image": "0.png", "kind": "odd"}',
        '{"question": "uploaded flat?", "image": "photos/1.png"}', '["a list"]',
    ]  # fmt: skip
    (questions / "questions.jsonl").write_text("\n".join(lines))
    loaded = load_questions(questions)
    assert [record.image for record in loaded.benchmark.records] == ["0.png", "1.png"]
    assert [line.split(":")[0] for line in loaded.refused] == [f"line {n}" for n in (2, 3, 4, 5, 6, 7, 8, 10)]
    told = "\n".join(loaded.refused)
    assert str(questions) not in told and "there is no file 'clip.mp4' beside the questions" in told


def test_two_media_in_a_line_are_refused(questions: Path) -> None:
    (questions / "questions.jsonl").write_text('{"question": "what?", "image": "0.png", "audio": "a.wav"}')
    with pytest.raises(InputError, match="needed: one of 'image', 'audio' and 'video', not 2 of them"):
        load_questions(questions)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder with a film that shows a grey square and is silent, a question about it, and a picture."""
    av = pytest.importorskip("av")
    import numpy as np

    folder = tmp_path / "films"
    folder.mkdir()
    with av.open(str(folder / "clip.mp4"), "w") as file:
        stream = file.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 64
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 * number, np.uint8), format="rgb24")
            file.mux(stream.encode(frame))
        file.mux(stream.encode())
    PIL.Image.new("RGB", (8, 8)).save(folder / "photo.png")
    rows = [
        {"id": "film", "question": "How many dogs are there?", "video": "clip.mp4", "answer": "2"},
        {"id": "photo", "question": "Is there a dog?", "image": "photo.png", "answer": "yes"},
    ]
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_rows_with_films_are_answered_on_both_routes(films: Path, store: VoteStore, tmp_path: Path) -> None:
    seer = fakes.FakeExpert("detect", lambda media: fakes.found("detect", "dog", "dog"), ("image", "video"))
    watcher = fakes.FakeExpert("video", lambda media: fakes.found("video", "dog", "dog"), ("video",))
    agent, _ = fakes.make_agent([seer, watcher], SAYS)
    benchmark = load_questions(films).benchmark
    assert [record.media for record in benchmark.records] == [{"video": "clip.mp4"}, {"image": "photo.png"}]
    found = compare(benchmark, agent, ("experts", "connector"), tmp_path / "out", store)
    for route, rows in found.rows.items():
        assert [(row.medium, row.answer, row.error) for row in rows] == [
            ("clip.mp4", SAYS, ""),
            ("photo.png", SAYS, ""),
        ], route
        assert rows[0].correct is True
        assert [row.tones for row in rows] == [pytest.approx(0.0, abs=0.1), 0.0]  # grey frames, a black picture
    assert [medium.kind for medium in watcher.asked] == ["video"]
    about = {battle.media[0]["kind"]: battle for battle, _ in store.all()}
    assert set(about) == {"image", "video"}
    kept = store.media / about["video"].media[0]["file"]
    assert kept.suffix == ".mp4" and kept.read_bytes() == (films / "clip.mp4").read_bytes()
    again = compare(benchmark, agent, ("experts", "connector"), tmp_path / "out", store)
    assert again.rows == found.rows and again.battles == 0


def test_films_of_a_folder_are_asked_what_is_in_them(films: Path) -> None:
    (films / "questions.jsonl").unlink()
    records = load_questions(films).benchmark.records
    assert [(r.question, r.media) for r in records] == [
        ("What is in the video?", {"video": "clip.mp4"}),
        ("What is in the picture?", {"image": "photo.png"}),
    ]


@pytest.mark.parametrize(
    ("question", "kind"),
    [("What is said?", "speech"), ("What animal is this?", "name"), ("What does the sign say?", "text")],
)
def test_a_question_about_a_film_is_about_its_sound_where_it_asks_for_it(films: Path, question: str, kind: str) -> None:
    (films / "questions.jsonl").write_text(json.dumps({"question": question, "video": "clip.mp4"}))
    assert load_questions(films).benchmark.records[0].kind == kind


@pytest.mark.parametrize("name", ["none.jsonl", "0.png", "empty"])
def test_a_source_without_questions_is_refused(questions: Path, name: str) -> None:
    (questions / "empty").mkdir()
    with pytest.raises(InputError, match="accepted|needed"):
        load_questions(questions / name)


def test_without_a_known_answer_nothing_is_right_or_wrong() -> None:
    assert judge(Record("1", "How many?", "", "count"), "2").correct is None


# -- runs -------------------------------------------------------------------------------------------------------------


def test_a_run_lands_in_the_arenas_database(questions: Path, store: VoteStore, tmp_path: Path) -> None:
    agent, _ = agent_that_sees()
    benchmark = load_questions(questions).benchmark
    seen: list[tuple[int, int]] = []
    found = compare(
        benchmark, agent, ("experts", "connector"), tmp_path / "out", store, report=lambda *at: seen.append(at)
    )
    assert seen[-1] == (8, 8) and not found.stopped and found.battles == 4
    stored = [battle for battle, vote in store.all() if vote is None]
    assert {battle.source for battle in stored} == {"batch"}
    by_question = {(battle.question, battle.expected): battle for battle in stored}
    two = by_question["How many dogs are there?", "2"]
    assert {two.a.route, two.b.route} == {"experts", "connector"} and two.a.correct is two.b.correct is True
    assert by_question["What is going on?", ""].a.correct is None
    assert (store.media / two.media[0]["file"]).read_bytes() == (questions / "0.png").read_bytes()
    key = comparisons(store.all(), judge="key")
    assert sorted(row.outcome for row in key) == ["bad", "tie", "tie"]
    assert two.models == run.models(agent, "both")


def test_a_run_again_asks_nothing_and_stores_nothing_new(questions: Path, store: VoteStore, tmp_path: Path) -> None:
    agent, llm = agent_that_sees()
    benchmark = load_questions(questions).benchmark
    first = compare(benchmark, agent, ("experts", "connector"), tmp_path / "out", store)
    asked, before = len(llm.prompts), store.all()
    second = compare(benchmark, agent, ("experts", "connector"), tmp_path / "out", store)
    assert len(llm.prompts) == asked and second.battles == 0
    assert second.rows == first.rows and store.all() == before


def test_a_stopped_run_goes_on_where_it_was(questions: Path, store: VoteStore, tmp_path: Path) -> None:
    agent, llm = agent_that_sees()
    benchmark = load_questions(questions).benchmark
    stop = threading.Event()

    def after_five(done: int, total: int) -> None:
        if done == 5:
            stop.set()

    found = compare(benchmark, agent, ("experts", "connector"), tmp_path / "out", store, report=after_five, stop=stop)
    assert found.stopped and [len(rows) for rows in found.rows.values()] == [4, 1]
    assert found.battles == 1  # what both have answered
    asked = len(llm.prompts)
    whole = compare(benchmark, agent, ("experts", "connector"), tmp_path / "out", store)
    assert len(llm.prompts) == asked + 3 and not whole.stopped and whole.battles == 3
    fresh_agent, _ = agent_that_sees()
    unbroken = compare(benchmark, fresh_agent, ("experts", "connector"), tmp_path / "other", store)
    assert unbroken.battles == 0  # the same battles
    said = {route: [(row.id, row.answer, row.correct) for row in rows] for route, rows in whole.rows.items()}
    assert said == {route: [(row.id, row.answer, row.correct) for row in rows] for route, rows in unbroken.rows.items()}


def test_three_routes_meet_in_pairs(questions: Path, store: VoteStore, tmp_path: Path) -> None:
    agent, _ = agent_that_sees()
    found = compare(
        load_questions(questions).benchmark, agent, ("experts", "connector", "auto"), tmp_path / "out", store
    )
    assert found.battles == 12
    assert set(summary(found)["pairs"]) == {"experts - connector", "experts - auto", "connector - auto"}


def test_sides_of_a_batch_are_mixed_and_always_the_same(questions: Path, store: VoteStore, tmp_path: Path) -> None:
    agent, _ = agent_that_sees()
    benchmark = load_questions(questions).benchmark
    rows = compare(benchmark, agent, ("experts", "connector"), tmp_path / "out", store).rows
    lefts = []
    for number in range(40):
        made = battles(benchmark, rows, {"llm": str(number)}, store)
        again = battles(benchmark, rows, {"llm": str(number)}, store)
        assert [(b.id, b.a.route) for b in made] == [(b.id, b.a.route) for b in again]
        lefts += [battle.a.route for battle in made]
    assert 50 < lefts.count("experts") < 110  # of 160


def test_the_table_and_files_have_every_answer(questions: Path, store: VoteStore, tmp_path: Path) -> None:
    agent, _ = agent_that_sees()
    found = compare(load_questions(questions).benchmark, agent, ("experts", "connector"), tmp_path / "out", store)
    columns, rows = table(found)
    assert columns == [
        "id",
        "question",
        "expected",
        "experts",
        "experts right",
        "experts s",
        "connector",
        "connector right",
        "connector s",
        "evidence",
    ]
    assert [row[4] for row in rows] == ["✓", "✗", "✓", ""]
    assert rows[0][3] == SAYS and "dog" in rows[0][-1]
    told = summary(found)
    assert told["routes"]["experts"]["right"]["hits"] == 2 and told["pairs"]["experts - connector"]["both"] == 2
    files = write(found, tmp_path / "out")
    with files[0].open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 8
    assert read_rows(files[1]) == [row for some in found.rows.values() for row in some]
    assert json.loads(files[2].read_text()) == told


def test_rows_with_unusual_line_ends_are_read_back(questions: Path, store: VoteStore, tmp_path: Path) -> None:
    """An answer with U+2028 once made its row two lines, and the run could not go on."""
    agent, _ = fakes.make_agent(
        [fakes.FakeExpert("detect", lambda media: fakes.found("detect", "a\u2028b"))], "one\u0085two"
    )
    benchmark = load_questions(questions).benchmark
    for _ in range(2):
        found = compare(benchmark, agent, ("experts", "connector"), tmp_path / "out", store)
    assert len(found.rows["experts"]) == 4


@pytest.mark.parametrize("text", ["experts", "", "experts,experts"])
def test_fewer_than_two_routes_are_nothing_to_compare(text: str) -> None:
    with pytest.raises(InputError, match="two routes"):
        routes_of(text)
    with pytest.raises(UnknownNameError, match="experts"):
        routes_of("experts,conector")


# -- command line -----------------------------------------------------------------------------------------------------


def test_the_command_line_compares_and_tells(
    questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from ui.cli import main

    agent, _ = agent_that_sees()
    monkeypatch.setattr("agent.agent.Agent", lambda settings: agent)
    monkeypatch.setenv("COLUMNS", "120")
    file, out, base = str(questions / "questions.jsonl"), str(tmp_path / "run"), str(tmp_path / "votes.sqlite")
    main(["compare", file, "--out", out, "--db", base, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["battles"] == 4 and told["routes"]["connector"]["n"] == 4
    main(["compare", file, "--out", out, "--db", base])
    assert "0 new battles" in capsys.readouterr().out
    main(["votes", "stats", "--judge", "key", "--db", base, "--json"])
    assert json.loads(capsys.readouterr().out)["battles"] == 3
    main(["votes", "stats", "--db", base])
    assert "no votes yet" in capsys.readouterr().out
    main(["votes", "export", "--out", str(tmp_path / "export"), "--db", base])
    assert "battles.jsonl: 4" in capsys.readouterr().out
    other = str(tmp_path / "other.sqlite")
    main(["votes", "import", str(tmp_path / "export"), "--db", other])
    assert "4 new battles and 0 new votes of 4" in capsys.readouterr().out
    main(["votes", "stats", "--judge", "key", "--db", other])
    assert "side A won" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["votes", "stats", "--judge", "nobody", "--db", other])
    assert end.value.code == 2


def test_the_folder_of_a_run_depends_on_questions_and_models(questions: Path) -> None:
    agent, _ = agent_that_sees()
    benchmark = load_questions(questions).benchmark
    first = folder_for(benchmark, agent, comparison.USUAL)
    assert first == folder_for(benchmark, agent, comparison.USUAL)
    agent.context.language().llm.adapter = "another"
    assert first != folder_for(benchmark, agent, comparison.USUAL)
