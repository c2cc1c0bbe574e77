"""Opening a model of transformers: what is refused before weights are read, devices, precisions, tokenizers."""

from __future__ import annotations

import json
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import build

from connector.pretrained import loading, memory, open_pretrained
from experts.errors import ConfigError, InputError, MissingExtraError, ModelError, WeightsError

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


def copy_of(folder: Path, to: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, to))


def test_missing_weights_are_never_replaced_by_random_ones(home: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    torn = copy_of(build("llava", tmp_path / "whole"), tmp_path / "torn")
    tensors = load_file(torn / "model.safetensors")
    gone = next(key for key in tensors if "vision" in key and key.endswith("weight"))
    del tensors[gone]
    save_file(tensors, torn / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="'torn' lacks 1 of the weights that its config asks for"):
        open_pretrained(str(torn), device="cpu")


def test_a_folder_with_its_own_program_is_not_run(home: Path, tmp_path: Path) -> None:
    own = copy_of(build("git", tmp_path / "git"), tmp_path / "own")
    (own / "modeling_own.py").write_text("open('was_run', 'w')\nraise SystemExit")
    config = json.loads((own / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "modeling_own.C", "AutoModel": "modeling_own.M"}}
    (own / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="it brings its own program, which is not run"):
        open_pretrained(str(own), device="cpu")
    assert not Path("was_run").exists()


def test_bad_folders_and_names_are_refused_in_one_line(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DUET_OFFLINE", "1")
    whole = build("git", tmp_path / "git")
    (tmp_path / "empty").mkdir()
    pickled = copy_of(whole, tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    cut = copy_of(whole, tmp_path / "cut")
    data = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(data[: len(data) // 2])
    bare = copy_of(whole, tmp_path / "bare")
    for file in ("processor_config.json", "preprocessor_config.json"):
        (bare / file).unlink(missing_ok=True)
    text = copy_of(whole, tmp_path / "text")
    (text / "config.json").write_text(json.dumps({"model_type": "llama"}))
    for name, kind, why in (
        (tmp_path / "none", InputError, "there is no model 'none'; accepted: a folder or hub name"),
        (tmp_path / "empty", InputError, "holds no config.json"),
        (pickled, WeightsError, "its weights are pickles, which can run programs; accepted: safetensors"),
        (cut, WeightsError, "'model.safetensors' of 'cut' is damaged or cut short"),
        (bare, ModelError, "'bare' has no processor"),
        (text, InputError, "is a text-only language model .llama. and cannot see"),
        ("somebody/some-model", WeightsError, "is not on this machine, and no network is used"),
    ):
        with pytest.raises(kind, match=why) as caught:
            open_pretrained(str(name), device="cpu")
        assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_a_model_that_cannot_fit_is_refused_with_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda place: 10 << 30)
    with pytest.raises(ModelError, match=r"7.06 billion parameters and needs about 30.5 GiB in float32, but 10.0 GiB"):
        memory.check_fits("llava", 7_060_000_000, "float32", "cpu")
    memory.check_fits("llava", 7_060_000_000, "int8", "cpu")
    folder = build("git", tmp_path / "git")
    monkeypatch.setattr(memory, "free_bytes", lambda place: 1 << 20)
    with pytest.raises(ModelError, match="are free on cpu"):
        open_pretrained(str(folder), device="cpu")


def test_unknown_precisions_and_devices_name_the_known_ones(tmp_path: Path) -> None:
    folder = build("git", tmp_path / "git")
    with pytest.raises(ConfigError, match="precision 'fp8' is unknown; accepted: auto, float32, bfloat16"):
        open_pretrained(str(folder), precision="fp8")
    with pytest.raises(ConfigError, match="device 'tpu' is unknown; accepted: auto, cpu, cuda, mps"):
        open_pretrained(str(folder), device="tpu")


def test_parameters_are_counted_without_reading_them(tmp_path: Path) -> None:
    folder = build("git", tmp_path / "git")
    model = open_pretrained(str(folder), device="cpu")
    counted = loading.count_parameters(folder, "git")
    assert counted == model.info.parameters
    assert counted == sum(parameter.numel() for parameter in {id(p): p for p in model.model.parameters()}.values())


def test_the_default_for_a_machine_grows_with_its_memory() -> None:
    from connector.pretrained.catalogue import ROWS, choose

    names = [choose(gib, gpu=True).name for gib in (1, 4, 8, 12, 24, 80)]
    assert names[0].endswith("SmolVLM-256M-Instruct") and names[3].endswith("4B-Instruct")
    assert names[4].endswith("8B-Instruct") and names[5] == names[4]
    assert choose(64, gpu=False).parameters < 1  # a processor alone is to answer in seconds
    for row in (choose(gib, gpu=True) for gib in (4, 8, 12, 24)):
        assert row.tier is not None and row.gib("bfloat16") <= row.tier and row.licence == "apache-2.0"
    assert len({row.name for row in ROWS}) == len(ROWS)


# -- tokenizers that need a package -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "package"), [("tekken.json", "mistral_common"), ("tokenizer.model", "sentencepiece")], ids=str
)
def test_a_tokenizer_without_its_package_names_the_extra(
    file: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    from connector.llm.language import load_tokenizer

    found = importlib.util.find_spec
    (tmp_path / file).write_bytes(b"{}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == package else found(name))
    with pytest.raises(MissingExtraError, match=rf"needs the package '{package}'; pip install 'duet\[tokenizers\]'"):
        load_tokenizer(str(tmp_path))
    folder = copy_of(build("git", tmp_path / "git"), tmp_path / "without")
    (folder / "tokenizer.json").rename(folder / file)
    with pytest.raises(MissingExtraError, match="the tokenizer of 'without'"):
        open_pretrained(str(folder), device="cpu")


def test_a_tokenizer_of_sentencepiece_alone_is_read_as_vicuna_s(tmp_path: Path) -> None:
    import sentencepiece

    from connector.llm.language import load_tokenizer

    (tmp_path / "text").write_text("\n".join(["How many dogs are there", "Two dogs and a bus on the left"] * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"), model_prefix=str(tmp_path / "tokenizer"), vocab_size=28, minloglevel=2
    )
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "LlamaTokenizer"}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.decode(tokenizer("How many dogs", add_special_tokens=False).input_ids) == "How many dogs"


# -- GPUs, precisions: what transformers is asked for, with fakes in place of the hardware ---------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What `from_pretrained` was asked for; it answers with the model on the CPU."""
    from transformers import AutoModelForMultimodalLM

    given: dict[str, Any] = {}
    read = AutoModelForMultimodalLM.from_pretrained

    def from_pretrained(folder: Path, **options: Any) -> Any:
        given.update(options)
        kept = {key: value for key, value in options.items() if key not in ("device_map", "quantization_config")}
        return read(folder, **kept)

    monkeypatch.setattr(AutoModelForMultimodalLM, "from_pretrained", from_pretrained)
    return given


def test_several_gpus_share_a_model_in_bfloat16(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index=0: (3 << 30, 4 << 30))
    assert memory.free_bytes("cuda") == 6 << 30
    model = open_pretrained(str(build("git", tmp_path / "git")))
    assert asked["device_map"] == "auto" and asked["dtype"] == torch.bfloat16 and model.info.precision == "bfloat16"
    shared = types.SimpleNamespace(
        parameters=lambda: [types.SimpleNamespace(device=name) for name in ("cuda:1", "cuda:0", "cuda:1")]
    )
    assert loading._devices(shared) == "cuda:0, cuda:1"


@pytest.mark.parametrize(("kind", "bits"), [("int8", "load_in_8bit"), ("int4", "load_in_4bit")])
def test_low_precisions_are_bitsandbytes_s_and_need_the_extra(
    kind: str, bits: str, asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    folder, found = build("git", tmp_path / "git"), importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "bitsandbytes" else found(name))
        with pytest.raises(MissingExtraError, match=r"pip install 'duet\[quantised\]'"):
            open_pretrained(str(folder), device="cpu", precision=kind)
    monkeypatch.setattr(loading, "needs", lambda *what: None)
    model = open_pretrained(str(folder), device="cpu", precision=kind)
    assert getattr(asked["quantization_config"], bits) and asked["dtype"] == torch.bfloat16
    assert model.info.precision == kind


def test_mps_is_found_and_gets_the_model(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import GitForCausalLM

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    moved: list[str] = []
    monkeypatch.setattr(GitForCausalLM, "to", lambda self, place: moved.append(place) or self)
    assert memory.place_of("auto") == "mps"
    model = open_pretrained(str(build("git", tmp_path / "git")), device="mps")
    assert moved == ["mps"] and "device_map" not in asked and model.info.precision == "bfloat16"


def test_one_model_by_another_spelling_of_its_path_answers_both_routes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.context import Context
    from experts.config import Settings

    build("llava", tmp_path / "llava")
    (tmp_path / "link").symlink_to("llava")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for spelling in ("llava/", "./llava", "~/llava", "link"):
        context = Context(Settings(model=str(tmp_path / "llava"), llm=spelling, device="cpu"))
        assert not context.has_separate_language()
    assert context.shares_weights()
    assert Context(Settings(model=str(tmp_path / "llava"), llm="smollm2-135m-instruct")).has_separate_language()
