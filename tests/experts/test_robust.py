"""A sample of `python -m benchmarks.robust`: damaged files are read or refused, and nothing else comes of them."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import robust
from experts.media import open_media


@pytest.mark.parametrize(("family", "files"), [("image", 150), ("sound", 15), ("film", 10)])
def test_damaged_files_are_read_or_refused(family: str, files: int) -> None:
    rng = np.random.default_rng(7)
    seeds = list(robust.FAMILIES[family]().values())
    for _ in range(files):
        first, other = (seeds[int(n)] for n in rng.integers(0, len(seeds), 2))
        what, said = robust.judged(robust.damaged(rng, first, other))
        assert what in ("read", "refused"), said


@pytest.mark.parametrize("family", list(robust.FAMILIES))
def test_the_files_are_whole_before_they_are_damaged(family: str) -> None:
    for name, data in robust.FAMILIES[family]().items():
        assert open_media(data, name=name).kind == {"image": "image", "sound": "audio", "film": "video"}[family], name


@pytest.mark.parametrize(
    ("error", "what"),
    [(ValueError("x"), "crashed"), (robust.MediaError("in /home/me/file.png"), "unclear"),
     (robust.MediaError("two\nlines"), "unclear"), (robust.MediaError("'a.png' is empty"), "refused")],
)  # fmt: skip
def test_what_comes_of_a_file_is_judged(monkeypatch: pytest.MonkeyPatch, error: Exception, what: str) -> None:
    def fail(*of: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(robust, "open_media", fail)
    assert robust.judged(b"x")[0] == what
