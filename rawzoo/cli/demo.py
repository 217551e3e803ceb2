"""``rawzoo demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where everything goes; made if not there.")
    ] = Path("rawzoo-demo"),
) -> None:
    """Render a scene, make a noisy raw file of it, develop it with every model, and compare them on one sheet.

    Needs no network and no files.
    """
    from rawzoo.demo import run
    from rawzoo.errors import UsageError

    if output.exists() and not output.is_dir():
        raise UsageError(f"--output {output} is a file; name a folder.")
    sheet = run(output, say=typer.echo)
    typer.echo(f"comparison sheet: {sheet}")
