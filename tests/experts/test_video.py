"""The video expert: one timeline of what the other experts find, a thing seen in consecutive frames told once."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from experts.base import Expert, Finding
from experts.config import Settings, home
from experts.errors import ExpertError, MediaError, WeightsError
from experts.media import Audio, Image, Media, Video
from experts.speech import Listener
from experts.video import Watcher

UMBRELLA = Path(__file__).parents[1] / "fixtures" / "speech" / "umbrella.flac"
LEFT, RIGHT = (0.0, 0.0, 10.0, 10.0), (50.0, 0.0, 60.0, 10.0)


class Scripted:
    """An expert that answers by the frame's first pixel (its number) and keeps what it was asked."""

    description = "scripted"
    weights = ""

    def __init__(self, name: str, script: Mapping[int, list[Finding]] | Exception, kind: str = "image") -> None:
        self.name, self.script, self.kinds = name, script, frozenset({kind})
        self.asked: list[Media] = []

    def __call__(self, media: Media) -> list[Finding]:
        self.asked.append(media)
        if isinstance(self.script, Exception):
            raise self.script
        return self.script.get(int(media.pixels[0, 0, 0]) if isinstance(media, Image) else 0, [])


def video(numbers: list[int], *, audio: Audio | None = None, step_s: float = 2.0) -> Video:
    """A video of flat frames, `step_s` apart from 0; frame i shows numbers[i] in its pixels."""
    frames = [Image.open(np.full((8, 8, 3), number, np.uint8), name="frame") for number in numbers]
    times_s = [i * step_s for i in range(len(numbers))]
    return Video(frames, times_s, audio, len(numbers) * step_s, "clip.mp4", "0" * 64)


def seen(text: str, score: float = 0.5, box: tuple[float, float, float, float] | None = None) -> Finding:
    return Finding("detect", text, score, box=box, source="frame")


def told(findings: list[Finding]) -> list[tuple[str, str, tuple[float, float] | None]]:
    return [(finding.expert, finding.text, finding.span) for finding in findings]


def test_a_thing_in_consecutive_frames_is_one_finding_of_its_best_frame() -> None:
    script = {0: [seen("dog", 0.4, LEFT)], 1: [seen("Dog ", 0.9, RIGHT)], 2: [seen("dog", 0.6, LEFT)]}
    (dog,) = Watcher(experts={"detect": Scripted("detect", script)})(video([0, 1, 2, 3]))
    extra = {"frames": 3, "frame_s": 2.0}
    assert dog == Finding("detect", "Dog ", 0.9, RIGHT, (0.0, 6.0), "clip.mp4", extra)


def test_a_gap_starts_a_new_finding_and_the_last_frame_lasts_to_the_end() -> None:
    detect = Scripted("detect", {1: [seen("dog")]})
    findings = Watcher(experts={"detect": detect})(video([0, 1, 0, 1]))
    assert told(findings) == [("detect", "dog", (2.0, 4.0)), ("detect", "dog", (6.0, 8.0))]


def test_two_of_a_kind_are_followed_apart_by_where_they_are() -> None:
    script = {
        0: [seen("dog", 0.5, LEFT), seen("dog", 0.6, RIGHT)],
        1: [seen("dog", 0.7, RIGHT), seen("dog", 0.4, LEFT)],  # named in the other order
        2: [seen("dog", 0.3, RIGHT)],
    }
    findings = Watcher(experts={"detect": Scripted("detect", script)})(video([0, 1, 2]))
    assert [(f.box, f.score, f.span) for f in findings] == [(LEFT, 0.5, (0.0, 4.0)), (RIGHT, 0.7, (0.0, 6.0))]


def test_one_timeline_is_ordered_by_start_over_all_experts() -> None:
    sound = Audio.open(np.zeros(16_000, np.float32), rate_hz=16_000, name="clip.mp4 sound")
    experts: dict[str, Expert] = {
        "speech": Scripted("speech", {0: [Finding("speech", "hello", 0.8, span=(1.0, 1.5))]}, "audio"),
        "ocr": Scripted("ocr", {1: [Finding("ocr", "EXIT", 0.9)]}),
        "detect": Scripted("detect", {0: [seen("dog")], 1: [seen("cat")]}),
    }
    findings = Watcher(experts=experts)(video([0, 1], audio=sound))
    assert told(findings) == [
        ("detect", "dog", (0.0, 2.0)),
        ("speech", "hello", (1.0, 1.5)),
        ("detect", "cat", (2.0, 4.0)),
        ("ocr", "EXIT", (2.0, 4.0)),
    ]
    assert {finding.source for finding in findings} == {"clip.mp4"}


def test_a_still_picture_is_looked_at_once_and_still_lasts() -> None:
    detect = Scripted("detect", {0: [seen("dog")]})
    findings = Watcher(experts={"detect": detect})(video([0, 0, 0, 1]))
    assert len(detect.asked) == 2
    assert told(findings) == [("detect", "dog", (0.0, 6.0))]


def test_silent_video_does_not_ask_for_speech() -> None:
    listener = Scripted("speech", {}, "audio")
    assert Watcher(experts={"speech": listener, "detect": Scripted("detect", {})})(video([0])) == []
    assert listener.asked == []


def test_one_failing_expert_is_told_and_the_others_go_on() -> None:
    experts: dict[str, Expert] = {
        "ocr": Scripted("ocr", WeightsError("no weights")),
        "detect": Scripted("detect", {0: [seen("dog")]}),
    }
    findings = Watcher(experts=experts)(video([0, 1]))
    assert told(findings) == [("detect", "dog", (0.0, 2.0)), ("ocr", "(ocr failed)", (0.0, 4.0))]
    assert findings[1].score == 0 and findings[1].extra == {"error": "no weights"}


def test_when_every_expert_fails_so_does_the_video() -> None:
    with pytest.raises(ExpertError, match="^no expert could work on 'clip.mp4': ocr: broken$"):
        Watcher(experts={"ocr": Scripted("ocr", ExpertError("broken"))})(video([0]))


def test_our_own_mistakes_are_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        Watcher(experts={"ocr": Scripted("ocr", ZeroDivisionError())})(video([0]))


def test_watcher_is_an_expert_and_takes_only_video() -> None:
    watcher = Watcher()
    assert isinstance(watcher, Expert)
    with pytest.raises(MediaError, match="'photo' is of kind image; video takes video: ask detect, tag, ocr, caption"):
        watcher(Image.open(np.zeros((4, 4, 3), np.uint8), name="photo"))


def test_registered_experts_are_asked_with_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Settings]] = []

    def get(name: str, settings: Settings) -> Expert:
        asked.append((name, settings))
        return Scripted(name, {0: [Finding(name, name, 0.5)]})

    monkeypatch.setattr("experts.get", get, raising=False)
    settings = Settings(threads=1)
    findings = Watcher(settings)(video([0]))
    assert [finding.text for finding in findings] == ["detect", "tag", "ocr", "caption"]
    assert asked == [(name, settings) for name in ("detect", "tag", "ocr", "caption")]


# A real file


def mp4(speech: np.ndarray, show: Callable[[float], int], rate_fps: int = 10) -> bytes:
    """An MP4 as long as `speech` [S] (16,000 Hz): AAC sound and flat grey frames of the brightness `show(time)`."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as box:
        pictures = box.add_stream("mpeg4", rate=rate_fps)
        pictures.width = pictures.height = 64
        pictures.pix_fmt = "yuv420p"
        sound = box.add_stream("aac", rate=16_000, layout="mono")
        for i in range(len(speech) * rate_fps // 16_000):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), show(i / rate_fps), np.uint8), format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, rate_fps)
            box.mux(pictures.encode(frame))
        for at in range(0, len(speech), 1024):
            part = av.AudioFrame.from_ndarray(speech[None, at : at + 1024], format="fltp", layout="mono")
            part.sample_rate, part.pts, part.time_base = 16_000, at, Fraction(1, 16_000)
            box.mux(sound.encode(part))
        box.mux(pictures.encode(None))
        box.mux(sound.encode(None))
    return file.getvalue()


class Brightness:
    """Says "dark" or "bright" of a picture, by its mean."""

    name, description, kinds, weights = "tag", "brightness", frozenset({"image"}), ""

    def __call__(self, media: Media) -> list[Finding]:
        assert isinstance(media, Image)
        return [Finding(self.name, "bright" if media.pixels.mean() > 127 else "dark", 1.0, source=media.name)]


@pytest.mark.skipif(
    not (home() / "weights" / "whisper-base" / "model.bin").is_file(),
    reason="whisper-base is not here: `duet weights fetch whisper-base`",
)
def test_a_real_video_is_told_as_seen_and_said() -> None:
    pause = np.zeros(16_000, np.float32)
    speech = np.concatenate([pause, Audio.open(UMBRELLA).samples, pause])  # 1 s + 4.055 s + 1 s
    clip = Video.open(mp4(speech, lambda time_s: 20 if time_s < 3 else 230), name="clip.mp4")
    findings = Watcher(experts={"tag": Brightness(), "speech": Listener()})(clip)
    dark, bright = (f for f in findings if f.expert == "tag")
    frame_s = clip.duration_s / len(clip.frames)
    assert dark.text == "dark" and dark.span and dark.span[1] == pytest.approx(3, abs=frame_s + 0.1)
    assert bright.text == "bright" and bright.span == (dark.span[1], clip.duration_s)
    said = [f for f in findings if f.expert == "speech"]
    assert "red umbrella" in " ".join(f.text for f in said)
    assert said[0].span and said[0].span[0] == pytest.approx(1, abs=0.6)
    assert said[-1].span and said[-1].span[1] <= clip.duration_s
    assert [f.span for f in findings] == sorted(f.span for f in findings if f.span)
