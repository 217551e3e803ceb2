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
        summary="Weighted mean of the nearest samples of each colour.",
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
    ModelCard(
        name="hamilton-adams",
        task="demosaic",
        architecture=ARCHITECTURE,
        config={"method": "hamilton-adams", "encode": "sqrt"},
        summary="Green along edges, blended by how little each direction changes, on square roots; hardly slower.",
        cfa="bayer",
        halo=3,
        conditioning=("cfa",),
        paper="Hamilton, Adams: Adaptive color plan interpolation in single sensor color electronic camera "
        "(US patent 5,629,734, 1997, expired)",
    ),
    ModelCard(
        name="menon",
        task="demosaic",
        architecture=ARCHITECTURE,
        config={"method": "menon", "encode": "sqrt"},
        summary="Directional filtering with a posteriori decision (DDFAPD) and its refining step, on square roots.",
        cfa="bayer",
        halo=8,
        conditioning=("cfa",),
        paper="Menon, Andriani, Calvagno: Demosaicing with directional filtering and a posteriori decision "
        "(IEEE TIP 2007)",
    ),
    ModelCard(
        name="rcd",
        task="demosaic",
        architecture=ARCHITECTURE,
        config={"method": "rcd", "encode": "sqrt"},
        summary="Ratio corrected demosaicing on square roots.",
        cfa="bayer",
        halo=10,
        conditioning=("cfa",),
        paper="Sanz Rodriguez: Ratio corrected demosaicing (2017)",
    ),
    ModelCard(
        name="gbtf",
        task="demosaic",
        architecture=ARCHITECTURE,
        config={"method": "gbtf", "encode": "sqrt"},
        summary="Both directions blended by how colour differences change, on square roots; the best of the classical.",
        cfa="bayer",
        halo=9,
        conditioning=("cfa",),
        paper="Pekkucuksen, Altunbasak: Gradient based threshold free color filter array interpolation (ICIP 2010)",
    ),
    ModelCard(
        name="markesteijn",
        task="demosaic",
        architecture=ARCHITECTURE,
        config={"method": "markesteijn", "encode": "sqrt"},
        summary="For X-Trans: four directions blended by how straight each goes on, three passes, on square roots.",
        cfa="xtrans",
        halo=28,
        conditioning=("cfa",),
    ),
    ModelCard(
        name="markesteijn-1",
        task="demosaic",
        architecture=ARCHITECTURE,
        config={"method": "markesteijn-1", "encode": "sqrt"},
        summary="The same in one pass: half the time, a little softer.",
        cfa="xtrans",
        halo=10,
        conditioning=("cfa",),
    ),
)


@hookimpl
def rawzoo_register_models(register: RegisterModel) -> None:
    for card in _CARDS:
        register(card)
