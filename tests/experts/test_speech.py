"""The speech expert: both engines write what was said, at the right time, and nothing where nobody speaks."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest

from experts import speech
from experts.base import Expert, Finding
from experts.config import Settings, home
from experts.errors import ExpertError, MediaError, UnknownNameError, WeightsError
from experts.media import Audio, Image
from experts.speech import ENGINES, Engine, Heard, Listener, languages, unlooped, written
from experts.voices import Stretch, levelled, pieces, stretches, voiced
from experts.weights.convert import whisper as converter

ROOT = Path(__file__).parents[2]
FIXTURES = Path(__file__).parents[1] / "fixtures" / "speech"
ANNOUNCEMENT = "Attention please. The train to the old harbor leaves from platform four in ten minutes. \
Please keep your bags with you."
SPOKEN = {
    ROOT / "examples" / "announcement.wav": ("en", ANNOUNCEMENT),
    FIXTURES / "umbrella.flac": ("en", "She put the red umbrella next to the wooden chair and closed the window."),
    FIXTURES / "museum.flac": (
        "en",
        "Good morning. The museum is open every day except Monday. Children enter for free.",
    ),
    FIXTURES / "museo.flac": ("es", "Buenos días. El museo está abierto todos los días menos el lunes."),
}
RATE_HZ = Audio.RATE_HZ
needs_whisper = pytest.mark.skipif(
    not (home() / "weights" / "whisper-base" / "model.bin").is_file(),
    reason="whisper-base is not here: `duet weights fetch whisper-base`",
)
# openai-whisper leaves its own asset files to the garbage collector
pytestmark = pytest.mark.filterwarnings(r"ignore:unclosed file .*whisper[/\\]:ResourceWarning")


@pytest.fixture(scope="module")
def listeners() -> dict[str, Listener]:
    return {engine: Listener(Settings(speech_engine=engine)) for engine in ENGINES}


def said(findings: list[Finding], language: str) -> str:
    from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

    text = " ".join(finding.text for finding in findings)
    return (EnglishTextNormalizer() if language == "en" else BasicTextNormalizer())(text)


def sound(samples: np.ndarray) -> Audio:
    return Audio.open(samples.astype(np.float32), rate_hz=RATE_HZ)


def noises() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    t_s = np.arange(8 * RATE_HZ) / RATE_HZ
    white = rng.normal(0, 0.2, t_s.size).clip(-1, 1)
    return {
        "silence": np.zeros(t_s.size),
        "one sample": np.zeros(1),
        "loud noise": white,
        "faint noise": white / 200,
        "tone": 0.3 * np.sin(2 * np.pi * 440 * t_s),
        "clicks": (rng.random(t_s.size) < 0.0005) * 0.9,
        "noise like syllables": white * (1 + np.sin(2 * np.pi * 4 * t_s)) / 2,
    }


@needs_whisper
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=[] if path.stem == "museum" else pytest.mark.slow, id=path.stem) for path in SPOKEN],
)
def test_both_engines_write_what_was_said_and_agree(path: Path, listeners: dict[str, Listener]) -> None:
    language, text = SPOKEN[path]
    audio = Audio.open(path)
    written = {}
    for engine, listener in listeners.items():
        findings = listener(audio)
        assert {finding.extra["language"] for finding in findings} == {language}
        assert all(f.expert == "speech" and f.source == path.name and 0 < f.score <= 1 for f in findings)
        spans = [finding.span for finding in findings]
        assert all(span and 0 <= span[0] < span[1] <= audio.duration_s for span in spans)
        assert spans == sorted(spans)
        json.dumps([finding.to_dict() for finding in findings])
        written[engine] = said(findings, language)
        assert jiwer.wer(said([Finding("speech", text, 1.0)], language), written[engine]) <= 0.15, engine
    assert jiwer.wer(*written.values()) <= 0.15


@needs_whisper
@pytest.mark.parametrize("path", SPOKEN, ids=lambda path: path.stem)
def test_the_default_engine_writes_what_was_said(path: Path, listeners: dict[str, Listener]) -> None:
    language, text = SPOKEN[path]
    written = said(listeners["faster-whisper"](Audio.open(path)), language)
    assert jiwer.wer(said([Finding("speech", text, 1.0)], language), written) <= 0.15


@needs_whisper
def test_speech_between_silences_keeps_its_own_times_and_repeats_exactly(listeners: dict[str, Listener]) -> None:
    first, second = (Audio.open(FIXTURES / name).samples for name in ("umbrella.flac", "museum.flac"))
    pause = np.zeros(4 * RATE_HZ, np.float32)
    audio = sound(np.concatenate([pause, first, pause, second, pause]))
    findings = listeners["faster-whisper"](audio)
    second_s = 4 + len(first) / RATE_HZ + 4
    umbrella = [f for f in findings if "umbrella" in f.text]
    museum = [f for f in findings if "museum" in f.text.lower()]
    assert len(umbrella) == 1 and umbrella[0].span is not None and museum and museum[0].span is not None
    assert umbrella[0].span[0] == pytest.approx(4, abs=0.6)
    assert umbrella[0].span[1] == pytest.approx(4 + len(first) / RATE_HZ, abs=1)
    assert museum[0].span[1] > second_s + 2
    assert [f.to_dict() for f in listeners["faster-whisper"](audio)] == [f.to_dict() for f in findings]


@needs_whisper
def test_speech_in_noise_is_still_written(listeners: dict[str, Listener]) -> None:
    clean = Audio.open(FIXTURES / "museum.flac").samples
    noise = np.random.default_rng(1).normal(0, clean.std() / 10, clean.size)  # 20 dB
    written = said(listeners["faster-whisper"](sound((clean + noise).clip(-1, 1))), "en")
    wanted = said([Finding("speech", SPOKEN[FIXTURES / "museum.flac"][1], 1.0)], "en")
    assert jiwer.wer(wanted, written) <= 0.15


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", noises())
def test_nothing_is_made_up_where_nobody_speaks(name: str, engine: str) -> None:
    # The model is not even loaded: a name that does not exist would be refused.
    assert Listener(Settings(speech="no-such-model", speech_engine=engine))(sound(noises()[name])) == []


# The conversion


@needs_whisper
def test_converted_checkpoint_is_the_same_model(listeners: dict[str, Listener]) -> None:
    """Encoder outputs and the likeliest next tokens against CTranslate2's own reading of the same file."""
    import ctranslate2
    import torch
    import whisper

    directory = home() / "weights" / "whisper-base"
    path = converter.openai_checkpoint(directory)
    checkpoint = torch.load(path, weights_only=True)
    n_text = {"n_vocab": 51865, "n_text_ctx": 448, "n_text_state": 512, "n_text_head": 8, "n_text_layer": 6}
    n_audio = {"n_mels": 80, "n_audio_ctx": 1500, "n_audio_state": 512, "n_audio_head": 8, "n_audio_layer": 6}
    assert checkpoint["dims"] == n_audio | n_text  # openai-whisper's published "base"
    model = whisper.load_model(str(path), device="cpu")  # strict: every key there, none too many, shapes right
    assert torch.allclose(model.encoder.positional_embedding, whisper.model.sinusoids(1500, 512), atol=1e-3)

    samples = whisper.pad_or_trim(Audio.open(FIXTURES / "umbrella.flac").samples)
    mel = whisper.log_mel_spectrogram(samples)[None]
    theirs = ctranslate2.models.Whisper(str(directory), device="cpu", compute_type="float32", intra_threads=1)
    features = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel.numpy()))
    encoded = torch.from_numpy(np.array(theirs.encode(features)))
    with torch.inference_mode():
        ours = model.encoder(mel)
        assert (ours - encoded).abs().max() < 0.02 * encoded.abs().max()
        prompt = [50258, 50259, 50359, 50363]  # start, English, transcribe, no times
        result = theirs.generate(features, [prompt], beam_size=1, max_length=40, return_logits_vocab=False)[0]
        tokens = result.sequences_ids[0]
        logits = model.decoder(torch.tensor([prompt + tokens]), ours)[0, len(prompt) - 1 : -1]
    assert len(tokens) > 10 and logits.argmax(-1).tolist() == tokens


@needs_whisper
def test_damaged_or_foreign_checkpoint_is_converted_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUET_HOME", str(tmp_path))
    calls = []

    def fake(path: Path) -> dict[str, Any]:
        calls.append(path.name)
        return {"dims": {}, "model_state_dict": {}}

    monkeypatch.setattr(converter, "convert", fake)
    source = tmp_path / "whisper-tiny"
    source.mkdir()
    (source / "model.bin").write_bytes(b"one")
    target = converter.openai_checkpoint(source)
    assert target == tmp_path / "weights" / "whisper-tiny-openai" / "tiny.pt"
    converter.openai_checkpoint(source)
    assert len(calls) == 1
    target.write_bytes(target.read_bytes()[:100])
    converter.openai_checkpoint(source)
    assert len(calls) == 2
    (source / "model.bin").write_bytes(b"two")
    converter.openai_checkpoint(source)
    assert len(calls) == 3
    assert {path.name for path in target.parent.iterdir()} <= {"tiny.pt", "tiny.lock"}


def binary(*, spec: str = "WhisperSpec", version: int = 6) -> bytes:
    """A CTranslate2 file with one float32 variable [2, 1] and one alias, written by hand from the format."""

    def text(value: str) -> bytes:
        return struct.pack("<H", len(value) + 1) + value.encode() + b"\0"

    variable = text("a/b") + struct.pack("<B2I", 2, 2, 1) + struct.pack("<BI2f", 0, 8, 1.5, -2.0)
    return (
        struct.pack("<I", version)
        + text(spec)
        + struct.pack("<II", 3, 1)
        + variable
        + struct.pack("<I", 1)
        + text("c")
        + text("a/b")
    )


def test_binary_layout_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(binary())
    stored = converter.read(file)
    assert stored.aliases == {"c": "a/b"}
    assert {name: value.tolist() for name, value in stored.variables.items()} == {"a/b": [[1.5], [-2.0]]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a CTranslate2 model"),
        (binary()[:-30], "not a CTranslate2 model, or is cut short"),
        (binary(spec="TransformerSpec"), "is TransformerSpec revision 3 .* expected WhisperSpec"),
        (binary(version=7), "binary version 7; expected"),
        (binary(), "does not tie"),
    ],
)
def test_other_files_are_refused_in_one_line(data: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(data)
    with pytest.raises(WeightsError, match=message) as caught:
        converter.convert(file)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


# Text and times


def test_a_span_stays_inside_the_parts_it_touches() -> None:
    stretch = Stretch(((16_000, 32_000), (80_000, 96_000)))  # speech in seconds 1 to 2 and 5 to 6
    assert stretch.within(1.0, 1.5) == (1.0, 1.5)
    assert stretch.within(0.0, 4.0) == (1.0, 2.0)  # the pause is nobody's
    assert stretch.within(3.0, 5.5) == (5.0, 5.5)
    assert stretch.within(1.5, 9.0) == (1.5, 6.0)
    assert stretch.within(7.0, 8.0) == (6.0, 6.0)


def flat(*spans: tuple[float, float, float]) -> np.ndarray:
    """Samples that are constant at a level over each (start s, end s, level), else 0; ten seconds."""
    samples = np.zeros(10 * RATE_HZ, np.float32)
    for start_s, end_s, level in spans:
        samples[int(start_s * RATE_HZ) : int(end_s * RATE_HZ)] = level
    return samples


def test_stretches_end_at_a_language_a_pause_or_a_level() -> None:
    loud_then_faint = flat((0, 6, 0.5), (6, 10, 0.05))
    parts = [(i * RATE_HZ, i * RATE_HZ + 8000) for i in (0, 1, 2, 5, 7)]
    joined = stretches(loud_then_faint, parts, ["en", "en", "de", "de", "de"])
    assert [(s.language, len(s.parts)) for s in joined] == [("en", 2), ("de", 1), ("de", 1), ("de", 1)]
    assert [part for s in joined for part in s.parts] == parts


def test_a_long_part_is_cut_at_its_quietest_place_and_nothing_is_lost() -> None:
    samples = flat((0, 3.5, 0.5), (3.7, 10, 0.5))
    (a, b), *rest = cut = pieces(samples, (0, len(samples)), longest_s=4.0)
    assert a == 0 and 3.5 * RATE_HZ <= b <= 3.7 * RATE_HZ and rest
    assert all(last - first <= 4 * RATE_HZ for first, last in cut)
    assert [first for first, _ in cut[1:]] == [last for _, last in cut[:-1]] and cut[-1][1] == len(samples)


def test_only_what_is_fainter_than_speech_is_amplified() -> None:
    faint = flat((1, 2, 0.001))
    assert levelled(faint).max() == pytest.approx(0.1, rel=0.01)
    assert levelled(flat((1, 2, 0.3))) is not None and levelled(flat((1, 2, 0.3))).max() == np.float32(0.3)
    assert not levelled(flat()).any()


def test_a_part_that_does_not_tell_its_language_has_that_of_most_of_the_sound() -> None:
    told = {1: ("en", 0.99), 2: ("de", 0.9), 3: ("nn", 0.3), 4: ("ja", 0.99)}
    engine = Engine(lambda samples: told[round(float(samples[0]) * 10)], lambda samples, language: [])
    samples = flat((0, 4, 0.1), (4, 6, 0.2), (6, 9, 0.3), (9, 9.5, 0.4))
    parts = [(0, 64_000), (64_000, 96_000), (96_000, 144_000), (144_000, 152_000)]
    assert languages(engine, samples, parts) == ["en", "de", "en", "en"]  # the last is half a second long


def test_a_stretch_whose_text_loops_is_heard_in_halves() -> None:
    heard: list[int] = []

    def write(samples: np.ndarray, language: str) -> list[Heard]:
        heard.append(len(samples))
        return [Heard("box", 0.0, 1.0, -0.1, 0.0, 3.0 if len(samples) > 6 * RATE_HZ else 1.0)]

    engine = Engine(lambda samples: ("en", 1.0), write)
    found = written(engine, flat((0, 4.9, 0.5), (5.1, 10, 0.5)), Stretch(((0, 10 * RATE_HZ),), "en"))
    assert heard[0] == 10 * RATE_HZ and sum(heard[1:]) == heard[0] and len(heard) == 3
    assert found[0].start_s == 0.0 and found[1].start_s == pytest.approx(5.0, abs=0.2)


def test_white_noise_over_a_minute_is_nobody_speaking() -> None:
    for seed in range(2):
        noise = np.random.default_rng(seed).uniform(-0.5, 0.5, 70 * RATE_HZ).astype(np.float32)
        assert voiced(noise) == []


@needs_whisper
def test_two_languages_a_long_pause_and_a_faint_voice_are_told_apart(listeners: dict[str, Listener]) -> None:
    english, spanish = (Audio.open(FIXTURES / name).samples for name in ("umbrella.flac", "museo.flac"))
    pause = np.zeros(20 * RATE_HZ, np.float32)
    audio = sound(np.concatenate([english, pause, spanish * 0.03, pause[:RATE_HZ]]))
    listener = listeners["faster-whisper"]
    findings = listener(audio)
    assert [f.extra["language"] for f in findings] == ["en"] * (len(findings) - 1) + ["es"] and len(findings) == 2
    (first, second), ends_s = (f.span for f in findings), len(english) / RATE_HZ
    assert first is not None and second is not None
    assert "umbrella" in findings[0].text and "museo" in findings[1].text.lower()
    assert first[1] <= ends_s + 0.3 and second[0] == pytest.approx(ends_s + 20, abs=0.5)
    assert listener(audio) == findings


@pytest.mark.parametrize(
    ("text", "shorter"),
    [
        ("No, no, no, no, no, no. Stop.", "No, No, No ... Stop."),
        ("thank you thank you thank you thank you", "thank you, thank you, thank you ..."),
        ("no, no, no", "no, no, no"),
        ("one two three four", "one two three four"),
    ],
)
def test_only_phrases_repeated_more_than_three_times_are_cut(text: str, shorter: str) -> None:
    assert unlooped(text) == shorter


def fake_engine(*heard: Heard) -> dict[str, Any]:
    return {
        "faster-whisper": lambda settings: Engine(lambda samples: ("en", 1.0), lambda samples, language: list(heard))
    }


def listened(monkeypatch: pytest.MonkeyPatch, *heard: Heard) -> list[Finding]:
    monkeypatch.setattr(speech, "ENGINES", fake_engine(*heard))
    monkeypatch.setattr(speech, "voiced", lambda samples: [(0, len(samples))])
    return Listener()(sound(np.zeros(2 * RATE_HZ)))


def test_score_is_the_mean_token_probability_and_looping_text_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Heard(" Good morning. ", 0.0, 1.0, math.log(0.5), 0.25, 1.1)
    looping = Heard("ha " * 40, 1.0, 30.0, 0.1, 0.0, 9.0)
    empty = Heard(" ... ", 1.0, 2.0, -0.1, 0.0, 0.5)
    assert listened(monkeypatch, plain, looping, empty) == [
        Finding("speech", "Good morning.", 0.5, None, (0.0, 1.0), "audio", {"language": "en", "no_speech": 0.25}),
        Finding(
            "speech",
            "ha, ha, ha ...",
            1.0,
            None,
            (1.0, 2.0),
            "audio",
            {"language": "en", "no_speech": 0.0, "repeats": True},
        ),
    ]


def test_a_sentence_said_again_in_no_time_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    said_s = [(0.0, 1.0), (1.0, 1.95), (1.95, 2.0), (2.0, 2.0)]  # of two seconds of speech
    heard = [Heard("Please come in.", *span, -0.1, 0.0, 1.0) for span in said_s]
    assert [f.span for f in listened(monkeypatch, *heard)] == said_s[:2]


# Refusals


def test_listener_is_an_expert_and_takes_only_sound() -> None:
    listener = Listener()
    assert isinstance(listener, Expert) and listener.weights == "whisper-base"
    with pytest.raises(MediaError, match="'photo' is of kind image; speech takes audio"):
        listener(Image.open(np.zeros((4, 4, 3), np.uint8), name="photo"))


def test_unknown_engine_and_model_name_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="known: faster-whisper, openai-whisper"):
        Listener(Settings(speech_engine="whisper"))
    monkeypatch.setattr(speech, "voiced", lambda samples: [(0, len(samples))])
    for engine in ENGINES:
        with pytest.raises(UnknownNameError, match="whisper-base.*did you mean 'whisper-base'"):
            Listener(Settings(speech="whisper-bass", speech_engine=engine))(sound(np.zeros(RATE_HZ)))


def test_unreachable_hub_is_one_line_without_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    import faster_whisper.utils
    import whisper

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route to https://example.org/model.bin in /root/.cache/models\nretry later")

    monkeypatch.setattr(speech, "voiced", lambda samples: [(0, len(samples))])
    monkeypatch.setattr(faster_whisper.utils.huggingface_hub, "snapshot_download", unreachable)
    monkeypatch.setattr(whisper, "_download", unreachable)
    for engine in ENGINES:
        with pytest.raises(ExpertError, match="'turbo' could not be fetched from the model hub: no route") as caught:
            Listener(Settings(speech="turbo", speech_engine=engine))(sound(np.zeros(RATE_HZ)))
        assert not any(part in str(caught.value) for part in ("\n", "https", "example.org", "/root"))


@pytest.mark.parametrize("engine", ENGINES)
def test_incomplete_directory_names_what_is_missing(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech, "voiced", lambda samples: [(0, len(samples))])
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.bin").write_bytes(b"x")
    settings = Settings(speech=str(tmp_path / "mine"), speech_engine=engine)
    with pytest.raises(WeightsError, match="^'mine' lacks config.json, tokenizer.json;"):
        Listener(settings)(sound(np.zeros(RATE_HZ)))
    assert Listener(replace(settings)).weights == "mine"


@pytest.mark.parametrize(("cublas", "wanted"), [(True, ("cuda", "float16")), (False, ("cpu", "int8"))])
def test_a_gpu_is_taken_only_with_the_library_it_needs(
    cublas: bool, wanted: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ctranslate2
    import faster_whisper

    taken: list[dict[str, Any]] = []
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(speech, "_has_cublas", lambda: cublas)

    class Model:
        def __init__(self, name: str, **options: Any) -> None:
            taken.append(options)

    monkeypatch.setattr(faster_whisper, "WhisperModel", Model)
    speech.faster_whisper(Settings(speech="turbo"))
    assert (taken[0]["device"], taken[0]["compute_type"]) == wanted


def test_engine_failure_is_an_expert_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(settings: Settings) -> speech.Engine:
        def fails(*given: object) -> Any:
            raise RuntimeError("out of memory in '/opt/lib/x.so'\nstack")

        return Engine(fails, fails)

    monkeypatch.setattr(speech, "ENGINES", {"faster-whisper": broken})
    monkeypatch.setattr(speech, "voiced", lambda samples: [(0, len(samples))])
    with pytest.raises(ExpertError, match="^speech in 'audio' could not be transcribed: out of memory in 'x.so'$"):
        Listener()(sound(np.zeros(RATE_HZ)))
