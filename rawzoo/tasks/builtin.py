"""The tasks that come with rawzoo, registered as a plugin would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rawzoo.tasks import Task
from rawzoo.zoo.hookspecs import hookimpl

if TYPE_CHECKING:
    from rawzoo.zoo.hookspecs import RegisterTask

DEMOSAIC = Task(
    name="demosaic",
    summary="White-balanced mosaic to linear camera RGB: classical demosaicing, or a network that also denoises.",
    inputs={
        "mosaic": (
            "[1, H, W] float. (value - black) * gain of the cell's colour / (white - black): the gain of green is 1, "
            "1.0 is the sensor's white of green. Not clipped: noise goes below 0, balanced highlights above 1. "
            "The CFA as it is in the file, or shifted to the one pattern the card names."
        ),
        "packed": (
            "[4, H/2, W/2] float. The same values of a Bayer mosaic, one plane per channel in the order R, Gr, Gb, B. "
            "An odd last row or column is completed by mirroring; the output is cropped back."
        ),
    },
    outputs={
        "camera-rgb": (
            "[3, H, W] float. White-balanced linear camera RGB in the units of the input: (1, 1, 1) is white as bright "
            "as the sensor can tell. Scale is 1 for a mosaic and 2 for packed input."
        ),
    },
    conditioning={
        "cfa": (
            "The module is called as module(x, cfa=pattern): the CFA pattern at the top-left of x, 4 or 36 letters. "
            "Every tile starts on a multiple of the CFA period, so the pattern is the same for all of them."
        ),
        "noise": (
            "The module is called as module(x, noise=n), n [N, C, 2] float32: a and b of each channel of the CFA "
            "(Bayer R, Gr, Gb, B; X-Trans R, G, B). Noise of a clean value x of the input has variance a x + b; zeros "
            "mean none. The same for all tiles of a picture."
        ),
    },
)

WHITE_BALANCE = Task(
    name="white-balance",
    summary="Raw image to the colour temperature of its light, and to white balance gains.",
    inputs={
        "awb-grid": (
            "[3, h, w] float, h and w as config['grid'] of the card says. Linear R, G, B in 0..1 of a coarse grid of "
            "the picture, prepared with the camera's tuning by the function that the card's adapter names."
        ),
    },
    outputs={
        "temperature": "[] float. Kelvin. The adapter makes gains of it: rawzoo.tasks.white_balance.WhiteBalance."
    },
    conditioning={
        "lux": "The module is called as module(x, lux=y), y [N] float: illuminance of the scene in lux, no logarithm."
    },
)


@hookimpl
def rawzoo_register_tasks(register: RegisterTask) -> None:
    register(DEMOSAIC)
    register(WHITE_BALANCE)
