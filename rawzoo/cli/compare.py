"""``rawzoo compare``: one raw file by several models, on one sheet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rawzoo.cli import files


def compare(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A raw file.")],
    models: Annotated[
        str | None,
        typer.Option(
            help="Models of task demosaic, MODEL[@WEIGHTS],...; none is the classical one. The last is shown whole. "
            "Unless given: none, and the denoisers that develop takes by itself."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="SHEET", help="A .png, .jpg or .tif; FILE-compare.png.")
    ] = None,
    crops: Annotated[int, typer.Option(min=1, max=12, help="Details shown, at most.")] = 4,
    device: files.Device = "cpu",
    tile: files.Tile = None,
    dtype: files.Dtype = None,
    timeout: files.Timeout = 60.0,
    cfa: files.Cfa = None,
    black: files.Black = None,
    white: files.White = None,
) -> None:
    """Develop a raw file with several models and lay the pictures side by side.

    The sheet shows the same details of each at 100 % (small pictures larger): the
    finest, where the models differ most, some in the dark, an even surface; and the
    time each model took.
    """
    from rawzoo import batch, developer
    from rawzoo import compare as comparing

    jobs = batch.plan_jobs([file], output or Path(f"{file.stem}-compare.png"))
    if models is None:
        names = ["none", *(card.name for _, card in developer.automatic())]
    else:
        names = [name.strip() for name in models.split(",") if name.strip()]
    recipe = comparing.Compare(
        comparing.load(names, device=device, dtype=dtype, tile=tile),
        crops=crops,
        timeout_s=timeout,
        open_options=files.open_options(cfa, black, white),
    )
    for outcome in files.work_through("Developing", jobs, recipe, workers=1):
        if outcome.error:
            raise typer.Exit(1)
        for title, seconds in outcome.found.items():
            typer.echo(f"{title}: {comparing.duration(seconds)}")
    typer.echo(str(jobs[0].target))
