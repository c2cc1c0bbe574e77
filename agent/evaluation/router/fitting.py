"""Fits the calibrated policy to rows of both routes: two logistic scales, the connector's usual confidences, a price.

The price is the lowest at which the connector is asked on at most a given share of the questions that the experts
answer rightly. It is found by cross-validation: every question is decided by scales that were fitted without any
question about its medium, so what is reported for the split is no self-praise.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from agent.answering.fallback.calibration import Calibrated, Scale, log_odds, offset_keys
from agent.answering.fallback.policy import Case
from agent.evaluation.router.replay import Pair, choose
from experts.errors import InputError

LEAST_PAIRS = 40  # below which nothing can be said about kinds of questions
NEARLY_ALL = 0.98
FOLDS = 5
PULL = {"kind": 0.5, "/coverage": 0.5, "kind/coverage": 2.0, "slope": 2.0, "all": 0.05}  # ridge: towards what is common
QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the connector's confidences that are kept
LEAST_OF_KIND = 10  # questions from which on a kind has its own usual confidences
PRICES = tuple(round(0.02 * step, 2) for step in range(101))  # 0 to 2; at 2 hardly anything is asked


def fit(pairs: Sequence[Pair], *, most_asked: float = 0.45, about: dict[str, Any] | None = None) -> Calibrated:
    """The policy for what `pairs` show; `most_asked`: of the questions that experts answer rightly.

    Raises:
        InputError: there are too few pairs, or `most_asked` is no share.
    """
    if not 0 < most_asked <= 1:
        raise InputError(f"the most that may be asked is a share above 0 and up to 1, not {most_asked:g}")
    weighed = weighable(pairs)
    if len(weighed) < LEAST_PAIRS:
        raise InputError(
            f"{len(weighed)} questions about pictures are too few to calibrate on; give at least {LEAST_PAIRS}, better "
            "1,000, answered by both routes"
        )
    without_price = scales(weighed)
    folds = cross_fitted(pairs)
    # a higher price never asks more, so the first that keeps to the limit is found by halving
    first = bisect.bisect_left(PRICES, True, key=lambda price: _asked(pairs, folds, price) <= most_asked)
    price = PRICES[min(first, len(PRICES) - 1)]
    return dataclasses.replace(without_price, price=price, most_tones=_most_tones(pairs), about=about or {})


def _most_tones(pairs: Sequence[Pair]) -> float | None:
    """The tones that nearly all pictures of the pairs stay below; None where rows do not tell."""
    known = [pair.case.tones for pair in pairs if pair.case.tones is not None]
    return round(float(np.quantile(known, NEARLY_ALL)), 2) if known else None


def weighable(pairs: Sequence[Pair]) -> list[Pair]:
    """The pairs that measurement decides: none where an expert failed or was silent, or there is nothing to see."""
    return [p for p in pairs if not (p.case.error or p.case.failed or p.case.coverage in ("nothing", "sound"))]


def scales(pairs: Sequence[Pair]) -> Calibrated:
    """Scales and usual confidences of weighable pairs, without a price."""
    answered = [p for p in pairs if not p.connector.error]
    own = fit_scale([p.case for p in pairs], [bool(p.experts.correct) for p in pairs])
    cases = [dataclasses.replace(p.case, confidence=p.connector.confidence or None) for p in answered]
    other = fit_scale(cases, [bool(p.connector.correct) for p in answered])
    spread = {"": _usual(answered)}
    for kind in sorted({p.case.kind for p in answered}):
        of_kind = [p for p in answered if p.case.kind == kind]
        if len(of_kind) >= LEAST_OF_KIND:
            spread[kind] = _usual(of_kind)
    return Calibrated(experts=own, connector=other, spread=spread)


def cross_fitted(pairs: Sequence[Pair], folds: int = FOLDS) -> list[Calibrated]:
    """For each pair a policy fitted on the pairs of other folds; all questions about a medium share a fold."""
    number = [int(hashlib.sha256(pair.experts.medium.encode()).hexdigest(), 16) % folds for pair in pairs]
    policies = {}
    for fold in set(number):
        rest = weighable([pair for pair, own in zip(pairs, number, strict=True) if own != fold])
        policies[fold] = scales(rest) if rest else Calibrated()
    return [policies[fold] for fold in number]


def _asked(pairs: Sequence[Pair], policies: Sequence[Calibrated], price: float) -> float:
    """The share of the questions experts answer rightly that the connector would be asked."""
    known: dict[int, Calibrated] = {}
    easy = []
    for pair, policy in zip(pairs, policies, strict=True):
        priced = known.setdefault(id(policy), dataclasses.replace(policy, price=price))
        if pair.experts.correct:
            easy.append(choose(pair, priced).asked)
    return sum(easy) / len(easy) if easy else 0.0


def _usual(pairs: Sequence[Pair]) -> tuple[float, ...]:
    if not pairs:
        return (0.5,)
    values = np.quantile([pair.connector.confidence for pair in pairs], QUANTILES)
    return tuple(round(float(value), 4) for value in values)


def fit_scale(cases: Sequence[Case], right: Sequence[bool]) -> Scale:
    """Ridge logistic regression (scipy's L-BFGS-B) of being right on the log-odds of the confidence, by kind and cover.

    Offsets are pulled to 0 and slopes to their common one, so that a kind seen rarely is taken for a usual one; slopes
    stay at 0 or above.
    """
    from scipy.optimize import minimize

    if not cases:
        return Scale()
    odds = np.array([np.nan if c.confidence is None else log_odds(c.confidence) for c in cases])
    centre = float(np.nanmean(odds)) if np.isfinite(odds).any() else 0.0
    z = np.where(np.isnan(odds), 0.0, odds - centre)  # [n]
    y = np.asarray(right, float)  # [n]
    kinds = sorted({case.kind for case in cases})
    names = sorted({key for case in cases for key in offset_keys(case.kind, case.coverage)})
    at = {name: index for index, name in enumerate(names)}
    columns = np.zeros((len(cases), len(names)))  # [n, offsets]
    for row, case in enumerate(cases):
        for name in offset_keys(case.kind, case.coverage):
            columns[row, at[name]] = 1.0
    slope_of = np.array([1 + kinds.index(case.kind) for case in cases])  # of [common, kinds ...]
    offsets, slopes = len(names), 1 + len(kinds)
    pull = np.array([_pull(name) for name in names])

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        o, s = values[:offsets], values[offsets:]
        score = columns @ o + s[slope_of] * z
        apart = s[1:] - s[0]
        cost = np.logaddexp(0.0, score).sum() - y @ score + 0.5 * (pull @ o**2)
        cost += 0.5 * PULL["slope"] * (apart @ apart) + 0.5 * PULL["all"] * (s[0] - 1) ** 2
        error = 1 / (1 + np.exp(-score)) - y  # [n]
        by_slope = np.bincount(slope_of, error * z, minlength=slopes)
        by_slope[1:] += PULL["slope"] * apart
        by_slope[0] += PULL["all"] * (s[0] - 1) - PULL["slope"] * apart.sum()
        return float(cost), np.concatenate([columns.T @ error + pull * o, by_slope])

    start = np.concatenate([np.zeros(offsets), np.ones(slopes)])
    bounds = [(-10.0, 10.0)] * offsets + [(0.0, 10.0)] * slopes
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000}).x
    rounded = [round(float(value), 4) + 0.0 for value in found]  # + 0.0: no -0.0
    return Scale(
        round(centre, 4),
        dict(zip(names, rounded[:offsets], strict=True)),
        dict(zip(["", *kinds], rounded[offsets:], strict=True)),
    )


def _pull(name: str) -> float:
    if not name:
        return PULL["all"]
    kind, slash, cover = name.partition("/")
    return PULL["kind/coverage" if kind and cover else "/coverage" if slash else "kind"]
