"""Settings: later sources win, every fault is told at once, and errors are one safe line."""

from __future__ import annotations

import dataclasses
import doctest
from pathlib import Path

import pytest

from experts import config, errors
from experts.config import PROFILES, Limits, Settings, home, load_settings
from experts.errors import ConfigError, DuetError, InputError, UnknownNameError


@pytest.fixture(autouse=True)
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No duet.toml and no DUET_* of the developer's own."""
    import os

    monkeypatch.chdir(tmp_path)
    for key in [key for key in os.environ if key.startswith("DUET_")]:
        monkeypatch.delenv(key)


def test_nothing_given_is_the_embedded_profile() -> None:
    assert load_settings() == Settings()


def test_flag_beats_variable_beats_file_beats_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("duet.toml").write_text('profile = "hub"\nllm = "from-file"\nspeech = "from-file"\ncaptioner = "from-file"\n')
    monkeypatch.setenv("DUET_SPEECH", "from-variable")
    monkeypatch.setenv("DUET_CAPTIONER", "from-variable")
    got = load_settings(captioner="from-flag", tagger=None)
    assert (got.detector, got.llm, got.speech, got.captioner, got.tagger) == (
        "yolo11n.pt",
        "from-file",
        "from-variable",
        "from-flag",
        "vit_base_patch16_224",
    )


def test_profile_may_come_from_any_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_PROFILE", "server")
    assert load_settings().endpoint == PROFILES["server"]["endpoint"]
    assert load_settings(profile="embedded") == Settings()


def test_variables_become_the_type_of_their_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_THREADS", "3")
    monkeypatch.setenv("DUET_ANSWER_S", "2.5")
    got = load_settings()
    assert (got.threads, got.answer_s) == (3, 2.5)


def test_limits_come_from_their_table_and_whole_numbers_serve_as_seconds() -> None:
    Path("other.toml").write_text("[limits]\naudio_s = 5\nvideo_frames = 4\n")
    got = load_settings("other.toml").limits
    assert got == Limits(audio_s=5.0, video_frames=4) and isinstance(got.audio_s, float)


def test_all_faults_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("duet.toml").write_text('llm = 3\ncolour = "red"\nmax_new_tokens = 0\n[limits]\naudio_s = -1\nsize = 1\n')
    monkeypatch.setenv("DUET_THREADS", "many")
    with pytest.raises(ConfigError) as caught:
        load_settings()
    told = str(caught.value)
    for fault in (
        "'llm' must be str, not 3",
        "unknown setting 'colour' (known: profile, ",
        "'max_new_tokens' must be above 0, not 0",
        "'limits.audio_s' must be above 0, not -1.0",  # a whole number for seconds escaped this once
        "unknown setting 'limits.size' (known: image_bytes, ",
        "'threads' must be int, not 'many'",
    ):
        assert fault in told


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, 0.0, True])
def test_time_that_is_no_positive_number_is_refused(value: float) -> None:
    """Not-a-number passed once, since it is not below zero either."""
    with pytest.raises(ConfigError, match="'answer_s' must be"):
        load_settings(answer_s=value)


def test_threads_may_be_zero_but_not_negative() -> None:
    """A negative number passed once."""
    assert load_settings(threads=0).threads == 0
    with pytest.raises(ConfigError, match="'threads' must be 0 or more, not -2"):
        load_settings(threads=-2)


def test_limits_that_are_no_table_are_refused() -> None:
    Path("duet.toml").write_text("limits = 3\n")
    with pytest.raises(ConfigError, match="limits must be a table"):
        load_settings()


def test_unknown_profile_names_the_known_ones() -> None:
    with pytest.raises(UnknownNameError, match="'imbedded'; known: embedded, hub, server; did you mean 'embedded'"):
        load_settings(profile="imbedded")


def test_profile_that_is_no_text_is_refused() -> None:
    """A list was a TypeError once."""
    Path("duet.toml").write_text('profile = ["hub"]\n')
    with pytest.raises(UnknownNameError, match="no profile named"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("gone.toml", None, "cannot read settings file 'gone.toml': No such file"),
        ("bad.toml", b"llm = ", "settings file 'bad.toml' is not TOML"),
        ("latin.toml", b'llm = "\xe9"', "settings file 'latin.toml' is not TOML"),
    ],
)
def test_unreadable_file_is_told_by_its_name_alone(tmp_path: Path, name: str, data: bytes | None, told: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ConfigError, match=told) as caught:
        load_settings(tmp_path / name)
    assert str(tmp_path) not in str(caught.value)


def test_every_profile_builds_and_settings_serve_as_a_key() -> None:
    assert len({load_settings(profile=name) for name in PROFILES}) == len(PROFILES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().llm = "other"  # type: ignore[misc]


def test_home_is_the_variable_and_stays_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_HOME", "here")
    before = home()
    assert before == tmp_path / "here"
    monkeypatch.setenv("DUET_HOME", "~/there")
    assert home() == Path.home() / "there"
    monkeypatch.delenv("DUET_HOME")
    assert home() == Path.home() / ".cache" / "duet"


def test_error_tree_is_the_one_drawn() -> None:
    drawn = [line for line in (errors.__doc__ or "").splitlines() if "Error " in line]
    names = [next(word for word in line.split() if word.endswith("Error")) for line in drawn]
    kinds = {kind.__name__: kind for kind in vars(errors).values() if isinstance(kind, type)}
    assert set(names) == {name for name, kind in kinds.items() if issubclass(kind, DuetError)}
    for line, name in zip(drawn, names, strict=True):
        inside = line.lstrip().startswith("│")
        assert kinds[name] in (DuetError, InputError) or kinds[name].__base__ is (InputError if inside else DuetError)


def test_callers_faults_exit_with_2_and_all_others_with_1() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DuetError)]
    assert {kind.exit_code for kind in kinds if issubclass(kind, InputError)} == {2}
    assert {kind.exit_code for kind in kinds if not issubclass(kind, InputError)} == {1}


def test_hostile_name_stays_on_one_line() -> None:
    """Control characters in a name reached the terminal once."""
    told = str(UnknownNameError("expert", "a\nb\x1b[2J" + "c" * 200, ["detect"]))
    assert "\n" not in told and "\x1b" not in told and len(told) < 140


def test_examples_in_docstrings_hold() -> None:
    for module in (config, errors):
        assert doctest.testmod(module).failed == 0
