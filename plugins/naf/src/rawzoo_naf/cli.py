"""``rawzoo naf``: the way from RawNIND to weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rawzoo.cli.console import columns, write
from rawzoo.errors import RawzooError, UsageError
from rawzoo_naf.rawnind import DATASET, SERVER

app = typer.Typer(no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]})

Cameras = Annotated[
    list[str] | None,
    typer.Option("--camera", help="Only these cameras: A7C, X-Trans, cr2 (names and suffixes)."),
]
Workers = Annotated[int, typer.Option("--workers", "-j", min=1, help="Decoders at a time.")]
Scenes = Annotated[list[str] | None, typer.Option("--scene", help="Only these scenes, such as 'MuseeL-*'.")]


@app.callback()
def naf() -> None:
    """Train denoisers on RawNIND."""


@app.command()
def download(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    camera: Cameras = None,
    scene: Scenes = None,
    list_only: Annotated[bool, typer.Option("--list", help="Say what would come, and end.")] = False,
    server: Annotated[str, typer.Option(help="A Dataverse server.")] = SERVER,
    dataset: Annotated[str, typer.Option(help="The dataset's persistent identifier.")] = DATASET,
) -> None:
    """Download RawNIND (120 GB), or some of its cameras and scenes.

    Each file is checked before it gets its name. Interrupted, the same command goes on where it ended. The dataset is
    CC BY-SA 4.0; what its dataset.yaml says about single scenes may be narrower.
    """
    from rawzoo_naf import download as downloads
    from rawzoo_naf.rawnind import Name, chosen

    files = downloads.listing(server, dataset)
    if camera or scene:
        names = chosen(filter(None, (Name.of(file.name) for file in files)), camera or (), scene or ())
        kept = {name.file for name in names}
        files = [file for file in files if file.name in kept]
    if not files:
        raise RawzooError(f"none of the dataset's files fits; rawzoo naf download {folder} --list shows all.")
    todo = downloads.missing(files, folder)
    size = sum(file.size for file in files)
    if list_only:
        table = columns("file", "MB", "there", numbers=("MB",))
        for file in files:
            table.add_row(file.name, f"{file.size / 1e6:.1f}", "" if file in todo else "yes")
        write(table)
    write(f"{len(files)} files, {size / 1e9:.2f} GB; {len(files) - len(todo)} are there.")
    if list_only or not todo:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made a folder: {error.strerror or error}.") from error
    downloads.check_space(todo, folder)
    failed = _fetch_all(server, todo, folder)
    if failed:
        raise RawzooError(f"{len(failed)} of {len(todo)} files could not be downloaded.")
    write(f"{len(todo)} files came, all with the checksums that the server lists.")


@app.command()
def align(
    folder: Annotated[Path, typer.Argument(help="Where RawNIND's files are.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="PAIRS.csv", help="The table of pairs.")],
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Correlation below which a pair is not used.")] = 0.92,
    camera: Cameras = None,
    scene: Scenes = None,
    workers: Workers = 2,
) -> None:
    """Find how each noisy file lies on the clean one of its scene.

    Interrupted, the same command goes on; pairs that are in the table stay as they are. Contact sheets beside the
    table show the pairs with use = 0: look at them, and change use where you see it otherwise.
    """
    from rawzoo import batch
    from rawzoo.cli.files import work_through
    from rawzoo_naf import align as aligning
    from rawzoo_naf.rawnind import Name, chosen, scenes

    files = {file.name: file for file in sorted(folder.iterdir())} if folder.is_dir() else {}
    names = chosen(filter(None, map(Name.of, files)), camera or (), scene or ())
    clean = {noisy: each.truth for each in scenes(files[name.file] for name in names) for noisy in each.noisy}
    if not clean:
        raise RawzooError(f"{folder} has no pairs of RawNIND's files that fit.")
    output.parent.mkdir(parents=True, exist_ok=True)
    table = aligning.Table(output)
    jobs = [batch.Job(noisy) for noisy, truth in clean.items() if not table.has(noisy, truth)]
    recipe = aligning.AlignPair(clean, table, threshold)
    failed = sum(bool(outcome.error) for outcome in work_through("Aligning", jobs, recipe, workers=workers))

    bad = {output.parent / row["noisy"]: row for row in table.rows if row["use"] == "0"}
    look = aligning.Look(bad, output.parent)
    strips = {}
    for outcome in work_through("Drawing", [batch.Job(noisy) for noisy in bad], look, workers=workers):
        if not outcome.error:
            strips[outcome.job.source] = outcome.found
    sheets = aligning.write_sheets([strips[noisy] for noisy in bad if noisy in strips], output)
    write(f"{len(table.rows)} pairs in {output}; {len(bad)} are not used" + (":" if sheets else "."))
    for sheet in sheets:
        write(f"  {sheet}")
    if failed:
        raise RawzooError(f"{failed} pairs could not be aligned.")


@app.command("make-small")
def make_small(
    table: Annotated[Path, typer.Argument(metavar="PAIRS.csv", help="What rawzoo naf align wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the crops go.")],
    size: Annotated[int, typer.Option(min=64, help="Edge of the crops, in the middle of the pictures.")] = 2000,
    quality: Annotated[int, typer.Option(min=1, max=100, help="JPEG quality.")] = 95,
    raw: Annotated[bool, typer.Option("--raw", help="Crop the raw files (DNG) instead of making JPEG files.")] = False,
    workers: Workers = 2,
) -> None:
    """Make a training set that reads fast: of each pair the mosaic and the aligned truth, 8 bits, JPEG.

    Interrupted, the same command goes on.
    """
    import threading

    from rawzoo import batch
    from rawzoo.cli.files import work_through

    try:
        from rawzoo.training.datasets import table_of
        from rawzoo_naf import small
    except ModuleNotFoundError as error:
        raise UsageError(f"this needs {error.name}; pip install 'rawzoo[train]'.") from error

    rows = {row["noisy"]: row for row in table_of(table)}
    if not raw:  # the networks that the small set is for take Bayer mosaics
        rows = {noisy: row for noisy, row in rows.items() if not (row.get("scene") or "").startswith("X-Trans")}
    output.mkdir(parents=True, exist_ok=True)
    recipe = small.MakeSmall(rows, output, size, quality, raw, threading.Lock())
    made = {}
    for outcome in work_through("Cropping", [batch.Job(noisy) for noisy in rows], recipe, workers=workers):
        if not outcome.error:
            made[outcome.job.source] = outcome.found
    if made:
        written = [made[noisy] for noisy in rows if noisy in made]
        small.write_table(output / "pairs.csv", written)
        before, after = (
            sum(path.stat().st_size for path in {f / str(row[key]) for row in found for key in ("noisy", "clean")})
            for f, found in ((Path(), [rows[noisy] for noisy in made]), (output, written))
        )
        write(f"{len(made)} pairs, {after / 1e6:.1f} MB of {before / 1e6:.1f} MB: {output / 'pairs.csv'}")
    if len(made) < len(rows):
        raise RawzooError(f"{len(rows) - len(made)} of {len(rows)} pairs could not be made.")


@app.command()
def recipes() -> None:
    """List the recipes that come with the plugin."""
    from importlib.resources import files
    from itertools import takewhile

    table = columns("recipe", "")
    for file in sorted(files("rawzoo_naf").joinpath("recipes").iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            lines = takewhile(lambda line: line.startswith("#"), file.read_text(encoding="utf-8").splitlines())
            about = " ".join(line.lstrip("# ") for line in lines).partition(". ")[0]
            table.add_row(f"rawzoo_naf:{file.name.removesuffix('.yaml')}", about.rstrip("."))
    write(table)


def _fetch_all(server: str, files: list, folder: Path) -> list[str]:  # type: ignore[type-arg]
    """Downloads one after the other with a bar; gives the names of those that failed, each of which is reported."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from rawzoo_naf import download as downloads

    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    speed = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    failed = []
    with Progress(BarColumn(), *speed, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        done = 0
        task = bar.add_task("", total=sum(file.size for file in files))
        for file in files:
            begin = done

            def advance(name: str, there: int, size: int, begin: int = begin) -> None:
                bar.update(task, completed=begin + min(there, size), description=name.partition("_sha1")[0])

            try:
                downloads.fetch(server, file, folder, advance)
            except RawzooError as error:
                errors.print(f"rawzoo: {error}", style="red", markup=False)
                failed.append(file.name)
            done += file.size
    return failed
