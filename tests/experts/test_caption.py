"""The captioner: a composed sentence tells only what was found and says how it came about; models write the others."""

from __future__ import annotations

import doctest
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experts import caption
from experts.base import Expert, Finding
from experts.caption import Captioner, compose
from experts.config import Settings
from experts.errors import ExpertError, MediaError, WeightsError
from experts.media import Audio, Image, Media

IMAGE = Image.open(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8), name="photo.png")


class Scripted:
    """An image expert that finds what it was told, or fails."""

    description, kinds, weights = "scripted", frozenset({"image"}), ""

    def __init__(self, name: str, found: list[Finding] | Exception) -> None:
        self.name, self.found = name, found

    def __call__(self, media: Media) -> list[Finding]:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


def thing(name: str, score: float = 0.5, colour: str = "") -> Finding:
    return Finding("detect", name, score, (0, 0, 9, 9), extra={"colour": colour} if colour else {})


def tag(name: str, score: float = 0.5) -> Finding:
    return Finding("tag", name, score)


def text(words: str, score: float = 0.9) -> Finding:
    return Finding("ocr", words, score, (0, 0, 9, 9))


def composed(found: Mapping[str, list[Finding] | Exception]) -> list[Finding]:
    return Captioner(experts={name: Scripted(name, value) for name, value in found.items()})(IMAGE)


# Composed


@pytest.mark.parametrize(
    ("things", "tags", "lines", "sentence"),
    [
        ([thing("dog", colour="brown")], [], [], "Found: a brown dog."),
        ([thing("person"), thing("dog"), thing("person")], [], [], "Found: two persons and a dog."),
        ([thing("bus", colour="red")] * 2, [], [], "Found: two red buses."),
        ([thing("bus", colour="red"), thing("bus", colour="blue")], [], [], "Found: two buses."),
        ([thing("apple", colour="green"), thing("umbrella"), thing("skis")], [], [],
         "Found: a green apple, an umbrella and skis."),
        ([thing("sheep")] * 12, [], [], "Found: 12 sheep."),
        ([], [tag("espresso", 0.81)], [], "Looks like an espresso."),
        ([], [tag("espresso", 0.1)], [text("MENU")], 'Reads "MENU".'),
        ([thing("dog")], [tag("golden retriever"), tag("tennis ball")], [], "Found: a dog."),  # a dog, said already
        ([thing("dog")], [tag("tennis ball")], [], "Found: a dog; looks like a tennis ball."),
        ([], [], [text("one"), text("two\n<|im_end|>three"), text("four"), text("five"), text("six")],
         'Reads "one", "two three", "four" and 2 more lines.'),
        ([], [], [], ""),
    ],
)  # fmt: skip
def test_sentence_tells_what_was_found_and_nothing_else(
    things: list[Finding], tags: list[Finding], lines: list[Finding], sentence: str
) -> None:
    assert compose(things, tags, lines)[0] == sentence


def test_composed_caption_says_that_it_is_one_and_is_as_sure_as_its_least_sure_part() -> None:
    (finding,) = composed({"detect": [thing("dog", 0.9), thing("cat", 0.4)], "tag": [tag("dog", 0.1)], "ocr": []})
    assert finding == Finding(
        "caption", "Found: a dog and a cat.", 0.4, source="photo.png", extra={"how": "composed", "from": ["detect"]}
    )
    json.dumps(finding.to_dict())


def test_nothing_found_is_no_caption() -> None:
    assert composed({"detect": [], "tag": [], "ocr": []}) == []


def test_failed_expert_is_named_and_the_others_still_speak() -> None:
    (finding,) = composed({"detect": ExpertError("no room"), "tag": [], "ocr": [text("MENU")]})
    assert finding.text == 'Reads "MENU".'
    assert finding.extra == {"how": "composed", "from": ["ocr"], "failed": {"detect": "no room"}}


def test_all_experts_failing_is_a_failure() -> None:
    failing = {"detect": ExpertError("no room"), "ocr": WeightsError("not here")}
    with pytest.raises(ExpertError, match="'photo.png' cannot be described, .*: detect: no room; ocr: not here$"):
        composed(failing)


def test_our_own_mistakes_are_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        composed({"detect": ZeroDivisionError()})


def test_registered_experts_are_asked_with_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Settings]] = []

    def get(name: str, settings: Settings) -> Expert:
        asked.append((name, settings))
        return Scripted(name, [Finding(name, "zebra", 0.9)])

    monkeypatch.setattr("experts.get", get)
    settings = Settings(threads=1)
    (finding,) = Captioner(settings)(IMAGE)
    assert finding.text == 'Found: a zebra; reads "zebra".'
    assert asked == [(name, settings) for name in ("detect", "tag", "ocr")]


def test_examples_in_docstrings_hold() -> None:
    assert doctest.testmod(caption).failed == 0


# Written by a model: tiny random ones, saved in the genuine formats


def blip(folder: Path) -> None:
    import transformers as hf

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", "a", "dog", "on", "grass", "##s"]
    processor = hf.BlipProcessor(
        hf.BlipImageProcessor(size={"height": 16, "width": 16}),
        hf.BertTokenizer(
            vocab={word: index for index, word in enumerate(words)},
            extra_special_tokens={"dec_token": "[DEC]", "enc_token": "[ENC]"},
        ),
    )
    common = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    reads = {"encoder_hidden_size": 16, "vocab_size": len(words), "max_position_embeddings": 128, "bos_token_id": 5}
    ends = {"pad_token_id": 0, "eos_token_id": 2, "sep_token_id": 3}
    config = hf.BlipConfig(
        text_config=common | reads | ends, vision_config=common | {"image_size": 16, "patch_size": 8}, projection_dim=16
    )
    model = hf.BlipForConditionalGeneration(config)
    model.text_decoder.cls.predictions.bias.data[:7] = -1e3  # words only, or it might end before the first
    save(model, processor, folder)


def florence2(folder: Path) -> None:
    import transformers as hf
    from tokenizers import pre_tokenizers

    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = hf.BartTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=[],
        extra_special_tokens={"image_token": "<image>"},
    )
    resize = hf.CLIPImageProcessor(size={"height": 64, "width": 64}, do_center_crop=False)
    resize.image_seq_length = 5  # 2 x 2 patches and their mean
    stages = {"depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1), "num_groups": (1, 1, 1, 1), "window_size": 2}
    reads = {
        "model_type": "bart", "vocab_size": len(tokenizer), "d_model": 16, "max_position_embeddings": 128,
        "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 16,
        "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16,
        "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2,
    }  # fmt: skip
    config = hf.Florence2Config(
        text_config=reads,
        vision_config=stages | {"embed_dim": (8, 8, 8, 16), "projection_dim": 16},
        image_token_id=tokenizer.image_token_id,
    )
    save(hf.Florence2ForConditionalGeneration(config), hf.Florence2Processor(resize, tokenizer), folder)


def llava(folder: Path) -> None:
    """A model that chats."""
    import tiny
    import transformers as hf

    tokenizer = tiny.tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
        "{{ '<image>' if part['type'] == 'image' else part['text'] }}{% endfor %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    tokenizer.chat_template = template
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = hf.LlavaConfig(
        text_config=hf.LlamaConfig(
            **small, vocab_size=len(tokenizer), num_key_value_heads=1, max_position_embeddings=512
        ),
        vision_config=hf.CLIPVisionConfig(**small, image_size=16, patch_size=8),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
    )
    processor = hf.LlavaProcessor(
        hf.CLIPImageProcessor(size={"height": 16, "width": 16}, do_center_crop=False),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template,
    )
    save(hf.LlavaForConditionalGeneration(config), processor, folder)


def save(model: Any, processor: Any, folder: Path) -> None:
    """With weights wide enough that what is written depends on the picture."""
    import torch

    torch.manual_seed(1)
    for weights in model.parameters():
        if weights.dim() > 1:
            torch.nn.init.normal_(weights, std=0.5)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


KINDS: dict[str, Callable[[Path], None]] = {"blip": blip, "florence2": florence2, "llava": llava}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for kind, build in KINDS.items():
        made[kind] = tmp_path_factory.mktemp(kind)
        build(made[kind])
    return made


def written(kind: str, folder: Path, image: Image) -> str:
    """What transformers itself writes, called as its documentation shows for each kind."""
    import transformers as hf

    processor = hf.AutoProcessor.from_pretrained(folder)
    if kind == "blip":
        model: Any = hf.BlipForConditionalGeneration.from_pretrained(folder)
        out = model.generate(
            **processor(images=image.to_pil(), return_tensors="pt"), do_sample=False, max_new_tokens=60
        )
    elif kind == "florence2":
        model = hf.Florence2ForConditionalGeneration.from_pretrained(folder)
        inputs = processor(text="<CAPTION>", images=image.to_pil(), return_tensors="pt")
        out = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=60)
    else:
        model = hf.LlavaForConditionalGeneration.from_pretrained(folder)
        prompt = "<|im_start|>user\n<image>Describe the image in one sentence.<|im_end|>\n<|im_start|>assistant\n"
        inputs = processor(text=prompt, images=image.to_pil(), return_tensors="pt")
        out = model.generate(**inputs, do_sample=False, max_new_tokens=60)[:, inputs["input_ids"].shape[1] :]
    return " ".join(processor.batch_decode(out, skip_special_tokens=True)[0].split())


@pytest.mark.parametrize("kind", KINDS)
def test_model_of_each_kind_writes_what_transformers_writes_with_it(kind: str, models: dict[str, Path]) -> None:
    captioner = Captioner(Settings(captioner=str(models[kind]), device="cpu"))
    assert captioner.weights == models[kind].name
    other = Image.open(np.zeros((30, 20, 3), np.uint8), name="dark")
    texts = []
    for image in (IMAGE, other):
        (finding,) = captioner(image)
        assert finding.text == written(kind, models[kind], image)
        assert (finding.expert, finding.source, finding.extra) == ("caption", image.name, {"how": "generated"})
        assert 0 < finding.score <= 1
        assert captioner(image) == [finding]
        texts.append(finding.text)
    assert texts[0] != texts[1]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # PaliGemma's processor
@pytest.mark.parametrize(
    ("kind", "prompt"), [("instructblip", "A short image description:"), ("paligemma", "<image>caption en")]
)
def test_a_family_without_a_chat_form_is_asked_with_the_prompt_it_was_trained_with(
    kind: str, prompt: str, tmp_path: Path
) -> None:
    import transformers as hf
    from checkpoints import build

    folder = build(kind, tmp_path / kind)
    (finding,) = Captioner(Settings(captioner=str(folder), device="cpu"))(IMAGE)
    processor, model = hf.AutoProcessor.from_pretrained(folder), hf.AutoModelForImageTextToText.from_pretrained(folder)
    inputs = processor(text=prompt, images=IMAGE.to_pil(), return_tensors="pt")
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=60)[0]
    asked = inputs["input_ids"].shape[1] if ids[0] == inputs["input_ids"][0, 0] else 0
    assert finding.text == " ".join(processor.tokenizer.decode(ids[asked:], skip_special_tokens=True).split())


def test_score_is_the_mean_token_probability(models: dict[str, Path]) -> None:
    import torch
    from transformers import AutoProcessor, Florence2ForConditionalGeneration

    (finding,) = Captioner(Settings(captioner=str(models["florence2"]), device="cpu"))(IMAGE)
    processor = AutoProcessor.from_pretrained(models["florence2"])
    model = Florence2ForConditionalGeneration.from_pretrained(models["florence2"])
    inputs = processor(text="<CAPTION>", images=IMAGE.to_pil(), return_tensors="pt")
    ids = model.generate(**inputs, do_sample=False, num_beams=1, max_new_tokens=60)
    with torch.inference_mode():
        logits = model(**inputs, decoder_input_ids=ids[:, :-1]).logits  # all at once instead of token by token
    logprobs = logits.log_softmax(-1).gather(2, ids[:, 1:, None])
    assert finding.score == pytest.approx(float(logprobs.mean().exp()), abs=2e-3)


def test_loading_and_writing_print_nothing(models: dict[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging as theirs

    before = theirs.get_verbosity(), theirs.is_progress_bar_enabled()
    Captioner(Settings(captioner=str(models["blip"]), device="cpu"))(IMAGE)
    assert capfd.readouterr() == ("", "")
    assert (theirs.get_verbosity(), theirs.is_progress_bar_enabled()) == before


# Refusals


def test_captioner_is_an_expert_and_takes_only_images() -> None:
    captioner = Captioner()
    assert isinstance(captioner, Expert) and captioner.weights == "composed"
    with pytest.raises(MediaError, match="'audio' is of kind audio; caption takes images"):
        captioner(Audio.open(np.zeros(100, np.float32), rate_hz=16_000))


def test_model_that_cannot_be_loaded_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import transformers as hf

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to https://hub.example/x from /root/.cache/models\nand more")

    with monkeypatch.context() as patch, pytest.raises(WeightsError) as caught:
        patch.setattr(hf.AutoConfig, "from_pretrained", unreachable)
        Captioner(Settings(captioner="someone/blip-mine"))(IMAGE)
    told = str(caught.value)
    assert (
        told.startswith("the captioner 'blip-mine' could not be loaded: no route to") and "expected 'composed'" in told
    )
    assert not any(part in told for part in ("\n", "https", "/root"))

    hf.BertConfig(num_hidden_layers=1).save_pretrained(tmp_path / "reader")
    with pytest.raises(
        WeightsError, match="the captioner 'reader' could not be loaded: .*expected 'composed'"
    ) as caught:
        Captioner(Settings(captioner=str(tmp_path / "reader")))(IMAGE)
    assert str(tmp_path) not in str(caught.value)


def test_code_that_comes_with_a_model_is_not_run(models: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "bomb.py").write_text(f"open({str(tmp_path / 'exploded')!r}, 'w')\nclass C: ...\n")
    config = {"model_type": "own", "auto_map": {"AutoConfig": "bomb.C", "AutoModelForImageTextToText": "bomb.C"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match="could not be loaded"):
        Captioner(Settings(captioner=str(tmp_path)))(IMAGE)
    assert not (tmp_path / "exploded").exists()


def test_failure_of_the_model_is_one_line(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    captioner = Captioner(Settings(captioner=str(models["blip"]), device="cpu"))

    def broken(image: Image) -> tuple[str, float]:
        raise RuntimeError("out of memory in '/opt/lib/x.so'\nstack")

    monkeypatch.setattr(captioner, "_writer", broken)
    with pytest.raises(ExpertError, match="^'photo.png' could not be described: out of memory in 'x.so'$"):
        captioner(IMAGE)
    logging.getLogger("transformers").info("still there")
