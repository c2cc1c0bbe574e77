"""The freeze table and stage settings: what learns, and every fault at once."""

from __future__ import annotations

import pytest

from connector.training import stages
from connector.training.loop import rate
from experts.errors import ConfigError, UnknownNameError


def test_unknown_stage_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="dpo, instruct, pretrain, warmup; did you mean 'pretrain'"):
        stages.stage_config("pretran")


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        stages.stage_config(
            "dpo", batch=0, lr_lora=-1.0, mean="median", stepz=3, seed="x", learn=("encoder",), ramp=2.0, questions=2
        )
    for part in (
        "'batch'",
        "'lr_lora'",
        "'mean'",
        "'stepz'",
        "'seed' must be int",
        "'encoder'",
        "'ramp'",
        "one question",
    ):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("stage", "values", "says"),
    [
        ("instruct", {"learn": ("lora", "llm")}, "both lora and llm"),
        ("warmup", {"learn": ("connector", "lora")}, "does not run the language model"),
        ("pretrain", {"steps": 0, "epochs": 0}, "one of 'steps', 'epochs' and 'minutes'"),
        ("pretrain", {"tokens": 64, "max_tokens": 128}, "the longest would not fit"),
        ("pretrain", {"batch": True}, "'batch' must be int"),
        ("pretrain", {"lr_connector": float("nan")}, "'lr_connector' must be above 0"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(stage: str, values: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        stages.stage_config(stage, **values)


@pytest.mark.parametrize("stage", sorted(stages.STAGES))
def test_every_stage_has_settings_that_fit(stage: str) -> None:
    config = stages.stage_config(stage)
    assert stages.check(config) == []
    assert config.parts == stages.STAGES[stage].learns


def test_rate_rises_to_its_peak_and_ends_at_the_floor() -> None:
    config = stages.stage_config("pretrain", ramp=0.2, lr_floor=0.1)
    assert rate(0.1, config) == pytest.approx(0.5)
    assert rate(0.2, config) == pytest.approx(1.0)
    assert rate(0.6, config) == pytest.approx(0.55)  # half way down: the mean of 1 and the floor
    assert rate(1.0, config) == pytest.approx(0.1)
