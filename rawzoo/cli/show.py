"""``rawzoo show NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rawzoo.cli.console import JsonOption, columns, print_json, write
from rawzoo.errors import WeightsError

if TYPE_CHECKING:
    from rawzoo.zoo.weights import Provenance


def show(
    name: Annotated[str, typer.Argument(help="A model, as `rawzoo models` lists it.")],
    as_json: JsonOption = False,
) -> None:
    """Show all that is known about a model."""
    from rawzoo.zoo import registry
    from rawzoo.zoo.manager import get_manager
    from rawzoo.zoo.weights import imported_weights

    card = registry.card(name)
    task = registry.task(card.task)
    origin = get_manager().origin("model", name)
    imported = {key: (path, _provenance(path)) for key, path in imported_weights(name).items()}
    if as_json:
        entries = {
            key: {"where": str(path), **(provenance.to_dict() if provenance else {})}
            for key, (path, provenance) in imported.items()
        }
        print_json({**card.to_dict(), "imported": entries, "plugin": vars(origin)})
        return
    config = ", ".join(f"{key}={value!r}" for key, value in card.config.items())
    whole = "global context: the whole picture at once"
    rows = {
        "summary": card.summary,
        "task": f"{task.name}: {task.summary}",
        "input": f"{card.input}: {task.inputs.get(card.input, '')}",
        "output": f"{card.output}: {task.outputs.get(card.output, '')}",
        "result": task.result,
        "metrics": "; ".join(f"{name}: {what}" for name, what in task.metrics.items()),
        "cfa": card.cfa,
        "conditioning": ", ".join(card.conditioning),
        "scale": str(card.scale),
        "period": str(card.period),
        "halo": whole if card.halo is None else str(card.halo),
        "border": card.border,
        "dtypes": ", ".join(card.dtypes),
        "architecture": f"{card.architecture}({config})",
        "formats": ", ".join(card.formats),
        "paper": card.paper,
        "licence": card.licence,
        "published weights": card.published,
        "verified": card.verified,
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
    for key, (path, provenance) in imported.items():
        write()
        write(f"weights {key} (imported)", style="bold")
        table = columns()
        table.add_row("where", str(path))
        if provenance is not None:
            table.add_row("what", provenance.description)
            for source, sha256 in provenance.sources.items():
                table.add_row("from", f"{source}, sha256 {sha256}")
            table.add_row("importer", provenance.importer or "none: the names were the model's own")
        else:
            table.add_row("what", "damaged; import it again")
        write(table)


def _provenance(path: Path) -> Provenance | None:
    """Where weights came from; None, and no error, where the file is damaged: the rest is to be shown."""
    from rawzoo.zoo.weights import Provenance

    try:
        return Provenance.of(path)
    except WeightsError:
        return None
