"""Findings -> the text a language model reads: what is where, in which colour, what is written and said.

Imports experts.base, errors and config only.
"""

from experts.evidence.asked import asked_thing
from experts.evidence.compose import LEFT_OUT, MAX_CHARS, asked_facts, clean, compose_evidence, is_called, place, quoted

__all__ = [
    "LEFT_OUT",
    "MAX_CHARS",
    "asked_facts",
    "asked_thing",
    "clean",
    "compose_evidence",
    "is_called",
    "place",
    "quoted",
]
