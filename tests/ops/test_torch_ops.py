"""What torch sees: its own checks of custom ops, derivatives, compilation, export, the way around the dispatcher."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch import library as torch_library

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.ops import library, reference
from rawzoo.raw.cfa import BAYER_PATTERNS, XTRANS_PATTERN

BLACK, WHITE, GAINS = (0.1, 0.12, 0.14, 0.16), (1.0, 1.1, 1.2, 1.3), (2.0, 1.0, 1.5)
METHODS = ("algebraic", "asymptotic", "exact")
NOISE = ((0.1, 0.2, 0.3), (0.2, 0.1, 0.3), (0.05, 0.0, 0.1))
EYE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def samples(dtype: torch.dtype, gradient: bool) -> list[tuple[str, tuple]]:
    """Every differentiable op with arguments, its first a tensor of this dtype."""
    torch.manual_seed(0)

    def tensor(*shape: int) -> Tensor:
        return (0.1 + 2 * torch.rand(shape, dtype=torch.float64)).to(dtype).requires_grad_(gradient)

    name = str(dtype).removeprefix("torch.")
    found = [
        ("anscombe", (tensor(3, 5), (0.1,), (0.2,), (0.05,))),
        *(("inverse_anscombe", (tensor(3, 5), (0.1,), (0.2,), (0.05,), m)) for m in METHODS),
        ("white_balance", (tensor(7, 8), XTRANS_PATTERN, BLACK[:3], WHITE[:3], GAINS, 1.5)),
        ("demosaic", (tensor(6, 7), XTRANS_PATTERN, "bilinear", "none", name, "planar")),
        ("demosaic_adjoint", (tensor(3, 6, 7), XTRANS_PATTERN, "bilinear")),
        ("anscombe", (tensor(3, 2, 5), *NOISE)),
        ("inverse_anscombe", (tensor(3, 2, 5), *NOISE, "exact")),
        ("anscombe_map", (tensor(2, 5), tensor(2, 5), tensor(2, 5), tensor(2, 5))),
        ("inverse_anscombe_map", (tensor(2, 5), tensor(2, 5), tensor(2, 5), tensor(2, 5), "exact")),
        ("pack", (tensor(6, 12), XTRANS_PATTERN, BLACK[:3], WHITE[:3], GAINS, name)),
        ("unpack", (tensor(36, 1, 2), XTRANS_PATTERN, BLACK[:3], WHITE[:3], GAINS, name)),
        ("pack_anscombe", (tensor(6, 6), XTRANS_PATTERN, BLACK[:3], WHITE[:3], GAINS, *NOISE, name)),
        ("unpack_anscombe", (tensor(36, 1, 1), XTRANS_PATTERN, BLACK[:3], WHITE[:3], GAINS, *NOISE, "exact", name)),
        ("downscale_mosaic", (tensor(7, 8), XTRANS_PATTERN, 2, name)),
        ("downscale_mosaic", (tensor(5, 6), "GRBG", 2, name)),
        ("downscale_mosaic_adjoint", (tensor(2, 3), "GRBG", 2, 5, 6)),
    ]
    for cfa in BAYER_PATTERNS:
        found += [
            ("pack", (tensor(4, 6), cfa, BLACK, WHITE, GAINS, name)),
            ("unpack", (tensor(4, 2, 3), cfa, BLACK, WHITE, GAINS, name)),
            ("white_balance", (tensor(3, 4), cfa, BLACK, WHITE, GAINS, float("inf"))),
            *(("demosaic", (tensor(4, 5), cfa, m, "none", name, "planar")) for m in library.LINEAR_METHODS),
            ("demosaic", (tensor(2, 2), cfa, "malvar", "none", name, "interleaved")),
            ("demosaic", (tensor(5, 5), cfa, "superpixel", "none", name, "interleaved")),
            ("demosaic_adjoint", (tensor(3, 4, 5), cfa, "malvar")),
        ]
    return found


@pytest.mark.parametrize("gradient", [False, True])
def test_opcheck(gradient: bool) -> None:
    seen = set()
    for name, args in samples(torch.float32, gradient):
        if name not in seen or name == "demosaic":
            torch_library.opcheck(getattr(torch.ops.rawzoo, name), args)
        seen.add(name)


def test_opcheck_of_what_takes_integers_or_gives_them() -> None:
    mosaic = torch.arange(48).to(torch.uint16).reshape(6, 8)
    curve = torch.linspace(0, 1, 5)
    levels = ("RGGB", (0.0,) * 4, (50.0,) * 4, GAINS)
    for name, args in [
        ("pack", (mosaic, *levels, "float16")),
        ("unpack", (torch.rand(4, 2, 3), *levels, "uint16")),
        ("white_balance", (mosaic, *levels, 1.0)),
        ("demosaic", (mosaic, XTRANS_PATTERN, "bilinear", "none", "float32", "planar")),
        ("demosaic", (mosaic, "RGGB", "gbtf", "sqrt", "float16", "interleaved")),
        ("develop", (mosaic, *levels, 1.0, EYE, curve, "malvar", "uint8", "none")),
        ("develop", (mosaic, *levels, 1.0, EYE, None, "malvar", "float32", "none")),
        ("render", (torch.rand(3, 4, 5), EYE, curve, "uint16")),
        ("pack_anscombe", (mosaic, *levels, (0.1,) * 4, (0.2,) * 4, (0.0,) * 4, "float16")),
        ("unpack_anscombe", (torch.rand(4, 2, 3), *levels, (0.1,) * 4, (0.2,) * 4, (0.0,) * 4, "exact", "uint16")),
        ("demosaic", (mosaic, XTRANS_PATTERN, "markesteijn", "sqrt", "float32", "planar")),
        ("hot_pixels", (mosaic, "RGGB", 0.0, 1.0, 0.0, 3.0, "uint16")),
        ("bin_stats", (mosaic, "RGGB", (0.0,) * 4, (50.0,) * 4, 2, 3, 0.1, 0.9)),
        ("downscale_mosaic", (mosaic, XTRANS_PATTERN, 3, "uint16")),
    ]:
        torch_library.opcheck(getattr(torch.ops.rawzoo, name), args)


def test_derivatives() -> None:
    for name, (x, *rest) in samples(torch.float64, gradient=True):

        def function(x: Tensor, name: str = name, rest: list = rest) -> Tensor:
            return getattr(torch.ops.rawzoo, name)(x, *rest)

        if name.endswith("_map"):  # by the parameters too
            maps, method = (x, *rest[:3]), rest[3:]
            assert torch.autograd.gradcheck(lambda *a, f=function, m=method: f(a[0], rest=[*a[1:], *m]), maps), name
            continue
        assert torch.autograd.gradcheck(function, x, fast_mode=name == "demosaic_adjoint"), name
        assert torch.autograd.gradgradcheck(function, x, fast_mode=True), name


def test_float32_derivatives_are_those_of_the_reference() -> None:
    # The backward pass of the native kernels is native too, for the ops that are each other's adjoint.
    for name, (x, *rest) in samples(torch.float32, gradient=True):
        if name.endswith("adjoint"):
            continue
        native = getattr(torch.ops.rawzoo, name)(x, *rest)
        plain = getattr(reference, name)(x, *rest)
        weight = torch.rand_like(native)
        (got,) = torch.autograd.grad(native, x, weight)
        (expected,) = torch.autograd.grad(plain, x, weight)
        torch.testing.assert_close(got, expected, msg=lambda m, name=name: f"{name}: {m}")


def test_the_derivative_is_zero_where_the_transforms_are_flat() -> None:
    x = torch.tensor([-10.0, 1.0], requires_grad=True)
    (slope,) = torch.autograd.grad(ops.anscombe(x, 0.1, 0.1).sum(), x)
    assert slope[0] == 0
    assert slope[1] > 0
    y = torch.tensor([0.5, 3.0], requires_grad=True)
    (slope,) = torch.autograd.grad(ops.inverse_anscombe(y, 0.1, 0.1, method="exact").sum(), y)
    assert slope[0] == 0
    assert slope[1] > 0
    z = torch.full((2, 2), 3.0, requires_grad=True)
    (slope,) = torch.autograd.grad(ops.white_balance(z, "RGGB", 0, 1, GAINS, clip=4.0).sum(), z)
    assert slope.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiles_without_a_break_in_the_graph(dynamic: bool) -> None:
    def function(x: Tensor) -> Tensor:
        return ops.demosaic(ops.white_balance(x, "GRBG", 0, 2, GAINS, 1.0), "GRBG", "malvar")

    compiled = torch.compile(function, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for shape in ((6, 8), (9, 11)):
        x = torch.rand(shape, requires_grad=True)
        assert torch.equal(compiled(x), function(x))
        (got,) = torch.autograd.grad(compiled(x).square().sum(), x)
        (expected,) = torch.autograd.grad(function(x).square().sum(), x)
        torch.testing.assert_close(got, expected)


class Developer(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return ops.develop(x, "RGGB", 0.0, 1.0, GAINS, 1.0, [[1, 0, 0], [0, 1, 0], [0, 0, 1]], torch.linspace(0, 1, 9))


class Reference(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return reference.demosaic(x, "RGGB", "malvar")


def test_exports_with_any_size() -> None:
    x = torch.rand(6, 8)
    sizes = {0: torch.export.Dim("h", min=2), 1: torch.export.Dim("w", min=2)}
    program = torch.export.export(Developer(), (x,), dynamic_shapes=(sizes,))
    assert "rawzoo.develop" in str(program.graph)
    other = torch.rand(5, 9)
    assert torch.equal(program.module()(other), Developer()(other))


def test_the_reference_exports_as_standard_operators() -> None:
    sizes = {0: torch.export.Dim("h", min=2), 1: torch.export.Dim("w", min=2)}
    program = torch.export.export(Reference(), (torch.rand(6, 8),), dynamic_shapes=(sizes,))
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert all(target.startswith(("aten.", "<built-in function")) for target in targets), targets
    other = torch.rand(5, 9)
    assert torch.equal(program.module()(other), ops.demosaic(other, "RGGB", "malvar"))


def test_eager_inference_skips_the_dispatcher(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    compute = library.compute
    monkeypatch.setattr(library, "compute", lambda name, *args: calls.append(name) or compute(name, *args))
    x = torch.rand(4, 4)
    ops.demosaic(x, "RGGB")
    ops.demosaic(torch.nn.Parameter(x, requires_grad=False), "RGGB")
    with torch.no_grad():
        ops.demosaic(x.clone().requires_grad_(), "RGGB")
    assert calls == []
    ops.demosaic(x.clone().requires_grad_(), "RGGB")
    assert calls == ["demosaic"]


def test_out_with_gradients_is_refused() -> None:
    x = torch.rand(4, 4, requires_grad=True)
    with pytest.raises(UsageError, match="out= cannot be combined with gradients"):
        ops.demosaic(x, "RGGB", out=torch.empty(3, 4, 4))
    out = torch.empty(3, 4, 4)
    with torch.no_grad():
        ops.demosaic(x, "RGGB", out=out)
    assert torch.equal(out, ops.demosaic(x.detach(), "RGGB"))


def test_other_devices_and_dtypes_are_refused() -> None:
    with pytest.raises(TypeError, match="mosaic must be uint16 or float32 or float64, not float16"):
        ops.demosaic(torch.rand(4, 4).half(), "RGGB")
    with pytest.raises(UsageError, match="out must be on cpu"):
        ops.demosaic(torch.rand(4, 4), "RGGB", out=torch.empty(3, 4, 4, device="meta"))
    with pytest.raises(TypeError, match="torch tensor like mosaic"):
        ops.demosaic(torch.rand(4, 4), "RGGB", out=torch.empty(3, 4, 4).numpy())


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


@cuda
@pytest.mark.parametrize("stride", [1, 2])
def test_cuda_equals_cpu(stride: int) -> None:
    from rawzoo.ops.backend import module_for

    assert module_for("cuda") is not None, ops.available()["cuda"]
    generator = torch.Generator().manual_seed(0)
    mosaics = [
        torch.randint(0, 1 << 16, (42, 102), generator=generator).to(dtype) for dtype in (torch.uint16, torch.float32)
    ]
    curve = torch.linspace(0, 1, 1000) ** 0.45
    calls: list[tuple[Callable[[Tensor], Tensor], float]] = []
    for cfa in (*BAYER_PATTERNS, XTRANS_PATTERN):
        count = 4 if len(cfa) == 4 else 3
        levels = (cfa, (500.0, 510.0, 520.0, 530.0)[:count], (60000.0,) * count, GAINS)
        for dtype in ("float32", "float16", "bfloat16"):
            calls.append((lambda x, a=levels, d=dtype: ops.pack(x, *a, dtype=d), 0.0))
            calls.append((lambda x, a=levels, d=dtype: ops.unpack(ops.pack(x, *a, dtype=d), *a), 0.0))
        noise = {"gain": (0.1, 0.2, 0.3, 0.4)[:count], "sigma": 0.1, "offset": 0.02}
        calls += [
            (lambda x, a=levels, n=noise: ops.pack_anscombe(x, *a, **n), 1e-5),
            (lambda x, a=levels, n=noise: ops.unpack_anscombe(ops.pack(x, *a), *a, **n, dtype="float32"), 0.1),
            (lambda x, c=cfa: ops.hot_pixels(x, c, 0.0, 9000.0, 0.0, 1.0), 1.0),
            (lambda x, a=levels: ops.bin_stats(x, *a[:3], (3, 5), 0.1, 0.9), 1e-6),
            *((lambda x, c=cfa, f=factor: ops.downscale_mosaic(x, c, f), 1.0) for factor in (1, 2, 3, 8)),
        ]
        calls.append((lambda x, a=levels: ops.white_balance(x, *a, clip=0.9), 0.0))
        for method in ops.demosaic_methods(cfa):
            calls.append((lambda x, c=cfa, m=method: ops.demosaic(x, c, m), 0.02))
            for dtype, table, tolerance in (("uint8", curve, 1), ("uint16", curve, 1), ("float32", None, 1e-5)):
                calls.append(
                    (
                        lambda x, a=levels, m=method, d=dtype, t=table: ops.develop(
                            x, *a, 1.0, [[1.5, -0.3, -0.2], [0, 1, 0], [-0.1, -0.4, 1.5]], t, m, d
                        ),
                        tolerance,
                    )
                )
    for method in ("algebraic", "asymptotic", "exact"):
        calls.append(
            (
                lambda x, m=method: ops.inverse_anscombe(
                    ops.anscombe(x.float(), 10.0, 20.0, 500.0), 10.0, 20.0, 500.0, m
                ),
                0.1,
            )
        )
    by_row = torch.tensor([10.0, 20.0, 30.0] * 14)[:, None]

    def with_maps(x: Tensor) -> Tensor:
        noise = by_row.to(x.device).expand(x.shape)
        return ops.inverse_anscombe(ops.anscombe(x.float(), noise, 20.0, noise), noise, 20.0, noise, "exact")

    calls.append((with_maps, 0.1))
    for x in mosaics:
        view = x.repeat_interleave(stride, 0)[::stride]
        for call, tolerance in calls:
            expected, got = call(view), call(view.cuda())
            assert got.is_cuda
            torch.testing.assert_close(got.cpu().double(), expected.double(), atol=tolerance, rtol=1e-6)


@cuda
def test_cuda_runs_on_the_callers_stream() -> None:
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.zeros(4000, 4000, device="cuda")
        for _ in range(50):
            x += 1
        rgb = ops.demosaic(x, "RGGB")
    stream.synchronize()
    assert (rgb == 50).all()
