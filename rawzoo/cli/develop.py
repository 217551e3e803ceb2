"""``rawzoo develop``: raw files to pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def develop(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Raw files, or folders of them.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT", help="A file (.jpg .png .tif .npy .dng) or a folder.")
    ],
    model: Annotated[
        str, typer.Option(help="Model of task demosaic (see 'rawzoo models'), or none for the default.")
    ] = "none",
    weights: Annotated[
        str | None, typer.Option(help="Weights of the model, by name or as a .safetensors file; see 'rawzoo show'.")
    ] = None,
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
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG quality.")] = 95,
    device: Annotated[str, typer.Option(help="Where a network runs: cpu, cuda, cuda:1.")] = "cpu",
    tile: Annotated[int | None, typer.Option(min=16, help="Edge of a network's tiles, in its input pixels.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Precision of a network: float32, float16, bfloat16.")] = None,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Files in work at a time.")] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Skip files whose output is there and newer.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds the decoder may take for one file.")] = 60.0,
    cfa: Annotated[str | None, typer.Option(help="For PNG and TIFF mosaics: the pattern, such as RGGB.")] = None,
    black: Annotated[float | None, typer.Option(help="For PNG and TIFF mosaics: the black level.")] = None,
    white: Annotated[float | None, typer.Option(help="For PNG and TIFF mosaics: the white level.")] = None,
) -> None:
    """Develop raw files into pictures.

    OUT is a file for one input, or a folder. A file that cannot be read is reported and the rest is done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from rawzoo import batch, pipeline
    from rawzoo.errors import UsageError

    if depth not in (None, 8, 16, 32):
        raise UsageError(f"--depth must be 8, 16 or 32, not {depth}.")
    jobs = batch.plan_jobs(inputs, output, format)
    recipe = batch.Recipe(
        model=pipeline.prepare(model, weights=weights, device=device, dtype=dtype, tile=tile),
        look=pipeline.Look(white_balance, exposure, tone, space),
        dtype=None if depth is None else {8: "uint8", 16: "uint16", 32: "float32"}[depth],
        quality=quality,
        open_options={k: v for k, v in {"cfa": cfa, "black": black, "white": white}.items() if v is not None},
    )

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    done = skipped = failed = 0
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
        disable=len(jobs) == 1 and model == "none",
    ) as bar:
        task = bar.add_task("Developing", total=len(jobs))
        fractions: dict[batch.Job, float] = {}

        def advance(job: batch.Job, fraction: float) -> None:
            fractions[job] = fraction
            bar.update(task, completed=sum(fractions.values()))

        for outcome in batch.run(
            jobs, recipe, workers=min(workers, len(jobs)), resume=resume, timeout_s=timeout, progress=advance
        ):
            advance(outcome.job, 1.0)
            for warning in outcome.warnings:
                errors.print(f"rawzoo: {warning}", style="yellow", markup=False)
            if outcome.error:
                failed += 1
                errors.print(f"rawzoo: {outcome.error}", style="red", markup=False)
            elif outcome.skipped:
                skipped += 1
            else:
                done += 1
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
