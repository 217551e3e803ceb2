"""The command line: one small file per command; heavy imports happen inside the commands."""

from __future__ import annotations

import sys
import warnings
from typing import Annotated, TextIO

import typer

from rawzoo.cli import compare, demo, develop, doctor, evaluate, export, import_, models, plugins, run, show, train
from rawzoo.errors import RawzooError

app = typer.Typer(
    name="rawzoo",
    help="A model zoo for camera raw data: open any raw file, run a network on it, get a picture.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("develop")(develop.develop)
app.command("compare")(compare.compare)
app.command("run")(run.run)
app.command("evaluate")(evaluate.evaluate)
app.command("models")(models.models)
app.command("show")(show.show)
app.command("train")(train.train)
app.command("import")(import_.import_)
app.command("export")(export.export)
app.command("plugins")(plugins.plugins)
app.command("doctor")(doctor.doctor)
app.command("demo")(demo.demo)


def _print_version(value: bool) -> None:
    if value:
        from rawzoo import __version__

        typer.echo(f"rawzoo {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def _print_warning(
    message: Warning | str,
    category: type[Warning],  # noqa: ARG001
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    typer.echo(f"rawzoo: {message}", err=True)


def main() -> None:
    """Entry point of the ``rawzoo`` command: warnings become one line, errors a user can cause one line and an exit
    status."""
    from rawzoo.zoo.manager import register_commands

    warnings.showwarning = _print_warning
    try:
        register_commands(app)
        app()
    except RawzooError as error:
        typer.echo(f"rawzoo: {error}", err=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        typer.echo("rawzoo: interrupted.", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
