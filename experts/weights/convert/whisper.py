"""Weights converter: a Whisper model in CTranslate2's binary layout -> a checkpoint that openai-whisper loads.

The registries carry Whisper for faster-whisper only. The same numbers, renamed and split, serve openai-whisper, so both
engines run from one download. Sources: ctranslate2 4.8 `specs/model_spec.py` (`ModelSpec._serialize`: the file) and
`converters/transformers.py` (`WhisperLoader`, `BartLoader`: the names); openai-whisper 20250625 `model.py`.
"""

from __future__ import annotations

import hashlib
import math
import os
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experts.config import home
from experts.errors import WeightsError

if TYPE_CHECKING:
    import torch

BINARY_VERSION = 6
SPEC = ("WhisperSpec", 3)
DTYPES = ("float32", "int8", "int16", "int32", "float16", "bfloat16")  # by the file's type number
TIED = ("decoder/projection/weight", "decoder/embeddings/weight")


@dataclass(frozen=True)
class Stored:
    """What a CTranslate2 file holds: tensors by name, and second names of some of them."""

    variables: dict[str, torch.Tensor]
    aliases: dict[str, str]


def openai_checkpoint(directory: Path) -> Path:
    """The openai-whisper checkpoint made of the CTranslate2 model in `directory`; converted at first use.

    It lies in home()/weights/NAME-openai/ and names the SHA-256 of the model it was made of: another model of the same
    name, or a damaged file, is converted anew.

    Raises:
        WeightsError: the directory holds no Whisper model that can be converted, or the disk is full.
    """
    from filelock import FileLock

    source = directory / "model.bin"
    if not source.is_file():
        raise WeightsError(f"'{directory.name}' holds no model.bin; expected a CTranslate2 Whisper model")
    target = home() / "weights" / f"{directory.name}-openai" / f"{directory.name.removeprefix('whisper-')}.pt"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            with source.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if _source_of(target) != digest:
                _save(convert(source) | {"source_sha256": digest}, target)
    except OSError as error:
        raise WeightsError(f"cannot write '{target.name}' for openai-whisper: {error.strerror or error}") from None
    return target


class _Moving:
    """Moves CTranslate2's variables (`left`) to openai-whisper's names (`state`), fused projections split."""

    def __init__(self, name: str, left: dict[str, torch.Tensor]) -> None:
        self.name, self.left = name, left
        self.state: dict[str, torch.Tensor] = {}
        self.n_layers: dict[str, int] = {}
        self.heads: dict[str, int] = {}

    def all(self) -> None:
        """Encoder and decoder.

        Raises:
            WeightsError: a variable is missing, or there is one that Whisper does not have.
        """
        try:
            for conv in ("conv1", "conv2"):
                self.linear(f"encoder/{conv}", f"encoder.{conv}")
            self.n_layers = {part: self.layers(part) for part in ("encoder", "decoder")}
            self.norm("encoder/layer_norm", "encoder.ln_post")
            self.norm("decoder/layer_norm", "decoder.ln")
            self.state["decoder.token_embedding.weight"] = self.left.pop("decoder/embeddings/weight")
            for part in self.n_layers:
                self.state[f"{part}.positional_embedding"] = self.left.pop(f"{part}/position_encodings/encodings")
            self.heads = {part: int(self.left.pop(f"{part}/num_heads")) for part in self.n_layers}
        except KeyError as error:
            raise WeightsError(f"'{self.name}' lacks the variable {error}; expected a whole Whisper model") from None

    def linear(self, theirs: str, *ours: str, no_bias: str = "") -> None:
        """Weight and bias of one linear layer, split evenly over `ours`; the bias of `no_bias` must be zero."""
        for kind in ("weight", "bias"):
            for name, part in zip(ours, self.left.pop(f"{theirs}/{kind}").chunk(len(ours)), strict=True):
                if kind == "bias" and name == no_bias:
                    if part.any():
                        raise WeightsError(f"'{self.name}' has a bias on its keys, which Whisper does not have")
                else:
                    self.state[f"{name}.{kind}"] = part.clone()

    def norm(self, theirs: str, ours: str) -> None:
        """A layer norm."""
        self.state[f"{ours}.weight"] = self.left.pop(f"{theirs}/gamma")
        self.state[f"{ours}.bias"] = self.left.pop(f"{theirs}/beta")

    def layers(self, part: str) -> int:
        """All layers of the encoder or decoder; how many there are."""
        count = 0
        while f"{part}/layer_{count}/ffn/linear_0/weight" in self.left:
            theirs, ours = f"{part}/layer_{count}", f"{part}.blocks.{count}"
            self.norm(f"{theirs}/self_attention/layer_norm", f"{ours}.attn_ln")
            query, key, value, out = (f"{ours}.attn.{name}" for name in ("query", "key", "value", "out"))
            self.linear(f"{theirs}/self_attention/linear_0", query, key, value, no_bias=key)
            self.linear(f"{theirs}/self_attention/linear_1", out)
            if part == "decoder":
                self.norm(f"{theirs}/attention/layer_norm", f"{ours}.cross_attn_ln")
                query, key, value, out = (f"{ours}.cross_attn.{name}" for name in ("query", "key", "value", "out"))
                self.linear(f"{theirs}/attention/linear_0", query)
                self.linear(f"{theirs}/attention/linear_1", key, value, no_bias=key)
                self.linear(f"{theirs}/attention/linear_2", out)
            self.norm(f"{theirs}/ffn/layer_norm", f"{ours}.mlp_ln")
            self.linear(f"{theirs}/ffn/linear_0", f"{ours}.mlp.0")
            self.linear(f"{theirs}/ffn/linear_1", f"{ours}.mlp.2")
            count += 1
        return count


def convert(path: Path) -> dict[str, Any]:
    """`{"dims": {...}, "model_state_dict": {...}}` of the CTranslate2 Whisper model in the file `path`.

    Tensors keep their type (float16 mostly). Fused projections are split: query, key, value of self-attention [3 D, D]
    and key, value of cross-attention [2 D, D]. The output projection is tied to the token embedding: it has no entry.

    Raises:
        WeightsError: not such a file, cut short, quantised, or with variables that Whisper does not have.
    """

    stored = read(path)
    if stored.aliases != dict([TIED]):
        raise WeightsError(f"'{path.name}' does not tie its output to its token embedding, as Whisper does")
    left = dict(stored.variables)
    quantised = [name for name, value in left.items() if value.ndim and not value.is_floating_point()]
    if quantised:
        kind = str(left[quantised[0]].dtype).removeprefix("torch.")
        raise WeightsError(
            f"'{path.name}' is quantised ({kind}); openai-whisper needs float16 or float32 weights: take the engine "
            "'faster-whisper', or the model before quantisation"
        )
    moving = _Moving(path.name, left)
    moving.all()
    state, n_layers, heads = moving.state, moving.n_layers, moving.heads
    strangers = sorted(name for name, value in left.items() if value.ndim)  # scalars are CTranslate2's own switches
    if strangers:
        raise WeightsError(
            f"'{path.name}' holds {len(strangers)} variables that Whisper has not, such as {strangers[0]}"
        )

    n_audio_ctx, n_audio_state = state["encoder.positional_embedding"].shape
    n_text_ctx, n_text_state = state["decoder.positional_embedding"].shape
    dims = {
        "n_mels": state["encoder.conv1.weight"].shape[1],
        "n_audio_ctx": n_audio_ctx,
        "n_audio_state": n_audio_state,
        "n_audio_head": heads["encoder"],
        "n_audio_layer": n_layers["encoder"],
        "n_vocab": state["decoder.token_embedding.weight"].shape[0],
        "n_text_ctx": n_text_ctx,
        "n_text_state": n_text_state,
        "n_text_head": heads["decoder"],
        "n_text_layer": n_layers["decoder"],
    }
    return {"dims": dims, "model_state_dict": {name: value.contiguous() for name, value in state.items()}}


def read(path: Path) -> Stored:
    """Variables and aliases of a CTranslate2 Whisper file (little-endian; strings are length-prefixed, zero-ended).

    Raises:
        WeightsError: not such a file, or cut short.
    """
    import torch

    data = path.read_bytes()
    at = 0

    def take(form: str) -> Any:
        nonlocal at
        values = struct.unpack_from(f"<{form}", data, at)
        at += struct.calcsize(f"<{form}")
        return values[0] if len(values) == 1 else values

    def text() -> str:
        return take(f"{take('H')}s").rstrip(b"\0").decode()

    variables: dict[str, torch.Tensor] = {}
    try:
        version = take("I")
        spec = (text(), take("I"))
        if version != BINARY_VERSION or spec != SPEC:
            raise WeightsError(
                f"'{path.name}' is {spec[0]} revision {spec[1]} in binary version {version}; "
                f"expected {SPEC[0]} revision {SPEC[1]} in version {BINARY_VERSION}"
            )
        for _ in range(take("I")):
            name = text()
            shape = [take("I") for _ in range(take("B"))]
            dtype = getattr(torch, DTYPES[take("B")])
            n_bytes = take("I")
            if n_bytes != math.prod(shape) * dtype.itemsize or at + n_bytes > len(data):
                raise ValueError(f"size of {name}")
            variables[name] = torch.frombuffer(bytearray(data[at : at + n_bytes]), dtype=dtype).reshape(shape)
            at += n_bytes
        aliases = dict((text(), text()) for _ in range(take("I")))
    except (struct.error, ValueError, IndexError):
        raise WeightsError(f"'{path.name}' is not a CTranslate2 model, or is cut short; fetch it again") from None
    return Stored(variables, aliases)


def _source_of(checkpoint: Path) -> str | None:
    """SHA-256 of the model that `checkpoint` was made of; None where there is no whole checkpoint."""
    import torch

    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True).get("source_sha256")
    except Exception:  # absent, torn, or not ours: torch raises many kinds, and each means "convert"
        return None


def _save(checkpoint: dict[str, Any], target: Path) -> None:
    """Write beside the target, then rename: a reader sees the old file or the whole new one."""
    import torch

    handle, name = tempfile.mkstemp(dir=target.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
