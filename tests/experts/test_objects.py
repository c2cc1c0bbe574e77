"""What helps the detector: tiles and merged boxes, second opinions on boxes, colours of an object's own pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from experts.objects.colouring import colours_of, object_pixels
from experts.objects.opinions import MOST, asked_about, cut, second_looks, settled
from experts.objects.tiles import MOST_TILES, Seen, merged, tiles, whole

SKY, RED, BLUE, ORANGE, BROWN = (150, 200, 250), (220, 20, 30), (20, 60, 220), (255, 140, 0), (120, 70, 30)


def disc(colour: tuple[int, int, int], ground: tuple[int, int, int] = SKY) -> np.ndarray:
    pixels = np.full((120, 160, 3), ground, np.uint8)
    cv2.circle(pixels, (80, 60), 40, colour, -1)
    return pixels


# Tiles


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (720, 1280), (4000, 500), (500, 4000), (3000, 2990)])
def test_tiles_cover_a_large_picture_and_overlap(width: int, height: int) -> None:
    covered = np.zeros((height, width), int)
    parts = tiles(width, height, 416)
    for x0, y0, x1, y1 in parts:
        assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
        covered[int(y0) : int(y1), int(x0) : int(x1)] += 1
    assert covered.min() >= 1 and covered.max() >= 2 and len(parts) <= MOST_TILES


def test_small_picture_has_no_tiles() -> None:
    assert tiles(500, 400, 416) == []


def test_box_cut_by_a_tiles_inner_edge_is_left_out_and_one_at_the_pictures_edge_stays() -> None:
    tile, size = (0, 0, 600, 500), (1000, 500)
    left, cut_off, unsure = (
        Seen("dog", 0.9, (0, 100, 200, 300)), Seen("dog", 0.9, (400, 100, 599, 300)), Seen("dog", 0.4, (9, 9, 99, 99)),
    )  # fmt: skip
    assert whole([left, cut_off, unsure], tile, size) == [left]


def test_boxes_of_one_thing_become_one_and_neighbours_stay() -> None:
    first, again = Seen("bicycle", 0.8, (0, 0, 100, 100)), Seen("bicycle", 0.5, (10, 5, 105, 100))
    part, neighbour = Seen("bicycle", 0.6, (20, 20, 60, 60)), Seen("bicycle", 0.7, (110, 0, 210, 100))
    assert merged([again, first, part, neighbour]) == [first, neighbour]


def test_what_a_tile_shows_is_added_to_the_whole_and_replaces_nothing() -> None:
    large, small = Seen("dog", 0.5, (0, 0, 400, 400)), Seen("dog", 0.9, (600, 300, 640, 340))
    assert set(merged([large], [small, Seen("cat", 0.95, (0, 0, 395, 400))])) == {large, small}


# Second opinions


@pytest.mark.parametrize(
    ("one", "tags", "name", "like"),
    [
        (Seen("dog", 0.6, (0, 0, 9, 9)), [("beagle", 0.5)], "dog", "beagle"),
        (Seen("dog", 0.6, (0, 0, 9, 9)), [("beagle", 0.2)], "dog", ""),
        (Seen("cow", 0.5, (0, 0, 9, 9)), [("sorrel", 0.8)], "horse", "sorrel"),
        (Seen("clock", 0.4, (0, 0, 9, 9)), [("ping-pong ball", 0.7)], "ping-pong ball", ""),
        (Seen("clock", 0.9, (0, 0, 9, 9)), [("ping-pong ball", 0.7)], "clock", ""),
        (Seen("clock", 0.4, (0, 0, 9, 9)), [], "clock", ""),
    ],
)
def test_second_opinion_names_the_kind_and_replaces_only_an_unsure_name(
    one: Seen, tags: list[tuple[str, float]], name: str, like: str
) -> None:
    found, said = settled(one, tags)
    assert (found.name, said, found.box) == (name, like, one.box)


def test_only_boxes_that_show_something_are_asked_about_and_not_too_many() -> None:
    size = (1000, 1000)
    seen = [
        Seen("person", 0.9, (0, 0, 900, 900)), Seen("bird", 0.9, (0, 0, 20, 20)),
        *(Seen("cup", 0.9, (n, 0, n + 100, 100)) for n in range(MOST + 3)),
    ]  # fmt: skip
    asked = asked_about(seen, size)
    assert len(asked) == MOST and not {0, 1} & set(asked)
    looked: list[tuple[int, int, int, int]] = []

    def tag(part: tuple[int, int, int, int]) -> list[tuple[str, float]]:
        looked.append(part)
        return []

    assert [one for one, _ in second_looks(seen, size, tag)] == seen
    assert looked == [cut(seen[n].box, size) for n in asked]


def test_a_cut_lies_within_the_picture_and_is_never_empty() -> None:
    assert cut((0, 0, 100, 50), (100, 50)) == (0, 0, 100, 50)
    x0, y0, x1, y1 = cut((99.9, 49.9, 100, 50), (100, 50))
    assert 0 <= x0 < x1 <= 100 and 0 <= y0 < y1 <= 50


# Colours


def test_object_is_cut_out_of_what_is_around_it() -> None:
    inner, own = object_pixels(disc(RED), (40, 20, 120, 100))
    assert 0.6 < own.mean() < 0.95  # pi / 4 of its box
    assert (inner[own] == RED).all(-1).mean() > 0.95


def test_colour_is_the_objects_and_not_its_boxs() -> None:
    pixels = disc(RED)
    pixels[20:100, 40:120][(pixels[20:100, 40:120] == RED).all(-1)] = RED
    assert colours_of("frisbee", pixels, (40, 20, 120, 100)) == {"colour": "red"}
    assert colours_of("frisbee", np.full((90, 90, 3), BLUE, np.uint8), (0, 0, 90, 90)) == {"colour": "blue"}


def test_shade_of_a_hue_is_that_hue_and_brown_alone_is_brown() -> None:
    shaded = disc(ORANGE)
    shaded[60:, :][(shaded[60:, :] == ORANGE).all(-1)] = BROWN
    assert colours_of("orange", shaded, (40, 20, 120, 100)) == {"colour": "orange"}
    assert colours_of("bear", disc(BROWN), (40, 20, 120, 100)) == {"colour": "brown"}


def test_two_colours_are_both_told() -> None:
    pixels = disc(BLUE, (90, 150, 40))
    pixels[60:, :][(pixels[60:, :] == BLUE).all(-1)] = (255, 255, 255)
    assert colours_of("bus", pixels, (40, 20, 120, 100)) == {"colour": "blue and white"}


def test_a_persons_clothes_are_told_from_the_middle_of_the_box() -> None:
    pixels = np.full((400, 300, 3), SKY, np.uint8)
    pixels[40:90, 130:170] = (230, 190, 160)  # head
    pixels[90:220, 110:190] = RED
    pixels[220:360, 115:185] = (10, 10, 10)
    assert colours_of("person", pixels, (110, 40, 190, 360)) == {"clothes": "red", "legs": "black"}


@pytest.mark.parametrize("box", [(0, 0, 1, 1), (159.9, 119.9, 160, 120), (-5, -5, 3, 200), (0, 0, 160, 120)])
def test_any_box_has_pixels(box: tuple[float, float, float, float]) -> None:
    inner, own = object_pixels(disc(RED), box)
    assert inner.shape[:2] == own.shape and own.any()
