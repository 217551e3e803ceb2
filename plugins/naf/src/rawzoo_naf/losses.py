"""The losses of the Restorer repository and that of rawzoo's own denoiser, for recipes of ``rawzoo train``: called with
prediction and target, both ``[N, 3, H, W]`` in 0..1, they give one number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo.errors import UsageError, WeightsError
from rawzoo.training.losses import MSSSIM
from rawzoo.zoo import checkpoints

_COARSE = (0.1, 0.2, 0.448028, 0.352898, 0.199074)
# Exponent 1 of the finest scale only: its contrast and structure.
_FINE = (1.0, 0.0)

#: Convolutions of VGG16 (torchvision's numbers) whose features are compared, and those whose Gram matrices are.
PERCEPTUAL, STYLE = (0, 5, 10, 19, 28), {0: 1.0, 5: 1.0, 10: 0.5, 17: 0.25}


def luminance(rgb: Tensor) -> Tensor:
    """BT.709, ``[N, 1, H, W]``."""
    weights = rgb.new_tensor([0.2126, 0.7152, 0.0722])
    return torch.einsum("nchw,c->nhw", rgb, weights)[:, None]


def srgb_curve(x: Tensor) -> Tensor:
    """Linear to sRGB-encoded."""
    return torch.where(x > 0.0031308, 1.055 * x.clamp(min=0.0031308) ** (1 / 2.4) - 0.055, 12.92 * x)


def y_cb_cr(rgb: Tensor) -> Tensor:
    """Full-range BT.601 as in JPEG, ``[N, 3, H, W]``, chroma around 0.5."""
    r, g, b = rgb.unbind(1)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return torch.stack([y, 0.564 * (b - y) + 0.5, 0.713 * (r - y) + 0.5], dim=1)


def detail(x: Tensor, size: int) -> Tensor:
    """What a Gaussian blur of sigma 1 and ``size`` taps takes away."""
    taps = torch.exp(-0.5 * (torch.arange(size, device=x.device, dtype=x.dtype) - size // 2) ** 2)
    taps = taps / taps.sum()
    kernel = (taps[:, None] * taps).expand(x.shape[1], 1, size, size)
    padded = functional.pad(x, (size // 2,) * 4, mode="reflect")
    return x - functional.conv2d(padded, kernel, groups=x.shape[1])


def gradient_l1(prediction: Tensor, target: Tensor) -> Tensor:
    """L1 of the steps from pixel to pixel, along rows and along columns."""
    steps = [(x.diff(dim=3), x.diff(dim=2)) for x in (prediction, target)]
    return functional.l1_loss(steps[0][0], steps[1][0]) + functional.l1_loss(steps[0][1], steps[1][1])


def conservative_l1(prediction: Tensor, target: Tensor, given: Tensor, inside: float = 0.1) -> Tensor:
    """L1 that forgives doing too little: between the input and the target a difference counts a tenth; on the input's
    side of the target but beyond the input, only what is beyond counts in full.

    Args:
        given: the network's input.
        inside: what differences between input and target count.
    """
    error = prediction - target
    between = error * (prediction - given) < 0
    beyond = (error * (given - target) > 0) & ~between
    difference = torch.where(between, inside * error.abs(), error.abs())
    return (difference + beyond * (inside - 1) * (target - given).abs()).mean()


def cosine_transform(x: Tensor) -> Tensor:
    """DCT-II over rows and columns, not normalised: ``2 sum x cos(pi k (2 n + 1) / (2 N))``."""
    for dim in (2, 3):
        n = torch.arange(x.shape[dim], device=x.device, dtype=x.dtype)
        waves = 2 * torch.cos(torch.pi * n[:, None] * (2 * n + 1) / (2 * len(n)))
        x = (x.movedim(dim, -1) @ waves.T).movedim(-1, dim)
    return x


def gram(features: Tensor) -> Tensor:
    """``F F^T / (C H W)`` of ``[N, C, H, W]``, ``[N, C, C]``."""
    flat = features.flatten(2)
    return flat @ flat.transpose(1, 2) / (flat.shape[1] * flat.shape[2])


class Vgg16(nn.Module):
    """Features of VGG16's convolutions, before their ReLU (Simonyan and Zisserman, ICLR 2015).

    Args:
        weights: a checkpoint with torchvision's names (``features.0.weight``, ...); rawzoo brings none.

    Raises:
        WeightsError: it cannot be read, or is of another network.
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        tensors = checkpoints.read(weights).tensors
        layers: list[nn.Module] = []
        channels = 3
        for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
            if not width:
                layers.append(nn.MaxPool2d(2))
                continue
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            for part, parameter in convolution.named_parameters():
                name = f"features.{len(layers)}.{part}"
                if name not in tensors or tuple(tensors[name].shape) != tuple(parameter.shape):
                    raise WeightsError(f"{weights} is not VGG16 of torchvision: {name} is missing or of another shape.")
                parameter.data.copy_(torch.from_numpy(tensors[name].numpy()))
            layers += [convolution, nn.ReLU()]
            channels = width
        self.layers = nn.ModuleList(layers[:-1]).requires_grad_(False)

    def forward(self, x: Tensor, numbers: Sequence[int]) -> list[Tensor]:
        """Features of the convolutions with these numbers, rising."""
        found = []
        for number, layer in zip(range(max(numbers) + 1), self.layers, strict=False):
            x = layer(x)
            if number in numbers:
                found.append(x)
        return found


class Perceptual(nn.Module):
    """L1 of VGG16's features, summed over five layers.

    Args:
        vgg: see :class:`Vgg16`.
    """

    def __init__(self, vgg: str | Path) -> None:
        super().__init__()
        self.vgg = Vgg16(vgg)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One number."""
        pairs = zip(self.vgg(prediction, PERCEPTUAL), self.vgg(target, PERCEPTUAL), strict=True)
        return torch.stack([functional.l1_loss(*pair) for pair in pairs]).sum()


class ShadowAware(nn.Module):
    """L1 that weighs shadows more, MS-SSIM, and total variation of the shadows.

    Pixels weigh ``alpha + (1 - alpha) exp(-beta Y)``, Y the target's luminance. (The published code also has a term of
    a random network, computed without gradient: it only moves the value and is left out.)

    Args:
        alpha, beta: see above.
        l1, ssim, tv, perceptual, sharpness: weights of the terms; MS-SSIM needs 176 pixels a side.
        gamma: prediction and target are clipped and raised to 1/gamma first; None takes them as they are.
        vgg: see :class:`Vgg16`; needed for the term ``perceptual``.
    """

    def __init__(
        self,
        alpha: float = 0.2,
        beta: float = 5.0,
        l1: float = 0.16,
        ssim: float = 0.84,
        tv: float = 0.0,
        perceptual: float = 0.0,
        sharpness: float = 0.0,
        gamma: float | None = 2.2,
        vgg: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.l1, self.ssim, self.tv, self.perceptual, self.sharpness = l1, ssim, tv, perceptual, sharpness
        self.ms_ssim = MSSSIM()
        self.features = Perceptual(_given(vgg, "perceptual")) if perceptual else None

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One number."""
        if self.gamma is not None:
            prediction, target = (x.clamp(1e-6, 1) ** (1 / self.gamma) for x in (prediction, target))
        light = luminance(target)
        weight = self.alpha + (1 - self.alpha) * torch.exp(-self.beta * light)
        total = self.l1 * (weight * (prediction - target).abs()).mean()
        if self.ssim:
            total = total + self.ssim * self.ms_ssim(prediction, target)
        if self.tv:
            dark = (light < 0.2).to(prediction.dtype)
            across, down = prediction.diff(dim=3).abs(), prediction.diff(dim=2).abs()
            total = total + self.tv * ((dark[..., 1:] * across).mean() + (dark[:, :, 1:] * down).mean())
        if self.features is not None:
            total = total + self.perceptual * self.features(prediction, target)
        if self.sharpness:
            sharp = functional.l1_loss(detail(prediction, 5), detail(target, 5))
            total = total + self.sharpness * (functional.l1_loss(prediction, target) + sharp)
        return total


class LogMse(nn.Module):
    """Mean over the pictures of a batch of half the logarithm of their mean squared error: PSNR as a loss.

    A picture counts by how much better, in relation, it could get, so that very noisy ones, whose errors are a hundred
    times as large, do not drown the others.

    Args:
        least: errors far below this count no more.
    """

    def __init__(self, least: float = 1e-3) -> None:
        super().__init__()
        self.least = least

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One number."""
        return 0.5 * ((prediction - target).square().mean((1, 2, 3)) + self.least**2).log().mean()


class ShadowWeightedL1(nn.Module):
    """L1 weighed ``0.2 + 0.16 / (Y + 0.2)``, Y the target's luminance: what the deployed networks are named after."""

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One number."""
        weight = 0.2 + 0.8 * 0.2 / (luminance(target) + 0.2)
        return (weight * (prediction - target).abs()).mean()


class Combined(nn.Module):
    """A weighted sum of terms (CombinedPerceptualLoss).

    Args:
        terms: name -> weight, of: ``l1``, ``mse``, ``ssim``, ``ssim_coarse``, ``ssim_fine``, ``vgg`` (see
            :class:`Perceptual`, of sRGB-encoded pictures), ``style`` (Gram matrices of the same network), ``frequency``
            (L1 of the cosine transform), ``chroma``, ``luma``, ``luma_mse``, ``luma_struct``, ``sharpness``,
            ``gradient``.
        vgg: see :class:`Vgg16`; needed for ``vgg`` and ``style``.

    Raises:
        UsageError: a term that is none of these, or one that needs ``vgg`` without it.
    """

    def __init__(self, terms: Mapping[str, float], vgg: str | Path | None = None) -> None:
        super().__init__()
        self._known: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "l1": functional.l1_loss,
            "mse": functional.mse_loss,
            "ssim": lambda p, t: self._ssim(p, t),
            "ssim_coarse": lambda p, t: self._coarse(p, t),
            "ssim_fine": lambda p, t: self._fine(p, t),
            "vgg": self._perceptual,
            "style": self._style,
            "frequency": lambda p, t: functional.l1_loss(cosine_transform(p), cosine_transform(t)),
            "chroma": lambda p, t: functional.l1_loss(y_cb_cr(p)[:, 1:], y_cb_cr(t)[:, 1:]),
            "luma": lambda p, t: functional.l1_loss(y_cb_cr(p)[:, :1], y_cb_cr(t)[:, :1]),
            "luma_mse": lambda p, t: functional.mse_loss(y_cb_cr(p)[:, :1], y_cb_cr(t)[:, :1]),
            "luma_struct": lambda p, t: self._fine(y_cb_cr(p)[:, :1], y_cb_cr(t)[:, :1]),
            "sharpness": lambda p, t: functional.l1_loss(detail(p, 11), detail(t, 11)),
            "gradient": gradient_l1,
        }
        if unknown := set(terms) - self.known:
            raise UsageError(f"loss terms {', '.join(sorted(unknown))} are none of {', '.join(self._known)}.")
        self.terms = dict(terms)
        self._ssim, self._coarse, self._fine = MSSSIM(), MSSSIM(_COARSE), MSSSIM(_FINE)
        needy = [name for name in ("vgg", "style") if terms.get(name)]
        self.vgg = Vgg16(_given(vgg, needy[0])) if needy else None

    @property
    def known(self) -> set[str]:
        """Names of all terms."""
        return set(self._known)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One number."""
        return torch.stack(
            [weight * self._known[name](prediction, target) for name, weight in self.terms.items() if weight]
        ).sum()

    def _features(self, prediction: Tensor, target: Tensor, numbers: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        assert self.vgg is not None
        return list(zip(*(self.vgg(srgb_curve(x), numbers) for x in (prediction, target)), strict=True))

    def _perceptual(self, prediction: Tensor, target: Tensor) -> Tensor:
        pairs = self._features(prediction, target, PERCEPTUAL)
        return torch.stack([functional.l1_loss(*pair) for pair in pairs]).sum()

    def _style(self, prediction: Tensor, target: Tensor) -> Tensor:
        pairs = zip(STYLE.values(), self._features(prediction, target, list(STYLE)), strict=True)
        return torch.stack([weight * functional.mse_loss(gram(p), gram(t)) for weight, (p, t) in pairs]).sum()


class MultiScale(nn.Module):
    """A loss at several sizes: each output against the target brought to its size.

    Args:
        criterion: of each.
        weights: one for each output.
    """

    def __init__(self, criterion: nn.Module, weights: Sequence[float]) -> None:
        super().__init__()
        self.criterion, self.weights = criterion, tuple(weights)

    def forward(self, predictions: Sequence[Tensor], target: Tensor) -> Tensor:
        """One number.

        Raises:
            UsageError: not as many predictions as weights.
        """
        if len(predictions) != len(self.weights):
            raise UsageError(f"{len(predictions)} predictions were given for {len(self.weights)} weights.")
        losses = []
        for weight, prediction in zip(self.weights, predictions, strict=True):
            resized = functional.interpolate(target, prediction.shape[2:], mode="bilinear", align_corners=False)
            losses.append(weight * self.criterion(prediction, resized))
        return torch.stack(losses).sum()


def _given(vgg: str | Path | None, term: str) -> str | Path:
    if vgg is None:
        raise UsageError(f"the loss term {term} needs VGG16's weights: give vgg, the path of torchvision's file.")
    return vgg
