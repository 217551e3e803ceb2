"""The losses of the Restorer repository and that of rawzoo's own denoiser, for recipes of ``rawzoo train``: called with
prediction and target, both ``[N, 3, H, W]`` in 0..1, and by keyword with what else their ``inputs`` name, they give one
number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo.errors import UsageError, WeightsError
from rawzoo.training.losses import MSSSIM
from rawzoo.training.recipe import make
from rawzoo.zoo import checkpoints

_COARSE = (0.1, 0.2, 0.448028, 0.352898, 0.199074)
# Exponent 1 of the finest scale only: its contrast and structure.
_FINE = (1.0, 0.0)

#: Layers of VGG16 (torchvision's numbers) whose features are compared, and those whose Gram matrices are: convolutions.
PERCEPTUAL, STYLE = (0, 5, 10, 19, 28), {0: 1.0, 5: 1.0, 10: 0.5, 17: 0.25}

#: Layers that LPIPS compares: after the ReLU of the last convolution of each size; and their channels.
_LPIPS = {3: 64, 8: 128, 15: 256, 22: 512, 29: 512}


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
    """Features of VGG16's layers (Simonyan and Zisserman, ICLR 2015), numbered as torchvision does: each convolution is
    followed by its ReLU.

    Args:
        weights: a checkpoint with torchvision's names (``features.0.weight``, ...); rawzoo brings none.

    Raises:
        WeightsError: it cannot be read, or is of another network.
    """

    def __init__(self, weights: str | Path) -> None:
        super().__init__()
        tensors = checkpoints.read(weights).tensors
        what = f"{weights} is not VGG16 of torchvision"
        layers: list[nn.Module] = []
        channels = 3
        for width in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512):
            if not width:
                layers.append(nn.MaxPool2d(2))
                continue
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            for part, parameter in convolution.named_parameters():
                parameter.data.copy_(_values(tensors, f"features.{len(layers)}.{part}", parameter.shape, what))
            layers += [convolution, nn.ReLU()]
            channels = width
        self.layers = nn.ModuleList(layers).requires_grad_(False)

    def forward(self, x: Tensor, numbers: Sequence[int]) -> list[Tensor]:
        """Features of the layers with these numbers, rising."""
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


class Lpips(nn.Module):
    """How different two pictures look: Zhang et al., "The unreasonable effectiveness of deep features as a perceptual
    metric" (CVPR 2018), version 0.1 on VGG16.

    Features of each pixel are brought to length 1; their squared differences, weighted by channel, are averaged over
    the picture and summed over five layers. Takes pictures in 0..1.

    Args:
        vgg: see :class:`Vgg16`.
        weights: of the channels: ``weights/v0.1/vgg.pth`` of the Python package ``lpips``; rawzoo brings none.

    Raises:
        WeightsError: a file cannot be read, or is of another network.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, vgg: str | Path, weights: str | Path) -> None:
        super().__init__()
        self.vgg = Vgg16(vgg)
        # Of pictures in -1..1; ImageNet's mean and deviation.
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None], persistent=False)
        tensors = checkpoints.read(weights).tensors
        what = f"{weights} is not LPIPS on VGG16"
        for i, channels in enumerate(_LPIPS.values()):
            values = _values(tensors, f"lin{i}.model.1.weight", (1, channels, 1, 1), what)
            self.register_buffer(f"channels{i}", values.flatten(), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One number."""
        pictures = ((2 * x - 1 - self.shift) / self.scale for x in (prediction, target))
        terms = []
        for i, pair in enumerate(zip(*(self.vgg(x, list(_LPIPS)) for x in pictures), strict=True)):
            p, t = (x / (torch.linalg.vector_norm(x, dim=1, keepdim=True) + 1e-10) for x in pair)
            weights: Tensor = getattr(self, f"channels{i}")
            terms.append(torch.einsum("nchw,c->nhw", (p - t).square(), weights).mean())
        return torch.stack(terms).sum()


class ShadowAware(nn.Module):
    """L1 that weighs shadows more, MS-SSIM, and total variation of the shadows.

    Pixels weigh ``alpha + (1 - alpha) exp(-beta Y)``, Y the target's luminance. (The published code also has a term of
    a random network, computed without gradient: it only moves the value and is left out.)

    Args:
        alpha, beta: see above.
        l1, ssim, tv, perceptual, sharpness: weights of the terms; MS-SSIM needs 176 pixels a side. ``perceptual`` is
            0.025, as published, where ``vgg`` is given, and else left out.
        gamma: prediction and target are clipped and raised to 1/gamma first; None takes them as they are.
        vgg: see :class:`Vgg16`; needed for the term ``perceptual``.

    Raises:
        UsageError: ``perceptual`` without ``vgg``.
    """

    def __init__(
        self,
        alpha: float = 0.2,
        beta: float = 5.0,
        l1: float = 0.16,
        ssim: float = 0.84,
        tv: float = 0.0,
        perceptual: float | None = None,
        sharpness: float = 0.0,
        gamma: float | None = 2.2,
        vgg: str | Path | None = None,
    ) -> None:
        super().__init__()
        if perceptual is None:
            perceptual = 0.0 if vgg is None else 0.025
        self.alpha, self.beta, self.gamma = alpha, beta, gamma
        self.l1, self.ssim, self.tv, self.perceptual, self.sharpness = l1, ssim, tv, perceptual, sharpness
        self.ms_ssim = MSSSIM()
        self.features = Perceptual(_given(vgg, "perceptual", _VGG)) if perceptual else None

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
            :class:`Perceptual`, of sRGB-encoded pictures), ``style`` (Gram matrices of the same network), ``lpips``
            (see :class:`Lpips`, of sRGB-encoded pictures), ``frequency`` (L1 of the cosine transform), ``chroma``,
            ``luma``, ``luma_mse``, ``luma_struct``, ``sharpness``, ``gradient``.
        vgg: see :class:`Vgg16`; needed for ``vgg``, ``style`` and ``lpips``.
        lpips: ``weights`` of :class:`Lpips`; needed for ``lpips``.

    Raises:
        UsageError: a term that is none of these, or one that needs a file that is not given.
    """

    def __init__(
        self, terms: Mapping[str, float], vgg: str | Path | None = None, lpips: str | Path | None = None
    ) -> None:
        super().__init__()
        self._known: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "l1": functional.l1_loss,
            "mse": functional.mse_loss,
            "ssim": lambda p, t: self._ssim(p, t),
            "ssim_coarse": lambda p, t: self._coarse(p, t),
            "ssim_fine": lambda p, t: self._fine(p, t),
            "vgg": self._perceptual,
            "style": self._style,
            "lpips": lambda p, t: self._lpips(srgb_curve(p), srgb_curve(t)),
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
        self.vgg = Vgg16(_given(vgg, needy[0], _VGG)) if needy else None
        if terms.get("lpips"):
            self._lpips = Lpips(_given(vgg, "lpips", _VGG), _given(lpips, "lpips", _LINEAR))

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
        criterion: of each: a module, or as a recipe has it, such as ``l1`` or a name with options.
        weights: one for each output.
    """

    def __init__(self, criterion: nn.Module | str | Mapping[str, Any], weights: Sequence[float]) -> None:
        super().__init__()
        self.criterion = _criterion(criterion)
        self.weights = tuple(weights)

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


class Conservative(nn.Module):
    """:func:`conservative_l1` of a recipe.

    Args:
        given: the entry of the batch that is the network's input as a picture.
        inside: what differences between input and target count.
    """

    def __init__(self, given: str = "rgb", inside: float = 0.1) -> None:
        super().__init__()
        self.inputs, self.inside = (given,), inside

    def forward(self, prediction: Tensor, target: Tensor, **inputs: Tensor) -> Tensor:
        """One number."""
        (given,) = inputs.values()
        return conservative_l1(prediction, target, given, self.inside)


class ColorMatrix(nn.Module):
    """A loss in other colours than the network's: of sRGB, say, of a network that gives Rec. 2020 (CCMLoss).

    Args:
        criterion: a module, or as a recipe has it: ``l1``, ``rawzoo_naf.losses:ShadowWeightedL1``.
        matrix: the entry of the batch that takes each picture to the other colours, ``[N, 3, 3]``; None for none.
        gamma: after the matrix, both are clipped and raised to 1/gamma; None takes them as they are.
        lpips: weight of :class:`Lpips`, which the criterion is added to.
        vgg, lpips_weights: its files.

    Raises:
        UsageError: ``lpips`` without its files.
    """

    def __init__(
        self,
        criterion: nn.Module | str | Mapping[str, Any] = "l1",
        matrix: str | None = "to_srgb",
        gamma: float | None = None,
        lpips: float = 0.0,
        vgg: str | Path | None = None,
        lpips_weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.criterion = _criterion(criterion)
        self.inputs = () if matrix is None else (matrix,)
        self.gamma, self.lpips = gamma, lpips
        if lpips:
            self.look = Lpips(_given(vgg, "lpips", _VGG), _given(lpips_weights, "lpips", _LINEAR))

    def forward(self, prediction: Tensor, target: Tensor, **inputs: Tensor) -> Tensor:
        """One number."""
        pair = [prediction, target]
        for matrix in inputs.values():
            pair = [torch.einsum("nij,njhw->nihw", matrix, x) for x in pair]
        if self.gamma is not None:
            pair = [x.clamp(1e-6, 1) ** (1 / self.gamma) for x in pair]
        loss: Tensor = self.criterion(*pair)
        return loss + self.lpips * self.look(*pair) if self.lpips else loss


_VGG = "vgg, the path of torchvision's VGG16"
_LINEAR = "the path of weights/v0.1/vgg.pth of the Python package lpips"


def _given(path: str | Path | None, term: str, what: str) -> str | Path:
    if path is None:
        raise UsageError(f"the loss term {term} needs a file of weights: give {what}.")
    return path


def _criterion(criterion: nn.Module | str | Mapping[str, Any]) -> nn.Module:
    if isinstance(criterion, nn.Module):
        return criterion
    made: nn.Module = make("loss", criterion, "loss.criterion")
    return made


def _values(tensors: Mapping[str, checkpoints.Tensor], name: str, shape: Sequence[int], what: str) -> Tensor:
    if name not in tensors or tuple(tensors[name].shape) != tuple(shape):
        raise WeightsError(f"{what}: {name} is missing or of another shape.")
    return torch.from_numpy(tensors[name].numpy())
