"""Stages: what each learns from, which parts learn, and with which settings; one StageConfig for all of them."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from connector.training.losses import MEANS
from experts.errors import ConfigError, UnknownNameError

PARTS = ("connector", "lora", "llm")
# Every linear projection of Llama-like decoders, then of T5-like ones; a name that the model lacks is left out.
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj") + (
    "q", "k", "v", "o", "wi", "wi_0", "wi_1", "wo",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """A row of the freeze table."""

    objective: str  # words | answers | preferences: which task of connector/training/batches.py
    learns: tuple[str, ...]  # of PARTS; everything else is frozen
    does: str
    defaults: dict[str, Any] = field(default_factory=dict)  # StageConfig fields that differ from its own defaults


STAGES: dict[str, Stage] = {
    "warmup": Stage(
        "words",
        ("connector",),
        "the connector learns which words hold where, without the language model",
        {"batch": 64, "lr_connector": 1e-3, "tokens": 0},
    ),
    "pretrain": Stage(
        "answers",
        ("connector",),
        "captions through the frozen language model (survey 3.1, Table III)",
        {"batch": 16, "lr_connector": 1e-3},
    ),
    "instruct": Stage(
        "answers",
        ("connector", "lora"),
        "questions and answers (survey 3.2, Table V)",
        {"batch": 16, "lr_connector": 2e-4},
    ),
    "dpo": Stage(
        "preferences",
        ("connector", "lora"),
        "preference pairs against the model as it was at the start (survey 3.3)",
        {"batch": 8, "lr_connector": 1e-5, "lr_lora": 5e-5},
    ),
}


@dataclass(frozen=True)
class StageConfig:
    """The settings of a training stage. `stage_config` fills in a stage's own defaults and checks them all at once."""

    stage: str  # a row of STAGES
    steps: int = 0  # optimiser steps; 0 = `epochs`
    epochs: float = 1.0  # visits to each example, where `steps` is 0
    minutes: float = 0.0  # stop after this time, the schedule following the clock; 0 = no limit
    batch: int = 16  # examples an optimiser step, all processes together
    tokens: int = 2048  # padded tokens of one forward pass, at most; a batch above it is split; 0 = no limit
    max_tokens: int = 1024  # longest sequence; a longer one counts as a broken record, it is never cut
    questions: int = 1  # questions about one image in a sequence, at most
    mean: str = "token"  # token | answer | formula: see losses.token_weights
    lr_connector: float = 1e-3  # peak learning rates
    lr_lora: float = 2e-4
    lr_llm: float = 2e-5
    ramp: float = 0.03  # share of the run over which the rate rises from 0
    lr_floor: float = 0.1  # share of the peak at which the cosine ends
    weight_decay: float = 0.01  # of matrices only
    beta2: float = 0.98  # AdamW's second moment; short runs want a shorter memory than 0.999
    clip: float = 1.0  # largest gradient norm; 0 = no clipping
    learn: tuple[str, ...] = ()  # what learns instead of the stage's own choice; "connector.PREFIX" for a part of it
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.0  # DPO knows no dropout
    noise: float = 0.0  # warm-up: spread of the factors around 1 that features are multiplied by
    beta: float = 0.1  # DPO: how dear it is to leave the reference
    label_smoothing: float = 0.0  # DPO: share of pairs thought to be labelled the wrong way round
    rpo_alpha: float = 0.0  # DPO: weight of the chosen answer's own -log p a token (Pang et al. 2024, arXiv 2404.19733)
    rehearsal: float = 0.0  # DPO: weight of batches of answers without a rejected one, said as in `instruct`; 0 = none
    seed: int = 0
    save_every: int = 100  # steps between checkpoints
    keep: int = 2  # checkpoints kept
    log_s: float = 10.0  # seconds between progress lines
    held_out_every: int = 0  # steps between looks at held-out data; 0 = at the end only
    max_broken: float = 0.01  # share of broken records above which the run stops

    @property
    def parts(self) -> tuple[str, ...]:
        """What learns."""
        return self.learn or STAGES[self.stage].learns

    def learns(self, part: str) -> bool:
        """Whether `part` of PARTS learns, whole or in part."""
        return any(name.split(".")[0] == part for name in self.parts)


def stage_config(stage: str, **values: Any) -> StageConfig:
    """The settings of `stage`: its defaults, then `values`.

    Raises:
        UnknownNameError: no such stage.
        ConfigError: every unknown name, wrong type and value out of range, in one message.
    """
    if stage not in STAGES:
        raise UnknownNameError("stage", stage, STAGES)
    hints = typing.get_type_hints(StageConfig)
    faults: list[str] = []
    fits: dict[str, Any] = {}
    for key, value in (STAGES[stage].defaults | values).items():
        kind = hints.get(key)
        if kind is None or key == "stage":
            faults.append(f"unknown setting '{key}' (known: {', '.join(name for name in hints if name != 'stage')})")
        elif kind is float and isinstance(value, int) and not isinstance(value, bool):
            fits[key] = float(value)
        elif kind not in (int, float, str):
            fits[key] = (value,) if isinstance(value, str) else tuple(value)
        elif not isinstance(value, kind) or isinstance(value, bool):
            faults.append(f"'{key}' must be {kind.__name__}, not {value!r}")
        else:
            fits[key] = value
    config = StageConfig(stage, **fits)
    if faults := faults + check(config):
        raise ConfigError(f"stage '{stage}' does not fit: {'; '.join(faults)}")
    return config


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """NAME=VALUE texts as StageConfig values; lists are separated by commas.

    Raises:
        ConfigError: a text without '=', or a value that is not of its field's type.
    """
    hints = typing.get_type_hints(StageConfig)
    values: dict[str, Any] = {}
    faults = []
    for pair in pairs:
        name, equals, text = pair.partition("=")
        kind = hints.get(name, str)
        if not equals:
            faults.append(f"'{pair}' is not NAME=VALUE")
            continue
        try:
            values[name] = kind(text) if kind in (int, float, str) else tuple(filter(None, text.split(",")))
        except ValueError:
            faults.append(f"'{name}' must be {kind.__name__}, not {text!r}")
    if faults:
        raise ConfigError(f"settings do not fit: {'; '.join(faults)}")
    return values


def check(config: StageConfig) -> list[str]:
    """What is wrong with the values of `config`, one line each."""
    faults = []
    positive = ("batch", "max_tokens", "questions", "lora_rank", "lora_alpha", "save_every", "keep", "log_s", "beta")
    rates = ("lr_connector", "lr_lora", "lr_llm")
    at_least_0 = (
        "steps", "epochs", "minutes", "tokens", "weight_decay", "clip", "seed", "held_out_every", "noise", "rpo_alpha",
        "rehearsal",
    )  # fmt: skip
    shares = {
        "ramp": 1.0,
        "lr_floor": 1.0,
        "lora_dropout": 1.0,
        "label_smoothing": 0.5,
        "max_broken": 1.0,
        "beta2": 1.0,
    }
    for key in (*positive, *rates):
        if not 0 < getattr(config, key) < float("inf"):
            faults.append(f"'{key}' must be above 0, not {getattr(config, key)!r}")
    for key in at_least_0:
        if not 0 <= getattr(config, key) < float("inf"):
            faults.append(f"'{key}' must be 0 or above, not {getattr(config, key)!r}")
    for key, top in shares.items():
        if not 0 <= getattr(config, key) <= top:
            faults.append(f"'{key}' must be between 0 and {top:g}, not {getattr(config, key)!r}")
    if config.mean not in MEANS:
        faults.append(f"'mean' must be one of {', '.join(MEANS)}, not {config.mean!r}")
    if not (config.steps or config.epochs or config.minutes):
        faults.append("one of 'steps', 'epochs' and 'minutes' must be above 0")
    for name in config.learn:
        if name.split(".")[0] not in PARTS:
            faults.append(f"'learn' names '{name}'; known: {', '.join(PARTS)}, connector.PREFIX")
    if config.learns("lora") and config.learns("llm"):
        faults.append("'learn' names both lora and llm: an adapter is for a language model that is frozen")
    if STAGES[config.stage].objective == "words" and (config.learns("lora") or config.learns("llm")):
        faults.append(f"stage '{config.stage}' does not run the language model, so only the connector can learn")
    if config.questions > 1 and STAGES[config.stage].objective != "answers":
        faults.append(f"stage '{config.stage}' takes one question a sequence")
    if 0 < config.tokens < config.max_tokens:
        faults.append(
            f"'tokens' ({config.tokens}) is below 'max_tokens' ({config.max_tokens}): the longest would not fit"
        )
    return faults


def as_dict(config: StageConfig) -> dict[str, Any]:
    """The settings, JSON-ready."""
    return {
        key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(config).items()
    }
