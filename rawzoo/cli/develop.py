"""``rawzoo develop``: raw files to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rawzoo.cli import files


def develop(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Raw files, or folders of them.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="A file (.jpg .png .tif .npy .dng) or a folder.")
    ],
    model: Annotated[
        str, typer.Option(help="Model of task demosaic (see 'rawzoo models'), or none for the default.")
    ] = "none",
    weights: files.Weights = None,
    white_balance: Annotated[
        str,
        typer.Option(
            "--white-balance",
            "-w",
            help="as-shot, daylight, grey-world, kelvin[,tint] such as 5200,+8, gains such as 2.1,1,1.6, or a model "
            "of task white-balance, if need be with its weights and the camera's tuning: MODEL[@WEIGHTS][:TUNING].",
        ),
    ] = "as-shot",
    exposure: Annotated[float, typer.Option("--exposure", "-e", help="EV, added to the file's own.")] = 0.0,
    tone: Annotated[str, typer.Option(help="natural, or none for the plain transfer function.")] = "natural",
    space: Annotated[
        str, typer.Option(help="srgb, display-p3, rec2020-linear, or camera (balanced sensor data, for measuring).")
    ] = "srgb",
    format: Annotated[  # noqa: A002
        str | None, typer.Option("--format", "-f", help="Format of files in a folder: jpg, png, tif, npy, dng.")
    ] = None,
    depth: Annotated[int | None, typer.Option(help="Bits a sample: 8, 16, or 32 (float, .npy only).")] = None,
    quality: files.Quality = 95,
    device: files.Device = "cpu",
    tile: files.Tile = None,
    dtype: files.Dtype = None,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Files in work at a time.")] = 2,
    resume: files.Resume = False,
    timeout: files.Timeout = 60.0,
    cfa: files.Cfa = None,
    black: files.Black = None,
    white: files.White = None,
) -> None:
    """Develop raw files into pictures.

    OUT is a file for one input, or a folder. A file that cannot be read is reported and the rest is done.
    """
    from rawzoo import batch, pipeline
    from rawzoo.errors import UsageError

    if depth not in (None, 8, 16, 32):
        raise UsageError(f"--depth must be 8, 16 or 32, not {depth}.")
    jobs = batch.plan_jobs(inputs, output, format)
    recipe = batch.Develop(
        model=pipeline.prepare(model, weights=weights, device=device, dtype=dtype, tile=tile),
        look=pipeline.Look(white_balance, exposure, tone, space),
        dtype=None if depth is None else {8: "uint8", 16: "uint16", 32: "float32"}[depth],
        quality=quality,
        timeout_s=timeout,
        open_options=files.open_options(cfa, black, white),
    )

    done = skipped = failed = 0
    for outcome in files.work_through(
        "Developing", jobs, recipe, workers=workers, resume=resume, bar=len(jobs) > 1 or model != "none"
    ):
        failed += bool(outcome.error)
        skipped += outcome.skipped
        done += not outcome.error and not outcome.skipped
    if len(jobs) == 1:
        if done:
            typer.echo(str(jobs[0].target))
        elif skipped:
            typer.echo(f"{jobs[0].target} is already there.")
    else:
        parts = (
            [f"{done} developed"] + [f"{skipped} already there"] * bool(skipped) + [f"{failed} failed"] * bool(failed)
        )
        typer.echo(f"{', '.join(parts)}: {output}")
    if failed:
        raise typer.Exit(1)
