"""What rawzoo is told about this plugin. Imports no torch."""

from typing import Any

import rawzoo
from rawzoo.zoo.importers import Importer

_PAPER = (
    "Diamond et al.: Dirty Pixels: Towards End-to-End Image Processing and Perception, ACM TOG 40(3), 2021, "
    "https://arxiv.org/abs/1701.06487"
)
_MOBILENET_PAPER = "Howard et al.: MobileNets, 2017, https://arxiv.org/abs/1704.04861"
_DTYPES = ("float32", "bfloat16", "float16")
_FORMATS = ("tensorflow", "tensorflow-graph")
_NO_WEIGHTS = "No published weights could be had: what it says of a picture was not compared with a published accuracy."
_MOSAIC = (
    "Takes [3, H, W], R, G, B in 0..1 with the one colour that a BGGR mosaic has at each pixel and 0 in the others"
)

#: Iterations that the network which restores pictures has a card for, since each more widens its halo: from the
#: published number to the code's default.
ISP_ITERATIONS = (1, 2, 3, 4)

# How far a pixel of the output looks in one iteration: 3 + 2 * 2 + 4 * 4 + 2 * 2 + 2 by the layers, and 3 by where in a
# pooled cell it lies.
_HALO = 32


def isp_name(iterations: int) -> str:
    """Name of the card of the ISP network with this many iterations."""
    return "dirty-pixels-isp" + ("" if iterations == 1 else f"-{iterations}")


def _published(files: str, what: str = "") -> str:
    return (
        f"{files} on the file-sharing page that princeton-computational-imaging/DirtyPixels on GitHub links to, "
        f"without a licence of their own (the code is MIT). Import it with `rawzoo import model.ckpt-N.index`{what}; "
        "training state in the file is left out, and --averages takes the moving averages."
    )


def _joint(name: str, config: dict[str, Any], summary: str, published: str) -> rawzoo.ModelCard:
    return rawzoo.ModelCard(
        name=name,
        task="classify",
        architecture="rawzoo_anscombe.classifiers:JointNetwork",
        adapter="rawzoo_anscombe.classify:joint",
        config=config,
        summary=summary,
        input="network",
        output="logits",
        cfa="bayer",
        halo=None,
        dtypes=_DTYPES,
        formats=_FORMATS,
        paper=_PAPER,
        published=published,
        verified=(
            "Both parts and the whole against the reference's outputs for generated weights, to 1e-5; the preparation "
            f"of captured mosaics by its description. {_NO_WEIGHTS}"
        ),
    )


def _classifier(
    name: str, architecture: str, adapter: str, summary: str, *, paper: str, published: str, verified: str
) -> rawzoo.ModelCard:
    return rawzoo.ModelCard(
        name=name,
        task="classify",
        architecture=f"rawzoo_anscombe.classifiers:{architecture}",
        adapter=f"rawzoo_anscombe.classify:{adapter}",
        config={"classes": 1001},
        summary=summary,
        input="network",
        output="logits",
        cfa="bayer",
        halo=None,
        dtypes=_DTYPES,
        formats=_FORMATS,
        paper=paper,
        published=published,
        verified=verified,
    )


def _isp(iterations: int) -> rawzoo.ModelCard:
    rounds = f"{iterations} iteration{'s' if iterations > 1 else ''}"
    return rawzoo.ModelCard(
        name=isp_name(iterations),
        task="isp",
        architecture="rawzoo_anscombe.isp:Restorer",
        adapter="rawzoo_anscombe.restore:restore",
        config={"use_anscombe": True, "noise_channel": True, "num_iters": iterations},
        summary=(
            f"Dirty Pixels' restoration network, {rounds}: a noisy mosaic to a clean picture. {_MOSAIC}, "
            "Anscombe-transformed and brought to 0..1, and the level of the noise as a fourth channel."
        ),
        input="raw-sparse",
        output="srgb",
        cfa="bayer",
        period=4,
        halo=_HALO * iterations,
        border="model",
        dtypes=_DTYPES,
        formats=_FORMATS,
        paper=_PAPER,
        published=(
            _published("multires128/6lux/model.ckpt-27000, with which joint training began,")
            if iterations == 1
            else "None: every published network has one iteration"
            + ("; four are the code's default." if iterations == 4 else ".")
        ),
        verified=(
            "The network of one and of four iterations against the reference's outputs for generated weights, to 1e-5. "
            "Colours and tones of the "
            f"picture are rawzoo's own; the reference shows the network's output as it is. {_NO_WEIGHTS}"
        ),
    )


CARDS = (
    _joint(
        "dirty-pixels",
        {"use_anscombe": True, "noise_channel": True, "num_iters": 1, "classes": 1001},
        "Dirty Pixels: what a noisy mosaic shows, by a denoising network and MobileNet v1 that were trained as one. "
        f"{_MOSAIC}, and its noise.",
        _published("joint128/{3lux,6lux,2to20lux,2to200lux}/model.ckpt-*, one for each range of light,"),
    ),
    _joint(
        "dirty-pixels-no-anscombe",
        {"use_anscombe": False, "noise_channel": False, "num_iters": 1, "classes": 1001},
        f"Dirty Pixels without Anscombe transform and noise channel: the paper's comparison. {_MOSAIC}.",
        _published("joint128/2to200lux_no_ansc/model.ckpt-215307", " --as dirty-pixels-no-anscombe"),
    ),
    *(_isp(iterations) for iterations in ISP_ITERATIONS),
    _classifier(
        "mobilenet-v1",
        "MobileNetV1",
        "developed",
        "MobileNet v1 1.0: what a developed picture shows. Takes [3, H, W], sRGB-encoded R, G, B in -1..1.",
        paper=_MOBILENET_PAPER,
        published=(
            "mobilenet_v1_1.0_128 and _224 of tensorflow/models (slim) on GitHub, Apache-2.0, trained on ImageNet. "
            "Import the .ckpt or the frozen .pb with `rawzoo import FILE --as mobilenet-v1`."
        ),
        verified=(f"The network against TensorFlow's outputs for generated weights, to 1e-5. {_NO_WEIGHTS}"),
    ),
    _classifier(
        "mobilenet-v1-mosaic",
        "MobileNetV1",
        "mosaic",
        f"MobileNet v1 1.0 trained on noisy mosaics: Dirty Pixels' comparison without restoration. {_MOSAIC}, then "
        "mapped from 0..1 to -1..1.",
        paper=_PAPER,
        published=_published("mobilenet_v1_128/2to200lux/model.ckpt-325357", " --as mobilenet-v1-mosaic"),
        verified=(f"The network against TensorFlow's outputs for generated weights, to 1e-5. {_NO_WEIGHTS}"),
    ),
    _classifier(
        "deeper-mobilenet-v1",
        "DeeperMobileNetV1",
        "mosaic",
        f"A U-Net before MobileNet v1: Dirty Pixels' comparison of the same depth. {_MOSAIC}, then mapped from 0..1 "
        "to -1..1.",
        paper=_PAPER,
        published="None is named by princeton-computational-imaging/DirtyPixels; its code can train one.",
        verified=(
            "MobileNet against TensorFlow's outputs for generated weights, the U-Net's names and shapes against the "
            f"reference's variables and its layers against another implementation. {_NO_WEIGHTS}"
        ),
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
            "dirty-pixels",
            "rawzoo_anscombe.importer:detect",
            summary="Dirty Pixels and slim's MobileNet v1, TensorFlow",
        )
    )
