"""Detector: an image in, the things in it out, one finding a thing with its box; any detection model of Ultralytics."""

from __future__ import annotations

import os
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experts.base import Finding
from experts.config import Settings, home
from experts.errors import DuetError, ExpertError, MediaError, UnknownNameError, WeightsError
from experts.media import Image, Media
from experts.objects.opinions import second_looks
from experts.objects.tiles import Seen, merged, tiles, whole, whole_pixels
from experts.tag import Tagger
from experts.threads import cpu_threads
from experts.weights.fetch import reason

if TYPE_CHECKING:
    from ultralytics import YOLO

# On the two photos that Ultralytics brings: 0.35 loses the third person at the bus, an overlap of 0.6 counts one twice.
LEAST_SCORE, MOST_OVERLAP, MOST_THINGS = 0.3, 0.5, 100
EMBEDDED = "nanodet-coco"
TASKS = ("detect", "segment", "pose")  # what gives upright boxes
OTHER_TASKS = ("-cls", "-obb", "-sem", "-depth", "sam", "nas")  # marks of published weights that give none
ENGINE_ENVIRONMENT = {  # read by Ultralytics, most of it at import
    "ULTRALYTICS_SAFE_LOAD": "1",  # a .pt file is a pickle: only known classes are built from it
    "ULTRALYTICS_SKIP_REQUIREMENTS_CHECKS": "1",
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "true",
    "YOLO_VERBOSE": "false",
}
_importing = threading.Lock()


class Detector:
    """NanoDet-g on COCO's 80 classes in the embedded profile; any detection weights of Ultralytics otherwise.

    Large and wide pictures are also seen tile by tile, and the embedded detector's boxes get the tagger's second
    opinion (experts/objects/). `extra` holds a thing's `colour`, or a person's `clothes` and `legs` (trousers, a
    skirt), in words, and what it looks `like` to the tagger; each is left out where it is open.
    """

    name = "detect"
    description = "Finds everyday things in a picture (COCO's 80 classes), with boxes and colours; counts them."
    kinds = frozenset({"image"})

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self.weights = Path(self._settings.detector).name
        self._model: YOLO | None = None
        self._second = Tagger(self._settings) if self._settings.detector == EMBEDDED else None
        self._lock = threading.Lock()  # Ultralytics keeps the state of a prediction on the model

    def __call__(self, media: Media) -> list[Finding]:
        """One finding a thing, best first; boxes in pixels of `media`.

        Raises:
            MediaError: not an image.
            UnknownNameError, WeightsError: there are no such weights, or they are no detector.
            ExpertError: the model failed.
        """
        from experts.objects.colouring import colours_of

        if not isinstance(media, Image):
            raise MediaError(f"'{media.name}' is of kind {media.kind}; detect takes images: pass an image or a frame")
        size = media.width, media.height
        with self._lock:
            if self._model is None:
                self._model = load(self._settings)
            side = max(self._model.predictor.imgsz)  # type: ignore[attr-defined]
            nearer = [
                one for tile in tiles(*size, side) for one in whole(self._look(media, whole_pixels(tile)), tile, size)
            ]
            seen = merged(self._look(media, (0, 0, *size)), nearer)
        try:
            settled = second_looks(seen, size, partial(self._tags, media))
        except WeightsError:  # what was detected stands without a second opinion
            settled, self._second = [(one, "") for one in seen], None
        findings = []
        for one, like in settled:
            extra = colours_of(one.name, media.pixels, one.box) | ({"like": like} if like else {})
            findings.append(Finding(self.name, one.name, round(one.score, 4), one.box, source=media.name, extra=extra))
        return sorted(findings, key=lambda finding: -finding.score)

    def _look(self, media: Image, part: tuple[int, int, int, int]) -> list[Seen]:
        """What the model sees in a part (x0, y0, x1, y1) of a picture, in the picture's pixels."""
        left, top, right, bottom = part
        try:
            (result,) = _predict(self._model, media.pixels[top:bottom, left:right], self._settings)  # type: ignore[arg-type]
        except Exception as error:  # the engines below Ultralytics raise whatever they like
            raise ExpertError(f"things in '{media.name}' could not be detected: {_told(error)}") from error
        names, boxes = dict(result.names), result.boxes.cpu().numpy()
        return [
            Seen(names[int(kind)], score, (x0 + left, y0 + top, x1 + left, y1 + top))
            for (x0, y0, x1, y1), score, kind in zip(
                boxes.xyxy.round(1).tolist(), boxes.conf.tolist(), boxes.cls.tolist(), strict=True
            )
        ]

    def _tags(self, media: Image, part: tuple[int, int, int, int]) -> list[tuple[str, float]]:
        if self._second is None:
            return []
        x0, y0, x1, y1 = part
        crop = Image.open(np.ascontiguousarray(media.pixels[y0:y1, x0:x1]))
        return [(finding.text, finding.score) for finding in self._second(crop)]


# Loading


def load(settings: Settings) -> YOLO:
    """The model that `settings.detector` names, ready to predict.

    Raises:
        UnknownNameError: it is no weights name, no file and no name that Ultralytics publishes.
        WeightsError: it cannot be fetched, is damaged, or is no detector.
    """
    import torch

    import_engine()
    from ultralytics import YOLO
    from ultralytics.nn.backends.base import BaseBackend

    file = _file(settings.detector)
    name = Path(settings.detector).name
    threads = torch.get_num_threads()
    try:
        # A .pt file says itself what it is for; Ultralytics fetches one that it publishes to where `file` says.
        task = None if file.suffix == ".pt" else BaseBackend.read_metadata(file).get("task", "detect")
        model = YOLO(str(file), task=task)
        if model.task not in TASKS:
            raise WeightsError(f"'{name}' is a model for the task '{model.task}'; accepted: {', '.join(TASKS)}")
        model.add_callback("on_predict_start", _unwarmed)
        _predict(model, np.zeros((32, 32, 3), np.uint8), settings)  # makes the predictor and its engine
        _bound_threads(model, file, settings)
    except DuetError:
        raise
    except Exception as error:
        raise WeightsError(
            f"the detector '{name}' could not be loaded: {_told(error)}; expected detection weights of Ultralytics "
            "(.pt, .onnx or another of its formats), and 'nanodet-coco' needs no network"
        ) from error
    finally:
        torch.set_num_threads(threads)  # Ultralytics sets it for the whole process
    return model


def import_engine() -> None:
    """Import Ultralytics so that it is safe, silent and keeps to itself.

    No code from weights, no installing, no network, no reports; its settings file lies in `home()`. What it changes of
    the process at import (thread count, how NumPy prints) is changed back.
    """
    with _importing:
        for key, value in ENGINE_ENVIRONMENT.items():
            os.environ.setdefault(key, value)
        os.environ.setdefault("YOLO_CONFIG_DIR", str(home()))
        threads, shown = os.environ.get("OMP_NUM_THREADS"), np.get_printoptions()
        import ultralytics.nn.tasks
        from ultralytics.utils import SETTINGS
        from ultralytics.utils.events import events

        np.set_printoptions(**shown)
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)
        # Also where a program had imported Ultralytics before us; not in its settings file, which may be a person's.
        ultralytics.nn.tasks.SAFE_LOAD = True
        dict.__setitem__(SETTINGS, "sync", False)
        events.enabled = False


def _file(detector: str) -> Path:
    """The weights file that `detector` names; one that Ultralytics publishes need not be there yet."""
    from ultralytics.utils.downloads import GITHUB_ASSETS_NAMES

    from experts.weights.catalogue import WEIGHTS, offline, resolve

    if detector in WEIGHTS:
        files = [resolve(detector) / file.path for file in WEIGHTS[detector].files]
        weights = [file for file in files if file.suffix in (".onnx", ".pt")]
        if len(weights) == 1:
            return weights[0]
    path = Path(detector).expanduser()
    if path.exists() and path.suffix.lower() not in (".yaml", ".yml"):  # those build a model that knows nothing
        return path.absolute()
    published = detector if path.suffix else f"{detector}.pt"
    other = any(part in published.lower() for part in OTHER_TASKS)
    if published in GITHUB_ASSETS_NAMES and published.endswith(".pt") and not other:
        file = home() / "weights" / "ultralytics" / published
        if not file.is_file() and offline():
            raise WeightsError(f"the detector '{published}' is not here, and DUET_OFFLINE is set; use 'nanodet-coco'")
        return file
    usual = [f"yolo{version}{size}.pt" for version in (11, 26) for size in "nsmlx"]
    raise UnknownNameError("detector", path.name, ["nanodet-coco", *usual, "a file of weights (.pt, .onnx, ...)"])


def _predict(model: YOLO, pixels: np.ndarray, settings: Settings) -> list[Any]:
    """Ultralytics' results for one picture [H, W, 3] RGB; nothing is written or printed."""
    import torch

    cpu = settings.device == "cpu" or (settings.device == "auto" and not torch.cuda.is_available())
    results: list[Any] = model.predict(
        np.ascontiguousarray(pixels[..., ::-1]),  # it takes BGR
        conf=LEAST_SCORE,
        iou=MOST_OVERLAP,
        max_det=MOST_THINGS,
        device="cpu" if cpu else None,
        verbose=False,
        save=False,
    )  # type: ignore[assignment]  # a generator only where asked to stream
    return results


def _unwarmed(predictor: Any) -> None:
    """Keep Ultralytics from warming up on a CPU: all that it does there is to import torchvision, which takes seconds.

    Overlapping boxes are then dropped by its own code, which keeps the same ones.
    """
    if predictor.device.type == "cpu":
        predictor.done_warmup = True


def _bound_threads(model: YOLO, file: Path, settings: Settings) -> None:
    """Replace the ONNX Runtime session, which Ultralytics opens with every core, by one with `cpu_threads`."""
    backend: Any = model.predictor.model.backend  # type: ignore[attr-defined]
    if file.suffix != ".onnx" or backend.session.get_providers() != ["CPUExecutionProvider"]:
        return
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = cpu_threads(settings), 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads would burn a core
    backend.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


def _told(error: Exception) -> str:
    """The first line of an engine's message, without its mark."""
    return reason(str(error).removeprefix("ERROR \N{CROSS MARK}\N{VARIATION SELECTOR-16} ") or type(error).__name__)
