"""ModelCard: all that is known about a model without loading it. Plain data; importing this imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

Domain = Literal["mosaic", "packed", "camera-rgb"]


@dataclass(frozen=True)
class Weights:
    """One set of trained weights, always a safetensors file.

    Attributes:
        where: ``"package:DISTRIBUTION_MODULE/path.safetensors"`` (a file inside an installed package), an
            ``https://`` URL (fetched once into the user's cache), or a local path.
        sha256: hex digest of the file; required for URLs.
        licence: SPDX identifier or a short name.
        trained_on: the data, in a few words.
        quality: measured figures, e.g. ``{"PSNR, dB": 38.1}``.
    """

    where: str
    sha256: str | None = None
    licence: str = "unknown"
    trained_on: str = ""
    quality: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelCard:
    """What a model is for, what goes in and out, and where its parts are.

    Attributes:
        name: unique in the zoo; lower-case letters, digits, ``-`` and ``.``.
        task: name of a registered task, which says how a picture becomes the input tensor and what the output means.
        architecture: dotted path ``"package.module:factory"``; ``factory(**config)`` returns a ``torch.nn.Module``
            in evaluation form. Imported only when the model is loaded.
        config: keyword arguments of the factory.
        summary: one sentence.
        input: domain of the input tensor (see :mod:`rawzoo.tasks`).
        output: domain of the output tensor.
        cfa: what mosaics it takes: ``"bayer"`` (any of the four phases), ``"xtrans"``, ``"any"``, or one pattern such
            as ``"RGGB"`` (other Bayer phases are cropped to it).
        scale: output pixels per input-tensor pixel, along both axes.
        period: input tiles must start, and their edges must be, on multiples of this many input-tensor pixels.
        halo: radius of the receptive field in input-tensor pixels; None when every output pixel depends on the whole
            input (global context).
        dtypes: floating dtypes the model works in, best first.
        conditioning: extra inputs, e.g. ``("noise_profile",)``.
        weights: named sets, the default first. Empty for models that need none.
        formats: foreign checkpoint formats its importer reads.
        paper, licence: where it comes from, and the licence of the code.
    """

    name: str
    task: str
    architecture: str
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    input: Domain = "mosaic"
    output: Domain = "camera-rgb"
    cfa: str = "any"
    scale: Fraction = Fraction(1)
    period: int = 1
    halo: int | None = 0
    dtypes: tuple[str, ...] = ("float32",)
    conditioning: tuple[str, ...] = ()
    weights: Mapping[str, Weights] = field(default_factory=dict)
    formats: tuple[str, ...] = ()
    paper: str = ""
    licence: str = "Apache-2.0"
