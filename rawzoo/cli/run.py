"""``rawzoo run``: what a model is for, done on files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rawzoo.cli import files
from rawzoo.cli.console import JsonOption, print_json, write


def run(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of any task (see 'rawzoo models').")],
    inputs: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Raw files or pictures, or folders of them.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="OUT", help="A file (.jpg .png .tif .npy) or a folder.")
    ] = None,
    weights: files.Weights = None,
    set_: files.Set = None,
    format: files.Format = None,  # noqa: A002
    depth: Annotated[int | None, typer.Option(help="Bits a sample: 8, 16, or 32 (float, .npy only).")] = None,
    quality: files.Quality = 95,
    device: files.Device = "cpu",
    tile: files.Tile = None,
    dtype: files.Dtype = None,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Files in work at a time.")] = 1,
    resume: files.Resume = False,
    timeout: files.Timeout = 60.0,
    cfa: files.Cfa = None,
    black: files.Black = None,
    white: files.White = None,
    as_json: JsonOption = False,
) -> None:
    """Do what a model is for: make a picture, name what is seen, judge quality, find the white balance.

    Models that take pictures also take raw files, which are developed first;
    models of sensor data refuse pictures.

    OUT is where pictures go: a file for one input, or a folder. A file that fails
    is reported and the rest is done.
    """
    from rawzoo import batch
    from rawzoo.errors import UsageError
    from rawzoo.picture import PICTURE_SUFFIXES
    from rawzoo.running import Runner, parse_options
    from rawzoo.zoo import registry

    if depth not in (None, 8, 16, 32):
        raise UsageError(f"--depth must be 8, 16 or 32, not {depth}.")
    card = registry.card(model)
    task = registry.task(card.task)
    if task.picture == "main" and output is None:
        raise UsageError(f"model {model} makes pictures; say with -o where they go.")
    if task.picture == "none" and output is not None:
        raise UsageError(f"model {model} is for task {task.name}, which gives no picture; leave out -o {output}.")
    if output is None and (resume or format is not None or depth is not None):
        raise UsageError("--resume, --format and --depth are about pictures; say with -o where they go.")
    of_pictures = task.source == "picture" and cfa is None and white is None
    jobs = batch.plan_jobs(
        inputs,
        output,
        format,
        suffixes=batch.RAW_SUFFIXES | PICTURE_SUFFIXES if of_pictures else batch.RAW_SUFFIXES,
        what="pictures or raw files" if of_pictures else "raw files",
    )
    if any(job.target is not None and job.target.suffix == ".dng" for job in jobs):
        raise UsageError("a DNG holds sensor data; write .jpg, .png, .tif or .npy.")
    options = parse_options(card, set_) if set_ else {}
    recipe = batch.Run(
        runner=Runner(model, weights=weights, device=device, dtype=dtype, tile=tile, **options),
        dtype=None if depth is None else {8: "uint8", 16: "uint16", 32: "float32"}[depth],
        quality=quality,
        timeout_s=timeout,
        open_options=files.open_options(cfa, black, white),
    )

    results, failures = [], []
    skipped = 0
    width = max(len(job.source.name) for job in jobs)
    for outcome in files.work_through(f"Running {model}", jobs, recipe, workers=workers, resume=resume):
        job = outcome.job
        if outcome.error:
            failures.append({"file": str(job.source), "error": outcome.error})
            continue
        where = {} if job.target is None else {"output": str(job.target)}
        if outcome.skipped:
            skipped += 1
            results.append({"file": str(job.source), **where, "skipped": True})
            continue
        text, values = outcome.found
        results.append({"file": str(job.source), **where, **values, "warnings": list(outcome.warnings)})
        if as_json or task.picture == "main":
            continue
        if len(jobs) == 1:
            write(text)
        elif "\n" in text:
            write(f"{job.source.name}", style="bold")
            write("\n".join(f"  {line}" for line in text.splitlines()))
        else:
            write(f"{job.source.name:{width}}  {text}")
    if as_json:
        print_json({"model": model, "task": task.name, "results": results, "failures": failures})
    elif output is not None and len(jobs) > 1:
        parts = [f"{len(results) - skipped} done"]
        parts += [f"{skipped} already there"] * bool(skipped) + [f"{len(failures)} failed"] * bool(failures)
        write(f"{', '.join(parts)}: {output}")
    elif output is not None and results:
        write(f"{jobs[0].target} is already there." if skipped else str(jobs[0].target))
    if failures:
        raise typer.Exit(1)
