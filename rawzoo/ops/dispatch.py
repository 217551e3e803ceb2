"""How a call reaches its kernel: NumPy or torch, native or reference, eager or through torch's dispatcher."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.ops import backend, levels
from rawzoo.raw import cfa as cfa_patterns

if TYPE_CHECKING:
    import torch

Args = tuple[Any, ...]
Shape = tuple[int, ...]
Array = TypeVar("Array", npt.NDArray[Any], "torch.Tensor")


@dataclass(frozen=True)
class Op:
    """What the ways to a kernel need to know about an op.

    Attributes:
        argument: name of the array argument, for messages.
        inputs: dtypes of that argument.
        shape: shape of the result, from that of the input and the arguments; raises for a wrong one. Sizes may be
            symbolic.
        native: calls the function of a native module with (module, input, output, arguments, threads or stream).
        dtype: position of the result's dtype among the arguments; None: float64 for float64, else float32.
        outputs: dtypes that argument may have.
        contiguous: the native kernel takes contiguous input only, else any with adjacent samples in a row.
        curve: position of the curve among the arguments, which is an array too.
        maps: positions of further arrays, of the input's kind, dtype and shape, contiguous.
    """

    argument: str
    inputs: tuple[str, ...]
    shape: Callable[[Shape, Args], Shape]
    native: Callable[[Any, Any, Any, Args, int], None]
    dtype: int | None = None
    outputs: tuple[str, ...] = ()
    contiguous: bool = False
    curve: int | None = None
    maps: tuple[int, ...] = ()


def _shape_error(argument: str, wanted: str, shape: Shape) -> UsageError:
    return UsageError(f"{argument} must have shape {wanted}, not {[int(n) for n in shape]}.")


def _packed_shape(shape: Shape, args: Args) -> Shape:
    period = cfa_patterns.period(args[0])
    if len(shape) != 2 or shape[0] % period or shape[1] % period:
        raise _shape_error("mosaic", f"[H, W] with sides that are multiples of {period}", shape)
    return period**2, shape[0] // period, shape[1] // period


def _unpacked_shape(shape: Shape, args: Args) -> Shape:
    period = cfa_patterns.period(args[0])
    if len(shape) != 3 or shape[0] != period**2:
        raise _shape_error("planes", f"[{period**2}, h, w]", shape)
    return period * shape[1], period * shape[2]


def _balanced_shape(shape: Shape, _: Args) -> Shape:
    if len(shape) != 2:
        raise _shape_error("mosaic", "[H, W]", shape)
    return shape


def _mosaic_size(shape: Shape, cfa: str) -> Shape:
    period = cfa_patterns.period(cfa)
    if len(shape) != 2 or shape[0] < period or shape[1] < period:
        raise _shape_error("mosaic", f"[H, W] with H and W at least {period}", shape)
    return shape


def _mapped_shape(shape: Shape, args: Args) -> Shape:
    for name, values in zip(("gain", "sigma", "offset"), args[:3], strict=True):
        if tuple(values.shape) != tuple(shape):
            raise _shape_error(name, f"{[int(n) for n in shape]} like the input", tuple(values.shape))
    return shape


def _channelled_shape(shape: Shape, args: Args) -> Shape:
    if len(args[0]) > 1 and (len(shape) != 3 or shape[0] != len(args[0])):
        raise UsageError(
            f"gain, sigma and offset have {len(args[0])} values, one for each channel of an input "
            f"[{len(args[0])}, H, W], not of {[int(n) for n in shape]}."
        )
    return shape


def _demosaiced_shape(shape: Shape, cfa: str, method: str) -> Shape:
    height, width = _mosaic_size(shape, cfa)
    return (height // 2, width // 2) if method == "superpixel" else (height, width)


def _rgb_shape(shape: Shape, args: Args) -> Shape:
    size = _demosaiced_shape(shape, args[0], args[1])
    return (3, *size) if args[4] == "planar" else (*size, 3)


def _rendered_shape(shape: Shape, _: Args) -> Shape:
    if len(shape) != 3 or shape[0] != 3:
        raise _shape_error("rgb", "[3, H, W]", shape)
    return shape[1], shape[2], 3


def _by_cell(cfa: str, values: Sequence[float]) -> levels.Values:
    """Values per channel as values per cell of the tile."""
    return tuple(values[channel] for channel in cfa_patterns.channel_tile(cfa).ravel().tolist())


def _pack(module: Any, x: Any, out: Any, args: Args, how: int) -> None:
    cfa, level = args[0], levels.cells(*args[:4])
    noise = [_by_cell(cfa, values) for values in args[4:7]] if len(args) == 8 else [(), (), ()]
    module.pack(x, cfa_patterns.period(cfa), level.black, level.scale, levels.planes(cfa), *noise, out, how)


def _unpack(module: Any, x: Any, out: Any, args: Args, how: int) -> None:
    cfa, level = args[0], levels.cells(*args[:4])
    noise = [_by_cell(cfa, values) for values in args[4:7]] if len(args) == 9 else [(), (), ()]
    method = args[7] if len(args) == 9 else "algebraic"
    module.unpack(x, cfa_patterns.period(cfa), level.black, level.scale, levels.planes(cfa), *noise, method, out, how)


def _hot_pixels(module: Any, x: Any, out: Any, args: Args, how: int) -> None:
    module.hot_pixels(x, *args[:5], out, how)


def _stats_shape(shape: Shape, args: Args) -> Shape:
    cfa, rows, columns = args[0], args[3], args[4]
    height, width = _balanced_shape(shape, args)
    if not (1 <= rows <= height and 1 <= columns <= width):
        raise UsageError(f"grid must be 1 to {int(height)} by 1 to {int(width)} cells, not {rows} by {columns}.")
    return 2, len(cfa_patterns.channels(cfa)), rows, columns


def _bin_stats(module: Any, x: Any, out: Any, args: Args, how: int) -> None:
    cfa, black, white, _, _, low, high = args
    level = levels.cells(cfa, black, white, (1.0, 1.0, 1.0))
    module.bin_stats(x, cfa_patterns.period(cfa), level.black, level.scale, level.channel, low, high, out, how)


def _smaller_shape(shape: Shape, args: Args) -> Shape:
    height, width = _mosaic_size(shape, args[0])
    return height // args[1], width // args[1]


def _downscale_mosaic(module: Any, x: Any, out: Any, args: Args, how: int) -> None:
    cfa, factor, _ = args
    channel_of = cfa_patterns.channel_tile(cfa).ravel().tolist()
    module.downscale_mosaic(x, cfa_patterns.period(cfa), channel_of, factor, out, how)


def _white_balance(module: Any, x: Any, out: Any, args: Args, how: int) -> None:
    level = levels.cells(*args[:4])
    module.white_balance(x, cfa_patterns.period(args[0]), level.black, level.scale, args[4], out, how)


def _develop(module: Any, x: Any, out: Any, args: Args, how: int) -> None:
    cfa, black, white, gains, clip, matrix, curve, method, _, encode = args
    level = levels.cells(cfa, black, white, gains)
    module.develop(x, cfa, level.black, level.scale, clip, method, encode, matrix, curve, out, how)


def _demosaic(module: Any, x: Any, out: Any, args: Args, how: int) -> None:
    cfa, method, encode, _, layout = args
    module.demosaic(x, cfa, method, encode, layout == "interleaved", out, how)


_MOSAIC = ("uint16", "float32", "float64")
_PLANES = ("float32", "float16", "bfloat16", "float64")
_PICTURE = ("uint8", "uint16", "float32")

OPS: dict[str, Op] = {
    "pack": Op("mosaic", _MOSAIC, _packed_shape, _pack, dtype=4, outputs=_PLANES),
    "unpack": Op("planes", _PLANES, _unpacked_shape, _unpack, dtype=4, outputs=_MOSAIC),
    "pack_anscombe": Op("mosaic", _MOSAIC, _packed_shape, _pack, dtype=7, outputs=_PLANES),
    "unpack_anscombe": Op("planes", _PLANES, _unpacked_shape, _unpack, dtype=8, outputs=_MOSAIC),
    "white_balance": Op("mosaic", _MOSAIC, _balanced_shape, _white_balance),
    "anscombe": Op(
        "x",
        ("float32", "float64"),
        _channelled_shape,
        lambda module, x, out, args, how: module.anscombe(x, *args, out, how),
        contiguous=True,
    ),
    "inverse_anscombe": Op(
        "y",
        ("float32", "float64"),
        _channelled_shape,
        lambda module, y, out, args, how: module.inverse_anscombe(y, *args, out, how),
        contiguous=True,
    ),
    "anscombe_map": Op(
        "x",
        ("float32", "float64"),
        _mapped_shape,
        lambda module, x, out, args, how: module.anscombe_map(x, *args, out, how),
        contiguous=True,
        maps=(0, 1, 2),
    ),
    "inverse_anscombe_map": Op(
        "y",
        ("float32", "float64"),
        _mapped_shape,
        lambda module, y, out, args, how: module.inverse_anscombe_map(y, *args, out, how),
        contiguous=True,
        maps=(0, 1, 2),
    ),
    "hot_pixels": Op(
        "mosaic",
        _MOSAIC,
        lambda shape, args: _mosaic_size(shape, args[0]),
        _hot_pixels,
        dtype=5,
        outputs=_MOSAIC,
    ),
    "bin_stats": Op("mosaic", ("uint16", "float32"), _stats_shape, _bin_stats),
    "downscale_mosaic": Op("mosaic", _MOSAIC, _smaller_shape, _downscale_mosaic, dtype=2, outputs=_MOSAIC),
    "demosaic": Op(
        "mosaic",
        _MOSAIC,
        _rgb_shape,
        _demosaic,
        dtype=3,
        outputs=("float32", "float16", "float64"),
    ),
    "develop": Op(
        "mosaic",
        ("uint16", "float32"),
        lambda shape, args: (*_demosaiced_shape(shape, args[0], args[7]), 3),
        _develop,
        dtype=8,
        outputs=_PICTURE,
        curve=6,
    ),
    "render": Op(
        "rgb",
        ("float32",),
        _rendered_shape,
        lambda module, x, out, args, how: module.render(x, *args[:2], out, how),
        dtype=2,
        outputs=_PICTURE,
        curve=1,
    ),
}


@lru_cache(maxsize=64)  # NumPy takes microseconds to say it
def dtype_name(dtype: Any) -> str:
    """``float32`` for ``"float32"``, ``np.float32``, ``np.dtype("float32")`` and ``torch.float32``."""
    if isinstance(dtype, str):
        return dtype
    text = str(dtype)
    return text.removeprefix("torch.") if text.startswith("torch.") else np.dtype(dtype).name


def run(name: str, x: Array, args: Args, out: Array | None) -> Array:
    """Run an op on a NumPy array or torch tensor."""
    torch = sys.modules.get("torch")
    if isinstance(x, np.ndarray):
        runner = _run_numpy
    elif torch is not None and isinstance(x, torch.Tensor):
        runner = _run_torch
    else:
        raise TypeError(f"{OPS[name].argument} must be a NumPy array or a torch tensor, not {type(x).__name__}.")
    result: Array = runner(name, x, args, out)
    return result


def expected(op: Op, shape: Shape, dtype: str, args: Args) -> tuple[Shape, str]:
    """Shape and dtype of an op's result.

    Raises:
        TypeError, UsageError: an input that the op does not take, or a result that it does not give.
    """
    if dtype not in op.inputs:
        raise TypeError(f"{op.argument} must be {' or '.join(op.inputs)}, not {dtype}.")
    if op.dtype is None:
        return op.shape(shape, args), "float64" if dtype == "float64" else "float32"
    if args[op.dtype] not in op.outputs:
        raise TypeError(f"dtype must be {' or '.join(op.outputs)}, not {args[op.dtype]}.")
    return op.shape(shape, args), args[op.dtype]


def _check_out(out: Any, shape: Shape, dtype: str) -> None:
    if tuple(out.shape) != tuple(shape):
        raise UsageError(f"out must have shape {list(shape)}, not {list(out.shape)}.")
    if dtype_name(out.dtype) != dtype:
        raise TypeError(f"out must be {dtype}, not {dtype_name(out.dtype)}.")


def _run_numpy(name: str, x: Any, args: Args, out: Any) -> Any:
    op = OPS[name]
    shape, dtype = expected(op, x.shape, dtype_name(x.dtype), args)
    if dtype == "bfloat16":
        raise TypeError("NumPy has no bfloat16; pass a torch tensor, or ask for float16 or float32.")
    if out is None:
        out = np.empty(shape, dtype)
    elif not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array like {op.argument}, not {type(out).__name__}.")
    _check_out(out, shape, dtype)
    if op.curve is not None and args[op.curve] is not None:
        curve = np.ascontiguousarray(args[op.curve], dtype=np.float32)
        args = (*args[: op.curve], _checked(curve), *args[op.curve + 1 :])
    if not x.dtype.isnative:
        x = x.astype(x.dtype.newbyteorder("="))
    module = backend.module_for("cpu")
    if module is not None and x.dtype != np.float64 and dtype != "float64":
        adjacent = x.ndim > 0 and x.strides[-1] == x.itemsize
        ready = x if (x.flags.c_contiguous if op.contiguous else adjacent) else np.ascontiguousarray(x)
        op.native(module, ready, out, args, backend.num_threads())
    else:
        out[...] = _numpy_reference(name, x, args)
    return out


def _numpy_reference(name: str, x: npt.NDArray[Any], args: Args) -> npt.NDArray[Any]:
    import torch

    from rawzoo.ops import reference

    curve = OPS[name].curve
    if curve is not None and args[curve] is not None:
        args = (*args[:curve], torch.tensor(args[curve]), *args[curve + 1 :])
    args = tuple(torch.from_numpy(arg) if i in OPS[name].maps else arg for i, arg in enumerate(args))
    # A copy, for torch has no read-only tensors and takes no negative strides.
    result: npt.NDArray[Any] = getattr(reference, name)(torch.from_numpy(x.copy()), *args).numpy()
    return result


def _checked(curve: Any) -> Any:
    if curve.ndim != 1 or len(curve) < 2:
        raise UsageError(f"curve must have shape [N] with N at least 2, not {list(curve.shape)}.")
    return curve


def _run_torch(name: str, x: Any, args: Args, out: Any) -> Any:
    import torch

    op = OPS[name]
    if out is not None and not isinstance(out, torch.Tensor):
        raise TypeError(f"out must be a torch tensor like {op.argument}, not {type(out).__name__}.")
    if op.curve is not None and args[op.curve] is not None:
        curve = torch.as_tensor(args[op.curve], dtype=torch.float32, device=x.device).contiguous()
        args = (*args[: op.curve], _checked(curve), *args[op.curve + 1 :])
    if torch.jit.is_tracing():  # type: ignore[attr-defined,no-untyped-call]
        # The graph is for programs without rawzoo.
        from rawzoo.ops import reference

        traced: torch.Tensor = getattr(reference, name)(x, *args)
        return traced if out is None else out.copy_(traced)
    recorded = torch.is_grad_enabled() and (x.requires_grad or any(args[i].requires_grad for i in op.maps))
    if not recorded and _is_eager(x):
        return compute(name, x, args, out)
    if recorded and out is not None:
        raise UsageError("out= cannot be combined with gradients; leave it out or use torch.no_grad().")
    from rawzoo.ops import library  # noqa: F401 - registers torch.ops.rawzoo

    result: torch.Tensor = getattr(torch.ops.rawzoo, name)(x, *args)
    if out is None:
        return result
    _check_out(out, tuple(result.shape), dtype_name(result.dtype))
    return out.copy_(result)


def _is_eager(x: torch.Tensor) -> bool:
    """Whether a plain call of a kernel is all that torch would do: nothing traces, transforms or intercepts."""
    import torch

    return (
        not torch.compiler.is_compiling()
        and type(x) in (torch.Tensor, torch.nn.Parameter)
        and torch._C._len_torch_dispatch_stack() == 0
        and not torch._C._are_functorch_transforms_active()
    )


def compute(name: str, x: torch.Tensor, args: Args, out: torch.Tensor | None = None) -> torch.Tensor:
    """Run the kernel of an op on a plain tensor, without autograd."""
    import torch

    op = OPS[name]
    shape, dtype = expected(op, tuple(x.shape), dtype_name(x.dtype), args)
    if out is None:
        out = torch.empty(shape, dtype=getattr(torch, dtype), device=x.device)
    else:
        _check_out(out, shape, dtype)
        if out.device != x.device:
            raise UsageError(f"out must be on {x.device} like {op.argument}, not on {out.device}.")
    module = backend.module_for(x.device.type)
    if module is not None and x.dtype != torch.float64 and dtype != "float64":
        adjacent = x.dim() > 0 and x.stride(-1) == 1
        ready = x if (x.is_contiguous() if op.contiguous else adjacent) else x.contiguous()
        how = torch.cuda.current_stream(x.device).cuda_stream if x.is_cuda else backend.num_threads()
        if op.curve is not None and args[op.curve] is not None:
            args = (*args[: op.curve], _capsule(args[op.curve]), *args[op.curve + 1 :])
        if op.maps:
            args = tuple(_capsule(arg) if i in op.maps else arg for i, arg in enumerate(args))
        op.native(module, _capsule(ready), _capsule(out), args, how)
        return out
    from rawzoo.ops import reference

    with torch.no_grad():
        return out.copy_(getattr(reference, name)(x, *args))


@lru_cache(maxsize=1)
def _to_dlpack() -> Callable[[Any], Any]:
    from torch.utils.dlpack import to_dlpack  # type: ignore[attr-defined]

    exporter: Callable[[Any], Any] = to_dlpack
    return exporter


def _capsule(x: torch.Tensor) -> Any:
    return _to_dlpack()(x.detach() if x.requires_grad else x)
