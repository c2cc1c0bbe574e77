"""Extras: a command whose packages are not installed says in one line which extra brings them."""

from __future__ import annotations

import doctest
import sys
from pathlib import Path

import pytest

import experts.errors
from experts.errors import MissingExtraError, needs


def test_examples_of_the_errors_hold() -> None:
    assert doctest.testmod(experts.errors).failed == 0


def test_a_package_that_is_there_is_no_error() -> None:
    needs("numpy", "hub", "this test")
    needs("xml.dom", "hub", "this test")


@pytest.mark.parametrize("package", ["nobody", "nobody.part"])
def test_a_missing_package_is_told_with_its_extra(package: str) -> None:
    with pytest.raises(MissingExtraError) as caught:
        needs(package, "hub", "a tagger of timm")
    assert str(caught.value) == f"a tagger of timm needs the package '{package}'; pip install 'duet[hub]'"


def train() -> None:
    from ui.cli import run

    assert run(["train", "instruct", "--data", "none", "--out", "none"]) == 1


def tagger() -> None:
    import numpy as np

    from experts.config import Settings
    from experts.media import Image
    from experts.tag import Tagger

    Tagger(Settings(tagger="resnet18"))(Image.open(np.zeros((8, 8, 3), np.uint8)))


def encoder() -> None:
    from connector.encoders import registry

    registry.load("openclip-convnext-l")


def endpoint() -> None:
    from connector.endpoint import EndpointModel

    EndpointModel("http://127.0.0.1:9/v1")


def easy_vqa() -> None:
    from agent.evaluation.benchmarks.registry import BENCHMARKS

    BENCHMARKS["easy-vqa"](None)


def word_errors() -> None:
    from agent.evaluation.scoring.parsers import word_error_rate

    word_error_rate("a", "b")


@pytest.mark.parametrize(
    "package,extra,use",
    [
        ("timm", "hub", tagger),
        ("timm", "hub", encoder),
        ("openai", "endpoint", endpoint),
        ("easy_vqa", "evaluate", easy_vqa),
        ("jiwer", "evaluate", word_errors),
    ],
)
def test_each_use_names_its_extra(package: str, extra: str, use, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=rf"needs the package '{package}'; pip install 'duet\[{extra}\]'"):
        use()


@pytest.mark.parametrize("package", ["accelerate", "peft"])
def test_training_names_its_extra_on_one_line(
    package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    train()
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"duet: duet train needs the package '{package}'; pip install 'duet[train]'"
    assert list(tmp_path.iterdir()) == []
