"""Questions and media as a processor takes them: through its chat template, or the family's prompt."""

from __future__ import annotations

import base64
import io
import wave
from collections.abc import Sequence
from typing import Any

import numpy as np

from connector.base import AUDIO, IMAGE, VIDEO, Turn
from connector.llm.templates import typed
from connector.pretrained.families import Family
from experts.errors import InputError
from experts.media import Audio, Image, Media, Video

FRAMES = 8  # of a film


class Prompts:
    """Makes model inputs of questions, with the processor of one model."""

    def __init__(self, name: str, processor: Any, family: Family, side: str = "left", config: Any = None) -> None:
        """`side` is where a batch is padded; a part that `config` sets to None is not there (Gemma without ears)."""
        self.deaf = getattr(config, "audio_config", "") is None
        self.name, self.processor, self.family = name, processor, family
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.tokenizer.padding_side = side
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token or self.tokenizer.unk_token

    @property
    def makes_form(self) -> bool:
        """Whether the processor makes the chat form without any template, as with a tokenizer of mistral-common."""
        from transformers.processing_utils import ProcessorMixin

        return not self.template and type(self.processor).apply_chat_template is not ProcessorMixin.apply_chat_template

    @property
    def template(self) -> str | None:
        """The chat template of the processor, else of its tokenizer."""
        return getattr(self.processor, "chat_template", None) or getattr(self.tokenizer, "chat_template", None)

    def modalities(self) -> frozenset[str]:
        """What the processor has a part for; films go as frames where it has none of their own."""
        sees = getattr(self.processor, "image_processor", None) is not None
        hears = getattr(self.processor, "feature_extractor", None) is not None
        hears = hears or getattr(self.processor, "audio_processor", None) is not None
        hears = hears and not self.deaf
        films = self.films() or (sees and self.family.most_media is None)
        return frozenset(kind for kind, there in ((IMAGE, sees), (AUDIO, hears), (VIDEO, films)) if there)

    def films(self) -> bool:
        """Whether films go through a video processor of their own."""
        there = getattr(self.processor, "video_processor", None) is not None
        return there and self.family.films and "video" in (self.template or "")

    def check(self, media: Sequence[Media]) -> None:
        """Refuse kinds and numbers that this model does not take."""
        takes = self.modalities()
        for medium in media:
            if medium.kind not in takes:
                raise InputError(
                    f"model '{self.name}' does not take {medium.kind}; accepted: {', '.join(sorted(takes)) or 'text'}; "
                    "ask the experts route"
                )
        most = self.family.most_media
        if most is not None and len(media) > most:
            raise InputError(f"model '{self.name}' takes {most} medium at a time, here are {len(media)}; ask about one")

    def inputs(self, asked: Sequence[tuple[str, Sequence[Media], Sequence[Turn]]]) -> dict[str, Any]:
        """Tensors for `generate`: a row a question.

        Raises:
            InputError: as `check`; or a medium for which the prompt has no place.
        """
        for _, media, history in asked:
            self.check([*media, *(medium for turn in history for medium in turn.media)])
        if self.template or self.makes_form:
            turns = [self._conversation(*one) for one in asked]
            self._count_places(asked)
            return self._templated(turns)
        return self._plain(asked)

    def text_inputs(self, conversations: Sequence[Sequence[dict[str, str]]]) -> dict[str, Any]:
        """The same for turns of text alone (role, content)."""
        if self.template or self.makes_form:
            return self._templated([[self._typed_turn(turn) for turn in one] for one in conversations])
        joined = ["\n\n".join(self._typed(turn["content"]) for turn in one) + " " for one in conversations]
        return dict(self.tokenizer(joined, return_tensors="pt", padding=True))

    def _typed_turn(self, turn: dict[str, str]) -> dict[str, Any]:
        return _turn(turn["role"], [_text(self._typed(turn["content"]))])

    def _typed(self, text: str) -> str:
        return typed(self.tokenizer, text)

    def _conversation(self, question: str, media: Sequence[Media], history: Sequence[Turn]) -> list[dict[str, Any]]:
        turns = [_turn(turn.role, [*self._parts(turn.media), _text(self._typed(turn.text))]) for turn in history]
        return [*turns, _turn("user", [*self._parts(media), _text(self._typed(question))])]

    def _parts(self, media: Sequence[Media]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        for medium in media:
            if isinstance(medium, Image):
                parts.append(_picture(medium.to_pil()))
            elif isinstance(medium, Audio):
                parts.append(self._sound(medium))
            else:
                frames = [frame.to_pil() for frame in spread(medium)]
                films = self.films()
                parts += [{"type": "video", "video": frames}] if films else [_picture(frame) for frame in frames]
                if medium.audio is not None and AUDIO in self.modalities():
                    parts.append(self._sound(medium.audio))
        return parts

    def _sound(self, sound: Audio) -> dict[str, Any]:
        if self.makes_form:
            return {"type": "audio", "base64": base64.b64encode(_wav(sound)).decode()}
        return {"type": "audio", "audio": sound.samples}

    def _templated(self, turns: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        from jinja2 import TemplateError

        try:
            return self._apply(turns)
        except TemplateError:  # a form without a system's turn: what it says goes before the first question
            return self._apply([_merged(one) for one in turns])

    def _apply(self, turns: Sequence[list[dict[str, Any]]]) -> dict[str, Any]:
        if self.makes_form:
            return dict(self.processor.apply_chat_template(list(turns)))
        owner = self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer
        if owner is self.tokenizer:  # a tokenizer's template reads text, not parts
            turns = [[{**turn, "content": _joined(turn["content"])} for turn in one] for one in turns]
            kwargs: dict[str, Any] = {"padding": True}
        else:  # text alone is padded: how long a sound is to be, its own part of the processor knows
            kwargs = {"processor_kwargs": {"text_kwargs": {"padding": True}}}
            if any(part.get("type") == "video" for one in turns for turn in one for part in turn["content"] if part):
                kwargs["processor_kwargs"]["videos_kwargs"] = {"do_sample_frames": False}
        made = owner.apply_chat_template(
            list(turns), tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt", **kwargs
        )
        return dict(made)

    def _plain(self, asked: Sequence[tuple[str, Sequence[Media], Sequence[Turn]]]) -> dict[str, Any]:
        """The family's prompt; earlier turns stand before the question as text."""
        token = getattr(self.processor, "image_token", None)
        texts, images, sounds = [], [], []
        for question, media, history in asked:
            said = "".join(f"{self._typed(turn.text)}\n" for turn in history)
            pictures = [picture for medium in media for picture in _pictures(medium)]
            form = self.family.prompt or "{images}{question}"
            place = str(getattr(token, "content", token or "")) * len(pictures)
            texts.append(said + form.format(images=place, question=self._typed(question)))
            images.append([picture.to_pil() for picture in pictures])
            sounds += [medium.samples for medium in media if isinstance(medium, Audio)]
        given: dict[str, Any] = {"text": texts}
        if any(images):
            given["images"] = images if self.family.most_media is None else [one[0] for one in images]
        if sounds:
            given["audio"] = sounds
        return dict(self.processor(**given, text_kwargs={"padding": True}, return_tensors="pt"))

    def _count_places(self, asked: Sequence[tuple[str, Sequence[Media], Sequence[Turn]]]) -> None:
        """A second picture must add to the prompt: a template may pass over it in silence."""
        owner = self.processor if getattr(self.processor, "chat_template", None) else self.tokenizer
        for question, media, history in asked:
            if len(media) < 2 or self.makes_form:
                continue
            all_, one = (
                owner.apply_chat_template(self._conversation(question, some, history), tokenize=False)
                for some in (media, media[:1])
            )
            if len(all_) <= len(one):
                raise InputError(
                    f"model '{self.name}' reads one medium of a question and passes over {len(media) - 1}; "
                    "accepted: one at a time"
                )


def spread(video: Video, count: int = FRAMES) -> list[Image]:
    """At most `count` frames of a film, evenly spaced."""
    if len(video.frames) <= count:
        return list(video.frames)
    return [video.frames[round(i * (len(video.frames) - 1) / (count - 1))] for i in range(count)]


def _pictures(medium: Media) -> list[Image]:
    return [medium] if isinstance(medium, Image) else spread(medium) if isinstance(medium, Video) else []


def _picture(image: Any) -> dict[str, Any]:
    return {"type": "image", "image": image}


def _wav(sound: Audio) -> bytes:
    """A sound as a file, in 32 bits."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(4)
        file.setframerate(Audio.RATE_HZ)
        file.writeframes((sound.samples.astype(np.float64).clip(-1, 1) * (2**31 - 1)).astype("<i4").tobytes())
    return stream.getvalue()


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _turn(role: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    return {"role": role, "content": parts}


def _joined(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(str(part.get("text", "")) for part in content)


def _merged(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The system's words in front of the first user's."""
    before = [part for turn in turns if turn["role"] == "system" for part in turn["content"]]
    rest = [dict(turn) for turn in turns if turn["role"] != "system"]
    for turn in rest:
        if turn["role"] == "user":
            turn["content"] = [*before, *turn["content"]]
            break
    return rest
