"""What rawzoo is told about this plugin. Imports no torch."""

import rawzoo
from rawzoo.zoo.importers import Importer

_PAPER = "Raspberry Pi: neural network AWB, https://github.com/raspberrypi/awb_nn"


def _verified(mired: str, images: int) -> str:
    return (
        "With the published weights: outputs within 0.05 K of the reference's, statistics and rendering bit by bit "
        "(the grid of a large picture within 1 of 65535), shading and search to rounding, and its figure of "
        f"{mired} mired on {images} of the images it was trained on. Not compared: what a Raspberry Pi's own pipeline "
        "makes of the same scene."
    )


def _card(target: str, hardware: str, config: dict[str, object], verified: str) -> rawzoo.ModelCard:
    return rawzoo.ModelCard(
        name=f"awb-{target}",
        task="white-balance",
        architecture="rawzoo_awb.network:AwbNetwork",
        adapter=f"rawzoo_awb.estimate:{target}",
        config=config,
        summary=f"Raspberry Pi's white balance network for {hardware}: colour temperature of the light.",
        input="awb-grid",
        output="temperature",
        cfa="any",
        halo=None,
        conditioning=("lux",),
        formats=("keras", "tflite"),
        paper=_PAPER,
        published=(
            f"Models/model_{target}.keras (or .tflite, with 8-bit weights) of raspberrypi/awb_nn on GitHub, whose one "
            "licence, BSD-3-Clause, names no separate terms for models; trained on 708 images of seven Raspberry Pi "
            f"sensors. Import it with `rawzoo import model_{target}.keras`, which needs rawzoo[import]; .tflite needs "
            "nothing more."
        ),
        verified=verified,
    )


CARDS = (
    _card(
        "pisp",
        "the Pi 5 (PiSP)",
        {"grid": [32, 32], "size": 16, "layers": 3},
        verified=_verified("2.34", 566),
    ),
    _card(
        "vc4",
        "the Pi 4 and older (VC4)",
        {"grid": [12, 16], "size": 32, "layers": 2},
        verified=_verified("2.84", 545),
    ),
)


@rawzoo.hookimpl
def rawzoo_register_models(register):  # type: ignore[no-untyped-def]
    for card in CARDS:
        register(card)


@rawzoo.hookimpl
def rawzoo_register_importers(register):  # type: ignore[no-untyped-def]
    register(
        Importer(
            "awb-nn", "rawzoo_awb.importer:detect", summary="Raspberry Pi's AWB networks, Keras and TensorFlow Lite"
        )
    )
