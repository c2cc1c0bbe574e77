"""Limits on sound and films that are checked while they are decoded, and the refusal that ends it."""

from __future__ import annotations

from experts.config import Limits


class Refused(Exception):
    """A limit or a mismatch; the text goes after the medium's name."""


def too_big(size: int, limit: int, plural: str) -> str:
    return f"is {size / 1e6:,.1f} MB; accepted: {plural} up to {limit / 1e6:,.1f} MB; make it smaller or shorter"


def check_length(length_s: float, limit_s: float, plural: str) -> None:
    if length_s > limit_s:
        raise Refused(f"lasts {length_s:,.0f} s; accepted: {plural} up to {limit_s:,.0f} s; cut it into parts")


def check_decoded(n_values: float, limits: Limits) -> None:
    """`n_values`: samples times channels, at the file's own rate."""
    if n_values * 4 > limits.audio_decoded_bytes:
        raise Refused(
            f"is {n_values * 4 / 1e6:,.0f} MB of sound when decoded; accepted: up to "
            f"{limits.audio_decoded_bytes / 1e6:,.0f} MB; use fewer channels, a lower rate or a shorter part"
        )
