"""The adapters of the task ``white-balance``: raw image -> grid and lux -> network -> gains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rawzoo.tasks.white_balance import WhiteBalance
from rawzoo_awb import statistics, tuning

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor
    from rawzoo.raw.image import RawImage


def pisp(predictor: Predictor, raw: RawImage, choice: str | None) -> WhiteBalance:
    """See :class:`rawzoo.tasks.white_balance.Adapter`; the tuning is what :func:`rawzoo_awb.tuning.find` finds."""
    return _estimate("pisp", predictor, raw, choice)


def vc4(predictor: Predictor, raw: RawImage, choice: str | None) -> WhiteBalance:
    """As :func:`pisp`."""
    return _estimate("vc4", predictor, raw, choice)


def _estimate(target: str, predictor: Predictor, raw: RawImage, choice: str | None) -> WhiteBalance:
    camera = tuning.find(raw, target, choice)
    rows, columns = predictor.card.config["grid"]
    grid = statistics.grid(raw, rows, columns)
    x = torch.from_numpy(statistics.network_input(grid, camera))
    kelvin = statistics.RENDERED_KELVIN
    # Luma, and with it lux, depends a little on the gains, which are what is looked for; a second round settles it.
    for _ in range(2):
        # As in the data sets the networks were trained on: VC4 measures light with the lens shading undone.
        lit = statistics.shaded(grid, camera, kelvin) if target == "vc4" else grid
        lux = camera.lux_of(statistics.luma(lit, camera.gains(kelvin)), raw.metadata)
        kelvin = float(predictor.run(x, lux=lux))
    red, blue = statistics.best_chromaticity(grid, camera, kelvin).tolist()
    return WhiteBalance(kelvin, (1.0 / red, 1.0, 1.0 / blue), lux, camera.name)
