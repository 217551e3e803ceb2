"""What the listing commands share: calm tables on a terminal, plain lines in a pipe, and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def console() -> Console:
    """Standard output. In a pipe lines are as long as they need to be, so that grep and awk see whole rows."""
    from rich.console import Console

    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 100_000)


def write(what: RenderableType = "", style: str | None = None) -> None:
    """Print text or a table; in a pipe without the blanks that pad a table's last column."""
    out = console()
    if out.is_terminal:
        out.print(what, style=style)
        return
    with out.capture() as captured:
        out.print(what)
    typer.echo("\n".join(line.rstrip() for line in captured.get().splitlines()))


def columns(*headers: str, numbers: Collection[str] = ()) -> Table:
    """An empty table with a line of headers, those of ``numbers`` to the right; without headers, pairs of a name and
    its value."""
    from rich.table import Table

    if not headers:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        return table
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for i, header in enumerate(headers):
        table.add_column(header, no_wrap=i == 0, style="bold" if i == 0 else "", overflow="fold")
        table.columns[i].justify = "right" if header in numbers else "left"
    return table


def print_json(value: Any) -> None:
    """One JSON document on standard output; numbers that JSON does not have are an error, not ``NaN``."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
