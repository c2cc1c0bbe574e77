"""Speech expert: a sound in, what is said in it out, one finding a segment, by Whisper in either of two engines.

Both engines get the same stretches of speech, one after the other (experts/voices.py), each in its own language and
at its own level: on silence and noise Whisper makes sentences up, so it never hears them. Nothing is sampled at
random, so the same sound gives the same findings every time.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from experts.base import Finding
from experts.config import Settings, home
from experts.errors import DuetError, ExpertError, MediaError, UnknownNameError, WeightsError
from experts.media import Audio, Media
from experts.voices import Part, Stretch, levelled, pieces, stretches, voiced

BEAM_SIZE = 2  # 5 reads the same text in two thirds more time (openai-whisper, two cores)
DECODING: dict[str, Any] = {
    "beam_size": BEAM_SIZE,
    "temperature": 0.0,  # a higher one samples at random
    "condition_on_previous_text": False,  # else one loop infects the rest of the recording
    "compression_ratio_threshold": 2.4,
    "no_speech_threshold": 0.6,
}
SURE = 0.7  # the probability from which a part's own language is believed
LONG_ENOUGH_S = 1.0  # a shorter part does not tell its language
DETECTED = 40  # parts whose language is detected, the longest first
SHORTEST_CUT_S = 4.0  # a stretch whose text loops is cut in two and heard again, down to this length
FASTEST = 40.0  # letters a second that somebody can say
TAIL_S = 1.0  # what an engine leaves of a stretch; heard again alone, it repeats what was said before
PAD_FRAMES = 200  # of 10 ms of silence that the model hears after a stretch, instead of up to 30 s of it
LOOP = re.compile(r"(\b\w[^\n]{0,60}?)(?:[\s,.;:!?]+\1\b){3,}[,.;:!?]*", re.IGNORECASE)
KEPT_REPEATS = 3


@dataclass(frozen=True)
class Heard:
    """One segment as an engine gives it; times in seconds of the samples it got."""

    text: str
    start_s: float
    end_s: float
    log_prob: float  # mean over the tokens of the window
    no_speech: float
    squeezed: float  # how far the window's text compresses; above 2.4 it loops


@dataclass(frozen=True)
class Engine:
    """A loaded model as two functions of samples [S] of at most 30 s."""

    language: Callable[[np.ndarray], tuple[str, float]]  # the code of the likeliest language, and its probability
    write: Callable[[np.ndarray, str], list[Heard]]  # the segments, in that language


class Listener:
    """Transcribes sound in any of Whisper's languages, with times.

    Each finding's score is the geometric mean of its window's token probabilities; `extra` holds the `language`
    (detected for each stretch between pauses), the probability of `no_speech`, and `repeats` where a phrase that
    loops was cut to three repetitions.
    """

    name = "speech"
    description = "Writes down what is said in a sound, in the language it is said in, with start and end times."
    kinds = frozenset({"audio"})

    def __init__(self, settings: Settings | None = None) -> None:
        """Raises UnknownNameError where `settings.speech_engine` is not one of ENGINES."""
        self._settings = settings or Settings()
        if self._settings.speech_engine not in ENGINES:
            raise UnknownNameError("speech engine", self._settings.speech_engine, ENGINES)
        self.weights = Path(self._settings.speech).name
        self._engine: Engine | None = None
        self._lock = threading.Lock()  # openai-whisper keeps the state of a decoding on the model

    def __call__(self, media: Media) -> list[Finding]:
        """One finding a segment, in order of time; [] where nobody speaks.

        Raises:
            MediaError: not a sound.
            ExpertError: the model could not be loaded or failed.
            WeightsError, UnknownNameError: there are no such weights.
        """
        if not isinstance(media, Audio):
            raise MediaError(f"'{media.name}' is of kind {media.kind}; speech takes audio: pass its sound")
        samples = media.samples
        try:
            parts = [piece for part in voiced(samples) for piece in pieces(samples, part)]
            if not parts:
                return []
            with self._lock:
                if self._engine is None:
                    self._engine = ENGINES[self._settings.speech_engine](self._settings)
                heard = [
                    (one, stretch)
                    for stretch in stretches(samples, parts, languages(self._engine, samples, parts))
                    for one in written(self._engine, samples, stretch)
                ]
        except DuetError:
            raise
        except Exception as error:  # the engines are native code and raise whatever they like
            raise ExpertError(f"speech in '{media.name}' could not be transcribed: {_reason(error)}") from error
        findings = [finding for one, stretch in heard if (finding := _finding(one, stretch, media))]
        return [f for i, f in enumerate(findings) if not (i and _echoes(f, findings[i - 1]))]


def languages(engine: Engine, samples: np.ndarray, parts: list[Part]) -> list[str]:
    """The language of each part: its own where that is sure, else the one that most of the sound is in."""
    asked = sorted(range(len(parts)), key=lambda i: parts[i][0] - parts[i][1])[:DETECTED]
    told = {i: engine.language(levelled(samples[slice(*parts[i])])) for i in sorted(asked)}
    weights: dict[str, float] = {}
    for i, (language, probability) in told.items():
        weights[language] = weights.get(language, 0.0) + probability * (parts[i][1] - parts[i][0])
    most = max(weights, key=lambda language: weights[language])

    def of(index: int) -> str:
        language, probability = told.get(index, (most, 1.0))
        long_enough = parts[index][1] - parts[index][0] >= LONG_ENOUGH_S * Audio.RATE_HZ
        return language if long_enough and probability >= SURE else most

    return [of(i) for i in range(len(parts))]


def written(engine: Engine, samples: np.ndarray, stretch: Stretch) -> list[Heard]:
    """The segments of a stretch, in the time of the whole sound; where the text loops, of its halves."""
    heard = engine.write(levelled(samples[stretch.first : stretch.last]), stretch.language)
    loops = any(h.squeezed > DECODING["compression_ratio_threshold"] for h in heard)
    length_s = (stretch.last - stretch.first) / Audio.RATE_HZ
    if loops and length_s >= 2 * SHORTEST_CUT_S:
        cuts = [piece for part in stretch.parts for piece in pieces(samples, part, length_s / 2)]
        middle = min(range(1, len(cuts)), key=lambda i: abs(cuts[i][0] - (stretch.first + stretch.last) / 2))
        halves = (Stretch(tuple(cuts[:middle]), stretch.language), Stretch(tuple(cuts[middle:]), stretch.language))
        return [h for half in halves for h in written(engine, samples, half)]
    offset_s = stretch.first / Audio.RATE_HZ
    return [replace(h, start_s=h.start_s + offset_s, end_s=h.end_s + offset_s) for h in heard]


def unlooped(text: str) -> str:
    """`text` with any phrase that comes more than three times in a row written three times, then an ellipsis.

    >>> unlooped("No, no, no, no, no, no. Stop.")
    'No, No, No ... Stop.'
    """
    return LOOP.sub(lambda found: ", ".join([found[1]] * KEPT_REPEATS) + " ...", text)


def _finding(heard: Heard, stretch: Stretch, media: Audio) -> Finding | None:
    text = heard.text.strip()
    if not any(c.isalnum() for c in text):  # "...", "♪": marks of a window without words
        return None
    extra: dict[str, Any] = {"language": stretch.language, "no_speech": round(heard.no_speech, 4)}
    if heard.squeezed > DECODING["compression_ratio_threshold"] and (shorter := unlooped(text)) != text:
        text, extra["repeats"] = shorter, True
    start_s, end_s = stretch.within(heard.start_s, heard.end_s)
    score = math.exp(min(heard.log_prob, 0.0))
    return Finding("speech", text, score, span=(round(start_s, 3), round(end_s, 3)), source=media.name, extra=extra)


def _echoes(finding: Finding, before: Finding) -> bool:
    """Whether a window's end was filled by writing its sentence once more, in a time in which nobody can say it."""
    assert finding.span is not None
    length_s = finding.span[1] - finding.span[0]
    return finding.text == before.text and len(finding.text) > FASTEST * length_s


# The engines: settings -> a loaded model as functions


def faster_whisper(settings: Settings) -> Engine:
    """CTranslate2: int8 on the CPU, float16 on a GPU.

    `settings.speech`: a weights name, a size, a hub name or a CTranslate2 directory.
    """
    import ctranslate2
    from faster_whisper import available_models

    source = _local(settings.speech)
    if (
        source is None
        and settings.speech not in available_models()
        and not re.fullmatch(r"[\w.-]+/[\w.-]+", settings.speech)
    ):
        raise _unknown(settings.speech, available_models())
    device = settings.device
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() and _has_cublas() else "cpu"
    kind = "int8" if device == "cpu" else "float16"
    try:
        model = _short_windows()(
            str(source or settings.speech),
            device=device,
            compute_type=kind,
            cpu_threads=settings.threads,
            download_root=None if source else str(home() / "weights" / "hub"),
        )
    except Exception as error:
        raise _not_loaded(settings.speech, source, error) from error

    def write(samples: np.ndarray, language: str) -> list[Heard]:
        segments, _ = model.transcribe(samples, language=language, log_prob_threshold=-1.0, **DECODING)
        return [
            Heard(s.text, s.start, s.end, s.avg_logprob, s.no_speech_prob, s.compression_ratio)
            for s in segments
            if not _is_tail(s.seek, samples)
        ]

    return Engine(lambda samples: model.detect_language(samples)[:2], write)


def _short_windows() -> type:
    """faster-whisper's model, whose encoder hears what there is and 2 s of silence instead of padding it to 30 s.

    The silence has the level that openai-whisper's padding has: zeros, as faster-whisper pads with, are a sound.
    """
    from faster_whisper import WhisperModel

    class ShortWindows(WhisperModel):
        def encode(self, features: np.ndarray) -> Any:
            filled = int(np.flatnonzero(features.any(axis=0)).max(initial=0)) + 1  # of [mels, 3000]
            frames = min(features.shape[-1], filled + PAD_FRAMES) // 2 * 2  # the encoder halves them
            window = features[..., :frames].copy()
            window[..., filled:] = window.max() - 2.0  # the floor of Whisper's logarithmic scale, 80 dB down
            return super().encode(window)

    return ShortWindows


def openai_whisper(settings: Settings) -> Engine:
    """The reference implementation: float32 on the CPU, float16 on a GPU.

    `settings.speech`: a weights name, a size, a CTranslate2 directory or a .pt file.
    """
    import torch
    import whisper

    from experts.weights.convert.whisper import openai_checkpoint

    source = Path(settings.speech) if settings.speech.endswith(".pt") else _local(settings.speech)
    if source is None and settings.speech not in whisper.available_models():
        raise _unknown(settings.speech, whisper.available_models())
    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if source is not None and source.is_dir():
        source = openai_checkpoint(source)
    try:
        model = whisper.load_model(
            str(source or settings.speech), device=device, download_root=str(home() / "weights" / "openai-whisper")
        )
    except Exception as error:
        raise _not_loaded(settings.speech, source, error) from error

    def language_of(samples: np.ndarray) -> tuple[str, float]:
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(samples), model.dims.n_mels).to(model.device)
        probabilities = (
            model.detect_language(mel.half() if device != "cpu" else mel)[1] if model.is_multilingual else {}
        )
        language = max(probabilities, key=lambda code: probabilities[code], default="en")
        return language, probabilities.get(language, 1.0)

    def write(samples: np.ndarray, language: str) -> list[Heard]:
        result = model.transcribe(samples, language=language, fp16=device != "cpu", logprob_threshold=-1.0, **DECODING)
        return [
            Heard(s["text"], s["start"], s["end"], s["avg_logprob"], s["no_speech_prob"], s["compression_ratio"])
            for s in result["segments"]
            if not _is_tail(s["seek"], samples)
        ]

    return Engine(language_of, write)


ENGINES: dict[str, Callable[[Settings], Engine]] = {"faster-whisper": faster_whisper, "openai-whisper": openai_whisper}


def _is_tail(seek: int, samples: np.ndarray) -> bool:
    """Whether a window that begins at frame `seek`, of 10 ms, holds only the leftover end of a stretch."""
    return seek > 0 and len(samples) / Audio.RATE_HZ - seek / 100 < TAIL_S


def _has_cublas() -> bool:
    """Whether the cuBLAS that CTranslate2 needs is there: torch may bring another, and the first sound would fail."""
    try:
        ctypes.CDLL("cublas64_12.dll" if os.name == "nt" else "libcublas.so.12")
    except OSError:
        return False
    return True


def _local(speech: str) -> Path | None:
    """The CTranslate2 directory that `speech` names; None where it is no listed name and no directory."""
    from experts.weights.catalogue import WEIGHTS, resolve

    if speech in WEIGHTS:
        return resolve(speech)
    directory = Path(speech).expanduser()
    if not directory.is_dir():
        return None
    missing = [name for name in ("model.bin", "config.json", "tokenizer.json") if not (directory / name).is_file()]
    if missing:  # the engine would ask a model hub for the tokenizer
        raise WeightsError(f"'{directory.name}' lacks {', '.join(missing)}; expected a whole CTranslate2 Whisper model")
    return directory


def _unknown(speech: str, sizes: list[str]) -> UnknownNameError:
    from experts.weights.catalogue import WEIGHTS

    listed = [name for name in WEIGHTS if name.startswith("whisper")]
    return UnknownNameError("speech model", Path(speech).name, [*listed, *sizes])


def _not_loaded(speech: str, source: Path | None, error: Exception) -> ExpertError:
    where = "loaded" if source else "fetched from the model hub"
    return ExpertError(
        f"the speech model '{Path(speech).name}' could not be {where}: {_reason(error)}; 'whisper-base' needs no hub"
    )


def _reason(error: Exception) -> str:
    """The first line of an engine's message, folders and addresses taken out."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return re.sub(r"\w+://\S+|(?:[A-Za-z]:)?[/\\](?:[^\s'\"/\\]+[/\\])*", "", line)[:160]
