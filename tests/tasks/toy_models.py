"""Small models of the tasks isp, classify, super-resolution and quality, and what they are tried on."""

from dataclasses import replace
from fractions import Fraction

import numpy as np

from rawzoo.raw.image import ColorMatrix, RawImage
from rawzoo.zoo.card import ModelCard

NETWORKS = """
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from rawzoo import ops
from rawzoo.tasks.classify import Classification
from rawzoo.tasks.quality import Quality


class Planes(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Conv2d(4, 12, 1)

    def forward(self, x):
        return F.pixel_shuffle(self.mix(x), 2)


class FewerPlanes(Planes):
    def forward(self, x):
        return self.mix(x)[:, :3]


def render(predictor, raw, *, progress=None):
    mosaic = np.pad(raw.mosaic, ((0, raw.height % 2), (0, raw.width % 2)), mode="reflect")
    x = ops.pack(torch.from_numpy(mosaic.astype(np.float32)), raw.cfa, raw.black_level, raw.white_level)
    return predictor(torch.as_tensor(x), progress=progress)[:, : raw.height, : raw.width]


def render_half(predictor, raw, *, progress=None):
    return render(predictor, raw)[:, ::2, ::2]


class Pool(nn.Module):
    def __init__(self, channels, out):
        super().__init__()
        self.last = nn.Linear(channels, out)

    def forward(self, x):
        return self.last(x.mean((2, 3)))


def see(
    predictor, raw, *, noise: tuple[float, float] | None = None, size: int | None = None, label: str = "",
    loud: bool = False, progress: "NotImported | None" = None,
):
    x = torch.from_numpy((raw.mosaic.astype(np.float32) - 64) / 4031)[None]
    shares = torch.softmax(predictor.run(x), 0).numpy()
    said = f"noise {noise}" + (f", size {size}, label {label}" if size else "") + "!" * loud
    return Classification(shares, ("cat", "dog", "sky"), x.expand(3, -1, -1).numpy(), said)


def see_too_much(predictor, raw, *, noise=None, progress=None):
    found = see(predictor, raw)
    return Classification(found.probabilities * 2, found.labels)


def judge(predictor, picture):
    shares = torch.softmax(predictor.run(255 * picture), 0).numpy()
    return Quality(shares, np.arange(1, 11, dtype=np.float32))


def judge_backwards(predictor, picture):
    found = judge(predictor, picture)
    return Quality(found.distribution, found.scores[::-1].copy())


class Larger(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.conv(x - 100) + 100, 2)


class Sized(Larger):
    def forward(self, x):
        return super().forward(x) * (2 if x.shape[2] > 100 else 1)


class Plain(Planes):
    def forward(self, x):
        rgb = ops.demosaic(F.pixel_shuffle(x, 2)[0, 0], "RGGB", method="malvar")[None]
        return super().forward(x) + rgb


class Flat(Larger):
    def forward(self, x):
        return super().forward(x) - x.mean()
"""

NET = "job_networks"
ISP = ModelCard(
    "render", "isp", f"{NET}:Planes", summary="A sum.", input="raw-planes", output="srgb", cfa="bayer",
    scale=Fraction(2), adapter=f"{NET}:render",
)  # fmt: skip
CLASSIFY = ModelCard(
    "see", "classify", f"{NET}:Pool", {"channels": 1, "out": 3}, "A mean.", "network", "logits", cfa="bayer",
    halo=None, adapter=f"{NET}:see",
)  # fmt: skip
SR = ModelCard(
    "larger", "super-resolution", f"{NET}:Larger", summary="A convolution.", input="srgb-255", output="srgb-255",
    scale=Fraction(2), halo=1, dtypes=("float32", "bfloat16"),
)  # fmt: skip
QUALITY = ModelCard(
    "judge", "quality", f"{NET}:Pool", {"channels": 3, "out": 10}, "A mean.", "srgb-255", "distribution", halo=None,
    adapter=f"{NET}:judge",
)  # fmt: skip
CARDS = (
    *(ISP, CLASSIFY, SR, QUALITY),
    replace(ISP, name="half", adapter=f"{NET}:render_half"),
    replace(ISP, name="smaller", architecture=f"{NET}:FewerPlanes", scale=Fraction(1)),
    replace(CLASSIFY, name="too-much", adapter=f"{NET}:see_too_much"),
    replace(SR, name="flat", architecture=f"{NET}:Flat"),
    replace(SR, name="sized", architecture=f"{NET}:Sized"),
    ModelCard(
        "plain", "demosaic", f"{NET}:Plain", summary="A sum.", input="packed", cfa="RGGB", scale=Fraction(2), halo=2
    ),
    replace(QUALITY, name="backwards", adapter=f"{NET}:judge_backwards"),
)


#: What a file needs so that nothing has to be assumed about its colour.
KNOWN = {
    "as_shot_neutral": (0.5, 1.0, 0.65),
    "color_matrices": [ColorMatrix(21, ((0.69, -0.12, -0.09), (-0.38, 1.16, 0.25), (-0.04, 0.15, 0.6)))],
}


def raw_image(cfa="RGGB", height=31, width=45, **fields):
    mosaic = np.random.default_rng(0).integers(64, 4096, (height, width)).astype(np.uint16)
    return RawImage.from_array(mosaic, cfa=cfa, black_level=64, white_level=4095, source="shot.dng", **KNOWN | fields)
