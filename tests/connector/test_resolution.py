"""Resolution: which part of a picture or a sound each view holds."""

from __future__ import annotations

import numpy as np
import pytest

from connector.encoders.resolution import Views, Windows
from experts.errors import MediaError
from experts.media import Audio, Image


def quarters(side: int) -> Image:
    """A picture whose four quarters have one colour each: 10, 60, 110, 160 from top left to bottom right."""
    pixels = np.zeros((side, side, 3), np.uint8)
    for row in range(2):
        for column in range(2):
            at = np.s_[row * side // 2 : (row + 1) * side // 2, column * side // 2 : (column + 1) * side // 2]
            pixels[at] = 10 + 50 * (2 * row + column)
    return Image.open(pixels)


def test_direct_scaling_sees_the_whole_picture_once() -> None:
    views = Views(16).cut(quarters(16))
    assert views.shape == (1, 16, 16, 3) and views.dtype == np.uint8
    assert np.array_equal(views[0], quarters(16).pixels)


def test_patch_division_gives_the_whole_then_each_quarter_row_by_row() -> None:
    views = Views(16, 2)
    cut = views.cut(quarters(32))
    assert len(cut) == views.count == 5
    for tile, value in enumerate((10, 60, 110, 160), 1):
        assert (cut[tile] == value).all()
    assert cut[0, 0, 0, 0] == 10 and cut[0, -1, -1, 0] == 160


def test_tiles_keep_detail_that_the_whole_view_loses() -> None:
    fine = np.indices((64, 64)).sum(0) % 2 * 255  # a chessboard of single pixels
    cut = Views(32, 2).cut(Image.open(np.repeat(fine[..., None], 3, 2).astype(np.uint8)))
    assert cut[1].std() > 120 > 10 > cut[0].std()


@pytest.mark.parametrize("shape", [(7, 90, 3), (90, 7, 3), (1, 1, 3)])
def test_a_picture_of_any_shape_becomes_square_views(shape: tuple[int, ...]) -> None:
    assert Views(8, 3).cut(Image.open(np.full(shape, 77, np.uint8))).shape == (10, 8, 8, 3)


def test_windows_cut_a_sound_in_order_and_fill_up_with_silence() -> None:
    samples = np.linspace(-1, 1, 40_000, dtype=np.float32)
    cut = Windows(1.0, 2).cut(Audio.open(samples, rate_hz=16_000))
    assert cut.shape == (3, 16_000)
    assert np.array_equal(cut.reshape(-1)[:40_000], samples)
    assert not cut.reshape(-1)[40_000:].any()


def test_a_sound_longer_than_its_windows_is_refused_not_cut() -> None:
    with pytest.raises(MediaError, match=r"lasts 3 s; 2 windows of 1 s hold 2 s"):
        Windows(1.0, 1).cut(Audio.open(np.zeros(48_000, np.float32), rate_hz=16_000))
