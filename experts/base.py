"""What an expert is (media in, findings out) and what a finding is."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from experts.errors import ConfigError, MediaError
from experts.media import Audio, Image, Media, Video


@dataclass(frozen=True)
class Finding:
    """One thing an expert found.

    `score` is the expert's own confidence in [0, 1]. `box` is (x0, y0, x1, y1) in pixels of the original image,
    `span` is (start, end) in seconds; either is None where the finding is about the whole medium. `source` names
    the medium, `extra` holds what only this expert says (a colour, a language), JSON-serialisable.
    """

    expert: str
    text: str
    score: float
    box: tuple[float, float, float, float] | None = None
    span: tuple[float, float] | None = None
    source: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The finding as JSON-ready values."""
        return asdict(self)


@runtime_checkable
class Expert(Protocol):
    """A callable from one medium to findings. Loads its model at the first call, never at import or construction."""

    name: str
    description: str  # one sentence, shown to people and to the orchestrating LLM
    kinds: frozenset[str]  # of "image", "audio", "video"
    weights: str  # the name of its weights, for the trace; "" where it has none of its own

    def __call__(self, media: Media) -> list[Finding]:
        """Findings in `media`, best first or in reading/time order; [] where there are none.

        Raises:
            MediaError: `media` is of a kind it does not take.
            ExpertError: the model failed.
        """
        ...


@dataclass
class FunctionExpert:
    """A function from a medium to findings as an expert."""

    function: Callable[[Any], list[Finding]]
    name: str
    description: str
    kinds: frozenset[str]
    weights: str = ""

    def __call__(self, media: Media) -> list[Finding]:
        if media.kind not in self.kinds:
            takes = " or ".join(sorted(self.kinds))
            raise MediaError(f"'{media.name}' is of kind {media.kind}; {self.name} takes {takes}")
        return self.function(media)


def from_function(function: Callable[[Any], list[Finding]]) -> FunctionExpert:
    """An expert by the function's name, the first line of its docstring, and the annotation of its first parameter.

    Raises:
        ConfigError: one of these is missing, or the annotation is not Image, Audio, Video or a union of them.
    """
    name, doc = function.__name__, (function.__doc__ or "").strip()
    try:
        hints = [hint for key, hint in typing.get_type_hints(function).items() if key != "return"]
    except NameError as error:
        raise ConfigError(f"expert '{name}': {error}; import what its annotations name") from None
    kinds = {kind for kind in (Image, Audio, Video) if hints and kind in (typing.get_args(hints[0]) or (hints[0],))}
    if not doc or not kinds:
        lacks = (
            "a docstring that says what it does" if not doc else "a first parameter annotated as Image, Audio or Video"
        )
        raise ConfigError(f"expert '{name}' needs {lacks}: def {name}(image: Image) -> list[Finding]")
    return FunctionExpert(function, name, doc.splitlines()[0], frozenset(kind.kind for kind in kinds))
