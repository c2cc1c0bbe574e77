"""Sound at another rate: a band-limited polyphase filter, as scipy.signal.resample_poly has it, in NumPy alone."""

from __future__ import annotations

import numpy as np

HALF_WIDTH, BETA = 10, 5.0  # of the filter: zero crossings on each side, and the shape of its Kaiser window
AT_ONCE = 1 << 20  # samples that are computed together


def resampled(samples: np.ndarray, rate_hz: int, wanted_hz: int) -> np.ndarray:
    """`samples` [S] at `rate_hz` as [ceil(S * wanted_hz / rate_hz)] at `wanted_hz`, in float32."""
    shared = np.gcd(rate_hz, wanted_hz)
    up, down = wanted_hz // int(shared), rate_hz // int(shared)
    if up == down:
        return samples.astype(np.float32)
    most = max(up, down)
    half = HALF_WIDTH * most
    at = np.arange(-half, half + 1)
    taps = np.sinc(at / most) * np.kaiser(2 * half + 1, BETA)
    taps *= up / taps.sum()
    steps = -(-len(taps) // up)  # of the input that one output sees
    phases = np.pad(taps, (0, steps * up - len(taps))).reshape(steps, up).astype(np.float32)  # [steps, up]
    padded = np.pad(samples.astype(np.float32), steps)
    out = np.empty(-(-len(samples) * up // down), np.float32)
    for first in range(0, len(out), AT_ONCE):
        place = np.arange(first, min(first + AT_ONCE, len(out))) * down + half  # on the grid that both rates share
        phase, newest = place % up, place // up + steps
        total = np.zeros(len(place), np.float32)
        for step in range(steps):
            seen = np.minimum(newest - step, len(padded) - 1)  # behind the end there are zeros
            total += phases[step, phase] * padded[seen]
        out[first : first + len(place)] = total
    return out
