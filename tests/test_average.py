"""The mean of two models' weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from connector.average import average
from experts.errors import InputError, ModelError


def saved(folder: Path, value: float, *, width: int = 3) -> Path:
    folder.mkdir(parents=True)
    for name in ("connector", "lora"):
        save_file({"a": torch.full((2, width), value, dtype=torch.float16)}, folder / f"{name}.safetensors")
    (folder / "config.json").write_text(json.dumps({"connector": {"kind": "linear"}, "card": {"value": value}}))
    return folder


def test_each_tensor_is_the_mean_and_the_settings_are_the_later_runs(tmp_path: Path) -> None:
    average(saved(tmp_path / "one" / "model", 1.0), saved(tmp_path / "two" / "model", 2.0), tmp_path / "mean")
    for name in ("connector", "lora"):
        made = load_file(tmp_path / "mean" / f"{name}.safetensors")
        assert torch.equal(made["a"], torch.full((2, 3), 1.5, dtype=torch.float16))
    assert json.loads((tmp_path / "mean" / "config.json").read_text())["card"] == {
        "value": 2.0,
        "average": ["one", "two"],
    }
    assert [folder.name for folder in sorted(tmp_path.iterdir())] == ["mean", "one", "two"]


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "one", 1.0), saved(tmp_path / "two", 2.0, width=4)
    with pytest.raises(ModelError, match=r"'one' and 'two' differ in a of connector.safetensors"):
        average(one, two, tmp_path / "mean")
    (two / "connector.safetensors").write_bytes(b"torn")
    with pytest.raises(ModelError, match=r"must both be saved models with connector.safetensors"):
        average(one, two, tmp_path / "mean")
    with pytest.raises(InputError, match=r"'two' is there already"):
        average(one, one, two)
    assert not (tmp_path / "mean").exists()
