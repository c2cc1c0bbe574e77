"""Scenes: the same seed gives the same bytes, splits share nothing, and every answer agrees with a second opinion."""

from __future__ import annotations

import collections
import doctest
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageDraw
import pytest
from cutout_folder import ROWS, write_cutouts

from benchmarks.scene_oracle import answer, claims, holds, place
from connector.data.pictures import artists, cutouts, labels
from connector.data.pictures.draw import SIDE_PX, vary
from connector.data.pictures.known import known
from connector.data.pictures.scenes import BACKGROUNDS, generate, load_scenes
from connector.data.plans.orders import ORDERS, orders
from connector.data.questions import captions, phrases
from connector.data.questions import rehearsal as talking
from connector.data.questions.dialogue import text_dialogue
from connector.data.questions.rehearsal import questions, rehearsal
from connector.data.records import Record, read_records
from connector.data.split import write_scenes
from experts.base import Finding
from experts.errors import InputError, UnknownNameError
from experts.evidence.colours import COLOURS, name_colour
from experts.media import Image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes of two splits with home-made cut-outs."""
    folder = tmp_path_factory.mktemp("scenes")
    write_cutouts(folder / "cutouts")
    for split, n in (("train", 200), ("test", 80)):
        write_scenes(folder / split, split, n, seed=5, cutouts=folder / "cutouts")
    return folder


def truth(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / "scenes.jsonl").read_text().splitlines()
    return {row["image"]: row for row in map(json.loads, lines)}


def digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path: Path) -> None:
    write_cutouts(tmp_path / "cutouts")
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_scenes(tmp_path / name, "train", 12, seed=seed, cutouts=tmp_path / "cutouts")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert len(digests(tmp_path / "a")) == 12 + 4
    assert not set(digests(tmp_path / "a").values()) & set(digests(tmp_path / "c").values())


def test_a_scene_does_not_depend_on_how_many_come_before_it(tmp_path: Path) -> None:
    all_at_once = generate(tmp_path / "a", "train", 6)
    later = generate(tmp_path / "b", "train", 2, start=4)
    assert later == all_at_once[4:]
    assert (tmp_path / "b" / later[0].image).read_bytes() == (tmp_path / "a" / later[0].image).read_bytes()


def test_splits_share_no_cutout_and_no_background(folder: Path) -> None:
    used = {}
    for split in ("train", "test"):
        rows = truth(folder / split).values()
        used[split] = {thing["name"] for row in rows for thing in row["things"] if not thing["shape"]} - {"sign"}
        assert {row["background"] for row in rows} <= set(BACKGROUNDS[split]) | {"plain", "photo"}
        assert any(row["background"] == "photo" for row in rows) == (split == "train")
        assert all(row["background"] != "plain" for row in rows if split == "test" and row["family"] != "lone shape")
    assert used == {split: {row[0] for row in ROWS[split]} for split in used}
    assert not used["train"] & used["test"]
    families = [family for split in ("train", "validation", "test") for family in BACKGROUNDS[split]]
    assert len(families) == len(set(families))


def test_test_phrasings_are_not_among_those_of_training() -> None:
    for train, test in phrases.PHRASES.values():
        assert train and test and not set(train) & set(test)


def test_without_cutouts_there_are_shapes_and_words_only(tmp_path: Path) -> None:
    scenes = generate(tmp_path, "train", 30)
    assert {thing.category for scene in scenes for thing in scene.things} == {"shape", "sign"}
    assert load_scenes(tmp_path) == scenes


def test_boxes_are_inside_apart_and_clearly_in_one_ninth(folder: Path) -> None:
    for row in truth(folder / "train").values():
        boxes = [thing["box"] for thing in row["things"]]
        for index, (x0, y0, x1, y1) in enumerate(boxes):
            assert 0 <= x0 < x1 <= SIDE_PX and 0 <= y0 < y1 <= SIDE_PX
            for at in ((x0 + x1) / 2, (y0 + y1) / 2):
                assert min(abs(at - SIDE_PX / 3), abs(at - 2 * SIDE_PX / 3)) > 0.03 * SIDE_PX
            for u0, v0, u1, v1 in boxes[:index]:
                assert x1 <= u0 or u1 <= x0 or y1 <= v0 or v1 <= y0


def test_a_close_up_is_one_cutout_that_fills_the_picture(tmp_path: Path) -> None:
    write_cutouts(tmp_path / "cutouts")
    (tmp_path / "cutouts" / "known-train.json").write_text('["apple.png", "bread.png"]')
    (tmp_path / "cutouts" / "known-test.json").write_text("[]")
    for name, share in (("some", 0.5), ("all", 1.0)):
        generate(tmp_path / name, "train", 40, cutouts=tmp_path / "cutouts", close_ups=share)
    some, all_ = (load_scenes(tmp_path / name) for name in ("some", "all"))
    assert {scene.family for scene in all_} == {"close-up"}
    assert 10 <= sum(scene.family == "close-up" for scene in some) <= 30
    assert {thing.name for scene in all_ for thing in scene.things} == {"apple", "bread"}
    shown = [thing for scene in all_ for thing in scene.things]
    assert len(shown) == len([scene for scene in all_ if scene.things]) > 30
    assert max(thing.share for thing in shown) > 0.85
    assert sum(thing.size == "large" for thing in shown) > 0.9 * len(shown)
    for x0, y0, x1, y1 in (thing.box for thing in shown):
        assert 0 <= x0 < x1 <= SIDE_PX and 0 <= y0 < y1 <= SIDE_PX
    with pytest.raises(InputError, match="no cut-out of split 'test' is known"):
        generate(tmp_path / "none", "test", 1, cutouts=tmp_path / "cutouts", close_ups=1.0)


def test_known_cutouts_are_those_whose_likeliest_class_is_one_of_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_cutouts(tmp_path)
    said = {"poodle.png": "miniature poodle", "eagle.png": "hammer", "crow.png": "ostrich", "bread.png": "tabby"}
    asked = []

    def tag(image: Image) -> list[Finding]:
        asked.append(image.name)
        return [Finding("tag", said[image.name], 0.4)] if image.name in said else []

    monkeypatch.setattr("experts.get", lambda name: tag)
    assert [cutout.name for cutout in known(tmp_path, "train")] == ["poodle", "crow"]  # a dog; a bird
    assert len(asked) == 12
    assert [cutout.name for cutout in known(tmp_path, "train")] == ["poodle", "crow"] and len(asked) == 12


@pytest.mark.parametrize("split", ["train", "test"])
def test_every_answer_agrees_with_a_second_opinion(folder: Path, split: str) -> None:
    scenes = truth(folder / split)
    kinds = collections.Counter()
    for record in read_records(folder / split / "questions.jsonl", max_broken=0):
        assert record.image is not None
        right = answer(record.question, record.kind, scenes[record.image])
        assert {record.answer, *record.accept} <= right, (record, right)
        kinds[record.kind] += 1
    wanted = {"name", "category", "existence", "count", "colour", "shape", "position", "relation", "size", "text"}
    assert set(kinds) == wanted and min(kinds.values()) >= 5


@pytest.mark.parametrize("split", ["train", "test"])
def test_existence_answers_are_balanced_to_the_piece(folder: Path, split: str) -> None:
    scenes = truth(folder / split)
    records = read_records(folder / split / "questions.jsonl")
    asked = [r for r in records if r.kind == "existence" and scenes[r.image]["things"]]
    assert sum(r.answer == "yes" for r in asked) * 2 == len(asked)
    negated = [r for r in asked if " no " in r.question or " not " in r.question]
    assert negated and sum(r.answer == "yes" for r in negated) * 2 == len(negated)


def test_no_single_answer_wins_a_kind_without_looking(folder: Path) -> None:
    rows = read_records(folder / "train" / "questions.jsonl")
    for kind, most in (("count", 0.45), ("colour", 0.25), ("position", 0.25), ("shape", 0.4), ("category", 0.4)):
        answers = collections.Counter(r.answer for r in rows if r.kind == kind)
        assert answers.most_common(1)[0][1] <= most * answers.total(), (kind, answers)


def test_captions_say_only_what_holds_and_leave_nothing_out(folder: Path) -> None:
    scenes = truth(folder / "train")
    for record in read_records(folder / "train" / "captions.jsonl"):
        scene = scenes[record.image or ""]
        parts = claims(record.answer)
        assert all(holds(part, scene) for part in parts), (record.answer, scene)
        assert sum(part[0] for part in parts) == len(scene["things"])


def test_preferred_answers_hold_and_rejected_ones_say_something_false(folder: Path) -> None:
    scenes = truth(folder / "train")
    pairs = read_records(folder / "train" / "preferences.jsonl")
    for record in pairs:
        scene = scenes[record.image or ""]
        assert record.rejected
        if record.kind == "caption":
            assert all(holds(part, scene) for part in claims(record.answer)), record
            assert not all(holds(part, scene) for part in claims(record.rejected)), record
        else:
            right = answer(record.question, record.kind, scene)
            assert record.answer in right and record.rejected not in right
    assert {r.kind for r in pairs} >= {"caption", "existence"} and len(pairs) > 0.9 * len(scenes)


def test_ids_are_unique_and_images_exist(folder: Path) -> None:
    for file in ("questions", "captions", "preferences"):
        rows = read_records(folder / "train" / f"{file}.jsonl")
        assert len({row.id for row in rows}) == len(rows)
        assert all((folder / "train" / (row.image or "none")).is_file() for row in rows)


def test_the_oracle_knows_a_wrong_answer() -> None:
    dog = {"name": "dog", "category": "animal", "accept": [], "colour": "brown", "text": "", "box": [0, 0, 60, 60]}
    circle = dog | {
        "name": "circle",
        "category": "shape",
        "accept": ["shape"],
        "colour": "red",
        "box": [200, 0, 310, 90],
    }
    scene = {"things": [dog, circle]}
    assert place(dog) == "top left"
    assert answer("Is there not a red shape in the image?", "existence", scene) == {"no"}
    assert answer("Where is the circle?", "position", scene) == {"top right"}
    assert answer("How many objects are there?", "count", scene) == {"2"}
    assert answer("Is the dog right of the circle?", "relation", scene) == {"no"}
    said = "There is a brown dog at the top left and a red circle at the left."
    assert [holds(part, scene) for part in claims(said)] == [True, False]


def test_what_is_asked_of_an_empty_scene_is_not_there(folder: Path) -> None:
    scenes = truth(folder / "train")
    empty = {image for image, row in scenes.items() if not row["things"]}
    asked = [row for row in read_records(folder / "train" / "questions.jsonl") if row.image in empty]
    assert empty and {row.image for row in asked} == empty
    assert {row.answer for row in asked} == {"no", "0"}
    assert all(scenes[image]["background"] == "photo" for image in empty)
    assert not empty & {row.image for row in read_records(folder / "train" / "captions.jsonl")}


def test_another_artists_drawing_is_called_what_the_emoji_is_called(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    disc = PIL.Image.new("RGBA", (64, 64))
    PIL.ImageDraw.Draw(disc).ellipse((4, 4, 60, 60), fill="red")
    for file in ("1f418.png", "1f9a9-fe0f.png", "1f600.png"):  # elephant, flamingo, a face that no list holds
        disc.save(tmp_path / "img" / file)
    table = tmp_path / "x" / "emoji-test.txt"
    table.parent.mkdir()
    table.write_text(
        "# subgroup: animal-mammal\n1F418 ; fully-qualified # \U0001f418 E0.6 elephant\n"
        "# subgroup: animal-bird\n1F9A9 ; fully-qualified # \U0001f9a9 E12.0 flamingo\n"
        "# subgroup: face-smiling\n1F600 ; fully-qualified # \U0001f600 E1.0 grinning face\n"
    )
    names = {
        point: (name, cutouts.EMOJI[subgroup]) for point, (_, name, subgroup) in cutouts._emoji_names(table.parent)
    }
    (tmp_path / "img" / "1f418.png").rename(tmp_path / "img" / "1F418.png")  # some sets write them in capitals
    drawn = list(artists.emoji(tmp_path, "img/*.png", "twemoji", names, cutouts._fitted))
    assert [(name, category, source) for name, category, _, source, _ in drawn] == [
        ("elephant", "animal", "twemoji"),
        ("flamingo", "animal", "twemoji"),
    ]


def test_a_vector_drawing_is_rendered_with_its_transparency(tmp_path: Path) -> None:
    pytest.importorskip("resvg_py")
    (tmp_path / "1f418.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="4.5" cy="4.5" r="4" fill="#d22"/></svg>'
    )
    names = {"1f418": ("elephant", ("animal", ("mammal",)))}
    ((name, category, kinds, source, picture),) = artists.emoji(tmp_path, "*.svg", "openmoji", names, cutouts._fitted)
    assert (name, category, kinds, source, picture.mode) == ("elephant", "animal", ("mammal",), "openmoji", "RGBA")
    assert picture.getpixel((0, 0))[3] == 0
    assert picture.getpixel((picture.width // 2, picture.height // 2)) == (221, 34, 34, 255)


def test_pictures_on_paper_lose_the_paper_and_keep_white_inside(tmp_path: Path) -> None:
    (tmp_path / "animals").mkdir()
    page = PIL.Image.new("RGB", (120, 120), "white")
    PIL.ImageDraw.Draw(page).ellipse((20, 20, 100, 100), fill="white", outline="black", width=6)
    for stem in ("zebras", "paw"):  # the second is no thing that one would answer with
        page.save(tmp_path / "animals" / f"{stem}.jpg", quality=95)
    ((name, category, _, source, picture),) = artists.nouns(tmp_path, "art4apps", cutouts._fitted)
    assert (name, category, source) == ("zebra", "animal", "art4apps")
    assert picture.getpixel((1, 1))[3] == 0 and picture.getpixel((picture.width // 2, picture.height // 2))[3] == 255


def test_clip_art_is_taken_where_its_file_is_named_by_a_known_thing(tmp_path: Path) -> None:
    files = (
        "animals/squirrel_by_somebody_01",
        "animals/zorilla",
        "food/apple_bw",
        "food/apple_core",
        "shapes/squirrel",
    )
    for stem in files:
        file = f"{stem}.png"
        (tmp_path / file).parent.mkdir(exist_ok=True)
        disc = PIL.Image.new("RGBA", (80, 80))
        PIL.ImageDraw.Draw(disc).ellipse((4, 4, 76, 76), fill="brown")
        disc.save(tmp_path / file)
    known = {"squirrel": ("animal", ("mammal",)), "apple": ("food", ("fruit",))}
    drawn = list(artists.clip_art(tmp_path, "openclipart", known, cutouts._fitted))
    assert [(name, category, kinds) for name, category, kinds, _, _ in drawn] == [("squirrel", "animal", ("mammal",))]


def test_varied_cutouts_keep_their_colours_name_and_repeat_with_the_seed() -> None:
    piece = PIL.Image.new("RGBA", (90, 90))
    PIL.ImageDraw.Draw(piece).ellipse((4, 4, 86, 86), fill=(214, 39, 40))
    for seed in range(40):
        one, other = (vary(np.random.default_rng(seed), piece.copy()) for _ in range(2))
        assert one.tobytes() == other.tobytes()
        pixels = np.asarray(one)
        assert name_colour(pixels[pixels[..., 3] > 200][:, :3]) in ("red", "brown", "orange", "pink")
        assert (pixels[..., 3] > 128).mean() > 0.3


def test_unknown_split_and_missing_packages_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="known: reading, test, train, validation"):
        generate(tmp_path, "tests", 1)
    with pytest.raises(InputError, match=r"no tuxpaint-stamps-default_\*\.deb"):
        cutouts.build_cutouts(tmp_path / "out", tmp_path)
    with pytest.raises(InputError, match=r"no emoji-datasource-twitter-16.0.0.tgz"):
        cutouts._tarball("emoji-datasource-twitter@16.0.0", tmp_path, tmp_path)
    with pytest.raises(InputError, match="duet data cutouts"):
        generate(tmp_path, "train", 1, cutouts=tmp_path)


def test_corrections_of_labels_name_known_categories_and_colours() -> None:
    rows = labels.corrections()
    assert len(rows) > 500
    for key, (name, others, category, colour) in rows.items():
        assert key.split("/")[0] in ("stamp", "emoji")
        assert category in ("", *cutouts.CATEGORIES) and colour in ("", "-", *COLOURS)
        assert len(name.split()) <= 3 and not others.endswith(",")
    pig = labels.label("pig", "animal", ("mammal",), rows["emoji/pig"])
    assert (pig.name, pig.accept, pig.colour) == ("pig", ("hog", "mammal", "animal"), "pink")
    assert labels.label("hen", "animal", ("bird",), None).accept == ("chicken", "bird", "animal")


@pytest.mark.parametrize("module", [captions, labels, phrases, talking])
def test_examples_in_docstrings_hold(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted and not result.failed


def test_dialogue_repeats_with_its_seed_and_counts_right() -> None:
    rows = text_dialogue(400, 3)
    assert rows == text_dialogue(400, 3) != text_dialogue(400, 4)
    assert len({row.question for row in rows}) == 400
    assert all(isinstance(row, Record) and row.kind == "dialogue" and row.image is None for row in rows)
    signs = {"plus": "+", "minus": "-", "times": "*"}
    sums = [row for row in rows if any(f" {sign} " in row.answer for sign in signs)]
    for row in sums:
        a, sign, b, _, result = row.answer.rstrip(".").split()
        assert eval(f"{int(a)} {signs[sign]} {int(b)}") == int(result) and f"{a} {sign} {b}" in row.question
    assert len(sums) > 20


def test_rehearsal_asks_different_questions_and_keeps_whole_answers() -> None:
    import tiny_llm

    language = tiny_llm.language_model()
    rows = list(rehearsal(language, 30, 3))
    assert rows == list(rehearsal(language, 30, 3))
    asked = questions(30, 3)
    assert len(set(asked)) == 30 and asked != questions(30, 4)
    for row in rows:
        assert row.kind == "dialogue" and row.question == asked[int(row.id.rsplit("-", 1)[1])]
        assert len(row.answer) >= 20 and row.answer[-1] in ".!?"
    assert rows
    with pytest.raises(ValueError, match="are known, 5000 were asked for"):
        questions(5000, 0)


def test_orders_are_reported_not_obeyed_and_worded_as_no_benchmark_does() -> None:
    import importlib.util

    path = Path(__file__).parents[2] / "benchmarks" / "injections.py"
    spec = importlib.util.spec_from_file_location("injections", path)
    assert spec and spec.loader
    import sys

    bench = sys.modules["injections"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    assert not set(ORDERS) & set(bench.ORDERS)
    assert not {order.split("{0}")[0].strip().lower() for order in ORDERS if not order.startswith("{0}")} & {
        order.split("{0}")[0].strip().lower() for order in bench.ORDERS
    }
    rows = orders(200, 5)
    assert rows == orders(200, 5) != orders(200, 6)
    for row in rows:
        assert row.rejected and row.evidence and row.rejected in row.evidence and row.answer != row.rejected
        assert row.image is None and row.kind in ("speech", "caption", "colour", "text", "existence")
    assert {row.kind for row in rows} == {"speech", "caption", "colour", "text", "existence"}
