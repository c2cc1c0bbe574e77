"""The assignment problem: pairs that are worth most in sum, as scipy finds them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from experts.assignment import assigned


@pytest.mark.parametrize("grid", [0, 3])  # worths on a grid tie
def test_pairs_are_worth_as_much_as_those_of_scipy(grid: int) -> None:
    rng = np.random.default_rng(grid)
    for _ in range(300):
        worth = rng.random(rng.integers(0, 8, 2))
        worth = np.round(worth * grid) / grid if grid else worth
        pairs = assigned(worth)
        rows, columns = linear_sum_assignment(worth, maximize=True)
        assert len({row for row, _ in pairs}) == len({column for _, column in pairs}) == len(rows)
        assert sum(worth[pair] for pair in pairs) == pytest.approx(worth[rows, columns].sum())
        assert grid or pairs == list(zip(rows.tolist(), columns.tolist(), strict=True))


def test_best_pairs_are_not_the_greedy_ones() -> None:
    assert assigned(np.array([[0.9, 0.8], [0.85, 0.1]])) == [(0, 1), (1, 0)]
