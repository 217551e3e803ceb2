"""What rawzoo is told about this plugin. Imports no torch."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import rawzoo
from rawzoo.zoo.importers import Importer

# 30 dB; a full-frame sensor falls below it at ISO 1100. The picture takes a hundred times as long from there.
_NOISY = 10**1.5


# CID22 is Cloudinary's (CC BY-SA 4.0), CLIC under the Unsplash licence, gb82 CC0.
_PHOTOGRAPHS = "227 photographs, made raw: of CID22's training set, CLIC 2025 and gb82"


def _trained(name: str, quality: dict[str, float]) -> dict[str, rawzoo.Weights]:
    """Weights that come with the package; quality on 15 photographs held out, by benchmarks/denoise.py."""
    where = f"package:rawzoo_naf/weights/{name}.safetensors"
    return {"rawzoo": rawzoo.Weights(where, licence="Apache-2.0", trained_on=_PHOTOGRAPHS, quality=quality)}


def _quality(*decibels: float) -> dict[str, float]:
    levels = ("no noise", "a = 2e-4", "a = 1e-3", "a = 4e-3", "a = 1.6e-2")
    return {f"PSNR of square roots, {level}": value for level, value in zip(levels, decibels, strict=True)}


def _denoiser(name: str, summary: str, config: dict[str, Any], halo: int, **more: Any) -> rawzoo.ModelCard:
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
        period=8,
        halo=halo,
        border="model",  # as in training, and what lies beyond need not be computed
        dtypes=("bfloat16", "float32"),
        conditioning=("noise",),
        licence="Apache-2.0",
        **more,
    )


DENOISERS = (
    _denoiser(
        "naf-tiny",
        "rawzoo's own denoiser and demosaicer for Bayer mosaics, the fastest.",
        {"widths": [16, 32, 64], "encoder": [1, 1], "middle": 2, "decoder": [1, 1]},
        halo=73,
        weights=_trained("naf-tiny", _quality(42.10, 39.88, 37.05, 33.72, 29.97)),
    ),
    _denoiser(
        "naf-small",
        "rawzoo's own denoiser and demosaicer for Bayer mosaics, made for CPUs.",
        {"widths": [32, 64, 128], "encoder": [1, 2], "middle": 3, "decoder": [2, 2]},
        halo=91,
        weights=_trained("naf-small", _quality(42.72, 40.43, 37.59, 34.23, 30.44)),
        auto_below_snr=_NOISY,
    ),
    _denoiser(
        "naf-base",
        "rawzoo's own denoiser and demosaicer for Bayer mosaics, made for GPUs.",
        {"widths": [64, 128, 256], "encoder": [2, 2], "middle": 6, "decoder": [2, 3]},
        halo=121,
        published="No weights: training it takes a GPU; rawzoo train rawzoo_naf:naf-small model.name=naf-base makes "
        "some.",
    ),
)


_WHOLE = (
    "Attention averages over the whole picture. It runs whole; given a tile, the averages are measured first, so that "
    "tiles agree."
)

_FADED = (
    "Attention averages over all that it sees, so tiles differ: they are of 256 pixels, as deployed, and cross-faded; "
    "a tile as large as the picture runs it whole."
)

PUBLISHED = (
    rawzoo.ModelCard(
        name="treenet",
        task="demosaic",
        architecture="rawzoo_naf.networks:TreeNet",
        adapter="rawzoo_naf.restorer:treenet",
        config={"width": 32, "encoder": [1, 1, 1, 1], "middle": 1, "decoder": [1, 1, 1, 1]},
        summary="Raw Refinery's denoisers and sharpeners (TreeNet), for demosaiced linear Rec. 2020, conditioned on "
        f"ISO. {_FADED}",
        input="network",
        output="network",
        cfa="bayer",
        halo=None,
        dtypes=("float32", "bfloat16"),
        conditioning=("cond",),
        formats=("torchscript", "pytorch"),
        paper="https://github.com/rymuelle/TreeNet, https://github.com/rymuelle/RawRefinery",
        published="ShadowWeightedL1.pt, ShadowWeightedL1_light.pt, ShadowWeightedL1_super_light.pt, "
        "ShadowWeightedL1_24_deep_500.pt, realblur_gamma_140.pt and Deblur_deep_24.pt among the assets of release "
        "v1.2.1-alpha of github.com/rymuelle/RawRefinery; the code is MIT, the weights have no licence of their "
        "own. rawzoo import FILE takes each, with its own width and blocks; then give develop its name with "
        "--weights.",
        verified="Outputs of the published code at widths 8 and 32 and with affine attention, with generated "
        "weights, within 1e-4 of the largest value; so are the tiles, their weights and the colour conversion. The "
        "published files themselves could not be tried.",
    ),
    rawzoo.ModelCard(
        name="cond-naf",
        task="demosaic",
        architecture="rawzoo_naf.networks:CondNaf",
        adapter="rawzoo_naf.restorer:cond_naf",
        config={
            "chans": [32, 64, 128, 256, 256, 256],
            "encoder": [2, 2, 2, 3, 4],
            "middle": 12,
            "decoder": [2, 2, 2, 2, 2],
            "gamma": 2.2,
        },
        scale=Fraction(2),
        summary="The Restorer repository's denoiser (Cond_NAF), for packed linear Rec. 2020 mosaics, conditioned on "
        f"ISO. {_FADED}",
        input="network",
        output="network",
        cfa="bayer",
        halo=None,
        dtypes=("float32", "bfloat16"),
        conditioning=("cond",),
        formats=("pytorch", "torchscript"),
        paper="https://github.com/rymuelle/Restorer",
        published="No weights are published; rawzoo import FILE takes what the repository's notebooks save (state "
        "dicts, traced scripts), of Cond_NAF with all its switches that run, Cond_NAF_original, _ps, _demosaic, "
        "_demosaiced_input_test, Cond_CHASPA, the first Restorer without transformer blocks, and Forest. "
        "Cond_NAF_SSID, with its learned merges and global reasoning, becomes nafnet-denoise.",
        verified="Outputs of the published code for the configuration of record, every switch and four wrappers, "
        "with generated weights, within 1e-4 of the largest value. Cond_NAF_original, _ps, _demosaic, "
        "_demosaiced_input_test, _SSID, Cond_CHASPA, the first Restorer and Forest were built from the published "
        "code's description; there are no outputs to compare with.",
    ),
    rawzoo.ModelCard(
        name="nafnet-denoise",
        task="restore",
        architecture="rawzoo_naf.networks:NafNet",
        config={"width": 32, "encoder": [2, 2, 4, 8], "middle": 12, "decoder": [2, 2, 2, 2]},
        summary=f"NAFNet for the noise of phone pictures (SIDD). {_WHOLE}",
        input="srgb",
        output="srgb",
        period=16,
        halo=None,
        border="model",
        dtypes=("float32", "bfloat16"),
        formats=("pytorch",),
        paper="Chen, Chu, Zhang, Sun: Simple baselines for image restoration (ECCV 2022)",
        published="NAFNet-SIDD-width32.pth and -width64.pth, linked from github.com/megvii-research/NAFNet (MIT); "
        "rawzoo import FILE.",
        verified="Outputs of the published code at width 32, with generated weights, within 1e-4 of the largest "
        "value. The published files themselves could not be tried; their figures on SIDD are 39.97 dB (32) and "
        "40.30 dB (64).",
    ),
    rawzoo.ModelCard(
        name="nafnet-deblur",
        task="restore",
        architecture="rawzoo_naf.networks:NafNet",
        config={"width": 32, "encoder": [1, 1, 1, 28], "middle": 1, "decoder": [1, 1, 1, 1], "train_size": 256},
        summary="NAFNet for motion blur (GoPro, REDS), with attention to windows of 384 pixels (TLC). It runs "
        "whole; tiles see other windows near their edges.",
        input="srgb",
        output="srgb",
        period=16,
        halo=None,
        border="model",
        dtypes=("float32", "bfloat16"),
        formats=("pytorch",),
        paper="Chen, Chu, Zhang, Sun: Simple baselines for image restoration (ECCV 2022); Chu, Chen, Chen, Lu: "
        "Improving image restoration by revisiting global information aggregation (ECCV 2022)",
        published="NAFNet-GoPro-width32.pth and -width64.pth and NAFNet-REDS-width64.pth, linked from "
        "github.com/megvii-research/NAFNet (MIT); rawzoo import FILE.",
        verified="Outputs of the published code at width 8 with windows, with generated weights, within 1e-4 of the "
        "largest value. The published files themselves could not be tried; their figures on GoPro are 32.87 dB "
        "(32) and 33.71 dB (64), on REDS 29.09 dB.",
    ),
)


@rawzoo.hookimpl
def rawzoo_register_models(register):  # type: ignore[no-untyped-def]
    for card in (*DENOISERS, *PUBLISHED):
        register(card)


@rawzoo.hookimpl
def rawzoo_register_importers(register):  # type: ignore[no-untyped-def]
    register(
        Importer("naf", "rawzoo_naf.importer:detect", summary="NAFNet, TreeNet of Raw Refinery, Cond_NAF of Restorer")
    )


@rawzoo.hookimpl
def rawzoo_register_commands(app):  # type: ignore[no-untyped-def]
    from rawzoo_naf import cli

    app.add_typer(cli.app, name="naf")
