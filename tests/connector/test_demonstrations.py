"""Demonstrations: they stand before every question, are read once, and change no word of what is said after them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny_llm
import torch

from connector.base import Generation, Turn
from connector.llm import templates
from connector.llm.demonstrations import FILE, Demonstrations, demonstrations_of
from connector.llm.language import LanguageModel
from connector.llm.text import LocalText
from experts.errors import ModelError

torch.set_num_threads(1)
SHOWN = Demonstrations(
    "Answer from the notes.",
    "Notes: {input} Question: {question}",
    (("1 dog", "Any cats?", "No."), ("2 cats", "How many cats?", "There are 2 cats.")),
)


@pytest.fixture
def llm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LanguageModel:
    monkeypatch.setenv("DUET_HOME", str(tmp_path))
    made = tiny_llm.language_model("llama")
    made.demonstrations = SHOWN
    return made


def said(llm: LanguageModel, question: str, notes: str) -> list[tuple[str, float]]:
    reply = LocalText(llm).read(question, notes, Generation(12))
    return [(token.text, round(token.logprob, 3)) for token in reply.tokens]


def test_reading_them_once_says_what_reading_them_every_time_says(
    llm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = [said(llm, question, "3 birds") for question in ("Any dogs?", "How many birds?", "Any dogs?")]
    assert once[0] == once[2] != once[1]
    monkeypatch.setattr(llm, "begin", lambda: None)  # so that `generate` reads the whole prompt
    again = [said(llm, question, "3 birds") for question in ("Any dogs?", "How many birds?")]
    assert [[text for text, _ in row] for row in again] == [[text for text, _ in row] for row in once[:2]]
    for one, other in zip(again, once, strict=False):
        assert [value for _, value in one] == pytest.approx([value for _, value in other], abs=2e-2)


def test_a_batch_answers_as_one_by_one(llm: LanguageModel) -> None:
    asked = [("Any dogs?", "3 birds"), ("How many?", "1 cat and 2 dogs")]
    together = LocalText(llm).read_batch(asked, 12)
    assert [one.text for one in together] == ["".join(t for t, _ in said(llm, *pair)).strip() for pair in asked]


def test_the_prompt_holds_them_before_earlier_turns_and_the_question(llm: LanguageModel) -> None:
    turns = templates.messages("Which?", evidence="1 bus", history=[("user", "Any bus?")], demonstrations=SHOWN)
    assert [turn["content"] for turn in turns] == [
        "Answer from the notes.", "Notes: 1 dog Question: Any cats?", "No.", "Notes: 2 cats Question: How many cats?",
        "There are 2 cats.", "Any bus?", "Notes: 1 bus Question: Which?",
    ]  # fmt: skip
    assert templates.messages("Hello", demonstrations=SHOWN) == [{"role": "user", "content": "Hello"}]
    reply = LocalText(llm).read("Which?", "1 bus", Generation(4), [Turn("user", "Any bus?")])
    assert "".join(token.text for token in reply.tokens)


def test_what_was_read_is_kept_for_the_next_process_and_a_damaged_file_is_read_anew(
    llm: LanguageModel, tmp_path: Path
) -> None:
    first = said(llm, "Any dogs?", "3 birds")
    (file,) = (tmp_path / "prefixes").glob("*.safetensors")
    kept = file.read_bytes()
    for content in (kept, b"torn", kept[: len(kept) // 2]):
        file.write_bytes(content)
        llm._prefix = None
        assert said(llm, "Any dogs?", "3 birds") == first
        assert file.read_bytes() == kept
    llm._prefix, llm.adapter = None, "other"
    said(llm, "Any dogs?", "3 birds")
    assert len(list((tmp_path / "prefixes").glob("*.safetensors"))) == 2, "other weights read them otherwise"


def test_they_travel_with_a_models_folder(tmp_path: Path) -> None:
    assert demonstrations_of(tmp_path) is None
    (tmp_path / FILE).write_text(json.dumps({"system": "s", "form": "{input}{question}", "turns": [["a", "b", "c"]]}))
    assert demonstrations_of(tmp_path) == Demonstrations("s", "{input}{question}", (("a", "b", "c"),))
    (tmp_path / FILE).write_text('{"system": "s"}')
    with pytest.raises(ModelError, match="does not hold demonstrations") as caught:
        demonstrations_of(tmp_path)
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_the_shipped_ones_show_yes_and_no_and_saying_that_nothing_tells() -> None:
    import connector.opening

    shown = demonstrations_of(connector.opening.SHIPPED / "embedded")
    assert shown is not None and "{input}" in shown.form and "{question}" in shown.form
    answers = [answer for _, _, answer in shown.turns]
    for start in ("Yes", "No", "There are", "That cannot be told", "有", "没有"):
        assert any(answer.startswith(start) for answer in answers), start
