"""Convolution, batch normalisation and activation as one layer, padded as TensorFlow pads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Activation = Callable[[Tensor], Tensor]


def relu(x: Tensor) -> Tensor:
    return functional.relu(x)


def relu6(x: Tensor) -> Tensor:
    return functional.relu6(x)


def leaky_relu(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.2)


class ConvNorm(nn.Conv2d):
    """A convolution without bias, batch normalisation, and an activation.

    The size of the output is the input's divided by the stride, rounded up (TensorFlow's SAME padding: where an even
    side is halved, the one row or column that is missing comes after it).

    Where no gradients are recorded, the normalisation is folded into the kernel, which spares a pass over the
    activations; the parameters stay as they are. What torch.compile and torch.export see is not folded.

    Args:
        inputs, outputs: channels.
        kernel: edge, 1 or 3.
        stride: 1 or 2.
        eps: added to the variance.
        decay: of the running statistics, per step of training.
        scale: whether the normalisation has a factor (gamma) beside its shift.
        depthwise: one kernel for each channel.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 3,
        *,
        stride: int = 1,
        eps: float,
        decay: float,
        scale: bool = True,
        activation: Activation | None = relu,
        depthwise: bool = False,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=inputs if depthwise else 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=eps, momentum=1.0 - decay)
        if not scale:
            self.norm.register_parameter("weight", None)
        self.activation = activation
        self._folded: tuple[object, list[Tensor], Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            x = self.norm(self._convolve(x, self.weight, None))
        else:
            x = self._convolve(x, *self._fold())
        return x if self.activation is None else self.activation(x)

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        stride, reach = self.stride[0], self.kernel_size[0] // 2
        if stride == 1 or reach == 0:
            return functional.conv2d(x, weight, bias, stride, reach, groups=self.groups)
        top, left = (n % 2 for n in x.shape[2:])
        x = functional.pad(x, (left, reach, top, reach))
        return functional.conv2d(x, weight, bias, stride, groups=self.groups)

    def _fold(self) -> tuple[Tensor, Tensor]:
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        tensors = [self.weight, norm.bias, norm.running_mean, norm.running_var]
        if norm.weight is not None:
            tensors.append(norm.weight)
        # Every way to change a tensor shows in one of these; held below, a tensor's address is not given to another.
        state = [(t.data_ptr(), t.dtype, 0 if t.is_inference() else t._version) for t in tensors]
        if self._folded is None or self._folded[0] != state:
            dtype = self.weight.dtype
            exact = torch.promote_types(dtype, torch.float32)
            scale = (norm.running_var.to(exact) + norm.eps).rsqrt()
            if norm.weight is not None:
                scale = scale * norm.weight.to(exact)
            bias = norm.bias.to(exact) - norm.running_mean.to(exact) * scale
            weight = self.weight.to(exact) * scale[:, None, None, None]
            self._folded = state, [t.detach() for t in tensors], weight.to(dtype), bias.to(dtype)
        return self._folded[2:]
