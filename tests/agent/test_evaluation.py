"""The bench: benchmarks, batches that answer as the agent does, rows that survive a kill, reports."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import PIL.Image
import pytest
import tiny
import tiny_llm
import torch

from agent.agent import Agent
from agent.evaluation import report, run
from agent.evaluation.batched import Asked, Batcher, ask_one
from agent.evaluation.benchmarks import registry
from agent.evaluation.benchmarks.registry import Benchmark
from agent.evaluation.run import Row, evaluate, read_rows
from agent.evaluation.scoring.parsers import MIMICS, judge
from connector.data.records import Record, parse_record, read_records, sample, write_records
from connector.network import ConnectorModel
from experts.config import Settings
from experts.errors import DuetError, InputError, ModelError, UnknownNameError

torch.set_num_threads(1)
PHOTOS = Path(__file__).parents[2] / "benchmarks" / "photos"


@pytest.fixture
def scene(tmp_path: Path) -> Benchmark:
    """Three pictures with four questions each, two of them about what is there."""
    records = []
    for image in range(3):
        PIL.Image.new("RGB", (8, 8), (80 * image, 120, 40)).save(tmp_path / f"{image}.png")
        for number, (question, answer, kind) in enumerate(
            [
                ("Is there a dog?", "yes", "existence"),
                ("Is there a submarine in the picture?", "no", "existence"),
                ("How many dogs are there?", "2", "count"),
                ("What color is the longest of all the things in this picture?", "red", "colour"),
            ]
        ):
            records.append(Record(f"{image}-{number}", question, answer, kind, f"{image}.png"))
    return Benchmark("small", tuple(records), tmp_path)


def real_agent(**settings: Any) -> tuple[Agent, fakes.FakeExpert, Any]:
    """An agent whose tiny language model and connector are real; the detector's findings depend on the picture."""
    detector = fakes.FakeExpert(
        "detect", lambda media: fakes.found("detect", *["dog"] * (1 + int(media.pixels.mean()) % 4))
    )
    llm, like = tiny_llm.language_model("llama"), tiny.model()
    model = ConnectorModel(llm, like.encoder, like.connector)
    return (
        Agent(Settings(max_new_tokens=12, **settings), experts={"detect": detector}, model=model),
        detector,
        like.encoder,
    )


# -- batched generation -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "qwen2_moe", "t5"])
def test_answers_of_a_batch_equal_the_streamed_ones(kind: str) -> None:
    llm = tiny_llm.language_model(kind)
    prompts = [torch.randn(n, tiny_llm.WIDTH, generator=torch.Generator().manual_seed(n)) for n in (5, 17, 9, 17, 3)]
    batched = llm.answers(prompts, 14)
    for prompt, (text, confidence) in zip(prompts, batched, strict=True):
        tokens = list(llm.stream(prompt, max_new_tokens=14))
        assert text == "".join(token.text for token in tokens).strip()
        assert confidence == pytest.approx(np.exp(np.mean([token.logprob for token in tokens])), rel=1e-4)


def test_answers_end_at_the_end_token_of_each_row() -> None:
    llm = tiny_llm.language_model("llama")
    prompts = [torch.randn(6, tiny_llm.WIDTH, generator=torch.Generator().manual_seed(n)) for n in range(6)]
    with torch.inference_mode():
        ids = llm.model.generate(
            inputs_embeds=torch.stack(prompts),
            attention_mask=torch.ones(6, 6, dtype=torch.long),
            max_new_tokens=4,
            do_sample=False,
        )
    llm.model.generation_config.eos_token_id = [int(ids[0, 1])]  # the first row now ends at its second token
    for prompt, (text, confidence) in zip(prompts, llm.answers(prompts, 10), strict=True):
        tokens = list(llm.stream(prompt, max_new_tokens=10))
        assert text == "".join(token.text for token in tokens).strip()
        assert confidence == pytest.approx(np.exp(np.mean([token.logprob for token in tokens])), rel=1e-4)
    assert llm.answers([], 10) == []


@pytest.mark.parametrize("route", ["experts", "connector", "auto"])
def test_a_batch_answers_as_the_agent_answers_each_question(route: str, scene: Benchmark) -> None:
    agent, _, _ = real_agent()
    one_by_one = [_asked(scene, record, route) for record in scene.records]
    for asked in one_by_one:
        ask_one(agent, asked)
    together = [_asked(scene, record, route) for record in scene.records]
    Batcher(agent, batch=5).ask(together)
    for alone, batched in zip(one_by_one, together, strict=True):
        assert alone.answer is not None and batched.answer is not None
        assert batched.answer.text == alone.answer.text
        assert batched.answer.confidence == pytest.approx(alone.answer.confidence, rel=1e-4)
        assert (batched.answer.route, batched.answer.findings) == (alone.answer.route, alone.answer.findings)
        assert bool(batched.answer.fallback) == bool(alone.answer.fallback)
    assert len({asked.answer.text for asked in together if asked.answer}) > 3  # so the equality says something


def _asked(benchmark: Benchmark, record: Record, route: str) -> Asked:
    return Asked(record.question, {"image": benchmark.folder / str(record.image)}, route)


def test_auto_takes_both_turns_of_the_language_model_in_a_batch(scene: Benchmark) -> None:
    agent, _, _ = real_agent()  # a random model is unsure, so the connector is asked after the experts
    questions = [_asked(scene, record, "auto") for record in scene.records]
    Batcher(agent, batch=4).ask(questions)
    assert {asked.answer.route for asked in questions if asked.answer} == {"connector"}
    assert all(len(asked.said) == 2 and asked.answer and asked.answer.fallback for asked in questions)


def test_each_picture_is_encoded_once_and_looked_at_once(scene: Benchmark, tmp_path: Path) -> None:
    agent, detector, encoder = real_agent()
    evaluate(scene, agent, "both", tmp_path / "run")
    assert encoder.calls == 3
    assert len(detector.asked) == 3


@pytest.mark.parametrize(("kind", "batched"), [("mlp", True), ("qformer", True), ("crossattn", False)])
def test_connectors_answer_alike_in_batches_where_they_can_and_alone_where_not(
    kind: str, batched: bool, scene: Benchmark, monkeypatch: pytest.MonkeyPatch
) -> None:
    from connector.interfaces.base import ProjectorConfig
    from connector.interfaces.projectors import PROJECTORS

    llm, encoder = tiny_llm.language_model("llama"), tiny_llm.Encoder()
    tokens = 4 if batched else 0
    config = ProjectorConfig(kind, 20, encoder.width, tiny_llm.WIDTH, n_tokens=tokens, hidden=16, heads=2, every=2)
    connector = PROJECTORS[kind](config, llm.model).eval().requires_grad_(False)
    for parameter in connector.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    agent = Agent(Settings(max_new_tokens=8), experts={}, model=ConnectorModel(llm, encoder, connector))
    alone = [_asked(scene, record, "connector") for record in scene.records]
    together = [_asked(scene, record, "connector") for record in scene.records]
    for asked in alone:
        ask_one(agent, asked)
    streamed: list[int] = []
    stream = type(llm).stream

    def counted(self: Any, embeddings: Any, **rest: Any) -> Any:
        streamed.append(len(embeddings))
        return stream(self, embeddings, **rest)

    monkeypatch.setattr(type(llm), "stream", counted)
    Batcher(agent, batch=4).ask(together)
    assert [a.answer.text for a in alone if a.answer] == [b.answer.text for b in together if b.answer]
    assert len({asked.answer.text for asked in alone if asked.answer}) > 2
    assert len(streamed) == (0 if batched else len(together))


def test_a_batch_that_fails_costs_only_the_question_at_fault(scene: Benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, _, _ = real_agent()
    llm = agent.context.language().llm
    whole = type(llm).answers
    longest = 450  # tokens (bytes, here) of a prompt that still fits; the records' own prompts have under 350

    def answers(self: Any, prompts: Any, max_new_tokens: int) -> Any:
        if any(len(prompt) > longest for prompt in prompts):
            raise ModelError("out of memory")
        return whole(self, prompts, max_new_tokens)

    monkeypatch.setattr(type(llm), "answers", answers)
    questions = [_asked(scene, record, "experts") for record in scene.records]
    questions[2].question = "Is there a dog? " * 30
    Batcher(agent, batch=6).ask(questions)
    assert [bool(asked.error) for asked in questions] == [number == 2 for number in range(len(questions))]
    assert questions[2].error == "out of memory"


# -- runs -------------------------------------------------------------------------------------------------------------


def untimed(rows: list[Row]) -> list[Row]:
    return [dataclasses.replace(row, seconds=0.0) for row in rows]


class Killed(BaseException):
    """As a kill: nothing may catch it."""


def test_a_killed_run_goes_on_where_it_was_and_equals_an_unbroken_one(scene: Benchmark, tmp_path: Path) -> None:
    agent, _, _ = real_agent()
    unbroken = evaluate(scene, agent, "both", tmp_path / "whole", batch=1)

    def kill(done: int, total: int) -> None:
        if done == 7:
            raise Killed

    with pytest.raises(Killed):
        evaluate(scene, agent, "both", tmp_path / "torn", batch=1, report=kill)
    file = tmp_path / "torn" / "rows.jsonl"
    assert len(read_rows(file)) == 7
    with file.open("ab") as stream:
        stream.write(b'{"id": "2-0", "route": "exp')  # the row that was being written
    agent, detector, _ = real_agent()
    seen: list[int] = []
    again = evaluate(scene, agent, "both", tmp_path / "torn", batch=1, report=lambda done, total: seen.append(done))
    assert seen == list(range(7, 25))
    assert untimed(again) == untimed(unbroken)
    assert len(detector.asked) == 12 - 7
    assert len(read_rows(file)) == 24


def test_a_finished_run_asks_nothing_again(scene: Benchmark, tmp_path: Path) -> None:
    agent, _, _ = real_agent()
    first = evaluate(scene, agent, "experts", tmp_path)
    agent, detector, _ = real_agent()
    assert evaluate(scene, agent, "experts", tmp_path) == first
    assert detector.asked == []


def test_rows_of_other_settings_are_refused_with_the_difference(scene: Benchmark, tmp_path: Path) -> None:
    agent, _, _ = real_agent()
    evaluate(scene, agent, "experts", tmp_path / "run")
    with pytest.raises(InputError, match=r"route: experts there, connector now.*give another --out"):
        evaluate(scene, agent, "connector", tmp_path / "run")
    other, _, _ = real_agent(tagger="other")
    with pytest.raises(InputError, match=r"models\.tagger: efficientnet-lite0 there, other now"):
        evaluate(scene, other, "experts", tmp_path / "run")
    fewer = dataclasses.replace(scene, records=scene.records[:3])
    with pytest.raises(InputError, match="questions: 12 there, 3 now"):
        evaluate(fewer, agent, "experts", tmp_path / "run")


def test_other_connector_weights_are_another_run(scene: Benchmark) -> None:
    agent, _, _ = real_agent()
    before = run.settings(scene, agent, "both")
    with torch.no_grad():
        agent.context.model().network.connector.project.bias += 1
    after = run.settings(scene, agent, "both")
    assert before["models"]["connector"] != after["models"]["connector"]
    assert run.folder_name(before) != run.folder_name(after)


def test_a_line_that_is_no_row_is_named(scene: Benchmark, tmp_path: Path) -> None:
    agent, _, _ = real_agent()
    evaluate(scene, agent, "experts", tmp_path)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    (tmp_path / "rows.jsonl").write_text("\n".join([lines[0], "{}", *lines[2:]]) + "\n")
    with pytest.raises(InputError, match="line 2 of 'rows.jsonl'"):
        evaluate(scene, agent, "experts", tmp_path)


@pytest.mark.parametrize("batch", [1, 4])
def test_one_bad_medium_is_one_row_with_an_error(batch: int, scene: Benchmark, tmp_path: Path) -> None:
    (scene.folder / "1.png").write_text("no picture")
    agent, _, _ = real_agent()
    rows = evaluate(scene, agent, "both", tmp_path / "run", batch=batch)
    bad = [row for row in rows if row.error]
    assert {row.medium for row in bad} == {"1.png"} and len(bad) == 8
    assert all(row.correct is False and row.parsed == "unparsed" and str(tmp_path) not in row.error for row in bad)
    assert all(row.answer for row in rows if row.medium != "1.png")


@pytest.mark.parametrize("failure", [RuntimeError("boom"), ModelError("no memory")])
def test_an_expert_that_fails_makes_rows_and_stops_nothing(
    failure: Exception, scene: Benchmark, tmp_path: Path
) -> None:
    agent, _ = fakes.make_agent([fakes.FakeExpert("detect", failure)])
    rows = evaluate(scene, agent, "experts", tmp_path / "run", batch=1)
    assert len(rows) == 12 and all(row.error and row.correct is False for row in rows)


def test_answers_are_parsed_and_judged_into_rows(scene: Benchmark, tmp_path: Path) -> None:
    detector = fakes.FakeExpert("detect", fakes.found("detect", "dog", "dog"))

    def say(prompt: str) -> str:
        return "There are two dogs." if "many" in prompt else "Not found" if "submarine" in prompt else "Yes."

    agent, _ = fakes.make_agent([detector], say)
    rows = evaluate(scene, agent, "experts", tmp_path / "run", batch=1)
    assert [(row.parsed, row.correct) for row in rows[:4]] == [
        ("yes", True),
        ("unparsed", False),
        ("2", True),
        ("unparsed", False),
    ]
    assert all(row.confidence == pytest.approx(fakes.P, abs=1e-4) and row.seconds > 0 for row in rows)


def test_sound_through_the_connector_is_an_honest_error(tmp_path: Path) -> None:
    import wave

    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(np.zeros(8000, np.int16).tobytes())
    record = Record("s", "What is said?", "hello", "speech", category="fact", audio="a.wav")
    listener = fakes.FakeExpert("speech", fakes.found("speech", "hello"), kinds=("audio",))
    agent, _ = fakes.make_agent([listener], "Hello.")
    rows = evaluate(Benchmark("sound", (record,), tmp_path), agent, "both", tmp_path / "run", batch=1)
    assert [(row.route, row.correct, bool(row.error)) for row in rows] == [
        ("experts", True, False),
        ("connector", False, True),
    ]


# -- benchmarks -------------------------------------------------------------------------------------------------------


def many(kinds: dict[str, int]) -> list[Record]:
    records = []
    for kind, count in kinds.items():
        for index in range(count):
            answer = ("yes" if index % 5 else "no") if kind == "existence" else "1"
            records.append(Record(f"{kind}-{index}", "?", answer, kind, f"{index}.png"))
    return sorted(records, key=lambda record: (str(record.image), record.id))


def test_a_sample_has_as_many_of_each_kind_and_as_many_yes_as_no() -> None:
    records = many({"existence": 500, "count": 60, "colour": 300})
    chosen = sample(records, limit=120)
    assert Counter(record.kind for record in chosen) == {"existence": 40, "count": 40, "colour": 40}
    assert Counter(record.answer for record in chosen if record.kind == "existence") == {"yes": 20, "no": 20}


def test_a_sample_keeps_the_order_so_that_questions_about_one_picture_are_neighbours() -> None:
    records = many({"existence": 50, "count": 50})
    chosen = sample(records, limit=70)
    places = [records.index(record) for record in chosen]
    assert places == sorted(places)


def test_offsets_of_one_seed_give_disjoint_samples_that_cover_all() -> None:
    records = many({"existence": 30, "count": 7})
    parts = [sample(records, limit=10, offset=offset) for offset in range(0, 40, 10)]
    assert sorted(r.id for part in parts for r in part) == sorted(r.id for r in records)
    assert sample(records, limit=10) == parts[0] != sample(records, limit=10, seed=1)
    assert sample(records) == tuple(records)


def test_easy_vqa_is_the_public_test_split_with_its_kinds() -> None:
    pytest.importorskip("easy_vqa", reason="easy-vqa is not installed")
    whole = registry.load("easy-vqa")
    assert len(whole.records) == 9673
    assert Counter(record.kind for record in whole.records) == {"existence": 7136, "shape": 1257, "colour": 1280}
    assert all((whole.folder / str(record.image)).is_file() for record in whole.records[::97])
    assert all("test" in str(whole.folder) and judge(record, record.answer).correct for record in whole.records[::97])


def test_every_true_answer_about_scenes_is_judged_right_and_captions_find_their_scene(tmp_path: Path) -> None:
    from connector.data.split import write_scenes

    write_scenes(tmp_path, "test", 40)
    asked = registry.load("scenes", tmp_path)
    assert len(asked.records) > 100
    assert [record for record in asked.records if not judge(record, record.answer).correct] == []
    captions = registry.load("captions", tmp_path, limit=5)
    assert len(captions.records) == 5 and all(record.image in captions.scenes for record in captions.records)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("scene", "no benchmark named 'scene'; known: .*did you mean 'scenes'"),
        ("scenes", "needs --data .*duet data scenes"),
        ("captions", "needs --data"),
        ("nothing.jsonl", "there is no file 'nothing.jsonl'; expected JSON lines"),
    ],
)
def test_a_benchmark_that_is_not_there_says_what_to_do(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        registry.load(name)


def test_photos_that_are_not_built_say_how_to_build_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run `python benchmarks/photos/build.py`"):
        registry.load("photos", tmp_path)


def test_an_offset_beyond_the_end_is_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "a.jsonl", many({"count": 3}))
    with pytest.raises(InputError, match="has 3 questions; none is left after offset 9"):
        registry.load(str(tmp_path / "a.jsonl"), offset=9)


def test_a_record_may_have_a_sound_and_old_lines_still_read() -> None:
    new = Record("a", "?", "b", "speech", audio="talk.wav")
    assert parse_record(new.to_json()) == new
    old = parse_record('{"id": "a", "question": "?", "answer": "b", "kind": "name", "image": "a.png"}')
    assert old.audio is None and "audio" not in old.to_json()
    with pytest.raises(ValueError, match="'audio' is not a text"):
        parse_record('{"id": "a", "question": "?", "answer": "b", "kind": "speech", "audio": 3}')


# -- real photos and recordings ---------------------------------------------------------------------------------------


def photo_builder() -> Any:
    spec = importlib.util.spec_from_file_location("photos_build", PHOTOS / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_photo_questions_are_about_listed_media_balanced_and_answerable() -> None:
    records = read_records(PHOTOS / "questions.jsonl", max_broken=0.0)
    media = [json.loads(line) for line in (PHOTOS / "media.jsonl").read_text().splitlines()]
    files = [row["file"] for row in media]
    assert len(set(files)) == len(files) and all(len(bytes.fromhex(row["sha256"])) == 32 for row in media)
    assert {record.image or record.audio for record in records} == set(files)
    assert sum(file.endswith(".wav") for file in files) >= 8 and sum(not file.endswith(".wav") for file in files) >= 20
    assert len({record.id for record in records}) == len(records) >= 60
    polar = Counter(record.answer for record in records if record.kind == "existence")
    assert polar["yes"] == polar["no"]
    assert {"name", "existence", "count", "colour", "text", "speech"} <= {record.kind for record in records}
    assert any(record.question == "Is there an elephant?" for record in records)
    wrong = [(r.id, said) for r in records for said in (r.answer, *r.accept) if not judge(r, said).correct]
    assert wrong == []


@pytest.fixture
def little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """A builder of two media of an installed package, the second with the given hash."""
    import ultralytics

    assets = Path(ultralytics.__file__).parent / "assets"
    builder = photo_builder()
    monkeypatch.setattr(builder, "HERE", tmp_path / "here")
    (tmp_path / "here").mkdir()

    def prepare(second: str = "") -> Any:
        rows = []
        for file in ("bus.jpg", "zidane.jpg"):
            digest = hashlib.sha256((assets / file).read_bytes()).hexdigest()
            rows.append({"file": file, "source": "installed:ultralytics", "member": f"assets/{file}", "sha256": digest})
        rows[1]["sha256"] = second or rows[1]["sha256"]
        (tmp_path / "here" / "media.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        records = [Record(file, "?", "yes", "existence", file) for file in ("bus.jpg", "zidane.jpg")]
        write_records(tmp_path / "here" / "questions.jsonl", records)
        return builder

    return prepare


def test_photos_are_built_from_packages_by_hash(little: Callable[[str], Any], tmp_path: Path) -> None:
    assert little("").build(tmp_path / "photos") == (2, 2)
    built = registry.load("photos", tmp_path / "photos")
    assert all((built.folder / str(record.image)).is_file() for record in built.records)


def test_a_medium_with_another_hash_is_refused_by_name_and_nothing_is_written(
    little: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    builder = little("0" * 64)
    with pytest.raises(InputError, match=r"1 of 2 media cannot be had: zidane.jpg .*another file.*--partial"):
        builder.build(tmp_path / "photos")
    assert not (tmp_path / "photos").exists() and not list(tmp_path.glob(".photos*"))
    assert builder.build(tmp_path / "photos", partial=True) == (1, 1)
    assert "left out: zidane.jpg" in capsys.readouterr().err
    assert [record.image for record in registry.load("photos", tmp_path / "photos").records] == ["bus.jpg"]


# -- reports ----------------------------------------------------------------------------------------------------------


def row(number: int, route: str, kind: str, correct: bool | None, answer: str = "x", **more: Any) -> Row:
    values: dict[str, Any] = {
        "id": str(number), "route": route, "kind": kind, "category": "", "medium": "0.png", "question": "?",
        "expected": "x", "answer": answer, "parsed": answer, "correct": correct, "confidence": 1.0, "seconds": 1.0,
        "answered_by": route,
    }  # fmt: skip
    return Row(**values | more)


EMPTY = Benchmark("hand", (), Path("."))


def test_a_report_counts_what_rows_say() -> None:
    rows = [
        row(0, "experts", "count", True, seconds=1.0),
        row(1, "experts", "count", False, "", parsed="unparsed", error="it failed", seconds=2.0),
        row(2, "experts", "count", False, "who knows", parsed="unparsed", seconds=3.0),
        row(3, "experts", "colour", False, "red red red red", seconds=10.0),
    ]
    found = report.summarise(rows, EMPTY)["routes"]["experts"]
    assert found["all"]["accuracy"]["hits"] == 1 and found["all"]["accuracy"]["n"] == 4
    counts = found["kinds"]["count"]
    assert counts["accuracy"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert {key: counts[key] for key in ("n", "unparsed", "errors", "empty", "repetitive")} == {
        "n": 3, "unparsed": 0.3333, "errors": 0.3333, "empty": 0.3333, "repetitive": 0.0,
    }  # fmt: skip
    assert found["kinds"]["colour"]["repetitive"] == 1.0
    assert found["all"]["seconds"] == {"mean": 4.0, "median": 2.5, "p95": 10.0}
    assert found["calibration_error"] == pytest.approx(2 / 3, abs=1e-4)  # sure of three answers, right in one


def test_a_report_says_what_each_interface_loses() -> None:
    right = {"experts": [True, True, False, False, True], "connector": [True, False, True, False, False]}
    rows = [
        row(i, route, "name" if i < 4 else "text", hit) for route, hits in right.items() for i, hit in enumerate(hits)
    ]
    losses = report.summarise(rows, EMPTY)["losses"]
    assert losses["name"] | {"p_value": 1.0} == {
        "n": 4, "both": 1, "experts_only": 1, "connector_only": 1, "neither": 1, "p_value": 1.0,
    }  # fmt: skip
    assert losses["text"]["experts_only"] == 1 and losses["all"]["n"] == 5


def test_captions_are_reported_by_hallucination_and_not_by_accuracy(tmp_path: Path) -> None:
    from connector.data.split import write_scenes

    write_scenes(tmp_path, "test", 12)
    chosen = registry.load("captions", tmp_path)
    rows = [row(i, "connector", "caption", None, r.answer, medium=r.image) for i, r in enumerate(chosen.records)]
    found = report.summarise(rows, chosen)["routes"]["connector"]
    assert found["all"]["accuracy"] is None
    assert found["hallucination"]["instances"]["value"] == 0.0 and found["hallucination"]["recall"]["value"] == 1.0
    lying = [
        dataclasses.replace(r, answer="There is a purple star and a gray circle and a black rectangle.") for r in rows
    ]
    assert report.summarise(lying, chosen)["routes"]["connector"]["hallucination"]["sentences"]["value"] > 0.5


def test_names_are_also_counted_by_category() -> None:
    known = Benchmark("hand", (Record("k", "?", "otter", "name", category="animal"),), Path("."))
    said = ["cat", "otter", "guitar", "unparsed"]
    rows = [row(i, "experts", "name", False, s, category="animal", expected="lynx") for i, s in enumerate(said)]
    assert report.summarise(rows, known)["routes"]["experts"]["name_by_category"]["hits"] == 2  # the cat and the otter


def test_yes_no_is_reported_with_other_kits_eyes() -> None:
    rows = [row(i, "experts", "existence", True, "Yes.", parsed="yes", expected="yes") for i in range(4)]
    found = report.summarise(rows, EMPTY)["routes"]["experts"]["yes_no"]
    assert found["as_parsed_by"] == {"LLaVA": 1.0, "lmms-eval": 0.0, "VLMEvalKit": 1.0}
    assert found["said_yes"] == found["truth_yes"] == 1.0 and list(found["as_parsed_by"]) == list(MIMICS)


# -- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_json_and_a_table(
    scene: Benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import agent.agent
    from ui.cli import main

    monkeypatch.setattr(agent.agent, "Agent", lambda settings: real_agent()[0])
    write_records(scene.folder / "small.jsonl", scene.records)
    asked = [
        "evaluate",
        "--benchmark",
        str(scene.folder / "small.jsonl"),
        "--out",
        str(tmp_path / "run"),
        "--limit",
        "6",
    ]
    main([*asked, "--route", "both", "--json"])
    summary = json.loads(capsys.readouterr().out)
    assert summary["questions"] == 6 and set(summary["routes"]) == {"experts", "connector"} and "losses" in summary
    main([*asked, "--route", "both"])
    shown = capsys.readouterr().out
    assert "what each loses" in shown and "existence" in shown


def test_an_unknown_route_exits_with_2_and_names_the_known(capsys: pytest.CaptureFixture[str]) -> None:
    from ui.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--benchmark", "easy-vqa", "--route", "expert", "--json"])
    assert stopped.value.code == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["type"] == "UnknownNameError" and "did you mean 'experts'" in error["message"]


def test_every_error_of_the_bench_is_one_line_for_people(scene: Benchmark, tmp_path: Path) -> None:
    agent, _, _ = real_agent()
    with pytest.raises(UnknownNameError) as raised:
        evaluate(scene, agent, "auot", tmp_path)
    assert isinstance(raised.value, DuetError) and "\n" not in str(raised.value) and "auto" in str(raised.value)
