"""Findings in one medium as text for a language model: data, with what could pose as more than that broken up."""

from __future__ import annotations

from connector.llm.templates import fence
from experts.base import Finding
from experts.evidence import compose_evidence, quoted
from experts.media import Image, Media, Video


def findings_text(findings: tuple[Finding, ...], medium: Media, failed: tuple[str, ...] = ()) -> str:
    """What was found in `medium`, and which experts `failed`; captions first."""
    picture = medium.frames[0] if isinstance(medium, Video) and medium.frames else medium
    sizes = {medium.name: (picture.width, picture.height)} if isinstance(picture, Image) else {}
    captions = [f"Caption: {quoted(f.text)}" for f in findings if f.expert == "caption"]
    others = [finding for finding in findings if finding.expert != "caption"]
    text = compose_evidence(others, "", sizes, failed) if others or failed or not captions else ""
    return fence("\n".join(part for part in [*captions, text] if part))
