"""`duet data`: what the connector learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Data that the connector learns from.", no_args_is_help=True)


@app.command()
def cutouts(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    packages: Annotated[
        Path | None, typer.Option("--packages", help="Folder with the packages, instead of apt-get and npm.")
    ] = None,
) -> None:
    """Make the cut-outs and backdrops that scenes are composed of, from Debian and npm packages."""
    from connector.data.pictures.cutouts import build_cutouts

    print(f"{len(build_cutouts(out, packages))} cut-outs in {out.name}")


@app.command()
def scenes(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    split: Annotated[str, typer.Option("--split", help="train, validation, test or reading.")] = "test",
    n: Annotated[int, typer.Option("--n", min=1, help="How many scenes.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = 0,
    cutouts: Annotated[Path | None, typer.Option("--cutouts", help="Folder made by `duet data cutouts`.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    close_ups: Annotated[
        float, typer.Option("--close-ups", min=0, max=1, help="Share of scenes that one cut-out fills.")
    ] = 0.0,
) -> None:
    """Generate scenes with captions, questions and preference pairs."""
    from connector.data.split import write_scenes

    counts = write_scenes(out, split, n, seed=seed, cutouts=cutouts, workers=workers, close_ups=close_ups)
    if cutouts is None:
        print("no --cutouts given: scenes hold shapes and words only")
    print(", ".join(f"{count} {what}" for what, count in counts.items()) + f" in {out.name}")


@app.command()
def features(
    data: Annotated[list[Path], typer.Option("--data", help="Folder made by `duet data scenes`; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", help="Cache of encoder features, as `duet train --features` takes it.")],
    encoder: Annotated[str, typer.Option("--encoder", help="Which encoder sees them.")] = "efficientnet-lite0",
    tiles: Annotated[int, typer.Option("--tiles", min=0, help="Tiles along a picture's side.")] = 2,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes of one thread each.")] = 1,
) -> None:
    """Compute the encoder's features of scenes beforehand, in several processes; training computes what is missing."""
    from connector.encoders.features import content_key, fill_in_parallel
    from experts.errors import InputError

    files = {}
    for folder in data:
        found = sorted((folder / "images").glob("*.png"))
        if not found:
            raise InputError(f"no images in '{folder.name}'; make them: duet data scenes --out DIR")
        files.update({content_key(file): file for file in found})
    broken = fill_in_parallel(out, (encoder, tiles, 0), list(files.items()), workers, say=print)
    for line in broken:
        print(f"broken image {line}")
    print(f"features of {len(files) - len(broken)} images in {out.name}")


@app.command()
def readings(
    scenes: Annotated[Path, typer.Option("--scenes", help="Folder made by `duet data scenes`.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many of its scenes.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same questions.")] = 0,
) -> None:
    """Run the experts on scenes and write questions about what they find, with answers that follow from it."""
    from connector.data.split import write_readings

    print(f"{write_readings(scenes, n, seed=seed, say=print)} records in {scenes.name}/readings.jsonl")


@app.command()
def plans(
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many different requests.")] = 2500,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same requests.")] = 0,
) -> None:
    """Write requests with the plans that fit them, from which the language model learns to plan."""
    from connector.data.plans.planning import plans as written
    from connector.data.records import write_records

    print(f"{write_records(out, written(n, seed))} records in {out.name}")


@app.command()
def rehearsal(
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write.")],
    n: Annotated[int, typer.Option("--n", min=1, max=992, help="How many different questions.")] = 400,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same questions.")] = 0,
    llm: Annotated[str | None, typer.Option("--llm", help="Who answers (default: the profile's model).")] = None,
) -> None:
    """Let the untuned language model answer questions without a medium, for `duet train instruct --records`."""
    from connector.data.questions.rehearsal import rehearsal as rehearsed
    from connector.data.records import write_records
    from connector.llm import language as llms
    from connector.opening import EMBEDDED_LLM
    from experts.config import load_settings

    model = llms.load(llm or load_settings().llm or EMBEDDED_LLM)
    print(f"{write_records(out, rehearsed(model, n, seed))} records in {out.name}")


@app.command("orders")
def write_orders(
    out: Annotated[Path, typer.Option("--out", help="JSONL file to write.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many pairs.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same pairs.")] = 0,
) -> None:
    """Write preference pairs about findings that give orders: reporting them against obeying them."""
    from connector.data.plans.orders import orders
    from connector.data.records import write_records

    print(f"{write_records(out, orders(n, seed))} pairs in {out.name}")


@app.command("corrections")
def write_own(
    scenes: Annotated[Path, typer.Option("--scenes", help="Folder made by `duet data scenes`.")],
    connector: Annotated[Path, typer.Option("--connector", help="A saved model, whose own captions are corrected.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many scenes.")] = 400,
    features: Annotated[Path | None, typer.Option("--features", help="Cache of encoder features.")] = None,
) -> None:
    """Let a trained model describe scenes and write preference pairs of better answers against its own."""
    from connector import network as models
    from connector.data.split import write_corrections
    from connector.encoders.features import FeatureCache

    made = models.load(connector)
    cache = FeatureCache(features or scenes.parent / "features", made.encoder.fingerprint())
    for name, count in write_corrections(scenes, made, cache, n, say=print).items():
        print(f"{count} pairs in {scenes.name}/corrected-{name}.jsonl")


@app.command("show-mask")
def show_mask(
    file: Annotated[Path, typer.Argument(help="A JSONL of records.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many of its first records.")] = 3,
    stage: Annotated[str, typer.Option("--stage", help="pretrain, instruct or dpo.")] = "instruct",
    image_tokens: Annotated[int, typer.Option("--image-tokens", min=0, help="Tokens of an image.")] = 51,
    llm: Annotated[str | None, typer.Option("--llm", help="Whose tokenizer (default: the profile's model).")] = None,
) -> None:
    """Print which tokens carry loss: they stand in [[ ]], image tokens as <image x M>."""
    import itertools

    from connector.data.records import RecordReader
    from connector.llm import language as llms
    from connector.llm import templates
    from connector.opening import EMBEDDED_LLM
    from connector.training.stages import STAGES
    from experts.config import load_settings
    from experts.errors import InputError, UnknownNameError

    if stage not in STAGES or STAGES[stage].objective == "words":
        raise UnknownNameError("stage with a mask", stage, [s for s, row in STAGES.items() if row.objective != "words"])
    if not file.is_file():
        raise InputError(f"there is no file '{file.name}'; expected a JSONL of records (duet data scenes writes some)")
    tokenizer = llms.load_tokenizer(llm or load_settings().llm or EMBEDDED_LLM)
    for record in itertools.islice(RecordReader(file), n):
        print(templates.show_mask(tokenizer, templates.encode(tokenizer, record, stage, image_tokens)))
        print()
