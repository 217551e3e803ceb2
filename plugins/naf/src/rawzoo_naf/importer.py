"""Recognises checkpoints of NAFNet, TreeNet and the Restorer repository by the names and shapes of their tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from rawzoo.zoo.checkpoints import Checkpoint, Tensor
from rawzoo.zoo.importers import Match

Tensors = Mapping[str, Tensor]

#: Blocks of the encoders of NAFNet's deblurring configurations, which attend to windows (TLC).
_DEBLUR = [1, 1, 1, 28]


def detect(checkpoint: Checkpoint) -> list[Match]:
    """See :class:`rawzoo.zoo.importers.Importer`."""
    tensors = checkpoint.tensors
    for recognise in (_treenet, _cond_naf, _nafnet):
        try:
            match = recognise(tensors)
        except (KeyError, IndexError, StopIteration, ValueError):  # names as of this family, but not its shapes
            match = None
        if match is not None:
            return [match]
    return []


def _treenet(tensors: Tensors) -> Match | None:
    if not any(name.endswith(".sca.sca.mlp.0.weight") for name in tensors):
        return None
    config, words = _unet(tensors, "")
    kernels = {part: _kernels(tensors, part) for part in ("encoders", "middle_blks", "decoders")}
    first = f"{_first_block(tensors, '')}trunk.0."
    shape = tensors[f"{first}sca.sca.mlp.0.weight"].shape
    affine = f"{first}sca.sca_add.mlp.0.weight" in tensors
    config = _doubling(config) | {
        "kernels_up": kernels["encoders"],
        "middle_kernels": kernels["middle_blks"],
        "kernels_down": kernels["decoders"],
        "cond_channels": shape[1] - shape[0],
        "affine": affine,
    }
    attention = ", affine attention" if affine else ""
    return Match("treenet", f"TreeNet (ForestNetV1Cond), {words}{attention}", _as_it_is(tensors), config)


def _kernels(tensors: Tensors, part: str) -> list[int]:
    """Kernels of the branches, which are the same in all trees of this part."""
    trees: dict[str, dict[int, int]] = {}
    for name in tensors:
        if found := re.fullmatch(rf"({part}\.[\d.]+)\.trunk\.(\d+)\.conv1\.weight", name):
            convolution = tensors.get(f"{found[1]}.trunk.{found[2]}.conv2.weight")
            trees.setdefault(found[1], {})[int(found[2])] = 0 if convolution is None else convolution.shape[-1]
    lists = [[kernels[i] for i in range(len(kernels))] for kernels in trees.values()]
    if not lists:  # no tree of this part, so none to get wrong
        return [3, 0]
    if any(kernels != lists[0] for kernels in lists):
        raise ValueError("trees differ")
    return lists[0]


def _cond_naf(tensors: Tensors) -> Match | None:
    # Transformer blocks of the first Restorer are not built, see README.md.
    if "model.conditioning_gen.0.weight" not in tensors or any(".vit." in name for name in tensors):
        return None
    config, words = _unet(tensors, "model.")
    block = _first_block(tensors, "model.")
    packed = "model.intro.0.weight" in tensors
    inside = tensors["model.intro.0.weight" if packed else "model.intro.weight"].shape[1]
    half = tensors["model.ending.weight"].shape[0] == 12
    # Without dropout there is one layer less.
    last = "model.conditioning_gen.3." if "model.conditioning_gen.3.weight" in tensors else "model.conditioning_gen.2."
    config |= {
        "block": _block_kind(tensors, block),
        "merge": _merge_kind(tensors, "model.merges.0."),
        "cond_input": tensors["model.conditioning_gen.0.weight"].shape[1],
        "cond_output": tensors[f"{last}weight"].shape[0],
    }
    if "intro.0.weight" in tensors:
        form = "debayer-joined"
    elif "upscale.0.weight" in tensors:
        form = "shuffle-pass"
    elif "demosaicer.demosaicing.kernels" in tensors:
        form = "debayer-half" if half else "debayer" if packed else "debayer-in"
    elif "demosaicing.kernels" in tensors:
        form = "demosaic" if packed else "demosaic-in"
    elif half:
        form = "shuffle"
    elif not packed or inside != 4:
        return None  # takes pictures of channels that nothing says the meaning of
    elif config["block"] == "chaspa" or (config["merge"] == "add" and config["cond_output"] == 1):
        form = "residual-linear"
    else:
        form, config["gamma"] = "residual", 2.2
    config["form"] = form
    words = f"{words}, block {config['block']}, merge {config['merge']}, form {form}"
    if form == "residual":
        words += ", gamma 2.2 as in the published configuration (the file does not tell)"
    return Match(
        "cond-naf", f"Restorer (Cond_NAF), {words}", _as_it_is(tensors, {last: "model.conditioning_gen.3."}), config
    )


def _block_kind(tensors: Tensors, block: str) -> str:
    for part, kind in (
        ("trunk.0.norm.weight", "tree"),
        ("nka.proj_1.weight", "attention"),
        ("NKA.proj_1.weight", "chaspa"),
        ("sca_mul.mlp.0.weight", "naf-learned-norm"),
        ("sca_out.mlp.0.weight", "naf-unused"),
        ("beta", "naf"),
    ):
        if f"{block}{part}" in tensors:
            return kind
    wide, narrow = tensors[f"{block}pwconv1.weight"].shape
    if tensors[f"{block}pwconv2.weight"].shape != (narrow, wide) or wide // narrow not in (2, 4):
        raise ValueError("a block of another revision")
    return f"next-{wide // narrow}"


def _merge_kind(tensors: Tensors, merge: str) -> str:
    if f"{merge}cca.mlp.0.weight" not in tensors:
        return "add"
    if f"{merge}sa.0.weight" in tensors:
        return "gated-1" if tensors[f"{merge}sa.0.weight"].shape[0] == 1 else "gated"
    for part, kind in (("spa.proj_1.weight", "product"), ("spa.weight", "mix"), ("pw.weight", "pointwise")):
        if f"{merge}{part}" in tensors:
            return kind
    return "sum"


def _nafnet(tensors: Tensors) -> Match | None:
    reasoning = "global_channel_producer.1.weight" in tensors  # a later Cond_NAF_SSID
    if not any(name.endswith(".grm.conv1.weight" if reasoning else ".sca.1.weight") for name in tensors):
        return None
    config, words = _unet(tensors, "")
    config = _doubling(config)
    renamed = {}
    merges = {name.rpartition(".")[0] for name in tensors if name.startswith("merges.")}
    if merges:  # Cond_NAF_SSID
        config["merge"] = "gated" if "merges.0.sa.0" in merges else "sum"
        if config["merge"] == "sum":
            renamed = {f"{name}.": f"merges.{name.split('.')[1]}.ca.1." for name in merges}
    if reasoning:
        config["memory"] = tensors["global_channel_producer.1.weight"].shape[0]
        words += f", global reasoning over {config['memory']} channels"
    deblur = config["encoder"] == _DEBLUR and not merges and not reasoning
    if deblur:
        config["train_size"] = 256
    model, what = ("nafnet-deblur", "deblurring") if deblur else ("nafnet-denoise", "denoising")
    return Match(model, f"NAFNet for {what}, {words}", _as_it_is(tensors, renamed), config)


def _unet(tensors: Tensors, prefix: str) -> tuple[dict[str, Any], str]:
    """Channels and blocks of each level, and the same in words."""
    levels = _count(tensors, rf"{re.escape(prefix)}downs\.(\d+)\.weight")
    downs = [tensors[f"{prefix}downs.{i}.weight"].shape for i in range(levels)]
    chans = [downs[0][1], *(shape[0] for shape in downs)]
    counts = {
        part: [_count(tensors, rf"{re.escape(prefix)}{part}\.{i}\.(\d+)\..*") for i in range(levels)]
        for part in ("encoders", "decoders")
    }
    middle = _count(tensors, rf"{re.escape(prefix)}middle_blks\.(\d+)\..*")
    config = {"chans": chans, "encoder": counts["encoders"], "middle": middle, "decoder": counts["decoders"]}
    blocks = " | ".join(" ".join(map(str, part)) for part in (counts["encoders"], [middle], counts["decoders"]))
    return config, f"width {chans[0]}, blocks {blocks}"


def _doubling(config: dict[str, Any]) -> dict[str, Any]:
    chans = config.pop("chans")
    if chans != [chans[0] << level for level in range(len(chans))]:
        raise ValueError("channels do not double")
    return {"width": chans[0], **config}


def _count(tensors: Tensors, pattern: str) -> int:
    """How many there are, by the largest number."""
    return max((int(found[1]) + 1 for name in tensors if (found := re.fullmatch(pattern, name))), default=0)


def _first_block(tensors: Tensors, prefix: str) -> str:
    """Name, with the dot, of a block; which one is the same to what is asked of it."""
    pattern = rf"{re.escape(prefix)}(encoders\.\d+\.\d+|middle_blks\.\d+)\."
    return next(found[0] for name in tensors if (found := re.match(pattern, name)))


def _as_it_is(tensors: Tensors, renamed: Mapping[str, str] | None = None) -> Callable[[], dict[str, npt.NDArray[Any]]]:
    """All values by their own names, but for beginnings of names that are others in rawzoo."""

    def name_of(name: str, pairs: Iterable[tuple[str, str]]) -> str:
        return next((new + name.removeprefix(old) for old, new in pairs if name.startswith(old)), name)

    def convert() -> dict[str, npt.NDArray[Any]]:
        pairs = (renamed or {}).items()
        values = {name_of(name, pairs): np.asarray(tensor.numpy()) for name, tensor in tensors.items()}
        return {n: v.astype(np.float32) if v.dtype.kind == "f" else v for n, v in values.items()}

    return convert
