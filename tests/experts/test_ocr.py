"""The reader: text drawn by hand is read back, in order, where it stands, at any size of letters and picture."""

from __future__ import annotations

import dataclasses
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as pillow
from PIL import ImageDraw, ImageFont

from experts import ocr
from experts.base import Expert, Finding
from experts.config import Settings
from experts.errors import ExpertError, MediaError, UnknownNameError, WeightsError
from experts.media import Audio, Image
from experts.ocr import Reader, Seen, in_order, tiles
from experts.text.lines import Line, combined, joined
from experts.text.reading import Reading

ROOT = Path(__file__).parents[2]
SETTINGS = Settings(device="cpu", threads=1)
Text = tuple[tuple[int, int], str, int]  # left and top px, the words, letter size px


def page(width: int, height: int, *texts: Text, ground: str = "white", ink: str = "black") -> pillow.Image:
    picture = pillow.new("RGB", (width, height), ground)
    draw = ImageDraw.Draw(picture)
    for at, text, size in texts:
        draw.text(at, text, fill=ink, font=ImageFont.load_default(size))
    return picture


def drawn(at: tuple[int, int], text: str, size: int) -> tuple[float, ...]:
    """The bounding box of what `page` draws."""
    return ImageDraw.Draw(pillow.new("RGB", (1, 1))).textbbox(at, text, font=ImageFont.load_default(size))


def opened(picture: pillow.Image) -> Image:
    return Image.open(np.array(picture), name="page")


def said(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings]


@pytest.fixture(scope="module")
def reader() -> Reader:
    return Reader(SETTINGS)


SIGN: tuple[Text, ...] = (
    ((420, 40), "Platform 4", 32),
    ((30, 40), "Old Harbor", 32),
    ((30, 140), "leaves at 10:45", 32),
)


def test_lines_are_read_in_order_with_their_boxes(reader: Reader) -> None:
    findings = reader(opened(page(640, 240, *SIGN)))
    assert said(findings) == ["Old Harbor Platform 4", "leaves at 10:45"]
    cells = findings[0].extra["cells"]
    assert [cell["text"] for cell in cells] == ["Old Harbor", "Platform 4"]
    boxes = [cells[0]["box"], cells[1]["box"], findings[1].box]
    for box, text in zip(boxes, (SIGN[1], SIGN[0], SIGN[2]), strict=True):
        assert box == pytest.approx(drawn(*text), abs=9)
    for finding in findings:
        assert finding.expert == "ocr" and finding.source == "page" and 0.5 <= finding.score <= 1
    assert findings[1].extra == {} and findings[0].box == pytest.approx((*boxes[0][:2], *boxes[1][2:]), abs=2)


def test_same_picture_is_read_the_same_again_and_from_many_threads(reader: Reader) -> None:
    image = opened(page(640, 240, *SIGN))
    alone = [finding.to_dict() for finding in reader(image)]
    fresh, together = Reader(SETTINGS), [[{}]] * 3

    def work(i: int) -> None:
        together[i] = [finding.to_dict() for finding in fresh(image)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [alone] * 3


@pytest.mark.parametrize(("ground", "ink"), [("black", "white"), ("navy", "yellow"), ("white", "red")])
def test_colours_do_not_matter(reader: Reader, ground: str, ink: str) -> None:
    assert said(reader(opened(page(400, 100, ((20, 30), "Exit only", 36), ground=ground, ink=ink)))) == ["Exit only"]


def test_gray_and_transparent_pictures_come_through_the_media_door(reader: Reader, tmp_path: Path) -> None:
    sign = page(400, 100, ((20, 30), "Exit only", 36))
    sign.convert("L").save(tmp_path / "gray.png")
    clear = pillow.new("RGBA", (400, 100), (0, 0, 0, 0))
    ImageDraw.Draw(clear).text((20, 30), "Exit only", fill=(0, 0, 0, 255), font=ImageFont.load_default(36))
    clear.save(tmp_path / "clear.png")
    for name in ("gray.png", "clear.png"):
        assert said(reader(Image.open(tmp_path / name))) == ["Exit only"]


def test_accents_and_signs_are_kept_as_they_stand(reader: Reader) -> None:
    spec = importlib.util.find_spec("matplotlib")  # brings DejaVu; Pillow's own font has no accents
    assert spec is not None and spec.origin is not None
    font = ImageFont.truetype(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", 40)
    picture = page(700, 200)
    ImageDraw.Draw(picture).text((20, 25), "Café à Zürich: 25 €", fill="black", font=font)
    ImageDraw.Draw(picture).text((20, 105), "El Niño, ¿qué tal?", fill="black", font=font)
    assert said(reader(opened(picture))) == ["Café à Zürich: 25 €", "El Niño, ¿qué tal?"]


def test_text_on_its_head_is_read(reader: Reader) -> None:
    upside_down = page(640, 240, *SIGN[2:]).rotate(180)
    assert said(reader(opened(upside_down))) == ["leaves at 10:45"]


def test_tilted_lines_are_read_in_order(reader: Reader) -> None:
    lines: list[Text] = [((60, 150 + 50 * i), f"Line {word} of the tilted page", 32) for i, word in enumerate(WORDS)]
    findings = reader(opened(page(800, 600, *lines).rotate(8, fillcolor="white", resample=pillow.Resampling.BICUBIC)))
    assert said(findings) == [text for _, text, _ in lines]


WORDS = ("one", "two", "three", "four")


def test_text_of_later_pages_is_read_once_and_says_its_page(reader: Reader) -> None:
    """Only the first page of a scan was looked at once, and nobody was told."""
    shown = opened(page(400, 100, ((20, 30), "Exit only", 36)))
    later = opened(page(400, 100, ((20, 30), "Old Harbor", 36)))
    findings = reader(dataclasses.replace(shown, frames=(shown, dataclasses.replace(later, name="page 3"))))
    assert said(findings) == ["Exit only", "Old Harbor"]
    assert findings[0].box and findings[1].box is None
    assert findings[1].extra["page"] == "page 3" and findings[1].source == shown.name


def test_picture_without_text_gives_nothing(reader: Reader) -> None:
    rng = np.random.default_rng(0)
    for pixels in (np.full((300, 400, 3), 255), rng.integers(0, 256, (300, 400, 3)), np.zeros((1, 1, 3))):
        assert reader(Image.open(pixels.astype(np.uint8))) == []


@pytest.mark.parametrize("size", [(1500, 20), (20, 1500), (3, 3), (1400, 2)])
def test_strips_are_looked_at_without_growing_huge(reader: Reader, size: tuple[int, int]) -> None:
    """A strip was enlarged to a short side of 736 px once, and its long side with it."""
    looked: list[tuple[int, ...]] = []

    def engine(view: np.ndarray, **_: object) -> Any:
        looked.append(view.shape)
        return type("Nothing", (), {"boxes": None})

    ocr._find(engine, np.full((size[1], size[0], 3), 255, np.uint8), 1.0)
    assert looked and all(max(shape[:2]) <= ocr.SLIMMEST * min(shape[:2]) + ocr.SLIMMEST for shape in looked)
    assert reader(Image.open(np.full((size[1], size[0], 3), 255, np.uint8))) == []


# Large pictures


def test_small_letters_of_a_large_picture_are_read_at_its_resolution(reader: Reader) -> None:
    """At one look, 24 px letters vanish from a white page of this size."""
    long_line = "the quick brown fox jumps over the lazy dog and runs on until the far edge of this wide page ends it"
    texts: list[Text] = [
        ((40, 60), "Small print in the corner", 24),
        ((900, 1120), long_line, 24),  # over a seam of the tiles, both ways
        ((2500, 2150), "Last words", 24),
    ]
    findings = reader(opened(page(3000, 2250, *texts)))
    assert said(findings) == [text for _, text, _ in texts]
    assert findings[2].box == pytest.approx(drawn(*texts[2]), abs=9)


def test_letters_larger_than_a_tile_and_small_ones_are_both_read(reader: Reader) -> None:
    findings = reader(opened(page(2400, 1500, ((200, 300), "OPEN", 700), ((1500, 1350), "from nine to five", 28))))
    assert said(findings) == ["OPEN", "from nine to five"]


def test_picture_beyond_the_bound_is_read_smaller_and_says_so(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ocr, "MOST_PIXELS", 1_000_000)
    (finding,) = reader(opened(page(2000, 2000, ((300, 900), "Half the scale", 90))))
    assert finding.text == "Half the scale" and finding.extra == {"scale": 0.5}
    assert finding.box == pytest.approx(drawn((300, 900), "Half the scale", 90), abs=40)


@pytest.mark.parametrize("size", [(1, 1), (1280, 1280), (1281, 700), (4000, 3000), (12_000, 90)])
def test_tiles_cover_the_picture_and_overlap(size: tuple[int, int]) -> None:
    covered = np.zeros((size[1], size[0]), np.uint8)
    lefts = set()
    for x0, y0, x1, y1 in tiles(*size):
        assert 0 <= x0 < x1 <= size[0] and 0 <= y0 < y1 <= size[1]
        assert max(x1 - x0, y1 - y0) <= ocr.TILE_PX
        covered[y0:y1, x0:x1] += 1
        lefts.add((x0, x1))
    assert covered.min() >= 1
    edges = sorted(lefts)
    assert all(a[1] - b[0] >= ocr.OVERLAP_PX for a, b in zip(edges, edges[1:], strict=False))


def line(x0: float, y0: float, x1: float, y1: float, cut: bool = False) -> Line:
    return Line(np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32), cut)


def boxes(lines: list[Line]) -> list[tuple[float, ...]]:
    return [line.box for line in lines]


def test_pieces_of_one_line_are_joined_and_neighbours_are_not() -> None:
    assert boxes(joined([line(0, 10, 110, 30), line(90, 11, 200, 31)])) == [(0, 10, 200, 31)]
    apart = [line(0, 10, 100, 30), line(120, 10, 200, 30), line(0, 35, 100, 55)]
    assert boxes(joined(apart)) == [(0, 10, 100, 30), (0, 35, 100, 55), (120, 10, 200, 30)]
    assert len(joined([line(0, 0, 20, 200), line(15, 0, 35, 200)])) == 2  # columns


def test_whole_stands_for_strokes_and_gives_way_to_rows() -> None:
    sign, stroke, small = line(0, 0, 1000, 400), line(100, 50, 200, 390), line(0, 500, 90, 520)
    assert boxes(combined([sign], [stroke, small])) == [(0, 0, 1000, 400), (0, 500, 90, 520)]
    blurred, sharp = line(0, 500, 96, 530), line(2, 505, 94, 525)
    assert boxes(combined([blurred], [sharp, line(40, 505, 50, 525, cut=True)])) == [sharp.box]
    glued, upper, lower = line(0, 0, 100, 44), line(2, 2, 98, 20), line(2, 24, 98, 42)
    assert boxes(combined([glued], [upper, lower])) == [(2, 2, 98, 20), (2, 24, 98, 42)]


def seen(box: tuple[float, float, float, float], text: str, turn: int = 0) -> Seen:
    return Seen(line(*box), Reading(text, 0.9), turn)


def order(*pieces: Seen) -> list[list[str]]:
    return [[piece.reading.text for piece in row] for row in in_order(list(pieces))]


def test_order_is_row_by_row() -> None:
    first, second, below = seen((0, 4, 40, 24), "a"), seen((60, 0, 100, 20), "b"), seen((0, 40, 100, 60), "c")
    assert order(below, second, first) == [["a", "b"], ["c"]]


PROSE = ["The mill stands by", "the old river and", "is open every day", "from May to October"]


def test_columns_of_prose_are_read_one_after_the_other_below_their_heading() -> None:
    left = [seen((0, 40 + 30 * i, 200, 60 + 30 * i), text) for i, text in enumerate(PROSE)]
    right = [seen((300, 40 + 30 * i, 500, 60 + 30 * i), text.upper()) for i, text in enumerate(PROSE)]
    heading = seen((40, 0, 460, 25), "All about the mill")
    expected = [["All about the mill"], *([text] for text in PROSE), *([text.upper()] for text in PROSE)]
    assert order(*right, *left, heading) == expected


def test_name_and_price_stay_in_one_row() -> None:
    names, prices = ["Tomato soup with fresh bread", "Roast fish with green beans"], ["4.50", "12.80"]
    pieces = [seen((0, 30 * i, 280, 20 + 30 * i), text) for i, text in enumerate(names)]
    pieces += [seen((400, 30 * i, 450, 20 + 30 * i), text) for i, text in enumerate(prices)]
    assert order(*pieces) == [[names[0], prices[0]], [names[1], prices[1]]]


def test_columns_of_vertical_script_go_from_right_to_left() -> None:
    pieces = [seen((100 * i, 10, 100 * i + 40, 300), text, 90) for i, text in enumerate(("三三三", "二二二", "一一一"))]
    assert order(*pieces) == [["一一一"], ["二二二"], ["三三三"]]


def test_turned_pages_are_read_in_order() -> None:
    over = [seen((100, 10, 300, 30), "last", 180), seen((100, 60, 300, 80), "first", 180)]
    assert order(*over) == [["first"], ["last"]]
    clockwise = [seen((10, 0, 30, 200), "last", 90), seen((60, 0, 80, 200), "first", 90)]
    assert order(*clockwise) == [["first"], ["last"]]
    counter = [seen((10, 0, 30, 200), "first", 270), seen((60, 0, 80, 200), "last", 270)]
    assert order(*counter) == [["first"], ["last"]]


def test_script_that_is_not_known_is_said_and_not_guessed(reader: Reader) -> None:
    spec = importlib.util.find_spec("matplotlib")  # brings DejaVu
    assert spec is not None and spec.origin is not None
    font = ImageFont.truetype(Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", 40)
    picture = page(700, 200)
    ImageDraw.Draw(picture).text((20, 25), "МОСКВА", fill="black", font=font)
    ImageDraw.Draw(picture).text((20, 105), "Закрыто до среды", fill="black", font=font)
    (finding,) = reader(opened(picture))
    assert finding.text == ocr.UNREAD and finding.extra == {"unread": 2}


def test_glance_says_where_text_is_and_reads_nothing(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reader.has_text(opened(page(64, 64))) == []
    usual = reader._engine.text_det.limit_side_len, reader._engine.text_det.limit_type
    monkeypatch.setattr(reader._engine, "text_rec", None)
    (box,) = reader.has_text(opened(page(1200, 300, ((60, 80), "Exit only", 90))))
    assert box == pytest.approx(drawn((60, 80), "Exit only", 90), abs=30)
    assert (reader._engine.text_det.limit_side_len, reader._engine.text_det.limit_type) == usual


# The engine keeps to itself


def test_first_use_prints_nothing_and_writes_nothing(tmp_path: Path) -> None:
    page(400, 100, ((20, 30), "Exit only", 36)).save(tmp_path / "sign.png")
    code = (
        "from experts.config import Settings; from experts.media import Image; from experts.ocr import Reader; "
        f"print([f.text for f in Reader(Settings(threads=1))(Image.open({str(tmp_path / 'sign.png')!r}))])"
    )
    work = tmp_path / "work"
    work.mkdir()
    own = {"DUET_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT), "HOME": str(tmp_path / "person")}
    run = subprocess.run([sys.executable, "-c", code], cwd=work, env=os.environ | own, capture_output=True, text=True)
    assert (run.stdout, run.stderr) == ("['Exit only']\n", "")
    assert {path.name for path in tmp_path.iterdir()} == {"sign.png", "work"} and list(work.iterdir()) == []


def test_threads_of_the_settings_reach_the_engine(reader: Reader) -> None:
    reader(opened(page(64, 64)))
    for part in (reader._engine.text_det, reader._engine.text_rec, reader._engine.text_cls):
        assert part.session.session.get_session_options().intra_op_num_threads == 1


# Other models, refusals


def test_models_of_ones_own_are_taken_from_a_folder(tmp_path: Path) -> None:
    import rapidocr

    models = Path(rapidocr.__file__).parent / "models"
    shutil.copy(models / "PP-OCRv6_det_small.onnx", tmp_path / "det.onnx")
    mine = Reader(Settings(ocr=str(tmp_path), device="cpu", threads=1))
    assert mine.weights == tmp_path.name
    sign = opened(page(400, 100, ((20, 30), "Exit only", 36)))
    with pytest.raises(WeightsError, match=f"'{tmp_path.name}' lacks rec.onnx; expected det.onnx and rec.onnx"):
        mine(sign)
    shutil.copy(models / "PP-OCRv6_rec_small.onnx", tmp_path / "rec.onnx")
    assert said(mine(sign)) == ["Exit only"]
    (tmp_path / "rec.onnx").write_bytes(b"junk")
    with pytest.raises(WeightsError, match="could not be loaded: ") as caught:
        Reader(Settings(ocr=str(tmp_path), device="cpu"))(sign)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_model_that_is_not_here_is_asked_of_its_hub_unless_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rapidocr.utils import download_file

    def unreachable(url: str, **_: object) -> None:
        assert "PP-OCRv6_det_medium" in url
        raise ConnectionError("no route to https://hub.example/x in /root/models\nmore")

    monkeypatch.setenv("DUET_HOME", str(tmp_path))
    monkeypatch.setattr(download_file.requests, "get", unreachable)
    settings = Settings(ocr="pp-ocrv6-medium", device="cpu")
    with pytest.raises(WeightsError, match="'pp-ocrv6-medium' could not be fetched from the model hub: ") as caught:
        Reader(settings)(opened(page(64, 64)))
    assert not any(part in str(caught.value) for part in ("\n", "https", "hub.example", "/root"))
    monkeypatch.setenv("DUET_OFFLINE", "1")
    with pytest.raises(WeightsError, match="is not here, and DUET_OFFLINE is set; use 'pp-ocrv6-small'"):
        Reader(settings)(opened(page(64, 64)))


def test_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="no OCR model named 'pp-ocrv6-smal'.*did you mean 'pp-ocrv6-small'"):
        Reader(Settings(ocr="pp-ocrv6-smal"))


def test_reader_is_an_expert_and_takes_only_images() -> None:
    reader = Reader()
    assert isinstance(reader, Expert) and reader.weights == "pp-ocrv6-small"
    with pytest.raises(MediaError, match="'audio' is of kind audio; ocr takes images"):
        reader(Audio.open(np.zeros(100, np.float32), rate_hz=16_000))


def test_failure_of_the_engine_is_one_line_and_no_silence(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    image = opened(page(400, 100, ((20, 30), "Exit only", 36)))
    reader(image)

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(
            "Traceback (most recent call last):\n  File '/opt/x.py'\nMemoryError: no room in /opt/lib/y.so"
        )

    with monkeypatch.context() as patch, pytest.raises(ExpertError) as caught:
        patch.setattr(reader._engine.text_det, "session", broken)
        reader(image)
    assert str(caught.value) == "text in 'page' could not be read: MemoryError: no room in y.so"
    assert said(reader(image)) == ["Exit only"]
    assert logging.getLogger("RapidOCR").level == logging.CRITICAL
