"""What the commands that work on many files share: options, a progress bar, and saying what went wrong with a file."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rawzoo.batch import Job, Outcome, Recipe

Weights = Annotated[
    str | None, typer.Option(help="Weights of the model, by name or as a .safetensors file; see 'rawzoo show'.")
]
Device = Annotated[str, typer.Option(help="Where a network runs: cpu, cuda, cuda:1.")]
Tile = Annotated[int | None, typer.Option(min=16, help="Edge of a network's tiles, in its input pixels.")]
Dtype = Annotated[str | None, typer.Option(help="Precision of a network: float32, float16, bfloat16.")]
Format = Annotated[str | None, typer.Option("--format", "-f", help="Format of files in a folder: jpg, png, tif, npy.")]
Quality = Annotated[int, typer.Option(min=1, max=100, help="JPEG quality.")]
Resume = Annotated[bool, typer.Option("--resume", help="Skip files whose output is there and newer.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds the decoder may take for one file.")]
Cfa = Annotated[str | None, typer.Option(help="For PNG and TIFF mosaics: the pattern, such as RGGB.")]
Black = Annotated[float | None, typer.Option(help="For PNG and TIFF mosaics: the black level.")]
White = Annotated[float | None, typer.Option(help="For PNG and TIFF mosaics: the white level.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="An option of the model, such as strength=0.7, noise=0.002,1e-5 (variance = A x + B of the signal, 0 = "
        "black and 1 = white) or tuning=imx477. Give it again for another; a wrong name is answered with those there "
        "are.",
    ),
]


def open_options(cfa: str | None, black: float | None, white: float | None) -> dict[str, Any]:
    """What :func:`rawzoo.open` takes for mosaics that do not tell."""
    return {k: v for k, v in {"cfa": cfa, "black": black, "white": white}.items() if v is not None}


def work_through(
    doing: str, jobs: Sequence[Job], recipe: Recipe, *, workers: int, resume: bool = False, bar: bool = True
) -> Iterator[Outcome]:
    """Does the jobs and yields each outcome; warnings, failures, what rawzoo logs meanwhile (from INFO on) and a
    progress bar go to standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from rawzoo import batch

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    with (
        _logged_to(lambda text: errors.print(text, style="dim", markup=False)),
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=errors,
            transient=True,
            disable=not bar or not errors.is_terminal,
            redirect_stdout=False,
        ) as progress,
    ):
        task = progress.add_task(doing, total=len(jobs))
        fractions: dict[Job, float] = {}

        def advance(job: Job, fraction: float) -> None:
            fractions[job] = fraction
            progress.update(task, completed=sum(fractions.values()))

        for outcome in batch.run(jobs, recipe, workers=min(workers, len(jobs)) or 1, resume=resume, progress=advance):
            advance(outcome.job, 1.0)
            for warning in outcome.warnings:
                errors.print(f"rawzoo: {warning}", style="yellow", markup=False)
            if outcome.error:
                errors.print(f"rawzoo: {outcome.error}", style="red", markup=False)
            # The caller prints what came out where the bar stood.
            progress.stop()
            yield outcome
            progress.start()


@contextmanager
def _logged_to(show: Callable[[str], None]) -> Iterator[None]:
    """While this is open what rawzoo logs is shown, such as how long a slow model will take."""
    log = logging.getLogger("rawzoo")
    level, handler = log.level, logging.Handler(logging.INFO)
    handler.emit = lambda record: show(record.getMessage())  # type: ignore[method-assign]
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)
