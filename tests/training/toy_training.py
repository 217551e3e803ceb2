"""Networks and data for the tests of training, named by dotted path in their recipes."""

import numpy as np
import torch
from torch import nn

from rawzoo.training.datasets import TrainingData


class Toy(nn.Module):
    """Two convolutions over packed planes, one of them of what is known of the noise, and dropout."""

    def __init__(self, width: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, width, 3, padding=1)
        self.second = nn.Conv2d(width, 12, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x, noise):
        self.calls += self.training
        sigma = noise[:, :, 1].sqrt()[:, :, None, None].expand_as(x)
        hidden = self.dropout(torch.relu(self.first(torch.cat([x, sigma], 1))))
        return nn.functional.pixel_shuffle(self.second(hidden), 2)


class Rooted(Toy):
    """Judged by the roots of its output."""

    def encoded(self, x, noise):
        return super().forward(x, noise)

    def forward(self, x, noise):
        y = self.encoded(x, noise)
        return y * y.abs()

    @staticmethod
    def encode(target):
        return torch.sign(target) * target.abs().sqrt()


class Pyramid(nn.Module):
    """Two outputs, the last one the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x):
        y = self.layer(x)
        return [nn.functional.avg_pool2d(y, 2), y]


class OfLast(nn.Module):
    """A loss that takes a list."""

    def forward(self, outputs, target):
        return (outputs[-1] - target).abs().mean() + outputs[0].abs().mean()


class Halved(nn.Module):
    """A loss that also looks at the mosaic."""

    inputs = ("mosaic",)

    def forward(self, output, target, mosaic):
        return (output - (target + mosaic) / 2).abs().mean()


class Missing(Halved):
    inputs = ("rgb",)


class Lines(TrainingData):
    """Clean and noisy lines; all chance is in the samples, none in the batch."""

    def __init__(self, size: int = 8, things: int = 6) -> None:
        self.size, self.things = size, things

    def __len__(self) -> int:
        return self.things

    def sample(self, index, rng):
        clean = rng.random((3, 1, self.size), np.float32).repeat(self.size, 1) + np.float32(index / 10)
        noisy = clean[:1] + 0.1 * rng.standard_normal((1, self.size, self.size), np.float32)
        return {"mosaic": torch.from_numpy(noisy), "target": torch.from_numpy(clean), "index": index}

    @property
    def validation_size(self) -> int:
        return 5

    def validation(self, index):
        batch = self.sample(index, np.random.default_rng(index))
        return f"line{index % 2}", {"mosaic": batch["mosaic"][None], "target": batch["target"][None], "cfa": "RGGB"}


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 3, 3, padding=1)

    def forward(self, x):
        return self.layer(x)


class Broken(Line):
    """Its weights run away."""

    def forward(self, x):
        return self.layer(x) * torch.tensor(float("nan"))
