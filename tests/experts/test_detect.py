"""The detector: known things on real photos, boxes in pixels of the original, and an engine that keeps to itself."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow

from experts import detect
from experts.base import Expert, Finding
from experts.config import Settings, home
from experts.detect import Detector
from experts.errors import DuetError, ExpertError, MediaError, UnknownNameError, WeightsError
from experts.media import Audio, Image
from experts.tag import Tagger
from experts.weights.catalogue import resolve

ROOT = Path(__file__).parents[2]
SETTINGS = Settings(device="cpu", threads=1)
SPEC = importlib.util.find_spec("ultralytics")
assert SPEC is not None and SPEC.origin is not None
PHOTOS = Path(SPEC.origin).parent / "assets"  # found without importing it: our own import has to be the first
TINY = """
nc: 2
scales: {n: [0.33, 0.125, 1024]}
backbone:
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [[2], 1, Detect, [nc]]
"""


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(SETTINGS)


def count(findings: list[Finding], name: str) -> int:
    return sum(finding.text == name for finding in findings)


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union."""
    inter = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter)


def test_bus_and_persons_are_found_where_they_are(detector: Detector) -> None:
    image = Image.open(PHOTOS / "bus.jpg")
    findings = detector(image)
    assert count(findings, "bus") == 1 and count(findings, "person") == 3
    (bus,) = (f for f in findings if f.text == "bus")
    assert bus.box and overlap(bus.box, (22, 231, 805, 756)) > 0.85  # measured by hand
    assert [f.score for f in findings] == sorted((f.score for f in findings), reverse=True)
    for f in findings:
        assert f.expert == "detect" and f.source == "bus.jpg" and 0.3 <= f.score <= 1 and f.box
        assert 0 <= f.box[0] < f.box[2] <= image.width and 0 <= f.box[1] < f.box[3] <= image.height
        assert set(f.extra) <= {"colour", "clothes", "legs", "like"} and "" not in f.extra.values()
    json.dumps([f.to_dict() for f in findings])


def test_persons_and_ties_are_found(detector: Detector) -> None:
    findings = detector(Image.open(PHOTOS / "zidane.jpg"))
    assert count(findings, "person") == 2 and count(findings, "tie") == 2


def test_boxes_scale_with_the_picture(detector: Detector) -> None:
    photo = pillow.open(PHOTOS / "bus.jpg")
    large = photo.resize((photo.width * 2, photo.height * 2), pillow.Resampling.BICUBIC)
    once = detector(Image.open(np.array(photo)))
    twice = detector(Image.open(np.array(large)))
    for name in ("bus", "person"):
        (a, b) = (next(f for f in found if f.text == name) for found in (once, twice))
        assert a.box and b.box and overlap(tuple(2 * v for v in a.box), b.box) > 0.9


def test_same_picture_gives_the_same_findings_from_many_threads(detector: Detector) -> None:
    images = [Image.open(PHOTOS / name) for name in ("bus.jpg", "zidane.jpg")] * 3
    alone = [[f.to_dict() for f in detector(image)] for image in images]
    fresh = Detector(SETTINGS)  # also loads once, however many ask first
    together: list[Any] = [None] * len(images)

    def work(i: int) -> None:
        together[i] = [f.to_dict() for f in fresh(images[i])]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_things_are_found_without_second_opinions_where_the_tagger_cannot_be_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(self: Tagger, media: Any) -> list[Finding]:
        raise WeightsError("no network")

    monkeypatch.setattr(Tagger, "__call__", missing)
    findings = Detector(SETTINGS)(Image.open(PHOTOS / "bus.jpg"))
    assert count(findings, "bus") == 1 and not any("like" in f.extra for f in findings)


def test_gray_and_transparent_pictures_come_through_the_media_door(detector: Detector, tmp_path: Path) -> None:
    photo = pillow.open(PHOTOS / "bus.jpg")
    photo.convert("L").save(tmp_path / "gray.png")
    photo.convert("RGBA").save(tmp_path / "clear.png")
    assert count(detector(Image.open(tmp_path / "gray.png")), "bus") == 1
    assert count(detector(Image.open(tmp_path / "clear.png")), "bus") == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (3, 3)])
def test_tiniest_pictures_hold_nothing_and_break_nothing(detector: Detector, shape: tuple[int, int]) -> None:
    assert detector(Image.open(np.full((*shape, 3), 128, np.uint8))) == []


# The engine keeps to itself


def test_first_use_prints_nothing_writes_nothing_and_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    code = f"""
import os, json, numpy, torch
torch.set_num_threads(3)
before = numpy.get_printoptions(), os.environ.get("OMP_NUM_THREADS")
from experts.config import Settings
from experts.detect import Detector
from experts.media import Image
found = Detector(Settings(device="cpu", threads=2))(Image.open({str(PHOTOS / "bus.jpg")!r}))
after = numpy.get_printoptions(), os.environ.get("OMP_NUM_THREADS")
import ultralytics.nn.tasks, ultralytics.utils
from ultralytics.utils.events import events
print(json.dumps([len(found) > 0, before == after, torch.get_num_threads(), ultralytics.nn.tasks.SAFE_LOAD,
    ultralytics.utils.AUTOINSTALL, ultralytics.utils.ONLINE, ultralytics.utils.SETTINGS["sync"], events.enabled]))
"""
    work, weights = tmp_path / "work", tmp_path / "home" / "weights"
    work.mkdir()
    resolve("efficientnet-lite0")
    for path in (home() / "weights").glob("efficientnet-lite0*"):  # else it is fetched
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        weights.mkdir(parents=True, exist_ok=True)
        copy(path, weights / path.name)
    there = {path for path in (tmp_path / "home").rglob("*") if path.is_file()}
    free = {k: v for k, v in os.environ.items() if not k.startswith(("YOLO", "ULTRALYTICS", "OMP", "ORT"))}
    free |= {"DUET_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "HOME": str(tmp_path / "person")}
    run = subprocess.run([sys.executable, "-c", code], cwd=work, env=free, capture_output=True, text=True)
    assert run.stderr == ""
    assert json.loads(run.stdout) == [True, True, 3, True, False, False, False, False]
    # ONNX Runtime left a device id and a database of reports in the person's home once
    assert list(work.iterdir()) == [] and not (tmp_path / "person").exists()
    written = {p for p in (tmp_path / "home").rglob("*") if p.is_file()} - there
    assert {p.name for p in written} <= {"settings.json", "efficientnet-lite0.lock"}


def test_onnx_runtime_gets_the_threads_of_the_settings_and_does_not_spin(detector: Detector) -> None:
    detector(Image.open(np.zeros((8, 8, 3), np.uint8)))
    assert detector._model is not None
    options = detector._model.predictor.model.backend.session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_threads_are_the_cores_of_the_process_unless_set() -> None:
    from experts.threads import cpu_threads

    assert cpu_threads(Settings(threads=7)) == 7
    assert 1 <= cpu_threads(Settings()) <= (os.cpu_count() or 1)


# Other weights


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A YOLO of three layers in Ultralytics' own checkpoint format; sees a cup everywhere, a key nowhere."""
    import torch

    detect.import_engine()
    from ultralytics import YOLO

    folder = tmp_path_factory.mktemp("yolo")
    (folder / "tiny.yaml").write_text(TINY)
    torch.manual_seed(0)
    model = YOLO(str(folder / "tiny.yaml"), task="detect")
    for head in model.model.model[-1].cv3:  # type: ignore[union-attr]
        head[-1].bias.data[:] = torch.tensor([3.0, -9.0])
    model.model.names = {0: "cup", 1: "key"}  # type: ignore[union-attr]
    model.save(str(folder / "tiny.pt"))
    return folder / "tiny.pt"


def test_checkpoint_of_ones_own_replaces_the_embedded_one(tiny: Path, tmp_path: Path) -> None:
    detector = Detector(replace(SETTINGS, detector=str(tiny)))
    assert detector.weights == "tiny.pt"
    findings = detector(Image.open(np.full((90, 160, 3), 200, np.uint8)))
    assert findings and {f.text for f in findings} == {"cup"}
    assert all(f.box and 0 <= f.box[0] < f.box[2] <= 160 and 0 <= f.box[1] < f.box[3] <= 90 for f in findings)


def test_exported_weights_of_ones_own_are_found_by_path(tmp_path: Path, detector: Detector) -> None:
    (tmp_path / "mine.onnx").write_bytes((ROOT / "experts/weights/nanodet-coco.onnx").read_bytes())
    image = Image.open(PHOTOS / "zidane.jpg")
    embedded = [replace(f, extra={k: v for k, v in f.extra.items() if k != "like"}) for f in detector(image)]
    assert Detector(replace(SETTINGS, detector=str(tmp_path / "mine.onnx")))(image) == embedded


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(tmp_path)
    torch.save({"model": Bomb()}, "bomb.pt")
    with pytest.raises(WeightsError, match="the detector 'bomb.pt' could not be loaded: .*supported Ultralytics check"):
        Detector(replace(SETTINGS, detector="bomb.pt"))(Image.open(np.zeros((8, 8, 3), np.uint8)))
    assert not Path("exploded").exists()
    with pytest.raises(FileExistsError):  # the bomb does work where it is let
        Path("exploded").mkdir()
        pickle.loads(pickle.dumps(Bomb()))


@pytest.mark.parametrize(
    ("name", "data"), [("a.pt", b""), ("b.pt", b"junk"), ("c.onnx", b""), ("d.onnx", b"junk" * 99)]
)
def test_damaged_weights_are_told_in_one_line(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(WeightsError, match=f"^the detector '{name}' could not be loaded: ") as caught:
        Detector(replace(SETTINGS, detector=str(tmp_path / name)))(Image.open(np.zeros((8, 8, 3), np.uint8)))
    told = str(caught.value)
    assert "'nanodet-coco' needs no network" in told and "\n" not in told and str(tmp_path) not in told


@pytest.mark.parametrize(
    "name", ["nanodet-cocoo", "folder/gone.pt", "tiny.yaml", "yolo11n-cls.pt", "http://h/yolo11n.pt"]
)
def test_unknown_weights_name_what_is_accepted(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text(TINY)  # would build a model that has learnt nothing
    with pytest.raises(UnknownNameError, match="known: a file of weights .*, nanodet-coco, yolo11l.pt") as caught:
        Detector(replace(SETTINGS, detector=name))(Image.open(np.zeros((8, 8, 3), np.uint8)))
    assert "folder/" not in str(caught.value) and "http" not in str(caught.value)


def test_published_weights_are_fetched_into_our_home(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    detect.import_engine()
    import ultralytics.utils.downloads as downloads

    asked: list[tuple[str, Path]] = []

    def fetched(url: str, file: Path, **more: object) -> None:
        asked.append((url, Path(file)))
        Path(file).parent.mkdir(parents=True)
        Path(file).write_bytes(tiny.read_bytes())

    monkeypatch.setenv("DUET_HOME", str(tmp_path))
    monkeypatch.setattr(downloads, "safe_download", fetched)
    detector = Detector(replace(SETTINGS, detector="yolo11n"))
    assert detector(Image.open(np.full((64, 64, 3), 200, np.uint8)))[0].text == "cup"
    ((url, file),) = asked
    assert url.startswith("https://github.com/ultralytics/") and url.endswith("/yolo11n.pt")
    assert file == home() / "weights" / "ultralytics" / "yolo11n.pt"


def test_published_weights_are_not_fetched_when_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_HOME", str(tmp_path))
    monkeypatch.setenv("DUET_OFFLINE", "1")
    with pytest.raises(WeightsError, match="'yolo11n.pt' is not here, and DUET_OFFLINE is set; use 'nanodet-coco'"):
        Detector(replace(SETTINGS, detector="yolo11n.pt"))(Image.open(np.zeros((8, 8, 3), np.uint8)))


# Refusals


def test_detector_is_an_expert_and_takes_only_images() -> None:
    detector = Detector()
    assert isinstance(detector, Expert) and detector.weights == "nanodet-coco"
    with pytest.raises(MediaError, match="'audio' is of kind audio; detect takes images"):
        detector(Audio.open(np.zeros(100, np.float32), rate_hz=16_000))


def test_failure_of_the_engine_is_one_line_and_the_next_picture_works(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[Any]:
        raise RuntimeError("ERROR ❌️ no memory at /opt/lib/engine.so\nstack")

    with monkeypatch.context() as patch, pytest.raises(DuetError) as caught:
        patch.setattr(detect, "_predict", broken)
        detector(Image.open(np.zeros((8, 8, 3), np.uint8), name="x.png"))
    assert type(caught.value) is ExpertError
    assert str(caught.value) == "things in 'x.png' could not be detected: no memory at engine.so"
    assert detector(Image.open(np.zeros((8, 8, 3), np.uint8))) == []


def test_committed_weights_are_the_listed_ones() -> None:
    from experts.weights.catalogue import WEIGHTS

    (file,) = WEIGHTS["nanodet-coco"].files
    data = (ROOT / "experts" / "weights" / file.path).read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data)) == (file.sha256, file.size)
