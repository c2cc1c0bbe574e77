"""Constrained decoding: a language model may only write what a grammar allows, whatever it would rather say.

The grammar speaks of characters, the model of tokens; a tree of the vocabulary's texts joins the two, so that any
tokenizer will do whose tokens are text. Like Outlines (Willard & Louf 2023), but for grammars that depend on the
question, which are walked anew for every token instead of compiled.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Protocol

from experts.errors import ModelError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase


ENDS = ""  # the key of a node's own tokens; every other key is a character


class State(Protocol):
    """Where a grammar is after some text."""

    @property
    def done(self) -> bool:
        """Whether the text may end here."""

    def letters(self) -> Iterable[str]:
        """The characters that may come next; where there is none, `done` is true."""

    def step(self, letter: str) -> Any:
        """The state after `letter`; None where it may not come."""


@functools.lru_cache(maxsize=2)
def vocabulary(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The tokens of `tokenizer` that are text, as a tree of characters: {letter: node, ..., "": [ids that end here]}.

    Special tokens and pieces of characters are left out.
    """
    anchor = tokenizer("a", add_special_tokens=False).input_ids[-1]
    special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
    ids = [index for index in range(len(tokenizer)) if index not in special]
    # Decoded behind another token, because some decoders drop the space that a text begins with.
    texts = tokenizer.batch_decode([[anchor, index] for index in ids], clean_up_tokenization_spaces=False)
    before = str(tokenizer.decode([anchor], clean_up_tokenization_spaces=False))
    tree: dict[str, Any] = {}
    for index, text in zip(ids, map(str, texts), strict=True):
        own = text.removeprefix(before)
        if not own or "\ufffd" in own or not text.startswith(before):
            continue
        node = tree
        for letter in own:
            node = node.setdefault(letter, {})
        node.setdefault(ENDS, []).append(index)
    return tree


def spelled(tree: dict[str, Any]) -> frozenset[str]:
    """The characters that are tokens of their own: of these every text can be written."""
    return frozenset(letter for letter, node in tree.items() if letter != ENDS and ENDS in node)


class Rules:
    """A logits processor for one answer that leaves only tokens which keep to a grammar, and the end where it may end.

    `state` is where the text is.
    """

    def __init__(self, tokenizer: Any, ends: Iterable[int], start: State) -> None:
        """`ends` are the tokens that end an answer."""
        self.tree = vocabulary(tokenizer)
        self.state: Any = start
        self.ends = list(ends)
        self.texts: dict[int, str] = {}  # of the tokens that were allowed last
        self.read = -1  # how many of the ids this has seen; a prompt or a start token is not its own

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores [1, V] after `input_ids` [1, T] -> the same, -inf where a token is not allowed."""
        import torch

        ids = input_ids[0].tolist()
        if self.read >= 0:
            for index in ids[self.read :]:
                self._take(index)
        self.read = len(ids)
        self.texts = self._allowed()
        kept = [*self.texts, *(self.ends if self.state.done else [])]
        if not kept:
            raise ModelError("the model's tokenizer cannot write what is asked of it; use another language model")
        masked = torch.full_like(scores, -torch.inf)
        masked[:, kept] = scores[:, kept]
        return masked

    def _take(self, index: int) -> None:
        for letter in self.texts.get(index, ""):  # the end has no text
            self.state = self.state.step(letter)

    def _allowed(self) -> dict[int, str]:
        """The tokens that may come next, with their texts."""
        found: dict[int, str] = {}
        todo: list[tuple[str, dict[str, Any], Any]] = [("", self.tree, self.state)]
        while todo:
            text, node, state = todo.pop()
            found.update((index, text) for index in node.get(ENDS, ()))
            for letter in state.letters():
                if letter in node:
                    todo.append((text + letter, node[letter], state.step(letter)))
        return found
