"""`duet average`: one model of two."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
