"""``rawzoo export``: a model as a file for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rawzoo.cli import files
from rawzoo.cli.console import JsonOption, columns, print_json, write


def export(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A network (see 'rawzoo models').")],
    to: Annotated[str, typer.Option(metavar="FORMAT", help="torchscript.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The file; MODEL.pt here unless given.")
    ] = None,
    weights: files.Weights = None,
    as_json: JsonOption = False,
) -> None:
    """Write a model as a file that other programs run without rawzoo.

    The network alone, in float32: what it takes and gives is what 'rawzoo show'
    says. What was written is compared with the network on other inputs, of
    another size, before the file appears.
    """
    from rawzoo import exporting

    done = exporting.export(model, output, to=to, weights=weights)
    if as_json:
        print_json({"model": model, "format": to, **vars(done), "path": str(done.path), "one_size": done.one_size})
        return
    write(str(done.path), style="bold")
    table = columns()
    table.add_row("inputs", ", ".join(map(str, done.inputs)) + ", of this size only" * done.one_size)
    table.add_row("compared", f"with {', '.join(map(str, done.compared))}: {done.difference:.1e} of the largest value")
    write(table)
