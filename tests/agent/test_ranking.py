"""Rankings: win rates, Bradley-Terry against known strengths and another optimiser, length and position."""

from __future__ import annotations

import math

import numpy as np
import pytest

from agent.evaluation.ranking import (
    AVERAGE,
    ELO,
    Comparison,
    bradley_terry,
    length_controlled,
    position_bias,
    standings,
    win_rate,
)


def battles(a: str, b: str, outcomes: str) -> list[Comparison]:
    """One comparison a letter: a, b, t(ie), x (both bad)."""
    return [Comparison(a, b, {"t": "tie", "x": "bad"}.get(letter, letter)) for letter in outcomes]


def played(strengths: dict[str, float], n: int, seed: int, *, length: float = 0.0) -> list[Comparison]:
    """Battles at random sides whose outcomes follow the model; `length` is what 10 words more add to the log-odds."""
    rng = np.random.default_rng(seed)
    names, made = sorted(strengths), []
    for _ in range(n):
        a, b = rng.choice(names, 2, replace=False)
        words = rng.integers(1, 40, 2)
        odds = strengths[a] - strengths[b] + length * (words[0] - words[1]) / 10
        won = rng.random() < 1 / (1 + math.exp(-odds))
        made.append(Comparison(str(a), str(b), "a" if won else "b", a_words=int(words[0]), b_words=int(words[1])))
    return made


def minorise_maximise(rows: list[Comparison], rounds: int = 20_000) -> dict[str, float]:
    """Bradley-Terry's maximum likelihood by Hunter's MM algorithm (2004), which shares nothing with ours."""
    names = sorted({name for row in rows for name in (row.a, row.b)})
    wins = dict.fromkeys(names, 0.0)
    met: dict[tuple[str, str], int] = {}
    for row in rows:
        wins[row.a] += row.score
        wins[row.b] += 1 - row.score
        met[row.a, row.b] = met.get((row.a, row.b), 0) + 1
    worth = dict.fromkeys(names, 1.0)
    for _ in range(rounds):
        below = dict.fromkeys(names, 0.0)
        for (a, b), n in met.items():
            for name in (a, b):
                below[name] += n / (worth[a] + worth[b])
        worth = {name: wins[name] / below[name] for name in names}
        scale = math.exp(sum(math.log(value) for value in worth.values()) / len(worth))
        worth = {name: value / scale for name, value in worth.items()}
    return {name: AVERAGE + ELO * math.log(value) for name, value in worth.items()}


def test_a_win_rate_counts_only_battles_that_somebody_won() -> None:
    rows = battles("x", "y", "aaabttx") + battles("y", "x", "b")
    rate = win_rate(rows, "x")
    assert (rate.hits, rate.n) == (4, 5)
    # Wilson's interval for 4 of 5 by its formula
    z, p, n = 1.959963985, 0.8, 5
    centre, half = (
        (p + z * z / (2 * n)) / (1 + z * z / n),
        z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n),
    )
    assert (rate.low, rate.high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert win_rate(rows, "y").hits == 1


def test_odds_of_ten_to_one_are_400_points() -> None:
    found = bradley_terry(battles("x", "y", "a" * 10 + "b"), prior_sd=1e6, resamples=0)
    assert found["x"].value - found["y"].value == pytest.approx(400, abs=0.01)
    assert found["x"].value + found["y"].value == pytest.approx(2 * AVERAGE)


def test_ties_and_both_bad_are_half_a_win_each() -> None:
    found = bradley_terry(battles("x", "y", "ttxx"), resamples=0)
    assert found["x"].value == found["y"].value == AVERAGE
    tied = bradley_terry(battles("x", "y", "aatt"), prior_sd=1e6, resamples=0)
    won = bradley_terry(battles("x", "y", "aaab"), prior_sd=1e6, resamples=0)
    assert tied["x"].value == pytest.approx(won["x"].value)


def test_ratings_equal_those_of_an_independent_optimiser() -> None:
    rows = played({"w": 0.9, "x": 0.3, "y": -0.2, "z": -1.0}, 400, seed=1) + battles("w", "z", "ttttxb")
    ours = bradley_terry(rows, prior_sd=1e6, resamples=0)
    for name, value in minorise_maximise(rows).items():
        assert ours[name].value == pytest.approx(value, abs=0.02)


def test_known_strengths_lie_in_their_intervals() -> None:
    strengths = {"x": 0.8, "y": 0.0, "z": -0.8}
    found = bradley_terry(played(strengths, 3000, seed=2), resamples=200)
    assert list(found) == ["x", "y", "z"]
    for name, strength in strengths.items():
        assert found[name].low <= AVERAGE + ELO * strength <= found[name].high
        assert found[name].high - found[name].low < 60


def test_who_never_lost_has_a_finite_rating() -> None:
    found = bradley_terry(battles("x", "y", "aaaa"), resamples=20)
    assert all(math.isfinite(number) for rating in found.values() for number in (rating.value, rating.low, rating.high))
    assert found["x"].value > found["y"].value + 100


def test_sides_do_not_change_a_rating() -> None:
    rows = played({"x": 0.5, "y": 0.0, "z": -0.5}, 200, seed=3)
    turned = [Comparison(row.b, row.a, {"a": "b", "b": "a"}[row.outcome]) for row in rows]
    first, second = (bradley_terry(some, resamples=0) for some in (rows, turned))
    assert all(first[name].value == pytest.approx(second[name].value, abs=1e-3) for name in first)


def test_length_is_taken_out_of_the_strengths() -> None:
    """Equal contestants of which one talks more: it wins more, and is no stronger at equal length."""
    rng = np.random.default_rng(4)
    rows = []
    for _ in range(2000):
        words = int(rng.normal(30, 8)), int(rng.normal(18, 8))
        won = rng.random() < 1 / (1 + math.exp(-0.1 * (words[0] - words[1])))
        rows.append(Comparison("long", "short", "a" if won else "b", a_words=words[0], b_words=words[1]))
    assert win_rate(rows, "long").value > 0.65
    found = length_controlled(rows, resamples=100)
    assert found is not None
    assert found.ratings["long"].low <= AVERAGE <= found.ratings["long"].high
    assert abs(found.wins["long"] - 0.5) < 0.07
    assert found.points.low > 0


def test_equal_lengths_have_nothing_to_control() -> None:
    assert length_controlled(battles("x", "y", "aab")) is None


def test_a_preference_for_the_left_is_found_and_none_is_not_invented() -> None:
    tilted = position_bias(battles("x", "y", "a" * 15 + "b" * 2 + "tttt"))
    assert (tilted["hits"], tilted["n"]) == (15, 17)
    assert tilted["p_value"] == pytest.approx(2 * (17 * 16 / 2 + 17 + 1) / 2**17, rel=1e-3)  # both tails, by hand
    assert position_bias(battles("x", "y", "abab"))["p_value"] == 1.0
    assert position_bias([])["p_value"] == 1.0


def test_standings_have_every_part() -> None:
    rows = [
        Comparison("experts", "connector", "a", "count", "image", 3, 5, 1.0, 2.0),
        Comparison("connector", "experts", "b", "count", "image", 4, 2, 2.5, 3.0),
        Comparison("experts", "connector", "b", "colour", "video", 4, 2, None, 1.0),
        Comparison("experts", "connector", "bad", "colour", "video", 4, 2, 2.0, None),
    ]
    found = standings(rows, resamples=20)
    first = found["contestants"][0]
    assert (first["name"], first["wins"], first["losses"], first["both_bad"], first["battles"]) == (
        "experts",
        2,
        1,
        1,
        4,
    )
    assert first["seconds"] == {"median": 2.0, "p95": pytest.approx(2.9)}
    assert found["ratings"] == {}  # two contestants: their win rate says it all
    assert found["kinds"]["count"]["experts"]["value"] == 1.0
    assert found["media"]["video"]["connector"]["n"] == 1
    assert found["position"]["n"] == 3
    three = standings([*rows, Comparison("auto", "experts", "tie")], resamples=20)
    assert set(three["ratings"]) == {"auto", "connector", "experts"}


def test_standings_of_nothing_are_empty() -> None:
    assert standings([])["contestants"] == []
