"""The table of experts: every name gives one working instance, and plug-ins stand beside the built-ins."""

from __future__ import annotations

import doctest
import logging
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import experts
from experts.base import Expert, Finding
from experts.config import Settings
from experts.errors import ConfigError, ExpertError, MediaError, UnknownNameError
from experts.media import Audio, Image, Media


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


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that nothing is registered in."""
    monkeypatch.setattr(experts, "_registered", {})
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


def test_names_are_the_built_ins_then_the_plug_ins(plug_ins: None) -> None:
    assert experts.names() == [*experts.EXPERTS, "smell", "odd", "torn"]


# Registered by a program


def test_registered_class_is_listed_and_made_with_the_settings(fresh: None) -> None:
    assert experts.register(Nose) is Nose
    settings = Settings(device="cpu")
    nose = experts.get("smell", settings)
    assert isinstance(nose, Nose) and nose.settings is settings and experts.get("smell", settings) is nose
    assert experts.known()["smell"] == f"{__name__}:Nose"
    assert experts.names() == [*experts.EXPERTS, "smell"]


def test_registered_function_is_an_expert_by_its_signature(fresh: None) -> None:
    @experts.register
    def size(medium: Image | Audio) -> list[Finding]:
        """Says how large it is.

        More about it.
        """
        return [Finding("size", str(medium.pixels.shape if isinstance(medium, Image) else len(medium.samples)), 1.0)]

    expert = experts.get("size")
    assert isinstance(expert, Expert)
    assert (expert.description, expert.kinds) == ("Says how large it is.", {"image", "audio"})
    assert expert(Image.open(np.zeros((4, 5, 3), np.uint8)))[0].text == "(4, 5, 3)"
    assert size(Image.open(np.zeros((1, 1, 3), np.uint8)))[0].text == "(1, 1, 3)"  # still the function it was

    @experts.register
    def count(image: Image) -> list[Finding]:
        """Counts."""
        return []

    with pytest.raises(MediaError, match="'audio' is of kind audio; count takes image"):
        experts.get("count")(Audio.open(np.zeros(10, np.float32), rate_hz=16_000))


def test_registering_again_replaces_the_first(fresh: None) -> None:
    experts.register(Nose)
    first = experts.get("smell")
    experts.register(type("Other", (Nose,), {}))
    assert type(experts.get("smell")).__name__ == "Other" and experts.get("smell") is not first


def test_registered_expert_replaces_a_plug_in(plug_ins: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experts, "_registered", {})
    experts.register(type("Other", (Nose,), {}))
    assert type(experts.get("smell")).__name__ == "Other"


def unannotated(image):  # type: ignore[no-untyped-def]
    """Has no kind."""


def undocumented(image: Image) -> list[Finding]:
    return []


@pytest.mark.parametrize(
    ("expert", "told"),
    [
        (Stranger, "'Stranger' has no name; an expert needs name = '...'"),
        (type("Tag", (Nose,), {"name": "tag"}), "'tag' is built in; give the expert another name than detect, tag"),
        (unannotated, "'unannotated' needs a first parameter annotated as Image, Audio or Video: def unannotated"),
        (undocumented, "'undocumented' needs a docstring that says what it does"),
    ],
)
def test_what_cannot_be_registered_is_told_and_leaves_no_trace(fresh: None, expert: object, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        experts.register(expert)  # type: ignore[type-var]
    assert experts.names() == list(experts.EXPERTS)


def test_example_in_the_docstring_holds(fresh: None) -> None:
    assert doctest.testmod(experts).failed == 0


def test_importing_the_table_imports_nothing_heavy() -> None:
    code = (
        "import sys, experts, experts.weights.catalogue; experts.known(); "
        "print(*sorted({'torch', 'cv2', 'numpy', 'av', 'PIL', 'transformers', 'ultralytics'} & set(sys.modules)))"
    )
    root = Path(experts.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
