"""How many CPU threads a model may use."""

from __future__ import annotations

import os

from experts.config import Settings


def cpu_threads(settings: Settings) -> int:
    """The threads of one model: `settings.threads`, else as many as there are cores that this process may use.

    Engines must be told: left alone, ONNX Runtime takes every core of the machine and pins its threads to them, so that
    two models on the same cores wait for each other.
    """
    if settings.threads:
        return settings.threads
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
