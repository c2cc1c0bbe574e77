"""Recipes: which records a stage learns from, and what is said where there are none."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import tiny

from connector.data.records import Record, read_records, write_records
from connector.data.split import write_scenes
from connector.encoders.features import FeatureCache
from connector.training import prepare
from connector.training.stages import parse_settings, stage_config
from experts.errors import ConfigError, InputError, TrainingError


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scenes(folder, "train", 6, seed=1)
    return folder


def task(
    stage: str, folders: list[Path], cache: Path, limit: int = 0, *, rehearsal: float | None = None, **mixture: Any
) -> Any:
    model = tiny.model()
    config = stage_config(stage, max_tokens=2048, **({} if rehearsal is None else {"rehearsal": rehearsal}))
    chosen = prepare.Mixture(**mixture) if mixture else None
    return prepare.open_task(
        model, config, folders, FeatureCache(cache, "f"), mixture=chosen, limit=limit, say=lambda line: None
    )


def test_pretrain_learns_from_the_captions(scenes: Path, tmp_path: Path) -> None:
    assert task("pretrain", [scenes], tmp_path).names == [r.id for r in read_records(scenes / "captions.jsonl")]


def test_dpo_learns_from_the_pairs(scenes: Path, tmp_path: Path) -> None:
    assert task("dpo", [scenes], tmp_path).names == [r.id for r in read_records(scenes / "preferences.jsonl")]


def test_dpo_rehearses_the_mixture_beside_the_pairs(scenes: Path, tmp_path: Path) -> None:
    pairs = [record.id for record in read_records(scenes / "preferences.jsonl")]
    names = task("dpo", [scenes], tmp_path, rehearsal=0.5, captions=3, readings=7, dialogue=5).names
    assert names[: len(pairs)] == pairs
    kinds = Counter("caption" if name.endswith("-c") else name.split("-")[0] for name in names[len(pairs) :])
    assert kinds == {"caption": 3, "reading": 7, "dialogue": 5}
    with pytest.raises(TrainingError, match="no rejected answer"):
        task("dpo", [scenes], tmp_path, readings=7)


def test_instruct_draws_so_many_questions_a_scene_and_the_mixture(scenes: Path, tmp_path: Path) -> None:
    names = task("instruct", [scenes], tmp_path, per_scene=2, captions=3, readings=7, dialogue=5).names
    kinds = Counter(
        name.split("-")[0] if not name.startswith("train") else "caption" if name.endswith("-c") else "scene"
        for name in names
    )
    asked = Counter(record.image for record in read_records(scenes / "questions.jsonl"))
    assert kinds["scene"] == sum(min(count, 2) for count in asked.values())
    assert (kinds["caption"], kinds["reading"], kinds["dialogue"]) == (3, 7, 5)


def test_the_same_seed_draws_the_same_questions(scenes: Path, tmp_path: Path) -> None:
    assert task("instruct", [scenes], tmp_path, limit=9).names == task("instruct", [scenes], tmp_path, limit=9).names


def test_several_folders_may_hold_images_of_the_same_name(scenes: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_scenes(other, "train", 2, seed=9)
    keys = {example.image for example in task("pretrain", [scenes, other], tmp_path / "cache").examples}
    assert len(keys) == 8


def test_a_folder_without_scenes_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no captions.jsonl in 'empty'"):
        task("pretrain", [tmp_path / "empty"], tmp_path / "cache")
    with pytest.raises(InputError, match="nothing to learn from"):
        task("pretrain", [], tmp_path / "cache")


def test_files_of_records_bring_their_images(tmp_path: Path) -> None:
    records = tiny.records(tmp_path / "mine")
    file = tmp_path / "mine" / "records.jsonl"
    file.write_text("".join(record.to_json() + "\n" for record in records))
    model = tiny.model()
    made = prepare.open_task(
        model, stage_config("instruct"), [], FeatureCache(tmp_path, "f"), files=[file], say=lambda line: None
    )
    assert made.names == [record.id for record in records]


def test_a_file_of_records_may_give_only_some_of_all_kinds(tmp_path: Path) -> None:
    rows = [Record(f"n{at}", "What is it?", "cat", "name") for at in range(20)]
    rows += [Record(f"e{at}", "Is it?", "no" if at % 4 else "yes", "existence") for at in range(8)]
    write_records(tmp_path / "all.jsonl", rows)

    def names(file: str, **settings: Any) -> list[str]:
        config = stage_config("instruct", **settings)
        cache = FeatureCache(tmp_path, "f")
        return prepare.open_task(tiny.model(), config, [], cache, files=[tmp_path / file], say=lambda line: None).names

    some = names("all.jsonl=8")
    assert [name[0] for name in some] == ["n"] * 4 + ["e"] * 4
    assert {"e0", "e4"} < set(some), "yes as often as no"
    assert some == names("all.jsonl=8") != names("all.jsonl=8", seed=1)
    assert len(names("all.jsonl=100")) == len(names("all.jsonl")) == 28
    write_records(tmp_path / "odd=2", rows[:5])
    assert len(names("odd=2")) == 5, "a file of that very name is meant"
    for missing in ("none.jsonl", "none.jsonl=4", "all.jsonl=0", "all.jsonl=x"):
        with pytest.raises(InputError, match=f"there is no file '{missing.removesuffix('=4')}' of records"):
            names(missing)


def test_settings_are_read_from_texts_and_all_faults_told() -> None:
    assert parse_settings(["steps=3", "lr_lora=1e-3", "mean=answer", "learn=connector,lora"]) == {
        "steps": 3, "lr_lora": 1e-3, "mean": "answer", "learn": ("connector", "lora"),
    }  # fmt: skip
    with pytest.raises(ConfigError, match="'steps' must be int, not 'many'; 'seed' is not NAME=VALUE"):
        parse_settings(["steps=many", "seed=1", "seed"])


def test_readings_follow_from_what_the_experts_found(tmp_path: Path) -> None:
    from connector.data.readings.mixture import readings_of
    from experts.base import Finding

    found = [
        Finding("detect", "dog", 0.9, (0, 0, 50, 50), source="a", extra={"colour": "brown"}),
        Finding("detect", "dog", 0.8, (150, 150, 200, 200), source="a"),
        Finding("tag", "golden retriever", 0.8, source="a"),
        Finding("ocr", "EXIT", 0.9, (0, 0, 9, 9), source="a"),
    ]
    rows = [row for seed in range(30) for row in readings_of([(found, (200, 200))], seed)]
    assert rows == [row for seed in range(30) for row in readings_of([(found, (200, 200))], seed)]
    assert all(row.evidence and "2 dogs (brown top left; bottom right)" in row.evidence for row in rows)
    counts = {row.answer for row in rows if row.question in ("How many dogs?", "Count the dogs.")}
    assert counts == {"There are 2 dogs."}
    read = [row.answer for row in rows if row.kind == "text"]
    assert read and all("EXIT" in answer for answer in read)
    absent = [row for row in rows if row.kind == "existence" and row.answer.startswith("No,")]
    assert absent and all("no, none seen" in str(row.evidence) for row in absent)


def test_where_nothing_was_found_no_answer_names_anything() -> None:
    from connector.data.readings.mixture import readings_of

    rows: list[Record] = [row for seed in range(20) for row in readings_of([([], (10, 10))], seed)]
    described = {row.answer for row in rows if row.kind == "caption"}
    assert described == {"Nothing was found in it."}
    assert not [
        row for row in rows if row.kind == "existence" and row.answer.startswith(("Yes", "有", "Sí", "Oui", "Ja"))
    ]


def test_the_card_says_what_a_run_was(scenes: Path, tmp_path: Path) -> None:
    from connector.training.loop import Progress
    from connector.training.trainer import Run

    progress = Progress(step=4, samples=16, tokens=99, loss=0.25, seconds=90)
    made = task("pretrain", [scenes], tmp_path)
    said = prepare.entry("pretrain", Run("done", progress, tmp_path, 0.5), [scenes], prepare.Mixture(), made)
    assert json.loads(json.dumps(said)) == said
    assert (said["examples"], said["steps"], said["minutes"], said["held_out_loss"]) == (6, 4, 1.5, 0.5)


def test_a_correction_changes_what_is_wrong_and_nothing_else() -> None:
    from connector.data.pictures.scenes import Scene, Thing
    from connector.data.questions.corrections import correct_caption as correct

    badger = Thing("badger", "animal", ("mammal", "animal"), "", "", (0, 0, 60, 60))
    drum = Thing("drum", "instrument", ("musical instrument", "instrument"), "red", "", (220, 0, 310, 60))
    scene = Scene("validation-0-000007", "images/7.png", "several", "plain", (badger, drum))
    pairs = {
        "There is a skunk at the top left and a blue drum at the top right.": (
            "There is an animal at the top left and a blue drum at the top right."
        ),
        "The image shows a badger at the top left, a red lamp at the top right and a bus in the center.": (
            "The image shows a badger at the top left and a red musical instrument at the top right."
        ),
        "There are two lions and a drum at the top right.": "There is a drum at the top right.",
    }
    for said, better in pairs.items():
        pair = correct(scene, "Describe the image.", said)
        assert pair is not None and (pair.rejected, pair.answer) == (said, better)
    for said in (
        "There are two badgers and a drum.",
        "There are badger and drum.",
        "This is an animal at the top left.",
        "Two lions!",
        " ",
    ):
        assert correct(scene, "Describe the image.", said) is None
    assert correct(scene, "Describe the image.", "This is a lion in the center.") is None  # nothing would be left
    owls = tuple(Thing("owl", "animal", ("bird",), "brown", "", (x, 0, x + 60, 60)) for x in (0, 100, 200))
    several = Scene("validation-0-000008", "images/8.png", "several", "plain", owls)
    pair = correct(several, "Describe the image.", "There are three brown dogs.")
    assert pair is not None and pair.answer == "There are three brown animals."
    at_its_place = correct(several, "Describe the image.", "There is a green cat at the top left and two toads.")
    assert at_its_place is not None
    assert at_its_place.answer == "There is a brown animal at the top left and two brown animals."


def test_a_right_caption_is_preferred_to_itself_said_less_boldly() -> None:
    from connector.data.pictures.scenes import Scene, Thing
    from connector.data.questions.corrections import correct_caption as correct

    badger = Thing("badger", "animal", ("mammal", "animal"), "gray", "", (0, 0, 60, 60))
    drums = tuple(Thing("drum", "instrument", (), "red", "", (220, y, 310, y + 60)) for y in (0, 100))
    scene = Scene("validation-0-000007", "images/7.png", "several", "plain", (badger, *drums))
    said = "There are two red drums and a white badger at the top left."  # what colour it calls it is left alone
    pair = correct(scene, "Describe the image.", said)
    assert pair is not None and pair.answer == said
    assert pair.rejected == "There are two red musical instruments and a white animal at the top left."


def test_a_right_name_is_preferred_to_its_kind_also_where_the_question_tells_it() -> None:
    from connector.data.questions.corrections import keep_name

    asked = Record("v-0", "Name the object.", "badger", "name", "i", accept=("mammal", "animal"), category="animal")
    shape = Record("v-1", "What is at the left?", "star", "name", "i", category="shape")

    def pairs(record: Record, said: str) -> list[tuple[str, str, str | None]]:
        return [(pair.question, pair.answer, pair.rejected) for pair in keep_name(record, said)]

    assert pairs(asked, "a mammal.") == [
        ("Name the object.", "a mammal", "animal"),
        ("Name the animal.", "a mammal", "animal"),  # there the kind would be no answer
    ]
    assert pairs(shape, "star")[1] == ("Which shape is at the left?", "star", "shape")
    assert pairs(asked, "kettle") == pairs(asked, "animal") == pairs(asked, " ") == pairs(shape, "circle") == []


def test_corrections_of_captions_and_names_and_pairs_of_yes_and_no() -> None:
    from connector.data.pictures.scenes import Scene, Thing
    from connector.data.questions.corrections import corrections

    badger = Thing("badger", "animal", ("mammal",), "", "", (0, 0, 60, 60))
    scene = Scene("validation-0-000007", "i", "single", "plain", (badger,))
    wrong, right = "This is a skunk at the top left.", "This is a badger at the top left."
    less = "This is an animal at the top left."
    caption = Record("v-c", "Describe the image.", right, "caption", "i")
    asked = [
        *[caption] * 8,
        Record("v-0", "What is in the center?", "badger", "name", "i", category="animal"),
        Record("v-1", "Is there a badger?", "yes", "existence", "i"),
        Record("v-2", "Is there a lamp?", "no", "existence", "i"),
    ]
    pairs = corrections([scene], asked, [right] * 5 + [wrong] * 3 + ["badger", "", ""])
    said = {name: [(pair.id, pair.answer, pair.rejected) for pair in found] for name, found in pairs.items()}
    own = "validation-0-000007-own"
    assert said["captions"] == [(own, less, wrong)] * 3 + [(own, right, less)], "a right one for three corrected ones"
    assert said["names"] == [("v-0-own0", "badger", "animal"), ("v-0-own1", "badger", "animal")]
    assert said["answers"] == [("v-1-own", "yes", "no"), ("v-2-own", "no", "yes")]


def test_a_fresh_connector_is_of_the_tokens_and_tiles_that_were_asked_for(tmp_path: Path) -> None:
    import tiny_llm

    name = tiny_llm.language_model("llama", tmp_path / "llm").name
    for kind, tiles, tokens in (("linear", 0, 5), ("mlp", 1, 49), ("mlp", 2, 0)):
        made = prepare.open_model(name, kind, [], None, tiles=tiles, tokens=tokens)
        assert made.n_tokens == (tokens or 49) and made.encoder.views.tiles == tiles
        assert made.connector.config.n_features == made.encoder.views.count * made.encoder.cells
    for kind, start in (("slots", None), ("linear", tmp_path / "saved")):
        with pytest.raises(ConfigError, match="encoder, tiles and tokens cannot be set"):
            prepare.open_model(name, kind, [], start, tokens=5)


@pytest.mark.parametrize("kind", ["audio", "video"])
def test_a_sound_or_film_is_not_left_out_in_silence(kind: str, tmp_path: Path) -> None:
    rows = [
        Record("r0", "What is it?", "a bus", "name"),
        Record("r1", "What is said?", "hello", "speech", **{kind: "one.wav"}),
        Record("r2", "What is said?", "hello", "speech", evidence='speech: "hello"', **{kind: "one.wav"}),
    ]
    file = tmp_path / "rows.jsonl"
    write_records(file, rows)

    def learned(max_broken: float) -> list[str]:
        config, said = stage_config("instruct", max_tokens=2048, max_broken=max_broken), []
        made = prepare.open_task(
            tiny.model(), config, [], FeatureCache(tmp_path / "f", "f"), files=[file], say=said.append
        )
        assert any(f"r1 ({kind} is not shown in training; give its findings as evidence)" in line for line in said)
        return list(made.names)

    assert sorted(learned(0.5)) == ["r0", "r2"]
    with pytest.raises(TrainingError, match=f"1 of 3 records are broken: r1 .{kind} is not shown"):
        learned(0.0)
