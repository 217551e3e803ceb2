"""What rawzoo is told about this plugin. Imports no torch."""

from fractions import Fraction

import rawzoo
from rawzoo.zoo.importers import Importer

_EUSR = (
    "J.-H. Kim, J.-S. Lee: Deep residual network with enhanced upscaling module for super-resolution, CVPR Workshops "
    "2018"
)
_4PP = (
    "J.-H. Choi, J.-H. Kim, M. Cheon, J.-S. Lee: Deep learning-based image super-resolution considering quantitative "
    "and perceptual quality, arXiv:1809.04789"
)
_HOST = "http://mcml.yonsei.ac.kr/files"
_NO_LICENCE = "No licence of the weights is stated."
_NOT_VERIFIED = (
    "With the published code's network and generated weights: outputs within 1e-5 of full scale. Not with the "
    "published weights, which could not be had."
)


def _generator(name: str, scale: int, halo: int, **fields: object) -> rawzoo.ModelCard:
    return rawzoo.ModelCard(
        name=name,
        task="super-resolution",
        input="srgb-255",
        output="srgb-255",
        scale=Fraction(scale),
        # tests/test_eusr_network.py measures it.
        halo=halo,
        # The published networks took whole pictures, with zeros around every layer.
        border="model",
        dtypes=("float32", "float16", "bfloat16"),
        formats=("tensorflow", "tensorflow-graph"),
        **fields,  # type: ignore[arg-type]
    )


def _eusr(scale: int, halo: int) -> rawzoo.ModelCard:
    return _generator(
        f"eusr-x{scale}",
        scale,
        halo,
        architecture="rawzoo_eusr.network:Generator",
        config={"scales": [scale]},
        summary=f"EUSR: pictures {scale} times as large, as close to the truth as it can (PSNR).",
        paper=_EUSR,
        published=f"{_HOST}/srzoo/eusr_x{scale}.pb, which `rawzoo import eusr_x{scale}.pb` reads. {_NO_LICENCE}",
        verified=_NOT_VERIFIED,
    )


def _four_pass(name: str, via: int, halo: int, summary: str) -> rawzoo.ModelCard:
    return _generator(
        name,
        4,
        halo,
        architecture="rawzoo_eusr.network:FourPass",
        config={"via": via},
        summary=summary,
        paper=_4PP,
        published=(
            f"{_HOST}/4pp_eusr/4pp_eusr_pirm.pb and 4pp_eusr_paper_v2.pb, or {_HOST}/srzoo/4pp_eusr_pirm_x4.pb; "
            f"`rawzoo import FILE --as {name}` reads them. {_NO_LICENCE}"
        ),
        verified=_NOT_VERIFIED,
    )


def _predictor(kind: str, file: str, scores: range, summary: str) -> rawzoo.ModelCard:
    return rawzoo.ModelCard(
        name=f"eusr-{kind}",
        task="quality",
        architecture="rawzoo_eusr.predictor:ScorePredictor",
        adapter="rawzoo_eusr.predictor:assess",
        config={"scores": list(scores)},
        summary=summary,
        input="srgb-255",
        output="distribution",
        halo=None,
        border="model",
        formats=("keras", "tensorflow-graph"),
        paper=f"{_4PP}; H. Talebi, P. Milanfar: NIMA: neural image assessment, TIP 2018",
        published=(f"{_HOST}/4pp_eusr/{file}; `rawzoo import {file} --as eusr-{kind}` reads it. {_NO_LICENCE}"),
        verified=(
            "With the published code's network and generated weights: scores within 1e-5, features within 1e-4. Not "
            "with the published weights, which could not be had."
        ),
    )


#: By the scale of the network.
EUSR = {scale: _eusr(scale, halo) for scale, halo in ((2, 87), (4, 93), (8, 96))}
FOUR_PASS = {
    2: _four_pass("4pp-eusr-via2", 2, 130, "4PP-EUSR's other way to 4 times the size: twice the size, twice."),
    4: _four_pass("4pp-eusr", 4, 93, "4PP-EUSR: pictures 4 times as large, a compromise of truth and pleasing detail."),
    8: _four_pass("4pp-eusr-via8", 8, 96, "4PP-EUSR's other way to 4 times the size: 8 times, every other pixel kept."),
}
PREDICTORS = (
    _predictor(
        "aesthetic",
        "score_predictor_ava.pb",
        range(1, 11),
        "How beautiful people find a picture, 1 to 10, from its middle 192 x 192 pixels (trained on AVA).",
    ),
    _predictor(
        "subjective",
        "score_predictor_tid2013.pb",
        range(10),
        "How undamaged people find a picture, 0 to 9, from its middle 192 x 192 pixels (trained on TID2013).",
    ),
)


@rawzoo.hookimpl
def rawzoo_register_models(register):  # type: ignore[no-untyped-def]
    for card in (*EUSR.values(), *FOUR_PASS.values(), *PREDICTORS):
        register(card)


@rawzoo.hookimpl
def rawzoo_register_importers(register):  # type: ignore[no-untyped-def]
    register(Importer("eusr", "rawzoo_eusr.importer:generator", summary="EUSR and 4PP-EUSR, TensorFlow"))
    register(Importer("eusr-scores", "rawzoo_eusr.importer:predictor", summary="score predictors, Keras, TensorFlow"))
