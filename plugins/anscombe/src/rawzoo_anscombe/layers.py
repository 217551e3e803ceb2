"""Convolution, batch normalisation and activation as one layer, padded as TensorFlow pads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


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
        activation: applied at the end, or None.
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
        activation: nn.Module | None,
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
        # By way of the dicts, which takes a tenth of the time.
        tensors = [self._parameters["weight"], *norm._parameters.values(), *norm._buffers.values()]
        # Every way to change a tensor shows in one of these; held below, a tensor's address is not given to another.
        state = [t if t is None else (t.data_ptr(), t.is_inference() or t._version) for t in tensors]
        if self._folded is None or self._folded[0] != state:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            dtype = self.weight.dtype
            exact = torch.promote_types(dtype, torch.float32)
            scale = (norm.running_var.to(exact) + norm.eps).rsqrt()
            if norm.weight is not None:
                scale = scale * norm.weight.to(exact)
            bias = norm.bias.to(exact) - norm.running_mean.to(exact) * scale
            weight = self.weight.to(exact) * scale[:, None, None, None]
            held = [t.detach() for t in tensors if t is not None]
            self._folded = state, held, weight.to(dtype), bias.to(dtype)
        return self._folded[2:]
