"""``rawzoo show NAME``."""

from __future__ import annotations

from typing import Annotated

import typer

from rawzoo.cli.console import JsonOption, columns, print_json, write


def show(
    name: Annotated[str, typer.Argument(help="A model, as `rawzoo models` lists it.")],
    as_json: JsonOption = False,
) -> None:
    """Show all that is known about a model."""
    from rawzoo.zoo import registry
    from rawzoo.zoo.manager import get_manager

    card = registry.card(name)
    task = registry.task(card.task)
    origin = get_manager().origin("model", name)
    if as_json:
        print_json({**card.to_dict(), "plugin": vars(origin)})
        return
    config = ", ".join(f"{key}={value!r}" for key, value in card.config.items())
    whole = "global context: the whole picture at once"
    rows = {
        "summary": card.summary,
        "task": f"{task.name}: {task.summary}",
        "input": f"{card.input}: {task.inputs.get(card.input, '')}",
        "output": f"{card.output}: {task.outputs.get(card.output, '')}",
        "cfa": card.cfa,
        "conditioning": ", ".join(card.conditioning),
        "scale": str(card.scale),
        "period": str(card.period),
        "halo": whole if card.halo is None else str(card.halo),
        "dtypes": ", ".join(card.dtypes),
        "architecture": f"{card.architecture}({config})",
        "formats": ", ".join(card.formats),
        "paper": card.paper,
        "licence": card.licence,
        "plugin": f"{origin.distribution} {origin.version}",
    }
    write(card.name, style="bold")
    table = columns()
    for key, value in rows.items():
        if value:
            table.add_row(key, value)
    write(table)
    for index, (key, weights) in enumerate(card.weights.items()):
        write()
        write(f"weights {key}" + (" (default)" if index == 0 else ""), style="bold")
        table = columns()
        table.add_row("where", weights.where)
        table.add_row("sha256", weights.sha256 or "not given")
        table.add_row("licence", weights.licence)
        if weights.trained_on:
            table.add_row("trained on", weights.trained_on)
        for measure, figure in weights.quality.items():
            table.add_row(measure, f"{figure:g}")
        write(table)
