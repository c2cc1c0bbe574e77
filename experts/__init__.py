"""The experts by name: built in, registered by a program, and brought by packages as entry points "duet.experts".

Imports nothing else of Duet.

>>> import experts
>>> from experts.base import Finding
>>> from experts.media import Image
>>> @experts.register
... def size(image: Image) -> list[Finding]:
...     "Says how large a picture is."
...     return [Finding("size", f"{image.width} x {image.height} px", 1.0, source=image.name)]
>>> experts.names()
['detect', 'tag', 'ocr', 'caption', 'speech', 'video', 'size']
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from experts.config import Settings
from experts.errors import ConfigError, ExpertError, UnknownNameError

if TYPE_CHECKING:
    from experts.base import Expert

New = TypeVar("New", bound="Callable[..., Any]")

# ONNX Runtime's official builds report to Microsoft and leave a device id in the home folder from their import on;
# the detector, the reader and the speech expert's voice detector import it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

GROUP = "duet.experts"

EXPERTS: dict[str, str] = {  # name -> module:class, made with Settings
    "detect": "experts.detect:Detector",
    "tag": "experts.tag:Tagger",
    "ocr": "experts.ocr:Reader",
    "caption": "experts.caption:Captioner",
    "speech": "experts.speech:Listener",
    "video": "experts.video:Watcher",
}

_registered: dict[str, tuple[str, Callable[[Settings], Expert]]] = {}  # name -> where it stands, what makes it
_made: dict[tuple[str, Settings], Expert] = {}
_lock = threading.RLock()  # an expert may ask for another one while it is made


def register(expert: New) -> New:
    """Add an expert of one's own, as a decorator of a class or a function; CLI, agent, server and UI then know it.

    A class is made with Settings and has what experts.base.Expert has. A function takes a medium and gives findings;
    its name, the first line of its docstring and the annotation of its parameter (Image, Audio, Video) are the rest.
    Registering a name again replaces what was registered, so that a notebook cell can be run twice.

    Raises:
        ConfigError: something is missing, or the name is that of a built-in expert.
    """
    maker: Callable[[Settings], Expert] = expert
    if isinstance(expert, types.FunctionType):
        from experts.base import from_function

        made = from_function(expert)
        name, maker = made.name, lambda settings: made
    else:
        name = getattr(expert, "name", "")
    if not isinstance(name, str) or not name:
        raise ConfigError(f"'{getattr(expert, '__name__', expert)}' has no name; an expert needs name = '...'")
    if name in EXPERTS:
        raise ConfigError(f"'{name}' is built in; give the expert another name than {', '.join(EXPERTS)}")
    with _lock:
        _registered[name] = (f"{expert.__module__}:{expert.__qualname__}", maker)
        for key in [key for key in _made if key[0] == name]:
            del _made[key]
    return expert


def known() -> dict[str, str]:
    """Every expert's name and where it comes from: EXPERTS, then the installed plug-ins, then what was registered.

    A plug-in does not replace a built-in expert; a registered one replaces a plug-in.
    """
    from importlib.metadata import entry_points

    found = dict(EXPERTS)
    for point in entry_points(group=GROUP):
        if point.name in EXPERTS:
            logging.getLogger("duet").warning("plug-in %s ignored: '%s' is built in", point.value, point.name)
            continue
        found[point.name] = point.value
    return found | {name: where for name, (where, _) in list(_registered.items())}


def names() -> list[str]:
    """The names of all experts."""
    return list(known())


def get(name: str, settings: Settings | None = None) -> Expert:
    """The expert `name`: one instance per name and settings. Its model is loaded when it is first called.

    Raises:
        UnknownNameError: no expert has this name.
        ExpertError: it cannot be imported, or is not an expert.
    """
    key = (name, settings or Settings())
    with _lock:
        if key not in _made:
            _made[key] = _make(*key)
        return _made[key]


def _make(name: str, settings: Settings) -> Expert:
    from experts.base import Expert

    table = known()
    if name not in table:
        raise UnknownNameError("expert", name, table)
    module, _, attribute = table[name].partition(":")
    try:
        maker = _registered[name][1] if name in _registered else getattr(importlib.import_module(module), attribute)
        expert = maker(settings)
    except (ImportError, AttributeError) as error:
        raise ExpertError(f"expert '{name}' ({table[name]}) cannot be loaded: {error}") from error
    if not isinstance(expert, Expert):
        raise ExpertError(
            f"'{name}' ({table[name]}) is not an expert: it needs name, description, kinds, weights and a call"
        )
    return expert
