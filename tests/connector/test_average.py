"""The mean of two models' weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from connector.training.average import average
from experts.errors import InputError, ModelError


def saved(folder: Path, value: float, *, width: int = 3, llm: str = "one", lora: bool = True) -> Path:
    folder.mkdir(parents=True)
    for name in ("connector", "lora") if lora else ("connector",):
        save_file({"a": torch.full((2, width), value, dtype=torch.float16)}, folder / f"{name}.safetensors")
    (folder / "config.json").write_text(
        json.dumps({"llm": llm, "connector": {"kind": "linear"}, "card": {"value": value}})
    )
    return folder


def test_each_tensor_is_the_mean_and_the_settings_are_the_later_runs(tmp_path: Path) -> None:
    average(saved(tmp_path / "one" / "model", 1.0), saved(tmp_path / "two" / "model", 2.0), tmp_path / "mean")
    for name in ("connector", "lora"):
        made = load_file(tmp_path / "mean" / f"{name}.safetensors")
        assert torch.equal(made["a"], torch.full((2, 3), 1.5, dtype=torch.float16))
    assert json.loads((tmp_path / "mean" / "config.json").read_text())["card"] == {
        "value": 2.0,
        "average": ["one", "two", 0.5],
    }
    assert [folder.name for folder in sorted(tmp_path.iterdir())] == ["mean", "one", "two"]


@pytest.mark.parametrize(("share", "value"), [(0.25, 1.25), (1.0, 2.0), (1.5, 2.5)])
def test_a_share_says_how_far_the_model_goes(tmp_path: Path, share: float, value: float) -> None:
    average(saved(tmp_path / "one", 1.0), saved(tmp_path / "two", 2.0), tmp_path / "made", share=share)
    for name in ("connector", "lora"):
        tensor = load_file(tmp_path / "made" / f"{name}.safetensors")["a"]
        assert torch.equal(tensor, torch.full((2, 3), value, dtype=torch.float16))


def test_models_without_an_adapter_have_a_mean_too(tmp_path: Path) -> None:
    average(saved(tmp_path / "one", 1.0, lora=False), saved(tmp_path / "two", 2.0, lora=False), tmp_path / "mean")
    assert sorted(file.name for file in (tmp_path / "mean").iterdir()) == ["config.json", "connector.safetensors"]


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "one", 1.0), saved(tmp_path / "two", 2.0, width=4)
    with pytest.raises(ModelError, match=r"'one' and 'two' differ in connector.safetensors: a, lora.safetensors: a"):
        average(one, two, tmp_path / "mean")
    with pytest.raises(ModelError, match=r"'one' and 'other' differ in llm"):
        average(one, saved(tmp_path / "other", 1.0, llm="two"), tmp_path / "mean")
    with pytest.raises(ModelError, match=r"'one' and 'bare' differ in lora.safetensors: a"):
        average(one, saved(tmp_path / "bare", 1.0, lora=False), tmp_path / "mean")
    (two / "connector.safetensors").write_bytes(b"torn")
    for second, message in ((two, "'two' is not a saved model: "), (tmp_path / "none", "'none' is .*: no config.json")):
        with pytest.raises(ModelError, match=message) as caught:
            average(one, second, tmp_path / "mean")
        assert str(tmp_path) not in str(caught.value)
    with pytest.raises(InputError, match=r"'two' is there already"):
        average(one, one, two)
    for share in (0.0, -1.0, 4.5, float("nan")):
        with pytest.raises(InputError, match=r"a share of \S+ does not fit: above 0 and at most 4, "):
            average(one, saved(tmp_path / f"fit {share}", 2.0), tmp_path / "mean", share=share)
    assert not (tmp_path / "mean").exists()
