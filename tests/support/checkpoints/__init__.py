"""Tiny random checkpoints of real families, written in the genuine format by the classes that read it."""

from checkpoints.build import build

__all__ = ["build"]
