"""PyNET's layers, each in two forms: plain torch for training and export, and one that needs little memory.

Without gradients a layer goes through a picture in stripes of whole rows. Each stripe of the input is copied once, into
a buffer with its margin; there, side-by-side inputs are joined, two-fold larger ones are interpolated, and the memory
becomes channels-last. Results go straight to their place among the output's channels, and the second convolution of
each branch overwrites the first. So a block needs the memory of its input and its output and a few stripes, the
statistics of the instance norm are exact however large the picture is, and the result is that of the plain form.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo_pynet.topology import Part, Variant

_SLOPE = 0.2

# What a stripe's buffer may take. Larger ones gain no speed on a CPU.
_STRIPE_BYTES = {"cpu": 32 << 20}
_STRIPE_BYTES_GPU = 512 << 20


class Window(NamedTuple):
    """Where in a picture a tile lies, in packed pixels: its corner, and the size of the whole picture."""

    top: int
    left: int
    height: int
    width: int


class InstanceNorm(nn.Module):
    """Instance norm whose statistics can be taken over many pieces of one picture, and be kept.

    Args:
        channels: of the input.
        epsilon: added to the variance.

    Attributes:
        pooled: take the statistics over the whole batch, and keep them.
        kept: mean and variance, float32 ``[1, C, 1, 1]``, used instead of the input's own; None: none are.
    """

    def __init__(self, channels: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.epsilon = epsilon
        self.pooled = False
        self.kept: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]``, normalised over H and W; computed in float32."""
        y = functional.instance_norm(x.float(), None, None, self.weight.float(), self.bias.float(), eps=self.epsilon)
        return y.to(x.dtype)

    def affine(self, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift, float32 ``[N, C, 1, 1]``, that normalise by a mean and a variance."""
        scale = self.weight.float()[:, None, None] * torch.rsqrt(variance + self.epsilon)
        return scale, self.bias.float()[:, None, None] - mean * scale


class _Moments:
    """Mean and variance over the rows of ``[N, C, H, W]``, collected stripe by stripe (Chan, Golub and LeVeque)."""

    def __init__(self, pooled: bool) -> None:
        self._pooled = pooled
        self._count = 0
        self._mean = self._squares = torch.zeros(1, dtype=torch.float64)

    def add(self, y: Tensor) -> None:
        # A plain sum over pixels is fast in channels-last memory, torch.var_mean is not.
        pixels = y.float().permute(0, 2, 3, 1).flatten(1, 2)
        if self._pooled:
            pixels = pixels.flatten(0, 1)[None]
        count = pixels.shape[1]
        mean = pixels.sum(1) / count
        squares = (pixels - mean[:, None]).square_().sum(1).double()
        total = self._count + count
        if self._count == 0:
            self._mean, self._squares = mean.double(), squares
        else:
            delta = mean.double() - self._mean
            self._mean = self._mean + delta * (count / total)
            self._squares = self._squares + squares + delta.square() * (self._count * count / total)
        self._count = total

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean and biased variance, float32 ``[N, C, 1, 1]``."""
        mean, variance = self._mean, self._squares / self._count
        return mean.float()[..., None, None], variance.float()[..., None, None]


class ConvLayer(nn.Module):
    """Padding, a square convolution, if need be instance norm and LeakyReLU, or the activation of a head.

    Args:
        inputs, outputs: channels.
        kernel: size, odd.
        variant: padding, epsilon and the head's activation.
        norm: whether an instance norm follows.
        head: whether the result is a picture.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, variant: Variant, *, norm: bool = False, head: bool = False
    ) -> None:
        super().__init__()
        self.conv2d = nn.Conv2d(inputs, outputs, kernel)
        self.instance = InstanceNorm(outputs, variant.epsilon) if norm else None
        self.margin = kernel // 2
        self.padding = variant.padding
        self.head = variant.head if head else None

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> ``[N, C', H, W]``: the plain form."""
        mode = "reflect" if self.padding == "reflect" else "constant"
        y = self.conv2d(functional.pad(x, [self.margin] * 4, mode=mode))
        return self.activate(y if self.instance is None else self.instance(y))

    def activate(self, y: Tensor) -> Tensor:
        """The activation, in place where no gradient is wanted."""
        if self.head == "sigmoid":
            return y.sigmoid()
        if self.head == "tanh":
            return y.tanh() * 0.58 + 0.5
        return functional.leaky_relu(y, _SLOPE, inplace=not torch.is_grad_enabled())


class Block(nn.Module):
    """Two convolutions for each kernel size, the results side by side, from the smallest size to the largest."""

    def __init__(self, part: Part, variant: Variant) -> None:
        super().__init__()
        self.kernels = part.kernels
        self.channels = part.outputs
        for kernel in part.kernels:
            for letter, inputs in (("a", part.inputs), ("b", part.outputs)):
                layer = ConvLayer(inputs, part.outputs, kernel, variant, norm=part.norm)
                self.add_module(f"conv_{kernel}{letter}", layer)

    def forward(self, *inputs: Tensor, residual: bool = False) -> Tensor:
        """``[N, C, H, W]`` of ``inputs`` side by side -> ``[N, C', H, W]``; with ``residual`` plus the input."""
        first, second = ([self._layer(kernel, letter) for kernel in self.kernels] for letter in "ab")
        if _plain():
            x = torch.cat(inputs, 1)
            y = torch.cat([b(a(x)) for a, b in zip(first, second, strict=True)], 1)
            return x + y if residual else y
        out = _empty(inputs[0], self.channels * len(self.kernels))
        branches = out.chunk(len(self.kernels), 1)
        _striped(Joined(inputs), first, branches)
        for layer, branch in zip(second, branches, strict=True):
            _striped(Joined([branch]), [layer], [branch])
        if residual:
            for part, x in zip(_shares(out, inputs), inputs, strict=True):
                part.add_(x)
        return out

    def _layer(self, kernel: int, letter: str) -> ConvLayer:
        return cast(ConvLayer, self.get_submodule(f"conv_{kernel}{letter}"))


class Head(ConvLayer):
    """Features to a picture."""

    def __init__(self, part: Part, variant: Variant) -> None:
        super().__init__(part.inputs, part.outputs, 3, variant, head=True)

    def forward(self, x: Tensor) -> Tensor:
        """``[N, C, H, W]`` -> ``[N, 3, H, W]``."""
        if _plain():
            return super().forward(x)
        out = _empty(x, 3)
        _striped(Joined([x]), [self], [out])
        return out


class BilinearUp(ConvLayer):
    """Twice the size: bilinear between aligned corners, then a convolution."""

    def __init__(self, part: Part, variant: Variant) -> None:
        super().__init__(part.inputs, part.outputs, 3, variant)

    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:
        """``[N, C, H, W]`` -> ``[N, C', 2H, 2W]``; ``window``: where in the whole picture x lies, in pixels of x."""
        if _plain():
            return super().forward(functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))
        source = Doubled(x, window or Window(0, 0, *x.shape[2:]))
        out = _empty(x, self.conv2d.out_channels, 2)
        _striped(source, [self], [out])
        return out


class TransposedUp(nn.Module):
    """Twice the size: a transposed convolution."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.conv2d = nn.ConvTranspose2d(part.inputs, part.outputs, 3, stride=2, bias=False)

    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:  # noqa: ARG002  # knows no positions
        """``[N, C, H, W]`` -> ``[N, C', 2H, 2W]``."""
        # TensorFlow's SAME leaves out the last row and column.
        y = self.conv2d(x)[:, :, :-1, :-1]
        return functional.leaky_relu(y, _SLOPE, inplace=not torch.is_grad_enabled())


def make(part: Part, variant: Variant) -> nn.Module:
    """The module of a part."""
    if part.kind == "block":
        return Block(part, variant)
    if part.kind == "head":
        return Head(part, variant)
    return TransposedUp(part) if variant.transposed else BilinearUp(part, variant)


class _Source(Protocol):
    """What a layer reads: ``shape`` [N, C, H, W], and any rows of it."""

    shape: tuple[int, int, int, int]
    like: Tensor

    def copy(self, out: Tensor, top: int, bottom: int) -> None:
        """Write rows top to bottom to ``out``, ``[N, C, bottom - top, W]``."""
        ...


class Joined:
    """Tensors side by side in their channels."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.like = tensors[0]
        n, _, height, width = self.like.shape
        self.shape = n, sum(t.shape[1] for t in tensors), height, width
        self._tensors = tensors

    def copy(self, out: Tensor, top: int, bottom: int) -> None:
        for part, tensor in zip(_shares(out, self._tensors), self._tensors, strict=True):
            part.copy_(tensor[:, :, top:bottom])


class Doubled:
    """A tensor, twice as large: bilinear between the aligned corners of the whole picture, of which it is a window."""

    def __init__(self, x: Tensor, window: Window) -> None:
        self.like = x
        n, channels, height, width = x.shape
        self.shape = n, channels, 2 * height, 2 * width
        self._rows = _positions(x, window.top, height, window.height)
        self._columns = _positions(x, window.left, width, window.width)

    def copy(self, out: Tensor, top: int, bottom: int) -> None:
        above, below, weight = (t[top:bottom] for t in self._rows)
        x = torch.lerp(self.like[:, :, above], self.like[:, :, below], weight[:, None])
        left, right, weight = self._columns
        torch.lerp(x[..., left], x[..., right], weight, out=out)


def _positions(x: Tensor, start: int, size: int, whole: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two pixels of a line that stand behind each of twice as many, and the weight of the second.

    The line is ``size`` pixels from ``start`` of a whole of ``whole``.
    """
    place = torch.arange(2 * start, 2 * (start + size), dtype=torch.float64) * ((whole - 1) / (2 * whole - 1)) - start
    # Next to the cut edge of a window, the neighbour beyond it is not known.
    place = place.clamp(0, size - 1)
    before = place.floor().long().clamp(max=max(size - 2, 0))
    after = (before + 1).clamp(max=size - 1)
    return before.to(x.device), after.to(x.device), (place - before).to(x.device, x.dtype)


def _plain() -> bool:
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


def _empty(x: Tensor, channels: int, scale: int = 1) -> Tensor:
    n, _, height, width = x.shape
    shape = n, channels, scale * height, scale * width
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def _shares(out: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """The channels of ``out`` that stand for each of the inputs side by side."""
    ends = list(accumulate(x.shape[1] for x in inputs))
    return [out[:, end - x.shape[1] : end] for x, end in zip(inputs, ends, strict=True)]


class _Output:
    """What a layer makes, stripe by stripe, on its way to ``out``."""

    def __init__(self, layer: ConvLayer, out: Tensor, whole: bool) -> None:
        self.layer = layer
        self.out = out
        self._whole = whole
        norm = layer.instance
        self._affine = norm.affine(*norm.kept) if norm is not None and norm.kept is not None else None
        self._moments = _Moments(norm.pooled) if norm is not None and norm.kept is None else None

    def take(self, y: Tensor) -> Tensor:
        """What the convolution made, finished as far as it can be before all stripes are known."""
        if self._moments is None:
            return self._finished(y)
        self._moments.add(y)
        if not self._whole:
            return y
        self._measured()
        return self._finished(y)

    def _measured(self) -> None:
        norm = self.layer.instance
        assert norm is not None
        assert self._moments is not None
        statistics = self._moments.result()
        if norm.pooled:
            norm.kept = statistics
        self._affine = norm.affine(*statistics)

    def finish(self, spans: Sequence[tuple[int, int]]) -> None:
        """After the last stripe: what had to wait for the statistics."""
        if self._moments is None or self._whole:
            return
        self._measured()
        for top, bottom in spans:
            rows = self.out[:, :, top:bottom]
            rows.copy_(self._finished(rows))

    def _finished(self, y: Tensor) -> Tensor:
        if self._affine is None:
            return self.layer.activate(y)
        scale, shift = self._affine
        return self.layer.activate(torch.addcmul(shift, y.float(), scale)).to(y.dtype)


def _striped(source: _Source, layers: Sequence[ConvLayer], outs: Sequence[Tensor]) -> None:
    """Run layers that read one source; each writes to its own output, which may be the source's memory."""
    margin = max(layer.margin for layer in layers)
    spans = _spans(source, margin)
    outputs = [_Output(layer, out, whole=len(spans) == 1) for layer, out in zip(layers, outs, strict=True)]
    pending: list[tuple[Tensor, Tensor]] = []
    for top, bottom in spans:
        padded = _padded(source, top, bottom, margin, reflect=layers[0].padding == "reflect")
        # Only now: the output of the stripe before may overwrite what this one reads.
        for rows, made in pending:
            rows.copy_(made)
        pending = []
        for output in outputs:
            cut = margin - output.layer.margin
            window = padded[:, :, cut : padded.shape[2] - cut, cut : padded.shape[3] - cut]
            pending.append((output.out[:, :, top:bottom], output.take(output.layer.conv2d(window))))
    for rows, made in pending:
        rows.copy_(made)
    for output in outputs:
        output.finish(spans)


def _spans(source: _Source, margin: int) -> list[tuple[int, int]]:
    """The rows of each stripe. None is smaller than the margin, of which the next one needs the old values."""
    n, channels, height, width = source.shape
    allowed = _STRIPE_BYTES.get(source.like.device.type, _STRIPE_BYTES_GPU)
    rows = max(allowed // (n * channels * (width + 2 * margin) * source.like.element_size()), 4 * margin)
    count = max(round(height / rows), 1)
    edges = [height * i // count for i in range(count + 1)]
    return list(pairwise(edges))


def _padded(source: _Source, top: int, bottom: int, margin: int, *, reflect: bool) -> Tensor:
    """Rows top to bottom with a margin on every side, taken from the source or, outside of it, mirrored or zero."""
    n, channels, height, width = source.shape
    shape = n, channels, bottom - top + 2 * margin, width + 2 * margin
    like = source.like
    out = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)
    first, last = max(top - margin, 0), min(bottom + margin, height)
    above, below = first - (top - margin), bottom + margin - last
    end = shape[2] - below
    source.copy(out[:, :, above:end, margin : margin + width], first, last)
    rows = out[:, :, above:end]
    if reflect:
        rows[..., :margin] = rows[..., margin + 1 : 2 * margin + 1].flip(3)
        rows[..., margin + width :] = rows[..., width - 1 : margin + width - 1].flip(3)
        out[:, :, :above] = out[:, :, above + 1 : 2 * above + 1].flip(2)
        out[:, :, end:] = out[:, :, end - 1 - below : end - 1].flip(2)
    else:
        rows[..., :margin] = 0
        rows[..., margin + width :] = 0
        out[:, :, :above] = 0
        out[:, :, end:] = 0
    return out
