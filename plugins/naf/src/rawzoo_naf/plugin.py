"""What rawzoo is told about this plugin. Imports no torch."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import rawzoo


def _denoiser(name: str, summary: str, config: dict[str, Any], halo: int) -> rawzoo.ModelCard:
    return rawzoo.ModelCard(
        name=name,
        task="demosaic",
        architecture="rawzoo_naf.denoiser:Denoiser",
        config=config,
        summary=summary,
        input="packed",
        output="camera-rgb",
        cfa="RGGB",
        scale=Fraction(2),
        period=2 ** (len(config["widths"]) - 1),
        halo=halo,
        dtypes=("bfloat16", "float32"),
        conditioning=("noise",),
        licence="Apache-2.0",
    )


DENOISERS = (
    _denoiser(
        "naf-tiny",
        "rawzoo's own denoiser and demosaicer for Bayer mosaics, the fastest.",
        {"widths": [16, 32, 64], "encoder": [1, 1], "middle": 2, "decoder": [1, 1]},
        halo=38,
    ),
    _denoiser(
        "naf-small",
        "rawzoo's own denoiser and demosaicer for Bayer mosaics, made for CPUs.",
        {"widths": [32, 64, 128], "encoder": [1, 2], "middle": 3, "decoder": [2, 2]},
        halo=56,
    ),
    _denoiser(
        "naf-base",
        "rawzoo's own denoiser and demosaicer for Bayer mosaics, made for GPUs.",
        {"widths": [64, 128, 256], "encoder": [2, 2], "middle": 6, "decoder": [2, 3]},
        halo=86,
    ),
)


@rawzoo.hookimpl
def rawzoo_register_models(register):  # type: ignore[no-untyped-def]
    for card in DENOISERS:
        register(card)
