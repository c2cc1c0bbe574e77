"""`duet models`: the multimodal models that can be the connector: which there are, fetched, checked."""

from __future__ import annotations

from typing import Annotated

import typer

from ui.commands.options import Config, Json, Profile, print_json

app = typer.Typer(no_args_is_help=True, help="Multimodal models that can be the connector.")
Name = Annotated[str, typer.Argument(help="A hub name, a folder, or an endpoint's URL.")]


@app.command("list")
def listing(as_json: Json = False) -> None:
    """Known models: parameters, memory, what they take, licence; any other is opened by its name just so."""
    from connector.pretrained.catalogue import BYTES_SHOWN, ROWS, here, usual_for
    from ui import terminal

    rows = [
        {
            "model": row.name,
            "parameters": f"{row.parameters:.2f} B",
            **{f"{kind} GiB": f"{row.gib(kind):.1f}" for kind in BYTES_SHOWN},
            "takes": ", ".join(row.modalities),
            "licence": row.licence + (f" ({row.note})" if row.note else ""),
            "default": usual_for(row),
            "here": "yes" if here(row.name) else "",
        }
        for row in ROWS
    ]
    if as_json:
        print_json(rows)
    else:
        terminal.rows(list(rows[0]), rows)


@app.command()
def fetch(
    name: Name,
    revision: Annotated[str, typer.Option("--revision", help="A commit, tag or branch of the hub.")] = "main",
) -> None:
    """Fetch a hub's model, whole or not at all: safetensors and configs only, no program."""
    from connector.pretrained.hub import snapshot
    from connector.pretrained.loading import count_parameters, read_config

    folder, commit = snapshot(name, revision, print, progress=True)
    read_config(folder, name)
    print(f"{name} is here, {count_parameters(folder, name) / 1e9:.2f} billion parameters, commit {commit}")


@app.command()
def check(name: Name, as_json: Json = False, config: Config = None, profile: Profile = None) -> None:
    """Open a model, tell what it is and takes, and have it answer about a picture and without one."""
    import time

    import numpy as np

    from connector.base import AUDIO, IMAGE, Generation
    from connector.opening import open_model
    from experts.config import load_settings
    from experts.errors import DuetError
    from experts.media import Audio, Image, Media
    from ui import terminal

    begun = time.perf_counter()
    model = open_model(load_settings(config, profile=profile, model=name), print if not as_json else None)
    info = model.info
    found = {
        "model": info.name, "kind": info.kind, "revision": info.revision, "parameters": info.parameters,
        "precision": info.precision, "device": info.device, "takes": sorted(info.modalities),
        "media at once": info.most_media, "licence": info.licence, "opened in s": round(time.perf_counter() - begun, 1),
    }  # fmt: skip
    tries: dict[str, list[Media]] = {"text alone": []}
    if IMAGE in info.modalities:
        pixels = np.zeros((224, 224, 3), np.uint8)
        pixels[:, 112:] = (255, 0, 0)
        tries["a picture"] = [Image.open(pixels, name="red.png")]
    if AUDIO in info.modalities:
        tries["a sound"] = [Audio.open(np.zeros(16_000, np.float32), rate_hz=16_000, name="silence.wav")]
    for what, media in tries.items():
        begun = time.perf_counter()
        try:
            if media:
                reply = model.stream("What is this?", media, Generation(8))
            else:
                reply = model.language.chat([{"role": "user", "content": "What is this?"}], Generation(8))
            said = "".join(token.text for token in reply.tokens).strip()
            found[what] = f"{said!r} in {time.perf_counter() - begun:.1f} s"
        except DuetError as error:
            found[what] = f"refused: {error}"
    if as_json:
        print_json(found)
    else:
        terminal.rows(["what", "found"], [{"what": key, "found": str(value)} for key, value in found.items()])
