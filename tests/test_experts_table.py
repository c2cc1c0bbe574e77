"""The table of experts: every name gives one working instance, and plug-ins stand beside the built-ins."""

from __future__ import annotations

import logging
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import experts
from experts.base import Expert, Finding
from experts.config import Settings
from experts.errors import ExpertError, UnknownNameError
from experts.media import Media


class Nose:
    """A plug-in."""

    name, description, kinds, weights = "smell", "Smells.", frozenset({"image"}), ""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def __call__(self, media: Media) -> list[Finding]:
        return [Finding(self.name, "roses", 1.0)]


class Stranger:
    """Not an expert."""

    def __init__(self, settings: Settings) -> None: ...


@pytest.fixture
def plug_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three entry points of the group "duet.experts", as an installed package would bring them."""
    points = [
        metadata.EntryPoint(name, value, experts.GROUP)
        for name, value in {
            "smell": f"{__name__}:Nose",
            "odd": f"{__name__}:Stranger",
            "torn": "no_such_module_here:Nose",
            "tag": f"{__name__}:Nose",
        }.items()
    ]
    real = metadata.entry_points
    monkeypatch.setattr(
        metadata,
        "entry_points",
        lambda **by: metadata.EntryPoints(points) if by == {"group": experts.GROUP} else real(**by),
    )
    monkeypatch.setattr(experts, "_made", {})


@pytest.mark.parametrize("name", experts.EXPERTS)
def test_listed_expert_goes_by_its_name_and_describes_itself(name: str) -> None:
    expert = experts.get(name)
    assert isinstance(expert, Expert)
    assert expert.name == name
    assert expert.description.endswith(".")
    assert expert.kinds and expert.kinds <= {"image", "audio", "video"}


def test_same_name_and_settings_give_the_same_instance() -> None:
    assert experts.get("tag") is experts.get("tag", Settings())
    assert experts.get("tag") is not experts.get("tag", Settings(tagger="resnet18"))


def test_unknown_expert_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="no expert named 'detecter'; known: caption, .*; did you mean 'detect'"):
        experts.get("detecter")


def test_plug_in_is_listed_and_made_with_the_settings(plug_ins: None) -> None:
    settings = Settings(device="cpu")
    nose = experts.get("smell", settings)
    assert isinstance(nose, Nose) and nose.settings is settings
    assert list(experts.known()) == [*experts.EXPERTS, "smell", "odd", "torn"]


def test_plug_in_does_not_replace_a_built_in(plug_ins: None, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "duet"):
        assert not isinstance(experts.get("tag"), Nose)
    assert "'tag' is built in" in caplog.text


def test_plug_in_that_is_no_expert_is_refused(plug_ins: None) -> None:
    with pytest.raises(ExpertError, match="'odd' .* is not an expert: it needs name, description, kinds, weights"):
        experts.get("odd")


def test_plug_in_that_cannot_be_imported_is_told(plug_ins: None) -> None:
    with pytest.raises(ExpertError, match="'torn' .* cannot be loaded: No module named 'no_such_module_here'"):
        experts.get("torn")


def test_importing_the_table_imports_nothing_heavy() -> None:
    code = (
        "import sys, experts, experts.weights; experts.known(); "
        "print(*sorted({'torch', 'cv2', 'numpy', 'av', 'PIL', 'transformers', 'ultralytics'} & set(sys.modules)))"
    )
    root = Path(experts.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
