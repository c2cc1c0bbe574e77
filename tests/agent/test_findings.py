"""The cache of findings: no expert looks twice at the same thing, and nothing wrong is ever remembered."""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeExpert, found, image, make_agent, sound, video

from agent.answer import Step
from agent.records import findings as cache_module
from agent.records.findings import FindingsCache
from experts.base import Finding
from experts.config import Settings, load_settings
from experts.errors import ConfigError, ExpertError

DOGS = found("detect", "dog", "dog", box=(0.0, 0.0, 3.5, 4.0))


def seer(script: Any = DOGS, name: str = "detect", fingerprint: str = "1", kinds: Any = ("image",)) -> FakeExpert:
    """A fake expert that says that its findings may be remembered."""
    expert = FakeExpert(name, script, kinds)
    expert.fingerprint = fingerprint  # type: ignore[attr-defined]
    return expert


def looked(steps: list[Step]) -> list[bool]:
    """For each expert's step, whether it says that it was remembered."""
    return [step.data.get("cached", False) for step in steps if step.kind == "expert"]


def test_follow_up_question_runs_no_expert_twice_and_says_so() -> None:
    expert = seer()
    agent, _ = make_agent([expert])
    first = list(agent.stream("How many dogs are there?", image=image(), route="experts"))
    second = list(agent.stream("Is there a dog?", image=image(), route="experts"))
    assert (len(expert.asked), looked(first), looked(second)) == (1, [False], [True])
    assert first[-1].answer.findings == second[-1].answer.findings == tuple(DOGS)  # type: ignore[union-attr]


def test_another_process_finds_what_this_one_remembered(tmp_path: Path) -> None:
    file = tmp_path / "findings.db"
    FindingsCache(Settings(), file=file).look(seer(), image())
    other = seer()
    assert FindingsCache(Settings(), file=file).look(other, image()) == (tuple(DOGS), True)
    assert not other.asked


@pytest.mark.parametrize(
    "change",
    [
        lambda expert: (expert, image(shade=1)),
        lambda expert: (seer(fingerprint="2"), image()),
        lambda expert: (seer(name="other"), image()),
    ],
    ids=["another medium", "other weights or code", "another expert"],
)
def test_what_differs_is_looked_at_anew(tmp_path: Path, change: Any) -> None:
    cache = FindingsCache(Settings(), file=tmp_path / "findings.db")
    cache.look(seer(), image())
    expert, medium = change(seer())
    assert cache.look(expert, medium)[1] is False
    assert len(expert.asked) == 1


def test_video_seen_with_other_limits_is_another_medium(tmp_path: Path) -> None:
    cache = FindingsCache(Settings(), file=tmp_path / "findings.db")
    expert = seer(name="video", kinds=("video",))
    cache.look(expert, video(frames=6))
    assert cache.look(expert, video(frames=3))[1] is False  # the same file, of which fewer frames were kept
    assert cache.look(expert, video(frames=6))[1] is True


def test_same_content_under_another_name_keeps_its_own_name(tmp_path: Path) -> None:
    cache = FindingsCache(Settings(), file=tmp_path / "findings.db")
    cache.look(seer(), image(name="photo.png"))
    findings, cached = cache.look(seer(), image(name="other.png"))
    assert cached and {finding.source for finding in findings} == {"other.png"}


def test_expert_that_cannot_say_whether_it_changed_is_asked_each_time() -> None:
    expert = FakeExpert("detect", DOGS)
    agent, _ = make_agent([expert])
    for _ in range(2):
        agent.ask("How many dogs are there?", image=image(), route="experts")
    assert len(expert.asked) == 2


def test_failure_is_not_remembered(tmp_path: Path) -> None:
    cache = FindingsCache(Settings(), file=tmp_path / "findings.db")
    broken = seer(ExpertError("out of order"))
    for _ in range(2):
        with pytest.raises(ExpertError):
            cache.look(broken, image())
    part = seer([Finding("ocr", "(ocr failed)", 0.0, extra={"error": "out of order"})])
    assert [cache.look(part, image())[1] for _ in range(2)] == [False, False]
    assert len(broken.asked) == len(part.asked) == 2


@pytest.mark.parametrize("extra", [{"pair": (1, 2)}, {"by": {1: "a"}}], ids=["tuple", "number as key"])
def test_findings_that_json_would_change_are_not_remembered(tmp_path: Path, extra: dict[str, Any]) -> None:
    cache = FindingsCache(Settings(), file=tmp_path / "findings.db")
    expert = seer([Finding("detect", "dog", 0.5, extra=extra)])
    assert [cache.look(expert, image())[1] for _ in range(2)] == [False, False]


@pytest.mark.parametrize(
    "damage",
    ["value = '[]'", "value = '{'", "value = NULL", "checksum = 'x'", "used = 'never'", "value = x'00ff'"],
)
def test_corrupted_entry_is_ignored_and_rewritten(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "findings.db"
    FindingsCache(Settings(), file=file).look(seer(), image())
    with sqlite3.connect(file) as connection:
        assert connection.execute(f"UPDATE findings SET {damage}").rowcount == 1
    connection.close()
    cache = FindingsCache(Settings(), file=file)
    assert cache.look(seer(), image()) == (tuple(DOGS), False)
    assert cache.look(seer(), image()) == (tuple(DOGS), True)


@pytest.mark.parametrize("content", [b"this is no database", b"\0" * 9000], ids=["text", "zeros"])
def test_damaged_file_is_begun_anew(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "findings.db"
    file.write_bytes(content)
    cache = FindingsCache(Settings(), file=file)
    results = [cache.look(seer(), image()) for _ in range(3)]
    assert [findings for findings, _ in results] == [tuple(DOGS)] * 3
    assert results[-1][1] is True


def test_answer_is_given_where_nothing_can_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = FindingsCache(Settings(), file=tmp_path / "file" / "findings.db")
    with caplog.at_level(logging.WARNING, "duet"):
        assert [cache.look(seer(), image()) for _ in range(2)] == [(tuple(DOGS), False)] * 2
    assert [record.getMessage() for record in caplog.records] == ["findings cannot be kept on disk (FileExistsError)"]


def test_size_stays_bounded_and_the_least_used_go_first(tmp_path: Path) -> None:
    file = tmp_path / "findings.db"
    cache = FindingsCache(Settings(cache_mb=1), file=file)
    long = seer([Finding("detect", "x" * 20_000, 0.5)])
    for shade in range(200):  # 4 MB in all
        cache.look(long, image(shade))
    connection = sqlite3.connect(file)
    (kept, count) = connection.execute("SELECT SUM(bytes), COUNT(*) FROM findings").fetchone()
    connection.close()
    assert kept <= 1 << 20 and count > 30
    assert file.stat().st_size < 2 << 20
    asked = len(long.asked)
    assert cache.look(long, image(199))[1] is True
    assert cache.look(long, image(0))[1] is False and len(long.asked) == asked + 1


def test_no_cache_runs_every_time_and_writes_nothing(state_folder: Path) -> None:
    expert = seer()
    agent, _ = make_agent([expert], cache_mb=0, traces_mb=0)
    for _ in range(2):
        agent.ask("How many dogs are there?", image=image(), route="experts")
    assert len(expert.asked) == 2 and not list(state_folder.iterdir())


def test_tools_share_what_the_routes_remembered() -> None:
    expert = seer()
    agent, _ = make_agent([expert])
    agent.ask("How many dogs are there?", image=image(), route="experts")
    assert agent.toolbox(image=image()).call("detect", {"media": "image1"}).findings == tuple(DOGS)
    assert len(expert.asked) == 1


def test_built_in_experts_are_filed_under_weights_engines_and_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from experts.tag import Tagger

    settings = Settings()
    file = tmp_path / "findings.db"
    key = FindingsCache(settings, file=file).key(Tagger(settings), image())
    assert len(key) == 64
    assert key == FindingsCache(settings, file=file).key(Tagger(settings), image())
    assert FindingsCache(settings, built_in=False, file=file).key(Tagger(settings), image()) == ""
    weights = tmp_path / "tagger.pt"
    keys = {key}
    for content in (b"one", b"other"):  # a file of one's own that is replaced
        weights.write_bytes(content)
        own = dataclasses.replace(settings, tagger=str(weights))
        keys.add(FindingsCache(own, file=file).key(Tagger(settings), image()))
    monkeypatch.setattr(cache_module, "code_version", lambda: "next")
    keys.add(FindingsCache(settings, file=file).key(Tagger(settings), image()))
    assert len(keys) == 4


def test_sound_and_picture_of_one_hash_are_not_mixed_up(tmp_path: Path) -> None:
    cache = FindingsCache(Settings(), file=tmp_path / "findings.db")
    expert = seer(kinds=("image", "audio"))
    same = dataclasses.replace(sound(), sha256=image().sha256)
    assert cache.key(expert, same) != cache.key(expert, image())


def test_sizes_in_settings_may_be_zero_but_not_negative() -> None:
    assert load_settings(cache_mb=0, traces_mb=0).cache_mb == 0
    with pytest.raises(ConfigError, match="'cache_mb' must be 0 or more, not -1"):
        load_settings(cache_mb=-1)
