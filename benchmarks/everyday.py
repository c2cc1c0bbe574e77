"""How the language model reads evidence when people ask in everyday wordings that nothing was made from.

    python -m benchmarks.everyday                       all kinds, ten questions each
    python -m benchmarks.everyday --model embedded-135m --kinds existence,count --each 20

The findings are drawn here and their evidence is composed as at run time, so no detector's mistake counts: this is what
the experts route can reach with complete evidence. A kind's share stands with its 95 % interval (Wilson).
"""

from __future__ import annotations

import argparse
import dataclasses
import re
from collections.abc import Callable

import numpy as np

from agent.evaluation.scoring.metrics import share
from connector.base import Generation
from connector.opening import open_model
from experts.base import Finding
from experts.config import load_settings
from experts.evidence import compose_evidence
from experts.evidence.asked import translations
from experts.evidence.categories import plural
from experts.weights.convert.nanodet import COCO

NAMES = [name.replace("_", " ") for name in COCO]
LOOKED = ("detect", "tag", "ocr")
EXISTENCE = (
    "Can you make out {a}?", "I wonder whether {s} are around.", "Spot any {s}?", "{s} anywhere in there?",
    "Is there one or more {t} in view?", "Would you find {a} here?", "Do {s} show up?", "Any sign of {a}?",
    "Is it true that there is {a}?", "Have a look: {s}?", "Does one see {a}?", "Is at least a single {t} shown?",
)  # fmt: skip
COUNT = ("What's the tally of {s}?", "How many {s} did the camera get?", "I count the {s}; what should I get?")
PAIR = (
    "How many {0} are there, and how many {1}?",
    "Tell me the number of {0} and of {1}.",
    "{0} and {1}: how many of each?",
)
PRICE = ("What would the {i} set me back?", "I'd like the {i}. What is its price?", "{i}: what do they charge?")
WHOLE = ("What does the bill come to?", "What must I pay in all?")
CHINESE = ("请问照片里是不是有{z}？", "帮我看看有{z}没有。", "你能找到{z}吗？")
UNTOLD = (
    "Which company made it?",
    "What is her first name?",
    "In what year was that?",
    "Is it for sale?",
    "Whose is it?",
)
GOODS = ("flat white", "scone", "lasagne", "ginger beer", "fruit salad", "porridge", "oat cookie", "iced tea")

Case = tuple[str, str, Callable[[str], bool]]  # question, evidence, whether an answer is right


def article(name: str) -> str:
    """The name as one says it of one thing."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def says_yes(answer: str) -> bool:
    """Whether an answer says yes, in English or Chinese; else it says no or nothing clear."""
    return bool(re.match(r"yes\b|there (is|are) (?!no\b)|有|是|能|可以", answer.strip(), re.I))


def says_no(answer: str) -> bool:
    """Whether an answer says no, in English or Chinese."""
    return bool(re.match(r"no\b|there (is|are) no\b|none\b|没|不|否", answer.strip(), re.I))


def scene(rng: np.random.Generator) -> tuple[list[Finding], dict[str, int]]:
    """Two or three kinds of things, and how many of each."""
    names = [str(name) for name in rng.choice(NAMES, int(rng.integers(2, 4)), replace=False)]
    counts = {name: int(rng.integers(1, 5)) for name in names}
    found = [
        Finding("detect", name, 0.8, (x, 9.0, x + 40, 60.0), None, "p")
        for name, count in counts.items()
        for x in rng.uniform(0, 250, count)
    ]
    return [*found, Finding("tag", "scene", 0.1, source="p")], counts


def evidence(found: list[Finding], question: str) -> str:
    """What the experts route reads."""
    return compose_evidence(found, question, {"p": (300, 200)}, (), LOOKED)


def existence(rng: np.random.Generator, number: int) -> Case:
    found, counts = scene(rng)
    there = number % 2 == 0
    name = next(iter(counts)) if there else str(rng.choice([one for one in NAMES if one not in counts]))
    question = EXISTENCE[number % len(EXISTENCE)].format(a=article(name), s=plural(name), t=name)
    question = question[0].upper() + question[1:]
    return question, evidence(found, question), says_yes if there else says_no


def chinese(rng: np.random.Generator, number: int) -> Case:
    found, counts = scene(rng)
    there = number % 2 == 0
    name = next(iter(counts)) if there else str(rng.choice([one for one in NAMES if one not in counts]))
    question = CHINESE[number % len(CHINESE)].format(z=translations(name)["zh"][0])

    def right(answer: str) -> bool:
        in_chinese = re.search(r"[\u4e00-\u9fff]", answer) is not None
        return in_chinese and (says_yes if there else says_no)(answer)

    return question, evidence(found, question), right


def count(rng: np.random.Generator, number: int) -> Case:
    found, counts = scene(rng)
    (first, a), (second, b), *_ = counts.items()
    if number % 2:
        question = PAIR[number // 2 % len(PAIR)].format(plural(first), plural(second))
        return question, evidence(found, question), lambda answer: re.findall(r"\d+", answer) == [str(a), str(b)]
    question = COUNT[number // 2 % len(COUNT)].format(s=plural(first))
    return question, evidence(found, question), lambda answer: re.findall(r"\d+", answer) == [str(a)]


def text(rng: np.random.Generator, number: int) -> Case:
    goods = [str(one) for one in rng.choice(GOODS, 4, replace=False)]
    prices = [f"{rng.integers(1, 20)}.{rng.integers(0, 10)}0" for _ in goods]
    total = f"{rng.integers(20, 60)}.{rng.integers(0, 10)}5"
    lines = ["The Old Mill", *(f"{g.capitalize()} {p}" for g, p in zip(goods, prices, strict=True)), f"TOTAL {total}"]
    found = [Finding("ocr", line, 0.9, source="p") for line in lines]
    if number % 3 == 0:
        question, want = WHOLE[number // 3 % len(WHOLE)], total
    else:
        question, want = PRICE[number % len(PRICE)].format(i=goods[number % 4]), prices[number % 4]
    return question, evidence(found, question), lambda answer: want in answer


def untold(rng: np.random.Generator, number: int) -> Case:
    found, _ = scene(rng)
    question = UNTOLD[number % len(UNTOLD)]
    refuses = re.compile(r"cannot|can't|not (known|clear|told|given)|unknown|no .* (is|was) (given|found)", re.I)
    return question, evidence(found, question), lambda answer: refuses.search(answer) is not None


KINDS: dict[str, Callable[[np.random.Generator, int], Case]] = {
    "existence": existence, "count": count, "text": text, "untold": untold, "chinese": chinese,
}  # fmt: skip


def main() -> None:
    """Ask, judge, and print a table and what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    language = open_model(dataclasses.replace(load_settings(), model=asked.model)).language
    assert language is not None, "a captioner reads nothing"
    print("| kind | right | share (95 %) |\n| --- | --- | --- |")
    wrong = []
    for kind in asked.kinds.split(","):
        rng = np.random.default_rng([asked.seed, len(kind)])
        right: list[bool] = []
        for number in range(asked.each):
            question, read, is_right = KINDS[kind](rng, number)
            answer = "".join(token.text for token in language.read(question, read, Generation(40)).tokens).strip()
            right.append(bool(is_right(answer)))
            wrong += [] if right[-1] else [f"{kind}: {question} -> {answer}"]
        measured = share(right)
        interval = f"{measured.value:.0%} ({measured.low:.0%}-{measured.high:.0%})"
        print(f"| {kind} | {measured.hits} of {measured.n} | {interval} |", flush=True)
    print("\n".join(["", *wrong]))


if __name__ == "__main__":
    main()
