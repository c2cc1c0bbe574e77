"""Opening a multimodal model by what a person calls it: a shipped connector, a folder, a hub name, an address."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from experts.config import Settings
from experts.errors import InputError, ModelError, UnknownNameError
from experts.threads import cpu_threads

if TYPE_CHECKING:
    from connector.base import MultimodalModel, TextModel

SHIPPED = Path(__file__).parent / "weights"
EMBEDDED_LLM = "qwen2.5-coder-0.5b-instruct"  # what the shipped connector was trained with
BY_MEMORY = "auto"  # the catalogue's choice for this machine
Report = Callable[[str], None]


def is_address(name: str) -> bool:
    """Whether `name` is the base URL of an endpoint; `#ID` behind it names the model there."""
    return re.match(r"https?://", name) is not None


def model_name(settings: Settings) -> str:
    """What the model of `settings` is called before it is opened; no folder, no address."""
    if settings.profile == "server" or is_address(settings.model):
        return settings.endpoint_model or settings.model.partition("#")[2] or "endpoint"
    name = settings.model or settings.connector
    path = Path(name).expanduser()
    return (path.name if path.is_dir() else name) or "none"


def open_model(settings: Settings, report: Report | None = None) -> MultimodalModel:
    """The multimodal model that the settings name: `model`, else the endpoint of profile server, else `connector`.

    Raises:
        ModelError: none is named, or it cannot be loaded.
        InputError: there is none of this name.
        WeightsError: its weights are not here and cannot be fetched.
        ConfigError: an address that is none.
    """
    name = settings.model
    if is_address(name) or (settings.profile == "server" and not name):
        from connector.endpoint import EndpointModel

        url, _, there = (name or settings.endpoint).partition("#")
        return EndpointModel(url, there or settings.endpoint_model)
    if folder := _trained_folder(name or settings.connector, only_trained=not name):
        from connector import network
        from connector.trained import TrainedModel

        _use_threads(settings)
        llm = None
        if settings.llm:
            from connector.llm import language

            llm = language.load(settings.llm, settings.device)
        llm = network.adapted(folder, llm, settings.device)
        load = functools.partial(network.load, folder, llm, settings.device)
        return TrainedModel(llm, load, model_name(settings))
    from connector.pretrained import open_pretrained

    _use_threads(settings)
    if name == BY_MEMORY:
        from connector.pretrained.catalogue import choose_here

        name = choose_here(settings.device).name
    return open_pretrained(name, device=settings.device, precision=settings.precision, report=report)


def is_prepared() -> bool:
    """Whether `prepare` was run on this machine."""
    from connector.llm import converted

    return converted.is_ready(EMBEDDED_LLM)


def prepare() -> None:
    """Do once what the first question would wait for: the language model's weights are converted.

    Raises:
        ModelError, WeightsError: they cannot be loaded.
    """
    open_model(Settings())


def open_language(settings: Settings) -> TextModel:
    """The language model alone, where no multimodal model speaks: `llm`, else the embedded one.

    Raises:
        ModelError, WeightsError: it cannot be loaded.
    """
    from connector.llm import language
    from connector.llm.text import LocalText

    _use_threads(settings)
    return LocalText(language.load(settings.llm or EMBEDDED_LLM, settings.device))


def _trained_folder(name: str, *, only_trained: bool) -> Path | None:
    """The folder of a connector that was trained here; None where the name is some other model's."""
    from connector.trained import is_trained

    if not name:
        raise ModelError(
            "no multimodal model is set; name one with --model (a hub name, a folder, an address), or use "
            "--profile embedded"
        )
    for folder in (SHIPPED / name, Path(name).expanduser()):
        if is_trained(folder):
            return folder
    if not only_trained:
        return None
    known = [path.parent.name for path in SHIPPED.glob("*/config.json")]
    raise InputError(f"{UnknownNameError('connector', Path(name).name, known)}; or a folder that `duet train` wrote")


def _use_threads(settings: Settings) -> None:
    import torch

    torch.set_num_threads(cpu_threads(settings))
