"""``rawzoo import FILE``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rawzoo.cli.console import JsonOption, columns, print_json, write

if TYPE_CHECKING:
    from rawzoo.zoo.importing import Imported


def import_(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A checkpoint; of TensorFlow also its prefix or folder.")
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="MODEL", help="The one model it is for, where its tensors cannot tell, or of several."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="What to call the weights, instead of the file's name.")] = None,
    averages: Annotated[bool, typer.Option("--averages", help="Take the moving averages that training kept.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Import the published weights of a model.

    Nothing in the file is executed. The weights are kept as safetensors, where rawzoo finds them by name.
    """
    from rawzoo.zoo.importing import import_checkpoint

    done = import_checkpoint(file, model=model, name=name, averages=averages)
    if as_json:
        print_json({**_entry(done), "others": [_entry(other) for other in done.others]})
        return
    _print(done)
    for other in done.others:
        write()
        _print(other)


def _entry(done: Imported) -> dict[str, Any]:
    return {
        **done.provenance.to_dict(),
        "format": done.checkpoint.format,
        "weights": done.name,
        "where": str(done.path),
        "tensors": done.tensors,
    }


def _print(done: Imported) -> None:
    from rawzoo.zoo import registry
    from rawzoo.zoo.weights import imported_weights

    provenance = done.provenance
    write(provenance.description, style="bold")
    table = columns()
    table.add_row("from", f"{', '.join(provenance.sources)} ({done.checkpoint.format})")
    table.add_row("model", provenance.model)
    table.add_row("tensors", str(done.tensors))
    table.add_row("weights", done.name)
    table.add_row("where", str(done.path))
    table.add_row("in Python", f'rawzoo.load("{provenance.model}", weights="{done.name}")')
    card = registry.card(provenance.model)
    if command := registry.task(card.task).command:
        table.add_row("command", command.format(model=card.name, weights=done.name))
    if not card.weights and len(imported_weights(card.name)) == 1:
        table.add_row("by default", f"yes: {card.name} has no others, so they need not be named")
    write(table)
