"""Sound at another rate: what scipy's polyphase filter gives."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import resample_poly

from experts.media.resample import AT_ONCE, resampled


@pytest.mark.parametrize(
    "rate_hz,length",
    [(8000, 1000), (44100, 5000), (48000, 4801), (22050, 777), (11025, 1), (16001, 900), (48000, 3 * AT_ONCE + 7)],
)
def test_samples_are_those_of_scipy(rate_hz: int, length: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, length).astype(np.float32)
    shared = int(np.gcd(rate_hz, 16000))
    wanted = resample_poly(samples, 16000 // shared, rate_hz // shared)
    found = resampled(samples, rate_hz, 16000)
    assert found.dtype == np.float32 and found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 5e-6


def test_the_same_rate_changes_nothing() -> None:
    samples = np.linspace(-1, 1, 100, dtype=np.float32)
    assert np.array_equal(resampled(samples, 16000, 16000), samples)
