"""The arena, leaderboard and batch tabs as a browser meets them: the exact events of a battle, votes, files."""

from __future__ import annotations

import gc
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fakes
import pytest
from test_arena import ScriptedAgent

from ui.votes.store import VoteStore

httpx = pytest.importorskip("httpx")
gr = pytest.importorskip("gradio")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the web framework under gradio
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets and loops of its server thread
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ANSWERS = {
    "experts": "The detector found a brown dog on the left, and there is a grey cat near the right border of it all.",
    "connector": "A dog.",
}


class Served:
    """An app with the three tabs, and what a browser does with it, over HTTP."""

    def __init__(self, folder: Path) -> None:
        from ui.app import words
        from ui.app.pages import arena, batch, leaderboard

        self.agent, self.votes = ScriptedAgent(ANSWERS), VoteStore(folder / "votes.sqlite")
        with gr.Blocks() as self.app:
            with gr.Tab("arena"):
                self.page = arena.build(self.agent, self.votes, words_a_s=500)  # type: ignore[arg-type]
                self.page.arena._models = {"llm": "tiny"}
            with gr.Tab("leaderboard"):
                self.board = leaderboard.build(self.votes)
            with gr.Tab("batch"):
                seer = fakes.FakeExpert("detect", lambda media: fakes.found("detect", "dog"))
                self.batch = batch.build(fakes.make_agent([seer])[0], self.votes)
        _, self.url, _ = self.app.launch(prevent_thread_lock=True, quiet=True, i18n=words.i18n(), ssr_mode=False)
        self.session = uuid.uuid4().hex
        self.client = httpx.Client(base_url=self.url, timeout=60, trust_env=False)

    def close(self) -> None:
        self.client.close()
        self.app.close(verbose=False)
        self.votes.close()
        gc.collect()  # here, not in somebody else's test

    def number(self, name: str, nth: int = 0) -> int:
        """The id of the nth event whose handler is called `name`."""
        return [n for n, fn in self.app.fns.items() if getattr(fn.fn, "__name__", "") == name][nth]

    def upload(self, file: Path) -> dict[str, Any]:
        with file.open("rb") as stream:
            sent = self.client.post("gradio_api/upload", files={"files": (file.name, stream)})
        return {"path": sent.json()[0], "orig_name": file.name, "meta": {"_type": "gradio.FileData"}}

    def queue(self, number: int, data: list[Any]) -> Iterator[str]:
        """The lines of a queued event as the browser gets them."""
        told = {"data": data, "fn_index": number, "session_hash": self.session, "trigger_id": None, "event_data": None}
        self.client.post("gradio_api/queue/join", json=told).raise_for_status()
        with self.client.stream("GET", "gradio_api/queue/data", params={"session_hash": self.session}) as lines:
            for line in lines.iter_lines():
                if line:
                    yield line
                if "close_stream" in line:
                    return

    def post(self, number: int, data: list[Any]) -> Any:
        """An event that does not queue."""
        told = {"data": data, "fn_index": number, "session_hash": self.session}
        return self.client.post("gradio_api/run/predict", json=told)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "home"))
    made = Served(tmp_path)
    yield made
    made.close()


def test_nothing_that_reaches_the_browser_before_the_vote_tells_a_side(served: Served, tmp_path: Path) -> None:
    import PIL.Image

    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    asked = {"text": "What is there?", "files": [served.upload(tmp_path / "photo.png")]}
    lines = list(served.queue(served.number("ask"), [asked, None]))
    shown = "\n".join(lines)
    assert "brown" in shown and "A dog." in shown  # the answers did come through
    done = json.loads(next(line for line in lines if "process_completed" in line)[len("data:") :])
    assert done["success"]
    for word in ("expert", "connector", "detector", "finding", "seconds", "confidence", "evidence", "route"):
        assert word not in shown.lower(), word
    (name,) = served.page.arena._open  # the id stays on the server too
    assert name not in shown

    choices = [served.number("vote", nth) for nth in range(4)]
    first = served.post(choices[0], [None, ["slow"]]).json()
    page = json.dumps(first)
    assert "is stored" in page and "experts" in page and "connector" in page
    served.post(served.number("explain"), [None, ["missed", "slow"]]).raise_for_status()
    ((_, voted),) = served.votes.all()
    assert voted is not None and voted.reasons == ("missed", "slow")
    again = json.dumps(served.post(choices[3], [None, []]).json())
    assert "has its vote already" in again
    assert served.votes.counts() == {"battles": 1, "votes": 1}


def test_a_vote_that_cannot_be_stored_is_an_error_and_reveals_nothing(served: Served, tmp_path: Path) -> None:
    import PIL.Image

    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    asked = {"text": "What is there?", "files": [served.upload(tmp_path / "photo.png")]}
    list(served.queue(served.number("ask"), [asked, None]))
    served.votes._base.execute("PRAGMA query_only = ON")
    refused = served.post(served.number("vote"), [None, []])
    assert refused.status_code >= 400
    assert "experts" not in refused.text and "is stored" not in refused.text
    assert "nothing was stored" in refused.text
    served.votes._base.execute("PRAGMA query_only = OFF")
    assert "is stored" in json.dumps(served.post(served.number("vote"), [None, []]).json())


def test_votes_posted_at_once_store_one_and_all_are_told_it(served: Served, tmp_path: Path) -> None:
    """A double click, many times over: each post is answered with the one vote that stands."""
    import PIL.Image

    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    asked = {"text": "What is there?", "files": [served.upload(tmp_path / "photo.png")]}
    list(served.queue(served.number("ask"), [asked, None]))
    choices = [served.number("vote", nth) for nth in range(4)]
    with ThreadPoolExecutor(20) as pool:
        told = list(pool.map(lambda n: served.post(choices[n % 4], [None, []]).json()["data"][0], range(60)))
    assert sum("is stored" in line for line in told) == 1
    assert sum("has its vote already" in line for line in told) == 59
    ((_, vote),) = served.votes.all()
    assert vote is not None
    label = {"a": "A is better", "tie": "Tie", "bad": "Both are bad", "b": "B is better"}[vote.choice]
    assert all(f"**{label}**" in line for line in told)


def test_the_board_shows_votes_and_hands_out_files(served: Served) -> None:
    from test_votes import battle

    empty = served.post(served.number("show"), ["people", "route"]).json()["data"][0]
    assert "No votes yet" in empty
    for number in range(6):
        served.votes.vote(battle(number), "ab"[number % 3 == 0])
    page = served.post(served.number("show"), ["people", "route"]).json()["data"][0]
    assert "<svg" in page and "experts" in page and "66.7%" in page
    lines = list(served.queue(served.number("export"), []))
    done = json.loads(next(line for line in lines if "process_completed" in line)[len("data:") :])
    files = done["output"]["data"][0]["value"]
    assert [file["orig_name"] for file in files] == ["battles.csv", "battles.jsonl", "votes.zip"]
    assert served.client.get(files[1]["url"]).text.count("\n") == 6


def test_a_batch_runs_from_the_page_and_lands_in_the_database(served: Served, tmp_path: Path) -> None:
    import PIL.Image

    folder = tmp_path / "mine"
    folder.mkdir()
    PIL.Image.new("RGB", (8, 8)).save(folder / "photo.png")
    rows = ["How many dogs are there?,photo.png,2", "Is there a dog?,photo.png,no", "?,none.png,"]
    (folder / "questions.csv").write_text("\n".join(["question,image,answer", *rows]))
    uploads = [served.upload(folder / "photo.png"), served.upload(folder / "questions.csv")]
    for given in ([None, str(folder), ["experts", "connector"]], [uploads, "", ["experts", "connector"]]):
        lines = list(served.queue(served.number("start"), given))
        page = "\n".join(lines)
        assert "4 of 4 answers" in page and "experts: right 1 of 2" in page
        assert "Left out: row 4: there is no file" in page and str(tmp_path / "mine") not in page
        assert "rows.csv" in page and "summary.json" in page
    assert served.votes.counts()["battles"] == 2  # the same questions to the same models, twice
    refused = "\n".join(served.queue(served.number("start"), [None, "", ["experts", "connector"]]))
    assert "nothing was given" in refused
    alone = "\n".join(served.queue(served.number("start"), [None, str(folder), ["experts"]]))
    assert "two routes" in alone


def test_answers_of_a_batch_are_judged_in_the_arena(served: Served, tmp_path: Path) -> None:
    import PIL.Image

    PIL.Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    (tmp_path / "questions.csv").write_text("question,image,answer\nHow many dogs are there?,0.png,2\n")
    take, vote = served.number("take"), served.number("vote")
    assert "No answers of a batch wait" in served.post(take, [None]).text
    said = iter(["Two dogs.", "The detector found a cat."])  # what the routes say, one after the other
    served.batch.agent.context.language().llm.say = lambda prompt: next(said)
    page = "\n".join(served.queue(served.number("start"), [None, str(tmp_path), ["experts", "connector"]]))
    assert "Pairs of answers that wait for a blind vote: 1" in page
    drawn = served.post(take, [None]).text
    assert "How many dogs are there?" in drawn and "Two dogs." in drawn and "I see a cat." in drawn
    assert not [word for word in ("expert", "connector", "detector", "seconds", "correct") if word in drawn.lower()]
    file = next(served.votes.media.iterdir())
    assert file.name in drawn and served.client.get(f"gradio_api/file={file}").content == file.read_bytes()
    told = served.post(vote, [None, ["invented"]]).text
    assert "is stored" in told and "connector" in told and "known right answer" in told
    assert served.votes.counts() == {"battles": 1, "votes": 1}
    assert "No answers of a batch wait" in served.post(take, [None]).text


def test_a_recording_gets_a_player_and_a_reason_where_nobody_else_can_hear(served: Served) -> None:
    from serving import wav

    from ui.votes.battles import Contestant

    sent = served.client.post("gradio_api/upload", files={"files": ("talk.wav", wav())}).json()[0]
    file = {"path": sent, "orig_name": "talk.wav", "meta": {"_type": "gradio.FileData"}}
    asked = {"text": "What is said?", "files": [file]}
    arena, names = served.page.arena, ("experts", "experts (other)")
    two = [Contestant(name, "experts", served.agent) for name in names]  # type: ignore[arg-type]
    arena._hearing = lambda agent: two[:1]
    refused = "\n".join(served.queue(served.number("ask"), [asked, None]))
    assert "needs two that can hear" in refused and not served.agent.asked
    arena._hearing, arena._listeners = (lambda agent: two), ()
    shown = "\n".join(served.queue(served.number("ask"), [asked, None]))
    assert "<audio controls" in shown and "talk.wav" in shown and "brown" in shown
    assert "experts" not in shown.lower()


def test_nothing_that_a_visitor_gets_is_copied_from_a_living_object(served: Served) -> None:
    """The arena's state once held a method, and each page view copied the agent with its models."""

    def odd(value: Any) -> Iterator[Any]:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list | tuple):
            for one in value:
                yield from odd(one)
        elif not isinstance(value, str | int | float | bool | type(None)):
            yield value

    kinds = {type(value).__name__ for value in odd(served.app.get_config_file())}
    assert kinds <= {"I18nData", "function"}  # a function is not copied


def test_handlers_of_the_tabs_are_no_public_api(served: Served) -> None:
    assert served.client.get("gradio_api/info").json()["named_endpoints"] == {}
