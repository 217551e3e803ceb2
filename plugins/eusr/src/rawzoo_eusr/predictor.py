"""The score predictors of 4PP-EUSR: MobileNetV2 with a distribution of scores in place of classes (NIMA).

Sandler et al.: MobileNetV2, CVPR 2018; Talebi, Milanfar: NIMA: neural image assessment, TIP 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

from rawzoo.ops.resize import resize_tensorflow
from rawzoo.tasks.quality import Quality
from rawzoo_eusr.network import halving_pad

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor

#: Edge of the square that is judged.
SIZE = 192

#: Expansion, channels, repeats and first stride of MobileNetV2's stages.
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
FEATURES = 1280


class ScorePredictor(nn.Module):
    """How likely people give a picture each score.

    Args:
        scores: what the outputs stand for, one number each.
    """

    def __init__(self, scores: Sequence[float]) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3, stride=2)
        blocks, channels = [], 32
        for expansion, out, repeats, stride in STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, out, expansion, 1 if repeat else stride))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvNorm(channels, FEATURES, 1)
        self.dropout = nn.Dropout(0.75)
        self.dense = nn.Linear(FEATURES, len(scores))

    def forward(self, x: Tensor) -> Tensor:
        """``[N, 3, 192, 192]``, R, G, B in 0..255 -> ``[N, len(scores)]``, each row a distribution."""
        return self.scored(self.features(x))

    def scored(self, features: Tensor) -> Tensor:
        """What :meth:`forward` makes of :meth:`features`."""
        return functional.softmax(self.dense(self.dropout(features)), dim=1)

    def features(self, x: Tensor) -> Tensor:
        """``[N, 1280]``: what the scores are computed from, means over the picture."""
        y: Tensor = self.head(self.blocks(self.stem((x - 127.5) / 127.5)))
        return y.mean((2, 3))


class ConvNorm(nn.Module):
    """Convolution, batch normalisation and, unless ``linear``, ReLU6."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        padding = 0 if stride == 2 else kernel // 2
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        # Keras's momentum 0.999 weighs the past, torch's the present.
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=1e-3)
        self.halves = stride == 2
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(halving_pad(x) if self.halves else x))
        return y if self.linear else functional.relu6(y, inplace=True)


class InvertedResidual(nn.Module):
    """Widen, filter each channel, narrow; added to the input where sizes allow."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = ConvNorm(inputs, wide, 1) if expansion > 1 else nn.Identity()
        self.depthwise = ConvNorm(wide, wide, 3, stride=stride, groups=wide)
        self.project = ConvNorm(wide, outputs, 1, linear=True)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


def assess(predictor: Predictor, picture: Tensor) -> Quality:
    """The adapter: the middle of a picture, as the predictors were validated.

    The middle square, if its edge is below 192 pixels enlarged to that, and of it the middle 192 x 192 pixels: fine
    detail is judged as it is. For a judgement of a whole picture make it smaller first.

    Args:
        picture: float ``[3, H, W]``, sRGB, 0..1.
    """
    height, width = picture.shape[1:]
    edge = min(height, width)
    square = _middle(255.0 * picture, edge)
    if edge < SIZE:
        square = resize_tensorflow(square, (SIZE, SIZE), method="bilinear")
    distribution = predictor.run(_middle(square, SIZE))
    scores = np.array(predictor.card.config["scores"], np.float32)
    return Quality(distribution.cpu().numpy(), scores)


def _middle(x: Tensor, edge: int) -> Tensor:
    top, left = (x.shape[1] - edge) // 2, (x.shape[2] - edge) // 2
    return x[:, top : top + edge, left : left + edge]
