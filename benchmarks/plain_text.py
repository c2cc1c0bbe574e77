"""Does the adapter make plain text answers worse? The same questions without any medium, before it and with it.

    python benchmarks/plain_text.py [--connector embedded] [--n 200]

Three figures each for the untouched language model and for the one that carries the adapter: how many of `--n`
questions of a seed that training does not use are answered with the right fact, the mean negative log-likelihood of
those answers' tokens, and that of a text that no training holds (this project's LICENSE), in nats a token.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import torch

from connector import network as models
from connector.data.questions.dialogue import text_dialogue
from connector.llm import language as llms
from connector.llm import templates
from experts.config import Settings

SEED = 4242  # training draws its dialogue from the stage's seed, 0
WINDOW = 512  # tokens of the neutral text read at once
ROOT = Path(__file__).resolve().parents[1]


def nll(model: Any, ids: list[int], supervised: list[int]) -> tuple[float, int]:
    """Summed negative log-likelihood of the tokens at positions `supervised`, and how many they are."""
    with torch.inference_mode():
        logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)  # [T, V]
    return -sum(float(logp[at - 1, ids[at]]) for at in supervised), len(supervised)


def measure(language: Any, n: int) -> dict[str, float]:
    """The three figures."""
    right, loss, count = 0, 0.0, 0
    records = [record for record in text_dialogue(n, SEED)]
    prompts = []
    for record in records:
        encoded = templates.encode(language.tokenizer, record, "instruct", 0)
        said = [at for at, label in enumerate(encoded.labels) if label >= 0]
        part, tokens = nll(language.model, encoded.ids, said)
        loss, count = loss + part, count + tokens
        with torch.inference_mode():
            prompts.append(language.embed(torch.tensor(templates.prompt_ids(language.tokenizer, record.question).ids)))
    answers = language.answers(prompts, 32)
    for record, (answer, _) in zip(records, answers, strict=True):
        right += fact(record.question, record.answer) in answer.lower()
    text = (ROOT / "LICENSE").read_text()
    ids = language.tokenizer(text).input_ids
    spans = [ids[at : at + WINDOW] for at in range(0, len(ids) - WINDOW + 1, WINDOW)]
    parts = [nll(language.model, span, list(range(1, len(span)))) for span in spans]
    neutral = sum(part for part, _ in parts) / sum(tokens for _, tokens in parts)
    return {"right": right / n, "answer_nll": loss / count, "neutral_nll": neutral}


def fact(question: str, answer: str) -> str:
    """What an answer must contain: its last word or number that the question does not hold."""
    asked = set(re.findall(r"[\w']+", question.lower()))
    words = [word for word in re.findall(r"[\w']+", answer.lower()) if word not in asked]
    return words[-1] if words else answer.lower()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connector", default=Settings().connector, help="a shipped connector's name or a folder")
    parser.add_argument("--n", type=int, default=200)
    options = parser.parse_args()
    shipped = ROOT / "connector" / "weights" / options.connector
    language = llms.load(Settings().llm, "cpu")
    rows = [("untouched", measure(language, options.n))]
    models.load(shipped if shipped.is_dir() else Path(options.connector), language)  # merges the adapter
    rows.append((f"adapter {language.adapter}", measure(language, options.n)))
    print(f"{'language model':<26}{'right':>8}{'answer NLL':>12}{'neutral NLL':>13}")
    for name, figures in rows:
        print(f"{name:<26}{figures['right']:>8.1%}{figures['answer_nll']:>12.3f}{figures['neutral_nll']:>13.3f}")


if __name__ == "__main__":
    main()
