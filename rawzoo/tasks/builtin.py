"""The tasks that come with rawzoo, registered as a plugin would."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rawzoo.tasks import Task
from rawzoo.zoo.hookspecs import hookimpl

if TYPE_CHECKING:
    from rawzoo.zoo.hookspecs import RegisterTask

_OF_PICTURES = {
    "psnr": "dB, of RGB, neither clipped nor rounded",
    "ssim": "structural similarity of RGB",
    "ms_ssim": "the same over five scales, as TensorFlow defines it; from 176 pixels a side",
    "ms_ssim_pytorch": "the same, as pytorch-msssim defines it",
    "delta_e": "colour difference, CIEDE2000",
}

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
        "network": (
            "What the network was trained with, which the card's summary names; the function that the card's adapter "
            "names makes it of the raw image, and camera RGB of the output."
        ),
    },
    outputs={
        "camera-rgb": (
            "[3, H, W] float. White-balanced linear camera RGB in the units of the input: (1, 1, 1) is white as bright "
            "as the sensor can tell. Scale is 1 for a mosaic and 2 for packed input."
        ),
        "network": "What the network gives; see the input of this name.",
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
        "cond": "The module is called as module(x, cond=c), c [N, K] float32, which the adapter gives.",
    },
    command="rawzoo develop FILE -o OUT --model {model} --weights {weights}",
    job="rawzoo.pipeline:render",
    result="A picture, developed as `rawzoo develop` does by default.",
    picture="main",
    truth="picture",
    measure="rawzoo.tasks.demosaic:measure",
    metrics=_OF_PICTURES,
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
    command="rawzoo develop FILE -o OUT --white-balance {model}@{weights}",
    job="rawzoo.tasks.white_balance:run",
    result="Kelvin, gains of R, G, B, and what was assumed of light and camera.",
    picture="none",
    truth="number",
    measure="rawzoo.tasks.white_balance:measure",
    metrics={"mired": "|1e6/T - 1e6/T'|, about as visible all along the curve", "kelvin": "|T - T'|"},
)


ISP = Task(
    name="isp",
    summary="Mosaic to a finished sRGB picture, in the colours and tones the network learned.",
    inputs={
        "raw-planes": (
            "[4, H/2, W/2] float. The four planes of a Bayer mosaic, in the order and scale the network was trained "
            "with, which the card's summary names; the function that the card's adapter names makes them."
        ),
        "raw-sparse": (
            "[4, H, W] float. R, G and B of the mosaic, 0 where a cell has another colour, and the level of its noise, "
            "scaled as the card's summary says; the function that the card's adapter names makes them."
        ),
    },
    outputs={
        "srgb": (
            "[3, H, W] float. sRGB-encoded, 1 is white; may leave 0..1 a little. Size of the mosaic with scale 2 of "
            "raw-planes and 1 of raw-sparse; with less a smaller picture."
        )
    },
    job="rawzoo.tasks.isp:render",
    command="rawzoo run {model} FILE -o OUT --weights {weights}",
    result="A picture.",
    picture="main",
    truth="picture",
    measure="rawzoo.tasks.demosaic:measure",
    metrics=_OF_PICTURES,
)

CLASSIFY = Task(
    name="classify",
    summary="Noisy mosaic to the probabilities of labels.",
    inputs={
        "network": (
            "What the network was trained with, which the card's summary names; the function that the card's adapter "
            "names makes it of the mosaic and its noise."
        ),
    },
    outputs={"logits": "[K] float. The adapter makes of them: rawzoo.tasks.classify.Classification."},
    job="rawzoo.tasks.classify:classify",
    result="The five most probable labels; the picture is what the network saw before it judged.",
    picture="extra",
    truth="label",
    measure="rawzoo.tasks.classify:measure",
    metrics={
        "top1": "share of files whose label is the most probable",
        "top5": "share of files whose label is among the five most probable",
    },
)

SUPER_RESOLUTION = Task(
    name="super-resolution",
    summary="Picture to a larger one.",
    inputs={
        "srgb": "[3, H, W] float. sRGB-encoded R, G, B, 0..1.",
        "srgb-255": "[3, H, W] float. sRGB-encoded R, G, B, 0..255.",
    },
    outputs={
        "srgb": "[3, H * scale, W * scale] float. As the input; may leave 0..1 a little.",
        "srgb-255": "[3, H * scale, W * scale] float. As the input; may leave 0..255 a little.",
    },
    source="picture",
    job="rawzoo.tasks.super_resolution:enlarge",
    command="rawzoo run {model} FILE -o OUT --weights {weights}",
    result="A picture.",
    picture="main",
    truth="picture",
    measure="rawzoo.tasks.super_resolution:measure",
    metrics={
        "psnr": "dB, of RGB in 8 bit without the outermost pixels",
        "rmse": "0..255, of the same",
        "psnr_y": "dB, of their luma (BT.601, not rounded)",
        "ssim_y": "structural similarity of their luma",
    },
)

RESTORE = Task(
    name="restore",
    summary="Picture to the same picture without its noise or blur.",
    inputs={"srgb": "[3, H, W] float. sRGB-encoded R, G, B, 0..1."},
    outputs={"srgb": "[3, H, W] float. As the input; may leave 0..1 a little."},
    source="picture",
    # Enlarging by one.
    job="rawzoo.tasks.super_resolution:enlarge",
    command="rawzoo run {model} FILE -o OUT --weights {weights}",
    result="A picture.",
    picture="main",
    truth="picture",
    measure="rawzoo.tasks.demosaic:measure",
    metrics=_OF_PICTURES,
)

QUALITY = Task(
    name="quality",
    summary="Picture to a distribution of the scores that people would give it.",
    inputs={
        "srgb-255": (
            "[3, h, w] float. sRGB-encoded R, G, B, 0..255, of the size the network takes; the function that the "
            "card's adapter names makes it of a picture of any size."
        ),
    },
    outputs={"distribution": "[10] float, summing to 1. The adapter makes of it: rawzoo.tasks.quality.Quality."},
    source="picture",
    job="rawzoo.tasks.quality:judge",
    result="Mean and standard deviation of the score, and its distribution.",
    picture="none",
    truth="number",
    measure="rawzoo.tasks.quality:measure",
    pool="rawzoo.tasks.quality:pool",
    metrics={
        "error": "difference of the mean score from the one that people gave",
        "plcc": "Pearson's correlation of the mean scores with those of people, over all files",
        "srcc": "Spearman's, of their ranks",
    },
)


TASKS = (DEMOSAIC, ISP, RESTORE, SUPER_RESOLUTION, CLASSIFY, QUALITY, WHITE_BALANCE)


@hookimpl
def rawzoo_register_tasks(register: RegisterTask) -> None:
    for task in TASKS:
        register(task)
