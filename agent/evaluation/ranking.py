"""Who serves better, from comparisons in pairs: win rates, Bradley-Terry strengths, and what may have tilted them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agent.evaluation.scoring.metrics import Share, share

OUTCOMES = ("a", "b", "tie", "bad")  # bad: neither answer was of use; in every ranking it weighs as a tie does
ELO = 400 / np.log(10)  # rating points a unit of natural log-odds: 400 points are odds of 10 to 1
AVERAGE = 1000.0  # the mean of all ratings
PRIOR_SD = 3.0  # of a strength in log-odds: keeps who won everything finite, and moves nothing that is well measured
RESAMPLES = 300  # of the bootstrap
SEED = 0


@dataclass(frozen=True)
class Comparison:
    """Two answers to one question, side by side, and which was preferred.

    `a` and `b` name the contestants by the side they stood on. Words are counted in the answers as they were shown;
    seconds are None where an answer was not awaited to its end.
    """

    a: str
    b: str
    outcome: str  # one of OUTCOMES
    kind: str = ""  # of the question
    media: str = ""
    a_words: int = 0
    b_words: int = 0
    a_seconds: float | None = None
    b_seconds: float | None = None

    @property
    def score(self) -> float:
        """1 where `a` won, 0 where `b` did, 0.5 for a tie and for both bad."""
        return {"a": 1.0, "b": 0.0}.get(self.outcome, 0.5)


@dataclass(frozen=True)
class Rating:
    """A strength in points (mean of all: 1000), with the 95 % interval of the bootstrap."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LengthControl:
    """Strengths at equal length, and how many points the longer answer gains a standard deviation of the difference."""

    ratings: dict[str, Rating]
    points: Rating
    wins: dict[str, float]  # the share that each would win against the average of the others, lengths being equal


def standings(comparisons: Sequence[Comparison], *, resamples: int = RESAMPLES) -> dict[str, Any]:
    """The whole leaderboard, JSON-ready.

    `contestants` by win rate; `ratings` where there are three or more of them, `length_controlled` wherever the lengths
    differ, `position` the test of the sides, `kinds` and `media` the win rates of each part.
    """
    rows = list(comparisons)
    names = contestants(rows)
    rates = {name: win_rate(rows, name) for name in names}
    table = sorted(names, key=lambda name: (-rates[name].value, -rates[name].n, name))
    controlled = length_controlled(rows, resamples=resamples)
    ratings = bradley_terry(rows, resamples=resamples) if len(names) > 2 else {}
    return {
        "battles": len(rows),
        "contestants": [_figures(rows, name, rates[name]) for name in table],
        "ratings": {name: _points(rating) for name, rating in ratings.items()},
        "length_controlled": None
        if controlled is None
        else {
            "ratings": {name: _points(rating) for name, rating in controlled.ratings.items()},
            "points_per_sd": _points(controlled.points),
            "wins": {name: round(value, 4) for name, value in controlled.wins.items()},
        },
        "position": position_bias(rows),
        "kinds": _parts(rows, "kind"),
        "media": _parts(rows, "media"),
    }


def contestants(comparisons: Iterable[Comparison]) -> list[str]:
    """All who were compared, in the order of the alphabet."""
    return sorted({name for row in comparisons for name in (row.a, row.b)})


def win_rate(comparisons: Iterable[Comparison], name: str) -> Share:
    """Wins of `name` among its comparisons that somebody won, with Wilson's 95 % interval."""
    return share(
        (row.a if row.outcome == "a" else row.b) == name
        for row in comparisons
        if row.outcome in ("a", "b") and name in (row.a, row.b)
    )


def position_bias(comparisons: Iterable[Comparison]) -> dict[str, Any]:
    """How often side A won where somebody did, and the probability of such a share if sides did not matter (exact).

    Sides are drawn at random, so without a bias it is a fair coin whoever is stronger.
    """
    from scipy.stats import binomtest

    found = share(row.outcome == "a" for row in comparisons if row.outcome in ("a", "b"))
    p_value = float(binomtest(found.hits, found.n).pvalue) if found.n else 1.0
    return {**_rounded(found), "p_value": float(f"{p_value:.4g}")}


# -- strengths --------------------------------------------------------------------------------------------------------


def bradley_terry(
    comparisons: Sequence[Comparison], *, resamples: int = RESAMPLES, prior_sd: float = PRIOR_SD, seed: int = SEED
) -> dict[str, Rating]:
    """Ratings by the model P(a beats b) = 1 / (1 + exp(s_b - s_a)) (Bradley and Terry 1952), best first.

    A tie counts as half a win for each side. The maximum of the likelihood times a normal prior is found by scipy; the
    interval is that of `resamples` bootstrap samples of the comparisons.
    """
    names, design, scores = _table(comparisons)
    if not names:
        return {}
    cells, counts = np.unique(np.column_stack([design, scores]), axis=0, return_counts=True)  # equal battles once
    design, scores = cells[:, :-1], cells[:, -1]
    best = _fit(design, scores, counts.astype(float), prior_sd)
    draws = [_fit(design, scores, weights, prior_sd) for weights in _samples(counts, resamples, seed)]
    return _ratings(names, best, draws)


def length_controlled(
    comparisons: Sequence[Comparison], *, resamples: int = RESAMPLES, prior_sd: float = PRIOR_SD, seed: int = SEED
) -> LengthControl | None:
    """The same with the difference in words as a covariate, in standard deviations; None where lengths never differ.

    As the style control of Chatbot Arena and length-controlled AlpacaEval (Dubois et al. 2024, arXiv 2404.04475) do:
    what length explains is taken out of the strengths.
    """
    if not comparisons:
        return None
    names, design, scores = _table(comparisons)
    longer = np.array([row.a_words - row.b_words for row in comparisons], float)
    spread = float(longer.std())
    if not spread:
        return None
    design, once = np.column_stack([design, longer / spread]), np.ones(len(scores), int)
    best = _fit(design, scores, once.astype(float), prior_sd)
    draws = [_fit(design, scores, weights, prior_sd) for weights in _samples(once, resamples, seed)]
    gains = [draw[-1] * ELO for draw in draws] or [best[-1] * ELO]
    low, high = np.percentile(gains, [2.5, 97.5])
    strengths = best[:-1]
    wins = {name: float(np.mean(_logistic(strengths[at] - np.delete(strengths, at)))) for at, name in enumerate(names)}
    ratings = _ratings(names, strengths, [draw[:-1] for draw in draws])
    return LengthControl(ratings, Rating(float(best[-1] * ELO), float(low), float(high)), wins)


def _table(comparisons: Sequence[Comparison]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names, the design [battles, names] with 1 for side A and -1 for side B, the scores [battles] of side A."""
    names = contestants(comparisons)
    index = {name: at for at, name in enumerate(names)}
    design = np.zeros((len(comparisons), len(names)))
    for row, comparison in enumerate(comparisons):
        design[row, index[comparison.a]] += 1
        design[row, index[comparison.b]] -= 1
    return names, design, np.array([comparison.score for comparison in comparisons])


def _fit(design: np.ndarray, scores: np.ndarray, weights: np.ndarray, prior_sd: float) -> np.ndarray:
    """Coefficients [columns] of the penalised logistic likelihood; those of contestants have mean 0."""
    from scipy.optimize import minimize

    def loss(beta: np.ndarray) -> tuple[float, np.ndarray]:
        odds = design @ beta
        value = np.sum(weights * (np.logaddexp(0, odds) - scores * odds)) + np.sum(beta**2) / (2 * prior_sd**2)
        return float(value), design.T @ (weights * (_logistic(odds) - scores)) + beta / prior_sd**2

    found = minimize(
        loss, np.zeros(design.shape[1]), jac=True, method="L-BFGS-B", options={"ftol": 1e-14, "gtol": 1e-8}
    )
    return found.x


def _samples(counts: np.ndarray, resamples: int, seed: int) -> Iterable[np.ndarray]:
    """How often each comparison, that was made `counts` times, is drawn in each bootstrap sample."""
    rng = np.random.default_rng(seed)
    return (rng.multinomial(counts.sum(), counts / counts.sum()).astype(float) for _ in range(resamples))


def _ratings(names: Sequence[str], best: np.ndarray, draws: Sequence[np.ndarray]) -> dict[str, Rating]:
    points = AVERAGE + ELO * best
    low, high = np.percentile(AVERAGE + ELO * np.array(draws), [2.5, 97.5], axis=0) if len(draws) else (points, points)
    order = sorted(range(len(names)), key=lambda at: (-points[at], names[at]))
    return {names[at]: Rating(float(points[at]), float(low[at]), float(high[at])) for at in order}


def _logistic(odds: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return expit(odds)


# -- parts ------------------------------------------------------------------------------------------------------------


def _figures(rows: Sequence[Comparison], name: str, rate: Share) -> dict[str, Any]:
    mine = [row for row in rows if name in (row.a, row.b)]
    seconds = sorted(
        value
        for row in mine
        for value in ((row.a_seconds,) if row.a == name else ()) + ((row.b_seconds,) if row.b == name else ())
        if value is not None
    )
    return {
        "name": name,
        "battles": len(mine),
        "win_rate": _rounded(rate),
        "wins": rate.hits,
        "losses": rate.n - rate.hits,
        "ties": sum(row.outcome == "tie" for row in mine),
        "both_bad": sum(row.outcome == "bad" for row in mine),
        "seconds": {
            "median": round(statistics.median(seconds), 3) if seconds else None,
            "p95": round(float(np.percentile(seconds, 95)), 3) if seconds else None,
        },
    }


def _parts(rows: Sequence[Comparison], field: str) -> dict[str, Any]:
    parts = sorted({getattr(row, field) for row in rows})
    return {
        part or "other": {
            name: _rounded(win_rate(some, name))
            for some in [[row for row in rows if getattr(row, field) == part]]
            for name in contestants(some)
        }
        for part in parts
    }


def _points(rating: Rating) -> dict[str, float]:
    return {key: round(value, 1) for key, value in asdict(rating).items()}


def _rounded(found: Share) -> dict[str, Any]:
    return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(found).items()}
