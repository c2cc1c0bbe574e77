"""Arrays of sound -> samples [S] float32 at 16,000 Hz."""

from __future__ import annotations

import numpy as np

from experts.config import Limits
from experts.errors import MediaError
from experts.media.sound import RATE_HZ, mono

LOUDEST = 2.0  # a float array's overshoot beyond 1 that is clipped; above it, the scale is wrong


def samples_of_array(array: np.ndarray, shown: str, rate_hz: int | None, limits: Limits) -> np.ndarray:
    """[S] or [S, C] at `rate_hz` -> [S'] float32 at 16,000 Hz, by polyphase filtering."""
    fix = "accepted: [S] or [S, C] of uint8, int16, int32, or float in [-1, 1]; convert it"
    if not isinstance(rate_hz, int | np.integer) or not 1_000 <= rate_hz <= 768_000:
        raise MediaError(
            f"{shown} has a rate of {rate_hz} Hz; accepted: whole numbers from 1000 to 768000; pass rate_hz="
        )
    if array.ndim not in (1, 2) or (array.ndim == 2 and not 1 <= array.shape[1] <= 32):
        raise MediaError(f"{shown} is an array of shape {list(array.shape)}; {fix}, or transpose it")
    if not len(array):
        raise MediaError(f"{shown} is a sound of 0 samples; accepted: at least one; record it again")
    if len(array) > limits.audio_s * rate_hz or array.size * 4 > limits.audio_decoded_bytes:
        raise MediaError(
            f"{shown} lasts {len(array) / rate_hz:,.0f} s and fills {array.size * 4 / 1e6:,.0f} MB; accepted: up to "
            f"{limits.audio_s:,.0f} s and {limits.audio_decoded_bytes / 1e6:,.0f} MB; cut it into parts"
        )
    scale = {"|u1": 128, "<i2": 32768, "<i4": 2**31}.get(array.dtype.newbyteorder("<").str)
    if array.dtype.kind != "f" and not scale:
        raise MediaError(f"{shown} is an array of {array.dtype}; {fix}")
    if not np.isfinite(array).all():
        raise MediaError(f"{shown} is an array with NaN or infinite values; {fix}")
    if not scale and abs(array).max() > LOUDEST:
        raise MediaError(f"{shown} is a float array with a peak of {abs(array).max():g}; {fix}")
    samples: np.ndarray = array.astype(np.float32)
    if scale:
        samples = (samples - (128 if scale == 128 else 0)) / scale
    if samples.ndim == 2:
        samples = mono(samples.T)  # [S, C] -> [S]
    if rate_hz != RATE_HZ:
        from scipy.signal import resample_poly

        shared = np.gcd(int(rate_hz), RATE_HZ)
        samples = resample_poly(samples, RATE_HZ // shared, int(rate_hz) // shared)  # [S']
    return np.clip(samples, -1.0, 1.0).astype(np.float32)
