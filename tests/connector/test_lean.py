"""Importing a language model without what no answer needs: it is left out, and is there for whoever asks for it."""

from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_llm
import torch

from connector.llm import converted
from connector.llm.lean import LATER, _stand_in, lean_imports

ROOT = Path(__file__).parents[2]


def test_a_language_model_is_loaded_without_compiler_and_parallel_parts(tmp_path: Path) -> None:
    made = tiny_llm.language_model().model
    made.save_pretrained(tmp_path)
    (tmp_path / converted.STAMP).write_text("{}")
    torch.save(made(input_ids=torch.tensor([[1, 2, 3]])).logits, tmp_path / "logits.pt")
    code = f"""
import builtins, sys
from pathlib import Path
before = builtins.__import__
from connector.llm import converted
from connector.llm.lean import lean_imports
with lean_imports():
    model = converted.mapped(Path({str(tmp_path)!r}))
assert builtins.__import__ is before
import torch
model = model.eval()
ids = torch.tensor([[1, 2, 3]])
assert torch.allclose(model(input_ids=ids).logits, torch.load({str(tmp_path / "logits.pt")!r}), atol=1e-5)
model.generate(ids, max_new_tokens=2, do_sample=False, synced_gpus=False)
heavy = {{"torch._dynamo", "sympy", "torch.distributed.tensor", "torch.distributed.fsdp", "scipy"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
import torch._dynamo
assert torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)) == 2
from transformers.loss.loss_utils import LOSS_MAPPING
from transformers.loss.loss_for_object_detection import ForSegmentationLoss
from transformers.distributed.utils import is_dtensor
assert not is_dtensor(torch.ones(1))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_mapped_model_is_the_one_that_transformers_reads(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    tiny_llm.language_model().model.save_pretrained(tmp_path)
    own = converted.mapped(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    for kind in ("state_dict", "named_buffers"):
        mine, wanted = dict(getattr(own, kind)()), dict(getattr(theirs, kind)())
        assert mine.keys() == wanted.keys() and all(torch.equal(mine[key], wanted[key]) for key in mine)
    assert own.generation_config == theirs.generation_config


def test_only_tops_of_the_listed_importers_get_stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    where = "transformers.integrations.flex_attention"
    assert where in LATER
    monkeypatch.delitem(sys.modules, where, raising=False)
    with lean_imports(), lean_imports():
        hooked = builtins.__import__
        frame = {"__name__": "transformers.anything", "__package__": "transformers"}
        assert hooked(where, frame, frame, ("Thing",), 0).Thing.__doc__.startswith(f"{where}.Thing")
        elsewhere = {"__name__": "json.tool", "__package__": "json"}
        assert hooked("decoder", elsewhere, elsewhere, ("JSONDecoder",), 1).JSONDecoder().decode("1") == 1
    assert builtins.__import__ is not hooked


def test_a_stand_in_is_what_it_stands_for() -> None:
    later = _stand_in("fractions", "Fraction")
    from fractions import Fraction

    assert later(1, 2) == Fraction(1, 2) and later.from_float(0.5) == Fraction(1, 2)
    assert isinstance(Fraction(1), later) and not isinstance(1, later)
    assert issubclass(Fraction, later) and (later | None) is not None

    class Half(later):  # type: ignore[misc, valid-type]
        pass

    assert issubclass(Half, Fraction) and Half(1, 2) == Fraction(1, 2)
    with pytest.raises(AttributeError):
        _ = later.nothing
