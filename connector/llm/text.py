"""A local language model as a TextModel: it reads evidence, goes on with a chat, and answers many prompts at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from connector.base import Answered, Generation, Reply, Turn
from connector.llm import templates
from connector.llm.language import LanguageModel

if TYPE_CHECKING:
    import torch

BATCH = 16  # prompts that are answered together


class LocalText:
    """`connector.llm.language.LanguageModel` behind the protocol of connector/base.py, greedy."""

    def __init__(self, llm: LanguageModel) -> None:
        self.llm = llm

    @property
    def name(self) -> str:
        return self.llm.name

    @property
    def adapter(self) -> str:
        return self.llm.adapter

    @property
    def tokenizer(self) -> Any:
        return self.llm.tokenizer

    def read(self, question: str, evidence: str, generation: Generation, history: Sequence[Turn] = ()) -> Reply:
        """The answer to `question` from `evidence`."""
        return self._reply(self._reading(question, evidence, history), generation)

    def chat(self, turns: Sequence[dict[str, str]], generation: Generation, rules: Any = None) -> Reply:
        """What follows `turns`; `rules` is a grammar's first state (connector/llm/constrained.py)."""
        plain = [{**turn, "content": templates.typed(self.llm.tokenizer, turn["content"])} for turn in turns]
        form = templates.chat_text(self.llm.tokenizer, plain)
        begin, end = templates.around(self.llm.tokenizer)
        ids = [*begin, *self.llm.tokenizer(form, add_special_tokens=False).input_ids, *end]
        return self._reply(ids, generation, rules)

    def read_batch(self, asked: Sequence[tuple[str, str]], max_new_tokens: int) -> list[Answered]:
        """Answers to pairs of question and evidence, prompts of like length together."""
        prompts = [self._embedded(self._reading(question, evidence)) for question, evidence in asked]
        return answered_in_batches(self.llm, prompts, max_new_tokens)

    def _reading(self, question: str, evidence: str, history: Sequence[Turn] = ()) -> list[int]:
        turns = [(turn.role, turn.text) for turn in history]
        return templates.prompt_ids(self.llm.tokenizer, question, evidence=evidence, history=turns).ids

    def _embedded(self, ids: list[int]) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            return self.llm.embed(torch.tensor(ids))  # [T, D_llm]

    def _reply(self, ids: list[int], generation: Generation, rules: Any = None) -> Reply:
        from connector.llm.constrained import Rules
        from connector.llm.streaming import end_tokens

        kept = (
            None if rules is None else Rules(self.llm.tokenizer, end_tokens(self.llm.model, self.llm.tokenizer), rules)
        )
        tokens = self.llm.stream(
            self._embedded(ids), max_new_tokens=generation.max_new_tokens, stop=generation.stop, rules=kept
        )
        return Reply(self.name, self.adapter, len(ids), tokens)


def answered_in_batches(llm: LanguageModel, prompts: Sequence[torch.Tensor], max_new_tokens: int) -> list[Answered]:
    """Greedy answers to prompts [T_i, D_llm], those of like length together, in the order given."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    answers: dict[int, Answered] = {}
    for at in range(0, len(order), BATCH):
        group = order[at : at + BATCH]
        said = llm.answers([prompts[index] for index in group], max_new_tokens)
        for index, (text, confidence) in zip(group, said, strict=True):
            answers[index] = Answered(text, confidence)
    return [answers[index] for index in range(len(prompts))]
