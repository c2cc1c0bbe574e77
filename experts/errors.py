"""The error tree: every failure a person may be shown, in one drawing.

DuetError                     one clear line, safe to show: no traceback, no path of the machine's own
├── InputError                the caller's value is wrong; the CLI exits with 2, the server answers 400
│   ├── MediaError            an image, sound or video that is broken, hostile, empty or over a limit
│   ├── UnknownNameError      a name that is not in a table; lists the known ones
│   └── ConfigError           settings that do not fit; all faults at once
├── WeightsError              weights that are missing, or whose hash is wrong
├── MissingExtraError         a command that needs packages which are not installed; names the extra that brings them
├── ExpertError               an expert that failed on an input it accepts
├── ModelError                the language model or a connector that cannot do what was asked
└── TrainingError             a run that cannot start or go on
"""

from __future__ import annotations

import difflib
import importlib.util
from collections.abc import Iterable


class DuetError(Exception):
    """Base of all errors whose message may be shown to a person."""

    exit_code = 1


class InputError(DuetError):
    """The caller's value is wrong; the message says what is accepted and what to do."""

    exit_code = 2


class MediaError(InputError):
    """A medium that cannot be taken in."""


class ConfigError(InputError):
    """Settings that do not fit together; the message lists every fault."""


class UnknownNameError(InputError):
    """A name that is not in a table.

    >>> str(UnknownNameError("weights", "whisper-tinny", ["whisper-base", "minilm"]))
    "no weights named 'whisper-tinny'; known: minilm, whisper-base; did you mean 'whisper-base'?"
    """

    def __init__(self, what: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        super().__init__(f"no {what} named {name[:80]!r}; known: {', '.join(names) or 'none'}{hint}")


class WeightsError(DuetError):
    """Weights that are missing, unreachable or do not have the listed hash."""


class MissingExtraError(DuetError):
    """A package that is not installed; the message names the extra that brings it."""


def needs(package: str, extra: str, what: str) -> None:
    """Check that `package`, by the name it is imported with, is installed; `what` needs it, and `extra` brings it.

    Raises:
        MissingExtraError: it is not.

    >>> needs("a_package_of_nobody", "train", "duet train")
    Traceback (most recent call last):
    ...
    experts.errors.MissingExtraError: duet train needs the package 'a_package_of_nobody'; pip install 'duet[train]'
    """
    try:
        found = importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a parent is missing, or something hides it
        found = False
    if not found:
        raise MissingExtraError(f"{what} needs the package '{package}'; pip install 'duet[{extra}]'")


class ExpertError(DuetError):
    """An expert that failed on an input it accepts."""


class ModelError(DuetError):
    """The language model or a connector that cannot do what was asked."""


class TrainingError(DuetError):
    """A training run that cannot start or go on."""
