"""Models of transformers as the connector: tiny random checkpoints in the genuine format answer as `generate` does."""

from __future__ import annotations

import base64
import dataclasses
import io
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import build

from connector.base import Asked, Generation, Turn
from connector.pretrained import families, open_pretrained
from connector.pretrained.model import PretrainedModel
from experts.errors import InputError, ModelError
from experts.media import Audio, Image, Media, Video

torch.set_num_threads(1)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # PaliGemma's processor
SEE = (
    "llava", "llava_next", "llava_onevision", "smolvlm", "idefics3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl",
    "gemma3", "lfm2_vl",
)  # fmt: skip
PLAIN = ("paligemma", "blip-2", "instructblip", "florence2", "blip", "git")  # without a chat template
ONE_MEDIUM = ("blip-2", "instructblip", "florence2", "blip", "git", "glmasr")
CAPTIONERS = ("florence2", "blip", "git")
HEAR = ("qwen2_audio", "glmasr", "voxtral")
N = 6
Q = "How many dogs are there?"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@cache
def _opened(family: str, home: Path) -> PretrainedModel:
    return open_pretrained(str(build(family, home / family)), device="cpu")


@pytest.fixture
def opened(request: pytest.FixtureRequest, home: Path) -> Any:
    return lambda family: _opened(family, home)


def picture(seed: int, height: int = 40, width: int = 60) -> Image:
    return Image.open(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8), name=f"{seed}.png")


def sound(seed: int = 0) -> Audio:
    samples = np.random.default_rng(seed).standard_normal(16_000).astype(np.float32) / 10
    return Audio.open(samples, rate_hz=16_000)


def film() -> Video:
    frames = [picture(seed, 40, 40) for seed in range(4)]
    return Video(frames, [0.0, 1.0, 2.0, 3.0], None, 4.0, "film.mp4", "f" * 64)


def media_of(family: str, count: int) -> list[Media]:
    return [sound(seed) for seed in range(count)] if family in HEAR else [picture(seed) for seed in range(count)]


def said(model: PretrainedModel, question: str, media: list[Media], **more: Any) -> str:
    return "".join(token.text for token in model.stream(question, media, Generation(N), **more).tokens)


def wav(medium: Media) -> bytes:
    """A sound as soundfile writes it, in floats."""
    import soundfile

    assert isinstance(medium, Audio)
    stream = io.BytesIO()
    soundfile.write(stream, medium.samples, Audio.RATE_HZ, format="WAV", subtype="FLOAT")
    return stream.getvalue()


def reference(model: PretrainedModel, question: str, media: list[Media]) -> str:
    """What transformers alone says: the processor's chat template, then `generate`."""
    processor, parts = model.prompts.processor, []
    for medium in media:
        given = medium.samples if isinstance(medium, Audio) else medium.to_pil()
        parts.append({"type": medium.kind, medium.kind: given})
    if model.prompts.makes_form:
        sounds = [{"type": "audio", "base64": base64.b64encode(wav(one)).decode()} for one in media]
        inputs = processor.apply_chat_template(
            [{"role": "user", "content": [*sounds, {"type": "text", "text": question}]}]
        )
    elif model.prompts.template:
        turn = {"role": "user", "content": [*parts, {"type": "text", "text": question}]}
        inputs = processor.apply_chat_template(
            [turn], tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"
        )
    else:
        form = families.family_of(model.model.config.model_type).prompt
        token = getattr(processor, "image_token", "")
        text = form.format(images=str(getattr(token, "content", token)) * len(media), question=question)
        pictures = [one.to_pil() for one in media]
        nested = families.family_of(model.model.config.model_type).most_media is None
        inputs = processor(text=[text], images=[pictures] if nested else pictures, return_tensors="pt")
    inputs = inputs.to(model.model.device, model.model.dtype)
    with torch.no_grad():
        made = model.model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=N)[0]
    ids = inputs["input_ids"][0]
    new = made[len(ids) :] if len(made) > len(ids) and torch.equal(made[: len(ids)], ids) else made
    return str(processor.tokenizer.decode(new, skip_special_tokens=True))


@pytest.mark.parametrize("family", [*SEE, *PLAIN, *HEAR])
def test_one_medium_is_answered_as_generate_answers_it(family: str, opened: Any) -> None:
    model = opened(family)
    media = media_of(family, 1)
    answer = said(model, Q, media)
    expected = reference(model, Q, media).rstrip("\ufffd").strip()
    text = answer.rstrip("\ufffd").strip()
    assert text == expected or (
        family == "blip" and text and expected.endswith(text)
    )  # whose generate repeats the prompt
    assert answer == said(model, Q, media)


@pytest.mark.parametrize("family", [*SEE, "qwen2_audio", "voxtral", "paligemma"])
def test_two_media_are_both_read(family: str, opened: Any) -> None:
    model = opened(family)
    two = media_of(family, 2)
    assert said(model, Q, two).rstrip("\ufffd").strip() == reference(model, Q, two).rstrip("\ufffd").strip()
    assert model.tokens(two) > model.tokens(two[:1]) or family == "llava_onevision"  # which cuts a lone picture finer


@pytest.mark.parametrize("family", ONE_MEDIUM)
def test_a_second_medium_is_refused_where_it_would_be_passed_over(family: str, opened: Any) -> None:
    with pytest.raises(InputError, match=rf"model '{family}' takes 1 medium at a time, here are 2; ask about one"):
        said(opened(family), Q, media_of(family, 2))


def test_a_template_that_passes_over_a_second_picture_is_found_out(opened: Any, home: Path) -> None:
    model = open_pretrained(str(home / "llava" if (home / "llava").is_dir() else build("llava", home / "llava")))
    model.prompts.processor.chat_template = (
        "{% for m in messages %}{% for p in m['content'] %}{% if p['type'] == 'image' and loop.first %}<image>"
        "{% elif p['type'] == 'text' %}{{ p['text'] }}{% endif %}{% endfor %}{% endfor %}"
    )
    with pytest.raises(InputError, match="reads one medium of a question and passes over 1"):
        said(model, Q, media_of("llava", 2))


@pytest.mark.parametrize("family", [family for family in (*SEE, *PLAIN, *HEAR) if family not in CAPTIONERS])
def test_text_alone_is_answered_by_the_same_weights(family: str, opened: Any) -> None:
    model = opened(family)
    weights = {parameter.data_ptr() for parameter in model.model.parameters()}
    speaks = model.language._model()
    assert {parameter.data_ptr() for parameter in speaks.parameters()} <= weights
    reply = model.language.read(Q, "Objects: 2 dogs.", Generation(N))
    text = "".join(token.text for token in reply.tokens)
    assert model.language.read_batch([(Q, "Objects: 2 dogs."), ("What is it?", "nothing")], N)[0].text == text.strip()
    first, other = (
        [token.logprob for token in model.language.read(Q, notes, Generation(N)).tokens]
        for notes in ("Objects: 2 dogs.", "Text: 9.")
    )
    assert reply.prompt_tokens > 20 and first != other  # the notes are read


@pytest.mark.parametrize("family", CAPTIONERS)
def test_a_captioner_says_that_it_needs_a_language_model_beside_it(family: str, opened: Any) -> None:
    with pytest.raises(ModelError, match=rf"model '{family}' cannot speak without a picture, .* set llm to"):
        opened(family).language.read(Q, "a dog", Generation(N))


@pytest.mark.parametrize("family", [*SEE, *PLAIN, *HEAR])
def test_a_batch_answers_each_question_as_it_is_answered_alone(family: str, opened: Any) -> None:
    model = opened(family)
    make = (lambda seed: sound(seed)) if family in HEAR else (lambda seed: picture(seed, 40 + 6 * seed, 60))
    asked = [Asked(("How many? " * (1 + seed % 3)).strip(), (make(seed),)) for seed in range(4)]
    if family not in CAPTIONERS:
        asked.append(Asked("What is a dog?"))
    alone = [said(model, one.question, list(one.media)).strip() for one in asked]
    assert [answer.text for answer in model.answers(asked, N)] == alone


def test_answers_stream_token_by_token_and_stop_when_asked(opened: Any) -> None:
    model = opened("llava")
    stop = threading.Event()
    reply = model.stream(Q, media_of("llava", 1), Generation(400, stop))
    pieces = []
    for token in reply.tokens:
        pieces.append(token)
        stop.set()
    assert 1 <= len(pieces) < 50
    assert all(piece.logprob <= 0 for piece in pieces)


def test_the_answer_cut_by_the_limit_of_tokens_says_so(opened: Any) -> None:
    model = opened("qwen2_vl")
    cut, whole = (model.answers([Asked(Q, (picture(0),))], most)[0] for most in (2, 2000))
    assert cut.cut and (not whole.cut or len(whole.text) > 500)


def test_earlier_turns_and_their_pictures_are_read(opened: Any) -> None:
    model = opened("qwen2_vl")
    history = (Turn("user", "What is this?", (picture(5),)), Turn("assistant", "A dog."))
    with_history = model.stream("And this?", [picture(1)], Generation(1), history).prompt_tokens
    assert with_history > model.stream("And this?", [picture(1)], Generation(1)).prompt_tokens + 10


@pytest.mark.parametrize("family", ["qwen2_vl", "llava_onevision", "internvl", "llava"])
def test_a_film_is_taken_by_the_video_processor_or_as_frames(family: str, opened: Any) -> None:
    model = opened(family)
    assert "video" in model.info.modalities
    assert model.prompts.films() == (family != "llava")
    first = said(model, Q, [film()])
    assert model.tokens([film()]) > 4
    assert first == said(model, Q, [film()])


def test_what_a_person_types_opens_no_turn_and_holds_no_place_for_a_picture(opened: Any) -> None:
    model = opened("llava")
    inputs = model.prompts.inputs([("<image> <image> </s> hi <|im_end|>", [picture(0)], ())])
    image = model.tokenizer.convert_tokens_to_ids("<image>")
    assert int((inputs["input_ids"] == image).sum()) == 4  # those of the one picture
    assert int((inputs["input_ids"] == model.tokenizer.eos_token_id).sum()) == 0


def test_a_medium_of_a_kind_that_the_model_does_not_take_is_refused(opened: Any) -> None:
    with pytest.raises(InputError, match=r"model 'llava' does not take audio; accepted: image, video"):
        said(opened("llava"), Q, [sound()])
    with pytest.raises(InputError, match=r"model 'qwen2_audio' does not take image; accepted: audio"):
        said(opened("qwen2_audio"), Q, [picture(0)])


def exhausted(*_: Any, **__: Any) -> None:
    raise torch.OutOfMemoryError("no memory")


def test_out_of_memory_is_an_honest_error_and_the_next_question_works(
    opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened("llava")
    before = said(model, Q, media_of("llava", 1))
    with monkeypatch.context() as patch:
        patch.setattr(
            type(model.model), "generate", lambda *_, **__: (_ for _ in ()).throw(torch.OutOfMemoryError("x"))
        )
        with pytest.raises(ModelError, match="ran out of memory at this question; .* the next question is answered"):
            said(model, Q, media_of("llava", 1))
        with pytest.raises(ModelError, match="ran out of memory"):
            model.answers([Asked(Q, (picture(0),))], N)
    assert said(model, Q, media_of("llava", 1)) == before


def test_the_sound_of_a_film_is_heard_by_a_model_that_takes_both(opened: Any) -> None:
    model = opened("qwen2_5_omni")
    assert model.info.modalities == {"audio", "image", "video"}
    silent, loud, other = (dataclasses.replace(film(), audio=track) for track in (None, sound(0), sound(1)))
    assert model.tokens([loud]) > model.tokens([silent])
    heard = [[token.logprob for token in model.stream(Q, [one], Generation(N)).tokens] for one in (loud, other, silent)]
    assert heard[0] != heard[1] and heard[0] != heard[2]
    without = opened("qwen2_vl")
    assert without.tokens([loud]) == without.tokens([silent])


def test_a_generate_that_cannot_be_followed_is_a_failure_and_no_empty_answer(home: Path, opened: Any) -> None:
    model = opened("janus")  # whose own passes over logits processors; the common one is called instead
    assert list(model.stream(Q, [picture(0)], Generation(N)).tokens)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.model, "generate", type(model.model).generate.__get__(model.model))
        with pytest.raises(ModelError, match="JanusForConditionalGeneration passes over logits processors"):
            said(model, Q, [picture(0)])
        with pytest.raises(ModelError, match="cannot be followed"):
            model.answers([Asked(Q, (picture(0),))], N)
    assert "audio" not in opened("gemma4").info.modalities  # whose processor has ears and whose config has none
