"""The shape of a slot connector, and the fixed words that it says: colours, sizes, places."""

from __future__ import annotations

from dataclasses import dataclass

COLOURS = ("black", "white", "gray", "red", "orange", "brown", "yellow", "green", "teal", "blue", "purple", "pink")
SIZES = ("small", "medium", "large")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
MOST = 6  # objects counted
WHOLE_CLASSES = 1000  # names that a whole picture may have: ImageNet's


@dataclass(frozen=True)
class SlotConfig:
    """The shape of a slot connector."""

    names: tuple[str, ...]  # what a thing may be called; the first 1000 are ImageNet's classes, in their order
    categories: tuple[str, ...]
    widths: tuple[int, ...] = (320, 112, 40, 12, 80)  # parts of an encoder feature: last stage, ..., colour, COCO
    tiles: int = 2  # the encoder's views: one whole, tiles x tiles parts
    side: int = 7  # cells along a view's side
    d_llm: int = 576
    hidden: int = 256  # width of the trunk
    blocks: int = 4  # depth of the trunk
    slots: int = 6  # objects spoken of at most
    whole_words: int = 2  # tokens for the name of the whole picture
    name_words: int = 2  # tokens a name has at most
    dropout: float = 0.3  # of what names are told from, while learning: a name must not hang on few channels
    hush: float = 0.0  # how often the slots keep silent, while learning, of one thing whose picture's name is sure
    sharpness: float = 3.0  # a name is spoken by its probability to this power, so that the likeliest is clear

    @property
    def grid(self) -> int:
        """Cells along the side of the whole picture."""
        return self.side * max(self.tiles, 1)

    @property
    def words(self) -> int:
        """Tokens of a slot: number, size, colour, name, category, row, column."""
        return self.name_words + 6

    @property
    def n_tokens(self) -> int:
        """M."""
        return 1 + self.whole_words + self.slots * self.words
