"""The experts by name: built in, and brought by other packages through the entry points "duet.experts"."""

from __future__ import annotations

import importlib
import logging
import threading
from typing import TYPE_CHECKING

from experts.config import Settings
from experts.errors import ExpertError, UnknownNameError

if TYPE_CHECKING:
    from experts.base import Expert

GROUP = "duet.experts"

EXPERTS: dict[str, str] = {  # name -> module:class, made with Settings
    "detect": "experts.detect:Detector",
    "tag": "experts.tag:Tagger",
    "ocr": "experts.ocr:Reader",
    "caption": "experts.caption:Captioner",
    "speech": "experts.speech:Listener",
    "video": "experts.video:Watcher",
}

_made: dict[tuple[str, Settings], Expert] = {}
_lock = threading.RLock()  # an expert may ask for another one while it is made


def known() -> dict[str, str]:
    """EXPERTS and the installed plug-ins; a plug-in does not replace a built-in expert."""
    from importlib.metadata import entry_points

    found = dict(EXPERTS)
    for point in entry_points(group=GROUP):
        if point.name in EXPERTS:
            logging.getLogger("duet").warning("plug-in %s ignored: '%s' is built in", point.value, point.name)
            continue
        found[point.name] = point.value
    return found


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
        expert = getattr(importlib.import_module(module), attribute)(settings)
    except (ImportError, AttributeError) as error:
        raise ExpertError(f"expert '{name}' ({table[name]}) cannot be loaded: {error}") from error
    if not isinstance(expert, Expert):
        raise ExpertError(
            f"'{name}' ({table[name]}) is not an expert: it needs name, description, kinds, weights and a call"
        )
    return expert
