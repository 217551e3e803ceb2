"""``rawzoo models``."""

from __future__ import annotations

from typing import Annotated

import typer

from rawzoo.cli.console import JsonOption, columns, print_json, write


def models(
    task: Annotated[str | None, typer.Option(help="Only the models for this task.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models of the zoo."""
    from rawzoo.zoo import registry
    from rawzoo.zoo.manager import get_manager

    cards = registry.models(task)
    origins = {card.name: get_manager().origin("model", card.name) for card in cards}
    if as_json:
        print_json([{**c.to_dict(), "plugin": vars(origins[c.name])} for c in cards])
        return
    table = columns("name", "task", "takes", "cfa", "scale", "from", "summary")
    for c in cards:
        table.add_row(c.name, c.task, c.input, c.cfa, str(c.scale), origins[c.name].distribution, c.summary)
    write(table)
