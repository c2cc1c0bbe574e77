"""The loop itself: step, log, keep, until the steps or the minutes are over or a signal asks to stop."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.training import checkpoints, trainable
from connector.training.batches import Plan
from connector.training.objectives import Say, Task
from connector.training.stages import StageConfig, as_dict
from experts.errors import TrainingError

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator

LOG = "log.jsonl"


@dataclass
class Progress:
    """Where a run is: all that a checkpoint remembers beside tensors."""

    step: int = 0  # optimiser steps done
    seconds: float = 0.0  # spent in the loop, over all starts
    samples: int = 0  # examples seen
    tokens: int = 0
    loss: float = math.nan  # of the last step
    metrics: dict[str, float] = field(default_factory=dict)


def rate(done: float, config: StageConfig) -> float:
    """The learning rate at share `done` of the run, as a share of its peak: a ramp, then a cosine to the floor."""
    if done < config.ramp:
        return max(done, 1e-3 * config.ramp) / config.ramp
    rest = min((done - config.ramp) / max(1 - config.ramp, 1e-9), 1.0)
    return config.lr_floor + (1 - config.lr_floor) * 0.5 * (1 + math.cos(math.pi * rest))


class Loop:
    """The state of a run while it runs."""

    def __init__(
        self,
        accelerator: Accelerator,
        learner: Any,
        optimizer: Any,
        model: Any,
        task: Task,
        plan: Plan,
        config: StageConfig,
        folder: Path,
        steps: int,
        progress: Progress,
        say: Say,
    ) -> None:
        self.accelerator, self.learner, self.optimizer = accelerator, learner, optimizer
        self.model, self.task, self.plan, self.config = model, task, plan, config
        self.folder, self.steps, self.progress, self.say = folder, steps, progress, say
        self.stop = False  # set by a signal
        self._kept = progress.step  # step of the last checkpoint

    def run(self, held_out: Task | None) -> str:
        """Step until the run is over; returns how it ended."""
        config, progress = self.config, self.progress
        began = time.monotonic() - progress.seconds
        shown = (time.monotonic(), progress.samples, progress.tokens)
        while True:
            seconds, stop = self._agree(time.monotonic() - began, self.stop)
            progress.seconds = seconds
            ended = self._over(seconds, stop)
            if ended:
                if progress.step > self._kept or not self._kept:
                    self._save()
                return ended
            self._step(seconds)
            progress.seconds = time.monotonic() - began
            value = None
            if held_out is not None and config.held_out_every and progress.step % config.held_out_every == 0:
                value = self.look(held_out)
            self._log(value)
            now = time.monotonic()
            if now - shown[0] >= config.log_s or progress.step == 1:
                self.say(self._line(now - shown[0], progress.samples - shown[1], progress.tokens - shown[2]))
                shown = (now, progress.samples, progress.tokens)
            if progress.step % config.save_every == 0:
                self._save()

    def _agree(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """The clock and the wish to stop, the same on all processes: one that left alone would hang the others."""
        if self.accelerator.num_processes == 1:
            return seconds, stop
        import torch
        from accelerate.utils import gather

        both = gather(torch.tensor([[seconds, float(stop)]], device=self.accelerator.device)).amax(0)
        return float(both[0]), bool(both[1])

    def _done(self, seconds: float, ahead: int = 0) -> float:
        """The share of the run that is over, after `ahead` more steps."""
        by_step = (self.progress.step + ahead) / self.steps if self.steps else 0.0
        by_time = seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return max(by_step, by_time)

    def _over(self, seconds: float, stop: bool) -> str:
        if self.steps and self.progress.step >= self.steps:
            return "done"
        if self.config.minutes and seconds >= 60 * self.config.minutes:
            return "time"
        return "signal" if stop else ""

    def _step(self, seconds: float) -> None:
        """One optimiser step over the plan's next rows, in micro-batches."""
        import torch

        config, progress, accelerator = self.config, self.progress, self.accelerator
        torch.manual_seed(_seed(config.seed, progress.step, accelerator.process_index))
        share = rate(self._done(seconds, 1), config)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        rows = self.plan.rows(progress.step)
        micros = self.plan.shares(rows, config.tokens)[accelerator.process_index]
        batches = [self.task.collate(micro) for micro in micros]
        self.learner.train(self.task.dropout)
        # The divisor is that of the whole batch, so splitting it among micro-batches and processes changes nothing.
        divisor = self._sum(torch.tensor(sum(batch.weight for batch in batches), dtype=torch.float64))
        total = torch.zeros((), dtype=torch.float64)
        metrics: dict[str, float] = {}
        for index, batch in enumerate(batches):
            last = index == len(batches) - 1
            with contextlib.nullcontext() if last else accelerator.no_sync(self.learner):
                loss, figures = self.learner(batch.to(accelerator.device), self.task)
                if not torch.isfinite(loss):
                    names = ", ".join(batch.names)
                    raise TrainingError(
                        f"the loss of step {progress.step + 1} is {float(loss.detach())}; records: {names}; lower "
                        "the learning rate or look at them with 'duet data show-mask'"
                    )
                # DDP averages over processes; times their number, that is the sum.
                accelerator.backward(loss * (accelerator.num_processes / float(divisor)))
            total += loss.detach().double().cpu()
            for key, value in figures.items():
                metrics[key] = metrics.get(key, 0.0) + float(value)
        if config.clip:
            norm = accelerator.clip_grad_norm_(self.learner.parameters(), config.clip)
            if not torch.isfinite(norm):
                names = ", ".join(name for batch in batches for name in batch.names)
                raise TrainingError(f"the gradient of step {progress.step + 1} is not finite; records: {names}")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.samples += len(rows)
        progress.tokens += int(self._sum(torch.tensor(float(sum(batch.tokens for batch in batches)))))
        progress.loss = float(self._sum(total) / divisor)
        progress.metrics = {
            key: round(float(self._sum(torch.tensor(value)) / divisor), 5) for key, value in sorted(metrics.items())
        }

    def _sum(self, value: torch.Tensor) -> torch.Tensor:
        if self.accelerator.num_processes == 1:
            return value
        return self.accelerator.reduce(value.to(self.accelerator.device), reduction="sum").cpu()

    def look(self, task: Task) -> float:
        """The mean loss on `task`, without learning."""
        import torch

        accelerator = self.accelerator
        plan = Plan(task.lengths, task.groups, self.config.batch, 0, accelerator.num_processes)
        total = torch.zeros(2, dtype=torch.float64)
        self.learner.eval()
        with torch.no_grad():
            for step in range(plan.per_epoch):
                for rows in plan.shares(plan.rows(step), self.config.tokens)[accelerator.process_index]:
                    batch = task.collate(rows).to(accelerator.device)
                    loss, _ = self.learner(batch, task)
                    total += torch.tensor([float(loss), batch.weight], dtype=torch.float64)
        total = self._sum(total)
        value = float(total[0] / total[1])
        self.say(f"step {self.progress.step}  held-out loss {value:.4f}")
        return value

    def _line(self, seconds: float, samples: int, tokens: int) -> str:
        progress = self.progress
        done = min(self._done(progress.seconds), 1.0)
        left = progress.seconds / done * (1 - done) if done else 0.0
        figures = "".join(f"  {key} {value:.3f}" for key, value in progress.metrics.items())
        spent = max(seconds, 1e-9)
        whole = f"/{self.steps}" if self.steps else ""
        return (
            f"step {progress.step}{whole}  loss {progress.loss:.4f}{figures}  {samples / spent:.1f} samples/s  "
            f"{tokens / spent:,.0f} tokens/s  {int(left) // 60}:{int(left) % 60:02} left"
        )

    def _log(self, held_out: float | None) -> None:
        if not self.accelerator.is_main_process:
            return
        progress = self.progress
        line: dict[str, Any] = {
            "step": progress.step,
            "loss": progress.loss,
            "lr": {group["part"]: group["lr"] for group in self.optimizer.param_groups},
            "samples": progress.samples,
            "tokens": progress.tokens,
            "seconds": round(progress.seconds, 3),
        }
        if progress.metrics:
            line["metrics"] = progress.metrics
        if held_out is not None:
            line["held_out"] = held_out
        try:
            with (self.folder / LOG).open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:
            raise TrainingError(
                f"the log of run '{self.folder.name}' could not be written: {error.strerror}; the last good "
                f"checkpoint, of step {self._kept}, is kept: make room and start the same command again"
            ) from error

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            checkpoints.save(self.folder, self.progress.step, self._write, self.config.keep)
        self.accelerator.wait_for_everyone()
        self._kept = self.progress.step

    def _write(self, folder: Path) -> None:
        import torch
        from safetensors.torch import save_file

        tensors = {name: value.detach().contiguous().cpu() for name, value in trainable.learned(self.model)}
        save_file(tensors, folder / "learned.safetensors")
        torch.save(self.optimizer.state_dict(), folder / "optimizer.pt")
        (folder / "config.json").write_text(json.dumps(as_dict(self.config), indent=1) + "\n")
        (folder / "progress.json").write_text(json.dumps(vars(self.progress)) + "\n")


def _seed(*parts_of_it: int) -> int:
    """A seed below 2**63 that depends on all parts."""
    value = 0
    for part in parts_of_it:
        value = (value * 1_000_003 + part + 1) % (1 << 63)
    return value


@contextlib.contextmanager
def stop_on_signal(loop: Loop) -> Iterator[None]:
    """SIGTERM and SIGINT end the run after the step it is at, with a checkpoint; a second one ends it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        if loop.stop:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        loop.stop = True

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
