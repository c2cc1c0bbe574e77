"""The memory a training run will need, said before it starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from connector.training import trainable
from connector.training.objectives import Task
from connector.training.stages import StageConfig
from experts.errors import TrainingError

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Estimate:
    """Bytes that training takes beyond what the process holds already, and how many there are."""

    weights: int  # parameters: held already when this is asked
    gradients: int
    optimizer: int  # AdamW's two moments
    activations: int  # kept for the backward pass, of the largest micro-batch
    logits: int  # at supervised positions only
    features: int  # of the images of a batch
    available: int  # 0 = unknown

    @property
    def extra(self) -> int:
        """What is still to come."""
        return self.gradients + self.optimizer + self.activations + self.logits + self.features

    def report(self) -> str:
        """The figures in a line.

        Raises:
            TrainingError: what is still to come is more than there is.
        """
        names = ("weights", "gradients", "optimizer", "activations", "logits", "features")
        line = "memory: " + ", ".join(f"{name} {_size(getattr(self, name))}" for name in names)
        line += f"; {_size(self.extra)} still to come"
        if not self.available:
            return line
        line += f", {_size(self.available)} free"
        if self.extra > self.available:
            raise TrainingError(
                f"not enough memory: {line}; lower 'tokens' (of one forward pass), 'batch' or 'lora_rank'"
            )
        return line


def estimate(model: Any, task: Task, config: StageConfig) -> Estimate:
    """What training `task` under `config` takes, from shapes alone.

    A decoder layer with a gated MLP keeps about 8 D + 4 D_inner values a token for the backward pass (torch's SDPA
    keeps no attention), and as many again where its own weights or an adapter learn and want their inputs too. On
    SmolLM2-135M in float32, sequences of 93 to 503 tokens, the peak of resident memory was 0.97 to 1.2 times what this
    gives. Logits, their gradient and their log-softmax at supervised positions: three [K, V] in float32.
    """
    counts = [(parameter.numel() * parameter.element_size(), parameter) for _, parameter in trainable.parameters(model)]
    free = sum(parameter.numel() for _, parameter in trainable.learning(model))
    lengths = sorted(task.lengths, reverse=True)
    rows = min(config.batch, len(lengths))
    pairs = 2 if config.stage == "dpo" else 1
    longest = lengths[0]
    micro = min(rows, max(config.tokens // longest, 1)) if config.tokens else rows
    activations = logits = 0
    if config.stage != "warmup":
        shape = model.llm.model.config
        width, layers = shape.hidden_size, shape.num_hidden_layers
        inner = getattr(shape, "intermediate_size", None) or getattr(shape, "d_ff", 4 * width)
        kept = (8 * width + 4 * inner) * (2 if config.learns("lora") or config.learns("llm") else 1)
        value_bytes = 2 if model.llm.device.type == "cuda" else 4
        activations = value_bytes * kept * layers * micro * pairs * longest
        logits = 3 * 4 * shape.vocab_size * micro * pairs * max(_supervised(task), 1)
    return Estimate(
        weights=sum(size for size, _ in counts),
        gradients=4 * free,
        optimizer=8 * free,
        activations=activations,
        logits=logits,
        features=rows * pairs * _feature_bytes(model.encoder),
        available=available(model.llm.device),
    )


def _feature_bytes(encoder: Any) -> int:
    """Bytes of an image's features in float32."""
    return 4 * encoder.views.count * encoder.cells * encoder.width


def _supervised(task: Task) -> int:
    """Supervised tokens of the example with most of them."""
    examples = getattr(task, "examples", [])
    return max((sum(label >= 0 for label in example.encoded.labels) for example in examples), default=0)


def available(device: Any) -> int:
    """Free bytes on `device`; 0 where that cannot be told."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return 0
    try:  # a container's limit is below the machine's
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
        return min(free, int(limit) - used) if limit.isdigit() else free
    except (OSError, ValueError):
        return free


def _size(count: int) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.0f} MiB"
