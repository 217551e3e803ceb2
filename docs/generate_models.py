"""Writes docs/models.md from the model cards of rawzoo and its first-party plugins, which must be installed.

python docs/generate_models.py
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from rawzoo.inference.predictor import Predictor
from rawzoo.picture import Picture
from rawzoo.raw.image import ColorMatrix, RawImage
from rawzoo.tasks import Task, builtin
from rawzoo.zoo import registry
from rawzoo.zoo.card import ModelCard
from rawzoo.zoo.manager import get_manager

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "models.md"

#: Planes of an input tensor that covers the whole picture, and sensor or picture pixels to one of its pixels.
_PLANES = {
    "mosaic": (1, 1),
    "packed": (4, 4),
    "raw-planes": (4, 4),
    "raw-sparse": (4, 1),
    "srgb": (3, 1),
    "srgb-255": (3, 1),
}

_HEAD = """# Models

Generated from the tasks and model cards by `python docs/generate_models.py`.

`rawzoo run MODEL FILE` does what a model is for, `rawzoo evaluate MODEL DATA` measures it, `rawzoo show MODEL` prints
all of its card. Published weights are not part of rawzoo: get the file where the model says, then `rawzoo import FILE`;
a network is never run with random weights.

*MACs* are the multiplications with addition of convolutions and dense layers in one run. *Halo* is how far around it an
output depends on the input, in pixels of the input tensor: with a finite one, tiles of any size give the same picture.
*CFA* is the mosaics that a model takes.
"""


def first_party() -> list[str]:
    """Distributions whose models the page lists."""
    plugins = sorted(path.parent.name for path in (ROOT / "plugins").glob("*/pyproject.toml"))
    return ["rawzoo", *(f"rawzoo-{name}" for name in plugins)]


def cards() -> list[ModelCard]:
    """Of rawzoo and the first-party plugins that are installed, by name."""
    ours = first_party()
    return [card for card in registry.models() if get_manager().origin("model", card.name).distribution in ours]


def page(listed: list[ModelCard]) -> str:
    """The whole page: each task with its models."""
    parts = [_HEAD]
    for task in builtin.TASKS:
        models = [card for card in listed if card.task == task.name]
        parts += [chapter(task), _TABLE, *(row(card) for card in models), "", *(section(card) for card in models)]
    return "\n".join(parts).rstrip() + "\n"


def chapter(task: Task) -> str:
    """What is said once for all models of a task."""
    source = {"raw": "A raw image.", "picture": "A developed picture; a raw file is developed first."}[task.source]
    facts = {"starts from": source, "result": task.result}
    facts |= {f"input `{domain}`": text for domain, text in task.inputs.items()}
    facts |= {f"output `{domain}`": text for domain, text in task.outputs.items()}
    facts |= {f"metric `{name}`": text for name, text in task.metrics.items()}
    lines = [f"## Task {task.name}", "", task.summary, "", "| | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {_cell(text)} |" for name, text in facts.items()), ""])


_TABLE = """\
| model | from | input | output | scale | CFA | parameters | MACs | halo |
|---|---|---|---|---|---|---|---|---|"""


def row(card: ModelCard) -> str:
    """A model in the table of its task."""
    parameters, macs = cost(card)
    cells = (
        f"[`{card.name}`](#{card.name.replace('.', '')})",
        get_manager().origin("model", card.name).distribution,
        card.input,
        card.output,
        str(card.scale),
        "-" if registry.task(card.task).source == "picture" else card.cfa,
        f"{parameters:,}",
        macs,
        "whole picture" if card.halo is None else str(card.halo),
    )
    return f"| {' | '.join(cells)} |"


def section(card: ModelCard) -> str:
    """What is said about one model."""
    facts = {"Paper": card.paper, "Code": card.licence}
    for name, weights in card.weights.items():
        facts[f"Weights `{name}`"] = f"{weights.licence}, trained on {weights.trained_on or 'data not named'}"
    facts |= {"Published weights": card.published, "Verified": card.verified}
    lines = [f"- {name}: {_cell(text)}" for name, text in facts.items() if text]
    return "\n".join([f"### {card.name}", "", card.summary, "", *lines, ""])


def cost(card: ModelCard) -> tuple[int, str]:
    """Parameters, counted in the built network, and its MACs in words."""
    module = registry.build(card).eval()
    parameters = sum(parameter.numel() for parameter in module.parameters())
    if not parameters:
        return 0, "-"
    if card.task == "white-balance":
        grid = torch.rand(1, 3, *card.config["grid"])
        return parameters, f"{_macs(lambda: module(grid, lux=torch.ones(1))):,} a picture"
    if card.task == "quality" or (card.input not in _PLANES and card.task != "demosaic"):
        return parameters, _of_job(card, module)
    # A network of the task demosaic takes a packed mosaic or a demosaiced picture, whatever its units are.
    planes, pixels = _PLANES.get(card.input, _PLANES["packed" if card.scale == 2 else "srgb"])
    edge = math.lcm(card.period, 32)
    # Shapes are all that counts, so nothing is computed.
    module.to("meta")
    known = {
        "cfa": "RGGB",
        "noise": torch.empty(1, 4, 2, device="meta"),
        "cond": torch.empty(1, card.config.get("cond_input", 1), device="meta"),
    }
    conditions = {name: known[name] for name in card.conditioning}
    x = torch.empty(1, planes, edge, edge, device="meta")
    each = round(_macs(lambda: module(x, **conditions)) / (edge * edge * pixels))
    return parameters, f"{each:,} a {'picture' if registry.task(card.task).source == 'picture' else 'sensor'} pixel"


def _of_job(card: ModelCard, module: nn.Module) -> str:
    """For networks whose adapter chooses the size of their input: what a source of some size costs."""
    task = registry.task(card.task)
    job = registry.resolve(task.job, f"task {task.name}")
    predictor = Predictor(card, module, dtype=card.dtypes[0])
    counts = {edge: _macs(lambda e=edge: job(predictor, _source(task.source, e))) for edge in (512, 1024)}
    if counts[512] == counts[1024]:
        return f"{counts[512]:,} a picture"
    unit = "picture" if task.source == "picture" else "sensor"
    return f"{round((counts[1024] - counts[512]) / (1024**2 - 512**2)):,} a {unit} pixel"


def _source(kind: str, edge: int) -> RawImage | Picture:
    noise = torch.rand(edge, edge, generator=torch.Generator().manual_seed(0))
    if kind == "picture":
        return Picture.from_array(noise.numpy())
    return RawImage.from_array(
        (64 + 4000 * noise).numpy().astype("uint16"),
        cfa="RGGB",
        black_level=64,
        white_level=4095,
        as_shot_neutral=(0.5, 1.0, 0.65),
        noise_profile=[(1e-3, 1e-5)],
        color_matrices=[ColorMatrix(21, ((0.7, -0.12, -0.09), (-0.38, 1.16, 0.25), (-0.04, 0.15, 0.6)))],
    )


def _macs(run: object) -> int:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        result: Tensor = run()  # type: ignore[operator]
    del result
    return counter.get_total_flops() // 2


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").rstrip(".") + "."


def missing() -> list[str]:
    """First-party plugins that are not installed."""
    installed = {get_manager().origin("model", card.name).distribution for card in cards()}
    return [name for name in first_party() if name not in installed]


if __name__ == "__main__":
    if missing():
        sys.exit(f"not installed, and the page lists them: {', '.join(missing())}")
    PAGE.write_text(page(cards()), encoding="utf-8")
