"""Bad input through the real command line: one line that says what was wrong and what is accepted, exit 2."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from ui.cli import main


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def wav_header(seconds: int, rate: int = 16_000) -> bytes:
    """A mono 16-bit WAV that claims to be so long and holds nothing."""
    size = seconds * rate * 2
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2, 2, 16)
    return (
        b"RIFF"
        + struct.pack("<I", 36 + size)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", size)
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with good and bad files, and no weights anywhere."""
    work = tmp_path / "work"
    work.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    PIL.Image.fromarray(noise).save(work / "good.png")
    whole = (work / "good.png").read_bytes()
    files: dict[str, bytes] = {
        "text.jpg": b"I am not a picture.\n",
        "truncated.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "huge.png": png_header(50_000, 50_000),
        "endless.wav": wav_header(3 * 3600),
        "noise.mp4": bytes(range(256)) * 8,
        "page.png": b"<!doctype html><p>404</p>",
        "paper.pdf": b"%PDF-1.7\n",
        "not.toml": b"profile = [",
        "unknown.toml": b"profle = 'embedded'\n",
        "nan.toml": b"answer_s = nan\n",
        "negative.toml": b"max_new_tokens = -3\n",
        "nanlimit.toml": b"[limits]\naudio_s = nan\n",
        "inflimit.toml": b"[limits]\nimage_bytes = inf\n",
        "words.toml": b"max_new_tokens = 'many'\n",
        "binary.toml": b"\xff\xfe\x00",
        "server.toml": b"profile = 'server'\nendpoint = 'localhost:8000'\n",
        "engine.toml": b"speech_engine = 'wisper'\n",
        "plan.json": b'{"steps": [{"id": "a", "tool": "detect", "args": {"media": "image1"}}]}',
        "cycle.json": b'{"steps": [{"id": "a", "tool": "detect", "args": {"media": "image1"}, "depends_on": ["a"]}]}',
        "tool.json": b'{"steps": [{"id": "a", "tool": "detekt", "args": {"media": "image1"}}]}',
        "path.json": b'{"steps": [{"id": "a", "tool": "detect", "args": {"media": "/etc/passwd"}}]}',
        "type.json": b'{"steps": [{"id": "a", "tool": "detect", "args": {"media": 1}}]}',
        "torn.json": b'{"steps": [',
        "deep.json": b"[" * 100_000,
    }
    for name, data in files.items():
        (work / name).write_bytes(data)
    (work / "folder.png").mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("DUET_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DUET_OFFLINE", "1")
    return work


ASK = ("ask", "What is it?")
BAD: list[tuple[tuple[str, ...], str]] = [
    ((*ASK, "--image", "text.jpg"), "'text.jpg' is text, not an image; accepted: PNG"),
    ((*ASK, "--image", "truncated.png"), "'truncated.png'"),
    ((*ASK, "--image", "empty.png"), "'empty.png' is empty"),
    ((*ASK, "--image", "huge.png"), "accepted: "),
    ((*ASK, "--image", "page.png"), "'page.png' is a web page"),
    ((*ASK, "--image", "paper.pdf"), "'paper.pdf' starts like PDF but cannot be read"),
    ((*ASK, "--image", "missing.png"), "there is no file 'missing.png'"),
    ((*ASK, "--image", "/no/such/place/missing.png"), "there is no file 'missing.png'"),
    ((*ASK, "--image", "folder.png"), "'folder.png' is a folder"),
    ((*ASK, "--image", "http://127.0.0.1/x.png"), "fetching is off"),
    ((*ASK, "--image", "data:image/png;base64,@@@"), "base64 is broken"),
    ((*ASK, "--image", ""), "accepted"),
    ((*ASK, "--image", "\0"), "accepted"),
    ((*ASK, "--image", "endless.wav"), "'endless.wav' is a sound (WAV), not an image; pass it as audio"),
    ((*ASK, "--audio", "endless.wav"), "'endless.wav'"),
    ((*ASK, "--audio", "good.png"), "'good.png' is an image (PNG), not a sound; pass it as image"),
    ((*ASK, "--audio", "text.jpg"), "'text.jpg' is text, not a sound"),
    ((*ASK, "--video", "noise.mp4"), "'noise.mp4' is in a format that is not known"),
    ((*ASK, "--video", "missing.mp4"), "there is no file 'missing.mp4'"),
    (ASK, "no medium was given; accepted: 1 to 8"),
    ((*ASK, *("--image", "good.png") * 9), "9 media were given; accepted: 1 to 8"),
    (("ask", "", "--image", "good.png"), "the question is empty; accepted: 1 to 4000"),
    (("ask", "   ", "--image", "good.png"), "the question is empty"),
    (("ask", "x" * 4001, "--image", "good.png"), "4001 characters; accepted: 1 to 4000"),
    (("ask", "--image", "good.png"), "Missing argument 'question'; see duet ask --help"),
    ((*ASK, "too", "many"), "see duet ask --help"),
    (
        (*ASK, "--image", "good.png", "--route", "expert"),
        "no route named 'expert'; known: auto, both, connector, experts",
    ),
    ((*ASK, "--image", "good.png", "--profile", "embeded"), "no profile named 'embeded'; known: embedded, hub, server"),
    ((*ASK, "--image", "good.png", "--route"), "see duet ask --help"),
    ((*ASK, "--picture", "good.png"), "No such option: --picture"),
    ((*ASK, "--image", "good.png", "--config", "missing.toml"), "cannot read settings file 'missing.toml'"),
    ((*ASK, "--image", "good.png", "--config", "not.toml"), "settings file 'not.toml' is not TOML"),
    ((*ASK, "--image", "good.png", "--config", "binary.toml"), "settings file 'binary.toml' is not TOML"),
    ((*ASK, "--image", "good.png", "--config", "unknown.toml"), "unknown setting 'profle' (known: profile"),
    ((*ASK, "--image", "good.png", "--config", "nan.toml"), "'answer_s' must be above 0, not nan"),
    ((*ASK, "--image", "good.png", "--config", "negative.toml"), "'max_new_tokens' must be above 0, not -3"),
    ((*ASK, "--image", "good.png", "--config", "nanlimit.toml"), "'limits.audio_s' must be above 0, not nan"),
    ((*ASK, "--image", "good.png", "--config", "inflimit.toml"), "'limits.image_bytes' must be int, not inf"),
    ((*ASK, "--image", "good.png", "--config", "words.toml"), "'max_new_tokens' must be int, not 'many'"),
    ((*ASK, "--image", "good.png", "--config", "server.toml"), "needs endpoint"),
    (("tool", "detekt", "good.png"), "no expert named 'detekt'; known: caption, detect"),
    (("tool", "tag", "text.jpg"), "'text.jpg' is text, not an image, sound or video"),
    (("tool", "tag", "missing.png"), "there is no file 'missing.png'"),
    (("tool", "speech", "good.png"), "'good.png' is of kind image; speech takes audio"),
    (("tool", "speech", "endless.wav"), "'endless.wav'"),
    (("tool", "speech", "good.png", "--config", "engine.toml"), "no speech engine named 'wisper'; known"),
    (("tool", "tag"), "Missing argument 'FILE...'; see duet tool --help"),
    (("run", "missing.json"), "plan 'missing.json' cannot be read"),
    (("run", "folder.png"), "plan 'folder.png' cannot be read"),
    (("run", "torn.json"), "plan 'torn.json' is not JSON"),
    (("run", "deep.json"), "plan 'deep.json' is not JSON"),
    (("run", "good.png"), "plan 'good.png' is not JSON"),
    (("run", "cycle.json", "--image", "good.png"), "wait for each other (a -> a)"),
    (("run", "tool.json", "--image", "good.png"), "no tool named 'detekt'; known: answer, caption, connector, detect"),
    (("run", "path.json", "--image", "good.png"), "'media' is '/etc/passwd'; accepted: media = image1"),
    (("run", "type.json", "--image", "good.png"), "'media' is int 1; accepted: media = image1"),
    (("run", "plan.json"), "'media' is 'image1'; accepted: media = the id of an opened image (none was given)"),
    (("run", "plan.json", "--image", "truncated.png"), "'truncated.png'"),
    (("weights", "verify", "whisper-tinny"), "no weights named 'whisper-tinny'; known"),
    (("weights", "fetch", "whisper-tinny"), "no weights named 'whisper-tinny'; known"),
    (("data", "scenes", "--out", "new", "--split", "tets"), "'tets'"),
    (("data", "scenes", "--out", "new", "--n", "0"), "see duet data scenes --help"),
    (("data", "scenes", "--out", "new", "--n", "many"), "see duet data scenes --help"),
    (("weigths",), "no command named 'weigths'; known: ask"),
    (("weights", "lst"), "see duet weights --help"),
    (("--version-please",), "see duet --help"),
]


def tree(folder: Path) -> dict[str, bytes | None]:
    return {str(file): file.read_bytes() if file.is_file() else None for file in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("as_json", [False, True], ids=["plain", "json"])
@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda value: "_".join(value)[:60] if isinstance(value, tuple) else ""
)
def test_bad_input_is_one_line_and_exit_2(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str, as_json: bool
) -> None:
    if as_json and not takes_json(arguments):
        pytest.skip("this command has no --json")
    before = tree(folder)
    with pytest.raises(SystemExit) as end:
        main([*arguments, *(["--json"] if as_json else [])])
    shown = capsys.readouterr()
    assert end.value.code == 2, shown.err
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    if as_json:
        error = json.loads(line)["error"]
        assert set(error) == {"type", "message"}
        line = error["message"]
    else:
        assert line.startswith("duet: ")
    assert message in line
    assert str(folder.parent) not in line
    assert "Traceback" not in line
    assert tree(folder) == before
    assert not list((folder.parent / "home").rglob("*.part")) if (folder.parent / "home").exists() else True


def takes_json(arguments: tuple[str, ...]) -> bool:
    return arguments[0] in ("ask", "tool", "run") and arguments[-1] != "--route"  # which would take it for its value


SAYS_WHAT_TO_DO: Callable[[str], bool] = lambda line: any(  # noqa: E731
    word in line
    for word in ("accepted", "known", "must be", "see duet", "expected", "pass it", "needs", "not TOML", "takes")
)


@pytest.mark.parametrize(
    ("arguments", "_"), BAD, ids=lambda value: "_".join(value)[:60] if isinstance(value, tuple) else ""
)
def test_refusal_says_what_is_accepted(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], _: Any
) -> None:
    with pytest.raises(SystemExit):
        main([*arguments])
    assert SAYS_WHAT_TO_DO(capsys.readouterr().err)


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 30
    assert len({arguments for arguments, _ in BAD}) == len(BAD)
