"""``rawzoo train RECIPE.yaml``."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from rawzoo.cli.console import columns, write
from rawzoo.errors import UsageError


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RECIPE.yaml", help="A file, or PACKAGE:NAME of one that comes along.")
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Changes, such as trainer.steps=2000.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last checkpoint.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the resolved recipe and what one step costs; write nothing.")
    ] = False,
) -> None:
    """Train a model.

    The run's folder gets checkpoints, metrics, pictures and, at each best validation, the weights. Killed at any time,
    a run goes on with --resume as if nothing had happened.
    """
    from rawzoo.training.recipe import read

    try:
        resolved = read(recipe, overrides or [])
        from rawzoo.training import run
    except ModuleNotFoundError as error:
        raise UsageError(f"training needs {error.name}; pip install 'rawzoo[train]'.") from error

    if dry_run:
        write(resolved.to_yaml().rstrip())
        write()
        trial = run.try_step(resolved)
        table = columns()
        table.add_row("parameters", f"{trial.parameters:,}")
        table.add_row("memory", f"{(trial.weights + trial.activations) / 2**20:.0f} MiB and the photographs")
        table.add_row("", f"weights and optimizer {trial.weights / 2**20:.1f} MiB")
        table.add_row("", f"activations {trial.activations / 2**20:.1f} MiB")
        table.add_row("one step", f"{trial.step_s:.3f} s, loss {trial.loss:.4g}")
        table.add_row("its data", f"{trial.data_s:.3f} s")
        hours = trial.steps * resolved.trainer.accumulate * (trial.step_s + trial.data_s) / 3600
        table.add_row("all steps", f"{trial.steps}, {hours:.1f} h")
        write(table)
        return
    path = run.train(resolved, resume=resume, progress=sys.stderr.isatty(), report=partial(typer.echo, err=True))
    if run.first_process():
        write(f"weights: {path}")
