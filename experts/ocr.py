"""Reader: an image in, the text in it out, one finding a row, by PP-OCR through rapidocr.

Text is looked for at the original resolution. The network that finds lines loses text on large, mostly empty pictures
(24 px letters vanish from a white one of 3000 x 2250 px), so a large picture is looked at in overlapping tiles, and
once as a whole for letters that are larger than a tile. Each line is then read from the original pixels.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import numpy as np

from experts.base import Finding
from experts.config import Settings, home
from experts.errors import ExpertError, MediaError, UnknownNameError, WeightsError
from experts.media import Image, Media
from experts.text.layout import Box, Piece, rows
from experts.text.lines import Line, combined, joined
from experts.text.reading import Reading, only_twins, read
from experts.threads import cpu_threads
from experts.weights.fetch import reason

LEAST_SCORE = 0.5  # of a line, the mean over its characters; what is read from texture lies below
TILE_PX, OVERLAP_PX = 1280, 192  # a tile's longest side, and what neighbours share
LOOK_PX = 512  # the longest side of the picture at the first glance, which only says where text is
UNREAD = "text in a script that is not read"
WHOLE_PX = 960  # the longest side of the picture looked at as a whole
MOST_PIXELS = 24_000_000  # looked at in tiles; beyond, text is looked for at a smaller scale, and the findings say so
SLIMMEST = 4  # a tile is padded to this ratio of its sides: the network would enlarge a strip to a short side of 736 px
MODELS: dict[str, tuple[str, str]] = {  # name -> version and size of the detection and recognition models
    "pp-ocrv6-small": ("PP-OCRv6", "small"),  # comes with rapidocr; the others are fetched from its model hub
    "pp-ocrv6-tiny": ("PP-OCRv6", "tiny"),
    "pp-ocrv6-medium": ("PP-OCRv6", "medium"),
    "pp-ocrv5-mobile": ("PP-OCRv5", "mobile"),
    "pp-ocrv5-server": ("PP-OCRv5", "server"),
}
FILES = ("det.onnx", "rec.onnx")  # of a folder with models of one's own; rec.onnx holds its characters


class Reader:
    """Reads Latin, Chinese and Japanese script with the embedded model; text stays as it is read.

    A finding's score is the mean probability of its characters. `extra["scale"]` is there where the picture was too
    large to be looked at in full.
    """

    name = "ocr"
    description = "Reads the text in a picture, line by line, with boxes."
    kinds = frozenset({"image"})

    def __init__(self, settings: Settings | None = None) -> None:
        """Raises UnknownNameError where `settings.ocr` is neither one of MODELS nor a folder."""
        self._settings = settings or Settings()
        ocr = self._settings.ocr
        if ocr not in MODELS and not Path(ocr).expanduser().is_dir():
            raise UnknownNameError("OCR model", Path(ocr).name, [*MODELS, f"a folder with {' and '.join(FILES)}"])
        self.weights = Path(ocr).name
        self._engine: Any = None
        self._lock = threading.Lock()  # rapidocr keeps the switches of a call on the engine

    def __call__(self, media: Media) -> list[Finding]:
        """One finding a row, in reading order; [] where there is no text.

        Cells of a table, menu or receipt that share a line are one row, with `extra["cells"]`; columns of prose are
        read one after the other. One last finding, with `extra["unread"]` (the number of lines), stands for text in a
        script that the model has not got. Of further pages or frames `extra["page"]` says which.

        Raises:
            MediaError: not an image.
            WeightsError: the models cannot be fetched or loaded.
            ExpertError: a model failed.
        """
        if not isinstance(media, Image):
            raise MediaError(f"'{media.name}' is of kind {media.kind}; ocr takes images: pass an image or a frame")
        findings = self._page(media)
        said = {finding.text for finding in findings}
        for frame in media.frames:  # further pages or frames: what only they say, without boxes in the first
            more = [finding for finding in self._page(frame) if finding.text not in said]
            said |= {finding.text for finding in more}
            findings += [
                replace(finding, box=None, source=media.name, extra={**finding.extra, "page": frame.name})
                for finding in more
            ]
        return findings

    def _page(self, media: Image) -> list[Finding]:
        bgr = np.ascontiguousarray(media.pixels[..., ::-1])  # rapidocr takes BGR
        scale = min(1.0, (MOST_PIXELS / (media.width * media.height)) ** 0.5)
        extra = {"scale": round(scale, 3)} if scale < 1 else {}
        with self._lock:
            engine = self._ready()
            try:
                pieces = _upright([_read(engine, bgr, line) for line in _find(engine, bgr, scale)], engine, bgr)
            except Exception as error:  # rapidocr and the engines below it raise whatever they like
                raise ExpertError(f"text in '{media.name}' could not be read: {_told(error)}") from error
        unread = [piece.line for piece in pieces if piece.reading.unread]
        known = [piece for piece in pieces if piece.says and not piece.reading.unread]
        if unread:  # letters that look alike in both scripts were read, and are not of the alphabet they seem to be of
            unread += [piece.line for piece in known if only_twins(piece.reading.text)]
            known = [piece for piece in known if not only_twins(piece.reading.text)]
        findings = [_finding(row, media, extra) for row in in_order(known)]
        return findings + ([_told_unread(unread, media, extra)] if unread else [])

    def has_text(self, image: Image) -> list[Box]:
        """Where text seems to be, at a glance at LOOK_PX: one box a line in pixels of `image`, [] where there is none.

        It reads nothing and costs a fraction of a call; small print of a large picture is not seen.

        Raises:
            WeightsError: the models cannot be fetched or loaded.
            ExpertError: the model failed.
        """
        import cv2

        small = min(1.0, LOOK_PX / max(image.width, image.height))
        size = (max(1, round(image.width * small)), max(1, round(image.height * small)))
        bgr = np.ascontiguousarray(image.pixels[..., ::-1])
        view = bgr if small == 1 else cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
        with self._lock:
            detector = self._ready().text_det
            usual = detector.limit_side_len, detector.limit_type
            try:
                detector.limit_side_len, detector.limit_type = LOOK_PX, "max"  # it would enlarge the view
                seen = _look(self._engine, view)
            except Exception as error:
                raise ExpertError(f"text in '{image.name}' could not be looked for: {_told(error)}") from error
            finally:
                detector.limit_side_len, detector.limit_type = usual
        return [_inside(Line(_grown(corners, view, bgr)).box, image) for corners in seen]

    def _ready(self) -> Any:
        if self._engine is None:
            self._engine = _load(self._settings)
        return self._engine


# Where there is text


def _find(engine: Any, bgr: np.ndarray, scale: float) -> list[Line]:
    """The lines of a picture [H, W, 3], in its pixels."""
    import cv2

    height, width = bgr.shape[:2]
    if max(height, width) <= TILE_PX:
        return joined([Line(corners) for corners in _look(engine, bgr)])
    small = WHOLE_PX / max(height, width)
    whole = cv2.resize(bgr, (max(1, round(width * small)), max(1, round(height * small))), interpolation=cv2.INTER_AREA)
    lines = joined([Line(_grown(corners, whole, bgr)) for corners in _look(engine, whole)])
    seen = bgr if scale == 1 else cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    pieces = []
    for x0, y0, x1, y1 in tiles(seen.shape[1], seen.shape[0]):
        for corners in _look(engine, seen[y0:y1, x0:x1]):
            top, bottom = corners[:, 1].min(), corners[:, 1].max()
            cut = (y0 > 0 and top < 3) or (y1 < seen.shape[0] and bottom > y1 - y0 - 4)
            pieces.append(Line(_grown(corners + np.array((x0, y0), np.float32), seen, bgr), bool(cut)))
    return combined(lines, joined(pieces))


def tiles(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    """Rectangles (x0, y0, x1, y1) that cover a picture, at most TILE_PX long; neighbours share OVERLAP_PX or more."""
    for y0, y1 in _spans(height):
        for x0, x1 in _spans(width):
            yield x0, y0, x1, y1


def _spans(length: int) -> list[tuple[int, int]]:
    count = max(1, -(-(length - OVERLAP_PX) // (TILE_PX - OVERLAP_PX)))
    size = -(-(length + (count - 1) * OVERLAP_PX) // count)
    return [(start, start + size) for start in (round(i * (length - size) / max(1, count - 1)) for i in range(count))]


def _look(engine: Any, bgr: np.ndarray) -> list[np.ndarray]:
    """The corners [4, 2] of each line in one view [H, W, 3]."""
    height, width = bgr.shape[:2]
    right, down = max(0, -(-height // SLIMMEST) - width), max(0, -(-width // SLIMMEST) - height)
    if right or down:
        bgr = np.pad(bgr, ((0, down), (0, right), (0, 0)), mode="edge")
    found = engine(np.ascontiguousarray(bgr), use_det=True, use_cls=False, use_rec=False)
    corners = [] if found.boxes is None else [np.asarray(box, np.float32) for box in found.boxes]
    most = np.array((width, height), np.float32)
    return [np.minimum(c, most) for c in corners if (c.min(0) < most).all()]


def _grown(corners: np.ndarray, view: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """Corners in pixels of a scaled view as corners in pixels of the picture."""
    return corners * np.array((picture.shape[1] / view.shape[1], picture.shape[0] / view.shape[0]), np.float32)


# What it says


@dataclass(frozen=True)
class Seen:
    """A line and what it says. `turn`: degrees clockwise by which its letters are turned, of 0, 90, 180 and 270."""

    line: Line
    reading: Reading
    turn: int

    @property
    def says(self) -> bool:
        """Whether something was read; what is read from texture scores low."""
        return bool(self.reading.text.strip()) and self.reading.score >= LEAST_SCORE


def _strip(bgr: np.ndarray, line: Line) -> np.ndarray | None:
    """A line cut out and made horizontal, perhaps upside down; None for one without area."""
    from rapidocr.utils.process_img import get_rotate_crop_image

    if min(np.ptp(line.corners, axis=0)) < 1:
        return None
    strip: np.ndarray = get_rotate_crop_image(bgr, line.corners.copy())
    return strip if min(strip.shape[:2]) else None


def _read(engine: Any, bgr: np.ndarray, line: Line) -> Seen:
    """What a line says, turned upright first where it stands on its head."""
    strip = _strip(bgr, line)
    if strip is None:
        return Seen(line, Reading(), 0)
    label, sure = engine.text_cls(strip).cls_res[0]
    over = "180" in label and sure > engine.text_cls.cls_thresh
    reading = read(engine, np.ascontiguousarray(strip[::-1, ::-1]) if over else strip)
    return Seen(line, reading, (0 if line.is_wide else 90) + (180 if over else 0))


def _upright(pieces: list[Seen], engine: Any, bgr: np.ndarray) -> list[Seen]:
    """The pieces, those read again that were taken to stand on their heads, or not to, against most of the page."""
    said = [piece for piece in pieces if piece.says]
    letters = {turn: sum(len(piece.reading.text) for piece in said if piece.turn == turn) for turn in (0, 90, 180, 270)}
    checked = []
    for piece in pieces:
        other = (piece.turn + 180) % 360
        strip = _strip(bgr, piece.line) if letters[other] > 2 * letters[piece.turn] else None
        if strip is not None:
            again = read(engine, np.ascontiguousarray(strip[::-1, ::-1]) if other >= 180 else strip)
            if again.score >= piece.reading.score - 0.1:
                piece = Seen(piece.line, again, other)
        checked.append(piece)
    return checked


def in_order(pieces: Sequence[Seen]) -> list[list[Seen]]:
    """The rows of a page in reading order, whichever way it is turned and however it is tilted."""
    if not pieces:
        return []
    letters: dict[int, int] = {}
    for piece in pieces:
        stands = not piece.line.is_wide and any(east_asian_width(c) in "WF" for c in piece.reading.text)
        way = 0 if stands and piece.turn == 90 else piece.turn  # a column of Chinese is no page on its side
        letters[way] = letters.get(way, 0) + len(piece.reading.text)
    turned = max(letters, key=lambda way: (letters[way], -way))
    back = {0: ((1, 0), (0, 1)), 90: ((0, -1), (1, 0)), 180: ((-1, 0), (0, -1)), 270: ((0, 1), (-1, 0))}[turned]
    upright = [Line(piece.line.corners @ np.array(back, np.float32)) for piece in pieces]
    if turned:
        upright = [Line(np.roll(line.corners, turned // 90, axis=0)) for line in upright]
    slopes = sorted(line.angle for line in upright if line.is_wide and abs(line.angle) < 0.8)
    angle = slopes[len(slopes) // 2] if slopes else 0.0
    return [
        [piece.of for piece in row]
        for row in rows(
            [Piece(line.seen_at(angle), piece.reading.text, piece) for line, piece in zip(upright, pieces, strict=True)]
        )
    ]


def _finding(row: list[Seen], media: Image, extra: dict[str, Any]) -> Finding:
    """One row of text; where it has several cells, `extra` says where each is."""
    cells = [(piece.reading.text.strip(), _inside(piece.line.box, media)) for piece in row]
    more = {"cells": [{"text": text, "box": list(box)} for text, box in cells]} if len(cells) > 1 else {}
    score = round(min(piece.reading.score for piece in row), 4)
    text = " ".join(text for text, _ in cells)
    return Finding(
        Reader.name, text, score, _around([box for _, box in cells]), source=media.name, extra={**extra, **more}
    )


def _told_unread(lines: Sequence[Line], media: Image, extra: dict[str, Any]) -> Finding:
    """What stands for all text in a script that the model has not got."""
    box = _around([_inside(line.box, media) for line in lines])
    told = {**extra, "unread": len(lines)}
    return Finding(Reader.name, UNREAD, LEAST_SCORE, box, source=media.name, extra=told)


def _around(boxes: Sequence[Box]) -> Box:
    x0, y0, x1, y1 = zip(*boxes, strict=True)
    return min(x0), min(y0), max(x1), max(y1)


def _inside(box: Box, image: Image) -> Box:
    x0, y0, x1, y1 = box
    return (
        round(max(x0, 0.0), 1),
        round(max(y0, 0.0), 1),
        round(min(x1, float(image.width)), 1),
        round(min(y1, float(image.height)), 1),
    )


def _load(settings: Settings) -> Any:
    """The engine, with its threads bounded and its log silent."""
    import logging
    import os

    import rapidocr

    with _tables_read_once():
        engine_of = rapidocr.RapidOCR  # imports the engine
    from rapidocr.utils.typings import ModelType, OCRVersion

    own = Path(rapidocr.__file__).parent / "models"
    params: dict[str, Any] = {
        "Global.log_level": "critical",
        "Global.max_side_len": 1_000_000,  # it would shrink larger pictures
        "EngineConfig.onnxruntime.intra_op_num_threads": min(cpu_threads(settings), os.cpu_count() or 1),
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        "EngineConfig.onnxruntime.use_cuda": _on_gpu(settings),
        "Cls.model_path": str(own / "ch_ppocr_mobile_v2.0_cls_mobile.onnx"),
    }
    if settings.ocr in MODELS:
        version, size = MODELS[settings.ocr]
        for part in ("Det", "Rec"):
            params[f"{part}.ocr_version"], params[f"{part}.model_type"] = OCRVersion(version), ModelType(size)
            file = own / f"{version}_{part.lower()}_{size}.onnx"
            if file.is_file():
                params[f"{part}.model_path"] = str(file)
        params["Global.model_root_dir"] = str(home() / "weights" / "rapidocr")
    else:
        folder = Path(settings.ocr).expanduser()
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise WeightsError(f"'{folder.name}' lacks {', '.join(missing)}; expected {' and '.join(FILES)}")
        params |= {"Det.model_path": str(folder / FILES[0]), "Rec.model_path": str(folder / FILES[1])}
    lacking = [part for part in ("Det", "Rec") if f"{part}.model_path" not in params]
    if lacking:
        from experts.weights.catalogue import offline

        if offline():
            raise WeightsError(
                f"the OCR model '{settings.ocr}' is not here, and DUET_OFFLINE is set; use 'pp-ocrv6-small'"
            )
    logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
    try:
        engine = engine_of(params=params)
        blank = np.full((64, 64, 3), 255, np.uint8)
        engine(blank, use_det=True, use_cls=False, use_rec=False)  # it loads its models at the first call
        engine(blank, use_det=False, use_cls=True, use_rec=True)
    except Exception as error:
        where = "fetched from the model hub" if lacking else "loaded"
        name = Path(settings.ocr).name
        raise WeightsError(
            f"the OCR model '{name}' could not be {where}: {_told(error)}; 'pp-ocrv6-small' needs no hub"
        ) from error
    return engine


@contextlib.contextmanager
def _tables_read_once() -> Iterator[None]:
    """Within, rapidocr's modules share one reading of its table of models, which takes half a second of CPU."""
    from omegaconf import OmegaConf

    read = OmegaConf.load
    OmegaConf.load = staticmethod(functools.cache(read))  # type: ignore[method-assign]
    try:
        yield
    finally:
        OmegaConf.load = staticmethod(read)  # type: ignore[method-assign]


def _on_gpu(settings: Settings) -> bool:
    import onnxruntime

    return settings.device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def _told(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return reason(lines[-1] if lines[0].startswith("Traceback") else lines[0])  # rapidocr hands on whole tracebacks
