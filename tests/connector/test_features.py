"""The feature cache: the encoder runs once for each content, whoever asks and however often."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tiny
import torch

from connector.encoders.features import FeatureCache, content_key
from experts.errors import TrainingError
from experts.media import Image


def images(folder: Path, count: int) -> list[tuple[str, Path]]:
    files = [folder / f"{index}.png" for index in range(count)]
    for index, file in enumerate(files):
        PIL.Image.new("RGB", (4, 4), (index * 30, 20, 30)).save(file)
    return [(content_key(file), file) for file in files]


def test_key_is_the_content_hash_of_the_image(tmp_path: Path) -> None:
    (key, file), *_ = images(tmp_path, 1)
    assert key == Image.open(file).sha256


def test_cached_equals_fresh_up_to_half_precision_and_is_encoded_once(tmp_path: Path) -> None:
    files, encoder = images(tmp_path, 5), tiny.Encoder()
    assert FeatureCache(tmp_path, encoder.fingerprint()).fill(files, encoder) == []
    again = FeatureCache(tmp_path, encoder.fingerprint())
    assert again.fill(files, encoder) == []
    assert encoder.calls == 5
    keys = [files[3][0], files[0][0]]
    fresh = tiny.Encoder().encode([Image.open(files[3][1]), Image.open(files[0][1])])
    assert torch.equal(again.get(keys), fresh.half().float())


def test_same_content_under_two_names_is_encoded_once(tmp_path: Path) -> None:
    files, encoder = images(tmp_path, 1), tiny.Encoder()
    copy = tmp_path / "copy.png"
    copy.write_bytes(files[0][1].read_bytes())
    FeatureCache(tmp_path, encoder.fingerprint()).fill([*files, (content_key(copy), copy)], encoder)
    assert encoder.calls == 1


def test_another_encoder_sees_none_of_it(tmp_path: Path) -> None:
    files, encoder = images(tmp_path, 1), tiny.Encoder()
    FeatureCache(tmp_path, encoder.fingerprint()).fill(files, encoder)
    assert files[0][0] not in FeatureCache(tmp_path, "another-encoder")


def test_a_broken_image_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    files, encoder = images(tmp_path, 3), tiny.Encoder()
    files[1][1].write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    cache = FeatureCache(tmp_path, encoder.fingerprint())
    broken = cache.fill(files, encoder)
    assert len(broken) == 1 and broken[0].startswith("1.png: ")
    assert [key in cache for key, _ in files] == [True, False, True]
    with pytest.raises(TrainingError, match="features of 1 images are not in the cache"):
        cache.get([files[1][0]])


def test_a_shard_without_its_list_does_not_exist_yet(tmp_path: Path) -> None:
    """What a process that was killed between the two files leaves behind."""
    files, encoder = images(tmp_path, 2), tiny.Encoder()
    cache = FeatureCache(tmp_path, encoder.fingerprint())
    cache.fill(files, encoder)
    next(cache.folder.glob("*.json")).unlink()
    again = FeatureCache(tmp_path, encoder.fingerprint())
    assert len(again) == 0
    again.fill(files, encoder)
    assert len(again) == 2


def fill(folder: Path, files: list[tuple[str, Path]]) -> None:
    torch.set_num_threads(1)
    encoder = tiny.Encoder()
    FeatureCache(folder, encoder.fingerprint()).fill(files, encoder)


def test_two_processes_may_fill_one_cache(tmp_path: Path) -> None:
    files = images(tmp_path, 6)
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=fill, args=(tmp_path, files[start : start + 4])) for start in (0, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    cache = FeatureCache(tmp_path, tiny.Encoder().fingerprint())
    fresh = tiny.Encoder().encode([Image.open(file) for _, file in files])
    assert torch.equal(cache.get([key for key, _ in files]), fresh.half().float())


def test_values_that_half_precision_does_not_hold_are_refused(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "f")
    with pytest.raises(TrainingError, match="not finite in float16, e.g. of bbb"), np.errstate(over="ignore"):
        cache.add(["aaa", "bbb"], np.array([1.0, 1e6], np.float32).reshape(2, 1, 1))
    assert len(cache) == 0


def test_adopted_file_is_read_as_if_made_here(tmp_path: Path) -> None:
    made = np.arange(24, dtype=np.float16).reshape(2, 3, 4)
    np.save(tmp_path / "made.npy", made)
    FeatureCache(tmp_path, "f").adopt(tmp_path / "made.npy", ["aaa", "bbb"])
    cache = FeatureCache(tmp_path, "f")
    cache.adopt(tmp_path / "made.npy", ["aaa", "bbb"])
    assert cache.get(["bbb"])[0].tolist() == made[1].tolist()


def test_a_damaged_shard_is_named(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, "f")
    cache.add(["aaa"], np.zeros((1, 2, 2), np.float32))
    next(cache.folder.glob("*.npy")).write_bytes(b"no")
    with pytest.raises(TrainingError, match="shard '.*' is damaged"):
        FeatureCache(tmp_path, "f")


def test_several_processes_compute_what_one_computes(tmp_path: Path) -> None:
    from connector.data.pictures.scenes import generate
    from connector.encoders import registry
    from ui.cli import run

    generate(tmp_path / "scenes", "validation", 3)
    asked = ["data", "features", "--data", tmp_path / "scenes", "--out", tmp_path / "f", "--workers", "2"]
    assert run([str(word) for word in asked]) == 0
    encoder = registry.load("efficientnet-lite0")
    cache = FeatureCache(tmp_path / "f", encoder.fingerprint())
    files = sorted((tmp_path / "scenes" / "images").glob("*.png"))
    own = encoder.encode([Image.open(file) for file in files])
    assert len(cache) == len(files) == 3
    assert torch.allclose(cache.get([content_key(file) for file in files]), own, rtol=2e-3, atol=2e-3)
