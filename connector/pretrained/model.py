"""A multimodal model of transformers behind the protocol, and its language model: the same weights, text alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from connector.base import Answered, Asked, Generation, ModelInfo, Reply, Turn
from connector.llm.constrained import Rules
from connector.llm.streaming import Text, Token, Watch, end_tokens, stream
from connector.llm.templates import fence
from connector.pretrained.decoding import failed, run
from connector.pretrained.families import NONE, Family
from connector.pretrained.prompts import Prompts
from experts.errors import ModelError
from experts.media import Media

READ = (
    "You answer questions about media that you cannot see or hear yourself. You are given notes that were made by "
    "looking at them and listening to them, and you use nothing else. Answer in the language of the question, in one "
    "short sentence. If the notes do not tell, say so."
)
BATCH = 32  # questions that are answered together


class PretrainedModel:
    """`model` and `processor` of transformers, greedy; `info` is what was found out when they were loaded."""

    def __init__(self, model: Any, processor: Any, info: ModelInfo, family: Family) -> None:
        self.model, self.info, self.family = model, info, family
        side = "right" if getattr(model.config, "is_encoder_decoder", False) else "left"  # where a decoder goes on
        self.prompts = Prompts(info.name, processor, family, side, model.config)
        self.tokenizer = self.prompts.tokenizer
        self.ends = end_tokens(model, self.tokenizer)
        self.lock = threading.Lock()  # one generation at a time: the model is the same for all
        self.language = PretrainedText(self)

    def tokens(self, media: Sequence[Media]) -> int:
        """How much longer `media` make the prompt; see MultimodalModel.tokens."""
        self.prompts.check(media)
        if not media:
            return 0
        with_media = self.prompts.inputs([("?", media, ())])
        return int(with_media["input_ids"].shape[-1]) - len(self.tokenizer("?", add_special_tokens=False).input_ids)

    def stream(
        self, question: str, media: Sequence[Media], generation: Generation, history: Sequence[Turn] = ()
    ) -> Reply:
        """See MultimodalModel.stream."""
        if not media and not any(turn.media for turn in history):
            turns = [{"role": turn.role, "content": turn.text} for turn in history]
            return self.language.chat([*turns, {"role": "user", "content": question}], generation)
        inputs = self._moved(self._made(lambda: self.prompts.inputs([(question, media, history)])))
        return Reply(self.info.name, "", _length(inputs), self.said(self.model, inputs, generation))

    def answers(self, batch: Sequence[Asked], max_new_tokens: int) -> list[Answered]:
        """See MultimodalModel.answers; questions of like shape (how many media of which kinds) go together."""
        groups: dict[tuple[str, ...], list[int]] = {}
        for index, asked in enumerate(batch):
            groups.setdefault(tuple(medium.kind for medium in asked.media), []).append(index)
        answers: dict[int, Answered] = {}
        for kinds, group in groups.items():
            for at in range(0, len(group), BATCH):
                part = [batch[index] for index in group[at : at + BATCH]]
                if kinds:
                    rows: list[Any] = [(one.question, one.media, one.history) for one in part]
                    inputs = self._made(partial(self.prompts.inputs, rows))
                    told = self.together(self.model, inputs, max_new_tokens)
                else:
                    told = self.language.chat_batch([_turns(one) for one in part], max_new_tokens)
                answers |= dict(zip(group[at : at + BATCH], told, strict=True))
        return [answers[index] for index in range(len(batch))]

    def said(
        self, model: Any, inputs: dict[str, Any], generation: Generation, processors: Sequence[Any] = ()
    ) -> Iterator[Token]:
        """The answer to one row of inputs, token by token."""

        def generate(watch: Watch) -> None:
            run(model, inputs, generation.max_new_tokens, [*processors, watch])

        def told(error: BaseException) -> ModelError:
            return failed(self.info.name, error)

        return stream(self.lock, Text(self.tokenizer, self.ends), generate, generation.stop, told)

    def together(self, model: Any, inputs: dict[str, Any], max_new_tokens: int) -> list[Answered]:
        """The answers to all rows of inputs.

        Raises:
            ModelError: the model failed.
        """
        watch = Watch()
        try:
            with self.lock:
                run(model, self._moved(inputs), max_new_tokens, [watch])
        except (RuntimeError, ValueError, TypeError, IndexError, MemoryError) as error:
            raise failed(self.info.name, error) from error
        answers = []
        for ids, logprobs in watch.rows():
            text = Text(self.tokenizer, self.ends)
            said, confidence = text.decode_all(ids, logprobs)
            answers.append(Answered(said, confidence, cut=not text.ended and len(ids) >= max_new_tokens))
        return answers

    def _made(self, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Inputs; a processor that stumbles over a medium is a failure of the model, told in a line."""
        try:
            return make()
        except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise failed(self.info.name, error) from error

    def _moved(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Tensors where the model is, pictures and sounds in its precision."""
        import torch

        moved: dict[str, Any] = {}
        for key, value in inputs.items():
            if isinstance(value, torch.Tensor):
                value = value.to(self.model.device)
                value = value.to(self.model.dtype) if value.is_floating_point() else value
            moved[key] = value
        return moved


class PretrainedText:
    """The language model inside a PretrainedModel: no second copy of any weight."""

    adapter = ""

    def __init__(self, owner: PretrainedModel) -> None:
        self.owner = owner
        self.tokenizer = owner.tokenizer

    @property
    def name(self) -> str:
        return self.owner.info.name

    def read(self, question: str, evidence: str, generation: Generation, history: Sequence[Turn] = ()) -> Reply:
        """The answer to `question` from `evidence`."""
        return self.chat(_reading(question, evidence, history), generation)

    def chat(self, turns: Sequence[dict[str, str]], generation: Generation, rules: Any = None) -> Reply:
        """What follows `turns`; `rules` is a grammar's first state (connector/llm/constrained.py)."""
        processors = []
        if rules is not None:
            processors = [Rules(self.tokenizer, self.owner.ends, rules)]
        inputs = self.owner._moved(self._inputs([turns]))
        tokens = self.owner.said(self._model(), inputs, generation, processors)
        return Reply(self.name, "", _length(inputs), tokens)

    def read_batch(self, asked: Sequence[tuple[str, str]], max_new_tokens: int) -> list[Answered]:
        """Answers to pairs of question and evidence."""
        told: list[Answered] = []
        for at in range(0, len(asked), BATCH):
            turns = [_reading(question, evidence, ()) for question, evidence in asked[at : at + BATCH]]
            told += self.chat_batch(turns, max_new_tokens)
        return told

    def chat_batch(self, conversations: Sequence[Sequence[dict[str, str]]], max_new_tokens: int) -> list[Answered]:
        """What follows each of several conversations."""
        return self.owner.together(self._model(), self._inputs(conversations), max_new_tokens)

    def _inputs(self, conversations: Sequence[Sequence[dict[str, str]]]) -> dict[str, Any]:
        self._model()  # one that cannot speak is refused before anything else
        inputs = self.owner._made(lambda: self.owner.prompts.text_inputs(conversations))
        return {key: value for key, value in inputs.items() if key in ("input_ids", "attention_mask")}

    def _model(self) -> Any:
        """What speaks: the model itself, or the part of it that does."""
        part = self.owner.family.text
        if part == NONE:
            raise ModelError(
                f"model '{self.name}' cannot speak without a picture, so it cannot read the experts' findings; set llm "
                'to a language model, such as llm = "smollm2-135m-instruct"'
            )
        return getattr(self.owner.model, part) if part else self.owner.model


def _reading(question: str, evidence: str, history: Sequence[Turn]) -> list[dict[str, str]]:
    earlier = [{"role": turn.role, "content": turn.text} for turn in history]
    asked = f"Notes:\n{fence(evidence)}\n\nQuestion: {question}"
    return [{"role": "system", "content": READ}, *earlier, {"role": "user", "content": asked}]


def _turns(asked: Asked) -> list[dict[str, str]]:
    earlier = [{"role": turn.role, "content": turn.text} for turn in asked.history]
    return [*earlier, {"role": "user", "content": asked.question}]


def _length(inputs: dict[str, Any]) -> int:
    ids = inputs.get("input_ids")
    return 0 if ids is None else int(ids.shape[-1])
