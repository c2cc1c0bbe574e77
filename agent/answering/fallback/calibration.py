"""The calibrated policy: how often each route was right in such cases on a validation split, and what that decides.

A Scale turns a confidence into the share of right answers: logistic regression (Platt 1999) with an offset for the kind
of question, for how the findings cover it, and for both together, and a slope of the confidence for each kind. No slope
is below 0, so surer is never taken for less likely right. The connector is consulted where the expected gain, the mean
of max(0, its share - the experts') over the confidences that it had on the split, exceeds `least_gain` + `price` x the
experts' share: the price is what asking about a question that they answer rightly costs.

Shares hold for pictures like those of the split. Where a picture has more tones than these had, a photograph among
drawings, nothing is known of it, and Plain decides.

`duet calibrate` writes the file; policy.json beside it is the one for the models of profile embedded.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.answering.fallback.policy import CONSULT, HAND_OVER, STAY, Case, Decision, Plain, Policy
from experts.config import PROFILES, Settings
from experts.errors import ConfigError

FORMAT = 1
SHIPPED = Path(__file__).with_name("policy.json")
CALIBRATED = "embedded-135m"  # the model that it was calibrated with
LEAST, MOST = 0.01, 0.999  # confidences beyond are taken for these, so that one token more does not decide
ABOUT = {  # coverage -> how a reason puts it
    "named": "that the findings speak of",
    "silent": "about what the experts looked for and did not find",
    "beyond": "about what the experts have no word for",
}
MODELS = ("llm", "connector", "detector", "tagger", "ocr", "captioner", "endpoint")  # settings a calibration holds for


@dataclass(frozen=True)
class Scale:
    """Confidence -> the share of right answers, by kind and coverage.

    `offsets` have keys "" (all), "KIND", "/COVERAGE" and "KIND/COVERAGE", `slopes` "" and "KIND". Log-odds of the
    confidence count from `centre`, those of the split; an unknown confidence is taken for it.
    """

    centre: float = 0.0
    offsets: Mapping[str, float] = field(default_factory=dict)
    slopes: Mapping[str, float] = field(default_factory=dict)

    def share(self, kind: str, coverage: str, confidence: float | None) -> float:
        """The share of right answers to expect, in (0, 1); it never falls where the confidence rises."""
        offset = sum(self.offsets.get(key, 0.0) for key in offset_keys(kind, coverage))
        slope = self.slopes.get(kind, self.slopes.get("", 1.0))
        return logistic(offset + slope * (0.0 if confidence is None else log_odds(confidence) - self.centre))


@dataclass(frozen=True)
class Calibrated(Plain):
    """The policy with measured shares; `spread` maps kinds ("" all) to confidences the connector had, `about` tells
    the split, the date, how many and with what command."""

    experts: Scale = field(default_factory=Scale)
    connector: Scale = field(default_factory=Scale)
    spread: Mapping[str, tuple[float, ...]] = field(default_factory=lambda: {"": (0.5,)})
    price: float = 0.0
    least_gain: float = 0.02
    most_tones: float | None = None  # of the split's pictures; None = holds for all
    about: Mapping[str, Any] = field(default_factory=dict)

    def shares(self, case: Case) -> tuple[float, tuple[float, ...]]:
        """The experts' share in such a case, and the connector's at each of its usual confidences."""
        usual = self.spread.get(case.kind) or self.spread.get("", (0.5,))
        own = self.experts.share(case.kind, case.coverage, case.confidence)
        return own, tuple(self.connector.share(case.kind, case.coverage, sure) for sure in usual)

    def gain(self, case: Case) -> float:
        """What asking the connector and taking the likelier answer is expected to gain, in shares of right answers."""
        own, other = self.shares(case)
        return sum(max(0.0, share - own) for share in other) / len(other)

    def weigh(self, case: Case) -> Decision:
        """The decision where all experts looked and something was found."""
        if case.tones is not None and self.most_tones is not None and case.tones > self.most_tones:
            decision = super().weigh(case)
            return Decision(decision.action, f"{decision.reason}; what was measured holds for pictures of fewer tones")
        own, other = self.shares(case)
        shares_text = (
            f"to a question of kind {case.kind} {ABOUT.get(case.coverage, '')}".rstrip()
            + f" the experts are right in {own:.0%} of such cases, the connector in {sum(other) / len(other):.0%}"
        )
        if self.gain(case) > self.least_gain + self.price * own:
            return Decision(CONSULT, f"{shares_text}, so it is asked too")
        return Decision(STAY, f"{shares_text}, so the experts' answer stands")

    def settle(self, case: Case, confidence: float | None, agree: bool) -> Decision:
        """The likelier answer stands; the experts' where both say the same or are as likely."""
        if agree:
            return Decision(STAY, "the connector gives the same answer")
        own = self.experts.share(case.kind, case.coverage, case.confidence)
        other = self.connector.share(case.kind, case.coverage, confidence)
        if other > own:
            return Decision(
                HAND_OVER, f"the connector's answer is likelier right ({other:.0%}) than theirs ({own:.0%})"
            )
        return Decision(STAY, f"the connector's answer is no likelier right ({other:.0%}) than theirs ({own:.0%})")

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, as `load` reads it."""
        values = dataclasses.asdict(self)
        return {"format": FORMAT, **{key: values[key] for key in ("about", *(k for k in values if k != "about"))}}


def offset_keys(kind: str, coverage: str) -> tuple[str, ...]:
    """The keys of the offsets that hold for a kind and a coverage; "" where that is not known."""
    return ("", kind, f"/{coverage}", f"{kind}/{coverage}") if coverage else ("", kind)


def log_odds(confidence: float) -> float:
    """The logarithm of the odds of a confidence in [0, 1]."""
    held = min(max(confidence, LEAST), MOST)
    return math.log(held / (1 - held))


def logistic(value: float) -> float:
    """1 / (1 + e^-value), without overflow."""
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def policy_for(settings: Settings, *, own_models: bool = False) -> Policy:
    """The policy that the settings name; else the shipped one for the models that it was calibrated for, else Plain.

    `own_models`: experts or models were given that the settings do not know.

    Raises:
        ConfigError: the file that the settings name cannot be read or is no policy.
    """
    if settings.policy:
        return load(Path(settings.policy))
    usual = Settings(**PROFILES["embedded"])
    same = (settings.model or settings.connector) == CALIBRATED and all(
        getattr(settings, name) == getattr(usual, name) for name in MODELS if name not in ("model", "connector")
    )
    return load(SHIPPED) if same and not own_models and SHIPPED.is_file() else Plain()


def load(file: Path) -> Calibrated:
    """The policy in a file that `duet calibrate` wrote.

    Raises:
        ConfigError: it cannot be read, or it is no policy; one line says what is wrong with it.
    """
    advice = "accepted: a file that `duet calibrate` wrote; write a new one, or leave the setting policy out"
    try:
        return parse(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = "it is not JSON" if isinstance(error, json.JSONDecodeError | UnicodeDecodeError) else str(error)
    raise ConfigError(f"policy file '{file.name}' cannot be used: {reason}; {advice}")


def parse(values: Any) -> Calibrated:
    """A policy from its JSON; ValueError says what does not fit."""
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"it is no policy of format {FORMAT}")
    known = {spec.name for spec in dataclasses.fields(Calibrated)} | {"format"}
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"it has unknown entries ({', '.join(unknown)[:80]})")
    about = values.get("about", {})
    if not isinstance(about, dict):
        raise ValueError("'about' is not an object")
    spread = values.get("spread")
    if not isinstance(spread, dict) or "" not in spread:
        raise ValueError("'spread' has no confidences for all kinds")
    tones = values.get("most_tones")
    numbers = {key: _number(values.get(key), key) for key in ("least_confidence", "price", "least_gain")}
    return Calibrated(
        experts=_scale(values.get("experts"), "experts"),
        connector=_scale(values.get("connector"), "connector"),
        spread={kind: _confidences(usual, f"spread of '{kind}'") for kind, usual in spread.items()},
        most_tones=None if tones is None else _number(tones, "most_tones"),
        about=about,
        **numbers,
    )


def _scale(values: Any, name: str) -> Scale:
    if not isinstance(values, dict) or values.keys() != {"centre", "offsets", "slopes"}:
        raise ValueError(f"'{name}' needs centre, offsets and slopes")
    tables: dict[str, dict[str, float]] = {}
    for key in ("offsets", "slopes"):
        if not isinstance(values[key], dict):
            raise ValueError(f"'{key}' of '{name}' is not an object")
        tables[key] = {k: _number(v, f"{key} of '{name}'", key == "offsets") for k, v in values[key].items()}
    return Scale(_number(values["centre"], f"centre of '{name}'", True), **tables)


def _confidences(values: Any, name: str) -> tuple[float, ...]:
    if not isinstance(values, list) or not values:
        raise ValueError(f"{name} is not a list of confidences")
    found = tuple(_number(value, name) for value in values)
    if max(found) > 1:
        raise ValueError(f"{name} goes above 1")
    return found


def _number(value: Any, name: str, negative: bool = False) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} is not a number")
    if value < 0 and not negative:
        raise ValueError(f"{name} is below 0")
    return float(value)
