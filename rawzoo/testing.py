"""Tests for plugins: a plugin's whole test file can be one call.

>>> from rawzoo.testing import assert_model_contract
>>> def test_model():
...     assert_model_contract("my-model")
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

import rawzoo
from rawzoo.errors import RawzooError, UsageError, WeightsError
from rawzoo.inference.predictor import Predictor
from rawzoo.picture import Picture
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw.image import ColorMatrix, Metadata, RawImage
from rawzoo.tasks import CHANNELS, Result, isp, white_balance
from rawzoo.tasks.classify import Classification
from rawzoo.tasks.quality import Quality
from rawzoo.zoo import registry
from rawzoo.zoo.card import ModelCard, problems
from rawzoo.zoo.weights import Provenance

#: Tasks whose models make pictures of pictures, so that size, tiles and grid can be judged without an adapter.
_PICTURE_TASKS = ("demosaic", "super-resolution", "restore")
_WHITE = {"srgb-255": 255.0}

# Largest difference between two ways of computing the same, relative to the largest output, which is float32.
_TOLERANCE = {"float64": 1e-6, "float32": 1e-5, "float16": 5e-3, "bfloat16": 4e-2}


class _Load(Protocol):
    """The model under test, loaded anew."""

    def __call__(self, tile: int | None = None, dtype: str = ..., weights: str | Path | None = ...) -> Predictor: ...


_TORCH_FREE = """
import sys
from rawzoo.zoo import registry
registry.card({name!r})
sys.exit("torch" in sys.modules)
"""


def write_random_weights(name: str, path: str | Path) -> Path:
    """Weights for tests of a model whose trained ones cannot be shipped: what its architecture starts from, seed 0.

    Args:
        name: of a registered model.
        path: of the safetensors file to write.

    Returns:
        The path, to be given as ``weights``.
    """
    from safetensors.torch import save_file

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = registry.build(registry.card(name)).state_dict()
    save_file({key: value.contiguous().clone() for key, value in state.items()}, path)
    return Path(path)


def assert_model_contract(name: str, *, weights: str | Path | None = None, device: str = "cpu") -> None:
    """Checks that a model does what its card says, and what the rest of rawzoo counts on.

    The card is valid, known to its task and survives JSON; listing the model imports no torch; the model loads, twice
    with the same result; output size is input size times scale, with the channels of the output domain, finite for
    noise, black and over-range input, in every dtype of the card; tiles of two sizes, odd picture sizes and a moved
    grid change nothing, for every CFA phase the card takes (skipped for global context); the weights survive a way
    through safetensors; a dtype the card does not list is refused.

    Models of other tasks, and those with an adapter, are judged by what the adapter makes of raw
    images, of each CFA phase the card takes, or of pictures, noise, black and white: finite, the same twice, near the
    same in every dtype, and what the task promises (``isp``: a picture of the size its scale promises; ``classify``:
    probabilities of named labels; ``quality``: a distribution of rising scores). Of task ``white-balance``: a
    temperature for every grid and lux, and gains for a raw image whatever its file says they are.

    Args:
        name: of a registered model.
        weights, device: as for :func:`rawzoo.load`; :func:`write_random_weights` makes some for a card that
            has none.

    Raises:
        AssertionError: saying what is wrong and how to mend it.
    """
    card = registry.card(name)
    _check_card(card)
    dtype = "float32" if "float32" in card.dtypes else card.dtypes[0]

    def load(tile: int | None = None, dtype: str = dtype, weights: str | Path | None = weights) -> Predictor:
        return registry.load(name, weights=weights, device=device, dtype=dtype, tile=tile)

    try:
        predictor = load()
    except WeightsError as error:
        raise AssertionError(f"{error} For this test, write_random_weights makes some.") from error
    if card.task == white_balance.TASK:
        _check_white_balance(predictor, [load(), *(load(dtype=other) for other in card.dtypes)])
    elif card.task not in _PICTURE_TASKS or card.adapter:
        _check_job(predictor, [load(), *(load(dtype=other) for other in card.dtypes)])
    else:
        for cfa in _patterns(card):
            _check_output(predictor, cfa)
        _check_deterministic(predictor, load())
        if card.halo is not None:
            for cfa in _patterns(card):
                _check_tiling(predictor, cfa, [load(tile) for tile in _tiles(card, cfa)], _TOLERANCE[dtype])
        for other in card.dtypes:
            _check_dtype(card, other, predictor, load)
    _check_weights(predictor, load)
    refused = next((d for d in _TOLERANCE if d not in card.dtypes), None)
    if refused is not None:
        try:
            load(dtype=refused)
        except UsageError:
            pass
        else:
            raise AssertionError(
                f"{name}: it loads in {refused}, which card.dtypes does not list; its runtime must refuse."
            )


def _check_card(card: ModelCard) -> None:
    found = problems(card)
    _require(not found, f"{card.name}: the card is not valid: {'; '.join(found)}.")
    again = ModelCard.from_dict(json.loads(json.dumps(card.to_dict())))
    _require(again == card, f"{card.name}: the card changes on a way through JSON (use lists, not tuples, in config).")
    _require(card.summary, f"{card.name}: the card has no summary; write one sentence for `rawzoo models`.")
    known = ("isp", "classify", "quality", white_balance.TASK, *_PICTURE_TASKS)
    _require(card.task in known, f"{card.name}: this test knows no task {card.task!r}, only {', '.join(known)}.")
    task = registry.task(card.task)
    for what, domain, domains in (("input", card.input, task.inputs), ("output", card.output, task.outputs)):
        _require(
            domain in domains, f"{card.name}: {what} {domain!r} is none of task {task.name}'s: {', '.join(domains)}."
        )
    child = subprocess.run([sys.executable, "-c", _TORCH_FREE.format(name=card.name)], capture_output=True, text=True)  # noqa: S603
    # In-test plugins do not exist in the child; there is nothing to learn about them here.
    if "UsageError" not in child.stderr:
        _require(
            child.returncode == 0,
            f"{card.name}: listing it imports torch; import it only in the module that card.architecture names, and "
            f"keep hook functions in another. {child.stderr}",
        )


def _patterns(card: ModelCard) -> list[str | None]:
    """The CFA patterns to try."""
    if card.input != "mosaic" and "cfa" not in card.conditioning:
        return [None]
    bayer, xtrans = list(cfa_patterns.BAYER_PATTERNS), [cfa_patterns.XTRANS_PATTERN]
    known: dict[str, list[str]] = {"bayer": bayer, "xtrans": xtrans, "any": bayer + xtrans}
    return [*known.get(card.cfa, [card.cfa])]


def _lattice(card: ModelCard, cfa: str | None) -> int:
    return math.lcm(card.period, cfa_patterns.period(cfa) if cfa and card.input == "mosaic" else 1)


def _tiles(card: ModelCard, cfa: str | None) -> list[int]:
    """Two tile edges, odd multiples of the lattice: a period that is really a multiple of the card's shows up."""
    lattice = _lattice(card, cfa)
    first = lattice * (2 * (16 // (2 * lattice)) + 1)
    return [first, first + 2 * lattice]


def _picture(card: ModelCard, height: int, width: int, seed: int = 0) -> Tensor:
    """Noise around a ramp, ``[C, height, width]``, mostly between black and white; reproducible."""
    generator = torch.Generator().manual_seed(seed)
    ramp = torch.linspace(0.05, 0.8, width).expand(CHANNELS[card.input], height, width)
    return (ramp + 0.1 * torch.randn(ramp.shape, generator=generator)) * _WHITE.get(card.input, 1.0)


def _white(card: ModelCard, height: int, width: int, times: float) -> Tensor:
    return torch.full((CHANNELS[card.input], height, width), times * _WHITE.get(card.input, 1.0))


def _size(card: ModelCard, cfa: str | None) -> tuple[int, int]:
    """Height and width of a picture, both odd, that is cut by every tile of :func:`_tiles` and exceeds the halo.

    Where tiles end with the picture (``border="model"``), what the first tile reads has to end inside it, or too small
    a halo would not show.
    """
    tile = max(_tiles(card, cfa))
    seen = (card.halo or 0) + 2 * _lattice(card, cfa) + (tile if card.border == "model" else 0)
    least = max(2 * tile, seen) + 1
    return least | 1, (least + 6) | 1


def _run(predictor: Predictor, x: Tensor, cfa: str | None) -> Tensor:
    channels = 3 if len(cfa or predictor.card.cfa) == 36 else 4
    conditions: dict[str, Any] = {"noise": [[1e-3, 1e-5]] * channels} if "noise" in predictor.card.conditioning else {}
    try:
        return predictor(x, cfa=cfa, **conditions)
    except RawzooError as error:
        raise AssertionError(
            f"{error} Check card.scale, and that card.period is the product of all strides."
        ) from error


def _check_output(predictor: Predictor, cfa: str | None) -> None:
    card = predictor.card
    height, width = _size(card, cfa)
    y = _run(predictor, _picture(card, height, width), cfa)
    expected = [CHANNELS[card.output], math.ceil(height * card.scale), math.ceil(width * card.scale)]
    _require(
        list(y.shape) == expected,
        f"{card.name}: {height} x {width} input gives {list(y.shape)}; the card's output {card.output!r} and scale "
        f"{card.scale} promise {expected}. Correct the card or the architecture.",
    )
    for what, x in (
        ("noise", y),
        ("black", _run(predictor, torch.zeros(CHANNELS[card.input], height, width), cfa)),
        ("over-range (4.0)", _run(predictor, _white(card, height, width, 4.0), cfa)),
    ):
        _require(
            bool(x.isfinite().all()), f"{card.name}: {what} input gives NaN or infinity; guard roots and divisions."
        )


def _check_tiling(predictor: Predictor, cfa: str | None, tiled: list[Predictor], tolerance: float) -> None:
    card = predictor.card
    assert card.halo is not None
    x = _picture(card, *_size(card, cfa))
    whole = _run(predictor, x, cfa)
    for other in tiled:
        _require_equal(
            _run(other, x, cfa),
            whole,
            tolerance,
            f"{card.name}: in tiles of {other.tile} it differs from a run in one piece. card.halo ({card.halo}) must "
            f"reach the radius of the receptive field and card.period ({card.period}) the product of all strides; a "
            "model that looks at the whole picture (global pooling, instance norm) needs halo=None",
        )
    step = _lattice(card, cfa)
    moved = _run(predictor, x[:, step:, step:], cfa)
    # Where the move changed what lies beyond the top and left edge, results may differ.
    reach = card.halo + step
    from_whole, from_moved = math.ceil(reach * card.scale), math.ceil((reach - step) * card.scale)
    _require_equal(
        moved[:, from_moved:, from_moved:],
        whole[:, from_whole:, from_whole:],
        tolerance,
        f"{card.name}: moving the picture by {step} pixels changes its inside; card.period ({card.period}) must be a "
        "multiple of the product of all strides, and no layer may know absolute positions",
    )


def _check_deterministic(predictor: Predictor, again: Predictor) -> None:
    card = predictor.card
    cfa = _patterns(card)[0]
    x = _picture(card, *_size(card, cfa))
    first = _run(predictor, x, cfa)
    _require_equal(_run(predictor, x, cfa), first, 0.0, f"{card.name}: two runs on one input differ (dropout, noise?)")
    _require_equal(
        _run(again, x, cfa),
        first,
        0.0,
        f"{card.name}: loaded twice it gives two results: something random is not among its weights; make it a buffer",
    )


def _check_white_balance(predictor: Predictor, others: list[Predictor]) -> None:
    card = predictor.card
    grid = card.config.get("grid")
    fine = isinstance(grid, list) and len(grid) == 2 and all(isinstance(n, int) and n > 0 for n in grid)
    _require(fine, f"{card.name}: config['grid'] must be [rows, columns] of its input, not {grid!r}.")
    assert isinstance(grid, list)
    generator = torch.Generator().manual_seed(0)
    for what, x in (
        ("noise", torch.rand(3, *grid, generator=generator)),
        ("black", torch.zeros(3, *grid)),
        ("white", torch.ones(3, *grid)),
    ):
        for lux in (0.0, 1.0, 400.0, 1e6):
            kelvin = predictor.run(x, lux=lux)
            _require(
                kelvin.ndim == 0 and 1000.0 <= float(kelvin) <= 30000.0,
                f"{card.name}: a grid of {what} at {lux:g} lux gives {kelvin}; it must give one temperature in kelvin, "
                "1000 to 30000; guard logarithms and divisions.",
            )
            for other in others:
                _require_equal(
                    other.run(x, lux=lux),
                    kelvin,
                    0.0 if other.dtype == predictor.dtype else 8 * _TOLERANCE[str(other.dtype).removeprefix("torch.")],
                    f"{card.name}: loaded again, in {other.dtype}, it gives another temperature for {what}",
                )
    raw = _raw_image(1000.0 + 200.0 * torch.rand(128, 192, generator=generator), "RGGB")
    found = white_balance.estimate(raw, predictor)
    _require(
        found.gains[1] == 1.0 and all(0.1 < gain < 10.0 for gain in found.gains),
        f"{card.name}: it finds gains {found.gains} for a grey field; they must be of R, G, B with green = 1.",
    )
    json.dumps(found.to_dict(), allow_nan=False)
    balanced = white_balance.estimate(replace(raw, as_shot_neutral=(1.0, 0.2, 0.1)), predictor)
    _require(
        balanced == found, f"{card.name}: it looks at the white balance in the file; it is to judge the picture only."
    )


def _raw_image(mosaic: Tensor, cfa: str) -> RawImage:
    return RawImage.from_array(
        mosaic.numpy().astype("uint16"),
        cfa=cfa,
        black_level=64,
        white_level=4095,
        as_shot_neutral=(0.5, 1.0, 0.65),
        color_matrices=[ColorMatrix(21, ((0.7, -0.12, -0.09), (-0.38, 1.16, 0.25), (-0.04, 0.15, 0.6)))],
        metadata=Metadata(iso=100.0),
    )


def _sources(card: ModelCard) -> list[tuple[str, RawImage | Picture]]:
    """What a job is tried on, of odd sizes: noise first, in every CFA phase the card takes, then black and white."""
    generator = torch.Generator().manual_seed(0)
    height, width = 133, 171
    noise = torch.linspace(0.1, 0.8, width) + 0.1 * torch.randn(height, width, generator=generator)
    fills = [torch.zeros(height, width), torch.ones(height, width)]
    if registry.task(card.task).source == "picture":
        pictures = [p.clamp(0.0, 1.0).unsqueeze(2).expand(-1, -1, 3) for p in (noise, noise[:41, :37], *fills)]
        named = ("noise", "a small picture", "black", "white")
        return [(what, Picture.from_array(p.numpy())) for what, p in zip(named, pictures, strict=True)]
    # Here all models take mosaics, whatever the domain of their tensors is.
    patterns = [cfa or "RGGB" for cfa in _patterns(replace(card, input="mosaic"))]
    mosaics = [(f"noise in {cfa[:4]}", noise, cfa) for cfa in patterns]
    mosaics += [(what, fill, patterns[0]) for what, fill in zip(("black", "white"), fills, strict=True)]
    return [(what, _raw_image((64 + 4031 * x).clamp(0, 4095), cfa)) for what, x, cfa in mosaics]


def _check_job(predictor: Predictor, others: list[Predictor]) -> None:
    card = predictor.card
    task = registry.task(card.task)
    job = registry.resolve(task.job, f"task {task.name}")
    for index, (what, source) in enumerate(_sources(card)):
        found = job(predictor, source)
        values = _values(card, found, source)
        _require(
            bool(values.isfinite().all()), f"{card.name}: {what} gives NaN or infinity; guard roots and divisions."
        )
        _require(str(found), f"{card.name}: its result for {what} has no words.")
        json.dumps(found.to_dict(), allow_nan=False)
        for other in others if index == 0 else ():
            same = other.dtype == predictor.dtype
            _require_equal(
                _values(card, job(other, source), source),
                values,
                0.0 if same else 8 * _TOLERANCE[str(other.dtype).removeprefix("torch.")],
                f"{card.name}: loaded again, in {other.dtype}, it gives another result for {what}",
            )


def _values(card: ModelCard, found: Result, source: RawImage | Picture) -> Tensor:
    """The numbers of a result, after a look at whether they are what the task promises."""
    if isinstance(found, Picture):
        height, width = source.height, source.width
        if card.task == "isp":
            height, width = isp.size(card, height, width)
        _require(
            found.pixels.shape == (height, width, 3) and found.pixels.dtype == np.float32,
            f"{card.name}: it makes {found.pixels.dtype} {list(found.pixels.shape)} of a mosaic of {source.height} x "
            f"{source.width}; its task and the card's scale {card.scale} promise {height} x {width}.",
        )
        return torch.from_numpy(found.pixels)
    if isinstance(found, Classification):
        count = len(found.labels)
        _require_shares(card, found.probabilities, count, "probabilities")
        image = found.image
        _require(
            image is None or (image.ndim == 3 and image.shape[0] == 3 and bool(np.isfinite(image).all())),
            f"{card.name}: its image must be [3, H, W] and finite.",
        )
        return torch.from_numpy(found.probabilities)
    _require(isinstance(found, Quality), f"{card.name}: its adapter gives a {type(found).__name__}.")
    assert isinstance(found, Quality)
    _require_shares(card, found.distribution, len(found.scores), "distribution")
    _require(bool(np.all(np.diff(found.scores) > 0)), f"{card.name}: its scores must rise, not {found.scores}.")
    return torch.from_numpy(found.distribution)


def _require_shares(card: ModelCard, shares: Any, count: int, what: str) -> None:
    fine = isinstance(shares, np.ndarray) and shares.shape == (count,) and shares.dtype == np.float32
    _require(fine, f"{card.name}: its {what} must be a float32 array of {count}, one for each label or score.")
    _require(
        bool(np.all(shares >= 0)) and abs(float(shares.sum(dtype=np.float64)) - 1.0) < 1e-4,
        f"{card.name}: its {what} must not be negative and must sum to 1, not {shares.sum():.6g}.",
    )


def _check_weights(predictor: Predictor, load: _Load) -> None:
    from safetensors.torch import save_file

    card = predictor.card
    state = {key: value.detach().cpu().contiguous().clone() for key, value in predictor.module.state_dict().items()}
    if not state:
        return
    # The configuration of the weights under test, which may not be the card's.
    made = Provenance(card.name, dict(card.config), "contract test", {}, None, rawzoo.__version__)
    metadata = {"rawzoo": json.dumps(made.to_dict())}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file(state, path, metadata)
        again = load(weights=path).module.state_dict()
        _require(list(again) == list(state), f"{card.name}: tensor names change on a way through safetensors.")
        for key, value in state.items():
            _require(torch.equal(again[key].cpu(), value), f"{card.name}: {key} changes on a way through safetensors.")
        # Values that a load which ignores the file cannot reproduce.
        changed = {key: value + 1 if value.is_floating_point() else value for key, value in state.items()}
        save_file(changed, path, metadata)
        again = load(weights=path).module.state_dict()
        for key, value in changed.items():
            _require(
                torch.equal(again[key].cpu(), value),
                f"{card.name}: {key} does not take the value in the weights file; do not overwrite it after loading.",
            )


def _check_dtype(card: ModelCard, dtype: str, reference: Predictor, load: _Load) -> None:
    cfa = _patterns(card)[0]
    x = _picture(card, *_size(card, cfa))
    try:
        y = _run(load(dtype=dtype), x, cfa)
    except RuntimeError as error:
        raise AssertionError(f"{card.name}: card.dtypes lists {dtype}, but it does not run in it: {error}") from error
    _require(y.dtype == torch.float32, f"{card.name}: in {dtype} its predictor gives {y.dtype}; it must give float32.")
    _require(
        bool(y.isfinite().all()), f"{card.name}: in {dtype} it gives NaN or infinity; take {dtype} off card.dtypes."
    )
    _require_equal(
        y,
        _run(reference, x, cfa),
        8 * max(_TOLERANCE[dtype], _TOLERANCE[str(reference.dtype).removeprefix("torch.")]),
        f"{card.name}: in {dtype} its output is far from that in {reference.dtype}; take {dtype} off card.dtypes",
    )


def _require(fine: object, message: str) -> None:
    if not fine:
        raise AssertionError(message)


def _require_equal(found: Tensor, expected: Tensor, tolerance: float, message: str) -> None:
    _require(found.shape == expected.shape, f"{message}: {list(found.shape)} instead of {list(expected.shape)}.")
    worst = (found - expected).abs().max().item()
    allowed = tolerance * max(1.0, expected.abs().max().item())
    _require(worst <= allowed, f"{message}: largest difference {worst:.3g}, allowed {allowed:.3g}.")
