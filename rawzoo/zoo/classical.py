"""The classical demosaicers, registered as any plugin registers its models. Imports no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rawzoo.zoo.card import ModelCard
from rawzoo.zoo.hookspecs import hookimpl

if TYPE_CHECKING:
    from rawzoo.zoo.hookspecs import RegisterModel

ARCHITECTURE = "rawzoo.inference.classical:Demosaic"

_CARDS = (
    ModelCard(
        name="bilinear",
        task="demosaic",
        architecture=ARCHITECTURE,
        config={"method": "bilinear"},
        summary="Weighted mean of the nearest samples of each colour; the only classical method here for X-Trans.",
        cfa="any",
        # 1 on Bayer and the usual X-Trans tile; in an irregular one the nearest sample of a colour may be 3 away.
        halo=3,
        conditioning=("cfa",),
    ),
    ModelCard(
        name="malvar",
        task="demosaic",
        architecture=ARCHITECTURE,
        config={"method": "malvar"},
        summary="Bilinear plus the Laplacian of the known colour, 5x5; sharper, few artefacts, as fast.",
        cfa="bayer",
        halo=2,
        conditioning=("cfa",),
        paper="Malvar, He, Cutler: High-quality linear interpolation for demosaicing of Bayer-patterned color images "
        "(ICASSP 2004)",
    ),
)


@hookimpl
def rawzoo_register_models(register: RegisterModel) -> None:
    for card in _CARDS:
        register(card)
