"""Importing transformers without what no answer needs: its compiler, its parallel layouts, its detectors' losses.

Its modules import these at their top and use them in functions that a model of one device never calls; they take half
of the seconds that the import of a language model takes. Within `lean_imports`, names of the modules in LATER stand for
what they name and import it when they are first called or looked into. Every other import is as always.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

IMPORTERS = ("transformers.", "torchvision.ops.")  # only what these import at their top is put off
LATER = frozenset({
    "torch._dynamo._trace_wrapped_higher_order_op", "torch._dynamo.utils", "torch.distributed._composable.fsdp",
    "torch.distributed.checkpoint.hf_storage", "torch.distributed.fsdp", "torch.distributed.tensor",
    "torch.distributed.tensor._utils", "torch.distributed.tensor.placement_types", "torch.nn.attention.flex_attention",
    "transformers.distributed.expert_parallel", "transformers.distributed.tensor_parallel",
    "transformers.generation.continuous_batching.cache", "transformers.integrations.flex_attention",
    *(
        f"transformers.loss.loss_{name}"
        for name in (
            "d_fine", "deformable_detr", "deimv2", "for_object_detection", "grounding_dino", "lw_detr", "rf_detr",
            "rt_detr",
        )
    ),
})  # fmt: skip

_import = builtins.__import__
_lock = threading.Lock()
_open = 0  # how many are within lean_imports
_mark: Any = None  # torch.compiler.allow_in_graph while they are


class _Later(type):
    """The class of stand-ins: each is called, looked into and compared as the thing that it stands for."""

    where: str
    what: str

    def __new__(meta, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
        if not bases:
            return super().__new__(meta, name, bases, body)
        real = tuple(base._thing() if isinstance(base, _Later) else base for base in bases)
        return types.new_class(
            name, real, exec_body=lambda space: space.update(body)
        )  # a subclass needs the real class

    def _thing(cls) -> Any:
        return getattr(importlib.import_module(cls.where), cls.what)

    def __call__(cls, *args: Any, **named: Any) -> Any:
        return cls._thing()(*args, **named)

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(cls._thing(), name)

    def __instancecheck__(cls, instance: Any) -> bool:
        return cls.where in sys.modules and isinstance(instance, cls._thing())  # nothing is of a class not yet made

    def __subclasscheck__(cls, subclass: type) -> bool:
        return cls.where in sys.modules and issubclass(subclass, cls._thing())


def _stand_in(where: str, what: str) -> Any:
    return _Later(what, (), {"where": where, "what": what, "__doc__": f"{where}.{what}, imported at its first use."})


def _lean(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    """`builtins.__import__` that puts off LATER where IMPORTERS name what they take from it."""
    importer = (globals or {}).get("__name__") or ""
    if fromlist and importer.startswith(IMPORTERS) and locals is globals:  # at a module's top
        package = globals.get("__package__") or ""
        where = importlib.util.resolve_name("." * level + name, package) if level else name
        if where in LATER and where not in sys.modules:
            module = types.ModuleType(where)
            for what in fromlist:
                setattr(module, what, _stand_in(where, what))
            return module
    return _import(name, globals, locals, fromlist, level)


class _Compiler:
    """torch._dynamo while transformers marks functions for it: marks are left out, all else imports the real one."""

    @staticmethod
    def allow_in_graph(function: Any) -> Any:
        return function

    assume_constant_result = allow_in_graph

    def __getattr__(self, name: str) -> Any:
        _forget_compiler()
        return getattr(importlib.import_module("torch._dynamo"), name)


def _forget_compiler() -> None:
    import torch

    if isinstance(vars(torch).get("_dynamo"), _Compiler):
        delattr(torch, "_dynamo")


@contextlib.contextmanager
def lean_imports() -> Iterator[None]:
    """Put off LATER, and with it torch's compiler; may be entered by several threads at once.

    What transformers' modules mark for the compiler as they are imported stays unmarked, unless the compiler is there
    already: a program that compiles a model loaded here gets a graph with more breaks, and the same results.
    """
    import torch.compiler

    global _open, _mark
    with _lock:
        if not _open:
            _mark, builtins.__import__ = torch.compiler.allow_in_graph, _lean
            if "torch._dynamo" not in sys.modules:
                torch.compiler.allow_in_graph = _Compiler.allow_in_graph
                torch._dynamo = _Compiler()  # type: ignore[assignment]
        _open += 1
    try:
        yield
    finally:
        with _lock:
            _open -= 1
            if not _open:
                builtins.__import__, torch.compiler.allow_in_graph = _import, _mark
                _forget_compiler()
