"""Prompts: the survey's Tables III and V inside the language model's chat form, and which tokens carry loss."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from connector.data.records import Record
from experts.errors import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


SLOT = "\ufffc"  # stands where image tokens go; "object replacement character", never typed by people
CAPTION = "Input: {input}\nResponse:"  # Table III
TASK = "Below is an instruction that describes a task. Write a response that appropriately completes the request."
INSTRUCTION = "Instruction: {question}\nInput: {input}\nResponse:"  # Table V, after TASK
FOLLOW_UP = "Instruction: {question}\nResponse:"  # a further question about what was shown
MARKER = re.compile(r"<(?=\||/?(s|bos|eos|start_of_turn|end_of_turn)>|</?SYS>)|\[(?=/?INST\])")  # opens or ends a turn
IGNORED = -100  # the label of a token without loss


@dataclass(frozen=True)
class Encoded:
    """A sequence: `ids` [T], `labels` [T] (IGNORED where there is no loss), and where the image tokens go.

    Several questions about the same thing make one sequence, in which none sees another: `turns` [T] says to which of
    them, from 1, a token belongs, 0 being what all of them see, and `positions` [T] where it stands for its own
    question. Both are empty where there is one question.
    """

    ids: list[int]
    labels: list[int]
    image_slots: list[int]
    turns: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)


def messages(
    question: str,
    *,
    evidence: str | None = None,
    image: bool = False,
    stage: str = "instruct",
    history: Sequence[tuple[str, str]] = (),
) -> list[dict[str, str]]:
    """The turns before the answer: Table III for `pretrain`, else Table V with its first sentence as the system's turn.

    Where there is nothing to look at it is the bare question, as in any chat. `history` are earlier turns as (role,
    text), oldest first.
    """
    earlier = [{"role": role, "content": fence(text)} for role, text in history]
    if not image and evidence is None:
        return [*earlier, {"role": "user", "content": question}]
    seen = " ".join(part for part in (SLOT if image else "", fence(evidence)) if part)
    if stage == "pretrain":
        return [{"role": "user", "content": CAPTION.format(input=seen)}]
    return [
        {"role": "system", "content": TASK},
        *earlier,
        {"role": "user", "content": INSTRUCTION.format(question=question, input=seen)},
    ]


def chat_text(tokenizer: PreTrainedTokenizerBase, turns: list[dict[str, str]]) -> str:
    """The turns in the tokenizer's own chat form, up to where the answer begins; plain text where it has none."""
    from jinja2 import TemplateError

    merged = [{"role": "user", "content": "\n\n".join(turn["content"] for turn in turns)}]
    if not tokenizer.chat_template:
        return merged[0]["content"] + " "
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    except TemplateError:  # a form without a system's turn
        return str(tokenizer.apply_chat_template(merged, tokenize=False, add_generation_prompt=True))


def fence(evidence: str | None) -> str:
    """Evidence as data: what could close the fence or open a chat turn, in any common chat form, is broken up."""
    if evidence is None:
        return ""
    text = MARKER.sub(lambda found: found[0] + " ", evidence.replace(SLOT, " "))
    return re.sub(r"\b(Response|Instruction|Input)\s*[:\uff1a\ufe55]", r"\1 :", text, flags=re.I)


def defuse(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """`text` in which no special token of this tokenizer stands: each one's first character is set apart."""
    added = getattr(tokenizer, "get_added_vocab", None)  # mistral-common's has none
    for token in added() if added else tokenizer.all_special_tokens:
        if len(token) > 1 and token.strip() == token and not token.isalnum():
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def typed(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """What a person typed, without anything that would be read as an image token or a turn's mark."""
    return defuse(tokenizer, text.replace(SLOT, " ").replace("<|", "< |"))


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase,
    question: str,
    *,
    evidence: str | None = None,
    image_tokens: int = 0,
    stage: str = "instruct",
    image: bool | None = None,
    history: Sequence[tuple[str, str]] = (),
) -> Encoded:
    """The prompt up to where the answer begins, in the tokenizer's own chat form.

    `image` says that there is a picture even where it takes no tokens (feature-level fusion).
    """
    has_image = image_tokens > 0 if image is None else image
    asked = typed(tokenizer, question)
    seen = None if evidence is None else defuse(tokenizer, evidence)
    earlier = [(role, defuse(tokenizer, text)) for role, text in history]
    turns = messages(asked, evidence=seen, image=has_image, stage=stage, history=earlier)
    form = chat_text(tokenizer, turns)
    before, slot, after = form.rpartition(SLOT) if SLOT in form else (form, "", "")
    begin, end = around(tokenizer)
    ids = [*begin, *tokenizer(before, add_special_tokens=False).input_ids]
    slots: list[int] = []
    if slot:
        slots = list(range(len(ids), len(ids) + image_tokens))
        ids += [tokenizer.pad_token_id] * image_tokens
        ids += tokenizer(after, add_special_tokens=False).input_ids
    ids += end
    return Encoded(ids, [IGNORED] * len(ids), slots)


def around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The tokens that this tokenizer sets before and after a plain text: LLaMA's <s>, T5's </s>.

    None where it has a chat form, which holds what it wants itself.
    """
    if tokenizer.chat_template:
        return [], []
    bare, whole = (list(tokenizer("a", add_special_tokens=special).input_ids) for special in (False, True))
    at = next((at for at in range(len(whole)) if whole[at : at + len(bare)] == bare), len(whole))
    return whole[:at], whole[at + len(bare) :]


def encode(
    tokenizer: PreTrainedTokenizerBase, record: Record, stage: str, image_tokens: int, answer: str | None = None
) -> Encoded:
    """A record as one sequence; only the answer and the end of its turn carry loss.

    `answer` replaces the record's own (the rejected one of a pair).

    Raises:
        TrainingError: the mask or the number of image tokens does not fit; nothing is skipped in silence.
    """
    said = record.answer if answer is None else answer
    prompt = prompt_ids(
        tokenizer,
        record.question,
        evidence=record.evidence,
        image_tokens=image_tokens if record.image else 0,
        stage=stage if record.image else "instruct",
        image=bool(record.image),
    )
    answer_ids = [*tokenizer(said, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    encoded = Encoded(prompt.ids + answer_ids, prompt.labels + answer_ids, prompt.image_slots)
    check(tokenizer, encoded, record, said, image_tokens if record.image else 0)
    return encoded


def encode_turns(
    tokenizer: PreTrainedTokenizerBase, records: Sequence[Record], stage: str, image_tokens: int
) -> Encoded:
    """Several questions about one image in one sequence: the first shows the image, every answer carries loss.

    A question sees the image, not the other questions, which would give it away ("Where is the dog?" says that there is
    one). With one record this is `encode`.

    Raises:
        TrainingError: as `encode`.
    """
    encoded = encode(tokenizer, records[0], stage, image_tokens)
    if len(records) == 1:
        return encoded
    ids, labels = list(encoded.ids), list(encoded.labels)
    shown = encoded.image_slots[-1] + 1 if encoded.image_slots else labels.index(next(x for x in labels if x >= 0))
    turns, positions = [0] * shown + [1] * (len(ids) - shown), list(range(len(ids)))
    asked = _question_tokens(tokenizer, records[0], stage, image_tokens)
    turns[asked.start : asked.stop] = [1] * len(asked)
    for number, record in enumerate(records[1:], 2):
        between = tokenizer(_next_turn(tokenizer, record.question), add_special_tokens=False).input_ids
        answer = [*tokenizer(record.answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        ids += between + answer
        labels += [IGNORED] * len(between) + answer
        length = len(between) + len(answer)
        turns += [number] * length
        positions += range(shown, shown + length)
        check(tokenizer, Encoded(between + answer, [IGNORED] * len(between) + answer, []), record, record.answer, 0)
    return Encoded(ids, labels, encoded.image_slots, turns, positions)


def _question_tokens(tokenizer: PreTrainedTokenizerBase, record: Record, stage: str, image_tokens: int) -> range:
    """Where the question stands in `encode`'s sequence: where it differs from that of two other questions."""
    alone = [
        prompt_ids(
            tokenizer,
            question,
            evidence=record.evidence,
            image_tokens=image_tokens if record.image else 0,
            stage=stage if record.image else "instruct",
            image=bool(record.image),
        ).ids
        for question in (record.question, "A", "B b b")
    ]
    first, length = alone[0], len(alone[0])
    start = next((at for at, tokens in enumerate(zip(*alone, strict=False)) if len(set(tokens)) > 1), length)
    backwards = zip(*(ids[::-1] for ids in alone), strict=False)
    end = length - next((at for at, tokens in enumerate(backwards) if len(set(tokens)) > 1), 0)
    return range(start, max(start, min(end, len(first))))


def _next_turn(tokenizer: PreTrainedTokenizerBase, question: str) -> str:
    """What stands between the end of an answer's turn and the next answer."""
    asked = FOLLOW_UP.format(question=question.replace(SLOT, " ").replace("<|", "< |"))
    turns = [("user", "?"), ("assistant", SLOT), ("user", asked)]
    if not tokenizer.chat_template:
        return f"\n{asked} "
    form = chat_text(tokenizer, [{"role": role, "content": content} for role, content in turns])
    return form.partition(SLOT)[2].removeprefix(tokenizer.eos_token)


def check(tokenizer: PreTrainedTokenizerBase, encoded: Encoded, record: Record, answer: str, image_tokens: int) -> None:
    """Raise TrainingError unless image slots and supervised tokens are exactly what they should be."""
    supervised = [label for label in encoded.labels if label != IGNORED]
    faults = []
    if len(encoded.ids) != len(encoded.labels):
        faults.append(f"{len(encoded.ids)} tokens but {len(encoded.labels)} labels")
    if len(encoded.image_slots) != image_tokens:
        faults.append(f"{len(encoded.image_slots)} image slots for {image_tokens} image tokens")
    if any(encoded.labels[slot] != IGNORED for slot in encoded.image_slots):
        faults.append("an image token carries loss")
    if encoded.labels[len(encoded.labels) - len(supervised) :] != supervised:
        faults.append("a token before the answer carries loss")
    if _plain(text(tokenizer, supervised[:-1])) != _plain(answer):
        faults.append(f"the supervised text is {text(tokenizer, supervised)!r}, not the answer {answer!r}")
    if not supervised or tokenizer.eos_token_id in supervised[:-1] or supervised[-1] != tokenizer.eos_token_id:
        faults.append("the answer does not end its turn once, at its end")
    if faults:
        raise TrainingError(f"record '{record.id}' cannot be learned from: {'; '.join(faults)}")


def text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """Tokens as text, special ones too, with no space moved."""
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _plain(said: str) -> str:
    """What no tokenizer may lose: SentencePiece normalises characters (NFKC) and spaces, byte-level BPE nothing."""
    return " ".join(unicodedata.normalize("NFKC", said).split())


def show_mask(tokenizer: PreTrainedTokenizerBase, encoded: Encoded) -> str:
    """The sequence as text; what carries loss stands in [[ ]], image tokens as <image x M>."""
    parts: list[str] = []
    slots = set(encoded.image_slots)
    runs: list[tuple[str, list[int]]] = []
    for index, (token, label) in enumerate(zip(encoded.ids, encoded.labels, strict=True)):
        state = "image" if index in slots else "loss" if label != IGNORED else "text"
        if not runs or runs[-1][0] != state:
            runs.append((state, []))
        runs[-1][1].append(token)
    for state, tokens in runs:
        shown = f"<image x {len(tokens)}>" if state == "image" else text(tokenizer, tokens)
        parts.append(f"[[{shown}]]" if state == "loss" else shown)
    return "".join(parts)
