"""What is opened of an image file: its pages or frames as pixels, and what was not looked at"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class View:
    """One page or frame: pixels [H, W, 3] uint8, and its number from 1."""

    pixels: np.ndarray
    number: int


@dataclass(frozen=True, eq=False)
class Opened:
    """What an image file shows: some of its `pages`, which are frames of one scene where it is `moving`."""

    views: list[View]
    pages: int = 1
    moving: bool = False
    noun: str = "page"
    notes: list[str] = field(default_factory=list)


def pages_note(numbers: list[int], count: int, noun: str) -> list[str]:
    """Which pages were opened, in a sentence; nothing where there is but one."""
    if count == 1:
        return []
    if len(numbers) == count:
        return [f"all {count:,} {noun}s of it were opened"]
    if len(numbers) == 1:
        return [f"{noun} {numbers[0]:,} of {count:,} was opened, the others were not"]
    return [f"of {count:,} {noun}s these were opened: {', '.join(map(str, numbers))}"]
