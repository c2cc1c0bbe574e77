"""Training: one recipe for all stages. Freeze, estimate, prepare, resume, then hand over to the loop."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.training import checkpoints, memory, trainable
from connector.training.batches import Plan
from connector.training.loop import LOG, Loop, Progress, stop_on_signal
from connector.training.objectives import Say, Task
from connector.training.stages import STAGES, StageConfig, as_dict
from experts.errors import TrainingError, needs

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator


def say_line(line: str) -> None:
    """Show a line of progress on stderr."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Run:
    """How a run ended: "done", "time" (its minutes are over) or "signal" (asked to stop; start it again to go on)."""

    ended: str
    progress: Progress
    folder: Path
    held_out: float | None = None  # mean loss on held-out data at the end


def train(
    model: Any,
    task: Task,
    config: StageConfig,
    folder: Path,
    *,
    start: Path | None = None,
    held_out: Task | None = None,
    cpu: bool | None = None,
    say: Say = say_line,
) -> Run:
    """Train the parts of `model` that learn in this stage on `task`; keep checkpoints and log.jsonl in `folder`.

    Called again with the same folder, it goes on from the newest good checkpoint. With a number of steps or epochs the
    result on a CPU is bit-identical to that of an unbroken run (same machine, library versions and thread count): order
    and randomness are functions of seed and step alone. With `minutes` the schedule follows the clock, so it is not.

    Args:
        start: a saved model or an earlier run to take connector and adapter from.
        held_out: examples whose mean loss is looked at every `config.held_out_every` steps and at the end.
        cpu: keep to the CPU; None = where the language model is.

    Raises:
        TrainingError: the run cannot start, its loss is not finite (the message names the records), or the disk full.
    """
    accelerator = _accelerator(model, cpu)
    if not accelerator.is_main_process:
        say = _silent
    trainable.prepare(model, config, start)
    say(f"stage {config.stage}: {STAGES[config.stage].does}\n{trainable.freeze_table(model, config)}")
    plan = Plan(task.lengths, task.groups, config.batch, config.seed, accelerator.num_processes)
    steps = config.steps or (0 if config.minutes else math.ceil(config.epochs * plan.per_epoch))
    say(memory.estimate(model, task, config).report())
    say(f"{len(task.names)} examples, {plan.per_epoch} steps an epoch, {_goal(steps, config)}")

    _claim(folder, config, len(task.names), accelerator)
    model.connector.eval()
    model.llm.model.eval()  # no dropout in what the task asks of the model as it starts
    with accelerator.main_process_first(), accelerator.autocast():
        for asked in [task] + ([held_out] if held_out is not None else []):
            asked.prepare(model, folder, say)
    learner = learner_of(model, task)
    optimizer = build_optimizer(model, config)
    progress = Progress()
    found = checkpoints.newest(folder, say)
    if found:
        progress = _load(found, model, optimizer)
        say(f"going on from step {progress.step}")
    _trim_log(folder / LOG, progress.step, accelerator)
    learner, optimizer = accelerator.prepare(learner, optimizer)

    loop = Loop(accelerator, learner, optimizer, model, task, plan, config, folder, steps, progress, say)
    with stop_on_signal(loop):
        ended = loop.run(held_out)
    learner.eval()
    value = loop.look(held_out) if held_out is not None and ended != "signal" else None
    return Run(ended, progress, folder, value)


def _goal(steps: int, config: StageConfig) -> str:
    goals = [f"{steps} steps"] * bool(steps) + [f"{config.minutes:g} minutes"] * bool(config.minutes)
    return "to run: " + " or ".join(goals)


def _silent(line: str) -> None:
    """What the other processes of a run say."""


def _accelerator(model: Any, cpu: bool | None) -> Accelerator:
    needs("accelerate", "train", "training")
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    stay = model.llm.device.type == "cpu" if cpu is None else cpu
    # An image-free batch leaves the connector without a gradient; without this, DDP would wait for it for ever.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=stay, mixed_precision="no" if stay else "bf16", kwargs_handlers=[unused])
    kind = accelerator.distributed_type.value
    if kind in ("FSDP", "DEEPSPEED"):
        raise TrainingError(
            f"launched with {kind}, but checkpoints here hold whole tensors, not shards; launch with DDP "
            "(accelerate launch --multi_gpu): what learns is small, and each process holds the language model whole"
        )
    model.connector.to(accelerator.device)
    model.llm.model.to(accelerator.device)
    return accelerator


def learner_of(model: Any, task: Task) -> torch.nn.Module:
    """Connector and language model as one module whose forward is the task's loss: what accelerate wraps."""
    import torch

    class Learner(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.connector = model.connector
            if any(name.startswith(("lora.", "llm.")) for name, _ in trainable.learning(model)):
                self.llm = model.llm.model

        def forward(self, batch: Any, of: Task) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
            return of.loss(model, batch)

    return Learner()


def build_optimizer(model: Any, config: StageConfig) -> torch.optim.Optimizer:
    """AdamW over what learns: one group for each part and for matrices (with weight decay) and the rest (without).

    Parameters that a connector names in `slow` learn at the share of the rate that stands there.
    """
    import torch

    slow = {f"connector.{name}": share for name, share in getattr(model.connector, "slow", {}).items()}
    groups: dict[tuple[str, bool, float], list[torch.nn.Parameter]] = {}
    for name, parameter in trainable.learning(model):
        share = next((share for prefix, share in slow.items() if name.startswith(prefix)), 1.0)
        groups.setdefault((name.split(".")[0], parameter.ndim > 1, share), []).append(parameter)
    return torch.optim.AdamW(
        [
            {
                "params": members,
                "lr": share * getattr(config, f"lr_{part}"),
                "peak": share * getattr(config, f"lr_{part}"),
                "part": part,
                "weight_decay": config.weight_decay if matrix else 0.0,
            }
            for (part, matrix, share), members in groups.items()
        ],
        betas=(0.9, config.beta2),
    )


def _load(checkpoint: Path, model: Any, optimizer: torch.optim.Optimizer) -> Progress:
    """Put a checkpoint's tensors into `model` and `optimizer`."""
    import torch
    from safetensors.torch import load_file

    trainable.restore(model, load_file(checkpoint / "learned.safetensors"), checkpoint.name)
    optimizer.load_state_dict(torch.load(checkpoint / "optimizer.pt", map_location=model.llm.device, weights_only=True))
    return Progress(**json.loads((checkpoint / "progress.json").read_text()))


def _claim(folder: Path, config: StageConfig, examples: int, accelerator: Accelerator) -> None:
    """Write the run's settings, or see that they are those it was started with."""
    own = as_dict(config) | {"examples": examples, "processes": accelerator.num_processes}
    file = folder / "run.json"
    if file.is_file():
        try:
            was = json.loads(file.read_text())
        except ValueError:
            was = {}
        # When it saves, says and ends may change between two starts; what it computes may not.
        free = {"save_every", "keep", "log_s", "held_out_every", "max_broken"}
        changed = [
            f"{key} was {was.get(key)!r}, is {own[key]!r}"
            for key in own
            if key not in free and was.get(key) != own[key]
        ]
        if changed:
            raise TrainingError(
                f"run '{folder.name}' was started with other settings: {'; '.join(changed)}; name another "
                "folder or remove it"
            )
    elif accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        checkpoints.replace_text(file, json.dumps(own, indent=1) + "\n")
    accelerator.wait_for_everyone()


def _trim_log(log: Path, step: int, accelerator: Accelerator) -> None:
    """Drop log lines of steps after the checkpoint: they will be run, and logged, again."""
    if not accelerator.is_main_process or not log.is_file():
        return
    kept = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (ValueError, KeyError):  # the line that was being written when the run was killed
            continue
    checkpoints.replace_text(log, "".join(kept))


def finish(
    model: Any, folder: Path, config: StageConfig, card: dict[str, Any] | None = None, start: Path | None = None
) -> Path:
    """Save the trained model, for `connector.network.load` and as the next stage's start, into folder/"model".

    What `start` holds of the language model and the stage did not touch, its adapter, is saved with it.
    """
    import shutil

    target, staging = folder / "model", folder / ".staging-model"
    shutil.rmtree(staging, ignore_errors=True)
    model.card = {**model.card, **(card or {}), config.stage: as_dict(config)}
    model.save(staging, adapter=trainable.adapter_tensors(model) or None)
    if config.learns("llm"):
        model.llm.model.save_pretrained(staging / "llm")
    if start and STAGES[config.stage].objective == "words" and (start / "lora.safetensors").is_file():
        shutil.copyfile(start / "lora.safetensors", staging / "lora.safetensors")
    for file in staging.rglob("*"):
        if file.is_file():
            checkpoints.sync(file)
    shutil.rmtree(target, ignore_errors=True)
    staging.rename(target)
    checkpoints.sync(folder)
    return target
