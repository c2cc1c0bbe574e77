"""Sounds and films made for a test, with PyAV: tones whose pitch is known, frames whose grey tells their time."""

from __future__ import annotations

import io
import wave
from fractions import Fraction

import av
import numpy as np

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def sine(rate_hz: int, seconds: float, channels: int = 2, hz: float = 440, peak: float = 0.5) -> np.ndarray:
    """int16 [S, C]."""
    t = np.arange(round(rate_hz * seconds)) / rate_hz
    return np.repeat((peak * 32767 * np.sin(2 * np.pi * hz * t)).astype(np.int16)[:, None], channels, axis=1)


def wav(samples: np.ndarray, rate_hz: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(samples.shape[1])
        out.setsampwidth(samples.dtype.itemsize)
        out.setframerate(rate_hz)
        out.writeframes(samples.tobytes())
    return file.getvalue()


def mux(
    container: str,
    video: str | None = None,
    audio: str | None = None,
    *,
    n_frames: int = 50,
    fps: int = 10,
    gop: int = 12,
    late_s: float = 0.0,
    rate_hz: int = 48_000,
    channels: str = "stereo",
    size: tuple[int, int] = (64, 48),
    cover: bool = False,
) -> bytes:
    """A file whose frame i is grey level 4 * i, top left quarter white, with a 440 Hz tone as long as the pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as box:
        if video:
            pictures = box.add_stream(video, rate=fps)
            pictures.width, pictures.height = size
            pictures.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
            pictures.codec_context.gop_size = gop
        if audio:
            sound = box.add_stream(audio, rate=rate_hz, options={"strict": "experimental"})  # for vorbis
            sound.layout = channels
            if audio.startswith("wma"):
                sound.bit_rate = 128_000
        if cover:
            art = box.add_stream("mjpeg", rate=1)
            art.width, art.height, art.pix_fmt = 64, 48, "yuvj420p"
            art.disposition = av.stream.Disposition.attached_pic
        if video:
            for i in range(n_frames):
                grey = np.full((size[1], size[0], 3), min(4 * i, 255), np.uint8)
                grey[: size[1] // 2, : size[0] // 2] = 255
                frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
                frame.pts, frame.time_base = i, Fraction(1, fps)
                box.mux(pictures.encode(frame))
            box.mux(pictures.encode(None))
        if audio:
            tone = sine(48_000, n_frames / fps - late_s)
            resampler = av.AudioResampler(format=sound.format, layout=channels, rate=rate_hz, frame_size=960)
            whole = av.AudioFrame.from_ndarray(tone.reshape(1, -1), format="s16", layout="stereo")
            whole.sample_rate, whole.pts, whole.time_base = 48_000, round(48_000 * late_s), Fraction(1, 48_000)
            for frame in resampler.resample(whole) + resampler.resample(None):
                box.mux(sound.encode(frame))
            box.mux(sound.encode(None))
        if cover:
            frame = av.VideoFrame.from_ndarray(NOISE, format="rgb24")
            box.mux(art.encode(frame))
            box.mux(art.encode(None))
    return file.getvalue()


def pitch_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(np.argmax(spectrum)) * 16_000 / len(samples)


def peak(samples: np.ndarray) -> float:
    """Away from the ends, where filters ring."""
    return float(np.abs(samples[1600:-1600]).max())


def shifted(data: bytes, form: str, seconds: int) -> bytes:
    """The same packets with a clock that starts later, without encoding again."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as box, av.open(file, "w", format=form, options={"avoid_negative_ts": "0"}) as out:
        made = {stream.index: out.add_stream_from_template(stream) for stream in box.streams}
        for packet in box.demux():
            if packet.dts is None:
                continue
            late = round(seconds / packet.time_base)
            packet.pts, packet.dts = packet.pts + late, packet.dts + late
            packet.stream = made[packet.stream.index]
            out.mux(packet)
    return file.getvalue()
