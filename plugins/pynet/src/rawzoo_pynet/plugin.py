"""What rawzoo is told about this plugin. Imports no torch."""

from fractions import Fraction

import rawzoo
from rawzoo.zoo.importers import Importer

_SIZES = ("the size of the mosaic", *(f"1/{2**level} of the mosaic's sides" for level in range(1, 6)))


def _card(variant: str, level: int) -> rawzoo.ModelCard:
    framework, repository, file, saved = {
        "torch": ("PyTorch", "PyNET-PyTorch", "pynet_level_0.pth", "epoch_N.pth"),
        "tf": ("TensorFlow", "PyNET", "pynet_level_0.ckpt", "iteration_N.ckpt"),
    }[variant]
    terms = "CC BY-NC-SA 4.0, for academic research only: no commercial use."
    if level == 0:
        published = f"{file}, linked in the README of github.com/aiff22/{repository}; {terms}"
    else:
        published = f"Level 0 only; its code's training saves this one as pynet_level_{level}_{saved}. Both are {terms}"
    return rawzoo.ModelCard(
        name=f"pynet-{variant}-{level}",
        task="isp",
        architecture="rawzoo_pynet.network:PyNet",
        adapter="rawzoo_pynet.isp:render",
        config={"variant": variant, "level": level},
        summary=f"PyNET, the {framework} network, level {level}: a learned camera ISP; the picture has "
        f"{_SIZES[level]}. Takes planes B, Gr, R, Gb of 10-bit values over 1020, black 64.",
        input="raw-planes",
        output="srgb",
        cfa="RGGB",
        scale=Fraction(2, 2**level),
        period=16,
        halo=None,
        dtypes=("float32", "bfloat16", "float16"),
        formats=("pytorch",) if variant == "torch" else ("tensorflow",),
        paper="Ignatov, Van Gool and Timofte: Replacing Mobile Camera ISP with a Single Deep Learning Model, CVPR "
        "Workshops 2020, arXiv:2002.05509",
        published=f"{published} To import: rawzoo import FILE, and where the file's name does not say level_{level}, "
        f"--as pynet-{variant}-{level}.",
        verified="Outputs of the reference code with generated weights, float32 on a CPU: within 5e-5. No published "
        "checkpoint could be had, so neither one nor the paper's scores were tried. Not run on a GPU.",
    )


CARDS = tuple(_card(variant, level) for variant in ("torch", "tf") for level in range(6))


@rawzoo.hookimpl
def rawzoo_register_models(register):  # type: ignore[no-untyped-def]
    for card in CARDS:
        register(card)


@rawzoo.hookimpl
def rawzoo_register_importers(register):  # type: ignore[no-untyped-def]
    register(Importer("pynet", "rawzoo_pynet.importer:detect", summary="PyNET, PyTorch and TensorFlow"))
