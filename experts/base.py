"""What an expert is (media in, findings out) and what a finding is."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from experts.media import Media


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
