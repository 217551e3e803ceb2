"""What rawzoo is told about this plugin. Imports no torch."""

import rawzoo
from rawzoo.zoo.importers import Importer

_PAPER = "Raspberry Pi: neural network AWB, https://github.com/raspberrypi/awb_nn"


def _card(target: str, hardware: str, config: dict[str, object]) -> rawzoo.ModelCard:
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
    )


CARDS = (
    _card("pisp", "the Pi 5 (PiSP)", {"grid": [32, 32], "size": 16, "layers": 3}),
    _card("vc4", "the Pi 4 and older (VC4)", {"grid": [12, 16], "size": 32, "layers": 2}),
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
