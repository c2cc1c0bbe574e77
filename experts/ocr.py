"""Reader: an image in, the text in it out, one finding a line, by PP-OCR through rapidocr.

Text is looked for at the original resolution. The network that finds lines loses text on large, mostly empty pictures
(24 px letters vanish from a white one of 3000 x 2250 px), so a large picture is looked at in overlapping tiles, and
once as a whole for letters that are larger than a tile. Each line is then read from the original pixels.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experts.base import Finding
from experts.config import Settings, home
from experts.errors import ExpertError, MediaError, UnknownNameError, WeightsError
from experts.media import Image, Media
from experts.threads import cpu_threads
from experts.weights.fetch import reason

LEAST_SCORE = 0.5  # of a line, the mean over its characters; what is read from texture lies below
TILE_PX, OVERLAP_PX = 1280, 192  # a tile's longest side, and what neighbours share
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


Box = tuple[float, float, float, float]


@dataclass(frozen=True, eq=False)
class Line:
    """Where a line of text is: its corners [4, 2] px, clockwise from the top left of the text.

    `cut`: the upper or lower edge of a tile may have cut its letters; a line cut in its length is joined again.
    """

    corners: np.ndarray
    cut: bool = False

    @property
    def box(self) -> Box:
        """The bounding rectangle (x0, y0, x1, y1)."""
        return self.seen_at(0.0)

    @property
    def angle(self) -> float:
        """The slope of its upper edge in radians; 0 for a slope under a tenth of a degree."""
        run, rise = self.corners[1] - self.corners[0]
        angle = float(np.arctan2(rise, run))
        return angle if abs(angle) > 0.002 else 0.0

    @property
    def is_wide(self) -> bool:
        """Whether it is a row of text and not a column."""
        x0, y0, x1, y1 = self.seen_at(self.angle)
        return x1 - x0 >= 0.8 * (y1 - y0)

    def seen_at(self, angle: float) -> Box:
        """The bounding rectangle in a frame that is turned by `angle`."""
        corners = self.corners @ _turn(angle)
        (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
        return float(x0), float(y0), float(x1), float(y1)


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)


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
        """One finding a line, in reading order: row by row, from left to right; [] where there is no text.

        Raises:
            MediaError: not an image.
            WeightsError: the models cannot be fetched or loaded.
            ExpertError: a model failed.
        """
        if not isinstance(media, Image):
            raise MediaError(f"'{media.name}' is of kind {media.kind}; ocr takes images: pass an image or a frame")
        bgr = np.ascontiguousarray(media.pixels[..., ::-1])  # rapidocr takes BGR
        scale = min(1.0, (MOST_PIXELS / (media.width * media.height)) ** 0.5)
        extra = {"scale": round(scale, 3)} if scale < 1 else {}
        with self._lock:
            if self._engine is None:
                self._engine = _load(self._settings)
            try:
                read = [(line, *_read(self._engine, bgr, line)) for line in in_order(_find(self._engine, bgr, scale))]
            except Exception as error:  # rapidocr and the engines below it raise whatever they like
                raise ExpertError(f"text in '{media.name}' could not be read: {_told(error)}") from error
        return [
            Finding(self.name, text, round(score, 4), _inside(line.box, media), source=media.name, extra=dict(extra))
            for line, text, score in read
            if text.strip() and score >= LEAST_SCORE
        ]


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


def joined(pieces: Sequence[Line]) -> list[Line]:
    """What was seen in parts, by two tiles or of letters too large for one look, as whole lines, each once.

    Two pieces are of the same line if they have the same slope, share most of their height and touch.
    """
    lines: list[Line] = []
    for piece in sorted(pieces, key=lambda line: line.box[0]):
        for line in list(lines):
            if _same_line(line, piece):
                lines.remove(line)
                piece = _union(line, piece)
        lines.append(piece)
    return lines


def _same_line(one: Line, other: Line) -> bool:
    if not (one.is_wide and other.is_wide) or abs(one.angle - other.angle) > 0.1:
        return False
    a, b = (line.seen_at(other.angle) for line in (one, other))
    return _same_row(a, b) and min(a[2], b[2]) >= max(a[0], b[0])


def _union(one: Line, other: Line) -> Line:
    """The line that both are pieces of: the one that holds the other, or the rectangle around both."""
    angle = max((one, other), key=lambda line: float(np.ptp(line.corners[:, 0]))).angle
    a, b = one.seen_at(angle), other.seen_at(angle)
    if _share(b, a) > 0.9 or _share(a, b) > 0.9:
        return one if _share(b, a) > 0.9 else other
    x0, y0, x1, y1 = min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
    corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32) @ _turn(-angle)
    return Line(corners, one.cut and other.cut)


def combined(whole: Sequence[Line], detailed: Sequence[Line]) -> list[Line]:
    """The lines seen in the whole picture and those seen in its tiles, each once.

    A line of the whole gives way to a row of the tiles that fills it, which is seen more sharply, and to several rows,
    which the smaller scale glued together. Otherwise it stands for what lies in it: of letters larger than a tile, a
    tile sees strokes. What the tiles saw besides is added.
    """
    kept: list[Line] = []
    rest = list(detailed)
    for line in whole:
        inside = [piece for piece in rest if _share(piece.box, line.box) > 0.5]
        rows: list[Line] = []
        for piece in inside:
            is_long = piece.box[2] - piece.box[0] > 0.5 * (line.box[2] - line.box[0])
            if is_long and not piece.cut and not any(_same_row(piece.box, row.box) for row in rows):
                rows.append(piece)
        if len(rows) > 1:
            continue
        rest = [piece for piece in rest if piece not in inside]
        kept.append(rows[0] if rows and _fills(rows[0].box, line.box) else line)
    return joined(kept + rest)


def in_order(lines: Sequence[Line]) -> list[Line]:
    """Row by row from the top, each from left to right; lines are of one row if they share most of their height.

    Rows may be tilted: they are told apart at the slope that most lines have.
    """
    slopes = sorted(line.angle for line in lines if line.is_wide and abs(line.angle) < 0.8)
    angle = slopes[len(slopes) // 2] if slopes else 0.0
    rows: list[list[tuple[Box, Line]]] = []
    for box, line in sorted(
        ((line.seen_at(angle), line) for line in lines), key=lambda seen: (seen[0][1] + seen[0][3], seen[0][0])
    ):
        if rows and _same_row(rows[-1][0][0], box):
            rows[-1].append((box, line))
        else:
            rows.append([(box, line)])
    return [line for row in rows for _, line in sorted(row, key=lambda seen: seen[0][0])]


def _height(box: Box) -> float:
    return box[3] - box[1]


def _same_row(a: Box, b: Box) -> bool:
    shared = min(a[3], b[3]) - max(a[1], b[1])
    return shared > 0.6 * min(_height(a), _height(b)) and max(_height(a), _height(b)) < 2 * min(_height(a), _height(b))


def _fills(a: Box, b: Box) -> bool:
    return a[2] - a[0] > 0.85 * (b[2] - b[0]) and _height(a) > 0.5 * _height(b)


def _share(a: Box, b: Box) -> float:
    """How much of `a` lies in `b`."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    area = (a[2] - a[0]) * (a[3] - a[1])
    return max(width, 0.0) * max(height, 0.0) / area if area > 0 else 0.0


# What it says


def _read(engine: Any, bgr: np.ndarray, line: Line) -> tuple[str, float]:
    """The text of a line and its score, turned upright first where it stands on its head."""
    from rapidocr.utils.process_img import get_rotate_crop_image

    width, height = np.ptp(line.corners, axis=0)
    if min(width, height) < 1:
        return "", 0.0
    strip = get_rotate_crop_image(bgr, line.corners.copy())
    said = engine(strip, use_det=False, use_cls=True, use_rec=True)
    if not getattr(said, "txts", None):
        return "", 0.0
    return str(said.txts[0]), float(said.scores[0])


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
