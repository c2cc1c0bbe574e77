"""`duet`: the command line. Parses, calls, prints; everything heavy is imported inside the command that needs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from experts.errors import DuetError, InputError

app = typer.Typer(
    help="Answers questions about images, sound and video through experts and through a connector, and compares them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
weights_app = typer.Typer(help="The weights: what there is, fetch it, check it.", no_args_is_help=True)
data_app = typer.Typer(help="Data that the connector learns from.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")
app.add_typer(data_app, name="data")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Config = Annotated[Path | None, typer.Option("--config", help="A TOML file of settings (default: ./duet.toml if there).")]
Profile = Annotated[str | None, typer.Option("--profile", help="embedded, hub or server.")]


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What you want to know.")],
    image: Annotated[list[str] | None, typer.Option("--image", help="An image file; may be repeated.")] = None,
    audio: Annotated[list[str] | None, typer.Option("--audio", help="A sound file; may be repeated.")] = None,
    video: Annotated[list[str] | None, typer.Option("--video", help="A video file; may be repeated.")] = None,
    route: Annotated[str, typer.Option("--route", help="experts, connector, auto or both.")] = "auto",
    as_json: Json = False,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Ask a question about media."""
    from agent.agent import Agent
    from experts.config import load_settings
    from ui import show

    agent = Agent(load_settings(config, profile=profile))
    steps = agent.stream(question, image=image, audio=audio, video=video, route=route)
    if as_json:
        answers = [step.answer.to_dict() for step in steps if step.answer]
        print(json.dumps({"question": question, "answers": answers}, ensure_ascii=False, indent=1))
    else:
        show.answers(question, steps)


@app.command()
def tool(
    name: Annotated[str, typer.Argument(help="An expert; `duet tools` lists them.")],
    file: Annotated[str, typer.Argument(help="An image, sound or video file.")],
    as_json: Json = False,
    config: Config = None,
    profile: Profile = None,
) -> None:
    """Run one expert on one file."""
    import experts
    from experts.config import load_settings
    from experts.media import open_media
    from ui import show

    settings = load_settings(config, profile=profile)
    expert = experts.get(name, settings)
    findings = expert(open_media(file, limits=settings.limits))
    if as_json:
        print(json.dumps([finding.to_dict() for finding in findings], ensure_ascii=False, indent=1))
    else:
        show.findings(findings)


@app.command()
def tools(as_json: Json = False) -> None:
    """List the experts."""
    import experts
    from ui import show

    rows = [
        {"name": name, "takes": sorted(expert.kinds), "weights": expert.weights, "description": expert.description}
        for name, expert in ((name, experts.get(name)) for name in experts.names())
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        show.rows(["name", "takes", "weights", "description"], rows)


@weights_app.command("list")
def weights_list(as_json: Json = False) -> None:
    """List all weights: whether they are here, their size, licence and origin."""
    from experts import weights
    from ui import show

    rows = weights.listing()
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        show.rows(["name", "state", "size", "licence", "origin"], rows)


@weights_app.command("fetch")
def weights_fetch(names: Annotated[list[str] | None, typer.Argument(help="Which; all embedded ones by default.")] = None) -> None:
    """Fetch and verify weights."""
    from experts import weights
    from ui import show

    with show.progress() as report:
        weights.fetch(names or weights.embedded(), progress=report)


@weights_app.command("verify")
def weights_verify(names: Annotated[list[str] | None, typer.Argument(help="Which; all that are here by default.")] = None) -> None:
    """Check the SHA-256 of every file."""
    from experts import weights

    chosen = names or [row["name"] for row in weights.listing() if row["state"] != "absent"]
    faults = []
    for name in chosen:
        try:
            weights.verify(name)
            print(f"{name}: good")
        except InputError:
            raise
        except DuetError as error:
            faults.append(str(error))
            print(f"{name}: {error}")
    if faults:
        raise typer.Exit(1)


@data_app.command("cutouts")
def data_cutouts(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    debs: Annotated[Path | None, typer.Option("--debs", help="Folder with the .deb files, instead of apt-get download.")] = None,
) -> None:
    """Make the cut-outs that scenes are composed of, from Debian packages."""
    from connector.data.cutouts import build_cutouts

    print(f"{len(build_cutouts(out, debs))} cut-outs in {out.name}")


@data_app.command("scenes")
def data_scenes(
    out: Annotated[Path, typer.Option("--out", help="Folder to write.")],
    split: Annotated[str, typer.Option("--split", help="train, validation or test.")] = "test",
    n: Annotated[int, typer.Option("--n", min=1, help="How many scenes.")] = 100,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same bytes.")] = 0,
    cutouts: Annotated[Path | None, typer.Option("--cutouts", help="Folder made by `duet data cutouts`.")] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
) -> None:
    """Generate scenes with captions, questions and preference pairs."""
    from connector.data.write import write_scenes

    counts = write_scenes(out, split, n, seed=seed, cutouts=cutouts, workers=workers)
    if cutouts is None:
        print("no --cutouts given: scenes hold shapes and words only")
    print(", ".join(f"{count} {what}" for what, count in counts.items()) + f" in {out.name}")


def main(arguments: list[str] | None = None) -> None:
    """The `duet` program: exit 0, 1 for a failure, 2 for input that is not acceptable; errors are one line on stderr."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app(args=arguments, standalone_mode=False)
    except typer.Exit as stop:
        raise SystemExit(stop.exit_code) from None
    except DuetError as error:
        _fail(type(error).__name__, str(error), error.exit_code, "--json" in arguments)
    except KeyboardInterrupt:
        _fail("Interrupted", "stopped", 130, False)
    except Exception as error:
        shown = _usage_error(error)
        if shown is None:
            raise
        _fail("UsageError", shown, 2, "--json" in arguments)


def _usage_error(error: Exception) -> str | None:
    """The line for a wrong option or argument, which typer's parser raises; None for anything else."""
    if hasattr(error, "format_message") and hasattr(error, "exit_code"):
        return f"{error.format_message().strip()} (see duet --help)"
    return None


def _fail(kind: str, message: str, code: int, as_json: bool) -> Any:
    line = " ".join(message.split())
    print(json.dumps({"error": {"type": kind, "message": line}}) if as_json else f"duet: {line}", file=sys.stderr)
    raise SystemExit(code)


if __name__ == "__main__":
    main()
