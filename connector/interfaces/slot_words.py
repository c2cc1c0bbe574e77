"""The words of a slot connector: embeddings of the language model that reads them, mixed by probability."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from connector.interfaces.slot_config import COLOURS, COLUMNS, MOST, ROWS, SIZES, WHOLE_CLASSES, SlotConfig
from experts.evidence.categories import kinds_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Words above a class that say less of it than its own name does.
BROAD = frozenset((
    "animal", "vehicle", "food", "fruit", "vegetable", "building", "musical instrument", "ball", "insect", "plant",
))  # fmt: skip


class SlotWords(nn.Module):
    """Word embeddings by vocabulary, none of them learned or saved, and the classifier of the whole picture."""

    names_words: Tensor  # [names, name_words, D_llm]
    categories_words: Tensor  # [categories, 1, D_llm]
    colours_words: Tensor  # these [words, D_llm]
    sizes_words: Tensor
    rows_words: Tensor
    columns_words: Tensor
    numbers_words: Tensor
    silence: Tensor  # [D_llm]
    everyday_words: Tensor  # [1000, name_words, D_llm]: what people call the classes of the whole picture
    above_words: Tensor  # [1000, D_llm]: their categories, zeros where there is none
    whole1_weight: Tensor  # the encoder's classifier
    whole1_bias: Tensor
    whole2_weight: Tensor
    whole2_bias: Tensor

    def __init__(self, config: SlotConfig) -> None:
        super().__init__()
        self.config = c = config
        self.everyday: list[str] = []  # what people call the classes of the whole picture
        stage = c.widths[0]
        for vocabulary, size in (("names", (len(c.names), c.name_words)), ("categories", (len(c.categories), 1))):
            self.register_buffer(f"{vocabulary}_words", torch.zeros(*size, c.d_llm), persistent=False)
        for vocabulary, words in (("colours", COLOURS), ("sizes", SIZES), ("rows", ROWS), ("columns", COLUMNS)):
            self.register_buffer(f"{vocabulary}_words", torch.zeros(len(words), c.d_llm), persistent=False)
        self.register_buffer("numbers_words", torch.zeros(MOST + 1, c.d_llm), persistent=False)
        self.register_buffer("silence", torch.zeros(c.d_llm), persistent=False)  # what an empty slot says
        # The classifier as it was made for photographs, not changed by what scenes teach; the encoder's, so not saved.
        for name, shape in (("whole1", (1280, stage)), ("whole2", (WHOLE_CLASSES, 1280))):
            self.register_buffer(f"{name}_weight", torch.zeros(shape), persistent=False)
            self.register_buffer(f"{name}_bias", torch.zeros(shape[0]), persistent=False)
        self.register_buffer("everyday_words", torch.zeros(WHOLE_CLASSES, c.name_words, c.d_llm), persistent=False)
        self.register_buffer("above_words", torch.zeros(WHOLE_CLASSES, c.d_llm), persistent=False)

    def bind(self, tokenizer: PreTrainedTokenizerBase, embeddings: Tensor) -> None:
        """Take the words' embeddings [V, D_llm] from the language model that will read them."""
        table = embeddings.detach().float()

        def rows(text: str, count: int) -> Tensor:
            ids = tokenizer(" " + text, add_special_tokens=False).input_ids[-count:]
            blank = tokenizer(",", add_special_tokens=False).input_ids[:1]
            return table[torch.tensor(ids + blank * (count - len(ids)))]  # [count, D_llm]

        c = self.config
        self.names_words = torch.stack([rows(name, c.name_words) for name in c.names])
        self.categories_words = torch.stack([rows(name, 1) for name in c.categories])
        for vocabulary, words in (("colours", COLOURS), ("sizes", SIZES), ("rows", ROWS), ("columns", COLUMNS)):
            setattr(self, f"{vocabulary}_words", torch.stack([rows(word, 1)[0] for word in words]))
        self.numbers_words = torch.stack([rows(str(number), 1)[0] for number in range(MOST + 1)])
        self.silence = rows("-", 1)[0]
        classes = c.names[:WHOLE_CLASSES]
        above = [kinds_of(name) for name in classes]
        self.everyday = [next((k for k in ks if k not in BROAD), n) for n, ks in zip(classes, above, strict=True)]
        self.everyday_words = torch.stack([rows(name, c.name_words) for name in self.everyday])
        category = [next((k.split()[-1] for k in ks if k.split()[-1] in c.categories), "") for ks in above]
        nothing = torch.zeros(c.d_llm)
        self.above_words = torch.stack([rows(name, 1)[0] if name else nothing for name in category])

    def see_whole_with(self, head: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
        """Take the encoder's classifier for the name of the whole picture; it is not among the saved weights."""
        for name, value in zip(("whole1_weight", "whole1_bias", "whole2_weight", "whole2_bias"), head, strict=True):
            getattr(self, name).copy_(value)

    def number(self, count: Tensor) -> Tensor:
        """Counts [...] -> soft digits [..., D_llm]."""
        digits = torch.arange(len(self.numbers_words), device=count.device)
        return (-((count[..., None] - digits) ** 2) * 8).softmax(-1) @ self.numbers_words

    def whole(self, stage: Tensor) -> tuple[Tensor, Tensor]:
        """What the whole picture shows, as its classifier sees it [B, cells, 320]: the likeliest five, [B, 5]."""
        hidden = F.relu6(F.linear(stage, self.whole1_weight, self.whole1_bias)).mean(1)  # [B, 1280]
        logits = F.linear(hidden, self.whole2_weight, self.whole2_bias)
        return logits.softmax(-1).topk(5, dim=-1)

    def places(self, cells: Tensor) -> tuple[Tensor, Tensor]:
        """Cells [B, S] -> soft rows and columns [B, S, 3], one third of the picture each."""
        grid = self.config.grid
        y, x = (cells // grid + 0.5) / grid, (cells % grid + 0.5) / grid
        thirds = torch.tensor([1 / 6, 0.5, 5 / 6], device=cells.device)
        rows, columns = ((-((at[..., None] - thirds) ** 2) * 150).softmax(-1) for at in (y, x))
        return rows, columns
