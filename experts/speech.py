"""Speech expert: a sound in, what is said in it out, one finding a segment, by Whisper in either of two engines.

Both engines get the same decoded samples, after the same voice detector (Silero, inside faster-whisper) has cut out
what is not speech: on silence and noise Whisper makes sentences up, so it never hears them.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experts.base import Finding
from experts.config import Settings, home
from experts.errors import DuetError, ExpertError, MediaError, UnknownNameError, WeightsError
from experts.media import Audio, Media

BEAM_SIZE = 2  # 5 reads the same text in two thirds more time (openai-whisper, two cores)
TEMPERATURES = (0.0, 0.5)  # the second is for text that loops or is improbable; sampled with a fixed seed
DECODING: dict[str, Any] = {
    "beam_size": BEAM_SIZE,
    "best_of": 1,
    "temperature": TEMPERATURES,
    "condition_on_previous_text": False,  # else one loop infects the rest of the recording
    "compression_ratio_threshold": 2.4,
    "no_speech_threshold": 0.6,
}
LOOP = re.compile(r"(\b\w[^\n]{0,60}?)(?:[\s,.;:!?]+\1\b){3,}[,.;:!?]*", re.IGNORECASE)
KEPT_REPEATS = 3


@dataclass(frozen=True)
class Heard:
    """One segment as an engine gives it; times in seconds of the samples it got."""

    text: str
    start_s: float
    end_s: float
    log_prob: float  # mean over the tokens of the 30 s window
    no_speech: float
    squeezed: float  # how far the window's text compresses; above 2.4 it loops


Engine = Callable[[np.ndarray], tuple[str, list[Heard]]]  # samples [S] -> language code, segments


class Listener:
    """Transcribes sound in any of Whisper's languages, with times.

    Each finding's score is the geometric mean of its window's token probabilities; `extra` holds the `language`
    (detected once, in the first 30 s of speech), the probability of `no_speech`, and `repeats` where a phrase that
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
        try:
            parts = voiced(media.samples)
            if not parts:
                return []
            with self._lock:
                if self._engine is None:
                    self._engine = ENGINES[self._settings.speech_engine](self._settings)
                language, heard = self._engine(np.concatenate([media.samples[a:b] for a, b in parts]))
        except DuetError:
            raise
        except Exception as error:  # the engines are native code and raise whatever they like
            raise ExpertError(f"speech in '{media.name}' could not be transcribed: {_reason(error)}") from error
        return [finding for h in heard if (finding := _finding(h, language, parts, media))]


def voiced(samples: np.ndarray) -> list[tuple[int, int]]:
    """Where somebody speaks: (first, last + 1) samples, in order, apart, with 0.4 s around; pauses under 2 s belong."""
    from faster_whisper.vad import get_speech_timestamps

    return [(part["start"], part["end"]) for part in get_speech_timestamps(samples)]


def original_s(time_s: float, parts: list[tuple[int, int]], *, is_end: bool = False) -> float:
    """A time in the joined `parts` as a time in the sound they were cut from.

    Where two parts meet, a start belongs to the later one and an end to the earlier. Times past the last part are its
    end.
    """
    sample = time_s * Audio.RATE_HZ
    for first, last in parts:
        length = last - first
        if sample < length or (is_end and sample == length):
            return (first + max(sample, 0.0)) / Audio.RATE_HZ
        sample -= length
    return parts[-1][1] / Audio.RATE_HZ


def unlooped(text: str) -> str:
    """`text` with any phrase that comes more than three times in a row written three times, then an ellipsis.

    >>> unlooped("No, no, no, no, no, no. Stop.")
    'No, No, No ... Stop.'
    """
    return LOOP.sub(lambda found: ", ".join([found[1]] * KEPT_REPEATS) + " ...", text)


def _finding(heard: Heard, language: str, parts: list[tuple[int, int]], media: Audio) -> Finding | None:
    text = heard.text.strip()
    if not any(c.isalnum() for c in text):  # "...", "♪": marks of a window without words
        return None
    extra: dict[str, Any] = {"language": language, "no_speech": round(heard.no_speech, 4)}
    if heard.squeezed > DECODING["compression_ratio_threshold"] and (shorter := unlooped(text)) != text:
        text, extra["repeats"] = shorter, True
    start_s = original_s(heard.start_s, parts)
    end_s = max(original_s(heard.end_s, parts, is_end=True), start_s)
    score = math.exp(min(heard.log_prob, 0.0))
    return Finding("speech", text, score, span=(round(start_s, 3), round(end_s, 3)), source=media.name, extra=extra)


# The engines: settings -> a loaded model as a function


def faster_whisper(settings: Settings) -> Engine:
    """CTranslate2: int8 on the CPU, float16 on a GPU.

    `settings.speech`: a weights name, a size, a hub name or a CTranslate2 directory.
    """
    import ctranslate2
    from faster_whisper import WhisperModel, available_models

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
        model = WhisperModel(
            str(source or settings.speech),
            device=device,
            compute_type=kind,
            cpu_threads=settings.threads,
            download_root=None if source else str(home() / "weights" / "hub"),
        )
    except Exception as error:
        raise _not_loaded(settings.speech, source, error) from error

    def transcribe(samples: np.ndarray) -> tuple[str, list[Heard]]:
        ctranslate2.set_random_seed(0)
        segments, info = model.transcribe(samples, log_prob_threshold=-1.0, **DECODING)
        return info.language, [
            Heard(s.text, s.start, s.end, s.avg_logprob, s.no_speech_prob, s.compression_ratio) for s in segments
        ]

    return transcribe


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

    def transcribe(samples: np.ndarray) -> tuple[str, list[Heard]]:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count() if device != "cpu" else 0)):
            torch.manual_seed(0)
            result = model.transcribe(samples, fp16=device != "cpu", logprob_threshold=-1.0, **DECODING)
        return result["language"], [
            Heard(s["text"], s["start"], s["end"], s["avg_logprob"], s["no_speech_prob"], s["compression_ratio"])
            for s in result["segments"]
        ]

    return transcribe


ENGINES: dict[str, Callable[[Settings], Engine]] = {"faster-whisper": faster_whisper, "openai-whisper": openai_whisper}


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
