"""`duet train` and `duet average`: one stage of the connector's training; one model of two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from experts.errors import needs


def train(
    stage: Annotated[str, typer.Argument(help="warmup, pretrain, instruct or dpo.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run; started again, it goes on from there.")],
    data: Annotated[list[Path] | None, typer.Option("--data", help="A folder of scenes; may be repeated.")] = None,
    records: Annotated[
        list[Path] | None, typer.Option("--records", help="A JSONL of records, FILE or FILE=HOW-MANY; may be repeated.")
    ] = None,
    held_out: Annotated[
        Path | None, typer.Option("--held-out", help="A folder of scenes that is only looked at.")
    ] = None,
    start: Annotated[Path | None, typer.Option("--start", help="A saved model to start from.")] = None,
    connector: Annotated[str, typer.Option("--connector", help="Kind of a fresh connector.")] = "slots",
    encoder: Annotated[str, typer.Option("--encoder", help="Encoder of a fresh connector, by name or folder.")] = "",
    tiles: Annotated[int | None, typer.Option("--tiles", min=0, help="Tiles along a side; 0 = the whole.")] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=0, help="Soft tokens a picture; 0 = the kind's own.")] = 0,
    llm: Annotated[str | None, typer.Option("--llm", help="The language model (default: the profile's).")] = None,
    features: Annotated[
        Path | None, typer.Option("--features", help="Cache of encoder features (default: beside --out).")
    ] = None,
    per_scene: Annotated[int, typer.Option("--per-scene", min=1, help="instruct: questions a scene.")] = 3,
    captions: Annotated[int, typer.Option("--captions", min=0, help="instruct, dpo: captions beside the rest.")] = 0,
    readings: Annotated[int, typer.Option("--readings", min=0, help="instruct, dpo: questions about findings.")] = 0,
    dialogue: Annotated[int, typer.Option("--dialogue", min=0, help="instruct, dpo: talk without a medium.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Examples at most; 0 = all.")] = 0,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="A field of StageConfig, NAME=VALUE; may be repeated.")
    ] = None,
    threads: Annotated[int, typer.Option("--threads", min=0, help="CPU threads; 0 = all cores.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a stage; its checkpoints, log and saved model go into --out."""
    import os

    for package in ("accelerate", "peft"):
        needs(package, "train", "duet train")
    import torch

    from connector.encoders.features import FeatureCache
    from connector.llm import language
    from connector.opening import EMBEDDED_LLM
    from connector.training import prepare, trainer
    from connector.training.carry import carried, llm_of
    from connector.training.stages import parse_settings, stage_config
    from experts.config import load_settings

    say = trainer.say_line
    config, folders = stage_config(stage, **parse_settings(settings or [])), data or []
    torch.set_num_threads(threads or os.cpu_count() or 1)
    os.environ |= {"ACCELERATE_USE_CPU": "true"} if device == "cpu" else {}
    name = llm or load_settings().llm or llm_of(start) or EMBEDDED_LLM
    if start and (start / "config.json").is_file():
        start = carried(start, language.load(name), out / "start")
    model = prepare.open_model(name, connector, folders, start, encoder=encoder, tiles=tiles, tokens=tokens)
    cache = FeatureCache(features or out.parent / "features", model.encoder.fingerprint())
    mixture = prepare.Mixture(per_scene, captions, readings, dialogue)
    task = prepare.open_task(model, config, folders, cache, mixture=mixture, files=records or [], limit=limit, say=say)
    looked = None
    if held_out is not None:
        held = prepare.Mixture(per_scene)
        looked = prepare.open_task(model, config, [held_out], cache, mixture=held, limit=600, say=say)
    run = trainer.train(model, task, config, out, start=start, held_out=looked, say=say)
    if run.ended == "signal":
        say(f"stopped after step {run.progress.step}; the same command goes on from there")
        raise typer.Exit(130)
    if stage == "warmup" and looked:
        prepare.open_slots(model, looked, say)
    _save(model, out, config, prepare.entry(stage, run, folders, mixture, task), start)


def _save(model: Any, out: Path, config: Any, entry: dict[str, Any], start: Path | None) -> None:
    """The trained model with its card; of several processes, launched by accelerate, one writes."""
    from accelerate import PartialState

    from connector.training import prepare
    from connector.training.trainer import finish, say_line

    if PartialState().is_main_process:
        card = {"code": prepare.version(), "runs": [*model.card.get("runs", []), entry]}
        folder = finish(model, out, config, card, start)
        say_line(f"saved in {folder.parent.name}/{folder.name}")


def average(
    first: Annotated[Path, typer.Argument(help="A saved model.")],
    second: Annotated[Path, typer.Argument(help="A saved model of a later run that started from the first.")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the model.")],
    share: Annotated[
        float, typer.Option("--share", help="How far from the first to the second: 0.5 is the mean, above 1 past it.")
    ] = 0.5,
) -> None:
    """Save a mean of two models' weights."""
    from connector.training.average import average as mean

    mean(first, second, out, share=share)
    print(f"saved in {out.name}")
