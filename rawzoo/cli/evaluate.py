"""``rawzoo evaluate``: how good a model is on data whose truth is known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from rawzoo.cli import files
from rawzoo.cli.console import JsonOption, columns, print_json, write

_FIGURES = ("mean", "lowest", "highest")


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of any task (see 'rawzoo models').")],
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A folder, or a CSV file of labels; see below.")],
    per_file: Annotated[bool, typer.Option("--per-file", help="Show the figures of each file too.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="CSV", help="Write the figures of each file here.")
    ] = None,
    weights: files.Weights = None,
    set_: files.Set = None,
    noise: Annotated[
        str | None,
        typer.Option(
            metavar="A[,B]",
            help="For tasks demosaic and classify: DATA holds photographs; make them raw with this noise, variance = "
            "A x + B of the signal (0 = black, 1 = white). Without B, that of reading a full-frame sensor. 0 for none.",
        ),
    ] = None,
    shave: Annotated[
        int | None, typer.Option(min=0, help="For task super-resolution: pixels left out at each edge; 4 by default.")
    ] = None,
    device: files.Device = "cpu",
    tile: files.Tile = None,
    dtype: files.Dtype = None,
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Files in work at a time.")] = 1,
    timeout: files.Timeout = 60.0,
    cfa: files.Cfa = None,
    black: files.Black = None,
    white: files.White = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a model by its task's metrics over a folder of pairs, or over labels.

    Models that make pictures: DATA has folders input and target, or LR/x4 and
    HR, or huawei_raw and canon, or noisy and clean, whose files have equal names.

    Models that demosaic: the second folder may hold clean raw files, and with
    --noise DATA holds photographs, which are made raw; both are compared in
    white-balanced linear camera RGB.

    Models that classify: a folder for each label, named by it, its synset or its
    number; or labels.csv with lines of file,label. Raw files; or photographs, which
    --noise makes raw.

    Models of white balance and of quality: labels.csv with lines of file,kelvin
    or file,score.

    A file that fails is reported and left out of the figures.
    """
    from rawzoo import batch, evaluation
    from rawzoo.running import Runner, parse_options
    from rawzoo.zoo import registry

    options = parse_options(registry.card(model), set_) if set_ else {}
    runner = Runner(model, weights=weights, device=device, dtype=dtype, tile=tile, **options)
    level = None if noise is None else evaluation.parse_noise(noise)
    found = evaluation.find(data, runner, mosaics=white is not None, photographs=level is not None)
    recipe = evaluation.Evaluate(
        runner=runner,
        data=found,
        options={} if shave is None else {"shave": shave},
        noise=level or (0.0, 0.0),
        timeout_s=timeout,
        open_options=files.open_options(cfa, black, white),
    )
    failures = [{"file": str(path), "error": f"{path} has no target of its name."} for path in found.lonely]
    for failure in failures:
        typer.echo(f"rawzoo: {failure['error']}", err=True)
    rows: dict[Path, dict[str, float]] = {}
    jobs = [batch.Job(source) for source in found.truths]
    for outcome in files.work_through(f"Evaluating {model}", jobs, recipe, workers=workers):
        if outcome.error:
            failures.append({"file": str(outcome.job.source), "error": outcome.error})
        else:
            rows[outcome.job.source] = outcome.found
    rows = {source: rows[source] for source in found.truths if source in rows}
    metrics = recipe.task.metrics
    figures = evaluation.summary(list(rows.values()), recipe.task)
    if output is not None:
        evaluation.write_csv(output, rows)
    if as_json:
        print_json(
            {
                "model": model,
                "task": runner.task.name,
                "data": str(data),
                "files": len(rows),
                "metrics": {name: {**figures[name].to_dict(), "what": metrics[name]} for name in metrics},
                "per_file": [
                    {"file": str(source), **{name: evaluation.json_number(row[name]) for name in row}}
                    for source, row in rows.items()
                ],
                "failures": failures,
            }
        )
    else:
        _print(model, data, rows, figures, metrics, per_file, len(failures))
    if failures:
        raise typer.Exit(1)


def _print(model: str, data: Path, rows: Any, figures: Any, metrics: Any, per_file: bool, failed: int) -> None:
    counted = f"{len(rows)} file{'s' * (len(rows) != 1)}" + f", {failed} failed" * bool(failed)
    write(f"{model} on {data}: {counted}", style="bold")
    if not rows:
        return
    if per_file:
        write()
        names = list(next(iter(rows.values())))
        table = columns("file", *names, numbers=names)
        for source, row in rows.items():
            table.add_row(source.name, *(_number(row[name]) for name in names))
        write(table)
    write()
    table = columns("metric", *_FIGURES, "what it is", numbers=_FIGURES)
    for name, what in metrics.items():
        f = figures[name]
        left_out = "" if f.count == len(rows) else f" ({f.count} files)"
        table.add_row(name, _number(f.mean), _number(f.least), _number(f.most), what + left_out)
    write(table)


def _number(value: float) -> str:
    """Four decimals below 10, three from there on: dB and SSIM as papers print them."""
    if math.isnan(value):
        return "-"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.3f}"
