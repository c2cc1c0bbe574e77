"""Text-only dialogue in the untouched language model's own words, so that tuning does not take its way of talking.

Small true answers (`connector.data.questions.dialogue`) keep the facts, not the style: a model tuned on short answers
alone loses likelihood on any longer text. Here the model rehearses what it already says: questions of many forms about
many subjects, answered by itself, sampled at temperature 1, so that learning them holds its own distribution.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from connector.data.records import Record

if TYPE_CHECKING:
    from connector.llm.language import LanguageModel

BATCH = 24  # answers sampled at once
MAX_NEW_TOKENS = 96
MIN_CHARS = 20  # a shorter answer says nothing worth keeping

FORMS = (
    "What is {}?", "Explain {} in a few sentences.", "Write a short text about {}.", "Why does {} matter?",
    "Tell me an interesting fact about {}.", "Give some advice on {}.", "Write a short story about {}.",
    "How would you describe {} to a child?", "List three things to know about {}.", "Write an email about {}.",
    "What are the terms and conditions that apply to {}?", "Summarize the history of {}.",
    "What could go wrong with {}?", "Write a poem about {}.", "How does {} work?", "Define {} precisely.",
)  # fmt: skip
SUBJECTS = (
    "photosynthesis", "the moon", "a contract between two companies", "healthy food", "learning to code", "the ocean",
    "a rainy day", "music", "copyright", "volcanoes", "electric cars", "a lost cat", "the printing press", "patience",
    "time management", "gravity", "a village by the river", "software", "privacy on the internet", "chess", "bees",
    "public libraries", "the human heart", "recycling", "a job interview", "mountains", "algebra", "friendship",
    "climate", "the Roman empire", "sleep", "a birthday party", "clouds", "insurance", "bread", "bicycles", "dreams",
    "vaccination", "poetry", "a warranty", "the stock market", "good manners", "rivers", "robots", "gardening",
    "a broken window", "travelling by train", "the alphabet", "democracy", "painting", "winter", "dinosaurs", "coffee",
    "a patent", "honesty", "the solar system", "swimming", "elections", "a new phone", "glass", "teamwork", "maps",
)  # fmt: skip


def questions(n: int, seed: int) -> list[str]:
    """`n` different questions, no form or subject before its turn.

    >>> len(set(questions(500, 0)))
    500
    """
    rng = np.random.default_rng([seed, 89])
    every = [form.format(subject) for form, subject in itertools.product(FORMS, SUBJECTS)]
    if n > len(every):
        raise ValueError(f"{len(every)} questions are known, {n} were asked for")
    return [every[at] for at in rng.permutation(len(every))[:n]]


def rehearsal(language: LanguageModel, n: int, seed: int) -> Iterator[Record]:
    """Up to `n` questions with the answers of `language`, which must be the model before any tuning.

    An answer that did not come to its end is cut after its last whole sentence; one that says next to nothing is left
    out. The same seed on the same machine gives the same.
    """
    import torch

    asked = questions(n, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for at in range(0, n, BATCH):
            part = asked[at : at + BATCH]
            for number, (question, said) in enumerate(zip(part, _sampled(language, part), strict=True), start=at):
                if len(said) >= MIN_CHARS:
                    yield Record(f"rehearsal-{seed}-{number}", question, said, "dialogue")


def _sampled(language: LanguageModel, asked: Sequence[str]) -> list[str]:
    import torch

    from connector.llm import templates

    tokenizer: Any = language.tokenizer
    prompts = [templates.prompt_ids(tokenizer, question).ids for question in asked]
    longest = max(map(len, prompts))
    ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    with torch.inference_mode():
        rows = language.model.generate(
            input_ids=ids.to(language.device),
            attention_mask=mask.to(language.device),
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=0.95,
            pad_token_id=tokenizer.pad_token_id,
        )
    end = language.model.generation_config.eos_token_id
    ends = set(end if isinstance(end, list) else [end])
    said = []
    for row in rows[:, longest:].tolist():
        text = tokenizer.decode(row, skip_special_tokens=True).strip()
        said.append(text if ends & set(row) else whole_sentences(text))
    return said


def whole_sentences(text: str) -> str:
    """`text` up to its last full stop; nothing where there is none.

    >>> whole_sentences("Bees make honey. They live in")
    'Bees make honey.'
    """
    return text[: max(text.rfind(mark) for mark in ".!?") + 1]
