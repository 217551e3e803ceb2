"""What rawzoo is told about this plugin. Imports no torch."""

import rawzoo
from rawzoo.zoo.importers import Importer

_PAPER = "Raspberry Pi: neural network AWB, https://github.com/raspberrypi/awb_nn"


def _card(target: str, hardware: str, config: dict[str, object], sha256: str, mired: float) -> rawzoo.ModelCard:
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
        weights={
            "published": rawzoo.Weights(
                where=f"package:rawzoo_awb/weights/awb-{target}.safetensors",
                sha256=sha256,
                licence="BSD-3-Clause",
                trained_on="awb_nn's 708 images of seven Raspberry Pi sensors; the figure is for images among them",
                quality={"mean mired error": mired},
            )
        },
        formats=("keras", "tflite"),
        paper=_PAPER,
    )


CARDS = (
    _card(
        "pisp",
        "the Pi 5 (PiSP)",
        {"grid": [32, 32], "size": 16, "layers": 3},
        sha256="88a7e45a4eb1bbd54b3f622991e8ff55229ba1c05802efe8d6b005223a8bcd7e",
        mired=2.34,
    ),
    _card(
        "vc4",
        "the Pi 4 and older (VC4)",
        {"grid": [12, 16], "size": 32, "layers": 2},
        sha256="32ed284917b64e5d1d3afa3438be475890fe25a241fb2f9f4f91ad34b1fa4800",
        mired=2.84,
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
