"""Captioner: an image in, one sentence about it out: composed from other experts' findings, or written by a model."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from experts.base import Expert, Finding
from experts.config import Settings
from experts.errors import DuetError, ExpertError, MediaError, WeightsError
from experts.evidence import clean
from experts.evidence.categories import matches, plural
from experts.media import Image, Media
from experts.weights.fetch import reason

COMPOSED = "composed"
SOURCES = ("detect", "tag", "ocr")
MOST_LINES, MOST_NEW_TOKENS = 3, 60
LEAST_TAG = 0.2  # of a tag that is told: below, it is one guess among several
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
PROMPTS = {
    "florence2": "<CAPTION>",
    "instructblip": "A short image description:",
    "kosmos-2": "<grounding>An image of",
    "paligemma": "<image>caption en",
}  # model type -> what it is asked; "" or a chat message otherwise
REQUEST = "Describe the image in one sentence."  # to models that chat

Writer = Callable[[Image], tuple[str, float]]  # -> a sentence and its score


class Captioner:
    """Composes a sentence from what the detector, tagger and reader found, or asks a transformers image-to-text model.

    `extra["how"]` says which: "composed" or "generated". A composed caption adds nothing to the findings it is made of;
    `extra["from"]` names the experts it rests on and `extra["failed"]` says why one is missing. Its score is the lowest
    among the findings it tells; that of a generated one is the geometric mean of its tokens' probabilities.
    """

    name = "caption"
    description = "Describes a picture in one sentence."
    kinds = frozenset({"image"})

    def __init__(self, settings: Settings | None = None, experts: Mapping[str, Expert] | None = None) -> None:
        """`experts` by name replace the registered ones of a composed caption; what it lacks is left out."""
        self._settings = settings or Settings()
        self._experts = experts
        self.weights = Path(self._settings.captioner).name
        self._writer: Writer | None = None
        self._lock = threading.Lock()

    def __call__(self, media: Media) -> list[Finding]:
        """One finding about the whole picture; [] where there is nothing to say.

        Raises:
            MediaError: not an image.
            WeightsError: the model cannot be fetched or loaded.
            ExpertError: the model, or every expert that the sentence would rest on, failed.
        """
        if not isinstance(media, Image):
            raise MediaError(f"'{media.name}' is of kind {media.kind}; caption takes images: pass an image or a frame")
        if self._settings.captioner == COMPOSED:
            return self._compose(media)
        with self._lock:
            if self._writer is None:
                self._writer = load_writer(self._settings)
            try:
                text, score = self._writer(media)
            except Exception as error:  # a model's own code raises whatever it likes
                raise ExpertError(f"'{media.name}' could not be described: {_told(error)}") from error
        extra = {"how": "generated"}
        return [Finding(self.name, text, round(score, 4), source=media.name, extra=extra)] if text else []

    def _compose(self, image: Image) -> list[Finding]:
        found: dict[str, list[Finding]] = {}
        failed: dict[str, str] = {}
        for name in SOURCES:
            if self._experts is not None and name not in self._experts:
                continue
            try:
                found[name] = self._expert(name)(image)
            except DuetError as error:
                failed[name] = str(error)
        if failed and not found:
            told = "; ".join(f"{name}: {why}" for name, why in failed.items())
            raise ExpertError(f"'{image.name}' cannot be described, for the experts failed: {told}")
        text, used = compose(found.get("detect", []), found.get("tag", []), found.get("ocr", []))
        if not used:
            return []
        extra: dict[str, Any] = {"how": COMPOSED, "from": list(dict.fromkeys(finding.expert for finding in used))}
        if failed:
            extra["failed"] = failed
        return [Finding(self.name, text, min(finding.score for finding in used), source=image.name, extra=extra)]

    def _expert(self, name: str) -> Expert:
        if self._experts is not None:
            return self._experts[name]
        import experts

        return experts.get(name, self._settings)


# Composed from findings


def compose(things: list[Finding], tags: list[Finding], lines: list[Finding]) -> tuple[str, list[Finding]]:
    """One sentence, and the findings it tells; "" and [] where there are none.

    >>> compose([Finding("detect", "dog", 0.9, extra={"colour": "brown"}), Finding("detect", "person", 0.7)], [], [])[0]
    'Found: a brown dog and a person.'
    """
    parts: list[str] = []
    used: list[Finding] = []
    if things:
        parts.append(f"found: {_and(_counted(things))}")
        used += things
    tag = next((tag for tag in tags if tag.score >= LEAST_TAG), None)
    if tag and not any(matches(thing.text, tag.text) or matches(tag.text, thing.text) for thing in things):
        parts.append(f"looks like {_a(tag.text)}")
        used.append(tag)
    if lines:
        shown = ", ".join(f'"{clean(line.text)}"' for line in lines[:MOST_LINES])
        more = len(lines) - MOST_LINES
        parts.append(f"reads {shown}" + (f" and {more} more line{'s' if more > 1 else ''}" if more > 0 else ""))
        used += lines[:MOST_LINES]
    text = "; ".join(parts)
    return (text[0].upper() + text[1:] + "." if text else ""), used


def _counted(things: list[Finding]) -> list[str]:
    """Such as "two persons", "a brown dog": by their best finding; with a colour where all of a kind share it."""
    groups: dict[str, list[Finding]] = {}
    for thing in things:
        groups.setdefault(thing.text, []).append(thing)
    told = []
    for name, group in groups.items():
        colours = {str(thing.extra.get("colour") or "") for thing in group}
        colour = f"{next(iter(colours))} " if len(colours) == 1 and "" not in colours else ""
        if len(group) == 1:
            told.append(_a(f"{colour}{name}"))
        else:
            count = NUMBERS[len(group)] if len(group) < len(NUMBERS) else str(len(group))
            told.append(f"{count} {colour}{plural(name)}")
    return told


def _and(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _a(name: str) -> str:
    if name in ("scissors", "skis") or name.endswith(" skis"):
        return name
    return f"{'an' if name[0].lower() in 'aeio' or name.startswith('umbrella') else 'a'} {name}"


# Written by a model


def load_writer(settings: Settings) -> Writer:
    """Any transformers image-to-text model, by hub name or folder: BLIP, Florence-2, GIT, a chatting model, ...

    No code that comes with a model is run.

    Raises:
        WeightsError: there is no such model, or it does not turn images into text.
    """
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
    from transformers.utils import logging

    name = settings.captioner
    if Path(name).expanduser().is_dir():
        name = str(Path(name).expanduser())
    cuda = settings.device != "cpu" and torch.cuda.is_available()
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        kind = AutoConfig.from_pretrained(name, trust_remote_code=False).model_type
        processor = AutoProcessor.from_pretrained(name, trust_remote_code=False)
        model = AutoModelForImageTextToText.from_pretrained(
            name, trust_remote_code=False, dtype=torch.bfloat16 if cuda else torch.float32
        )
    except Exception as error:  # transformers raises whatever the hub's client and the files give
        raise WeightsError(
            f"the captioner '{Path(name).name}' could not be loaded: {_told(error)}; expected '{COMPOSED}', or the hub "
            "name or folder of an image-to-text model of transformers, as 'Salesforce/blip-image-captioning-base'"
        ) from error
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
    model.to("cuda" if cuda else "cpu").eval()  # type: ignore[arg-type]

    def write(image: Image) -> tuple[str, float]:
        read = {key: v.to(model.device) for key, v in _inputs(processor, kind, image).items() if v is not None}
        inputs = {key: v.to(model.dtype) if v.is_floating_point() else v for key, v in read.items()}
        with torch.inference_mode():
            made = model.generate(
                **inputs,
                max_new_tokens=MOST_NEW_TOKENS,
                do_sample=False,
                num_beams=1,
                output_logits=True,
                return_dict_in_generate=True,
            )
        new = made.sequences[0, -len(made.logits) :]
        text = " ".join(processor.tokenizer.decode(new, skip_special_tokens=True).split())
        chosen = [float(row[0].float().log_softmax(-1)[token]) for row, token in zip(made.logits, new, strict=True)]
        return text, math.exp(sum(chosen) / len(chosen))

    return write


def _inputs(processor: Any, kind: str, image: Image) -> Any:
    """What the model reads: the picture, with the prompt that its kind expects."""
    if kind not in PROMPTS and getattr(processor, "chat_template", None):
        content = [{"type": "image", "image": image.to_pil()}, {"type": "text", "text": REQUEST}]
        return processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    prompt = {"text": PROMPTS[kind]} if kind in PROMPTS else {}
    return processor(images=image.to_pil(), **prompt, return_tensors="pt")


def _told(error: Exception) -> str:
    return reason(str(error) or type(error).__name__)
