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
        str,
        typer.Option(
            help="Model of task demosaic (see 'rawzoo models'); none for the classical one; auto for a denoiser where "
            "the file is noisy enough to gain by it."
        ),
    ] = "auto",
    weights: files.Weights = None,
    strength: Annotated[
        float, typer.Option(help="How much a denoiser takes, 0 to 4: a factor of the noise it is told of.")
    ] = 1.0,
    grain: Annotated[float, typer.Option(help="How much grain of what it took is given back, 0 to 1.")] = 0.0,
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
    dng: Annotated[
        str, typer.Option(help="What a DNG holds: linear, demosaiced camera RGB; cfa, the mosaic without its noise.")
    ] = "linear",
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
    from collections import Counter

    from rawzoo import batch, pipeline
    from rawzoo.developer import AUTO, Choice, Developer
    from rawzoo.errors import UsageError
    from rawzoo.zoo import registry

    if depth not in (None, 8, 16, 32):
        raise UsageError(f"--depth must be 8, 16 or 32, not {depth}.")
    if dng not in ("linear", "cfa"):
        raise UsageError(f"--dng must be linear or cfa, not {dng!r}.")
    jobs = batch.plan_jobs(inputs, output, format)
    if dng == "cfa" and not all(str(job.target).lower().endswith(".dng") for job in jobs):
        raise UsageError("--dng cfa needs DNG output: OUT.dng, or --format dng.")
    denoise = pipeline.Denoise(strength, grain)
    if model not in (AUTO, "none"):
        denoise.check(registry.card(model))
    recipe = batch.Develop(
        developer=Developer(model, weights=weights, device=device, dtype=dtype, tile=tile),
        look=pipeline.Look(white_balance, exposure, tone, space),
        denoise=denoise,
        dng="cfa" if dng == "cfa" else "linear",
        dtype=None if depth is None else {8: "uint8", 16: "uint16", 32: "float32"}[depth],
        quality=quality,
        timeout_s=timeout,
        open_options=files.open_options(cfa, black, white),
    )

    skipped = failed = 0
    choices: list[Choice] = []
    for outcome in files.work_through(
        "Developing", jobs, recipe, workers=workers, resume=resume, bar=len(jobs) > 1 or model != "none"
    ):
        failed += bool(outcome.error)
        skipped += outcome.skipped
        if not outcome.error and not outcome.skipped:
            choices.append(outcome.found)
    if len(jobs) == 1:
        for choice in choices:
            if choice.why:
                typer.echo(f"rawzoo: developed with {choice.why}.", err=True)
            typer.echo(str(jobs[0].target))
        if skipped:
            typer.echo(f"{jobs[0].target} is already there.")
    else:
        chosen = Counter((not c.denoises, c.name) for c in choices if c.why)
        by = ", ".join(f"{n} {'less ' * less}noisy by {name}" for (less, name), n in sorted(chosen.items()))
        parts = [f"{len(choices)} developed" + (f" ({by})" if by else "")]
        parts += [f"{skipped} already there"] * bool(skipped) + [f"{failed} failed"] * bool(failed)
        typer.echo(f"{', '.join(parts)}: {output}")
    if failed:
        raise typer.Exit(1)
