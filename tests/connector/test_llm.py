"""The language model: streaming, stopping, repetition, half characters, and families beyond Llama."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import tiny_llm
import torch

from connector.llm import language
from connector.llm.language import NO_REPEAT, LanguageModel
from connector.llm.streaming import Text, Token
from experts.errors import ModelError, WeightsError

torch.set_num_threads(1)
FAMILIES = ["llama", "mixtral", "qwen2_moe", "t5"]


@pytest.fixture(scope="module", params=FAMILIES)
def any_llm(request: pytest.FixtureRequest) -> LanguageModel:
    return tiny_llm.language_model(request.param)


@pytest.fixture(scope="module")
def llama() -> LanguageModel:
    return tiny_llm.language_model("llama")


def prompt(seed: int = 0, length: int = 8) -> torch.Tensor:
    return torch.randn(length, tiny_llm.WIDTH, generator=torch.Generator().manual_seed(seed))


def test_streaming_with_a_cache_says_what_whole_forward_passes_say(any_llm: LanguageModel) -> None:
    pieces = list(any_llm.stream(prompt(), max_new_tokens=24))
    ids, logps = tiny_llm.greedy(any_llm, prompt(), 24)
    expected = any_llm.tokenizer.decode(ids, skip_special_tokens=True)
    assert "".join(piece.text for piece in pieces) == expected.rstrip("\ufffd")
    assert sum(piece.logprob for piece in pieces) == pytest.approx(sum(logps), abs=1e-2)


def test_no_six_tokens_in_a_row_are_said_twice(any_llm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    class Loop(torch.nn.Module):
        """A head that always likes the same three tokens best: without the rule it would say one of them for ever."""

        def __init__(self, head: torch.nn.Module) -> None:
            super().__init__()
            self.head = head

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            logits = self.head(hidden) * 0.01
            logits[..., [10, 11, 12]] += torch.tensor([3.0, 2.0, 1.0])
            return logits

    head, ids, take = any_llm.model.get_output_embeddings(), [], Text.add

    def spy(self: Text, token: int, logprob: float) -> Token | None:
        ids.append(token)
        return take(self, token, logprob)

    monkeypatch.setattr(Text, "add", spy)
    any_llm.model.set_output_embeddings(Loop(head))
    try:
        list(any_llm.stream(prompt(), max_new_tokens=60))
    finally:
        any_llm.model.set_output_embeddings(head)
    assert len(ids) == 60
    runs = [tuple(ids[at : at + NO_REPEAT]) for at in range(len(ids) - NO_REPEAT + 1)]
    assert len(set(runs)) == len(runs)
    assert len({tuple(ids[at : at + 3]) for at in range(58)}) < 58, "shorter runs may come back"


# -- text as it appears ---------------------------------------------------------------------------------------------


def stream_of(ids: list[int]) -> list[str]:
    """The pieces that are shown of these ids."""
    text = Text(tiny.tokenizer(), frozenset())
    taken = [text.add(index, -1.0) for index in ids]
    said = [piece for piece in (*taken, text.flush()) if piece is not None]
    assert sum(piece.logprob for piece in said) == -len(ids), "every token's log-probability is counted once"
    return [piece.text for piece in said]


@pytest.mark.parametrize("text", ["a cat", "naïve café", "猫と犬", "🐈‍⬛ two 🐕!", "Привет, мир", " led by  spaces "])
def test_pieces_join_to_the_text_and_never_hold_half_a_character(text: str) -> None:
    pieces = stream_of(tiny.tokenizer()(text).input_ids)  # one token a byte
    assert "".join(pieces) == text
    assert not any("\ufffd" in piece for piece in pieces)


def test_a_character_cut_off_at_the_end_is_not_shown() -> None:
    ids = tiny.tokenizer()("ok 🐈").input_ids
    assert "".join(stream_of(ids[:-1])) == "ok "


def test_bytes_that_are_no_character_are_shown_once_it_is_certain() -> None:
    words = tiny.tokenizer()
    ids = words("é").input_ids[:1] + words("so").input_ids
    assert "".join(stream_of(ids)) == words.decode(ids) == "\ufffdso"


def test_special_tokens_are_not_shown() -> None:
    words = tiny.tokenizer()
    assert "".join(stream_of([*words("yes").input_ids, words.eos_token_id])) == "yes"


# -- stopping -------------------------------------------------------------------------------------------------------


def count_forwards(model: LanguageModel) -> list[int]:
    calls = [0]
    model.model.register_forward_pre_hook(lambda *_: calls.__setitem__(0, calls[0] + 1))
    return calls


def test_stop_ends_the_model_after_the_token_it_is_at() -> None:
    model, stop = tiny_llm.language_model("llama"), threading.Event()
    calls = count_forwards(model)
    pieces = []
    for piece in model.stream(prompt(), max_new_tokens=5000, stop=stop):
        pieces.append(piece)
        stop.set()
    assert 1 <= len(pieces) <= calls[0] < 1000, "what was said stays"
    before = calls[0]
    time.sleep(0.1)
    assert calls[0] == before, "nothing runs on"


def test_closing_the_iterator_stops_the_model_but_not_other_answers() -> None:
    model, stop = tiny_llm.language_model("llama"), threading.Event()
    calls = count_forwards(model)
    stream = model.stream(prompt(), max_new_tokens=5000, stop=stop)
    next(stream)
    stream.close()
    assert calls[0] < 1000 and not stop.is_set()
    assert len(list(model.stream(prompt(), max_new_tokens=12, stop=stop))) > 0


def test_answers_that_run_at_once_do_not_mix(llama: LanguageModel) -> None:
    expected = [llama.answer(prompt(seed), max_new_tokens=20) for seed in range(4)]
    answers: dict[int, str] = {}

    def ask(seed: int) -> None:
        answers[seed] = llama.answer(prompt(seed), max_new_tokens=20)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[seed] for seed in range(4)] == expected


def test_what_an_answer_runs_within_is_entered_with_the_model_and_left(llama: LanguageModel) -> None:
    events = []

    @contextlib.contextmanager
    def within() -> Iterator[None]:
        events.append(("in", llama._lock.locked(), torch.is_inference_mode_enabled()))
        yield
        events.append(("out", llama._lock.locked(), torch.is_inference_mode_enabled()))

    list(llama.stream(prompt(), max_new_tokens=3, within=within()))
    assert events == [("in", True, True), ("out", True, True)]


def test_a_model_that_fails_is_one_line(llama: LanguageModel) -> None:
    with pytest.raises(ModelError, match=r"the language model 'tiny-llama' failed: ") as caught:
        list(llama.stream(torch.randn(4, 7), max_new_tokens=3))  # 7 wide
    assert "\n" not in str(caught.value)
    assert llama.answer(prompt(), max_new_tokens=3) is not None, "and the next answer has the model again"


# -- from files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_of_any_family_says_the_same(tmp_path: Path, family: str) -> None:
    saved = tiny_llm.language_model(family, tmp_path / family)
    again = tiny_llm.language_model(family)
    assert saved.model.config.is_encoder_decoder == (family == "t5")
    assert saved.width == tiny_llm.WIDTH
    assert saved.answer(prompt(), max_new_tokens=16) == again.answer(prompt(), max_new_tokens=16)
    assert language.load(str(tmp_path / family), "cpu") is saved, "loaded once a process"


def test_a_folder_that_is_no_model_is_one_line_without_its_path(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot load the language model") as caught:
        language.load(str(tmp_path / "nothing-here"), "cpu")
    assert "\n" not in str(caught.value)
