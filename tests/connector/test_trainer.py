"""The training loop: what learns, what a broken run leaves, and that going on equals never having stopped."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from connector.data.records import Record
from connector.encoders.features import FeatureCache
from connector.llm.adapter import merge_adapter
from connector.training import checkpoints, memory, objectives, trainable, trainer, warmup_loss
from connector.training.batches import Plan
from connector.training.stages import StageConfig, stage_config
from experts.errors import TrainingError

torch.set_num_threads(1)  # for the processes that import this module


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Bit-identical results hold for one thread count; tests of the agent, run before, set another."""
    torch.set_num_threads(1)


def quiet(line: str) -> None:
    pass


def config_of(stage: str, **values: Any) -> StageConfig:
    return stage_config(stage, **{"steps": 6, "batch": 4, "save_every": 3, "max_tokens": 512, **values})


def task_of(folder: Path, model: Any, config: StageConfig, records: Sequence[Record] | None = None) -> Any:
    cache = FeatureCache(folder / "cache", model.encoder.fingerprint())
    return objectives.task_from_records(records or tiny.records(folder), folder, model, config, cache, quiet)


def go(folder: Path, stage: str = "instruct", run: str = "run", **values: Any) -> tuple[Any, trainer.Run]:
    """A fresh tiny model trained into folder/run; called again, it goes on from there."""
    model, config = tiny.model(), config_of(stage, **values)
    return model, trainer.train(model, task_of(folder, model, config), config, folder / run, say=quiet)


def learned(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in trainable.learned(model)}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- what learns ----------------------------------------------------------------------------------------------------


def changed(before: dict[str, torch.Tensor], model: Any) -> set[str]:
    now = dict(trainable.parameters(model))
    return {name.split(".")[0] for name in before if not torch.equal(before[name], now[name])}


def test_pretrain_changes_only_the_connector(tmp_path: Path) -> None:
    before = {name: value.detach().clone() for name, value in trainable.parameters(tiny.model())}
    model, run = go(tmp_path, "pretrain")
    assert run.ended == "done" and run.progress.step == 6
    assert changed(before, model) == {"connector"}
    scale = dict(model.connector.named_parameters())["scale"]
    assert torch.equal(scale, torch.ones(tiny.D_ENC)), "what the connector itself froze stays frozen"
    assert not trainable.has_adapter(model)


def test_instruct_changes_the_connector_and_the_adapter_but_not_the_language_model(tmp_path: Path) -> None:
    before = {name: value.detach().clone() for name, value in trainable.parameters(tiny.model())}
    model, _ = go(tmp_path, "instruct")
    assert changed(before, model) == {"connector"}  # the adapter was not there before
    adapter = {name: value for name, value in trainable.parameters(model) if name.startswith("lora.")}
    assert len(adapter) == 2 * 7 * 2  # A and B of seven projections in two layers
    assert all(float(value.detach().abs().sum()) > 0 for name, value in adapter.items() if name.endswith(".B"))


def test_learn_can_name_a_part_of_the_connector(tmp_path: Path) -> None:
    model, _ = go(tmp_path, "pretrain", learn=("connector.project.bias",))
    assert [name for name, _ in trainable.learning(model)] == ["connector.project.bias"]


def test_the_language_model_can_learn_in_full(tmp_path: Path) -> None:
    before = {name: value.detach().clone() for name, value in trainable.parameters(tiny.model())}
    model, _ = go(tmp_path, "instruct", learn=("llm",), lr_llm=1e-3)
    assert changed(before, model) == {"llm"}


def test_freeze_table_counts_what_learns(tmp_path: Path) -> None:
    model = tiny.model()
    trainable.prepare(model, config_of("pretrain"))
    table = trainable.freeze_table(model, config_of("pretrain")).splitlines()
    weights = tiny.D_ENC * 32 + 32
    assert table[2].split() == ["connector", f"{weights + tiny.D_ENC:,}", f"{weights:,}", "0.001"]
    assert table[4].split()[2:] == ["0", "frozen"]
    assert table[5].split()[2] == f"{weights:,}"


def test_the_loss_falls(tmp_path: Path) -> None:
    _, run = go(tmp_path, "instruct", steps=60, learn=("connector", "llm"), lr_llm=1e-2, save_every=100)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 60
    assert sum(losses[-4:]) < 0.6 * sum(losses[:4])


def test_logits_are_computed_for_supervised_positions_only(tmp_path: Path) -> None:
    model, config = tiny.model(), config_of("instruct")
    trainable.prepare(model, config)
    task = task_of(tmp_path, model, config)
    batch, seen = task.collate([0, 1]), []
    model.llm.model.get_output_embeddings().register_forward_hook(lambda module, args, out: seen.append(out.shape))
    task.loss(model, batch)
    assert seen == [(len(batch.labels), len(model.llm.tokenizer))]
    assert len(batch.labels) == sum(len(answer.encode()) + 1 for answer in ("a longer blue", "red"))


def test_padding_and_micro_batches_do_not_change_the_result(tmp_path: Path) -> None:
    whole, _ = go(tmp_path, "instruct", run="whole", tokens=0)
    split, _ = go(tmp_path, "instruct", run="split", tokens=512)
    for name, value in learned(whole).items():
        torch.testing.assert_close(learned(split)[name], value, rtol=1e-4, atol=1e-6)


# -- going on -------------------------------------------------------------------------------------------------------


class Stop(Exception):
    """A run that ends without a word, as a killed one does."""


def break_at(monkeypatch: pytest.MonkeyPatch, batch: int, act: Callable[[], None]) -> None:
    """Do `act` while the `batch`-th batch (from 1) of a run is put together."""
    count, collate = 0, objectives.AnswerTask.collate

    def counted(self: Any, rows: Sequence[int]) -> Any:
        nonlocal count
        count += 1
        if count == batch:
            act()
        return collate(self, rows)

    monkeypatch.setattr(objectives.AnswerTask, "collate", counted)


def stop() -> None:
    raise Stop


@pytest.mark.parametrize(("stage", "values"), [("pretrain", {}), ("instruct", {"lora_dropout": 0.3})])
def test_resumed_run_equals_unbroken_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, values: dict[str, Any]
) -> None:
    unbroken, _ = go(tmp_path, stage, run="unbroken", **values)
    with monkeypatch.context() as patch:
        break_at(patch, 5, stop)
        with pytest.raises(Stop):
            go(tmp_path, stage, run="broken", **values)
    lines: list[str] = []
    model, config = tiny.model(), config_of(stage, **values)
    run = trainer.train(model, task_of(tmp_path, model, config), config, tmp_path / "broken", say=lines.append)
    assert "going on from step 3" in lines
    assert run.progress.samples == 6 * 4
    assert same(learned(model), learned(unbroken))
    log = [json.loads(line) for line in (tmp_path / "broken" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6]
    whole = [json.loads(line) for line in (tmp_path / "unbroken" / "log.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in log] == [line["loss"] for line in whole]


def test_a_torn_newest_checkpoint_goes_on_from_the_one_before_to_the_same_result(tmp_path: Path) -> None:
    unbroken, _ = go(tmp_path, run="unbroken")
    go(tmp_path, run="torn")
    (tmp_path / "torn" / "step-00000006" / "optimizer.pt").write_bytes(b"half")
    resumed, _ = go(tmp_path, run="torn")
    assert same(learned(resumed), learned(unbroken))


def test_sigterm_ends_after_the_step_with_a_checkpoint_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, _ = go(tmp_path, run="unbroken")
    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        break_at(patch, 4, lambda: os.kill(os.getpid(), signal.SIGTERM))
        _, run = go(tmp_path, run="broken")
    assert (run.ended, run.progress.step) == ("signal", 4)
    assert signal.getsignal(signal.SIGTERM) == before
    resumed, run = go(tmp_path, run="broken")
    assert run.ended == "done"
    assert same(learned(resumed), learned(unbroken))


KILLED = """
import os, signal, sys
from pathlib import Path
import test_trainer
from connector.training import objectives
collate, seen = objectives.AnswerTask.collate, []
def counted(self, rows):
    seen.append(rows)
    if len(seen) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return collate(self, rows)
objectives.AnswerTask.collate = counted
test_trainer.go(Path(sys.argv[1]), run="killed")
"""


def test_a_run_killed_without_warning_goes_on_to_the_same_result(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1] / "support"
    paths = os.pathsep.join(
        [str(tests), str(Path(__file__).parent), str(tests.parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=os.environ | {"PYTHONPATH": paths}, timeout=120, check=False
    )
    assert ended.returncode == -signal.SIGKILL
    assert [entry["step"] for entry in checkpoints.entries(tmp_path / "killed")] == [3]
    resumed, _ = go(tmp_path, run="killed")
    unbroken, _ = go(tmp_path, run="unbroken")
    assert same(learned(resumed), learned(unbroken))


def test_a_finished_run_started_again_changes_nothing(tmp_path: Path) -> None:
    first, _ = go(tmp_path)
    again, run = go(tmp_path)
    assert run.progress.step == 6 and same(learned(first), learned(again))


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    go(tmp_path)
    with pytest.raises(TrainingError, match="batch was 4, is 2; lr_lora was 0.0002, is 0.1"):
        go(tmp_path, batch=2, lr_lora=0.1)


def test_a_run_ends_when_its_minutes_are_over(tmp_path: Path) -> None:
    _, run = go(tmp_path, steps=0, minutes=0.5 / 60, save_every=10_000)
    assert run.ended == "time" and run.progress.step > 1
    assert 0.5 <= run.progress.seconds < 5
    rates = [json.loads(line)["lr"]["lora"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rates[-1] < max(rates) / 2, "the schedule follows the clock"
    assert checkpoints.newest(tmp_path / "run") is not None


# -- bad input ------------------------------------------------------------------------------------------------------


def test_a_loss_that_is_not_finite_stops_the_run_and_names_the_records(tmp_path: Path) -> None:
    model, config = tiny.model(), config_of("pretrain")
    task = task_of(tmp_path, model, config)
    with torch.no_grad():
        dict(model.connector.named_parameters())["project.bias"][0] = math.nan
    with pytest.raises(TrainingError, match=r"loss of step 1 is nan; records: .*r\d"):
        trainer.train(model, task, config, tmp_path / "run", say=quiet)


def test_broken_records_are_counted_and_named_and_above_a_share_the_run_stops(tmp_path: Path) -> None:
    records = tiny.records(tmp_path)
    (tmp_path / "images" / "1.png").write_bytes(b"no image")
    records.append(dataclasses.replace(records[0], id="gone", image="images/gone.png"))
    records.append(dataclasses.replace(records[0], id="long", question="why " * 200))
    model = tiny.model()
    lines: list[str] = []
    cache = FeatureCache(tmp_path / "cache", model.encoder.fingerprint())

    def build(share: float) -> Any:
        config = config_of("instruct", max_broken=share)
        return objectives.task_from_records(records, tmp_path, model, config, cache, lines.append)

    with pytest.raises(TrainingError, match=r"4 of 10 records are broken: r3 \(image 'images/1.png': not an image\)"):
        build(0.1)
    assert len(build(0.5).examples) == 6
    line = next(line for line in lines if "records are broken" in line)
    assert "gone (image 'images/gone.png': No such file or directory)" in line
    assert "long (" in line and "at most 512" in line


def test_dpo_needs_pairs(tmp_path: Path) -> None:
    records = [dataclasses.replace(record, rejected=None) for record in tiny.records(tmp_path)]
    with pytest.raises(TrainingError, match="8 of 8 records are broken: r0 \\(no rejected answer\\)"):
        task_of(tmp_path, tiny.model(), config_of("dpo"), records)


def test_answers_without_a_pair_are_rehearsed_in_dpo(tmp_path: Path) -> None:
    records = tiny.records(tmp_path)
    plain = [dataclasses.replace(r, id=f"{r.id}-plain", rejected=None) for r in records]
    model, config = tiny.model(), config_of("dpo", rehearsal=0.5, batch=4, tokens=0)
    task = task_of(tmp_path, model, config, records + plain)
    task.prepare(model, tmp_path / "run", quiet)
    assert [group >= 2 for group in task.groups] == [False] * len(records) + [True] * len(plain)
    batch = task.collate([len(records), len(records) + 1])
    loss, figures = task.loss(model, batch)
    expected = objectives.AnswerTask.loss(task, model, batch)[0]
    assert batch.reference is None and torch.isclose(loss, 0.5 * expected)
    assert torch.isclose(figures["rehearsed"], expected)
    assert "margin" in task.loss(model, task.collate([0, 1]))[1]
    run = trainer.train(model, task, config, tmp_path / "run", say=quiet)
    assert run.ended == "done"


def test_too_little_memory_is_said_before_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda device: 1000)
    with pytest.raises(TrainingError, match="not enough memory: .*; lower 'tokens'"):
        go(tmp_path)
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_a_full_disk_keeps_the_last_good_checkpoint_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken, _ = go(tmp_path, run="unbroken")
    saving = torch.save

    def full(value: Any, file: Path) -> None:
        if "00000006" in str(file):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        saving(value, file)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(TrainingError, match="the disk is full; the last good one, step-00000003, is kept"):
            go(tmp_path, run="full")
    resumed, _ = go(tmp_path, run="full")
    assert same(learned(resumed), learned(unbroken))


# -- stages in a row ------------------------------------------------------------------------------------------------


def test_dpo_starts_at_log2_against_where_instruct_ended_and_then_prefers_the_chosen(tmp_path: Path) -> None:
    first, _ = go(tmp_path, "instruct", run="instruct", lr_lora=1e-2)
    model = tiny.model()
    config = config_of("dpo", steps=20, lr_lora=1e-2, lora_dropout=0.5, save_every=100, beta=0.5)
    run = trainer.train(
        model, task_of(tmp_path, model, config), config, tmp_path / "dpo", start=tmp_path / "instruct", say=quiet
    )
    log = [json.loads(line) for line in (tmp_path / "dpo" / "log.jsonl").read_text().splitlines()]
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert run.progress.loss < 0.5 and run.progress.metrics["accuracy"] == 1.0


def test_rpo_alpha_adds_the_mean_loss_of_the_chosen_answers_tokens(tmp_path: Path) -> None:
    model = tiny.model()
    sums = []
    for stage, values in (("dpo", {}), ("dpo", {"rpo_alpha": 2.0}), ("instruct", {"mean": "answer"})):
        task = task_of(tmp_path, model, config_of(stage, **values))
        task.prepare(model, tmp_path, quiet)
        with torch.no_grad():
            sums.append(float(task.loss(model, task.collate([0, 1, 3]))[0]))
    assert sums[1] - sums[0] == pytest.approx(2 * sums[2], rel=1e-4)


def test_a_run_can_start_from_a_saved_model_as_from_its_checkpoint(tmp_path: Path) -> None:
    done, _ = go(tmp_path, "instruct", run="instruct", lr_lora=1e-2)
    config = config_of("instruct")
    saved = trainer.finish(done, tmp_path / "instruct", config, {"note": "a test"})
    fresh = tiny.model()
    trainable.prepare(fresh, config, saved)
    for name, value in learned(done).items():
        torch.testing.assert_close(learned(fresh)[name], value, rtol=2e-3, atol=1e-5)  # saved in half precision
    assert json.loads((saved / "config.json").read_text())["card"]["instruct"]["steps"] == 6
    words = trainer.finish(
        tiny.model(), tmp_path / "words", config_of("warmup"), start=saved
    )  # it has no adapter itself
    assert (words / "lora.safetensors").read_bytes() == (saved / "lora.safetensors").read_bytes()


def test_merged_adapter_gives_the_logits_of_the_trained_model(tmp_path: Path) -> None:
    done, _ = go(tmp_path, "instruct", lr_lora=1e-2)
    plain = tiny.model()
    ids = torch.arange(20)[None]
    before = plain.llm.model(ids).logits
    merge_adapter(plain.llm, trainable.adapter_tensors(done), "test")
    after, expected = plain.llm.model(ids).logits, done.llm.model(ids).logits
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before, expected, atol=1e-3)


def test_start_of_another_shape_lists_the_differences(tmp_path: Path) -> None:
    go(tmp_path, "instruct", lora_rank=8)
    with pytest.raises(TrainingError, match=r"'run' does not fit this model: lora.*: file \[8, 32\], model \[4, 32\]"):
        trainable.prepare(tiny.model(), config_of("instruct", lora_rank=4), tmp_path / "run")


def test_an_empty_start_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="neither a saved model .* nor a run"):
        trainable.prepare(tiny.model(), config_of("instruct"), tmp_path)


@dataclasses.dataclass(frozen=True)
class Words:
    """Targets of the tiny warm-up."""

    truth: torch.Tensor


def test_warmup_learns_without_running_the_language_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, config = tiny.model(), config_of("warmup", steps=60, lr_connector=1e-1, save_every=100)
    truth = torch.arange(8) % 4

    def objective(connector: Any, features: torch.Tensor, targets: Words) -> tuple[torch.Tensor, dict[str, float]]:
        logits = connector(features)[:, 0, :4]
        right = (logits.argmax(-1) == targets.truth).float().mean()
        return torch.nn.functional.cross_entropy(logits, targets.truth), {"right": float(right)}

    def forbidden(*arguments: Any, **named: Any) -> None:
        raise AssertionError("the language model ran")

    monkeypatch.setattr(model.llm.model, "forward", forbidden)
    table = torch.eye(tiny.D_ENC)[truth][:, None].expand(-1, tiny.N, -1)
    task = objectives.WordsTask(
        [f"s{index}" for index in range(8)],
        [str(index) for index in range(8)],
        lambda keys: table[[int(key) for key in keys]],
        Words(truth),
        lambda targets, rows: Words(targets.truth[rows]),
        objective,
    )
    run = trainer.train(model, task, config, tmp_path / "run", held_out=task, say=quiet)
    assert run.progress.metrics["right"] == 1.0
    assert run.held_out is not None and run.held_out < 0.3


def test_noise_is_for_learning_alone_and_repeats_with_the_seed() -> None:
    model, seen = tiny.model(), []

    def objective(connector: Any, features: torch.Tensor, targets: Words) -> tuple[torch.Tensor, dict[str, float]]:
        seen.append(features)
        return features.sum(), {}

    table = torch.ones(2, tiny.N, tiny.D_ENC)
    task = objectives.WordsTask(
        ["a", "b"],
        ["0", "1"],
        lambda keys: table[[int(key) for key in keys]],
        Words(torch.arange(2)),
        lambda targets, rows: Words(targets.truth[rows]),
        objective,
        noise=0.2,
    )
    batch = task.collate([0, 1])
    for training, seed in ((True, 5), (True, 5), (True, 6), (False, 5)):
        model.connector.train(training)
        torch.manual_seed(seed)
        task.loss(model, batch)
    assert torch.equal(seen[0], seen[1]) and not torch.equal(seen[0], seen[2])
    assert torch.equal(seen[3], table)
    assert 0.1 < float(seen[0].std()) < 0.3 and abs(float(seen[0].mean()) - 1) < 0.1


def test_slot_targets_move_with_their_batch() -> None:
    """The loop moves a batch by its fields; the weights, a dict, stay as they are."""
    zeros = torch.zeros(2, 3)
    scenes = objectives.Scenes(["a", "b"], zeros, warmup_loss.Targets(*[zeros] * 7), 2.0)
    moved = scenes.to(torch.device("meta"))
    assert moved.targets.heat.device.type == "meta" and moved.targets.weights == scenes.targets.weights


def test_held_out_pairs_are_measured_against_the_reference_too(tmp_path: Path) -> None:
    model, config = tiny.model(), config_of("dpo", steps=2, lr_connector=1e-9, lr_lora=1e-9)
    records = tiny.records(tmp_path)
    task, held_out = (task_of(tmp_path, model, config, part) for part in (records[:5], records[5:]))
    run = trainer.train(model, task, config, tmp_path / "run", held_out=held_out, say=quiet)
    assert run.held_out == pytest.approx(math.log(2), abs=1e-5)


def test_stages_may_follow_each_other_in_one_process(tmp_path: Path) -> None:
    model = tiny.model()
    for stage, learn in (("pretrain", ()), ("instruct", ("lora",)), ("dpo", ())):
        config = config_of(stage, learn=learn, steps=2)
        trainer.train(model, task_of(tmp_path, model, config), config, tmp_path / stage, say=quiet)
    scale = dict(model.connector.named_parameters())["scale"]
    assert torch.equal(scale, torch.ones(tiny.D_ENC)), "what the connector itself froze stays frozen"


def test_connector_without_image_tokens_gets_batches_with_images_in_all_rows_or_none(tmp_path: Path) -> None:
    model, config = tiny.model(), config_of("instruct")
    examples = task_of(tmp_path, model, config).examples
    task = objectives.AnswerTask(
        examples, lambda keys: torch.zeros(len(keys), tiny.N, tiny.D_ENC), 0, config, slots=False
    )
    plan = Plan(task.lengths, task.groups, 4, 0)
    for step in range(plan.per_epoch):
        batch = task.collate(plan.rows(step))
        assert batch.input.features is None or len(batch.input.features) == len(batch.names)


# -- order ----------------------------------------------------------------------------------------------------------


def test_an_epoch_visits_every_example_once_and_each_epoch_in_another_order() -> None:
    plan = Plan(list(range(1, 24)), [0] * 23, 4, seed=1)
    epochs = [[plan.rows(epoch * plan.per_epoch + at) for at in range(plan.per_epoch)] for epoch in range(2)]
    assert all(sorted(sum(batches, [])) == list(range(23)) for batches in epochs)
    assert epochs[0] != epochs[1]
    assert Plan(list(range(1, 24)), [0] * 23, 4, seed=1).rows(7) == plan.rows(7)


def test_bucketing_by_length_leaves_little_padding() -> None:
    lengths = [10] * 16 + [100] * 16
    plan = Plan(lengths, [0] * 32, 4, seed=0, pool=8)
    padded = sum(4 * max(lengths[row] for row in plan.rows(step)) for step in range(plan.per_epoch))
    assert padded == sum(lengths)


def test_shares_keep_to_the_token_limit_and_give_processes_equally_many() -> None:
    lengths = [50, 10, 30, 30, 10, 60, 20]
    plan = Plan(lengths, [0] * 7, 7, seed=0, world=2)
    rows = plan.rows(0)
    assert len(rows) == 8, "filled up so that both processes have four"
    shares = plan.shares(rows, limit=64)
    assert len(shares[0]) == len(shares[1])
    assert sorted(sum((sum(share, []) for share in shares), [])) == sorted(rows)
    assert all(len(part) * max(lengths[row] for row in part) <= 64 for share in shares for part in share)


def test_groups_are_never_mixed() -> None:
    plan = Plan([1] * 10, [0, 1] * 5, 3, seed=0)
    assert all(len({row % 2 for row in plan.rows(step)}) == 1 for step in range(plan.per_epoch))


# -- several processes ----------------------------------------------------------------------------------------------

LAUNCHED = """
import sys
from pathlib import Path
import test_trainer
test_trainer.go(Path(sys.argv[1]), sys.argv[2], run="launched")
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["pretrain", "instruct"])
def test_two_processes_learn_what_one_does_from_the_same_batches(tmp_path: Path, stage: str) -> None:
    """DDP over gloo. On CPUs `accelerate launch` wants mpirun, so torch's own launcher starts them here."""
    alone, _ = go(tmp_path, stage, run="alone")
    tests = Path(__file__).parents[1] / "support"
    script = tmp_path / "launched.py"
    script.write_text(LAUNCHED)
    paths = os.pathsep.join(
        [str(tests), str(Path(__file__).parent), str(tests.parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ended = subprocess.run(
        [*launch, str(script), str(tmp_path), stage],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        timeout=280,
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = checkpoints.newest(tmp_path / "launched")
    assert found is not None
    two = trainable.load_start(tmp_path / "launched")
    assert json.loads((tmp_path / "launched" / "run.json").read_text())["processes"] == 2
    for name, value in learned(alone).items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
