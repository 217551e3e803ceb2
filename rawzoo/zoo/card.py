"""ModelCard: all that is known about a model without loading it. Plain data; importing this imports no torch."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from typing import Any


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

    @property
    def is_url(self) -> bool:
        return self.where.startswith(("https://", "http://"))


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
        input: domain of the input tensor, one of the task's (``mosaic``, ``packed``; see :mod:`rawzoo.tasks`).
        output: domain of the output tensor, one of the task's (``camera-rgb``).
        cfa: what mosaics it takes: ``"bayer"`` (any of the four phases), ``"xtrans"``, ``"any"``, or one pattern such
            as ``"RGGB"`` (other Bayer phases are cropped to it).
        scale: output pixels per input-tensor pixel, along both axes.
        period: input tiles must start, and their edges must be, on multiples of this many input-tensor pixels.
        halo: radius of the receptive field in input-tensor pixels; None when every output pixel depends on the whole
            input (global context).
        border: what the model sees beyond the picture's edges: ``"mirror"``, the picture mirrored in the phase of its
            CFA; ``"model"``, what its own layers pad with, as where it was published for whole pictures.
        dtypes: floating dtypes the model works in, best first.
        conditioning: extra inputs, e.g. ``("noise_profile",)``.
        adapter: dotted path of the function that leads from a raw image to the model and from its output to the
            result, for tasks that leave this to the model (:mod:`rawzoo.tasks.white_balance`); empty for others.
        auto_below_snr: of task ``demosaic``: where no model is named, this one is taken if green at 18 % of white has a
            lower signal to noise ratio; None: only when named.
        weights: named sets, the default first. Empty for models that need none, or whose weights users import.
        formats: foreign checkpoint formats its importer reads.
        paper, licence: where it comes from, and the licence of the code.
        published: where its authors' weights are, under which licence, and how to import them; sentences.
        verified: what was compared with the published network and what could not be; sentences.
    """

    name: str
    task: str
    architecture: str
    config: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    input: str = "mosaic"
    output: str = "camera-rgb"
    cfa: str = "any"
    scale: Fraction = Fraction(1)
    period: int = 1
    halo: int | None = 0
    border: str = "mirror"
    dtypes: tuple[str, ...] = ("float32",)
    conditioning: tuple[str, ...] = ()
    adapter: str = ""
    auto_below_snr: float | None = None
    weights: Mapping[str, Weights] = field(default_factory=dict)
    formats: tuple[str, ...] = ()
    paper: str = ""
    licence: str = "Apache-2.0"
    published: str = ""
    verified: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The card as JSON values; ``scale`` becomes a string such as ``"2"`` or ``"1/2"``."""
        return {**asdict(self), "scale": str(self.scale)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelCard:
        """The card :meth:`to_dict` was given, also after a way through JSON."""
        converted: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        converted["scale"] = Fraction(values["scale"])
        converted["weights"] = {name: Weights(**entry) for name, entry in values["weights"].items()}
        return cls(**converted)


def is_name(text: object) -> bool:
    """Whether ``text`` may name a model, task, runtime or set of weights."""
    return isinstance(text, str) and re.fullmatch(r"[a-z0-9][a-z0-9.-]*", text) is not None


def is_dotted_path(text: object) -> bool:
    """Whether ``text`` has the form ``"package.module:attribute"``."""
    return isinstance(text, str) and re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", text) is not None


def problems(card: object) -> list[str]:
    """What is wrong with a card, one phrase each; empty when nothing is. Needs no other plugin, task or torch."""
    if not isinstance(card, ModelCard):
        return [f"it is a {type(card).__name__}, not a rawzoo.ModelCard"]
    found = []

    def check(fine: object, phrase: str) -> None:
        if not fine:
            found.append(phrase)

    texts = [f.name for f in fields(card) if f.type == "str"]
    lists = ("dtypes", "conditioning", "formats")
    for name in texts:
        check(isinstance(getattr(card, name), str), f"{name} must be a string, not {getattr(card, name)!r}")
    for name in lists:
        value = getattr(card, name)
        fine = isinstance(value, tuple) and all(isinstance(v, str) for v in value)
        check(fine, f"{name} must be a tuple of strings, not {value!r}")
    for name in ("config", "weights"):
        check(isinstance(getattr(card, name), Mapping), f"{name} must be a mapping, not {getattr(card, name)!r}")
    if found:
        return found

    check(is_name(card.name), f"name {card.name!r} must consist of lower-case letters, digits, '-' and '.'")
    check(is_name(card.task), f"task {card.task!r} is no task name")
    check(
        is_dotted_path(card.architecture), f"architecture must be 'package.module:factory', not {card.architecture!r}"
    )
    check(
        not card.adapter or is_dotted_path(card.adapter),
        f"adapter must be 'package.module:function' or empty, not {card.adapter!r}",
    )
    try:
        json.dumps(dict(card.config), allow_nan=False)
    except (TypeError, ValueError) as error:
        found.append(f"config must hold JSON values only ({error})")
    check(
        re.fullmatch(r"bayer|xtrans|any|RGGB|BGGR|GRBG|GBRG|[RGB]{36}", card.cfa),
        f"cfa must be 'bayer', 'xtrans', 'any' or one pattern such as 'RGGB', not {card.cfa!r}",
    )
    check(isinstance(card.scale, Fraction) and card.scale > 0, f"scale must be a positive Fraction, not {card.scale!r}")
    check(_is_whole(card.period, 1), f"period must be a whole number of at least 1, not {card.period!r}")
    check(
        card.halo is None or _is_whole(card.halo, 0),
        f"halo must be a whole number of at least 0, or None for global context, not {card.halo!r}",
    )
    snr = card.auto_below_snr
    check(
        snr is None or (isinstance(snr, int | float) and not isinstance(snr, bool) and snr > 0),
        f"auto_below_snr must be a positive number or None, not {snr!r}",
    )
    check(card.border in ("mirror", "model"), f"border must be 'mirror' or 'model', not {card.border!r}")
    known = ("float32", "float16", "bfloat16", "float64")
    check(
        card.dtypes and set(card.dtypes) <= set(known),
        f"dtypes must be some of {', '.join(known)}, not {card.dtypes!r}",
    )
    for name, weights in card.weights.items():
        if not is_name(name):
            found.append(f"weights name {name!r} must consist of lower-case letters, digits, '-' and '.'")
        found.extend(f"weights {name!r}: {phrase}" for phrase in _weights_problems(weights))
    return found


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _weights_problems(weights: object) -> list[str]:
    if not isinstance(weights, Weights):
        return [f"must be a rawzoo.Weights, not {weights!r}"]
    if not isinstance(weights.where, str) or not re.search(r"\.safetensors(\?.*)?$", weights.where):
        return [f"where must name a .safetensors file, not {weights.where!r}"]
    found = []
    if weights.where.startswith("package:") and not re.fullmatch(r"package:[A-Za-z_][\w.]*/.+", weights.where):
        found.append(f"where must be 'package:module/path.safetensors', not {weights.where!r}")
    if weights.sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", weights.sha256):
        found.append(f"sha256 must be 64 lower-case hex digits, not {weights.sha256!r}")
    if weights.is_url and weights.sha256 is None:
        found.append(f"the URL {weights.where} needs a sha256, or nobody can tell what was downloaded")
    return found
