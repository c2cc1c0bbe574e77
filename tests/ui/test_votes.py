"""The store of votes: what it acknowledges is on the disk, once; what it cannot store it says; out and in."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connector.data.records import RecordReader
from experts.errors import InputError
from ui.votes.exchange import FORMATS, export, from_line, import_, to_line
from ui.votes.records import Battle, Side, StoreError, comparisons
from ui.votes.store import VoteStore

ROOT = Path(__file__).parents[2]


def battle(number: int, *, question: str = "How many dogs are there?", **rest: Any) -> Battle:
    a = Side("experts", f"There are {number} dogs.", f"There are {number} dogs.", True, 1.5)
    b = Side("connector", "A dog.", "A dog.", True, 0.5, leaks=1)
    values = {"a": a, "b": b, "models": {"llm": "tiny"}, "asked_at": 1000.0 + number} | rest
    return Battle(f"battle-{number:04}", question, "count", **values)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    made = VoteStore(tmp_path / "votes.sqlite")
    yield made
    made.close()


def test_a_battle_and_its_vote_come_back_as_they_went_in(store: VoteStore) -> None:
    media = ({"kind": "image", "name": "p.png", "sha256": "ab", "file": "ab.png"},)
    first = battle(1, media=media, question="Zähle: 有几只狗?", expected="2")
    store.vote(first, "a", ["slow", "missed"])
    store.add([battle(2, b=replace(battle(2).b, correct=False, whole=False, error="no"))])
    (back, vote), (second, none) = store.all()
    assert back == first
    assert vote is not None and (vote.choice, vote.reasons) == ("a", ("missed", "slow"))
    assert second.b.correct is False and second.b.whole is False and none is None
    assert [pair[0].id for pair in store.all(voted=True)] == [first.id]


def test_the_first_vote_stands(store: VoteStore) -> None:
    assert store.vote(battle(1), "a").fresh
    again = store.vote(battle(1), "b", ["slow"])
    assert (again.choice, again.reasons, again.fresh) == ("a", (), False)
    assert store.counts() == {"battles": 1, "votes": 1}


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO votes VALUES ('battle-0001', 'b', '[]', 0)",
        "INSERT INTO votes VALUES ('battle-9999', 'b', '[]', 0)",
        "UPDATE votes SET choice = 'b'",
        "DELETE FROM votes",
        "UPDATE battles SET a_route = 'other'",
    ],
)
def test_the_schema_itself_refuses_what_would_change_a_vote(store: VoteStore, query: str) -> None:
    store.vote(battle(1), "a")
    with sqlite3.connect(store.file) as other:
        other.execute("PRAGMA foreign_keys = ON")
        with pytest.raises(sqlite3.IntegrityError):
            other.execute(query)
    other.close()
    assert store.vote_of("battle-0001").choice == "a"  # type: ignore[union-attr]


def test_votes_are_synced_through_a_log(store: VoteStore) -> None:
    assert store._base.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert store._base.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL: every commit reaches the disk


@pytest.mark.parametrize(("choice", "reasons"), [("c", []), ("", []), ("a", ["because"])])
def test_what_is_no_vote_is_refused(store: VoteStore, choice: str, reasons: list[str]) -> None:
    with pytest.raises(InputError, match="accepted"):
        store.vote(battle(1), choice, reasons)
    assert store.counts() == {"battles": 0, "votes": 0}


def test_a_vote_on_an_unknown_battle_is_refused(store: VoteStore) -> None:
    with pytest.raises(InputError, match="no such battle"):
        store.vote("battle-0404", "a")


def posts(file: Path, battles: int, times: int, threads: int, seed: int) -> list[tuple[str, str, bool]]:
    """`battles` times `times` votes at once, in random order, through one store: (battle, choice answered, fresh)."""
    store = VoteStore(file)
    rng = random.Random(seed)
    wanted = [(number, rng.choice("ab")) for number in range(battles) for _ in range(times)]
    rng.shuffle(wanted)
    with ThreadPoolExecutor(threads) as pool:
        votes = list(pool.map(lambda one: store.vote(battle(one[0]), one[1]), wanted))
    store.close()
    return [(vote.battle, vote.choice, vote.fresh) for vote in votes]


def check_posts(file: Path, answers: list[tuple[str, str, bool]], battles: int) -> None:
    store = VoteStore(file)
    assert store.counts() == {"battles": battles, "votes": battles}
    stored = {one.id: vote.choice for one, vote in store.all() if vote}
    store.close()
    assert all(stored[name] == choice for name, choice, _ in answers)  # everybody was told what is stored
    fresh = [name for name, _, new in answers if new]
    assert sorted(fresh) == sorted(stored)  # exactly one post of each battle was the one that counted


def test_concurrent_repeated_posts_give_one_vote_a_battle(tmp_path: Path) -> None:
    file = tmp_path / "votes.sqlite"
    check_posts(file, posts(file, 25, 4, 16, seed=0), 25)


def test_posts_of_several_processes_give_one_vote_a_battle(tmp_path: Path) -> None:
    file = tmp_path / "votes.sqlite"
    _several(file, processes=2, battles=15, times=2, threads=4)


@pytest.mark.slow
def test_a_thousand_concurrent_posts_give_one_vote_a_battle(tmp_path: Path) -> None:
    file = tmp_path / "votes.sqlite"
    check_posts(file, posts(file, 250, 4, 64, seed=1), 250)
    _several(tmp_path / "second.sqlite", processes=4, battles=125, times=2, threads=16)


def _several(file: Path, processes: int, battles: int, times: int, threads: int) -> None:
    code = "import sys, json, test_votes, pathlib\nnumbers = map(int, sys.argv[2:])\n"
    code += "print(json.dumps(test_votes.posts(pathlib.Path(sys.argv[1]), *numbers)))"
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(file), *map(str, (battles, times, threads, seed))],
            stdout=subprocess.PIPE, text=True, cwd=ROOT, env=_env(),
        )
        for seed in range(processes)
    ]  # fmt: skip
    answers = []
    for one in running:
        out, _ = one.communicate(timeout=240)
        assert one.returncode == 0
        answers += [tuple(answer) for answer in json.loads(out)]
    check_posts(file, answers, battles)


def _env() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests/support'}{os.pathsep}{ROOT / 'tests/ui'}"}


VOTING = """
import itertools, os, pathlib, sys
from ui.votes.store import Battle, Side, VoteStore

def run(file, start, told):
    store, said = VoteStore(pathlib.Path(file)), os.open(told, os.O_WRONLY | os.O_CREAT)
    for number in itertools.count(start):
        sides = (Side(route, "Yes.", "Yes.", True, 1.0) for route in ("experts", "connector"))
        battle = Battle(f"battle-{number:09}", "Is there a dog?", "existence", *sides)
        for _ in range(2):  # a double click
            vote = store.vote(battle, "ab"[number % 2])
        os.write(said, f"{vote.battle} {vote.choice}\\n".encode())

for line in sys.stdin:  # a fork a line: a fresh process without the time to start one
    child = os.fork()
    if not child:
        file, start, told = line.split("|")
        run(file, int(start), told.strip())
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


def kill_at_random(file: Path, points: int, seed: int) -> int:
    """Kill -9 a voting process `points` times; every acknowledged vote must be there once. Returns their number."""
    rng = random.Random(seed)
    acknowledged: dict[str, str] = {}
    with subprocess.Popen(
        [sys.executable, "-c", VOTING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=_env()
    ) as parent:
        assert parent.stdin is not None and parent.stdout is not None
        for point in range(points):
            told = file.with_name(f"told-{point}.txt")
            parent.stdin.write(f"{file}|{point * 1_000_000}|{told}\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            until = time.monotonic() + 60
            while point % 2 and not (told.is_file() and told.stat().st_size) and time.monotonic() < until:
                time.sleep(0.005)  # every other one has voted already
            time.sleep(rng.uniform(0, 0.2))
            os.kill(child, signal.SIGKILL)
            assert parent.stdout.readline() == "dead\n"
            lines = told.read_bytes() if told.is_file() else b""
            acknowledged |= dict(line.split() for line in lines[: lines.rfind(b"\n") + 1].decode().splitlines())
            store = VoteStore(file)
            assert store._base.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
            stored = {one.id: vote.choice for one, vote in store.all() if vote}
            counts = store.counts()
            store.close()
            assert acknowledged.items() <= stored.items()
            assert counts["votes"] == counts["battles"] == len(stored)  # a vote comes with its battle or not at all
        parent.stdin.close()
    return len(acknowledged)


def test_kill_9_loses_no_acknowledged_vote_and_doubles_none(tmp_path: Path) -> None:
    assert kill_at_random(tmp_path / "votes.sqlite", 8, seed=0) >= 4


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_kill_9_at_100_points_loses_no_acknowledged_vote_and_doubles_none(tmp_path: Path) -> None:
    votes = kill_at_random(tmp_path / "votes.sqlite", 100, seed=1)
    print(f"{votes} votes acknowledged")
    assert votes >= 50


# -- a file that cannot be written ------------------------------------------------------------------------------------


def test_a_full_database_says_so_and_keeps_what_it_has(store: VoteStore) -> None:
    store.vote(battle(1), "a")
    pages = store._base.execute("PRAGMA page_count").fetchone()[0]
    store._base.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError, match=r"the disk is full.*nothing was stored.*try again"):
        store.vote(battle(2, question="long " * 5000), "b")
    assert store.counts() == {"battles": 1, "votes": 1}
    store._base.execute("PRAGMA max_page_count = 100000")  # room was made
    assert store.vote(battle(2, question="long " * 5000), "b").fresh


def in_child(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints that runs `code`, with this file's names at hand."""
    head = "import sys, os, resource, pathlib\nfrom test_votes import *\nfrom ui.votes.exchange import *\n"
    run = subprocess.run(
        [sys.executable, "-c", head + code, *arguments],
        cwd=ROOT,
        env=_env(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_a_disk_without_room_gives_an_error_and_no_vote(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for a full disk: the kernel refuses to let any file grow."""
    file = tmp_path / "votes.sqlite"
    code = (
        "store = VoteStore(pathlib.Path(sys.argv[1]))\nstore.vote(battle(1), 'a')\n"
        "size = os.path.getsize(sys.argv[1] + '-wal')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, resource.RLIM_INFINITY))\n"
        "for number in range(2, 60):\n"
        "    try:\n        store.vote(battle(number), 'b'); print('stored', number)\n"
        "    except StoreError as error:\n        print('refused', number, error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "print('again', store.vote(battle(59), 'b').fresh)\n"
    )
    lines = in_child(code, str(file)).splitlines()
    refused = {line.split()[1] for line in lines if line.startswith("refused")}
    assert refused and all("nothing was stored" in line for line in lines if line.startswith("refused"))
    store = VoteStore(file)
    stored = {str(int(one.id[-4:])) for one, vote in store.all() if vote}
    store.close()
    thanked = {line.split()[1] for line in lines if line.startswith("stored")}
    assert stored == {"1", *thanked, "59"}  # what was thanked for is there, what was refused is not


def test_a_read_only_database_gives_an_error_and_no_vote() -> None:
    """As another user, since the one who runs the tests may be root, whom permissions do not stop."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = VoteStore(folder / "votes.sqlite")
        store.vote(battle(1), "a")
        store.close()
        for path, mode in ((folder / "votes.sqlite", 0o444), (folder, 0o555)):
            path.chmod(mode)
        code = (
            "import sqlite3\nif os.geteuid() == 0:\n    os.setgid(65534); os.setuid(65534)\n"
            "try:\n    store = VoteStore(pathlib.Path(sys.argv[1]))\n    print(store.vote(battle(2), 'b'))\n"
            "except StoreError as error:\n    print('refused:', error)\n"
        )
        told = in_child(code, str(folder / "votes.sqlite"))
        folder.chmod(0o755)
        assert told.startswith("refused: the database of votes cannot be")
        assert str(folder) not in told
        store = VoteStore(folder / "votes.sqlite")
        assert store.counts()["votes"] == 1
        store.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "votes.sqlite").write_bytes(b"not a database " * 100)
    with pytest.raises(StoreError, match="no such database"):
        VoteStore(tmp_path / "votes.sqlite").counts()


def test_a_database_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "votes.sqlite") as base:
        base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(StoreError, match="version 99"):
        VoteStore(tmp_path / "votes.sqlite").counts()


def test_stores_opened_at_once_agree_on_the_schema(tmp_path: Path) -> None:
    faults: list[Exception] = []

    def work(number: int) -> None:
        try:
            store = VoteStore(tmp_path / "votes.sqlite")
            store.vote(battle(number), "a")
            store.close()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    store = VoteStore(tmp_path / "votes.sqlite")
    assert store.counts()["votes"] == 8
    store.close()


# -- out and in -------------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(store: VoteStore, tmp_path: Path) -> VoteStore:
    """Twelve battles: votes of all kinds, one without a vote, media kept."""
    import fakes  # not at the top: the processes that vote need no model library

    picture = fakes.image(40)
    picture.to_pil().save(tmp_path / "photo.png")
    kept = store.keep(picture, str(tmp_path / "photo.png"))
    for number in range(10):
        store.vote(battle(number, media=(kept,)), ("a", "b", "tie", "bad")[number % 4], ["slow"] * (number % 2))
    cut = battle(10, media=(kept,), a=replace(battle(10).a, whole=False))
    store.vote(cut, "b")
    store.add([battle(11, question="=1+1", source="batch", expected="2")])
    return store


def test_preference_pairs_are_read_back_without_a_broken_one(filled: VoteStore, tmp_path: Path) -> None:
    told = export(filled, tmp_path / "out")
    reader = RecordReader(tmp_path / "out" / "preferences.jsonl", max_broken=0.0)
    records = list(reader)
    assert reader.broken == [] and len(records) == told["pairs"] == 6
    assert told["left_out"] == {"nobody won": 4, "an answer was cut off": 1}
    by_id = {record.id: record for record in records}
    assert (by_id["battle-battle-0000"].answer, by_id["battle-battle-0000"].rejected) == ("There are 0 dogs.", "A dog.")
    assert (by_id["battle-battle-0001"].answer, by_id["battle-battle-0001"].rejected) == ("A dog.", "There are 1 dogs.")
    for record in records:  # the trainer looks for images beside the file
        assert (tmp_path / "out" / str(record.image)).is_file()


def test_the_trainer_takes_the_exported_pairs(filled: VoteStore, tmp_path: Path) -> None:
    tiny = pytest.importorskip("tiny")
    from connector.encoders.features import FeatureCache
    from connector.training.prepare import open_task
    from connector.training.stages import stage_config

    export(filled, tmp_path / "out")
    model = tiny.model()
    cache = FeatureCache(tmp_path / "features", model.encoder.fingerprint())
    said: list[str] = []
    task = open_task(
        model, stage_config("dpo"), [], cache, files=[tmp_path / "out" / "preferences.jsonl"], say=said.append
    )
    assert len(task.names) == 6
    assert not [line for line in said if "broken" in line]


def test_an_import_merges_and_a_second_one_changes_nothing(filled: VoteStore, tmp_path: Path) -> None:
    export(filled, tmp_path / "out")
    other = VoteStore(tmp_path / "elsewhere" / "votes.sqlite")
    other.vote(replace(battle(3), question="kept as it is here"), "a")
    first = import_(other, tmp_path / "out")
    assert (first["battles"], first["new_battles"], first["new_votes"], first["media"]) == (12, 11, 10, 1)
    assert other.battle("battle-0003").question == "kept as it is here"  # type: ignore[union-attr]
    assert other.vote_of("battle-0003").choice == "a"  # type: ignore[union-attr]
    before = other.all()
    again = import_(other, tmp_path / "out" / FORMATS["jsonl"])
    assert (again["new_battles"], again["new_votes"], again["media"]) == (0, 0, 0)
    assert other.all() == before
    assert (other.media / before[0][0].media[0]["file"]).is_file()
    other.close()


def test_lines_come_back_as_the_same_battles(filled: VoteStore) -> None:
    for one, vote in filled.all():
        assert from_line(to_line(one, vote)) == (one, vote)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"id": 5}, "'id'"),
        ({"question": None}, "'question'"),
        ({"source": "elsewhere"}, "source"),
        ({"vote": {"choice": "c", "reasons": [], "voted_at": 1.0}}, "vote"),
        ({"vote": {"choice": "a"}}, "voted_at"),
        ({"media": [{"kind": "image", "name": "x", "sha256": "y", "file": "../../x.png"}]}, "plain name"),
        ({"surprise": 1}, "surprise"),
        ({"asked_at": "now"}, "'asked_at'"),
        ({"a": 3}, "line 2"),
    ],
)
def test_a_broken_line_is_named_and_nothing_is_taken_in(
    store: VoteStore, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    values = json.loads(to_line(battle(2), None)) | change
    (tmp_path / "battles.jsonl").write_text(f"{to_line(battle(1), None)}\n{json.dumps(values)}\n")
    with pytest.raises(InputError, match="line 2 .*nothing was taken in") as error:
        import_(store, tmp_path)
    assert reason in str(error.value)
    assert store.counts()["battles"] == 0


def test_the_table_has_a_row_a_battle_and_no_formulas(filled: VoteStore, tmp_path: Path) -> None:
    export(filled, tmp_path / "out", ["csv"])
    with (tmp_path / "out" / "battles.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert (rows[1]["choice"], rows[1]["winner"], rows[1]["reasons"]) == ("b", "connector", "slow")
    assert rows[11]["question"] == "'=1+1" and rows[11]["choice"] == ""
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["battles.csv"]


def test_comparisons_are_judged_by_people_or_by_the_key(store: VoteStore) -> None:
    right, wrong = replace(battle(1).a, correct=True), replace(battle(1).b, correct=False)
    store.vote(battle(1, a=right, b=wrong, source="batch"), "b")
    store.add([battle(2, a=right, b=replace(wrong, correct=True))])
    store.add([battle(3)])
    by_people = comparisons(store.all())
    assert [(row.a, row.b, row.outcome) for row in by_people] == [("experts", "connector", "b")]
    assert [row.outcome for row in comparisons(store.all(), judge="key")] == ["a", "tie"]


def test_contestants_are_named_by_the_model_that_answers_on_their_route(store: VoteStore) -> None:
    models = {"llm": "tiny", "model": "llava-tiny"}
    store.vote(battle(1, models=models), "b")
    store.vote(battle(2, models=models | {"model": "tiny"}), "a")
    second, first = sorted(comparisons(store.all(), by="variant"), key=lambda row: row.b)
    assert first.a.startswith("experts (tiny#") and first.b.startswith("connector (tiny#")
    assert second.a.startswith("experts (tiny#") and second.b.startswith("connector (llava-tiny#")
    assert battle(1, models=models).variant.startswith("tiny + llava-tiny#")
    assert battle(2, models={}).variant.startswith("unknown#")


def test_reasons_may_follow_a_vote_whose_choice_stands(store: VoteStore) -> None:
    store.vote(battle(1), "a")
    assert store.give_reasons(battle(1).id, ["slow", "missed"]).reasons == ("missed", "slow")
    with pytest.raises(InputError, match="no reason"):
        store.give_reasons(battle(1).id, ["ugly"])
    with pytest.raises(InputError, match="no vote yet"):
        store.give_reasons("0" * 32, ["slow"])
    assert store.vote_of(battle(1).id).choice == "a"  # type: ignore[union-attr]
